"""The stage at which a request waits for memory: pages that it touches and that are out, and allocations that are slowed down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, final

import numpy as np

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Done
from simvirt.resources.disk import Disk
from simvirt.resources.memory.holding import Holding
from simvirt.resources.memory.memory import Memory
from simvirt.resources.memory.pressure import Pressure
from simvirt.resources.memory.swap import PAGE_BYTES
from simvirt.resources.shared_disk import SharedDisk
from simvirt.resources.stages import AbstractStage, Request

__all__ = ["Paging", "PagingDevice", "PagingFlow"]


@final
class PagingFlow:
    """The pages of a kernel at a disk that others share by weight, or whose arm moves: one flow among theirs."""

    __slots__ = ("_disk", "_flow")

    def __init__(self, disk: SharedDisk) -> None:
        self._disk = disk
        self._flow = disk.flow()

    def submit(self, service_s: float, done: Done, argument: Any) -> None:
        moves = 1.0 if self._disk.move_s else 0.0
        self._disk.submit(self._flow, service_s + moves * self._disk.move_s, moves, done, argument)

    def reserve(self, service_s: float) -> None:
        """Queue one request for whose end nobody waits."""
        self.submit(service_s, _nobody, None)


def _nobody(_: Any) -> None:
    """Waits."""


MOST_WRITES: Final = 128
"""Writes under way from which on a kernel lets those wait who ask for memory (Linux, nr_requests of a block device)."""


@dataclass(slots=True, kw_only=True)
class PagingDevice:
    """Where pages are read from and written to.

    Reads, for which somebody waits, and writes are two flows where the disk tells flows apart. Nobody waits for a write that is under way;
    but while too many are, whoever grows waits until there are fewer.
    """

    disk: Disk | PagingFlow
    bus: Disk | PagingFlow
    write_disk: Disk | PagingFlow
    paced: bool = False
    """Whether anybody grows, and writes that are under way have to be counted."""
    writing: int = 0
    """Writes under way, if they are counted."""
    held: list[Callable[[], None]] = field(default_factory=list)
    """Whom to tell when there are few enough."""
    read_s: float
    """Channel time of one page read at a random place, moves of an arm apart."""
    write_s: float
    """Channel time of one cluster written."""
    read_bytes_per_s: float
    write_bytes_per_s: float

    def write(self, operations: float, size_bytes: float) -> None:
        """Write clusters of pages; nobody waits for it, but others wait behind it."""
        for _ in range(int(operations)):
            if self.paced:
                self.writing += 1
                self.write_disk.submit(self.write_s, self._written, None)
            else:
                self.write_disk.reserve(self.write_s)
        self.bus.reserve(size_bytes / self.write_bytes_per_s)


    def _written(self, _: Any) -> None:
        self.writing -= 1
        if self.held and self.writing < MOST_WRITES:
            held, self.held = self.held, []
            for go_on in held:
                go_on()

    @property
    def congested(self) -> bool:
        """Whether those who grow have to wait."""
        return self.writing >= MOST_WRITES


class _Wait:
    """A request that waits."""

    __slots__ = ("pressures", "reads", "request", "since_s")

    def __init__(self, request: Request, reads: int, since_s: float, pressures: Sequence[Pressure]) -> None:
        self.request = request
        self.reads = reads
        self.since_s = since_s
        self.pressures = pressures


@final
class Paging(AbstractStage):
    """Faults of a request on pages that are out, in the memories that it stands on: its kernel's, then those of machines below.

    A request touches `touched_bytes`. In each memory the number of its faults is Poisson with mean pages * miss probability; each fault
    reads one page, one after the other, through the queue of the disk, or unpacks a compressed page. Faults of the processor and copies are
    not charged: microseconds beside the device's tens or thousands. Pages that come back push others out. A request that makes its
    application grow waits while too many pages are being written.
    """

    __slots__ = ("_asks_bytes", "_device", "_engine", "_levels", "_rng", "_touched_pages")

    def __init__(
        self,
        engine: Engine,
        levels: Sequence[tuple[Memory, Holding]],
        device: PagingDevice,
        rng: np.random.Generator,
        touched_bytes: float,
        asks_bytes: float,
    ) -> None:
        self._engine = engine
        self._levels = tuple(levels)
        self._device = device
        self._rng = rng
        self._touched_pages = touched_bytes / PAGE_BYTES
        self._asks_bytes = asks_bytes

    def enter(self, request: Request) -> None:
        memory, holding = self._levels[0]
        throttled_s = holding.throttle_s(self._asks_bytes)
        wait_s, reads = throttled_s, 0
        pressures = [memory.pressure] if throttled_s else []
        for memory, holding in self._levels:
            if holding.out_bytes > 0.0:
                read, unpacked = self._faults(memory, holding)
                if read or unpacked:
                    memory.fetch(holding, read * PAGE_BYTES, unpacked * PAGE_BYTES)
                    pressures.append(memory.pressure)
                    reads += read
                    wait_s += unpacked * memory.rules.decompress_s.si
        congested = self._asks_bytes > 0.0 and self._device.congested
        if congested:
            pressures.append(self._levels[0][0].pressure)
        if not pressures:
            request.times.append(self._engine._now)
            self.next.enter(request)
            return
        for pressure in pressures:
            pressure.enter()
        wait = _Wait(request, reads, self._engine._now, pressures)
        if congested:
            self._device.held.append(partial(self._read, wait))
        elif wait_s > 0.0:
            self._engine.timeout(wait_s, wait).callbacks.append(self._waited)
        else:
            self._read(wait)

    def _faults(self, memory: Memory, holding: Holding) -> tuple[int, int]:
        """Pages that the request finds out: to be read, and to be unpacked."""
        expected = self._touched_pages * holding.miss(by_age=memory.by_age)
        packed = holding.compressed_bytes / holding.out_bytes
        read = int(self._rng.poisson(expected * (1.0 - packed))) if packed < 1.0 else 0
        return read, int(self._rng.poisson(expected * packed)) if packed > 0.0 else 0

    def _waited(self, event: Any) -> None:
        self._read(event.value)

    def _transfer(self, wait: _Wait) -> None:
        self._device.bus.submit(PAGE_BYTES / self._device.read_bytes_per_s, self._read, wait)

    def _read(self, wait: _Wait) -> None:
        """Read the next page, or go on."""
        if wait.reads:
            wait.reads -= 1
            self._device.disk.submit(self._device.read_s, self._transfer, wait)
            return
        for pressure in wait.pressures:
            pressure.leave()
        now, request = self._engine._now, wait.request
        request.slept_s = now - wait.since_s
        request.times.append(now)
        self.next.enter(request)
