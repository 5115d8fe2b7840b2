"""What a step of a build costs: annotations in the build file, or a stated assumption. Steps are never executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from simvirt.errors import UnitError, nearest
from simvirt.units import parse_quantity

__all__ = ["StepWork", "annotated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """Amounts that one step needs when it is not in the cache."""

    cpu_s: float = 0.0
    """Computing on the reference core, in all threads together."""
    threads: float = 1.0
    """Threads that share the computing evenly."""
    size_bytes: float = 0.0
    """Files that it leaves behind, unpacked."""
    files: float = 0.0
    download_bytes: float = 0.0
    """Fetched from outside: packages, archives."""


_WORDS: Final = {
    "cpu": ("cpu_s", "time"),
    "threads": ("threads", "number"),
    "size": ("size_bytes", "size"),
    "files": ("files", "number"),
    "download": ("download_bytes", "size"),
}
"""Word of an annotation → field and dimension."""
assert {field for field, _ in _WORDS.values()} == {field.name for field in fields(StepWork)}


def annotated(base: StepWork, annotations: Mapping[str, str], line: int, problems: list[str]) -> StepWork:
    """The work of a step with what annotations say in place of the assumption; mistakes are added to `problems`."""
    changes: dict[str, float] = {}
    for word, text in annotations.items():
        if word not in _WORDS:
            problems.append(f"line {line}: annotation {word!r} is unknown; {nearest(word, _WORDS)}")
            continue
        name, dimension = _WORDS[word]
        try:
            changes[name] = parse_quantity(text, dimension)
        except UnitError as error:
            problems.append(f"line {line}: annotation {word}: {error}")
            continue
        least = 1.0 if word == "threads" else 0.0
        if changes[name] < least:
            problems.append(f"line {line}: annotation {word}={text}; at least {least:g}")
    return replace(base, **changes)
