"""The machine itself: cores, network card, disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from simvirt.demand import BlockRead, BlockWrite, DeviceReceive, DeviceSend, Interface, Operation
from simvirt.evidence import Cost
from simvirt.layers.contract import AbstractLayer, Charge, Host, Lowered, Resource, charges

__all__ = ["Disk", "Hardware", "Idle", "Nic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A full-duplex network card. Each direction is a FIFO server with service time max(bytes / bandwidth, packets / packet rate)."""

    bandwidth_bytes_per_s: Cost
    packet_rate_per_s: Cost
    frame_overhead_bytes: Cost
    """Bytes on the wire per packet beyond what the socket sees (headers, preamble, gap)."""
    latency_s: Cost
    """From the last bit on the wire to the interrupt, and from the doorbell to the first bit: DMA, bus, moderation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A block device with parallel channels.

    One request occupies a channel for random * seek + size / (bandwidth / channels) + count * access, so that `channels` requests in parallel reach the
    device's bandwidth and count / access its rate.
    """

    channels: Cost
    read_s: Cost
    """Access time of one read, whatever its size and place."""
    write_s: Cost
    """Access time of one write until it is stable."""
    seek_s: Cost
    """Added for a request at a random place (moving parts)."""
    bandwidth_bytes_per_s: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """How long a core takes to leave the idle state that it has sunk into: the longer it was idle, the deeper.

    exit = shallow_exit_s below medium_residency_s, medium_exit_s below deep_residency_s, deep_exit_s beyond. Assumes an idle governor that picks the state
    whose residency the idle period reaches.
    """

    shallow_exit_s: Cost
    medium_residency_s: Cost
    medium_exit_s: Cost
    deep_residency_s: Cost
    deep_exit_s: Cost


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware(AbstractLayer):
    """A physical machine.

    Instructions and privileged operations cost what the layers above say: a machine executes them natively and adds nothing. Packets and blocks
    are charged to its devices.
    """

    kind: ClassVar[str] = "hardware"

    name: str
    summary: str
    provides: Interface
    requires: Interface | None = None
    cores: Cost
    sockets: Cost
    clock_hz: Cost
    core_speed: Cost
    """Speed of one core relative to the reference core."""
    memory_bytes: Cost
    idle: Idle
    nic: Nic
    disk: Disk

    def lower(self, operation: Operation, host: Host) -> Lowered:
        match operation:
            case DeviceReceive(packets=packets, size_bytes=size):
                return (*self._wire(Resource.NIC_RX, packets, size), *self._latency(packets))
            case DeviceSend(packets=packets, size_bytes=size):
                return (*self._latency(packets), *self._wire(Resource.NIC_TX, packets, size))
            case BlockRead():
                return self._block("disk_read", operation, self.disk.read_s)
            case BlockWrite():
                return self._block("disk_write", operation, self.disk.write_s)
        return ()

    def _latency(self, packets: float) -> Lowered:
        return charges(Charge(cause="nic_latency", amount=packets * self.nic.latency_s, resource=Resource.DELAY))

    def _wire(self, direction: Resource, packets: float, size: float) -> Lowered:
        wire_bytes = size + packets * self.nic.frame_overhead_bytes
        return charges(Charge(cause=direction.value, amount=packets, size_bytes=wire_bytes, resource=direction))

    def _block(self, cause: str, operation: BlockRead | BlockWrite, access_s: Cost) -> Lowered:
        transfer_s = operation.size_bytes * self.disk.channels / self.disk.bandwidth_bytes_per_s.si
        seconds = operation.count * access_s + operation.random * self.disk.seek_s + transfer_s
        return charges(Charge(cause=cause, amount=seconds, size_bytes=operation.size_bytes, resource=Resource.DISK))
