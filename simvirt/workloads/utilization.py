"""Recorded CPU demand of machines: one series per machine, and all of them on a common grid of slots."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Series", "UtilizationTrace"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """What one machine used: `used_cores[i]` on average from `start_s[i]` for `duration_s[i]` seconds.

    Samples are in order of time and do not overlap; between them may be gaps, in which nothing is known. A zero is a machine that was idle.
    """

    name: str
    vcpus: float
    """Cores that it was given."""
    start_s: Floats
    duration_s: Floats
    used_cores: Floats

    @property
    def mean_cores(self) -> float:
        """Average over the time that is known."""
        return float(np.average(self.used_cores, weights=self.duration_s))

    @property
    def gaps(self) -> int:
        """Samples that are followed by a time of which nothing is known."""
        return int(np.sum(self.start_s[1:] > self._ends_s[:-1] + _CLOCK_S))

    @property
    def over_capacity(self) -> int:
        """Samples above what the machine was given: kept as they are, as measuring is no more exact than that."""
        return int(np.sum(self.used_cores > self.vcpus * (1 + _ROUNDING)))

    @property
    def _ends_s(self) -> Floats:
        return self.start_s + self.duration_s

    def without_longer_than(self, longest_s: float) -> Series:
        """Without samples that stand for more time than that: polls were missed and nobody knows what happened."""
        keep = self.duration_s <= longest_s
        return Series(self.name, self.vcpus, self.start_s[keep], self.duration_s[keep], self.used_cores[keep])

    def averaged(self, edges_s: Floats) -> Floats:
        """Cores used on average between neighbouring edges; NaN where less than half of that time is known."""
        times_s = np.column_stack((self.start_s, self._ends_s)).ravel()
        known_s = np.repeat(np.concatenate(([0.0], np.cumsum(self.duration_s))), 2)[1:-1]
        used_s = np.repeat(np.concatenate(([0.0], np.cumsum(self.duration_s * self.used_cores))), 2)[1:-1]
        known = np.diff(np.interp(edges_s, times_s, known_s))
        used = np.diff(np.interp(edges_s, times_s, used_s))
        enough = known >= 0.5 * np.diff(edges_s)
        return np.where(enough, used / np.where(enough, known, 1.0), np.nan)


_ROUNDING_S: Final = 1e-6
_CLOCK_S: Final = 1.0
"""Recordings note whole seconds: what is no longer is no gap."""
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class UtilizationTrace:
    """The machines of one recording, in order of name."""

    series: tuple[Series, ...]
    form: str
    """How it was written down, in words."""

    def __post_init__(self) -> None:
        assert [one.name for one in self.series] == sorted({one.name for one in self.series})

    @cached_property
    def _span(self) -> _Grid:
        return _Grid(min(one.start_s[0] for one in self.series), max(one._ends_s[-1] for one in self.series))

    def slots(self, step_s: float = 300.0, longest_s: float = np.inf) -> Floats:
        """Demand in cores of each machine (rows) in each slot of `step_s` seconds (columns).

        NaN where nothing is known: samples longer than `longest_s` say nothing. Slots begin with the first sample of the recording; what is
        left of the last one is dropped.
        """
        span = self._span
        count = int((span.end_s - span.start_s) / step_s + _ROUNDING_S)
        edges_s = span.start_s + step_s * np.arange(count + 1, dtype=np.float64)
        rows = []
        for one in self.series:
            known = one.without_longer_than(longest_s)
            rows.append(known.averaged(edges_s) if len(known.start_s) else np.full(count, np.nan))
        return np.array(rows)

    @property
    def vcpus(self) -> Floats:
        """Cores that each machine was given."""
        return np.array([one.vcpus for one in self.series])

    def report(self) -> list[str]:
        """What is in it and what was made of what is odd, one line each."""
        samples = sum(len(one.start_s) for one in self.series)
        span = self._span
        mean = sum(one.mean_cores for one in self.series) / float(self.vcpus.sum())
        idle = sum(int(np.sum(one.used_cores == 0)) for one in self.series)
        gaps, over = sum(one.gaps for one in self.series), sum(one.over_capacity for one in self.series)
        odd = [name for name in (one.name for one in self.series) if name != name.strip() or " " in name]
        hours = (span.end_s - span.start_s) / 3600
        lines = [
            f"{self.form}: {len(self.series)} machines, {self.vcpus.sum():g} virtual processors, {samples} samples over {hours:.4g} h",
            f"demand: {100 * mean:.3g} % of what the machines were given",
            f"zeros: {idle} samples; the machine was idle, its series goes on",
        ]
        if gaps:
            lines.append(f"gaps: {gaps}; nothing is known of them and nothing is filled in")
        if over:
            lines.append(f"above capacity: {over} samples; kept as they are")
        if odd:
            lines.append(f"names with blanks: {len(odd)}; kept as they are")
        return lines
