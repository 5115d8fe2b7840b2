"""Binds the way of a request through a stack to the threads and devices of one tenant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from simvirt.engine import Engine
from simvirt.layers.contract import Place, Resource
from simvirt.layers.path import Path, Step
from simvirt.layers.stack import APPLICATION
from simvirt.resources.cpu.contract import AbstractScheduler
from simvirt.resources.cpu.idle import IdleLadder
from simvirt.resources.delay import Delay
from simvirt.resources.disk import Disk
from simvirt.resources.nic import Nic
from simvirt.resources.stages import AbstractStage, Acquire, CallerBurst, CpuWork, Device, End, PoolBurst, Release, Request, Submit
from simvirt.resources.threads import ThreadPool
from simvirt.simulation.instances import Branch, InstanceTree
from simvirt.simulation.ledger import Interval, Span

__all__ = ["BoundPath", "Host", "bind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The running machine."""

    engine: Engine
    scheduler: AbstractScheduler
    nic: Nic
    disk: Disk
    disk_bus: Disk
    ladder: IdleLadder


@dataclass(frozen=True, slots=True)
class BoundPath:
    """A path that requests can enter."""

    first: AbstractStage
    intervals: tuple[Interval, ...]
    work: tuple[CpuWork, ...]
    """Counters of all CPU stages."""


def bind(path: Path, host: Host, tree: InstanceTree, branch: Branch, workers: ThreadPool, finished: Callable[[Request], None]) -> BoundPath:
    """Make the stages of a path for one tenant.

    The request waits for a worker before its first step on the caller and keeps it until the last one; steps before and after (packets on
    their way in and out) occupy nobody of the application.
    """
    binder = _Binder(host, tree, branch, workers)
    mine = [i for i, step in enumerate(path.steps) if _is_callers(step)]
    for i, step in enumerate(path.steps):
        if mine and i == mine[0]:
            binder.acquire()
        binder.step(step, path.steps[i + 1] if i + 1 < len(path.steps) else None, first=bool(mine) and i == mine[0])
        if mine and i == mine[-1]:
            binder.release()
    return binder.bound(finished)


def _is_callers(step: Step) -> bool:
    return step.resource is Resource.CPU and step.context.place is Place.CALLER


class _Binder:
    """Appends stages one by one, and says what happens between the times that they note."""

    def __init__(self, host: Host, tree: InstanceTree, branch: Branch, workers: ThreadPool) -> None:
        self._host = host
        self._tree = tree
        self._branch = branch
        self._workers = workers
        self._hardware = branch.stack.names[0]
        self._stages: list[AbstractStage] = []
        self._intervals: list[Interval] = []
        self._work: list[CpuWork] = []

    def bound(self, finished: Callable[[Request], None]) -> BoundPath:
        self._stages.append(End(finished))
        for stage, following in zip(self._stages, self._stages[1:], strict=False):
            stage.next = following
        return BoundPath(self._stages[0], tuple(self._intervals), tuple(self._work))

    def acquire(self) -> None:
        self._stages.append(Acquire(self._host.engine, self._workers))
        self._wait(APPLICATION, "wait for thread")

    def release(self) -> None:
        self._stages.append(Release(self._workers))

    def step(self, step: Step, following: Step | None, *, first: bool) -> None:
        """Append the stage of one step."""
        if step.resource is not Resource.CPU:
            self._device(step)
            return
        work = self._cpu_work(step, following)
        self._work.append(work)
        if step.context.place is Place.CALLER:
            self._stages.append(CallerBurst(self._host.engine, work, first=first))
        else:
            pool = self._tree.executor(self._branch, step.context)
            self._stages.append(PoolBurst(self._host.engine, work, pool))
            self._wait(self._branch.stack.names[step.context.level], f"wait for {pool.name}")
        halted = tuple(amounts for _, amounts in step.idle)
        span = Span(cpu=work, fixed=step.fixed, random=step.random, asleep=step.asleep, notify=step.notify, halted=halted)
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
            virtual=tuple((self._branch.virtual_processors(p.level, p.service_vm), amounts.total) for p, amounts in step.idle),
            notify=None if notified is None else (notified, step.notify.total),
            cores=self._host.scheduler,
            ladder=self._host.ladder if step.may_wake_core else None,
        )

    def _executor(self, step: Step) -> ThreadPool:
        return self._workers if step.context.place is Place.CALLER else self._tree.executor(self._branch, step.context)

    def _device(self, step: Step) -> None:
        host, amount = self._host, step.fixed.total
        part = step.fixed.parts[0]
        submit: Submit
        if step.resource is Resource.DELAY:
            submit, work_s = Delay(host.engine, amount).pass_on, amount
        elif step.resource in (Resource.DISK, Resource.DISK_BUS):
            device = host.disk if step.resource is Resource.DISK else host.disk_bus
            submit, work_s = partial(device.submit, amount), amount
        else:
            link = host.nic.rx if step.resource is Resource.NIC_RX else host.nic.tx
            submit, work_s = partial(link.send, amount, step.size_bytes), link.service_s(amount, step.size_bytes)
        self._stages.append(Device(host.engine, submit))
        self._intervals.append(Interval((part.layer, f"wait for {part.cause}"), lambda: ((part.layer, part.cause, work_s),)))
