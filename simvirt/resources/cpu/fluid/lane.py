"""One pool among a few below one gate."""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import final

from simvirt.resources.cpu.fluid.node import Node
from simvirt.resources.cpu.fluid.pool import Pool

__all__ = ["Lane", "share_out"]


@final
class Lane:
    """The way from a pool up to the group of a gate, of which nobody else has a part at present.

    It weighs what the child of the group at its end weighs, and lets `cores` through.
    """

    __slots__ = (
        "busy_s", "child", "cores", "due", "entitled_s", "heap", "most", "pace", "pool", "root", "runnable_s", "simple", "virtual",
    )  # fmt: skip

    def __init__(self, pool: Pool, root: Node) -> None:
        self.pool = pool
        self.heap = pool.heap
        self.root = root
        path: list[Node] = []
        for node in pool.upwards():
            if node is root:
                break
            path.append(node)
        self.child = path[-1] if path else root
        """Where the lane ends: a child of the root, or the pool that is the root."""
        limits = [node.limit for node in path if node.limit < inf]
        self.cores = min(limits, default=inf)
        self.simple = not limits or limits[0] == self.cores
        """Whether at most one limit on the way can be felt."""
        self.virtual = 0.0
        """Work done per thread."""
        self.pace = 1.0
        """Cores per thread."""
        self.most = 0.0
        """Cores that the threads could use if they had the gate for themselves."""
        self.due = inf
        self.busy_s = self.entitled_s = self.runnable_s = 0.0
        """Integrals that are not in the accounts of nodes yet."""

    def credit(self) -> None:
        """Enter the integrals into the accounts of all nodes on the way.

        Below the limit of the lane all that is runnable is entitled to run. The group of the gate and all above it get what they are
        entitled to.
        """
        busy_s, runnable_s = self.busy_s, self.runnable_s
        entitled_s = runnable_s
        inside = True
        for node in self.pool.upwards():
            if node is self.root:
                inside, entitled_s = False, busy_s
            elif inside and node.limit < inf:
                entitled_s = self.entitled_s
            node.busy_s += busy_s
            node.entitled_s += entitled_s
            node.runnable_s += runnable_s
        self.busy_s = self.entitled_s = self.runnable_s = 0.0


def share_out(lanes: Collection[Lane], cores: float) -> bool:
    """Give every lane its pace: min(most, weight * level) / runnable, the level such that all cores are used.

    Whether there is room for all, so that nobody is held back.
    """
    wanted = 0.0
    for lane in lanes:
        runnable = len(lane.heap)
        lane.most = most = runnable if runnable < lane.cores else lane.cores
        lane.pace = most / runnable
        wanted += most
    if wanted <= cores:
        return True
    total = 0.0
    weighted: list[tuple[float, int, float, Lane]] = []
    for i, lane in enumerate(lanes):
        child = lane.child
        weight = child.unit_weight
        if child.per_thread:
            runnable = len(lane.heap)
            weight *= runnable if runnable < child.processors else child.processors
        total += weight
        weighted.append((lane.most / weight, i, weight, lane))
    weighted.sort()
    level = inf
    for full, _, weight, lane in weighted:
        if level == inf and full * total > cores:
            level = cores / total
        if level < inf:
            lane.pace = weight * level / len(lane.heap)
        else:
            cores -= lane.most
            total -= weight
    return False
