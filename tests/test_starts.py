"""Starts on a simulated host: closed forms, traces worked out by hand, and conservation laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simvirt.catalog import Catalog
from simvirt.engine import Engine
from simvirt.evidence import Cost, Grade
from simvirt.layers.stack import Stack
from simvirt.randomness import Streams, uniforms
from simvirt.resources.control_plane import ControlPlane
from simvirt.resources.cpu.scheduling import make_scheduler
from simvirt.resources.mutex import Mutex
from simvirt.scenario import Run
from simvirt.scheduler_choice import schedulers_on
from simvirt.simulation.instances import InstanceTree, TenantShare
from simvirt.simulation.launch import Launch, Launcher
from simvirt.simulation.run import host_of
from simvirt.simulation.starts import Starts, chain_for, start_all
from simvirt.simulation.storage import make_disks
from simvirt.startup import AbstractStage, Chain, DiskAccess, Program, Requests, Section, Step

CATALOG = Catalog.builtin()
STACK = CATALOG.stack("docker", "small-server")
CORES = STACK.hardware.processors


def cost(value: float, unit: str = "s") -> Cost:
    return Cost(value=value, unit=unit, low=value, high=value, source="a", where="here", grade=Grade.ASSUMED)


NONE = cost(0.0, "x")


def program(cpu_s: float = 0.0, **more: float) -> Program:
    units = {"wait_s": "s", "instance_s": "s", "size_bytes": "B", "copy_s_per_byte": "s/B"}
    return Program(name="run", cv=NONE, cpu_s=cost(cpu_s), **{key: cost(value, units.get(key, "x")) for key, value in more.items()})


def section(hold_s: float, lock: str = "l") -> Section:
    return Section(name="hold", cv=NONE, lock=lock, hold_s=cost(hold_s))


def chain(*stages: AbstractStage, stack: Stack = STACK, by: int = 2, read: DiskAccess | None = None) -> Chain:
    reads = [round(stage.read_count) if isinstance(stage, Program) else 0 for stage in stages]
    steps = [Step(level=2, by=by, layer="x", stage=stage, reads=n, read=read) for stage, n in zip(stages, reads, strict=True)]
    return Chain(stack=stack, level=2, steps=tuple(steps))


class World:
    """A host on which starts are begun at given times."""

    def __init__(self, stack: Stack = STACK, scheduler: str = "fluid", **more: float) -> None:
        self.engine = Engine()
        streams = Streams(1)
        rules = {kernel: CATALOG.scheduling(name) for kernel, name in schedulers_on(stack, scheduler, None).items()}
        self.scheduler = make_scheduler(self.engine, stack.hardware.processors, rules)
        self.disks = make_disks(self.engine, stack.hardware, fair=False, turns=uniforms(streams.stream("t")))
        host = host_of(self.engine, stack.hardware, self.scheduler, self.disks, contends=False)
        self.tree = InstanceTree(self.engine, self.scheduler, stack, 1, places=scheduler != "fluid")
        self.launcher = Launcher(host, self.tree, 1, streams, running=more.get("running", 0.0))
        self.launches: list[Launch] = []

    def run(self, chains: Sequence[Chain], gap_s: float = 0.0, *, cold: bool = False) -> list[float]:
        """Times that starts take that begin one gap after the other."""
        for i, one in enumerate(chains):
            self.engine.wakeup(partial(self._begin, one, i, cold)).at(i * gap_s)
        self.engine.run(until=1e6)
        return [launch.length_s for launch in self.launches]

    def _begin(self, one: Chain, i: int, cold: bool) -> None:
        branch = self.tree.branch(one.stack, f"tenant {i}", f"tenant {i}", TenantShare())
        self.launches.append(self.launcher.begin(one, branch, lambda _: None, cold=cold))


# --- Closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_a_batch_through_one_lock(n: int) -> None:
    """Mean wait and service of a batch of N through one lock held for s: s (N + 1) / 2, and the last after N s."""
    times = World().run([chain(section(0.005))] * n)
    assert sum(times) / n == pytest.approx(0.005 * (n + 1) / 2, rel=1e-9)
    assert max(times) == pytest.approx(0.005 * n, rel=1e-9)


@pytest.mark.parametrize("scheduler", ["fluid", "cfs"])
@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_a_batch_that_computes(factor: float, scheduler: str) -> None:
    """N alike starts that compute for S on c cores: all are ready after S max(1, N / c)."""
    n = round(factor * CORES)
    times = World(scheduler=scheduler).run([chain(program(0.4))] * n)
    assert max(times) == pytest.approx(0.4 * max(1.0, factor), rel=1e-9 if scheduler == "fluid" else 0.05)


@pytest.mark.parametrize("machine", ["small-server", "server-2s"])
def test_more_cores_carry_more_without_another_number(machine: str) -> None:
    stack = CATALOG.stack("docker", machine)
    times = World(stack).run([chain(program(0.4), stack=stack)] * 96)
    assert max(times) == pytest.approx(0.4 * 96 / stack.hardware.processors, rel=1e-9)


@pytest.mark.parametrize("load", [0.5, 1, 2, 8])
def test_who_computes_for_a_part_of_the_time_queues_only_beyond_the_knee(load: float) -> None:
    """N in step, the share rho of S computing: (1 - rho) S + rho S max(1, N / c). Out of step, less; the last at least rho S N / c."""
    rho, length_s, n = 0.5, 0.1, round(load * CORES)
    one = chain(program(rho * length_s, wait_s=(1 - rho) * length_s, rounds=20))
    in_step = World().run([one] * n)
    assert in_step == pytest.approx([(1 - rho) * length_s + rho * length_s * max(1.0, load)] * n, rel=0.02)
    times = World().run([one] * n, gap_s=length_s / 20 / n)
    assert max(times) >= max(length_s, rho * length_s * load - length_s / 20) * (1 - 1e-9)
    mean_s = sum(times) / n
    assert length_s * (1 - 1e-9) <= mean_s <= in_step[0] * (1 + 1e-9)
    assert load != 2 or mean_s < 0.8 * in_step[0]


def test_a_lock_bounds_the_rate_whatever_the_cores_do() -> None:
    times = World().run([chain(program(0.001), section(0.02))] * 50)
    assert max(times) == pytest.approx(0.001 * 50 / CORES + 50 * 0.02, rel=0.01)


# --- Traces worked out by hand ---------------------------------------------------------------------------------------


def requests(**numbers: float) -> Requests:
    units = {"request_s": "s", "entry_s": "s"}
    return Requests(name="ask", cv=NONE, server="s", **{key: cost(value, units.get(key, "x")) for key, value in numbers.items()})


def test_a_transaction_that_another_start_overtakes_is_begun_anew() -> None:
    """Two transactions of two requests of 1 s. A1 to 1 s, B1 to 2 s, A2 to 3 s: A commits. B2 to 4 s fails; B1, B2 again: 6 s."""
    world = World()
    one = requests(requests=2, request_s=1, transactions=1, transactional=1)
    assert world.run([chain(one)] * 2) == pytest.approx([3.0, 6.0])
    assert world.launcher.failed_transactions == 1
    assert [(piece.cause, piece.start_s, piece.end_s) for piece in world.launches[1].pieces] == [
        ("wait for s", 0.0, 1.0),
        ("ask", 1.0, 2.0),
        ("wait for s", 2.0, 3.0),
        ("ask", 3.0, 4.0),
        ("ask", 4.0, 5.0),
        ("ask", 5.0, 6.0),
    ]


@pytest.mark.parametrize("n", [2, 5, 12])
def test_of_many_transactions_that_begin_together_one_commits_at_a_time(n: int) -> None:
    """In each of the T rounds of commits of one start, one of those that remain succeeds: T N (N - 1) / 2 are begun anew."""
    world = World()
    world.run([chain(requests(requests=6, request_s=0.001, transactions=3, transactional=1))] * n)
    assert world.launcher.failed_transactions == 3 * n * (n - 1) / 2


def test_without_transactions_nothing_is_done_twice() -> None:
    world = World()
    assert max(world.run([chain(requests(requests=2, request_s=1))] * 2)) == pytest.approx(4.0)
    assert world.launcher.failed_transactions == 0


def test_work_that_looks_at_what_exists_grows_as_starts_follow_each_other() -> None:
    """The k-th of a row finds 10 + k others: 1 ms + 0.1 ms (10 + k)."""
    times = World(running=10).run([chain(program(0.001, instance_s=0.0001))] * 5, gap_s=1.0)
    assert times == pytest.approx([0.001 + 0.0001 * (10 + k) for k in range(5)], rel=1e-9)


def test_who_starts_does_not_look_at_itself() -> None:
    """Alone, the second stage finds nobody else although the first has made it exist; beside one more, one."""
    two = chain(program(0.001), program(0.0, instance_s=0.01))
    assert World().run([two]) == pytest.approx([0.001])
    assert World().run([two] * 2, gap_s=1.0) == pytest.approx([0.001, 0.011])


def test_a_control_plane_takes_turns() -> None:
    """100 requests of 1 ms of one start, 1 of another that comes 5 ms later: it waits for the 32 of the turn under way, not for all."""
    many, one = (chain(requests(requests=count, request_s=0.001)) for count in (100, 1))
    assert World().run([many, one], gap_s=0.005) == pytest.approx([0.101, 0.028])


def test_requests_and_their_length_grow_together() -> None:
    """(2 + n) requests of 1 ms + 0.1 ms x 3 n beside n = 10: 12 x 4 ms."""
    one = requests(requests=2, request_s=0.001, instance_requests=1, entries=3, entry_s=0.0001)
    assert World(running=10).run([chain(one)]) == pytest.approx([12 * 0.004])


def test_a_shared_file_is_read_once_and_others_wait_for_it() -> None:
    """10 reads of 10 ms and 1 ms of the bus in two rounds: 110 ms. Whoever comes later finds it in memory, at once reads nothing twice."""
    access = DiskAccess(0.010, 0.001, 0.0)
    file = program(size_bytes=1e6, reads=10, shared=1, rounds=2)
    world = World()
    assert world.run([chain(file, read=access)] * 3, gap_s=0.05, cold=True) == pytest.approx([0.11, 0.06, 0.01])
    assert world.launcher.reads == 10
    assert World().run([chain(file, read=access)] * 3) == [0.0] * 3


def test_files_of_ones_own_queue_at_the_disk() -> None:
    """As many at once as there are channels; the bus serves one after the other."""
    access = DiskAccess(0.010, 0.0, 0.0)
    own = program(size_bytes=1e6, reads=10, shared=0)
    channels = int(STACK.hardware.disk.channels.si)
    world = World()
    times = world.run([chain(own, read=access)] * (2 * channels), cold=True)
    assert sorted(times) == pytest.approx([0.1] * channels + [0.2] * channels)
    assert world.launcher.reads == 20 * channels
    assert {piece.cause for launch in world.launches for piece in launch.pieces} == {"read", "wait for disk"}


def test_what_processors_share_is_done_sooner_by_several() -> None:
    """1 s of which 60 % is spread over 4: 0.4 + 0.6 / 4."""
    stack = CATALOG.stack("kvm", "small-server")
    engine_chain = chain(program(1.0, parallel=0.6), stack=stack)
    world = World(stack)
    branch = world.tree.branch(stack, "t", "t", TenantShare(vcpus=4))
    launch = world.launcher.begin(engine_chain, branch, lambda _: None, vcpus=4)
    world.engine.run(until=10.0)
    assert launch.length_s == pytest.approx(0.55)
    assert engine_chain.alone_s(vcpus=4) == pytest.approx(0.55)


# --- Laws ------------------------------------------------------------------------------------------------------------

STAGES = st.one_of(
    st.builds(
        lambda cpu, wait, reads, rounds, shared: program(cpu, wait_s=wait, size_bytes=1e5, reads=reads, rounds=rounds, shared=shared),
        st.floats(1e-6, 0.1), st.floats(1e-6, 0.1), st.integers(0, 5), st.integers(1, 4), st.booleans(),
    ),
    st.builds(section, st.floats(1e-6, 0.05), st.sampled_from(["l", "m"])),
    st.builds(
        lambda count, one, transactions: requests(requests=count, request_s=one, transactions=transactions, transactional=0.5),
        st.integers(1, 60), st.floats(0.0001, 0.01), st.integers(0, 3),
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(STAGES, min_size=1, max_size=5), st.integers(1, 12), st.sampled_from([0.0, 0.003, 0.2]), st.booleans())
def test_parts_add_up_and_work_is_conserved(stages: list[AbstractStage], count: int, gap_s: float, cold: bool) -> None:
    renamed = [replace(stage, name=f"{stage.name} {i}") for i, stage in enumerate(stages)]  # type: ignore[type-var]
    one = chain(*renamed, read=DiskAccess(0.001, 0.0005, 0.0))
    world = World()
    times = world.run([one] * count, gap_s, cold=cold)
    assert len(times) == count
    alone_s = one.alone_s(instances=0)
    for launch in world.launches:
        assert fsum(piece.length_s for piece in launch.pieces) == pytest.approx(launch.length_s, rel=1e-9, abs=1e-12)
        assert all(a.end_s == b.start_s for a, b in pairwise(launch.pieces))
        assert launch.length_s >= alone_s * (1 - 1e-9)
    if count == 1:
        assert times[0] == pytest.approx(one.alone_s(cold=cold), rel=1e-9, abs=1e-12)
    own_s = {"read", "sleep"}
    computed_s = fsum(
        piece.length_s
        for launch in world.launches
        for piece in launch.pieces
        if piece.cause not in own_s and not piece.cause.startswith("wait for")
    )
    assert world.scheduler.account().busy_s == pytest.approx(computed_s, rel=1e-6, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.lists(STAGES, min_size=1, max_size=3), st.integers(1, 8))
def test_nobody_is_faster_for_more_company(stages: list[AbstractStage], count: int) -> None:
    renamed = [replace(stage, name=f"{stage.name} {i}") for i, stage in enumerate(stages)]  # type: ignore[type-var]
    one = chain(*renamed, read=DiskAccess(0.001, 0.0005, 0.0))
    fewer, more = World().run([one] * count), World().run([one] * (count + 1))
    assert max(more) >= max(fewer) * (1 - 1e-9)


def test_the_same_seed_gives_the_same_starts_and_another_replication_others() -> None:
    starts = Starts(platform="xen-pv", count=6, cold=True, workload="web-service")
    first, again, other = (
        [(piece.cause, piece.start_s, piece.end_s) for launch in start_all(starts, CATALOG, r).launches for piece in launch.pieces]
        for r in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("platform", [name for name in CATALOG.names("platforms") if not CATALOG.platform(name).variant_of])
def test_every_platform_starts_alone_in_the_time_of_its_chain(platform: str) -> None:
    """Means over 40 replications, within 5 standard errors."""
    starts = Starts(platform=platform, cold=True, workload="web-service", running=3, run=Run(replications=40))
    times = [start_all(starts, CATALOG, r).launches[0].length_s for r in range(40)]
    expected = chain_for(starts, CATALOG)[0].alone_s(instances=3, cold=True)
    mean = sum(times) / len(times)
    error = (sum((time - mean) ** 2 for time in times) / (len(times) - 1) / len(times)) ** 0.5
    assert error < 0.08 * mean
    assert mean == pytest.approx(expected, abs=5 * error)


def test_a_storm_counts_every_start_and_tells_where_its_time_went() -> None:
    starts = Starts(platform="docker", count=30, cold=True, workload="web-service")
    outcome = starts.simulate(CATALOG, 0)
    (tenant,) = outcome.tenants
    assert tenant.completed == 30
    assert fsum(part.seconds for part in tenant.time_parts) == pytest.approx(tenant.histogram.mean_s, rel=1e-9)
    rows = {(row.entity, row.metric): row.value for row in outcome.rows({"platform": "docker"})}
    assert rows["tenant/starts", "all_ready_s"] == pytest.approx(tenant.histogram.max_s, rel=0.02)


def test_at_once_bounds_what_is_under_way_and_a_stream_does_not() -> None:
    def most(starts: Starts) -> int:
        launches = start_all(starts, CATALOG).launches
        changes = [(launch.began_s, 1) for launch in launches]
        changes += [(launch.began_s + launch.length_s, -1) for launch in launches]
        now = top = 0
        for _, change in sorted(changes):
            now += change
            top = max(top, now)
        return top

    starts = Starts(platform="firecracker", count=40)
    assert most(starts) == 40
    assert most(replace(starts, at_once=7)) == 7
    assert 1 < most(replace(starts, rate_per_s=50.0)) < 40


def test_instances_that_idle_take_processors_away() -> None:
    alone = Starts(platform="docker", machine="small-server", run=Run(seed=3))
    crowd = replace(alone, running=1000, idle_cores=0.9 * CORES / 1000, override={"docker.start.engine.instance_s": 0.0}, count=8)
    quiet = replace(crowd, idle_cores=0.0)
    busy_s, quiet_s = (start_all(starts, CATALOG).all_ready_s for starts in (crowd, quiet))
    assert busy_s > 1.3 * quiet_s


# --- Parts -----------------------------------------------------------------------------------------------------------


def test_a_mutex_is_handed_on_in_order() -> None:
    order: list[int] = []
    mutex = Mutex()
    for i in range(3):
        mutex.acquire(partial(order.append, i))
    assert (order, mutex.waiting) == ([0], 2)
    mutex.release()
    mutex.release()
    assert (order, mutex.waiting) == ([0, 1, 2], 0)
    mutex.release()
    with pytest.raises(RuntimeError, match="nobody holds"):
        mutex.release()


def test_a_control_plane_commits_only_what_began_at_the_present_version() -> None:
    world = World()
    server = ControlPlane(world.scheduler.thread("s"))
    assert server.commit(0) and not server.commit(0) and server.commit(1)
    assert (server.version, server.failed) == (2, 1)
