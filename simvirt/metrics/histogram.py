"""Response times in constant memory: a histogram with logarithmic buckets 1 % wide, folded in blocks.

Everything in it adds up exactly, in any order and in blocks of any size, so that merging replications or looking at a run half way
changes no result by a single bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Self, final

import numpy as np
import numpy.typing as npt

__all__ = ["HIGHEST_S", "LOWEST_S", "RELATIVE_WIDTH", "LatencyHistogram"]

LOWEST_S: Final = 1e-9
"""Upper end of what is told apart only as "at most a nanosecond"."""
HIGHEST_S: Final = 1e6
"""The longest time that can be recorded, eleven days."""
RELATIVE_WIDTH: Final = 0.01
"""Upper edge of a bucket over its lower edge, minus 1."""

_PER_LOG: Final = 1.0 / math.log1p(RELATIVE_WIDTH)
_CHUNK: Final = 8192
"""Values whose exact sum fits in a float's 53 bits, see `_ticks`."""
_TICKS_PER_S: Final = 1 << 60


@final
class LatencyHistogram:
    """Counts of times in [0, 1e6] s; bucket i holds [1e-9 · 1.01ⁱ, 1e-9 · 1.01ⁱ⁺¹) s, bucket 0 also all that is shorter.

    Count, minimum and maximum are exact; the sum is exact to 2⁻⁶⁰ s per value. A quantile is off by at most 1 %, or 1 ns below that.
    Only the span of buckets in use is stored: about 8 bytes for each 1 % between the shortest and the longest time.
    """

    __slots__ = ("_count", "_counts", "_first", "_max_s", "_min_s", "_sum_ticks")

    def __init__(self, values: npt.ArrayLike = ()) -> None:
        self._first = 0
        self._counts: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._count = 0
        self._sum_ticks = 0
        self._min_s = math.inf
        self._max_s = -math.inf
        self.add(values)

    @property
    def count(self) -> int:
        return self._count

    @property
    def sum_s(self) -> float:
        return self._sum_ticks / _TICKS_PER_S

    @property
    def mean_s(self) -> float:
        """NaN when empty."""
        return self._sum_ticks / (_TICKS_PER_S * self._count) if self._count else math.nan

    @property
    def min_s(self) -> float:
        """NaN when empty."""
        return self._min_s if self._count else math.nan

    @property
    def max_s(self) -> float:
        """NaN when empty."""
        return self._max_s if self._count else math.nan

    def add(self, values: npt.ArrayLike) -> None:
        """Count a block of times; the larger the block, the cheaper a value. All or none of a block is counted."""
        block = np.asarray(values, dtype=np.float64).ravel()
        if not block.size:
            return
        low, high = float(block.min()), float(block.max())
        if not 0.0 <= low <= high <= HIGHEST_S:  # also catches NaN, which min and max hand on
            raise ValueError(f"times from {low} s to {high} s; at least 0 s and at most {HIGHEST_S:g} s")
        for start in range(0, block.size, _CHUNK):
            chunk = block[start : start + _CHUNK]
            buckets = _buckets(chunk)
            first = int(buckets.min())
            self._add_counts(first, np.bincount(buckets - first))
            self._sum_ticks += _ticks(chunk)
        self._count += block.size
        self._min_s = min(self._min_s, low)
        self._max_s = max(self._max_s, high)

    def _add_counts(self, first: int, counts: npt.NDArray[np.int64]) -> None:
        """Add counts of the buckets from `first` on, widening the span where needed."""
        old_end, end = self._first + self._counts.size, first + counts.size
        if not self._counts.size:
            self._first, self._counts = first, counts.astype(np.int64)
            return
        if first < self._first or end > old_end:
            widened_first, widened_end = min(first, self._first), max(end, old_end)
            widened = np.zeros(widened_end - widened_first, dtype=np.int64)
            widened[self._first - widened_first : old_end - widened_first] = self._counts
            self._first, self._counts = widened_first, widened
        self._counts[first - self._first : end - self._first] += counts

    def quantile(self, q: float) -> float:
        """The q-quantile in seconds; NaN with fewer than 10 / (1 - q) times, when it would rest on fewer than ten in the tail.

        Linear between the two order statistics around rank q·(n - 1), as numpy's default; each is placed within its bucket as if the
        times of the bucket were evenly spread in logarithm.
        """
        if not 0.0 <= q < 1.0:
            raise ValueError(f"q: {q}; at least 0 and below 1")
        if self._count * (1.0 - q) < 10.0 * (1.0 - 1e-9):
            return math.nan
        rank = q * (self._count - 1)
        below = math.floor(rank)
        cumulative = np.cumsum(self._counts)
        low = self._order_statistic(below, cumulative)
        high = self._order_statistic(min(below + 1, self._count - 1), cumulative)
        return low + (high - low) * (rank - below)

    def _order_statistic(self, index: int, cumulative: npt.NDArray[np.int64]) -> float:
        """The time with `index` shorter ones, to 1 %."""
        slot = int(np.searchsorted(cumulative, index, side="right"))
        bucket = self._first + slot
        if bucket == 0:
            return self._min_s
        inside = index - (int(cumulative[slot - 1]) if slot else 0)
        place = bucket + (inside + 0.5) / int(self._counts[slot])
        return min(max(LOWEST_S * math.exp(place / _PER_LOG), self._min_s), self._max_s)

    def __add__(self, other: LatencyHistogram) -> LatencyHistogram:
        """All times of both."""
        if not isinstance(other, LatencyHistogram):
            return NotImplemented
        both = LatencyHistogram()
        for part in (self, other):
            if part._count:
                both._add_counts(part._first, part._counts)
        both._count = self._count + other._count
        both._sum_ticks = self._sum_ticks + other._sum_ticks
        both._min_s = min(self._min_s, other._min_s)
        both._max_s = max(self._max_s, other._max_s)
        return both

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LatencyHistogram):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"LatencyHistogram(count={self._count}, mean_s={self.mean_s:.6g}, max_s={self.max_s:.6g})"

    def to_dict(self) -> dict[str, Any]:
        """The histogram as JSON can hold it: only buckets that are not empty, as [bucket, count]."""
        used = np.flatnonzero(self._counts)
        return {
            "lowest_s": LOWEST_S,
            "relative_width": RELATIVE_WIDTH,
            "count": self._count,
            "sum_ticks": self._sum_ticks,
            "min_s": self._min_s if self._count else None,
            "max_s": self._max_s if self._count else None,
            "buckets": [[int(i) + self._first, int(self._counts[i])] for i in used],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; refuse other buckets and counts that do not add up."""
        shape = (document["lowest_s"], document["relative_width"])
        if shape != (LOWEST_S, RELATIVE_WIDTH):
            raise ValueError(f"lowest_s, relative_width: {shape}; this version reads only {(LOWEST_S, RELATIVE_WIDTH)}")
        buckets, count = document["buckets"], document["count"]
        if sum(n for _, n in buckets) != count:
            raise ValueError(f"count: {count}; the buckets hold {sum(n for _, n in buckets)}")
        histogram = cls()
        if buckets:
            indices = np.array([i for i, _ in buckets], dtype=np.int64)
            first = int(indices.min())
            counts = np.zeros(int(indices.max()) - first + 1, dtype=np.int64)
            counts[indices - first] = [n for _, n in buckets]
            histogram._add_counts(first, counts)
            histogram._min_s, histogram._max_s = float(document["min_s"]), float(document["max_s"])
        histogram._count, histogram._sum_ticks = int(count), int(document["sum_ticks"])
        return histogram


def _buckets(times: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bucket of each time: ln(t / 1e-9) / ln 1.01, rounded down."""
    places = np.maximum(times, LOWEST_S)
    places *= 1.0 / LOWEST_S
    np.log(places, out=places)
    places *= _PER_LOG
    return places.astype(np.int64)


def _ticks(times: npt.NDArray[np.float64]) -> int:
    """The sum of at most `_CHUNK` times in ticks of 2⁻⁶⁰ s, each rounded to a tick, then added exactly.

    A time is split into a multiple of 2⁻²⁰ s and a rest, in ticks; both are whole numbers below 2⁴⁰ (as t < 2²⁰ s), of which a float
    adds 2¹³ without rounding.
    """
    coarse = np.floor(times * 2.0**20)
    rest = np.rint((times - coarse * 2.0**-20) * 2.0**60)
    return (int(coarse.sum()) << 40) + int(rest.sum())
