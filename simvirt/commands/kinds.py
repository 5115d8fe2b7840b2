"""The kinds of profile, by the words that users say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from simvirt.catalog import Catalog
from simvirt.errors import CatalogError, nearest

__all__ = ["FOLDERS", "kinds_of", "names_of"]

FOLDERS: Final[Mapping[str, str]] = {
    "platform": "platforms",
    "layer": "layers",
    "machine": "hardware",
    "workload": "workloads",
    "scheduler": "schedulers",
    "fault": "faults",
}
"""Kind → folder of its profiles; publications are entries of files and have none of their own."""


def names_of(kind: str, catalog: Catalog) -> tuple[str, ...]:
    """Names of all profiles of a kind, sorted."""
    return catalog.names(FOLDERS[kind]) if kind in FOLDERS else tuple(sorted(catalog.references))


def kinds_of(name: str, catalog: Catalog) -> tuple[str, ...]:
    """The kinds of profile that bear a name, platforms first. Raises CatalogError if none does."""
    known = {kind: names_of(kind, catalog) for kind in (*FOLDERS, "reference")}
    found = tuple(kind for kind, names in known.items() if name in names)
    if not found:
        profiles = {one for kind, names in known.items() if kind != "reference" for one in names}
        raise CatalogError([f"{name!r} is no platform, layer, machine, workload, scheduler, fault or reference; {nearest(name, profiles)}"])
    return found
