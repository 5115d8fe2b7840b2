"""Many pools below one gate: they share in a tree of clocks."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappush
from typing import final

from simvirt.resources.cpu.fluid.divider import Divider
from simvirt.resources.cpu.fluid.node import Burst
from simvirt.resources.cpu.fluid.pool import FluidThread, Pool

__all__ = ["ClockTree"]


@final
class ClockTree:
    """The pools of an island under the group of its gate, at O(log n) per change, however many they are.

    The root receives the maximum of its group; that is what an island means.
    """

    __slots__ = ("_before", "_changed", "pools", "root")

    def __init__(self, root: Divider) -> None:
        self.root = root
        self.pools: dict[Pool, None] = {}
        """Those with runnable threads."""
        self._changed: dict[Pool, None] = {}
        """Pools whose threads changed since rates were last worked out."""
        self._before = (0.0, 0.0, 0.0)
        """What of the accounts of the root is already in those of the nodes above."""

    def begin(self, pools: Iterable[Pool], now: float) -> None:
        """Make the group of the gate a root, with these pools, whose virtual time is that of `now`."""
        root = self.root
        root.detach(now)
        self._before = (root.busy_s, root.entitled_s, root.runnable_s)
        for pool in pools:
            assert pool.divider is not None
            pool.divider.sync(now)
            pool.change(len(pool.heap), now)
            self.pools[pool] = self._changed[pool] = None

    def add(self, thread: FluidThread, left_s: float, order: int, now: float) -> None:
        """Let a thread be runnable from now on."""
        pool = thread.pool
        pool.sync(now)
        heappush(pool.heap, (pool.virtual + left_s, order, thread))
        pool.change(1, now)
        self.pools[pool] = self._changed[pool] = None

    def collect(self, finished: list[Burst], now: float) -> None:
        """Take out the bursts that are served now."""
        before = len(finished)
        self.root.sync(now)
        self.root.collect(finished, now)
        for _, _, thread in finished[before:]:
            pool = thread.pool
            self._changed[pool] = None
            if not pool.heap:
                self.pools.pop(pool, None)

    def solve(self) -> float:
        """Work out rates after threads came or went; the next completion."""
        for pool in self._changed:
            assert pool.divider is not None
            pool.divider.solve_path()
            pool.plan()
            pool.divider.plan_path()
        self._changed.clear()
        return self.root.key

    def empty(self, now: float) -> list[Burst]:
        """Take out everybody, each with the work that is left, and close all accounts."""
        self.credit(now)
        left: list[Burst] = []
        for pool in self.pools:
            pool.sync(now)
            pool.change(-len(pool.heap), now)
            left += pool.empty()
        self.pools.clear()
        self._changed.clear()
        self.root.attach()
        return left

    def credit(self, now: float) -> None:
        """Bring the accounts of the nodes on which the tree stands up to date."""
        root = self.root
        root.sync(now)
        root.integrate(now)
        busy_s, entitled_s, runnable_s = self._before
        self._before = (root.busy_s, root.entitled_s, root.runnable_s)
        if root.parent is not None:
            for node in root.parent.upwards():
                node.busy_s += root.busy_s - busy_s
                node.entitled_s += root.entitled_s - entitled_s
                node.runnable_s += root.runnable_s - runnable_s

    def forget(self) -> None:
        """The accounts of all nodes have been set to zero."""
        self._before = (0.0, 0.0, 0.0)
