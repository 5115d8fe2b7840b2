"""The machine itself: cores, sockets with caches and memory, network card, disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, final

from simvirt.demand import BlockFlush, BlockRead, BlockReadCached, BlockWrite, DeviceReceive, DeviceSend, Interface, Operation
from simvirt.evidence import Cost
from simvirt.layers.contract import AbstractLayer, BlockWork, Charge, Host, Lowered, Resource, charges
from simvirt.layers.translation import HUGE_PAGE_BYTES, LARGE_PAGE_BYTES

__all__ = ["NIC_LATENCY", "Disk", "Hardware", "Idle", "Nic", "Socket", "Translation"]

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

    A request holds a channel for its access time and then the bus for size / bandwidth (a write the bus first). access = count * (read_s
    | write_s) + random * (seek_s + rotation_s / 2) + (writes that must be stable) * flush_s + bytes read * fetch_s_per_byte. So channels
    / access bounds small requests, the bandwidth large ones, and fetch_s_per_byte what one read alone can reach (a write ends in the
    buffer). Times are the same for every request but where an arm moves: there the wait for the sector is uniform over a revolution, and
    the seek is shorter when the drive may choose among several requests.
    """

    channels: Cost
    read_s: Cost
    """Access time of one read, whatever its size."""
    write_s: Cost
    """Access time of one write until it is stable."""
    seek_s: Cost
    """Mean move of the arm to a random place; 0 where nothing moves."""
    rotation_s: Cost
    """One revolution; 0 where nothing turns."""
    flush_s: Cost
    """Emptying the drive's volatile cache for a write that must be stable; 0 where the cache is protected or `write_s` holds it."""
    fetch_s_per_byte: Cost
    """Time per byte that a read holds its channel for, to fetch data from the medium into the drive's buffer."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """What the cores of one socket share, and what a core's threads do. A socket is a NUMA node.

    Only programs that say how they use caches and memory contend for them.
    """

    threads_per_core: Cost
    """1 or 2 (hyper-threads, each a processor to whoever schedules)."""
    llc_bytes: Cost
    """Last-level cache."""
    llc_hit_s: Cost
    memory_latency_s: Cost
    """What a miss of the last-level cache adds, when nobody else uses the memory."""
    queueing: Cost
    """Growth of that latency with the utilization u of the bandwidth: times 1 + queueing * u / (1 - u)."""
    memory_bytes_per_s: Cost
    """Bandwidth that a socket's memory sustains."""
    private_bytes: Cost
    """Second-level cache of a core."""
    refill_s_per_byte: Cost
    """Time to bring displaced bytes of a working set back into it, after a switch or a migration."""
    sibling_speed: Cost
    """Speed of each of two threads of a core that both compute, relative to one alone."""
    remote_latency: Cost
    """Latency of another socket's memory, relative to that of the own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A core's last-level translation buffer (TLB), and what the hardware does when it misses.

    Pages that programs do not say how they visit are charged otherwise: by misses that a workload states.
    """

    entries: Cost
    """For pages of 4 KiB."""
    large_entries: Cost
    """For pages of 2 MiB."""
    huge_entries: Cost
    """For pages of 1 GiB."""
    walk_s: Cost
    """One walk of four levels whose tables are in the caches."""

    def entries_for(self, page_bytes: float) -> float:
        """How many pages of a size it holds."""
        if page_bytes >= HUGE_PAGE_BYTES:
            return self.huge_entries.si
        return (self.large_entries if page_bytes >= LARGE_PAGE_BYTES else self.entries).si


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
    socket: Socket
    translation: Translation
    idle: Idle
    nic: Nic
    disk: Disk

    @property
    def processors(self) -> int:
        """What whoever schedules calls a core: each thread of each core."""
        return int(self.cores.si) * max(1, int(self.socket.threads_per_core.si))

    def lower(self, operation: Operation, host: Host) -> Lowered:
        match operation:
            case DeviceReceive(messages=messages, size_bytes=size):
                wire = self._wire(Resource.NIC_RX, messages, size)
                return charges(wire, self._latency(messages), *self._moderation(wire.amount))
            case DeviceSend(messages=messages, size_bytes=size):
                return charges(self._latency(messages), self._wire(Resource.NIC_TX, messages, size))
            case BlockRead(count=count, random=random, size_bytes=size):
                return self._read(count, random, size)
            case BlockReadCached(count=count, size_bytes=size):
                return self._read(count, count, size)  # nobody below has a cache
            case BlockWrite(count=count, random=random, size_bytes=size, volatile=volatile):
                work = BlockWork(write=True, count=count, positionings=random)
                access_s = count * self.disk.write_s + self._positioning_s(random)
                access_s += (count - volatile) * self.disk.flush_s
                access = Charge(cause="disk_write", amount=access_s, resource=Resource.DISK, block=work)
                return charges(self._transfer(size, self.disk.write_bytes_per_s, write=True), access)
            case BlockFlush(count=count):
                work = BlockWork(write=True, count=count)
                return charges(Charge(cause="disk_flush", amount=count * self.disk.flush_s, resource=Resource.DISK, block=work))
        return ()

    def _read(self, count: float, random: float, size: float) -> Lowered:
        work = BlockWork(write=False, count=count, positionings=random)
        access_s = count * self.disk.read_s + self._positioning_s(random) + size * self.disk.fetch_s_per_byte
        access = Charge(cause="disk_read", amount=access_s, resource=Resource.DISK, block=work)
        return charges(access, self._transfer(size, self.disk.read_bytes_per_s, write=False))

    def _positioning_s(self, random: float) -> float:
        return random * (self.disk.seek_s.si + self.disk.rotation_s.si / 2)

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

    def _transfer(self, size: float, bandwidth: Cost, *, write: bool) -> Charge:
        work = BlockWork(write=write)
        return Charge(cause="disk_transfer", amount=size / bandwidth.si, size_bytes=size, resource=Resource.DISK_BUS, block=work)
