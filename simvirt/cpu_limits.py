"""What a scenario may say of a tenant's processors, as a kernel or hypervisor is told: quota, set of cores, pinning, reservation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from simvirt.quantities import Number, PositiveNumber, PositiveSeconds, Seconds
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.scheduling import Scheduling
from simvirt.tenant_place import TenantPlace

__all__ = ["MOST_TENANTS", "CpuLimits", "CpuMax", "CpuSet", "cores_of", "free_cores", "limit_misfits", "ranges", "too_many"]

MOST_TENANTS: Final = 100_000
SHORTEST_S: Final = 0.001
"""The least quota and the shortest period that a kernel takes."""
LONGEST_S: Final = 1.0
"""The longest period."""


class CpuMax(BaseModel):
    """So much CPU time per period, as in a control group's cpu.max: at most quota / period cores, with up to `burst` saved from before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quota: Annotated[PositiveSeconds, Field(ge=SHORTEST_S)]
    period: Annotated[PositiveSeconds, Field(ge=SHORTEST_S, le=LONGEST_S)] = 0.1
    burst: Seconds = 0.0

    @model_validator(mode="after")
    def _burst_fits(self) -> CpuMax:
        if self.burst > self.quota:
            raise ValueError(f"burst of {self.burst:g} s with a quota of {self.quota:g} s; at most the quota")
        return self

    @property
    def cores(self) -> float:
        """What it amounts to over time."""
        return self.quota / self.period


_PART: Final = re.compile(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?")


def cores_of(text: str) -> tuple[int, ...]:
    """The cores of a list as Linux writes it, `0-3,7`, in order. Raises ValueError if it is none."""
    cores: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ValueError(f"{text!r} is no list of cores; write numbers and rising ranges with commas between them, such as '0-3,7'")
        cores.update(range(first, last + 1))
    return tuple(sorted(cores))


def ranges(cores: Iterable[int]) -> str:
    """Cores as Linux lists them: 0, 1, 2, 7 is `0-2,7`."""
    parts: list[list[int]] = []
    for core in sorted(cores):
        if parts and core == parts[-1][1] + 1:
            parts[-1][1] = core
        else:
            parts.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _read(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("quantity", "{value} is no list of cores; write text such as '0-3,7'", {"value": repr(value)})
    try:
        return ranges(cores_of(value))
    except ValueError as error:
        raise PydanticCustomError("quantity", "{problem}", {"problem": str(error)}) from None


CpuSet = Annotated[str, BeforeValidator(_read)]
"""Cores as Linux lists them."""


class CpuLimits(BaseModel):
    """What a group of equal tenants may have of the processors, and where: each tenant so much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[int, Field(ge=1, le=MOST_TENANTS)] = 1
    vcpus: Annotated[int, Field(ge=1)] = 1
    """Virtual processors, where the platform makes virtual machines."""
    per_vm: Annotated[int, Field(ge=1)] = 1
    """How many of these tenants share one virtual machine."""
    cap_cores: PositiveNumber | None = None
    """CPU limit in cores (quota / period); none unless given, as in real systems."""
    cpu_max: CpuMax | None = None
    """CPU limit as a quota per period, in place of `cap_cores`."""
    cpuset: CpuSet | None = None
    """Cores on which its threads, or the virtual processors of its machine, may run; all unless given."""
    pin_vcpus: bool | tuple[int, ...] = False
    """One core for each virtual processor: true for the next free ones, or their numbers in order."""
    reservation_cores: Number = 0.0
    """What it gets at least while it wants it."""

    @property
    def pinned(self) -> int:
        """Cores that are set aside for its virtual processors, all tenants together."""
        return self.count * self.vcpus if self.pin_vcpus is True else 0

    def share(self, index: int, free: Sequence[int]) -> Share:
        """What the tenant with this index asks of a scheduler, all but its weight; `free` are the cores that pinned processors may have."""
        first = index * self.vcpus
        pins = tuple(free[first : first + self.vcpus]) if self.pin_vcpus is True else self.pin_vcpus or ()
        return Share(
            cap_cores=self.cpu_max.cores if self.cpu_max is not None else self.cap_cores or inf,
            period_s=self.cpu_max.period if self.cpu_max is not None else None,
            burst_s=self.cpu_max.burst if self.cpu_max is not None else None,
            cpuset=None if self.cpuset is None else frozenset(cores_of(self.cpuset)),
            pins=pins,
            reservation_cores=self.reservation_cores,
        )


def limit_misfits(path: str, limits: CpuLimits, place: TenantPlace, cores: int, scheduler: Scheduling) -> Iterator[str]:
    """Everything in one group's limits that its scheduler does not know, or that there are not the cores for."""
    offered = cores if place.on_cores else limits.vcpus
    yield from _wrong_quota(path, limits, place, offered, scheduler)
    yield from _wrong_cpuset(path, limits, place, offered, scheduler)
    yield from _wrong_pins(path, limits, place, offered, scheduler)
    yield from _wrong_reservation(path, limits, scheduler)


_BY_RULES: Final = 'choose a scheduler by rules, such as scheduler = "platform"'


def _wrong_quota(path: str, limits: CpuLimits, place: TenantPlace, offered: int, scheduler: Scheduling) -> Iterator[str]:
    limit = limits.cpu_max
    if limit is None:
        return
    instead = f"cap_cores = {limit.cores:g}"
    if limits.cap_cores is not None:
        yield f"{path}.cpu_max: beside cap_cores = {limits.cap_cores:g}; both limit the same, keep one"
    if scheduler.rules is None:
        yield f"{path}.cpu_max: fluid sharing has no periods; use {instead}, or {_BY_RULES}"
    elif not scheduler.rules.has_periods:
        yield f"{path}.cpu_max: {scheduler.name!r} on {place.kernel!r} has no period for each group; use {instead}"
    usable = min(offered, limits.vcpus) if place.is_vm else offered
    if limits.cpuset is not None:
        usable = min(usable, len(cores_of(limits.cpuset)))
    if limit.quota > usable * limit.period:
        per = f"{limit.quota:g} s per period of {limit.period:g} s"
        yield f"{path}.cpu_max.quota: {per} on {_counted(usable, place)}; at most {usable * limit.period:g} s"


def _wrong_cpuset(path: str, limits: CpuLimits, place: TenantPlace, offered: int, scheduler: Scheduling) -> Iterator[str]:
    if limits.cpuset is None:
        return
    if scheduler.rules is None:
        yield f"{path}.cpuset: fluid sharing does not tell cores apart; {_BY_RULES}"
    if limits.pin_vcpus:
        yield f"{path}.cpuset: beside pin_vcpus; keep one, the numbers of pin_vcpus name cores too"
    yield from (f"{path}.cpuset: {problem}" for problem in _missing(cores_of(limits.cpuset), offered, place))


def _wrong_pins(path: str, limits: CpuLimits, place: TenantPlace, offered: int, scheduler: Scheduling) -> Iterator[str]:
    pins = limits.pin_vcpus
    if not pins:
        return
    if not place.is_vm:
        why = f"{limits.per_vm} tenants share a virtual machine" if limits.per_vm > 1 else "no virtual machine stands for a tenant here"
        yield f"{path}.pin_vcpus: {why}; use cpuset"
    if scheduler.rules is None:
        yield f"{path}.pin_vcpus: fluid sharing does not tell cores apart; {_BY_RULES}"
    if isinstance(pins, tuple):
        if len(pins) != limits.vcpus:
            yield f"{path}.pin_vcpus: {_counted(len(pins), place)} for {limits.vcpus} virtual processors; name one for each"
        if len(set(pins)) < len(pins):
            yield f"{path}.pin_vcpus: {', '.join(map(str, pins))}; name each core once, or use cpuset"
        yield from (f"{path}.pin_vcpus: {problem}" for problem in _missing(pins, offered, place))


def _wrong_reservation(path: str, limits: CpuLimits, scheduler: Scheduling) -> Iterator[str]:
    reserved = limits.reservation_cores
    if not reserved:
        return
    if scheduler.rules is None or not scheduler.rules.has_reservations:
        yield f"{path}.reservation_cores: {scheduler.name!r} has no reservations; use weight, or a platform that has them"
    most = min(limits.cap_cores or inf, limits.cpu_max.cores if limits.cpu_max is not None else inf, limits.vcpus)
    if reserved > most:
        yield f"{path}.reservation_cores: {reserved:g} for a tenant that can use {most:g}; at most {most:g}"


def _missing(wanted: Iterable[int], offered: int, place: TenantPlace) -> Iterator[str]:
    """Those of the cores that there are not."""
    missing = {core for core in wanted if not 0 <= core < offered}
    if missing:
        yield f"{ranges(missing)} out of {_counted(offered, place)}; use some of {ranges(range(offered))}"


def _counted(number: int, place: TenantPlace) -> str:
    word = ("core" if place.on_cores else "virtual processor") + ("" if number == 1 else "s")
    return f"{number} {word}"


def free_cores(groups: Iterable[CpuLimits], cores: int) -> list[int]:
    """The cores that no group pins a virtual processor to by number."""
    named = {core for group in groups if isinstance(group.pin_vcpus, tuple) for core in group.pin_vcpus}
    return [core for core in range(cores) if core not in named]


def too_many(groups: Sequence[CpuLimits], cores: int) -> Iterator[str]:
    """What all groups together want more of than there is."""
    pinned, free = sum(group.pinned for group in groups), len(free_cores(groups, cores))
    if pinned > free:
        named = f", {cores - free} of them named by others" if free < cores else ""
        wanted = f"{pinned} virtual processors with pin_vcpus = true on a machine with {cores} cores{named}"
        yield f"tenants: {wanted}; at most {free}, use cpuset"
    reserved = sum(group.count * group.reservation_cores for group in groups)
    if reserved > cores:
        yield f"tenants: reservation_cores of {reserved:g} in all on a machine with {cores} cores; at most {cores}"
