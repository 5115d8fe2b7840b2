"""Recorded arrivals from a CSV file: times of requests, or how many there were in equal intervals. Read whole or refused whole."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Final

from simvirt.units import DIMENSIONS

__all__ = ["COUNT", "is_rate", "known_units", "rates_of", "read_column", "times_of"]

COUNT: Final = "count"
"""The unit of a column that counts the requests of an interval."""
_SHOWN: Final = 5
"""Problems of one file that are listed; the others are counted."""
_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")

Cells = Sequence[tuple[int, float]]
"""Line and number."""


@dataclass(slots=True)
class _Problems:
    """What is wrong with a file so far."""

    file: Path
    found: list[str] = field(default_factory=list)

    def add(self, line: int, problem: str) -> None:
        self.found.append(f"{self.file}, line {line}: {problem}")

    def refuse(self) -> None:
        if self.found:
            more = [f"and {len(self.found) - _SHOWN} more"] if len(self.found) > _SHOWN else []
            raise ValueError("; ".join([*self.found[:_SHOWN], *more]))


def is_rate(unit: str) -> bool:
    """Whether a column in this unit says how many requests there were, not when."""
    return unit == COUNT or unit.startswith("/")


def known_units() -> list[str]:
    """What a column may be in."""
    times = list(DIMENSIONS["time"])
    return [*times, *(f"/{unit}" for unit in times), COUNT]


def read_column(file: Path, column: str | None) -> Cells:
    """The numbers of one column, by name or the first; a file with names has them in its first line. Raises ValueError with every reason.

    Every line has as many cells as the first, and a number in this column: blank lines, empty cells and words are gaps in what is known,
    not zeros, and are refused. Only blank lines at the end mean nothing.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.reader(handle, strict=True))
    except (OSError, csv.Error, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{file}: {reason}; give the path of a CSV file, from the folder of the scenario") from error
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    if not rows:
        raise ValueError(f"{file}: empty; it needs a line for each arrival or each interval")
    header = [cell.strip() for cell in rows[0]]
    named = not all(_NUMBER.fullmatch(cell) for cell in header)
    if column is not None and (not named or column not in header):
        there = ", ".join(map(repr, header)) if named else "the first line has numbers, no names"
        raise ValueError(f"{file}, line 1: no column {column!r}; {there}")
    place = 0 if column is None else header.index(column)
    if len(rows) == 1 and named:
        raise ValueError(f"{file}: a header and nothing else; it needs a line for each arrival or each interval")
    return _numbers(file, rows, place, first=2 if named else 1, width=len(header))


def _numbers(file: Path, rows: Sequence[Sequence[str]], place: int, first: int, width: int) -> Cells:
    problems = _Problems(file)
    found: list[tuple[int, float]] = []
    for line, row in enumerate(rows[first - 1 :], start=first):
        text = row[place].strip() if len(row) > place else ""
        if len(row) != width:
            problems.add(line, f"{len(row)} cells where the first line has {width}")
        elif not text:
            problems.add(line, "'' is a gap; write 0 where nothing came, or leave the time out")
        elif not _NUMBER.fullmatch(text) or not isfinite(float(text)):
            problems.add(line, f"{text!r} is not a number")
        elif float(text) < 0:
            problems.add(line, f"{text} is negative; at least 0")
        else:
            found.append((line, float(text)))
    problems.refuse()
    return found


def times_of(file: Path, cells: Cells, unit: str, *, from_first: bool) -> tuple[float, ...]:
    """Arrivals in seconds from the start of the run, or from the first of them. Raises ValueError for those that are out of order."""
    problems = _Problems(file)
    latest = -1.0
    for line, value in cells:
        if value < latest:
            problems.add(line, f"{value:.15g} {unit} comes after {latest:.15g} {unit}; sort the times")
        latest = max(latest, value)
    problems.refuse()
    origin = cells[0][1] if from_first else 0.0
    factor = DIMENSIONS["time"][unit]
    return tuple((value - origin) * factor for _, value in cells)


def rates_of(cells: Cells, unit: str, interval_s: float) -> tuple[float, ...]:
    """Requests per second in each interval. A zero is an interval in which nothing came, not the end."""
    factor = 1.0 / interval_s if unit == COUNT else 1.0 / DIMENSIONS["time"][unit.removeprefix("/")]
    return tuple(value * factor for _, value in cells)
