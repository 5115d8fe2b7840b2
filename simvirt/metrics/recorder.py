"""Recorders: an observation is averaged over customers, a level over time. Both start afresh when warm-up ends."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Generator
from typing import Final, final

import numpy as np

from simvirt.metrics.histogram import LatencyHistogram

__all__ = ["BLOCK", "Level", "Observations"]

BLOCK: Final = 4096
"""Most values held before they are folded into the histogram."""

_FIRST_BLOCK: Final = 256
"""A recorder that sees little stays small; the block doubles each time it fills."""


class _Flush(Exception):  # noqa: N818 - a request, not an error
    """Told to the collecting generator: fold what you hold."""


@final
class Observations:
    """One value per customer, such as a response time in seconds, kept as a histogram.

    `record(value)` is the send of a generator that stores the value in a block and folds the block when it is full: no Python frame
    is entered, no counter compared. A value that is no time (negative, NaN) is refused when its block is folded.
    """

    __slots__ = ("_collector", "_histogram", "_kept", "record")

    record: Callable[[float], None]
    """Count one value. Take it out of the loop: `record = observations.record`."""

    def __init__(self, *, keep: bool = False) -> None:
        """With `keep`, hold every value as well, at 8 bytes each."""
        self._histogram = LatencyHistogram()
        self._kept: array[float] | None = array("d") if keep else None
        self._collector = self._collect()
        next(self._collector)
        self.record = self._collector.send

    def _collect(self) -> Generator[None, float, None]:
        size = _FIRST_BLOCK
        block = array("d", bytes(8 * size))
        while True:
            held = 0
            try:
                for held in range(size):
                    block[held] = yield
                held = size
            except _Flush:
                pass  # raised at the yield, before the value of this index came
            self._fold(block, held)
            if held == size < BLOCK:
                size *= 2
                block = array("d", bytes(8 * size))

    def _fold(self, block: array[float], held: int) -> None:
        self._histogram.add(np.frombuffer(block, dtype=np.float64, count=held))
        if self._kept is not None:
            self._kept.extend(block[:held])

    def _flush(self) -> None:
        self._collector.throw(_Flush())

    def restart(self) -> None:
        """Forget everything: warm-up has ended."""
        self._flush()
        self._histogram = LatencyHistogram()
        if self._kept is not None:
            self._kept = array("d")

    @property
    def histogram(self) -> LatencyHistogram:
        """Everything recorded since the last restart; goes on filling."""
        self._flush()
        return self._histogram

    @property
    def count(self) -> int:
        return self.histogram.count

    @property
    def mean(self) -> float:
        """NaN when nothing was recorded."""
        return self.histogram.mean_s

    @property
    def values(self) -> array[float]:
        """Every value in the order recorded; only with `keep`."""
        if self._kept is None:
            raise ValueError("values: not kept; make the recorder with keep=True")
        self._flush()
        return self._kept


@final
class Level:
    """A quantity that holds until it changes, such as a queue length, averaged over time: (1/T) ∫ value dt.

    The area is brought up to date before the value changes, so that each value counts for as long as it held.
    """

    __slots__ = ("_area", "_since", "_start", "value")

    def __init__(self, value: float = 0.0, now: float = 0.0) -> None:
        self.value = value
        """The present value; change it by `set` or `add`."""
        self._area = 0.0
        self._since = now
        self._start = now

    def set(self, value: float, now: float) -> None:
        """From `now` (seconds) on the level is `value`."""
        assert now >= self._since, f"level set at {now} s, before its last change at {self._since} s"
        self._area += self.value * (now - self._since)
        self._since = now
        self.value = value

    def add(self, delta: float, now: float) -> None:
        """From `now` on the level is higher by `delta`."""
        assert now >= self._since, f"level changed at {now} s, before its last change at {self._since} s"
        self._area += self.value * (now - self._since)
        self._since = now
        self.value += delta

    def integral(self, now: float) -> float:
        """∫ value dt since the last restart: of busy cores, core-seconds."""
        assert now >= self._since, f"level read at {now} s, before its last change at {self._since} s"
        return self._area + self.value * (now - self._since)

    def mean(self, now: float) -> float:
        """Time average since the last restart; NaN when no time has passed."""
        area, duration_s = self.integral(now), now - self._start
        return area / duration_s if duration_s > 0.0 else math.nan

    def restart(self, now: float) -> None:
        """Measure from `now` on; the level stays what it is."""
        assert now >= self._since, f"level restarted at {now} s, before its last change at {self._since} s"
        self._area = 0.0
        self._since = now
        self._start = now
