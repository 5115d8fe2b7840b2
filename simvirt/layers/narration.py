"""One operation's way down a stack, told step by step: who does what, for which cause, and which costs stand behind the time.

Nothing here knows what an operation costs: the way is the planned path that simulations run, and a cost stands behind a line if the line
changes with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from simvirt.demand import (
    Compute,
    ContextSwitch,
    Demand,
    DiskRead,
    DiskWrite,
    FileOpen,
    PageFault,
    Receive,
    Send,
    Spawn,
    Syscall,
    Wake,
)
from simvirt.evidence import Cost
from simvirt.layers.contract import Context, Place, Resource, costs_of, map_costs
from simvirt.layers.path import Amounts, Step, plan_path
from simvirt.layers.stack import APPLICATION, Stack

__all__ = ["EXAMPLES", "Due", "Example", "Line", "narrate"]


@dataclass(frozen=True, slots=True)
class Example:
    """An operation that can be told of: what it is in words, and as a demand."""

    summary: str
    demand: Demand


EXAMPLES: Final[Mapping[str, Example]] = {
    "syscall": Example("a system call that does nothing", Demand((Syscall(count=1),))),
    "fault": Example("the first touch of a page of memory", Demand((PageFault(count=1, fresh=1),))),
    "packet": Example(
        "a message of 100 B that arrives, wakes the thread that waits for it, and is answered by one of 100 B",
        Demand((Receive(messages=1, packets=1, size_bytes=100), Wake(count=1), Send(messages=1, packets=1, size_bytes=100))),
    ),
    "block": Example("a blocking read of 4 KiB at a random place of the disk", Demand((DiskRead(count=1, random=1, size_bytes=4096),))),
    "flush": Example("a blocking write of 4 KiB that is stable when it returns", Demand((DiskWrite(count=1, random=1, size_bytes=4096),))),
    "switch": Example("a switch between two threads that share nothing in the cache", Demand((ContextSwitch(count=1),))),
    "spawn": Example("a process made by fork and exec", Demand((Spawn(count=1),))),
    "open": Example("a file opened by name and closed again", Demand((FileOpen(count=1),))),
    "compute": Example("a millisecond of instructions", Demand((Compute(cpu_s=1e-3),))),
}
"""What can be told, by the word that asks for it."""


class Due:
    """On what condition a line's time is spent."""

    ALWAYS: Final = "always"
    ASLEEP: Final = "if it slept"
    NOTIFY: Final = "if the next sleeps"
    HALTED: Final = "if the vCPU was halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A piece of a step: its time, and the costs behind it."""

    step: int
    """Steps count from 1: each is done by one executor or device in one go."""
    who: str
    layer: str
    cause: str
    due: str
    time_s: float
    costs: tuple[tuple[str, str, Cost], ...]
    """Name of the layer, name of the cost in it, the cost: those with which the time changes."""


_Key = tuple[int, str, int, str, str]
"""Step, condition, which of several, layer, cause."""


def narrate(stack: Stack, demand: Demand) -> tuple[Line, ...]:
    """The way of a demand through a stack. Times are of one request with nobody else there, its own factor being 1."""
    steps = plan_path(stack, demand).steps
    times = dict(_times(stack, steps))
    behind: dict[_Key, list[tuple[str, str, Cost]]] = {key: [] for key in times}
    for name, field, cost, other in _variations(stack):
        for key, time_s in _times(other, plan_path(other, demand).steps):
            if key in times and abs(time_s - times[key]) > 1e-9 * times[key]:
                behind[key].append((name, field, cost))
    return tuple(
        Line(step=i + 1, who=_who(stack, steps[i]), layer=layer, cause=cause, due=due, time_s=time_s, costs=tuple(behind[key]))
        for key, time_s in times.items()
        for i, due, _, layer, cause in (key,)
    )


def _variations(stack: Stack) -> Iterator[tuple[str, str, Cost, Stack]]:
    """Each cost that is not zero, with the stack in which it is twice as large."""
    for i, layer in enumerate(stack.layers):
        for field, cost in costs_of(layer):
            if cost.value:
                double = replace(cost, value=2 * cost.value, high=max(cost.high, 2 * cost.value))
                changed = map_costs(layer, lambda name, old, field=field, double=double: double if name == field else old)  # type: ignore[misc]
                yield stack.names[i], field, cost, Stack((*stack.layers[:i], changed, *stack.layers[i + 1 :]))


def _times(stack: Stack, steps: tuple[Step, ...]) -> Iterator[tuple[_Key, float]]:
    for i, step in enumerate(steps):
        runs = i == 0 and step.resource is Resource.CPU and step.context.place is Place.CALLER
        for due, j, amounts in _amounts(step):
            if runs and due in (Due.HALTED, Due.ASLEEP):
                continue  # who begins an operation is awake
            for part in amounts.parts:
                yield (i, due, j, part.layer, part.cause), _seconds(stack, step, part.amount)


def _amounts(step: Step) -> Iterator[tuple[str, int, Amounts]]:
    for j, (_, amounts) in enumerate(step.idle):
        yield Due.HALTED, j, amounts
    yield Due.ASLEEP, 0, step.asleep
    yield Due.ALWAYS, 0, step.fixed
    yield Due.ALWAYS, 1, step.random
    yield Due.NOTIFY, 0, step.notify


def _seconds(stack: Stack, step: Step, amount: float) -> float:
    """The time of a part; a link takes as long as its frames or its bytes do, whichever is longer."""
    if step.resource in (Resource.NIC_RX, Resource.NIC_TX):
        nic = stack.hardware.nic
        return max(amount / nic.packet_rate_per_s.si, step.size_bytes / nic.bandwidth_bytes_per_s.si)
    return amount


_DEVICES: Final = {
    Resource.NIC_RX: "wire, inwards",
    Resource.NIC_TX: "wire, outwards",
    Resource.DISK: "disk",
    Resource.DISK_BUS: "bus of the disk",
    Resource.DELAY: "(time passes)",
}


def _who(stack: Stack, step: Step) -> str:
    return _DEVICES.get(step.resource, str(step.resource)) if step.resource is not Resource.CPU else _executor(stack, step.context)


def _executor(stack: Stack, context: Context) -> str:
    match context.place:
        case Place.CALLER:
            return f"thread of the {APPLICATION}"
        case Place.INTERRUPT:
            return f"interrupt of {stack.names[context.level]}"
        case Place.THREAD:
            return f"thread {context.name} of {stack.names[context.level]}"
        case Place.SERVICE_VM:
            return f"service VM {context.name} of {stack.names[context.level]}"
