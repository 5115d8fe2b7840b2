"""Where the time of one class of requests went, exactly: from the times that requests collect and the work that stages count."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simvirt.layers.path import Amounts
from simvirt.resources.stages import CpuWork
from simvirt.simulation.outcome import ClassTimes, TimePart

__all__ = ["Interval", "Ledger", "Span"]

_BLOCK: Final = 512
"""Requests whose times are held before they are folded. Those that have not ended then stay held."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What a request does between two of the times that it collects: some of it work, known by label, the rest a wait."""

    wait: tuple[str, str]
    """Layer and cause of what is not work."""
    work: Callable[[], Iterable[tuple[str, str, float]]]
    """(layer, cause, mean seconds) of the work per request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The work of one CPU step with its labels, each set of labels beside the condition on which it is due."""

    cpu: CpuWork
    fixed: Amounts
    random: Amounts
    asleep: Amounts
    notify: Amounts
    halted: tuple[Amounts, ...]
    """One for each kind of virtual processor, in the order of `cpu.virtual`."""
    polled: tuple[Amounts, ...]
    """The same, for those that are polled for."""

    def _due(self) -> Iterator[tuple[Amounts, float]]:
        """Each set of labels with how often it was due since the last restart."""
        cpu = self.cpu
        yield self.fixed, cpu.runs
        yield self.random, cpu.factors
        yield self.asleep, cpu.wakes
        yield self.notify, cpu.notified
        yield from zip(self.halted, cpu.halts, strict=True)
        yield from zip(self.polled, cpu.polls, strict=True)

    def parts(self, hardware: str) -> Iterator[tuple[str, str, float]]:
        """(layer, cause, mean seconds per run) since the last restart."""
        runs = self.cpu.runs
        if not runs:
            return
        for amounts, times in self._due():
            for part in amounts.parts:
                yield part.layer, part.cause, part.amount * times / runs
        yield hardware, "core_wake", self.cpu.core_wakes_s / runs
        yield hardware, "cache and memory contention", self.cpu.memory_stall_s / runs
        yield hardware, "hyper-thread contention", self.cpu.sibling_stall_s / runs


class Ledger:
    """Folds the times of requests of one class into response times and mean lengths of their intervals.

    The mean response time is the sum of the mean intervals, to rounding. Work is counted by the stages over the same window; what an
    interval is longer than its work is a wait. At the edges of the window a stage may have counted a request that is not finished: a
    difference of a few requests among thousands, which moves between work and wait and never changes a sum.
    """

    __slots__ = ("_completed", "_full", "_held", "_intervals", "_name", "_sums", "_width")

    def __init__(self, name: str, intervals: tuple[Interval, ...]) -> None:
        self._name = name
        self._intervals = intervals
        self._width = len(intervals) + 1
        self._full = _BLOCK * self._width
        self._held = array("d")
        """The times of requests that are not folded yet, one after the other."""
        self.restart()

    def restart(self) -> None:
        """Forget all that was folded: warm-up has ended."""
        self._sums = np.zeros(len(self._intervals))
        self._completed = 0

    def add(self, times: list[float]) -> bool:
        """Hold the times of one request; whether it is time to fold. Its last time may be yet to come."""
        held = self._held
        held.fromlist(times)
        return len(held) >= self._full

    def fold(self, now: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Fold the requests that have ended before now; when they started and when they ended. The others stay held."""
        rows = np.array(self._held).reshape(-1, self._width)
        ended = rows[:, -1] < now
        over, self._held = rows[ended], array("d", rows[~ended].tobytes())
        self._full = len(self._held) + _BLOCK * self._width
        self._sums += np.diff(over, axis=1).sum(axis=0)
        self._completed += len(over)
        return over[:, 0], over[:, -1]

    def held_starts(self) -> list[float]:
        """When the requests started whose times are held: those that have ended, or whose end is settled."""
        return self._held[:: self._width].tolist()

    def times(self) -> ClassTimes:
        """Mean time per folded request by layer and cause; the parts add up to the mean response time."""
        sums: dict[tuple[str, str], float] = {}
        if self._completed:
            for interval, total_s in zip(self._intervals, self._sums.tolist(), strict=True):
                mean_s = total_s / self._completed
                work = tuple(interval.work())
                counted_s = sum(seconds for _, _, seconds in work)
                known = min(1.0, mean_s / counted_s) if counted_s else 0.0  # no more work than time
                for layer, cause, seconds in work:
                    sums[layer, cause] = sums.get((layer, cause), 0.0) + seconds * known
                sums[interval.wait] = sums.get(interval.wait, 0.0) + mean_s - counted_s * known
        parts = (TimePart(layer=layer, cause=cause, seconds=seconds) for (layer, cause), seconds in sums.items() if seconds)
        return ClassTimes(name=self._name, completed=self._completed, parts=tuple(parts))
