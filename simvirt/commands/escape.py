"""`simvirt escape`: what an attacker in one tenant would have to cross, how likely that is, and whom it would reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from simvirt.catalog import Catalog
from simvirt.commands.costs import cost_table, grade_count, source_table
from simvirt.commands.numbers import count_text
from simvirt.commands.tables import table
from simvirt.errors import CatalogError
from simvirt.evidence import Cost
from simvirt.faults.escape import WEAKEST, Attacker, Crossing, End, Exposure, boundaries, probability
from simvirt.layers.stack import Stack
from simvirt.scenario.faults import Ground

__all__ = ["Host", "Reach", "escape", "reaches"]

ENDS: Final[tuple[End, ...]] = ("low", "value", "high")


@dataclass(frozen=True, slots=True)
class Reach:
    """One step of an attacker downwards."""

    crossing: Crossing
    instance: str
    """What it then has."""
    tenants: int
    """Others that stand on that."""
    chances: tuple[float, float, float]
    """Probability that it gets there within the time: low, as assumed, high. The steps above included, taken as independent."""
    index: tuple[float, float, float]
    """The same over that of crossing the reference, patches being as quick for both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Where an attacker is: tenants on a platform."""

    stack: Stack
    shared_level: int
    tenants: int
    per_vm: int

    def grounds(self) -> list[Ground]:
        names = ((str(i), f"vm {i // self.per_vm}" if self.per_vm > 1 else str(i)) for i in range(self.tenants))
        return [Ground(tenant, vm, self.stack, self.shared_level, "", 1) for tenant, vm in names]


def reaches(host: Host, exposures: Sequence[Exposure | None], reference: Exposure, attacker: Attacker, years: float) -> Iterator[Reach]:
    """The steps of an attacker in the first tenant. A kernel that is its tenant's alone it has to begin with."""
    stack, grounds = host.stack, host.grounds()
    own = (level for level in range(1, len(stack.layers)) if stack.layers[level].schedules_threads and not _others(grounds, level))
    whole = probability(reference, attacker, years)
    chances, index = [1.0] * len(ENDS), [1.0] * len(ENDS)
    for crossing in boundaries(stack, exposures, min(own, default=len(stack.layers))):
        for i, end in enumerate(ENDS):
            chances[i] *= probability(crossing.exposure, attacker, years, end, patched=end)
            index[i] *= probability(crossing.exposure, attacker, years, end)
        instance, others = grounds[0].instance(crossing.level), _others(grounds, crossing.level)
        low, value, high = (share / whole for share in index)
        yield Reach(crossing, instance, others, (chances[0], chances[1], chances[2]), (low, value, high))


def _others(grounds: Sequence[Ground], level: int) -> int:
    """Tenants besides the first that have a part in its instance at a level: the subtree."""
    mine = grounds[0].instance(level)
    return sum(ground.instance(level) == mine for ground in grounds[1:])


def escape(catalog: Catalog, platform: str, *, attacker: str, tenants: int, per_vm: int, years: float) -> list[str]:
    """Tell the steps, the index beside a default container, and what it all rests on."""
    chosen = catalog.attacker(attacker)
    stack = catalog.stack(platform)
    described = catalog.platform(platform)
    host = Host(stack=stack, shared_level=1 + described.layers.index(described.shared), tenants=tenants, per_vm=per_vm)
    reference = catalog.exposure(chosen.reference)
    if reference is None:
        path = f"attackers/{attacker}.toml, reference"
        raise CatalogError([f"{path}: {chosen.reference!r} says nothing of an exposure; name a layer that does"])
    steps = list(reaches(host, catalog.exposures(stack), reference, chosen, years))
    shared = f", {per_vm} in each virtual machine" if per_vm > 1 else ""
    where = f"an attacker in one of {count_text(tenants, 'tenant')}{shared}, with {years:g} year{'' if years == 1 else 's'} of time"
    head = [f"escape on platform {platform}: {' < '.join(stack.names)}; {where}", WEAKEST, ""]
    if not steps:
        return [*head, "Nothing is known of its boundaries: no layer's profile has a table [exposure]."]
    columns = ("crosses", "then has", "other tenants there", "index", "index, range", "probability", "probability, range")
    numbers: list[tuple[str, Cost]] = [
        (f"{step.crossing.layer}.{field}", getattr(step.crossing.exposure, field))
        for step in steps
        for field in ("holes_per_year", "usable")
    ]
    numbers.append((f"{chosen.name}.unpatched_s", chosen.unpatched_s))
    return [
        *head,
        *table(columns, [_row(step) for step in steps], right=columns[2:]),
        f"Index 1: crossing {chosen.reference} on its kernel. Each step includes those above it, taken as independent.",
        "",
        *cost_table(numbers),
        "",
        *source_table([cost for _, cost in numbers], catalog.references),
        "",
        *_unknown(steps),
        f"In all {grade_count(cost for _, cost in numbers)}. {WEAKEST}",
    ]


def _unknown(steps: Sequence[Reach]) -> Iterator[str]:
    if steps[-1].crossing.level > 1:
        yield f"Nothing is known of the boundary below {steps[-1].instance}."


def _row(step: Reach) -> tuple[str, ...]:
    low, value, high = step.chances
    least, index, most = step.index
    shares = (f"{index:.2g}", f"{least:.1g} to {most:.1g}", f"{value:.2g}", f"{low:.1g} to {high:.1g}")
    return step.crossing.layer, step.instance, str(step.tenants), *shares
