"""Borrowed virtual time against traces worked by hand. Milliseconds; allowance 5; v is in units of 0.1 of running, at weight 1."""

from __future__ import annotations

import pytest
from timeline import Timeline

from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.borrowed_virtual_time import BorrowedVirtualTime

RULES = BorrowedVirtualTime()
VM = Share(per_thread=False, processors=1)


def test_equals_take_turns_of_the_allowance() -> None:
    """Who has woken last comes first of equals: a runs when b and c come, so c, b; from then on who waits longest: a (v = 50), c, b."""
    line = Timeline(RULES)
    for name in "abc":
        line.task(name, VM).hog()
    assert line.who(45, step=5) == "acb" * 3


def test_least_virtual_time_runs_next() -> None:
    """Weights 4 and 1: a turn is 12.5 of v for a, 50 for b. a 12.5, b 50, a 25, 37.5, 50; equal: b, which waits, 100; a 62.5 ..."""
    line = Timeline(RULES)
    line.task("a", Share(weight=4, per_thread=False, processors=1)).hog()
    line.task("b", VM).hog()
    assert line.who(60, step=5) == "abaaabaaaaba"


def test_whoever_wakes_waits_for_the_end_of_the_allowance_only() -> None:
    """a until 5; c runs when d wakes, at 7, at v = 0: d from 10 to 11, before b, which has 0 too; v = 10. b from 11 to 16. d wakes at 13
    and has 10, where a and c have 50: d from 16 to 17.
    """
    line = Timeline(RULES)
    for name in "abc":
        line.task(name, VM).hog()
    d = line.task("d", VM).wakes((7.0, 1.0), (13.0, 1.0))
    line.finish(40)
    assert d.done == pytest.approx([11.0, 17.0])


def test_whoever_runs_beyond_its_allowance_is_preempted() -> None:
    """a alone from 0 on is chosen again at 50 and 100. b wakes at 107, beyond that allowance: it runs at once, at v = 1000."""
    line = Timeline(RULES)
    line.task("a", VM).hog()
    b = line.task("b", VM).wakes((107.0, 3.0))
    line.finish(200)
    assert b.done == pytest.approx([110.0])


def test_whoever_runs_alone_is_chosen_again_now_and_then() -> None:
    """As before, but b wakes at 101, within the allowance of 100: it waits for 105. It comes at v = 1000, as a had then; at 105
    a has 1050, at 110 b too: of equals the one that waits, a, until 115, and so on.
    """
    line = Timeline(RULES)
    line.task("a", VM).hog()
    line.task("b", VM).wakes((101.0, 10.0))
    line.engine.run(0.1)
    assert line.who(125, step=5) == "ababa"


def test_a_turn_within_a_group_counts_though_the_group_is_left() -> None:
    """g has x and y, h has z: at each level the least runs next, so x, z, y, z, x ..., whatever the other level does."""
    line = Timeline(RULES)
    g = line.cpu.group("g", Share(per_thread=False))
    for name in "xy":
        line.task(name, inside=g).hog()
    line.task("z", Share(per_thread=False)).hog()
    assert line.who(80, step=5) == "xzyz" * 4


def test_a_turn_counts_in_whole_units() -> None:
    """Ten bursts of 0.01 count as 0.1 each, one of 2.96 as 3.0."""
    line = Timeline(RULES)
    b = line.task("b").wakes(*[(20.0 * i, 0.01) for i in range(10)])
    c = line.task("c").wakes((210.0, 2.96))
    line.finish(300)
    came_at = 9.0  # b's, when it was last chosen
    assert (b.thread.entity.vruntime, c.thread.entity.vruntime) == (10.0, came_at + 30.0)


def test_a_context_switch_allowance_of_ten_times_the_length_costs_a_tenth() -> None:
    """Two hogs, switches of 0.1: lost is 0.1 of every 5 or 50."""
    lost = []
    for allowance_s in (0.005, 0.05):
        line = Timeline(BorrowedVirtualTime(allowance_s=allowance_s, switch_s=1e-4))
        for name in "ab":
            line.task(name, VM).hog()
        line.engine.run(10.0)
        lost.append(line.cpu.times().overhead_s / 10.0)
    assert lost == pytest.approx([0.02, 0.002], rel=0.02)


def test_rules_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"allowance_s: 0.0 s; must be positive"):
        BorrowedVirtualTime(allowance_s=0.0)
