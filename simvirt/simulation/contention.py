"""Lets the tenants of a scenario share caches and memory, where their workloads say how they use them."""

from __future__ import annotations

from collections.abc import Sequence

from simvirt.layers.hardware import Hardware
from simvirt.memory_contention import partitioned_bytes, topology_of
from simvirt.resources.cpu.contract import AbstractGroup, AbstractScheduler
from simvirt.resources.cpu.discrete.scheduler import DiscreteGroup, DiscreteScheduler
from simvirt.resources.memory_system.system import MemorySystem, Owner
from simvirt.scenario import Tenants
from simvirt.workloads.profile import Workload

__all__ = ["SharedMemory", "share_memory"]


class SharedMemory:
    """Makes an owner for each tenant. Interrupts and the threads of backends have no character: they take nothing from a cache."""

    def __init__(self, system: MemorySystem) -> None:
        self._system = system

    def owned(self, workers: AbstractGroup, group: Tenants, workload: Workload) -> None:
        """The threads that will be made in a tenant's group of workers are one program."""
        if workload.memory is not None:
            assert isinstance(workers, DiscreteGroup | DiscreteScheduler)
            workers.owner = self._owner(group, workload)

    def _owner(self, group: Tenants, workload: Workload) -> Owner:
        return self._system.owner(workload.memory, partition_bytes=group.llc_bytes, home=group.home_node)


def share_memory(
    scheduler: AbstractScheduler, machine: Hardware, groups: Sequence[Tenants], workloads: Sequence[Workload]
) -> SharedMemory | None:
    """What tenants share beside processors; None if nobody says how it uses that and no core has two threads, or sharing is fluid."""
    some = machine.socket.threads_per_core.si > 1.0 or any(workload.memory is not None for workload in workloads)
    if not some or not isinstance(scheduler, DiscreteScheduler):
        return None
    return SharedMemory(scheduler.share_memory(topology_of(machine), partitioned_bytes(groups)))
