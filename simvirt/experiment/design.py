"""Which points a study looks at: all combinations of levels, and for ranges a sample that fills the space evenly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import log2
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from simvirt.experiment.factors import Levels, Range
from simvirt.randomness import Streams

__all__ = ["Design", "design_problems", "levels_of_points"]

MOST_POINTS: Final = 100_000


class Design(BaseModel):
    """How points are chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["grid", "latin-hypercube", "sobol"] = "grid"
    """All combinations of levels; or these, each with a sample of the ranges: one point in each of n equal slices of every range (Latin
    hypercube), or a scrambled Sobol sequence, of which every power of two is balanced."""
    points: Annotated[int, Field(ge=1, le=MOST_POINTS)] | None = None
    """Points of the sample; a grid has as many as there are."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Of the sample, not of the runs."""


def design_problems(design: Design, factors: Mapping[str, Levels | Range]) -> list[str]:
    """What does not fit together."""
    ranges = sorted(name for name, factor in factors.items() if isinstance(factor, Range))
    problems = []
    if design.kind == "grid":
        problems += [f"factors.{name}: a range in a grid; give a list of levels, or choose latin-hypercube or sobol" for name in ranges]
        if design.points is not None:
            problems.append(f"design.points: {design.points} of a grid, which has as many as its levels make; remove it")
        return problems
    if not ranges:
        problems.append(f"design.kind: {design.kind!r} without a range to draw from; give a factor low and high, or use a grid")
    if design.points is None:
        problems.append(f"design.points: missing; say how many points {design.kind} is to draw, such as 16")
    elif design.kind == "sobol" and not log2(design.points).is_integer():
        nearest = 2 ** round(log2(design.points))
        problems.append(f"design.points: {design.points}; a Sobol sequence is balanced at powers of two, such as {nearest}")
    return problems


def levels_of_points(design: Design, factors: Mapping[str, Levels | Range]) -> list[dict[str, Any]]:
    """The level of every factor at every point; each point of a sample is crossed with all combinations of levels."""
    lists = {name: factor.levels for name, factor in factors.items() if isinstance(factor, Levels)}
    ranges = {name: factor for name, factor in factors.items() if isinstance(factor, Range)}
    crossed: list[dict[str, Any]] = [dict(zip(lists, levels, strict=True)) for levels in product(*lists.values())]
    drawn = [{name: one.at(u) for (name, one), u in zip(ranges.items(), point, strict=True)} for point in _sample(design, len(ranges))]
    return [{name: {**sampled, **levels}[name] for name in factors} for sampled in drawn for levels in crossed]


def _sample(design: Design, dimensions: int) -> Sequence[Sequence[float]]:
    """Points of the unit cube; one point of no dimensions for a grid."""
    if design.kind == "grid" or not dimensions:
        return [[]]
    from scipy.stats import qmc  # noqa: PLC0415 - slow to import

    assert design.points is not None
    generator = Streams(design.seed).stream(f"design/{design.kind}")
    sampler = qmc.LatinHypercube if design.kind == "latin-hypercube" else qmc.Sobol
    points: list[list[float]] = sampler(dimensions, seed=generator).random(design.points).tolist()
    return points
