"""What an application takes of memory, with evidence: how much, how it grows, and which part a request touches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

from simvirt.demand import MemoryDemand
from simvirt.evidence import Cost

__all__ = ["Footprint", "Growth", "Heap", "Sees"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Memory that an application takes beyond its resident set as it works, and never gives back by itself."""

    request_bytes: Cost
    steady_bytes_per_s: Cost
    most_bytes: Cost
    """Where growth ends unless a heap bounds it."""


class Sees(StrEnum):
    """What a runtime takes for the size of its memory."""

    MACHINE = "machine"
    """All memory of the nearest kernel, whatever the limit of its control group."""
    LIMIT = "limit"
    """Its control group's limit, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heap:
    """A heap that a runtime sizes by itself: it grows to `share` of the memory that the runtime sees."""

    share: Cost
    sees: Sees

    def most_bytes(self, machine_bytes: float, limit_bytes: float) -> float:
        """The largest heap, given the memory of the kernel and the limit of the control group (infinity for none)."""
        seen = machine_bytes if self.sees is Sees.MACHINE else min(machine_bytes, limit_bytes)
        return seen * self.share


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory of one running copy of an application.

    A request touches `touched_bytes`. The share `hot_touches` of touches goes to the share `hot_share` of the bytes: two levels stand for a
    curve of popularity. It is what decides how often a request meets a page that is out.
    """

    resident_bytes: Cost
    image_bytes: Cost
    cache_bytes: Cost
    touched_bytes: Cost
    hot_share: Cost
    hot_touches: Cost
    growth: Growth | None = None
    heap: Heap | None = None

    @property
    def demand(self) -> MemoryDemand:
        """What it asks for before it grows."""
        return MemoryDemand(
            resident_bytes=self.resident_bytes.si, image_bytes=self.image_bytes.si, cache_bytes=self.cache_bytes.si
        )

    def most_growth_bytes(self, machine_bytes: float, limit_bytes: float) -> float:
        """How far it grows beyond its resident set in a memory of this size and under this limit."""
        if self.growth is None:
            return 0.0
        return self.growth.most_bytes.si if self.heap is None else self.heap.most_bytes(machine_bytes, limit_bytes)

    @property
    def evidence(self) -> Iterator[tuple[str, Cost]]:
        """Each of its numbers by dotted name."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Cost):
                yield field.name, value
            elif value is not None:
                costs = ((f.name, getattr(value, f.name)) for f in fields(value))
                yield from ((f"{field.name}.{name}", cost) for name, cost in costs if isinstance(cost, Cost))
