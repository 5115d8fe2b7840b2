"""Does the runs of a study on the cores there are; the order in which they finish never shows in what they give."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from simvirt.catalog import Catalog
from simvirt.errors import SimvirtError
from simvirt.experiment.address import address_of
from simvirt.experiment.dispatch import Dispatch
from simvirt.experiment.runs import RunStore
from simvirt.experiment.subject import Subject, outcome_of, outcome_type
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
    points: Sequence[Point],
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    store: RunStore | None = None,
    before: Sequence[PointOutcome] = (),
    found: Callable[[int], None] | None = None,
    finished: Callable[[], None] | None = None,
) -> list[PointOutcome]:
    """Run every replication of every point and give the outcomes in the order of the points.

    `executor` is any `concurrent.futures.Executor`; by default a pool of spawned processes, `workers` of them or one per core, or this
    process where one would do. What `store` has is not run again; each run is kept in it as soon as it is finished. `before` is what the
    same points gave with fewer replications. `found` is told how many the store had; `finished` is called after each of the others (a
    progress bar). An error in a run becomes a Failure; an interrupt stops everything.
    """
    tasks = [
        _Task(i, point, replication, _address(point, replication, executor, store))
        for i, point in enumerate(points)
        for replication in range(point.scenario.run.replications)
    ]
    results: Found = {(i, one.replication): one for i, outcome in enumerate(before) for one in outcome.runs}
    results |= {(i, one.replication): one for i, outcome in enumerate(before) for one in outcome.failures}
    kept = {} if store is None else _kept([task for task in tasks if task.place not in results], store)
    results |= kept
    if found is not None:
        found(len(kept))

    def done(task: _Task, result: RunOutcome | Failure) -> None:
        if store is not None and task.address is not None and not isinstance(result, Failure):
            store.put(task.address, result)
        results[task.place] = result
        if finished is not None:
            finished()

    left = [task for task in tasks if task.place not in results]
    dispatch = Dispatch(_run, done, _failure)
    if executor is not None:
        dispatch.on(executor, left)
    else:
        dispatch.in_pool(left, workers)
    return [_gather(point, [results[i, r] for r in range(point.scenario.run.replications)]) for i, point in enumerate(points)]


@dataclass(frozen=True, slots=True)
class _Task:
    """One run to do."""

    index: int
    """Of its point."""
    point: Point
    replication: int
    address: str | None
    """Under which it is kept; None if it is kept nowhere and done by this very source."""

    @property
    def place(self) -> tuple[int, int]:
        return self.index, self.replication


def _address(point: Point, replication: int, executor: Executor | None, store: RunStore | None) -> str | None:
    return None if executor is None and store is None else address_of(point.scenario, point.profiles, replication)


Found = dict[tuple[int, int], RunOutcome | Failure]
"""What came of each run, by point and replication."""


def _kept(tasks: Iterable[_Task], store: RunStore) -> Found:
    """What the store has."""
    results: Found = {}
    for task in tasks:
        assert task.address is not None
        outcome = store.get(task.address, outcome_type(task.point.scenario))
        if outcome is not None:
            results[task.place] = outcome
    return results


def _run(task: _Task) -> RunOutcome | Failure:
    """One run, in whatever process: maybe on another machine, which must have the same simvirt, profiles and packages."""
    point, replication = task.point, task.replication
    try:
        if task.address is not None and address_of(point.scenario, point.profiles, replication) != task.address:
            return _failure(task, f"{platform.node()} has another simvirt, other profiles or other packages; install the same there")
        return outcome_of(point.scenario, _catalog(point.profiles), replication)
    except SimvirtError as error:
        return _failure(task, str(error))
    except Exception as error:
        return _failure(task, f"{type(error).__name__}: {error}")


def _failure(task: _Task, error: str) -> Failure:
    return Failure(replication=task.replication, error=error)


@cache
def _catalog(profiles: tuple[Path, ...]) -> Catalog:
    """Made once in a process: reading the references takes longer than a short run."""
    return Catalog.builtin(*profiles)


def _gather(point: Point, found: Sequence[RunOutcome | Failure]) -> PointOutcome:
    runs = told_together([one for one in found if isinstance(one, RunOutcome)])
    failures = tuple(one for one in found if isinstance(one, Failure))
    return PointOutcome(point=point, runs=runs, failures=failures)
