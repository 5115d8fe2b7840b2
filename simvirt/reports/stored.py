"""A folder of results as it stands on disk: manifest, tables and charts, read whole or refused with every defect."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from simvirt.errors import ResultsError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ANSWER", "SUMMARY_COLUMNS", "StoredResults", "read_all", "read_results"]

ANSWER: Final = "answer.json"
"""The question, what was expected, and the answer in words."""

SUMMARY_COLUMNS: Final = ("entity", "metric", "unit", "mean", "low", "high", "half_width", "n", "confidence")
"""What every summary ends with; the factors of the design come first."""

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "points": ("machine", "scenario_digest", "replications", "duration_s", "warm_up_s", "seed", "confidence"),
    "summary": SUMMARY_COLUMNS,
    "time_parts": (),
}
"""Tables without which there is no answer, and columns without which they are not what they are called."""

_MANIFEST: Final = ("experiment", "command", "date", "versions", "commit", "host", "seeds", "overridden", "profiles")
_LARGE: Final = ("runs",)
"""Tables that only programs read."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class StoredResults:
    """What an experiment left: nothing here was computed anew."""

    path: Path
    manifest: Mapping[str, Any]
    about: Mapping[str, Any]
    """Question, expectation and answer, as far as the folder tells them."""
    tables: Mapping[str, pd.DataFrame]
    charts: Mapping[str, str]
    """SVG by name, in the order of names."""

    @property
    def experiment(self) -> str:
        return str(self.manifest["experiment"])

    @property
    def factors(self) -> list[str]:
        """Columns of the design."""
        return [column for column in self.tables["summary"].columns if column not in SUMMARY_COLUMNS]


def read_all(folders: Iterable[Path]) -> list[StoredResults]:
    """Several folders; raises ResultsError with the defects of all of them."""
    found: list[StoredResults] = []
    problems: list[str] = []
    for folder in folders:
        try:
            found.append(read_results(folder))
        except ResultsError as error:
            problems += error.problems
    if problems:
        raise ResultsError(problems)
    return found


def read_results(folder: Path) -> StoredResults:
    """One folder; raises ResultsError with every defect."""
    if not folder.is_dir():
        word = "a file, not a folder of results" if folder.exists() else "no such folder"
        raise ResultsError([f"{folder}: {word}; {_way_out(folder)}"])
    if not any((folder / name).exists() for name in ("manifest.json", "points.csv", "time_parts.csv")):
        raise ResultsError([f"{folder}: no results of an experiment in it; {_way_out(folder)}"])
    problems: list[str] = []
    manifest = _document(folder / "manifest.json", _MANIFEST, problems)
    about = _document(folder / ANSWER, ("question", "expected", "answer"), problems) if (folder / ANSWER).exists() else {}
    tables = dict(_tables(folder, problems))
    charts = dict(_charts(folder, problems))
    if problems:
        raise ResultsError(problems)
    return StoredResults(path=folder, manifest=manifest, about=about, tables=tables, charts=charts)


def _way_out(folder: Path) -> str:
    """What was meant, perhaps: a folder in this one, or one of that name among the results; or how to get some."""
    inside = sorted(path.parent for path in folder.glob("*/manifest.json"))
    meant = inside or [path for path in (Path("results") / folder.name,) if (path / "manifest.json").exists() and path != folder]
    if meant:
        return f"did you mean {' or '.join(map(str, meant))}?"
    return "run an experiment first, such as: python experiments/compare_platforms.py"


def _document(path: Path, needed: Iterable[str], problems: list[str]) -> dict[str, Any]:
    again = "run the experiment again"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{path}: missing; a folder without it was not finished: {again}")
        return {}
    except OSError as error:
        problems.append(f"{path}: {error.strerror}")
        return {}
    except ValueError as error:
        problems.append(f"{path}: cut off or damaged ({error}); {again}")
        return {}
    missing = [entry for entry in needed if not isinstance(document, dict) or entry not in document]
    if missing:
        problems.append(f"{path}: no {', '.join(missing)}; written by another version, or not by an experiment: {again}")
        return {}
    return dict(document)


def _tables(folder: Path, problems: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    names = {path.stem for path in folder.glob("*.csv")} - set(_LARGE)
    for name in sorted(names | _NEEDED.keys()):
        frame = _table(folder / f"{name}.csv", _NEEDED.get(name, ()), problems)
        if frame is not None:
            yield name, frame


def _table(path: Path, needed: Iterable[str], problems: list[str]) -> pd.DataFrame | None:
    import pandas as pd  # noqa: PLC0415 - slow to import

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        problems.append(f"{path}: missing; run the experiment again")
        return None
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read ({error})")
        return None
    defect = _defect(text, needed)
    if defect:
        problems.append(f"{path}: {defect}; run the experiment again")
        return None
    return pd.read_csv(path, low_memory=False)


def _defect(text: str, needed: Iterable[str]) -> str:
    """What is wrong with a table; nothing if it is whole."""
    rows = csv.reader(text.splitlines())
    header = next(rows, [])
    missing = [column for column in needed if column not in header]
    if not header:
        return "empty, not even a header"
    if missing:
        return f"no column {', '.join(missing)}"
    short = next((line for line, row in enumerate(rows, start=2) if len(row) != len(header)), None)
    if short is not None:
        return f"line {short} has not the {len(header)} cells of the header: cut off or damaged"
    return "" if text.endswith("\n") else "the last line has no end: cut off"


def _charts(folder: Path, problems: list[str]) -> Iterator[tuple[str, str]]:
    for path in sorted((folder / "charts").glob("*.svg")):
        try:
            text = path.read_text(encoding="utf-8")
            ElementTree.fromstring(text)
        except (OSError, ValueError, ElementTree.ParseError) as error:
            problems.append(f"{path}: not a whole SVG ({error}); run the experiment again")
        else:
            yield path.stem, text
