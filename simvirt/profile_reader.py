"""Builds layers, platforms and workloads from the tables of their profiles; every mistake in a profile is reported at once."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from math import inf
from typing import Any, Final, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

import simvirt.layers
from simvirt import demand as vocabulary
from simvirt.demand import Compute, Demand, Interface, Operation, OsOperation, Receive, Wake
from simvirt.errors import CatalogError, UnitError, nearest
from simvirt.evidence import Choice, Cost, Grade, Reference, dimension_of_field, dimension_of_unit, in_unit
from simvirt.layers.contract import AbstractLayer
from simvirt.markup import html_table
from simvirt.memory_character import MemoryCharacter
from simvirt.workloads.distributions import Distribution
from simvirt.workloads.profile import RequestClass, Workload
from simvirt.workloads.stressor import Stressor

__all__ = [
    "REFERENCE_CLOCK_HZ",
    "Platform",
    "bad_overrides",
    "build_choice",
    "build_cost",
    "build_layer",
    "build_part",
    "build_platform",
    "build_workload",
    "override_amounts",
    "override_entries",
]

REFERENCE_CLOCK_HZ: Final = 2.5e9
"""Clock of the reference core, on which workloads state their compute."""

Problems = list[str]
Table = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A named way of running things: layers above a machine, and which of them tenants share."""

    name: str
    summary: str
    family: str
    """What it is compared as: native, type1, type2, container, container_in_vm, microvm, sandbox, nested."""
    layers: tuple[str, ...]
    """Names of layers above the hardware, lowest first."""
    shared: str
    """The highest layer of which all tenants have one instance together."""
    machine: str
    """The hardware that it is shown on unless another is asked for."""
    variant_of: str = ""
    """The platform of which it differs in one choice (a device, a driver's option), if it does: surveys leave it out."""
    era: str = ""
    """The year that it shows, where that is past: surveys leave it out."""

    @property
    def surveyed(self) -> bool:
        """Whether a survey of platforms includes it."""
        return not (self.variant_of or self.era)

    def _repr_html_(self) -> str:
        header = ("family", "layers, lowest first", "shared by all tenants", "machine")
        return html_table(f"{self.name}: {self.summary}", header, [(self.family, ", ".join(self.layers), self.shared, self.machine)])


FAMILIES: Final = ("native", "type1", "type2", "container", "container_in_vm", "microvm", "sandbox", "nested")


@cache
def _layer_kinds() -> Mapping[str, type[AbstractLayer]]:
    """The final classes of layers by the word that profiles use, found in the modules of `simvirt.layers`."""
    for module in pkgutil.iter_modules(simvirt.layers.__path__):
        importlib.import_module(f"simvirt.layers.{module.name}")
    return {cls.kind: cls for cls in _with_a_word(AbstractLayer.__subclasses__())}


def _with_a_word(classes: Iterable[type[AbstractLayer]]) -> Iterator[type[AbstractLayer]]:
    for cls in classes:
        if "kind" in vars(cls):
            yield cls
        yield from _with_a_word(cls.__subclasses__())


def build_layer(name: str, table: dict[str, Any], path: str, references: Mapping[str, Reference]) -> AbstractLayer:
    problems: Problems = []
    kinds = _layer_kinds()
    kind = table.pop("kind", None)
    if kind not in kinds:
        raise CatalogError([f"{path}: kind {kind!r} is unknown; {nearest(str(kind), kinds)}"])
    costs = table.pop("cost", {})
    built = build_part(kinds[kind], {"name": name, **table}, costs, path, references, problems)
    if problems or built is None:
        raise CatalogError(problems)
    return built


def build_part(cls: type[T], plain: Table, costs: Table, path: str, references: Mapping[str, Reference], problems: Problems) -> T | None:
    """Build a layer, or a part of one, from its plain entries and its costs; note every problem."""
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    before = len(problems)
    if not isinstance(costs, Mapping):
        problems.append(f"{path}: {costs!r}; must be a table of costs, such as [cost.{fields(cls)[0].name}]")
        return None
    declared = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for field in declared:
        hint = hints[field]
        if hint is Cost:
            cost = build_cost(costs.get(field), field, f"{path}.{field}", references, problems)
            if cost is not None:
                values[field] = cost
        elif hint is Choice:
            values[field] = build_choice(plain.get(field), f"{path}.{field}", references, problems)
        elif isinstance(hint, type) and is_dataclass(hint) and hint is not Interface:
            values[field] = build_part(hint, {}, costs.get(field, {}), f"{path}.{field}", references, problems)
        elif field in plain:
            values[field] = _build_plain(plain[field], hint, f"{path}.{field}", problems)
        elif not _is_optional(hint):
            problems.append(f"{path}.{field}: missing; give it a value")
    for unknown in sorted({*plain, *costs} - {*declared, "comment"}):
        problems.append(f"{path}.{unknown}: not a field of this kind of layer; {nearest(unknown, declared)}")
    return cls(**values) if len(problems) == before else None


_CHOICE_KEYS: Final = tuple(f.name for f in fields(Choice))


def build_choice(entry: Any, path: str, references: Mapping[str, Reference], problems: Problems) -> Choice | None:
    """A name with its evidence."""
    before = len(problems)
    if not isinstance(entry, dict):
        problems.append(f"{path}: no choice given; write value, source, where and grade")
        return None
    problems += [f"{path}: evidence lacks {key!r}; add it, no choice is loaded without" for key in _CHOICE_KEYS if key not in entry]
    problems += [f"{path}.{key}: not a part of a choice; {nearest(key, _CHOICE_KEYS)}" for key in sorted(entry.keys() - {*_CHOICE_KEYS})]
    mute = [key for key in _CHOICE_KEYS if key in entry and not (isinstance(entry[key], str) and entry[key].strip())]
    problems += [f"{path}.{key}: {entry[key]!r} is not text; put it in quotes" for key in mute]
    if "source" in entry and "source" not in mute and entry["source"] not in references:
        problems.append(f"{path}.source: {entry['source']!r} is not in the references; {nearest(entry['source'], references)}")
    if "grade" in entry and "grade" not in mute and entry["grade"] not in list(Grade):
        problems.append(f"{path}.grade: {entry['grade']!r} is none of {', '.join(Grade)}")
    return Choice(**{**entry, "grade": Grade(entry["grade"])}) if len(problems) == before else None


def _is_optional(hint: Any) -> bool:
    return type(None) in getattr(hint, "__args__", ())


def _build_plain(value: Any, hint: Any, path: str, problems: Problems) -> Any:
    """A word, an interface or a choice."""
    if hint is Interface or Interface in getattr(hint, "__args__", ()):
        try:
            return Interface.parse(str(value))
        except ValueError as error:
            problems.append(f"{path}: {error}")
            return None
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        choices = [str(member.value) for member in hint]
        if value in choices:
            return hint(value)
        problems.append(f"{path}: {value!r} is none of {', '.join(choices)}; {nearest(str(value), choices)}")
        return None
    if not isinstance(value, str):
        problems.append(f"{path}: {value!r} is not text")
    return value


_COST_KEYS: Final = {f.name for f in fields(Cost)} - {"path"}
_COST_NUMBERS: Final = {"value", "low", "high", "clock_hz"}


def build_cost(entry: Any, field: str, path: str, references: Mapping[str, Reference], problems: Problems) -> Cost | None:
    if not isinstance(entry, dict):
        problems.append(f"{path}: no cost given; write value, unit, low, high, source, where and grade")
        return None
    missing = sorted(_COST_KEYS - entry.keys() - {"clock_hz", "derivation"})
    unknown = sorted(entry.keys() - _COST_KEYS)
    wrong = [key for key in _COST_NUMBERS & entry.keys() if isinstance(entry[key], bool) or not isinstance(entry[key], int | float)]
    mute = [key for key in sorted((_COST_KEYS - _COST_NUMBERS) & entry.keys()) if not isinstance(entry[key], str)]
    if missing or unknown or wrong or mute:
        problems += [f"{path}: evidence lacks {key!r}; add it, no cost is loaded without" for key in missing]
        problems += [f"{path}.{key}: {entry[key]!r} is not text; put it in quotes" for key in mute]
        problems += [f"{path}.{key}: not a part of a cost; {nearest(key, _COST_KEYS)}" for key in unknown]
        problems += [f"{path}.{key}: {entry[key]!r} is not a number; the unit has its own entry" for key in sorted(wrong)]
        return None
    if entry["grade"] not in list(Grade):
        problems.append(f"{path}.grade: {entry['grade']!r} is none of {', '.join(Grade)}")
        return None
    try:
        cost = Cost(**{**entry, "grade": Grade(entry["grade"]), "path": path})
    except CatalogError as error:
        problems += error.problems
        return None
    allowed, dimension = dimension_of_field(field), dimension_of_unit(cost.unit)
    if dimension not in allowed:
        problems.append(f"{path}.unit: {cost.unit!r} measures {dimension}; {field} is a {' or '.join(allowed)}")
        return None
    if cost.source not in references:
        problems.append(f"{path}.source: {cost.source!r} is not in the references; {nearest(cost.source, references)}")
        return None
    return cost


_OPTIONAL_PLATFORM_KEYS: Final = {"variant_of", "era"}
_PLATFORM_KEYS: Final = {f.name for f in fields(Platform)} - _OPTIONAL_PLATFORM_KEYS - {"name"}


def build_platform(name: str, table: dict[str, Any]) -> Platform:
    path = f"platforms/{name}"
    problems = [f"{path}.{key}: missing" for key in sorted(_PLATFORM_KEYS - table.keys())]
    known = _PLATFORM_KEYS | _OPTIONAL_PLATFORM_KEYS
    problems += [f"{path}.{key}: not a part of a platform; {nearest(key, known)}" for key in sorted(table.keys() - known)]
    if not problems:
        words = [(key, table[key]) for key in sorted(table.keys() - {"layers"})]
        problems += [f"{path}.{key}: {word!r} is not text; put it in quotes" for key, word in words if not isinstance(word, str)]
        if table["family"] not in FAMILIES:
            problems.append(f"{path}.family: {table['family']!r} is none of {', '.join(FAMILIES)}")
        if not isinstance(table["layers"], list) or not all(isinstance(layer, str) for layer in table["layers"]):
            problems.append(f"{path}.layers: {table['layers']!r}; must be a list of names of layers, lowest first")
        elif not table["layers"]:
            problems.append(f"{path}.layers: empty; a platform has at least an operating system")
        elif table["shared"] not in table["layers"]:
            problems.append(f"{path}.shared: {table['shared']!r} is none of its layers {', '.join(table['layers'])}")
    if problems:
        raise CatalogError(problems)
    return Platform(**{**table, "name": name, "layers": tuple(table["layers"])})


_WORKLOAD_KEYS: Final = ("summary", "requires", "threads", "factor", "factor_evidence", "request")


def build_workload(name: str, table: dict[str, Any], references: Mapping[str, Reference]) -> Workload:
    path = f"workloads/{name}"
    problems = [f"{path}.{key}: missing" for key in _WORKLOAD_KEYS if key not in table]
    known = (*_WORKLOAD_KEYS, "memory", "stressor")
    problems += [f"{path}.{key}: not a part of a workload; {nearest(key, known)}" for key in table if key not in known]
    if not isinstance(table.get("summary", ""), str):
        problems.append(f"{path}.summary: {table['summary']!r} is not text; put it in quotes")
    if not isinstance(table.get("factor_evidence", {}), Mapping):
        problems.append(f"{path}.factor_evidence: {table['factor_evidence']!r}; must be a table with source, where and grade")
    if not _are_tables(table.get("request", [])):
        problems.append(f"{path}.request: must be a list of tables; write [[request]]")
    if problems:
        raise CatalogError(problems)
    _check_factor_evidence(table["factor_evidence"], f"{path}.factor_evidence", references, problems)
    requests = [_build_request(entry, f"{path}.request[{i}]", references, problems) for i, entry in enumerate(table["request"])]
    memory, memory_evidence = _build_character(table["memory"], f"{path}.memory", references, problems) if "memory" in table else (None, ())
    stressor = _build_stressor(table["stressor"], f"{path}.stressor", references, problems) if "stressor" in table else None
    factor = _build_factor(table["factor"], f"{path}.factor", problems)
    interface = _build_plain(table["requires"], Interface, f"{path}.requires", problems)
    threads = table["threads"]
    if not isinstance(threads, int) or threads < 0:
        problems.append(f"{path}.threads: {threads!r}; a whole number, at least 1, or 0 for one per request")
    if not requests:
        problems.append(f"{path}.request: none; give at least one class of requests")
    if problems:
        raise CatalogError(problems)
    assert factor is not None
    return Workload(
        name=name,
        summary=table["summary"],
        requires=interface,
        threads=threads or inf,
        factor=factor,
        requests=tuple(r for r in requests if r is not None),
        memory=memory,
        memory_evidence=memory_evidence,
        stressor=stressor,
    )


def _build_character(
    table: Any, path: str, references: Mapping[str, Reference], problems: Problems
) -> tuple[MemoryCharacter | None, tuple[tuple[str, Cost], ...]]:
    """How a workload uses caches and memory: every number of it with evidence."""
    names = [f.name for f in fields(MemoryCharacter)]
    if not isinstance(table, Mapping):
        problems.append(f"{path}: {table!r}; must be a table of numbers with evidence, such as [memory.{names[0]}]")
        return None, ()
    before = len(problems)
    problems += [f"{path}.{key}: not a part of it; {nearest(key, names)}" for key in table if key not in names]
    costs = [(n, build_cost(table.get(n), n, f"{path}.{n}", references, problems)) for n in names]
    found = tuple((n, cost) for n, cost in costs if cost is not None)
    if len(problems) > before:
        return None, ()
    try:
        return MemoryCharacter(**{n: cost.si for n, cost in found}), found
    except ValueError as error:
        problems += [f"{path}.{problem}" for problem in error.args]
        return None, ()


def _build_stressor(table: Any, path: str, references: Mapping[str, Reference], problems: Problems) -> Stressor | None:
    """What a stressor does at intensity 1: each number with evidence."""
    kinds = ({"workers"}, {"rate_per_s"}, {"workers", "children"})
    if not isinstance(table, Mapping) or set(table) not in kinds:
        wanted = "must be [stressor.workers], which may have [stressor.children], or [stressor.rate_per_s], with evidence"
        problems.append(f"{path}: {table!r}; {wanted}")
        return None
    costs = {name: build_cost(entry, name, f"{path}.{name}", references, problems) for name, entry in table.items()}
    problems += [f"{path}.{name}: {cost.value:g}; above 0" for name, cost in costs.items() if cost is not None and not cost.si > 0]
    return Stressor(**costs)


def _are_tables(entry: Any) -> bool:
    return isinstance(entry, list) and all(isinstance(one, Mapping) for one in entry)


def _check_factor_evidence(entry: Table, path: str, references: Mapping[str, Reference], problems: Problems) -> None:
    problems += [f"{path}: evidence lacks {key!r}" for key in ("source", "where", "grade") if key not in entry]
    if "source" in entry and entry["source"] not in references:
        problems.append(f"{path}.source: {entry['source']!r} is not in the references; {nearest(str(entry['source']), references)}")
    if "grade" in entry and entry["grade"] not in list(Grade):
        problems.append(f"{path}.grade: {entry['grade']!r} is none of {', '.join(Grade)}")


def _build_factor(table: Table, path: str, problems: Problems) -> Distribution | None:
    try:
        factor: Distribution = TypeAdapter(Distribution).validate_python(table)
    except ValidationError as error:
        problems += [".".join((path, *map(str, e["loc"]))) + f": {e['msg']}" for e in error.errors()]
        return None
    if abs(factor.mean - 1.0) > 1e-9:
        problems.append(f"{path}: mean {factor.mean:g}; a factor has mean 1")
    return factor


def _operations() -> Mapping[str, type[Operation]]:
    """What a workload may ask for, by the name that profiles use."""
    known = [cls for cls in vars(vocabulary).values() if isinstance(cls, type) and issubclass(cls, OsOperation)]
    known = [cls for cls in known if cls not in (OsOperation, Wake)]
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower(): cls for cls in (*known, Compute)}


def _build_request(entry: Table, path: str, references: Mapping[str, Reference], problems: Problems) -> RequestClass | None:
    before = len(problems)
    operations: list[Operation] = []
    evidence: list[tuple[str, Cost]] = []
    if not _are_tables(entry.get("operation", [])):
        problems.append(f"{path}.operation: must be a list of tables; write [[request.operation]]")
        return None
    for i, table in enumerate(entry.get("operation", ())):
        built = _build_operation(table, f"{path}.operation[{i}]", references, problems)
        if built is None:
            continue
        operation, costs = built
        operations.append(operation)
        evidence += ((f"{table['do']}.{field}", cost) for field, cost in costs)
        if isinstance(operation, Receive):
            operations.append(Wake(count=operation.messages))
    if not operations and len(problems) == before:
        problems.append(f"{path}.operation: none; a request asks for something")
    weight = entry.get("weight", 1.0)
    if not isinstance(weight, int | float) or not weight > 0:
        problems.append(f"{path}.weight: {weight!r}; a positive number")
    if len(problems) > before:
        return None
    name = str(entry.get("name", "request"))
    return RequestClass(name=name, weight=float(weight), demand=Demand(tuple(operations)), evidence=tuple(evidence))


def _build_operation(
    table: Table, path: str, references: Mapping[str, Reference], problems: Problems
) -> tuple[Operation, list[tuple[str, Cost]]] | None:
    known = _operations()
    word = str(table.get("do"))
    if word not in known:
        problems.append(f"{path}.do: {word!r} is unknown; {nearest(word, known)}")
        return None
    names = [f.name for f in fields(known[word])]
    problems += [f"{path}.{key}: not an amount of {word}; {nearest(key, names)}" for key in table if key not in (*names, "do")]
    costs = [(n, build_cost(table[n], n, f"{path}.{n}", references, problems)) for n in names if n in table]
    known_costs = [(n, cost.on(REFERENCE_CLOCK_HZ)) for n, cost in costs if cost is not None]
    return known[word](**{n: cost.si for n, cost in known_costs}), known_costs


def bad_overrides(overrides: Mapping[str, float | str], units: Mapping[str, str]) -> list[str]:
    """What is wrong with the values that a scenario sets by hand, given the unit of what each replaces."""
    problems = []
    for path, wanted in sorted(overrides.items()):
        unit = units.get(path)
        if unit is None or wanted in ("low", "high"):
            continue
        kept = f"{path.rsplit('.', 1)[-1]} is kept in {unit or 'plain numbers'}"
        try:
            if not 0 <= in_unit(wanted, unit) < inf:
                problems.append(f"override.{path}: {wanted!r}; a finite number, at least 0; {kept}")
        except UnitError as error:
            problems.append(f"override.{path}: {error}, or the word low or high; {kept}")
    return problems


def override_amounts(table: dict[str, Any], name: str, overrides: Mapping[str, float | str]) -> dict[str, Any]:
    """The table of a workload with the amounts that a scenario sets by hand (`workload.request.operation.field`)."""
    requests = table.get("request", [])
    if not _are_tables(requests) or not all(_are_tables(request.get("operation", [])) for request in requests):
        return table  # a malformed profile is refused when it is built, with all its mistakes
    places = {
        f"{name}.{request.get('name', 'request')}.{operation.get('do')}.{field}": entry
        for request in requests
        for operation in reversed(request.get("operation", ()))  # of two alike, the first one is meant
        for field, entry in operation.items()
        if isinstance(entry, dict)
    }
    if isinstance(character := table.get("memory"), dict):
        places |= {f"{name}.memory.{field}": entry for field, entry in character.items() if isinstance(entry, dict)}
    if isinstance(load := table.get("stressor"), dict):
        places |= {f"{name}.stressor.{field}": entry for field, entry in load.items() if isinstance(entry, dict)}
    override_entries(places, overrides)
    return table


def override_entries(places: Mapping[str, dict[str, Any]], overrides: Mapping[str, float | str]) -> None:
    """Set numbers by hand in the tables that hold them, given by path. Raises CatalogError with all that cannot be set.

    A table that is no whole number with evidence is left alone: it is refused when it is built.
    """
    problems = [f"override.{path}: no such number; {nearest(path, places)}" for path in sorted(overrides) if path not in places]
    problems += bad_overrides(overrides, {path: str(entry.get("unit", "")) for path, entry in places.items()})
    if problems:
        raise CatalogError(problems)
    for path, wanted in overrides.items():
        entry = places[path]
        if not entry.keys() >= {"value", "unit", "low", "high", "where"}:
            continue
        moved = wanted in ("low", "high")
        value = entry[str(wanted)] if moved else in_unit(wanted, entry["unit"])
        if not moved:
            entry |= {"grade": "assumed", "where": f"set by hand (profile: {entry['value']:g} {entry['unit']}, {entry['where']})"}
        entry |= {"value": value, "low": min(entry["low"], value), "high": max(entry["high"], value)}
