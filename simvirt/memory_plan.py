"""What the tenants of a scenario ask for of memory, and what does not fit: description only, nothing runs here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

from simvirt.demand import MemoryDemand
from simvirt.footprint_reader import LayerMemory
from simvirt.layers.contract import map_costs
from simvirt.layers.footprint import BACKED, MachineSize, MemoryPart, Scope, default_size_bytes, machine_sizes, memory_parts
from simvirt.layers.stack import Stack
from simvirt.resources.memory.rules import Shortage
from simvirt.units import format_quantity
from simvirt.workloads.footprint import Footprint

__all__ = ["MemoryGround", "MemoryPlan", "MemoryWish", "misfits", "together_too_large"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryWish:
    """What a scenario says of the memory of a group of equal tenants; None where it says nothing."""

    memory: float | None = None
    memory_max: float | None = None
    memory_high: float | None = None
    swap: float | None = None


@dataclass(frozen=True)
class MemoryGround:
    """A stack with what its layers say of memory."""

    stack: Stack
    layers: tuple[LayerMemory, ...]
    """One for each layer of the stack."""
    shared_level: int

    @property
    def providers(self) -> tuple[int, ...]:
        """Levels of the layers that make virtual machines, lowest first."""
        return tuple(level for level, layer in enumerate(self.stack.layers) if layer.provides_processors)

    @property
    def managers(self) -> tuple[int, ...]:
        """Levels of the layers that manage the pools: the machine's, then each virtual machine's."""
        return (1, *(level + 1 for level in self.providers))

    @cached_property
    def rules(self) -> tuple[Shortage, ...] | None:
        """How each pool gets memory back, on the clock of the machine; None if a layer says nothing of it."""
        found = [self.layers[level].shortage for level in self.managers]
        clock_hz = self.stack.host.clock_hz
        known = [map_costs(rules, lambda _, cost: cost.on(clock_hz)) for rules in found if rules is not None]
        return tuple(known) if len(known) == len(found) else None

    @property
    def limits_groups(self) -> bool:
        """Whether a tenant is a process or a control group of a kernel that others stand on too, or a container in a machine."""
        return not self.providers or any(layer.isolates_group for layer in self.stack.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The memory of each tenant of a group."""

    ground: MemoryGround
    workload: str
    footprint: Footprint
    demand: MemoryDemand
    sizes: tuple[MachineSize, ...]
    """Its virtual machines, the outermost first."""
    parts: tuple[MemoryPart, ...]
    """Of one tenant. Those of scope tenant are there `per_vm` times in its machine."""
    per_vm: int
    limit_bytes: float
    most_growth_bytes: float
    """How far it grows beyond what the parts say."""

    @classmethod
    def of(cls, ground: MemoryGround, workload: str, footprint: Footprint, wish: MemoryWish, vcpus: int, per_vm: int) -> MemoryPlan:
        """Plan a group. On virtual machines `memory` is their size; elsewhere it takes the place of the resident set."""
        demand = footprint.demand
        footprints = [layer.footprint for layer in ground.layers]
        sizes: tuple[MachineSize, ...] = ()
        if ground.providers:
            default = default_size_bytes(ground.stack, footprints, ground.shared_level, demand, per_vm)
            machine = MachineSize(size_bytes=default if wish.memory is None else wish.memory, vcpus=vcpus)
            sizes = machine_sizes(ground.stack, footprints, ground.shared_level, demand.scaled(per_vm), machine)
        elif wish.memory is not None:
            demand = MemoryDemand(resident_bytes=wish.memory, image_bytes=demand.image_bytes, cache_bytes=demand.cache_bytes)
        seen = sizes[-1].size_bytes if sizes else ground.stack.hardware.memory_bytes.si
        limit = inf if wish.memory_max is None else wish.memory_max
        return cls(
            ground=ground,
            workload=workload,
            footprint=footprint,
            demand=demand,
            sizes=sizes,
            parts=memory_parts(ground.stack, footprints, ground.shared_level, demand, sizes),
            per_vm=per_vm,
            limit_bytes=limit,
            most_growth_bytes=footprint.most_growth_bytes(seen, limit),
        )

    def own_bytes(self, pool: int) -> float:
        """What the kernel of a pool, its programs and its daemons take, in that pool."""
        scope = Scope.MACHINE if pool else Scope.HOST
        return sum(p.size_bytes for p in self.parts if p.pool == pool and p.scope is scope and p.cause != BACKED)

    def beside_bytes(self, pool: int) -> float:
        """What the monitor of the machine that is pool `pool` + 1 takes beside it."""
        if pool >= len(self.sizes):
            return 0.0
        level = self.ground.providers[pool]
        return sum(size for _, size in self.ground.layers[level].footprint.per_machine(self.sizes[pool]))

    @property
    def tenant_bytes(self) -> float:
        """What one tenant takes for itself in the innermost pool, before it grows."""
        return sum(p.size_bytes for p in self.parts if p.scope is Scope.TENANT)

    @property
    def needed_bytes(self) -> float:
        """What the innermost machine cannot do without at the start: everything but pages of files that can be dropped."""
        pool = len(self.sizes)
        fixed = sum(p.size_bytes for p in self.parts if p.pool == pool and p.scope is Scope.MACHINE and p.cause != BACKED)
        return fixed + self.per_vm * sum(p.size_bytes for p in self.parts if p.scope is Scope.TENANT and not p.file)


def misfits(path: str, wish: MemoryWish, plan: MemoryPlan, *, host_swap_bytes: float, overcommit: bool) -> Iterator[str]:
    """What cannot be of one group, each with value, bound and a way out."""
    hardware = plan.ground.stack.hardware
    host_bytes = hardware.memory_bytes.si
    rules = plan.ground.rules
    if rules is None:
        yield f"{path}: a layer of {' < '.join(plan.ground.stack.names)} says nothing of shortage; add [shortage] tables to its profile"
        return
    if plan.sizes:
        yield from _machine_misfits(path, wish, plan, host_bytes, overcommit=overcommit)
    elif wish.memory is not None and wish.memory + plan.own_bytes(0) > host_bytes + host_swap_bytes:
        most = host_bytes + host_swap_bytes - plan.own_bytes(0)
        yield f"{path}.memory: {_text(wish.memory)} on {hardware.name!r} with {_text(host_bytes)}; at most {_text(most)} beside its kernel"
    limited = [(word, value) for word, value in (("memory_max", wish.memory_max), ("memory_high", wish.memory_high)) if value is not None]
    for word, value in limited:
        if not plan.ground.limits_groups:
            yield f"{path}.{word}: {_text(value)} for a virtual machine, which has no control group; give its size by `memory`"
    needed = sum(p.size_bytes for p in plan.parts if p.scope is Scope.TENANT and not p.file)
    swap = wish.swap or 0.0 if plan.sizes else host_swap_bytes if wish.swap is None else min(wish.swap, host_swap_bytes)
    if wish.memory_max is not None and plan.ground.limits_groups and wish.memory_max + swap < needed:
        yield f"{path}.memory_max: {_text(wish.memory_max)}; at least {_text(needed)}, which it needs at the start, or allow swap"
    if wish.memory_max is not None and wish.memory_high is not None and wish.memory_high > wish.memory_max:
        yield f"{path}.memory_high: {_text(wish.memory_high)} above memory_max; at most {_text(wish.memory_max)}"
    if wish.swap and not plan.sizes and wish.swap > host_swap_bytes:
        there = f"at most {_text(host_swap_bytes)}, the host's, or give it more by `swap` at the top"
        yield f"{path}.swap: {_text(wish.swap)}; {there}"


def _machine_misfits(path: str, wish: MemoryWish, plan: MemoryPlan, host_bytes: float, *, overcommit: bool) -> Iterator[str]:
    size, swap = plan.sizes[-1].size_bytes, wish.swap or 0.0
    if size + swap < plan.needed_bytes:
        least = f"at least {_text(plan.needed_bytes - swap)}, which system and programs in it need at the start, or allow swap"
        yield f"{path}.memory: {_text(size)}; {least}"
    provider = plan.ground.stack.names[plan.ground.providers[0]]
    most = host_bytes - plan.own_bytes(0) - plan.beside_bytes(0)
    backed = plan.ground.layers[plan.ground.providers[0]].footprint.backed_at_start(plan.sizes[0])
    bound = backed if overcommit else plan.sizes[0].size_bytes
    if bound > most:
        built = "as this hypervisor gives a machine all its memory when it is built"
        out = built if backed else "or set overcommit_memory = true"
        yield f"{path}.memory: {_text(plan.sizes[0].size_bytes)} on {provider!r} with {_text(host_bytes)}; at most {_text(most)}, {out}"


def together_too_large(groups: Sequence[tuple[int, MemoryPlan]], *, overcommit: bool) -> Iterator[str]:
    """Virtual machines that fit one by one and not together; groups with their number of machines."""
    machines = [(count, plan) for count, plan in groups if plan.sizes]
    if not machines:
        return
    plan = machines[0][1]
    host_bytes = plan.ground.stack.hardware.memory_bytes.si
    if any(p.sizes[0].size_bytes + p.beside_bytes(0) + p.own_bytes(0) > host_bytes for _, p in machines):
        return  # told one by one
    taken = 0.0
    for count, one in machines:
        backed = one.ground.layers[one.ground.providers[0]].footprint.backed_at_start(one.sizes[0])
        taken += count * ((backed if overcommit else one.sizes[0].size_bytes) + one.beside_bytes(0))
    most = host_bytes - plan.own_bytes(0)
    if taken > most:
        total = sum(count for count, _ in machines)
        provider = plan.ground.stack.names[plan.ground.providers[0]]
        can = not plan.ground.layers[plan.ground.providers[0]].footprint.backed_at_start(plan.sizes[0])
        out = "set overcommit_memory = true, or run fewer or smaller ones" if can and not overcommit else "run fewer or smaller ones"
        yield f"tenants: {total} virtual machines of {_text(taken)} in all on {provider!r}; at most {_text(most)} beside it: {out}"


def _text(size_bytes: float) -> str:
    return format_quantity(size_bytes, "size")
