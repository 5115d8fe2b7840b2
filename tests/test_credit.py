"""The credit scheduler against traces worked by hand. Milliseconds; ticks every 10, credits every 30, slices of 30, 10 credits per ms; one
core unless said.
"""

from __future__ import annotations

import pytest
from timeline import Timeline, each

from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.credit import Credit

RULES = Credit()
VM = Share(per_thread=False, processors=1)


def test_two_hogs_alternate_by_slices() -> None:
    """Both wake in BOOST, a first. At 30, a (at work since tick 10, alone) has -300 + 300 = 0. b runs. At 60 each gets 150: a 150, b -150:
    OVER. a runs. At 90: a 150 - 300 + 150 = 0, b 0: both UNDER, b is first in line.
    """
    line = Timeline(RULES)
    line.task("a", VM).hog()
    line.task("b", VM).hog()
    assert line.who(180, step=10) == "aaabbb" * 3


def test_boost_preempts_at_once() -> None:
    """b wakes at 45 for 3 ms: it never ran, so it is UNDER with 0 credits, and in BOOST now; a has been UNDER since tick 10."""
    line = Timeline(RULES)
    line.task("a", VM).hog()
    b = line.task("b", VM).wakes((45.0, 3.0))
    line.finish(60)
    assert b.done == pytest.approx([48.0])


def test_the_rate_limit_protects_whoever_has_just_begun() -> None:
    """a is chosen again at 48. b, still in BOOST as no tick has found it running, wakes at 48.4: a has its millisecond, b is done at 49 +
    2. At 0 rate limit: 50.4.
    """
    for ratelimit_s, done in ((0.001, 51.0), (0.0, 50.4)):
        line = Timeline(Credit(ratelimit_s=ratelimit_s))
        line.task("a", VM).hog()
        b = line.task("b", VM).wakes((45.0, 3.0), (48.4, 2.0))
        line.finish(60)
        assert b.done == pytest.approx([48.0, done])


def test_a_tick_ends_the_boost() -> None:
    """b, in BOOST since 45, is found running at tick 50 and is UNDER: c, in BOOST, preempts it at 52. At 48 c has to wait until b is done
    at 55.
    """
    for time, done in ((52.0, 53.0), (48.0, 56.0)):
        line = Timeline(RULES)
        line.task("a", VM).hog()
        line.task("b", VM).wakes((45.0, 10.0))
        c = line.task("c", VM).wakes((time, 1.0))
        line.finish(100)
        assert c.done == pytest.approx([done])


def test_whoever_is_over_is_not_boosted() -> None:
    """a has 0 - 30; b runs 30-59 and sleeps: -290, and at 60, with its 150, OVER at -140. a, back since 59, has 0 - 10 + 150 = 140.

    b wakes at 65, OVER: no boost. a's slice is over at 89: a is UNDER, b is not: a again. At 90 a has 140 - 300 + 150 = -10, b 10: now b is
    UNDER, but nobody looks before a's slice is over at 119. b is done at 120.
    """
    line = Timeline(RULES)
    line.task("a", VM).hog()
    b = line.task("b", VM).wakes((0.0, 29.0), (65.0, 1.0))
    line.finish(150)
    assert b.done == pytest.approx([59.0, 120.0])


def test_a_cap_parks_whoever_owes_more_than_it_is_given() -> None:
    """Cap 0.25: 75 credits per slice. 0-30: -300 + 75 = -225, parked; -150 at 60, -75 at 90, 0 at 120: on again for a slice. 1/4, though
    the core is idle.
    """
    line = Timeline(RULES)
    a = line.task("a", Share(per_thread=False, processors=1, cap_cores=0.25)).hog()
    assert line.who(360, step=10) == ("aaa" + "." * 9) * 3
    assert a.group.counters().nr_throttled == 3


def test_a_cap_lets_whoever_owes_no_more_than_it_is_given_go_on() -> None:
    """Cap 0.5: 150 per slice. 0-30: -300 + 150 = -150, which the next 150 pay: OVER, but on. 30-60: -300, parked; -150 at 90, 0 at 120."""
    line = Timeline(RULES)
    line.task("a", Share(per_thread=False, processors=1, cap_cores=0.5)).hog()
    assert line.who(360, step=10) == ("a" * 6 + "." * 6) * 3


def test_what_a_capped_group_may_not_use_goes_to_the_others() -> None:
    """Cap 0.1 beside two hogs of weights 1 and 2: 0.1, 0.3 and 0.6 of the core."""
    line = Timeline(RULES)
    shares = [Share(per_thread=False, cap_cores=0.1), Share(per_thread=False), Share(weight=2, per_thread=False)]
    tasks = [line.task(name, share).hog() for name, share in zip("abc", shares, strict=True)]
    line.engine.run(60.0)
    assert each(tasks) == pytest.approx([6_000, 18_000, 36_000], rel=0.02)


def test_a_weight_counts_once_per_group_or_once_per_vcpu() -> None:
    """A VM with two hogs on two vCPUs beside one with one hog, one core: 1/2 or 2/3."""
    for per_thread, expected in ((False, 1 / 2), (True, 2 / 3)):
        line = Timeline(RULES)
        two = line.cpu.group("two", Share(per_thread=per_thread, processors=2))
        for name in "xy":
            two.thread(name).run(1e6, print, None)
        line.task("z", Share(per_thread=per_thread, processors=1)).hog()
        line.engine.run(60.0)
        assert two.account().busy_s == pytest.approx(60 * expected, rel=0.02)


def test_a_core_that_falls_idle_takes_a_waiting_task() -> None:
    """Two cores: a and c on the first, b on the second. b is done at 10 and c, waiting, goes there: done at 15."""
    line = Timeline(RULES, cores=2)
    for name, length in (("a", 20.0), ("b", 10.0), ("c", 5.0)):
        line.task(name, VM).wakes((0.0, length))
    assert line.finish(100) == pytest.approx({"a": 20.0, "b": 10.0, "c": 15.0})


def test_three_hogs_share_two_cores() -> None:
    """A processor whose next task is OVER looks for one that is UNDER elsewhere: 2/3 of a core each."""
    line = Timeline(RULES, cores=2)
    hogs = [line.task(name, VM).hog() for name in "abc"]
    line.engine.run(60.0)
    assert each(hogs) == pytest.approx([40_000] * 3, rel=0.05)


def test_rules_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"slice_s: 0.0 s; must be positive; ratelimit_s: 0.001 s; must be at least 0 and at most slice_s"):
        Credit(slice_s=0.0)
