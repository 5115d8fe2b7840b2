"""What became of faults, and how long everybody was served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan

from simvirt.faults.part import Effect

__all__ = ["FaultEvent", "FaultOutcome", "Up", "Victim"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """How long a tenant was served in the window."""

    tenant: str
    available_s: float
    window_s: float
    outages: int
    """That ended in the window."""
    outage_s: float
    """Their mean length; 0 if there was none."""

    @property
    def availability(self) -> float:
        return self.available_s / self.window_s


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOutcome:
    """What broke in a run, and how long everybody was served."""

    events: tuple[FaultEvent, ...]
    """Of the whole run, warm-up included, in order of time."""
    tenants: tuple[Up, ...]

    def rows(self) -> Iterator[tuple[str, str, float]]:
        """Entity, metric and value."""
        for i, event in enumerate(self.events):
            entity = f"fault/{i + 1} {event.fault}/{event.instance}"
            yield entity, "instances_hit", float(event.instances_hit)
            yield entity, "tenants_hit", float(len(event.victims))
            yield entity, "requests_lost", float(event.requests_lost)
            yield entity, "time_to_recover_s", event.recovery_s
        for up in self.tenants:
            yield f"tenant/{up.tenant}", "availability", up.availability
