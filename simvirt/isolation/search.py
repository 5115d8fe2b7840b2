"""Which neighbours break a service level objective, and which limit on them would keep it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from simvirt.catalog import Catalog
from simvirt.errors import ScenarioError
from simvirt.isolation.limits import LIMITS, Limit, limited
from simvirt.scenario import Scenario, Stressors, check_scenario
from simvirt.simulation import RunOutcome
from simvirt.slo import Slo, Verdict

__all__ = ["STRESSOR", "Trial", "beside", "judged", "trials"]

STRESSOR: Final = "stressor"
"""Name of the group of the stressor that is put beside a scenario's own tenants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A scenario beside one stressor, and what limits it."""

    stressor: str
    limit: str
    """Empty for none."""
    scenario: Scenario


def beside(scenario: Scenario, stressor: str, intensity: float) -> Scenario:
    """The scenario with one more tenant on its platform, of the shape of its first group."""
    shape = scenario.tenants[0]
    own = Stressors(name=STRESSOR, stressor=stressor, intensity=intensity, vcpus=shape.vcpus, memory=shape.memory)
    return scenario.model_copy(update={"stressors": (*scenario.stressors, own)})


def trials(scenario: Scenario, stressors: Iterable[str], intensity: float, limits: Iterable[Limit], catalog: Catalog) -> Iterator[Trial]:
    """Each stressor under each limit that the platform has; what it has not is left out."""
    for name in stressors:
        plain = beside(scenario, name, intensity)
        for limit in limits:
            described = limited(plain, (limit,)) if limit in LIMITS else plain
            if limit in LIMITS and described == plain:
                continue
            try:
                check_scenario(described, catalog)
            except ScenarioError:
                if limit not in LIMITS:
                    raise
                continue
            yield Trial(stressor=name, limit=limit.name, scenario=described)


def judged(slo: Slo, runs: Sequence[RunOutcome], groups: Sequence[str]) -> tuple[Verdict, ...]:
    """Whether each replication keeps the objective for these groups: nothing is promised to a stressor."""
    kept = [replace(run, tenants=tuple(tenant for tenant in run.tenants if tenant.group in groups)) for run in runs]
    return slo.judge(kept)
