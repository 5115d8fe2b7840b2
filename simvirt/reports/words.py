"""Numbers and intervals in words: `1.23 times (1.20 to 1.26)`, `4.5 ms`; what was not measured is a dash."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import floor, isfinite, isnan, log10
from typing import Final

from simvirt.units import format_quantity

__all__ = [
    "MISSING",
    "brief",
    "by_value",
    "ends",
    "is_missing",
    "level_text",
    "listed",
    "micro",
    "number",
    "per_cent",
    "quantity",
    "scores_in_words",
    "times",
]

MISSING: Final = "–"

_DIMENSIONS: Final[Mapping[str, str]] = {"s": "time", "1/s": "rate", "B": "size", "B/s": "bandwidth", "Hz": "frequency"}
_MICRO: Final = re.compile(r"(?<=\d )us\b")
_SHOWN: Final = 8
"""Names that a sentence lists before it counts the rest."""


def number(value: float, digits: int = 3) -> str:
    """As many significant digits as asked for, thousands apart, no powers of ten between a thousandth and a billion."""
    if isnan(value):
        return MISSING
    if value == 0 or not isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    return f"{value:,.{decimals}f}" if 1e-3 <= abs(value) < 1e9 else f"{value:.{digits - 1}e}"


def quantity(value: float, unit: str) -> str:
    """A value of a metric in the unit that suits it."""
    if isnan(value):
        return MISSING
    if unit in _DIMENSIONS:
        return micro(format_quantity(value, _DIMENSIONS[unit]))
    return number(value) if unit == "1" else f"{number(value)} {unit}"


def brief(value: float, unit: str) -> str:
    """A quantity to three digits, for sentences."""
    return quantity(float(f"{value:.3g}"), unit)


def micro(text: str) -> str:
    """A text whose microseconds are written with the sign that people read."""
    return _MICRO.sub("µs", text)


def times(mean: float, low: float, high: float) -> str:
    """A ratio with its interval, with so many decimals that the interval can be seen, four at most."""
    spread = high - low
    if isnan(mean) or isnan(spread):
        return f"{number(mean)} times"
    decimals = min(4, max(2 if mean < 10 else 1, 1 - floor(log10(spread)) if spread > 0 else 0))
    return f"{mean:,.{decimals}f} times ({low:,.{decimals}f} to {high:,.{decimals}f})"


def level_text(level: object) -> str:
    """A level of a factor: whole numbers whole, others to four digits, names as they are."""
    if not isinstance(level, float):
        return str(level)
    return f"{level:,.0f}" if level.is_integer() else f"{level:,.4g}"


def is_missing(level: object) -> bool:
    """Whether a cell says nothing."""
    return level is None or (isinstance(level, float) and isnan(level))


def per_cent(share: float) -> str:
    """A share: `12 %`, `1.3 %`."""
    return MISSING if isnan(share) else f"{number(100 * share, 2 if abs(share) < 1 else 3)} %"


def listed(names: Sequence[str], shown: int = _SHOWN) -> str:
    """Names with commas, the last with `and`; of very many, the first and the number of the rest."""
    if len(names) > shown + 1:
        return f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def by_value(values: Mapping[str, float], tell: Callable[[float], str]) -> str:
    """What is told of each value, lowest first and missing ones last, with the names that share it: `33 (a), 40 (b and c)`."""
    names: dict[str, list[str]] = {}
    for name in sorted(values, key=lambda one: (isnan(values[one]), values[one])):
        names.setdefault(tell(values[name]), []).append(name)
    return ", ".join(f"{told} ({listed(mine)})" for told, mine in names.items())


def ends(values: Mapping[str, float], tell: Callable[[float], str]) -> str:
    """The lowest and the highest value with their names: `2 s (a) to 5 s (b)`; one number where both read alike."""
    there = {name: value for name, value in values.items() if not isnan(value)}
    if not there:
        return MISSING
    first, last = tell(min(there.values())), tell(max(there.values()))
    lowest, highest = (listed([name for name, value in there.items() if tell(value) == end]) for end in (first, last))
    return first if first == last else f"{first} ({lowest}) to {last} ({highest})"


def scores_in_words(points: int, median: float, largest: float) -> str:
    """How far predictions are off; nothing is said of what was not scored."""
    return f"{points} published values predicted: median error {per_cent(median)}, largest {per_cent(largest)}"
