"""The tree of running layers: which instance stands on which, and whose threads are scheduled where.

One tree answers several questions. Scheduling: each instance has the group in which its threads compete. Failure: what falls with an
instance is its subtree. Sharing: what two tenants have in common is where their branches meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, TypedDict

from simvirt.engine import Engine
from simvirt.layers.contract import AbstractLayer, Context, Place
from simvirt.layers.hardware import Hardware
from simvirt.layers.hypervisor import Hypervisor, WeightScope
from simvirt.layers.operating_system import OperatingSystem
from simvirt.layers.stack import Processors, Stack
from simvirt.resources.connections import ConnectionTable
from simvirt.resources.cpu.contract import AbstractGroup, AbstractScheduler, Share
from simvirt.resources.lock import SpinLock
from simvirt.resources.threads import ThreadPool
from simvirt.tenant_place import owner_of

__all__ = ["Branch", "Instance", "InstanceTree", "TenantShare"]

INTERRUPTS: Final = "interrupts"
"""Name of a kernel's pool of interrupt handlers."""
INTERRUPT_WEIGHT: Final = 1000.0
"""Interrupts come before threads: a weight against which theirs does not count, where sharing goes by weights alone."""


ORDINARY: Final = Share()
"""Of whoever is given nothing in particular."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantShare:
    """What a tenant is given of the CPU."""

    vcpus: int = 1
    """Of its virtual machine, if it is in one."""
    own: Share = ORDINARY
    """Weight, limits and place of what stands for it alone: a virtual machine, a control group, or processes."""


class Instance:
    """A running copy of a layer."""

    __slots__ = ("children", "connections", "core", "group", "layer", "lock", "name", "parent", "pools")

    def __init__(self, layer: AbstractLayer, name: str, parent: Instance | None, group: AbstractGroup) -> None:
        self.layer = layer
        self.name = name
        self.parent = parent
        self.group = group
        """Where its threads compete, and those of what stands on it."""
        self.children: list[Instance] = []
        self.lock: SpinLock | None = None
        """Of its kernel, once somebody needs it."""
        self.pools: dict[str, ThreadPool] = {}
        """Its interrupts, and the threads that work for it, by name."""
        self.connections: ConnectionTable | None = None
        """Its table of tracked connections, if any are tracked."""
        self.core: AbstractGroup | None = None
        """The processor that its only receive queue interrupts, if an application is known to run there too."""
        if parent is not None:
            parent.children.append(self)

    def die(self) -> None:
        """Lose all threads, and what a kernel has in its memory; what is started in its place begins without."""
        for name, pool in self.pools.items():
            size = pool.size
            pool.close()
            self.pools[name] = pool.renewed(size)
        self.lock = self.connections = None

    def subtree(self) -> Iterator[Instance]:
        """It and all that stands on it, lower ones first."""
        yield self
        for child in self.children:
            yield from child.subtree()


@dataclass(frozen=True, slots=True)
class Branch:
    """A tenant's instances, one per layer of its stack, the machine first."""

    stack: Stack
    instances: tuple[Instance, ...]
    given: bool
    """Whether the tenant's share of the CPU belongs to a machine or control group of its own; else to its processes."""

    @property
    def kernel(self) -> Instance:
        """The one that schedules its applications."""
        return self.instances[self.stack.kernel_level(len(self.stack.layers) - 1)]

    def virtual_processors(self, level: int, service_vm: str) -> AbstractGroup:
        """The group of the virtual processors that the layer at `level` makes for this tenant, or for a service VM."""
        return self.instances[level].pools[service_vm].group if service_vm else self.instances[level + 1].group

    def found_halted(self, processors: Processors, context: Context) -> AbstractGroup:
        """The group of those virtual processors that work in a context may find halted."""
        core = self.instances[self.stack.scheduled_by(context)].core
        lowest_kernel = self.stack.kernel_level(len(self.stack.layers) - 1)
        near = context.place in (Place.CALLER, Place.INTERRUPT) and self.stack.scheduled_by(context) == lowest_kernel
        if core is not None and near and processors == self.stack.processors(context)[-1]:
            return core
        return self.virtual_processors(processors.level, processors.service_vm)


class InstanceTree:
    """Builds instances when they are first needed: shared layers once, the others per virtual machine or per tenant."""

    def __init__(self, engine: Engine, scheduler: AbstractScheduler, stack: Stack, shared_level: int, *, places: bool = False) -> None:
        """`places`: whether the scheduler itself decides on which processor a thread runs (fluid sharing does not)."""
        self._engine = engine
        self._places = places
        self._stack = stack
        self._shared_level = shared_level
        self._known: dict[tuple[int, str], Instance] = {}
        self.root = Instance(stack.layers[0], stack.names[0], None, scheduler)

    def branch(self, stack: Stack, tenant: str, vm: str, share: TenantShare) -> Branch:
        """The instances of one tenant on a stack (this tree's, or its lower part); `vm` names the virtual machine that it lives in."""
        instances = [self.root]
        given = False
        for level in range(1, len(stack.layers)):
            owner = owner_of(stack, level, self._shared_level, tenant=tenant, vm=vm)
            exclusive = owner == tenant and not given
            instance = self._instance(stack, level, owner, instances[-1], share if exclusive else TenantShare(vcpus=share.vcpus))
            given = given or (exclusive and instance.group is not instances[-1].group)
            instances.append(instance)
        return Branch(stack, tuple(instances), given)

    def workers(self, branch: Branch, tenant: str, threads: float, share: TenantShare) -> ThreadPool:
        """The threads of a tenant's application, in the group of the tenant alone: its container's, or one of its processes."""
        top = branch.instances[-1]
        if top.layer.isolates_group:
            return ThreadPool(self._engine, top.group, tenant, threads)
        own = ORDINARY if branch.given else share.own
        where = self._core(branch) if threads == 1 and branch.given and not self._places else top.group
        return ThreadPool(self._engine, where.group(tenant, own), tenant, threads)

    def _core(self, branch: Branch) -> AbstractGroup:
        """Where the only thread of a virtual machine's application runs.

        With one receive queue, all interrupts of the machine's card come to one processor. A kernel runs the thread that an interrupt wakes
        there, as that processor is awake and otherwise idle; so the thread stays there, and later interrupts take their time from it.
        """
        kernel = branch.kernel
        if _queues(kernel) > 1 or kernel.group.share.processors <= 1:
            return kernel.group
        kernel.core = kernel.group.group("processor of interrupts", Share(processors=1))
        self._make_interrupts(kernel, kernel.core)
        return kernel.core

    def connections(self, branch: Branch, context: Context) -> ConnectionTable:
        """The table of tracked connections of the kernel in whose interrupts a context is."""
        kernel = branch.instances[context.level]
        if kernel.connections is None:
            layer = kernel.layer
            assert isinstance(layer, OperatingSystem)
            net = layer.network
            kernel.connections = ConnectionTable(self._engine, net.tracked_connections.si, net.tracking_timeout_s.si)
        return kernel.connections

    def executor(self, branch: Branch, context: Context) -> ThreadPool:
        """The threads that do the work of a context (other than the caller's) for this tenant."""
        owner = branch.instances[context.level]
        if context.place is Place.INTERRUPT:
            return self._interrupts(owner)
        if context.place is Place.SERVICE_VM:
            return self._service_vm(owner, context.name)
        above = branch.instances[min(context.level + 1, len(branch.instances) - 1)]
        kernel = owner.group
        return above.pools.get(context.name) or self._thread(above, context.name, kernel)

    def lock(self, branch: Branch, context: Context) -> SpinLock:
        """The lock of the kernel in whose critical section the work of a context is done: one for all tenants that stand on it."""
        kernel = branch.instances[branch.stack.scheduled_by(context)]
        if kernel.lock is None:
            kernel.lock = SpinLock(fair=True)
        return kernel.lock

    def _instance(self, stack: Stack, level: int, owner: str, below: Instance, share: TenantShare) -> Instance:
        key = (level, owner)
        if key not in self._known:
            name = stack.names[level] if not owner else f"{stack.names[level]} of {owner}"
            group = self._group(stack, level, name, below, share)
            self._known[key] = Instance(stack.layers[level], name, below, group)
        return self._known[key]

    def _group(self, stack: Stack, level: int, name: str, below: Instance, share: TenantShare) -> AbstractGroup:
        """The scheduling group of a new instance: a virtual machine, a control group, or the one that it stands in."""
        provider, layer = stack.layers[level - 1], stack.layers[level]
        if provider.provides_processors:
            per_vcpu = not (isinstance(provider, Hypervisor) and provider.weight_scope is WeightScope.VM)
            inside = next((i for i in range(level, len(stack.layers)) if stack.layers[i].schedules_threads), None)
            given = replace(
                share.own, per_thread=per_vcpu, processors=share.vcpus, halt_poll_s=provider.halt_poll_s,
                pause_loop_s=provider.pause_loop_s, boosts_holder=provider.boosts_holder,
            )  # fmt: skip
            if inside is not None:
                given = replace(given, kernel=stack.names[inside], **_timekeeping(provider, stack.layers[inside]))
            return below.group.group(name, given)
        if layer.isolates_group:
            weight = layer.group_weight * share.own.weight
            return below.group.group(name, replace(share.own, weight=weight, per_thread=False, pins=()))
        return below.group

    def _interrupts(self, kernel: Instance) -> ThreadPool:
        if INTERRUPTS not in kernel.pools:
            self._make_interrupts(kernel, kernel.group)
        return kernel.pools[INTERRUPTS]

    def _make_interrupts(self, kernel: Instance, where: AbstractGroup) -> None:
        group = where.group(f"interrupts of {kernel.name}", Share(weight=INTERRUPT_WEIGHT, interrupt=True))
        kernel.pools[INTERRUPTS] = ThreadPool(self._engine, group, INTERRUPTS, _queues(kernel))

    def _service_vm(self, owner: Instance, name: str) -> ThreadPool:
        if name not in owner.pools:
            layer = owner.layer
            assert isinstance(layer, Hypervisor)
            vcpus = layer.service_vcpus.si
            per_vcpu = layer.weight_scope is WeightScope.VCPU
            group = owner.group.group(name, Share(per_thread=per_vcpu, processors=vcpus, halt_poll_s=layer.halt_poll_s))
            owner.pools[name] = ThreadPool(self._engine, group, name, vcpus)
        return owner.pools[name]

    def _thread(self, owner: Instance, name: str, kernel: AbstractGroup) -> ThreadPool:
        group = kernel.group(f"{name} of {owner.name}", Share())
        owner.pools[name] = ThreadPool(self._engine, group, name, 1)
        return owner.pools[name]


class _Timekeeping(TypedDict):
    counts_ticks: bool
    redelivers_ticks: bool
    late_tick_s: float
    charges_steal: bool


def _timekeeping(below: AbstractLayer, kernel: AbstractLayer) -> _Timekeeping:
    """How a kernel on virtual processors deals with time in which they are taken away, given who makes them."""
    return {
        "counts_ticks": kernel.counts_ticks,
        "redelivers_ticks": below.redelivers_ticks,
        "late_tick_s": kernel.tick_s + below.tick_s,
        "charges_steal": not (below.tells_steal and kernel.subtracts_steal),
    }


def _queues(kernel: Instance) -> float:
    """Interrupts of its network card that a kernel can handle at the same time: one if the card holds packets back."""
    layer, below = kernel.layer, kernel.parent
    if below is not None and isinstance(below.layer, Hardware) and below.layer.nic.interrupt_gap_s.si:
        return 1.0
    assert isinstance(layer, Hypervisor | OperatingSystem)
    return max(1.0, min(layer.network.receive_queues.si, kernel.group.share.processors))
