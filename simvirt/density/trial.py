"""One number of tenants put to the test: replications are added until the objective is kept or broken beyond doubt, or there are enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isnan, sqrt
from typing import Final

from simvirt.analysis.intervals import student_t_quantile
from simvirt.catalog import Catalog
from simvirt.density.crowd import Crowd
from simvirt.errors import ScenarioError
from simvirt.simulation import RunOutcome, simulate, told_together
from simvirt.slo import Margin, Slo

__all__ = ["Trial", "Trials", "Verdict"]

LOOKS: Final = (3, 6, 12)
"""Replications after which is decided, if it can be."""


class Verdict(StrEnum):
    """What replications say of an objective."""

    KEPT = "kept"
    BROKEN = "broken"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One promise to one group over replications: the interval in which its mean margin lies."""

    margin: Margin
    """That of the first replication, for its words."""
    value: float
    """Mean of what was measured; infinite where a replication was saturated."""
    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was found with so many tenants."""

    tenants: int
    verdict: Verdict
    standings: tuple[Standing, ...]
    replications: int
    requests: int
    """Simulated after warm-up."""
    utilization: dict[str, float]
    """Mean of each resource."""
    memory_pressure: float
    """Share of the time in which somebody waited for memory."""
    killed: float
    """Tenants killed for want of memory, per replication."""

    @property
    def worst(self) -> Standing:
        """The promise that is closest to being broken, or broken most."""
        return min(self.standings, key=lambda one: one.mean)


class Trials:
    """Trials of one crowd, each made once. The same number gives the same trial, whatever was tried before."""

    def __init__(self, crowd: Crowd, slo: Slo, catalog: Catalog, confidence: float, first_replication: int = 0) -> None:
        """Trials that begin with other replications are independent of each other."""
        self._crowd, self._slo, self._catalog = crowd, slo, catalog
        self._confidence = confidence
        self._first = first_replication
        self.made: dict[int, Trial] = {}

    def at(self, n: int) -> Trial:
        """The trial of `n` tenants."""
        if n not in self.made:
            self.made[n] = self._try(n)
        return self.made[n]

    def _try(self, n: int) -> Trial:
        """Look after 3, 6 and 12 replications; replication i has the same arrivals and demands for every number of tenants.

        At each look the mean margin of each promise has an interval of Student's t whose error on either side is (1 - confidence) over the
        number of looks (Bonferroni): the chance to call a broken objective kept, or a kept one broken, is at most 1 - confidence over all
        looks. Kept means that every promise is kept so; broken that one is broken so, the error being shared among the promises.
        """
        scenario = self._crowd.at(n, self._catalog, self._slo)
        runs: list[RunOutcome] = []
        for look in LOOKS:
            runs += [simulate(scenario, self._catalog, self._first + i) for i in range(len(runs), look)]
            together = told_together(runs)
            standings = tuple(self._standings(together))
            verdict = self._verdict(standings, together)
            if verdict is not Verdict.UNDECIDED:
                break
        return Trial(
            tenants=n,
            verdict=verdict,
            standings=standings,
            replications=len(runs),
            requests=sum(tenant.arrived for run in runs for tenant in run.tenants),
            utilization=_utilization(runs),
            memory_pressure=_mean([max((m.pressure for m in run.memory.memories), default=0.0) if run.memory else 0.0 for run in runs]),
            killed=_mean([float(len(run.memory.kills)) if run.memory else 0.0 for run in runs]),
        )

    def _standings(self, runs: Sequence[RunOutcome]) -> list[Standing]:
        verdicts = self._slo.judge(runs)
        found = []
        for i, margin in enumerate(verdicts[0].margins):
            column = [verdict.margins[i] for verdict in verdicts]
            unknown = [one for one in column if isnan(one.margin)]
            if unknown:
                needed = margin.clause.requests_needed
                raise ScenarioError(
                    [f"{margin.clause}: too few requests of {margin.group!r} in a replication; at least {needed:g}, ask for more requests"]
                )
            low, mean, high = self._interval([one.margin for one in column], 1)
            found.append(Standing(margin=margin, value=_mean([one.value for one in column]), low=low, mean=mean, high=high))
        return found

    def _interval(self, margins: Sequence[float], shared_among: int) -> tuple[float, float, float]:
        n, mean = len(margins), _mean(margins)
        error = (1.0 - self._confidence) / len(LOOKS) / shared_among
        spread = sqrt(sum((m - mean) ** 2 for m in margins) / (n - 1))
        half = student_t_quantile(1.0 - 2.0 * error, n - 1) * spread / sqrt(n)
        return mean - half, mean, mean + half

    def _verdict(self, standings: Sequence[Standing], runs: Sequence[RunOutcome]) -> Verdict:
        if all(one.low > 0.0 for one in standings):
            return Verdict.KEPT
        columns = zip(*([m.margin for m in verdict.margins] for verdict in self._slo.judge(runs)), strict=True)
        if any(self._interval(column, len(standings))[2] < 0.0 for column in columns):
            return Verdict.BROKEN
        return Verdict.UNDECIDED


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _utilization(runs: Sequence[RunOutcome]) -> dict[str, float]:
    return {
        "CPU": _mean([run.cpu_utilization for run in runs]),
        "disk": _mean([run.disk_utilization for run in runs]),
        "network in": _mean([run.nic_rx_utilization for run in runs]),
        "network out": _mean([run.nic_tx_utilization for run in runs]),
    }
