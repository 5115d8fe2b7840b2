"""Looks at a run for a window of time: who ran where, who waited, and how long queues were.

Nothing in the model knows of it. In the window every event is served by itself, and after each the state of the processors, threads and
queues is compared with the one before: it changes at events only. A run that is not watched is not touched.

What is seen: under schedulers by rules, physical cores, virtual processors and threads; under fluid sharing, which has shares and no
places, the threads that want to run. Queues at devices are counted when something happens, so that the end of a stay that nobody is told
of shows at the next event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Final

from simvirt.catalog import Catalog
from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, AbstractThread
from simvirt.resources.cpu.discrete.contract import AbstractProcessor
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.resources.cpu.discrete.tasks import DiscreteThread, VirtualProcessor
from simvirt.resources.cpu.fluid.pool import FluidThread, Pool
from simvirt.resources.cpu.fluid.scheduler import FluidGroup, FluidScheduler
from simvirt.resources.threads import ThreadPool
from simvirt.scenario import Scenario
from simvirt.simulation.run import Simulation

__all__ = ["Level", "Recording", "Slice", "Track", "watched"]

_THREADS: Final = "threads of "
MOST_SLICES: Final = 1_000_000
"""After which nothing more is recorded: viewers do not open larger files."""


@dataclass(frozen=True, slots=True, order=True)
class Track:
    """A line of the picture."""

    group: str
    """What it belongs to: the cores, a machine's virtual processors, a program's threads."""
    name: str


@dataclass(frozen=True, slots=True)
class Slice:
    """Something that went on for a time; slices of one track nest or are disjoint."""

    track: Track
    name: str
    depth: int
    """Slices around it."""
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Level:
    """A queue from a time on."""

    track: Track
    time_s: float
    value: int


@dataclass(slots=True)
class Recording:
    """What was seen."""

    start_s: float
    end_s: float
    slices: list[Slice] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    full_at_s: float = inf
    """When it was full; infinite if it never was."""


def watched(scenario: Scenario, catalog: Catalog, start_s: float, end_s: float, replication: int = 0) -> tuple[Simulation, Recording]:
    """One replication, not run yet, and what will be seen of it from start to end. Its outcome will be that of any other run, but for the
    number of events."""
    recording = Recording(start_s, end_s)
    engine = _WatchedEngine(start_s, end_s)
    simulation = Simulation(scenario, catalog, replication, engine)
    observer = _Observer(_View(simulation), recording)
    engine.look, engine.close = observer.look, observer.close
    return simulation, recording


class _WatchedEngine(Engine):
    """Serves events one by one in a window, and has somebody look after each."""

    def __init__(self, start_s: float, end_s: float) -> None:
        super().__init__()
        self._start_s, self._end_s = start_s, end_s
        self.look: Callable[[float], None] = lambda _: None
        self.close: Callable[[float], None] = lambda _: None

    def run(self, until: object = None) -> object:
        """Run to a time, as the engine does, and more slowly in the window."""
        assert isinstance(until, float)
        if self._now < self._start_s:
            super().run(min(until, self._start_s))
        if self._start_s <= self._now < self._end_s:
            self._step_to(min(until, self._end_s))
        if self._now < until:
            super().run(until)
        return None

    def _step_to(self, until: float) -> None:
        self.look(self._now)
        while self.peek() < until:
            self.step()
            self.look(self._now)
        self._now = until
        if until == self._end_s:
            self.close(until)


Stack = tuple[str, ...]
"""What goes on on a track, the outermost first; empty if nothing does."""


class _Observer:
    """Turns states into slices."""

    def __init__(self, view: _View, recording: Recording) -> None:
        self._view = view
        self._recording = recording
        self._stacks: dict[Track, Stack] = {}
        self._starts: dict[Track, list[float]] = {}
        self._levels: dict[Track, int] = {}

    def look(self, now: float) -> None:
        """Note what has changed."""
        recording = self._recording
        if recording.full_at_s < inf:
            return
        seen: dict[Track, Stack] = dict(self._view.stacks())
        for track in self._stacks.keys() - seen.keys():
            self._change(track, (), now)
        for track, stack in seen.items():
            if self._stacks.get(track, ()) != stack:
                self._change(track, stack, now)
        for track, value in self._view.levels():
            if self._levels.get(track) != value:
                self._levels[track] = value
                recording.levels.append(Level(track, now, value))
        if len(recording.slices) >= MOST_SLICES:
            self.close(now)
            recording.full_at_s = now

    def close(self, now: float) -> None:
        """End whatever goes on."""
        if self._recording.full_at_s == inf:
            for track in list(self._stacks):
                self._change(track, (), now)

    def _change(self, track: Track, stack: Stack, now: float) -> None:
        before, starts = self._stacks.get(track, ()), self._starts.setdefault(track, [])
        same = 0
        while same < min(len(before), len(stack)) and before[same] == stack[same]:
            same += 1
        for depth in range(len(before) - 1, same - 1, -1):
            start = starts.pop()
            if now > start:
                self._recording.slices.append(Slice(track, before[depth], depth, start, now))
        starts += [now] * (len(stack) - same)
        if stack:
            self._stacks[track] = stack
        else:
            self._stacks.pop(track, None)


class _View:
    """The state of a simulation at an instant."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._scheduler = simulation.host.scheduler
        self._labels: dict[AbstractThread, Track] = {}

    def levels(self) -> Iterator[tuple[Track, int]]:
        """How many are in each device, and wait for each pool of threads."""
        host = self._simulation.host
        for name, device in (("disk", host.disk), ("network in", host.nic.rx), ("network out", host.nic.tx)):
            yield Track("queues", f"in system: {name}"), device.in_system
        for pool, owner in self._pools():
            yield Track("queues", f"waiting for a thread: {_pool_name(pool.name, owner)}"), len(pool.waiting)

    def _pools(self) -> Iterator[tuple[ThreadPool, str]]:
        for tenant in self._simulation.tenants:
            yield tenant.workers, tenant.name
        for instance in self._simulation.tree.root.subtree():
            yield from ((pool, instance.name) for pool in instance.pools.values())

    def stacks(self) -> Iterator[tuple[Track, Stack]]:
        """What goes on on every track where something does."""
        scheduler = self._scheduler
        if isinstance(scheduler, DiscreteScheduler):
            yield from self._by_rules(scheduler)
        else:
            assert isinstance(scheduler, FluidScheduler)
            yield from self._fluid(scheduler)

    # ---- by rules ----

    def _by_rules(self, scheduler: DiscreteScheduler) -> Iterator[tuple[Track, Stack]]:
        groups = list(scheduler.walk())
        threads = [(thread, group) for group in groups for thread in group.threads]
        if len(threads) > len(self._labels):  # they are made when they are first needed
            self._labels = {thread: Track(_THREADS + group.name, thread.name) for thread, group in threads}
        for thread, _ in threads:
            if thread.awake:
                yield self._labels[thread], (_thread_state(thread),)
        for group in groups:
            for vcpu in group.vcpus:
                if stack := self._vcpu_state(vcpu):
                    yield Track("virtual processors", vcpu.name), stack
        for core in scheduler.processors:
            if stack := self._runs(core):
                yield Track("cores", f"core {core.index}"), stack

    def _runs(self, processor: AbstractProcessor) -> Stack:
        """What a processor runs, and what runs on that."""
        task = processor.handler if processor.handler is not None else processor.current
        if task is None or not task.awake:
            return ()
        if isinstance(task, VirtualProcessor):
            polls = task.polling is not None and task.polling.active
            return (task.name, "halt polling") if polls else (task.name, *self._runs(task.above))
        assert isinstance(task, DiscreteThread)
        label = self._labels[task]
        name = _thread_name(label.name, label.group.removeprefix(_THREADS))
        return (name, "spins for a lock") if task.lock is not None else (name,)

    def _vcpu_state(self, vcpu: VirtualProcessor) -> Stack:
        if vcpu.stopped:
            return ("co-stop",)
        if not vcpu.awake:
            return ()
        assert vcpu.processor is not None
        runs = vcpu.processor.current is vcpu and vcpu.processor.backed
        return (f"on {_place(vcpu.processor)}", *self._runs(vcpu.above)) if runs else ("ready",)

    # ---- fluid ----

    def _fluid(self, scheduler: FluidScheduler) -> Iterator[tuple[Track, Stack]]:
        """Threads that have work: each gets a core, or a share of one where they are too many."""
        owners = self._owners()
        for _, _, waiting in scheduler.queue:
            if isinstance(waiting, FluidThread):
                yield Track(_THREADS + owners.get(waiting.pool, "the machine"), waiting.name), ("runs",)
        for pool, owner in owners.items():
            yield from ((Track(_THREADS + owner, thread.name), ("shares cores",)) for _, _, thread in pool.heap)

    def _owners(self) -> dict[Pool, str]:
        groups: list[AbstractGroup] = [pool.group for pool, _ in self._pools()]
        return {group.pool: group.name for group in groups if isinstance(group, FluidGroup)}


def _thread_state(thread: DiscreteThread) -> str:
    processor = thread.processor
    if not thread.running or processor is None:
        return "ready"
    place = _place(processor)
    return f"spins on {place}" if thread.lock is not None else f"runs on {place}"


def _place(processor: AbstractProcessor) -> str:
    task = processor.face()
    return f"core {processor.index}" if task is None else task.name


def _pool_name(name: str, owner: str) -> str:
    """Names of a kernel's own threads are the same in every kernel."""
    return name if owner in name else f"{name} of {owner}"


def _thread_name(thread: str, group: str) -> str:
    """A thread of a group as it is told from all others: `interrupts 1` of the group `interrupts of host` is `interrupts 1 of host`."""
    pool = thread.rpartition(" ")[0] or thread
    if group.startswith(f"{pool} of "):
        return f"{thread} of {group.removeprefix(f'{pool} of ')}"
    return thread if pool in group else f"{thread} of {group}"
