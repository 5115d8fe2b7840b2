"""Levels of one factor against a baseline, at points that differ in nothing else and saw the same arrivals and demands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simvirt.analysis.comparison import common_numbers_gain, control_variate_interval, holm, paired_difference, paired_p_value, paired_ratio
from simvirt.analysis.intervals import Interval
from simvirt.experiment.runner import PointOutcome
from simvirt.experiment.summary import values_of
from simvirt.metrics.catalog import metric
from simvirt.scenario import Scenario
from simvirt.workloads.arrivals import Poisson

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONTROLS_FROM", "Compared", "compare_points", "comparisons_frame"]

CONTROLS_FROM: Final = 10
"""Replications from which on a control variate pays for the degree of freedom that it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One level against the baseline: one response of one entity."""

    factors: Mapping[str, Any]
    baseline: str
    entity: str
    metric: str
    ratio: Interval
    """Of means, in pairs."""
    difference: Interval
    """Of means, in pairs; with a control variate from `CONTROLS_FROM` replications on, under Poisson arrivals."""
    p_value: float
    """Of the paired t test that both are alike."""
    common_numbers_gain: float
    """How many times the requests independent runs would need for a difference as sharp as the paired one; infinite if pairs are alike."""
    control_gain: float
    """How many times the requests the paired difference would need without the control variate; NaN where none is used."""


def compare_points(outcomes: Sequence[PointOutcome], factor: str, baseline: str, responses: Sequence[str]) -> list[Compared]:
    """Every other level of `factor` at every point against `baseline` at the point that is the same in all else."""
    by_point = {_key(outcome, factor, str(outcome.point.factors[factor])): outcome for outcome in outcomes}
    found: list[Compared] = []
    for outcome in outcomes:
        below = by_point.get(_key(outcome, factor, baseline))
        if below is not None and below is not outcome:
            found += _compared(outcome, below, baseline, responses)
    return found


def _key(outcome: PointOutcome, factor: str, level: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(one)) for name, one in {**outcome.point.factors, factor: level}.items()))


def _compared(outcome: PointOutcome, below: PointOutcome, baseline: str, responses: Sequence[str]) -> Iterator[Compared]:
    confidence = outcome.point.scenario.run.confidence
    base = values_of(below)
    for (entity, name), values in values_of(outcome).items():
        others = base.get((entity, name), [])
        if name not in responses or len(others) != len(values):
            continue
        paired = paired_difference(values, others, confidence)
        controlled = _controlled(outcome, entity, np.subtract(values, others).tolist())
        yield Compared(
            factors=outcome.point.factors,
            baseline=baseline,
            entity=entity,
            metric=name,
            ratio=_ratio(values, others, confidence),
            difference=paired if controlled is None else controlled,
            p_value=paired_p_value(values, others),
            common_numbers_gain=common_numbers_gain(values, others),
            control_gain=nan if controlled is None else _squared_ratio(paired.half_width, controlled.half_width),
        )


def _ratio(values: Sequence[float], others: Sequence[float], confidence: float) -> Interval:
    """Of means; unknown where a baseline is not above 0, as a count may be."""
    if any(other <= 0.0 for other in others):
        return Interval(nan, nan, len(values), confidence)
    return paired_ratio(values, others, confidence)


def _controlled(outcome: PointOutcome, entity: str, differences: Sequence[float]) -> Interval | None:
    """The mean difference, sharpened by how many requests arrived: under Poisson arrivals the expected number is known."""
    scenario = outcome.point.scenario
    if len(differences) < CONTROLS_FROM or outcome.failures or not isinstance(scenario, Scenario):
        return None
    rates = {group.name: group.load.rate_per_s for group in scenario.tenants if isinstance(group.load, Poisson)}
    tenants = [next((t for t in run.tenants if f"tenant/{t.name}" == entity), None) for run in outcome.runs]
    arrived = [tenant.arrived / tenant.window_s for tenant in tenants if tenant is not None and tenant.group in rates]
    if len(arrived) < len(differences) or tenants[0] is None:
        return None
    return control_variate_interval(differences, arrived, [rates[tenants[0].group]], scenario.run.confidence)


def _squared_ratio(a: float, b: float) -> float:
    return (a / b) ** 2 if b else inf if a else nan


def comparisons_frame(compared: Sequence[Compared]) -> pd.DataFrame:
    """One row per comparison. `p_holm` is adjusted over all comparisons of one response in the study."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    adjusted = _adjusted(compared)
    rows = [{**one.factors, **_cells(one), "p_holm": p} for one, p in zip(compared, adjusted, strict=True)]
    if not rows:
        return pd.DataFrame(columns=["entity", "metric", "baseline"])
    frame = pd.DataFrame(rows)
    names = list(compared[0].factors)
    return frame.sort_values([*names, "entity", "metric"], kind="stable", ignore_index=True)


def _cells(one: Compared) -> dict[str, Any]:
    ratio, difference = one.ratio, one.difference
    return {
        "baseline": one.baseline,
        "entity": one.entity,
        "metric": one.metric,
        "ratio": ratio.mean,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "difference": difference.mean,
        "difference_half_width": difference.half_width,
        "unit": metric(one.metric).unit,
        "n": ratio.n,
        "confidence": ratio.confidence,
        "common_numbers_gain": one.common_numbers_gain,
        "control_gain": one.control_gain,
        "p_value": one.p_value,
    }


def _adjusted(compared: Sequence[Compared]) -> list[float]:
    """Holm's p-values, one family per response; a comparison that was not measured stays out of it."""
    adjusted = [nan] * len(compared)
    for name in {one.metric for one in compared}:
        family = [i for i, one in enumerate(compared) if one.metric == name and isfinite(one.p_value)]
        for i, p in zip(family, holm([compared[i].p_value for i in family]).tolist(), strict=True):
            adjusted[i] = p
    return adjusted
