"""The scenario of one condition: the case's template with the entries that the condition and the solved numbers set."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from math import isnan
from typing import Any, Final

from simvirt.validation.case import Case, Level

__all__ = ["Solutions", "put", "scenario_document", "solved_entries", "unreached"]

Solutions = Mapping[tuple[int, tuple[Level, ...]], float]
"""Index of a fix and the levels of its `per` columns → its number; not a number where the baseline cannot be reached."""

_OVERRIDE: Final = "override."


def scenario_document(case: Case, conditions: Mapping[str, Level], entries: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a scenario for `load_scenario`. `entries` come last and win."""
    document = deepcopy(dict(case.scenario))
    document.setdefault("name", case.name)
    for column, level in conditions.items():
        for entry, value in (case.conditions[column].entries(level) or {}).items():
            put(document, entry, value)
    for entry, value in entries.items():
        put(document, entry, value)
    rate_per_s = case.rate_per_s(conditions)
    if case.requests is not None and rate_per_s:
        put(document, "run.duration_s", case.requests / rate_per_s)
    return document


def solved_entries(case: Case, conditions: Mapping[str, Level], solutions: Solutions) -> dict[str, Any]:
    """The entries that the fixes solved so far set in the scenario of a condition."""
    entries: dict[str, Any] = {}
    for i, fix in enumerate(case.fixes):
        found = solutions.get((i, tuple(conditions[column] for column in fix.per)))
        if found is not None and fix.applies.holds(conditions):
            entries |= fix.entries(found)
    return entries


def unreached(case: Case, conditions: Mapping[str, Level], solutions: Solutions) -> list[str]:
    """The numbers that a condition needs and that no fix could find."""
    keys = (((i, tuple(conditions[column] for column in fix.per)), fix) for i, fix in enumerate(case.fixes))
    return [fix.number for key, fix in keys if fix.applies.holds(conditions) and isnan(solutions.get(key, 0.0))]


def put(document: dict[str, Any], entry: str, value: Any) -> None:
    """Set an entry by its dotted path; tables are made where there are none. Raises KeyError for a place that is none."""
    if entry.startswith(_OVERRIDE):
        document.setdefault("override", {})[entry.removeprefix(_OVERRIDE)] = value
        return
    *above, last = entry.split(".")
    place: Any = document
    for step in above:
        if isinstance(place, list):
            place = place[_index(step, place)]
        elif isinstance(place, dict):
            place = place.setdefault(step, {})
    if isinstance(place, list):
        place[_index(last, place)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise KeyError(entry)


def _index(step: str, place: list[Any]) -> int:
    if not step.isdecimal() or int(step) >= len(place):
        raise KeyError(step)
    return int(step)
