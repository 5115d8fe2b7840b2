"""Numbers that arrive with their evidence.

Every cost in a profile says its value, unit, range, source, place in the source and grade. A cost without them cannot be made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal

from simvirt.errors import CatalogError, UnitError, nearest
from simvirt.markup import html_table
from simvirt.units import DIMENSIONS, format_quantity, parse_quantity

__all__ = ["Choice", "Cost", "Grade", "Reference", "dimension_of_field", "dimension_of_unit", "in_unit"]


class Grade(StrEnum):
    """How much a number can be trusted."""

    MEASURED = "measured"
    """Read in the source as a measurement of this mechanism."""
    DERIVED = "derived"
    """Arithmetic on measured numbers; `derivation` shows it."""
    ASSUMED = "assumed"
    """No measurement behind it; the range is wide on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A publication that numbers are taken from."""

    key: str
    title: str
    year: int
    url: str = ""
    how_read: str = ""
    """Whether the figure was read in the source, in a transcription, or recalled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A named part of a real system, with the evidence that the system has it."""

    value: str
    source: str
    where: str
    grade: Grade


_PER_CYCLE: Final = {"cycles": "time", "cycles_per_byte": "time_per_byte"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One number of a mechanism with its evidence.

    `value`, `low` and `high` are in `unit`. Work that a CPU does scales with its clock, so it is kept in cycles: either the unit says so,
    or the unit is a time and `clock_hz` is the clock of the machine on which it was measured. `on(clock_hz)` turns either into seconds on
    another machine: seconds = cycles / clock_hz. A time without `clock_hz` (a wire, a device, a timer) stays as it is.

    Raises CatalogError with every defect: no source, no grade, a range that does not hold the value, an unknown unit.
    """

    value: float
    unit: str
    low: float
    high: float
    source: str
    where: str
    grade: Grade
    clock_hz: float | None = None
    derivation: str = ""
    path: str = "cost"
    """Where the number stands, for messages and listings: `layer.field`."""

    def __post_init__(self) -> None:
        problems = []
        if dimension_of_unit(self.unit) is None:
            known = [u for units in DIMENSIONS.values() for u in units]
            problems.append(f"{self.path}.unit: {self.unit!r} is not a unit; {nearest(self.unit, known)}")
        if not all(map(math.isfinite, (self.value, self.low, self.high))):
            problems.append(f"{self.path}: value {self.value}, low {self.low}, high {self.high} must be finite")
        elif not self.low <= self.value <= self.high:
            problems.append(f"{self.path}: value {self.value} lies outside its range {self.low} to {self.high} {self.unit}")
        elif self.low < 0:
            problems.append(f"{self.path}.low: {self.low} {self.unit} is negative; at least 0")
        if not self.source.strip() or not self.where.strip():
            problems.append(f"{self.path}: a cost needs a source (a key of references.toml) and where in it the number stands")
        if self.grade is Grade.DERIVED and not self.derivation.strip():
            problems.append(f"{self.path}: a derived cost shows its arithmetic in `derivation`")
        if self.clock_hz is not None and (dimension_of_unit(self.unit) not in ("time", "time_per_byte") or not self.clock_hz > 0):
            problems.append(f"{self.path}.clock_hz: {self.clock_hz} only goes with a unit of time and must be positive")
        if problems:
            raise CatalogError(problems)

    @property
    def dimension(self) -> str:
        """What the number measures once it is resolved on a machine."""
        dimension = dimension_of_unit(self.unit)
        assert dimension is not None
        return _PER_CYCLE.get(dimension, dimension)

    @property
    def si(self) -> float:
        """The value in SI units; for cycles, the number of cycles."""
        dimension = dimension_of_unit(self.unit)
        assert dimension is not None
        return self.value * DIMENSIONS[dimension][self.unit]

    def on(self, clock_hz: float) -> Cost:
        """The same cost on a machine with this clock: cycles become seconds."""
        own = dimension_of_unit(self.unit)
        if own == "cycles":
            return self._in("s", DIMENSIONS[own][self.unit] / clock_hz)
        if own == "cycles_per_byte":
            return self._in("s/B", 1.0 / clock_hz)
        if self.clock_hz is not None:
            assert own is not None
            unit = "s" if own == "time" else "s/B"
            return self._in(unit, DIMENSIONS[own][self.unit] * self.clock_hz / clock_hz)
        return self

    def _in(self, unit: str, factor: float) -> Cost:
        return replace(self, value=self.value * factor, low=self.low * factor, high=self.high * factor, unit=unit, clock_hz=None)

    def chosen(self, wanted: float | str) -> Cost:
        """The same cost as wanted: a number in its own unit, text with a unit, or the word low or high for that end of its range."""
        if wanted in {"low", "high"}:
            return self.at("low" if wanted == "low" else "high")
        return self.overridden(in_unit(wanted, self.unit))

    def at(self, end: Literal["low", "value", "high"]) -> Cost:
        """The same cost with its value moved to one end of its range."""
        return replace(self, value={"low": self.low, "value": self.value, "high": self.high}[end])

    def overridden(self, value: float) -> Cost:
        """The same cost with a value (in its own unit) that somebody chose: graded as assumed, the range stretched to hold it."""
        return replace(
            self,
            value=value,
            low=min(self.low, value),
            high=max(self.high, value),
            grade=Grade.ASSUMED,
            where=f"set by hand to {value:g} {self.unit} (profile: {self.value:g}, {self.where})",
        )

    def __float__(self) -> float:
        return self.si

    def __mul__(self, amount: float) -> float:
        return self.si * amount

    __rmul__ = __mul__

    def __str__(self) -> str:
        dimension = dimension_of_unit(self.unit)
        assert dimension is not None
        return format_quantity(self.si, dimension)

    def _repr_html_(self) -> str:
        dimension = dimension_of_unit(self.unit)
        assert dimension is not None
        low, high = (format_quantity(end * DIMENSIONS[dimension][self.unit], dimension) for end in (self.low, self.high))
        header = ("value", "range", "grade", "source", "where")
        return html_table(self.path, header, [(self, f"{low} to {high}", self.grade, self.source, self.where)])


def in_unit(wanted: float | str, unit: str) -> float:
    """A value in `unit`: from a number in that unit, or from text with any unit that measures the same. Raises UnitError."""
    if not isinstance(wanted, str):
        return float(wanted)
    dimension = dimension_of_unit(unit)
    if dimension is None:
        raise UnitError(f"{unit!r} is not a unit")
    return parse_quantity(wanted, dimension) / DIMENSIONS[dimension][unit]


def dimension_of_unit(unit: str) -> str | None:
    """The dimension that a unit measures, None if it is unknown."""
    return next((dimension for dimension, units in DIMENSIONS.items() if unit in units), None)


_SUFFIXES: Final = (
    ("_s_per_byte", ("time_per_byte", "cycles_per_byte")),
    ("_bytes_per_s", ("bandwidth",)),
    ("_per_s", ("rate",)),
    ("hz", ("frequency",)),
    ("_bytes", ("size",)),
    ("_s", ("time", "cycles")),
    ("_w", ("power",)),
)


def dimension_of_field(name: str) -> tuple[str, ...]:
    """The dimensions that a field may have, told by its suffix: `exit_s` is a time or cycles, `cores` a number."""
    return next((dimensions for suffix, dimensions in _SUFFIXES if name.endswith(suffix)), ("number",))
