"""Reservations against arithmetic, and who runs under them. Milliseconds; quantum 10."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeline import Timeline, each

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.proportional_share import ProportionalShare
from simvirt.resources.cpu.discrete.reservations import boosts
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler

RULES = ProportionalShare(quantum_s=0.01)
VM = Share(per_thread=False, processors=1)


def reserved(cores: float, weight: float = 1.0, processors: int = 1) -> Share:
    return Share(weight=weight, per_thread=False, processors=processors, reservation_cores=cores)


def test_a_reservation_decides_where_the_weight_gives_less() -> None:
    """Four of weight 1 on one core, one with 0.5 reserved: the level of the others is 0.5 / 3, so its weight is 0.5 / (0.5 / 3) = 3."""
    assert boosts([(1.0, 0.5)], 3.0, 1) == pytest.approx([3.0])


def test_a_reservation_below_the_fair_share_changes_nothing() -> None:
    """One of two equals has half of the core; 0.4 of it are reserved."""
    assert boosts([(1.0, 0.4)], 1.0, 1) == [1.0]


def test_a_reservation_that_decides_can_make_another_one_decide() -> None:
    """Two cores, weights 1, 1 and others of 2; 1 and 0.45 reserved. Fair is 0.5 each. The first takes 1: the level is 1 / 3 < 0.45, so the
    second takes 0.45: the level is 0.55 / 2 = 0.275. Weights 1 / 0.275 and 0.45 / 0.275.
    """
    assert boosts([(1.0, 1.0), (1.0, 0.45)], 2.0, 2) == pytest.approx([1 / 0.275, 0.45 / 0.275])


entries = st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.01, 1.0)), min_size=1, max_size=5)


@given(entries, st.floats(0.1, 20.0), st.floats(1.0, 8.0))
def test_entitlements_are_at_least_the_reservations_and_add_up(groups: list[tuple[float, float]], other: float, scale: float) -> None:
    """With less reserved than there is: entitlements are max(r, weight * level), and with the others' they are all processors."""
    processors = scale * sum(least for _, least in groups) * 1.01
    weights = [weight * boost for (weight, _), boost in zip(groups, boosts(groups, other, processors), strict=True)]
    level = processors / (sum(weights) + other)
    for (weight, least), effective in zip(groups, weights, strict=True):
        assert effective * level == pytest.approx(max(least, weight * level), rel=1e-6)


def test_who_runs_with_a_reservation() -> None:
    """Weights 1, 1 and 0.8, half of the core reserved for a: its weight is 0.5 / (0.5 / 1.8) = 1.8; v grows by 5.6, 10, 12.5 a turn.

    a 5.6, b 10, c 12.5; a (5.6) 11.1, b (10) 20, a (11.1) 16.7, c (12.5) 25, a (16.7) 22.2, b (20) 30, a (22.2) 27.8, c (25) 37.5, a.
    """
    line = Timeline(RULES)
    for name, share in (("a", reserved(0.5)), ("b", VM), ("c", Share(weight=0.8, per_thread=False))):
        line.task(name, share).hog()
    assert line.who(120, step=10) == "abcabacabaca"
    assert line.who(1720, step=10).count("a") == 80


def test_a_reservation_holds_while_the_group_wants_it_only() -> None:
    """a sleeps until 100: b and c have half each. Then a has 0.6."""
    line = Timeline(RULES)
    a = line.task("a", reserved(0.6)).hog(100.0)
    others = [line.task(name, VM).hog() for name in "bc"]
    line.engine.run(0.1)
    assert each(others) == pytest.approx([50.0, 50.0])
    line.engine.run(20.1)
    assert each([a]) == pytest.approx([12000.0], rel=0.01)


def test_a_limit_bounds_what_is_had_beyond_the_reservation() -> None:
    line = Timeline(RULES)
    share = Share(per_thread=False, processors=1, reservation_cores=0.2, cap_cores=0.3)
    a, b = line.task("a", share).hog(), line.task("b", VM).hog()
    line.engine.run(10.0)
    assert each([a, b]) == pytest.approx([3000.0, 7000.0], rel=0.01)


@settings(max_examples=15, deadline=None)
@given(
    groups=st.lists(st.tuples(st.floats(0.5, 4.0), st.sampled_from([0.0, 0.1, 0.2, 0.3])), min_size=2, max_size=3),
    processors=st.sampled_from([1, 2]),
)
def test_nobody_gets_less_than_is_reserved(groups: list[tuple[float, float]], processors: int) -> None:
    """On one core, whatever the weights: within 1 % of the core over 20 s."""
    engine = Engine()
    cpu = DiscreteScheduler(engine, 1, RULES)
    machines = [cpu.group(str(i), reserved(cores, weight, processors)) for i, (weight, cores) in enumerate(groups)]
    for machine in machines:
        for i in range(processors):
            machine.thread(str(i)).run(1e6, print, None)
    engine.run(20.0)
    for machine, (_, cores) in zip(machines, groups, strict=True):
        assert machine.account().busy_s >= (cores - 0.01) * 20.0
    assert cpu.times().idle_s == 0.0


def test_reservations_over_several_cores() -> None:
    """Four machines of two processors on four cores, equal weights, 2 of the 4 cores reserved for one: it has its two cores."""
    engine = Engine()
    cpu = DiscreteScheduler(engine, 4, RULES)
    machines = [cpu.group(str(i), reserved(1.8 if i == 0 else 0.0, processors=2)) for i in range(4)]
    for machine in machines:
        for i in range(2):
            machine.thread(str(i)).run(1e6, print, None)
    engine.run(20.0)
    had = [machine.account().busy_s / 20.0 for machine in machines]
    assert had[0] >= 1.8 * 0.97
    assert had[1:] == pytest.approx([2.2 / 3] * 3, rel=0.1)


IMPOSSIBLE = [Share(reservation_cores=1.5), Share(reservation_cores=-0.1), Share(cap_cores=0.2, reservation_cores=0.3)]


@pytest.mark.parametrize("share", IMPOSSIBLE)
def test_a_reservation_must_be_possible(share: Share) -> None:
    with pytest.raises(ValueError, match=r"group web: reservation of .* cores; must be at least 0 and no more than it can use"):
        DiscreteScheduler(Engine(), 1, RULES).group("web", share)


def test_rules_without_reservations_refuse_them() -> None:
    with pytest.raises(ValueError, match=r"reservation of 0.5 cores; only some rules have them"):
        DiscreteScheduler(Engine(), 1, CompletelyFair()).group("web", reserved(0.5))
    vm = DiscreteScheduler(Engine(), 1, RULES).group("vm", VM).group("inner", Share(per_thread=False))
    with pytest.raises(ValueError, match=r"only some rules have them, for groups of the machine itself"):
        vm.group("web", Share(reservation_cores=0.5))


def test_a_group_wants_no_more_than_its_runnable_tasks_can_use() -> None:
    """1.8 of two cores reserved, one thread runnable: it is entitled to 1; three others of weight 1 share the other core: level 1/3."""
    cpu = DiscreteScheduler(Engine(), 2, RULES)
    vm = cpu.group("vm", reserved(1.8, processors=2))
    for machine in (vm, *(cpu.group(str(i), VM) for i in range(3))):
        machine.thread("t").run(1e6, print, None)
    assert vm._outer.entity.boost == pytest.approx(3.0)
