"""A load that is not carried is called saturated, by one long run or by several short ones together; one that is carried never is."""

from __future__ import annotations

from ideal import IdealCatalog, bare, workload

from simvirt.demand import Compute
from simvirt.scenario import Run, Scenario, Tenants
from simvirt.simulation import RunOutcome, simulate, told_together
from simvirt.workloads.arrivals import Poisson
from simvirt.workloads.distributions import Exponential

WORK = workload(Compute(cpu_s=1e-3), threads=1, factor=Exponential(mean=1.0))


def runs(load: float, requests: int, replications: int = 8) -> list[RunOutcome]:
    tenants = Tenants(workload="work", load=Poisson(rate_per_s=load * 1000.0))
    scenario = Scenario(platform="ideal", tenants=(tenants,), run=Run(duration_s=requests / load / 1000.0))
    return [simulate(scenario, IdealCatalog(bare(1), WORK), replication) for replication in range(replications)]


def saturated(outcomes: list[RunOutcome]) -> list[bool]:
    return [outcome.tenants[0].saturated for outcome in outcomes]


def test_short_runs_show_together_what_none_of_them_shows_alone() -> None:
    """8 % too much: of 900 requests about 67 stay in flight, within chance (4 * 30 + 10); eight times that is not (533 > 4 * 85 + 28)."""
    found = runs(1.08, 1000)
    assert not all(saturated(found))
    together = told_together(found)
    assert all(saturated(list(together)))
    assert [t.arrived for o in together for t in o.tenants] == [t.arrived for o in found for t in o.tenants]


def test_a_high_load_that_is_carried_is_not_saturated() -> None:
    assert not any(saturated(list(told_together(runs(0.9, 5000)))))


def test_nothing_is_told_of_no_runs() -> None:
    assert told_together([]) == ()
