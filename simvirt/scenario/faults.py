"""What a scenario says of faults: which, where, when or how often, and what is set by hand; and whether that fits the platform."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from simvirt.errors import nearest
from simvirt.evidence import Cost, in_unit
from simvirt.faults.part import Effect, LayerParts, Part, explain_absence, level_of
from simvirt.faults.profile import FaultProfile
from simvirt.layers.stack import Stack
from simvirt.quantities import PositiveNumber, PositiveSeconds, Seconds
from simvirt.tenant_place import owner_of

__all__ = ["Fault", "Ground", "Spot", "chosen", "fault_misfits", "spots"]

MOST_NAMES: Final = 6
"""Places that a message names."""


class Fault(BaseModel):
    """One entry of `[[faults]]`. Without `at` it comes at random, with the mean time between failures of its profile or of `mtbf`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: str
    """A profile."""
    target: str | None = None
    """A tenant, or an instance (`layer of tenant`); every part of the kind unless given."""
    at: tuple[Seconds, ...] | None = None
    """When: one time or several."""
    mtbf: PositiveSeconds | None = None
    detection: Seconds | None = None
    repair: Seconds | None = None
    """By hand, in place of the profile's: always so long."""
    factor: Annotated[PositiveNumber, Field(ge=1.0)] | None = None
    """By hand: how many times as long a slow device takes."""

    @field_validator("at", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return value if value is None or isinstance(value, list | tuple) else (value,)

    @model_validator(mode="after")
    def _time_or_rate(self) -> Fault:
        if self.at is not None and self.mtbf is not None:
            raise ValueError("at and mtbf are both given; a fault comes at certain times or at random, remove one")
        if self.at is not None and not self.at:
            raise ValueError("at: no time; give one, such as '3 s', or leave it out for a fault that comes at random")
        return self

    def applied(self, profile: FaultProfile) -> FaultProfile:
        """The profile with what is set by hand."""
        wanted = {"mtbf_s": self.mtbf, "detection_s": self.detection, "repair_s": self.repair}
        given = {field: f"{value!r} s" for field, value in wanted.items() if value is not None}
        changes: dict[str, Any] = {field: _set(getattr(profile, field), text) for field, text in given.items()}
        if self.factor is not None:
            changes["slow_factor"] = _set(profile.slow_factor, self.factor)
        if self.repair is not None:
            changes["repair_cv"] = _set(profile.repair_cv, 0.0)
        return replace(profile, **changes)


def _set(cost: Cost, wanted: float | str) -> Cost:
    return cost.overridden(in_unit(wanted, cost.unit))


@dataclass(frozen=True, slots=True)
class Ground:
    """One tenant: its name, its virtual machine, and what it stands on."""

    tenant: str
    vm: str
    stack: Stack
    shared_level: int
    workload: str
    vcpus: int

    def instance(self, level: int) -> str:
        """The name of its instance at a level; the tenant's own name above the top."""
        if level == len(self.stack.layers):
            return self.tenant
        owner = owner_of(self.stack, level, self.shared_level, tenant=self.tenant, vm=self.vm)
        return f"{self.stack.names[level]} of {owner}" if owner else self.stack.names[level]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a fault may strike."""

    level: int
    instance: str
    tenants: tuple[str, ...]
    """Those that have a part in it."""


def spots(part: Part, grounds: Sequence[tuple[Ground, Sequence[LayerParts]]]) -> tuple[Spot, ...]:
    """Every place of a part, in the order of the tenants that have it first; none if there is no such part."""
    found: dict[str, Spot] = {}
    for ground, parts in grounds:
        level = level_of(part, ground.stack, parts)
        if level is not None:
            name = ground.instance(level)
            before = found[name].tenants if name in found else ()
            found[name] = Spot(level, name, (*before, ground.tenant))
    return tuple(found.values())


def chosen(fault: Fault, places: Sequence[Spot]) -> tuple[Spot, ...]:
    """Those of the places of its part that a fault is for; none if its target is not among them."""
    if fault.target is None:
        return tuple(places)
    return tuple(spot for spot in places if spot.instance == fault.target or fault.target in spot.tenants)


def fault_misfits(
    path: str, fault: Fault, profile: FaultProfile, platform: str, grounds: Sequence[tuple[Ground, Sequence[LayerParts]]], duration_s: float
) -> Iterator[str]:
    """What a fault asks for that the platform does not have, and times that do not come."""
    places = spots(profile.breaks, grounds)
    if not places:
        yield f"{path}.fault: {fault.fault!r} needs a {profile.breaks.value}, but on {platform!r} {explain_absence(profile.breaks)}"
        return
    if not chosen(fault, places):
        known = dict.fromkeys(name for spot in places for name in (spot.instance, *spot.tenants))
        yield f"{path}.target: {fault.target!r} has no {profile.breaks.value}; {nearest(str(fault.target), known)}"
    elif fault.at is not None and fault.target is None and len(places) > 1:
        names = ", ".join(repr(spot.instance) for spot in places[:MOST_NAMES]) + (", ..." if len(places) > MOST_NAMES else "")
        yield f"{path}.target: missing, and there are {len(places)} of the {profile.breaks.value}; name one of {names}, or a tenant"
    for time_s in fault.at or ():
        if time_s >= duration_s:
            yield f"{path}.at: {time_s:g} s in a run of {duration_s:g} s; must be earlier, or run longer"
    if fault.factor is not None and profile.effect is not Effect.SLOW_DOWN:
        yield f"{path}.factor: {fault.factor:g}, but {fault.fault!r} is a {profile.effect.value}, which slows nothing down; remove it"
    if fault.detection is not None and profile.effect in (Effect.STALL, Effect.SLOW_DOWN):
        yield f"{path}.detection: {fault.detection:g} s, but a {profile.effect.value} ends by itself; set repair, how long it lasts"
