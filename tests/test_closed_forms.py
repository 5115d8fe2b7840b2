"""Queueing theory through the whole simulator: ideal machines whose answer is known, within the runs' own intervals, which see 2 %."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

import pytest
from ideal import IdealCatalog, Layers, bare, container, in_hosted_vm, in_nested_vm, in_vm, machine, scenario, system, workload

from simvirt.analysis.intervals import mean_interval
from simvirt.analysis.queueing import (
    Station,
    closed_network,
    mg1_ps_response_time,
    mg1_response_time,
    mm1_response_time,
    mmc_response_time,
    mmc_wait,
)
from simvirt.demand import Compute, DiskRead, Receive
from simvirt.scenario import Tenants
from simvirt.simulation import RunOutcome, simulate
from simvirt.workloads.arrivals import ClosedLoop, Poisson
from simvirt.workloads.distributions import Constant, Distribution, Erlang, Exponential, Lognormal
from simvirt.workloads.profile import Workload

CONFIDENCE = 0.9999
PRECISION = 0.02
SECOND = Compute(cpu_s=1.0)
EXPONENTIAL = Exponential(mean=1.0)

Measure = Callable[[RunOutcome], float]


def runs(
    layers: Layers, workloads: Iterable[Workload], *tenants: Tenants, requests: int, per_s: float, replications: int = 24
) -> list[RunOutcome]:
    """Replications that see about so many requests in all; a tenth of each is warm-up."""
    described = scenario(*tenants, duration_s=requests / replications / per_s)
    catalog = IdealCatalog(layers, *workloads)
    return [simulate(described, catalog, replication) for replication in range(replications)]


def assert_agrees(outcomes: list[RunOutcome], measure: Measure, expected: float) -> None:
    """The interval contains what theory says, and would not contain it if it were wrong by 2 %."""
    interval = mean_interval([measure(outcome) for outcome in outcomes], CONFIDENCE)
    assert interval.half_width < PRECISION * expected
    assert interval.contains(expected), f"{interval} does not contain {expected}"


def response_time(outcome: RunOutcome) -> float:
    return outcome.tenants[0].histogram.mean_s


def waits(outcome: RunOutcome) -> float:
    return sum(part.seconds for part in outcome.tenants[0].time_parts if part.is_wait)


def open_loop(cores: int, threads: float, factor: Distribution, per_s: float, requests: int) -> list[RunOutcome]:
    one = workload(SECOND, threads=threads, factor=factor)
    return runs(bare(cores), [one], Tenants(workload="work", load=Poisson(rate_per_s=per_s)), requests=requests, per_s=per_s)


@pytest.mark.parametrize(
    ("factor", "requests"),
    [
        pytest.param(EXPONENTIAL, 700_000, id="M/M/1"),
        pytest.param(Constant(value=1.0), 150_000, id="M/D/1"),
        pytest.param(Erlang(mean=1.0, k=4), 250_000, id="M/E4/1"),
    ],
)
def test_one_worker_is_first_come_first_served(factor: Distribution, requests: int) -> None:
    outcomes = open_loop(1, 1, factor, 0.5, requests)
    assert_agrees(outcomes, response_time, mg1_response_time(0.5, 1.0, factor.scv))


def test_as_many_workers_as_cores_is_mmc() -> None:
    outcomes = open_loop(2, 2, EXPONENTIAL, 1.0, 450_000)
    assert_agrees(outcomes, response_time, mmc_response_time(1.0, 1.0, 2))
    interval = mean_interval([waits(outcome) for outcome in outcomes], CONFIDENCE)
    expected = mmc_wait(1.0, 1.0, 2)  # Erlang's delay formula: a quarter of the response time, so its error is four times as large
    assert interval.half_width < 4 * PRECISION * expected
    assert interval.contains(expected)
    assert_agrees(outcomes, lambda outcome: outcome.cpu_utilization, 1.0 / 2)


@pytest.mark.parametrize("factor", [Lognormal(mean=1.0, cv=1.0), Constant(value=1.0)], ids=["lognormal", "constant"])
def test_any_number_of_workers_is_processor_sharing(factor: Distribution) -> None:
    """M/G/1-PS: the mean does not depend on the distribution."""
    outcomes = open_loop(1, inf, factor, 0.4, 500_000 if factor.scv else 200_000)
    assert_agrees(outcomes, response_time, mg1_ps_response_time(0.4, 1.0))


def test_a_few_workers_on_one_core_is_limited_processor_sharing() -> None:
    """With exponential demands the number of requests is that of M/M/1, whatever the limit."""
    outcomes = open_loop(1, 3, EXPONENTIAL, 0.4, 500_000)
    assert_agrees(outcomes, response_time, mm1_response_time(0.4, 1.0))


def test_clients_on_one_core() -> None:
    """Exact mean value analysis: 6 clients who think for 4 s on average, 1 s of work each."""
    one = workload(SECOND, threads=1, factor=EXPONENTIAL)
    expected = closed_network([Station(demand_s=1.0), Station(demand_s=4.0, servers=inf)], 6)
    tenants = Tenants(workload="work", load=ClosedLoop(clients=6, think=Exponential(mean=4.0)))
    outcomes = runs(bare(), [one], tenants, requests=250_000, per_s=expected.throughput_per_s)
    assert_agrees(outcomes, lambda outcome: outcome.tenants[0].throughput_per_s, expected.throughput_per_s)
    assert_agrees(outcomes, response_time, expected.response_time_s)


def test_clients_on_two_cores_and_a_disk() -> None:
    """8 clients: think 3 s, 1 s on one of 2 cores, 2 s at a disk that serves all of them at once (a delay, whatever its distribution)."""
    layers = (machine(2, {"disk.channels": 8.0, "disk.read_s": 2.0}), system())
    one = workload(SECOND, DiskRead(count=1.0), threads=inf, factor=EXPONENTIAL)
    expected = closed_network([Station(demand_s=1.0, servers=2), Station(demand_s=2.0, servers=inf), Station(demand_s=3.0, servers=inf)], 8)
    tenants = Tenants(workload="work", load=ClosedLoop(clients=8, think=Exponential(mean=3.0)))
    outcomes = runs(layers, [one], tenants, requests=150_000, per_s=expected.throughput_per_s)
    assert_agrees(outcomes, lambda outcome: outcome.tenants[0].throughput_per_s, expected.throughput_per_s)
    assert_agrees(outcomes, response_time, expected.residence_s[0] + 2.0)
    assert_agrees(outcomes, lambda outcome: outcome.disk_utilization, expected.throughput_per_s * 2.0 / 8)


def test_interrupts_come_first() -> None:
    """Preemptive priority at one core: packets of 1 s each (constant) before one worker's requests of 1 s (exponential).

    An interrupt has 1000 times the weight of a thread, so theory is met to a thousandth. With ρ = 0.2 and 0.25, residual
    W₀ = 0.2 * 1 / 2 + 0.25 * 1 = 0.35: packets stay 1 + 0.2 / 2 / (1 - 0.2) = 1.125; requests (1 + 0.35 / (1 - 0.45)) / (1 - 0.2) = 2.0455.
    """
    layers = (machine(), system({"network.receive_s": 1.0}))
    packets = workload(Receive(messages=1.0, packets=1.0), name="packets")
    requests = workload(SECOND, threads=1, factor=EXPONENTIAL)
    urgent = Tenants(name="urgent", workload="packets", load=Poisson(rate_per_s=0.2))
    other = Tenants(name="other", workload="work", load=Poisson(rate_per_s=0.25))
    outcomes = runs(layers, [packets, requests], urgent, other, requests=450_000, per_s=0.45)
    assert_agrees(outcomes, lambda outcome: outcome.tenant("urgent").histogram.mean_s, 1 + 0.2 / 2 / 0.8)
    assert_agrees(outcomes, lambda outcome: outcome.tenant("other").histogram.mean_s, (1 + 0.35 / 0.55) / 0.8)


# What costs nothing changes nothing


@pytest.mark.parametrize("virtual", [in_vm, in_hosted_vm, in_nested_vm], ids=["virtual machine", "hosted", "nested"])
@pytest.mark.parametrize("cores", [1, 2])
def test_free_virtual_machines_are_bare_metal(virtual: Callable[[int], Layers], cores: int) -> None:
    """To the last bit where one worker has one core; where several share, sums are rounded in another order."""
    for threads, same in ((1, exactly if cores == 1 else nearly), (3, nearly), (inf, nearly)):
        one = workload(SECOND, DiskRead(count=1.0), threads=threads, factor=EXPONENTIAL)
        tenants = Tenants(workload="work", load=Poisson(rate_per_s=0.7 * cores), vcpus=cores)
        layers = (bare(cores), virtual(cores), (*virtual(cores), container()))
        on_metal, *others = (seen(simulate(scenario(tenants, duration_s=400.0), IdealCatalog(of, one))) for of in layers)
        for other in others:
            assert other == same(on_metal)


def seen(outcome: RunOutcome) -> dict[str, float]:
    """What users could see, whatever is below."""
    tenant = outcome.tenants[0]
    return {**dict(tenant.metrics()), "longest": tenant.histogram.max_s, "cpu_utilization": outcome.cpu_utilization}


def exactly(found: dict[str, float]) -> object:
    return pytest.approx(found, rel=0.0, abs=0.0, nan_ok=True)


def nearly(found: dict[str, float]) -> object:
    return pytest.approx(found, rel=1e-9, nan_ok=True)


# Shares at two levels


def always_busy(name: str, clients: int, **given: object) -> Tenants:
    """As many tasks as clients that never wait."""
    return Tenants.model_validate(
        {
            "name": name,
            "workload": "work",
            "load": {"kind": "closed", "clients": clients, "think": {"kind": "constant", "value": 0}},
            **given,
        }
    )


@pytest.mark.parametrize(
    ("cores", "vcpus", "guest_task", "native_task"),
    [(1, 1, 1 / 4, 1 / 2), (2, 2, 2 / 3, 2 / 3)],
    ids=["one vCPU on one core", "two vCPUs on two cores"],
)
def test_a_virtual_processor_is_one_task_to_the_host(cores: int, vcpus: int, guest_task: float, native_task: float) -> None:
    """Two busy tasks in a hosted virtual machine beside one of the host: the host shares among vCPUs and tasks, the guest among tasks."""
    one = workload(Compute(cpu_s=0.001), threads=inf)
    tenants = (always_busy("guest", 2, vcpus=vcpus), always_busy("native", 1, on="host"))
    outcome = simulate(scenario(*tenants, duration_s=20.0), IdealCatalog(in_hosted_vm(cores), one))
    assert outcome.tenant("guest").throughput_per_s * 0.001 / 2 == pytest.approx(guest_task, rel=1e-3)
    assert outcome.tenant("native").throughput_per_s * 0.001 == pytest.approx(native_task, rel=1e-3)
    assert outcome.cpu_utilization == pytest.approx(1.0, rel=1e-9)
