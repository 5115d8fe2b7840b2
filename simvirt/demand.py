"""The words that workloads and layers share: operations, and the demand of a request.

An operation says what is asked for, never how a platform does it. Operations of the `os` interface are what an application asks of
an operating system; those of the `machine` interface are what a kernel asks of a machine, real or virtual. Every numeric
field is an amount, but for those named as properties, so operations can be added and scaled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

__all__ = [
    "AddressSpaceSwitch",
    "Allocate",
    "BlockFlush",
    "BlockRead",
    "BlockReadCached",
    "BlockWrite",
    "Compute",
    "Connect",
    "ContextSwitch",
    "Demand",
    "DeviceReceive",
    "DeviceSend",
    "DiskRead",
    "DiskReadCached",
    "DiskWrite",
    "FileGrowth",
    "FileOpen",
    "FileRead",
    "FileWrite",
    "FirstWrite",
    "Flush",
    "FreshPage",
    "Interface",
    "Interrupt",
    "KernelEntry",
    "Locked",
    "MachineOperation",
    "MemoryDemand",
    "NicRegister",
    "Operation",
    "OsOperation",
    "PageFault",
    "PageTableUpdate",
    "PageVisits",
    "Privileged",
    "Receive",
    "Send",
    "Spawn",
    "Syscall",
    "Timer",
    "Wake",
    "Watch",
    "Yield",
]


@dataclass(frozen=True, slots=True, order=True)
class Interface:
    """What a layer offers upwards or needs below: a kind and a flavour, such as machine:x86_64 or os:linux."""

    kind: str
    flavour: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.flavour}"

    @classmethod
    def parse(cls, text: str) -> Interface:
        kind, _, flavour = text.partition(":")
        if kind not in ("machine", "os", "bytecode") or not flavour:
            raise ValueError(f"{text!r} is not an interface; write machine:…, os:… or bytecode:…, such as 'machine:x86_64'")
        return cls(kind, flavour)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A quantity of one kind of work. Amounts are linear: `a + b` and `a.scaled(x)` mean what they say."""

    PROPERTIES: ClassVar[frozenset[str]] = frozenset()
    """Fields that say what the work is like, not how much of it there is: they do not add up."""

    def __add__(self, other: Self) -> Self:
        if type(self) is not type(other):
            raise TypeError(f"cannot add {type(self).__name__} and {type(other).__name__}: only the same operation adds up")
        unlike = sorted(name for name in self.PROPERTIES if getattr(self, name) != getattr(other, name))
        if unlike:
            raise ValueError(f"cannot add two {type(self).__name__} that differ in {', '.join(unlike)}: only like work adds up")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in self._amounts()})

    def scaled(self, factor: float) -> Self:
        """`factor` times as much."""
        return replace(self, **{name: getattr(self, name) * factor for name in self._amounts()})

    @property
    def is_zero(self) -> bool:
        """Whether nothing is asked for."""
        return not any(getattr(self, name) for name in self._amounts())

    def _amounts(self) -> Iterator[str]:
        return (f.name for f in fields(self) if f.name not in self.PROPERTIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute(Operation):
    """Instructions that a processor executes by itself. The one operation of both interfaces."""

    cpu_s: float = 0.0
    """Seconds on the reference core in a workload; a stack turns them into seconds on its host before it lowers them."""
    float_s: float = 0.0
    """The part of `cpu_s` spent in floating-point instructions (an emulator pays more for them)."""
    tlb_misses: float = 0.0
    """Misses whose page walk the hardware does, in pages of 4 KiB; their native cost is inside `cpu_s`."""


class OsOperation(Operation):
    """What an application asks of an operating system."""

    __slots__ = ()


class MachineOperation(Operation):
    """What a kernel asks of a machine."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Syscall(OsOperation):
    """Enter and leave the kernel `count` times, with `kernel_s` seconds of work inside in all (reference core)."""

    count: float = 0.0
    kernel_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked(OsOperation):
    """Critical sections under the one lock that a kernel has for all that stands on it: `sections` of `held_s` seconds in all (reference
    core), one right after the other. A request takes the lock a whole number of times, to the nearest, and once at least.
    """

    sections: float = 0.0
    held_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFault(OsOperation):
    """Minor faults on anonymous memory; `fresh` of them touch frames that the machine has never backed."""

    count: float = 0.0
    fresh: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSwitch(OsOperation):
    """Switches between threads, displacing `displaced_bytes` of cached working set in all."""

    count: float = 0.0
    displaced_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawn(OsOperation):
    """Processes created (fork and exec). They end with the request, but for those that are `kept`."""

    count: float = 0.0
    kept: float = 0.0
    """Of them, those that stay as long as their owner lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOpen(OsOperation):
    """Files opened by name and closed at the end of the request, but for those that are `kept`; the path is in the kernel's caches."""

    count: float = 0.0
    kept: float = 0.0
    """Of them, those that stay open as long as their owner lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receive(OsOperation):
    """Messages that arrive from the network at a socket: `packets` packets with `size_bytes` bytes in all."""

    messages: float = 0.0
    packets: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake(OsOperation):
    """A thread that waited for what came before (a message) is made to run, `count` times."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer(OsOperation):
    """Timers that somebody set expire, and are set anew: `count` times."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect(OsOperation):
    """Connections that a peer opens: the handshake before the first message, and the end after the last one."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PageVisits(OsOperation):
    """Accesses of an application that go to another page each, at random, within `size_bytes` of its memory that stand in pages of
    `page_bytes`. What the translation buffer does not hold is walked for (see `simvirt.layers.translation`); all else about the accesses is
    in the compute beside them.
    """

    PROPERTIES: ClassVar[frozenset[str]] = frozenset({"size_bytes", "page_bytes"})

    count: float = 0.0
    size_bytes: float = 0.0
    page_bytes: float = 4096.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Yield(OsOperation):
    """The thread turns to what else is ready, and goes on with this request when its turn comes again.

    So do event loops that read a whole round of requests before they write the answers. It costs nothing by itself; system calls of the
    round are asked for beside it.
    """

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Send(OsOperation):
    """Messages handed to the network: `packets` packets with `size_bytes` bytes in all."""

    messages: float = 0.0
    packets: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskRead(OsOperation):
    """Reads that miss the page cache, or go past it: `count` requests, `random` of them at random places, `size_bytes` in all."""

    count: float = 0.0
    random: float = 0.0
    size_bytes: float = 0.0
    queued: float = 0.0
    """Of them, those that their thread does not wait for (asynchronous input and output): it is woken only if it sleeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReadCached(OsOperation):
    """Reads that miss the page cache of their own kernel and would be found in that of a host below, if its disk is a file there."""

    count: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskWrite(OsOperation):
    """Writes that reach the device before they return: `count` requests, `random` at random places, `size_bytes` in all."""

    count: float = 0.0
    random: float = 0.0
    size_bytes: float = 0.0
    volatile: float = 0.0
    """Of them, those that may stay in the drive's volatile cache (direct writes without a flush)."""
    queued: float = 0.0
    """Of them, those that their thread does not wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRead(OsOperation):
    """Reads through the page cache. What of them misses it is settled by cache and working set before a demand is lowered."""

    count: float = 0.0
    random: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileWrite(OsOperation):
    """Writes into the page cache, written back later: `count` calls, `random` of them at random places, `size_bytes` in all."""

    count: float = 0.0
    random: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush(OsOperation):
    """Wait until all that was written before is on stable storage (fsync), `count` times."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstWrite(OsOperation):
    """Files that came with an image and are changed for the first time: `count` files of `size_bytes` in all. The write itself is apart."""

    count: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGrowth(OsOperation):
    """What a file system must find room for, and keeps: `files` new files, and `size_bytes` by which files become longer.

    It takes no time by itself: opening and writing are asked for beside it.
    """

    files: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocate(OsOperation):
    """Private memory that a program asks for, touched or not: given back at the end of the request, but for what is kept.

    It takes no time by itself; the faults of touching it are asked for beside it.
    """

    size_bytes: float = 0.0
    kept_bytes: float = 0.0
    """Of it, what stays as long as its owner lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch(OsOperation):
    """Files or folders that a program asks its kernel to watch, and goes on watching. The system call is asked for beside it."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelEntry(MachineOperation):
    """Transitions from user to kernel mode and back (system calls and exceptions)."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Privileged(MachineOperation):
    """Sensitive instructions or register accesses that a virtual machine must trap (timer, APIC, doorbells, control registers)."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt(MachineOperation):
    """Interrupts that the machine delivers and a kernel acknowledges."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTableUpdate(MachineOperation):
    """Page-table entries written by a kernel."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressSpaceSwitch(MachineOperation):
    """Loads of the page-table base register."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshPage(MachineOperation):
    """First touches of machine frames (a virtual machine's are backed on demand)."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReceive(MachineOperation):
    """Packets that the machine's network card delivers to the kernel, in bursts of one message each."""

    messages: float = 0.0
    packets: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NicRegister(MachineOperation):
    """Rounds of register accesses by which a driver takes an interrupt of its network card: cause, mask, new buffers."""

    count: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSend(MachineOperation):
    """Packets that a kernel hands to the machine's network card, in bursts of one message each."""

    messages: float = 0.0
    packets: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRead(MachineOperation):
    """Requests that read from the machine's disk."""

    count: float = 0.0
    random: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReadCached(MachineOperation):
    """Requests that read from the machine's disk what a host below would hold in its page cache, if the disk is a file there."""

    count: float = 0.0
    size_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockWrite(MachineOperation):
    """Requests that write to the machine's disk and wait until it is stable, but for the `volatile` ones."""

    count: float = 0.0
    random: float = 0.0
    size_bytes: float = 0.0
    volatile: float = 0.0
    """Of them, those that may stay in the drive's volatile cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFlush(MachineOperation):
    """Commands that empty the disk's volatile cache."""

    count: float = 0.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What one request asks for: operations in the order in which its time is spent.

    The amounts are means. A request draws one factor with mean 1, which scales its `Compute` operations; all else is the same
    for every request.
    """

    operations: tuple[Operation, ...]

    def scaled(self, factor: float) -> Demand:
        return Demand(tuple(operation.scaled(factor) for operation in self.operations))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryDemand:
    """What an application asks for of memory while it runs, in bytes."""

    resident_bytes: float = 0.0
    """Memory of its own: heaps, stacks, tables."""
    image_bytes: float = 0.0
    """Pages of its program and libraries that it uses."""
    cache_bytes: float = 0.0
    """Pages of files that it reads again and again."""

    def scaled(self, factor: float) -> MemoryDemand:
        """`factor` times as much."""
        return MemoryDemand(**{f.name: getattr(self, f.name) * factor for f in fields(self)})
