"""Limits that may be set on a tenant that misbehaves, one for each resource, and a scenario under one of them or all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from simvirt.scenario import Scenario, Stressors, Tenants

__all__ = ["LIMITS", "Limit", "limited"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A setting, by name: entries for those who misbehave, and for everybody where it only works between all."""

    name: str
    offender: Mapping[str, Any] = field(default_factory=dict)
    everybody: Mapping[str, Any] = field(default_factory=dict)


LIMITS: Final = (
    Limit(name="processor cap", offender={"cap_cores": 1.0}),
    Limit(name="memory limit", offender={"memory_max": "512 MiB"}),
    Limit(name="process limit", offender={"pids_max": 512}),
    Limit(name="open files limit", offender={"nofile": 1024}),
    Limit(name="disk quota", offender={"disk_quota": "1 GiB"}),
    Limit(name="inode quota", offender={"inodes_max": 10_000}),
    Limit(name="watch limit", offender={"watches_max": 1000}),
    Limit(name="disk throttle", offender={"io_max": {"riops": 200, "wiops": 200, "rbps": "20 MB/s", "wbps": "20 MB/s"}}),
    Limit(name="disk weights", everybody={"io_weight": 100}),
)
"""Sizes are choices: far below what a machine has, far above what a small program needs."""


def limited(scenario: Scenario, limits: Iterable[Limit]) -> Scenario:
    """The same scenario with limits on its stressors; what a stressor or a tenant has been given already stays.

    A stressor inside a tenant has the limits of a process of its own, not those of its container. Whether the platform has such a limit
    at all is for `check_scenario` to say.
    """
    document = scenario.model_dump()
    for limit in limits:
        document["stressors"] = [_given(group, {**limit.everybody, **limit.offender}, Stressors) for group in document["stressors"]]
        document["tenants"] = [_given(group, limit.everybody, Tenants) for group in document["tenants"]]
    return Scenario.model_validate(document)


def _given(group: Mapping[str, Any], entries: Mapping[str, Any], kind: type[Tenants] | type[Stressors]) -> dict[str, Any]:
    unset = {name: value for name, value in entries.items() if group[name] == kind.model_fields[name].default}
    return {**group, **unset}
