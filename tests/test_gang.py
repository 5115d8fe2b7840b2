"""Relaxed co-scheduling against traces worked by hand. Milliseconds; quantum 10, a lead of at most 3."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeline import MS, Timeline, each

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.proportional_share import ProportionalShare
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler

UNBALANCED_S = 1e3
RULES = ProportionalShare(quantum_s=0.01, skew_s=0.003, balance_s=UNBALANCED_S)


def beside_a_hog(rules: ProportionalShare, until: float) -> tuple[list[float], float]:
    """Two cores: x on core 0, a virtual machine with hogs y, on core 1, and z, behind x. What x, y, z had, and co-stop."""
    line = Timeline(rules, cores=2, inside=CompletelyFair())
    x = line.task("x").hog()
    vm = line.cpu.group("vm", Share(processors=2))
    y, z = (line.task(name, inside=vm, core=i).hog() for i, name in enumerate("yz"))
    line.engine.run(until * MS)
    return each([x, y, z]), vm.counters().costop_s / MS


def test_without_a_bound_one_processor_runs_ahead() -> None:
    """x until 10, z until 20, x until 30: y has all of core 1."""
    had, costop = beside_a_hog(ProportionalShare(quantum_s=0.01, balance_s=UNBALANCED_S), 30)
    assert had == pytest.approx([20.0, 30.0, 10.0])
    assert costop == 0.0


def test_who_leads_is_stopped_until_the_other_has_caught_up() -> None:
    """At 3 y leads by 3 and is stopped; core 1, idle, takes z, which comes at y's consumed time, 3. At 6 z has caught up, with 6; y, at 3,
    wakes and preempts. At 9 it leads by 3 again, and so on: y 0-3, 6-9, 12-15, 18-21, stopped in between.
    """
    had, costop = beside_a_hog(RULES, 21)
    assert had == pytest.approx([21.0, 12.0, 9.0])
    assert costop == pytest.approx(9.0)


def test_two_processors_on_one_core_alternate_by_their_lead() -> None:
    """As above, alone on one core, 10 of work each, the quantum of 10 being never reached: z is done at 19, y at 20."""
    line = Timeline(RULES, inside=CompletelyFair())
    vm = line.cpu.group("vm", Share(processors=2))
    for i, name in enumerate("yz"):
        line.task(name, inside=vm, core=i).wakes((0.0, 10.0))
    assert line.who(21) == "yyyzzzzzzyyyyyyzzzzy."


def test_an_idle_sibling_stops_nobody() -> None:
    """z sleeps: y has its core though it runs ahead."""
    line = Timeline(RULES, inside=CompletelyFair())
    vm = line.cpu.group("vm", Share(processors=2))
    y = line.task("y", inside=vm, core=0).hog()
    line.task("z", inside=vm, core=1).wakes((50.0, 1.0))
    line.finish(45)
    assert each([y]) == pytest.approx([45.0])
    assert vm.counters().costop_s == 0.0


def test_time_asleep_is_progress() -> None:
    """z wakes at 50 behind x, whose quantum began at 46, after w: y, which has run since 0, leads from 50 on only, and is stopped at 53."""
    line = Timeline(RULES, cores=2, inside=CompletelyFair())
    line.task("x").hog()
    line.task("w", core=0).wakes((45.0, 1.0))
    vm = line.cpu.group("vm", Share(processors=2))
    line.task("y", inside=vm, core=0).hog()
    line.task("z", inside=vm, core=1).hog(50.0)
    line.finish(52.9)
    assert vm.counters().costop_s == 0.0
    line.finish(54.0)
    assert vm.counters().costop_s / MS == pytest.approx(1.0)


spans = st.floats(1e-4, 0.05)


@settings(max_examples=25, deadline=None)
@given(
    bursts=st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 0.1), spans), min_size=1, max_size=10),
    hogs=st.integers(0, 2),
    cores=st.integers(1, 3),
)
def test_time_adds_up_and_nobody_is_stopped_for_ever(bursts: list[tuple[int, float, float]], hogs: int, cores: int) -> None:
    """A machine of three processors beside hogs."""
    engine = Engine()
    cpu = DiscreteScheduler(engine, cores, ProportionalShare(quantum_s=0.01, skew_s=0.003))
    vm = cpu.group("vm", Share(processors=3))
    for i in range(hogs):
        cpu.group(f"hog {i}", Share(processors=1)).thread("t").run(1e6, print, None)
    done: list[float] = []
    for core, start_s, burst_s in bursts:
        thread = vm.thread("t", frozenset({core}))
        engine.wakeup(lambda t=thread, s=burst_s: t.run(s, done.append, s)).at(start_s)
    for stop_s in (0.05, 0.11, 30.0):
        engine.run(stop_s)
        times = cpu.times()
        assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(cores * stop_s, abs=1e-9)
    assert sorted(done) == sorted(burst_s for _, _, burst_s in bursts)
