"""A validation case: measured rows, a scenario that simulates them, and what their baseline fixes. Frozen data, no code per case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from simvirt.evidence import dimension_of_unit
from simvirt.units import DIMENSIONS

__all__ = ["Calibration", "Case", "Condition", "Fix", "Level", "MeasuredRow", "Measurement", "Missing", "Role", "Scoring", "Selection"]

Level = str | float
"""What a condition column says in one row: a word, or a number."""


class Scoring(StrEnum):
    """What the error of a row compares."""

    ABSOLUTE = "absolute"
    """Predicted over measured, less 1."""
    RATIO = "ratio"
    """The same of the row's ratio to the baseline row of its conditions, predicted over measured, less 1."""
    ORDER = "order"
    """No error: only which of two platforms is ahead."""


class Role(StrEnum):
    """What a row is used for; never both."""

    CALIBRATION = "calibration"
    """It set something: reproduced as a check, not scored."""
    VALIDATION = "validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Rows told by their conditions and metric: column → the levels that it may have, or the least and the greatest number."""

    levels: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def holds(self, conditions: Mapping[str, Level]) -> bool:
        """Whether a row with these conditions is meant."""
        named = all(conditions.get(column) in allowed for column, allowed in self.levels.items())
        return named and all(low <= float(conditions[column]) <= high for column, (low, high) in self.ranges.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A column of the rows and what it does to the scenario: entries (dotted paths) and their values, by level."""

    column: str
    entry: str = ""
    """The entry that takes the level itself; empty where `levels` say what is set."""
    levels: Mapping[Level, Mapping[str, Any]] = field(default_factory=dict)
    """Level → entry → value."""

    def entries(self, level: Level) -> Mapping[str, Any] | None:
        """The entries of the scenario that a level sets; None if the case does not say."""
        if level in self.levels:
            return self.levels[level]
        if self.entry:
            whole = isinstance(level, float) and level.is_integer()
            return {self.entry: int(level) if whole else level}
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """How a measured metric is predicted: a number of the simulation, or of the path of a request, times a factor."""

    of: str
    """A metric of the catalog; `interval_s`, 1 / throughput; `path_cpu_s`, `path_caller_s` or `path_caller_per_s` (1 / path_caller_s), of a
    request that wakes nobody; empty where nothing is predicted."""
    entity: str = ""
    """Whose metric, such as `instance/kvm`; the first group of tenants unless given."""
    scale: float = 1.0
    """Predicted in SI units = scale * the number."""
    layers: tuple[str, ...] = ()
    """Of a path, only what these layers charge."""

    @property
    def is_exact(self) -> bool:
        """Whether it comes from the path, without a simulation."""
        return self.of.startswith("path_")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """One published number."""

    source_key: str
    place: str
    conditions: Mapping[str, Level]
    """Column → level, the platform among them, in the order of the file."""
    metric: str
    unit: str
    value: float
    """In `unit`."""
    provenance: str

    @property
    def platform(self) -> str:
        """As the source names it."""
        return str(self.conditions["platform"])

    @property
    def described(self) -> Mapping[str, Level]:
        """Its conditions and its metric, by which it can be selected."""
        return {**self.conditions, "metric": self.metric}

    @property
    def si(self) -> float:
        """Its value in SI units."""
        dimension = dimension_of_unit(self.unit)
        assert dimension is not None
        return self.value * DIMENSIONS[dimension][self.unit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A number of the scenario that measured rows set.

    It is solved so that the mean of the predictions of `rows` is the mean of what was measured, or, by least squares, so that the sum of
    squared logarithms of predicted over measured is least. The same for all rows, or anew for each combination of levels of the columns in
    `per`. Fixes are solved in order, each with the ones before in force.
    """

    number: str
    """An entry of the scenario: `tenants.0.load.think.mean`, or `override.` and the path of a number with evidence."""
    low: float
    high: float
    """It is looked for between these, which a fix never leaves."""
    unit: str
    rows: Selection
    metric: str
    measured_by: Measurement
    least_squares: bool = False
    per: tuple[str, ...] = ()
    applies: Selection = Selection()
    """The rows for whose scenarios it is in force."""
    also: tuple[str, ...] = ()
    """Further entries that have the same value."""

    def entries(self, number: float) -> dict[str, str | float]:
        """The number as the scenario takes it, text with its unit, in every entry that has it."""
        return dict.fromkeys((self.number, *self.also), f"{float(number)!r} {self.unit}" if self.unit else float(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Rows that set a constant of the profiles, or are otherwise known to it: checked, never scored."""

    rows: Selection
    why: str
    sets: tuple[str, ...] = ()
    """The numbers of the profiles (`layer.field`) that cite this study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Rows that cannot be simulated, and the mechanism that is missing: listed without a prediction."""

    rows: Selection
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Measured rows of one table and how they are predicted."""

    name: str
    title: str
    about: str
    study: tuple[str, ...]
    """Every key under which the study is known: its rows may set a number of the profiles under any of them."""
    scoring: Scoring
    ties: float
    """Two platforms whose measured values differ by no more than this share have no order."""
    scenario: Mapping[str, Any]
    requests: float | None
    """Length of a run in requests, at the throughput of the baseline row; None if the scenario says a duration."""
    conditions: Mapping[str, Condition]
    metrics: Mapping[str, Measurement]
    baseline: Mapping[str, Level]
    """Column → level of the rows that the others are measured against; empty if there are none."""
    fixes: tuple[Fix, ...]
    calibrations: tuple[Calibration, ...]
    missing: tuple[Missing, ...]
    misses: tuple[str, ...]
    """What the model lacks where it misses."""
    rows: tuple[MeasuredRow, ...]
    profiles: tuple[Path, ...]
    """Folders of further profiles."""

    def is_baseline(self, conditions: Mapping[str, Level]) -> bool:
        return bool(self.baseline) and all(conditions[column] == level for column, level in self.baseline.items())

    def baseline_of(self, row: MeasuredRow) -> MeasuredRow | None:
        """The row of the same metric whose conditions are the same but for the baseline's columns."""
        if not self.baseline:
            return None
        wanted = {**row.conditions, **self.baseline}
        return next((one for one in self.rows if one.metric == row.metric and one.conditions == wanted), None)

    def why_missing(self, row: MeasuredRow) -> str:
        """The reason why a row has no prediction; empty if it has one."""
        return next((one.why for one in self.missing if one.rows.holds(row.described)), "")

    def role(self, row: MeasuredRow) -> Role:
        """Calibration for baselines, for rows that a fix is solved on, and for rows that the case says set a constant."""
        fixed = any(fix.metric == row.metric and fix.rows.holds(row.conditions) for fix in self.fixes)
        known = any(calibration.rows.holds(row.described) for calibration in self.calibrations)
        return Role.CALIBRATION if fixed or known or self.is_baseline(row.conditions) else Role.VALIDATION

    def rate_per_s(self, conditions: Mapping[str, Level]) -> float | None:
        """Requests per second of the baseline row of these conditions; None if there is none that says it."""
        wanted = {**conditions, **self.baseline}
        rows = (row for row in self.rows if row.conditions == wanted and self.metrics[row.metric].of == "throughput_per_s")
        return next((row.si / self.metrics[row.metric].scale for row in rows), None)
