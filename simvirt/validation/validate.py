"""Validates cases: solves their baselines, simulates each condition once, and judges every row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, Final

from simvirt.experiment.pool import pool
from simvirt.experiment.runner import Point, PointOutcome, run_points
from simvirt.scenario import Run, Scenario
from simvirt.validation.baseline import problems_of, solve
from simvirt.validation.case import Case, Level, MeasuredRow, Scoring
from simvirt.validation.prediction import catalog_of, corners, from_path, from_runs, in_unit_of
from simvirt.validation.score import Judged, error_of
from simvirt.validation.template import Solutions, scenario_document, solved_entries, unreached

__all__ = ["Progress", "validate"]

Progress = Callable[[str, int, int], None]
"""Told what is done, how many steps are over, and how many there are."""

_ENDS: Final = ("value", "low", "high")


def _silent(_: str, __: int, ___: int) -> None:
    """Tell nobody."""


def validate(cases: Sequence[Case], *, workers: int | None = None, progress: Progress = _silent) -> dict[str, tuple[Judged, ...]]:
    """Name of case → every row, judged, in the order of its file. The order in which runs finish never shows."""
    size = sum(len(case.rows) for case in cases)
    with pool(size, workers) as executor:
        solutions = _solve_all(cases, executor, progress)
        plans = {case.name: _Plan(case, solutions[case.name]) for case in cases}
        points = [point for plan in plans.values() for point in plan.points]
        steps = sum(point.scenario.run.replications for point in points)
        outcomes = run_points(points, executor=executor, workers=1, finished=_counter("simulating", steps, progress))
    judged = {}
    for name, plan in plans.items():
        judged[name] = plan.judge(outcomes[: len(plan.points)])
        outcomes = outcomes[len(plan.points) :]
    return judged


def _counter(what: str, steps: int, progress: Progress) -> Callable[[], None]:
    done = 0

    def finished() -> None:
        nonlocal done
        done += 1
        progress(what, done, steps)

    return finished


def _solve_all(cases: Sequence[Case], executor: Executor | None, progress: Progress) -> dict[str, Solutions]:
    """The fixes of all cases in waves: the first of each case, then the second, as each builds on those before."""
    found: dict[str, dict[tuple[int, tuple[Level, ...]], float]] = {case.name: {} for case in cases}
    for index in range(max((len(case.fixes) for case in cases), default=0)):
        wave = [p for case in cases if index < len(case.fixes) for p in problems_of(case, index, dict(found[case.name]))]
        told = _counter("solving baselines", len(wave), progress)
        numbers = map(solve, wave) if executor is None else executor.map(solve, wave)
        for problem, number in zip(wave, numbers, strict=True):
            found[problem.case.name][problem.index, problem.group] = number
            told()
    return dict(found)


@dataclass(frozen=True, slots=True)
class _Condition:
    """One condition of a case: its scenario, or why there is none."""

    scenarios: Mapping[str, Scenario]
    """By end of the band: value, low, high."""
    reason: str = ""


class _Plan:
    """The scenarios of a case, the points that have to be simulated, and the judgement over them."""

    def __init__(self, case: Case, solutions: Solutions) -> None:
        self._case = case
        self._solutions = solutions
        self._conditions: dict[tuple[Level, ...], _Condition] = {}
        simulated = set()
        for row in case.rows:
            key = tuple(row.conditions.values())
            if case.why_missing(row):
                continue
            if key not in self._conditions:
                self._conditions[key] = self._condition(row.conditions)
            if not case.metrics[row.metric].is_exact:
                simulated.add(key)
        self._keys = [
            (key, end) for key, condition in self._conditions.items() if key in simulated for end in _ENDS if end in condition.scenarios
        ]
        self.points = tuple(
            Point(factors={}, scenario=self._conditions[key].scenarios[end], profiles=case.profiles) for key, end in self._keys
        )

    def _condition(self, conditions: Mapping[str, Level]) -> _Condition:
        if lost := unreached(self._case, conditions, self._solutions):
            return _Condition({}, f"the baseline is not reached by any {', '.join(lost)} within the bounds of its fix")
        document = scenario_document(self._case, conditions, solved_entries(self._case, conditions, self._solutions))
        value = Scenario.model_validate(document)
        catalog = catalog_of(self._case.profiles)
        stack = catalog.stack(value.platform, value.machine, value.layer_overrides(catalog))
        moved = corners(stack, self._baseline_stack(conditions), value.override)
        return _Condition({"value": value, **{end: _at_end(document, override) for end, override in moved.items()}})

    def _baseline_stack(self, conditions: Mapping[str, Level]) -> Any:
        if not self._case.baseline:
            return None
        base = Scenario.model_validate(scenario_document(self._case, {**conditions, **self._case.baseline}, {}))
        return catalog_of(self._case.profiles).stack(base.platform, base.machine)

    def judge(self, outcomes: Sequence[PointOutcome]) -> tuple[Judged, ...]:
        """Every row of the case; the outcomes are those of `points`."""
        found = dict(zip(self._keys, outcomes, strict=True))
        predicted = {id(row): self._predict(row, found) for row in self._case.rows}
        return tuple(self._judge(row, predicted) for row in self._case.rows)

    def _predict(self, row: MeasuredRow, found: Mapping[tuple[tuple[Level, ...], str], PointOutcome]) -> tuple[dict[str, float], str]:
        """By end of the band, in the row's unit; and why there is nothing."""
        if reason := self._case.why_missing(row):
            return {}, reason
        key = tuple(row.conditions.values())
        condition = self._conditions[key]
        if condition.reason:
            return {}, condition.reason
        by = self._case.metrics[row.metric]
        values: dict[str, float] = {}
        for end, scenario in condition.scenarios.items():
            if by.is_exact:
                values[end] = in_unit_of(from_path(scenario, by, self._case.profiles), row.unit)
                continue
            outcome = found[key, end]
            if outcome.failures:
                return {}, f"a run failed: {outcome.failures[0].error}"
            values[end] = in_unit_of(from_runs(outcome.runs, by, scenario.tenants[0].name), row.unit)
        reason = "" if isfinite(values["value"]) else f"no {by.of}: the run is saturated, or has too few requests"
        return values, reason

    def _judge(self, row: MeasuredRow, predicted: Mapping[int, tuple[dict[str, float], str]]) -> Judged:
        values, reason = predicted[id(row)]
        base = self._case.baseline_of(row)
        measured_base, predicted_base = (nan, nan) if base is None else (base.value, predicted[id(base)][0].get("value", nan))
        value = values.get("value", nan)
        scoring = Scoring.ABSOLUTE if base is row else self._case.scoring
        band = [v for v in values.values() if isfinite(v)] or [nan]
        return Judged(
            case=self._case,
            row=row,
            role=self._case.role(row),
            baseline=measured_base,
            predicted=value,
            low=min(band),
            high=max(band),
            error=error_of(scoring, row.value, value, measured_base, predicted_base),
            reason=reason,
        )


def _at_end(document: Mapping[str, Any], override: Mapping[str, str]) -> Scenario:
    """The scenario with costs at one end of their ranges; one replication, as the band is wide."""
    moved = {**document, "override": {**document.get("override", {}), **override}}
    scenario = Scenario.model_validate(moved)
    return scenario.model_copy(update={"run": Run.model_validate({**scenario.run.model_dump(), "replications": 1})})
