"""Does the runs of a study on the cores there are; the order in which they finish never shows in what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from simvirt.catalog import Catalog
from simvirt.errors import SimvirtError
from simvirt.experiment.pool import pool
from simvirt.experiment.subject import Subject, outcome_of
from simvirt.scenario import Scenario
from simvirt.simulation import RunOutcome, told_together

__all__ = ["Failure", "Point", "PointOutcome", "run_points"]

Level = str | float | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a design: levels of the factors, and the scenario that they make."""

    factors: Mapping[str, Level]
    scenario: Scenario | Subject
    profiles: tuple[Path, ...] = ()
    """Folders of further profiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A run that ended with an error."""

    replication: int
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PointOutcome:
    """All replications of one point, in order."""

    point: Point
    runs: tuple[RunOutcome, ...]
    failures: tuple[Failure, ...] = field(default=())


def run_points(
    points: Sequence[Point], *, executor: Executor | None = None, workers: int | None = None, finished: Callable[[], None] | None = None
) -> list[PointOutcome]:
    """Run every replication of every point and give the outcomes in the order of the points.

    `executor` is any `concurrent.futures.Executor`; by default a pool of spawned processes, `workers` of them or one per core, or this
    process where one would do. `finished` is called after each run (a progress bar). An error in a run becomes a Failure; an interrupt
    stops everything.
    """
    tasks = [(i, replication) for i, point in enumerate(points) for replication in range(point.scenario.run.replications)]
    with nullcontext(executor) if executor is not None else pool(len(tasks), workers) as runs:
        found = _run_on(runs, points, tasks, finished) if runs is not None else _run_here(points, tasks, finished)
    return [_gather(point, [found[i, r] for r in range(point.scenario.run.replications)]) for i, point in enumerate(points)]


Found = dict[tuple[int, int], RunOutcome | Failure]


def _run_here(points: Sequence[Point], tasks: Iterable[tuple[int, int]], finished: Callable[[], None] | None) -> Found:
    found: Found = {}
    for i, replication in tasks:
        found[i, replication] = _run(points[i], replication)
        _tell(finished)
    return found


def _run_on(executor: Executor, points: Sequence[Point], tasks: Iterable[tuple[int, int]], finished: Callable[[], None] | None) -> Found:
    found: Found = {}
    futures: dict[Future[RunOutcome | Failure], tuple[int, int]] = {executor.submit(_run, points[i], r): (i, r) for i, r in tasks}
    try:
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            _tell(finished)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return found


def _tell(finished: Callable[[], None] | None) -> None:
    if finished is not None:
        finished()


def _run(point: Point, replication: int) -> RunOutcome | Failure:
    """One run, in whatever process."""
    try:
        return outcome_of(point.scenario, _catalog(point.profiles), replication)
    except SimvirtError as error:
        return Failure(replication=replication, error=str(error))
    except Exception as error:
        return Failure(replication=replication, error=f"{type(error).__name__}: {error}")


@cache
def _catalog(profiles: tuple[Path, ...]) -> Catalog:
    """Made once in a process: reading the references takes longer than a short run."""
    return Catalog.builtin(*profiles)


def _gather(point: Point, found: Sequence[RunOutcome | Failure]) -> PointOutcome:
    runs = told_together([one for one in found if isinstance(one, RunOutcome)])
    failures = tuple(one for one in found if isinstance(one, Failure))
    return PointOutcome(point=point, runs=runs, failures=failures)
