"""Builds faults, and the parts of layers that break, from the tables of their profiles; every mistake at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Reference
from simvirt.faults.escape import Attacker, Exposure
from simvirt.faults.part import Effect, LayerParts, Part, fits
from simvirt.faults.profile import FaultProfile
from simvirt.profile_reader import build_choice, build_part

__all__ = ["FAULT_TABLES", "build_attacker", "build_exposure", "build_fault", "build_layer_parts"]

PARTS_TABLE: Final = "parts"
EXPOSURE_TABLE: Final = "exposure"
FAULT_TABLES: Final = (PARTS_TABLE, EXPOSURE_TABLE)
"""Tables of a layer's profile that name its programs that can break, and say how it is attacked."""
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


def build_exposure(name: str, table: Mapping[str, Any], references: Mapping[str, Reference]) -> Exposure | None:
    """The boundary of a layer, from the whole table of its profile; None if that says nothing of it."""
    if EXPOSURE_TABLE not in table:
        return None
    problems: list[str] = []
    built = build_part(Exposure, {}, table[EXPOSURE_TABLE], f"layers/{name}.{EXPOSURE_TABLE}", references, problems)
    if problems or built is None:
        raise CatalogError(problems)
    return built


def build_attacker(name: str, table: Mapping[str, Any], references: Mapping[str, Reference]) -> Attacker:
    """An attacker by its table. Raises CatalogError with every mistake."""
    problems: list[str] = []
    plain = {key: value for key, value in table.items() if key != "cost"}
    built = build_part(Attacker, {"name": name, **plain}, table.get("cost", {}), f"attackers/{name}", references, problems)
    if problems or built is None:
        raise CatalogError(problems)
    return built
