"""A workload: what an application asks for per request, with evidence, and how many threads it answers with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from simvirt.demand import Demand, DiskRead, DiskWrite, Interface, PageVisits
from simvirt.evidence import Cost
from simvirt.memory_character import MemoryCharacter
from simvirt.workloads.distributions import Distribution
from simvirt.workloads.footprint import Footprint
from simvirt.workloads.stressor import Stressor

__all__ = ["RequestClass", "Workload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClass:
    """One kind of request of a workload."""

    name: str
    weight: float
    """Relative frequency."""
    demand: Demand
    evidence: tuple[tuple[str, Cost], ...] = ()
    """Each number of the demand by its path (`operation.field`)."""

    @property
    def visits_pages(self) -> bool:
        """Whether it says how it visits its pages."""
        return any(isinstance(operation, PageVisits) for operation in self.demand.operations)

    def in_pages(self, page_bytes: float) -> Self:
        """The same with its memory in pages of this size."""
        visited = (replace(o, page_bytes=page_bytes) if isinstance(o, PageVisits) else o for o in self.demand.operations)
        return replace(self, demand=Demand(tuple(visited)))

    @property
    def waits_for_disk(self) -> bool:
        """Whether its thread waits for the disk; not if all that it asks of the disk is queued (asynchronous input and output)."""
        asked = [operation for operation in self.demand.operations if isinstance(operation, DiskRead | DiskWrite)]
        return not asked or any(operation.queued < operation.count for operation in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """An application as a platform sees it. It says nothing of platforms.

    A request of class c asks for c's demand, its compute scaled by a factor of mean 1 drawn per request. At most `threads` requests are
    inside the application at once; the others wait in order of arrival.
    """

    name: str
    summary: str
    requires: Interface
    threads: float
    """Worker threads; infinity for one per request."""
    factor: Distribution
    requests: tuple[RequestClass, ...]
    memory: MemoryCharacter | None = None
    """How its threads use caches and memory; None if that is not known: then nothing contends with them there."""
    memory_evidence: tuple[tuple[str, Cost], ...] = ()
    """Each number of the character."""
    footprint: Footprint | None = None
    """What it takes of memory; None if its profile says nothing of it."""
    stressor: Stressor | None = None
    """What it does at intensity 1, if it is there to disturb others: surveys leave it out."""

    @property
    def aggressor(self) -> bool:
        """Whether it is there to disturb others."""
        return self.stressor is not None

    @property
    def visits_pages(self) -> bool:
        """Whether any of its requests says how it visits its pages."""
        return any(request.visits_pages for request in self.requests)

    def in_pages(self, page_bytes: float) -> Self:
        """The same with its memory in pages of this size."""
        if not self.visits_pages:
            return self
        return replace(self, requests=tuple(request.in_pages(page_bytes) for request in self.requests))

    @property
    def evidence(self) -> Iterator[tuple[str, Cost]]:
        yield from ((f"memory.{name}", cost) for name, cost in self.memory_evidence)
        if self.stressor is not None:
            yield from self.stressor.evidence
        for request in self.requests:
            yield from ((f"{request.name}.{path}", cost) for path, cost in request.evidence)

    @property
    def demand(self) -> Demand:
        """The demand of a mean request: every class's operations in proportion to its frequency."""
        total = sum(request.weight for request in self.requests)
        return Demand(tuple(op for request in self.requests for op in request.demand.scaled(request.weight / total).operations))
