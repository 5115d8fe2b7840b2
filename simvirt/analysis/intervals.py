"""Confidence intervals over independent replications: a number without one is an anecdote.

The unit of evidence is the replication, never the request: requests of one run are correlated, and an interval computed from them as if
they were not covers the truth far too seldom. Not measured is NaN, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "Interval",
    "batch_means_interval",
    "mean_interval",
    "proportion_interval",
    "quantile_interval",
    "replications_needed",
    "student_t_quantile",
]


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval, mean ± half_width, in the unit of what was measured."""

    mean: float
    """The point estimate; NaN when nothing was measured."""
    half_width: float
    """NaN when the spread is unknown, as it is for a single replication."""
    n: int
    """Independent values behind the estimate."""
    confidence: float
    """Probability that such an interval contains the truth."""

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @property
    def relative_half_width(self) -> float:
        """half_width / |mean|; NaN at a mean of zero."""
        return self.half_width / abs(self.mean) if self.mean else math.nan

    def contains(self, value: float) -> bool:
        """Whether `value` lies in the interval; never, if the half-width is unknown."""
        return abs(value - self.mean) <= self.half_width


def mean_interval(values: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent values, one per replication: x̄ ± t(n-1) · s / √n.

    Assumes values that are nearly normal, as means over many requests are. A NaN among the values makes the result NaN: leaving out
    the replications that failed would favour the platform that fails. Law & Kelton, Simulation Modeling and Analysis, §4.5.
    """
    x = _vector(values)
    n = x.size
    mean = float(x.mean()) if n else math.nan
    if n < 2:
        _check_probability("confidence", confidence)
        return Interval(mean, math.nan, n, confidence)
    half_width = student_t_quantile(confidence, n - 1) * float(x.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, half_width, n, confidence)


def batch_means_interval(series: npt.ArrayLike, batches: int = 20, confidence: float = 0.95) -> Interval:
    """Interval of the mean of one long stationary series, from the means of `batches` consecutive batches of equal length.

    The batches must be long against the autocorrelation time (see `warm_up.long_enough`), or they are not independent and the
    interval is too narrow. Observations that do not fill a batch are dropped from the front, where warm-up may linger.
    """
    x = _vector(series)
    if batches < 2:
        raise ValueError(f"batches: {batches}; at least 2, or there is no spread to measure")
    length = x.size // batches
    if length < 1:
        raise ValueError(f"series: {x.size} observations for {batches} batches; at least one each")
    means = x[x.size - batches * length :].reshape(batches, length).mean(axis=1)
    return mean_interval(means, confidence)


def quantile_interval(replications: Iterable[npt.ArrayLike], q: float, confidence: float = 0.95) -> Interval:
    """Interval of the q-quantile: Student's t over one sample quantile per replication.

    Each sample quantile is biased by O(1 / observations), so every replication needs at least 10 / (1 - q) observations;
    with fewer its quantile is NaN, and so is the interval.
    """
    if not 0.0 <= q < 1.0:
        raise ValueError(f"q: {q}; at least 0 and below 1")
    return mean_interval([_sample_quantile(_vector(r), q) for r in replications], confidence)


def _sample_quantile(x: npt.NDArray[np.float64], q: float) -> float:
    enough = x.size * (1.0 - q) >= 10.0 * (1.0 - 1e-9)
    return float(np.quantile(x, q)) if enough else math.nan


def replications_needed(pilot: Interval, relative_half_width: float) -> int:
    """The least n ≥ 2 for which t(n-1) · s / √n ≤ relative_half_width · |mean|, with s and the mean taken from a pilot interval.

    An estimate: a run of that many replications may still miss its mark, so check again and go on.
    """
    if not relative_half_width > 0.0:
        raise ValueError(f"relative_half_width: {relative_half_width}; above 0, such as 0.02 for ± 2 %")
    if not math.isfinite(pilot.half_width) or pilot.mean == 0.0:
        raise ValueError(f"pilot: {pilot.mean} ± {pilot.half_width} over {pilot.n}; needs at least 2 replications and a mean other than 0")
    spread = pilot.half_width * math.sqrt(pilot.n) / student_t_quantile(pilot.confidence, pilot.n - 1)
    target = relative_half_width * abs(pilot.mean)

    def reached(n: int) -> bool:
        return student_t_quantile(pilot.confidence, n - 1) * spread <= target * math.sqrt(n)

    enough = 2
    while not reached(enough):
        enough *= 2
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if reached(middle) else (middle, enough)
    return enough


def proportion_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact (Clopper-Pearson) interval of a probability, from `successes` in `n` trials; it covers at least as often as it says."""
    from scipy.special import betaincinv  # noqa: PLC0415 - slow to import

    _check_probability("confidence", confidence)
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"successes: {successes} of {n}; between 0 and n, with n at least 1")
    tail = (1.0 - confidence) / 2.0
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1.0 - tail)) if successes < n else 1.0
    return low, high


def student_t_quantile(confidence: float, degrees: int) -> float:
    """The t that a Student variable with `degrees` degrees of freedom stays within, on both sides, with probability `confidence`."""
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import, scipy.stats three times as slow

    _check_probability("confidence", confidence)
    return float(stdtrit(degrees, (1.0 + confidence) / 2.0))


def _check_probability(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name}: {value}; above 0 and below 1")


def _vector(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"values: an array of {x.ndim} dimensions; one value per replication or observation makes 1")
    return x
