"""How many requests per second a stack can carry: the offered loads of a comparison are fractions of it."""

from __future__ import annotations

from simvirt.layers.contract import Resource
from simvirt.layers.path import Path, plan_path
from simvirt.layers.stack import Stack
from simvirt.workloads.profile import Workload

__all__ = ["capacity_per_s"]


def capacity_per_s(stack: Stack, workload: Workload) -> float:
    """Requests per second at which the first resource of a machine with one tenant is always busy.

    capacity = min over resources of servers / D, D being the seconds that a mean request needs of the resource (the bottleneck law): cores
    and the CPU time of every layer, the application's threads and its own part of it, disk channels, the disk's bus, each direction of
    the wire. An upper bound: wake-ups, and devices that a thread waits for while it is held, come on top.
    """
    path = plan_path(stack, workload.demand)
    machine = stack.hardware
    demands = (
        (machine.cores.si, path.cpu_s()),
        (workload.threads, path.caller_s()),
        (machine.disk.channels.si, _device(path, Resource.DISK)),
        (1.0, _device(path, Resource.DISK_BUS)),
        (1.0, _wire_s(path, Resource.NIC_RX, stack)),
        (1.0, _wire_s(path, Resource.NIC_TX, stack)),
    )
    return min(servers / demand_s for servers, demand_s in demands if demand_s > 0.0)


def _device(path: Path, resource: Resource) -> float:
    return sum(step.fixed.total for step in path.steps if step.resource is resource)


def _wire_s(path: Path, resource: Resource, stack: Stack) -> float:
    nic = stack.hardware.nic
    size_bytes = sum(step.size_bytes for step in path.steps if step.resource is resource)
    return max(_device(path, resource) / nic.packet_rate_per_s.si, size_bytes / nic.bandwidth_bytes_per_s.si)
