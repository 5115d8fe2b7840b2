"""Finite tables of kernels: what of them a demand takes, who has them, how large they are, and what limits a tenant's part.

A table belongs to the nearest layer below the application whose profile gives it a size: containers of one kernel have one table of
processes, virtual machines have one each, a sandbox with a kernel of its own has its own. A limit on a tenant's part is there only if
somebody set it: the scenario, or the topmost layer whose profile says that it does so by default. Nothing here knows of time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final

from simvirt.demand import Allocate, Connect, Demand, FileGrowth, FileOpen, Operation, Spawn, Watch
from simvirt.evidence import Cost

__all__ = ["NO_TABLES", "Entries", "LayerTables", "TableKind", "TablePlace", "TableRule", "entries_of", "place_of_table"]


class TableKind(StrEnum):
    """Kinds of tables, by the word that profiles use."""

    PROCESSES = "processes"
    DESCRIPTORS = "descriptors"
    DISK_SPACE = "disk_space"
    INODES = "inodes"
    WATCHES = "watches"
    PRIVATE_MEMORY = "private_memory"

    @property
    def in_bytes(self) -> bool:
        """Whether entries are bytes."""
        return self in (TableKind.DISK_SPACE, TableKind.PRIVATE_MEMORY)

    @property
    def words(self) -> str:
        """What it is a table of."""
        return _WORDS[self][0]

    @property
    def errors(self) -> tuple[str, str]:
        """What a call that finds no room returns: in the whole table, and in the caller's part of it."""
        return _WORDS[self][1:]


_WORDS: Final[Mapping[TableKind, tuple[str, str, str]]] = {
    TableKind.PROCESSES: ("processes", "EAGAIN", "EAGAIN"),
    TableKind.DESCRIPTORS: ("open files", "ENFILE", "EMFILE"),
    TableKind.DISK_SPACE: ("disk space", "ENOSPC", "EDQUOT"),
    TableKind.INODES: ("inodes", "ENOSPC", "EDQUOT"),
    TableKind.WATCHES: ("inotify watches", "ENOSPC", "ENOSPC"),
    TableKind.PRIVATE_MEMORY: ("private memory", "ENOMEM", "ENOMEM"),
}


@dataclass(frozen=True, slots=True)
class Entries:
    """Mean entries of one table that a request takes, and how many of them are still there when it has ended."""

    kind: TableKind
    count: float
    kept: float


def entries_of(demand: Demand) -> tuple[Entries, ...]:
    """What a request takes of tables, in the order of kinds. Linear in the demand. An open connection has a descriptor."""
    sums: dict[TableKind, list[float]] = {}
    for operation in demand.operations:
        for one in _entries(operation):
            total = sums.setdefault(one.kind, [0.0, 0.0])
            total[0] += one.count
            total[1] += one.kept
    return tuple(Entries(kind, *sums[kind]) for kind in TableKind if kind in sums and sums[kind][0] > 0.0)


def _entries(operation: Operation) -> Iterator[Entries]:
    match operation:
        case Spawn(count=count, kept=kept):
            yield Entries(TableKind.PROCESSES, count, kept)
        case FileOpen(count=count, kept=kept):
            yield Entries(TableKind.DESCRIPTORS, count, kept)
        case Connect(count=count):
            yield Entries(TableKind.DESCRIPTORS, count, 0.0)
        case FileGrowth(files=files, size_bytes=size):
            yield Entries(TableKind.INODES, files, files)
            yield Entries(TableKind.DISK_SPACE, size, size)
        case Allocate(size_bytes=size, kept_bytes=kept):
            yield Entries(TableKind.PRIVATE_MEMORY, size, kept)
        case Watch(count=count):
            yield Entries(TableKind.WATCHES, count, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRule:
    """What one layer says of one kind of table.

    size = min(capacity, memory of the kernel / entry_bytes), each where it is given. `limit` is what each tenant may have of it by default.
    Disk space is given by capacity_bytes and limit_bytes.
    """

    capacity: Cost | None = None
    capacity_bytes: Cost | None = None
    entry_bytes: Cost | None = None
    """Memory per entry when the kernel sizes the table by its memory."""
    limit: Cost | None = None
    limit_bytes: Cost | None = None

    @property
    def has_table(self) -> bool:
        """Whether the layer has such a table of its own."""
        return any(one is not None for one in (self.capacity, self.capacity_bytes, self.entry_bytes))

    def size(self, memory_bytes: float) -> float:
        """Entries (or bytes) for which there is room, on a kernel with so much memory."""
        by_memory = inf if self.entry_bytes is None else memory_bytes // self.entry_bytes.si
        return min([by_memory, *(one.si for one in (self.capacity, self.capacity_bytes) if one is not None)])

    @property
    def default_limit(self) -> float | None:
        """What a tenant may have of it unless a scenario says otherwise."""
        return next((one.si for one in (self.limit, self.limit_bytes) if one is not None), None)


@dataclass(frozen=True, slots=True)
class LayerTables:
    """What a layer's profile says of tables."""

    rules: Mapping[TableKind, TableRule] = field(default_factory=dict)


NO_TABLES: Final = LayerTables()


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlace:
    """Who has the table that tenants on a stack take entries of, and what limits them by default."""

    kind: TableKind
    level: int | None
    """Of the layer that has it; None if it is without bound."""
    rule: TableRule
    limit: float | None
    limited_by: int | None
    """Level of the layer that sets the default limit."""

    @property
    def is_bounded(self) -> bool:
        """Whether it can run out without a limit of the scenario's."""
        return self.level is not None or self.limit is not None


def place_of_table(layers: Sequence[LayerTables], kind: TableKind) -> TablePlace:
    """The table for applications on top of these layers, the machine's first."""
    limit, limited_by = None, None
    for level in range(len(layers) - 1, -1, -1):
        rule = layers[level].rules.get(kind)
        if rule is None:
            continue
        if limit is None and rule.default_limit is not None:
            limit, limited_by = rule.default_limit, level
        if rule.has_table:
            return TablePlace(kind=kind, level=level, rule=rule, limit=limit, limited_by=limited_by)
    return TablePlace(kind=kind, level=None, rule=TableRule(), limit=limit, limited_by=limited_by)
