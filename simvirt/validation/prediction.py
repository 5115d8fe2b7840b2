"""What the simulator says to a measured row: from the outcomes of a point, or exactly from the path of its request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import isfinite, nan
from pathlib import Path
from typing import Any, Final

from simvirt.catalog import Catalog
from simvirt.evidence import dimension_of_unit
from simvirt.layers.contract import Place, Resource, costs_of
from simvirt.layers.path import Step, plan_path
from simvirt.layers.stack import Stack
from simvirt.scenario import Resolved, Scenario
from simvirt.simulation import RunOutcome
from simvirt.units import DIMENSIONS
from simvirt.validation.case import Measurement

__all__ = ["catalog_of", "corners", "from_path", "from_runs", "in_unit_of"]

_TIMES: Final = ("_s", "_s_per_byte")
"""Suffixes of the costs that a band is made of: times. A capacity or a count has no end that is bad for everybody."""


@cache
def catalog_of(profiles: tuple[Path, ...]) -> Catalog:
    """The profiles of the package and of a case; made once in a process."""
    return Catalog.builtin(*profiles)


def in_unit_of(si: float, unit: str) -> float:
    """A number in SI units in another unit of its dimension."""
    dimension = dimension_of_unit(unit)
    assert dimension is not None
    return si / DIMENSIONS[dimension][unit]


def from_runs(runs: Sequence[RunOutcome], by: Measurement, group: str) -> float:
    """Mean over replications, in SI units; not a number if a replication did not measure it.

    Without an entity the number is the tenants' of a group: rates add up, anything else is their mean.
    """
    values = [_of_run(run, by, group) for run in runs]
    return by.scale * sum(values) / len(values) if values and all(map(isfinite, values)) else nan


def _of_run(run: RunOutcome, by: Measurement, group: str) -> float:
    if by.entity:
        return next((row.value for row in run.rows({}) if row.entity == by.entity and row.metric == by.of), nan)
    if by.of == "interval_s":
        rate_per_s = _of_run(run, replace(by, of="throughput_per_s"), group)
        return 1.0 / rate_per_s if rate_per_s else nan
    values = [dict(tenant.metrics()).get(by.of, nan) for tenant in run.of_group(group)]
    total = sum(values)
    return total if by.of.endswith("_per_s") else total / len(values)


def from_path(scenario: Scenario, by: Measurement, profiles: tuple[Path, ...]) -> float:
    """CPU time of a mean request of the first group of tenants that wakes nobody, in SI units."""
    catalog = catalog_of(profiles)
    resolved = Resolved(scenario, catalog)
    steps = (step for step in plan_path(resolved.stack, resolved.workloads[0].demand).steps if step.resource is Resource.CPU)
    if by.of != "path_cpu_s":
        steps = (step for step in steps if step.context.place is Place.CALLER)
    seconds = sum(_charged_s(step, by.layers) for step in steps)
    if by.of == "path_caller_per_s":
        return by.scale / seconds if seconds else nan
    return by.scale * seconds


def _charged_s(step: Step, layers: tuple[str, ...]) -> float:
    if not layers:
        return step.fixed.total + step.random.total
    return sum(part.amount for part in (*step.fixed.parts, *step.random.parts) if part.layer in layers)


def corners(stack: Stack, baseline: Stack | None, taken: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Overrides that move every time which a stack adds to the baseline's to the low, and to the high end of its range.

    The costs of layers that both have are in the calibrated baseline already. Numbers that the scenario sets by hand stay. These are the
    two corners: outer bounds, as if all costs erred in one direction.
    """
    shared = {layer.name for layer in baseline.layers} if baseline is not None else {stack.layers[0].name}
    added = [layer for layer in stack.layers if layer.name not in shared]
    times = [f"{layer.name}.{field}" for layer in added for field, _ in costs_of(layer) if field.endswith(_TIMES)]
    return {end: {path: end for path in times if path not in taken} for end in ("low", "high")} if times else {}
