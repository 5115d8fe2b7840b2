"""How well the numbers behind a comparison are known: how many are measured, and which of the guesses matter most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from simvirt.demand import Demand
from simvirt.evidence import Cost, Grade
from simvirt.layers.contract import AbstractLayer, costs_of, map_costs
from simvirt.layers.path import plan_path
from simvirt.layers.stack import Stack

__all__ = ["Doubt", "count_grades", "doubts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A cost that is assumed, and what its range means for a request."""

    path: str
    """`layer.field`."""
    swing_s: float
    """Difference in CPU time of a mean request between the ends of the cost's range."""


def count_grades(stacks: Iterable[Stack]) -> dict[Grade, int]:
    """Number of costs of each grade; a layer that several stacks have counts once."""
    counts = Counter(cost.grade for cost in _costs(stacks).values())
    return {grade: counts[grade] for grade in Grade}


def _costs(stacks: Iterable[Stack]) -> dict[str, Cost]:
    return {f"{layer.name}.{field}": cost for stack in stacks for layer in stack.layers for field, cost in costs_of(layer)}


def doubts(stacks: Iterable[Stack], demand: Demand) -> list[Doubt]:
    """Every assumed cost of some stack, by how much it moves the CPU time of a request, the most first."""
    found = (doubt for layer, stack in _first_use(stacks) for doubt in _doubts_of(layer, stack, demand))
    return sorted(found, key=lambda doubt: (-doubt.swing_s, doubt.path))


def _first_use(stacks: Iterable[Stack]) -> Iterator[tuple[AbstractLayer, Stack]]:
    seen: set[str] = set()
    for stack in stacks:
        for layer in stack.layers:
            if layer.name not in seen:
                seen.add(layer.name)
                yield layer, stack


def _doubts_of(layer: AbstractLayer, stack: Stack, demand: Demand) -> Iterator[Doubt]:
    for field, cost in costs_of(layer):
        if cost.grade is Grade.ASSUMED:
            low, high = (plan_path(_with(stack, layer.name, field, end), demand).cpu_s() for end in _ENDS)
            yield Doubt(path=f"{layer.name}.{field}", swing_s=abs(high - low))


_ENDS: tuple[Literal["low"], Literal["high"]] = ("low", "high")


def _with(stack: Stack, name: str, field: str, end: Literal["low", "high"]) -> Stack:
    """The stack with one cost of every layer of that name moved to an end of its range."""

    def change(path: str, cost: Cost) -> Cost:
        return cost.at(end) if path == field else cost

    return Stack(tuple(map_costs(layer, change) if layer.name == name else layer for layer in stack.layers))
