"""Builds orchestrators, balancers and monitoring from the tables of their profiles; every mistake at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, TypeVar, get_type_hints

from simvirt.cluster.policy import (
    WORDS,
    Alerting,
    Autoscaling,
    Checks,
    Ejection,
    Endpoints,
    Lease,
    MachineRestart,
    Policy,
    Probe,
    Restart,
    Runtime,
    Update,
)
from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Cost, Reference
from simvirt.profile_reader import build_cost

__all__ = ["FOLDER", "OrchestratorProfile", "build_orchestrator"]

FOLDER: Final = "orchestrators"

T = TypeVar("T")

_TABLES: Final[Mapping[str, type]] = {
    "runtime": Runtime, "probe": Probe, "restart": Restart, "lease": Lease, "endpoints": Endpoints, "update": Update,
    "autoscaling": Autoscaling, "checks": Checks, "ejection": Ejection, "alerting": Alerting, "machines": MachineRestart,
}  # fmt: skip
_OF_POLICY: Final = {field.name for field in fields(Policy)} & set(_TABLES)
_NEEDED: Final = ("runtime", "probe", "restart", "endpoints", "update")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"timing": ("start", "end"), "kind": ("request", "exec")}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorProfile:
    """What a profile says: some of the parts of an orchestrator, or those of a balancer or of monitoring."""

    name: str
    summary: str
    parts: Mapping[str, object]
    words: Mapping[str, str]
    costs: Mapping[str, Cost]
    """Path of every number → its evidence."""

    def part(self, kind: type[T]) -> T | None:
        """The part of this kind, None if the profile has none."""
        return next((one for one in self.parts.values() if isinstance(one, kind)), None)

    def policy(self) -> Policy:
        """The whole orchestrator. Raises CatalogError if this is none."""
        lacks = [table for table in _NEEDED if table not in self.parts]
        missing = [f"{FOLDER}/{self.name}: has no [{table}], so it is no orchestrator; choose another one" for table in lacks]
        if missing:
            raise CatalogError(missing)
        chosen: dict[str, Any] = {name: part for name, part in self.parts.items() if name in _OF_POLICY}
        chosen |= self.words
        return Policy(**chosen)


def build_orchestrator(
    name: str, table: dict[str, Any], references: Mapping[str, Reference], overrides: Mapping[str, float | str] | None = None
) -> OrchestratorProfile:
    """A profile. An override names a number as `table.field` and gives a value, text with a unit, or the word low or high."""
    path = f"{FOLDER}/{name}"
    problems: list[str] = []
    wanted = dict(overrides or {})
    costs: dict[str, Cost] = {}
    parts: dict[str, object] = {}
    words: dict[str, str] = {}
    summary = table.pop("summary", None)
    if not isinstance(summary, str):
        problems.append(f"{path}.summary: missing; give it as text")
    for key, entry in table.items():
        if key in WORDS:
            if entry not in WORDS[key]:
                problems.append(f"{path}.{key}: {entry!r} is none of {', '.join(WORDS[key])}")
            words[key] = str(entry)
        elif key in _TABLES and isinstance(entry, dict):
            part = _part(_TABLES[key], key, entry, path, references, wanted, costs, problems)
            if part is not None:
                parts[key] = part
        else:
            problems.append(f"{path}.{key}: not a part of this profile; {nearest(key, [*_TABLES, *WORDS])}")
    problems += [f"override.{one}: {path} has no such number; {nearest(one, costs)}" for one in sorted(wanted)]
    if problems:
        raise CatalogError(problems)
    return OrchestratorProfile(name=name, summary=str(summary), parts=parts, words=words, costs=costs)


def _part(
    kind: type, name: str, table: Mapping[str, Any], path: str, references: Mapping[str, Reference],
    wanted: dict[str, float | str], costs: dict[str, Cost], problems: list[str],
) -> object | None:  # fmt: skip
    hints = get_type_hints(kind)
    before = len(problems)
    values: dict[str, Any] = {}
    for field in fields(kind):
        entry = table.get(field.name)
        place = f"{path}.{name}.{field.name}"
        if hints[field.name] is str:
            if entry is not None and entry not in _CHOICES[field.name]:
                problems.append(f"{place}: {entry!r} is none of {', '.join(_CHOICES[field.name])}")
            elif entry is not None:
                values[field.name] = entry
        elif entry is not None or field.default is MISSING:
            cost = build_cost(entry, field.name, place, references, problems)
            if cost is not None:
                own = f"{name}.{field.name}"
                cost = cost.chosen(wanted.pop(own)) if own in wanted else cost
                costs[own] = cost
                values[field.name] = round(cost.si) if hints[field.name] is int else cost.si
    problems += [f"{path}.{name}.{key}: not a part of it; {nearest(key, hints)}" for key in sorted(table.keys() - hints.keys())]
    return kind(**values) if len(problems) == before else None
