"""Finite tables at run time: one for each kernel that has one, and each tenant's part of it.

They are built only for kinds that can run out: somebody keeps entries, or somebody's part is limited by the scenario. Where none is in
play, nothing is built and nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from simvirt.demand import Demand, Operation, Syscall
from simvirt.layers.contract import Resource
from simvirt.layers.kernel_tables import Entries, TableKind, TablePlace, entries_of, place_of_table
from simvirt.layers.path import plan_path
from simvirt.layers.stack import Stack
from simvirt.resources.entries import Part
from simvirt.resources.table import Table
from simvirt.scenario import Resolved, Tenants
from simvirt.simulation.instances import Branch, Instance

__all__ = ["Needed", "TableSystem", "TenantTables", "kinds_in_play", "refused_s"]


@dataclass(frozen=True, slots=True)
class Needed:
    """What a class of requests takes of tables."""

    parts: tuple[tuple[Part, float, float], ...]
    """Part, entries taken, entries kept."""
    refused_s: float
    """What the caller spends on being refused."""


def kinds_in_play(resolved: Resolved) -> frozenset[TableKind]:
    """Tables that can run out: somebody keeps entries of a table with a bound, or a scenario limits somebody's part."""
    workloads = [workload for _, workload in resolved.groups]
    kept = {e.kind for workload in workloads for request in workload.requests for e in entries_of(request.demand) if e.kept}
    bounded = {kind for kind in kept if place_of_table(resolved.tables, kind).is_bounded}
    return frozenset(bounded | {kind for group, _ in resolved.groups for kind in group.table_limits})


def refused_s(stack: Stack, demand: Demand, entries: Sequence[Entries]) -> float:
    """CPU time of a caller who is refused: what it does before the first call that needs an entry, and one system call for each entry."""
    before: list[Operation] = []
    for operation in demand.operations:
        if entries_of(Demand((operation,))):
            break
        before.append(operation)
    calls = max([1.0, *(one.count for one in entries if not one.kind.in_bytes)])
    asked = Demand((*before, Syscall(count=calls)))
    return sum(step.fixed.total + step.random.total for step in plan_path(stack, asked).steps if step.resource is Resource.CPU)


@dataclass(slots=True)
class TenantTables:
    """One tenant's parts of tables."""

    places: dict[TableKind, Part] = field(default_factory=dict)

    def needed(self, stack: Stack, demand: Demand) -> Needed | None:
        """What requests with this demand take; None for nothing that can run out."""
        entries = [one for one in entries_of(demand) if one.kind in self.places]
        if not entries:
            return None
        return Needed(tuple((self.places[one.kind], one.count, one.kept) for one in entries), refused_s(stack, demand, entries))

    def leave(self) -> None:
        """The tenant's programs have ended."""
        for part in self.places.values():
            part.leave()

    def die(self) -> None:
        """The tenant was killed, its requests with it."""
        for part in self.places.values():
            part.die()

    def begin_again(self) -> None:
        """The tenant lives again, with nothing of what it had."""
        for part in self.places.values():
            part.gone = False


class TableSystem:
    """All tables of one machine that are in play."""

    def __init__(self, resolved: Resolved) -> None:
        self._kinds = sorted(kinds_in_play(resolved))
        self._resolved = resolved
        self._tables: dict[tuple[Instance | None, TableKind], Table] = {}
        self._owned: dict[tuple[str, TableKind], Table] = {}
        """Each tenant's own part, by its name."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Of kernels, and tenants' parts of them."""
        return (*self._tables.values(), *self._owned.values())

    def join(self, name: str, group: Tenants, branch: Branch, memory_bytes: float, inside: str | None) -> TenantTables:
        """A tenant's parts; `inside` is the name of the tenant in whose part it lives."""
        layers = self._resolved.tables[: len(branch.stack.layers)]
        found = TenantTables()
        for kind in self._kinds:
            place = place_of_table(layers, kind)
            whole = self._whole(kind, place, branch, memory_bytes)
            above = whole if inside is None else self._owned[inside, kind]
            limit = group.table_limits.get(kind, inf if place.limit is None or inside is not None else place.limit)
            own = Table(f"{kind.words} of {name}", limit, above)
            self._owned[name, kind] = own
            where = "" if place.level is None else f" of {branch.instances[place.level].name}"
            own_error, shared_error = (f"{words} ({error})" for words, error in zip(
                (f"limit of {kind.words} reached", f"no {kind.words}{where} left"), reversed(kind.errors), strict=True
            ))  # fmt: skip
            found.places[kind] = Part(own, own_error, shared_error)
        return found

    def _whole(self, kind: TableKind, place: TablePlace, branch: Branch, memory_bytes: float) -> Table:
        owner = None if place.level is None else branch.instances[place.level]
        if (owner, kind) not in self._tables:
            size = place.rule.size(memory_bytes)
            self._tables[owner, kind] = Table(kind.words if owner is None else f"{kind.words} of {owner.name}", size)
        return self._tables[owner, kind]

