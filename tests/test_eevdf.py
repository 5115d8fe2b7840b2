"""Earliest eligible virtual deadline first against traces worked by hand. Milliseconds; one core: slice 0.75; v is vruntime, d deadline, V
the average.
"""

from __future__ import annotations

import pytest
from timeline import Timeline, each

from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.eevdf import EarliestEligibleDeadline
from simvirt.resources.cpu.discrete.hierarchy import FairRunQueue

RULES = EarliestEligibleDeadline(hz=1000)
EAGER = EarliestEligibleDeadline(hz=1000, run_to_parity=False)


def weight(value: float) -> Share:
    return Share(weight=value, per_thread=False)


def test_two_hogs_alternate_at_every_tick() -> None:
    """Both come at v = 0, d = 0.75; a came first and is kept until it has run for its slice.

    Tick 1: a's v = 1 >= 0.75, so d = 1.75; V = 0.5: a is not eligible, b runs. Tick 2: b's v = 1, d = 1.75; V = 1: both eligible, equal
    deadlines: the one that waits. Tick 3: a's v = 2, V = 1.5: b; and so on.
    """
    line = Timeline(RULES)
    line.task("a").hog()
    line.task("b").hog()
    assert line.who(8) == "abababab"


def test_the_earliest_deadline_among_the_eligible_runs() -> None:
    """Weights a 1, b 2, c 4; v grows by 1, 1/2, 1/4 per ms; slices of 0.75, 0.375, 0.1875 in v. All come at 0; a came first.

    tick  ran  its v, d           V      eligible (d)                 runs
    1     a    1, 1.75            1/7    b (0.375), c (0.1875)        c
    2     c    0.25, 0.4375       2/7    b (0.375), c (0.4375)        b
    3     b    0.5, 0.875         3/7    c (0.4375)                   c
    4     c    0.5, 0.6875        4/7    b (0.875), c (0.6875)        c
    5     c    0.75, 0.9375       5/7    b (0.875)                    b
    6     b    1, 1.375           6/7    c (0.9375)                   c
    7     c    1, 1.1875          1      all: a 1.75, b 1.375, c      c
    After 7 ms each has had its weight.
    """
    line = Timeline(RULES)
    for name, value in (("a", 1), ("b", 2), ("c", 4)):
        line.task(name, weight(value)).hog()
    assert line.who(8) == "acbccbcc"


def test_a_wake_up_preempts_with_an_earlier_deadline() -> None:
    """a has v = 0.5, d = 0.75 when b comes at 0.5 with v = V = 0.5. At weight 2 b's deadline is 0.875: no. At weight 4 it is 0.6875: yes,
    done at 0.6.

    Without preemption tick 1 finds a's slice over (d = 1.75; V = (1 + 2 * 0.5) / 3 = 0.67 < 1): b is done at 1.1.
    """
    for value, done in ((2, 1.1), (4, 0.6)):
        line = Timeline(EAGER)
        line.task("a", weight(1)).hog()
        b = line.task("b", weight(value)).wakes((0.5, 0.1))
        line.finish(5)
        assert b.done == pytest.approx([done])


def test_run_to_parity_keeps_the_current_one_until_its_slice_is_over() -> None:
    """The same with b of weight 4: a is kept for the slice that it was chosen with, so b waits for tick 1."""
    line = Timeline(RULES)
    line.task("a", weight(1)).hog()
    b = line.task("b", weight(4)).wakes((0.5, 0.1))
    line.finish(5)
    assert b.done == pytest.approx([1.1])


def test_an_entity_comes_back_with_its_lag() -> None:
    """b comes at 0.5 for 1.25: v = V = 0.5, d = 1.25; a (v = 0.5) has d = 0.75: no preemption.

    Tick 1: a's v = 1, d = 1.75; V = 0.75: b. Tick 2: b's v = 1.5, d = 2.25; V = 1.25: a. Tick 3: a's v = 2, d = 2.75; V = 1.75: b, done at
    3.25 with v = 1.75, V = 1.875: it is owed 0.125. a goes on, v = 2.5 at 3.75. b comes with a lag of 0.125 * (1 + 1) / 1: v = 2.25, so V =
    2.375: a is not eligible, b preempts: done at 4.0 for a burst of 0.25. Without the lag both would be eligible at 2.5, b's d = 3.25
    against 2.75: done at 4.25.
    """
    line = Timeline(EAGER)
    line.task("a").hog()
    b = line.task("b").wakes((0.5, 1.25), (3.75, 0.25))
    line.engine.run(0.00375 + 1e-9)
    queue = line.cpu._domain.processors[0].queue
    assert isinstance(queue, FairRunQueue)
    assert queue.root.average - b.thread.entity.vruntime == pytest.approx(0.125e-3, abs=1e-8)
    line.finish(10)
    assert b.done == pytest.approx([3.25, 4.0])


def test_an_entity_that_had_too_much_does_not_get_rid_of_it_by_sleeping() -> None:
    """b comes at 1.5, V = a's v = 1.5, d = 2.25; a's d is 1.75 since tick 1. Tick 2: a's v = 2, d = 2.75; V = 1.75: b, done at 2.9 with v =
    2.4; V = 2.2: it owes 0.2.

    It comes again at 3.0: a's v = 2.1, load 1: lag -0.2 * 2 / 1: v = 2.5, d = 3.25; V = 2.3: not eligible. Tick 3 comes at the same
    instant, before b. Tick 4: a's v = 3.1, d = 3.85; V = 2.8: b. Done at 4.1.
    """
    line = Timeline(EAGER)
    line.task("a").hog()
    b = line.task("b").wakes((1.5, 0.9), (3.0, 0.1))
    line.finish(10)
    assert b.done == pytest.approx([2.9, 4.1])


def test_the_slice_grows_with_the_number_of_processors() -> None:
    """0.75 * (1, 2, 2, 3, 4): the tick that finds it over is 1, 2, 2, 3, 3."""
    for cores, ticks in ((1, 1), (2, 2), (3, 2), (4, 3), (8, 3)):
        line = Timeline(RULES, cores)
        line.task("a", core=0).hog()
        line.task("b", core=0).hog()
        assert line.who(2 * ticks) == "a" * ticks + "b" * ticks


def test_groups_are_entities_too() -> None:
    """g (weight 3) holds x (weight 1) and y (2); h weighs 1: shares 1/4, 1/2, 1/4 over 4 s."""
    line = Timeline(RULES)
    g = line.cpu.group("g", weight(3))
    tasks = [line.task("x", weight(1), inside=g), line.task("y", weight(2), inside=g), line.task("h", weight(1))]
    for task in tasks:
        task.hog()
    line.engine.run(4.0)
    assert each(tasks) == pytest.approx([1000, 2000, 1000], abs=5)


def test_lag_within_a_few_slices_bounds_what_anyone_is_behind() -> None:
    """Hogs of weights 1 to 4: at any time each is within 2 slices and a tick of its share (the scheduler's guarantee), here looked at every
    0.5.
    """
    line = Timeline(RULES)
    tasks = [line.task(name, weight(value)) for value, name in enumerate("abcd", start=1)]
    for task in tasks:
        task.hog()
    for i in range(1, 400):
        line.engine.run(i * 0.0005)
        shares = [i * 0.5 * value / 10 for value in (1, 2, 3, 4)]
        assert max(abs(had - due) for had, due in zip(each(tasks), shares, strict=True)) <= 2 * 0.75 + 1.0


def test_rules_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"base_slice_s: 0.0 s; must be positive"):
        EarliestEligibleDeadline(base_slice_s=0.0)
