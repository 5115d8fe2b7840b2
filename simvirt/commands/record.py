"""What a run found as a JSON document, every tenant and instance by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final

from simvirt import __version__
from simvirt.commands.group import Group
from simvirt.errors import ResultsError
from simvirt.experiment.runner import PointOutcome
from simvirt.metrics.catalog import metric
from simvirt.scenario import Scenario
from simvirt.simulation.outcome import QUANTILES

__all__ = ["check_writable", "record"]

_METRICS: Final = ("response_time_mean_s", *QUANTILES, "throughput_per_s", "offered_load_per_s", "in_flight", "cpu_s_per_request")


def check_writable(path: Path) -> None:
    """Raise ResultsError if a file cannot be put there, before any time is spent on what it would hold."""
    if path.is_dir():
        raise ResultsError(f"{path}: is a folder; give the path of a file")
    if path.exists() and not path.is_file():
        raise ResultsError(f"{path}: is a device; give the path of a file")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror}); make the folder or choose another path") from error


def record(outcome: PointOutcome, groups: Sequence[Group]) -> dict[str, Any]:
    """The scenario, an interval of each metric of each group, and every measured value. Not measured is null."""
    scenario = outcome.point.scenario
    assert isinstance(scenario, Scenario)
    rows = [row for run in outcome.runs for row in run.rows({})]
    return {
        "simvirt": __version__,
        "scenario": scenario.model_dump(mode="json"),
        "confidence": scenario.run.confidence,
        "groups": [_interval(group, name) for group in groups for name in _METRICS],
        "values": [
            {"replication": r.replication, "entity": r.entity, "metric": r.metric, "unit": metric(r.metric).unit, "value": _finite(r.value)}
            for r in rows
        ],
    }


def _interval(group: Group, name: str) -> dict[str, Any]:
    interval = group.interval(name)
    numbers = {"mean": _finite(interval.mean), "half_width": _finite(interval.half_width), "replications": interval.n}
    return {"group": group.name, "metric": name, "unit": metric(name).unit, "saturated_runs": group.saturated_runs, **numbers}


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
