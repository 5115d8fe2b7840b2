"""A finite table: a kernel's processes, open files, inodes, or a tenant's part of one."""

from __future__ import annotations

from math import inf
from typing import final

__all__ = ["Table"]

_ROUNDING = 1e-6


@final
class Table:
    """At most `capacity` entries. A table with a parent is somebody's part of it: its entries are entries of the parent too.

    entries of a table = its own parts' entries, and those taken of it directly; an entry is taken in all tables up to the outermost or in
    none. Entries are amounts: bytes, or mean numbers that need not be whole.
    """

    __slots__ = ("capacity", "entries", "name", "parent", "refused")

    def __init__(self, name: str, capacity: float = inf, parent: Table | None = None) -> None:
        if not capacity >= 0:
            raise ValueError(f"{name}: {capacity} entries; at least 0")
        self.name = name
        self.capacity = capacity
        self.parent = parent
        self.entries = 0.0
        self.refused = 0
        """How often somebody found no room in this table itself."""

    def take(self, count: float) -> Table | None:
        """Take entries; the table that has no room for all of them, if one has not: then none are taken."""
        table: Table | None = self
        while table is not None:
            if table.entries + count > table.capacity:
                table.refused += 1
                return table
            table = table.parent
        table = self
        while table is not None:
            table.entries += count
            table = table.parent
        return None

    @property
    def room(self) -> float:
        """Entries that can still be taken of it."""
        room, table = inf, self
        while True:
            room = min(room, max(0.0, table.capacity - table.entries))
            if table.parent is None:
                return room
            table = table.parent

    def give(self, count: float) -> None:
        """Give entries back. Raises if there are not so many."""
        if count > self.entries * (1.0 + _ROUNDING) + _ROUNDING:
            raise ValueError(f"{self.name}: {count:g} entries given back of {self.entries:g}")
        table: Table | None = self
        while table is not None:
            table.entries = max(0.0, table.entries - count)
            table = table.parent
