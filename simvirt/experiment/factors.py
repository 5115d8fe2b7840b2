"""What a study varies: paths into a scenario, and the levels or the range that each takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import exp, floor, log
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, Tag, model_validator

__all__ = ["Cell", "Factor", "FactorPathError", "Levels", "Range", "as_tables", "cell", "with_level"]

LevelValue = StrictBool | StrictInt | StrictFloat | StrictStr | dict[str, Any] | list[Any]
"""What a scenario may have at a path: a number, a text, a table or a list."""

Cell = str | float | int


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Levels(_Described):
    """A factor with a list of levels."""

    path: str
    """Into the scenario, with dots: `platform`, `tenants.web.load.rate_per_s` (tenants by name or number), `override.layer.field`."""
    levels: Annotated[tuple[LevelValue, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _levels_differ(self) -> Self:
        cells = [cell(level) for level in self.levels]
        twice = [one for i, one in enumerate(cells) if one in cells[:i]]
        if twice:
            raise ValueError(f"{twice[0]!r} stands twice among the levels; name each once")
        return self


class Range(_Described):
    """A factor with a range, which sampled designs draw from."""

    path: str
    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"
    """Whether differences or ratios are alike along it."""
    whole: bool = False
    """Whether only whole numbers are meant; both ends are among them."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g}, high {self.high:g}; low must be below high")
        if self.scale == "log" and self.low <= 0.0:
            raise ValueError(f"low {self.low:g} on a log scale; must be above 0")
        if self.whole and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"low {self.low:g}, high {self.high:g}; whole numbers, as whole = true says")
        return self

    def at(self, u: float) -> float | int:
        """The value at `u` of the way, 0 to 1."""
        low, high = self.low, self.high + (1.0 if self.whole else 0.0)
        value = low * exp(u * log(high / low)) if self.scale == "log" else low + u * (high - low)
        return min(floor(value), int(self.high)) if self.whole else value


def cell(level: Any) -> Cell:
    """A level as it stands in a table."""
    return level if isinstance(level, str | int | float) else json.dumps(level, sort_keys=True)


class FactorPathError(ValueError):
    """A path that leads nowhere."""


_FREE_KEYS: Final = "override"
"""Below it, what is left of a path is one key, dots and all."""


def with_level(document: Mapping[str, Any], path: str, level: Any) -> dict[str, Any]:
    """A scenario's document with a level put at a path. Raises FactorPathError where a part of the path is not there."""
    changed = deepcopy(dict(document))
    head, dot, rest = path.partition(".")
    parts = [head, rest] if dot and head == _FREE_KEYS else path.split(".")
    if not all(parts):
        raise FactorPathError(f"{path!r}; names with single dots between them")
    here: Any = changed
    for i, part in enumerate(parts[:-1]):
        here = _below(here, part, ".".join(parts[:i]))
    last = parts[-1]
    if isinstance(here, list):
        here[_index(here, last, ".".join(parts[:-1]))] = deepcopy(level)
    else:
        here[last] = deepcopy(level)
    return changed


def _below(here: Any, part: str, place: str) -> Any:
    """The table or list below; a table that is not there yet is made."""
    inner = here[_index(here, part, place)] if isinstance(here, list) else here.setdefault(part, {})
    if not isinstance(inner, dict | list):
        raise FactorPathError(f"{place}{'.' if place else ''}{part} is {inner!r}, and has nothing below it")
    return inner


def _index(items: Sequence[Any], part: str, place: str) -> int:
    names = [str(item.get("name", "tenant")) if isinstance(item, Mapping) else "" for item in items]
    if part in names:
        return names.index(part)
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    raise FactorPathError(f"{place} has no {part!r}; use {' or '.join([*map(repr, names), f'a number below {len(items)}'])}")


def as_tables(factors: Any) -> Any:
    """Factors as people write them, each as a table: a list of levels, a table with a range, either with a path of its own or under it."""
    if not isinstance(factors, Mapping):
        return factors
    return {name: _as_table(name, value) for name, value in factors.items()}


def _as_table(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {"path": name, **value}
    return {"path": name, "levels": value} if isinstance(value, Sequence) and not isinstance(value, str) else value


def _kind(value: Any) -> str:
    return "levels" if isinstance(value, Levels) or (isinstance(value, Mapping) and "levels" in value) else "range"


Factor = Annotated[Annotated[Levels, Tag("levels")] | Annotated[Range, Tag("range")], Discriminator(_kind)]
