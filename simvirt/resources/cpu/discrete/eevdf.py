"""Earliest eligible virtual deadline first (Linux from 6.6).

vruntime grows by 1024 / weight per second of running. With the average V = sum(weight * vruntime) / sum(weight) of a queue, an entity's
*lag* is V - vruntime: what it is owed. Entities with lag >= 0 are eligible; of those, the one with the earliest deadline runs. A
deadline is vruntime + slice * 1024 / weight, set when an entity comes and again when it has run for its slice, which makes the choice anew.

An entity that goes keeps its lag, within 2 slices (at least a tick) of its own virtual time, and comes back with it, scaled by
(load + weight) / load, since its own return moves V. A *wake-up* preempts if the entity would be chosen. `run_to_parity` keeps
the current entity, while it is eligible, until it has run for its slice or its first deadline since it was chosen has passed.
The end of a slice is found at a tick or when something else is accounted for. The slice is scaled by 1 + log2(min(processors, 8)).

Two heaps per queue, one of entities that wait to become eligible, by vruntime, and one of eligible ones, by deadline: O(log n) per choice,
amortized. Not modelled: dequeueing that is put off until the lag is paid back (from 6.12 on).
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil, floor, inf
from typing import ClassVar, final

from simvirt.resources.cpu.discrete.contract import KERNEL_TICKS_PER_S, NANOSECOND, UNIT_WEIGHT, next_tick
from simvirt.resources.cpu.discrete.hierarchy import (
    AbstractFairQueue,
    AbstractFairRules,
    Entity,
    FairGroup,
    QueueMaker,
    scale_by_processors,
)

__all__ = ["EarliestEligibleDeadline"]

_ROUNDING = 1e-12
"""An entity that is behind by less than this many virtual seconds is not."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EarliestEligibleDeadline(AbstractFairRules):
    """Parameters, before they are scaled."""

    has_periods: ClassVar[bool] = True
    ticks_per_s: ClassVar[tuple[float, ...]] = KERNEL_TICKS_PER_S

    base_slice_s: float = 0.00075
    """0.0007 from 6.15 on."""
    run_to_parity: bool = True

    def queue_maker(self, processors: int) -> QueueMaker:
        slice_s = self.base_slice_s * scale_by_processors(processors)
        return lambda group, owner: _Queue(group, owner, slice_s, self.hz, run_to_parity=self.run_to_parity)

    def problems(self) -> list[str]:
        found = AbstractFairRules.problems(self)
        return found if 0.0 < self.base_slice_s < inf else [*found, f"base_slice_s: {self.base_slice_s} s; must be positive"]


@final
class _Queue(AbstractFairQueue):
    """Entities in order of deadline, as far as they are eligible."""

    __slots__ = ("_base", "_eligible", "_hz", "_later", "_moment", "_most_lag_s", "_run_to_parity", "_slice_s")

    def __init__(self, group: FairGroup, owner: Entity | None, slice_s: float, hz: float, *, run_to_parity: bool) -> None:
        super().__init__(group, owner)
        self._hz = hz
        self._slice_s = slice_s
        self._most_lag_s = max(2.0 * slice_s, 1.0 / hz)
        self._run_to_parity = run_to_parity
        self._base = 0.0
        self._moment = 0.0
        """Sum of weight * (vruntime - base), the current entity included."""
        self._eligible: list[tuple[float, int, Entity]] = []
        self._later: list[tuple[float, int, Entity]] = []

    @property
    def average(self) -> float:
        """V: the vruntime of an entity that is owed nothing."""
        return self._base + self._moment / self.load if self.load else self._base

    def place(self, entity: Entity, *, waking: bool) -> None:
        average = self.average
        if self.count:
            entity.vruntime = average - entity.lag * (self.load + entity.weight) / self.load
        else:
            entity.vruntime = self._base = average
            self._moment = 0.0
        entity.deadline = entity.vruntime + self._slice_s * (UNIT_WEIGHT / entity.weight)
        self._moment += entity.weight * (entity.vruntime - self._base)

    def leave(self, entity: Entity) -> None:
        average = self.average
        most = self._most_lag_s * (UNIT_WEIGHT / entity.weight)
        entity.lag = min(max(average - entity.vruntime, -most), most)
        self._moment -= entity.weight * (entity.vruntime - self._base)
        if self.count == 1:
            self._base, self._moment = average, 0.0

    def weigh(self, entity: Entity, weight: float) -> None:
        if entity.on:
            average, ratio = self.average, entity.weight / weight
            self._moment += (weight - entity.weight) * (average - self._base)
            entity.vruntime = average - (average - entity.vruntime) * ratio
            entity.deadline = average + (entity.deadline - average) * ratio
            if entity is not self.current:
                self.push(entity)
        AbstractFairQueue.weigh(self, entity, weight)

    def push(self, entity: Entity) -> None:
        self.orders += 1
        entity.order = self.orders
        heappush(self._later, (entity.vruntime, self.orders, entity))

    def promote(self, entity: Entity) -> None:
        AbstractFairQueue.promote(self, entity)
        entity.protected_until = entity.deadline

    def _best(self, average: float) -> Entity | None:
        """The waiting entity that is eligible and has the earliest deadline."""
        later, eligible = self._later, self._eligible
        while later and later[0][0] <= average + _ROUNDING:
            _, order, entity = heappop(later)
            if order == entity.order and entity.queue is self:
                heappush(eligible, (entity.deadline, order, entity))
        while eligible:
            _, order, entity = eligible[0]
            if order == entity.order and entity.queue is self:
                if entity.vruntime <= average + _ROUNDING:
                    return entity
                heappush(later, (entity.vruntime, order, entity))  # the average has gone back
            heappop(eligible)
        return None

    def choose(self) -> Entity | None:
        average, current = self.average, self.current
        if current is not None and current.vruntime > average + _ROUNDING:
            current = None
        if self._run_to_parity and current is not None and current.protected_until == current.deadline:
            return current
        best = self._best(average)
        if best is None or (current is not None and current.deadline < best.deadline):
            return current if current is not None else self._fallback()
        return best

    def _fallback(self) -> Entity | None:
        """By rounding nobody is eligible: the one that is owed most, else whoever is here."""
        later = self._later
        while later and not (later[0][1] == later[0][2].order and later[0][2].queue is self):
            heappop(later)
        return later[0][2] if later else self.current

    def advance(self, entity: Entity, elapsed_s: float, now: float) -> bool:
        pace = UNIT_WEIGHT / entity.weight
        entity.vruntime += elapsed_s * pace
        self._moment += elapsed_s * UNIT_WEIGHT
        if self._moment > self.load:  # V is more than 1 s past the base
            self._base += self._moment / self.load
            self._moment = 0.0
        over_s = (entity.vruntime - entity.deadline) / pace
        if over_s < -NANOSECOND:
            return False
        since_tick_s = self._since_renewal_s(now, over_s)
        entity.deadline = entity.vruntime + (self._slice_s - since_tick_s) * pace
        return self.count > 1

    def _since_renewal_s(self, now: float, over_s: float) -> float:
        """How long ago a tick last began a new slice, when the one under way was over `over_s` ago; 0 if now is the first occasion.

        Nobody looked at those ticks, since nobody waited.
        """
        hz, ended = self._hz, now - over_s
        first = next_tick(ended - NANOSECOND, ended - NANOSECOND, hz)
        if first > now:
            return 0.0
        ticks_per_slice = max(1, ceil(self._slice_s * hz - 1e-6))
        return now - first - floor((now - first) * hz / ticks_per_slice + 1e-6) * ticks_per_slice / hz

    def preempts(self, entity: Entity) -> bool:
        return self.choose() is entity

    def expires_s(self) -> float:
        current = self.current
        assert current is not None
        return (current.deadline - current.vruntime) * (current.weight / UNIT_WEIGHT)

    def expired(self) -> bool:
        return False
