"""How long it takes to start what has broken, and everything that stood on it: the platform's own chain of starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Final

from simvirt.catalog import Catalog
from simvirt.faults.part import LayerParts
from simvirt.scenario import Scenario
from simvirt.scenario.faults import Ground
from simvirt.startup import chain_of
from simvirt.startup.stage import Requests, Section

__all__ = ["LevelStart", "Restarts"]

KERNEL_LEVEL: Final = 1
"""Of the lowest kernel: if it has to start, nothing is in memory."""


@dataclass(frozen=True, slots=True)
class LevelStart:
    """Starting one layer for one tenant."""

    alone_s: float
    """With nobody else starting."""
    serial_s: float
    """The part of it that only one start can be in at a time: under a lock, or at a control plane."""


class Restarts:
    """Mean times of the chain, without variation. Cores and disk are taken to suffice for all who start at the same time; locks are not."""

    def __init__(self, scenario: Scenario, catalog: Catalog, grounds: Sequence[tuple[Ground, Sequence[LayerParts]]]) -> None:
        self._scenario = scenario
        self._catalog = catalog
        self._grounds = {ground.tenant: ground for ground, _ in grounds}
        self._known: dict[tuple[str, int, int, int], dict[int, LevelStart]] = {}

    def levels(self, tenant: str, level: int) -> dict[int, LevelStart]:
        """The layers of a tenant from a level up, by level; its application comes last."""
        ground = self._grounds[tenant]
        key = (ground.workload, ground.vcpus, level, len(ground.stack.layers))
        if key not in self._known:
            starts = self._catalog.starts(ground.stack, ground.workload, self._scenario.override)
            chain = chain_of(ground.stack, starts, level)
            others, cold = float(len(self._grounds) - 1), level <= KERNEL_LEVEL
            self._known[key] = {
                at: LevelStart(
                    fsum(s.alone_s(instances=others, vcpus=ground.vcpus, cold=cold) for s in chain.steps if s.level == at),
                    fsum(
                        s.alone_s(instances=others, vcpus=ground.vcpus)
                        for s in chain.steps
                        if s.level == at and isinstance(s.stage, Section | Requests)
                    ),
                )
                for at in range(level, len(ground.stack.layers) + 1)
            }
        return self._known[key]
