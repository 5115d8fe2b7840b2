"""Reads recorded CPU demand: PlanetLab, Bitbrains as one table, and the files of GWA-T-12.

The form is told by what stands in the first line. Files of a folder or an archive are read in order of name, whatever order the
system lists them in; archives are read, never unpacked. Whatever is wrong is told at once, with file, line and value; then nothing is read.
"""

from __future__ import annotations

import csv
import gzip
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Final

import numpy as np

from simvirt.errors import TraceError
from simvirt.workloads.utilization import Series, UtilizationTrace

__all__ = ["read_utilization"]

SLOT_S: Final = 300.0
"""PlanetLab and Bitbrains measured every five minutes."""
_PER_CENT: Final = 100.0
_SHOWN: Final = 12
"""Problems that are told one by one; the others are counted."""
_META: Final = "_meta.csv"


@dataclass(slots=True)
class _Problems:
    """What is wrong so far."""

    found: list[str] = field(default_factory=list)

    def add(self, place: str, problem: str) -> None:
        self.found.append(f"{place}: {problem}")

    def number(self, place: str, text: str, most: float = np.inf) -> float:
        """A number that is at least 0 and at most `most`; what is not is noted, and NaN."""
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if "_" in text or not isfinite(value):
            self.add(place, f"{text!r} is not a number")
        elif not 0.0 <= value <= most:
            self.add(place, f"{text.strip()} lies outside 0 to {most:g}")
        else:
            return value
        return float(np.nan)

    def refuse(self) -> None:
        """Raise them, if there are any."""
        if self.found:
            more = [f"and {len(self.found) - _SHOWN} more"] if len(self.found) > _SHOWN else []
            raise TraceError([*self.found[:_SHOWN], *more])


Lines = Sequence[str]


def read_utilization(path: Path) -> UtilizationTrace:
    """Read a folder, an archive (tar) or a table (CSV, maybe gzipped). Raises TraceError with everything that is wrong."""
    try:
        if path.is_dir():
            return _read_files(path, {file.name: _text(file.read_bytes()) for file in _visible(path)})
        if path.name.endswith((".tar", ".tar.gz", ".tgz")):
            return _read_files(path, _members(path))
        raw = path.read_bytes()
        return _read_table(path, _text(gzip.decompress(raw) if path.suffix == ".gz" else raw))
    except (OSError, EOFError, tarfile.TarError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError([f"{path}: {reason}; give a folder, an archive or a table of recorded CPU use"]) from None


def _visible(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _members(path: Path) -> dict[str, Lines]:
    with tarfile.open(path) as archive:
        files = sorted((member for member in archive.getmembers() if member.isfile()), key=lambda member: member.name)
        return {Path(member.name).name: _text(_content(archive, member)) for member in files}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def _text(raw: bytes) -> Lines:
    return raw.decode("utf-8-sig").splitlines()


# --- One file per machine ----------------------------------------------------------------------------------------------


def _read_files(path: Path, files: Mapping[str, Lines]) -> UtilizationTrace:
    """A folder of files of one form."""
    if not files:
        raise TraceError([f"{path}: no files; a trace has one file per machine"])
    problems = _Problems()
    for name in [name for name, lines in files.items() if not any(line.strip() for line in lines)]:
        problems.add(f"{path.name}/{name}", "empty; a machine has at least one sample")
    problems.refuse()
    tables = {name: ";" in lines[0] for name, lines in files.items()}
    if len(set(tables.values())) > 1:
        odd = min((name for name in tables), key=lambda name: (list(tables.values()).count(tables[name]), name))
        raise TraceError([f"{path.name}/{odd}: another form than the other files; keep files of one form in a folder"])
    if tables[min(tables)]:
        series = [_gwa(f"{path.name}/{name}", name, files[name], problems) for name in sorted(files)]
        problems.refuse()
        return UtilizationTrace(tuple(one for one in series if one is not None), "GWA-T-12, one table per machine")
    values = {name: _percentages(f"{path.name}/{name}", lines, problems) for name, lines in sorted(files.items())}
    _same_lengths(path.name, {name: len(column) for name, column in values.items()}, problems)
    problems.refuse()
    return UtilizationTrace(tuple(_regular(name, column) for name, column in values.items()), "PlanetLab, one file per machine")


def _percentages(place: str, lines: Lines, problems: _Problems) -> list[float]:
    """One number per line; blank lines at the end mean nothing."""
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return [problems.number(f"{place}, line {i}", line, _PER_CENT) for i, line in enumerate(lines, start=1)]


def _same_lengths(place: str, lengths: Mapping[str, int], problems: _Problems) -> None:
    counts = list(lengths.values())
    usual = max(sorted(set(counts)), key=counts.count)
    for name, length in lengths.items():
        if length != usual:
            problems.add(f"{place}/{name}", f"{length} samples where others have {usual}; series of one recording have one length")


def _regular(name: str, percentages: Sequence[float]) -> Series:
    """A machine of one core, measured every five minutes from time 0."""
    starts = SLOT_S * np.arange(len(percentages), dtype=np.float64)
    return Series(name, 1.0, starts, np.full(len(percentages), SLOT_S), np.array(percentages) / _PER_CENT)


_GWA: Final = ("Timestamp [ms]", "CPU cores", "CPU capacity provisioned [MHZ]", "CPU usage [MHZ]")


def _gwa(place: str, name: str, lines: Lines, problems: _Problems) -> Series | None:
    """Semicolons and tabs; times are seconds, whatever the header says. A sample holds until the next; the last for five minutes."""
    header = [cell.strip() for cell in lines[0].split(";")]
    if not set(_GWA) <= set(header):
        problems.add(f"{place}, line 1", f"no column {', '.join(repr(c) for c in _GWA if c not in header)}")
        return None
    columns = [header.index(column) for column in _GWA]
    rows = []
    for i, line in enumerate(lines[1:], start=2):
        cells = line.split(";")
        if line.strip() and len(cells) != len(header):
            problems.add(f"{place}, line {i}", f"{len(cells)} cells where the header has {len(header)}")
        elif line.strip():
            rows.append((i, [problems.number(f"{place}, line {i}", cells[column]) for column in columns]))
    if not rows:
        problems.add(place, "a header and nothing else; a machine has at least one sample")
        return None
    times = [row[0] for _, row in rows]
    if not _in_order(place, [i for i, _ in rows], times, problems):
        return None
    durations = [*(later - earlier for earlier, later in pairwise(times)), SLOT_S]
    capacity = max(row[2] for _, row in rows)
    vcpus = max(row[1] for _, row in rows)
    if not vcpus > 0 or not capacity > 0:
        problems.add(place, f"{vcpus:g} cores of {capacity:g} MHz; a machine has some")
        return None
    used = [row[3] / capacity * vcpus for _, row in rows]
    return Series(Path(name).stem, vcpus, np.array(times), np.array(durations), np.array(used))


def _in_order(place: str, lines: Sequence[int], times: Sequence[float], problems: _Problems) -> bool:
    wrong = [(line, later) for line, (earlier, later) in zip(lines[1:], pairwise(times), strict=True) if later <= earlier]
    for line, time_s in wrong:
        problems.add(f"{place}, line {line}", f"time {time_s:.15g} does not come after the one before; sort the samples")
    return not wrong and all(map(isfinite, times))


# --- One table for all machines ------------------------------------------------------------------------------------------


def _read_table(path: Path, lines: Lines) -> UtilizationTrace:
    rows = [(i, row) for i, row in enumerate(csv.reader(lines), start=1) if row]
    if not rows:
        raise TraceError([f"{path.name}: empty; a table has a header and samples"])
    header = rows[0][1]
    forms: dict[str, Callable[[], UtilizationTrace]] = {
        "vm": lambda: _wide(path, header, rows[1:]),
        "id": lambda: _bitbrains(path, header, rows[1:]),
    }
    if header[0] not in forms:
        wanted = "'vm,t0,t300,…' (PlanetLab) or 'id,end_s,duration_s,cpu_count,cpu_usage_mhz' (Bitbrains)"
        raise TraceError([f"{path.name}, line 1: column {header[0]!r}; a table of CPU use begins with {wanted}"])
    return forms[header[0]]()


def _wide(path: Path, header: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]]) -> UtilizationTrace:
    """One row per machine, one column per five minutes."""
    problems = _Problems()
    for i, column in enumerate(header[1:]):
        if column != f"t{i * SLOT_S:g}":
            problems.add(f"{path.name}, line 1", f"column {column!r}; at this place stands 't{i * SLOT_S:g}'")
            break
    values: dict[str, list[float]] = {}
    for i, row in rows:
        place = f"{path.name}, line {i}"
        if len(row) != len(header):
            problems.add(place, f"{len(row)} cells where the header has {len(header)}")
        elif row[0] in values:
            problems.add(place, f"{row[0]!r} is there already; one row per machine")
        else:
            values[row[0]] = [
                problems.number(f"{place}, column {column}", cell, _PER_CENT) for column, cell in zip(header[1:], row[1:], strict=True)
            ]
    if not values or len(header) < 2:
        problems.add(path.name, "no samples; a table has a header and at least one machine")
    problems.refuse()
    return UtilizationTrace(tuple(_regular(name, values[name]) for name in sorted(values)), "PlanetLab, one table")


_SAMPLES: Final = ("id", "end_s", "duration_s", "cpu_count", "cpu_usage_mhz")
_MACHINES: Final = ("id", "cpu_count", "cpu_capacity_mhz")


def _bitbrains(path: Path, header: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> UtilizationTrace:
    """One row per sample, in any order of machines; capacities stand in a table beside it."""
    problems = _Problems()
    machines = _capacities(path, problems)
    found: dict[str, list[tuple[int, list[float]]]] = {}
    for i, name, numbers in _cells(path.name, header, rows, _SAMPLES, problems):
        found.setdefault(name, []).append((i, numbers))
    if not found:
        problems.add(path.name, "no samples; a table has a header and at least one sample")
    problems.refuse()
    series = []
    for name in sorted(found):
        if name not in machines:
            problems.add(path.name, f"machine {name!r} has no capacity; add it to the table *{_META}")
            continue
        vcpus, capacity_mhz = machines[name]
        samples = sorted(found[name], key=lambda sample: sample[1][0])
        ends, durations, _, used = (np.array(column) for column in zip(*(numbers for _, numbers in samples), strict=True))
        starts = ends - durations
        starts[1:] = np.maximum(starts[1:], ends[:-1])  # a sample that begins inside the one before begins where that ends
        for k in np.flatnonzero(starts >= ends):
            problems.add(
                f"{path.name}, line {samples[k][0]}", f"machine {name!r}: a sample of 0 s that ends at {ends[k]:.15g} s; must be longer"
            )
        series.append(Series(name, vcpus, starts, ends - starts, used / capacity_mhz * vcpus))
    problems.refuse()
    return UtilizationTrace(tuple(series), "Bitbrains, one table")


def _capacities(path: Path, problems: _Problems) -> dict[str, tuple[float, float]]:
    """Cores and MHz of each machine, from the table beside the samples."""
    beside = sorted(path.parent.glob(f"*{_META}"))
    if len(beside) != 1:
        problems.add(path.name, f"{len(beside)} tables *{_META} beside it; the capacities of its machines stand in exactly one")
        return {}
    name, lines = beside[0].name, _text(beside[0].read_bytes())
    rows = [(i, row) for i, row in enumerate(csv.reader(lines), start=1) if row]
    if not rows:
        problems.add(name, "empty; a table has a header and machines")
        return {}
    found = {}
    for i, machine, (vcpus, capacity_mhz) in _cells(name, rows[0][1], rows[1:], _MACHINES, problems):
        if not vcpus > 0 or not capacity_mhz > 0:
            problems.add(f"{name}, line {i}", f"{vcpus:g} cores of {capacity_mhz:g} MHz; a machine has some")
        found[machine] = (vcpus, capacity_mhz)
    return found


def _cells(
    name: str, header: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]], wanted: Sequence[str], problems: _Problems
) -> Iterator[tuple[int, str, list[float]]]:
    """Line, first cell and the numbers of the other wanted columns, row by row."""
    missing = [column for column in wanted if column not in header]
    if missing:
        problems.add(f"{name}, line 1", f"no column {', '.join(map(repr, missing))}")
        return
    places = [header.index(column) for column in wanted]
    for i, row in rows:
        if len(row) != len(header):
            problems.add(f"{name}, line {i}", f"{len(row)} cells where the header has {len(header)}")
            continue
        numbers = [problems.number(f"{name}, line {i}, column {header[place]}", row[place]) for place in places[1:]]
        if all(map(isfinite, numbers)):
            yield i, row[places[0]], numbers
