"""Availability over years against closed forms, within the run's own interval."""

from __future__ import annotations

import math
from itertools import groupby
from time import process_time

import pytest

from simvirt.analysis.availability import alternating, layered, series
from simvirt.analysis.intervals import Interval, mean_interval
from simvirt.catalog import Catalog
from simvirt.faults.record import FaultOutcome
from simvirt.scenario import Fault, Run, Scenario, Tenants
from simvirt.simulation import simulate
from simvirt.simulation.endurance import endure, shares_of
from simvirt.workloads.arrivals import Poisson

CATALOG = Catalog.builtin()
HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S


def scene(platform: str, *faults: Fault, count: int = 1, per_vm: int = 1, rate_per_s: float = 1.0) -> Scenario:
    web = Tenants(name="web", workload="web-service", count=count, per_vm=per_vm, load=Poisson(rate_per_s=rate_per_s))
    return Scenario(platform=platform, machine="small-server", tenants=(web,), faults=faults, run=Run(duration_s=10.0))


def measured(scenario: Scenario, duration_s: float, replications: int, tenant: int = 0) -> Interval:
    runs = [endure(scenario, CATALOG, duration_s, replication) for replication in range(replications)]
    return mean_interval([run.tenants[tenant].availability for run in runs], 0.9999)


def expected(scenario: Scenario, tenant: str = "web") -> float:
    shares = sorted(shares_of(scenario, CATALOG, tenant), key=lambda share: share.level)
    layers = groupby(shares, key=lambda share: share.level)
    return layered([[(share.mtbf_s, share.down_s) for share in faults] for _, faults in layers])


def assert_agrees(found: Interval, closed: float) -> None:
    """Inside the interval, which is narrow enough to see a twentieth of the unavailability."""
    assert found.half_width < 0.05 * (1.0 - closed), (found, closed)
    assert abs(found.mean - closed) <= found.half_width, (found, closed)


def test_closed_forms_by_hand() -> None:
    assert alternating(9.0, 1.0) == pytest.approx(0.9)
    assert series([(9.0, 1.0), (4.0, 1.0)]) == pytest.approx(0.9 * 0.8)
    assert layered([[(9.0, 1.0)], [(4.0, 1.0)]]) == pytest.approx(0.9 * 0.8)
    assert layered([[(9.0, 1.0), (4.0, 1.0)]]) == pytest.approx(1 / (1 + 1 / 9 + 1 / 4))  # one at a time hits the same layer
    # Nguyen et al. 2014, table 3: 8,760 h and 72 h; 2,654 h and 100 min; 2,893 h and 30 min
    assert alternating(8760.0, 72.0) == pytest.approx(0.99185, abs=1e-5)
    assert alternating(2654.0, 100 / 60) == pytest.approx(0.99937, abs=1e-5)
    assert alternating(2893.0, 0.5) == pytest.approx(0.99983, abs=1e-5)


@pytest.mark.parametrize(("mttf_s", "mttr_s"), [(0.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (math.nan, 1.0)])
def test_a_part_that_is_never_up_has_no_availability(mttf_s: float, mttr_s: float) -> None:
    with pytest.raises(ValueError, match="time to failure"):
        alternating(mttf_s, mttr_s)


@pytest.mark.parametrize("fault", ["application-crash", "guest-kernel-panic", "hypervisor-crash", "host-loss", "guest-kernel-hang"])
def test_one_part_is_up_as_often_as_the_closed_form_says(fault: str) -> None:
    """Exponential times to failure of 20 h, lognormal repairs of 4 h (but for hangs: the time until they are found out)."""
    hang = CATALOG.fault(fault).effect == "hang"
    times = {"detection": 4 * HOUR_S} if hang else {"detection": 0.0}
    one = Fault(fault=fault, mtbf=20 * HOUR_S, **times)
    scenario = scene("kvm", one)
    mean_s = CATALOG.fault(fault).repair_s.si
    found = measured(scenario, 200 * (20 * HOUR_S + mean_s + 4 * HOUR_S), 24)
    assert_loosely(found, expected(scenario))


def assert_loosely(found: Interval, closed: float) -> None:
    """Inside the interval, which is narrow enough to see a fifth of the unavailability (repairs of hours vary widely)."""
    assert found.half_width < 0.2 * (1.0 - closed), (found, closed)
    assert abs(found.mean - closed) <= found.half_width, (found, closed)


def test_a_series_is_up_as_often_as_the_product_says() -> None:
    """Host, hypervisor, guest and application with constant repairs of 1 to 20 h: a product of availabilities from 0.83 to 0.98."""
    faults = (
        Fault(fault="host-loss", mtbf=1000 * HOUR_S, detection=0.0, repair=20 * HOUR_S),
        Fault(fault="hypervisor-crash", mtbf=300 * HOUR_S, detection=0.0, repair=10 * HOUR_S),
        Fault(fault="guest-kernel-panic", mtbf=100 * HOUR_S, detection=0.0, repair=2 * HOUR_S),
        Fault(fault="application-crash", mtbf=50 * HOUR_S, detection=0.0, repair=1 * HOUR_S),
    )
    scenario = scene("kvm", *faults)
    product = series((fault.mtbf or 0.0, fault.repair or 0.0) for fault in faults)
    found = measured(scenario, 10 * YEAR_S, 30)
    # a fault below cuts repairs above short: E[min(R, T)] = (1 - exp(-L R)) / L with L the rate of all that is below
    exact, below = 1.0, 0.0
    for fault in faults:
        assert fault.mtbf is not None
        assert fault.repair is not None
        levels = shares_of(scene("kvm", fault), CATALOG, "web")
        [share] = levels
        down_s = share.down_s if not below else (1 - math.exp(-below * share.down_s)) / below
        exact /= 1 + down_s / fault.mtbf
        below += 1 / fault.mtbf
    assert_agrees(found, exact)
    assert found.mean == pytest.approx(product, abs=0.002)


def test_what_the_profiles_say_of_whole_platforms() -> None:
    """All faults of a platform together, at their own rates, over centuries: inside the interval of the closed form."""
    names = ("host-loss", "hypervisor-crash", "guest-kernel-panic", "guest-kernel-hang", "vmm-crash")
    scenario = scene("kvm", *(Fault(fault=name) for name in names))
    found = measured(scenario, 500 * YEAR_S, 16)
    assert_loosely(found, expected(scenario))


def test_the_availability_of_a_run_with_requests_is_that_of_one_without() -> None:
    """The same faults at the same times, whether anybody asks or not."""
    faults = (
        Fault(fault="application-crash", mtbf=20.0, detection=0.5, repair=1.0),
        Fault(fault="guest-kernel-panic", mtbf=60.0, detection=0.5, repair=0.0),
        Fault(fault="host-kernel-panic", mtbf=300.0, detection=0.5, repair=0.0),
    )
    described = scene("kvm", *faults, count=4, per_vm=2, rate_per_s=5.0)
    scenario = described.model_copy(update={"run": Run(duration_s=200.0, warm_up_fraction=0.0)})
    busy = simulate(scenario, CATALOG).faults
    idle = endure(scenario, CATALOG, 200.0)
    assert busy is not None
    assert busy.tenants == idle.tenants
    assert timeline(busy) == timeline(idle)


def timeline(outcome: FaultOutcome) -> list[tuple[float, str, str, float | None]]:
    return [(event.time_s, event.fault, event.instance, event.repaired_s) for event in outcome.events]


def test_a_tenant_hit_by_all_faults_is_down_no_more_than_the_sum() -> None:
    """Adding a fault never makes anybody more available (the same streams go on)."""
    first = Fault(fault="application-crash", mtbf=10 * HOUR_S)
    second = Fault(fault="host-kernel-panic", mtbf=40 * HOUR_S, repair=2 * HOUR_S)
    one, both = (measured(scene("docker", *faults), 2 * YEAR_S, 8) for faults in ((first,), (first, second)))
    assert both.mean + both.half_width < one.mean


def test_years_take_seconds() -> None:
    """Fifty machines over twenty years, their applications crashing once a month: 12,000 crashes."""
    scenario = scene("kvm", Fault(fault="application-crash"), Fault(fault="guest-kernel-panic"), Fault(fault="host-loss"), count=50)
    before = process_time()
    outcome = endure(scenario, CATALOG, 20 * YEAR_S)
    assert len(outcome.events) > 10_000
    assert process_time() - before < 10.0
