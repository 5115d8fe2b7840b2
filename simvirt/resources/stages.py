"""The stages that a request passes, one after the other, by plain calls: no process, no event that is not needed.

A stage is entered with a request, notes the time when it hands the request on, and enters the next one. The times that a request
collects (one per stage, and one for the wait for a thread) are all that is needed to say exactly where its time went.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Protocol, final

from simvirt.engine import Engine
from simvirt.resources.connections import ConnectionTable
from simvirt.resources.cpu.contract import AbstractGroup, AbstractThread
from simvirt.resources.cpu.idle import IdleLadder
from simvirt.resources.delay import Delay
from simvirt.resources.moderation import Moderation
from simvirt.resources.threads import AWAKE, ThreadPool

__all__ = [
    "TABLE_FULL",
    "AbstractStage",
    "Acquire",
    "CallerBurst",
    "CpuWork",
    "Device",
    "DeviceThenDelay",
    "End",
    "Failed",
    "LastDevice",
    "Moderate",
    "PoolBurst",
    "Release",
    "Request",
    "Reserve",
    "Submit",
    "Track",
    "tell_nobody",
]

TABLE_FULL: Final = "connection table full"
"""Why a request fails whose connection finds no room in its kernel's table."""


@final
class Request:
    """One request on its way."""

    __slots__ = ("blocked_at", "factor", "server", "slept_s", "thread", "times")

    blocked_at: float
    """When the application's thread last left the processor."""
    server: AbstractThread
    """The thread of somebody else that works for it."""
    slept_s: float
    """How long the application's thread slept before it went on with this request; negative if it did not."""
    thread: AbstractThread
    """The application's thread that works for it, if it needs that thread more than once."""

    def __init__(self, started: float, factor: float) -> None:
        self.factor = factor
        """Scales the random part of its CPU work; mean 1."""
        self.times = [started]
        """When it was meant to start, then when each stage lets it go; devices say that beforehand."""


class AbstractStage(ABC):
    """Something that a request passes."""

    __slots__ = ("next",)

    next: AbstractStage

    @abstractmethod
    def enter(self, request: Request) -> None:
        """Take the request; hand it to `next` in the end."""

    def silence(self) -> None:  # noqa: B027 - most stages tell nobody of anything
        """Whoever asked is not there any more: tell nobody of requests that still come."""


class CpuWork:
    """The work of one CPU stage: what is always due, and what is due if somebody must be woken. It counts what was done.

    seconds = fixed_s + random_s * factor + asleep_s [executor slept] + idle_s [a virtual processor was halted] + exit_s(idle time) [the
    physical core under it was idle] + notify_s [the next executor sleeps].

    `virtual` are the virtual processors that the work may find halted, lowest first; where they may be polled for, `polled_s` is what is
    due in place of idle_s, and the core, which polls, is awake. The core counts as idle for as long as the thread
    and the lowest virtual processor were (threads return to where they ran), but no longer than any core was. Without a `ladder` it is
    not looked at.
    """

    __slots__ = (
        "asleep_s", "core_wakes_s", "cores", "exit_s", "factors", "fixed_s", "halts", "ladder", "memory_stall_s", "notified", "notify",
        "polled_s", "polls", "random_s", "runs", "sibling_stall_s", "spun_s", "virtual", "wakes",
    )  # fmt: skip

    def __init__(
        self,
        *,
        fixed_s: float,
        random_s: float = 0.0,
        asleep_s: float = 0.0,
        virtual: tuple[tuple[AbstractGroup, float], ...] = (),
        polled_s: tuple[float, ...] = (),
        notify: tuple[ThreadPool, float] | None = None,
        cores: AbstractGroup | None = None,
        ladder: IdleLadder | None = None,
    ) -> None:
        self.fixed_s = fixed_s
        self.random_s = random_s
        self.asleep_s = asleep_s
        self.virtual = virtual
        self.polled_s = polled_s
        self.notify = notify if notify is not None and notify[1] else None
        self.cores = cores
        self.ladder = ladder
        self.restart()

    def restart(self) -> None:
        """Begin to count anew."""
        self.runs = 0
        self.factors = 0.0
        self.wakes = 0
        self.notified = 0
        self.halts = [0] * len(self.virtual)
        self.polls = [0] * len(self.virtual)
        """How often each kind of virtual processor was halted and polled for."""
        self.core_wakes_s = 0.0
        self.exit_s = 0.0
        """Of the last run, what an idle core takes to wake, until somebody asks."""
        self.memory_stall_s = self.sibling_stall_s = self.spun_s = 0.0

    def stalled(self, thread: AbstractThread) -> None:
        """Count what a thread has just lost to neighbours."""
        memory_s, sibling_s = thread.take_stalls()
        self.memory_stall_s += memory_s
        self.sibling_stall_s += sibling_s

    def seconds(self, factor: float, slept_s: float) -> float:
        """How long this run takes on a processor of its own."""
        self.runs += 1
        work = self.fixed_s
        if self.random_s:
            self.factors += factor
            work += self.random_s * factor
        if slept_s >= 0.0:
            if self.asleep_s:
                self.wakes += 1
                work += self.asleep_s
            if self.virtual:
                halted_s = self.virtual[0][0].idle_processor_s()
                if halted_s >= 0.0:
                    work += self._wake(halted_s if halted_s < slept_s else slept_s)
            elif self.ladder is not None:
                work += self._wake_core(slept_s)
        notify = self.notify
        if notify is not None and (notify[0].sleeping or notify[0].made < notify[0].size):
            self.notified += 1
            work += notify[1]
        return work

    def take_exit_s(self) -> float:
        """Of the last run, what an idle core takes to wake, which is not executing."""
        exit_s, self.exit_s = self.exit_s, 0.0
        return exit_s

    def _wake(self, idle_s: float) -> float:
        """Wake the halted virtual processors, and the core below them."""
        work = 0.0
        asleep = True
        for i, (group, wake_s) in enumerate(self.virtual):
            if group.idle_processor_s() >= 0.0:
                if self.polled_s and group.polled_for():
                    self.polls[i] += 1
                    work += self.polled_s[i]
                    asleep = False
                else:
                    self.halts[i] += 1
                    work += wake_s
        if asleep and self.ladder is not None:
            work += self._wake_core(idle_s)
        return work

    def _wake_core(self, idle_s: float) -> float:
        """Wake the core, which has not been idle for longer than any core."""
        assert self.ladder is not None
        assert self.cores is not None
        core_idle_s = self.cores.idle_processor_s()
        if core_idle_s < 0.0:
            return 0.0
        exit_s = self.ladder.exit_s(core_idle_s if core_idle_s < idle_s else idle_s)
        self.core_wakes_s += exit_s
        self.exit_s = exit_s
        return exit_s

    def cpu_s(self) -> float:
        """All CPU time charged since the last restart."""
        halted_s = sum(n * wake_s for n, (_, wake_s) in zip(self.halts, self.virtual, strict=True))
        if self.polled_s:
            halted_s += sum(n * polled_s for n, polled_s in zip(self.polls, self.polled_s, strict=True))
        notified_s = self.notified * self.notify[1] if self.notify is not None else 0.0
        always_s = self.runs * self.fixed_s + self.factors * self.random_s
        stalled_s = self.memory_stall_s + self.sibling_stall_s + self.spun_s
        return always_s + self.wakes * self.asleep_s + halted_s + notified_s + self.core_wakes_s + stalled_s


@final
class Acquire(AbstractStage):
    """Wait for a thread of the application."""

    __slots__ = ("_engine", "_grant", "pool")

    def __init__(self, engine: Engine, pool: ThreadPool) -> None:
        self._engine = engine
        self._grant = self._granted
        self.pool = pool

    def enter(self, request: Request) -> None:
        self.pool.acquire(self._grant, request)

    def _granted(self, request: Request, thread: AbstractThread, slept_s: float) -> None:
        request.thread = thread
        request.slept_s = slept_s
        request.times.append(self._engine._now)
        self.next.enter(request)


@final
class Release(AbstractStage):
    """Give the application's thread back."""

    __slots__ = ("pool",)

    def __init__(self, pool: ThreadPool) -> None:
        self.pool = pool

    def enter(self, request: Request) -> None:
        self.pool.release(request.thread)
        self.next.enter(request)


@final
class CallerBurst(AbstractStage):
    """CPU work on the thread that the request holds. Unless it is the first one, the thread slept since the one before."""

    __slots__ = ("_contends", "_done", "_engine", "_first", "work")

    def __init__(self, engine: Engine, work: CpuWork, *, first: bool, contends: bool = False) -> None:
        """`contends`: whether its thread may lose time to neighbours while it has a processor."""
        self._engine = engine
        self._first = first
        self.work = work
        self._contends = contends
        self._done = self._finished_late if contends else self._finished

    def enter(self, request: Request) -> None:
        slept_s = request.slept_s if self._first else self._engine._now - request.blocked_at
        seconds = self.work.seconds(request.factor, slept_s)
        if self._contends and (exit_s := self.work.take_exit_s()):
            request.thread.run_after(exit_s, seconds - exit_s, self._done, request)
        elif seconds > 0.0:
            request.thread.run(seconds, self._done, request)
        else:
            self._finished(request)

    def _finished_late(self, request: Request) -> None:
        self.work.stalled(request.thread)
        self._finished(request)

    def _finished(self, request: Request) -> None:
        request.blocked_at = now = self._engine._now
        request.times.append(now)
        self.next.enter(request)


@final
class PoolBurst(AbstractStage):
    """CPU work on a thread that serves requests in order of arrival and is free again after it.

    It takes and gives back threads of its pool itself when nobody waits: this is where most of a simulation's time goes.
    """

    __slots__ = ("_contends", "_done", "_engine", "_grant", "pool", "work")

    def __init__(self, engine: Engine, work: CpuWork, pool: ThreadPool, *, contends: bool = False) -> None:
        """`contends`: whether its threads may lose time to neighbours while they have a processor."""
        self._engine = engine
        self.work = work
        self.pool = pool
        self._grant = self._granted
        self._contends = contends
        self._done = self._finished_late if contends else self._finished

    def enter(self, request: Request) -> None:
        sleeping = self.pool.sleeping
        if sleeping:
            thread, since = sleeping.pop()
            self._granted(request, thread, (self._engine._now - since) or AWAKE)
        else:
            self.pool.acquire(self._grant, request)

    def _granted(self, request: Request, thread: AbstractThread, slept_s: float) -> None:
        request.times.append(self._engine._now)
        request.server = thread
        seconds = self.work.seconds(request.factor, slept_s)
        if self._contends and (exit_s := self.work.take_exit_s()):
            thread.run_after(exit_s, seconds - exit_s, self._done, request)
        elif seconds > 0.0:
            thread.run(seconds, self._done, request)
        else:
            self._finished(request)

    def _finished_late(self, request: Request) -> None:
        self.work.stalled(request.server)
        self._finished(request)

    def _finished(self, request: Request) -> None:
        pool, now = self.pool, self._engine._now
        if pool.waiting:
            pool.release(request.server)
        else:
            pool.sleeping.append((request.server, now))
        request.times.append(now)
        self.next.enter(request)


class Submit(Protocol):
    """How a device takes a request: it calls done(argument) when it has served it, and says beforehand when that will be."""

    def __call__(self, done: Callable[[Any], None], argument: Any, /) -> float: ...


@final
class Device(AbstractStage):
    """A stay at a device, whatever kind: the amount is settled beforehand, and its end is known on arrival."""

    __slots__ = ("_submit",)

    def __init__(self, submit: Submit) -> None:
        self._submit = submit

    def enter(self, request: Request) -> None:
        request.times.append(self._submit(self.next.enter, request))


Reserve = Callable[[], float]
"""How a device takes a request that it need not tell anybody about: it says when it will have served it."""


@final
class DeviceThenDelay(AbstractStage):
    """A stay at a device that serves in order of arrival, then a delay: one event."""

    __slots__ = ("_delay", "_reserve")

    def __init__(self, reserve: Reserve, delay: Delay) -> None:
        self._reserve = reserve
        self._delay = delay

    def enter(self, request: Request) -> None:
        departure = self._reserve()
        request.times += departure, self._delay.pass_on_from(departure, self.next.enter, request)


@final
class LastDevice(AbstractStage):
    """A stay at a device at the end of the way of a request that nobody waits for: no event."""

    __slots__ = ("_reserve",)

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve

    def enter(self, request: Request) -> None:
        request.times.append(self._reserve())
        self.next.enter(request)


@final
class Moderate(AbstractStage):
    """The card's interrupt, held back by its moderation.

    The driver is taken to poll if none of the handlers that would take the interrupt is idle; without handlers nobody does.
    """

    __slots__ = ("_card", "_engine", "_frames", "_handlers", "_pass")

    def __init__(self, engine: Engine, card: Moderation, frames: float, handlers: ThreadPool | None) -> None:
        self._engine = engine
        self._card = card
        self._frames = frames
        self._handlers = handlers
        self._pass = self._passed

    def enter(self, request: Request) -> None:
        handlers = self._handlers
        polled = handlers is not None and not handlers.sleeping and handlers.made >= handlers.size
        self._card.pass_on(self._frames, polled, self._pass, request)

    def _passed(self, request: Request) -> None:
        request.times.append(self._engine._now)
        self.next.enter(request)


Failed = Callable[[Request, str], None]
"""Told of a request that ends without an answer, and why."""


@final
class Track(AbstractStage):
    """An entry in the kernel's table of connections: `count` of them per request, on the average; without room the request fails."""

    __slots__ = ("_count", "_owed", "failed", "table")

    def __init__(self, table: ConnectionTable, count: float, failed: Failed) -> None:
        self.table = table
        self._count = count
        self.failed = failed
        self._owed = 0.0

    def enter(self, request: Request) -> None:
        self._owed += self._count
        due = int(self._owed)
        self._owed -= due
        if due and not self.table.open(due):
            self.failed(request, TABLE_FULL)
        else:
            self.next.enter(request)

    def silence(self) -> None:
        self.failed = tell_nobody


def tell_nobody(_: Request, __: str = "") -> None:
    """A request of somebody who is not there any more."""


@final
class End(AbstractStage):
    """The last stage: it hands the request to whoever asked for it, with all its times."""

    __slots__ = ("finished",)

    def __init__(self, finished: Callable[[Request], None]) -> None:
        self.finished = finished

    def enter(self, request: Request) -> None:
        self.finished(request)

    def silence(self) -> None:
        self.finished = tell_nobody
