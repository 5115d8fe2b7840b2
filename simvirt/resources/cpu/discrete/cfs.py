"""The completely fair scheduler: whoever has run least, in proportion to its weight, runs next (Linux until 6.5).

vruntime grows by 1024 / weight per second of running; the entity with the smallest vruntime is chosen.
*Sleepers* come back at no less than min_vruntime - latency / 2. A *wake-up* preempts if the current entity is ahead by more than
wakeup_granularity * 1024 / weight of the one that wakes, compared where the two hierarchies meet. At a *tick* the current entity gives way
once it has run for longer than its slice, or, after min_granularity, is ahead of the first by more than its slice; with

    slice = max(latency, min_granularity * entities) * (weight / load at every level from here up).

All latencies are scaled by 1 + log2(min(processors, 8)). Not modelled: buddies (they matter from 8 runnable tasks on), the debit of a new
task.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar, final

from simvirt.resources.cpu.discrete.contract import KERNEL_TICKS_PER_S, NANOSECOND, UNIT_WEIGHT
from simvirt.resources.cpu.discrete.hierarchy import (
    AbstractFairQueue,
    AbstractFairRules,
    AbstractOrderedQueue,
    Entity,
    FairGroup,
    QueueMaker,
    scale_by_processors,
)

__all__ = ["NICE_WEIGHTS", "CompletelyFair"]

NICE_WEIGHTS = dict(
    zip(
        range(-20, 20),
        (
            88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586,
            1277, 1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
        ),
        strict=True,
    )
)  # fmt: skip
"""Nice level → weight: a factor of about 1.25 a step."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CompletelyFair(AbstractFairRules):
    """Parameters of the completely fair scheduler, before they are scaled."""

    has_periods: ClassVar[bool] = True
    ticks_per_s: ClassVar[tuple[float, ...]] = KERNEL_TICKS_PER_S

    latency_s: float = 0.006
    """Time in which each of a few entities runs once."""
    min_granularity_s: float = 0.00075
    wakeup_granularity_s: float = 0.001

    def queue_maker(self, processors: int) -> QueueMaker:
        scale = scale_by_processors(processors)
        latency_s, granularity_s, wakeup_s = self.latency_s * scale, self.min_granularity_s * scale, self.wakeup_granularity_s * scale
        return lambda group, owner: _Queue(group, owner, latency_s, granularity_s, wakeup_s)

    def problems(self) -> list[str]:
        names = ("latency_s", "min_granularity_s", "wakeup_granularity_s")
        wrong = [name for name in names if not 0.0 < getattr(self, name) < inf]
        return AbstractFairRules.problems(self) + [f"{name}: {getattr(self, name)} s; must be positive" for name in wrong]


@final
class _Queue(AbstractOrderedQueue):
    """Entities in order of vruntime."""

    __slots__ = ("_granularity_s", "_latency_s", "_wakeup_s", "floor")

    def __init__(self, group: FairGroup, owner: Entity | None, latency_s: float, granularity_s: float, wakeup_s: float) -> None:
        super().__init__(group, owner)
        self._latency_s = latency_s
        self._granularity_s = granularity_s
        self._wakeup_s = wakeup_s
        self.floor = 0.0
        """min_vruntime: follows the smallest vruntime, never backwards."""

    def _raise_floor(self) -> None:
        first, current = self._first(), self.current
        if current is None:
            lowest = self.floor if first is None else first.vruntime
        else:
            lowest = current.vruntime if first is None or current.vruntime < first.vruntime else first.vruntime
        if lowest > self.floor:
            self.floor = lowest

    def place(self, entity: Entity, *, waking: bool) -> None:
        if entity.queue is not self and isinstance(entity.queue, _Queue):
            entity.vruntime += self.floor - entity.queue.floor
        if waking or entity.vruntime == -inf:
            entity.vruntime = max(entity.vruntime, self.floor - self._latency_s / 2)

    def leave(self, entity: Entity) -> None:
        pass

    def remove(self, entity: Entity) -> None:
        super().remove(entity)
        self._raise_floor()

    def choose(self) -> Entity | None:
        first, current = self._first(), self.current
        if first is None or (current is not None and current.vruntime < first.vruntime):
            return current
        return first

    def advance(self, entity: Entity, elapsed_s: float, now: float) -> bool:
        entity.vruntime += elapsed_s * (UNIT_WEIGHT / entity.weight)
        self._raise_floor()
        return False

    def preempts(self, entity: Entity) -> bool:
        current = self.current
        assert current is not None
        return current.vruntime - entity.vruntime > self._wakeup_s * (UNIT_WEIGHT / entity.weight)

    def _slice_s(self, entity: Entity) -> float:
        slice_s = max(self._latency_s, self._granularity_s * self.count)
        queue: AbstractFairQueue | None = self
        above: Entity | None = entity
        while above is not None:
            assert queue is not None
            slice_s *= above.weight / queue.load
            above = queue.owner
            queue = above.queue if above is not None else None
        return slice_s

    def expires_s(self) -> float:
        first, current = self._first(), self.current
        assert first is not None
        assert current is not None
        slice_s, ran_s = self._slice_s(current), current.ran_s - current.picked_s
        behind_s = (slice_s + first.vruntime - current.vruntime) * (current.weight / UNIT_WEIGHT)
        return min(slice_s - ran_s, max(self._granularity_s - ran_s, behind_s))

    def expired(self) -> bool:
        first, current = self._first(), self.current
        assert first is not None
        assert current is not None
        slice_s, ran_s = self._slice_s(current), current.ran_s - current.picked_s
        if ran_s - slice_s > NANOSECOND:
            return True
        return ran_s > self._granularity_s - NANOSECOND and current.vruntime - first.vruntime - slice_s > NANOSECOND
