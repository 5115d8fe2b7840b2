"""A sandbox: a kernel in user space that answers its programs' system calls itself and asks the host for little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from simvirt.demand import (
    ContextSwitch,
    DiskRead,
    DiskReadCached,
    DiskWrite,
    FileOpen,
    FileRead,
    FileWrite,
    Flush,
    Interface,
    Operation,
    PageFault,
    Receive,
    Send,
    Spawn,
    Syscall,
    Wake,
)
from simvirt.evidence import Cost
from simvirt.layers.contract import AbstractLayer, Charge, Context, Host, Lowered, Place, charges, in_context

__all__ = ["Sandbox"]

_NETWORK = Context(Place.THREAD, "network stack")
_FILES = Context(Place.THREAD, "file server")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox(AbstractLayer):
    """Answers system calls in user space.

    syscall = intercept_s + service_s + host_syscalls host calls; a read or write of a file makes file_syscalls host calls and costs
    block_s in the sandbox's own file layer. Each host call of the sandbox's kernel costs host_call_s on top: what it takes to leave the
    mode in which that kernel runs. Packets go through a network stack of its own: received on a thread, sent on the caller. Files are
    opened by a server process outside. User-mode instructions and mapped memory cost nothing extra.
    """

    kind: ClassVar[str] = "sandbox"
    isolates_group: ClassVar[bool] = True

    name: str
    summary: str
    requires: Interface | None
    provides: Interface
    intercept_s: Cost
    """Getting from the program into the sandbox's kernel and back."""
    service_s: Cost
    """Handling one system call there, beyond what the host's kernel would spend inside the same call."""
    host_syscalls: Cost
    """Host system calls per system call of the program."""
    host_call_s: Cost
    """Added to each host call that the sandbox's kernel makes: leaving the mode in which it runs, and coming back."""
    page_fault_s: Cost
    """Added to each fault."""
    context_switch_s: Cost
    """Added to each switch between the program's threads."""
    spawn_s: Cost
    """Added to each process created."""
    file_open_s: Cost
    """Work of the file server per file opened."""
    file_open_syscalls: Cost
    """Host system calls of the file server per file opened."""
    receive_s: Cost
    """One packet through the sandbox's own network stack, inwards."""
    receive_s_per_byte: Cost
    send_s: Cost
    send_s_per_byte: Cost
    file_syscalls: Cost
    """Host system calls per read or write of a file or of a disk."""
    block_s: Cost
    """Work of the sandbox's file layer for each."""
    block_s_per_byte: Cost
    cpu_weight: Cost
    """Weight of the sandbox's control group among its siblings, 1 being the kernel's default for a group."""

    @property
    def weight_counts_per(self) -> str:
        return "control group"

    @property
    def group_weight(self) -> float:
        return self.cpu_weight.si

    def lower(self, operation: Operation, host: Host) -> Lowered:
        match operation:
            case Syscall(count=count):
                return self._syscall(operation, count)
            case PageFault(count=count):
                return (*charges(Charge(cause="sandbox_fault", amount=count * self.page_fault_s)), operation)
            case ContextSwitch(count=count):
                return (*charges(Charge(cause="sandbox_switch", amount=count * self.context_switch_s)), operation)
            case Spawn(count=count):
                return (*charges(Charge(cause="sandbox_spawn", amount=count * self.spawn_s)), operation)
            case FileOpen(count=count):
                return self._open(count)
            case Receive():
                return self._receive(operation)
            case Send(packets=packets, size_bytes=size):
                stack = Charge(cause="sandbox_net_tx", amount=packets * self.send_s + size * self.send_s_per_byte)
                return (*charges(stack), *self._host_calls(packets), operation)
            case (
                DiskRead(count=count, size_bytes=size)
                | DiskReadCached(count=count, size_bytes=size)
                | DiskWrite(count=count, size_bytes=size)
                | FileRead(count=count, size_bytes=size)
                | FileWrite(count=count, size_bytes=size)
            ):
                added = Charge(cause="sandbox_block", amount=count * self.block_s + size * self.block_s_per_byte)
                return (*charges(added), *self._host_calls(count * self.file_syscalls), operation)
            case Flush(count=count):
                return (*self._host_calls(count), operation)
        return (operation,)

    def _syscall(self, operation: Syscall, count: float) -> Lowered:
        intercept = Charge(cause="intercept", amount=count * self.intercept_s)
        service = Charge(cause="sandbox_kernel", amount=count * self.service_s)
        return (*charges(intercept, service), *self._host_calls(count * self.host_syscalls, operation.kernel_s))

    def _host_calls(self, count: float, kernel_s: float = 0.0) -> Lowered:
        """Calls that the sandbox's kernel makes to the host's."""
        left = Charge(cause="host_call", amount=count * self.host_call_s)
        return (*charges(left), Syscall(count=count, kernel_s=kernel_s))

    def _open(self, count: float) -> Lowered:
        serve = Charge(cause="file_server", amount=count * self.file_open_s)
        return (
            *self._syscall(Syscall(count=2 * count), 2 * count),
            *in_context(_FILES, Wake(count=count), *charges(serve), Syscall(count=count * self.file_open_syscalls)),
        )

    def _receive(self, operation: Receive) -> Lowered:
        packets, size = operation.packets, operation.size_bytes
        stack = Charge(cause="sandbox_net_rx", amount=packets * self.receive_s + size * self.receive_s_per_byte)
        return in_context(_NETWORK, operation, Wake(count=operation.messages), *self._host_calls(packets), *charges(stack))
