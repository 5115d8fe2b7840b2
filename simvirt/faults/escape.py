"""An attacker in one tenant: which boundaries lie between it and the others, how likely it crosses them, and what it then has.

This is the weakest evidence in simvirt. Counts of published vulnerabilities measure attention, not danger: what nobody looks at has none.
Rates are therefore told with bands that span orders of magnitude, and as an index relative to a default container.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1
from typing import Final, Literal

from simvirt.evidence import Cost
from simvirt.layers.stack import Stack

__all__ = ["WEAKEST", "Attacker", "Crossing", "Exposure", "boundaries", "probability"]

YEAR_S: Final = 365 * 86400.0
WEAKEST: Final = (
    "This is the weakest evidence in simvirt: counts of published vulnerabilities measure attention, not danger, and the share that can be "
    "used from inside is a guess. Read the index, with its band, and not the probability."
)

End = Literal["low", "value", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """The boundary between what stands on a layer and the next kernel below."""

    holes_per_year: Cost
    """Vulnerabilities published per year in what has to be crossed."""
    usable: Cost
    """Share of them that work from inside, in a default set-up."""

    def per_year(self, end: End = "value") -> float:
        return self.holes_per_year.at(end).si * self.usable.at(end).si


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacker:
    """How long holes stay open for it, and what its chances are compared to."""

    name: str
    summary: str
    reference: str
    """The layer whose boundary has index 1."""
    unpatched_s: Cost
    """From publication until a host is patched, on average."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """One boundary of a stack."""

    layer: str
    """Whose boundary it is."""
    level: int
    """Level of the kernel that is reached."""
    exposure: Exposure


def probability(exposure: Exposure, attacker: Attacker, years: float, end: End = "value", *, patched: End = "value") -> float:
    """That a boundary is crossed within a time: P = 1 - exp(-r w E T).

    r are holes per year, E the share of them that is usable, both at one end of their ranges; w is the time for which each stays open, as a
    share of a year, at the end `patched` of its own; T years.
    """
    open_share = attacker.unpatched_s.at(patched).si / YEAR_S
    return -expm1(-exposure.per_year(end) * open_share * years)


def boundaries(stack: Stack, exposures: Sequence[Exposure | None], start: int) -> tuple[Crossing, ...]:
    """What has to be crossed, one after the other, from level `start` (the number of layers: the application) down to the lowest kernel.

    Between a place and the next kernel below, the topmost layer that is a boundary stands for all of them: its numbers are those of getting
    through. Where there is none, the kernel's own interface is the boundary. `exposures` has one entry for each layer. A boundary of which
    nothing is known ends the list.
    """
    found = []
    here = start
    while (kernel := stack.kernel_level(here - 1)) > 0:
        between = [level for level in range(kernel, here) if exposures[level] is not None]
        if not between:
            break
        exposure = exposures[between[-1]]
        assert exposure is not None
        found.append(Crossing(stack.names[between[-1]], kernel, exposure))
        here = kernel
    return tuple(found)
