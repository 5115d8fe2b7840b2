"""What a layer is: frozen data and one pure function.

A layer turns operations of the interface that it provides into charges of its own and operations of the interface that it requires.
It knows nothing of time, queues or neighbours; contention is the resources' business.

Four rules make one small contract carry every platform:

- CPU time that a layer charges is executed by the machine below it. So every CPU charge is passed down as `Compute`, and the layers
  below add what they add to any instruction (ticks, emulation).
- A charge says in which *context* the work is done: inline on the caller, in an interrupt of the nearest kernel, on another
  thread, or in a service VM. A context chosen by a layer holds for everything that its operation becomes further below, until
  a lower layer chooses another.
- A charge says *when* it is due: always, or only if somebody has to be woken. What wakes nobody costs nothing, which is how batching
under load
  comes out instead of going in.
- Amounts are linear in the operation's amounts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum, StrEnum
from math import inf
from typing import Any, ClassVar, Final, Self, TypeVar

from simvirt.demand import Interface, Operation
from simvirt.evidence import Choice, Cost

__all__ = [
    "CALLER",
    "CRITICAL_SECTION",
    "INTERRUPT",
    "AbstractLayer",
    "BlockWork",
    "Charge",
    "Context",
    "Host",
    "Item",
    "Lowered",
    "Place",
    "Placed",
    "Resource",
    "When",
    "charges",
    "costs_of",
    "in_context",
    "map_costs",
]


class Resource(StrEnum):
    """What a charge is served by."""

    CPU = "cpu"
    """Core-seconds."""
    NIC_RX = "nic_rx"
    """Frames (and bytes) received on the wire."""
    NIC_TX = "nic_tx"
    """Frames (and bytes) sent on the wire."""
    DISK = "disk"
    """Seconds of one disk channel."""
    DISK_BUS = "disk_bus"
    """Seconds of the bus that the disk's channels share."""
    DIRTY = "dirty"
    """Bytes that a kernel takes into its page cache to write them back later."""
    SYNC = "sync"
    """Waits for what the tenant has in a kernel's page cache to be written back."""
    DELAY = "delay"
    """Seconds that pass whatever else happens (propagation, interrupt moderation)."""
    MODERATION = "moderation"
    """Frames that a network card may hold back before it interrupts."""
    TRACKING = "tracking"
    """Entries of a kernel's table of tracked connections."""
    TURN = "turn"
    """Times that the application's thread turns to other requests; no layer charges it."""


class Place(Enum):
    """Kinds of context."""

    CALLER = "caller"
    INTERRUPT = "interrupt"
    THREAD = "thread"
    SERVICE_VM = "service_vm"


@dataclass(frozen=True, slots=True)
class Context:
    """Where work is done, and (once folded) whose it is."""

    place: Place
    name: str = ""
    """Name of the thread or the service VM."""
    level: int = -1
    """Index of the layer whose thread, kernel or service VM it is; set when the stack is folded."""
    held: bool = False
    """Whether the thread stays with the request until its last step there: it blocks on whatever comes between. A step that costs nothing
    is none, so a thread with nothing to do after the device does not block on it."""
    locked: bool = False
    """Whether the caller holds the lock of its kernel meanwhile."""


CALLER: Final = Context(Place.CALLER)
INTERRUPT: Final = Context(Place.INTERRUPT)
CRITICAL_SECTION: Final = Context(Place.CALLER, locked=True)
"""On the caller, while it holds the lock of the kernel that settles the context."""


class When(Enum):
    """When a charge is due."""

    ALWAYS = "always"
    ASLEEP = "asleep"
    """If the thread or interrupt handler that does the work was idle when the work came."""
    PROCESSOR_IDLE = "processor_idle"
    """If the virtual processor on which the work runs was halted."""
    NEXT_ASLEEP = "next_asleep"
    """If whoever does the next step has to be notified because it is idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockWork:
    """What a charge of the disk's time is for, as far as the disk's queue cares."""

    write: bool
    count: float = 0.0
    """Requests."""
    positionings: float = 0.0
    """Of them, those at a random place: moves of an arm, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """An amount of a resource, with the cause that it is spent for."""

    cause: str
    amount: float
    resource: Resource = Resource.CPU
    context: Context = CALLER
    when: When = When.ALWAYS
    size_bytes: float = 0.0
    block: BlockWork | None = None
    sections: float = 0.0
    """Critical sections that the amount is the length of, all together."""
    layer: str = ""
    """Name of the layer that charges; set when the stack is folded."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An operation for the layer below, done in a context and on a condition that this layer chose."""

    operation: Operation
    context: Context = CALLER
    when: When = When.ALWAYS


Item = Charge | Placed | Operation
Lowered = tuple[Item, ...]
"""What an operation becomes at one layer: charges and operations for the layer below, in the order in which time is spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What lowering may know of the machine at the bottom."""

    clock_hz: float
    """Cycles per second of one core."""
    core_speed: float
    """Speed of one core relative to the reference core (1.0): work of `cpu_s` reference seconds takes `cpu_s / core_speed`."""


class AbstractLayer(ABC):
    """A kind of layer. Final classes are frozen dataclasses whose fields are costs, parts made of costs, or plain choices."""

    name: str
    summary: str
    requires: Interface | None
    provides: Interface

    kind: ClassVar[str]
    """The word that a profile uses for this kind of layer."""
    schedules_threads: ClassVar[bool] = False
    """Whether it holds a kernel: something with interrupts and run queues of its own."""
    provides_processors: ClassVar[bool] = False
    """Whether what stands on it runs on virtual processors that it makes."""
    isolates_group: ClassVar[bool] = False
    """Whether what stands on it is a control group of the kernel below."""

    @abstractmethod
    def lower(self, operation: Operation, host: Host) -> Lowered:
        """Turn one operation of the provided interface into charges and operations of the required one."""

    @property
    def own_scheduler(self) -> Choice | None:
        """The CPU scheduler of its kernel, where `schedules_threads`."""
        return None

    @property
    def weight_counts_per(self) -> str:
        """What carries the CPU weight of those that it makes or holds, in words; empty if it has none to give."""
        return ""

    @property
    def group_weight(self) -> float:
        """Weight of its control group among siblings, where `isolates_group`."""
        return 1.0

    def wake_processor(self, host: Host) -> Lowered:
        """What leaving the halted state costs one of the virtual processors that this layer provides."""
        return ()

    def wake_polled_processor(self, host: Host) -> Lowered:
        """The same while it looks out for work for that processor."""
        return ()

    @property
    def backing_page_bytes(self) -> float:
        """Pages in which it backs the memory of its virtual machines, where they are walked for; as large as anybody likes elsewhere."""
        return inf

    @property
    def halt_poll_s(self) -> float:
        """How long at most it looks out for work for a halted virtual processor before it lets it sleep."""
        return 0.0

    @property
    def pause_loop_s(self) -> float:
        """For how long its virtual processors may spin before it lets others run; as long as they like if 0."""
        return 0.0

    @property
    def boosts_holder(self) -> bool:
        """Whether it then runs who has the lock."""
        return False

    @property
    def tells_steal(self) -> bool:
        """Whether it tells the kernel in a virtual machine for how long its processors were taken away."""
        return False

    @property
    def redelivers_ticks(self) -> bool:
        """Whether ticks that fell into that time are delivered to a virtual machine afterwards."""
        return False

    @property
    def tick_s(self) -> float:
        """Its part of one timer tick: a kernel's for handling it, a hypervisor's for delivering it."""
        return 0.0

    @property
    def counts_ticks(self) -> bool:
        """Whether it tells time by counting ticks, where `schedules_threads`."""
        return False

    @property
    def subtracts_steal(self) -> bool:
        """Whether it does not charge threads for time that it was told was taken away, where `schedules_threads`."""
        return False

    def on(self, clock_hz: float) -> Self:
        """The same layer with its costs resolved for a machine with this clock."""
        return map_costs(self, lambda _, cost: cost.on(clock_hz))


T = TypeVar("T")


def map_costs(part: T, change: Callable[[str, Cost], Cost], prefix: str = "") -> T:
    """A copy of a layer, or of a part of one, with `change(dotted field name, cost)` in place of every cost."""
    changed: dict[str, Any] = {}
    for field in fields(part):  # type: ignore[arg-type]
        value = getattr(part, field.name)
        if isinstance(value, Cost):
            changed[field.name] = change(prefix + field.name, value)
        elif is_dataclass(value) and not isinstance(value, Interface):
            changed[field.name] = map_costs(value, change, f"{prefix}{field.name}.")
    return replace(part, **changed)  # type: ignore[type-var]


def costs_of(part: Any, prefix: str = "") -> Iterator[tuple[str, Cost]]:
    """Every cost of a layer with its dotted field name, in the order of declaration."""
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Cost):
            yield prefix + field.name, value
        elif is_dataclass(value) and not isinstance(value, Interface):
            yield from costs_of(value, f"{prefix}{field.name}.")


def charges(*charged: Charge) -> tuple[Charge, ...]:
    """The charges that amount to something."""
    return tuple(c for c in charged if c.amount or c.size_bytes)


def in_context(context: Context, *items: Item) -> Lowered:
    """The same items, done in a context; a charge or operation that has chosen one already keeps it."""
    wrapped = (Placed(item) if isinstance(item, Operation) else item for item in items)
    return tuple(replace(item, context=context) if item.context == CALLER else item for item in wrapped)
