"""Sharing by entitlement against traces worked by hand. Milliseconds; quantum 50, lead 1; v is the time consumed * 1024 / weight."""

from __future__ import annotations

import pytest
from timeline import Timeline, each

from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.proportional_share import ProportionalShare

RULES = ProportionalShare()
VM = Share(per_thread=False, processors=1)


def test_equal_hogs_alternate_by_quanta() -> None:
    line = Timeline(RULES)
    line.task("a", VM).hog()
    line.task("b", VM).hog()
    assert line.who(300, step=10) == ("a" * 5 + "b" * 5) * 3


def test_whoever_has_consumed_least_of_its_shares_has_the_next_quantum() -> None:
    """Weights 2 and 1. a: v = 25 at 50. b: v = 50 at 100. a (25) until 150, v = 50; equal: the one that waits, b: 100 at 200. a: 75, then
    100 at 300.
    """
    line = Timeline(RULES)
    line.task("a", Share(weight=2, per_thread=False, processors=1)).hog()
    line.task("b", VM).hog()
    assert line.who(300, step=10) == "aaaaabbbbbaaaaabbbbbaaaaaaaaaa"


def test_a_quantum_ends_at_its_instant_not_at_a_tick() -> None:
    """12.3 each, whatever the ticks."""
    line = Timeline(ProportionalShare(quantum_s=0.0123, hz=100))
    tasks = [line.task(name, VM).hog() for name in "ab"]
    line.engine.run(0.0123)
    assert each(tasks) == pytest.approx([12.3, 0.0])
    line.engine.run(0.0246)
    assert each(tasks) == pytest.approx([12.3, 12.3])


def test_a_sleeper_preempts_if_it_has_consumed_less() -> None:
    """b, new at 20.5, comes at the least of late, a's 20.5: 0 is not more than 1. It waits for a's quantum, runs 50-55, v = 25.5. a goes on
    from 50. b wakes at 56: a has 51, b 25.5: preempts, done at 57. b wakes at 90 for 1: a at 84, b at max(26.5, 84 - 50 = 34): preempts,
    done at 91.
    """
    line = Timeline(RULES)
    line.task("a", VM).hog()
    b = line.task("b", VM).wakes((20.5, 5.0), (56.0, 1.0), (90.0, 1.0))
    line.finish(200)
    assert b.done == pytest.approx([55.0, 57.0, 91.0])


def test_what_a_sleeper_saved_is_bounded_by_a_quantum() -> None:
    """a runs alone until 1000. b, at v = 1 since 1, comes at 1000 for 200: at no less than 1000 - 50. It has the core until v = 1000 - 0, a
    quantum, and alternates then.
    """
    line = Timeline(RULES)
    line.task("a", VM).hog(1.0)
    line.task("b", VM).wakes((0.0, 1.0), (1000.0, 200.0))
    line.engine.run(1.0)
    assert line.who(1250, step=10) == "bbbbbaaaaabbbbbaaaaabbbbb"


def test_a_limit_is_a_quota() -> None:
    """0.3 of a core: 30 of every 100."""
    line = Timeline(RULES)
    a = line.task("a", Share(per_thread=False, processors=1, cap_cores=0.3)).hog()
    line.engine.run(0.99)
    assert each([a]) == pytest.approx([300.0])
    assert a.group.counters().nr_throttled == 9


def test_shares_count_per_vcpu() -> None:
    """A VM with two vCPUs has twice the weight of one with one: 2/3 of the core."""
    line = Timeline(RULES)
    two = line.cpu.group("two", Share(processors=2))
    for name in "xy":
        two.thread(name).run(1e6, print, None)
    line.task("z", Share(processors=1)).hog()
    line.engine.run(30.0)
    assert two.account().busy_s == pytest.approx(20.0, rel=0.01)


def test_rules_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"quantum_s: 0.0 s; must be positive; lead_s: -1.0 s; must be at least 0"):
        ProportionalShare(quantum_s=0.0, lead_s=-1.0)
