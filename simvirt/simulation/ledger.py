"""Where the time of one class of requests went, exactly: from the times that requests collect and the work that stages count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from simvirt.layers.path import Amounts
from simvirt.resources.stages import CpuWork
from simvirt.simulation.outcome import ClassTimes, TimePart

__all__ = ["Interval", "Ledger", "Span"]

_BLOCK: Final = 512
"""Requests whose times are held before they are folded."""


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

    def _due(self) -> Iterator[tuple[Amounts, float]]:
        """Each set of labels with how often it was due since the last restart."""
        cpu = self.cpu
        yield self.fixed, cpu.runs
        yield self.random, cpu.factors
        yield self.asleep, cpu.wakes
        yield self.notify, cpu.notified
        yield from zip(self.halted, cpu.halts, strict=True)

    def parts(self, hardware: str) -> Iterator[tuple[str, str, float]]:
        """(layer, cause, mean seconds per run) since the last restart."""
        runs = self.cpu.runs
        if not runs:
            return
        for amounts, times in self._due():
            for part in amounts.parts:
                yield part.layer, part.cause, part.amount * times / runs
        yield hardware, "core_wake", self.cpu.core_wakes_s / runs


class Ledger:
    """Folds the times of finished requests of one class into mean lengths of their intervals.

    The mean response time is the sum of the mean intervals, to rounding. Work is counted by the stages over the same window; what an
    interval is longer than its work is a wait. At the edges of the window a stage may have counted a request that is not finished: a
    difference of a few requests among thousands, which moves between work and wait and never changes a sum.
    """

    __slots__ = ("_block", "_completed", "_intervals", "_name", "_sums")

    def __init__(self, name: str, intervals: tuple[Interval, ...]) -> None:
        self._name = name
        self._intervals = intervals
        self.restart()

    def restart(self) -> None:
        """Forget everything: warm-up has ended."""
        self._block: list[list[float]] = []
        self._sums = np.zeros(len(self._intervals))
        self._completed = 0

    def add(self, times: list[float]) -> None:
        """Count one finished request."""
        self._block.append(times)
        if len(self._block) == _BLOCK:
            self._fold()

    def _fold(self) -> None:
        if self._block:
            self._sums += np.diff(np.array(self._block), axis=1).sum(axis=0)
            self._completed += len(self._block)
            self._block.clear()

    def times(self) -> ClassTimes:
        """Mean time per request by layer and cause; the parts add up to the mean response time."""
        self._fold()
        sums: dict[tuple[str, str], float] = {}
        if self._completed:
            for interval, total_s in zip(self._intervals, self._sums.tolist(), strict=True):
                left_s = total_s / self._completed
                for layer, cause, seconds in interval.work():
                    sums[layer, cause] = sums.get((layer, cause), 0.0) + seconds
                    left_s -= seconds
                sums[interval.wait] = sums.get(interval.wait, 0.0) + left_s
        parts = (TimePart(layer=layer, cause=cause, seconds=seconds) for (layer, cause), seconds in sums.items() if seconds)
        return ClassTimes(name=self._name, completed=self._completed, parts=tuple(parts))
