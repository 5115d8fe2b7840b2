"""The machine on which images are built, kept and run: cores, a disk with a page cache, a network interface."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Final

from simpy.events import AllOf, Event

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, AbstractScheduler, AbstractThread, Share
from simvirt.resources.cpu.fluid import FluidScheduler
from simvirt.resources.disk import Disk

__all__ = ["Host", "HostSpec", "PageCache", "finish"]

_DIRTY_SHARE: Final = 0.2
"""Linux: vm.dirty_ratio, the share of memory above which writers wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """Sizes and speeds of a machine; times of its processor come from its clock."""

    cores: int
    clock_hz: float
    core_speed: float
    """Speed of a core relative to the reference core."""
    cache_bytes: float
    """Memory that the page cache may take."""
    nic_bytes_per_s: float
    channels: int
    read_s: float
    write_s: float
    read_bytes_per_s: float
    write_bytes_per_s: float
    disk_bytes: float
    """Room for images."""


class PageCache:
    """Which files of which layers are in memory, in bytes; the layer used longest ago goes first."""

    def __init__(self, capacity_bytes: float) -> None:
        self.capacity_bytes = capacity_bytes
        self._held: OrderedDict[str, float] = OrderedDict()

    def held(self, digest: str) -> float:
        """Bytes of a layer that are in memory; asking counts as use."""
        if digest not in self._held:
            return 0.0
        self._held.move_to_end(digest)
        return self._held[digest]

    def put(self, digest: str, size_bytes: float) -> None:
        """Keep so many bytes of a layer, or as many as there were, if more."""
        self._held[digest] = min(max(size_bytes, self._held.get(digest, 0.0)), self.capacity_bytes)
        self._held.move_to_end(digest)
        over = sum(self._held.values()) - self.capacity_bytes
        while over > 0:
            oldest, size = next(iter(self._held.items()))
            kept = max(0.0, size - over)
            over -= size - kept
            if kept:
                self._held[oldest] = kept
            else:
                del self._held[oldest]

    def drop(self, digests: Iterable[str] | None = None) -> None:
        """Forget some layers, or all."""
        for digest in list(self._held) if digests is None else digests:
            self._held.pop(digest, None)


class Host:
    """A running machine. Computing goes to its scheduler, blocks to its disk: access on a channel, then bytes on the bus."""

    def __init__(self, engine: Engine, spec: HostSpec, scheduler: AbstractScheduler | None = None, name: str = "host") -> None:
        self.engine = engine
        self.spec = spec
        self.name = name
        self.scheduler = scheduler if scheduler is not None else FluidScheduler(engine, spec.cores)
        self.disk = Disk(engine, spec.channels)
        self.bus = Disk(engine, 1)
        self.cache = PageCache(spec.cache_bytes)
        self.dirty_bytes = 0.0
        """Written by somebody and not yet on the disk."""
        self._threads = 0

    def group(self, name: str, share: Share | None = None) -> AbstractGroup:
        """A group of threads of its own."""
        return self.scheduler.group(name, share if share is not None else Share())

    def compute(self, thread: AbstractThread, cpu_s: float) -> Event:
        """Work of one thread; the event comes when it has been served."""
        event = self.engine.event()
        if cpu_s > 0:
            thread.run(cpu_s, finish, event)
        else:
            event.succeed()
        return event

    def compute_all(self, group: AbstractGroup, cpu_s: float, threads: float) -> Event:
        """Work that so many threads share evenly."""
        count = max(1, round(threads))
        each = [self.compute(group.thread(f"{group.name} {i + 1}"), cpu_s / count) for i in range(count)]
        return AllOf(self.engine, each)

    def read(self, size_bytes: float, request_bytes: float) -> Event:
        """Blocking reads of one thread, one after the other."""
        return self._move(ceil(size_bytes / request_bytes) * self.spec.read_s, size_bytes / self.spec.read_bytes_per_s)

    def write(self, size_bytes: float) -> Event:
        """One long write, as the kernel writes back what files hold."""
        return self._move(self.spec.write_s, size_bytes / self.spec.write_bytes_per_s)

    def write_behind(self, size_bytes: float) -> Event:
        """Write to the page cache, from where it goes to the disk by itself.

        The writer goes on at once, unless more than `_DIRTY_SHARE` of the cache waits to be written: then it waits for its own bytes.
        """
        self.dirty_bytes += size_bytes
        written = self.write(size_bytes)
        assert written.callbacks is not None
        written.callbacks.append(lambda _: self._cleaned(size_bytes))
        return written if self.dirty_bytes > _DIRTY_SHARE * self.spec.cache_bytes else self.engine.event().succeed()

    def _cleaned(self, size_bytes: float) -> None:
        self.dirty_bytes -= size_bytes

    def _move(self, access_s: float, transfer_s: float) -> Event:
        event = self.engine.event()
        if access_s + transfer_s == 0:
            return event.succeed()
        self.disk.submit(access_s, self._accessed, (transfer_s, event))
        return event

    def _accessed(self, request: tuple[float, Event]) -> None:
        self.bus.submit(request[0], finish, request[1])


def finish(event: Event) -> None:
    """Let an event come now: what a resource calls when it has served something."""
    event.succeed()
