"""Proportional share by entitlement: whoever has had least of what its shares entitle it to runs next, for a whole quantum.

What a hypervisor's own scheduler is described to do that gives virtual processors shares: ESXi (quantum 50 ms) and Hyper-V (about 10 ms).
Consumed time grows by 1024 / weight per second of running. The entity that has consumed least runs, until it has run for `quantum_s`, to
the instant: its timer does not wait for a tick. One that wakes up preempts if it has consumed less than the current one by more than
`lead_s` of its own time. Whoever slept keeps what it saved, but no more than a quantum. Groups divide what they get in the same way;
caps are quotas; a group with a reservation is entitled to that at least (`reservations.py`). With a `skew_s`, a virtual processor that
leads its siblings by as much is stopped until they have caught up (`gang.py`).

Published descriptions say no more than this; the ageing of what was consumed is not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar, final

from simvirt.resources.cpu.discrete.contract import NANOSECOND, UNIT_WEIGHT
from simvirt.resources.cpu.discrete.hierarchy import AbstractFairRules, AbstractOrderedQueue, Entity, FairGroup, QueueMaker

__all__ = ["ProportionalShare"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ProportionalShare(AbstractFairRules):
    """Parameters of sharing by entitlement."""

    quantum_s: float = 0.05
    lead_s: float = 0.001
    skew_s: float = 0.0
    """The most that a virtual processor may be ahead of its siblings; 0 for no bound."""

    has_reservations: ClassVar[bool] = True

    def most_lead_s(self) -> float:
        return self.skew_s or inf

    def look_at(self, now: float, after_s: float) -> float:
        """At that instant: a timer is set for it."""
        return now + max(after_s, NANOSECOND)

    def queue_maker(self, processors: int) -> QueueMaker:
        return lambda group, owner: _Queue(group, owner, self.quantum_s, self.lead_s)

    def problems(self) -> list[str]:
        found = AbstractFairRules.problems(self)
        if not 0.0 < self.quantum_s < inf:
            found.append(f"quantum_s: {self.quantum_s} s; must be positive")
        if not 0.0 <= self.lead_s < inf:
            found.append(f"lead_s: {self.lead_s} s; must be at least 0")
        if not 0.0 <= self.skew_s < inf:
            found.append(f"skew_s: {self.skew_s} s; must be at least 0")
        return found


@final
class _Queue(AbstractOrderedQueue):
    """Entities in order of consumed time, which is their vruntime."""

    __slots__ = ("_floor", "_lead_s", "_quantum_s")

    def __init__(self, group: FairGroup, owner: Entity | None, quantum_s: float, lead_s: float) -> None:
        super().__init__(group, owner)
        self._quantum_s = quantum_s
        self._lead_s = lead_s
        self._floor = 0.0
        """The least consumed time of late; never goes backwards."""

    def _raise_floor(self) -> None:
        present = [entity.vruntime for entity in (self.current, self._first()) if entity is not None]
        if present:
            self._floor = max(self._floor, min(present))

    def place(self, entity: Entity, *, waking: bool) -> None:
        if entity.queue is not self and isinstance(entity.queue, _Queue):
            entity.vruntime += self._floor - entity.queue._floor
        if entity.vruntime == -inf:
            entity.vruntime = self._floor
        if waking:
            entity.vruntime = max(entity.vruntime, self._floor - self._quantum_s * (UNIT_WEIGHT / entity.weight))

    def leave(self, entity: Entity) -> None:
        self._raise_floor()

    def choose(self) -> Entity | None:
        """The current one keeps the processor until its quantum is over."""
        first, current = self._first(), self.current
        if first is None or current is None:
            return current if first is None else first
        if self.expired():
            if first.vruntime - current.vruntime < NANOSECOND * (UNIT_WEIGHT / first.weight):
                return first
            current.picked_s = current.ran_s  # another quantum
            return current
        return first if current.vruntime - first.vruntime > self._lead(first) else current

    def _lead(self, entity: Entity) -> float:
        return self._lead_s * (UNIT_WEIGHT / entity.weight)

    def advance(self, entity: Entity, elapsed_s: float, now: float) -> bool:
        entity.vruntime += elapsed_s * (UNIT_WEIGHT / entity.weight)
        self._raise_floor()
        return False

    def preempts(self, entity: Entity) -> bool:
        current = self.current
        assert current is not None
        return current.vruntime - entity.vruntime > self._lead(entity)

    def expires_s(self) -> float:
        current = self.current
        assert current is not None
        return self._quantum_s - (current.ran_s - current.picked_s)

    def expired(self) -> bool:
        return self.expires_s() < NANOSECOND
