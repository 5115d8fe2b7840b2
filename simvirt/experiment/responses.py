"""The answer of a study as a table: the responses with their intervals, and in words what to beware of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite, isnan, nan
from typing import TYPE_CHECKING, Any

from simvirt.analysis.intervals import Interval, mean_interval
from simvirt.analysis.warm_up import MULTIPLE, WarmUpCheck, mean_check
from simvirt.experiment.precision import Precision
from simvirt.experiment.runner import PointOutcome
from simvirt.experiment.summary import values_of
from simvirt.metrics.catalog import metric
from simvirt.simulation.outcome import TenantOutcome

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["responses_frame"]


def responses_frame(outcomes: Sequence[PointOutcome], responses: Sequence[str], precision: Precision | None = None) -> pd.DataFrame:
    """One row per point, entity and response.

    `mean`, `low`, `high`: Student's t over replications, for quantiles too, one of each replication. `saturated`: share of the
    replications in which more was offered than carried; response times are then missing. `autocorrelation_times`: how many a run
    holds, `mser5_fraction`: what that rule would leave out of it (see `analysis.warm_up`). `note`: what to beware of, empty if nothing.
    """
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = [row for outcome in outcomes for row in _rows(outcome, responses, precision)]
    names = list(outcomes[0].point.factors) if outcomes else []
    if not rows:
        return pd.DataFrame(columns=[*names, "entity", "metric"])
    return pd.DataFrame(rows).sort_values([*names, "entity", "metric"], kind="stable", ignore_index=True)


def _rows(outcome: PointOutcome, responses: Sequence[str], precision: Precision | None) -> Iterator[dict[str, Any]]:
    confidence = outcome.point.scenario.run.confidence
    found = {label: values for label, values in values_of(outcome).items() if label[1] in responses}
    for (entity, name), values in found.items():
        interval = mean_interval(values, confidence)
        tenant = _of_entity(outcome, entity)
        check = mean_check([[one.warm_up for one in tenant]])
        saturated = sum(one.saturated for one in tenant) / len(tenant) if tenant else nan
        yield {
            **outcome.point.factors,
            "entity": entity,
            "metric": name,
            "unit": metric(name).unit,
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "half_width": interval.half_width,
            "relative_half_width": interval.relative_half_width,
            "n": interval.n,
            "confidence": confidence,
            "saturated": saturated,
            "autocorrelation_times": check.autocorrelation_times,
            "mser5_fraction": check.mser5_fraction,
            "note": "; ".join(_notes(outcome, interval, check if tenant else None, saturated, _for(precision, name))),
        }
    if not found and outcome.failures:
        yield {**outcome.point.factors, "entity": "host", "metric": "failed", "unit": "1", "note": "; ".join(_failed(outcome))}


def _for(precision: Precision | None, name: str) -> Precision | None:
    """What is wanted of this response."""
    return precision if precision is not None and precision.response == name else None


def _of_entity(outcome: PointOutcome, entity: str) -> list[TenantOutcome]:
    """What each replication says of a tenant; nothing if the entity is none."""
    return [tenant for run in outcome.runs for tenant in run.tenants if f"tenant/{tenant.name}" == entity]


def _notes(
    outcome: PointOutcome, interval: Interval, check: WarmUpCheck | None, saturated: float, precision: Precision | None
) -> Iterator[str]:
    yield from _failed(outcome)
    if saturated > 0.0:
        yield f"saturated in {saturated * len(outcome.runs):.0f} of {len(outcome.runs)} replications: response times grow without end"
        return
    if isnan(interval.mean) and not outcome.failures:
        yield "too few requests in a replication for this quantile: run longer"
    if check is not None and isnan(check.autocorrelation_times):
        yield "too few requests to tell whether runs are long enough"
    elif check is not None and not check.long_enough:
        yield f"runs hold {check.autocorrelation_times:.0f} autocorrelation times of {MULTIPLE:g}: the interval is too narrow, run longer"
    if interval.n < 2:
        yield "one replication has no interval"
    if precision is not None and isfinite(interval.half_width) and interval.relative_half_width > precision.relative_half_width:
        wanted = f"{precision.relative_half_width:g} at the most of {precision.most} replications"
        yield f"half-width {interval.relative_half_width:.2g} of the mean, not {wanted}"


def _failed(outcome: PointOutcome) -> Iterator[str]:
    if outcome.failures:
        yield f"{len(outcome.failures)} of {len(outcome.failures) + len(outcome.runs)} runs failed, the first: {outcome.failures[0].error}"
