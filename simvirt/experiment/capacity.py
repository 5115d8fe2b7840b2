"""How many requests per second a stack can carry: the offered loads of a comparison are fractions of it."""

from __future__ import annotations

from dataclasses import dataclass

from simvirt.layers.contract import Resource
from simvirt.layers.path import Path, plan_path
from simvirt.layers.stack import Stack
from simvirt.workloads.profile import Workload

__all__ = ["ServiceDemand", "capacity_per_s", "service_demands"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDemand:
    """What a mean request needs of one resource of the machine."""

    resource: str
    """In words."""
    servers: float
    demand_s: float
    """Seconds of one server."""


def service_demands(stack: Stack, workload: Workload) -> tuple[ServiceDemand, ...]:
    """What a mean request needs of each resource that all tenants share: cores and the CPU time of every layer, disk channels, the disk's
    bus, each direction of the wire. Wake-ups come on top."""
    path = plan_path(stack, workload.demand)
    machine = stack.hardware
    return (
        ServiceDemand(resource="CPU", servers=machine.cores.si, demand_s=path.cpu_s()),
        ServiceDemand(resource="disk", servers=machine.disk.channels.si, demand_s=_device(path, Resource.DISK)),
        ServiceDemand(resource="disk bus", servers=1.0, demand_s=_device(path, Resource.DISK_BUS)),
        ServiceDemand(resource="network in", servers=1.0, demand_s=_wire_s(path, Resource.NIC_RX, stack)),
        ServiceDemand(resource="network out", servers=1.0, demand_s=_wire_s(path, Resource.NIC_TX, stack)),
    )


def capacity_per_s(stack: Stack, workload: Workload) -> float:
    """Requests per second at which the first resource of a machine with one tenant is always busy.

    capacity = min over resources of servers / D, D being the seconds that a mean request needs of the resource (the bottleneck law): those
    that tenants share, the application's threads and its own part of the CPU time. An upper bound: wake-ups, and devices that a thread
    waits for while it is held, come on top.
    """
    own = ServiceDemand(resource="threads", servers=workload.threads, demand_s=plan_path(stack, workload.demand).caller_s())
    demands = (*service_demands(stack, workload), own)
    return min(one.servers / one.demand_s for one in demands if one.demand_s > 0.0)


def _device(path: Path, resource: Resource) -> float:
    return sum(step.fixed.total for step in path.steps if step.resource is resource)


def _wire_s(path: Path, resource: Resource, stack: Stack) -> float:
    nic = stack.hardware.nic
    size_bytes = sum(step.size_bytes for step in path.steps if step.resource is resource)
    return max(_device(path, resource) / nic.packet_rate_per_s.si, size_bytes / nic.bandwidth_bytes_per_s.si)
