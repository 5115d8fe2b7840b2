"""A hypervisor on the bare machine (type 1): it schedules virtual processors itself and owns the devices, alone or through a service VM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, final

from simvirt.demand import (
    BlockFlush,
    BlockRead,
    BlockReadCached,
    BlockWrite,
    DeviceReceive,
    DeviceSend,
    Interface,
    Interrupt,
    NicRegister,
    Operation,
    Privileged,
)
from simvirt.evidence import Choice, Cost
from simvirt.layers.contract import (
    INTERRUPT,
    BlockWork,
    Charge,
    Context,
    Host,
    Lowered,
    Place,
    Placed,
    Resource,
    When,
    charges,
    in_context,
)
from simvirt.layers.virtual_cpu import ProcessorMaker, VirtualCpu
from simvirt.layers.writeback import Writeback

__all__ = ["Backend", "BlockBackend", "BlockService", "Caching", "Hypervisor", "NetworkBackend", "WeightScope"]


class Backend(StrEnum):
    """Who does a virtual device's work."""

    THREAD = "thread"
    """A thread per virtual machine, scheduled by the hypervisor's kernel."""
    SERVICE_VM = "service_vm"
    """A privileged virtual machine that serves all others."""


class BlockService(StrEnum):
    """How a virtual disk is served."""

    ASYNCHRONOUS = "asynchronous"
    """The backend hands a request to the device and goes on with others."""
    BLOCKING = "blocking"
    """The backend waits for the device: one request at a time."""
    PASSTHROUGH = "passthrough"
    """The virtual machine has the device, or a part of it, to itself and speaks to it directly."""


class Caching(StrEnum):
    """What the host's page cache does for a virtual disk."""

    NONE = "none"
    """It is gone past."""
    WRITETHROUGH = "writethrough"
    """Reads may find their data in it; writes reach the device first."""
    WRITEBACK = "writeback"
    """Reads may find their data in it; writes end in it, and the host writes them back. What must be stable waits for that."""
    UNSAFE = "unsafe"
    """As write-back, but what must be stable is acknowledged at once."""


class WeightScope(StrEnum):
    """What carries a virtual machine's CPU weight."""

    VCPU = "vcpu"
    """Each runnable virtual processor: a larger machine gets more."""
    VM = "vm"
    """The machine as a whole, however many processors it has."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkBackend:
    """The way of a packet between the physical card and a virtual one."""

    receive_queues: Cost
    """Interrupts of the physical card that can be handled at the same time."""
    interrupt_s: Cost
    """Taking the card's interrupt on an idle receive path."""
    host_receive_s: Cost
    """One packet from the card through the virtual switch, in the kernel that owns the card."""
    host_receive_s_per_byte: Cost
    send_exits: Cost
    """Exits per packet sent, whoever listens (emulated registers)."""
    interrupt_exits: Cost
    """Exits by which a guest's driver takes an interrupt of the virtual card (emulated registers), beside those of any interrupt."""
    kick_exits: Cost
    """Exits to wake a sleeping backend (doorbell)."""
    backend_wake_s: Cost
    """Waking the backend: scheduling its thread or virtual processor."""
    receive_s: Cost
    """Backend's work per packet received."""
    receive_s_per_byte: Cost
    send_s: Cost
    """Backend's work per packet sent, to the card included."""
    send_s_per_byte: Cost
    notify_s: Cost
    """Signalling an interrupt to the virtual machine, on the backend."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BlockBackend:
    """The way of a block request between a virtual disk and the physical one."""

    request_exits: Cost
    """Exits per request, whoever listens (emulated registers)."""
    request_exit_s: Cost
    """Work of each of them beyond the exit: the way to the program that emulates the register, and the emulation."""
    kick_exits: Cost
    """Exits to wake a sleeping backend (doorbell)."""
    backend_wake_s: Cost
    submit_s: Cost
    """Backend's work before the device."""
    complete_s: Cost
    """Backend's work after the device, the signal to the guest included."""
    io_s_per_byte: Cost
    cached_s: Cost
    """Backend's work in place of the device's way, where the host's page cache takes or gives the data."""
    writeback: Writeback
    """Of the hypervisor's own kernel, for virtual disks that its page cache holds."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Hypervisor(ProcessorMaker):
    """Makes virtual machines out of a machine.

    A packet sent = exits on the sender + wake and work of the backend + the physical card. A packet received = card + host's receive path
    + backend + interrupt in the guest. A block request = exits + backend + disk + backend; where the device is passed through, the disk
    alone. Work of the backend competes for cores like anybody's. Its wake-ups are due only if it sleeps, the doorbell too: with many
    requests under way both are paid once for several.
    """

    kind: ClassVar[str] = "hypervisor"
    schedules_threads: ClassVar[bool] = True

    name: str
    summary: str
    requires: Interface | None
    provides: Interface
    backend: Backend
    network_thread: str
    """Name of the thread or service VM that moves packets."""
    block_thread: str
    """Name of the thread or service VM that moves blocks; the same name means the same thread."""
    block_service: BlockService
    block_caching: Caching
    service_vcpus: Cost
    """Virtual processors of the service VM; 0 if there is none."""
    weight_scope: WeightScope
    scheduler: Choice
    """Which profile of a CPU scheduler it has by itself."""
    cpu: VirtualCpu
    network: NetworkBackend
    block: BlockBackend

    @property
    def own_scheduler(self) -> Choice:
        return self.scheduler

    @property
    def weight_counts_per(self) -> str:
        return "virtual processor" if self.weight_scope is WeightScope.VCPU else "virtual machine"

    def lower(self, operation: Operation, host: Host) -> Lowered:
        match operation:
            case DeviceSend():
                return self._send(operation)
            case DeviceReceive():
                return self._receive(operation)
            case NicRegister(count=count):
                return self.cpu.exits("device_exit", count * self.network.interrupt_exits)
            case BlockRead() | BlockReadCached() | BlockWrite() | BlockFlush() if self.block_service is BlockService.PASSTHROUGH:
                return (operation,)
            case BlockRead(count=count, size_bytes=size) | BlockReadCached(count=count, size_bytes=size):
                return self._block(count, size, self._read(operation))
            case BlockWrite(count=count, size_bytes=size):
                return self._block(count, size, self._write(operation))
            case BlockFlush(count=count):
                return self._block(count, 0.0, self._flush(operation))
        lowered = self.cpu.lower(operation)
        assert lowered is not None, operation
        return lowered

    def wake_processor(self, host: Host) -> Lowered:
        return self.cpu.wake()

    def wake_polled_processor(self, host: Host) -> Lowered:
        return self.cpu.wake_polled()

    @property
    def redelivers_ticks(self) -> bool:
        return self.cpu.redelivers_ticks.si > 0.0

    @property
    def tick_s(self) -> float:
        return self.cpu.tick_s

    def _context(self, name: str) -> Context:
        return Context(Place.THREAD if self.backend is Backend.THREAD else Place.SERVICE_VM, name)

    def _send(self, operation: DeviceSend) -> Lowered:
        net, messages, packets, size = self.network, operation.messages, operation.packets, operation.size_bytes
        kick = Privileged(count=messages * net.kick_exits)
        wake = Charge(cause="backend_wake", amount=messages * net.backend_wake_s, when=When.ASLEEP)
        work = Charge(cause="backend_tx", amount=packets * net.send_s + size * net.send_s_per_byte)
        return (
            *self.cpu.exits("device_exit", packets * net.send_exits),
            *self._kick(kick),
            *in_context(self._context(self.network_thread), *charges(wake, work), operation),
        )

    def _receive(self, operation: DeviceReceive) -> Lowered:
        net, messages, packets, size = self.network, operation.messages, operation.packets, operation.size_bytes
        taken = Charge(cause="interrupt", amount=messages * net.interrupt_s, when=When.ASLEEP)
        switched = Charge(cause="host_rx", amount=packets * net.host_receive_s + size * net.host_receive_s_per_byte)
        wake = Charge(cause="backend_wake", amount=messages * net.backend_wake_s, when=When.ASLEEP)
        work = Charge(cause="backend_rx", amount=packets * net.receive_s + size * net.receive_s_per_byte)
        notify = Charge(cause="notify", amount=messages * net.notify_s, when=When.NEXT_ASLEEP)
        return (
            operation,
            *in_context(INTERRUPT, *charges(taken), Placed(Interrupt(count=messages), when=When.ASLEEP), *charges(switched)),
            *in_context(self._context(self.network_thread), *charges(wake, work, notify)),
        )

    def _read(self, operation: BlockRead | BlockReadCached) -> Lowered:
        """What the backend does for a read between submission and completion."""
        if isinstance(operation, BlockReadCached) and self.block_caching is not Caching.NONE:
            return charges(Charge(cause="host_page_cache", amount=operation.count * self.block.cached_s))
        return (operation, Interrupt(count=operation.count))

    def _write(self, operation: BlockWrite) -> Lowered:
        """The same for a write: to the device, or into the host's page cache."""
        if self.block_caching in (Caching.NONE, Caching.WRITETHROUGH):
            return (operation, Interrupt(count=operation.count))
        cached = Charge(cause="host_page_cache", amount=operation.count * self.block.cached_s)
        work = BlockWork(write=True, count=operation.count, positionings=operation.random)
        size = operation.size_bytes
        dirtied = Charge(cause="dirty", amount=size, resource=Resource.DIRTY, size_bytes=size, context=INTERRUPT, block=work)
        return (*charges(cached, dirtied), *self._flush(BlockFlush(count=operation.count - operation.volatile)))

    def _flush(self, operation: BlockFlush) -> Lowered:
        """The same for what must be stable now."""
        if self.block_caching is Caching.UNSAFE:
            return ()
        wait = Charge(cause="writeback", amount=operation.count, resource=Resource.SYNC, context=INTERRUPT)
        before = charges(wait) if self.block_caching is Caching.WRITEBACK else ()
        return (*before, operation, Interrupt(count=operation.count))

    def _block(self, count: float, size: float, served: Lowered) -> Lowered:
        """Exits, the backend's work before, what serves the request, the backend's work after."""
        block, context = self.block, replace(self._context(self.block_thread), held=self.block_service is BlockService.BLOCKING)
        wake = Charge(cause="backend_wake", amount=count * block.backend_wake_s, when=When.ASLEEP)
        submit = Charge(cause="backend_submit", amount=count * block.submit_s + size * block.io_s_per_byte)
        complete = Charge(cause="backend_complete", amount=count * block.complete_s)
        emulated = Charge(cause="device_emulation", amount=count * block.request_exits * block.request_exit_s.si)
        return (
            *self.cpu.exits("device_exit", count * block.request_exits),
            *charges(emulated),
            *self._kick(Privileged(count=count * block.kick_exits)),
            *in_context(context, *charges(wake, submit), *served, *charges(wake, complete)),
        )

    def _kick(self, kick: Privileged) -> Lowered:
        """The doorbell, charged by the layer itself and only if the backend sleeps."""
        items = self.cpu.exits("kick", kick.count)
        return tuple(
            Placed(item, when=When.NEXT_ASLEEP)
            if isinstance(item, Operation)
            else Charge(cause=item.cause, amount=item.amount, when=When.NEXT_ASLEEP)
            for item in items
        )
