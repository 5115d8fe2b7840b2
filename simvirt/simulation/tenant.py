"""One tenant at work: its requests begin, pass their path, end, and are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from math import nan
from typing import Final, Protocol

import numpy as np

from simvirt.analysis.warm_up import check_warm_up
from simvirt.engine import Engine
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.metrics.series import BinnedMeans
from simvirt.randomness import BLOCK, Streams, blocks
from simvirt.resources.stages import AbstractStage, CpuWork, Failed, Request
from simvirt.resources.threads import Stop, ThreadPool, go_on, stand_still
from simvirt.scenario import Run, Tenants
from simvirt.simulation.binding import BoundPath
from simvirt.simulation.ledger import Ledger
from simvirt.simulation.outcome import ClassTimes, TenantOutcome, together
from simvirt.workloads.arrivals import ClosedLoop
from simvirt.workloads.between import gaps_between, thinks_between
from simvirt.workloads.profile import RequestClass, Workload
from simvirt.workloads.sources import ClosedSource, OpenSource

__all__ = ["NOBODY", "BindClass", "Tenant"]

NOBODY: Final = "nobody there"
"""Why a request fails that comes to somebody who is dead."""

Finished = Callable[[Request], None]


class BindClass(Protocol):
    """Makes the stages of one class of requests, which end by calling `finished`: not before the end if that is awaited."""

    def __call__(
        self, request_class: RequestClass, workers: ThreadPool, finished: Finished, failed: Failed, /, *, awaited: bool
    ) -> BoundPath: ...


class _ClassRun:
    """One class of requests of one tenant. Each time that the tenant comes back to life it has a new path, and its own account of it."""

    __slots__ = ("_bind", "_past", "_request_class", "_tenant", "_whole", "enter", "ledger", "path")

    def __init__(self, tenant: Tenant, request_class: RequestClass, bind: BindClass, workers: ThreadPool) -> None:
        self._tenant = tenant
        self._request_class = request_class
        self._bind = bind
        self._past: list[tuple[BoundPath, Ledger]] = []
        """Of former lives."""
        self._begin(workers)

    def _begin(self, workers: ThreadPool) -> None:
        tenant = self._tenant
        self.enter: Finished
        self._whole: tuple[tuple[AbstractStage, AbstractStage], ...] = ()
        """Each stage with the one after it, as it was before the disk failed."""
        finished = self._finished if not tenant.is_closed else self._multiplied if tenant.multiplies else self._awaited
        self.path = self._bind(self._request_class, workers, finished, tenant.request_failed, awaited=tenant.is_closed)
        self.enter = self.path.first.enter
        self.ledger = Ledger(self._request_class.name, self.path.intervals)

    def begin_again(self, workers: ThreadPool) -> None:
        """Begin another life."""
        self._past.append((self.path, self.ledger))
        self._begin(workers)

    def lose_disk(self, engine: Engine, reason: str) -> None:
        """Let requests meet an error at the disk."""
        self._whole = self.path.links()
        self.enter = self.path.err(engine, reason, self._tenant.request_failed)

    def regain_disk(self) -> None:
        """The disk answers again."""
        for stage, following in self._whole:
            stage.next = following
        self._whole = ()
        self.enter = self.path.first.enter

    def lives(self) -> Iterator[tuple[BoundPath, Ledger]]:
        """Every path that there was, and its account."""
        yield from self._past
        yield self.path, self.ledger

    def times(self) -> ClassTimes:
        """Where the time went, over all lives."""
        return self.ledger.times() if not self._past else together([ledger.times() for _, ledger in self.lives()])

    def _finished(self, request: Request) -> None:
        if self.ledger.add(request.times):
            self._tenant.fold(self.ledger)

    def _awaited(self, request: Request) -> None:
        self._finished(request)
        self._tenant.answered()

    def _multiplied(self, request: Request) -> None:
        self._awaited(request)
        self._tenant.multiply()

    def restart(self) -> None:
        for path, ledger in self.lives():
            ledger.restart()
            for work in path.work:
                work.restart()


class Tenant:
    """A workload under a load, on stages of its own.

    Requests in flight are averaged over time without being counted at each arrival and end: the integral of their number up to a time t is
    the sum of the response times of those that have ended plus, for each of the others, t less its start.
    """

    def __init__(
        self,
        name: str,
        group: Tenants,
        workload: Workload,
        engine: Engine,
        streams: Streams,
        bind: BindClass,
        workers: ThreadPool,
        run: Run,
        background: Sequence[CpuWork] = (),
    ) -> None:
        self.name = name
        self._run = run
        self._course = BinnedMeans(run.duration_s)
        self._background = background
        """Work that is done for it while no request of its waits; more of it may appear."""
        self._workers = workers
        self._threads = workers.size
        self.alive = True
        """Whether it takes requests."""
        self.is_closed = isinstance(group.load, ClosedLoop)
        self.multiplies = isinstance(group.load, ClosedLoop) and group.load.children > 0
        self._group = group
        self._engine = engine
        self._histogram = LatencyHistogram()
        self._arrived = self._completed = 0
        self._failed: Counter[str] = Counter()
        """Requests that ended without an answer, by reason."""
        self._disk_error: str | None = None
        """Why requests fail that need the disk, if they do."""
        self._refused = NOBODY
        """Why requests fail that come while it is dead."""
        self._ended_s = self._started_s = 0.0
        """Of all requests ever: the sum of response times of those that have ended, and of the starts of the others."""
        self._classes = tuple(_ClassRun(self, request_class, bind, workers) for request_class in workload.requests)
        self._entries = _entries(self._classes, workload, streams, name)
        self._factors = workload.factor.draw(streams.stream(f"{name}/factors"))
        self._source = _source(group, engine, streams, name, self._start)
        self._when_killed: list[Callable[[], None]] = []
        self._when_revived: list[Callable[[], None]] = []
        self._begin = _Totals(now=engine.now, arrived=0, completed=0, failed=Counter(), in_flight_s=0.0)

    def _start(self, intended: float) -> None:
        self._arrived += 1
        self._started_s += intended
        next(self._entries).enter(Request(intended, next(self._factors)))

    @property
    def workers(self) -> ThreadPool:
        """The threads of its application."""
        return self._workers

    @property
    def begun(self) -> int:
        """Requests that have begun since the start of the run and have not failed."""
        return self._arrived - self._failed.total()

    def attend(self, killed: Callable[[], None], revived: Callable[[], None]) -> None:
        """Have somebody told when it is stopped before its time, and when it serves again."""
        self._when_killed.append(killed)
        self._when_revived.append(revived)

    def stop(self, reason: str, *, refused: str = NOBODY, halt: Stop = stand_still) -> None:
        """It dies: its requests in flight fail, and so does every request that comes; clients of a closed loop give up.

        Its threads stop where they are, as `halt` has it. What its requests had handed to others (packets, disk requests) goes on there and
        ends unnoticed; if they hold a thread of somebody else, they do so until they give it back.
        """
        if not self.alive:
            return
        self.alive = False
        for ledger in self._ledgers():
            self.fold(ledger)
        for one in self._classes:
            one.path.cut()
        self._workers.close(halt)
        for tell in self._when_killed:
            tell()
        leaving = [start for ledger in self._ledgers() for start in ledger.held_starts()]
        lost = self._arrived - self._completed - self._failed.total() - len(leaving)
        starts_s = self._started_s - sum(leaving)
        self._ended_s += lost * self._engine.now - starts_s
        self._started_s -= starts_s
        self._fail(reason, lost)
        self._refused = refused
        if isinstance(self._source, ClosedSource):
            self._source.stop()
        else:
            self._source.redirect(self._refuse)

    def revive(self) -> None:
        """It serves again, with threads and a path of its own: requests that arrive from now on, and all clients of a closed loop.

        Nobody asks again for what has failed: a client of an open loop has gone, one of a closed loop thinks first.
        """
        if self.alive:
            return
        self.alive = True
        for tell in self._when_revived:
            tell()
        self._workers = self._workers.renewed(self._threads)
        for one in self._classes:
            one.begin_again(self._workers)
            if self._disk_error is not None:
                one.lose_disk(self._engine, self._disk_error)
        if isinstance(self._source, ClosedSource):
            self._source.resume()
        else:
            self._source.redirect(self._start)

    def freeze(self, halt: Stop = stand_still) -> None:
        """Its threads stand still until further notice; requests wait. The dead stand still for ever."""
        if self.alive:
            self._workers.freeze(halt)

    def thaw(self, start: Stop = go_on) -> None:
        """Its threads go on."""
        if self.alive:
            self._workers.thaw(start)

    def lose_disk(self, error: str | None) -> None:
        """From now on requests that need the disk fail with an error, or no more if there is none."""
        self._disk_error = error
        for one in self._classes if self.alive else ():
            if error is None:
                one.regain_disk()
            else:
                one.lose_disk(self._engine, error)

    @property
    def paths(self) -> Iterator[BoundPath]:
        """The ways of its requests."""
        return (one.path for one in self._classes)

    @property
    def failed(self) -> int:
        """Requests that have failed since the start of the run."""
        return self._failed.total()

    def _ledgers(self) -> Iterator[Ledger]:
        return (ledger for one in self._classes for _, ledger in one.lives())

    def _refuse(self, _: float) -> None:
        self._arrived += 1
        self._fail(self._refused, 1)

    def _fail(self, reason: str, count: int) -> None:
        if count:
            self._failed[reason] += count

    def request_failed(self, request: Request, reason: str) -> None:
        """A request ends without an answer; a client that waits for it gives it up at once."""
        now, started = self._engine.now, request.times[0]
        self._failed[reason] += 1
        self._ended_s += now - started
        self._started_s -= started
        if self.is_closed:
            self.answered()

    def answered(self) -> None:
        """A client has its answer."""
        assert isinstance(self._source, ClosedSource)
        self._source.completed()

    def multiply(self) -> None:
        """An answer brings further clients."""
        load = self._group.load
        assert isinstance(self._source, ClosedSource)
        assert isinstance(load, ClosedLoop)
        self._source.multiply(load.children, load.most_clients)

    def fold(self, ledger: Ledger) -> None:
        """Count the requests of one class that have ended."""
        starts, ends = ledger.fold(self._engine.now)
        response_s = ends - starts
        self._histogram.add(response_s)
        self._course.add(ends, response_s)
        self._completed += len(ends)
        self._ended_s += float(response_s.sum())
        self._started_s -= float(starts.sum())

    def restart(self) -> None:
        """Begin to count: warm-up has ended."""
        self._begin = self._totals()
        self._histogram = LatencyHistogram()
        for one in self._classes:
            one.restart()
        for work in self._background:
            work.restart()

    def cpu_s(self) -> float:
        """Core-seconds charged for its requests since the last restart."""
        own_s = sum(work.cpu_s() for one in self._classes for path, _ in one.lives() for work in path.work)
        return own_s + sum(work.cpu_s() for work in self._background)

    def _totals(self) -> _Totals:
        for ledger in self._ledgers():
            self.fold(ledger)
        now = self._engine.now
        in_flight = self._arrived - self._completed - self._failed.total()
        in_flight_s = self._ended_s + in_flight * now - self._started_s
        failed = self._failed.copy()
        return _Totals(now=now, arrived=self._arrived, completed=self._completed, failed=failed, in_flight_s=in_flight_s)

    def outcome(self) -> TenantOutcome:
        begin, end = self._begin, self._totals()
        window_s = end.now - begin.now
        return TenantOutcome(
            name=self.name,
            group=self._group.name,
            window_s=window_s,
            arrived=end.arrived - begin.arrived,
            completed=end.completed - begin.completed,
            in_flight_before=begin.in_flight,
            in_flight_after=end.in_flight,
            in_flight_mean=(end.in_flight_s - begin.in_flight_s) / window_s if window_s else nan,
            open_loop=not self.is_closed,
            histogram=self._histogram,
            cpu_s=self.cpu_s(),
            classes=tuple(one.times() for one in self._classes),
            warm_up=check_warm_up(self._course.means(), self._run.warm_up_fraction),
            failed=dict(sorted((end.failed - begin.failed).items())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Totals:
    """What a tenant has counted up to a time."""

    now: float
    arrived: int
    completed: int
    failed: Counter[str]
    in_flight_s: float
    """Integral over time of the number of requests in flight."""

    @property
    def in_flight(self) -> int:
        return self.arrived - self.completed - self.failed.total()


def _entries(classes: tuple[_ClassRun, ...], workload: Workload, streams: Streams, name: str) -> Iterator[_ClassRun]:
    """The class of each request in turn, drawn by weight."""
    if len(classes) == 1:
        return repeat(classes[0])
    rng = streams.stream(f"{name}/classes")
    limits = np.cumsum([request.weight for request in workload.requests])
    drawn = blocks(lambda n: np.searchsorted(limits, rng.random(n) * limits[-1], side="right").astype(float), BLOCK)
    return (classes[int(i)] for i in drawn)


def _source(group: Tenants, engine: Engine, streams: Streams, name: str, start: Callable[[float], None]) -> OpenSource | ClosedSource:
    load = group.load
    is_part = group.start > 0.0 or group.stop is not None
    if isinstance(load, ClosedLoop):
        thinks = load.thinks(streams.stream(f"{name}/thinks"))
        if is_part:
            thinks = thinks_between(thinks, load.clients, group.start, group.stop_s, lambda: engine._now)
        return ClosedSource(engine, load.clients, thinks, start, load.stagger_s, load.client)
    gaps = load.gaps(streams.stream(f"{name}/arrivals"))
    return OpenSource(engine, gaps_between(gaps, group.start, group.stop_s) if is_part else gaps, start)
