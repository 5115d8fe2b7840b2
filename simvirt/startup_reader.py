"""Builds what starts of layers and workloads are made of from the table `start` of their profiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, get_type_hints

from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Cost, Reference
from simvirt.profile_reader import build_cost, override_entries
from simvirt.startup.stage import FRESH, AbstractStage, LayerStart, Program, Requests, Section

__all__ = ["START_TABLE", "build_start", "is_start_path", "strange_starts"]

START_TABLE: Final = "start"
"""The table of a profile that speaks of starting."""
_STAGES: Final = "stage"
_ABOVE: Final = "above"

_KINDS: Final[Mapping[str, type[AbstractStage]]] = {kind.kind: kind for kind in (Program, Section, Requests)}


def is_start_path(path: str) -> bool:
    """Whether an override is meant for a number of a start: `layer.start.stage.field`."""
    return path.split(".")[1:2] == [START_TABLE]


def strange_starts(overrides: Iterable[str], known: Sequence[str]) -> list[str]:
    """What is wrong with overrides that are meant for starts of what is not there, `known` being the names of all that is."""
    paths = [path for path in sorted(overrides) if is_start_path(path) and path.partition(".")[0] not in known]
    return [f"override.{path}: {path.partition('.')[0]!r} starts nothing here; {nearest(path.partition('.')[0], known)}" for path in paths]


def build_start(path: str, name: str, table: Any, references: Mapping[str, Reference], overrides: Mapping[str, float | str]) -> LayerStart:
    """Read the table of one profile. `path` is where it stands, for messages. Raises CatalogError with every mistake."""
    if not isinstance(table, Mapping):
        raise CatalogError([f"{path}: {table!r}; must be a table with ways and stages"])
    tables = table.get(_STAGES, {})
    if not isinstance(tables, Mapping) or not all(isinstance(entry, Mapping) for entry in tables.values()):
        raise CatalogError([f"{path}.{_STAGES}: must be a table of stages, such as [{START_TABLE}.{_STAGES}.boot]"])
    override_entries(_places(name, tables), overrides)
    problems: list[str] = []
    stages = {key: _stage(f"{path}.{_STAGES}.{key}", key, entry, references, problems) for key, entry in tables.items()}
    ways = {way: _way(f"{path}.{way}", order, tables, problems) for way, order in table.items() if way not in (_STAGES, _ABOVE)}
    above = table.get(_ABOVE, FRESH)
    if not isinstance(above, str):
        problems.append(f"{path}.{_ABOVE}: {above!r}; must be the name of a way, in quotes")
    if problems:
        raise CatalogError(problems)
    return LayerStart(stages={key: stage for key, stage in stages.items() if stage is not None}, ways=ways, above=above)


def _places(name: str, tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every number of the stages by the path that overrides use."""
    return {
        f"{name}.{START_TABLE}.{stage}.{field}": entry
        for stage, entries in tables.items()
        for field, entry in entries.items()
        if isinstance(entry, dict)
    }


def _way(path: str, order: Any, tables: Mapping[str, Any], problems: list[str]) -> tuple[str, ...]:
    if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
        problems.append(f"{path}: {order!r}; must be a list of names of stages, in their order")
        return ()
    problems += [f"{path}: {name!r} is no stage; {nearest(name, tables)}" for name in order if name not in tables]
    return tuple(order)


def _stage(
    path: str, name: str, table: Mapping[str, Any], references: Mapping[str, Reference], problems: list[str]
) -> AbstractStage | None:
    """One stage: what it is on, words, and numbers with evidence."""
    kind = _KINDS.get(str(table.get("on")))
    if kind is None:
        problems.append(f"{path}.on: {table.get('on')!r} is no resource; {nearest(str(table.get('on')), _KINDS)}")
        return None
    before = len(problems)
    hints = get_type_hints(kind)
    declared = [f.name for f in fields(kind) if f.name != "name"]  # type: ignore[arg-type]
    problems += [f"{path}.{key}: not a part of such a stage; {nearest(key, declared)}" for key in sorted(table.keys() - {*declared, "on"})]
    values: dict[str, Any] = {"name": name, **dict(_values(path, table, hints, declared, references, problems))}
    return kind(**values) if len(problems) == before else None


def _values(
    path: str,
    table: Mapping[str, Any],
    hints: Mapping[str, Any],
    declared: list[str],
    references: Mapping[str, Reference],
    problems: list[str],
) -> Iterator[tuple[str, Any]]:
    """Each field that the stage has: a word, or a number with evidence."""
    for field in declared:
        if hints[field] is str:
            if not isinstance(table.get(field), str) or not table[field].strip():
                problems.append(f"{path}.{field}: {table.get(field)!r}; must be a name, in quotes")
            else:
                yield field, table[field]
        elif hints[field] is Cost or field in table:
            yield field, build_cost(table.get(field), field, f"{path}.{field}", references, problems)
