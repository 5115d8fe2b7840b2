"""What the simulator leaves out must not be missed: threads at full speed, clocks moved without an event, ends known beforehand."""

from __future__ import annotations

from functools import partial

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st
from ideal import IdealCatalog, machine, scenario, system, workload

from simvirt.demand import Compute, DiskRead, Send
from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.fluid import FluidScheduler, FluidThread
from simvirt.resources.delay import Delay
from simvirt.scenario import Tenants
from simvirt.simulation import simulate
from simvirt.workloads.arrivals import ClosedLoop, Trace
from simvirt.workloads.distributions import Constant


class Machine:
    """Notes when each burst is done."""

    def __init__(self, cores: int) -> None:
        self.engine = Engine()
        self.cpu = FluidScheduler(self.engine, cores)
        self.done_at: dict[str, float] = {}

    def run(self, thread: FluidThread, name: str, cpu_s: float) -> None:
        thread.run(cpu_s, self.note, name)

    def note(self, name: str) -> None:
        self.done_at[name] = self.engine.now

    def at_full_speed(self) -> set[str]:
        return {thread.name for _, _, thread in self.cpu.queue if isinstance(thread, FluidThread)}


# ---- threads at full speed, and islands ----


def test_a_crowd_in_one_machine_leaves_the_others_at_full_speed() -> None:
    """4 cores; a VM with 1 vCPU and two threads of 1 s (1/2 each: done at 2); beside it a VM and a native thread, 1 s each (done at 1)."""
    host = Machine(cores=4)
    crowded, calm = (host.cpu.group(name, Share(processors=1)) for name in ("crowded", "calm"))
    for name in ("a", "b"):
        host.run(crowded.thread(name), name, 1.0)
    host.run(calm.thread("c"), "c", 1.0)
    host.run(host.cpu.thread("d"), "d", 1.0)
    assert host.at_full_speed() == {"c", "d"}
    host.engine.run(5.0)
    assert host.done_at == {"a": 2.0, "b": 2.0, "c": 1.0, "d": 1.0}


def test_whoever_is_left_goes_on_at_full_speed() -> None:
    """1 core: a (1 s) and b (2 s) in two groups share until 2; then b has 1 s left at full speed, done at 3."""
    host = Machine(cores=1)
    for name, cpu_s in (("a", 1.0), ("b", 2.0)):
        host.run(host.cpu.group(name, Share()).thread(name), name, cpu_s)
    assert host.at_full_speed() == set()
    host.engine.run(2.5)
    assert host.at_full_speed() == {"b"}
    host.engine.run(5.0)
    assert host.done_at == {"a": 2.0, "b": 3.0}


@pytest.mark.parametrize("groups", [2, 7, 20])
def test_a_narrow_gate_within_a_wide_one_is_felt_beside_it(groups: int) -> None:
    """A group capped at half a core on 1 core; another thread takes the other half. More threads outside: those share, it gets less.

    n groups of one thread beside the capped one (weights 1): each gets 1 / (n + 1) for n >= 1, as 1 / (n + 1) <= 1/2. So all of them,
    the capped one too, are done with their 1 s at n + 1.
    """
    host = Machine(cores=1)
    host.run(host.cpu.group("capped", Share(cap_cores=0.5)).thread("capped"), "capped", 1.0)
    for i in range(groups):
        host.run(host.cpu.group(str(i), Share()).thread(str(i)), str(i), 1.0)
    host.engine.run(100.0)
    assert host.done_at == pytest.approx(dict.fromkeys(["capped", *map(str, range(groups))], groups + 1.0), rel=1e-12)


def test_a_group_divided_in_mid_burst_keeps_its_weight_and_its_account() -> None:
    """1 core, weights 3 (p) and 1 (q), 3 s and 2 s of work, both in step until p is done at 4, when q has had 1 s; q is done at 5.

    At 2, p (1.5 s left) becomes a divider between its thread and a new group: nothing changes for either.
    """
    host = Machine(cores=1)
    p, q = host.cpu.group("p", Share(weight=3.0)), host.cpu.group("q", Share())
    host.run(p.thread("p"), "p", 3.0)
    host.run(q.thread("q"), "q", 2.0)
    host.engine.run(2.0)
    p.group("inside", Share())
    assert p.account().busy_s == pytest.approx(1.5, rel=1e-12)
    host.engine.run(10.0)
    assert host.done_at == pytest.approx({"p": 4.0, "q": 5.0}, rel=1e-12)
    assert (p.account().busy_s, q.account().busy_s, host.cpu.account().busy_s) == pytest.approx((3.0, 2.0, 5.0), rel=1e-12)


# ---- the clock moved without an event ----


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=12), st.integers(1, 3))
def test_stepping_and_running_give_the_same_times(jobs: list[tuple[int, int]], cores: int) -> None:
    """Under SimPy's own loop every completion is an event; in the short loop a scheduler goes on while nothing else is due."""
    found = []
    for until in (1000.0, "event"):
        host = Machine(cores)
        for i, (start, cpu_s) in enumerate(jobs):
            thread = host.cpu.group(str(i % 3), Share(processors=1 + i % 2)).thread(str(i))
            host.engine.wakeup(partial(host.run, thread, str(i), cpu_s / 4)).at(start / 4)
        host.engine.run(host.engine.timeout(1000.0) if until == "event" else until)
        found.append(list(host.done_at.items()))
    assert found[0] == found[1]
    assert len(found[0]) == len(jobs)


def test_the_clock_is_passed_on_only_where_nothing_is_due() -> None:
    """At 1, with a timeout at 3 and the end at 5: to 2 yes, to 3 no. In SimPy's own loop never."""
    for until, expected in ((5.0, [True, False]), (None, [False, False])):
        engine = Engine()
        engine.timeout(3.0)
        passed: list[bool] = []
        engine.wakeup(lambda engine=engine, passed=passed: passed.extend([engine.pass_to(2.0), engine.pass_to(3.0)])).at(1.0)
        engine.run(until)
        assert passed == expected
        assert not engine.pass_to(100.0)


def test_a_chain_of_bursts_passes_a_timeout_in_order() -> None:
    """Bursts of 1 s one after the other and a generator every 1.5 s; at 3 the generator is first, as it asked first."""
    host = Machine(cores=1)
    thread, log = host.cpu.thread("t"), list[tuple[str, float]]()

    def again(_: object) -> None:
        log.append(("burst", host.engine.now))
        thread.run(1.0, again, None)

    def clock() -> simpy.events.ProcessGenerator:
        while True:
            yield host.engine.timeout(1.5)
            log.append(("clock", host.engine.now))

    host.engine.process(clock())
    thread.run(1.0, again, None)
    host.engine.run(4.5)
    assert log == [("burst", 1), ("clock", 1.5), ("burst", 2), ("clock", 3), ("burst", 3), ("burst", 4)]


# ---- ends known beforehand ----


def test_a_delay_takes_what_comes_later() -> None:
    engine = Engine()
    delay, left = Delay(engine, 2.0), list[tuple[str, float]]()
    ends = [delay.pass_on_from(arrival, lambda who: left.append((who, engine.now)), who) for who, arrival in (("a", 0.5), ("b", 3.0))]
    engine.run(10.0)
    assert left == [("a", 2.5), ("b", 5.0)] == [("a", ends[0]), ("b", ends[1])]


SLOW_CARD = (machine(1, {"nic.bandwidth_bytes_per_s": 1.0}), system())


@pytest.mark.parametrize(("end", "completed"), [(5.0, 1), (5.5, 1), (7.5, 2)])
def test_a_request_counts_when_its_last_byte_has_left(end: float, completed: int) -> None:
    """Two requests at 0 and 3 with 1 s of work, then 3 bytes at 1 B/s: they are gone at 4 and at 4 + 3 = 7, known at 1 and at 4.

    In flight until `end`: 0-4 and 3-min(end, 7).
    """
    tenants = Tenants(workload="work", load=Trace(times_s=(0.0, 3.0)))
    work = workload(Compute(cpu_s=1.0), Send(messages=0.0, packets=0.0, size_bytes=3.0))
    tenant = simulate(scenario(tenants, duration_s=end, warm_up_fraction=0.0), IdealCatalog(SLOW_CARD, work)).tenants[0]
    assert (tenant.arrived, tenant.completed, tenant.in_flight_after) == (2, completed, 2 - completed)
    assert tenant.histogram.count == completed
    assert tenant.histogram.mean_s == pytest.approx(4.0)
    assert tenant.in_flight_mean * end == pytest.approx(4.0 + min(end, 7.0) - 3.0)


def test_a_request_that_ends_after_warm_up_counts_in_the_window() -> None:
    """Begun at 0.5 and gone at 4.5; warm-up ends at 3.5: known at 1.5, but counted after it, in flight for 1 s of the window of 3.5 s."""
    tenants = Tenants(workload="work", load=Trace(times_s=(0.5,)))
    work = workload(Compute(cpu_s=1.0), Send(messages=0.0, packets=0.0, size_bytes=3.0))
    tenant = simulate(scenario(tenants, duration_s=7.0, warm_up_fraction=0.5), IdealCatalog(SLOW_CARD, work)).tenants[0]
    assert (tenant.in_flight_before, tenant.completed, tenant.in_flight_after) == (1, 1, 0)
    assert tenant.in_flight_mean == pytest.approx(1.0 / 3.5)


def test_a_client_waits_for_the_last_byte() -> None:
    """One client that does not think: a turn is 1 s of work, a read of 0.5 s and 3 bytes at 1 B/s: 4.5 s, so 4 turns end within 20 s."""
    given = {"nic.bandwidth_bytes_per_s": 1.0, "disk.read_s": 0.5}
    work = workload(Compute(cpu_s=1.0), DiskRead(count=1.0), Send(messages=0.0, packets=0.0, size_bytes=3.0))
    tenants = Tenants(workload="work", load=ClosedLoop(clients=1, think=Constant(value=0.0)))
    outcome = simulate(scenario(tenants, duration_s=20.0, warm_up_fraction=0.0), IdealCatalog((machine(1, given), system()), work))
    assert (outcome.tenants[0].completed, outcome.tenants[0].in_flight_after) == (4, 1)
    assert outcome.tenants[0].histogram.mean_s == pytest.approx(4.5)
