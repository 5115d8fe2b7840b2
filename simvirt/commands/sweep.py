"""`simvirt sweep`: a study from a file, its results in a folder, its answer as tables."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from simvirt.analysis.intervals import Interval
from simvirt.commands.numbers import UNKNOWN, count_text, gain_text, interval_text
from simvirt.commands.tables import table
from simvirt.errors import ResultsError
from simvirt.experiment.cluster import Certificates, cluster
from simvirt.experiment.comparisons import Compared
from simvirt.experiment.manifest import manifest
from simvirt.experiment.progress import progress
from simvirt.experiment.runner import Point
from simvirt.experiment.runs import RUNS_FOLDER, RunStore
from simvirt.experiment.store import ResultsFolder
from simvirt.experiment.study_reader import load_study
from simvirt.experiment.sweep import Study, StudyResults

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["sweep"]

_DIMENSIONS: Final = {"s": "time", "1/s": "rate", "B": "size"}
"""By the unit of a metric; others are plain numbers."""
_MOST_ROWS: Final = 60
"""Rows of a table on the terminal; all are in the files."""


def sweep(
    path: Path,
    *,
    out: Path | None,
    runs: Path | None,
    fresh: bool,
    workers: int | None,
    scheduler: str | None,
    certificates: Certificates | None,
    parquet: bool,
    profiles: Sequence[Path],
) -> tuple[list[str], int]:
    """Do the study of a file, and give what there is to say and the number of runs that failed."""
    if parquet:
        _check_parquet()
    study = load_study(path, tuple(profiles))
    points = study.points()
    folder = ResultsFolder(out or Path("results") / study.name.replace(" ", "_"))
    store = RunStore(runs or folder.path / RUNS_FOLDER, fresh=fresh)
    folder.open()
    store.open()
    try:
        found = _conduct(study, points, store, workers, scheduler, certificates)
    except KeyboardInterrupt:
        done = f"{count_text(len(store), 'finished run')} in {store.path}"
        raise KeyboardInterrupt(f"interrupted: {done}; the same command goes on from there") from None
    tables = found.tables()
    about = {
        **manifest(study.name, sys.argv, [outcome.point.scenario for outcome in found.outcomes], study.profiles),
        "study": study.model_dump(mode="json"),
    }
    folder.write(tables, about, {}, {f"{name}.parquet": _parquet(frame) for name, frame in tables.items()} if parquet else {})
    return list(_report(found, folder, store)), sum(len(outcome.failures) for outcome in found.outcomes)


def _conduct(
    study: Study, points: Sequence[Point], store: RunStore, workers: int | None, scheduler: str | None, certificates: Certificates | None
) -> StudyResults:
    first = study.precision.least * len(points) if study.precision is not None else sum(p.scenario.run.replications for p in points)
    with cluster(scheduler, certificates) if scheduler is not None else nullcontext() as executor, progress(first) as bar:
        return study.conduct(
            points=points, executor=executor, workers=workers, store=store, planned=bar.planned, found=bar.found, finished=bar.finished
        )


def _check_parquet() -> None:
    try:
        import pyarrow  # noqa: F401, PLC0415 - optional
    except ImportError:
        raise ResultsError("--parquet: pyarrow is not installed; pip install 'simvirt[parquet]'") from None


def _parquet(frame: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file, index=False, engine="pyarrow")
    return file.getvalue()


def _report(found: StudyResults, folder: ResultsFolder, store: RunStore) -> Iterator[str]:
    if found.study.question:
        yield from (found.study.question, "")
    yield from _answers(found)
    if found.compared:
        yield from ("", *_comparisons(found))
    for damaged, reason in store.damaged.items():
        yield f"{damaged}: {reason}; it was run again"
    runs = sum(outcome.point.scenario.run.replications for outcome in found.outcomes)
    yield ""
    yield f"{folder.path}: {count_text(len(found.outcomes), 'point')}, {count_text(runs, 'run')}"


def _answers(found: StudyResults) -> Iterator[str]:
    factors = list(found.study.factors)
    header = (*factors, "entity", "response", "mean", "runs")
    frame = found.frame
    rows: list[tuple[str, ...]] = []
    notes: dict[str, int] = {}
    for row in frame.head(_MOST_ROWS).to_dict("records"):
        interval = Interval(row.get("mean", np.nan), row.get("half_width", np.nan), 0, 0.95)
        shown = "saturated" if row.get("saturated", 0.0) > 0.0 and isnan(interval.mean) else _interval(interval, str(row["unit"]))
        if row["note"]:
            notes[row["note"]] = notes.get(row["note"], 0) + 1
        runs = UNKNOWN if isnan(row.get("n", np.nan)) else f"{row['n']:.0f}"
        rows.append((*(_level(row[name]) for name in factors), row["entity"], row["metric"], shown, runs))
    yield from table(header, rows, right=("mean", "runs"))
    if len(frame) > _MOST_ROWS:
        yield f"and {len(frame) - _MOST_ROWS} more rows in responses.csv"
    confidence = found.outcomes[0].point.scenario.run.confidence
    yield f"± is half a {100 * confidence:g} % confidence interval over replications."
    yield from (f"{count_text(count, 'row')}: {note}." for note, count in notes.items())


def _level(level: object) -> str:
    return f"{level:.4g}" if isinstance(level, float) else f"{level}"


def _interval(interval: Interval, unit: str) -> str:
    return interval_text(interval, _DIMENSIONS.get(unit, "number"))


def _comparisons(found: StudyResults) -> Iterator[str]:
    comparison = found.study.comparison
    assert comparison is not None
    others = [name for name in found.study.factors if name != comparison.factor]
    adjusted = found.comparisons
    rows = [
        (
            *(_level(row[name]) for name in (comparison.factor, *others)),
            row["entity"],
            row["metric"],
            _interval(Interval(row["ratio"], row["ratio_high"] - row["ratio"], 0, 0.95), "1"),
            UNKNOWN if isnan(row["p_holm"]) else f"{row['p_holm']:.2g}",
        )
        for row in adjusted.head(_MOST_ROWS).to_dict("records")
    ]
    yield f"Over {comparison.factor} = {comparison.baseline}, in pairs that saw the same arrivals and demands"
    yield from table((comparison.factor, *others, "entity", "response", "ratio", "p (Holm)"), rows, right=("ratio", "p (Holm)"))
    if len(adjusted) > _MOST_ROWS:
        yield f"and {len(adjusted) - _MOST_ROWS} more rows in comparisons.csv"
    yield from _gains(found.compared)


def _gains(compared: Sequence[Compared]) -> Iterator[str]:
    yield from gain_text([one.common_numbers_gain for one in compared])
    controls = [one.control_gain for one in compared if isfinite(one.control_gain)]
    if controls:
        spread = f"{min(controls):.2g} to {max(controls):.2g} times as many, {float(np.median(controls)):.2g} at the median"
        yield f"Without the number of arrivals as a control variate, the pairs would have needed {spread}."
