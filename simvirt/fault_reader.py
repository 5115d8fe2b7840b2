"""Builds faults, and the parts of layers that break, from the tables of their profiles; every mistake at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Reference
from simvirt.faults.part import Effect, LayerParts, Part, fits
from simvirt.faults.profile import FaultProfile
from simvirt.profile_reader import build_choice, build_part

__all__ = ["PARTS_TABLE", "build_fault", "build_layer_parts"]

PARTS_TABLE: Final = "parts"
"""Table of a layer's profile that names its programs that can break."""
_PROGRAMS: Final = ("vmm", "daemon")
NONE: Final = "none"
"""Says that there is no such program, where the layer that a profile extends has one."""


def build_fault(name: str, table: Mapping[str, Any], references: Mapping[str, Reference]) -> FaultProfile:
    """A fault by its table. Raises CatalogError with every mistake."""
    path = f"faults/{name}"
    problems: list[str] = []
    plain = {key: value for key, value in table.items() if key != "cost"}
    built = build_part(FaultProfile, {"name": name, **plain}, table.get("cost", {}), path, references, problems)
    try:
        part, effect = Part(str(plain.get("breaks"))), Effect(str(plain.get("effect")))
    except ValueError:
        pass  # told already
    else:
        if effect not in fits(part):
            problems.append(f"{path}.effect: {effect.value!r} of a {part.value}; must be one of {', '.join(fits(part))}")
    if problems or built is None:
        raise CatalogError(problems)
    return built


def build_layer_parts(name: str, table: Mapping[str, Any], references: Mapping[str, Reference]) -> LayerParts:
    """The programs of a layer that can break, from the whole table of its profile."""
    entries = table.get(PARTS_TABLE, {})
    path = f"layers/{name}.{PARTS_TABLE}"
    problems: list[str] = []
    if not isinstance(entries, Mapping):
        raise CatalogError([f"{path}: {entries!r}; must be a table, such as [{PARTS_TABLE}.{_PROGRAMS[0]}]"])
    problems += [f"{path}.{key}: no such part; {nearest(key, _PROGRAMS)}" for key in sorted(entries.keys() - {*_PROGRAMS})]
    built = {key: build_choice(entries[key], f"{path}.{key}", references, problems) for key in _PROGRAMS if key in entries}
    if problems:
        raise CatalogError(problems)
    return LayerParts(**{key: choice for key, choice in built.items() if choice is not None and choice.value != NONE})
