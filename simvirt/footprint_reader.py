"""Builds what profiles say beside costs: what layers and workloads take of memory (`footprint`, `shortage`), what a kernel does when nobody
asks it for anything (`background`), and how many there may be (`maximum`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, get_type_hints

from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Reference
from simvirt.layers.background import NO_MAXIMUM, Background, Maximum
from simvirt.layers.footprint import NO_FOOTPRINT, AbstractFootprint, HypervisorFootprint, KernelFootprint, RuntimeFootprint
from simvirt.profile_reader import build_cost, build_part, override_entries
from simvirt.resources.memory.rules import Shortage
from simvirt.workloads.footprint import Footprint, Growth, Heap

__all__ = ["LAYER_TABLES", "WORKLOAD_TABLE", "LayerMemory", "build_layer_memory", "build_workload_footprint", "is_memory_path"]

LAYER_TABLES: Final = ("footprint", "shortage", "background", "maximum")
"""Tables of a layer's profile that stand beside its costs."""
WORKLOAD_TABLE: Final = "footprint"

_FOOTPRINTS: Final[Mapping[str, type[AbstractFootprint]]] = {
    "operating-system": KernelFootprint,
    "hypervisor": HypervisorFootprint,
    "hosted-hypervisor": HypervisorFootprint,
    "container": RuntimeFootprint,
    "sandbox": RuntimeFootprint,
}
"""Kind of layer → what its footprint is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMemory:
    """What a layer's profile says of memory, and of what it takes and allows without being asked for anything."""

    footprint: AbstractFootprint = NO_FOOTPRINT
    shortage: Shortage | None = None
    """How it gets memory back when it runs short; None for a layer that manages none."""
    background: Background | None = None
    """What its kernel does by itself in a virtual machine; None where that is not known."""
    maximum: Maximum = NO_MAXIMUM


def is_memory_path(path: str) -> bool:
    """Whether an override is meant for a number that stands beside costs: `layer.footprint.field`."""
    return path.split(".")[1:2] in ([table] for table in LAYER_TABLES)


def build_layer_memory(
    name: str, table: dict[str, Any], references: Mapping[str, Reference], overrides: Mapping[str, float | str]
) -> LayerMemory:
    """Read both tables of one layer. Raises CatalogError with every mistake."""
    tables: dict[str, Any] = {key: table[key] for key in LAYER_TABLES if key in table}
    _override(name, tables, overrides)
    problems: list[str] = []
    built: dict[str, Any] = {}
    kinds = {"footprint": _FOOTPRINTS.get(str(table.get("kind"))), "shortage": Shortage, "background": Background}
    for key, entries in tables.items():
        if key == "maximum":
            built[key] = _build_maximum(f"layers/{name}.maximum", entries, references, problems)
            continue
        kind = kinds[key]
        if kind is None:
            problems.append(f"layers/{name}.{key}: a layer of kind {table.get('kind')!r} takes no memory; remove the table")
            continue
        built[key] = build_part(kind, {}, entries, f"layers/{name}.{key}", references, problems)
    if problems:
        raise CatalogError(problems)
    return LayerMemory(**built)


def _build_maximum(path: str, table: Any, references: Mapping[str, Reference], problems: list[str]) -> Maximum:
    """What is allowed at most; what the table says nothing of is without bound."""
    known = [field.name for field in fields(Maximum)]
    if not isinstance(table, Mapping):
        problems.append(f"{path}: {table!r}; must be a table, such as [maximum.{known[0]}]")
        return NO_MAXIMUM
    problems += [f"{path}.{key}: nothing that is counted; {nearest(key, known)}" for key in sorted(table.keys() - set(known))]
    costs = {key: build_cost(table[key], key, f"{path}.{key}", references, problems) for key in known if key in table}
    return Maximum(**costs)


def build_workload_footprint(
    name: str, table: Mapping[str, Any], references: Mapping[str, Reference], overrides: Mapping[str, float | str]
) -> Footprint:
    """Read the footprint of one workload. Raises CatalogError with every mistake."""
    path = f"workloads/{name}.{WORKLOAD_TABLE}"
    if not isinstance(table, Mapping):
        raise CatalogError([f"{path}: {table!r}; must be a table, such as [{WORKLOAD_TABLE}.resident_bytes]"])
    _override(name, {WORKLOAD_TABLE: dict(table)}, overrides)
    problems: list[str] = []
    parts: dict[str, Any] = {}
    for key, kind in (("growth", Growth), ("heap", Heap)):
        if key in table:
            entries = table[key]
            if not isinstance(entries, Mapping):
                problems.append(f"{path}.{key}: {entries!r}; must be a table")
                continue
            plain = {field: value for field, value in entries.items() if not isinstance(value, Mapping)}
            costs = {field: value for field, value in entries.items() if isinstance(value, Mapping)}
            parts[key] = build_part(kind, plain, costs, f"{path}.{key}", references, problems)
    own = {key: value for key, value in table.items() if key not in ("growth", "heap")}
    needed = [key for key, hint in get_type_hints(Footprint).items() if key not in ("growth", "heap")]
    problems += [f"{path}.{key}: not a part of a footprint; {nearest(key, needed)}" for key in sorted(own.keys() - set(needed))]
    built = build_part(Footprint, {}, {key: own[key] for key in own.keys() & set(needed)}, path, references, problems)
    if "heap" in table and "growth" not in table:
        problems.append(f"{path}.growth: missing; a heap that never grows is a part of resident_bytes")
    if problems or built is None:
        raise CatalogError(problems)
    return replace(built, **parts)


def _override(name: str, tables: Mapping[str, Any], overrides: Mapping[str, float | str]) -> None:
    """Set by hand what a scenario wants."""
    places = {f"{name}.{path}": entry for table, entries in tables.items() for path, entry in _entries(table, entries)}
    override_entries(places, overrides)


def _entries(path: str, table: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(table, dict):
        if "value" in table:
            yield path, table
        else:
            for key, entry in table.items():
                yield from _entries(f"{path}.{key}", entry)
