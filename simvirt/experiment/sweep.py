"""A study as frozen data: a base scenario, the factors that vary, what is asked for, and how sure one wants to be.

    Study(base="web_service.toml", factors={"platform": ["bare-metal", "kvm"]}, responses=["response_time_p99_s"]).run()

gives a table with one row per point, entity and response. Points, replications, pairs and what is kept on the disk are those of every
other experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from simvirt.catalog import Catalog
from simvirt.errors import ScenarioError, nearest
from simvirt.experiment.comparisons import Compared, compare_points, comparisons_frame
from simvirt.experiment.design import Design, design_problems, levels_of_points
from simvirt.experiment.factors import Cell, Factor, FactorPathError, Levels, as_tables, cell, with_level
from simvirt.experiment.precision import Precision, run_until_precise
from simvirt.experiment.responses import responses_frame
from simvirt.experiment.runner import Point, PointOutcome
from simvirt.experiment.runs import RunStore
from simvirt.experiment.study import Results
from simvirt.metrics.catalog import metrics
from simvirt.scenario import Scenario, load_scenario, read_document

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "Study", "StudyResults"]

_PLATFORM: Final = "platform"
_COLUMNS: Final = frozenset(
    """
    replication entity metric unit value error mean low high half_width n confidence scenario_digest replications duration_s warm_up_s seed
    tenant layer kind cause wait mean_s half_width_s share relative_half_width saturated autocorrelation_times mser5_fraction note baseline
    ratio ratio_low ratio_high difference difference_half_width common_numbers_gain control_gain p_value p_holm
    """.split()  # noqa: SIM905 - a list of strings would be as many lines
)
"""Of the tables, besides the factors."""
_SHOWN: Final = 3
"""Points that a mistake is told of before the others are counted."""


class Comparison(BaseModel):
    """Which factor's levels are set against which of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    factor: str = _PLATFORM
    baseline: str | float | int


class Study(BaseModel):
    """The description of a study. Every mistake in it is told at once, when its points are asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")] = "study"
    question: str = ""
    """What one wants to know; kept with the results."""
    base: Path | dict[str, Any]
    """A scenario: a file, or what stands in one. What a factor sets need not stand in it."""
    factors: Annotated[Mapping[str, Factor], Field(min_length=1)]
    """By name, which is also the path into the scenario unless one is given: a list of levels, or a range of a sampled design."""
    design: Design = Design()
    responses: Annotated[tuple[str, ...], Field(min_length=1)] = ("response_time_mean_s",)
    """Metrics to tell."""
    comparison: Comparison | None = None
    precision: Precision | None = None
    profiles: tuple[Path, ...] = ()
    """Folders of further profiles."""

    @field_validator("factors", mode="before")
    @classmethod
    def _as_tables(cls, factors: Any) -> Any:
        return as_tables(factors)

    def points(self, catalog: Catalog | None = None) -> list[Point]:
        """The design, each point with its scenario. Raises ScenarioError with every mistake."""
        problems = self.problems()
        points: list[Point] = []
        try:
            if not design_problems(self.design, self.factors):
                points = self._built(catalog or self.catalog())
        except ScenarioError as error:
            problems += error.problems
        if problems:
            raise ScenarioError(problems)
        return points

    def catalog(self) -> Catalog:
        """The profiles that it may name."""
        return Catalog.builtin(*self.profiles)

    def problems(self) -> list[str]:
        """What is wrong with the study itself; its scenarios are looked at when it is right."""
        known, response = metrics(), None if self.precision is None else self.precision.response
        problems = [f"responses: {name!r} is no metric; {nearest(name, known)}" for name in self.responses if name not in known]
        clashes = [name for name in self.factors if name in _COLUMNS]
        problems += [f"factors.{name}: also a column of the tables; give it another name, and this as its path" for name in clashes]
        problems += design_problems(self.design, self.factors)
        problems += self._comparison_problems()
        if response is not None and response not in self.responses:
            problems.append(f"precision.response: {response!r} is none of the responses; {nearest(response, self.responses)}")
        return problems

    def _comparison_problems(self) -> list[str]:
        if self.comparison is None:
            return []
        name, baseline = self.comparison.factor, str(self.comparison.baseline)
        factor = self.factors.get(name)
        if factor is None:
            return [f"comparison.factor: {name!r} is no factor; {nearest(name, self.factors)}"]
        if not isinstance(factor, Levels):
            return [f"comparison.factor: {name!r} has a range; compare the levels of a list"]
        levels = [str(cell(level)) for level in factor.levels]
        if baseline not in levels:
            return [f"comparison.baseline: {baseline!r} is no level of {name!r}; {nearest(baseline, levels)}"]
        return []

    def _built(self, catalog: Catalog) -> list[Point]:
        document = read_document(self.base) if isinstance(self.base, Path) else self.base
        mistakes: dict[str, list[str]] = {}
        points = []
        for levels in levels_of_points(self.design, self.factors):
            told = {name: self._told(name, level) for name, level in levels.items()}
            try:
                scenario = self._scenario(document, levels, catalog)
            except ScenarioError as error:
                where = ", ".join(f"{name} = {level}" for name, level in told.items())
                for problem in error.problems:
                    mistakes.setdefault(problem, []).append(where)
            else:
                points.append(Point(factors=told, scenario=scenario, profiles=self.profiles))
        if mistakes:
            raise ScenarioError(f"{problem} (at {_some(places)})" for problem, places in mistakes.items())
        return points

    def _told(self, name: str, level: Any) -> Cell:
        """A level as it stands in tables: as text where other levels of the factor are texts, so that they can be sorted."""
        factor = self.factors[name]
        is_mixed = isinstance(factor, Levels) and any(isinstance(cell(one), str) for one in factor.levels)
        return str(cell(level)) if is_mixed else cell(level)

    def _scenario(self, document: Mapping[str, Any], levels: Mapping[str, Any], catalog: Catalog) -> Scenario:
        changed = dict(document)
        problems = []
        for name, level in levels.items():
            try:
                changed = with_level(changed, self.factors[name].path, level)
            except FactorPathError as error:
                problems.append(f"factors.{name}: {error}")
        if problems:
            raise ScenarioError(problems)
        return load_scenario(changed, catalog)

    def run(self, **how: Any) -> pd.DataFrame:
        """Run it and give the table of responses; for what else was found see `conduct`, which takes the same arguments."""
        return self.conduct(**how).frame

    def conduct(
        self,
        *,
        points: Sequence[Point] | None = None,
        executor: Executor | None = None,
        workers: int | None = None,
        store: RunStore | None = None,
        planned: Callable[[int], None] | None = None,
        found: Callable[[int], None] | None = None,
        finished: Callable[[], None] | None = None,
    ) -> StudyResults:
        """Run it, on any `concurrent.futures.Executor` or the cores there are, and give all that was found.

        `points` are its own if they have been made already. `store` keeps finished runs; `planned` is told of runs that are added to reach
        the precision; `found`, `finished`: see `run_points`.
        """
        catalog = self.catalog()
        outcomes = run_until_precise(
            self.points(catalog) if points is None else points,
            self.precision,
            None if self.comparison is None else self.comparison.factor,
            executor=executor,
            workers=workers,
            store=store,
            planned=planned,
            found=found,
            finished=finished,
        )
        return StudyResults(self, Results(catalog, outcomes, self.baseline_platform))

    @property
    def baseline_platform(self) -> str | None:
        """The platform that slowdowns are measured against, if platforms are compared."""
        return str(self.comparison.baseline) if self.comparison is not None and self.comparison.factor == _PLATFORM else None


def _some(places: Sequence[str]) -> str:
    shown = "; ".join(places[:_SHOWN])
    return shown if len(places) <= _SHOWN else f"{shown}; and {len(places) - _SHOWN} more"


@dataclass(frozen=True)
class StudyResults:
    """What a study found."""

    study: Study
    results: Results

    @property
    def outcomes(self) -> Sequence[PointOutcome]:
        return self.results.outcomes

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The responses: one row per point, entity and metric, with interval, saturation and what to beware of."""
        return responses_frame(self.outcomes, self.study.responses, self.study.precision)

    @cached_property
    def compared(self) -> list[Compared]:
        comparison = self.study.comparison
        if comparison is None:
            return []
        return compare_points(self.outcomes, comparison.factor, str(comparison.baseline), self.study.responses)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Levels against the baseline, with Holm's correction."""
        return comparisons_frame(self.compared)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by the name of its file."""
        more = {} if self.study.comparison is None else {"comparisons": self.comparisons}
        return {**self.results.tables(), "responses": self.frame, **more}
