"""The devices of a machine as faults see them: who uses one, and how it becomes slow or fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from simvirt.faults.part import Part
from simvirt.simulation.binding import Host
from simvirt.simulation.tenant import Tenant

__all__ = ["Devices"]


@final
class Devices:
    """Of one machine. What a slow device has accepted already takes as long as it did."""

    def __init__(self, host: Host, tenants: Sequence[Tenant]) -> None:
        self._host = host
        self._tenants = tenants
        links = (host.nic.rx, host.nic.tx)
        self._links = [(link, link.bandwidth_bytes_per_s, link.packets_per_s) for link in links]

    def users(self, part: Part) -> frozenset[str]:
        if part is Part.DISK:
            return frozenset(tenant.name for tenant in self._tenants if any(path.disk for path in tenant.paths))
        return frozenset(tenant.name for tenant in self._tenants if any(path.on_the_wire for path in tenant.paths))

    def slow_down(self, part: Part, factor: float) -> None:
        if part is Part.DISK:
            self._host.disk.slowness = self._host.disk_bus.slowness = factor
            return
        for link, bandwidth_bytes_per_s, packets_per_s in self._links:
            link.bandwidth_bytes_per_s, link.packets_per_s = bandwidth_bytes_per_s / factor, packets_per_s / factor

    def fail(self, part: Part, reason: str) -> None:
        assert part is Part.DISK, part
        for tenant in self._tenants:
            tenant.lose_disk(reason)

    def mend(self, part: Part) -> None:
        assert part is Part.DISK, part
        for tenant in self._tenants:
            tenant.lose_disk(None)
