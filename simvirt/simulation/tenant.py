"""One tenant at work: its requests begin, pass their path, end, and are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Protocol

import numpy as np

from simvirt.engine import Engine
from simvirt.metrics.recorder import Level, Observations
from simvirt.randomness import BLOCK, Streams, blocks
from simvirt.resources.stages import Request
from simvirt.scenario import Tenants
from simvirt.simulation.binding import BoundPath
from simvirt.simulation.ledger import Ledger
from simvirt.simulation.outcome import TenantOutcome
from simvirt.workloads.arrivals import ClosedLoop
from simvirt.workloads.profile import RequestClass, Workload
from simvirt.workloads.sources import ClosedSource, OpenSource

__all__ = ["BindClass", "Tenant"]

Finished = Callable[[Request], None]


class BindClass(Protocol):
    """Makes the stages of one class of requests, which end by calling `finished`."""

    def __call__(self, request_class: RequestClass, finished: Finished, /) -> BoundPath: ...


class _ClassRun:
    """One class of requests of one tenant."""

    __slots__ = ("_engine", "_ledger", "_record", "_tenant", "path")

    def __init__(self, tenant: Tenant, engine: Engine, request_class: RequestClass, bind: BindClass) -> None:
        self._tenant = tenant
        self._engine = engine
        self._record = tenant.response_times.record
        self.path = bind(request_class, self._finished)
        self._ledger = Ledger(request_class.name, self.path.intervals)

    def _finished(self, request: Request) -> None:
        times = request.times
        self._record(self._engine._now - times[0])
        self._ledger.add(times)
        self._tenant.finished()

    def restart(self) -> None:
        self._ledger.restart()
        for work in self.path.work:
            work.restart()

    @property
    def ledger(self) -> Ledger:
        return self._ledger


class Tenant:
    """A workload under a load, on stages of its own."""

    def __init__(self, name: str, group: Tenants, workload: Workload, engine: Engine, streams: Streams, bind: BindClass) -> None:
        self.name = name
        self._group = group
        self._engine = engine
        self.response_times = Observations()
        self._in_flight = Level(0.0, engine.now)
        self._arrived = self._completed = self._before = 0
        self._from_s = engine.now
        self._classes = tuple(_ClassRun(self, engine, request_class, bind) for request_class in workload.requests)
        self._entries = _entries(self._classes, workload, streams, name)
        self._factors = workload.factor.draw(streams.stream(f"{name}/factors"))
        self._source = _source(group, engine, streams, name, self._start)

    def _start(self, intended: float) -> None:
        self._arrived += 1
        self._in_flight.add(1, self._engine._now)
        next(self._entries).path.first.enter(Request(intended, next(self._factors)))

    def finished(self) -> None:
        """One of its requests has ended."""
        self._completed += 1
        self._in_flight.add(-1, self._engine._now)
        if isinstance(self._source, ClosedSource):
            self._source.completed()

    def restart(self) -> None:
        """Begin to count: warm-up has ended."""
        now = self._engine.now
        self._before = int(self._in_flight.value)
        self._arrived = self._completed = 0
        self._from_s = now
        self.response_times.restart()
        self._in_flight.restart(now)
        for one in self._classes:
            one.restart()

    def cpu_s(self) -> float:
        """Core-seconds charged for its requests since the last restart."""
        return sum(work.cpu_s() for one in self._classes for work in one.path.work)

    def outcome(self) -> TenantOutcome:
        now = self._engine.now
        return TenantOutcome(
            name=self.name,
            group=self._group.name,
            window_s=now - self._from_s,
            arrived=self._arrived,
            completed=self._completed,
            in_flight_before=self._before,
            in_flight_after=int(self._in_flight.value),
            in_flight_mean=self._in_flight.mean(now),
            open_loop=not isinstance(self._source, ClosedSource),
            histogram=self.response_times.histogram,
            cpu_s=self.cpu_s(),
            classes=tuple(one.ledger.times() for one in self._classes),
        )


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
    if isinstance(load, ClosedLoop):
        thinks = load.thinks(streams.stream(f"{name}/thinks"))
        return ClosedSource(engine, load.clients, thinks, start, load.stagger_s)
    return OpenSource(engine, load.gaps(streams.stream(f"{name}/arrivals")), start)
