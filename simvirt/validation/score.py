"""Scores predictions against what was measured: errors of rows, order of platforms, and what a case amounts to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import isfinite, log, nan
from statistics import median

from simvirt.validation.case import Case, Level, MeasuredRow, Role, Scoring

__all__ = ["Judged", "Summary", "error_of", "order", "summary", "total"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A measured row and what became of it. Numbers are in the row's unit; not a number where there is none."""

    case: Case
    row: MeasuredRow
    role: Role
    baseline: float
    """The measured value of the baseline row of the same conditions."""
    predicted: float
    low: float
    high: float
    error: float
    """Relative; not a number where nothing is scored: no prediction, or only the order."""
    reason: str = ""
    """Why there is no prediction."""

    @property
    def is_scored(self) -> bool:
        """Whether the error counts."""
        return self.role is Role.VALIDATION and isfinite(self.error)

    @property
    def condition(self) -> str:
        """The case and the levels of the conditions, the platform left out."""
        levels = ((column, level) for column, level in self.row.conditions.items() if column != "platform")
        return f"{self.case.name}: " + ", ".join(f"{column}={_level_text(level)}" for column, level in levels)


def _level_text(level: Level) -> str:
    return f"{level:g}" if isinstance(level, float) else level


def error_of(scoring: Scoring, measured: float, predicted: float, measured_base: float, predicted_base: float) -> float:
    """Relative error of a prediction, or of its ratio to the baseline; not a number if only the order counts."""
    if scoring is Scoring.ORDER or not measured:
        return nan
    error = predicted / measured
    return (error * measured_base / predicted_base if scoring is Scoring.RATIO else error) - 1.0


def order(rows: Iterable[Judged], ties: float) -> tuple[int, int]:
    """Pairs of platforms at the same conditions in the right order, and all such pairs.

    Both have a prediction, one at least is validation, and their measured values differ by more than the share `ties`.
    """
    tables: dict[tuple[str, str], list[Judged]] = {}
    for one in rows:
        if isfinite(one.predicted):
            tables.setdefault((one.condition, one.row.metric), []).append(one)
    right = pairs = 0
    for together in tables.values():
        for a, b in combinations(together, 2):
            if Role.VALIDATION not in (a.role, b.role) or _tie(a.row.value, b.row.value, ties):
                continue
            pairs += 1
            right += (a.row.value > b.row.value) is (a.predicted > b.predicted) and a.predicted != b.predicted
    return right, pairs


def _tie(a: float, b: float, ties: float) -> bool:
    return a == b or (min(a, b) > 0 and abs(log(a / b)) <= log(1.0 + ties))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a case amounts to."""

    case: str
    rows: int
    calibration: int
    scored: int
    not_predicted: int
    median_absolute_error: float
    largest_absolute_error: float
    pairs: int
    in_order: float
    """Share of the pairs."""

    def cells(self) -> Mapping[str, str | int | float]:
        """Name of column → value."""
        return {name: getattr(self, name) for name in self.__slots__}


def summary(case: Case, rows: Iterable[Judged]) -> Summary:
    """Counts, errors and order of one case."""
    mine = list(rows)
    return _summary(case.name, mine, order(mine, case.ties))


def total(cases: Iterable[tuple[Case, Iterable[Judged]]]) -> Summary:
    """The same over all cases: every scored row counts once, every pair counts once."""
    every: list[Judged] = []
    right = pairs = 0
    for case, rows in cases:
        mine = list(rows)
        every += mine
        r, p = order(mine, case.ties)
        right, pairs = right + r, pairs + p
    return _summary("all", every, (right, pairs))


def _summary(name: str, rows: list[Judged], ordered: tuple[int, int]) -> Summary:
    errors = list(_absolute_errors(rows))
    right, pairs = ordered
    return Summary(
        case=name,
        rows=len(rows),
        calibration=sum(one.role is Role.CALIBRATION for one in rows),
        scored=len(errors),
        not_predicted=sum(not isfinite(one.predicted) for one in rows),
        median_absolute_error=median(errors) if errors else nan,
        largest_absolute_error=max(errors, default=nan),
        pairs=pairs,
        in_order=right / pairs if pairs else nan,
    )


def _absolute_errors(rows: Iterable[Judged]) -> Iterator[float]:
    return (abs(one.error) for one in rows if one.is_scored)
