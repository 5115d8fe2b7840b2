"""A group that is squeezed, with everything below it: here rates have to be worked out."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from math import inf
from typing import Final, final

from simvirt.resources.cpu.fluid.clocks import ClockTree
from simvirt.resources.cpu.fluid.divider import Divider
from simvirt.resources.cpu.fluid.gate import Gate
from simvirt.resources.cpu.fluid.lane import Lane, share_out
from simvirt.resources.cpu.fluid.node import Burst, Node
from simvirt.resources.cpu.fluid.pool import FluidThread, Pool

__all__ = ["Island"]

FEW: Final = 8
"""Up to so many pools it is cheaper to work out all rates anew at each change."""


@final
class Island:
    """The threads below one gate while they want more than it lets through. Nobody outside notices: it takes what the gate lets through.

    A few pools, each below a child of the gate's group that it has for itself, run in *lanes*; more, or others, in a tree of clocks.
    """

    __slots__ = ("_alone", "_calm", "_clocks", "_known", "_lanes", "_since", "_tree", "due", "gate", "outer", "pending", "root")

    def __init__(self, gate: Gate, outer: tuple[Gate, ...], root: Node) -> None:
        self.gate = gate
        self.outer = outer
        """The gates between this one and the root of everything."""
        self.root = root
        self.due = inf
        """When bursts are served next."""
        self.pending = [inf]
        """Times at which the scheduler looks here, the earliest last."""
        self._known: dict[Pool, Lane] = {}
        self._lanes: dict[Pool, Lane] = {}
        """Those with runnable threads, in the order in which they came."""
        self._alone: Lane | None = None
        """The only one of these, if there is only one."""
        self._since = 0.0
        """When the lanes were last brought up to date."""
        self._clocks = ClockTree(root) if isinstance(root, Divider) else None
        self._tree: ClockTree | None = None
        """The tree of clocks, if that is where everybody is."""
        self._calm = 0
        """Changes since somebody was last held back."""

    # ---- threads come and go ----

    def open(self, bursts: Iterable[Burst], now: float) -> None:
        """Begin with these bursts, each with the work that is left in place of its end."""
        self._calm = 0
        self._since = now
        for left_s, order, thread in bursts:
            self.add(thread, left_s, order, now)

    def add(self, thread: FluidThread, left_s: float, order: int, now: float) -> None:
        """Let a thread be runnable from now on."""
        lane = self._alone
        if lane is None or lane.pool is not thread.pool:
            if self._tree is None:
                lane = self._lanes.get(thread.pool) or self._new_lane(thread.pool)
                if lane is None:
                    self._plant(now)
            if self._tree is not None:
                self._tree.add(thread, left_s, order, now)
                return
            assert lane is not None
        if now > self._since:
            self._advance(now)
        heappush(lane.heap, (lane.virtual + left_s, order, thread))

    def collect(self, finished: list[Burst], now: float) -> None:
        """Take out the bursts that are served now."""
        if self._tree is not None:
            self._tree.collect(finished, now)
            return
        if now > self._since:
            self._advance(now)
        emptied: list[Pool] = []
        for pool, lane in self._lanes.items():
            if lane.due <= now:
                heap = lane.heap
                burst = heappop(heap)
                finished.append(burst)
                lane.virtual = virtual = burst[0]
                while heap and heap[0][0] <= virtual:
                    finished.append(heappop(heap))
                if not heap:
                    lane.virtual = 0.0
                    emptied.append(pool)
        if emptied:
            for pool in emptied:
                del self._lanes[pool]
            self._look_who_is_left()

    def empty(self, now: float) -> list[Burst]:
        """Take out everybody, each with the work that is left, and close all accounts."""
        self.due = inf
        if self._tree is not None:
            left = self._tree.empty(now)
            self._tree = None
            return left
        left = []
        self._advance(now)
        for lane in self._lanes.values():
            virtual = lane.virtual
            left += [(end - virtual, order, thread) for end, order, thread in lane.heap]
            lane.heap.clear()
            lane.virtual = 0.0
        self._lanes.clear()
        self._alone = None
        return left

    # ---- rates ----

    def settle(self, now: float) -> bool:
        """Work out rates and the next completion after threads came or went. Whether everybody had better leave.

        That is so when nobody is left, or nobody has been held back for as long as it takes to be worth the trouble.
        """
        limit, lane = self.gate.limit, self._alone
        if lane is not None:
            heap = lane.heap
            runnable = len(heap)
            lane.most = most = runnable if runnable < lane.cores else lane.cores
            if most > limit:
                self._calm = 0
                lane.pace = pace = limit / runnable
            else:
                self._calm = calm = self._calm + 1
                if calm > 2 * (runnable - 1):
                    return True
                lane.pace = pace = most / runnable
            lane.due = self.due = now + (heap[0][0] - lane.virtual) / pace
            return False
        if self._tree is not None:
            self._calm = 0 if self._tree.root.demand > limit else self._calm + 1
            if 2 * self._calm > self._tree.root.runnable:
                return True
            self.due = self._tree.solve()
            return False
        lanes = self._lanes.values()
        if share_out(lanes, limit):
            self._calm += 1
            if self._calm > 2 * (sum([len(lane.heap) for lane in lanes]) - 1):
                return True
        else:
            self._calm = 0
        due = inf
        for lane in lanes:
            lane.due = end = now + (lane.heap[0][0] - lane.virtual) / lane.pace
            if end < due:
                due = end
        self.due = due
        return False

    # ---- lanes ----

    def _advance(self, now: float) -> None:
        """Bring all lanes up to date; virtual time never passes the first completion."""
        elapsed = now - self._since
        self._since = now
        for lane in self._lanes.values():
            heap = lane.heap
            if heap:
                runnable, progress = len(heap), lane.pace * elapsed
                lane.busy_s += progress * runnable
                lane.entitled_s += lane.most * elapsed
                lane.runnable_s += runnable * elapsed
                virtual, first = lane.virtual + progress, heap[0][0]
                lane.virtual = virtual if virtual < first else first

    def _new_lane(self, pool: Pool) -> Lane | None:
        """A lane for a pool that has none, if there can be one."""
        lanes = self._lanes
        lane = self._known.get(pool)
        if lane is None:
            lane = self._known[pool] = Lane(pool, self.root)
        if not lane.simple or len(lanes) == FEW:
            return None
        for other in lanes.values():
            if other.child is lane.child:
                return None
        lanes[pool] = lane
        self._alone = lane if len(lanes) == 1 else None
        return lane

    def _look_who_is_left(self) -> None:
        lanes = self._lanes
        self._alone = next(iter(lanes.values())) if len(lanes) == 1 else None

    def _plant(self, now: float) -> None:
        """Move everybody from lanes to the tree of clocks."""
        self._tree = tree = self._clocks
        assert tree is not None
        self._advance(now)
        self._credit_lanes()
        for lane in self._lanes.values():
            lane.pool.virtual, lane.virtual = lane.virtual, 0.0
        tree.begin(self._lanes, now)
        self._lanes.clear()
        self._alone = None

    # ---- accounts ----

    def credit(self, now: float) -> None:
        """Bring the accounts of the nodes on which the island stands up to date, and those along its lanes."""
        if self._tree is not None:
            self._tree.credit(now)
        else:
            self._advance(now)
            self._credit_lanes()

    def _credit_lanes(self) -> None:
        for lane in self._known.values():
            if lane.runnable_s:
                lane.credit()

    def forget(self) -> None:
        """The accounts of all nodes have been set to zero."""
        if self._tree is not None:
            self._tree.forget()
