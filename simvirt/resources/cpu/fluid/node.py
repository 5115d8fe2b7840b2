"""Nodes of the tree in which rates are worked out, and the cohorts in which the children of one node progress in step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from heapq import heapify, heappop
from math import inf
from typing import Any, final

from simvirt.resources.cpu.contract import Share

__all__ = ["AbstractDivider", "Burst", "Cohort", "Node"]

Burst = tuple[float, int, Any]
"""A burst in a pool: virtual time at completion, order of start, thread."""

_SLACK = 16
"""Heaps up to this length are not swept of outdated entries."""


@final
class Cohort:
    """Children of one divider that reach their maximum at the same water level, and so progress in step."""

    __slots__ = ("breakpoint", "count", "due", "free", "head", "heap", "maximum", "offset", "weight")

    def __init__(self, full: float) -> None:
        self.breakpoint = full
        """maximum / weight of every member."""
        self.count = 0
        self.weight = 0.0
        self.maximum = 0.0
        self.free = True
        """Whether the water level drives the clock; else the members are at their maximum."""
        self.offset = 0.0
        """Clock = water - offset when free, breakpoint * (now - offset) when not."""
        self.heap: list[tuple[float, int, Node]] = []
        """(clock at the member's next completion, stamp, member); an entry counts while its stamp is the member's."""
        self.head = inf
        """Clock at the first completion."""
        self.due = inf
        """The same in the divider's terms: water when free, time when not."""

    def look(self) -> None:
        """Find the first completion again after members came, went or changed."""
        heap = self.heap
        if len(heap) > _SLACK and len(heap) > 3 * self.count:
            heap[:] = [entry for entry in heap if entry[1] == entry[2].stamp]
            heapify(heap)
        while heap and heap[0][1] != heap[0][2].stamp:
            heappop(heap)
        self.head = heap[0][0] if heap else inf
        self.due = self.head + self.offset if self.free else self.head / self.breakpoint + self.offset


class Node(ABC):
    """A pool of threads, or a divider among several nodes.

    `busy_s` is brought up to date when the node's own state changes, as weight * (progress of its cohort's clock). The three integrals
    hold what passed while the node was in a tree of clocks; what threads got at full speed is with their pools.
    """

    __slots__ = (
        "at", "busy_s", "cohort", "demand", "divider", "entitled_s", "key", "limit", "maximum", "parent", "per_thread", "processors",
        "runnable", "runnable_s", "since", "stamp", "unit_weight", "weight",
    )  # fmt: skip

    def __init__(self, parent: AbstractDivider | None, share: Share, now: float) -> None:
        self.parent = parent
        """The node above."""
        self.divider = parent
        """The node above in the tree of clocks; none at its root."""
        self.cohort: Cohort | None = None
        self.runnable = 0
        self.demand = 0.0
        """Cores that the threads below could use if this node had no limit of its own."""
        self.weight = 0.0
        self.maximum = 0.0
        self.at = now
        """The cohort's clock when this node was last brought up to date; at the root of a tree of clocks, the time."""
        self.key = inf
        """The cohort's clock at this node's next completion."""
        self.stamp = -1
        self.since = now
        self.busy_s = self.entitled_s = self.runnable_s = 0.0
        self.adopt(share)

    def adopt(self, share: Share) -> None:
        """Take over the share of a group."""
        self.unit_weight, self.per_thread = share.weight, share.per_thread
        self.processors, self.limit = share.processors, min(share.processors, share.cap_cores)

    @abstractmethod
    def sync(self, now: float) -> None:
        """Bring this node up to date; everything above it comes first."""

    @abstractmethod
    def plan(self) -> None:
        """Work out when this node completes something next, and tell its divider."""

    @abstractmethod
    def collect(self, finished: list[Burst], now: float) -> None:
        """Take out the threads below that have just been served."""

    @abstractmethod
    def at_full_speed_s(self) -> float:
        """Core-seconds that the threads below got at full speed."""

    def upwards(self) -> Iterator[Node]:
        """This node and all above it."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def downwards(self) -> Iterator[Node]:
        """This node and all below it."""
        yield self

    def forget(self) -> None:
        """Set the account to zero."""
        self.busy_s = self.entitled_s = self.runnable_s = 0.0

    def integrate(self, now: float) -> None:
        """Add the time since the last call to the integrals of what is runnable and what could be used."""
        elapsed = now - self.since
        self.since = now
        if elapsed > 0.0:
            self.entitled_s += self.maximum * elapsed
            self.runnable_s += self.runnable * elapsed

    def change(self, added: int, now: float) -> None:
        """Let `added` more threads be runnable below, here and all the way up. Rates follow when the tree is solved."""
        elapsed = now - self.since
        if elapsed > 0.0:
            self.since = now
            self.entitled_s += self.maximum * elapsed
            self.runnable_s += self.runnable * elapsed
        self.runnable = runnable = self.runnable + added
        maximum = self.demand if self.demand < self.limit else self.limit
        divider = self.divider
        if divider is None:
            self.weight = self.maximum = maximum
        elif runnable:
            weight = self.unit_weight
            if self.per_thread:
                processors = self.processors
                weight *= runnable if runnable < processors else processors
            divider.resize(self, weight, maximum, now)
            divider.change(added, now)
        else:
            divider.resize(self, 0.0, 0.0, now)
            divider.change(added, now)


class AbstractDivider(Node):
    """What a node knows of the one above it."""

    __slots__ = ()

    @abstractmethod
    def clock(self, cohort: Cohort) -> float:
        """Clock of a cohort as of the last `sync`."""

    @abstractmethod
    def resize(self, node: Node, weight: float, maximum: float, now: float) -> None:
        """Give a child another weight and maximum; none at all when it has nothing to run."""

    @abstractmethod
    def post(self, node: Node) -> None:
        """Note when a child completes something next."""

    @abstractmethod
    def solve_path(self) -> None:
        """Work out rates from the root of the tree of clocks down to this divider."""

    @abstractmethod
    def plan_path(self) -> None:
        """Work out when this divider and those above complete something next."""
