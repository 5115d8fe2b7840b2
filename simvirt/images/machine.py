"""The same application as the image of a virtual machine: one disk to ship whole, then a machine to boot."""

from __future__ import annotations

from simpy.events import AllOf

from simvirt.images.container import Start, settle
from simvirt.images.daemon import Daemon, Steps
from simvirt.images.profiles import MachineImageProfile
from simvirt.images.registry import Registry

__all__ = ["boot", "ship"]


def ship(daemon: Daemon, machine: MachineImageProfile, registry: Registry, name: str = "machine image") -> Steps:
    """Download the whole disk over one connection; it is unpacked and written while it comes."""
    engine = daemon.engine
    began = engine.now
    yield engine.timeout(registry.profile.handshake_s.si + registry.profile.blob_request_s.si)
    daemon.span(name, "handshake", began)
    began = engine.now
    connection = daemon.take_connection(registry)
    wire_bytes = machine.size_bytes.si / machine.ratio.si
    unpacked = daemon.compute(daemon.seconds(daemon.profile.gunzip_s_per_byte, machine.size_bytes.si) if machine.ratio.si > 1 else 0.0)
    yield AllOf(engine, (connection.transfer(wire_bytes), unpacked, daemon.host.write(machine.size_bytes.si)))
    registry.sent_bytes += wire_bytes
    daemon.give_connection(registry, connection)
    daemon.span(name, "download", began)
    daemon.host.cache.put(machine.name, machine.size_bytes.si)


def boot(daemon: Daemon, machine: MachineImageProfile, start: Start, name: str = "machine") -> Steps:
    """Make the machine, boot its operating system, start the application in it.

    Its guest reads what it needs through the host's page cache.
    """
    engine = daemon.engine
    began = engine.now
    yield engine.timeout(machine.monitor_s.si)
    daemon.span(name, "monitor", began)
    began = engine.now
    hot = f"{machine.name} start"
    wanted = machine.boot_read_bytes.si
    held = max(wanted * daemon.host.cache.held(machine.name) / machine.size_bytes.si, daemon.host.cache.held(hot))
    yield daemon.host.read(max(0.0, wanted - held), start.request_bytes)
    daemon.host.cache.put(hot, wanted)
    daemon.span(name, "read", began)
    began = engine.now
    yield daemon.compute(daemon.seconds(machine.boot_cpu_s))
    yield engine.timeout(machine.boot_wait_s.si)
    daemon.span(name, "boot", began)
    yield from settle(daemon, start.cpu_s, name)
