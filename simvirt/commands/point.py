"""What several commands do with a scenario: read it, run its points, stop on a failed run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simvirt.catalog import Catalog
from simvirt.experiment.progress import progress
from simvirt.experiment.runner import Point, PointOutcome, run_points
from simvirt.scenario import Run, Scenario, load_scenario

__all__ = ["read_scenario", "run_all"]


def read_scenario(path: Path, catalog: Catalog, *, replications: int | None, seed: int | None) -> Scenario:
    """The scenario of a file, with the number of replications and the seed that the command line gives, if any."""
    scenario = load_scenario(path, catalog)
    given = {name: value for name, value in (("replications", replications), ("seed", seed)) if value is not None}
    return scenario.model_copy(update={"run": Run.model_validate({**scenario.run.model_dump(), **given})})


def run_all(points: Sequence[Point]) -> list[PointOutcome]:
    """Run all points, with a bar of progress on standard error if that is a terminal."""
    total = sum(point.scenario.run.replications for point in points)
    with progress(total, leave=False) as bar:
        return run_points(points, finished=bar.finished)
