"""Every published platform on every machine, and every workload on every platform: the same laws, found by listing."""

from __future__ import annotations

import math
import random
from functools import cache

import pytest
from ideal import approx, nonzero, random_demands, tally

from simvirt.catalog import Catalog
from simvirt.demand import Compute, Demand
from simvirt.evidence import Grade
from simvirt.layers.contract import Resource, costs_of
from simvirt.layers.kernel_tables import entries_of
from simvirt.layers.path import plan_path
from simvirt.layers.stack import APPLICATION, Stack
from simvirt.scenario import Run, Scenario, Tenants
from simvirt.simulation import simulate
from simvirt.workloads.arrivals import Poisson

CATALOG = Catalog.builtin()
PLATFORMS, MACHINES, WORKLOADS = (CATALOG.names(kind) for kind in ("platforms", "hardware", "workloads"))
every_platform = pytest.mark.parametrize("platform", PLATFORMS)
every_machine = pytest.mark.parametrize("machine", MACHINES)
every_workload = pytest.mark.parametrize("workload", WORKLOADS)


def leaves_nothing(workload: str) -> bool:
    """Whether a workload can go on for ever: it neither grows without end nor keeps what it takes, as some stressors do."""
    described = CATALOG.workload(workload)
    kept = any(entries.kept for request in described.requests for entries in entries_of(request.demand))
    return described.stressor is None or not (kept or (described.footprint is not None and described.footprint.growth is not None))


@cache
def stack(platform: str, machine: str) -> Stack:
    return CATALOG.stack(platform, machine)


@every_machine
@every_platform
def test_laws_of_every_stack(platform: str, machine: str) -> None:
    built = stack(platform, machine)
    for seed in range(3):
        a, b = random_demands(random.Random(seed))
        both = Demand(tuple(x + y for x, y in zip(a.operations, b.operations, strict=True)))
        assert nonzero(tally(built.fold(both))) == approx(tally(built.fold(a)) + tally(built.fold(b)))
        assert nonzero(tally(built.fold(a.scaled(2.5)))) == approx({key: 2.5 * amount for key, amount in tally(built.fold(a)).items()})
        assert built.fold(a.scaled(0.0)) == ()
        charges = [f.charge for f in built.fold(a)]
        assert all(charge.amount >= 0 and charge.cause and charge.layer in (APPLICATION, *built.names) for charge in charges)
        user_s = sum(operation.cpu_s for operation in a.operations if isinstance(operation, Compute)) / built.host.core_speed
        assert sum(charge.amount for charge in charges if charge.resource is Resource.CPU) >= user_s * (1 - 1e-12)


@every_platform
def test_costs_are_resolved_for_the_machine(platform: str) -> None:
    """Work in cycles takes half as long on a machine of twice the clock; what is not CPU work stays."""
    slow, fast = (
        Stack(tuple(layer.on(hz) for layer in (CATALOG.hardware("server-2s"), *map(CATALOG.layer, CATALOG.platform(platform).layers))))
        for hz in (1e9, 2e9)
    )
    (demand,) = random_demands(random.Random(4), 1)
    layers = set(slow.names[1:])
    a, b = (
        sum(f.charge.amount for f in s.fold(demand) if f.charge.layer in layers and f.charge.cause in ("syscall", "net_rx", "spawn"))
        for s in (slow, fast)
    )
    assert a == pytest.approx(2 * b, rel=1e-9)


@pytest.mark.parametrize("workload", [name for name in WORKLOADS if leaves_nothing(name)])
@every_platform
def test_every_workload_runs_on_every_platform_that_offers_what_it_requires(platform: str, workload: str) -> None:
    built = CATALOG.stack(platform)
    described = CATALOG.workload(workload)
    if built.provides != described.requires:
        return
    mean_cpu_s = sum(plan_path(built, request.demand).cpu_s() * request.weight for request in described.requests)
    mean_cpu_s /= sum(request.weight for request in described.requests)
    rate_per_s = 0.3 / mean_cpu_s
    tenants = Tenants(workload=workload, load=Poisson(rate_per_s=rate_per_s))
    outcome = simulate(Scenario(platform=platform, tenants=(tenants,), run=Run(duration_s=60 / rate_per_s)), CATALOG)
    tenant = outcome.tenants[0]
    assert tenant.completed > 20 and not tenant.saturated
    assert tenant.in_flight_before + tenant.arrived == tenant.completed + tenant.in_flight_after
    assert math.fsum(part.seconds for part in tenant.time_parts) == pytest.approx(tenant.histogram.mean_s, rel=1e-9)
    layers = (APPLICATION, *built.names)
    assert all(part.layer in layers and math.isfinite(part.seconds) for part in tenant.time_parts)
    assert tenant.cpu_s / tenant.completed >= 0.5 * mean_cpu_s
    assert list(outcome.rows({"platform": platform}))


@every_machine
def test_every_machine_has_evidence(machine: str) -> None:
    for field, cost in costs_of(CATALOG.hardware(machine)):
        assert cost.source in CATALOG.references, field
        assert cost.low <= cost.value <= cost.high, field
        assert cost.grade is not Grade.DERIVED or cost.derivation, field


@every_workload
def test_every_workload_has_evidence(workload: str) -> None:
    described = CATALOG.workload(workload)
    assert described.summary
    assert described.factor.mean == pytest.approx(1.0)
    evidence = list(described.evidence)
    assert evidence
    for path, cost in evidence:
        assert cost.source in CATALOG.references, path
        assert cost.low <= cost.value <= cost.high, path
        assert cost.grade is not Grade.DERIVED or cost.derivation, path


def test_every_reference_is_used_and_says_what_it_is() -> None:
    layers = [*map(CATALOG.layer, CATALOG.names("layers")), *map(CATALOG.hardware, MACHINES)]
    used = {cost.source for layer in layers for _, cost in costs_of(layer)}
    used |= {cost.source for name in WORKLOADS for _, cost in CATALOG.workload(name).evidence}
    assert used <= set(CATALOG.references)
    assert all(reference.title and reference.year > 1900 for reference in CATALOG.references.values())


@pytest.mark.parametrize("platform", [name for name in PLATFORMS if CATALOG.platform(name).variant_of])
def test_a_variant_is_of_a_platform_of_its_family_that_is_none(platform: str) -> None:
    variant, of = CATALOG.platform(platform), CATALOG.platform(CATALOG.platform(platform).variant_of)
    assert (of.family, of.variant_of) == (variant.family, "")
    assert of.layers != variant.layers


def test_every_layer_is_part_of_some_platform() -> None:
    used = {layer for name in PLATFORMS for layer in CATALOG.platform(name).layers}
    assert used <= set(CATALOG.names("layers"))
