"""What makes a workload a stressor: how many workers, or what rate, its reference behaviour is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from simvirt.evidence import Cost

if TYPE_CHECKING:
    from simvirt.workloads.arrivals import ClosedLoop, Poisson

__all__ = ["Stressor"]

_WHOLE: Final = 1e-9
"""What is taken for rounding when a number of workers is made whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stressor:
    """The load of a program that is there to disturb, at intensity 1; workers or a rate.

    Workers ask again as soon as they have their answer: intensity * workers of them, rounded up. Requests at a rate come from outside,
    whatever becomes of them, as a Poisson process: intensity * rate_per_s. At intensity 0 the stressor is not there.
    Each answered turn of a worker may bring `children`, which work as it does.
    """

    workers: Cost | None = None
    rate_per_s: Cost | None = None
    children: Cost | None = None

    def load(self, intensity: float) -> ClosedLoop | Poisson:
        """What it does at an intensity above 0."""
        from simvirt.workloads.arrivals import ClosedLoop, Poisson  # noqa: PLC0415 - loads the engine, which listing profiles does not need
        from simvirt.workloads.distributions import Constant  # noqa: PLC0415

        assert intensity > 0.0, intensity
        if self.rate_per_s is not None:
            return Poisson(rate_per_s=intensity * self.rate_per_s.si)
        assert self.workers is not None
        children = 0 if self.children is None else int(self.children.si)
        return ClosedLoop(clients=max(1, ceil(intensity * self.workers.si - _WHOLE)), think=Constant(value=0.0), children=children)

    @property
    def evidence(self) -> Iterator[tuple[str, Cost]]:
        """Each of its numbers by dotted name."""
        given = (("workers", self.workers), ("rate_per_s", self.rate_per_s), ("children", self.children))
        yield from ((f"stressor.{name}", cost) for name, cost in given if cost is not None)
