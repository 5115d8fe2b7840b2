"""Units at the door: text such as "64 GiB" or "12 us" becomes a float in SI units, once.

Inside simvirt everything is seconds, bytes, hertz, cycles, watts; names carry the unit as a suffix.
"""

from __future__ import annotations

import math
import re
from typing import Final

from simvirt.errors import UnitError, nearest

__all__ = ["DIMENSIONS", "format_quantity", "parse_quantity", "split_quantity"]

_SI: Final = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BINARY: Final = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def _table() -> dict[str, dict[str, float]]:
    seconds = {p + "s": f for p, f in _SI.items() if f <= 1} | {"min": 60.0, "h": 3600.0, "d": 86400.0}
    size = {p + "B": f for p, f in (_SI | _BINARY).items() if f >= 1} | {"kb": 1e3, "byte": 1.0, "bytes": 1.0}
    bandwidth = {unit + "/s": factor for unit, factor in size.items()}
    bandwidth |= {p + "bit/s": f / 8 for p, f in _SI.items() if f >= 1} | {p + "b/s": f / 8 for p, f in _SI.items() if f >= 1}
    return {
        "time": seconds,
        "size": size,
        "bandwidth": bandwidth,
        "frequency": {p + "Hz": f for p, f in _SI.items() if f >= 1},
        "rate": {p + "/s": f for p, f in _SI.items() if f >= 1} | {"IOPS": 1.0, "kIOPS": 1e3, "pps": 1.0, "Mpps": 1e6},
        "cycles": {"cycles": 1.0, "kcycles": 1e3},
        "cycles_per_byte": {"cycles/B": 1.0},
        "time_per_byte": {p + "s/B": f for p, f in _SI.items() if f <= 1},
        "number": {"": 1.0, "x": 1.0, "%": 0.01, "cores": 1.0, "count": 1.0},
        "power": {p + "W": f for p, f in _SI.items() if f >= 1e-3},
    }


DIMENSIONS: Final = _table()
"""Dimension → unit → factor to SI."""

_QUANTITY: Final = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*")


def parse_quantity(text: str | float | int, dimension: str) -> float:
    """Read a quantity of the given dimension as a float in SI units; a bare number is already SI.

    Raises UnitError naming what was read, what was wanted and the units that would do.
    """
    units = DIMENSIONS[dimension]
    if isinstance(text, bool):
        raise UnitError(f"{text!r} is not a {dimension}")
    if isinstance(text, int | float):
        try:
            value, unit = float(text), ""
        except OverflowError:
            raise UnitError(f"a whole number of {len(str(abs(text)))} digits is not a finite {dimension}") from None
        factor = 1.0
    else:
        match = _QUANTITY.fullmatch(text)
        if match is None:
            raise UnitError(f"{text!r} is not a {dimension}: write a number and a unit, such as '3 {_example(dimension)}'")
        value, unit = float(match[1]), match[2]
        if unit and unit not in units:
            other = next((d for d, us in DIMENSIONS.items() if unit in us), None)
            reason = f"{unit!r} measures {other}" if other else f"{unit!r} is not a unit; {nearest(unit, units)}"
            raise UnitError(f"{text!r} is not a {dimension}: {reason}; use one of {', '.join(u for u in units if u)}")
        factor = units.get(unit, 1.0)
    if not math.isfinite(value):
        raise UnitError(f"{text!r} is not a finite {dimension}")
    return value * factor


def split_quantity(text: str | float) -> tuple[float, str]:
    """A number and its unit as written, `""` if there is none. Raises UnitError."""
    if not isinstance(text, str):
        return float(text), ""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(f"{text!r} is not a quantity: write a number and a unit, such as '3 us'")
    if not any(match[2] in units for units in DIMENSIONS.values()):
        raise UnitError(f"{text!r}: {match[2]!r} is not a unit; {nearest(match[2], [u for units in DIMENSIONS.values() for u in units])}")
    return float(match[1]), match[2]


def _example(dimension: str) -> str:
    return {"time": "ms", "size": "GiB", "bandwidth": "Gbit/s", "frequency": "GHz"}.get(dimension, next(iter(DIMENSIONS[dimension])))


def format_quantity(value: float, dimension: str) -> str:
    """Write an SI value with a unit that a person reads easily: 1.2e-05 s becomes "12 us"."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}" + (" s" if dimension == "time" else "")
    ladder = _LADDERS.get(dimension)
    if ladder is None:
        unit = next((u for u, f in DIMENSIONS[dimension].items() if f == 1.0), "")
        return f"{value:.4g} {unit}".strip()
    factors = DIMENSIONS[dimension]
    unit = next((u for u in ladder if abs(value) >= factors[u] * 0.9995), ladder[-1])
    return f"{value / factors[unit]:.4g} {unit}"


_LADDERS: Final = {
    "time": ("s", "ms", "us", "ns"),
    "size": ("TiB", "GiB", "MiB", "KiB", "B"),
    "bandwidth": ("Gbit/s", "Mbit/s", "kbit/s"),
    "frequency": ("GHz", "MHz", "Hz"),
    "rate": ("M/s", "k/s", "/s"),
}
