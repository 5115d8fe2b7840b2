"""Replications until an interval is as narrow as wanted, or a stated cap is reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isfinite
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simvirt.analysis.intervals import Interval, mean_interval, replications_needed
from simvirt.experiment.runner import Point, PointOutcome, run_points
from simvirt.experiment.summary import values_of
from simvirt.scenario import MOST_REPLICATIONS, Run, Scenario

__all__ = ["Precision", "run_until_precise"]

_GROWTH: Final = 2
"""Times as many replications as there are, at most, before it is looked at again: the spread is only estimated."""


class Precision(BaseModel):
    """How sure one wants to be of one response."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    response: str
    relative_half_width: Annotated[float, Field(gt=0, lt=1)]
    """Half of the interval's width over the mean, for every entity that has the response."""
    least: Annotated[int, Field(ge=2)] = 5
    """Replications from which on it is looked at. To stop as soon as an interval happens to be narrow makes it cover a little less often
    than it says, the more so the fewer these are."""
    most: Annotated[int, Field(ge=2, le=MOST_REPLICATIONS)] = 100
    """Replications at which it ends in any case; the interval is then as wide as it is, and the point is said to fall short."""

    @model_validator(mode="after")
    def _least_is_less(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least {self.least}, most {self.most}; at most as many at the beginning as at the end")
        return self


def run_until_precise(
    points: Sequence[Point], precision: Precision | None, paired: str | None, *, planned: Callable[[int], None] | None = None, **how: Any
) -> list[PointOutcome]:
    """Run points as often as they say, or until each is precise; `how`: see `run_points`. Points that differ only in the factor `paired`
    have equally many replications: those of the one that needs most.

    How many are added follows from what was found alone, so the same study has the same replications however it is interrupted.
    """
    if precision is None:
        return run_points(points, **how)
    outcomes = run_points([_with_replications(point, precision.least) for point in points], **how)
    while True:
        there = [outcome.point.scenario.run.replications for outcome in outcomes]
        wanted = _wanted(outcomes, precision, paired)
        if wanted == there:
            return outcomes
        if planned is not None:
            planned(sum(wanted) - sum(there))
        following = [_with_replications(point, n) for point, n in zip(points, wanted, strict=True)]
        outcomes = run_points(following, before=outcomes, **how)


def _with_replications(point: Point, replications: int) -> Point:
    scenario = point.scenario
    assert isinstance(scenario, Scenario), "only scenarios say how many replications they have"
    run = Run(**{**scenario.run.model_dump(), "replications": replications})
    return replace(point, scenario=scenario.model_copy(update={"run": run}))


def _wanted(outcomes: Sequence[PointOutcome], precision: Precision, paired: str | None) -> list[int]:
    """Replications of each point in the next round; as many as there are where nothing more is wanted."""
    blocks = [_block(outcome, paired) for outcome in outcomes]
    most: dict[tuple[tuple[str, str], ...], int] = {}
    for block, outcome in zip(blocks, outcomes, strict=True):
        most[block] = max(most.get(block, 0), _wanted_here(outcome, precision))
    return [most[block] for block in blocks]


def _block(outcome: PointOutcome, paired: str | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, str(level)) for name, level in outcome.point.factors.items() if name != paired))


def _wanted_here(outcome: PointOutcome, precision: Precision) -> int:
    n = outcome.point.scenario.run.replications
    needed = n
    for interval in _intervals(outcome, precision.response).values():
        if isfinite(interval.half_width) and interval.mean and interval.half_width > precision.relative_half_width * abs(interval.mean):
            needed = max(needed, n + 1, replications_needed(interval, precision.relative_half_width))
    return min(needed, _GROWTH * n, precision.most)


def _intervals(outcome: PointOutcome, response: str) -> dict[str, Interval]:
    """The interval of one response by entity."""
    confidence = outcome.point.scenario.run.confidence
    return {entity: mean_interval(values, confidence) for (entity, name), values in values_of(outcome).items() if name == response}
