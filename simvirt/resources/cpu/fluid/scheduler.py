"""The scheduler of one machine: threads at full speed, each until its own end, and islands of those that must share."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from math import inf
from operator import itemgetter
from typing import Any, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, AbstractScheduler, CpuAccount, Share
from simvirt.resources.cpu.fluid.divider import Divider
from simvirt.resources.cpu.fluid.gate import Gate
from simvirt.resources.cpu.fluid.island import Island
from simvirt.resources.cpu.fluid.node import Burst, Node
from simvirt.resources.cpu.fluid.pool import FluidThread, Pool

__all__ = ["FluidGroup", "FluidScheduler"]

_order = itemgetter(1)


@final
class FluidGroup(AbstractGroup):
    """What one level schedules as one: a pool of threads until it is given child groups, then a divider among those and its pool."""

    __slots__ = ("_gates", "_scheduler", "name", "node", "pool", "share")

    def __init__(self, name: str, share: Share, scheduler: FluidScheduler, parent: Divider, gates: tuple[Gate, ...]) -> None:
        self.name = name
        self.share = share
        self._scheduler = scheduler
        now = scheduler.engine._now
        if min(share.processors, share.cap_cores) < inf:
            gates = (Gate(share, now), *gates)
        self._gates = gates
        self.pool = Pool(parent, share, gates, now)
        self.node: Node = self.pool
        parent.children[self.pool] = None

    def group(self, name: str, share: Share) -> FluidGroup:
        node = self.node
        if not isinstance(node, Divider):
            node = self.node = self._scheduler.divide(self.pool, self.share)
        return self._scheduler.add_group(name, share, node, self._gates)

    def thread(self, name: str) -> FluidThread:
        return FluidThread(name, self.pool, self._scheduler)

    def idle_processor_s(self) -> float:
        if self.share.processors == inf:
            return -1.0
        return self._gates[0].idle_processor_s(self._scheduler.engine._now)

    def account(self) -> CpuAccount:
        return self._scheduler.account_of(self.node)


@final
class FluidScheduler(AbstractScheduler):
    """Fluid sharing of the cores of one machine. One wake-up serves all, at the earliest completion.

    A thread runs at full speed, in real time, while no limit between it and the cores is felt. Where one more thread is too much for a
    limit, everybody below it moves to an island, until there is room again.
    """

    __slots__ = (
        "_gate", "_islands", "_pool", "_root", "_squeezed", "_stamps", "_touched", "aim", "cores", "engine", "name", "orders", "queue",
        "share", "wakeup",
    )  # fmt: skip

    def __init__(self, engine: Engine, cores: int) -> None:
        if cores < 1:
            raise ValueError(f"cores: {cores}; must be at least 1")
        self.name = "root"
        self.cores = cores
        self.share = Share(processors=cores)
        self.engine = engine
        self.wakeup = engine.wakeup(self._serve)
        self.orders: Iterator[int] = count()
        self.queue: list[tuple[float, int, Any]] = []
        """A heap of (end, order of start, thread at full speed) and (time to look, order, island)."""
        self._stamps = count()
        self._root = Divider(None, self.share, engine.now, self._stamps)
        self._gate = Gate(self.share, engine.now)
        self._pool = Pool(self._root, Share(), (self._gate,), engine.now)
        self._root.children[self._pool] = None
        self._islands: dict[Gate, Island] = {}
        self._squeezed: dict[Island, None] = {}
        """Islands where somebody is."""
        self._touched: dict[Island, None] = {}
        """Islands whose threads changed since rates were last worked out."""
        self.aim = inf
        """When we are to be woken next; minus infinity while we are awake."""

    # ---- the tree ----

    def group(self, name: str, share: Share) -> FluidGroup:
        return self.add_group(name, share, self._root, (self._gate,))

    def thread(self, name: str) -> FluidThread:
        return FluidThread(name, self._pool, self)

    def add_group(self, name: str, share: Share, parent: Divider, gates: tuple[Gate, ...]) -> FluidGroup:
        """Add a group below any group of the tree, behind the gates of that group."""
        if not 0.0 < share.weight < inf or not share.cap_cores > 0.0 or not share.processors > 0.0:
            raise ValueError(f"group {name}: {share}: weight, cap_cores and processors must be positive, the weight finite")
        if not share.plain:
            raise ValueError(f"group {name}: {share}: fluid sharing knows weights, caps and processors only; schedule by rules")
        return FluidGroup(name, share, self, parent, gates)

    def divide(self, pool: Pool, share: Share) -> Divider:
        """Put a divider with the share of a group between the group's pool and its parent, whatever runs in the pool now."""
        now, parent = self.engine._now, pool.parent
        island = self._island_of(pool)
        bursts = [] if island is None else self._close(island, now)
        self._credit()
        for gate in pool.gates:
            self._islands.pop(gate, None)  # its ways and its root may be others from now on
        assert isinstance(parent, Divider)
        divider = Divider(parent, share, now, self._stamps)
        divider.busy_s, divider.entitled_s, divider.runnable_s = pool.busy_s, pool.entitled_s, pool.runnable_s
        divider.children[pool] = None
        del parent.children[pool]
        parent.children[divider] = None
        pool.parent = pool.divider = divider
        pool.adopt(Share())
        self._readmit(bursts, now)
        if self.aim > -inf:
            self._settle(now)
            self._take_aim()
        return divider

    def idle_processor_s(self) -> float:
        idle_since = self._gate.idle_since
        return (self.engine._now - idle_since[0]) or -1.0 if idle_since else -1.0

    # ---- accounts ----

    def account(self) -> CpuAccount:
        return self.account_of(self._root)

    def account_of(self, node: Node) -> CpuAccount:
        """Time integrals of one node, up to now."""
        self._credit()
        self._bring(node)
        full_speed_s = node.at_full_speed_s()
        return CpuAccount(
            busy_s=node.busy_s + full_speed_s, entitled_s=node.entitled_s + full_speed_s, runnable_s=node.runnable_s + full_speed_s
        )

    def restart(self) -> None:
        self._credit()
        for node in self._root.downwards():
            self._bring(node)
            node.forget()
        for island in self._islands.values():
            island.forget()

    def _credit(self) -> None:
        """Bring the accounts of all pools at full speed and of all nodes on which islands stand up to date."""
        now = self.engine._now
        for _, _, thread in self.queue:
            if thread.__class__ is FluidThread:
                thread.pool.full_speed_s += now - thread.since
                thread.since = now
        for island in self._islands.values():
            island.credit(now)

    def _bring(self, node: Node) -> None:
        """Bring a node of a tree of clocks up to date."""
        if node.runnable:
            node.sync(self.engine._now)
            node.integrate(self.engine._now)

    # ---- running ----

    def squeeze(self, thread: FluidThread, cpu_s: float) -> None:
        """Start a burst where something holds the thread back."""
        now = self.engine._now
        island: Island | None = None
        for gate in thread.gates:
            if gate.idle_since:
                gate.idle_since.pop()
            else:
                gate.crowd += 1
            if gate.room == -inf:
                island = self._islands[gate]
        if island is None:
            island = self._open(self._narrowest(thread), thread, cpu_s, next(self.orders), now)
        else:
            island.add(thread, cpu_s, next(self.orders), now)
        self._touched[island] = None
        if self.aim > -inf:
            self._settle(now)
            self._take_aim()

    def withdraw(self, thread: FluidThread) -> float | None:
        """Take the burst of a thread back: the work that is left of it; None if it has just been served."""
        now, queue = self.engine._now, self.queue
        found = next((i for i, burst in enumerate(queue) if burst[2] is thread), None)
        if found is not None:
            left_s = queue[found][0] - now
            queue[found] = queue[-1]
            queue.pop()
            heapify(queue)
            thread.pool.full_speed_s += now - thread.since
            for gate in thread.gates:
                gate.room += 1.0
        else:
            island = self._island_of(thread.pool)
            bursts = [] if island is None else self._close(island, now)
            mine = next((burst for burst in bursts if burst[2] is thread), None)
            self._readmit([burst for burst in bursts if burst is not mine], now)
            if mine is None:
                return None
            left_s = mine[0]
        for gate in thread.gates:
            if gate.crowd:
                gate.crowd -= 1
            else:
                gate.idle_since.append(now)
        thread.done = None
        if self.aim > -inf:
            self._settle(now)
            self._take_aim()
        return left_s

    def _serve(self) -> None:
        """Wake-up: take out what has been served, tell the callers in order of start, then look for the next completion.

        Goes on at the next completion as long as nothing else happens before.
        """
        engine, queue = self.engine, self.queue
        now = engine._now
        self.aim = -inf
        try:
            while True:
                burst = heappop(queue)
                thread = burst[2]
                if thread.__class__ is not FluidThread or (queue and queue[0][0] <= now):
                    self._serve_all(burst, now)
                else:
                    thread.pool.full_speed_s += now - thread.since
                    for gate in thread.gates:
                        gate.room += 1.0
                        if gate.crowd:
                            gate.crowd -= 1
                        else:
                            gate.idle_since.append(now)
                    done: Any = thread.done
                    thread.done = None
                    done(thread.argument)
                if self._touched:
                    self._settle(now)
                if not queue:
                    break
                now = queue[0][0]
                if not engine.pass_to(now):
                    break
        finally:
            if self._touched:
                self._settle(engine._now)
            self._take_aim()

    def _take_aim(self) -> None:
        """Have ourselves woken at the next completion."""
        queue = self.queue
        time = queue[0][0] if queue else inf
        if time != self.aim:
            self.aim = time
            self.wakeup.at(time)

    def _serve_all(self, burst: Burst, now: float) -> None:
        """Serve all that is due now."""
        queue = self.queue
        finished: list[Burst] = []
        while True:
            found = burst[2]
            if found.__class__ is FluidThread:
                found.pool.full_speed_s += now - found.since
                for gate in found.gates:
                    gate.room += 1.0
                finished.append(burst)
            else:
                found.pending.pop()
                if found.due <= now:
                    found.collect(finished, now)
                    self._touched[found] = None
                elif found.due < found.pending[-1]:
                    found.pending.append(found.due)
                    heappush(queue, (found.due, next(self.orders), found))
            if not queue or queue[0][0] > now:
                break
            burst = heappop(queue)
        for _, _, thread in finished:
            for gate in thread.gates:
                if gate.crowd:
                    gate.crowd -= 1
                else:
                    gate.idle_since.append(now)
        if len(finished) > 1:
            finished.sort(key=_order)
        for _, _, thread in finished:
            done = thread.done
            thread.done = None
            done(thread.argument)

    def _settle(self, now: float) -> None:
        """Work out the rates of all islands whose threads changed, and when to look at them."""
        touched, queue = self._touched, self.queue
        while touched:
            island, _ = touched.popitem()
            if island.settle(now):
                self._readmit(self._close(island, now), now)
                continue
            due, pending = island.due, island.pending
            if due < pending[-1]:
                pending.append(due)
                heappush(queue, (due, next(self.orders), island))
            elif pending[-1] < due < pending[-2] and queue[0][2] is island:  # the entry at the top is too early: move it
                pending[-1] = due
                heapreplace(queue, (due, next(self.orders), island))

    # ---- between full speed and islands ----

    def _squeeze(self, thread: FluidThread, left_s: float, order: int, now: float) -> None:
        """Let a thread into the island that it belongs to, or make one of the outermost gate that is too narrow for it."""
        island = self._island_of(thread.pool)
        if island is None:
            island = self._open(self._narrowest(thread), thread, left_s, order, now)
        else:
            island.add(thread, left_s, order, now)
        self._touched[island] = None

    def _island_of(self, pool: Pool) -> Island | None:
        """The island to which the threads of a pool belong at present."""
        for gate in pool.gates:
            if gate.room == -inf:
                return self._islands[gate]
        return None

    def _narrowest(self, thread: FluidThread) -> Gate:
        """The outermost gate that lets less through than the thread wants, or than the gates inside let through."""
        narrowest, wanted = thread.gates[0], 1.0
        for gate in thread.gates:
            if gate.room < wanted * 0.999999999:  # all of it, to rounding
                narrowest, wanted = gate, max(0.0, gate.room)
        return narrowest

    def _open(self, gate: Gate, thread: FluidThread, left_s: float, order: int, now: float) -> Island:
        """Move everybody below a gate, and one more thread, to an island."""
        island = self._islands.get(gate) or self._found(gate, thread)
        bursts = self._hold(gate, now)
        for inner in [inner for inner in self._squeezed if gate in inner.outer]:
            bursts += self._close(inner, now)
        bursts.append((left_s, order, thread))
        for outer in island.outer:
            outer.room -= gate.limit
        gate.room = -inf
        self._squeezed[island] = None
        island.open(bursts, now)
        return island

    def _found(self, gate: Gate, thread: FluidThread) -> Island:
        """Make the island of a gate on the way of a thread."""
        gates = thread.gates
        outer = gates[gates.index(gate) + 1 :]
        limited = (node for node in thread.pool.upwards() if node.limit < inf)
        root = dict(zip(gates, limited, strict=True))[gate]
        island = self._islands[gate] = Island(gate, outer, root)
        return island

    def _hold(self, gate: Gate, now: float) -> list[Burst]:
        """Take out all that runs at full speed below a gate, each with the work that is left."""
        held: list[Burst] = []
        others: list[Burst] = []
        for burst in self.queue:
            end, order, thread = burst
            if thread.__class__ is not FluidThread or gate not in thread.gates:
                others.append(burst)
                continue
            thread.pool.full_speed_s += now - thread.since
            for passed in thread.gates:
                passed.room += 1.0
            held.append((end - now, order, thread))
        self.queue[:] = others
        heapify(self.queue)
        return held

    def _close(self, island: Island, now: float) -> list[Burst]:
        """Take everybody out of an island, each with the work that is left."""
        bursts = island.empty(now)
        island.gate.room = island.gate.limit
        for gate in island.outer:
            gate.room += island.gate.limit
        del self._squeezed[island]
        self._touched.pop(island, None)
        return bursts

    def _readmit(self, bursts: list[Burst], now: float) -> None:
        """Let threads go on, at full speed if they can, in order of start."""
        bursts.sort(key=_order)
        for left_s, order, thread in bursts:
            if any(gate.room < 0.999999999 for gate in thread.gates):
                self._squeeze(thread, left_s, order, now)
                continue
            for gate in thread.gates:
                gate.room -= 1.0
            thread.since = now
            heappush(self.queue, (now + left_s, order, thread))
