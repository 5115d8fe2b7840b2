"""What holds for every run on every platform: nothing is lost, nothing is invented, and nobody is favoured."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from ideal import IdealCatalog, bare, scenario, workload

from simvirt.analysis.comparison import paired_difference
from simvirt.catalog import Catalog
from simvirt.demand import Compute
from simvirt.layers.contract import Resource
from simvirt.layers.path import Path, plan_path
from simvirt.layers.stack import APPLICATION, Stack
from simvirt.scenario import Run, Scenario, Tenants
from simvirt.simulation import RunOutcome, Simulation, TenantOutcome, simulate
from simvirt.workloads.arrivals import ClosedLoop, Deterministic, Poisson, Trace
from simvirt.workloads.distributions import Constant, Exponential

CATALOG = Catalog.builtin()
every_platform = pytest.mark.parametrize("platform", CATALOG.names("platforms"))


def burst(count: int, over_s: float) -> Trace:
    """Arrivals that come faster than they can be served, and end."""
    return Trace(times_s=tuple(0.01 + over_s * i / count for i in range(count)))


def crowd(platform: str) -> Scenario:
    """Tenants of every kind, whose requests are all done in the end: bursts, and clients that think for longer than is left."""
    vcpus = min(2, CATALOG.hardware(CATALOG.platform(platform).machine).processors)
    thinkers = ClosedLoop(clients=5, think=Constant(value=60.0), stagger_s=0.001)
    tenants = (
        Tenants(name="store", workload="key-value-store", load=burst(200, 0.01), count=2),
        Tenants(name="base", workload="database", load=burst(60, 0.02), vcpus=vcpus, weight=2.0),
        Tenants(name="clients", workload="web-service", load=thinkers, vcpus=vcpus),
        Tenants(name="capped", workload="syscall-heavy", load=burst(10, 0.01), cap_cores=0.5),
    )
    return Scenario(platform=platform, tenants=tenants, run=Run(duration_s=110.0, warm_up_fraction=0.0))


def ways(simulation: Simulation, workload_name: str) -> dict[str, Path]:
    """The way of each class of requests of a workload."""
    return {one.name: plan_path(simulation._stack, one.demand) for one in CATALOG.workload(workload_name).requests}


@every_platform
def test_what_is_charged_is_what_was_served(platform: str) -> None:
    described = crowd(platform)
    simulation = Simulation(described, CATALOG)
    outcome = simulation.run()
    assert all(tenant.in_flight_after == 0 for tenant in outcome.tenants)
    assert {tenant.completed for tenant in outcome.tenants} == {200, 60, 5, 10}
    charged_s = math.fsum(tenant.cpu_s for tenant in outcome.tenants)
    assert simulation.host.scheduler.account().busy_s == pytest.approx(charged_s, rel=1e-9)
    assert outcome.cpu_utilization * 110.0 * simulation.host.scheduler.cores == pytest.approx(charged_s, rel=1e-9)

    amounts: Counter[str] = Counter()
    for tenant in outcome.tenants:
        of = next(group.workload for group in described.tenants if group.name == tenant.group)
        for one in tenant.classes:
            for step in ways(simulation, of)[one.name].steps:
                amounts[step.resource] += one.completed * step.fixed.total
                amounts[f"bytes of {step.resource}"] += one.completed * step.size_bytes
    host = simulation.host
    assert (host.nic.rx.packets, host.nic.rx.size_bytes) == pytest.approx((amounts[Resource.NIC_RX], amounts["bytes of nic_rx"]), rel=1e-9)
    assert (host.nic.tx.packets, host.nic.tx.size_bytes) == pytest.approx((amounts[Resource.NIC_TX], amounts["bytes of nic_tx"]), rel=1e-9)
    assert (host.disk.busy_s, host.disk_bus.busy_s) == pytest.approx((amounts[Resource.DISK], amounts[Resource.DISK_BUS]), rel=1e-9)
    assert all(amounts[resource] > 0 for resource in (Resource.NIC_RX, Resource.NIC_TX, Resource.DISK, Resource.DISK_BUS))


@every_platform
def test_parts_of_the_time_add_up(platform: str) -> None:
    for tenant in simulate(crowd(platform), CATALOG).tenants:
        assert math.fsum(part.seconds for part in tenant.time_parts) == pytest.approx(tenant.histogram.mean_s, rel=1e-9)
        assert all(part.seconds >= -1e-9 for part in tenant.time_parts)
        work_s = math.fsum(part.seconds for part in tenant.time_parts if not part.is_wait)
        assert work_s * tenant.completed >= tenant.cpu_s * (1 - 1e-9)
        # Little's law over a whole run from empty to empty, whatever happened between
        assert tenant.in_flight_mean * tenant.window_s == pytest.approx(tenant.histogram.mean_s * tenant.completed, rel=1e-9)


@every_platform
def test_alone_a_request_takes_what_it_is_charged(platform: str) -> None:
    """One request at a time, far apart: nobody waits, everybody slept, and each part is the folded amount times the mean factor."""
    tenants = Tenants(workload="database", load=Deterministic(rate_per_s=1.0))
    described = Scenario(platform=platform, tenants=(tenants,), run=Run(duration_s=30.5, warm_up_fraction=0.0))
    simulation = Simulation(described, CATALOG)
    outcome = simulation.run().tenants[0]
    for one in outcome.classes:
        found: Counter[tuple[str, str]] = Counter({(part.layer, part.cause): part.seconds for part in one.parts})
        core_wake_s = found.pop((simulation._stack.names[0], "core_wake"), 0.0)
        path = ways(simulation, "database")[one.name]
        expected = alone(path, found[APPLICATION, "compute"])
        wire = {"nic_rx": simulation.host.nic.rx, "nic_tx": simulation.host.nic.tx}
        for cause, link in wire.items():
            steps = [step for step in path.steps if step.resource.value == cause]
            expected[simulation._stack.names[0], cause] = sum(link.service_s(step.fixed.total, step.size_bytes) for step in steps)
        waits = {label: found.pop(label) for label in list(found) if label[1].startswith("wait")}
        assert all(abs(seconds) < 1e-9 for seconds in waits.values()), waits
        assert {label: s for label, s in found.items() if s} == pytest.approx({label: s for label, s in expected.items() if s}, rel=1e-9)
        assert core_wake_s >= 0


def alone(path: Path, compute_s: float) -> Counter[tuple[str, str]]:
    """Seconds by label when everybody has to be woken; `compute_s` tells the mean factor.

    A page cache with room takes bytes at once: that is no time, and whoever goes on after it has not slept.
    """
    own = sum(part.amount for step in path.steps for part in step.random.parts if part.layer == APPLICATION)
    sums: Counter[tuple[str, str]] = Counter()
    for before, step in zip((None, *path.steps), path.steps, strict=False):
        if step.resource is Resource.DIRTY:
            continue
        slept = 0.0 if before is not None and before.resource is Resource.DIRTY else 1.0
        for amounts, factor in ((step.fixed, 1.0), (step.random, compute_s / own), (step.asleep, slept), (step.notify, 1.0)):
            for part in amounts.parts:
                sums[part.layer, part.cause] += part.amount * factor
        for _, amounts in step.idle:
            for part in amounts.parts:
                sums[part.layer, part.cause] += part.amount
    return sums


@every_platform
def test_requests_are_never_lost(platform: str) -> None:
    """In the window: those before + those who came = those who went + those still there; also far beyond saturation."""
    tenants = (
        Tenants(name="a", workload="web-service", load=Poisson(rate_per_s=100.0)),
        Tenants(name="b", workload="web-service", load=Poisson(rate_per_s=1500.0), on="platform"),
    )
    for tenant in simulate(Scenario(platform=platform, tenants=tenants, run=Run(duration_s=0.4, warm_up_fraction=0.25)), CATALOG).tenants:
        assert tenant.in_flight_before + tenant.arrived == tenant.completed + tenant.in_flight_after
        assert tenant.histogram.count == tenant.completed == sum(one.completed for one in tenant.classes)


@pytest.mark.parametrize("platform", ["bare-metal", "docker", "kvm", "xen-hvm", "vmware-workstation", "docker-in-kvm"])
def test_equal_tenants_are_treated_equally(platform: str) -> None:
    """Tenants who swap places, and with them their streams, swap their results."""

    def run(*names: str) -> list[TenantOutcome]:
        tenants = tuple(Tenants(name=name, workload="key-value-store", load=Poisson(rate_per_s=20_000.0)) for name in names)
        described = Scenario(platform=platform, tenants=tenants, run=Run(duration_s=0.05))
        return list(simulate(described, CATALOG).tenants)

    (a, b), (b_first, a_second) = run("a", "b"), run("b", "a")
    for one, other in ((a, a_second), (b, b_first)):
        assert dict(one.metrics()) == pytest.approx(dict(other.metrics()), rel=1e-9, nan_ok=True)
    assert a.histogram != b.histogram  # they saw other arrivals


@pytest.mark.parametrize("platform", ["bare-metal", "docker", "gvisor", "kvm", "xen-pv", "virtualbox", "kvm-in-kvm"])
def test_more_load_takes_longer(platform: str) -> None:
    """The same arrivals on a shorter time axis, the same factors, paired by replication; at loads where waits outweigh saved wake-ups."""

    def means(rate_per_s: float) -> list[float]:
        tenants = Tenants(workload="web-service", load=Poisson(rate_per_s=rate_per_s), vcpus=1, threads=1)
        described = Scenario(platform=platform, machine="small-server", tenants=(tenants,), run=Run(duration_s=600 / rate_per_s))
        return [simulate(described, CATALOG, replication).tenants[0].histogram.mean_s for replication in range(5)]

    more, less = means(500.0), means(300.0)
    assert all(a > b for a, b in zip(more, less, strict=True))
    assert paired_difference(more, less).low > 0


def test_what_ends_in_the_warm_up_is_not_recorded() -> None:
    tenants = Tenants(workload="work", load=Trace(times_s=(1.0, 2.0, 3.0)))
    described = scenario(tenants, duration_s=10.0, warm_up_fraction=0.9)
    tenant = simulate(described, IdealCatalog(bare(), workload(Compute(cpu_s=1.0)))).tenants[0]
    assert (tenant.arrived, tenant.completed, tenant.cpu_s, tenant.in_flight_before, tenant.in_flight_after) == (0, 0, 0.0, 0, 0)
    assert tenant.histogram.count == 0 and math.isnan(tenant.histogram.mean_s)
    assert tenant.time_parts == () and not tenant.saturated
    assert math.isnan(dict(tenant.metrics())["cpu_s_per_request"])


def test_the_window_is_counted_whole() -> None:
    """Work of 2 s at 1, 5 and 9; the window is 6-12: one request in hand before (of which 1 s is left), two done, 3 s of CPU busy."""
    tenants = Tenants(workload="work", load=Trace(times_s=(1.0, 5.0, 9.0)))
    outcome = simulate(scenario(tenants, duration_s=12.0, warm_up_fraction=0.5), IdealCatalog(bare(), workload(Compute(cpu_s=2.0))))
    tenant = outcome.tenants[0]
    assert (tenant.in_flight_before, tenant.arrived, tenant.completed, tenant.in_flight_after) == (1, 1, 2, 0)
    assert tenant.histogram.mean_s == pytest.approx(2.0)
    assert (tenant.window_s, tenant.throughput_per_s) == (6.0, pytest.approx(2 / 6))
    assert outcome.cpu_utilization == pytest.approx(3.0 / 6.0)
    assert tenant.in_flight_mean == pytest.approx(3.0 / 6.0)


def test_a_saturated_point_has_no_response_time() -> None:
    def run(per_s: float) -> RunOutcome:
        one = workload(Compute(cpu_s=1.0), threads=1, factor=Exponential(mean=1.0))
        return simulate(scenario(Tenants(workload="work", load=Poisson(rate_per_s=per_s)), duration_s=1000.0), IdealCatalog(bare(), one))

    beyond, below = run(1.5).tenants[0], run(0.5).tenants[0]
    assert beyond.saturated and math.isnan(dict(beyond.metrics())["response_time_mean_s"])
    assert beyond.throughput_per_s == pytest.approx(1.0, rel=0.1)  # what one core carries
    assert not below.saturated and dict(below.metrics())["response_time_mean_s"] > 1.0


def test_a_cap_holds() -> None:
    """A quota of half a core of one: a busy tenant gets exactly that, on the bare machine and in a virtual one."""
    for platform in ("bare-metal", "docker", "kvm"):
        tenants = Tenants(workload="batch-compute", load=ClosedLoop(clients=3, think=Constant(value=0.0)), cap_cores=0.5)
        outcome = simulate(Scenario(platform=platform, tenants=(tenants,), run=Run(duration_s=20.0)), CATALOG)
        cores = outcome.cpu_utilization * CATALOG.stack(platform).hardware.cores.si
        assert cores == pytest.approx(0.5, rel=1e-6)


def test_stack_of_the_hosts_own_users() -> None:
    stack = CATALOG.stack("vmware-workstation")
    tenants = (
        Tenants(name="guest", workload="key-value-store", load=Deterministic(rate_per_s=100.0)),
        Tenants(name="user", workload="key-value-store", load=Deterministic(rate_per_s=100.0), on="host"),
    )
    outcome = simulate(Scenario(platform="vmware-workstation", tenants=tenants, run=Run(duration_s=0.5)), CATALOG)
    layers = {tenant.name: {part.layer for part in tenant.time_parts} for tenant in outcome.tenants}
    assert layers["user"] <= {APPLICATION, *Stack(stack.layers[:2]).names}
    assert stack.names[2] in layers["guest"]
