"""A group of tenants told as one, over the replications of a point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from math import nan

from simvirt.analysis.intervals import Interval, mean_interval
from simvirt.analysis.warm_up import WarmUpCheck, mean_check
from simvirt.experiment.runner import PointOutcome
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.scenario import Scenario
from simvirt.simulation.outcome import QUANTILES, TenantOutcome, TimePart

__all__ = ["Group", "groups_of"]


class Group:
    """Response times are those of all requests of the group; rates and requests in flight are those of all its tenants together."""

    def __init__(self, name: str, runs: Sequence[Sequence[TenantOutcome]], confidence: float) -> None:
        self.name = name
        self._runs = runs
        self._confidence = confidence

    @property
    def label(self) -> str:
        count = len(self._runs[0])
        return self.name if count == 1 else f"{self.name} ({count} tenants together)"

    @cached_property
    def saturated_runs(self) -> int:
        """Replications in which at least one of its tenants was offered more than was carried."""
        return sum(any(tenant.saturated for tenant in run) for run in self._runs)

    def values(self, metric: str) -> list[float]:
        """A metric in each replication, NaN where it was not measured."""
        return [run[metric] for run in self._metrics]

    def interval(self, metric: str) -> Interval:
        return mean_interval(self.values(metric), self._confidence)

    @property
    def warm_up(self) -> WarmUpCheck:
        """Of a mean replication, told of the tenant that fares worst."""
        return mean_check([tenant.warm_up for tenant in tenants] for tenants in zip(*self._runs, strict=True))

    @cached_property
    def time_parts(self) -> list[TimePart]:
        """Where the time of a mean request went, averaged over replications, the longest part first."""
        sums: dict[tuple[str, str], float] = {}
        for run in self._runs:
            completed = sum(tenant.completed for tenant in run)
            for tenant in run:
                for part in tenant.time_parts:
                    label = (part.layer, part.cause)
                    sums[label] = sums.get(label, 0.0) + part.seconds * tenant.completed / completed / len(self._runs)
        parts = (TimePart(layer=layer, cause=cause, seconds=seconds) for (layer, cause), seconds in sums.items())
        return sorted(parts, key=lambda part: -part.seconds)

    @cached_property
    def _metrics(self) -> list[dict[str, float]]:
        return [_metrics(run) for run in self._runs]


def _metrics(tenants: Iterable[TenantOutcome]) -> dict[str, float]:
    """Metrics of the tenants of one replication taken together."""
    tenants = tuple(tenants)
    times = sum((tenant.histogram for tenant in tenants), LatencyHistogram())
    trusted = not any(tenant.saturated for tenant in tenants)
    completed = sum(tenant.completed for tenant in tenants)
    return {
        "response_time_mean_s": times.mean_s if trusted else nan,
        **{name: times.quantile(q) if trusted else nan for name, q in QUANTILES.items()},
        "throughput_per_s": sum(tenant.throughput_per_s for tenant in tenants),
        "offered_load_per_s": sum(tenant.arrived / tenant.window_s for tenant in tenants),
        "in_flight": sum(tenant.in_flight_mean for tenant in tenants),
        "cpu_s_per_request": sum(tenant.cpu_s for tenant in tenants) / completed if trusted and completed else nan,
    }


def groups_of(outcome: PointOutcome) -> list[Group]:
    """The groups of tenants of a scenario, in its order, then its stressors."""
    scenario = outcome.point.scenario
    assert isinstance(scenario, Scenario)
    names = (*(group.name for group in scenario.tenants), *(group.name for group in scenario.stressors if group.intensity > 0.0))
    return [Group(name, [run.of_group(name) for run in outcome.runs], scenario.run.confidence) for name in names]
