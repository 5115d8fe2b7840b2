"""A hypervisor that is a program of a host operating system (type 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from simvirt.demand import (
    BlockFlush,
    BlockRead,
    BlockReadCached,
    BlockWrite,
    Compute,
    ContextSwitch,
    DeviceReceive,
    DeviceSend,
    DiskRead,
    DiskWrite,
    FileRead,
    FileWrite,
    Flush,
    FreshPage,
    Interface,
    NicRegister,
    Operation,
    PageFault,
    Receive,
    Send,
    Syscall,
    Wake,
)
from simvirt.evidence import Cost
from simvirt.layers.contract import CALLER, Charge, Context, Host, Lowered, Place, When, charges, in_context
from simvirt.layers.hypervisor import Caching
from simvirt.layers.virtual_cpu import ProcessorMaker, VirtualCpu

__all__ = ["HostedDevices", "HostedHypervisor"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HostedDevices:
    """Virtual devices emulated by a process of the host, by the host's own system calls."""

    world_switch_s: Cost
    """One way between the virtual machine's world and the host's."""
    send_exits: Cost
    """Exits per packet sent that the monitor handles by itself."""
    send_world_switches: Cost
    """World switches per packet sent, whoever is awake."""
    combined_world_switches: Cost
    """World switches per message sent that are made only if the process sleeps; what is sent while it works rides along (combining)."""
    receive_exits: Cost
    """Exits per packet received that the monitor handles by itself."""
    receive_world_switches: Cost
    block_exits: Cost
    """Exits per block request that the monitor handles by itself."""
    block_world_switches: Cost
    packet_s: Cost
    """Emulating one packet in the process."""
    packet_s_per_byte: Cost
    """Copying between guest and host buffers."""
    packet_syscalls: Cost
    """Host system calls per packet."""
    request_s: Cost
    """Emulating one block request in the process."""
    request_s_per_byte: Cost
    request_syscalls: Cost
    """Host system calls per block request."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HostedHypervisor(ProcessorMaker):
    """Makes a virtual machine out of processes.

    Its virtual processors are threads of the host, which the host's scheduler runs beside everything else there. Whatever touches a
    device becomes a world switch, a wake-up of the process, host system calls, and the host's own way to its network or file system.
    First touches of memory are page faults of the host. Its disk is a file of the host: what `block_caching` lets through the host's page
    cache is cached twice. There is no further constant for being hosted.
    """

    kind: ClassVar[str] = "hosted-hypervisor"

    name: str
    summary: str
    requires: Interface | None
    provides: Interface
    io_thread: str
    """Name of the host thread that emulates devices; empty if the virtual processor's own thread does it."""
    block_caching: Caching
    cpu: VirtualCpu
    devices: HostedDevices

    @property
    def weight_counts_per(self) -> str:
        return "virtual processor, a thread of the host"

    def lower(self, operation: Operation, host: Host) -> Lowered:
        match operation:
            case DeviceSend():
                return self._send(operation)
            case DeviceReceive():
                return self._receive(operation)
            case NicRegister():
                return ()  # among the exits per packet received
            case BlockRead(count=count, random=random, size_bytes=size):
                return self._block(DiskRead(count=count, random=random, size_bytes=size), count, size)
            case BlockReadCached(count=count, size_bytes=size):
                uncached = self.block_caching is Caching.NONE
                found = DiskRead(count=count, random=count, size_bytes=size) if uncached else FileRead(count=count, size_bytes=size)
                return self._block(found, count, size)
            case BlockWrite(count=count, random=random, size_bytes=size, volatile=volatile):
                if self.block_caching in (Caching.NONE, Caching.WRITETHROUGH):
                    return self._block(DiskWrite(count=count, random=random, size_bytes=size, volatile=volatile), count, size)
                return self._block(FileWrite(count=count, random=random, size_bytes=size), count, size, self._stable(count - volatile))
            case BlockFlush(count=count):
                return self._block(self._stable(count), count, 0.0)
        lowered = self.cpu.lower(operation)
        assert lowered is not None, operation
        return tuple(kept for item in lowered for kept in self._on_host(item))

    def wake_processor(self, host: Host) -> Lowered:
        kept = tuple(item for woken in self.cpu.wake() for item in self._on_host(woken))
        return (*kept, Syscall(count=1.0), ContextSwitch(count=1.0))

    def wake_polled_processor(self, host: Host) -> Lowered:
        return tuple(item for woken in self.cpu.wake_polled() for item in self._on_host(woken))

    @property
    def redelivers_ticks(self) -> bool:
        return self.cpu.redelivers_ticks.si > 0.0

    @property
    def tick_s(self) -> float:
        return self.cpu.tick_s

    def _on_host(self, item: Charge | Operation) -> Lowered:
        """What an operation on the virtual processor leaves for the host: its instructions, and the memory that it touches first."""
        match item:
            case Charge() | Compute():
                return (item,)
            case FreshPage(count=count):
                return (PageFault(count=count, fresh=count),)
        return ()

    @property
    def _process(self) -> Context:
        return Context(Place.THREAD, self.io_thread) if self.io_thread else CALLER

    def _switches(self, exits: float, world_switches: float) -> tuple[Charge, ...]:
        exit_charge = Charge(cause="device_exit", amount=exits * self.cpu.exit_s)
        return charges(exit_charge, Charge(cause="world_switch", amount=world_switches * self.devices.world_switch_s))

    def _combined(self, messages: float) -> tuple[Charge, ...]:
        """World switches to a process that sleeps; without a thread of its own nobody else is awake, and each message switches."""
        when = When.NEXT_ASLEEP if self.io_thread else When.ALWAYS
        amount = messages * self.devices.combined_world_switches * self.devices.world_switch_s.si
        return charges(Charge(cause="world_switch", amount=amount, when=when))

    def _wake(self, times: float) -> Lowered:
        """The process is woken if it sleeps."""
        return (Wake(count=times),) if self.io_thread else ()

    def _send(self, operation: DeviceSend) -> Lowered:
        dev, messages, packets, size = self.devices, operation.messages, operation.packets, operation.size_bytes
        work = Charge(cause="device_emulation", amount=packets * dev.packet_s + size * dev.packet_s_per_byte)
        return (
            *self._switches(packets * dev.send_exits, packets * dev.send_world_switches),
            *self._combined(messages),
            *in_context(
                self._process,
                *self._wake(messages),
                *charges(work),
                Syscall(count=packets * dev.packet_syscalls),
                Send(messages=messages, packets=packets, size_bytes=size),
            ),
        )

    def _receive(self, operation: DeviceReceive) -> Lowered:
        dev, messages, packets, size = self.devices, operation.messages, operation.packets, operation.size_bytes
        work = Charge(cause="device_emulation", amount=packets * dev.packet_s + size * dev.packet_s_per_byte)
        switches = self._switches(packets * dev.receive_exits, packets * dev.receive_world_switches)
        return in_context(
            self._process,
            Receive(messages=messages, packets=packets, size_bytes=size),
            *self._wake(messages),
            Syscall(count=packets * dev.packet_syscalls),
            *charges(work),
            *switches,
        )

    def _stable(self, count: float) -> Operation:
        """What the host does for data that must be stable now."""
        return Flush(count=0.0 if self.block_caching is Caching.UNSAFE else count)

    def _block(self, on_host: Operation, count: float, size: float, *then: Operation) -> Lowered:
        dev = self.devices
        work = Charge(cause="device_emulation", amount=count * dev.request_s + size * dev.request_s_per_byte)
        return (
            *self._switches(count * dev.block_exits, count * dev.block_world_switches),
            *in_context(self._process, *self._wake(count), *charges(work), Syscall(count=count * dev.request_syscalls), on_host, *then),
        )
