"""From the profile of a machine to the host of a container engine."""

from __future__ import annotations

from simvirt.images.host import HostSpec
from simvirt.layers.hardware import Hardware

__all__ = ["host_spec"]

CACHE_SHARE = 0.5
"""Part of the memory that the page cache may take: an idle host could give more, a full one less."""


def host_spec(machine: Hardware, *, disk_bytes: float = 0.0) -> HostSpec:
    """A host on this machine, with so many bytes for images (0: no bound)."""
    disk = machine.disk
    return HostSpec(
        cores=int(machine.cores.si),
        clock_hz=machine.clock_hz.si,
        core_speed=machine.core_speed.si,
        cache_bytes=CACHE_SHARE * machine.memory_bytes.si,
        nic_bytes_per_s=machine.nic.bandwidth_bytes_per_s.si,
        channels=int(disk.channels.si),
        read_s=disk.read_s.si + disk.seek_s.si,
        write_s=disk.write_s.si,
        read_bytes_per_s=disk.read_bytes_per_s.si,
        write_bytes_per_s=disk.write_bytes_per_s.si,
        disk_bytes=disk_bytes,
    )
