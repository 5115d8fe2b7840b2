"""Threads that run beside each other slow each other down: on run queues, in virtual machines, through switches and migrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simvirt.engine import Engine
from simvirt.memory_character import MemoryCharacter
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.agenda import Agenda
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.credit import Credit
from simvirt.resources.cpu.discrete.eevdf import EarliestEligibleDeadline
from simvirt.resources.cpu.discrete.proportional_share import ProportionalShare
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.resources.cpu.discrete.tasks import DiscreteThread
from simvirt.resources.memory_system.contention import Runner, solve
from simvirt.resources.memory_system.system import MemorySystem, Seat
from simvirt.resources.memory_system.topology import Topology

NS = 1e-9
MIB = 2.0**20

TWO_CORES = Topology(
    cores=2, llc_bytes=16 * MIB, llc_hit_s=20 * NS, memory_latency_s=70 * NS, queueing=0.2, memory_bytes_per_s=20e9,
    private_bytes=MIB, refill_s_per_byte=0.0, sibling_speed=0.62, remote_latency=1.6,
)  # fmt: skip
SMALL = MemoryCharacter(accesses_per_s=20e6, working_set_bytes=4 * MIB, reuse=0.5, parallelism=1.5)
THRASHER = MemoryCharacter(accesses_per_s=80e6, working_set_bytes=64 * MIB, parallelism=8.0)
STREAM = MemoryCharacter(accesses_per_s=80e6, working_set_bytes=1e12, cold=1.0, parallelism=10.0)
COMPUTE = None

VM = Share(processors=1)
CONTAINER = Share(per_thread=False)

RULES: dict[str, AbstractRules] = {
    "cfs": CompletelyFair(hz=1000),
    "eevdf": EarliestEligibleDeadline(hz=1000),
    "credit": Credit(),
    "proportional share": ProportionalShare(quantum_s=0.01),
}


class Bench:
    """A machine whose threads say how they use memory."""

    def __init__(self, topology: Topology = TWO_CORES, rules: AbstractRules | None = None, partitioned_bytes: float = 0.0) -> None:
        self.engine = Engine()
        self.cpu = DiscreteScheduler(self.engine, topology.processors, rules or CompletelyFair(hz=1000))
        self.memory = self.cpu.share_memory(topology, partitioned_bytes)
        self.done_at: dict[str, float] = {}

    def thread(
        self,
        name: str,
        character: MemoryCharacter | None,
        *,
        share: Share = CONTAINER,
        partition_bytes: float | None = None,
        home: int | None = None,
        core: int | None = None,
    ) -> DiscreteThread:
        group = self.cpu.group(name, share)
        if character is not None:
            group.owner = self.memory.owner(character, partition_bytes=partition_bytes, home=home)
        return group.thread(name, None if core is None else frozenset({core}))

    def run(self, thread: DiscreteThread, work_s: float) -> None:
        thread.run(work_s, self._note, thread.name)

    def _note(self, name: str) -> None:
        self.done_at[name] = self.engine.now

    def together(self, until_s: float, **threads: tuple[MemoryCharacter | None, float]) -> dict[str, float]:
        """When bursts are done that all begin at once."""
        for name, (character, work_s) in threads.items():
            self.run(self.thread(name, character), work_s)
        self.engine.run(until_s)
        return self.done_at


# ---- speeds ----


@pytest.mark.parametrize("character", [SMALL, THRASHER, STREAM])
def test_alone_nothing_is_lost(character: MemoryCharacter) -> None:
    assert Bench().together(2.0, only=(character, 0.75)) == {"only": 0.75}


def test_a_thread_without_a_character_is_as_fast_as_ever() -> None:
    done = Bench().together(9.0, hog=(STREAM, 5.0), plain=(COMPUTE, 1.0))
    assert done["plain"] == 1.0


def test_a_neighbour_slows_down_while_it_is_there_and_no_longer() -> None:
    """Streams that take no part in the cache: at speed v until the shorter burst is done, then at full speed.

    The short one is done at t = 0.3 / v; the long one has then done 0.3 and needs another 0.7.
    """
    bench = Bench()
    speed = solve({Runner(STREAM, 1.0): 2}, TWO_CORES).speeds[Runner(STREAM, 1.0)]
    assert speed < 0.95
    done = bench.together(3.0, short=(STREAM, 0.3), long=(STREAM, 1.0))
    assert done["short"] == pytest.approx(0.3 / speed, rel=1e-12)
    assert done["long"] == pytest.approx(0.3 / speed + 0.7, rel=1e-12)


def test_what_is_lost_is_cpu_time_in_which_nothing_is_done() -> None:
    bench = Bench()
    done = bench.together(3.0, short=(STREAM, 0.3), long=(STREAM, 1.0))
    times = bench.cpu.times()
    assert times.busy_s == pytest.approx(done["short"] + done["long"], rel=1e-12)
    assert times.stalled_s == pytest.approx(times.busy_s - 1.3, rel=1e-9)
    assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(6.0, rel=1e-12)


def test_equal_runners_are_equally_fast() -> None:
    done = Bench().together(9.0, a=(THRASHER, 1.0), b=(THRASHER, 1.0))
    assert done["a"] == done["b"] > 1.0


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
def test_virtual_machines_and_containers_lose_the_same(rules: AbstractRules) -> None:
    """Nothing that is shared in memory knows of virtual machines: equal to the last bit, at any depth."""

    def done(*shares: Share) -> dict[str, float]:
        bench = Bench(rules=rules)
        for name, character in (("victim", SMALL), ("hog", THRASHER)):
            group = bench.cpu.group(name, shares[0])
            for depth, share in enumerate(shares[1:]):
                group = group.group(f"{name} {depth}", share)
            group.owner = bench.memory.owner(character)
            bench.run(group.thread(name), 0.5)
        bench.engine.run(3.0)
        return bench.done_at

    contained = done(CONTAINER)
    assert contained["victim"] > 0.5
    assert done(VM) == contained
    assert done(VM, VM, CONTAINER) == contained


# ---- shares over time ----


def duty(topology: Topology, run_s: float, sleep_s: float, rounds: int) -> float:
    """CPU time per work of a victim that runs for a while and sleeps for a while, beside a thrasher."""
    bench = Bench(topology)
    bench.run(bench.thread("hog", THRASHER), 1e6)
    victim = bench.thread("victim", SMALL)
    left = [rounds]
    wake = bench.engine.wakeup(lambda: victim.run(run_s, slept, None))

    def slept(_: None) -> None:
        left[0] -= 1
        if left[0]:
            wake.at(bench.engine.now + sleep_s)

    wake.at(0.0)
    bench.engine.run(10.0 * rounds * (run_s + sleep_s))
    assert left == [0]
    victim.bring(bench.engine.now)
    return victim.busy_s / (rounds * run_s)


def test_who_runs_seldom_finds_less_of_its_set() -> None:
    always, half, seldom = duty(TWO_CORES, 0.2, 0.0001, 5), duty(TWO_CORES, 1e-4, 1e-4, 2000), duty(TWO_CORES, 1e-4, 1e-3, 500)
    assert 1.01 < always < 0.99 * half < 0.98 * seldom


def test_who_takes_turns_on_a_core_shares_the_cache_too() -> None:
    """One core, so never beside each other; each has run in every window, so that neither holds all of its set."""
    bench = Bench(replace(TWO_CORES, cores=1))
    done = bench.together(5.0, victim=(SMALL, 0.5), hog=(THRASHER, 1e6))
    assert done["victim"] > 1.05
    assert bench.cpu.times().stalled_s > 0.01


def test_the_share_of_who_has_gone_is_free_after_a_window() -> None:
    """The window is 16 MiB / (0.25 * 20 GB/s) = 3.4 ms: of 1 s beside a burst of 1 ms, no more than that is slow."""
    window_s = 16 * MIB / (0.25 * 20e9)
    done = Bench().together(5.0, victim=(SMALL, 1.0), hog=(THRASHER, 1e-3))
    slowest = solve({Runner(SMALL, 1.0): 1}, TWO_CORES).speeds[Runner(SMALL, 1.0)]
    assert 1.0 < done["victim"] <= 1.0 + 2 * window_s * (1.0 - slowest) + 1e-3


# ---- partitions ----


def test_with_a_partition_for_its_set_a_victim_loses_bandwidth_only() -> None:
    """The thrasher is left 8 of 16 MiB. What the victim then feels is the latency at the utilization that it causes."""
    bench = Bench(partitioned_bytes=8 * MIB)
    bench.run(bench.thread("victim", SMALL, partition_bytes=8 * MIB), 1.0)
    bench.run(bench.thread("hog", THRASHER), 1e6)
    bench.engine.run(9.0)
    assert bench.done_at["victim"] == 1.0  # it misses nothing, so that latency does not matter to it

    cold = replace(SMALL, cold=0.2)
    bench = Bench(partitioned_bytes=8 * MIB)
    bench.run(bench.thread("victim", cold, partition_bytes=8 * MIB), 1.0)
    bench.run(bench.thread("hog", STREAM), 1e6)
    bench.engine.run(9.0)
    victim = Runner(cold, 0.2)
    speed = solve({victim: 1, Runner(STREAM, 1.0): 1}, TWO_CORES).speeds[victim]
    assert speed < 0.99
    assert bench.done_at["victim"] == pytest.approx(1.0 / speed, rel=1e-9)


def test_a_partition_bounds_who_has_it() -> None:
    bench = Bench(partitioned_bytes=MIB)
    bench.run(bench.thread("victim", SMALL, partition_bytes=MIB), 1.0)
    bench.engine.run(9.0)
    runner = Runner(SMALL, 0.5)  # a quarter of the set, which takes sqrt(1/4) of the accesses
    assert bench.done_at["victim"] == pytest.approx(1.0 / solve({runner: 1}, TWO_CORES).speeds[runner], rel=1e-9)


def test_partitions_larger_than_the_cache_are_refused() -> None:
    with pytest.raises(ValueError, match=r"partitions of .* in a cache of .*; at most all of it"):
        Bench(partitioned_bytes=17 * MIB)


# ---- cores with two threads ----


def test_two_hyper_threads_of_a_core_share_it() -> None:
    """Both compute for 0.62 s of work: together until the end, 1 s. On cores of their own, 0.62 s."""
    core = replace(TWO_CORES, cores=1, threads_per_core=2)
    assert Bench(core).together(9.0, a=(COMPUTE, 0.62), b=(COMPUTE, 0.62)) == pytest.approx({"a": 1.0, "b": 1.0}, rel=1e-12)
    bench = Bench(replace(core, cores=2))
    for name, processor in (("a", 0), ("b", 2)):
        bench.run(bench.thread(name, COMPUTE, core=processor), 0.62)
    bench.engine.run(9.0)
    assert bench.done_at == {"a": 0.62, "b": 0.62}


def test_time_lost_to_a_sibling_is_told_apart() -> None:
    bench = Bench(replace(TWO_CORES, cores=1, threads_per_core=2))
    a = bench.thread("a", COMPUTE)
    bench.run(a, 0.62)
    bench.run(bench.thread("b", COMPUTE), 1e6)
    bench.engine.run(9.0)
    assert a.take_stalls() == pytest.approx((0.0, 0.38), rel=1e-9, abs=1e-12)
    assert a.take_stalls() == (0.0, 0.0)


def test_a_thread_takes_nothing_from_its_sibling_while_it_wakes_up() -> None:
    """b's half of the core needs 0.2 s to wake up, then b has 0.31 s of work at 0.62 of the speed: 0.7 s. By then a has done 0.2 + 0.31 of
    its 1 s of work, and is done at 1.19. Each has lost 0.38 of 0.5 s.
    """
    bench = Bench(replace(TWO_CORES, cores=1, threads_per_core=2))
    a, b = bench.thread("a", COMPUTE), bench.thread("b", COMPUTE)
    bench.run(a, 1.0)
    b.run_after(0.2, 0.31, lambda _: bench.done_at.update(b=bench.engine.now), None)
    bench.engine.run(9.0)
    assert bench.done_at == pytest.approx({"a": 1.19, "b": 0.7}, rel=1e-12)
    assert a.take_stalls() == pytest.approx((0.0, 0.19)) == b.take_stalls()


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_interrupt_goes_on_faster_once_its_sibling_is_idle(interrupted: bool) -> None:
    """A handler of 1 s on one half of a core, 0.93 s of work on the other: both at 0.62 of the speed for 1.5 s; then 0.07 s are left of the
    handler, at full speed: 1.57 s, whether it has interrupted somebody or not.
    """
    bench = Bench(replace(TWO_CORES, cores=1, threads_per_core=2))
    if interrupted:
        bench.run(bench.thread("hog", COMPUTE, core=1), 5.0)
    bench.run(bench.thread("a", COMPUTE, core=0), 0.93)
    bench.run(bench.thread("handler", COMPUTE, share=Share(weight=1000.0, interrupt=True), core=1), 1.0)
    bench.engine.run(9.0)
    assert (bench.done_at["a"], bench.done_at["handler"]) == pytest.approx((1.5, 1.57), rel=1e-12)


# ---- nodes ----


def test_memory_stays_where_its_program_first_ran() -> None:
    """One core per node. A program of 5e6 misses a second of 70 ns takes 1.21 s for 1 s of work on the other node (1 + 0.35 * 0.6)."""
    far = MemoryCharacter(accesses_per_s=5e6, working_set_bytes=1e12, cold=1.0, miss_bytes=0.0)
    nodes = replace(TWO_CORES, sockets=2)
    for home, core, expected in ((None, 0, 1.0), (None, 1, 1.0), (0, 1, 1.21), (1, 1, 1.0)):
        bench = Bench(nodes)
        bench.run(bench.thread("only", far, home=home, core=core), 1.0)
        bench.engine.run(9.0)
        assert bench.done_at["only"] == pytest.approx(expected, rel=1e-12)


def test_nodes_have_caches_and_bandwidth_of_their_own() -> None:
    bench = Bench(replace(TWO_CORES, sockets=2))
    done = bench.together(9.0, a=(STREAM, 1.0), b=(STREAM, 1.0))
    assert done == {"a": 1.0, "b": 1.0}
    bench = Bench(replace(TWO_CORES, sockets=2))
    for name, core in (("a", 0), ("b", 1)):
        bench.run(bench.thread(name, STREAM, core=core, home=0), 1.0)
    bench.engine.run(9.0)
    near, far = Runner(STREAM, 1.0), Runner(STREAM, 1.0, remote=True)
    speeds = solve({near: 1, far: 1}, TWO_CORES).speeds
    assert bench.done_at["a"] == pytest.approx(1.0 / speeds[near], rel=1e-6)


# ---- switches and migrations ----


class Watch:
    """A thread without a scheduler."""

    def pace(self, factor: float, now: float) -> None:
        pass


def seat(memory: MemorySystem, set_bytes: float) -> Seat:
    return memory.seat(memory.owner(MemoryCharacter(accesses_per_s=0.0, working_set_bytes=set_bytes)), Watch())


def test_refills_worked_by_hand() -> None:
    """A private cache of 1000 B, 1 s a byte, on each of two cores in two nodes; a node is 1.6 times as far from the other.

    A (600 B) and B (800 B) take turns on core 0: both fit but for 400 B. A's own place is 600, so that B's 800 displace 400 of it.
    B's own place is 800: of A's 600 (or the 400 that A brings back), 200 fit beside it.
    """
    machine = replace(TWO_CORES, sockets=2, private_bytes=1000.0, refill_s_per_byte=1.0)
    memory = MemorySystem(Engine(), machine, Agenda())
    a, b = seat(memory, 600.0), seat(memory, 800.0)

    def turn(who: Seat, core: int) -> float:
        refill_s = who.start(core, 0.0)
        who.stop(0.0)
        return refill_s

    assert turn(a, 0) == 0.0  # it has never run: nothing to bring back
    assert turn(a, 0) == 0.0  # nobody was here since
    assert turn(b, 0) == 0.0
    assert turn(a, 0) == 400.0  # 800 came, 400 found room
    assert turn(b, 0) == 200.0  # 400 came, 200 found room
    assert turn(a, 0) == 0.0  # 200 came and found room
    assert turn(a, 1) == 600.0 * 1.6  # all of it, from the other node
    assert turn(a, 1) == 0.0
    assert turn(a, 0) == 0.0  # nobody was there since


def test_a_set_larger_than_the_private_cache_fills_all_of_it() -> None:
    memory = MemorySystem(Engine(), replace(TWO_CORES, private_bytes=1000.0, refill_s_per_byte=1.0), Agenda())
    a, b = seat(memory, 5000.0), seat(memory, 3.0)
    for who, expected in ((a, 0.0), (b, 0.0), (a, 3.0), (b, 0.0), (a, 0.0)):  # a never brings in enough to displace b's 3 B
        assert who.start(0, 0.0) == expected
        who.stop(0.0)
    assert a.start(1, 0.0) == 1000.0  # on a core of the same node


def test_switches_between_two_programs_cost_what_refilling_costs() -> None:
    """Two hogs whose sets fill the private cache, on one core: every switch but the first two takes 1 MiB * 0.03 ns/B = 31.5 us."""
    bench = Bench(replace(TWO_CORES, cores=1, refill_s_per_byte=0.03 * NS))
    filled = MemoryCharacter(accesses_per_s=0.0, working_set_bytes=MIB)
    for name in "ab":
        bench.run(bench.thread(name, filled), 1e6)
    bench.engine.run(1.0005)
    switches = bench.cpu.counters().involuntary_switches
    assert switches > 100
    assert bench.cpu.times().overhead_s == pytest.approx((switches - 1) * MIB * 0.03 * NS, rel=1e-9)


# ---- accounts ----


@settings(max_examples=25, deadline=None)
@given(
    rules=st.sampled_from(list(RULES.values())),
    topology=st.sampled_from(
        [
            TWO_CORES,
            replace(TWO_CORES, sockets=2, refill_s_per_byte=0.03 * NS),
            replace(TWO_CORES, threads_per_core=2, refill_s_per_byte=0.03 * NS),
        ]
    ),
    plan=st.lists(
        st.tuples(
            st.sampled_from([SMALL, THRASHER, STREAM, COMPUTE]),
            st.sampled_from([CONTAINER, VM, Share(processors=2), Share(cap_cores=0.5, per_thread=False)]),
            st.lists(st.tuples(st.floats(1e-5, 0.02), st.floats(0.0, 0.02)), min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_time_is_accounted_for_to_the_last_bit(
    rules: AbstractRules, topology: Topology, plan: list[tuple[MemoryCharacter | None, Share, list[tuple[float, float]]]]
) -> None:
    """Cores times time is busy, idle or overhead; what of busy is not stalled is the work of the bursts, all of which end."""
    bench = Bench(topology, rules)
    threads = []
    for i, (character, share, bursts) in enumerate(plan):
        thread = bench.thread(str(i), character, share=share)
        threads.append(thread)
        _chain(bench.engine, thread, bursts)()
    bench.engine.run(40.0)
    times = bench.cpu.times()
    assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(40.0 * topology.processors, rel=1e-9)
    work_s = sum(burst for _, _, bursts in plan for burst, _ in bursts)
    assert times.busy_s - times.stalled_s == pytest.approx(work_s, rel=1e-9)
    assert times.stalled_s == pytest.approx(sum(sum(thread.take_stalls()) for thread in threads), rel=1e-9, abs=1e-12)
    assert times.stalled_s >= 0.0


def _chain(engine: Engine, thread: DiscreteThread, bursts: list[tuple[float, float]]) -> Callable[[], None]:
    """Run one burst after the other, asleep in between for as long as each says."""
    left = list(bursts)

    def begin() -> None:
        work_s, sleep_s = left.pop(0)
        thread.run(work_s, ended, sleep_s)

    def ended(sleep_s: float) -> None:
        if left:
            wake.at(engine.now + sleep_s)

    wake = engine.wakeup(begin)
    return begin


def test_a_restart_counts_anew() -> None:
    bench = Bench()
    for name in "ab":
        bench.run(bench.thread(name, STREAM), 1e6)
    bench.engine.run(1.0)
    assert bench.cpu.times().stalled_s > 0.0
    bench.cpu.restart()
    assert bench.cpu.times().stalled_s == 0.0
    bench.engine.run(2.0)
    speed = solve({Runner(STREAM, 1.0): 2}, TWO_CORES).speeds[Runner(STREAM, 1.0)]
    assert bench.cpu.times().stalled_s == pytest.approx(2.0 * (1.0 - speed), rel=1e-9)
    assert bench.cpu.account().busy_s == pytest.approx(2.0, rel=1e-12)


# ---- what it costs ----


def test_solutions_are_kept() -> None:
    """Ten thousand starts and stops of the same few runners solve for as many speeds as there are different crowds."""
    bench = Bench()
    bench.run(bench.thread("hog", STREAM), 1e6)
    victim = bench.thread("victim", STREAM)
    left = [5000]

    def again(_: None) -> None:
        left[0] -= 1
        if left[0]:
            wake.at(bench.engine.now + 1e-5)

    wake = bench.engine.wakeup(lambda: victim.run(1e-5, again, None))
    wake.at(0.0)
    bench.engine.run(1.0)
    assert left == [0]
    assert len(bench.memory._solutions) < 40
