"""Disks at run time: the device's queue, and what each tenant has of it: its share, its limits, its dirty pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from simvirt.demand import BlockWrite, Demand, DiskWrite
from simvirt.engine import Engine
from simvirt.layers.hardware import Hardware
from simvirt.layers.hypervisor import Hypervisor
from simvirt.layers.operating_system import OperatingSystem
from simvirt.layers.page_cache import reads_through_cache, split_reads
from simvirt.layers.path import Path, Step, plan_path
from simvirt.layers.stack import Stack
from simvirt.layers.writeback import Writeback as Rules
from simvirt.resources.cpu.contract import Share
from simvirt.resources.disk import Disk
from simvirt.resources.io_limit import IoLimit
from simvirt.resources.shared_disk import Arm, Flow, SharedDisk
from simvirt.resources.stages import AbstractStage, CpuWork, Request
from simvirt.resources.threads import ThreadPool
from simvirt.resources.writeback import Owner, Writeback
from simvirt.scenario import Tenants
from simvirt.simulation.instances import Branch, Instance
from simvirt.workloads.profile import Workload

__all__ = ["BindBackground", "DiskOfHost", "Kernels", "TenantStorage", "make_disks", "with_page_cache"]

DiskOfHost = Disk | SharedDisk

DEFAULT_IO_WEIGHT: Final = 100
"""Weight of who is given none, where others have one."""
PAGE_BYTES: Final = 4096.0


def make_disks(engine: Engine, machine: Hardware, *, fair: bool, turns: Iterator[float]) -> tuple[DiskOfHost, DiskOfHost]:
    """The channels of the machine's disk and their bus. They queue first come first served unless weights or an arm ask for more."""
    disk = machine.disk
    channels = int(disk.channels.si)
    moves = disk.seek_s.si > 0.0 or disk.rotation_s.si > 0.0
    arm = Arm(seek_s=disk.seek_s.si, rotation_s=disk.rotation_s.si, turns=turns) if moves else None
    if not fair and arm is None:
        return Disk(engine, channels), Disk(engine, 1)
    return SharedDisk(engine, channels, fair=fair, arm=arm), SharedDisk(engine, 1, fair=fair)


class Kernels:
    """The page caches of all kernels: each has one dirty budget, which all that stand on it share."""

    def __init__(self, engine: Engine, machine: Hardware) -> None:
        self._engine = engine
        self._memory_bytes = machine.memory_bytes.si
        self._cores = machine.cores.si
        self._known: dict[Instance, Writeback] = {}

    def writeback(self, kernel: Instance) -> Writeback:
        if kernel not in self._known:
            rules, memory_bytes = rules_of(kernel), self.memory_bytes(kernel)
            background, limit = rules.dirty_background_ratio.si * memory_bytes, rules.dirty_ratio.si * memory_bytes
            self._known[kernel] = Writeback(self._engine, min(background, limit), limit, max(1, int(rules.depth.si)))
        return self._known[kernel]

    def forget(self, kernel: Instance) -> None:
        """A kernel has gone, and its dirty pages with it."""
        self._known.pop(kernel, None)

    def memory_bytes(self, kernel: Instance) -> float:
        """Memory that a kernel may have dirty a share of: the machine's; in a virtual machine, in proportion to its virtual processors."""
        return self._memory_bytes * min(1.0, kernel.group.share.processors / self._cores)


def rules_of(kernel: Instance) -> Rules:
    layer = kernel.layer
    assert isinstance(layer, OperatingSystem | Hypervisor)
    return layer.block.writeback


BindBackground = Callable[[Path, Branch, ThreadPool, Callable[[Request], None]], tuple[AbstractStage, tuple[CpuWork, ...]]]
"""Makes the stages of the write-back's own way to the disk; gives the first one and their counters."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a tenant's writes look like to the write-back."""

    size_bytes: float = PAGE_BYTES
    random: float = 0.0
    """Share of them at random places: those do not join into larger requests."""


class TenantStorage:
    """One tenant's disk: a flow at the device, limits, and dirty pages in the kernels under it."""

    def __init__(self, engine: Engine, name: str, group: Tenants, disk: DiskOfHost, bus: DiskOfHost, kernels: Kernels) -> None:
        self._engine = engine
        self._name = name
        self._kernels = kernels
        self._owners: dict[Instance, _Background] = {}
        weight = float(group.io_weight or DEFAULT_IO_WEIGHT)
        self._flows: dict[SharedDisk, Flow] = {d: d.flow(weight) for d in (disk, bus) if isinstance(d, SharedDisk)}
        self._limits = _limits(engine, group)
        self.work: list[CpuWork] = []
        """Counters of the CPU time that writing back for this tenant took."""

    def flow(self, device: SharedDisk) -> Flow:
        return self._flows[device]

    def limit(self, *, write: bool) -> IoLimit | None:
        return self._limits[write]

    def owner(self, branch: Branch, level: int, bind: BindBackground) -> tuple[Writeback, Owner]:
        """The tenant's dirty pages in the kernel at `level`."""
        background = self._background(branch, level, bind)
        return background.writeback, background.owner

    def will_write(self, branch: Branch, step: Step, bind: BindBackground) -> None:
        """Tell the write-back what the tenant's writes look like. Of several kinds of writes the last one counts."""
        block = step.block
        if block is not None and block.count:
            shape = _Shape(step.size_bytes / block.count, block.positionings / block.count)
            self._background(branch, step.context.level, bind).shape = shape

    def _background(self, branch: Branch, level: int, bind: BindBackground) -> _Background:
        kernel = branch.instances[level]
        if kernel not in self._owners or self._owners[kernel].writeback is not self._kernels.writeback(kernel):
            self._owners[kernel] = _Background(self._engine, self._name, self._kernels.writeback(kernel), branch, level, bind, self.work)
        return self._owners[kernel]


class _Background:
    """How one tenant's dirty pages go from one kernel to the disk: the same way as any write of that kernel, on its flusher's thread."""

    def __init__(
        self, engine: Engine, name: str, writeback: Writeback, branch: Branch, level: int, bind: BindBackground, work: list[CpuWork]
    ) -> None:
        self._engine = engine
        self._branch = branch
        self._level = level
        self._bind = bind
        self._work = work
        self._name = name
        self._sizes: dict[Request, float] = {}
        self._ways: dict[float, AbstractStage] = {}
        """First stage by the size of the request."""
        self._shape = _Shape()
        most_bytes = rules_of(branch.instances[level]).most_bytes.si
        self._most_bytes = most_bytes
        self.writeback = writeback
        self.owner = Owner(self._begin, max(most_bytes, PAGE_BYTES), PAGE_BYTES)

    @property
    def shape(self) -> _Shape:
        return self._shape

    @shape.setter
    def shape(self, shape: _Shape) -> None:
        self._shape = shape
        self.owner.least_bytes = shape.size_bytes
        self.owner.chunk_bytes = shape.size_bytes if shape.random else max(self._most_bytes, shape.size_bytes)

    def _begin(self, size_bytes: float) -> None:
        whole_bytes = self.owner.chunk_bytes if size_bytes > self.owner.least_bytes else self.owner.least_bytes
        if whole_bytes not in self._ways:
            self._ways[whole_bytes] = self._way(whole_bytes)
        request = Request(self._engine._now, 1.0)
        self._sizes[request] = size_bytes
        self._ways[whole_bytes].enter(request)

    def _written(self, request: Request) -> None:
        self.writeback.written(self.owner, self._sizes.pop(request))

    def _way(self, size_bytes: float) -> AbstractStage:
        """The stages of one request: of a kernel's own write, or, where a hypervisor is the kernel, of a write of the machine under it."""
        kernel = self._branch.instances[self._level]
        random = self._shape.random
        top = self._level + 1 if isinstance(kernel.layer, OperatingSystem) else self._level
        asked: DiskWrite | BlockWrite = DiskWrite(count=1.0, random=random, size_bytes=size_bytes, volatile=1.0, queued=1.0)
        if top == self._level:
            asked = BlockWrite(count=1.0, random=random, size_bytes=size_bytes, volatile=1.0)
        stack = Stack(self._branch.stack.layers[:top])
        branch = replace(self._branch, stack=stack, instances=self._branch.instances[:top])
        first, work = self._bind(plan_path(stack, Demand((asked,))), branch, self._flusher(kernel), self._written)
        self._work += work
        return first

    def _flusher(self, kernel: Instance) -> ThreadPool:
        name = "flusher"
        if name not in kernel.pools:
            group = kernel.group.group(f"{name} of {kernel.name}", Share())
            kernel.pools[name] = ThreadPool(self._engine, group, name, 1)
        return kernel.pools[name]


def _limits(engine: Engine, group: Tenants) -> dict[bool, IoLimit | None]:
    """A tenant's limits by whether they are for writes."""
    most = group.io_max
    if most is None:
        return {False: None, True: None}
    return {False: _limit(engine, most.riops, most.rbps), True: _limit(engine, most.wiops, most.wbps)}


def _limit(engine: Engine, requests_per_s: float | None, bytes_per_s: float | None) -> IoLimit | None:
    if requests_per_s is None and bytes_per_s is None:
        return None
    return IoLimit(engine, requests_per_s or inf, bytes_per_s or inf)


def with_page_cache(workload: Workload, group: Tenants, stack: Stack) -> Workload:
    """The workload with each class that reads files split by where its data is found. Without a size of files, all are in the cache."""
    if group.file_set is None:
        return workload
    own, host, files = group.page_cache, group.host_page_cache, group.file_set
    requests = []
    for one in workload.requests:
        if not reads_through_cache(one.demand):
            requests.append(one)
            continue
        for outcome in split_reads(one.demand, stack, own, host, files):
            name = f"{one.name} ({outcome.word})"
            requests.append(replace(one, name=name, weight=one.weight * outcome.share, demand=outcome.demand))
    return replace(workload, requests=tuple(requests))
