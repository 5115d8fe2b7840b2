"""Which costs of a scenario are worth simulating at the ends of their range: a cheap look at the path of a request and at the capacity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simvirt.catalog import Catalog
from simvirt.evidence import Cost
from simvirt.experiment.capacity import capacity_per_s
from simvirt.layers.contract import Resource, costs_of
from simvirt.layers.path import Path, Step, plan_path
from simvirt.layers.stack import Stack
from simvirt.scenario import Resolved, Scenario

__all__ = ["Candidate", "at_end", "candidates", "unloaded_s"]

End = Literal["low", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A cost with a range, and what the ends of the range do to a mean request on an idle machine and to what the machine carries."""

    path: str
    """`layer.field`."""
    cost: Cost
    """As the profile has it, before the machine's clock is applied."""
    time_share: float
    """Difference between the ends, in parts of the request's time on an idle machine."""
    capacity_share: float
    """Difference between the ends, in parts of the seconds that the busiest resource spends on a request."""

    @property
    def weight(self) -> float:
        """The larger of both: what a queue makes of it depends on the load, which only a run tells."""
        return max(self.time_share, self.capacity_share)


def candidates(scenario: Scenario, catalog: Catalog) -> list[Candidate]:
    """Every cost of the stack whose range is not a point and that is felt at all, by its weight, the largest first.

    Costs of schedulers and of memory are not on a request's path and are left out. Those set by hand in the scenario stay as they are set.
    """
    base = _felt(scenario, catalog)
    found = []
    for path, cost in _costs(scenario, catalog).items():
        if path not in scenario.override and cost.low < cost.high:
            low, high = (_felt(at_end(scenario, path, end), catalog) for end in ("low", "high"))
            time, capacity = (_largest_share(*parts) for parts in zip(low, high, base, strict=True))
            found.append(Candidate(path=path, cost=cost, time_share=time, capacity_share=capacity))
    return sorted((one for one in found if one.weight > 0.0), key=lambda one: (-one.weight, one.path))


def _largest_share(low: list[float], high: list[float], base: list[float]) -> float:
    """Of the groups of tenants, the one that feels the ends most."""
    return max((abs(h - x) / b for x, h, b in zip(low, high, base, strict=True)), default=0.0)


def at_end(scenario: Scenario, path: str, end: End) -> Scenario:
    """The scenario with one cost at an end of its range."""
    return scenario.model_copy(update={"override": {**scenario.override, path: end}})


def _costs(scenario: Scenario, catalog: Catalog) -> dict[str, Cost]:
    platform = catalog.platform(scenario.platform)
    layers = (catalog.hardware(scenario.machine or platform.machine), *map(catalog.layer, platform.layers))
    return {f"{layer.name}.{field}": cost for layer in layers for field, cost in costs_of(layer)}


def _felt(scenario: Scenario, catalog: Catalog) -> tuple[list[float], list[float]]:
    """Of each group of tenants: seconds of a mean request on an idle machine, and of the busiest resource."""
    resolved = Resolved(scenario, catalog)
    grounds = [(resolved.ground(group), workload) for group, workload in resolved.groups]
    times = [unloaded_s(stack, plan_path(stack, workload.demand)) for stack, workload in grounds if stack is not None]
    capacities = [capacity_per_s(stack, workload) for stack, workload in grounds if stack is not None]
    return times, [1.0 / capacity for capacity in capacities]


def unloaded_s(stack: Stack, path: Path) -> float:
    """Seconds of a request that waits for nobody and has to wake everybody, all its steps one after the other.

    A core is woken from each idle state equally often: how long nothing was to be done, and with it the residencies, is for a run to tell.
    """
    idle = stack.hardware.idle
    core_s = (idle.shallow_exit_s.si + idle.medium_exit_s.si + idle.deep_exit_s.si) / 3.0
    return sum(_step_s(stack, step, core_s if step.may_wake_core else 0.0) for step in path.steps)


def _step_s(stack: Stack, step: Step, core_s: float) -> float:
    if step.resource is Resource.CPU:
        halted = sum(amounts.total for _, amounts in step.idle)
        return step.fixed.total + step.random.total + step.asleep.total + step.notify.total + halted + core_s
    if step.resource in (Resource.NIC_RX, Resource.NIC_TX):
        return step.size_bytes / stack.hardware.nic.bandwidth_bytes_per_s.si
    return step.fixed.total if step.resource in (Resource.DISK, Resource.DISK_BUS, Resource.DELAY) else 0.0
