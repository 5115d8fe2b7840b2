"""Costs with their evidence, as a table for people and as CSV for programs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from simvirt.commands.tables import table
from simvirt.evidence import Cost, Grade, Reference, dimension_of_unit
from simvirt.units import DIMENSIONS, format_quantity

__all__ = ["cost_table", "costs_as_csv", "grade_count", "source_table"]

NamedCost = tuple[str, Cost]

_CSV: Final = ("of", "cost", "value", "low", "high", "unit", "grade", "source", "where", "derivation")


def cost_table(costs: Iterable[NamedCost]) -> list[str]:
    """Every cost with value, range, unit, grade, source and place."""
    header = ("cost", "value", "range", "unit", "grade", "source", "where")
    return table(header, (_row(name, cost) for name, cost in costs), right=("value",))


def _row(name: str, cost: Cost) -> tuple[str, ...]:
    dimension = dimension_of_unit(cost.unit)
    assert dimension is not None
    units = DIMENSIONS[dimension]
    unit = format_quantity(cost.si or cost.high * units[cost.unit], dimension).partition(" ")[2]
    factor = units[cost.unit] / units.get(unit, 1.0)
    value, low, high = (f"{number * factor:.4g}" for number in (cost.value, cost.low, cost.high))
    where = f"{cost.where}; arithmetic: {cost.derivation}" if cost.derivation else cost.where
    return name, value, f"{low} to {high}", unit, str(cost.grade), cost.source, where


def grade_count(costs: Iterable[Cost]) -> str:
    """How many costs there are of each grade, in words."""
    counts = Counter(cost.grade for cost in costs)
    return f"{counts.total()} costs: " + ", ".join(f"{counts[grade]} {grade}" for grade in Grade)


def source_table(costs: Iterable[Cost], references: Mapping[str, Reference]) -> list[str]:
    """The publications behind costs."""
    used = [references[key] for key in sorted({cost.source for cost in costs})]
    return table(("source", "year", "how read", "title"), ((r.key, str(r.year), r.how_read, r.title) for r in used))


def costs_as_csv(costs: Iterable[tuple[str, str, Cost]]) -> list[str]:
    """The lines of a CSV table of (owner, name, cost), numbers in the unit beside them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV)
    for owner, name, cost in costs:
        numbers = (repr(cost.value), repr(cost.low), repr(cost.high))
        writer.writerow((owner, name, *numbers, cost.unit, cost.grade, cost.source, cost.where, cost.derivation))
    return text.getvalue().splitlines()
