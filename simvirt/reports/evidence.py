"""How well the numbers behind a result are known, as a report tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["CostRow", "Evidence", "Source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """One cost with its evidence, in words."""

    path: str
    value: str
    range: str
    grade: str
    source: str
    where: str
    swing: str = ""
    """What its range means for the CPU time of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A publication that numbers were taken from."""

    key: str
    title: str
    year: int
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Of the costs that a result used."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Number of costs by grade."""
    doubts: Sequence[CostRow] = ()
    """Assumptions, those first that move the CPU time of a request most."""
    costs: Sequence[CostRow] = ()
    sources: Sequence[Source] = ()
    changed: Sequence[str] = ()
    """Profiles that are not as they were when the result was made."""
    notes: Sequence[str] = ()
    """What could not be looked up, and why."""
