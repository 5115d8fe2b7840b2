"""Looks up the costs behind stored results: their grades, the assumptions that matter most, and whether profiles have changed since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from simvirt.catalog import Catalog
from simvirt.errors import CatalogError, StackError
from simvirt.evidence import Cost, Grade, dimension_of_unit
from simvirt.experiment.grades import count_grades, doubts
from simvirt.experiment.manifest import profile_digests
from simvirt.layers.contract import costs_of
from simvirt.layers.stack import Stack
from simvirt.reports.evidence import CostRow, Evidence, Source
from simvirt.reports.stored import StoredResults
from simvirt.units import DIMENSIONS, format_quantity

__all__ = ["evidence_of", "profile_folders"]

_DOUBTS: Final = 12
_DESCRIPTIONS: Final = ("hardware", "layers", "platforms", "schedulers", "workloads")
"""Kinds of profiles that decide what a run gives."""
_KINDS_WITH_FOLDER: Final = 3
"""Parts of the path of a profile from a further folder, at least: folder, kind, file."""


def profile_folders(results: StoredResults) -> list[Path]:
    """Folders of further profiles that the manifest names and that are here, seen from the current folder or from the results' checkout."""
    named = {Path(key).parents[1] for key in results.manifest["profiles"] if len(Path(key).parts) >= _KINDS_WITH_FOLDER}
    roots = (Path(), results.path.absolute().parent.parent)
    return [next(root / one for root in roots if (root / one).is_dir()) for one in sorted(named) if any((r / one).is_dir() for r in roots)]


def evidence_of(results: StoredResults, profiles: Sequence[Path]) -> Evidence:
    """Of every cost in the stacks of the design, as the profiles have them now."""
    catalog = Catalog.builtin(*profiles)
    notes: list[str] = []
    stacks = list(_stacks(results, catalog, notes))
    costs = {f"{layer.name}.{field}": cost for stack in stacks for layer in stack.layers for field, cost in costs_of(layer)}
    references = catalog.references
    keys = sorted({cost.source for cost in costs.values()} & references.keys())
    return Evidence(
        counts={str(grade): count for grade, count in count_grades(stacks).items()},
        doubts=_doubts(results, catalog, stacks, costs, notes),
        costs=[_row(path, cost) for path, cost in sorted(costs.items())],
        sources=[Source(key=key, title=references[key].title, year=references[key].year, url=references[key].url) for key in keys],
        changed=_changed(results.manifest["profiles"], profiles),
        notes=notes,
    )


def _stacks(results: StoredResults, catalog: Catalog, notes: list[str]) -> Iterable[Stack]:
    points = results.tables["points"]
    if "platform" not in points.columns:
        return
    pairs = points[["platform", "machine"]].drop_duplicates().sort_values(["platform", "machine"])
    for platform, machine in pairs.itertuples(index=False):
        try:
            yield catalog.stack(str(platform), str(machine))
        except (CatalogError, StackError) as error:
            notes += [f"{platform} on {machine}: {problem}" for problem in error.problems]


def _doubts(
    results: StoredResults, catalog: Catalog, stacks: Sequence[Stack], costs: Mapping[str, Cost], notes: list[str]
) -> list[CostRow]:
    """For a mean request of the workload that most points have."""
    points = results.tables["points"]
    if not stacks or "workload" not in points.columns:
        return []
    name = str(points["workload"].value_counts(sort=True).index[0])
    try:
        demand = catalog.workload(name).demand
    except CatalogError as error:
        notes += error.problems
        return []
    rows: dict[tuple[str, str, str], list[CostRow]] = {}
    for doubt in doubts(stacks, demand):
        if doubt.swing_s > 0.0:
            row = _row(doubt.path, costs[doubt.path], f"{format_quantity(doubt.swing_s, 'time')} of {name}")
            rows.setdefault((doubt.path.partition(".")[2], row.range, row.where), []).append(row)
    return [_together(same) for same in list(rows.values())[:_DOUBTS]]


def _together(same: Sequence[CostRow]) -> CostRow:
    """One row for the same guess in several layers: that of the layer where it means most."""
    others = len(same) - 1
    return replace(same[0], path=f"{same[0].path} and in {others} other layer{'s' if others > 1 else ''}") if others else same[0]


def _row(path: str, cost: Cost, swing: str = "") -> CostRow:
    dimension = dimension_of_unit(cost.unit)
    assert dimension is not None
    low, high = (format_quantity(end * DIMENSIONS[dimension][cost.unit], dimension) for end in (cost.low, cost.high))
    where = f"{cost.where}; {cost.derivation}" if cost.grade is Grade.DERIVED else cost.where
    evidence = {"grade": str(cost.grade), "source": cost.source, "where": where}
    return CostRow(path=path, value=str(cost), range=f"{low} to {high}", **evidence, swing=swing)


def _changed(then: Mapping[str, Any], profiles: Sequence[Path]) -> list[str]:
    """Descriptions of what runs that are not as they were; folders that are not here are told otherwise."""
    now = profile_digests(profiles)
    here = {str(Path(path).parents[1]) for path in now}
    looked_at = (path for path in then if Path(path).parent.name in _DESCRIPTIONS and str(Path(path).parents[1]) in here)
    return sorted(path for path in looked_at if now.get(path) != then[path])
