"""The long table of results: one row per point, replication, entity and metric, the same bytes for the same rows in any order.

Files are written whole or not at all.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.errors import CatalogError, ResultsError
from simvirt.metrics.catalog import metric

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FACTORS_FIRST", "Row", "tidy_frame", "write_bytes_atomic", "write_csv_atomic", "write_json_atomic"]

Cell = str | float | int | None

FACTORS_FIRST: Final = ("scenario", "platform", "workload", "offered_load_per_s")
"""Factor columns that lead when present; others follow by name."""

_MEASURED: Final = ("replication", "entity", "metric", "unit", "value", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured value. Its unit is the catalog's, so that it cannot be told wrongly."""

    factors: Mapping[str, Cell]
    """The design point: level by factor. The same factors in all rows of a table."""
    replication: int
    entity: str
    """Which tenant, instance or device, such as "tenant/web"."""
    metric: str
    value: float
    """NaN when not measured."""
    error: str = ""
    """Why a run failed; its row has the metric `failed`."""


def tidy_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """The sorted table of all rows: factor columns, then replication, entity, metric, unit, value, error."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    given = list(rows)
    factors = _factor_columns(given)
    units = _units(given)
    cells = [(*(r.factors[f] for f in factors), r.replication, r.entity, r.metric, units[r.metric], r.value, r.error) for r in given]
    identity = len(factors) + 3
    cells.sort(key=lambda row: tuple(_sort_key(cell) for cell in row[:identity]))
    twice = [a[:identity] for a, b in pairwise(cells) if a[:identity] == b[:identity]]
    if twice:
        raise ResultsError(f"two values for {point!r}; a point, replication, entity and metric has one" for point in twice)
    return pd.DataFrame(cells, columns=[*factors, *_MEASURED])


def _factor_columns(rows: list[Row]) -> tuple[str, ...]:
    names = set(rows[0].factors) if rows else set()
    odd = [r for r in rows if set(r.factors) != names]
    if odd:
        raise ResultsError(f"factors: {sorted(r.factors)}; every row of a table has {sorted(names)}" for r in odd[:10])
    reserved = sorted(names.intersection(_MEASURED))
    if reserved:
        raise ResultsError(f"factor {name!r} is also a column of every table; choose another name" for name in reserved)
    return (*(f for f in FACTORS_FIRST if f in names), *sorted(names.difference(FACTORS_FIRST)))


def _units(rows: list[Row]) -> dict[str, str]:
    units: dict[str, str] = {}
    problems: list[str] = []
    for name in dict.fromkeys(r.metric for r in rows):
        try:
            units[name] = metric(name).unit
        except CatalogError as error:
            problems.extend(error.problems)
    if problems:
        raise CatalogError(problems)
    return units


def _sort_key(cell: Cell) -> tuple[int, float, str]:
    """Nothing before numbers before text."""
    if cell is None:
        return (0, 0.0, "")
    return (2, 0.0, cell) if isinstance(cell, str) else (1, float(cell), "")


def write_csv_atomic(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, whole or not at all; every float so that reading it gives the same float, NaN as an empty cell."""
    _write_atomic(frame.to_csv(index=False, lineterminator="\n"), path)


def write_json_atomic(document: Any, path: Path) -> None:
    """Write a document as JSON with sorted keys, whole or not at all. NaN and infinity have no form in JSON and are refused."""
    try:
        text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{path}: {error}; use texts, finite numbers, lists, tables, and null for what was not measured") from error
    _write_atomic(text + "\n", path)


def _write_atomic(text: str, path: Path) -> None:
    write_bytes_atomic(text.encode("utf-8"), path)


def write_bytes_atomic(content: bytes, path: Path) -> None:
    """Write beside the file, then take its place in one step; on any failure the old file stays as it was."""
    path = path.resolve()  # behind a link, the file itself
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        way_out = "make the folder, free some space or choose another path"
        raise ResultsError(f"{path}: cannot be written ({error.strerror}); {way_out}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
