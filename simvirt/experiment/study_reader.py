"""Reads a study from a TOML file: every mistake is told at once, with its path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from simvirt.errors import ScenarioError, nearest
from simvirt.experiment.design import Design
from simvirt.experiment.factors import Levels, Range
from simvirt.experiment.precision import Precision
from simvirt.experiment.sweep import Comparison, Study
from simvirt.scenario import read_document

__all__ = ["load_study"]


def load_study(path: Path, profiles: tuple[Path, ...] = ()) -> Study:
    """A study from a file; paths in it (`base`, `profiles`) are seen from where it lies. Raises ScenarioError with every mistake."""
    document = read_document(path)
    beside = {**document, "profiles": [*_paths(document.get("profiles", []), path.parent), *profiles]}
    if isinstance(document.get("base"), str):
        beside["base"] = path.parent / document["base"]
    try:
        study = Study.model_validate(beside)
    except ValidationError as error:
        raise ScenarioError([*_problems(error, document), *_base_problems(beside.get("base"))]) from None
    return study


def _paths(given: Any, home: Path) -> Iterable[Any]:
    return (home / one if isinstance(one, str) else one for one in given) if isinstance(given, list) else [given]


def _base_problems(base: Any) -> list[str]:
    if not isinstance(base, Path):
        return []
    try:
        read_document(base)
    except ScenarioError as error:
        return [f"base: {problem}" for problem in error.problems]
    return []


def _problems(error: ValidationError, document: Mapping[str, Any]) -> list[str]:
    lines: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        path = _path(problem["loc"], document)
        lines.setdefault(path, f"{path}: {_advice(problem)}")
    return list(lines.values())


def _path(place: tuple[int | str, ...], document: Mapping[str, Any]) -> str:
    """The place of a mistake as the file spells it, without the tags by which pydantic tells kinds of factors apart."""
    parts: list[str] = []
    here: Any = document
    for i, part in enumerate(place):
        known = part in here if isinstance(here, Mapping) else isinstance(here, list) and isinstance(part, int) and part < len(here)
        if known:
            here = here[part]
        if known or (i == len(place) - 1 and isinstance(here, Mapping) and part not in _TAGS):
            parts.append(str(part))
    return ".".join(parts) or "study"


_TAGS: Final = ("levels", "range", "dict[str,any]", "path")
_PARTS: Final[Mapping[str, type[BaseModel]]] = {"design": Design, "comparison": Comparison, "precision": Precision}


def _advice(problem: ErrorDetails) -> str:
    kind, place, read = problem["type"], problem["loc"], problem["input"]
    shown = f"{read!r}; " if isinstance(read, str | int | float) and kind != "extra_forbidden" else ""
    if kind == "extra_forbidden":
        return f"no such entry; {nearest(str(place[-1]), _entries_beside(place))}"
    if kind == "missing":
        return "missing; give it a value"
    if place[:1] == ("factors",) and kind in ("model_type", "model_attributes_type"):
        return f'{shown}a factor is a list of levels, such as [1, 2], or a table {{ low = 1, high = 2 }}'
    if place[:1] == ("base",):
        return f"{shown}the path of a scenario, or a table [base] with what stands in one"
    return shown + problem["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _entries_beside(place: tuple[int | str, ...]) -> Iterable[str]:
    if place[0] == "factors":
        return {*Levels.model_fields, *Range.model_fields}
    return _PARTS[str(place[0])].model_fields if len(place) > 1 and place[0] in _PARTS else Study.model_fields
