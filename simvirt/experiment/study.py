"""An experiment: a question as frozen data, and the way from it to a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from simvirt.catalog import Catalog
from simvirt.experiment.about import about as in_words
from simvirt.experiment.manifest import manifest
from simvirt.experiment.runner import Point, PointOutcome, run_points
from simvirt.experiment.runs import RunStore
from simvirt.experiment.store import ResultsFolder
from simvirt.experiment.summary import points_frame, runs_frame, summary_frame, time_parts_frame
from simvirt.layers.stack import Stack
from simvirt.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Answer", "Charts", "Experiment", "Results", "Tables", "conduct", "layer_kinds"]


@dataclass(frozen=True)
class Results:
    """What the runs of an experiment found, as tables."""

    catalog: Catalog
    outcomes: Sequence[PointOutcome]
    baseline: str | None = None

    @cached_property
    def points(self) -> pd.DataFrame:
        """The design."""
        return points_frame(self.outcomes)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Every value of every replication."""
        return runs_frame(self.outcomes)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Estimates with intervals."""
        return summary_frame(self.outcomes, self.baseline)

    @cached_property
    def time_parts(self) -> pd.DataFrame:
        """Where the time went."""
        scenarios = [one for outcome in self.outcomes if isinstance(one := outcome.point.scenario, Scenario)]
        platforms = sorted({scenario.platform for scenario in scenarios})
        machines = {scenario.platform: scenario.machine for scenario in scenarios}
        return time_parts_frame(self.outcomes, {p: layer_kinds(self.catalog.stack(p, machines[p])) for p in platforms})

    def _repr_html_(self) -> str:
        runs = sum(len(outcome.runs) for outcome in self.outcomes)
        tenants = self.summary[self.summary["entity"].str.startswith("tenant/")]
        first = tenants.head(10).to_html(index=False, na_rep="–")
        return f"<p>{len(self.outcomes)} points, {runs} runs. The first rows of tenants in the summary:</p>{first}"

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by the name of its file."""
        return {name: getattr(self, name) for name in ("points", "runs", "summary", "time_parts")}


def layer_kinds(stack: Stack) -> dict[str, str]:
    """What each layer is, by its name in the stack; an operating system on virtual processors is a guest."""
    kinds: dict[str, str] = {}
    guest = False
    for name, layer in zip(stack.names, stack.layers, strict=True):
        word = layer.kind.replace("-", " ")
        kinds[name] = f"guest {word}" if guest and layer.schedules_threads and not layer.provides_processors else word
        guest = guest or layer.provides_processors
    return kinds


Charts = Callable[[Results], Mapping[str, bytes]]
"""Draws results: content by name of file."""

Tables = Callable[[Results], "Mapping[str, pd.DataFrame]"]
"""Further tables of an experiment's own, by name."""


Answer = Callable[["Mapping[str, pd.DataFrame]"], Sequence[str]]
"""The answer in sentences, the most important first, from the tables as they are kept."""


def _no_answer(_: Mapping[str, pd.DataFrame]) -> Sequence[str]:
    return ()


def _no_tables(_: Results) -> Mapping[str, pd.DataFrame]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A question, what we expect to see, the points to run, and how to draw them."""

    name: str
    question: str
    expected: str
    points: Callable[[Catalog, int, bool], Sequence[Point]]
    """From the catalog, the seed and whether a tiny size is wanted."""
    charts: Charts
    tables: Tables = _no_tables
    answer: Answer = _no_answer
    chart: str = ""
    """The one that answers the question, by name."""
    baseline: str | None = None
    """The platform that slowdowns are measured against."""


def conduct(
    experiment: Experiment,
    points: Sequence[Point],
    folder: ResultsFolder,
    *,
    command: Sequence[str],
    executor: Executor | None = None,
    workers: int | None = None,
    store: RunStore | None = None,
    found: Callable[[int], None] | None = None,
    finished: Callable[[], None] | None = None,
) -> Results:
    """Run points, draw, and keep everything in an open folder. `store`, `found`, `finished`: see `run_points`."""
    outcomes = run_points(points, executor=executor, workers=workers, store=store, found=found, finished=finished)
    profiles = tuple(dict.fromkeys(path for point in points for path in point.profiles))
    results = Results(Catalog.builtin(*profiles), outcomes, experiment.baseline)
    about = manifest(experiment.name, command, [point.scenario for point in points], profiles)
    tables = {**results.tables(), **experiment.tables(results)}
    folder.write(tables, about, experiment.charts(results), documents={"answer": in_words(experiment, tables)})
    return results
