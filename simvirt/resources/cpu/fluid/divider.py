"""A group that divides its rate among several children by water-filling."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from heapq import heappop, heappush
from math import inf
from operator import attrgetter
from typing import final

from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.fluid.node import AbstractDivider, Burst, Cohort, Node

__all__ = ["Divider"]

_breakpoint = attrgetter("breakpoint")


@final
class Divider(AbstractDivider):
    """A group that divides its rate among several children by water-filling."""

    divider: Divider | None

    __slots__ = (
        "capped_maximum", "children", "cohorts", "followers", "free_weight", "level", "now", "pace", "planned", "split", "stamps", "water",
        "water_pace",
    )  # fmt: skip

    def __init__(self, parent: AbstractDivider | None, share: Share, now: float, stamps: Iterator[int]) -> None:
        super().__init__(parent, share, now)
        self.stamps = stamps
        self.children: dict[Node, None] = {}
        self.now = now
        self.cohorts: list[Cohort] = []
        """In order of breakpoint; the first `split` are at their maximum."""
        self.split = 0
        self.free_weight = 0.0
        self.capped_maximum = 0.0
        self.level = 0.0
        """Cores per unit of weight that a child without limit receives."""
        self.water = 0.0
        """Integral of the level since there was last no free cohort."""
        self.water_pace = 0.0
        """Growth of `water` per unit of this divider's own base (its cohort's clock; time for the root)."""
        self.pace = 1.0
        """Growth of the base per second."""
        self.planned: Cohort | None = None
        self.followers: dict[Divider, None] = {}
        """Children that must be solved again whenever their rate changes."""

    def detach(self, now: float) -> None:
        """Be the root of a tree of clocks, which has just begun."""
        self.divider = None
        self.at = self.now = self.since = now

    def attach(self) -> None:
        """Be a child of the node above again."""
        assert self.parent is None or isinstance(self.parent, Divider)
        self.divider = self.parent

    def at_full_speed_s(self) -> float:
        return sum(child.at_full_speed_s() for child in self.children)

    def downwards(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.downwards()

    # ---- time ----

    def sync(self, now: float) -> None:
        divider = self.divider
        if divider is None:
            base = now
        else:
            divider.sync(now)
            base = self.at if self.cohort is None else divider.clock(self.cohort)
        self.now = now
        passed = base - self.at
        if passed > 0.0:
            self.at = base
            self.busy_s += self.weight * passed
            self.water += self.water_pace * passed
        if base >= self.key:
            planned = self.planned
            assert planned is not None
            self.key = inf
            if planned.free:
                self.water = planned.due
            else:
                planned.due = now

    def clock(self, cohort: Cohort) -> float:
        """Clock of a cohort as of `now`: never past its first completion, and exactly there when that is due."""
        if cohort.free:
            clock, reached = self.water - cohort.offset, self.water >= cohort.due
        else:
            clock, reached = (self.now - cohort.offset) * cohort.breakpoint, self.now >= cohort.due
        return cohort.head if reached or clock > cohort.head else clock

    # ---- members ----

    def resize(self, node: Node, weight: float, maximum: float, now: float) -> None:
        """Give a child another weight and maximum; none at all when it has nothing to run."""
        self.key = inf  # what was planned may be gone
        self.demand += maximum - node.maximum
        cohort = node.cohort
        if cohort is not None:
            if weight and maximum / weight == cohort.breakpoint:
                self._add(cohort, weight - node.weight, maximum - node.maximum)
                node.weight, node.maximum = weight, maximum
                return
            self._leave(cohort, node)
        node.weight, node.maximum = weight, maximum
        if weight:
            cohort = self._cohort(maximum / weight, now)
            node.cohort = cohort
            node.at = self.clock(cohort) if cohort.count else 0.0
            cohort.count += 1
            self._add(cohort, weight, maximum)
        elif not self.cohorts:
            self.demand = self.free_weight = self.capped_maximum = self.water = 0.0

    def _add(self, cohort: Cohort, weight: float, maximum: float) -> None:
        cohort.weight += weight
        cohort.maximum += maximum
        if cohort.free:
            self.free_weight += weight
        else:
            self.capped_maximum += maximum

    def _leave(self, cohort: Cohort, node: Node) -> None:
        node.cohort, node.key, node.stamp = None, inf, -1
        if isinstance(node, Divider):
            self.followers.pop(node, None)
        cohort.count -= 1
        if cohort.count:
            self._add(cohort, -node.weight, -node.maximum)
            cohort.look()
            return
        self.cohorts.remove(cohort)
        if cohort.free:
            self.free_weight -= cohort.weight
        else:
            self.capped_maximum -= cohort.maximum
            self.split -= 1
        self._tidy()

    def _cohort(self, full: float, now: float) -> Cohort:
        """The cohort with breakpoint `full`, made if there is none."""
        cohorts = self.cohorts
        place = bisect_left(cohorts, full, key=_breakpoint)
        if place < len(cohorts) and cohorts[place].breakpoint == full:
            return cohorts[place]
        cohort = Cohort(full)
        cohort.free = place >= self.split
        cohort.offset = self.water if cohort.free else now
        cohorts.insert(place, cohort)
        self.split += not cohort.free
        return cohort

    def _tidy(self) -> None:
        """Forget what rounding left behind when no cohort is free, or none is capped."""
        if self.split == 0:
            self.capped_maximum = 0.0
        if self.split == len(self.cohorts):
            self.free_weight = self.water = 0.0

    # ---- rates ----

    def solve(self, pace: float) -> None:
        """Find the water level for a base that grows by `pace` per second, and tell the children that must know."""
        self.pace = pace
        cohorts = self.cohorts
        if len(cohorts) > 1:
            self._fill(self.weight * pace)
            self.water_pace = self.level / pace
        elif cohorts:
            cohort = cohorts[0]
            if not cohort.free:
                self._free(cohort)
            self.water_pace = self.weight / cohort.weight
            self.level = self.water_pace * pace
        if self.followers:
            self._lead()
        above = self.divider
        if above is not None:
            if len(cohorts) > 1 or self.followers:
                self._be_followed(above)
            else:
                above.followers.pop(self, None)

    def _lead(self) -> None:
        """Have the children solved again that must be and whose rate is another one now."""
        for child in tuple(self.followers):
            assert child.cohort is not None
            pace = self.pace_of(child.cohort)
            if pace != child.pace:
                child.sync(self.now)
                child.solve(pace)
                child.plan()

    def solve_path(self) -> None:
        """Solve the dividers from the root down to this one."""
        above = self.divider
        if above is None:
            self.solve(1.0)
            return
        above.solve_path()
        if self.cohort is not None:
            self.solve(above.pace_of(self.cohort))

    def _be_followed(self, above: Divider) -> None:
        """Ask to be solved again with the level above, and with every level above that."""
        if self not in above.followers:
            above.followers[self] = None
            if above.divider is not None:
                above._be_followed(above.divider)

    def pace_of(self, cohort: Cohort) -> float:
        """Growth of a cohort's clock per second."""
        return min(cohort.breakpoint, self.level)

    def _fill(self, rate: float) -> None:
        """Divide `rate` cores: move cohorts across the water level until those below it are exactly those at their maximum."""
        cohorts = self.cohorts
        while self.split and rate - self.capped_maximum < cohorts[self.split - 1].breakpoint * self.free_weight:
            self._free(cohorts[self.split - 1])
        while self.split < len(cohorts) and rate - self.capped_maximum >= cohorts[self.split].breakpoint * self.free_weight:
            self._cap(cohorts[self.split])
        split = self.split
        full = cohorts[split - 1].breakpoint if split else 0.0
        if split == len(cohorts):
            self.level = full
        else:
            level = (rate - self.capped_maximum) / self.free_weight
            self.level = level if level > full else full  # only rounding could bring it below

    def _free(self, cohort: Cohort) -> None:
        """Let the water level drive a cohort that was at its maximum."""
        clock = self.clock(cohort)
        cohort.free = True
        cohort.offset = self.water - clock
        cohort.due = cohort.head + cohort.offset
        self.capped_maximum -= cohort.maximum
        self.free_weight += cohort.weight
        self.split -= 1
        self._tidy()

    def _cap(self, cohort: Cohort) -> None:
        """Let a cohort that has reached its maximum run in real time."""
        clock = self.clock(cohort)
        cohort.free = False
        cohort.offset = self.now - clock / cohort.breakpoint
        cohort.due = cohort.head / cohort.breakpoint + cohort.offset
        self.capped_maximum += cohort.maximum
        self.free_weight -= cohort.weight
        self.split += 1
        self._tidy()

    # ---- completions ----

    def post(self, node: Node) -> None:
        """Note when a child completes something next."""
        cohort = node.cohort
        assert cohort is not None
        node.stamp = stamp = next(self.stamps)
        key = node.key
        if cohort.count == 1:
            cohort.heap = [(key, stamp, node)]
            cohort.head = key
            cohort.due = key + cohort.offset if cohort.free else key / cohort.breakpoint + cohort.offset
        else:
            heappush(cohort.heap, (key, stamp, node))
            cohort.look()

    def plan(self) -> None:
        first = inf
        water, now, pace = self.water, self.now, self.pace
        for cohort in self.cohorts:
            ahead = (cohort.due - water) / self.water_pace if cohort.free else (cohort.due - now) * pace
            if ahead < first:
                first, self.planned = ahead, cohort
        key = self.at + first if first > 0.0 else self.at
        if key != self.key:
            self.key = key
            if self.cohort is not None:
                assert self.divider is not None
                self.divider.post(self)

    def plan_path(self) -> None:
        """Work out when this divider and those above complete something next."""
        self.plan()
        if self.divider is not None:
            self.divider.plan_path()

    def collect(self, finished: list[Burst], now: float) -> None:
        self.key = inf
        due: list[Node] = []
        for cohort in self.cohorts:
            if (self.water if cohort.free else now) < cohort.due:
                continue
            heap, clock = cohort.heap, cohort.head
            while heap and heap[0][0] <= clock:
                _, stamp, node = heappop(heap)
                if stamp == node.stamp:
                    node.sync(now)
                    due.append(node)
            cohort.look()
        for node in due:
            node.collect(finished, now)
