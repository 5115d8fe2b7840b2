"""A scenario: what runs where, under which load, for how long. Frozen data, from TOML or Python; every mistake is reported at once."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simvirt.catalog import Catalog
from simvirt.errors import CatalogError, ScenarioError, StackError, nearest
from simvirt.layers.stack import Stack
from simvirt.quantities import PositiveNumber, PositiveSeconds
from simvirt.workloads.arrivals import Arrivals

__all__ = ["Run", "Scenario", "Tenants", "check_scenario", "host_stack", "load_scenario"]


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tenants(_Description):
    """A group of equal tenants: the same workload under the same load, each in an instance of its own."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")] = "tenant"
    workload: str
    load: Arrivals
    """Of each tenant."""
    count: Annotated[int, Field(ge=1)] = 1
    vcpus: Annotated[int, Field(ge=1)] = 1
    """Virtual processors, where the platform makes virtual machines."""
    weight: PositiveNumber = 1.0
    """Weight of the tenant among its siblings, 1 being the default of whoever shares the CPU."""
    cap_cores: PositiveNumber | None = None
    """CPU limit in cores (quota / period); none unless given, as in real systems."""
    threads: Annotated[int, Field(ge=0)] | None = None
    """Worker threads of the application; as in the workload unless given, 0 for one per request."""
    on: Literal["platform", "host"] = "platform"
    """Whether they stand on the whole platform, or on the operating system of the host (its own users)."""
    per_vm: Annotated[int, Field(ge=1)] = 1
    """How many of these tenants share one virtual machine."""


class Run(_Description):
    """How long to look, and how often."""

    duration_s: PositiveSeconds = 10.0
    """Simulated time, warm-up included."""
    warm_up_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Part of the duration that is not looked at."""
    replications: Annotated[int, Field(ge=1)] = 5
    seed: Annotated[int, Field(ge=0)] = 1
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95

    @property
    def warm_up_s(self) -> float:
        return self.duration_s * self.warm_up_fraction


class Scenario(_Description):
    """What runs where, under which load, for how long."""

    name: str = "scenario"
    platform: str
    machine: str | None = None
    """A hardware profile; the platform's own unless given."""
    tenants: Annotated[tuple[Tenants, ...], Field(min_length=1)]
    run: Run = Run()
    override: dict[str, float | Literal["low", "high"]] = {}
    """Costs set by hand: `layer.field` → value in the cost's own unit, or an end of its range."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [group.name for group in self.tenants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"tenants {', '.join(twice)}: named twice; give each group a name of its own")
        return self

    def digest(self) -> str:
        """A fingerprint of everything that it says."""
        document = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()[:16]


def load_scenario(source: Path | str | Mapping[str, Any], catalog: Catalog) -> Scenario:
    """Read a scenario from a TOML file, TOML text in a mapping, and check it against the catalog.

    Raises ScenarioError with every mistake: path, value, bound and a way out.
    """
    document = _read(Path(source)) if isinstance(source, Path | str) else dict(source)
    try:
        scenario = Scenario.model_validate(document)
    except ValidationError as error:
        raise ScenarioError([*_problems(error), *_unknown_names(document, catalog)]) from None
    check_scenario(scenario, catalog)
    return scenario


def check_scenario(scenario: Scenario, catalog: Catalog) -> None:
    """Raise ScenarioError with everything that the catalog cannot provide or that does not fit together."""
    problems = _unknown_names(scenario.model_dump(), catalog)
    if not problems:
        problems = _misfits(scenario, catalog)
    if problems:
        raise ScenarioError(problems)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ScenarioError([f"{path}: {error.strerror}; give the path of a scenario in TOML"]) from None
    except UnicodeDecodeError as error:
        raise ScenarioError([f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); a scenario is a TOML file"]) from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError([f"{path}: {error}; the file may be cut off or not be TOML"]) from None
    if not document:
        raise ScenarioError([f"{path}: empty; a scenario needs at least a platform and [[tenants]] with workload and load"])
    return document


def _problems(error: ValidationError) -> list[str]:
    """Each problem that pydantic found, with its path and the value that was read."""
    lines = []
    for problem in error.errors(include_url=False):
        path = ".".join(str(part) for part in problem["loc"]) or "scenario"
        read = problem.get("input")
        value = f": {read!r}" if isinstance(read, str | int | float) else ""
        lines.append(f"{path}{value}: {_advice(problem['type'], problem['msg'])}")
    return lines


def _advice(kind: str, message: str) -> str:
    more = {"missing": "give it a value", "extra_forbidden": "no such entry; remove it or mend its name"}.get(kind)
    return f"{message[0].lower()}{message[1:]}" + (f"; {more}" if more else "")


def _unknown_names(document: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Names of profiles that the catalog does not have, in a document that may have other mistakes too."""
    wanted = [("platform", "platforms", document.get("platform")), ("machine", "hardware", document.get("machine"))]
    groups = document.get("tenants")
    if isinstance(groups, list | tuple):
        wanted += [(f"tenants.{i}.workload", "workloads", g.get("workload")) for i, g in enumerate(groups) if isinstance(g, Mapping)]
    return [
        f"{path}: {name!r} is unknown; {nearest(name, catalog.names(kind))}"
        for path, kind, name in wanted
        if isinstance(name, str) and name not in catalog.names(kind)
    ]


def _misfits(scenario: Scenario, catalog: Catalog) -> list[str]:
    try:
        stack = catalog.stack(scenario.platform, scenario.machine, scenario.override)
    except (CatalogError, StackError) as error:
        return list(error.problems)
    return [problem for i, group in enumerate(scenario.tenants) for problem in _tenant_misfits(f"tenants.{i}", group, stack, catalog)]


def _tenant_misfits(path: str, group: Tenants, stack: Stack, catalog: Catalog) -> list[str]:
    try:
        workload = catalog.workload(group.workload)
    except CatalogError as error:
        return list(error.problems)
    problems = []
    ground = stack if group.on == "platform" else host_stack(stack)
    if ground is None:
        problems.append(f"{path}.on: 'host', but {stack.names[1]!r} on the bare machine has no users; use 'platform'")
    elif workload.requires != ground.provides:
        wanted = f"{group.workload!r} requires {workload.requires} and is offered {ground.provides} by {ground.names[-1]!r}"
        problems.append(f"{path}.workload: {wanted}; choose a platform that provides {workload.requires}")
    cores = int(stack.hardware.cores.si)
    if group.cap_cores is not None and group.cap_cores > cores:
        problems.append(f"{path}.cap_cores: {group.cap_cores:g} on a machine with {cores} cores; at most {cores}")
    if group.vcpus > cores and any(layer.provides_processors for layer in stack.layers):
        problems.append(f"{path}.vcpus: {group.vcpus} on a machine with {cores} cores; at most {cores}")
    return problems


def host_stack(stack: Stack) -> Stack | None:
    """The part of a stack that the host's own users stand on: hardware and an operating system; None if the hardware carries a hypervisor."""
    return Stack(stack.layers[:2]) if stack.layers[1].provides.kind == "os" else None
