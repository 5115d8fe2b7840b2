"""Which of several uncertain numbers decides an answer: one at a time from end to end (a tornado), or all together (Sobol indices)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Final

import numpy as np
import numpy.typing as npt

from simvirt.analysis.comparison import paired_difference
from simvirt.analysis.intervals import Interval

__all__ = ["Bar", "Indices", "Range", "sobol", "tornado"]

Vector = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What one number does to a response when it goes to the ends of its range and all others stay."""

    name: str
    at_low: Interval
    """Response at the low end less the response at the value, replications in pairs."""
    at_high: Interval

    @property
    def swing(self) -> float:
        """How far the response moves at most; NaN where it has none at one end (saturation)."""
        if isnan(self.at_low.mean) or isnan(self.at_high.mean):
            return nan
        ends = (0.0, self.at_low.mean, self.at_high.mean)
        return max(ends) - min(ends)

    @property
    def is_told(self) -> bool:
        """Whether at least one end differs from the value by more than chance: its interval does not hold 0, or there is no response."""
        ends = [end for end in (self.at_low, self.at_high) if end.mean != 0.0 or end.half_width > 0.0]
        return any(isnan(end.mean) or not end.contains(0.0) for end in ends)


def tornado(base: npt.ArrayLike, ends: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], confidence: float = 0.95) -> list[Bar]:
    """A bar for each number from the replications at its low and high end, the longest first, those without a response before them.

    All runs share their random numbers, so that a difference is the number's own. One at a time says nothing of what two of them do
    together; `sobol` does.
    """
    bars = [
        Bar(name=name, at_low=paired_difference(low, base, confidence), at_high=paired_difference(high, base, confidence))
        for name, (low, high) in ends.items()
    ]
    return sorted(bars, key=lambda bar: (not isnan(bar.swing), -bar.swing if not isnan(bar.swing) else 0.0, bar.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A number that lies somewhere between two ends, anywhere with the same chance."""

    name: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Indices:
    """Shares of the variance of a response, for one number."""

    name: str
    first: float
    """What goes away, on average, once the number is known."""
    total: float
    """What is left, on average, while only this number is not known: more than `first` where it acts together with others."""


_LEAST_SAMPLES: Final = 2


def sobol(ranges: Sequence[Range], respond: Callable[[Samples], npt.ArrayLike], samples: int, rng: np.random.Generator) -> list[Indices]:
    """First-order and total Sobol indices from samples · (2 + numbers) evaluations, the largest total first.

    `respond` is given points, a row each, and gives a value for each. Points are a Sobol sequence of 2·k dimensions, shifted at random
    modulo 1, its halves being Saltelli's matrices A and B; estimators are those of `scipy.stats.sobol_indices` (Saltelli et al. 2010).
    Numbers are taken as independent. `samples` is best a power of two. Raises ValueError if a response is missing.
    """
    from scipy.stats import qmc, sobol_indices  # noqa: PLC0415 - slow to import

    if samples < _LEAST_SAMPLES or samples & (samples - 1):
        raise ValueError(f"samples: {samples}; a power of two, at least {_LEAST_SAMPLES}")
    k = len(ranges)
    unit = (qmc.Sobol(2 * k, scramble=False).random(samples) + rng.random(2 * k)) % 1.0
    low, high = (np.array([getattr(one, end) for one in ranges]) for end in ("low", "high"))
    a, b = (low + (high - low) * half for half in (unit[:, :k], unit[:, k:]))
    mixed = [np.where(np.arange(k) == i, b, a) for i in range(k)]
    values = np.asarray(respond(np.concatenate([a, b, *mixed])), dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{int(np.count_nonzero(~np.isfinite(values)))} of {values.size} points have no response; narrow the ranges")
    f = values.reshape(2 + k, 1, samples)
    if np.ptp(values) == 0.0:
        return [Indices(name=one.name, first=0.0, total=0.0) for one in ranges]
    found = sobol_indices(func={"f_A": f[0], "f_B": f[1], "f_AB": f[2:]}, n=samples)
    shares = zip(ranges, np.ravel(found.first_order), np.ravel(found.total_order), strict=True)
    return sorted((Indices(name=r.name, first=float(s), total=float(t)) for r, s, t in shares), key=lambda i: (-i.total, i.name))
