"""What happened in a cluster, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from simvirt.engine import Engine

__all__ = ["Entry", "Log"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened."""

    time_s: float
    what: str
    whom: str
    why: str = ""


@final
class Log:
    """Entries in the order of time."""

    __slots__ = ("_engine", "entries")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.entries: list[Entry] = []

    def add(self, what: str, whom: str, why: str = "") -> None:
        """Note what happens now."""
        self.entries.append(Entry(self._engine._now, what, whom, why))

    def of(self, what: str, whom: str = "", since_s: float = 0.0) -> Iterator[Entry]:
        """Entries of one kind, of somebody whose name begins so, from a time on."""
        return (e for e in self.entries if e.what == what and e.whom.startswith(whom) and e.time_s >= since_s)

    def first(self, what: str, whom: str = "", since_s: float = 0.0) -> float | None:
        """When something happened first; None if it did not."""
        return next((e.time_s for e in self.of(what, whom, since_s)), None)
