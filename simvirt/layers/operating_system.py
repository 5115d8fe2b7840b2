"""An operating system's kernel, on real hardware or in a virtual machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from simvirt.demand import (
    AddressSpaceSwitch,
    BlockFlush,
    BlockRead,
    BlockReadCached,
    BlockWrite,
    Compute,
    Connect,
    ContextSwitch,
    DeviceReceive,
    DeviceSend,
    DiskRead,
    DiskReadCached,
    DiskWrite,
    FileOpen,
    FileRead,
    FileWrite,
    Flush,
    FreshPage,
    Interface,
    Interrupt,
    KernelEntry,
    Locked,
    NicRegister,
    Operation,
    PageFault,
    PageTableUpdate,
    Privileged,
    Receive,
    Send,
    Spawn,
    Syscall,
    TimerExpiry,
    Wake,
)
from simvirt.evidence import Choice, Cost
from simvirt.layers.contract import (
    CRITICAL_SECTION,
    INTERRUPT,
    AbstractLayer,
    BlockWork,
    Charge,
    Host,
    Lowered,
    Placed,
    Resource,
    When,
    charges,
    in_context,
)
from simvirt.layers.writeback import Writeback

__all__ = ["BlockStack", "NetworkStack", "OperatingSystem", "Processes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """What processes cost a kernel."""

    syscall_s: Cost
    """Entering and leaving the kernel."""
    file_open_s: Cost
    """Looking up, opening and closing one file, without the entries into the kernel."""
    page_fault_s: Cost
    """One minor fault: entry, allocation, zeroing, return."""
    context_switch_s: Cost
    refill_s_per_byte: Cost
    """Reloading what a switch displaced from the private caches."""
    spawn_s: Cost
    """fork and exec of one process, its page faults included."""
    spawn_page_table_updates: Cost
    """Page-table entries that fork and exec write."""
    wake_s: Cost
    """Making a sleeping thread run: scheduler, inter-processor interrupt, switch from idle."""
    tick_hz: Cost
    """Timer interrupts per second of a busy processor."""
    tick_s: Cost
    """One tick: the interrupt, the scheduler's accounts, programming the timer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkStack:
    """From the driver to the socket and back, without system calls."""

    receive_queues: Cost
    """Interrupts that can be handled at the same time: queues of the card, or of the virtual card."""
    interrupt_s: Cost
    """Taking one interrupt of an idle receive path; a busy path polls."""
    receive_s: Cost
    """One packet up to the socket."""
    receive_s_per_byte: Cost
    send_s: Cost
    """One packet down to the driver."""
    send_s_per_byte: Cost
    connect_s: Cost
    """One connection: three packets of the handshake, accepting it, and its end."""
    tracked_connections: Cost
    """Entries of the table of tracked connections, which all network namespaces of the kernel share; 0 if it is without bound."""
    tracking_timeout_s: Cost
    """How long an entry stays after its connection was opened and closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStack:
    """From the file to the driver and back."""

    submit_s: Cost
    complete_s: Cost
    """One completion interrupt."""
    io_s_per_byte: Cost
    cached_s: Cost
    """One call that finds its pages in the page cache, or makes them there, without entering the kernel."""
    copy_s_per_byte: Cost
    """Copying between the page cache and the program."""
    writeback: Writeback


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingSystem(AbstractLayer):
    """A kernel that offers processes, sockets and files on a machine.

    CPU charged = syscalls * syscall_s + faults * page_fault_s + switches * (context_switch_s + displaced * refill) + spawns * spawn_s
    + packets * (receive_s | send_s) + bytes * per_byte + ios * (submit_s + complete_s) + busy time * tick_hz * tick_s.

    Receiving is done in an interrupt, sending on the sender. A thread that waited, for a message or for the disk, is woken first. The
    interrupt of a completion is due only if its handler sleeps: completions that come while it works are found by it. Buffered writes are
    copied and become dirty pages of this kernel, shared by all that stand on it. Critical sections are under one lock of this kernel; what
    the layers below add to them lengthens them. Linear in the demand.
    """

    kind: ClassVar[str] = "operating-system"
    schedules_threads: ClassVar[bool] = True

    name: str
    summary: str
    requires: Interface | None
    provides: Interface
    scheduler: Choice
    """Which profile of a CPU scheduler it has by itself."""
    processes: Processes
    network: NetworkStack
    block: BlockStack

    @property
    def own_scheduler(self) -> Choice:
        return self.scheduler

    @property
    def weight_counts_per(self) -> str:
        return "thread, or control group"

    def lower(self, operation: Operation, host: Host) -> Lowered:
        match operation:
            case Compute():
                return self._compute(operation)
            case Syscall(count=count, kernel_s=kernel_s):
                entry = Charge(cause="syscall", amount=count * self.processes.syscall_s)
                work = Charge(cause="kernel_work", amount=kernel_s / host.core_speed)
                return (*charges(entry, work), KernelEntry(count=count))
            case Locked(sections=sections, held_s=held_s):
                held = Charge(cause="critical_section", amount=held_s / host.core_speed, sections=sections)
                return in_context(CRITICAL_SECTION, *charges(held))
            case PageFault(count=count, fresh=fresh):
                fault = Charge(cause="page_fault", amount=count * self.processes.page_fault_s)
                return (*charges(fault), KernelEntry(count=count), PageTableUpdate(count=count), FreshPage(count=fresh))
            case ContextSwitch(count=count, displaced_bytes=displaced):
                switch = Charge(cause="context_switch", amount=count * self.processes.context_switch_s)
                refill = Charge(cause="cache_refill", amount=displaced * self.processes.refill_s_per_byte)
                return (*charges(switch, refill), AddressSpaceSwitch(count=count))
            case Spawn(count=count):
                spawn = Charge(cause="spawn", amount=count * self.processes.spawn_s)
                return (*charges(spawn), PageTableUpdate(count=count * self.processes.spawn_page_table_updates))
            case FileOpen(count=count):
                lookup = Charge(cause="file_open", amount=count * self.processes.file_open_s)
                return (*charges(lookup), *self.lower(Syscall(count=2 * count), host))
            case Receive():
                return self._receive(operation)
            case Connect(count=count):
                return in_context(INTERRUPT, *charges(Charge(cause="connect", amount=count * self.network.connect_s)))
            case Wake(count=count):
                return charges(Charge(cause="wake_up", amount=count * self.processes.wake_s, when=When.ASLEEP))
            case Send(messages=messages, packets=packets, size_bytes=size):
                sent = Charge(cause="net_tx", amount=packets * self.network.send_s + size * self.network.send_s_per_byte)
                return (*charges(sent), DeviceSend(messages=messages, packets=packets, size_bytes=size))
            case DiskRead(count=count, random=random, size_bytes=size, queued=queued):
                return self._block(BlockRead(count=count, random=random, size_bytes=size), count, size, queued)
            case DiskReadCached(count=count, size_bytes=size):
                return self._block(BlockReadCached(count=count, size_bytes=size), count, size)
            case DiskWrite(count=count, random=random, size_bytes=size, volatile=volatile, queued=queued):
                return self._block(BlockWrite(count=count, random=random, size_bytes=size, volatile=volatile), count, size, queued)
            case TimerExpiry(count=count):
                expiry = Charge(cause="timer_expiry", amount=count * self.processes.tick_s)
                return (*charges(expiry), Interrupt(count=count), Privileged(count=count))
            case FileRead(count=count, size_bytes=size):
                return charges(self._cached(count, size))
            case FileWrite(count=count, size_bytes=size):
                dirtying = BlockWork(write=True, count=count, positionings=operation.random)
                dirtied = Charge(cause="dirty", amount=size, resource=Resource.DIRTY, size_bytes=size, block=dirtying)
                return (*charges(self._cached(count, size)), *in_context(INTERRUPT, *charges(dirtied)))
            case Flush(count=count):
                wait = Charge(cause="writeback", amount=count, resource=Resource.SYNC)
                return (*in_context(INTERRUPT, *charges(wait)), *self._block(BlockFlush(count=count), count, 0.0))
        return ()

    def _cached(self, count: float, size: float) -> Charge:
        return Charge(cause="page_cache", amount=count * self.block.cached_s + size * self.block.copy_s_per_byte)

    def _compute(self, operation: Compute) -> Lowered:
        ticks = operation.cpu_s * self.processes.tick_hz
        tick = Charge(cause="timer_tick", amount=ticks * self.processes.tick_s)
        return (operation, *charges(tick), Interrupt(count=ticks), Privileged(count=ticks))

    def _receive(self, operation: Receive) -> Lowered:
        messages, packets, size = operation.messages, operation.packets, operation.size_bytes
        taken = Charge(cause="interrupt", amount=messages * self.network.interrupt_s, when=When.ASLEEP)
        stack = Charge(cause="net_rx", amount=packets * self.network.receive_s + size * self.network.receive_s_per_byte)
        return (
            DeviceReceive(messages=messages, packets=packets, size_bytes=size),
            *in_context(
                INTERRUPT,
                *charges(taken),
                Placed(Interrupt(count=messages), when=When.ASLEEP),
                Placed(NicRegister(count=messages), when=When.ASLEEP),
                *charges(stack),
            ),
        )

    def _block(
        self, operation: BlockRead | BlockReadCached | BlockWrite | BlockFlush, count: float, size: float, queued: float = 0.0
    ) -> Lowered:
        submit = Charge(cause="block_submit", amount=count * self.block.submit_s + size * self.block.io_s_per_byte)
        complete = Charge(cause="block_complete", amount=count * self.block.complete_s)
        wake = Charge(cause="wake_up", amount=(count - queued) * self.processes.wake_s)
        notice = Charge(cause="wake_up", amount=queued * self.processes.wake_s, when=When.ASLEEP)
        return (
            *charges(submit),
            operation,
            *in_context(INTERRUPT, Placed(Interrupt(count=count), when=When.ASLEEP), *charges(complete)),
            *charges(wake, notice),
        )
