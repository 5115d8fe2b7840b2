"""Whether what a scenario says fits together: with the catalog, with the machine, and within itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from simvirt.catalog import Catalog
from simvirt.cpu_limits import limit_misfits, too_many
from simvirt.errors import CatalogError, ScenarioError, StackError, nearest
from simvirt.layers.translation import BASE_PAGE_BYTES
from simvirt.memory_contention import memory_misfits, memory_notes
from simvirt.memory_plan import MemoryWish, misfits, together_too_large
from simvirt.scenario.description import Scenario, Tenants
from simvirt.scenario.disk import disk_misfits
from simvirt.scenario.faults import fault_misfits
from simvirt.scenario.resolved import Resolved
from simvirt.scenario.stressors import as_tenants, stressor_misfits
from simvirt.scheduler_choice import PLATFORM
from simvirt.startup_reader import is_start_path, strange_starts
from simvirt.table_reader import is_table_path
from simvirt.tenant_place import place_of
from simvirt.workloads.arrivals import ClosedLoop

__all__ = ["check_scenario", "scenario_notes", "unknown_names"]

MOST_REQUESTS: Final = 1e9
"""Requests that a replication may be expected to begin: hours of computing."""

Check = Callable[[Resolved], Iterator[str]]
"""Tells one kind of mistake, each with its path, what was read, the bound and a way out."""


def check_scenario(scenario: Scenario, catalog: Catalog) -> None:
    """Raise ScenarioError with everything that the catalog cannot provide or that does not fit together."""
    problems = unknown_names(scenario.model_dump(), catalog)
    if not problems:
        problems = stressor_misfits(scenario, catalog) or _misfits(Resolved(as_tenants(scenario, catalog), catalog))
    if problems:
        raise ScenarioError(problems)


def unknown_names(document: Mapping[str, Any], catalog: Catalog) -> list[str]:
    """Names of profiles that the catalog does not have, in a document that may have other mistakes too."""
    wanted = [("platform", "platforms", document.get("platform")), ("machine", "hardware", document.get("machine"))]
    choices = [(key, document.get(key)) for key in ("scheduler", "guest_scheduler")]
    wanted += [(key, "schedulers", name) for key, name in choices if name != PLATFORM]
    groups = document.get("tenants")
    if isinstance(groups, list | tuple):
        wanted += [(f"tenants.{i}.workload", "workloads", g.get("workload")) for i, g in enumerate(groups) if isinstance(g, Mapping)]
    faults = document.get("faults")
    if isinstance(faults, list | tuple):
        wanted += [(f"faults.{i}.fault", "faults", one.get("fault")) for i, one in enumerate(faults) if isinstance(one, Mapping)]
    stressors = document.get("stressors")
    if isinstance(stressors, list | tuple):
        wanted += [(f"stressors.{i}.stressor", "workloads", g.get("stressor")) for i, g in enumerate(stressors) if isinstance(g, Mapping)]
    return [
        f"{path}: {name!r} is unknown; {nearest(name, catalog.names(kind))}"
        for path, kind, name in wanted
        if isinstance(name, str) and name not in catalog.names(kind)
    ]


def scenario_notes(scenario: Scenario, catalog: Catalog) -> list[str]:
    """What a scenario that can be run leaves out."""
    resolved = Resolved(as_tenants(scenario, catalog), catalog)
    return memory_notes(list(resolved.groups), fluid=resolved.is_fluid)


def _misfits(resolved: Resolved) -> list[str]:
    """The mistakes of the first stage that finds any: what comes later takes for granted what came before."""
    try:
        resolved.stack  # noqa: B018
    except (CatalogError, StackError) as error:
        return list(error.problems)
    for stage in STAGES:
        problems = [problem for check in stage for problem in _told(check, resolved)]
        if problems:
            return problems
    return []


def _told(check: Check, resolved: Resolved) -> Iterator[str]:
    """What a check finds, and what keeps it from looking."""
    try:
        yield from check(resolved)
    except CatalogError as error:
        yield from error.problems


def _tenants(resolved: Resolved) -> Iterator[str]:
    """Places that there are not, workloads for other interfaces, more processors than the machine has."""
    stack = resolved.stack
    cores = stack.hardware.processors
    for i, group in enumerate(resolved.scenario.tenants):
        path = f"tenants.{i}"
        yield from _place(path, group, resolved)
        if group.cap_cores is not None and group.cap_cores > cores:
            yield f"{path}.cap_cores: {group.cap_cores:g} on a machine with {cores} cores; at most {cores}"
        if group.vcpus > cores and any(layer.provides_processors for layer in stack.layers):
            yield f"{path}.vcpus: {group.vcpus} on a machine with {cores} cores; at most {cores}"


def _place(path: str, group: Tenants, resolved: Resolved) -> Iterator[str]:
    try:
        workload = resolved.catalog.workload(group.workload, resolved.scenario.override)
    except CatalogError as error:
        yield from error.problems
        return
    stack, ground = resolved.stack, resolved.ground(group)
    if ground is None:
        yield f"{path}.on: 'host', but {stack.names[1]!r} on the bare machine has no users; use 'platform'"
    elif workload.requires != ground.provides:
        wanted = f"{group.workload!r} requires {workload.requires} and is offered {ground.provides} by {ground.names[-1]!r}"
        yield f"{path}.workload: {wanted}; choose a platform that provides {workload.requires}"
    if group.page_size != BASE_PAGE_BYTES and not workload.visits_pages:
        yield f"{path}.page_size: {group.workload!r} does not say how it visits its pages (no page_visits); remove it"
    yield from disk_misfits(path, group, workload, stack.hardware.memory_bytes.si)


def _starts(resolved: Resolved) -> Iterator[str]:
    """Numbers of starts, set by hand, that there are not."""
    override, catalog = resolved.scenario.override, resolved.catalog
    if any(map(is_start_path, override)):
        workloads = dict.fromkeys(group.workload for group in resolved.scenario.tenants)
        yield from strange_starts(override, [*(layer.name for layer in resolved.stack.layers), *workloads])
        for workload in workloads:
            catalog.starts(resolved.stack, workload, override)  # refuses numbers that are unknown


def _too_much(resolved: Resolved) -> Iterator[str]:
    """Loads that no computer simulates."""
    for i, group in enumerate(resolved.scenario.tenants):
        if isinstance(group.load, ClosedLoop):
            if group.load.clients * group.count > MOST_REQUESTS / 1e3:
                yield f"tenants.{i}.load.clients: {group.load.clients} for each of {group.count}; at most {MOST_REQUESTS / 1e3:.0f} in all"
        elif (expected := group.load.rate_per_s * group.count * resolved.scenario.run.duration_s) > MOST_REQUESTS:
            lasting = f"{resolved.scenario.run.duration_s:g} s"
            yield f"tenants.{i}.load: {expected:.3g} requests in {lasting}; at most {MOST_REQUESTS:g}, run shorter"


def _schedulers(resolved: Resolved) -> Iterator[str]:
    """What is wrong with the schedulers, with their parameters, and with what tenants ask of them."""
    scenario = resolved.scenario
    names = scenario.schedulers_on(resolved.stack)
    known = resolved.catalog.names("schedulers")
    for path in scenario.override:
        if (head := path.partition(".")[0]) in known and head not in names.values():
            used = " and ".join(dict.fromkeys(names.values()))
            yield f"override.{path}: this scenario's scheduler is {used}; choose the other by `scheduler`, or remove this"
    machine, *guests = resolved.schedulers.values()
    for one in {guest.name: guest for guest in guests if (guest.rules is None) is not (machine.rules is None)}.values():
        mixed = f"guest_scheduler: {one.name!r} in virtual machines on {machine.name!r}"
        yield f"{mixed}; fluid sharing and rules do not mix, choose both fluid or both by rules"
    yield from _odd_ticks(resolved)
    yield from _cpu_limits(resolved)


def _odd_ticks(resolved: Resolved) -> Iterator[str]:
    """Ticks per second, set by hand, that no such kernel has."""
    for one in {scheduling.name: scheduling for scheduling in resolved.schedulers.values()}.values():
        rules = one.rules
        by_hand = f"{one.name}.hz" in resolved.scenario.override
        if rules is not None and rules.ticks_per_s and by_hand and rules.hz not in rules.ticks_per_s:
            offered = ", ".join(f"{hz:g}" for hz in rules.ticks_per_s)
            yield f"override.{one.name}.hz: {rules.hz:g} Hz; a kernel is built with one of {offered}"


def _cpu_limits(resolved: Resolved) -> Iterator[str]:
    cores = resolved.stack.hardware.processors
    for i, group in enumerate(resolved.scenario.tenants):
        ground = resolved.ground(group)
        if ground is not None:  # else told already
            place = place_of(ground, resolved.shared_level, group.per_vm)
            yield from limit_misfits(f"tenants.{i}", group, place, cores, resolved.schedulers[place.kernel])
    yield from too_many(resolved.scenario.tenants, cores)


def _windows(resolved: Resolved) -> Iterator[str]:
    """Tenants that would come after the end of the run, and those that live nowhere."""
    run, groups = resolved.scenario.run, resolved.scenario.tenants
    for i, group in enumerate(groups):
        if group.start >= run.duration_s:
            yield f"tenants.{i}.start: {group.start:g} s in a run of {run.duration_s:g} s; below that, or run longer"
        if group.inside is not None:
            yield from _inside(f"tenants.{i}.inside", group, groups)


def _inside(path: str, group: Tenants, groups: tuple[Tenants, ...]) -> Iterator[str]:
    hosts = [other for other in groups if other.name == group.inside]
    if not hosts or hosts[0] is group:
        names = [other.name for other in groups if other is not group and other.inside is None]
        yield f"{path}: {group.inside!r} is no other group of tenants; {nearest(str(group.inside), names)}"
    elif hosts[0].inside is not None:
        yield f"{path}: {group.inside!r} lives inside {hosts[0].inside!r} itself; say {hosts[0].inside!r}"
    elif (group.count, group.per_vm, group.on, group.vcpus) != (hosts[0].count, hosts[0].per_vm, hosts[0].on, hosts[0].vcpus):
        yield f"{path}: {group.inside!r} has another count, vcpus, per_vm or place; one lives in each, so say the same"


def _tables(resolved: Resolved) -> Iterator[str]:
    """Sizes of tables, set by hand, of layers or of kinds that there are not."""
    layers = resolved.catalog.platform(resolved.scenario.platform).layers
    for path in resolved.scenario.override:
        if is_table_path(path) and path.partition(".")[0] not in layers:
            yield f"override.{path}: no such layer in this stack; it has {', '.join(layers)}"
    resolved.tables  # noqa: B018 - raises for the others


def _contention(resolved: Resolved) -> Iterator[str]:
    yield from memory_misfits(resolved.stack.hardware, list(resolved.groups), fluid=resolved.is_fluid)


def _memory(resolved: Resolved) -> Iterator[str]:
    """Sizes and limits of memory that are too small for what is in them, or too large for what they are in."""
    scenario, plans = resolved.scenario, resolved.memory_plans
    if plans is None:
        yield from _unknown_memory(resolved)
        return
    over = scenario.overcommit_memory
    for i, (group, plan) in enumerate(zip(scenario.tenants, plans, strict=True)):
        yield from misfits(f"tenants.{i}", group.memory_wish, plan, host_swap_bytes=scenario.swap, overcommit=over)
    machines = [0 if group.inside else (group.count + group.per_vm - 1) // group.per_vm for group in scenario.tenants]
    yield from together_too_large(list(zip(machines, plans, strict=True)), overcommit=over)
    if over and not any(plan.sizes for plan in plans):
        yield "overcommit_memory: true where there are no virtual machines; remove it, processes are always promised more"


def _unknown_memory(resolved: Resolved) -> Iterator[str]:
    """Entries of memory where a profile says nothing of it."""
    scenario, catalog = resolved.scenario, resolved.catalog
    wanted = [f"tenants.{i}" for i, group in enumerate(scenario.tenants) if group.memory_wish != MemoryWish() or group.oom_score_adj]
    wanted += [key for key, said in (("swap", scenario.swap), ("overcommit_memory", scenario.overcommit_memory)) if said]
    mute = [f"workload {group.workload!r} ([footprint])" for group, workload in resolved.groups if workload.footprint is None]
    layers = catalog.platform(scenario.platform).layers
    mute = mute or [f"layer {name!r} ([shortage])" for name in layers if catalog.layer_memory(name).shortage is None]
    for path in wanted:
        yield f"{path}: memory is asked for, but the profile of {' and '.join(dict.fromkeys(mute))} says nothing of it; add the table"


def _faults(resolved: Resolved) -> Iterator[str]:
    scenario = resolved.scenario
    for i, fault in enumerate(scenario.faults):
        profile = resolved.catalog.fault(fault.fault)
        yield from fault_misfits(f"faults.{i}", fault, profile, scenario.platform, resolved.grounds, scenario.run.duration_s)


STAGES: Final[tuple[tuple[Check, ...], ...]] = (
    (_tenants, _starts, _too_much, _schedulers, _windows, _tables),
    (_contention, _memory, _faults),
)
"""The checks; those of a later stage look only where the earlier ones found nothing."""
