"""Reads a scenario from a file: every mistake at once, with its path as the document spells it, what was read, and a way out."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from simvirt.catalog import Catalog
from simvirt.cpu_limits import CpuMax
from simvirt.errors import ScenarioError, nearest
from simvirt.scenario.check import check_scenario, unknown_names
from simvirt.scenario.description import Run, Scenario, Stressors, Tenants
from simvirt.scenario.disk import IoMax
from simvirt.scenario.faults import Fault
from simvirt.workloads.arrivals import Arrivals
from simvirt.workloads.distributions import Distribution

__all__ = ["load_scenario", "read_document", "read_toml"]


def load_scenario(source: Path | str | Mapping[str, Any], catalog: Catalog) -> Scenario:
    """Read a scenario from a TOML file, TOML text in a mapping, and check it against the catalog.

    Raises ScenarioError with every mistake: path, value, bound and a way out.
    """
    document = read_document(Path(source)) if isinstance(source, Path | str) else dict(source)
    try:
        scenario = Scenario.model_validate(document)
    except ValidationError as error:
        raise ScenarioError([*_problems(error, document), *unknown_names(document, catalog)]) from None
    check_scenario(scenario, catalog)
    return scenario


def read_document(path: Path) -> dict[str, Any]:
    """What a scenario file says, not checked; files of its loads are found from its folder. Raises ScenarioError if it cannot be read."""
    document = read_toml(path)
    if not document:
        raise ScenarioError([f"{path}: empty; a scenario needs at least a platform and [[tenants]] with workload and load"])
    return _located(document, path.parent)


def read_toml(path: Path) -> dict[str, Any]:
    """What stands in a TOML file that describes a scenario of any kind. Raises ScenarioError if it cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ScenarioError([f"{path}: {error.strerror}; give the path of a scenario in TOML"]) from None
    except UnicodeDecodeError as error:
        raise ScenarioError([f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); a scenario is a TOML file"]) from None
    try:
        return tomllib.loads(text)
    except (RecursionError, ValueError) as error:  # what TOML refuses, and what Python does not read
        raise ScenarioError([f"{path}: {error}; the file may be cut off or not be TOML"]) from None


def _located(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The document with the files of its loads found from the folder that it is in."""
    groups = document.get("tenants")
    for group in groups if isinstance(groups, list) else ():
        load = group.get("load") if isinstance(group, dict) else None
        if isinstance(load, dict) and isinstance(load.get("file"), str):
            load["file"] = str(folder / load["file"])
    return document


def _problems(error: ValidationError, document: Mapping[str, Any]) -> list[str]:
    """Each mistake that pydantic found, once: its path in the document, the value that was read, what is wanted."""
    found = error.errors(include_url=False)
    places = [problem["loc"] for problem in found]
    lines: dict[str, str] = {}
    for problem in found:
        place = problem["loc"]
        if problem["type"] == "too_short" and any(other[: len(place)] == place != other for other in places):
            continue  # items are not missing: they are refused, for reasons that stand on other lines
        path = _path(place, document)
        read = problem["input"]
        shown = isinstance(read, str | int | float) and problem["type"] not in ("quantity", "value_error", "extra_forbidden")
        lines.setdefault(path, f"{path}: " + (f"{read!r}; " if shown else "") + _advice(problem))
    return list(lines.values())


def _path(place: tuple[int | str, ...], document: Mapping[str, Any]) -> str:
    """The place of a mistake as the document spells it, without the tags by which pydantic tells the kinds of a union apart."""
    if place[:1] == ("override",):
        return ".".join(map(str, place[:2]))
    parts: list[str] = []
    here: Any = document
    for i, part in enumerate(place):
        known = part in here if isinstance(here, Mapping) else isinstance(here, list | tuple) and isinstance(part, int)
        if known:
            here = here[part]
        if known or (i == len(place) - 1 and isinstance(here, Mapping) and part != here.get("kind")):
            parts.append(str(part))
    return ".".join(parts) or "scenario"


_ADVICE: Final = {
    "missing": "missing; give it a value",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "{actual_length} given; at least {min_length}",
    "literal_error": "must be {expected}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text in quotes",
    "string_pattern_mismatch": "must be made of letters, digits, blanks and . _ -, with a letter or a digit first",
    "tuple_type": "must be a list; a table that stands in a list has two brackets, such as [[tenants]]",
    "model_type": "must be a table of entries",
    "dict_type": "must be a table of entries",
    "model_attributes_type": 'must be a table with a kind, such as {{ kind = "poisson", rate_per_s = "200 /s" }}',
    "union_tag_not_found": 'kind is missing; say which, such as {{ kind = "poisson", rate_per_s = "200 /s" }}',
    "union_tag_invalid": "kind '{tag}' is unknown; use one of {expected_tags}",
}
"""What is wanted, by pydantic's name of the mistake."""


def _advice(problem: ErrorDetails) -> str:
    kind, place = problem["type"], problem["loc"]
    if place[:1] == ("override",) and len(place) > 1:
        wanted = "must be a number in the cost's own unit, text with a unit, or low or high"
        return f'{wanted}, after the whole path in quotes: "layer.field" = 3'
    if kind == "extra_forbidden":
        return f"no such entry; {nearest(str(place[-1]), _entries_beside(place))}"
    if kind in _ADVICE:
        return _ADVICE[kind].format(**problem.get("ctx", {}))
    return problem["msg"].removeprefix("Value error, ")


def _entries_beside(place: tuple[int | str, ...]) -> Iterable[str]:
    """What the part of a scenario that holds an entry may have."""
    parts: dict[Any, type[BaseModel]] = {"": Scenario, "run": Run, "cpu_max": CpuMax, "io_max": IoMax, "faults": Fault}
    for union in (Arrivals, Distribution):
        parts |= {cls.model_fields["kind"].default: cls for cls in get_args(get_args(union)[0])}
    if place[0] == "stressors" and len(place) == 3:
        return Stressors.model_fields
    owner = place[-3] if place[:1] == ("faults",) and len(place) == 3 else place[-2] if len(place) > 1 else ""
    return parts.get(owner, Tenants).model_fields
