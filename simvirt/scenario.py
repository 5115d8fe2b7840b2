"""A scenario: what runs where, under which load, for how long. Frozen data, from TOML or Python; every mistake is reported at once."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from simvirt.catalog import Catalog, Overrides
from simvirt.cpu_limits import CpuLimits, CpuMax, limit_misfits, too_many
from simvirt.errors import CatalogError, ScenarioError, StackError, nearest
from simvirt.footprint_reader import LayerMemory, is_memory_path
from simvirt.layers.page_cache import reads_through_cache
from simvirt.layers.stack import Stack
from simvirt.memory_contention import memory_misfits, memory_notes
from simvirt.memory_plan import MemoryGround, MemoryPlan, MemoryWish, misfits, together_too_large
from simvirt.quantities import Bytes, PositiveBytes, PositiveBytesPerSecond, PositiveNumber, PositivePerSecond, PositiveSeconds
from simvirt.resources.cpu.scheduling import Scheduling
from simvirt.scheduler_choice import PLATFORM, schedulers_on
from simvirt.tenant_place import place_of
from simvirt.units import format_quantity
from simvirt.workloads.arrivals import Arrivals, ClosedLoop
from simvirt.workloads.distributions import Distribution
from simvirt.workloads.profile import Workload

__all__ = [
    "IoMax",
    "Run",
    "Scenario",
    "Tenants",
    "check_scenario",
    "host_stack",
    "load_scenario",
    "memory_plans",
    "read_document",
    "scenario_notes",
]


MOST_REPLICATIONS: Final = 10_000
MOST_REQUESTS: Final = 1e9
"""Requests that a replication may be expected to begin: hours of computing."""


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IoMax(_Description):
    """Limits on what a tenant asks of the disk, named as in cgroup v2's io.max; none unless given."""

    riops: Annotated[PositivePerSecond, Field(ge=1)] | None = None
    """Reads per second."""
    wiops: Annotated[PositivePerSecond, Field(ge=1)] | None = None
    """Writes per second."""
    rbps: Annotated[PositiveBytesPerSecond, Field(ge=1)] | None = None
    """Bytes read per second."""
    wbps: Annotated[PositiveBytesPerSecond, Field(ge=1)] | None = None
    """Bytes written per second."""


class Tenants(CpuLimits):
    """A group of equal tenants: the same workload under the same load, each in an instance of its own."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")] = "tenant"
    workload: str
    load: Arrivals
    """Of each tenant."""
    weight: Annotated[PositiveNumber, Field(ge=1e-6, le=1e6)] = 1.0
    """Weight of the tenant among its siblings: 1 is the default share of whoever shares the CPU (not 1024, not 256)."""
    threads: Annotated[int, Field(ge=0)] | None = None
    """Worker threads of the application; as in the workload unless given, 0 for one per request."""
    on: Literal["platform", "host"] = "platform"
    """Whether they stand on the whole platform, or on the operating system of the host (its own users)."""
    peer: Literal["network", "host"] = "network"
    """Where their clients are: beyond the network card, or on a bridge of the same host."""
    llc_bytes: Annotated[Bytes, Field(gt=0)] | None = None
    """A part of each last-level cache that only this tenant fills, and beyond which it does not; none unless given."""
    home_node: Annotated[int, Field(ge=0)] | None = None
    """The NUMA node that its memory is in; where it first runs unless given."""
    io_weight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Weight at the disk, 100 being the default; the disk serves first come first served unless some tenant has one."""
    io_max: IoMax | None = None
    file_set: PositiveBytes | None = None
    """Bytes of the files that it reads through the page cache; they all fit into it unless given."""
    page_cache: Bytes = 0.0
    """Bytes that the page cache of its own kernel has for it, where `file_set` is given."""
    host_page_cache: Bytes = 0.0
    """Bytes that the page cache of a host below has for its virtual disk, where the disk is a file there."""
    memory: PositiveBytes | None = None
    """Size of their virtual machine, large enough for them unless given; elsewhere what takes the place of the workload's resident set."""
    memory_max: PositiveBytes | None = None
    """Limit of their control group, beyond which somebody in it is killed; none unless given, as in real systems."""
    memory_high: PositiveBytes | None = None
    """Size of their control group from which on it is slowed down; none unless given."""
    swap: Bytes | None = None
    """Swap space of their virtual machine, none unless given; elsewhere a limit to what they may have of the host's."""
    oom_score_adj: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Thousandths of the memory added to their badness when somebody has to be killed; -1000 spares them."""

    @property
    def memory_wish(self) -> MemoryWish:
        """What is said of their memory."""
        return MemoryWish(memory=self.memory, memory_max=self.memory_max, memory_high=self.memory_high, swap=self.swap)


class Run(_Description):
    """How long to look, and how often."""

    duration_s: PositiveSeconds = 10.0
    """Simulated time, warm-up included."""
    warm_up_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Part of the duration that is not looked at."""
    replications: Annotated[int, Field(ge=1, le=MOST_REPLICATIONS)] = 5
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
    scheduler: str = "fluid"
    """How the machine's cores are shared: a profile of a CPU scheduler, or `platform` for what each kernel of the platform has."""
    guest_scheduler: str | None = None
    """How virtual machines share theirs inside, likewise; as the machine unless given."""
    swap: Bytes = 0.0
    """Swap space of the host, for its processes; none unless given. Swap files that a hypervisor makes for its machines come with it."""
    overcommit_memory: bool = False
    """Whether virtual machines may be promised more memory than there is."""
    override: dict[str, float | str] = {}
    """Numbers set by hand: `layer.field` or `workload.request.operation.field` → value in its own unit, text with a unit,
    or the word low or high for that end of its range."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [group.name for group in self.tenants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"tenants {', '.join(twice)}: named twice; give each group a name of its own")
        for group in self.tenants:
            members = re.compile(re.escape(group.name) + r"( vm)? \d+")
            taken = [name for name in names if (group.count > 1 or group.per_vm > 1) and members.fullmatch(name)]
            if taken:
                raise ValueError(f"tenants {taken[0]}: the name of a member of {group.name!r}; give it another name")
        return self

    def schedulers_on(self, stack: Stack) -> Mapping[str, str]:
        """The name of a CPU scheduler for each layer of a stack that schedules, the machine's first."""
        return schedulers_on(stack, self.scheduler, self.guest_scheduler)

    def layer_overrides(self, catalog: Catalog) -> Overrides:
        """The overrides that are for no workload of its own, no scheduler and no memory."""
        others = (*(f"{group.workload}." for group in self.tenants), *(f"{name}." for name in catalog.names("schedulers")))
        return {path: wanted for path, wanted in self.override.items() if not path.startswith(others) and not is_memory_path(path)}

    def digest(self) -> str:
        """A fingerprint of everything that it says."""
        document = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()[:16]


def load_scenario(source: Path | str | Mapping[str, Any], catalog: Catalog) -> Scenario:
    """Read a scenario from a TOML file, TOML text in a mapping, and check it against the catalog.

    Raises ScenarioError with every mistake: path, value, bound and a way out.
    """
    document = read_document(Path(source)) if isinstance(source, Path | str) else dict(source)
    try:
        scenario = Scenario.model_validate(document)
    except ValidationError as error:
        raise ScenarioError([*_problems(error, document), *_unknown_names(document, catalog)]) from None
    check_scenario(scenario, catalog)
    return scenario


def check_scenario(scenario: Scenario, catalog: Catalog) -> None:
    """Raise ScenarioError with everything that the catalog cannot provide or that does not fit together."""
    problems = _unknown_names(scenario.model_dump(), catalog)
    if not problems:
        problems = _misfits(scenario, catalog)
    if problems:
        raise ScenarioError(problems)


def read_document(path: Path) -> dict[str, Any]:
    """What stands in a TOML file, not checked. Raises ScenarioError if it cannot be read."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ScenarioError([f"{path}: {error.strerror}; give the path of a scenario in TOML"]) from None
    except UnicodeDecodeError as error:
        raise ScenarioError([f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); a scenario is a TOML file"]) from None
    try:
        document = tomllib.loads(text)
    except (RecursionError, ValueError) as error:  # what TOML refuses, and what Python does not read
        raise ScenarioError([f"{path}: {error}; the file may be cut off or not be TOML"]) from None
    if not document:
        raise ScenarioError([f"{path}: empty; a scenario needs at least a platform and [[tenants]] with workload and load"])
    return document


def _problems(error: ValidationError, document: Mapping[str, Any]) -> list[str]:
    """Each mistake that pydantic found, once: its path in the document, the value that was read, what is wanted."""
    found = error.errors(include_url=False)
    places = [problem["loc"] for problem in found]
    lines: dict[str, str] = {}
    for problem in found:
        place = problem["loc"]
        if problem["type"] == "too_short" and any(other[: len(place)] == place != other for other in places):
            continue  # items are not missing: they are refused, for reasons that stand on other lines
        path = _path(place, document)
        read = problem["input"]
        shown = isinstance(read, str | int | float) and problem["type"] not in ("quantity", "value_error", "extra_forbidden")
        lines.setdefault(path, f"{path}: " + (f"{read!r}; " if shown else "") + _advice(problem))
    return list(lines.values())


def _path(place: tuple[int | str, ...], document: Mapping[str, Any]) -> str:
    """The place of a mistake as the document spells it, without the tags by which pydantic tells the kinds of a union apart."""
    if place[:1] == ("override",):
        return ".".join(map(str, place[:2]))
    parts: list[str] = []
    here: Any = document
    for i, part in enumerate(place):
        known = part in here if isinstance(here, Mapping) else isinstance(here, list | tuple) and isinstance(part, int)
        if known:
            here = here[part]
        if known or (i == len(place) - 1 and isinstance(here, Mapping)):
            parts.append(str(part))
    return ".".join(parts) or "scenario"


_ADVICE: Final = {
    "missing": "missing; give it a value",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "{actual_length} given; at least {min_length}",
    "literal_error": "must be {expected}",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text in quotes",
    "string_pattern_mismatch": "must be made of letters, digits, blanks and . _ -, with a letter or a digit first",
    "tuple_type": "must be a list; a table that stands in a list has two brackets, such as [[tenants]]",
    "model_type": "must be a table of entries",
    "dict_type": "must be a table of entries",
    "model_attributes_type": 'must be a table with a kind, such as {{ kind = "poisson", rate_per_s = "200 /s" }}',
    "union_tag_not_found": "kind is missing; say which, such as {{ kind = \"poisson\", rate_per_s = \"200 /s\" }}",
    "union_tag_invalid": "kind '{tag}' is unknown; use one of {expected_tags}",
}
"""What is wanted, by pydantic's name of the mistake."""


def _advice(problem: ErrorDetails) -> str:
    kind, place = problem["type"], problem["loc"]
    if place[:1] == ("override",) and len(place) > 1:
        wanted = "must be a number in the cost's own unit, text with a unit, or low or high"
        return f'{wanted}, after the whole path in quotes: "layer.field" = 3'
    if kind == "extra_forbidden":
        return f"no such entry; {nearest(str(place[-1]), _entries_beside(place))}"
    if kind in _ADVICE:
        return _ADVICE[kind].format(**problem.get("ctx", {}))
    return problem["msg"].removeprefix("Value error, ")


def _entries_beside(place: tuple[int | str, ...]) -> Iterable[str]:
    """What the part of a scenario that holds an entry may have."""
    parts: dict[Any, type[BaseModel]] = {"": Scenario, "run": Run, "cpu_max": CpuMax, "io_max": IoMax}
    for union in (Arrivals, Distribution):
        parts |= {cls.model_fields["kind"].default: cls for cls in get_args(get_args(union)[0])}
    owner = place[-2] if len(place) > 1 else ""
    return parts.get(owner, Tenants).model_fields


def _unknown_names(document: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Names of profiles that the catalog does not have, in a document that may have other mistakes too."""
    wanted = [("platform", "platforms", document.get("platform")), ("machine", "hardware", document.get("machine"))]
    choices = [(key, document.get(key)) for key in ("scheduler", "guest_scheduler")]
    wanted += [(key, "schedulers", name) for key, name in choices if name != PLATFORM]
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
        stack = catalog.stack(scenario.platform, scenario.machine, scenario.layer_overrides(catalog))
    except (CatalogError, StackError) as error:
        return list(error.problems)
    groups = enumerate(scenario.tenants)
    problems = [p for i, group in groups for p in _tenant_misfits(f"tenants.{i}", group, stack, catalog, scenario.override)]
    problems += [*_too_much(scenario), *_scheduler_misfits(scenario, catalog, stack)]
    if problems:
        return problems
    contention = memory_misfits(stack.hardware, _workloads(scenario, catalog), fluid=_is_fluid(scenario, catalog, stack))
    return [*contention, *_memory_misfits(scenario, catalog)]


def scenario_notes(scenario: Scenario, catalog: Catalog) -> list[str]:
    """What a scenario that can be run leaves out."""
    stack = catalog.stack(scenario.platform, scenario.machine, scenario.layer_overrides(catalog))
    return memory_notes(_workloads(scenario, catalog), fluid=_is_fluid(scenario, catalog, stack))


def _workloads(scenario: Scenario, catalog: Catalog) -> list[tuple[Tenants, Workload]]:
    return [(group, catalog.workload(group.workload, scenario.override)) for group in scenario.tenants]


def _is_fluid(scenario: Scenario, catalog: Catalog, stack: Stack) -> bool:
    machine = next(iter(scenario.schedulers_on(stack).values()))
    return catalog.scheduling(machine, scenario.override).rules is None


def _too_much(scenario: Scenario) -> Iterator[str]:
    """Loads that no computer simulates."""
    for i, group in enumerate(scenario.tenants):
        if isinstance(group.load, ClosedLoop):
            if group.load.clients * group.count > MOST_REQUESTS / 1e3:
                yield f"tenants.{i}.load.clients: {group.load.clients} for each of {group.count}; at most {MOST_REQUESTS / 1e3:.0f} in all"
        elif (expected := group.load.rate_per_s * group.count * scenario.run.duration_s) > MOST_REQUESTS:
            yield f"tenants.{i}.load: {expected:.3g} requests in {scenario.run.duration_s:g} s; at most {MOST_REQUESTS:g}, run shorter"


def _scheduler_misfits(scenario: Scenario, catalog: Catalog, stack: Stack) -> Iterator[str]:
    """What is wrong with the schedulers, with their parameters, and with what tenants ask of them."""
    names = scenario.schedulers_on(stack)
    known = catalog.names("schedulers")
    for path in scenario.override:
        if (head := path.partition(".")[0]) in known and head not in names.values():
            used = " and ".join(dict.fromkeys(names.values()))
            yield f"override.{path}: this scenario's scheduler is {used}; choose the other by `scheduler`, or remove this"
    try:
        by_kernel = {kernel: catalog.scheduling(name, scenario.override) for kernel, name in names.items()}
    except CatalogError as error:
        yield from error.problems
        return
    machine, *guests = by_kernel.values()
    for one in {guest.name: guest for guest in guests if (guest.rules is None) is not (machine.rules is None)}.values():
        mixed = f"guest_scheduler: {one.name!r} in virtual machines on {machine.name!r}"
        yield f"{mixed}; fluid sharing and rules do not mix, choose both fluid or both by rules"
    yield from _odd_ticks(scenario, by_kernel.values())
    yield from _limit_misfits(scenario, catalog, stack, by_kernel)


def _odd_ticks(scenario: Scenario, used: Iterable[Scheduling]) -> Iterator[str]:
    """Ticks per second, set by hand, that no such kernel has."""
    for one in {scheduling.name: scheduling for scheduling in used}.values():
        rules = one.rules
        if rules is not None and rules.ticks_per_s and f"{one.name}.hz" in scenario.override and rules.hz not in rules.ticks_per_s:
            offered = ", ".join(f"{hz:g}" for hz in rules.ticks_per_s)
            yield f"override.{one.name}.hz: {rules.hz:g} Hz; a kernel is built with one of {offered}"


def _limit_misfits(scenario: Scenario, catalog: Catalog, stack: Stack, by_kernel: Mapping[str, Scheduling]) -> Iterator[str]:
    platform = catalog.platform(scenario.platform)
    cores = stack.hardware.processors
    for i, group in enumerate(scenario.tenants):
        ground = stack if group.on == "platform" else host_stack(stack)
        if ground is not None:  # else told already
            place = place_of(ground, 1 + platform.layers.index(platform.shared), group.per_vm)
            yield from limit_misfits(f"tenants.{i}", group, place, cores, by_kernel[place.kernel])
    yield from too_many(scenario.tenants, cores)


def memory_plans(scenario: Scenario, catalog: Catalog) -> tuple[MemoryPlan, ...] | None:
    """The memory of each group of tenants; None if a profile says nothing of memory, which then has no bounds. Raises CatalogError."""
    workloads = [catalog.workload(group.workload, scenario.override) for group in scenario.tenants]
    stack = catalog.stack(scenario.platform, scenario.machine, scenario.layer_overrides(catalog))
    platform = catalog.platform(scenario.platform)
    layers = (LayerMemory(), *(catalog.layer_memory(name, scenario.override) for name in platform.layers))
    ground = MemoryGround(stack, layers, 1 + platform.layers.index(platform.shared))
    host = host_stack(stack)
    plans = []
    for group, workload in zip(scenario.tenants, workloads, strict=True):
        under = ground if group.on == "platform" or host is None else MemoryGround(host, layers[:2], 1)
        if workload.footprint is None or under.rules is None:
            return None
        plans.append(MemoryPlan.of(under, group.workload, workload.footprint, group.memory_wish, group.vcpus, group.per_vm))
    return tuple(plans)


def _memory_misfits(scenario: Scenario, catalog: Catalog) -> list[str]:
    try:
        plans = memory_plans(scenario, catalog)
    except CatalogError as error:
        return list(error.problems)
    if plans is None:
        return list(_unknown_memory(scenario, catalog))
    over = scenario.overcommit_memory
    problems: list[str] = []
    for i, (group, plan) in enumerate(zip(scenario.tenants, plans, strict=True)):
        problems += misfits(f"tenants.{i}", group.memory_wish, plan, host_swap_bytes=scenario.swap, overcommit=over)
    machines = [(group.count + group.per_vm - 1) // group.per_vm for group in scenario.tenants]
    problems += together_too_large(list(zip(machines, plans, strict=True)), overcommit=over)
    if over and not any(plan.sizes for plan in plans):
        problems.append("overcommit_memory: true where there are no virtual machines; remove it, processes are always promised more")
    return problems


def _unknown_memory(scenario: Scenario, catalog: Catalog) -> Iterator[str]:
    """Entries of memory where a profile says nothing of it."""
    wanted = [f"tenants.{i}" for i, group in enumerate(scenario.tenants) if group.memory_wish != MemoryWish() or group.oom_score_adj]
    wanted += [key for key, said in (("swap", scenario.swap), ("overcommit_memory", scenario.overcommit_memory)) if said]
    mute = [f"workload {g.workload!r} ([footprint])" for g in scenario.tenants if catalog.workload(g.workload).footprint is None]
    layers = catalog.platform(scenario.platform).layers
    mute = mute or [f"layer {name!r} ([shortage])" for name in layers if catalog.layer_memory(name).shortage is None]
    for path in wanted:
        yield f"{path}: memory is asked for, but the profile of {' and '.join(dict.fromkeys(mute))} says nothing of it; add the table"


def _tenant_misfits(path: str, group: Tenants, stack: Stack, catalog: Catalog, overrides: Overrides) -> list[str]:
    try:
        workload = catalog.workload(group.workload, overrides)
    except CatalogError as error:
        return list(error.problems)
    problems = []
    ground = stack if group.on == "platform" else host_stack(stack)
    if ground is None:
        problems.append(f"{path}.on: 'host', but {stack.names[1]!r} on the bare machine has no users; use 'platform'")
    elif workload.requires != ground.provides:
        wanted = f"{group.workload!r} requires {workload.requires} and is offered {ground.provides} by {ground.names[-1]!r}"
        problems.append(f"{path}.workload: {wanted}; choose a platform that provides {workload.requires}")
    cores = stack.hardware.processors
    if group.cap_cores is not None and group.cap_cores > cores:
        problems.append(f"{path}.cap_cores: {group.cap_cores:g} on a machine with {cores} cores; at most {cores}")
    if group.vcpus > cores and any(layer.provides_processors for layer in stack.layers):
        problems.append(f"{path}.vcpus: {group.vcpus} on a machine with {cores} cores; at most {cores}")
    return [*problems, *_file_misfits(path, group, workload, stack.hardware.memory_bytes.si)]


def _file_misfits(path: str, group: Tenants, workload: Workload, memory_bytes: float) -> Iterator[str]:
    """Sizes of page caches that nothing would use, or that no memory holds."""
    reads = any(reads_through_cache(request.demand) for request in workload.requests)
    if group.file_set is not None and not reads:
        yield f"{path}.file_set: {group.workload!r} reads no files through the page cache (no file_read); remove it"
    for entry in ("page_cache", "host_page_cache"):
        if getattr(group, entry) > memory_bytes:
            cached, there = getattr(group, entry), format_quantity(memory_bytes, "size")
            yield f"{path}.{entry}: {format_quantity(cached, 'size')} on a machine with {there}; at most {there}"
        if getattr(group, entry) and group.file_set is None:
            yield f"{path}.{entry}: {getattr(group, entry):g} B, but no file_set says how much is read; give file_set, or remove this"


def host_stack(stack: Stack) -> Stack | None:
    """What the host's own users stand on: hardware and an operating system; None if the hardware carries a hypervisor."""
    return Stack(stack.layers[:2]) if stack.layers[1].provides.kind == "os" else None
