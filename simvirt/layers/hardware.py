"""The machine itself: cores, network card, disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, final

from simvirt.demand import BlockRead, BlockWrite, DeviceReceive, DeviceSend, Interface, Operation
from simvirt.evidence import Cost
from simvirt.layers.contract import AbstractLayer, Charge, Host, Lowered, Resource, charges

__all__ = ["NIC_LATENCY", "Disk", "Hardware", "Idle", "Nic"]

NIC_LATENCY: Final = "nic_latency"
"""Cause of what a network card delays a message by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """A full-duplex network card. Each direction is a FIFO server with service time max(bytes / bandwidth, frames / packet rate)."""

    bandwidth_bytes_per_s: Cost
    packet_rate_per_s: Cost
    frame_payload_bytes: Cost
    """What a full frame carries of a message."""
    frame_overhead_bytes: Cost
    """Bytes on the wire per frame beyond what the socket sees (headers, preamble, gap)."""
    latency_s: Cost
    """Per message: from the last bit on the wire to the interrupt, and from the doorbell to the first bit: DMA, bus."""
    interrupt_gap_s: Cost
    """Least time between two interrupts (moderation); 0 if every packet interrupts that finds nobody polling.

    With a gap the card is taken to have one receive queue: packets that one interrupt announces are handled one after the other.
    """
    interrupt_frames: Cost
    """Frames that end the gap early; 0 if none do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A block device: parallel channels and one bus that they share.

    A request holds a channel for its access time (count * read_s | write_s + random * seek_s) and the bus for size / bandwidth, one after
    the other. So channels / access bounds small requests, the bandwidth large ones.
    """

    channels: Cost
    read_s: Cost
    """Access time of one read, whatever its size."""
    write_s: Cost
    """Access time of one write until it is stable."""
    seek_s: Cost
    """Added for a request at a random place (moving parts)."""
    read_bytes_per_s: Cost
    write_bytes_per_s: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """How long a core takes to leave the idle state that it has sunk into: the longer it was idle, the deeper.

    exit = shallow_exit_s below medium_residency_s, medium_exit_s below deep_residency_s, deep_exit_s beyond. Assumes an idle governor
    that picks the state whose residency the idle period reaches.
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

    Instructions and privileged operations cost what the layers above say: a machine executes them natively and adds nothing. Packets and
    blocks are charged to its devices.
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
            case DeviceReceive(messages=messages, size_bytes=size):
                wire = self._wire(Resource.NIC_RX, messages, size)
                return charges(wire, self._latency(messages), *self._moderation(wire.amount))
            case DeviceSend(messages=messages, size_bytes=size):
                return charges(self._latency(messages), self._wire(Resource.NIC_TX, messages, size))
            case BlockRead(count=count, random=random, size_bytes=size):
                access_s = count * self.disk.read_s + random * self.disk.seek_s
                access = Charge(cause="disk_read", amount=access_s, resource=Resource.DISK)
                return charges(access, self._transfer(size, self.disk.read_bytes_per_s))
            case BlockWrite(count=count, random=random, size_bytes=size):
                access_s = count * self.disk.write_s + random * self.disk.seek_s
                access = Charge(cause="disk_write", amount=access_s, resource=Resource.DISK)
                return charges(self._transfer(size, self.disk.write_bytes_per_s), access)
        return ()

    def _latency(self, messages: float) -> Charge:
        return Charge(cause=NIC_LATENCY, amount=messages * self.nic.latency_s, resource=Resource.DELAY)

    def _moderation(self, frames: float) -> tuple[Charge, ...]:
        if not self.nic.interrupt_gap_s.si:
            return ()
        return (Charge(cause="interrupt_moderation", amount=frames, resource=Resource.MODERATION),)

    def _wire(self, direction: Resource, messages: float, size: float) -> Charge:
        """A message is cut into full frames and one that is not full: messages + size / payload of a frame."""
        frames = messages + size / self.nic.frame_payload_bytes.si
        wire_bytes = size + frames * self.nic.frame_overhead_bytes
        return Charge(cause=direction.value, amount=frames, size_bytes=wire_bytes, resource=direction)

    def _transfer(self, size: float, bandwidth: Cost) -> Charge:
        return Charge(cause="disk_transfer", amount=size / bandwidth.si, size_bytes=size, resource=Resource.DISK_BUS)
