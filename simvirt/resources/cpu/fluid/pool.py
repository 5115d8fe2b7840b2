"""The threads that sit directly in one group, and the bursts that they run."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf
from typing import Any, Protocol, final

from simvirt.engine import Engine, Wakeup
from simvirt.resources.cpu.contract import AbstractLock, AbstractThread, Done, Share
from simvirt.resources.cpu.fluid.gate import Gate
from simvirt.resources.cpu.fluid.node import AbstractDivider, Burst, Node

__all__ = ["FluidThread", "Pool", "Runner"]


@final
class Pool(Node):
    """The runnable threads that sit directly in one group: they share its rate equally, so each has the same virtual time.

    Virtual time is work done per thread; in a tree of clocks it grows by weight / runnable per unit of the cohort's clock.
    """

    __slots__ = ("full_speed_s", "gates", "heap", "virtual")

    def __init__(self, parent: AbstractDivider, share: Share, gates: tuple[Gate, ...], now: float) -> None:
        super().__init__(parent, share, now)
        self.gates = gates
        """Limits on the way to the root, the innermost first."""
        self.virtual = 0.0
        self.heap: list[Burst] = []
        self.full_speed_s = 0.0
        """What its threads got while nothing held them back."""

    def at_full_speed_s(self) -> float:
        return self.full_speed_s

    def forget(self) -> None:
        super().forget()
        self.full_speed_s = 0.0

    def change(self, added: int, now: float) -> None:
        self.demand += added
        Node.change(self, added, now)

    def sync(self, now: float) -> None:
        """Move virtual time to where the cohort's clock is; never past the first completion, and exactly there when it is due."""
        divider, cohort = self.divider, self.cohort
        assert divider is not None
        divider.sync(now)
        if cohort is None:
            return
        clock = divider.clock(cohort)
        passed = clock - self.at
        if passed > 0.0:
            self.at = clock
            self.busy_s += self.weight * passed
            self.virtual += passed * self.weight / self.runnable
        first = self.heap[0][0]
        if clock >= self.key or self.virtual > first:
            self.virtual = first

    def collect(self, finished: list[Burst], now: float) -> None:
        heap, virtual = self.heap, self.virtual
        before = len(heap)
        while heap and heap[0][0] <= virtual:
            finished.append(heappop(heap))
        self.key = inf
        self.change(len(heap) - before, now)
        if not heap:
            self.virtual = 0.0

    def plan(self) -> None:
        if self.heap:
            key = self.at + (self.heap[0][0] - self.virtual) * self.runnable / self.weight
            if key != self.key:
                self.key = key
                assert self.divider is not None
                self.divider.post(self)

    def empty(self) -> list[Burst]:
        """Take out all bursts, each with the work that is left."""
        virtual = self.virtual
        left = [(end - virtual, order, thread) for end, order, thread in self.heap]
        self.heap.clear()
        self.virtual = 0.0
        return left


class Runner(Protocol):
    """What a thread needs of its scheduler."""

    aim: float
    engine: Engine
    wakeup: Wakeup
    orders: Iterator[int]
    queue: list[tuple[float, int, Any]]

    def squeeze(self, thread: FluidThread, cpu_s: float) -> None:
        """Start a burst where something holds the thread back."""

    def withdraw(self, thread: FluidThread) -> float | None:
        """Take the burst of a thread back: the work that is left of it; None if it has just been served."""


def _frozen(_: Any) -> None:
    """What a frozen thread has for a burst."""
    raise AssertionError("a frozen thread has been served")


@final
class FluidThread(AbstractThread):
    """A thread under fluid sharing: at most 1 core, equal to the other threads of its group."""

    __slots__ = ("argument", "done", "gates", "kept", "lock", "name", "pool", "runner", "since")

    def __init__(self, name: str, pool: Pool, runner: Runner) -> None:
        self.name = name
        self.pool = pool
        self.gates = pool.gates
        self.runner = runner
        self.done: Done | None = None
        self.argument: Any = None
        self.since = 0.0
        """At full speed: since when its time is not in the account of the pool yet."""
        self.kept: tuple[float, Done, Any] | None = None
        """The burst of a frozen thread."""
        self.lock: AbstractLock | None = None
        """What it asked for while it was frozen."""

    def freeze(self) -> None:
        if self.done is _frozen:
            return
        if self.done is not None:
            done, argument = self.done, self.argument
            left_s = self.runner.withdraw(self)
            if left_s is None:
                return
            self.kept = (left_s, done, argument)
        self.done = _frozen

    def thaw(self) -> None:
        if self.done is _frozen:
            self.done = None
            kept, self.kept = self.kept, None
            lock, self.lock = self.lock, None
            if kept is not None:
                self.run(*kept)
            elif lock is not None:
                lock.came_back(self)

    def has_processor(self) -> bool:
        return self.done is not _frozen

    def spin(self, lock: AbstractLock, done: Done, argument: Any) -> None:
        if self.done is _frozen:
            self.lock = lock

    def run(self, cpu_s: float, done: Done, argument: Any) -> None:
        if self.done is not None:
            if self.done is _frozen:
                self.kept = (cpu_s, done, argument)
                return
            raise RuntimeError(f"thread {self.name}: runs a burst already; wait until it is done")
        if not 0.0 < cpu_s < inf:
            raise ValueError(f"thread {self.name}: burst of {cpu_s} s; must be positive and finite")
        self.done = done
        self.argument = argument
        runner, gates = self.runner, self.gates
        for gate in gates:
            if gate.room < 0.999999999:  # 1, to rounding
                runner.squeeze(self, cpu_s)
                return
        for gate in gates:
            gate.room -= 1.0
            if gate.idle_since:
                gate.idle_since.pop()
            else:
                gate.crowd += 1
        self.since = now = runner.engine._now
        end = now + cpu_s
        heappush(runner.queue, (end, next(runner.orders), self))
        if end < runner.aim:
            runner.aim = end
            runner.wakeup.at(end)
