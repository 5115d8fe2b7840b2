"""Comparing platforms that saw the same arrivals and the same demands: pair by replication, then ask about the difference.

Common random numbers make the two values of a pair rise and fall together; what is left in the difference is the platform's own.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from simvirt.analysis.intervals import Interval, mean_interval, student_t_quantile

__all__ = ["common_numbers_gain", "control_variate_interval", "holm", "paired_difference", "paired_p_value", "paired_ratio"]

Vector = npt.NDArray[np.float64]


def paired_difference(a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of E[a] - E[b] over replications that share their random numbers."""
    x, y = _pairs(a, b)
    return mean_interval(x - y, confidence)


def paired_ratio(a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of E[a] / E[b], such as a slowdown, over replications that share their random numbers.

    The estimate is the ratio of the two sample means r = ā / b̄: not the mean of the ratios, nor exp of the mean of their logarithms, which
    estimate something else. The standard error is the jackknife's, with r₍ᵢ₎ the ratio without pair i and r₍.₎ their mean:

        s² = (n-1)/n · Σ (r₍ᵢ₎ - r₍.₎)²,   half-width = t(n-1) · s.

    The jackknife and not the delta method (the spread of a - r·b over b̄) because the latter forgets that b̄ varies too and comes out too
    narrow when replications are few and skewed: with gamma values of coefficient of variation 0.5, nominal 95 % covers 92.6 against 91.9 %
    at n = 5, 94.4 against 93.8 % at n = 10. Both agree as n grows. Miller, "The jackknife - a review", Biometrika 61 (1974).
    """
    x, y = _pairs(a, b)
    n = x.size
    if np.any(y <= 0.0):
        raise ValueError(f"b: {float(np.nanmin(y))}; a ratio needs denominators above 0")
    if n < 2:
        return Interval(float(x[0] / y[0]) if n else math.nan, math.nan, n, confidence)
    without = (x.sum() - x) / (y.sum() - y)
    standard_error = math.sqrt((n - 1) / n * float(np.sum((without - without.mean()) ** 2)))
    return Interval(float(x.mean() / y.mean()), student_t_quantile(confidence, n - 1) * standard_error, n, confidence)


def control_variate_interval(
    values: npt.ArrayLike, controls: npt.ArrayLike, known_means: npt.ArrayLike, confidence: float = 0.95
) -> Interval:
    """Interval of a mean, sharpened by what the same replications measured of quantities whose mean is known.

    `controls` has one row per replication and one column per control (the mean interarrival time drawn, the mean service time
    drawn). In the regression y = μ + Σ βₖ (cₖ - E[cₖ]) + ε the answer is the intercept μ; its standard error has n - 1 - k
    degrees of freedom.
    Controls that did not vary are left out. Assumes that values and controls are nearly jointly normal.
    Lavenberg & Welch, "A perspective on the use of control variables", Management Science 27 (1981).
    """
    y = np.asarray(values, dtype=np.float64)
    raw = np.asarray(controls, dtype=np.float64)
    columns = raw.reshape(y.size, -1) if raw.shape[:1] == (y.size,) else raw
    means = np.atleast_1d(np.asarray(known_means, dtype=np.float64))
    if y.ndim != 1 or columns.shape != (y.size, means.size):
        raise ValueError(f"controls: shape {raw.shape}; a row for each of {y.size} values, a column for each of {means.size} known means")
    varies = np.ptp(columns, axis=0) != 0.0 if y.size else np.zeros(means.size, dtype=bool)
    design = np.column_stack([np.ones(y.size), (columns - means)[:, varies]])
    degrees = y.size - design.shape[1]
    if degrees < 1 or not (np.isfinite(y).all() and np.isfinite(design).all()):
        return Interval(math.nan, math.nan, y.size, confidence)
    scale = np.abs(design).max(axis=0)  # seconds beside counts: bring the columns to one size before solving
    inverse = np.linalg.pinv(design / scale)
    coefficients = inverse @ y
    residual = y - (design / scale) @ coefficients
    variance = float(residual @ residual) / degrees * float(inverse[0] @ inverse[0])
    return Interval(float(coefficients[0]), student_t_quantile(confidence, degrees) * math.sqrt(variance), y.size, confidence)


def common_numbers_gain(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """How many times the requests that pairs with common random numbers took independent runs would take for a difference as sharp:
    (s²(a) + s²(b)) / s²(a - b). Infinite if every difference is the same, NaN for fewer than two pairs."""
    x, y = _pairs(a, b)
    if x.size < 2:
        return math.nan
    apart = float(x.var(ddof=1) + y.var(ddof=1))
    paired = float((x - y).var(ddof=1))
    return apart / paired if paired > 0.0 else math.inf if paired == 0.0 else math.nan


def paired_p_value(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sided p-value of the paired t test of E[a] = E[b]; NaN for fewer than two pairs, 1 when every pair is equal."""
    from scipy.special import stdtr  # noqa: PLC0415 - slow to import

    x, y = _pairs(a, b)
    difference = x - y
    n = difference.size
    if n < 2:
        return math.nan
    mean, deviation = float(difference.mean()), float(difference.std(ddof=1))
    if deviation == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return 2.0 * float(stdtr(n - 1, -abs(mean) / deviation * math.sqrt(n)))


def holm(p_values: npt.ArrayLike) -> Vector:
    """p-values adjusted for having asked several questions: reject those below α and the chance of any false alarm is at most α.

    With p₍₁₎ ≤ … ≤ p₍ₘ₎ the adjusted value is max over j ≤ i of min(1, (m - j + 1) · p₍ⱼ₎), in the order given. Nothing is assumed
    about dependence. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6 (1979).
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not bool(np.all((p >= 0.0) & (p <= 1.0))):
        raise ValueError(f"p_values: {p}; a flat list of numbers between 0 and 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(p.size, 0, -1) * p[order]))
    return adjusted


def _pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Vector, Vector]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"pairs: shapes {x.shape} and {y.shape}; the same replications of both, one value each")
    return x, y
