"""The second credit scheduler: whoever has most credits left runs next, for about as long as it stays ahead (Xen, "credit2").

Everybody starts with `CREDIT_S` = 10 ms and burns heaviest / weight per second of running, with the heaviest weight of its queue. Who is
chosen runs until its credits are gone or those of the next one waiting are as many, but for no less than 0.5 ms or `ratelimit_s` and no
more than 10 ms, to the instant. When even the one that is chosen has no credits left, everybody in the queue gets 10 ms more (as often as
it takes); whoever sleeps meanwhile gets them too, but comes back with no more than 0.5 ms above the 10. One that wakes up preempts if it
has more credits than the current one has left, once that has run for `ratelimit_s`.

Every processor has a queue of its own. Groups divide what they get in the same way. A cap is a budget every 10 ms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf
from typing import Final, final

from simvirt.resources.cpu.discrete.bandwidth import QuotaRules
from simvirt.resources.cpu.discrete.contract import NANOSECOND
from simvirt.resources.cpu.discrete.hierarchy import AbstractFairRules, AbstractOrderedQueue, Entity, FairGroup, QueueMaker

__all__ = ["CREDIT_S", "Credit2"]

CREDIT_S: Final = 0.01
"""Credits handed out at a time, and the longest turn."""
SHORTEST_S: Final = 0.0005
"""The shortest turn, and what a sleeper may have beyond the full credits."""


def _budget() -> QuotaRules:
    return QuotaRules(period_s=0.01, slice_s=0.001)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Credit2(AbstractFairRules):
    """Parameters of the second credit scheduler."""

    quota: QuotaRules = field(default_factory=_budget)
    ratelimit_s: float = 0.001

    def look_at(self, now: float, after_s: float) -> float:
        """At that instant: a timer is set for it."""
        return now + max(after_s, NANOSECOND)

    def queue_maker(self, processors: int) -> QueueMaker:
        return lambda group, owner: _Queue(group, owner, self.ratelimit_s)

    def problems(self) -> list[str]:
        found = AbstractFairRules.problems(self)
        return found if 0.0 <= self.ratelimit_s < inf else [*found, f"ratelimit_s: {self.ratelimit_s} s; must be at least 0"]


@final
class _Queue(AbstractOrderedQueue):
    """Entities in order of credits: the vruntime of one is the credits handed out since the start less those it has left."""

    __slots__ = ("_heaviest", "_ratelimit_s", "_shortest_s", "handed_out_s")

    def __init__(self, group: FairGroup, owner: Entity | None, ratelimit_s: float) -> None:
        super().__init__(group, owner)
        self._ratelimit_s = ratelimit_s
        self._heaviest = 0.0
        self._shortest_s = max(SHORTEST_S, ratelimit_s)
        self.handed_out_s = CREDIT_S

    def credits_of(self, entity: Entity) -> float:
        return self.handed_out_s - entity.vruntime

    def _burning(self, entity: Entity) -> float:
        """Credits burnt per second."""
        return self._heaviest / entity.weight

    def place(self, entity: Entity, *, waking: bool) -> None:
        self._heaviest = max(self._heaviest, entity.weight)
        if entity.queue is not self and isinstance(entity.queue, _Queue):
            entity.vruntime += self.handed_out_s - entity.queue.handed_out_s
        if entity.vruntime == -inf:
            entity.vruntime = self.handed_out_s - CREDIT_S
        entity.vruntime = max(entity.vruntime, self.handed_out_s - CREDIT_S - SHORTEST_S)

    def leave(self, entity: Entity) -> None:
        pass

    def choose(self) -> Entity | None:
        first, current = self._first(), self.current
        if current is not None and current.ran_s - current.picked_s < self._ratelimit_s - NANOSECOND:
            return current
        chosen = first if current is None or (first is not None and current.vruntime - first.vruntime > NANOSECOND) else current
        if chosen is not None:
            chosen.picked_s = chosen.ran_s
            self._hand_out(chosen)
        return chosen

    def _hand_out(self, chosen: Entity) -> None:
        """Give everybody more if the chosen one has none left."""
        short_s = NANOSECOND - self.credits_of(chosen)
        if short_s > 0.0:
            self.handed_out_s += ceil(short_s / CREDIT_S) * CREDIT_S

    def advance(self, entity: Entity, elapsed_s: float, now: float) -> bool:
        entity.vruntime += elapsed_s * self._burning(entity)
        if self.count == 1:  # nobody waited, so nobody looked when its turns were over
            self._hand_out(entity)
        return False

    def preempts(self, entity: Entity) -> bool:
        current = self.current
        assert current is not None
        return entity.vruntime < current.vruntime - NANOSECOND

    def expires_s(self) -> float:
        first, current = self._first(), self.current
        assert first is not None
        assert current is not None
        ahead_s = (self.credits_of(current) - max(self.credits_of(first), 0.0)) / self._burning(current)
        ran_s = current.ran_s - current.picked_s
        return min(max(ahead_s, self._shortest_s - ran_s), CREDIT_S - ran_s)

    def expired(self) -> bool:
        return self.expires_s() < NANOSECOND
