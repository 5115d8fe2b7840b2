"""What a stack takes of memory: parts by layer and cause, each in the memory of one kernel, which add up exactly.

A *pool* is the memory that one kernel or hypervisor manages: pool 0 is the machine's, and each layer that makes virtual machines opens
the next one. A part stands in the pool of the kernel that hands it out, once: a page of a guest's program is a part of the guest's pool,
and what the guest takes of the machine is the sum of its pool. Nothing here knows of time or of shortage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil
from typing import Final, final

from simvirt.demand import MemoryDemand
from simvirt.evidence import Cost
from simvirt.layers.stack import APPLICATION, Stack

__all__ = [
    "BACKED",
    "NO_FOOTPRINT",
    "AbstractFootprint",
    "HypervisorFootprint",
    "KernelFootprint",
    "MachineSize",
    "MemoryPart",
    "NoFootprint",
    "RuntimeFootprint",
    "Scope",
    "default_size_bytes",
    "machine_sizes",
    "memory_parts",
    "pool_bytes",
]

SIZE_STEP_BYTES: Final = 128 * 2.0**20
"""Virtual machines without a size of their own come in steps of this."""
BACKED: Final = "backed at start"
"""Cause of frames that a virtual machine has although nobody has touched them."""
SPARE: Final = 0.2
"""Share of a virtual machine without a size of its own that stays free."""


class Scope(StrEnum):
    """How often a part is there."""

    HOST = "host"
    """Once, however many tenants there are."""
    MACHINE = "machine"
    """Once per virtual machine."""
    IMAGE = "image"
    """Once per kernel for all tenants that run the same program: pages of the same file."""
    TENANT = "tenant"
    """Once per tenant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPart:
    """Bytes that a layer takes for a cause, in the memory of one kernel."""

    layer: str
    cause: str
    size_bytes: float
    pool: int
    scope: Scope
    file: bool = False
    """Whether they are pages of a file, which can be dropped and read again."""
    alike: bool = False
    """Whether another machine with the same layers has the same bytes: kernel, programs, files of the same image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSize:
    """What is configured of a virtual machine."""

    size_bytes: float
    vcpus: int = 1


class AbstractFootprint(ABC):
    """The memory that a kind of layer takes."""

    __slots__ = ()

    @abstractmethod
    def own(self, pool_bytes: float) -> Iterator[tuple[str, float]]:
        """Cause and bytes of one running copy, in a pool of this size."""

    def per_kernel(self) -> Iterator[tuple[str, float]]:
        """Cause and bytes that it takes once of the kernel on which it stands, however many copies there are."""
        yield from ()

    def per_machine(self, machine: MachineSize) -> Iterator[tuple[str, float]]:
        """Cause and bytes beside a virtual machine that it makes, in the pool below that machine."""
        yield from ()

    def backed_at_start(self, machine: MachineSize) -> float:
        """Bytes of a virtual machine that have frames before anybody touches them."""
        return 0.0

    @property
    def has_files_of_its_own(self) -> bool:
        """Whether files that are read through it are cached per tenant, not per kernel."""
        return False


@final
@dataclass(frozen=True, slots=True)
class NoFootprint(AbstractFootprint):
    """Takes no memory that is known: a layer whose profile says nothing of it."""

    def own(self, pool_bytes: float) -> Iterator[tuple[str, float]]:
        yield from ()


NO_FOOTPRINT: Final = NoFootprint()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFootprint(AbstractFootprint):
    """A kernel and the programs that are always there.

    own = kernel_bytes + page_share * memory + bounce_bytes [memory of at least bounce_from_bytes] + programs_bytes.
    """

    kernel_bytes: Cost
    """Text, data and tables, whatever the size of the memory."""
    page_share: Cost
    """Page structures, as a share of the memory that they describe."""
    bounce_bytes: Cost
    """Buffers for devices that cannot reach all of a large memory."""
    bounce_from_bytes: Cost
    """Size of the memory from which on there are such buffers."""
    programs_bytes: Cost
    """Programs of the system, and what they have read of their files."""

    def own(self, pool_bytes: float) -> Iterator[tuple[str, float]]:
        bounced = pool_bytes >= self.bounce_from_bytes.si
        yield "kernel", self.kernel_bytes.si + (self.bounce_bytes.si if bounced else 0.0)
        yield "page structures", pool_bytes * self.page_share
        yield "system programs", self.programs_bytes.si


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HypervisorFootprint(AbstractFootprint):
    """A hypervisor and what it keeps beside each virtual machine.

    own = base_bytes + base_share * memory + min(service_bytes + service_share * memory, service_most_bytes).
    Beside a machine: vm_bytes + vcpu_bytes * virtual processors + vm_share * its size.
    """

    base_bytes: Cost
    base_share: Cost
    service_bytes: Cost
    """Of the privileged virtual machine that serves the others; 0 if there is none."""
    service_share: Cost
    service_most_bytes: Cost
    vm_bytes: Cost
    """Per virtual machine, whatever its size: the monitor's process or its like."""
    vcpu_bytes: Cost
    """Per virtual processor."""
    vm_share: Cost
    """Per byte of the machine's configured size: page tables and their like."""
    backed_share: Cost
    """Share of the configured size that has frames from the start: 1 where a machine is populated when it is built."""

    def own(self, pool_bytes: float) -> Iterator[tuple[str, float]]:
        yield "hypervisor", self.base_bytes.si + pool_bytes * self.base_share
        yield "service machine", min(self.service_bytes.si + pool_bytes * self.service_share, self.service_most_bytes.si)

    def per_machine(self, machine: MachineSize) -> Iterator[tuple[str, float]]:
        yield "monitor", self.vm_bytes.si
        yield "virtual processors", machine.vcpus * self.vcpu_bytes
        yield "tables of the machine", machine.size_bytes * self.vm_share

    def backed_at_start(self, machine: MachineSize) -> float:
        return machine.size_bytes * self.backed_share


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFootprint(AbstractFootprint):
    """A container runtime or a sandbox: daemon_bytes once per kernel, instance_bytes per container.

    Files are cached by the kernel below, once for all containers that run the same image, unless the runtime keeps them itself.
    """

    daemon_bytes: Cost
    instance_bytes: Cost
    private_files: Cost
    """1 if each copy caches the files that it reads by itself, 0 if the kernel below does it for all."""

    def own(self, pool_bytes: float) -> Iterator[tuple[str, float]]:
        yield "container", self.instance_bytes.si

    def per_kernel(self) -> Iterator[tuple[str, float]]:
        yield "daemon", self.daemon_bytes.si

    @property
    def has_files_of_its_own(self) -> bool:
        return self.private_files.si > 0


def machine_sizes(
    stack: Stack, footprints: Sequence[AbstractFootprint], shared_level: int, demand: MemoryDemand, machine: MachineSize
) -> tuple[MachineSize, ...]:
    """What is configured of each virtual machine of a nest, the outermost first; the innermost one is given.

    An outer machine is as large as its system and what stands on it need, rounded as a machine without a size of its own.
    """
    sizes = [machine]
    for pool in range(_pools(stack) - 1, 0, -1):
        size_bytes = _fitting(stack, footprints, shared_level, demand, pool, {pool + 1: sizes[0]})
        sizes.insert(0, replace(machine, size_bytes=size_bytes))
    return tuple(sizes)


def default_size_bytes(
    stack: Stack, footprints: Sequence[AbstractFootprint], shared_level: int, demand: MemoryDemand, tenants: int = 1
) -> float:
    """The size of a virtual machine for which none is given: steps of 128 MiB, so that a fifth stays free with its tenants in it."""
    return _fitting(stack, footprints, shared_level, demand.scaled(tenants), _pools(stack), {})


def memory_parts(
    stack: Stack,
    footprints: Sequence[AbstractFootprint],
    shared_level: int,
    demand: MemoryDemand,
    sizes: Sequence[MachineSize] = (),
) -> tuple[MemoryPart, ...]:
    """The parts of one tenant on a stack, the machine's first.

    `sizes` are its virtual machines, the outermost first. Layers up to `shared_level` are there once for all tenants. Sum the parts of a
    pool for what its kernel hands out; all parts together are what the tenant takes of the physical machine.
    """
    pools = {0: stack.hardware.memory_bytes.si, **{i + 1: size.size_bytes for i, size in enumerate(sizes)}}
    found = list(_layers(stack, footprints, shared_level, pools, dict(enumerate(sizes, 1))))
    found += _application(stack, footprints, demand)
    found += _backing(stack, footprints, found, sizes)
    return tuple(part for part in found if part.size_bytes)


def pool_bytes(parts: Iterable[MemoryPart], pool: int) -> float:
    """What the kernel of a pool hands out, the virtual machines above it included."""
    return sum(part.size_bytes for part in parts if part.pool >= pool)


def _pools(stack: Stack) -> int:
    return sum(layer.provides_processors for layer in stack.layers)


def _fitting(
    stack: Stack,
    footprints: Sequence[AbstractFootprint],
    shared_level: int,
    demand: MemoryDemand,
    pool: int,
    above: dict[int, MachineSize],
) -> float:
    """The smallest step of sizes of a pool that leaves a share free."""
    size_bytes = SIZE_STEP_BYTES
    while True:
        parts = list(_layers(stack, footprints, shared_level, {pool: size_bytes}, above))
        used = sum(part.size_bytes for part in parts) + sum(machine.size_bytes for machine in above.values())
        if not above:
            used += sum(part.size_bytes for part in _application(stack, footprints, demand))
        if used <= (1 - SPARE) * size_bytes:
            return size_bytes
        size_bytes = SIZE_STEP_BYTES * max(size_bytes / SIZE_STEP_BYTES + 1, ceil(used / (1 - SPARE) / SIZE_STEP_BYTES))


def _layers(
    stack: Stack,
    footprints: Sequence[AbstractFootprint],
    shared_level: int,
    pools: dict[int, float],
    machines: dict[int, MachineSize],
) -> Iterator[MemoryPart]:
    """Parts of the layers that stand in the given pools, and what they keep beside the given machines."""
    top_kernel = stack.kernel_level(len(stack.layers) - 1)
    pool = 0
    for level in range(1, len(stack.layers)):
        layer, name, footprint = stack.layers[level], stack.names[level], footprints[level]
        scope = Scope.HOST if level <= shared_level else Scope.MACHINE if level <= top_kernel else Scope.TENANT
        below = Scope.HOST if stack.kernel_level(level - 1) <= shared_level else Scope.MACHINE
        alike = pool > 0 and scope is Scope.MACHINE
        if pool in pools:
            for cause, size in footprint.own(pools[pool]):
                yield MemoryPart(layer=name, cause=cause, size_bytes=size, pool=pool, scope=scope, alike=alike)
            for cause, size in footprint.per_kernel():
                yield MemoryPart(layer=name, cause=cause, size_bytes=size, pool=pool, scope=below, alike=alike)
        if layer.provides_processors:
            if pool + 1 in machines:
                for cause, size in footprint.per_machine(machines[pool + 1]):
                    yield MemoryPart(layer=name, cause=cause, size_bytes=size, pool=pool, scope=Scope.MACHINE)
            pool += 1


def _application(stack: Stack, footprints: Sequence[AbstractFootprint], demand: MemoryDemand) -> Iterator[MemoryPart]:
    pool = _pools(stack)
    private = any(footprint.has_files_of_its_own for footprint in footprints)
    shared = Scope.TENANT if private else Scope.IMAGE
    inside = pool > 0

    def part(cause: str, size: float, scope: Scope, *, file: bool, alike: bool) -> MemoryPart:
        return MemoryPart(layer=APPLICATION, cause=cause, size_bytes=size, pool=pool, scope=scope, file=file, alike=alike)

    yield part("resident", demand.resident_bytes, Scope.TENANT, file=False, alike=False)
    yield part("program files", demand.image_bytes, shared, file=not private, alike=inside)
    yield part("page cache", demand.cache_bytes, Scope.TENANT, file=not private, alike=False)


def _backing(
    stack: Stack, footprints: Sequence[AbstractFootprint], parts: Sequence[MemoryPart], sizes: Sequence[MachineSize]
) -> Iterator[MemoryPart]:
    """Frames of virtual machines that are there although nobody has touched them, the innermost machine first."""
    providers = [level for level, layer in enumerate(stack.layers) if layer.provides_processors]
    inner_bytes = 0.0
    for pool in range(len(sizes), 0, -1):
        level, machine = providers[pool - 1], sizes[pool - 1]
        used = pool_bytes(parts, pool) + inner_bytes
        unused = max(0.0, footprints[level].backed_at_start(machine) - used)
        inner_bytes += unused
        yield MemoryPart(layer=stack.names[level], cause=BACKED, size_bytes=unused, pool=pool, scope=Scope.MACHINE)
