"""What replications say together: estimates with intervals, slowdowns in pairs, and where the time went.

Frames have the factors of the design first. A value that some replication did not measure is missing (NaN) in the summary too: leaving that
replication out would favour the platform that fails. So a point with saturated replications has no response time; it is called saturated
when most of its replications are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, Final

import numpy as np

from simvirt.analysis.comparison import paired_ratio
from simvirt.analysis.intervals import Interval, mean_interval
from simvirt.experiment.runner import PointOutcome
from simvirt.metrics.catalog import metric
from simvirt.metrics.tidy import FACTORS_FIRST, Row, tidy_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PARTS", "points_frame", "runs_frame", "summary_frame", "time_parts_frame", "values_of"]

PARTS: Final = "time_per_request_s"
"""The metric that has one value per layer and cause."""

_RESPONSE: Final = "response_time_mean_s"
_ESTIMATE: Final = ("mean", "low", "high", "half_width", "n", "confidence")

Values = dict[tuple[str, str], list[float]]
"""Entity and metric → one value per replication."""


def runs_frame(outcomes: Iterable[PointOutcome]) -> pd.DataFrame:
    """One row per point, replication, entity and metric; a failed run is a row with its error."""
    return tidy_frame(row for outcome in outcomes for row in _rows(outcome))


def _rows(outcome: PointOutcome) -> Iterable[Row]:
    factors = outcome.point.factors
    for run in outcome.runs:
        yield from run.rows(factors)
    for failure in outcome.failures:
        yield Row(factors=factors, replication=failure.replication, entity="host", metric="failed", value=1.0, error=failure.error)


def points_frame(outcomes: Sequence[PointOutcome]) -> pd.DataFrame:
    """The design: one row per point, with the digest of its scenario and how it was run."""
    cells = []
    for outcome in outcomes:
        scenario, run = outcome.point.scenario, outcome.point.scenario.run
        how = {name: getattr(run, name) for name in ("replications", "duration_s", "warm_up_s", "seed", "confidence")}
        cells.append({**outcome.point.factors, "machine": scenario.machine, "scenario_digest": scenario.digest(), **how})
    return _sorted_frame(cells, outcomes)


def summary_frame(outcomes: Sequence[PointOutcome], baseline: str | None = None) -> pd.DataFrame:
    """One row per point, entity and metric: mean, low, high, half-width over n replications (Student's t).

    With a `baseline` platform, tenants also have a `slowdown`: the ratio of mean response times to the same tenant at the point that
    differs in nothing but the platform, replications in pairs: both sides saw the same arrivals and demands.
    """
    values = [values_of(outcome) for outcome in outcomes]
    by_point = {_key(o.point.factors): v for o, v in zip(outcomes, values, strict=True)}
    cells = []
    for outcome, found in zip(outcomes, values, strict=True):
        confidence = outcome.point.scenario.run.confidence
        for (entity, name), replications in found.items():
            cells.append(_estimate(outcome, entity, name, mean_interval(replications, confidence)))
        if baseline is not None:
            base = by_point.get(_key({**outcome.point.factors, "platform": baseline}), {})
            cells += _slowdowns(outcome, found, base)
    return _sorted_frame(cells, outcomes)


def values_of(outcome: PointOutcome) -> Values:
    """One value per replication, NaN where a run did not measure what another did, or failed."""
    runs = [{(row.entity, row.metric): row.value for row in run.rows({}) if row.metric != PARTS} for run in outcome.runs]
    labels = dict.fromkeys(label for run in runs for label in run)
    failed = [nan] * len(outcome.failures)
    return {label: [run.get(label, nan) for run in runs] + failed for label in labels}


def _slowdowns(outcome: PointOutcome, found: Values, base: Values) -> Iterable[dict[str, object]]:
    confidence = outcome.point.scenario.run.confidence
    for (entity, name), replications in found.items():
        below = base.get((entity, name), [])
        if name == _RESPONSE and len(below) == len(replications):
            yield _estimate(outcome, entity, "slowdown", paired_ratio(replications, below, confidence))


def _estimate(outcome: PointOutcome, entity: str, name: str, interval: Interval) -> dict[str, object]:
    numbers = {column: getattr(interval, column) for column in _ESTIMATE}
    return {**outcome.point.factors, "entity": entity, "metric": name, "unit": metric(name).unit, **numbers}


def time_parts_frame(outcomes: Sequence[PointOutcome], kinds: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Where the time went: mean seconds per request by tenant, layer and cause, at points without a saturated replication.

    `kinds` says what a layer is, by platform and name of layer. A part that a replication did not have is a part of no time. The means of
    the parts of a tenant add up to its mean response time.
    """
    cells = []
    for outcome in outcomes:
        factors, confidence = outcome.point.factors, outcome.point.scenario.run.confidence
        if outcome.failures or any(tenant.saturated for run in outcome.runs for tenant in run.tenants):
            continue
        for tenant, parts in _parts(outcome).items():
            whole = sum(float(np.mean(seconds)) for seconds in parts.values())
            for (layer, cause, wait), seconds in parts.items():
                interval = mean_interval(seconds, confidence)
                kind = kinds.get(str(factors.get("platform", outcome.point.scenario.platform)), {}).get(layer, layer)
                what = {"tenant": tenant, "layer": layer, "kind": kind, "cause": cause, "wait": wait}
                numbers = {"mean_s": interval.mean, "half_width_s": interval.half_width, "share": interval.mean / whole}
                cells.append({**factors, **what, **numbers})
    return _sorted_frame(cells, outcomes)


def _parts(outcome: PointOutcome) -> dict[str, dict[tuple[str, str, bool], list[float]]]:
    """By tenant and label, the seconds per request of each replication."""
    found: dict[str, dict[tuple[str, str, bool], list[float]]] = {}
    for i, run in enumerate(outcome.runs):
        for tenant in run.tenants:
            parts = found.setdefault(tenant.name, {})
            for part in tenant.time_parts:
                label = (part.layer, part.cause, part.is_wait)
                parts.setdefault(label, [0.0] * len(outcome.runs))[i] = part.seconds
    return found


def _key(factors: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(factors.items()))


def _sorted_frame(cells: list[dict[str, object]], outcomes: Sequence[PointOutcome]) -> pd.DataFrame:
    """A frame whose factors lead, and by which it is sorted; rows of one point stay in the order in which they were made."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    names = set(outcomes[0].point.factors) if outcomes else set()
    leading = [*(name for name in FACTORS_FIRST if name in names), *sorted(names.difference(FACTORS_FIRST))]
    frame = pd.DataFrame(cells)
    if frame.empty:
        return pd.DataFrame(columns=leading)
    rest = [name for name in frame.columns if name not in names]
    keys = [name for name in (*leading, "entity", "tenant", "metric", "layer", "cause") if name in frame.columns]
    return frame[[*leading, *rest]].sort_values(keys, kind="stable", ignore_index=True)
