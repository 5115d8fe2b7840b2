"""A scenario's stressors as the tenants that they are: everything after this knows tenants only."""

from __future__ import annotations

from typing import Final

from simvirt.catalog import Catalog
from simvirt.errors import nearest
from simvirt.scenario.description import Scenario, Stressors, Tenants

__all__ = ["as_tenants", "stressor_misfits"]


def as_tenants(scenario: Scenario, catalog: Catalog) -> Scenario:
    """The same scenario with each group of stressors written out as tenants, after the others; those of intensity 0 are left out.

    A stressor that lives inside a tenant has that tenant's virtual machine or container, and so its shape and its limits. Raises
    CatalogError for a stressor that there is not, and ScenarioError for what it lives in.
    """
    if not scenario.stressors:
        return scenario
    hosts = {group.name: group for group in scenario.tenants}
    groups = [_written_out(group, catalog, scenario, hosts) for group in scenario.stressors if group.intensity > 0.0]
    return scenario.model_copy(update={"tenants": (*scenario.tenants, *groups), "stressors": ()})


def _written_out(group: Stressors, catalog: Catalog, scenario: Scenario, hosts: dict[str, Tenants]) -> Tenants:
    described = catalog.workload(group.stressor, scenario.override).stressor
    assert described is not None, group.stressor
    shape = {name: getattr(group, name) for name in type(group).model_fields if name in Tenants.model_fields}
    if group.inside is not None:
        host = hosts[group.inside]
        shape |= {name: getattr(host, name) for name in _SHAPE}
    return Tenants(**{**shape, "workload": group.stressor, "load": described.load(group.intensity)})


_SHAPE: Final = (
    "count", "vcpus", "per_vm", "weight", "on", "memory", "memory_max", "memory_high", "swap", "pin_vcpus", "cpuset", "cap_cores",
    "cpu_max",
)  # fmt: skip
"""What belongs to the virtual machine or the container, and so to everybody inside."""


def stressor_misfits(scenario: Scenario, catalog: Catalog) -> list[str]:
    """What keeps stressors from being written out as tenants."""
    problems = []
    hosts = [group.name for group in scenario.tenants]
    for i, group in enumerate(scenario.stressors):
        if catalog.workload(group.stressor, scenario.override).stressor is None:
            known = [name for name in catalog.names("workloads") if catalog.workload(name).stressor is not None]
            advice = f"{nearest(group.stressor, known)}, or run it by [[tenants]]"
            problems.append(f"stressors.{i}.stressor: {group.stressor!r} is an ordinary workload; {advice}")
        if group.inside is not None and group.inside not in hosts:
            problems.append(f"stressors.{i}.inside: {group.inside!r} is no group of tenants; {nearest(group.inside, hosts)}")
    return problems
