"""Bounds on the number of tenants that are known before anything runs: what each resource allows by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, inf
from typing import Final

from simvirt.catalog import Catalog
from simvirt.demand import Demand
from simvirt.density.crowd import Crowd, rate_of
from simvirt.errors import ScenarioError
from simvirt.evidence import Cost
from simvirt.experiment.capacity import service_demands
from simvirt.layers.background import Background
from simvirt.layers.contract import Resource
from simvirt.layers.footprint import Scope
from simvirt.layers.operating_system import OperatingSystem
from simvirt.layers.path import plan_path
from simvirt.layers.stack import Stack
from simvirt.memory_plan import MemoryPlan
from simvirt.scenario import Resolved, Tenants, check_scenario

__all__ = ["Limit", "background_cpu_s", "limits_of"]

MOST_TENANTS: Final = 100_000
"""Where a search ends that nothing bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The most tenants that one resource allows; infinite where it is not known to bound them."""

    resource: str
    tenants: float
    """Not rounded: how close it is to the next tenant matters too."""
    hard: bool
    """Whether more cannot be there at all; else they can, and are served ever more slowly."""
    reason: str

    @property
    def whole(self) -> int:
        """Whole tenants; a relative rounding error of 1e-9 does not cost one."""
        return floor(min(self.tenants * (1 + 1e-9), MOST_TENANTS))


@dataclass(frozen=True, slots=True)
class _Member:
    """A group as a part of the crowd: so many of its tenants for each tenant, and so many that are always there."""

    group: Tenants
    share: float
    fixed: int
    stack: Stack


def limits_of(crowd: Crowd, catalog: Catalog) -> tuple[Limit, ...]:
    """Every bound, the tightest first.

    Busy resources: n tenants that ask for λ D seconds of a server each fill m servers at n = (m - what the others take) / (λ D), by the
    utilization law. An upper bound: wake-ups come on top, and a promise of response time breaks before. Closed loops ask for less when
    they wait; theirs is the number at which waiting begins (the knee of asymptotic bounds). Memory: what is taken at the start must fit;
    virtual machines are promised their whole size, over the ratio of overcommitment. Tables and rules: see `Maximum`.
    """
    resolved = Resolved(crowd.with_count(crowd.fewest), catalog)
    members = list(_members(crowd, resolved))
    found = [*_busy(members, resolved), *_memory(crowd, resolved), *_tables(members, resolved), *_rules(members, resolved)]
    return tuple(sorted((*found, *_checked(crowd, catalog, found)), key=lambda limit: limit.tenants))


def background_cpu_s(stack: Stack, level: int, background: Background) -> float:
    """CPU seconds that an idle system of a virtual machine takes per second: every wake-up finds everybody asleep, its processor halted.

    The time that a core needs to leave an idle state is not in it: kernels do not count it as work.
    """
    path = plan_path(Stack(stack.layers[: level + 1]), background.demand)
    steps = [step for step in path.steps if step.resource is Resource.CPU]
    first = next(iter(steps))
    halted_s = sum(amounts.total for _, amounts in first.idle)
    woken_s = sum(step.asleep.total + step.notify.total for step in steps)
    return background.wakeups_per_s.si * (path.cpu_s() + woken_s + halted_s)


def _members(crowd: Crowd, resolved: Resolved) -> Iterator[_Member]:
    shares = {group.name: share for group, share in zip(crowd.varied, crowd.shares, strict=True)}
    for group in resolved.scenario.tenants:
        stack = resolved.ground(group)
        if stack is None:
            raise ScenarioError([f"tenants {group.name!r}: on {group.on!r}; this platform has no such place"])
        varied = group.name in shares
        yield _Member(group, shares.get(group.name, 0.0), 0 if varied else group.count, stack)


def _busy(members: list[_Member], resolved: Resolved) -> Iterator[Limit]:
    per_tenant: dict[str, float] = {}
    taken: dict[str, float] = {}
    servers: dict[str, float] = {}
    workloads = {group.name: workload for group, workload in resolved.groups}
    for member in members:
        rate = rate_of(member.group, resolved)
        for one in service_demands(member.stack, workloads[member.group.name]):
            if member.group.peer == "host" and one.resource.startswith("network"):
                continue
            servers[one.resource] = one.servers
            per_tenant[one.resource] = per_tenant.get(one.resource, 0.0) + member.share * rate * one.demand_s
            taken[one.resource] = taken.get(one.resource, 0.0) + member.fixed * rate * one.demand_s
    if resolved.guest is not None:
        idle_s = background_cpu_s(resolved.stack, *resolved.guest)
        machines = [(m.share / m.group.per_vm, m.fixed / m.group.per_vm) for m in members if m.group.on == "platform"]
        per_tenant["CPU"] += idle_s * sum(share for share, _ in machines)
        taken["CPU"] += idle_s * sum(fixed for _, fixed in machines)
    for resource, each in per_tenant.items():
        left = max(0.0, servers[resource] - taken[resource])
        what = f"{servers[resource]:g} {_SERVERS[resource]}, {100 * each / servers[resource]:.3g} % of them for each tenant"
        yield Limit(resource=resource, tenants=left / each if each else inf, hard=False, reason=what)


_SERVERS = {"CPU": "cores", "disk": "channels", "disk bus": "bus", "network in": "wire", "network out": "wire"}


def _memory(crowd: Crowd, resolved: Resolved) -> Iterator[Limit]:
    plans = resolved.memory_plans
    if plans is None:
        mute = [repr(workload.name) for _, workload in resolved.groups if workload.footprint is None]
        who = " and ".join(dict.fromkeys(mute)) or "a layer of the platform"
        yield Limit(resource="memory", tenants=inf, hard=True, reason=f"not bounded by memory: the profile of {who} says nothing of it")
        return
    shares = {group.name: share for group, share in zip(crowd.varied, crowd.shares, strict=True)}
    host_bytes = resolved.stack.hardware.memory_bytes.si
    ratio = crowd.overcommit if any(plan.sizes for plan in plans) else 1.0
    own = max(plan.own_bytes(0) for plan in plans)
    once = sum(_once_bytes(plan) for plan in plans)
    each = taken = 0.0
    for group, plan in zip(resolved.scenario.tenants, plans, strict=True):
        size = _each_bytes(plan)
        each += shares.get(group.name, 0.0) * size
        taken += 0.0 if group.name in shares else group.count * size
    left = max(0.0, ratio * (host_bytes - own) - once - taken)
    given = f", promised {ratio:g} times" if ratio != 1.0 else ""
    what = f"{host_bytes / 2**30:.4g} GiB{given}, {(own + once) / 2**30:.3g} GiB of it taken, {each / 2**20:.4g} MiB for each tenant"
    grows = [plan.workload for plan in plans if plan.most_growth_bytes]
    more = f"; {' and '.join(dict.fromkeys(grows))} may grow beyond that" if grows and not all(plan.sizes for plan in plans) else ""
    yield Limit(resource="memory", tenants=left / each if each else inf, hard=True, reason=what + more)


def _once_bytes(plan: MemoryPlan) -> float:
    """What all tenants of a group take once of the machine's memory: the pages of their program, where the same kernel has them."""
    return sum(part.size_bytes for part in plan.parts if part.pool == 0 and part.scope is Scope.IMAGE)


def _each_bytes(plan: MemoryPlan) -> float:
    """What one tenant takes of the machine's memory: its part of a virtual machine and of what stands beside that, or its own."""
    own = sum(part.size_bytes for part in plan.parts if part.pool == 0 and part.scope is Scope.TENANT)
    return own + ((plan.sizes[0].size_bytes + plan.beside_bytes(0)) / plan.per_vm if plan.sizes else 0.0)


def _tables(members: list[_Member], resolved: Resolved) -> Iterator[Limit]:
    """Tables of the kernel that all tenants share: tracked connections, by how long an entry stays."""
    kernel = resolved.stack.layers[1]
    if not isinstance(kernel, OperatingSystem) or not kernel.network.tracked_connections.si:
        return
    timeout_s = kernel.network.tracking_timeout_s.si
    workloads = {group.name: workload for group, workload in resolved.groups}
    each = taken = 0.0
    for member in members:
        entries = _tracked(member.stack, workloads[member.group.name].demand) * rate_of(member.group, resolved) * timeout_s
        each += member.share * entries
        taken += member.fixed * entries
    if each:
        size = kernel.network.tracked_connections.si
        what = f"{size:g} entries, {each:.3g} for each tenant"
        yield Limit(resource="table of connections", tenants=max(0.0, size - taken) / each, hard=False, reason=what)


def _tracked(stack: Stack, demand: Demand) -> float:
    """Entries of the host's table per request."""
    steps = [step for step in plan_path(stack, demand).steps if step.resource is Resource.TRACKING]
    return sum(step.fixed.total for step in steps if step.context.level == 1)


def _rules(members: list[_Member], resolved: Resolved) -> Iterator[Limit]:
    """Bounds by rule, of the layers that all tenants share or that stand right on them."""
    here = [member for member in members if member.group.on == "platform"]
    cores = resolved.stack.hardware.cores.si
    machines = (sum(m.share / m.group.per_vm for m in here), sum(m.fixed / m.group.per_vm for m in here))
    tenants = (sum(m.share for m in here), float(sum(m.fixed for m in here)))
    vcpus = (sum(m.share * m.group.vcpus / m.group.per_vm for m in here), sum(m.fixed * m.group.vcpus / m.group.per_vm for m in here))
    for level, (layer, tables) in enumerate(zip(resolved.stack.layers, resolved.layer_tables, strict=True)):
        if resolved.stack.kernel_level(level - 1) > resolved.shared_level:
            continue
        inside = machines if any(one.provides_processors for one in resolved.stack.layers) else tenants
        bounds: tuple[tuple[str, str, Cost | None, float, tuple[float, float]], ...] = (
            ("administrative maximum", "virtual machines", tables.maximum.instances, 1.0, inside),
            ("administrative maximum", "virtual processors per core", tables.maximum.vcpus_per_core, cores, vcpus),
            ("kernel table", "ports of a bridge", tables.maximum.bridge_ports, 1.0, inside),
        )
        for resource, words, cost, factor, (share, fixed) in bounds:
            if cost is not None and cost.si:
                most = max(0.0, cost.si * factor - fixed) / share if share else inf
                yield Limit(resource=resource, tenants=most, hard=True, reason=f"{cost.si:g} {words} ({layer.name}, {cost.source})")


def _checked(crowd: Crowd, catalog: Catalog, found: list[Limit]) -> Iterator[Limit]:
    """What the checks of a scenario refuse although the limits found so far allow it; found by bisection, without running."""
    high = min([limit.whole for limit in found], default=MOST_TENANTS)
    if high < crowd.fewest or (problem := _refused(crowd, catalog, high)) is None:
        return
    low = crowd.fewest - 1
    while high - low > 1:
        middle = (low + high) // 2
        refusal = _refused(crowd, catalog, middle)
        low, high, problem = (middle, high, problem) if refusal is None else (low, middle, refusal)
    yield Limit(resource="refused", tenants=float(low), hard=True, reason=problem)


def _refused(crowd: Crowd, catalog: Catalog, n: int) -> str | None:
    """Why a scenario with `n` tenants cannot be run, if it cannot."""
    scenario = crowd.with_count(n)
    machines = any(layer.provides_processors for layer in Resolved(scenario, catalog).stack.layers)
    over = machines and (crowd.overcommit > 1.0 or scenario.overcommit_memory)
    try:
        check_scenario(scenario.model_copy(update={"overcommit_memory": over}), catalog)
    except ScenarioError as error:
        return "; ".join(error.problems)
    return None
