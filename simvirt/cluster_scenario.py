"""The description of a run on a cluster, from a TOML file: hosts, orchestrator, deployments, loads, failures. Every mistake at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simvirt.catalog import Catalog
from simvirt.cluster.description import Balancer, Call, Deployment, Failure, HostGroup, Load, Work
from simvirt.cluster.placement import RULES
from simvirt.cluster.policy import Checks, Ejection, MachineRestart, Policy, Probe
from simvirt.errors import CatalogError, ScenarioError, nearest
from simvirt.quantities import (
    Bytes,
    BytesPerSecond,
    Number,
    PositiveBytes,
    PositiveNumber,
    PositivePerSecond,
    PositiveSeconds,
    Seconds,
)
from simvirt.scenario import Run, read_toml

__all__ = ["ClusterScenario", "load_cluster_scenario"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Hosts(_Entry):
    """Equal hosts."""

    name: Name = "host"
    count: Annotated[int, Field(ge=1, le=10_000)] = 1
    cores: Annotated[int, Field(ge=1, le=4096)]
    memory: PositiveBytes
    pods: Annotated[int, Field(ge=1)] = 110
    vms: Annotated[int, Field(ge=0, le=1024)] = 0
    vm_cores: Annotated[int, Field(ge=0)] = 0
    vm_memory: Bytes = 0.0
    zone: str = ""
    network: BytesPerSecond = 125e6

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.vms * self.vm_memory > self.memory:
            wanted = f"{self.vms} virtual machines of {self.vm_memory:g} B"
            raise ValueError(f"{wanted} need more than the {self.memory:g} B of a host; make them smaller")
        return self

    def group(self) -> HostGroup:
        return HostGroup(
            name=self.name, count=self.count, cores=self.cores, memory_bytes=self.memory, pods=self.pods, vms=self.vms,
            vm_cores=self.vm_cores, vm_memory_bytes=self.vm_memory, zone=self.zone, network_bytes_per_s=self.network or inf,
        )  # fmt: skip


class ProbeEntry(_Entry):
    """What of a probe differs from the orchestrator's own."""

    period_s: PositiveSeconds | None = None
    timeout_s: PositiveSeconds | None = None
    failures: Annotated[int, Field(ge=1)] | None = None
    successes: Annotated[int, Field(ge=1)] | None = None
    delay_s: Seconds | None = None
    cpu_s: PositiveSeconds | None = None
    kind: Literal["request", "exec"] | None = None

    def probe(self, default: Probe) -> Probe:
        from dataclasses import replace  # noqa: PLC0415

        return replace(default, **self.model_dump(exclude_none=True))


class WorkEntry(_Entry):
    """CPU time of a request."""

    kind: Literal["constant", "exponential", "lognormal"] = "exponential"
    mean_s: PositiveSeconds
    cv: PositiveNumber = 1.0


class BalancerEntry(_Entry):
    """How requests find a replica."""

    using: str = ""
    """Profile of a balancer that asks its servers or leaves out those that fail; none, as the orchestrator does it, unless given."""
    pick: Literal["round-robin", "random", "least-requests"] = "round-robin"
    timeout_s: PositiveSeconds = 1.0
    retries: Annotated[int, Field(ge=0, le=100)] = 0
    retry_wait_s: Seconds = 0.0
    hedge_after_s: PositiveSeconds | None = None
    tied_after_s: PositiveSeconds | None = None

    def balancer(self, catalog: Catalog) -> Balancer:
        profile = catalog.orchestrator(self.using) if self.using else None
        return Balancer(
            pick=self.pick,
            timeout_s=self.timeout_s,
            retries=self.retries,
            retry_wait_s=self.retry_wait_s,
            hedge_after_s=inf if self.hedge_after_s is None else self.hedge_after_s,
            tied_after_s=inf if self.tied_after_s is None else self.tied_after_s,
            checks=profile.part(Checks) if profile else None,
            ejection=profile.part(Ejection) if profile else None,
        )


class CallEntry(_Entry):
    """Calls of one service to another."""

    to: str
    count: Annotated[int, Field(ge=1, le=10_000)] = 1


class DeploymentEntry(_Entry):
    """A container, how many of it, and the service that they offer."""

    name: Name
    replicas: Annotated[int, Field(ge=0, le=100_000)] = 1
    work: WorkEntry
    cpu_request: Number = 0.1
    cpu_limit: PositiveNumber | None = None
    memory: Bytes = 128e6
    workers: Annotated[int, Field(ge=0)] = 0
    queue: Annotated[int, Field(ge=0)] | None = None
    start_cpu_s: Seconds = 0.0
    readiness: bool | ProbeEntry = False
    liveness: bool | ProbeEntry = False
    startup: bool | ProbeEntry = False
    on_term: Literal["finish", "exit", "ignore"] = "finish"
    pre_stop_s: Seconds = 0.0
    grace_s: Seconds | None = None
    image: Bytes = 0.0
    spread_by: Literal["", "host", "machine"] = ""
    near: str = ""
    calls: tuple[CallEntry, ...] = ()
    balancer: BalancerEntry = BalancerEntry()

    def deployment(self, policy: Policy) -> Deployment:
        def probe(entry: bool | ProbeEntry) -> Probe | None:
            if isinstance(entry, bool):
                return policy.probe if entry else None
            return entry.probe(policy.probe)

        return Deployment(
            name=self.name,
            replicas=self.replicas,
            work=Work(kind=self.work.kind, mean_s=self.work.mean_s, cv=self.work.cv),
            cpu_request_cores=self.cpu_request,
            cpu_limit_cores=inf if self.cpu_limit is None else self.cpu_limit,
            memory_bytes=self.memory,
            workers=self.workers,
            queue_most=inf if self.queue is None else self.queue,
            start_cpu_s=self.start_cpu_s,
            readiness=probe(self.readiness),
            liveness=probe(self.liveness),
            startup=probe(self.startup),
            on_term=self.on_term,
            pre_stop_s=self.pre_stop_s,
            grace_s=self.grace_s,
            image_bytes=self.image,
            spread_by=self.spread_by,
            near=self.near,
            calls=tuple(Call(to=call.to, count=call.count) for call in self.calls),
        )


class LoadEntry(_Entry):
    """Clients of a service, from outside."""

    to: str
    rate_per_s: PositivePerSecond
    start_s: Seconds = 0.0
    end_s: PositiveSeconds | None = None
    step_s: Seconds | None = None
    step_end_s: Seconds | None = None
    factor: PositiveNumber = 1.0
    regular: bool = False

    def load(self) -> Load:
        times = {name: inf if (value := getattr(self, name)) is None else value for name in ("end_s", "step_s", "step_end_s")}
        return Load(to=self.to, rate_per_s=self.rate_per_s, start_s=self.start_s, factor=self.factor, regular=self.regular, **times)


_HOST_FAILURES = ("kill host", "kill vm", "boot", "cordon", "uncordon", "drain")


class FailureEntry(_Entry):
    """Something that is done at a time."""

    at_s: Seconds
    what: Literal["crash", "hang", "kill sandbox", "kill host", "kill vm", "boot", "cordon", "uncordon", "drain", "update", "scale"]
    whom: str
    to: Annotated[int, Field(ge=0, le=100_000)] = 0

    def failure(self) -> Failure:
        return Failure(at_s=self.at_s, what=self.what, whom=self.whom, to=float(self.to))


class ClusterScenario(_Entry):
    """What runs on a cluster, under which load, and what goes wrong."""

    name: Name = "cluster"
    orchestrator: str
    vm_restart: str = ""
    """Profile of what brings virtual machines back."""
    placement: str = "default"
    hosts: Annotated[tuple[Hosts, ...], Field(min_length=1)]
    deployments: Annotated[tuple[DeploymentEntry, ...], Field(min_length=1)]
    loads: tuple[LoadEntry, ...] = ()
    failures: tuple[FailureEntry, ...] = ()
    run: Run = Run(duration_s=600.0, warm_up_fraction=0.1, replications=5)
    override: dict[str, float | str] = {}
    """Numbers of the orchestrator set by hand, `table.field` → value, text with a unit, low or high."""

    def digest(self) -> str:
        """A fingerprint of everything that it says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def host_names(self) -> Iterator[str]:
        """Of machines and of what is on them."""
        for group in self.hosts:
            for i in range(group.count):
                name = f"{group.name}-{i + 1}" if group.count > 1 else group.name
                yield name
                yield from (f"{name}-vm{k + 1}" for k in range(group.vms))

    def policy(self, catalog: Catalog) -> Policy:
        return catalog.orchestrator(self.orchestrator, self.override).policy()

    def machine_policy(self, catalog: Catalog) -> MachineRestart | None:
        return catalog.orchestrator(self.vm_restart).part(MachineRestart) if self.vm_restart else None


def load_cluster_scenario(source: Path | str | Mapping[str, Any], catalog: Catalog) -> ClusterScenario:
    """Read a scenario from a file or a mapping and check it. Raises ScenarioError with every mistake."""
    document = read_toml(Path(source)) if isinstance(source, Path | str) else dict(source)
    try:
        scenario = ClusterScenario.model_validate(_tuples(document))
    except ValidationError as error:
        raise ScenarioError([*_problems(error), *_unknown_words(document, catalog)]) from None
    problems = list(_unknown(scenario, catalog))
    if problems:
        raise ScenarioError(problems)
    return scenario


def _tuples(value: Any) -> Any:
    """Lists as tuples, which is what a frozen description has."""
    if isinstance(value, list):
        return tuple(_tuples(one) for one in value)
    return {key: _tuples(one) for key, one in value.items()} if isinstance(value, dict) else value


def _problems(error: ValidationError) -> list[str]:
    """Each mistake once: path, value, what is wanted."""
    lines: dict[str, str] = {}
    found = error.errors(include_url=False)
    places = [problem["loc"] for problem in found]
    for problem in found:
        if problem["type"] == "too_short" and any(other[: len(problem["loc"])] == problem["loc"] != other for other in places):
            continue  # items are not missing: they are refused, for reasons that stand on other lines
        if problem["loc"][-1:] == ("bool",) and isinstance(problem["input"], dict):
            continue  # it is a table, and what is wrong in it stands on other lines
        place = [str(part) for part in problem["loc"] if part not in {"bool", "ProbeEntry"}]
        path = ".".join(place) or "scenario"
        if problem["type"] == "extra_forbidden":
            lines[path] = f"{path}: no such entry; {nearest(place[-1], _entries_beside(place))}"
        elif problem["type"] == "missing":
            lines[path] = f"{path}: missing; give it a value"
        else:
            read = problem["input"]
            shown = f"{read!r}; " if isinstance(read, str | int | float) and problem["type"] != "value_error" else ""
            message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            lines.setdefault(path, f"{path}: {shown}{message}")
    return list(lines.values())


def _entries_beside(place: list[str]) -> list[str]:
    parts: Mapping[str, type[BaseModel]] = {
        "hosts": Hosts, "deployments": DeploymentEntry, "loads": LoadEntry, "failures": FailureEntry, "run": Run, "work": WorkEntry,
        "readiness": ProbeEntry, "liveness": ProbeEntry, "startup": ProbeEntry, "balancer": BalancerEntry, "calls": CallEntry,
    }  # fmt: skip
    owner = next((part for part in reversed(place[:-1]) if not part.isdigit()), "")
    return list(parts.get(owner, ClusterScenario).model_fields)


def _unknown_words(document: Mapping[str, Any], catalog: Catalog) -> Iterator[str]:
    """Names that stand for nothing, of a document that is wrong elsewhere too."""
    names = catalog.names("orchestrators")
    orchestrator, placement = document.get("orchestrator"), document.get("placement", "default")
    if isinstance(orchestrator, str) and orchestrator not in names:
        yield f"orchestrator {orchestrator!r} is unknown; {nearest(orchestrator, names)}"
    if isinstance(placement, str) and placement not in RULES:
        yield f"placement: {placement!r} is unknown; {nearest(placement, RULES)}"
    services = [one["name"] for one in _tables(document, "deployments") if isinstance(one.get("name"), str)]
    for i, load in enumerate(_tables(document, "loads")):
        if isinstance(load.get("to"), str) and load["to"] not in services:
            yield f"loads.{i}.to: {load['to']!r} is no deployment; {nearest(load['to'], services)}"


def _tables(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = document.get(key, [])
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list | tuple) else []


def _unknown(scenario: ClusterScenario, catalog: Catalog) -> Iterator[str]:
    """Names that stand for nothing, and what cannot be."""
    names = catalog.names("orchestrators")
    try:
        scenario.policy(catalog)
    except CatalogError as error:
        yield from error.problems
    if scenario.vm_restart and (scenario.vm_restart not in names or scenario.machine_policy(catalog) is None):
        yield f"vm_restart: {scenario.vm_restart!r} does not restart machines; a profile with [machines] does, such as 'vm-restart'"
    if scenario.placement not in RULES:
        yield f"placement: {scenario.placement!r} is unknown; {nearest(scenario.placement, RULES)}"
    services = [one.name for one in scenario.deployments]
    for name in sorted({name for name in services if services.count(name) > 1}):
        yield f"deployments: {services.count(name)} are called {name!r}; give each a name of its own"
    for i, one in enumerate(scenario.deployments):
        using = one.balancer.using
        if using and (using not in names or not _balances(catalog, using)):
            yield f"deployments.{i}.balancer.using: {using!r} is no balancer; {nearest(using, names)}"
        if one.near and one.near not in services:
            yield f"deployments.{i}.near: {one.near!r} is no deployment; {nearest(one.near, services)}"
        for k, call in enumerate(one.calls):
            if call.to not in services:
                yield f"deployments.{i}.calls.{k}.to: {call.to!r} is no deployment; {nearest(call.to, services)}"
    yield from _circles(scenario)
    for i, load in enumerate(scenario.loads):
        if load.to not in services:
            yield f"loads.{i}.to: {load.to!r} is no deployment; {nearest(load.to, services)}"
    hosts = list(scenario.host_names())
    for i, failure in enumerate(scenario.failures):
        known = hosts if failure.what in _HOST_FAILURES else services
        if failure.whom not in known and not (known is services and failure.whom.rpartition("-")[0] in services):
            yield f"failures.{i}.whom: {failure.whom!r} is unknown to {failure.what!r}; {nearest(failure.whom, known)}"
        if failure.at_s >= scenario.run.duration_s:
            end_s = scenario.run.duration_s
            yield f"failures.{i}.at_s: {failure.at_s:g} s is not before the end of the run at {end_s:g} s; make run.duration_s longer"


def _balances(catalog: Catalog, name: str) -> bool:
    profile = catalog.orchestrator(name)
    return profile.part(Checks) is not None or profile.part(Ejection) is not None


def _circles(scenario: ClusterScenario) -> Iterator[str]:
    """Services that call themselves by way of others would never answer."""
    calls = {one.name: [call.to for call in one.calls] for one in scenario.deployments}
    for name, called in calls.items():
        seen: set[str] = set()
        waiting = list(called)
        while waiting:
            other = waiting.pop()
            if other == name:
                yield f"deployments: {name!r} calls itself by way of others; take one of the calls away"
                break
            if other not in seen:
                seen.add(other)
                waiting += calls.get(other, [])


