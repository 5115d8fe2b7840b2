"""Builds CPU schedulers from the tables of their profiles; every mistake in a profile is reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, TypeVar, get_type_hints

from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Cost, Reference
from simvirt.profile_reader import build_cost, override_entries
from simvirt.resources.cpu.scheduling import Scheduling, kinds_of_rules

__all__ = ["FLUID", "build_scheduling"]

Problems = list[str]
Table = Mapping[str, Any]
T = TypeVar("T")

FLUID: Final = "fluid"
"""What a profile of a scheduler without rules says in place of them."""


def build_scheduling(
    name: str, table: dict[str, Any], references: Mapping[str, Reference], overrides: Mapping[str, float | str] | None = None
) -> Scheduling:
    """A scheduler: every parameter of its rules is a number with evidence; overrides name them as `scheduler.parameter`."""
    path = f"schedulers/{name}"
    kinds = kinds_of_rules()
    rules = table.pop("rules", None)
    summary = str(table.pop("summary", ""))
    if rules == FLUID:
        stray = sorted({*table, *(overrides or {})})
        if stray:
            raise CatalogError([f"{path}: {entry}; fluid sharing has no parameters, remove it" for entry in stray])
        return Scheduling(name=name, summary=summary, rules=None)
    if rules not in kinds:
        raise CatalogError([f"{path}.rules: {rules!r} is unknown; {nearest(str(rules), (*kinds, FLUID))}"])
    problems: Problems = []
    costs = table.pop("cost", {})
    override_entries(dict(_entries(costs, f"{name}.")), overrides or {})
    evidence: list[tuple[str, Cost]] = []
    built = _build_rules(kinds[rules], table, costs, path, references, problems, evidence)
    if problems:
        raise CatalogError(problems)
    return Scheduling(name=name, summary=summary, rules=built, evidence=tuple(evidence))


def _entries(costs: Table, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table that holds a number, by its dotted path."""
    for key, entry in costs.items():
        if isinstance(entry, dict) and "value" in entry:
            yield prefix + key, entry
        elif isinstance(entry, dict):
            yield from _entries(entry, f"{prefix}{key}.")


def _build_rules(
    cls: type[T],
    plain: Table,
    costs: Table,
    path: str,
    references: Mapping[str, Reference],
    problems: Problems,
    evidence: list[tuple[str, Cost]],
    prefix: str = "",
) -> Any:
    """Build rules, or a part of them: numbers come from costs, choices from plain entries."""
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    before = len(problems)
    declared = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    problems += [f"{path}.{key}: a number with evidence; write it under [cost.{prefix}{key}]" for key in plain if hints.get(key) is float]
    for field in declared:
        hint, place = hints[field], f"{path}.{field}"
        if hint is float:
            cost = build_cost(costs.get(field), field, place, references, problems)
            if cost is not None:
                evidence.append((prefix + field, cost))
                values[field] = cost.si
        elif isinstance(hint, type) and is_dataclass(hint):
            values[field] = _build_rules(hint, {}, costs.get(field, {}), place, references, problems, evidence, f"{prefix}{field}.")
        elif field in plain:
            values[field] = plain[field]
        else:
            problems.append(f"{place}: missing; give it a value")
    problems += [f"{path}.{key}: not a parameter; {nearest(key, declared)}" for key in sorted({*plain, *costs} - {*declared})]
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ValueError as error:
        problems.append(f"{path}: {error}")
        return None
