"""The way of a block request through whole stacks: who waits, who is woken, what the caches do; and what a scenario may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ideal import MACHINE, OS, IdealCatalog, bare, container, hypervisor, ideal, machine, scenario, system, workload

from simvirt.analysis.queueing import mmc_response_time, utilization_law
from simvirt.catalog import Catalog
from simvirt.demand import BlockReadCached, BlockWrite, Demand, DiskRead, DiskWrite, FileRead, FileWrite, FirstWrite, Flush
from simvirt.errors import ScenarioError
from simvirt.layers.contract import AbstractLayer, Charge, Host, Resource, When
from simvirt.layers.hosted_hypervisor import HostedHypervisor
from simvirt.layers.hypervisor import BlockService, Caching
from simvirt.layers.page_cache import hit_ratio, second_hit_ratio, split_reads
from simvirt.layers.path import plan_path
from simvirt.layers.stack import Stack
from simvirt.scenario import IoMax, Tenants, load_scenario
from simvirt.simulation import RunOutcome, simulate
from simvirt.workloads.arrivals import ClosedLoop, Poisson
from simvirt.workloads.distributions import Constant
from simvirt.workloads.profile import Workload

Layers = tuple[AbstractLayer, ...]
READ = DiskRead(count=1.0, random=1.0, size_bytes=4096.0, queued=1.0)
HOST = Host(clock_hz=1e9, core_speed=1.0)


def deep(depth: int, think_s: float = 0.0) -> ClosedLoop:
    return ClosedLoop(clients=depth, think=Constant(value=think_s))


def run(layers: Layers, work: Workload, *groups: Tenants, duration_s: float = 10.0) -> RunOutcome:
    return simulate(scenario(*groups, duration_s=duration_s), IdealCatalog(layers, work))


def disk(given: dict[str, float] | None = None, cores: int = 4) -> AbstractLayer:
    """A disk of 8 channels, 1 ms a read."""
    return machine(cores, {"disk.channels": 8.0, "disk.read_s": 1e-3, "disk.write_s": 1e-3, **(given or {})})


def cached(caching: Caching) -> HostedHypervisor:
    """A hosted hypervisor that is free, over a page cache used so."""
    return ideal(HostedHypervisor, "hosted", requires=OS, provides=MACHINE, block_caching=caching)


# Depth, and who blocks


@pytest.mark.parametrize(("depth", "expected"), [(1, 1000.0), (4, 4000.0), (8, 8000.0), (64, 8000.0)])
def test_channels_bound_a_deep_queue(depth: int, expected: float) -> None:
    """depth / 1 ms up to 8 channels / 1 ms; by Little's law the rest of the time is waiting."""
    work = workload(READ, threads=1.0)
    outcome = run((disk(), system()), work, Tenants(name="io", workload="work", load=deep(depth)), duration_s=2.0)
    (tenant,) = outcome.tenants
    assert tenant.throughput_per_s == pytest.approx(expected, rel=2e-3)
    assert tenant.histogram.mean_s == pytest.approx(depth / expected, rel=2e-3)
    assert outcome.disk_utilization == pytest.approx(utilization_law(expected, 1e-3, 8), rel=2e-3)


def test_one_thread_keeps_many_requests_under_way_only_if_it_does_not_wait() -> None:
    waits = workload(DiskRead(count=1.0, random=1.0, size_bytes=4096.0), Flush(count=0.0), threads=1.0)
    layers = (disk(), system({"block.submit_s": 1e-6, "processes.wake_s": 1e-6}))
    slow = run(layers, waits, Tenants(name="io", workload="work", load=deep(8)), duration_s=1.0).tenants[0]
    fast = run(layers, workload(READ, threads=1.0), Tenants(name="io", workload="work", load=deep(8)), duration_s=1.0).tenants[0]
    assert slow.throughput_per_s == pytest.approx(1 / (1e-3 + 2e-6), rel=5e-3)
    assert fast.throughput_per_s > 7.5 * slow.throughput_per_s


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (BlockService.ASYNCHRONOUS, 8000.0),  # 8 channels; the backend's 30 us a request would allow 33,000
        (BlockService.BLOCKING, 1 / (1e-3 + 30e-6)),  # one at a time: 20 us before and 10 us after the device
        (BlockService.PASSTHROUGH, 8000.0),
    ],
)
def test_a_blocking_backend_serves_one_at_a_time(service: BlockService, expected: float) -> None:
    given = {"block.submit_s": 20e-6, "block.complete_s": 10e-6}
    layers = (disk(), hypervisor(given, block_service=service), system(name="guest"))
    outcome = run(layers, workload(READ, threads=1.0), Tenants(name="io", workload="work", vcpus=2, load=deep(32)), duration_s=2.0)
    (tenant,) = outcome.tenants
    assert tenant.throughput_per_s == pytest.approx(expected, rel=5e-3)
    assert tenant.histogram.mean_s == pytest.approx(sum(part.seconds for part in tenant.time_parts), rel=0.02)  # buckets of 1 %
    backend = {part.cause: part.seconds for part in tenant.time_parts if part.layer == "hypervisor"}
    if service is BlockService.PASSTHROUGH:
        assert "backend_submit" not in backend
    else:
        assert backend["backend_submit"] == pytest.approx(20e-6, rel=2e-2)


def test_a_blocking_backend_of_each_machine_blocks_that_machine_alone() -> None:
    given = {"block.submit_s": 1e-6, "block.complete_s": 1e-6}
    layers = (disk(), hypervisor(given, block_service=BlockService.BLOCKING), system(name="guest"))
    work = workload(READ, threads=1.0)
    outcome = run(layers, work, Tenants(name="io", workload="work", count=4, load=deep(8)), duration_s=2.0)
    assert [t.throughput_per_s for t in outcome.tenants] == pytest.approx([1 / (1e-3 + 2e-6)] * 4, rel=5e-3)


def test_kicks_and_wake_ups_are_paid_once_for_several() -> None:
    """At depth 1 each request finds the backend asleep, twice; when many are under way, the backend never sleeps."""
    given = {"block.submit_s": 100e-6, "block.complete_s": 100e-6, "block.backend_wake_s": 50e-6}
    given |= {"block.kick_exits": 1.0, "cpu.exit_s": 5e-6}
    layers = (disk(), hypervisor(given), system(name="guest"))
    work = workload(READ, threads=1.0)
    causes = {}
    for depth in (1, 64):
        (tenant,) = run(layers, work, Tenants(name="io", workload="work", vcpus=2, load=deep(depth)), duration_s=2.0).tenants
        causes[depth] = {part.cause: part.seconds for part in tenant.time_parts}
    assert causes[1]["backend_wake"] == pytest.approx(100e-6, rel=1e-2)
    assert causes[1]["kick"] == pytest.approx(5e-6, rel=1e-2)
    assert causes[64].get("backend_wake", 0.0) < 1e-6 and causes[64].get("kick", 0.0) < 1e-7


def test_an_interrupt_is_due_only_if_nobody_handles_one() -> None:
    stack = Stack((disk(), hypervisor({"cpu.interrupt_exits": 1.0, "cpu.exit_s": 1e-6}), system({"block.complete_s": 1e-6}, name="guest")))
    exits = [f.charge for f in stack.fold(Demand((READ,))) if f.charge.cause == "interrupt_exit"]
    assert exits and all(charge.when is When.ASLEEP for charge in exits)


def test_random_reads_queue_as_mdc() -> None:
    """Poisson arrivals and constant service: near saturation M/D/8 waits half as long as M/M/8, to a few per cent."""
    (tenant,) = run(
        (disk(), system()), workload(READ), Tenants(name="io", workload="work", load=Poisson(rate_per_s=7200.0)), duration_s=25.0
    ).tenants
    wait_s = tenant.histogram.mean_s - 1e-3
    assert wait_s == pytest.approx((mmc_response_time(7200.0, 1e-3, 8) - 1e-3) / 2, rel=0.12)


# Shares and limits


def test_weights_divide_the_disk_and_their_absence_does_not() -> None:
    work = workload(READ, threads=1.0)
    groups = [Tenants(name=n, workload="work", load=deep(d)) for n, d in (("light", 32), ("heavy", 96))]
    fifo = run((disk(), system()), work, *groups, duration_s=4.0)
    assert fifo.tenants[1].throughput_per_s == pytest.approx(3 * fifo.tenants[0].throughput_per_s, rel=0.02)  # by requests under way
    weighed = [g.model_copy(update={"io_weight": w}) for g, w in zip(groups, (400, 100), strict=True)]
    fair = run((disk(), system()), work, *weighed, duration_s=4.0)
    assert fair.tenants[0].throughput_per_s == pytest.approx(6400.0, rel=0.02)  # 4 of 5 parts of 8,000
    assert fair.tenants[1].throughput_per_s == pytest.approx(1600.0, rel=0.02)
    assert fair.disk_utilization == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [({"riops": 500.0}, 500.0), ({"rbps": 4096.0 * 250}, 250.0), ({"riops": 500.0, "rbps": 4096.0 * 250}, 250.0), ({"wiops": 1.0}, 8000.0)],
)
def test_limits_are_exact(limits: dict[str, float], expected: float) -> None:
    group = Tenants(name="io", workload="work", load=deep(32), io_max=IoMax(**limits))
    (tenant,) = run((disk(), system()), workload(READ, threads=1.0), group, duration_s=4.0).tenants
    assert tenant.throughput_per_s == pytest.approx(expected, rel=2e-3)
    waits = {part.cause: part.seconds for part in tenant.time_parts}
    assert ("wait for io limit" in waits) == (expected < 8000.0)


def test_a_limit_counts_both_ways_apart() -> None:
    both = workload(READ, DiskWrite(count=1.0, size_bytes=4096.0, volatile=1.0, queued=1.0), threads=1.0)
    group = Tenants(name="io", workload="work", load=deep(8), io_max=IoMax(wiops=100.0))
    (tenant,) = run((disk(), system({"block.submit_s": 1e-6})), both, group, duration_s=4.0).tenants
    assert tenant.throughput_per_s == pytest.approx(100.0, rel=1e-2)


# Page cache, dirty pages, flush


APPEND = (FileWrite(count=1.0, size_bytes=1e6),)
DIRTY = {"block.writeback.dirty_background_ratio": 0.1, "block.writeback.dirty_ratio": 0.2, "block.writeback.depth": 4.0}
SLOW = {"memory_bytes": 1e8, "disk.write_s": 0.0, "disk.write_bytes_per_s": 1e7}


def test_writers_are_bound_by_the_disk_once_the_budget_is_full() -> None:
    """20 MB may be dirty; then a writer gets what the disk writes: 10 MB/s, 10 writes of 1 MB a second. Before, it is not bound at all."""
    layers = (machine(4, {"disk.channels": 8.0, **SLOW}), system({**DIRTY, "block.copy_s_per_byte": 1e-10}))
    group = Tenants(name="w", workload="work", load=deep(2, 1e-3))
    work = workload(*APPEND)
    (full,) = run(layers, work, group, duration_s=60.0).tenants
    assert full.throughput_per_s == pytest.approx(10.0, rel=0.03)
    (free,) = simulate(scenario(group, duration_s=0.01, warm_up_fraction=0.0), IdealCatalog(layers, work)).tenants
    assert free.throughput_per_s > 1000.0


def neighbours(shared: bool) -> float:
    """Mean time of a small write beside a heavy writer, on one kernel or on two."""
    works = (workload(FileWrite(count=1.0, size_bytes=4096.0), name="small"), workload(*APPEND, name="big"))
    below: Layers = (machine(4, {"disk.channels": 8.0, **SLOW}),)
    layers = (*below, system(DIRTY)) if shared else (*below, hypervisor(), system(DIRTY, name="guest"))
    groups = (
        Tenants(name="small", workload="small", load=Poisson(rate_per_s=20.0)),
        Tenants(name="big", workload="big", load=deep(2, 1e-3)),
    )
    return simulate(scenario(*groups, duration_s=40.0), IdealCatalog(layers, *works)).tenants[0].histogram.mean_s


def test_dirty_pages_are_shared_by_kernel() -> None:
    assert neighbours(shared=True) > 0.05  # it waits for room like the heavy writer
    assert neighbours(shared=False) < 1e-6  # a kernel of its own has room


def test_fsync_waits_for_its_own_pages_and_the_drive() -> None:
    """1 MB at 10 MB/s, then 5 ms of flush: 105 ms; nothing else is dirty."""
    work = workload(*APPEND, Flush(count=1.0))
    layers = (machine(2, {**SLOW, "disk.flush_s": 5e-3}), system(DIRTY))
    (tenant,) = run(layers, work, Tenants(name="w", workload="work", load=deep(1, 1.0)), duration_s=20.0).tenants
    parts = {part.cause: part.seconds for part in tenant.time_parts}
    assert parts["wait for writeback"] == pytest.approx(0.1, rel=0.06)  # pages of 4 KiB and one request of 1 MiB at most
    assert parts["disk_flush"] == pytest.approx(5e-3, rel=1e-6)


@pytest.mark.parametrize(("caching", "where"), [(Caching.WRITEBACK, "hosted"), (Caching.UNSAFE, "hosted"), (Caching.WRITETHROUGH, "disk")])
def test_a_hosted_disk_writes_into_the_hosts_cache(caching: Caching, where: str) -> None:
    layers = (disk(), system(), cached(caching), system(name="guest"))
    folded = [f.charge for f in Stack(layers).fold(Demand((DiskWrite(count=1.0, size_bytes=4096.0),)))]
    resources = [charge.resource for charge in folded]
    assert (Resource.DIRTY in resources) == (where == "hosted")
    assert (Resource.SYNC in resources) == (caching is Caching.WRITEBACK)  # what must be stable waits; unsafe does not
    assert (Resource.DISK in resources) == (where == "disk")


def test_a_volatile_write_does_not_flush() -> None:
    drive = disk({"disk.flush_s": 7e-3})
    for volatile, expected in ((0.0, 8e-3), (1.0, 1e-3)):
        charges = [c for c in drive.lower(BlockWrite(count=1.0, size_bytes=1.0, volatile=volatile), HOST) if isinstance(c, Charge)]
        assert sum(c.amount for c in charges if c.resource is Resource.DISK) == pytest.approx(expected, rel=1e-12)


def test_the_first_write_copies_the_whole_file() -> None:
    """A file of 100 MB: read once and made dirty once, on an image; nothing in a plain directory."""
    for share, size in ((1.0, 1e8), (0.0, 0.0)):
        stack = Stack((disk(), system(), container({"copy_up": share})))
        folded = [f.charge for f in stack.fold(Demand((FirstWrite(count=1.0, size_bytes=1e8),)))]
        assert sum(c.size_bytes for c in folded if c.resource is Resource.DISK_BUS) == size
        assert sum(c.amount for c in folded if c.resource is Resource.DIRTY) == size


# Hits


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(1, 1e12))
def test_hit_ratios_are_shares(own: float, host: float, files: float) -> None:
    first, second = hit_ratio(own, files), second_hit_ratio(own, host, files)
    assert 0 <= first <= 1 and 0 <= second <= 1
    assert first == 1.0 or first == pytest.approx(own / files)
    assert second == 0.0 if host <= own else True
    together = first + (1 - first) * second
    assert together <= max(first, hit_ratio(max(own, host), files)) + 1e-9  # two caches hold no more than the larger one


def test_reads_are_split_by_where_they_are_found() -> None:
    """8 of files, 2 in the guest, 5 in the host: 1/4 found at once, of the rest (5 - 2) / (8 - 2) = 1/2 below, 3/8 each."""
    layers = (disk(), system(), cached(Caching.WRITEBACK), system(name="guest"))
    asked = Demand((FileRead(count=1.0, random=1.0, size_bytes=4096.0),))
    found = split_reads(asked, Stack(layers), 2.0, 5.0, 8.0)
    assert {o.word: o.share for o in found} == pytest.approx({"cached": 0.25, "cached below": 0.375, "missed": 0.375})
    disks = {o.word: sum(s.fixed.total for s in plan_path(Stack(layers), o.demand).steps if s.resource is Resource.DISK) for o in found}
    assert disks == pytest.approx({"cached": 0.0, "cached below": 0.0, "missed": 1e-3})
    direct = split_reads(asked, Stack(bare()), 2.0, 5.0, 8.0)
    assert {o.word: o.share for o in direct} == pytest.approx({"cached": 0.25, "missed": 0.75})


def test_without_a_cache_below_a_read_is_an_ordinary_one() -> None:
    charges = [c for c in disk().lower(BlockReadCached(count=1.0, size_bytes=4096.0), HOST) if isinstance(c, Charge)]
    assert sum(c.amount for c in charges if c.resource is Resource.DISK) == pytest.approx(1e-3)


# Scenarios


BASE = {
    "platform": "docker",
    "tenants": [
        {"name": "io", "workload": "database", "load": {"kind": "closed", "clients": 1, "think": {"kind": "constant", "value": 0}}},
    ],
}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"io_weight": 0}, ("tenants.0.io_weight", "0", "at least 1")),
        ({"io_weight": 20_000}, ("tenants.0.io_weight", "20000", "at most 10000")),
        ({"io_max": {"riops": 0.5}}, ("tenants.0.io_max.riops", "0.5", "at least 1")),
        ({"io_max": {"wbps": -3}}, ("tenants.0.io_max.wbps", "-3", "must be above 0")),
        ({"io_max": {"iops": 5}}, ("tenants.0.io_max.iops", "no such entry", "riops")),
        ({"file_set": "1 GiB"}, ("tenants.0.file_set", "file_read", "remove it")),
        ({"page_cache": "1 GiB"}, ("tenants.0.page_cache", "file_set", "remove this")),
        ({"host_page_cache": "9 TiB"}, ("tenants.0.host_page_cache", "on a machine with", "at most")),
        ({"file_set": 0}, ("tenants.0.file_set", "0", "must be above 0")),
        ({"load": {"kind": "closed", "clients": -4, "think": {"kind": "constant", "value": 0}}}, ("clients", "-4", "at least 1")),
    ],
)
def test_what_a_scenario_may_not_ask_for(entries: dict[str, object], words: tuple[str, ...]) -> None:
    document = {**BASE, "tenants": [{**BASE["tenants"][0], **entries}]}  # type: ignore[index,dict-item]
    with pytest.raises(ScenarioError) as caught:
        load_scenario(document, Catalog.builtin())
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_an_unknown_device_is_refused_with_those_near() -> None:
    with pytest.raises(ScenarioError, match="small-server-hdd"):
        load_scenario({**BASE, "machine": "small-server-hd"}, Catalog.builtin())


def test_an_arm_draws_the_same_for_every_platform() -> None:
    """One seed, one sequence of places: the same reads alone on bare metal and in a container take the same device time."""
    catalog = Catalog.builtin()
    means = []
    for platform in ("bare-metal", "docker", "docker"):
        document = {**BASE, "platform": platform, "machine": "small-server-hdd", "run": {"duration_s": 5.0, "replications": 1}}
        outcome = simulate(load_scenario(document, catalog), catalog)
        means.append(repr(sorted((row.entity, row.metric, row.value) for row in outcome.rows({}))))
    assert means[1] == means[2] != means[0]
