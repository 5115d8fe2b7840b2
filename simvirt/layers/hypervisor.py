"""A hypervisor on the bare machine (type 1): it schedules virtual processors itself and owns the devices, alone or through a service VM."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, final

from simvirt.demand import BlockRead, BlockWrite, DeviceReceive, DeviceSend, Interface, Interrupt, NicRegister, Operation, Privileged
from simvirt.evidence import Cost
from simvirt.layers.contract import INTERRUPT, AbstractLayer, Charge, Context, Host, Lowered, Place, Placed, When, charges, in_context
from simvirt.layers.virtual_cpu import VirtualCpu

__all__ = ["Backend", "BlockBackend", "Hypervisor", "NetworkBackend", "WeightScope"]


class Backend(StrEnum):
    """Who does a virtual device's work."""

    THREAD = "thread"
    """A thread per virtual machine, scheduled by the hypervisor's kernel."""
    SERVICE_VM = "service_vm"
    """A privileged virtual machine that serves all others."""


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
    kick_exits: Cost
    """Exits to wake a sleeping backend (doorbell)."""
    backend_wake_s: Cost
    submit_s: Cost
    """Backend's work before the device."""
    complete_s: Cost
    """Backend's work after the device, the signal to the guest included."""
    io_s_per_byte: Cost


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Hypervisor(AbstractLayer):
    """Makes virtual machines out of a machine.

    A packet sent = exits on the sender + wake and work of the backend + the physical card. A packet received = card + host's receive path
    + backend + interrupt in the guest. A block request = exits + backend + disk + backend. Work of the backend competes for cores like
    anybody's.
    """

    kind: ClassVar[str] = "hypervisor"
    schedules_threads: ClassVar[bool] = True
    provides_processors: ClassVar[bool] = True

    name: str
    summary: str
    requires: Interface | None
    provides: Interface
    backend: Backend
    network_thread: str
    """Name of the thread or service VM that moves packets."""
    block_thread: str
    """Name of the thread or service VM that moves blocks; the same name means the same thread."""
    service_vcpus: Cost
    """Virtual processors of the service VM; 0 if there is none."""
    weight_scope: WeightScope
    cpu: VirtualCpu
    network: NetworkBackend
    block: BlockBackend

    def lower(self, operation: Operation, host: Host) -> Lowered:
        match operation:
            case DeviceSend():
                return self._send(operation)
            case DeviceReceive():
                return self._receive(operation)
            case NicRegister(count=count):
                return self.cpu.exits("device_exit", count * self.network.interrupt_exits)
            case BlockRead(count=count, size_bytes=size) | BlockWrite(count=count, size_bytes=size):
                return self._block(operation, count, size)
        lowered = self.cpu.lower(operation)
        assert lowered is not None, operation
        return lowered

    def wake_processor(self, host: Host) -> Lowered:
        return self.cpu.wake()

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

    def _block(self, operation: BlockRead | BlockWrite, count: float, size: float) -> Lowered:
        block, context = self.block, self._context(self.block_thread)
        wake = Charge(cause="backend_wake", amount=count * block.backend_wake_s, when=When.ASLEEP)
        submit = Charge(cause="backend_submit", amount=count * block.submit_s + size * block.io_s_per_byte)
        complete = Charge(cause="backend_complete", amount=count * block.complete_s)
        return (
            *self.cpu.exits("device_exit", count * block.request_exits),
            *self._kick(Privileged(count=count * block.kick_exits)),
            *in_context(context, *charges(wake, submit), operation, Interrupt(count=count), *charges(wake, complete)),
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
