"""The stages that a request passes, one after the other, by plain calls: no process, no event that is not needed.

A stage is entered with a request, notes the time when it hands the request on, and enters the next one. The times that a request
collects (one per stage, and one for the wait for a thread) are all that is needed to say exactly where its time went.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, AbstractThread
from simvirt.resources.threads import ThreadPool

__all__ = ["AbstractStage", "Acquire", "CallerBurst", "CpuWork", "Device", "End", "PoolBurst", "Release", "Request"]


@final
class Request:
    """One request on its way."""

    __slots__ = ("factor", "thread", "times", "woken")

    def __init__(self, started: float, factor: float) -> None:
        self.factor = factor
        """Scales the random part of its CPU work; mean 1."""
        self.times = [started]
        """When it was meant to start, then when each stage let it go."""
        self.thread: AbstractThread | None = None
        """The application's thread that works for it."""
        self.woken = True
        """Whether that thread slept before it went on with this request."""


class AbstractStage(ABC):
    """Something that a request passes."""

    __slots__ = ("next",)

    next: AbstractStage

    @abstractmethod
    def enter(self, request: Request) -> None:
        """Take the request; hand it to `next` in the end."""


class CpuWork:
    """The work of one CPU stage: what is always due, and what is due if somebody must be woken. It counts what was done.

    seconds = fixed_s + random_s * factor + asleep_s [executor slept] + idle_s [a virtual processor was halted] + notify_s [the next
    executor sleeps].
    """

    __slots__ = ("asleep_s", "factors", "fixed_s", "idle", "idle_wakes", "notified", "notify", "random_s", "runs", "wakes")

    def __init__(
        self,
        fixed_s: float,
        random_s: float,
        asleep_s: float,
        idle: tuple[tuple[AbstractGroup, float], ...],
        notify_s: float,
        notify: ThreadPool | None,
    ) -> None:
        self.fixed_s = fixed_s
        self.random_s = random_s
        self.asleep_s = asleep_s
        self.idle = idle
        self.notify = (notify, notify_s) if notify is not None and notify_s else None
        self.restart()

    def restart(self) -> None:
        """Begin to count anew."""
        self.runs = 0
        self.factors = 0.0
        self.wakes = 0
        self.notified = 0
        self.idle_wakes = [0] * len(self.idle)

    def seconds(self, factor: float, woken: bool) -> float:
        """How long this run takes on a processor of its own."""
        self.runs += 1
        work = self.fixed_s
        if self.random_s:
            self.factors += factor
            work += self.random_s * factor
        if woken and self.asleep_s:
            self.wakes += 1
            work += self.asleep_s
        for i, (group, wake_s) in enumerate(self.idle):
            if group.has_idle_processor():
                self.idle_wakes[i] += 1
                work += wake_s
        if self.notify is not None and self.notify[0].would_wake():
            self.notified += 1
            work += self.notify[1]
        return work

    def cpu_s(self) -> float:
        """All CPU time charged since the last restart."""
        woken_s = sum(n * wake_s for n, (_, wake_s) in zip(self.idle_wakes, self.idle, strict=True))
        notified_s = self.notified * self.notify[1] if self.notify is not None else 0.0
        return self.runs * self.fixed_s + self.factors * self.random_s + self.wakes * self.asleep_s + woken_s + notified_s


@final
class Acquire(AbstractStage):
    """Wait for a thread of the application."""

    __slots__ = ("_engine", "pool")

    def __init__(self, engine: Engine, pool: ThreadPool) -> None:
        self._engine = engine
        self.pool = pool

    def enter(self, request: Request) -> None:
        self.pool.acquire(self._granted, request)

    def _granted(self, request: Request, thread: AbstractThread, woken: bool) -> None:
        request.thread = thread
        request.woken = woken
        request.times.append(self._engine._now)
        self.next.enter(request)


@final
class Release(AbstractStage):
    """Give the application's thread back."""

    __slots__ = ("pool",)

    def __init__(self, pool: ThreadPool) -> None:
        self.pool = pool

    def enter(self, request: Request) -> None:
        thread = request.thread
        assert thread is not None
        request.thread = None
        self.pool.release(thread)
        self.next.enter(request)


@final
class CallerBurst(AbstractStage):
    """CPU work on the thread that the request holds."""

    __slots__ = ("_done", "_engine", "work")

    def __init__(self, engine: Engine, work: CpuWork) -> None:
        self._engine = engine
        self.work = work
        self._done = self._finished

    def enter(self, request: Request) -> None:
        thread = request.thread
        assert thread is not None
        seconds = self.work.seconds(request.factor, request.woken)
        request.woken = True  # it sleeps until the next stage is over
        thread.run(seconds, self._done, request)

    def _finished(self, request: Request) -> None:
        request.times.append(self._engine._now)
        self.next.enter(request)


@final
class PoolBurst(AbstractStage):
    """CPU work on a thread of somebody else, who serves requests in order of arrival."""

    __slots__ = ("_done", "_engine", "pool", "work")

    def __init__(self, engine: Engine, work: CpuWork, pool: ThreadPool) -> None:
        self._engine = engine
        self.work = work
        self.pool = pool
        self._done = self._finished

    def enter(self, request: Request) -> None:
        self.pool.acquire(self._granted, request)

    def _granted(self, request: Request, thread: AbstractThread, woken: bool) -> None:
        request.times.append(self._engine._now)
        thread.run(self.work.seconds(request.factor, woken), self._done, (request, thread))

    def _finished(self, served: tuple[Request, AbstractThread]) -> None:
        request, thread = served
        self.pool.release(thread)
        request.times.append(self._engine._now)
        self.next.enter(request)


class Submit(Protocol):
    """How a device takes a request: it calls done(argument) when it has served it."""

    def __call__(self, done: Callable[[Any], None], argument: Any, /) -> None: ...


@final
class Device(AbstractStage):
    """A stay at a device, whatever kind: the amount is settled beforehand."""

    __slots__ = ("_done", "_engine", "_submit", "runs")

    def __init__(self, engine: Engine, submit: Submit) -> None:
        self._engine = engine
        self._submit = submit
        self._done = self._finished
        self.runs = 0

    def enter(self, request: Request) -> None:
        self.runs += 1
        self._submit(self._done, request)

    def _finished(self, request: Request) -> None:
        request.times.append(self._engine._now)
        self.next.enter(request)


@final
class End(AbstractStage):
    """The last stage: it hands the finished request to whoever asked for it."""

    __slots__ = ("_finished",)

    def __init__(self, finished: Callable[[Request], None]) -> None:
        self._finished = finished

    def enter(self, request: Request) -> None:
        self._finished(request)
