"""A scenario with the profiles that it names, each read once: what checks it and what runs it stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from simvirt.catalog import Catalog
from simvirt.faults.part import LayerParts
from simvirt.footprint_reader import LayerMemory
from simvirt.layers.background import Background
from simvirt.layers.kernel_tables import NO_TABLES, LayerTables
from simvirt.layers.stack import Stack
from simvirt.memory_plan import MemoryGround, MemoryPlan
from simvirt.resources.cpu.scheduling import Scheduling
from simvirt.scenario.description import Scenario, Tenants
from simvirt.scenario.faults import Ground
from simvirt.workloads.profile import Workload

__all__ = ["Resolved", "host_stack"]


def host_stack(stack: Stack) -> Stack | None:
    """What the host's own users stand on: hardware and an operating system; None if the hardware carries a hypervisor."""
    return Stack(stack.layers[:2]) if stack.layers[1].provides.kind == "os" else None


@dataclass(frozen=True)
class Resolved:
    """A scenario and a catalog; what it names is looked up when it is first asked for. Raises CatalogError or StackError then."""

    scenario: Scenario
    catalog: Catalog

    @cached_property
    def stack(self) -> Stack:
        """The layers of the platform on the machine."""
        scenario = self.scenario
        return self.catalog.stack(scenario.platform, scenario.machine, scenario.layer_overrides(self.catalog))

    @cached_property
    def shared_level(self) -> int:
        """Level of the layer that all tenants share."""
        platform = self.catalog.platform(self.scenario.platform)
        return 1 + platform.layers.index(platform.shared)

    @cached_property
    def workloads(self) -> tuple[Workload, ...]:
        """One for each group of tenants, its memory in pages of the group's size."""
        groups, override = self.scenario.tenants, self.scenario.override
        return tuple(self.catalog.workload(group.workload, override).in_pages(group.page_size) for group in groups)

    @cached_property
    def groups(self) -> tuple[tuple[Tenants, Workload], ...]:
        return tuple(zip(self.scenario.tenants, self.workloads, strict=True))

    @cached_property
    def schedulers(self) -> Mapping[str, Scheduling]:
        """The scheduler of each layer that has one, the machine's first."""
        names = self.scenario.schedulers_on(self.stack)
        return {kernel: self.catalog.scheduling(name, self.scenario.override) for kernel, name in names.items()}

    @property
    def is_fluid(self) -> bool:
        """Whether the machine's cores are shared as a fluid."""
        return next(iter(self.schedulers.values())).rules is None

    def ground(self, group: Tenants) -> Stack | None:
        """What the tenants of a group stand on; None if there is no such place."""
        return self.stack if group.on == "platform" else host_stack(self.stack)

    @cached_property
    def grounds(self) -> tuple[tuple[Ground, tuple[LayerParts, ...]], ...]:
        """What each tenant stands on, and the programs in it that can break."""
        found = []
        for group in self.scenario.tenants:
            stack = self.ground(group)
            if stack is not None:
                parts = self.catalog.parts(stack)
                names = (group.names(index) for index in range(group.count))
                found += [(Ground(tenant, vm, stack, self.shared_level, group.workload, group.vcpus), parts) for tenant, vm in names]
        return tuple(found)

    @cached_property
    def layer_tables(self) -> tuple[LayerMemory, ...]:
        """What the profile of each layer says beside its costs, the machine's first."""
        platform = self.catalog.platform(self.scenario.platform)
        return (LayerMemory(), *(self.catalog.layer_memory(name, self.scenario.override) for name in platform.layers))

    @cached_property
    def guest(self) -> tuple[int, Background] | None:
        """Level of the innermost system of a virtual machine, and what it does by itself, if both are known and wanted."""
        level = self.stack.kernel_level(len(self.stack.layers) - 1)
        background = self.layer_tables[level].background
        inside = any(layer.provides_processors for layer in self.stack.layers[:level])
        return (level, background) if self.scenario.background and inside and background is not None else None

    @cached_property
    def tables(self) -> tuple[LayerTables, ...]:
        """What each layer of the stack says of finite tables, the machine's first."""
        platform = self.catalog.platform(self.scenario.platform)
        return (NO_TABLES, *(self.catalog.layer_tables(name, self.scenario.override) for name in platform.layers))

    @cached_property
    def memory_plans(self) -> tuple[MemoryPlan, ...] | None:
        """The memory of each group of tenants; None if a profile says nothing of memory, which then has no bounds."""
        layers = self.layer_tables
        whole, host = MemoryGround(self.stack, layers, self.shared_level), host_stack(self.stack)
        plans = []
        for group, workload in self.groups:
            ground = whole if group.on == "platform" or host is None else MemoryGround(host, layers[:2], 1)
            if workload.footprint is None or ground.rules is None:
                return None
            plans.append(MemoryPlan.of(ground, group.workload, workload.footprint, group.memory_wish, group.vcpus, group.per_vm))
        return tuple(plans)
