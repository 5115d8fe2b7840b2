"""What became of one fault."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

from simvirt.faults.part import Effect

__all__ = ["FaultEvent", "Victim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A tenant that a fault has hit."""

    tenant: str
    requests_lost: int
    """That failed from the fault until it was back, or the run was over."""
    back_s: float | None
    """When it was back; None if it is not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultEvent:
    """One fault and who suffered. Times are those of the run, warm-up included."""

    time_s: float
    fault: str
    instance: str
    """What broke."""
    effect: Effect
    instances_hit: int
    """Instances of layers that went down with it: the size of the subtree, itself included."""
    victims: tuple[Victim, ...]
    """Tenants that it took down, or kept from being served, in order of name."""
    repaired_s: float | None
    """When the part that broke was up again; None if it is not yet."""

    @property
    def requests_lost(self) -> int:
        return sum(victim.requests_lost for victim in self.victims)

    @property
    def recovery_s(self) -> float:
        """Until the last victim was back; not a number while one is not, or where there is none."""
        times = [victim.back_s for victim in self.victims]
        return max((time for time in times if time is not None), default=nan) - self.time_s if None not in times else nan
