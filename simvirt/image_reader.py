"""Builds what images meet (registries, container engines, formats, images) from the tables of their profiles; every mistake at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar, cast, get_type_hints

from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Cost, Reference
from simvirt.images.profiles import EngineProfile, ImageProfile, LazyProfile, MachineImageProfile, RegistryProfile
from simvirt.profile_reader import build_cost

__all__ = ["build_image_profile", "folder_of"]

P = TypeVar("P")

_FOLDERS: Final[Mapping[type, str]] = {
    RegistryProfile: "registries",
    EngineProfile: "container-engines",
    LazyProfile: "lazy-formats",
    ImageProfile: "images",
    MachineImageProfile: "machine-images",
}


def folder_of(kind: type) -> str:
    """The folder of the profiles of a kind."""
    return _FOLDERS[kind]


def build_image_profile(kind: type[P], name: str, table: dict[str, Any], references: Mapping[str, Reference]) -> P:
    """A profile: every number with its evidence under [cost.…], layers of an image under [layer.…], other entries as text."""
    path = f"{folder_of(kind)}/{name}"
    problems: list[str] = []
    hints = get_type_hints(kind)
    costs, layers = table.pop("cost", {}), table.pop("layer", {})
    values: dict[str, Any] = {"name": name}
    declared = [f.name for f in fields(cast(Any, kind)) if f.name != "name"]
    for field in declared:
        place = f"{path}.{field}"
        if hints[field] is Cost:
            values[field] = build_cost(costs.get(field), field, place, references, problems)
        elif field == "layers":
            values[field] = _layers(layers, path, references, problems)
        elif isinstance(table.get(field), str):
            values[field] = table[field]
        else:
            problems.append(f"{place}: missing; give it as text")
    problems += [f"{path}.{key}: not a part of this profile; {nearest(key, declared)}" for key in sorted({*table, *costs} - {*declared})]
    if layers and "layers" not in declared:
        problems.append(f"{path}.layer: only images have layers; remove it")
    if problems:
        raise CatalogError(problems)
    return kind(**values)


def _layers(
    tables: Mapping[str, Any], path: str, references: Mapping[str, Reference], problems: list[str]
) -> tuple[tuple[str, Cost | None], ...]:
    if not tables:
        problems.append(f"{path}: no layers; write a [layer.NAME] with the evidence of its size on the wire for each, the lowest first")
    return tuple((name, build_cost(entry, "wire_bytes", f"{path}.layer.{name}", references, problems)) for name, entry in tables.items())
