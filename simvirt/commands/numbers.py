"""Measured numbers for people: `1.23 ms ± 0.04`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor, isfinite, isnan, log10
from statistics import median
from typing import Final

from simvirt.analysis.intervals import Interval
from simvirt.units import DIMENSIONS, format_quantity

__all__ = ["UNKNOWN", "count_text", "gain_text", "interval_text", "share_text"]

UNKNOWN: Final = "–"
"""What stands for a number that was not measured."""

_MOST_DECIMALS: Final = 6
_ROUNDING: Final = 1e-9
"""Half-width over mean below which the spread is that of rounding."""


def count_text(count: int, noun: str) -> str:
    """A count with its noun: 1 tenant, 2 tenants."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def gain_text(gains: Sequence[float]) -> Iterator[str]:
    """What common random numbers saved in several comparisons, if in any it is known."""
    known = [gain for gain in gains if isfinite(gain)]
    if known:
        spread = f"{_times(min(known))} to {_times(max(known))} times as many requests, {_times(median(known))} at the median"
        yield f"Without common random numbers the same half-widths of differences would have taken {spread}."


def _times(gain: float) -> str:
    return f"{gain:.2g}" if gain < 100 else f"{gain:,.0f}"


def interval_text(interval: Interval, dimension: str) -> str:
    """An interval in SI units, in the unit that suits its mean; the half-width has two significant digits, the mean as many decimals."""
    if isnan(interval.mean):
        return UNKNOWN
    text = format_quantity(interval.mean, dimension)
    unit = text.partition(" ")[2]
    factor = DIMENSIONS[dimension].get(unit, 1.0)
    return _around(interval.mean / factor, interval.half_width / factor, unit) if isfinite(interval.half_width) else text


def share_text(interval: Interval) -> str:
    """An interval of a share, in per cent."""
    if isnan(interval.mean):
        return UNKNOWN
    if not isfinite(interval.half_width):
        return f"{100 * interval.mean:.1f} %"
    return _around(100 * interval.mean, 100 * interval.half_width, "%")


def _around(mean: float, half_width: float, unit: str) -> str:
    if half_width <= _ROUNDING * abs(mean):
        return f"{mean:.4g} {unit}".rstrip() + " ± 0"
    decimals = min(_MOST_DECIMALS, max(0, 1 - floor(log10(half_width))))
    return f"{mean:.{decimals}f} {unit}".rstrip() + f" ± {half_width:.{decimals}f}"
