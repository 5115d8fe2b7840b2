"""Reservations: groups whose entitlement is at least so many cores, whatever their weight.

The entitlement of a group that wants to run is e = max(r, weight * level), with r = min(reservation, cap, runnable tasks) and the level at
which all entitlements together are the processors of the domain. Groups for which r decides are given the weight that has this effect,
r / level; the rest share what is left by their own weights. Assumes that the others want what is left; where they do not,
nobody waits and weights do not matter. With more reserved than there are processors the reservations are weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, final

__all__ = ["Reservable", "Reservations", "boosts"]

_LEAST_LEVEL: Final = 1e-6
"""Cores per unit of weight for the others where everything is reserved: next to nothing."""


class Reservable(Protocol):
    """A control group of a domain."""

    boost: float
    load: float
    per_thread: bool
    weight: float

    def tasks(self) -> int: ...

    def weight_now(self) -> float: ...

    def weigh(self) -> None: ...


def boosts(reserved: Sequence[tuple[float, float]], other_weight: float, processors: float) -> list[float]:
    """By how much to multiply the weight of each (weight, r) so that it is entitled to r at least.

    The level falls as reservations are found to decide, so that those with the largest r / weight decide first.
    """
    left, weight_left = processors, other_weight + sum(weight for weight, _ in reserved)
    found = [1.0] * len(reserved)
    decided: list[int] = []
    for i in sorted(range(len(reserved)), key=lambda i: reserved[i][1] / reserved[i][0], reverse=True):
        weight, least = reserved[i]
        if weight_left <= 0.0 or least * weight_left <= weight * left:
            break
        decided.append(i)
        left -= least
        weight_left -= weight
    level = max(left / weight_left if weight_left > 0.0 else 0.0, _LEAST_LEVEL)
    for i in decided:
        weight, least = reserved[i]
        found[i] = least / (level * weight)
    return found


@final
class Reservations:
    """The groups of one domain that have a reservation, and the weights that this gives them for now."""

    __slots__ = ("_domain", "_groups", "_processors", "_seen")

    def __init__(self, domain: Reservable, processors: int) -> None:
        self._domain = domain
        """The group of everything in the domain."""
        self._processors = processors
        self._groups: list[tuple[Reservable, float]] = []
        self._seen: tuple[float, ...] = ()

    def add(self, group: Reservable, most_cores: float) -> None:
        """Reserve `most_cores` for a group while it wants them."""
        self._groups.append((group, most_cores))

    def refresh(self) -> None:
        """Work out the weights anew if anything has come or gone since the last time."""
        seen = self._state()
        if seen == self._seen:
            return
        active = [(group, cores) for group, cores in self._groups if group.load > 0.0]
        tasks = [group.tasks() for group, _ in active]
        weights = [group.weight * (n if group.per_thread else 1) for (group, _), n in zip(active, tasks, strict=True)]
        least = [min(cores, n) for (_, cores), n in zip(active, tasks, strict=True)]
        other = self._domain.load - sum(group.weight_now() for group, _ in active)
        found = boosts(list(zip(weights, least, strict=True)), max(other, 0.0), self._processors)
        for (group, _), boost in zip(active, found, strict=True):
            group.boost = boost
            group.weigh()
        self._seen = self._state()

    def _state(self) -> tuple[float, ...]:
        return (self._domain.load, *(group.load for group, _ in self._groups))
