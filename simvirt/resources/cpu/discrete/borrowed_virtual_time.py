"""Borrowed virtual time: whoever has least virtual time runs next, for at least the context-switch allowance (Xen until 2005, "bvt").

Virtual time grows by 1024 / weight per `UNIT_S` of running; each turn counts as a whole number of units, rounded up. Who is chosen runs for
`allowance_s`, to the instant, and then whoever has least virtual time is chosen, of equals the one that has just woken up, then the one
that waits longest. Who is alone is chosen again every ten allowances. One that wakes up comes at no less than the least virtual time at
the last choice. It does not preempt within the allowance of the current one; after it, if nobody else was waiting, it does.

Groups divide what they get in the same way. Not modelled: warping (the loan of virtual time, off by default), and the time until the next
one is caught up with, which that kernel adds to the allowance as so many nanoseconds where units were meant, so that it never mattered.
Processors were not balanced in it; here they are, as under all rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappush
from math import ceil, floor, inf
from typing import Final, final

from simvirt.resources.cpu.discrete.contract import NANOSECOND, UNIT_WEIGHT
from simvirt.resources.cpu.discrete.hierarchy import AbstractFairRules, AbstractOrderedQueue, Entity, FairGroup, QueueMaker

__all__ = ["TURNS_ALONE", "UNIT_S", "BorrowedVirtualTime"]

UNIT_S: Final = 0.0001
"""Minimum charging unit."""
TURNS_ALONE: Final = 10
"""Allowances until somebody who runs alone is looked at."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BorrowedVirtualTime(AbstractFairRules):
    """Parameters of borrowed virtual time."""

    allowance_s: float = 0.005
    """Context-switch allowance: the slice."""

    def look_at(self, now: float, after_s: float) -> float:
        """At that instant: a timer is set for it."""
        return now + max(after_s, NANOSECOND)

    def queue_maker(self, processors: int) -> QueueMaker:
        return lambda group, owner: _Queue(group, owner, self.allowance_s)

    def problems(self) -> list[str]:
        found = AbstractFairRules.problems(self)
        return found if 0.0 < self.allowance_s < inf else [*found, f"allowance_s: {self.allowance_s} s; must be positive"]


@final
class _Queue(AbstractOrderedQueue):
    """Entities in order of virtual time."""

    __slots__ = ("_allowance_s", "_system", "_woken")

    def __init__(self, group: FairGroup, owner: Entity | None, allowance_s: float) -> None:
        super().__init__(group, owner)
        self._allowance_s = allowance_s
        self._system = 0.0
        """System virtual time: the least there was when a choice was last made."""
        self._woken = False
        """Whether the entity that comes has just woken up."""

    def place(self, entity: Entity, *, waking: bool) -> None:
        if entity.queue is not self and isinstance(entity.queue, _Queue):
            entity.vruntime += self._system - entity.queue._system
        self._look_at_loner()
        if waking or entity.vruntime == -inf:
            entity.vruntime = max(entity.vruntime, self._system)
        self._woken = waking

    def _look_at_loner(self) -> None:
        """Make the choices that were made while the current one was alone: nobody looked, as they change nothing until somebody comes."""
        current = self.current
        if current is None or self.count > 1:
            return
        turn_s = TURNS_ALONE * self._allowance_s
        turns = floor((current.ran_s - current.picked_s) / turn_s + 1e-9)
        if turns:
            current.vruntime += turns * ceil(turn_s / UNIT_S - 1e-6) * (UNIT_WEIGHT / current.weight)
            current.picked_s += turns * turn_s
            self._system = max(self._system, current.vruntime)

    def push(self, entity: Entity) -> None:
        if not self._woken:
            super().push(entity)
            return
        self._woken = False
        self.orders += 1
        entity.order = -1 - self.orders  # before all others; -1 itself is no order
        heappush(self._heap, (entity.vruntime, entity.order, entity))

    def demote(self) -> None:
        if self.current is not None:
            self._end_turn(self.current)
        super().demote()

    def leave(self, entity: Entity) -> None:
        if entity is self.current:
            self._look_at_loner()
            self._end_turn(entity)

    def choose(self) -> Entity | None:
        first, current = self._first(), self.current
        if current is not None and first is not None and not self.expired():
            return current
        if current is not None:
            self._end_turn(current)
        chosen = current if first is None or (current is not None and first.vruntime > current.vruntime) else first
        if chosen is not None:
            self._system = max(self._system, chosen.vruntime)
        return chosen

    def _end_turn(self, entity: Entity) -> None:
        """Count what was run since the last time."""
        units = ceil((entity.ran_s - entity.picked_s) / UNIT_S - 1e-6)
        entity.vruntime += units * (UNIT_WEIGHT / entity.weight)
        entity.picked_s = entity.ran_s

    def advance(self, entity: Entity, elapsed_s: float, now: float) -> bool:
        return False

    def preempts(self, entity: Entity) -> bool:
        return self.expired()

    def expires_s(self) -> float:
        current = self.current
        assert current is not None
        return self._allowance_s - (current.ran_s - current.picked_s)

    def expired(self) -> bool:
        return self.expires_s() < NANOSECOND
