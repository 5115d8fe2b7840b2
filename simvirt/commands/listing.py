"""`simvirt list`: what there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from simvirt.catalog import Catalog
from simvirt.commands.kinds import names_of
from simvirt.commands.tables import table
from simvirt.errors import CatalogError

__all__ = ["listing"]

Cells = tuple[str, ...]


def listing(catalog: Catalog, kinds: Sequence[str]) -> list[str]:
    """A table of each kind of profile. Raises CatalogError with everything that is wrong in any of them."""
    lines: list[str] = []
    problems: list[str] = []
    for kind in kinds:
        header, describe = _COLUMNS[kind]
        rows = []
        for name in names_of(kind, catalog):
            try:
                rows.append((name, *describe(catalog, name)))
            except CatalogError as error:
                problems += error.problems
        lines += [*([""] if lines else []), *table((kind, *header), rows)]
    if problems:
        raise CatalogError(problems)
    return lines


def _platform(catalog: Catalog, name: str) -> Cells:
    platform = catalog.platform(name)
    choices = [catalog.layer(layer).own_scheduler for layer in platform.layers]
    return platform.family, " < ".join(choice.value for choice in choices if choice is not None), platform.summary


def _layer(catalog: Catalog, name: str) -> Cells:
    layer = catalog.layer(name)
    return layer.kind, layer.summary


def _machine(catalog: Catalog, name: str) -> Cells:
    machine = catalog.hardware(name)
    return f"{machine.cores.si:g}", str(machine.clock_hz), machine.summary


def _workload(catalog: Catalog, name: str) -> Cells:
    workload = catalog.workload(name)
    return str(workload.requires), workload.summary


def _scheduler(catalog: Catalog, name: str) -> Cells:
    return catalog.scheduler_summary(name)


def _fault(catalog: Catalog, name: str) -> Cells:
    fault = catalog.fault(name)
    return fault.breaks.value, fault.effect.value, f"{fault.mtbf_s.value:g} {fault.mtbf_s.unit}", fault.summary


def _reference(catalog: Catalog, name: str) -> Cells:
    reference = catalog.references[name]
    return str(reference.year), reference.title


_COLUMNS: Final[Mapping[str, tuple[Cells, Callable[[Catalog, str], Cells]]]] = {
    "platform": (("family", "schedulers", "summary"), _platform),
    "layer": (("kind", "summary"), _layer),
    "machine": (("cores", "clock", "summary"), _machine),
    "workload": (("requires", "summary"), _workload),
    "scheduler": (("rules", "summary"), _scheduler),
    "fault": (("breaks", "effect", "mean time between failures", "summary"), _fault),
    "reference": (("year", "title"), _reference),
}
"""Kind → further columns, and what stands in them."""
