"""Stages of a block request's way: threads that block, limits, queues with an order of their own, and the page cache."""

from __future__ import annotations

from math import inf
from typing import final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractThread
from simvirt.resources.io_limit import IoLimit
from simvirt.resources.shared_disk import Account, Flow, SharedDisk
from simvirt.resources.stages import AbstractStage, CpuWork, Request
from simvirt.resources.threads import AWAKE, ThreadPool
from simvirt.resources.writeback import Owner, Writeback

__all__ = ["Dirty", "HeldBurst", "Limited", "QueuedDevice", "Sync"]


@final
class HeldBurst(AbstractStage):
    """CPU work on somebody else's thread that stays with the request until the last of several such stages: it blocks in between."""

    __slots__ = ("_done", "_engine", "_first", "_grant", "_holders", "last", "pool", "work")

    def __init__(self, engine: Engine, work: CpuWork, pool: ThreadPool, *, before: HeldBurst | None, last: bool) -> None:
        self._engine = engine
        self.work = work
        self.pool = pool
        self._first = before is None
        self.last = last
        """Whether the thread is free again after it."""
        self._holders: dict[Request, tuple[AbstractThread, float]] = {} if before is None else before._holders
        """Which thread each request holds, and since when it blocks."""
        self._grant = self._granted
        self._done = self._finished

    def enter(self, request: Request) -> None:
        if self._first:
            self.pool.acquire(self._grant, request)
        else:
            thread, blocked_at = self._holders[request]
            self._run(request, thread, (self._engine._now - blocked_at) or AWAKE)

    def _granted(self, request: Request, thread: AbstractThread, slept_s: float) -> None:
        request.times.append(self._engine._now)
        self._holders[request] = (thread, inf)
        self._run(request, thread, slept_s)

    def _run(self, request: Request, thread: AbstractThread, slept_s: float) -> None:
        seconds = self.work.seconds(request.factor, slept_s)
        if seconds > 0.0:
            thread.run(seconds, self._done, request)
        else:
            self._finished(request)

    def _finished(self, request: Request) -> None:
        now = self._engine._now
        thread, _ = self._holders[request]
        if self.last:
            del self._holders[request]
            self.pool.release(thread)
        else:
            self._holders[request] = (thread, now)
        request.times.append(now)
        self.next.enter(request)


@final
class Limited(AbstractStage):
    """A wait for the tenant's own limit on the disk."""

    __slots__ = ("_count", "_engine", "_limit", "_passed", "_size_bytes")

    def __init__(self, engine: Engine, limit: IoLimit, count: float, size_bytes: float) -> None:
        self._engine = engine
        self._limit = limit
        self._count = count
        self._size_bytes = size_bytes
        self._passed = self._pass

    def enter(self, request: Request) -> None:
        self._limit.enter(self._count, self._size_bytes, self._passed, request)

    def _pass(self, request: Request) -> None:
        request.times.append(self._engine._now)
        self.next.enter(request)


@final
class QueuedDevice(AbstractStage):
    """A stay at a device that settles the order of its queue as it goes: the end is known when it comes."""

    __slots__ = ("_device", "_done", "_engine", "_flow", "_moves", "_service_s", "account")

    def __init__(self, engine: Engine, device: SharedDisk, flow: Flow, service_s: float, moves: float) -> None:
        self.account = Account()
        self._engine = engine
        self._device = device
        self._flow = flow
        self._service_s = service_s
        self._moves = moves
        self._done = self._served

    def enter(self, request: Request) -> None:
        self._device.submit(self._flow, self._service_s, self._moves, self._done, request, self.account)

    def _served(self, request: Request) -> None:
        request.times.append(self._engine._now)
        self.next.enter(request)


@final
class Dirty(AbstractStage):
    """Bytes that become dirty pages of a kernel: at once, or when there is room. The thread sleeps only if it must wait."""

    __slots__ = ("_engine", "_owner", "_size_bytes", "_taken", "_writeback")

    def __init__(self, engine: Engine, writeback: Writeback, owner: Owner, size_bytes: float) -> None:
        self._engine = engine
        self._writeback = writeback
        self._owner = owner
        self._size_bytes = size_bytes
        self._taken = self._pass

    def enter(self, request: Request) -> None:
        request.blocked_at = inf  # awake, unless it turns out to wait
        if not self._writeback.write(self._owner, self._size_bytes, self._taken, request):
            request.blocked_at = self._engine._now

    def _pass(self, request: Request) -> None:
        request.times.append(self._engine._now)
        self.next.enter(request)


@final
class Sync(AbstractStage):
    """A wait until what the tenant has dirty in a kernel is written back."""

    __slots__ = ("_engine", "_owner", "_synced", "_writeback")

    def __init__(self, engine: Engine, writeback: Writeback, owner: Owner) -> None:
        self._engine = engine
        self._writeback = writeback
        self._owner = owner
        self._synced = self._pass

    def enter(self, request: Request) -> None:
        request.blocked_at = inf  # awake, unless it turns out to wait
        if not self._writeback.sync(self._owner, self._synced, request):
            request.blocked_at = self._engine._now

    def _pass(self, request: Request) -> None:
        request.times.append(self._engine._now)
        self.next.enter(request)
