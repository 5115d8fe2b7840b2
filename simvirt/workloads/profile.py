"""A workload: what an application asks for per request, with evidence, and how many threads it answers with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from simvirt.demand import Demand, Interface
from simvirt.evidence import Cost
from simvirt.workloads.distributions import Distribution
from simvirt.workloads.footprint import Footprint

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
    footprint: Footprint | None = None
    """What it takes of memory; None if its profile says nothing of it."""

    @property
    def evidence(self) -> Iterator[tuple[str, Cost]]:
        for request in self.requests:
            yield from ((f"{request.name}.{path}", cost) for path, cost in request.evidence)

    @property
    def demand(self) -> Demand:
        """The demand of a mean request: every class's operations in proportion to its frequency."""
        total = sum(request.weight for request in self.requests)
        return Demand(tuple(op for request in self.requests for op in request.demand.scaled(request.weight / total).operations))
