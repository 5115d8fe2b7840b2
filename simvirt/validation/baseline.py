"""Solves the numbers that the baseline rows of a case set: one at a time, by the simulation itself or exactly from the path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log, nan
from typing import Any, Final

from simvirt.scenario import Scenario
from simvirt.simulation import simulate
from simvirt.validation.case import Case, Fix, Level, MeasuredRow
from simvirt.validation.prediction import catalog_of, from_path, from_runs
from simvirt.validation.template import Solutions, put, scenario_document, solved_entries, unreached

__all__ = ["Problem", "problems_of", "solve"]

_NOTHING: Final = -100.0
_PRECISION: Final = 1e-4
"""Relative precision of a number found by simulation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One number to be found: a fix of a case, on the rows of one group."""

    case: Case
    index: int
    """Of the fix."""
    group: tuple[Level, ...]
    """Levels of the fix's `per` columns."""
    rows: tuple[MeasuredRow, ...]
    known: Solutions
    """What earlier fixes have found."""


def problems_of(case: Case, index: int, known: Solutions) -> list[Problem]:
    """The groups of a fix, each a problem of its own; they do not depend on each other."""
    fix = case.fixes[index]
    groups: dict[tuple[Level, ...], list[MeasuredRow]] = {}
    for row in case.rows:
        if row.metric == fix.metric and fix.rows.holds(row.conditions) and not case.why_missing(row):
            groups.setdefault(tuple(row.conditions[column] for column in fix.per), []).append(row)
    return [Problem(case=case, index=index, group=group, rows=tuple(rows), known=known) for group, rows in groups.items()]


def solve(problem: Problem) -> float:
    """The number in the unit of its fix; not a number if nothing between its bounds gives the measured value."""
    if any(unreached(problem.case, row.conditions, problem.known) for row in problem.rows):
        return nan
    fix = problem.case.fixes[problem.index]
    measured = [row.si for row in problem.rows]
    documents = [_document(problem, row.conditions) for row in problem.rows]
    predict = _predictor(problem, fix, documents)
    if fix.least_squares:
        return _least_squares(fix, lambda number: sum(log(p / m) ** 2 for p, m in zip(predict(number), measured, strict=True)))
    return _root(fix, lambda number: _log_ratio(sum(predict(number)), sum(measured)))


def _document(problem: Problem, conditions: Mapping[str, Level]) -> dict[str, Any]:
    return scenario_document(problem.case, conditions, solved_entries(problem.case, conditions, problem.known))


def _predictor(problem: Problem, fix: Fix, documents: Sequence[dict[str, Any]]) -> Callable[[float], list[float]]:
    """The predictions of the rows as a function of the number; one replication each, always the same random numbers."""
    by, profiles = fix.measured_by, problem.case.profiles

    def predict(number: float) -> list[float]:
        found = []
        for document in documents:
            for entry, value in fix.entries(number).items():
                put(document, entry, value)
            scenario = Scenario.model_validate(document)
            if by.is_exact:
                found.append(from_path(scenario, by, profiles))
            else:
                found.append(from_runs([simulate(scenario, catalog_of(profiles))], by, scenario.tenants[0].name))
        return found

    return predict


def _log_ratio(predicted: float, measured: float) -> float:
    """Logarithm of predicted over measured; far below where nothing was completed."""
    return log(predicted / measured) if predicted else _NOTHING


def _root(fix: Fix, misfit: Callable[[float], float]) -> float:
    from scipy.optimize import brentq  # noqa: PLC0415 - slow to import

    ends = misfit(fix.low), misfit(fix.high)
    if not all(map(isfinite, ends)) or (ends[0] > 0) == (ends[1] > 0):
        return nan
    exact = fix.measured_by.is_exact
    return float(brentq(misfit, fix.low, fix.high, xtol=fix.low * 1e-12, rtol=1e-12 if exact else _PRECISION))


def _least_squares(fix: Fix, misfit: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - slow to import

    precision = (fix.high - fix.low) / 275
    return float(minimize_scalar(misfit, bounds=(fix.low, fix.high), method="bounded", options={"xatol": precision}).x)
