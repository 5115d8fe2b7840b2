"""Fluid CPU sharing: generalized processor sharing over a tree of groups with weights, caps and processors.

The limit of every fair scheduler when its time slices go to zero: no slices, no context switches, no cores with queues of their own.
A thread can use at most 1 core. A group can use at most

    maximum = min(sum of its children's maxima, processors, cap_cores)

and weighs `weight`, or `weight * min(runnable threads, processors)`. A parent that receives R cores gives each child

    rate = min(maximum, weight * level),    with the water level such that the rates add up to R (water-filling).

The root receives min(cores, sum of maxima). Rates are in cores, clocks and work in core-seconds per unit of weight.

How it stays fast. A child's rate is weight * min(breakpoint, level) with breakpoint = maximum / weight, so children with the same
breakpoint progress in step: they form a *cohort* with one clock, whatever their number, and a heap of what each of
them finishes next, keyed by that clock. A cohort below the level runs in real time, the others in the integral of the level; when
the level crosses a breakpoint, one cohort moves and nothing else. A pool of equal threads is linear in its cohort's clock, and so
is a group whose children form one cohort: they are visited only when they themselves change. Groups that divide among several cohorts
are solved again when their own rate changes. A change costs O(log n) in threads and groups, and a scan of the cohorts of the levels above.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf, nextafter
from operator import attrgetter, itemgetter
from typing import Any, TypeAlias, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, AbstractScheduler, AbstractThread, CpuAccount, Done, Share

__all__ = ["FluidGroup", "FluidScheduler", "FluidThread"]

_SLACK = 16
"""Heaps up to this length are not swept of outdated entries."""

_Burst: TypeAlias = "tuple[float, int, FluidThread]"
"""A burst in a pool: virtual time at completion, order of start, thread."""

_breakpoint = attrgetter("breakpoint")
_order = itemgetter(1)


@final
class _Cohort:
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
        self.heap: list[tuple[float, int, _Node]] = []
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


class _Node(ABC):
    """A child of a divider: a pool of threads, or a divider itself.

    `busy_s` is brought up to date when the node's own state changes, as weight * (progress of its cohort's clock).
    """

    __slots__ = (
        "at", "busy_s", "cohort", "demand", "divider", "entitled_s", "idle_since", "key", "limit", "maximum", "per_thread", "processors",
        "runnable", "runnable_s", "since", "stamp", "unit_weight", "weight",
    )  # fmt: skip

    def __init__(self, divider: _Divider | None, share: Share, now: float) -> None:
        self.divider = divider
        self.cohort: _Cohort | None = None
        self.runnable = 0
        self.demand = 0.0
        """Cores that the threads below could use if this node had no limit of its own."""
        self.weight = 0.0
        self.maximum = 0.0
        self.at = 0.0
        """The cohort's clock when this node was last brought up to date; for the root, the time."""
        self.key = inf
        """The cohort's clock at this node's next completion."""
        self.stamp = -1
        self.since = now
        self.busy_s = self.entitled_s = self.runnable_s = 0.0
        self.adopt(share)
        processors = 0 if share.processors == inf else int(share.processors)
        self.idle_since = [nextafter(now, -inf)] * processors
        """Since when each idle processor has been idle; a new one since just before now. The last to fall idle is the first to be woken."""

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
    def collect(self, finished: list[_Burst], now: float) -> None:
        """Take out the threads below that have just been served."""

    def release(self, now: float) -> None:
        """Let the processors that no thread needs any more be idle from now on."""
        if self.runnable < self.processors < inf:
            idle_since = self.idle_since
            idle_since += [now] * (int(self.processors) - self.runnable - len(idle_since))

    def idle_processor_s(self, now: float) -> float:
        """How long that processor has been idle that has been idle longest.

        Negative if there is none, also when it fell idle at this very instant: it goes on without a halt.
        """
        return (now - self.idle_since[0]) or -1.0 if self.idle_since else -1.0

    def integrate(self, now: float) -> None:
        """Add the time since the last call to the integrals of what is runnable and what could be used."""
        elapsed = now - self.since
        if elapsed > 0.0:
            self.since = now
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
        processors = self.processors
        if processors < inf:
            if added < 0:
                self.release(now)
            elif self.idle_since:
                del self.idle_since[-added:]
        maximum = self.demand if self.demand < self.limit else self.limit
        divider = self.divider
        if divider is None:
            self.weight = self.maximum = maximum
        elif runnable:
            weight = self.unit_weight
            if self.per_thread:
                weight *= runnable if runnable < processors else processors
            divider.resize(self, weight, maximum, now)
            divider.change(added, now)
        else:
            divider.resize(self, 0.0, 0.0, now)
            divider.change(added, now)


@final
class _Pool(_Node):
    """The runnable threads that sit directly in one group: they share its rate equally, so each has the same virtual time.

    Virtual time is work done per thread; it grows by weight / runnable per unit of the cohort's clock.
    """

    __slots__ = ("heap", "virtual")

    def __init__(self, divider: _Divider, share: Share, now: float) -> None:
        super().__init__(divider, share, now)
        self.virtual = 0.0
        self.heap: list[_Burst] = []

    def change(self, added: int, now: float) -> None:
        self.demand += added
        _Node.change(self, added, now)

    def sync(self, now: float) -> None:
        """Move virtual time to where the cohort's clock is; never past the first completion, and exactly there when it is due."""
        divider, cohort = self.divider, self.cohort
        assert divider is not None
        divider.sync(now)
        if cohort is None:
            return
        clock = divider.clock(cohort)
        passed = clock - self.at
        if passed > 0.0:
            self.at = clock
            self.busy_s += self.weight * passed
            self.virtual += passed * self.weight / self.runnable
        first = self.heap[0][0]
        if clock >= self.key or self.virtual > first:
            self.virtual = first

    def collect(self, finished: list[_Burst], now: float) -> None:
        heap, virtual = self.heap, self.virtual
        before = len(heap)
        while heap and heap[0][0] <= virtual:
            finished.append(heappop(heap))
        self.key = inf
        self.change(len(heap) - before, now)
        if not heap:
            self.virtual = 0.0

    def plan(self) -> None:
        if self.heap:
            key = self.at + (self.heap[0][0] - self.virtual) * self.runnable / self.weight
            if key != self.key:
                self.key = key
                assert self.divider is not None
                self.divider.post(self)


@final
class _Divider(_Node):
    """A group that divides its rate among several children by water-filling."""

    __slots__ = (
        "capped_maximum", "cohorts", "followers", "free_weight", "level", "now", "pace", "planned", "split", "stamps", "water",
        "water_pace",
    )  # fmt: skip

    def __init__(self, divider: _Divider | None, share: Share, now: float, stamps: Iterator[int]) -> None:
        super().__init__(divider, share, now)
        self.stamps = stamps
        self.now = now
        self.cohorts: list[_Cohort] = []
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
        self.planned: _Cohort | None = None
        self.followers: dict[_Divider, None] = {}
        """Children that must be solved again whenever their rate changes."""

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

    def clock(self, cohort: _Cohort) -> float:
        """Clock of a cohort as of `now`: never past its first completion, and exactly there when that is due."""
        if cohort.free:
            clock, reached = self.water - cohort.offset, self.water >= cohort.due
        else:
            clock, reached = (self.now - cohort.offset) * cohort.breakpoint, self.now >= cohort.due
        return cohort.head if reached or clock > cohort.head else clock

    # ---- members ----

    def resize(self, node: _Node, weight: float, maximum: float, now: float) -> None:
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

    def _add(self, cohort: _Cohort, weight: float, maximum: float) -> None:
        cohort.weight += weight
        cohort.maximum += maximum
        if cohort.free:
            self.free_weight += weight
        else:
            self.capped_maximum += maximum

    def _leave(self, cohort: _Cohort, node: _Node) -> None:
        node.cohort, node.key, node.stamp = None, inf, -1
        if isinstance(node, _Divider):
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

    def _cohort(self, full: float, now: float) -> _Cohort:
        """The cohort with breakpoint `full`, made if there is none."""
        cohorts = self.cohorts
        place = bisect_left(cohorts, full, key=_breakpoint)
        if place < len(cohorts) and cohorts[place].breakpoint == full:
            return cohorts[place]
        cohort = _Cohort(full)
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

    def _be_followed(self, above: _Divider) -> None:
        """Ask to be solved again with the level above, and with every level above that."""
        if self not in above.followers:
            above.followers[self] = None
            if above.divider is not None:
                above._be_followed(above.divider)

    def pace_of(self, cohort: _Cohort) -> float:
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

    def _free(self, cohort: _Cohort) -> None:
        """Let the water level drive a cohort that was at its maximum."""
        clock = self.clock(cohort)
        cohort.free = True
        cohort.offset = self.water - clock
        cohort.due = cohort.head + cohort.offset
        self.capped_maximum -= cohort.maximum
        self.free_weight += cohort.weight
        self.split -= 1
        self._tidy()

    def _cap(self, cohort: _Cohort) -> None:
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

    def post(self, node: _Node) -> None:
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

    def collect(self, finished: list[_Burst], now: float) -> None:
        self.key = inf
        due: list[_Node] = []
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


@final
class FluidThread(AbstractThread):
    """A thread under fluid sharing: at most 1 core, equal to the other threads of its group."""

    __slots__ = ("argument", "done", "name", "pool", "scheduler")

    def __init__(self, name: str, pool: _Pool, scheduler: FluidScheduler) -> None:
        self.name = name
        self.pool = pool
        self.scheduler = scheduler
        self.done: Done | None = None
        self.argument: Any = None

    def run(self, cpu_s: float, done: Done, argument: Any) -> None:
        if self.done is not None:
            raise RuntimeError(f"thread {self.name}: runs a burst already; wait until it is done")
        if not 0.0 < cpu_s < inf:
            raise ValueError(f"thread {self.name}: burst of {cpu_s} s; must be positive and finite")
        self.done = done
        self.argument = argument
        self.scheduler.start(self, cpu_s)


@final
class FluidGroup(AbstractGroup):
    """What one level schedules as one: a pool of threads until it is given child groups, then a divider among those and its pool."""

    __slots__ = ("_node", "_pool", "_scheduler", "name", "share")

    def __init__(self, name: str, share: Share, scheduler: FluidScheduler, parent: _Divider) -> None:
        self.name = name
        self.share = share
        self._scheduler = scheduler
        self._pool = _Pool(parent, share, scheduler.now)
        self._node: _Node = self._pool

    def group(self, name: str, share: Share) -> FluidGroup:
        return self._scheduler.add_group(name, share, self._divider())

    def thread(self, name: str) -> FluidThread:
        return FluidThread(name, self._pool, self._scheduler)

    def idle_processor_s(self) -> float:
        return self._node.idle_processor_s(self._scheduler.now)

    def account(self) -> CpuAccount:
        return self._scheduler.account_of(self._node)

    def _divider(self) -> _Divider:
        """This group as a divider: its pool becomes one child among others, with a weight of 1 per thread."""
        node = self._node
        if not isinstance(node, _Divider):
            node = self._node = self._scheduler.divide(self._pool, self.share)
        return node


@final
class FluidScheduler(AbstractScheduler):
    """Fluid sharing of the cores of one machine. One wake-up serves the whole tree, at the earliest completion.

    While only one pool right below the root has runnable threads it runs *alone*, outside the tree: each thread gets
    min(1, min(cores, processors, cap_cores) / runnable) cores, and virtual time follows real time. It joins the tree when
    another pool starts.
    """

    __slots__ = (
        "_alone", "_alone_busy_s", "_alone_cores", "_alone_pace", "_alone_runnable_s", "_changed", "_engine", "_groups", "_orders",
        "_pool", "_root", "_serving", "_stamps", "_wakeup", "cores", "name", "share",
    )  # fmt: skip

    def __init__(self, engine: Engine, cores: int) -> None:
        if cores < 1:
            raise ValueError(f"cores: {cores}; must be at least 1")
        self.name = "root"
        self.cores = cores
        self.share = Share(processors=cores)
        self._engine = engine
        self._orders = count()
        self._stamps = count()
        self._root = _Divider(None, self.share, engine.now, self._stamps)
        self._root.at = engine.now
        self._pool = _Pool(self._root, Share(), engine.now)
        self._groups: list[FluidGroup] = []
        self._changed: list[_Pool] = []
        """Pools whose threads changed since rates were last worked out."""
        self._serving = False
        self._wakeup = engine.wakeup(self._serve)
        self._alone: _Pool | None = None
        self._alone_cores = 0.0
        self._alone_pace = 0.0
        """Cores per thread."""
        self._alone_busy_s = self._alone_runnable_s = 0.0
        """What of the accounts of the pool that runs alone is already in those of the root."""

    # ---- the tree ----

    def group(self, name: str, share: Share) -> FluidGroup:
        return self.add_group(name, share, self._root)

    def thread(self, name: str) -> FluidThread:
        return FluidThread(name, self._pool, self)

    def add_group(self, name: str, share: Share, parent: _Divider) -> FluidGroup:
        """Add a group below any group of the tree."""
        if not 0.0 < share.weight < inf or not share.cap_cores > 0.0 or not share.processors > 0.0:
            raise ValueError(f"group {name}: {share}: weight, cap_cores and processors must be positive, the weight finite")
        group = FluidGroup(name, share, self, parent)
        self._groups.append(group)
        return group

    def divide(self, pool: _Pool, share: Share) -> _Divider:
        """Put a divider with the share of a group between the group's pool and its parent, whatever runs in the pool now."""
        now = self._engine.now
        if pool is self._alone:
            self._join()
        pool.sync(now)
        pool.integrate(now)
        divider = _Divider(pool.divider, share, now, self._stamps)
        divider.busy_s, divider.entitled_s, divider.runnable_s = pool.busy_s, pool.entitled_s, pool.runnable_s
        runnable = pool.runnable
        if runnable:
            pool.change(-runnable, now)
        divider.idle_since, pool.idle_since = pool.idle_since, []
        pool.divider = divider
        pool.adopt(Share())
        if runnable:
            pool.change(runnable, now)
            self._note(pool)
        return divider

    def idle_processor_s(self) -> float:
        return self._root.idle_processor_s(self.now)

    @property
    def now(self) -> float:
        """The time, in seconds."""
        return self._engine._now

    # ---- accounts ----

    def account(self) -> CpuAccount:
        return self.account_of(self._root)

    def account_of(self, node: _Node) -> CpuAccount:
        """Time integrals of one node, up to now."""
        self._bring(node)
        return CpuAccount(busy_s=node.busy_s, entitled_s=node.entitled_s, runnable_s=node.runnable_s)

    def restart(self) -> None:
        for node in (self._root, *(group._node for group in self._groups)):
            self._bring(node)
            node.busy_s = node.entitled_s = node.runnable_s = 0.0
        if self._alone is not None:
            self._alone_busy_s, self._alone_runnable_s = self._alone.busy_s, self._alone.runnable_s

    def _bring(self, node: _Node) -> None:
        """Bring the account of one node up to date."""
        now = self._engine.now
        if self._alone is not None:
            self._credit(self._alone)
        node.sync(now)
        node.integrate(now)
        node.since = now

    # ---- running ----

    def start(self, thread: FluidThread, cpu_s: float) -> None:
        """Let a thread be runnable from now on, with `cpu_s` seconds of work."""
        now = self._engine._now
        pool = thread.pool
        if pool is not self._alone and not self._isolate(pool):
            pool.sync(now)
            heappush(pool.heap, (pool.virtual + cpu_s, next(self._orders), thread))
            pool.change(1, now)
            self._note(pool)
            return
        if pool.runnable:
            self._advance(pool, now)
        else:
            pool.since = now
        heappush(pool.heap, (pool.virtual + cpu_s, next(self._orders), thread))
        pool.runnable += 1
        if self._root.idle_since:
            self._root.idle_since.pop()
        if pool.idle_since:
            pool.idle_since.pop()
        if not self._serving:
            self._aim(pool, now)

    def _serve(self) -> None:
        """Wake-up: take out what has been served, tell the callers in order of start, then look for the next completion."""
        now = self._engine._now
        alone = self._alone
        if alone is not None:
            finished = self._take(alone, now)
        else:
            finished = []
            self._root.sync(now)
            self._root.collect(finished, now)
            for burst in finished:
                self._changed.append(burst[2].pool)
        assert finished, "a wake-up serves at least one burst"
        if len(finished) > 1:
            finished.sort(key=_order)
        self._serving = True
        try:
            for _, _, thread in finished:
                done: Any = thread.done
                thread.done = None
                done(thread.argument)
        finally:
            self._serving = False
            self._resume(now)

    def _resume(self, now: float) -> None:
        """Work out the rates and the next completion after the callers have been told."""
        alone = self._alone
        if alone is None:
            self._settle()
            return
        self._changed.clear()
        if alone.runnable:
            self._aim(alone, now)
        else:
            alone.maximum = 0.0
            self._wakeup.cancel()

    # ---- one pool alone ----

    def _isolate(self, pool: _Pool) -> bool:
        """Let a pool run alone from now on if it is right below the root and nothing else is runnable."""
        alone = self._alone
        if alone is None:
            if self._root.runnable:
                return False
        elif alone.runnable:
            self._join()
            return False
        else:
            self._part(alone)
        if pool.divider is not self._root:
            return False
        self._alone = pool
        self._alone_cores = min(self.cores, pool.limit)
        self._alone_busy_s, self._alone_runnable_s = pool.busy_s, pool.runnable_s
        return True

    def _join(self) -> None:
        """Move the pool that runs alone into the tree."""
        now, pool = self._engine._now, self._alone
        assert pool is not None
        self._part(pool)
        runnable, pool.runnable = pool.runnable, 0
        if runnable:
            self._release(pool, now)
            pool.change(runnable, now)
            self._note(pool)

    def _part(self, pool: _Pool) -> None:
        """Stop running this pool alone."""
        self._credit(pool)
        pool.maximum = 0.0
        self._alone = None

    def _credit(self, pool: _Pool) -> None:
        """Bring the account of the root up to date with that of the pool that runs alone."""
        now, root = self._engine._now, self._root
        if pool.runnable:
            self._advance(pool, now)
        busy_s = pool.busy_s - self._alone_busy_s
        root.busy_s += busy_s
        root.entitled_s += busy_s
        root.runnable_s += pool.runnable_s - self._alone_runnable_s
        root.now = root.at = root.since = now
        self._alone_busy_s, self._alone_runnable_s = pool.busy_s, pool.runnable_s

    def _advance(self, pool: _Pool, now: float) -> None:
        """Bring the pool that runs alone up to date; virtual time never passes its first completion."""
        elapsed, runnable = now - pool.since, pool.runnable
        progress = self._alone_pace * elapsed
        pool.since = now
        pool.busy_s += progress * runnable
        pool.entitled_s += pool.maximum * elapsed
        pool.runnable_s += runnable * elapsed
        virtual, first = pool.virtual + progress, pool.heap[0][0]
        pool.virtual = virtual if virtual < first else first

    def _take(self, pool: _Pool, now: float) -> list[_Burst]:
        """Take out the bursts of the pool that runs alone that have just been served."""
        self._advance(pool, now)
        heap = pool.heap
        finished = [heappop(heap)]
        virtual = finished[0][0]
        while heap and heap[0][0] <= virtual:
            finished.append(heappop(heap))
        pool.runnable = len(heap)
        pool.virtual = virtual if heap else 0.0
        self._release(pool, now)
        return finished

    def _release(self, pool: _Pool, now: float) -> None:
        """Let the processors be idle that the pool that runs alone does not need any more, and the cores."""
        pool.release(now)
        idle_cores = self._root.idle_since
        if pool.runnable < self.cores:
            idle_cores.extend([now] * (self.cores - pool.runnable - len(idle_cores)))

    def _aim(self, pool: _Pool, now: float) -> None:
        """Work out the rate of the pool that runs alone and when it completes something next."""
        runnable, cores = pool.runnable, self._alone_cores
        pool.maximum = runnable if runnable < pool.limit else pool.limit
        self._alone_pace = pace = 1.0 if runnable <= cores else cores / runnable
        self._wakeup.at(now + (pool.heap[0][0] - pool.virtual) / pace)

    # ---- the whole tree ----

    def _note(self, pool: _Pool) -> None:
        """Have rates worked out again: at once, or after the callers have been told."""
        self._changed.append(pool)
        if not self._serving:
            self._settle()

    def _settle(self) -> None:
        """Rates from the root down, next completions from the changed pools up, and the wake-up."""
        root = self._root
        for pool in self._changed:
            assert pool.divider is not None
            pool.divider.solve_path()
            pool.plan()
            pool.divider.plan_path()
        self._changed.clear()
        if root.key < inf:
            self._wakeup.at(root.key)
        else:
            self._wakeup.cancel()
