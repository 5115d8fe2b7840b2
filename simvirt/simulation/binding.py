"""Binds the way of a request through a stack to the threads and devices of one tenant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from simvirt.engine import Engine
from simvirt.layers.contract import Context, Place, Resource
from simvirt.layers.path import Path, Step
from simvirt.layers.stack import APPLICATION
from simvirt.resources.block_stages import Dirty, HeldBurst, Limited, QueuedDevice, Sync
from simvirt.resources.cpu.contract import AbstractScheduler
from simvirt.resources.cpu.idle import IdleLadder
from simvirt.resources.delay import Delay
from simvirt.resources.entries import Give, Take
from simvirt.resources.erring import Erring, Errors
from simvirt.resources.moderation import Moderation
from simvirt.resources.nic import Link, Nic
from simvirt.resources.section import CriticalSection
from simvirt.resources.shared_disk import SharedDisk
from simvirt.resources.stages import (
    AbstractStage,
    Acquire,
    CallerBurst,
    CpuWork,
    Device,
    DeviceThenDelay,
    End,
    Failed,
    LastDevice,
    Moderate,
    PoolBurst,
    Release,
    Request,
    Reserve,
    Submit,
    Track,
    tell_nobody,
)
from simvirt.resources.threads import ThreadPool
from simvirt.simulation.instances import Branch, InstanceTree
from simvirt.simulation.ledger import Interval, Span
from simvirt.simulation.storage import DiskOfHost, TenantStorage
from simvirt.simulation.tables import Needed

__all__ = ["BoundPath", "Host", "bind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The running machine."""

    engine: Engine
    scheduler: AbstractScheduler
    nic: Nic
    moderation: Moderation
    """Of the card's interrupts."""
    disk: DiskOfHost
    disk_bus: DiskOfHost
    ladder: IdleLadder
    contends: bool = False
    """Whether threads may lose time to neighbours while they have a processor."""


@dataclass(frozen=True, slots=True)
class BoundPath:
    """A path that requests can enter."""

    first: AbstractStage
    intervals: tuple[Interval, ...]
    work: tuple[CpuWork, ...]
    """Counters of all CPU stages."""
    disk: frozenset[AbstractStage] = frozenset()
    """Those of its stages that are stays at the disk."""
    on_the_wire: bool = False
    """Whether it leads through the network card."""

    def links(self) -> tuple[tuple[AbstractStage, AbstractStage], ...]:
        """Each stage with the one after it."""
        found, stage = [], self.first
        while not isinstance(stage, End):
            found.append((stage, stage.next))
            stage = stage.next
        return tuple(found)

    def err(self, engine: Engine, reason: str, failed: Failed) -> Callable[[Request], None]:
        """Let requests that come to the disk from now on meet an error, and fail at their end. Where requests enter then."""
        stage: AbstractStage = _Entrance()
        entrance, stage.next = stage, self.first
        last = stage
        while not isinstance(last, End):
            last = last.next
        errors = Errors(last.finished, failed)
        last.finished = errors.finished
        while not isinstance(stage, End):
            following, count = stage.next, 0
            while following in self.disk:
                following, count = following.next, count + 1
            if count:
                stage.next = Erring(engine, errors, reason, count)
                stage.next.next = following
            stage = following
        return entrance.next.enter

    def cut(self) -> None:
        """Let every request end, unnoticed, at the stage where it is, or where it gives back a thread of somebody else that it holds."""
        nowhere, holds = End(tell_nobody), False
        stage = self.first
        while not isinstance(stage, End):
            following = stage.next
            if isinstance(stage, HeldBurst):
                holds = not stage.last
            stage.silence()
            if not holds:
                stage.next = nowhere
            stage = following
        stage.silence()  # a device may have been told already where its request goes next


class _Entrance(AbstractStage):
    """Before the first stage; nobody is there."""

    __slots__ = ()

    def enter(self, request: Request) -> None:
        self.next.enter(request)


def bind(
    path: Path,
    host: Host,
    tree: InstanceTree,
    branch: Branch,
    workers: ThreadPool,
    finished: Callable[[Request], None],
    failed: Failed,
    *,
    storage: TenantStorage,
    awaited: bool,
    holds_thread: bool = True,
    paging: AbstractStage | None = None,
    needed: Needed | None = None,
) -> BoundPath:
    """Make the stages of a path for one tenant.

    The request waits for a worker before its first step on the caller and keeps it until the last one; steps before and after (packets on
    their way in and out) occupy nobody of the application. If it does not hold its thread (asynchronous input and output), any worker does
    each of these steps, unless one of them is a critical section. Unless the end is `awaited`, `finished` may be called before the last
    time that the request has collected, as soon as that is known. At the stage `paging`, if there is one, it waits for memory, with its
    worker. What is `needed` of tables it takes there too, and gives back at its end. A request that ends without an answer is `failed`
    instead.
    """
    binder = _Binder(host, tree, branch, workers, storage, paging)
    if needed is not None:
        binder.takes(needed, failed)
    steps = path.steps
    turns = _turns(steps)
    kept = paging is not None or needed is not None or any(steps[i].sections for i in turns)
    apart = not holds_thread and not kept
    i = 0
    while i < len(steps):
        step, following = steps[i], steps[i + 1] if i + 1 < len(steps) else None
        if i in turns:
            first, last = turns[i]
            if apart or (first and last and not kept):
                binder.burst(step, following, workers, (APPLICATION, "wait for thread"))
            else:
                binder.callers(step, following, first=first, last=last)
        elif step.resource is Resource.TURN:
            pass  # the worker is free between the steps on both sides
        elif step.resource is Resource.TRACKING:
            binder.track(step, failed)
        elif step.resource is Resource.MODERATION:
            binder.moderate(step, following)
        elif step.resource is Resource.CPU and step.context.held:
            binder.holders(steps, i)
        elif step.resource is Resource.CPU:
            binder.executors(step, following)
        elif step.resource in (Resource.DIRTY, Resource.SYNC):
            binder.page_cache(step)
        elif step.resource in (Resource.DISK, Resource.DISK_BUS):
            if not _is_disk(steps[i - 1] if i else None):
                binder.limit(steps, i)
            if following is None and not awaited and not binder.settles_order(step):
                binder.last_device(step)
            else:
                binder.device(step)
        elif following is None and not awaited and step.resource is not Resource.DELAY:
            binder.last_device(step)
        elif following is not None and _serves_in_order(step) and following.resource is Resource.DELAY:
            binder.device_then_delay(step, following)
            i += 1
        else:
            binder.device(step)
        i += 1
    return binder.bound(finished)


def _never(_: Request, reason: str) -> None:
    """Write-back opens no connections that could be refused."""
    raise AssertionError(reason)


def _turns(steps: tuple[Step, ...]) -> dict[int, tuple[bool, bool]]:
    """Each step on the caller, and whether it is the first and the last one before the caller turns to others."""
    turns: list[list[int]] = [[]]
    for i, step in enumerate(steps):
        if step.resource is Resource.TURN:
            turns.append([])
        elif _is_callers(step):
            turns[-1].append(i)
    return {i: (i == turn[0], i == turn[-1]) for turn in turns for i in turn}


def _is_callers(step: Step) -> bool:
    return step.resource is Resource.CPU and step.context.place is Place.CALLER


def _is_disk(step: Step | None) -> bool:
    return step is not None and step.resource in (Resource.DISK, Resource.DISK_BUS)


def _between(step: Step, context: Context) -> bool:
    """Whether a thread that is held in a context still waits while this step is done: it is below, or on a device."""
    return step.resource is not Resource.CPU or (step.context.place is not Place.CALLER and step.context.level < context.level)


def _serves_in_order(step: Step) -> bool:
    return step.resource in (Resource.NIC_RX, Resource.NIC_TX)


class _Binder:
    """Appends stages one by one, and says what happens between the times that they note."""

    def __init__(
        self,
        host: Host,
        tree: InstanceTree,
        branch: Branch,
        workers: ThreadPool,
        storage: TenantStorage,
        paging: AbstractStage | None,
    ) -> None:
        self._storage = storage
        self._held: HeldBurst | None = None
        """The stage whose thread is still held."""
        self._host = host
        self._tree = tree
        self._branch = branch
        self._workers = workers
        self._paging = paging
        self._hardware = branch.stack.names[0]
        self._take: Take | None = None
        """Where a request takes entries of tables, until that stage is placed."""
        self._give: Give | None = None
        self._stages: list[AbstractStage] = []
        self._intervals: list[Interval] = []
        self._work: list[CpuWork] = []
        self._at_disk: list[AbstractStage] = []
        self._on_the_wire = False

    def bound(self, finished: Callable[[Request], None]) -> BoundPath:
        if self._give is not None and self._take is None:
            self._stages.append(self._give)
        self._stages.append(End(finished))
        for stage, following in zip(self._stages, self._stages[1:], strict=False):
            stage.next = following
        return BoundPath(self._stages[0], tuple(self._intervals), tuple(self._work), frozenset(self._at_disk), self._on_the_wire)

    def takes(self, needed: Needed, failed: Failed) -> None:
        """Have requests take entries of tables when they first have a worker."""
        self._take = Take(needed.parts, self._workers, needed.refused_s, failed)
        self._give = Give(needed.parts)

    def callers(self, step: Step, following: Step | None, *, first: bool, last: bool) -> None:
        """Append one of several bursts on the worker."""
        if first:
            self._stages.append(Acquire(self._host.engine, self._workers))
            self._wait(APPLICATION, "wait for thread")
            if self._paging is not None:
                self._stages.append(self._paging)
                self._paging = None  # once for a request, whatever its turns
                self._wait(self._scheduling_layer(step), "wait for memory")
            if self._take is not None:
                self._stages.append(self._take)
                self._take = None  # likewise
        work = self._cpu_work(step, following)
        if step.sections:
            self._section(step, work, first=first)
        else:
            self._stages.append(CallerBurst(self._host.engine, work, first=first, contends=self._host.contends))
        self._span(step, work)
        if last:
            self._stages.append(Release(self._workers))

    def _section(self, step: Step, work: CpuWork, *, first: bool) -> None:
        lock, layer = self._tree.lock(self._branch, step.context), self._scheduling_layer(step)
        self._stages.append(CriticalSection(self._host.engine, work, lock, step.sections, first=first))
        spun = Interval((layer, "wait for lock"), lambda: ((layer, "spin", work.spun_s / work.runs),) if work.runs else ())
        self._intervals.append(spun)

    def executors(self, step: Step, following: Step | None) -> None:
        """Append a burst on a thread of somebody else."""
        pool = self._tree.executor(self._branch, step.context)
        self.burst(step, following, pool, (self._branch.stack.names[step.context.level], f"wait for {pool.name}"))

    def holders(self, steps: tuple[Step, ...], i: int) -> None:
        """Append a burst on a thread of somebody else that blocks until the request comes back to it."""
        step, following = steps[i], steps[i + 1] if i + 1 < len(steps) else None
        rest = iter(steps[i + 1 :])
        back = next((later for later in rest if not _between(later, step.context)), None)
        returns = back is not None and back.resource is Resource.CPU and back.context == step.context
        pool = self._tree.executor(self._branch, step.context)
        if self._held is None:
            self._wait(self._branch.stack.names[step.context.level], f"wait for {pool.name}")
        work = self._cpu_work(step, following)
        stage = HeldBurst(self._host.engine, work, pool, before=self._held, last=not returns)
        self._stages.append(stage)
        self._held = stage if returns else None
        self._span(step, work)

    def page_cache(self, step: Step) -> None:
        """Append a stay in a kernel's page cache: becoming dirty, or waiting until nothing is."""
        level, engine = step.context.level, self._host.engine
        writeback, owner = self._storage.owner(self._branch, level, self._background)
        layer = self._branch.stack.names[level]
        if step.resource is Resource.DIRTY:
            self._storage.will_write(self._branch, step, self._background)
            self._stages.append(Dirty(engine, writeback, owner, step.fixed.total))
            self._wait(layer, "wait for room for dirty pages")
        else:
            self._stages.append(Sync(engine, writeback, owner))
            self._wait(layer, "wait for writeback")

    def _background(
        self, path: Path, branch: Branch, flusher: ThreadPool, finished: Callable[[Request], None]
    ) -> tuple[AbstractStage, tuple[CpuWork, ...]]:
        """Make the way of the write-back."""
        bound = bind(
            path, self._host, self._tree, branch, flusher, finished, _never, storage=self._storage, awaited=True, holds_thread=False
        )
        return bound.first, bound.work

    def limit(self, steps: tuple[Step, ...], i: int) -> None:
        """Append the tenant's own limit before the neighbouring steps on the disk that begin here, if it has one."""
        mine = list(takewhile(_is_disk, steps[i:]))
        for write in (False, True):
            limit = self._storage.limit(write=write)
            works = [(step, step.block) for step in mine if step.block is not None and step.block.write is write]
            if limit is not None and works:
                count, size_bytes = sum(work.count for _, work in works), sum(step.size_bytes for step, _ in works)
                self._stages.append(Limited(self._host.engine, limit, count, size_bytes))
                self._wait(self._hardware, "wait for io limit")

    def settles_order(self, step: Step) -> bool:
        """Whether the device of a step says only when it is done that it is."""
        return isinstance(self._disk(step), SharedDisk)

    def burst(self, step: Step, following: Step | None, pool: ThreadPool, wait: tuple[str, str]) -> None:
        """Append a burst on a thread of a pool."""
        work = self._cpu_work(step, following)
        self._stages.append(PoolBurst(self._host.engine, work, pool, contends=self._host.contends))
        self._wait(*wait)
        self._span(step, work)

    def _span(self, step: Step, work: CpuWork) -> None:
        self._work.append(work)
        halted = tuple(amounts for _, amounts in step.idle)
        due = {"fixed": step.fixed, "random": step.random, "asleep": step.asleep, "notify": step.notify}
        span = Span(cpu=work, **due, halted=halted, polled=step.polled)
        self._intervals.append(Interval((self._scheduling_layer(step), "wait for cpu"), partial(span.parts, self._hardware)))

    def _wait(self, layer: str, cause: str) -> None:
        self._intervals.append(Interval((layer, cause), tuple))

    def _scheduling_layer(self, step: Step) -> str:
        stack = self._branch.stack
        return stack.names[stack.scheduled_by(step.context)]

    def _cpu_work(self, step: Step, following: Step | None) -> CpuWork:
        notified = self._executor(following) if following is not None and following.resource is Resource.CPU else None
        return CpuWork(
            fixed_s=step.fixed.total,
            random_s=step.random.total,
            asleep_s=step.asleep.total,
            virtual=tuple((self._branch.found_halted(p, step.context), amounts.total) for p, amounts in step.idle),
            polled_s=tuple(amounts.total for amounts in step.polled) if self._polls(step) else (),
            notify=None if notified is None else (notified, step.notify.total),
            cores=self._host.scheduler,
            ladder=self._host.ladder if step.may_wake_core else None,
        )

    def _polls(self, step: Step) -> bool:
        """Whether any of the virtual processors that the step runs on may be polled for."""
        return any(self._branch.virtual_processors(p.level, p.service_vm).share.halt_poll_s for p, _ in step.idle)

    def _executor(self, step: Step) -> ThreadPool:
        return self._workers if step.context.place is Place.CALLER else self._tree.executor(self._branch, step.context)

    def track(self, step: Step, failed: Failed) -> None:
        """Append the making of an entry in a table of connections."""
        self._stages.append(Track(self._tree.connections(self._branch, step.context), step.fixed.total, failed))

    def moderate(self, step: Step, following: Step | None) -> None:
        """Append the wait for the card's interrupt."""
        handlers = self._executor(following) if following is not None and following.resource is Resource.CPU else None
        self._stages.append(Moderate(self._host.engine, self._host.moderation, step.fixed.total, handlers))
        self._wait(self._hardware, "wait for interrupt")

    def device(self, step: Step) -> None:
        """Append a stay at a device."""
        host, amount = self._host, step.fixed.total
        submit: Submit
        if step.resource is Resource.DELAY:
            submit = Delay(host.engine, amount).pass_on
        elif step.resource in (Resource.DISK, Resource.DISK_BUS):
            disk = self._disk(step)
            if isinstance(disk, SharedDisk):
                self._queued_device(step, disk)
                return
            submit = partial(disk.submit, amount)
        else:
            submit = partial(self._link(step).send, amount, step.size_bytes)
        self._append_device(step, Device(submit))
        self._stay(step)

    def _append_device(self, step: Step, stage: AbstractStage) -> None:
        self._stages.append(stage)
        if _is_disk(step):
            self._at_disk.append(stage)
        self._on_the_wire = self._on_the_wire or _serves_in_order(step)

    def _queued_device(self, step: Step, disk: SharedDisk) -> None:
        moves = step.block.positionings if step.block is not None and step.resource is Resource.DISK else 0.0
        stage = QueuedDevice(self._host.engine, disk, self._storage.flow(disk), step.fixed.total, moves)
        self._append_device(step, stage)
        part = step.fixed.parts[0]
        self._intervals.append(
            Interval((part.layer, f"wait for {part.cause}"), lambda: ((part.layer, part.cause, stage.account.mean_s),))
        )

    def device_then_delay(self, step: Step, delay: Step) -> None:
        """Append a stay at a link and the delay that follows."""
        self._append_device(step, DeviceThenDelay(self._reserve(step), Delay(self._host.engine, delay.fixed.total)))
        self._stay(step)
        self._stay(delay)

    def last_device(self, step: Step) -> None:
        """Append a stay at a device after which nothing happens."""
        self._append_device(step, LastDevice(self._reserve(step)))
        self._stay(step)

    def _stay(self, step: Step) -> None:
        part, work_s = step.fixed.parts[0], step.fixed.total
        if _serves_in_order(step):
            work_s = self._link(step).service_s(work_s, step.size_bytes)
        self._intervals.append(Interval((part.layer, f"wait for {part.cause}"), lambda: ((part.layer, part.cause, work_s),)))

    def _reserve(self, step: Step) -> Reserve:
        if _serves_in_order(step):
            return partial(self._link(step).reserve, step.fixed.total, step.size_bytes)
        disk = self._disk(step)
        assert not isinstance(disk, SharedDisk)
        return partial(disk.reserve, step.fixed.total)

    def _link(self, step: Step) -> Link:
        return self._host.nic.rx if step.resource is Resource.NIC_RX else self._host.nic.tx

    def _disk(self, step: Step) -> DiskOfHost:
        return self._host.disk if step.resource is Resource.DISK else self._host.disk_bus
