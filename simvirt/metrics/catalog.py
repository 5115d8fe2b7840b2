"""The catalog of metrics: each declared once, in `catalog.toml`, with unit, entity, definition and estimator."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

from simvirt.errors import CatalogError, nearest

__all__ = ["ENTITIES", "Metric", "metric", "metrics", "parse_metrics"]

ENTITIES: Final = ("tenant", "instance", "cpu", "memory", "disk", "nic", "host", "layer/cause", "fault")
"""What a metric can belong to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One quantity that a run reports."""

    name: str
    unit: str
    """"1" for shares, ratios and counts."""
    entity: str
    definition: str
    estimator: str


def metric(name: str) -> Metric:
    """The metric called `name`."""
    known = metrics()
    if name not in known:
        raise CatalogError(f"metric {name!r} is not in the catalog; {nearest(name, known)}")
    return known[name]


@cache
def metrics() -> Mapping[str, Metric]:
    """Every metric by name, in the order declared."""
    return parse_metrics(resources.files("simvirt.metrics").joinpath("catalog.toml").read_text(encoding="utf-8"))


def parse_metrics(text: str) -> Mapping[str, Metric]:
    """Read a catalog from TOML, reporting every mistake together."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"catalog of metrics: {error}") from error
    problems = [problem for name, table in tables.items() for problem in _problems(name, table)]
    if problems:
        raise CatalogError(problems)
    return MappingProxyType({name: Metric(name=name, **table) for name, table in tables.items()})


def _problems(name: str, table: object) -> list[str]:
    if not isinstance(table, dict):
        return [f"{name}: {table!r}; a table with {', '.join(_FIELDS)}"]
    problems = [f"{name}.{key}: missing; write a text" for key in _FIELDS if key not in table]
    problems += [f"{name}.{key}: unknown; {nearest(key, _FIELDS)}" for key in table if key not in _FIELDS]
    problems += [f"{name}.{key}: {table[key]!r}; a text that is not empty" for key in _FIELDS if key in table and not _is_text(table[key])]
    if _is_text(table.get("entity")) and table["entity"] not in ENTITIES:
        problems.append(f"{name}.entity: {table['entity']!r}; {nearest(table['entity'], ENTITIES)}")
    if _is_text(table.get("unit")) and table["unit"] != _unit_by_name(name):
        problems.append(f"{name}.unit: {table['unit']!r}; the name says {_unit_by_name(name)!r}")
    return problems


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _unit_by_name(name: str) -> str:
    """The unit that a name's suffix promises: _bytes_per_s, _per_s, _usec, _bytes, _s or none."""
    if name.endswith("_bytes_per_s"):
        return "B/s"
    if name.endswith("_bytes"):
        return "B"
    if name.endswith("_per_s"):
        return "1/s"
    if name.endswith("_usec"):
        return "us"
    return "s" if name.endswith("_s") or "_s_per_" in name else "1"


_FIELDS: Final = tuple(field.name for field in fields(Metric) if field.name != "name")
