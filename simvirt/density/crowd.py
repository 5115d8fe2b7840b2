"""A scenario with any number of tenants: who of them multiplies, and for how long they are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log2
from typing import Final

from simvirt.catalog import Catalog
from simvirt.errors import ScenarioError
from simvirt.experiment.capacity import service_demands
from simvirt.scenario import Resolved, Run, Scenario, Tenants
from simvirt.slo import Slo
from simvirt.workloads.arrivals import ClosedLoop, Deterministic, Poisson, Renewal

__all__ = ["Crowd", "proportioned", "rate_of"]

MIDDLE: Final = 1.5
"""Of the numbers between two powers of two, over the lower one."""
BOUNDS_LOOKED_AT: Final = 10.0
"""A trial lasts at least so many times the longest time that is promised: a queue that grows slowly shows."""


def proportioned(counts: Sequence[int], total: int) -> tuple[int, ...]:
    """`total` tenants shared out in proportion to `counts`, at least one each; one more in all is one more of one group.

    Adams' method of divisors: each next tenant goes to the group that has the fewest for its count. Exact at multiples of the counts; no
    group ever loses a tenant as the total grows, which rounding of shares does not promise.
    """
    if total < len(counts):
        raise ValueError(f"total: {total} tenants of {len(counts)} groups; at least one each")
    whole = total // sum(counts)
    found = [count * whole for count in counts] if whole else [1] * len(counts)
    while sum(found) < total:
        i = min(range(len(counts)), key=lambda i: found[i] / counts[i])
        found[i] += 1
    return tuple(found)


@dataclass(frozen=True)
class Crowd:
    """A scenario whose tenants multiply: the first group alone beside the others as they are, or all groups in proportion (`mix`)."""

    scenario: Scenario
    mix: bool = False
    overcommit: float = 1.0
    """Memory that virtual machines may be promised, over the memory that there is."""
    requests: float = 4_000.0
    """About how many a replication simulates."""

    @property
    def varied(self) -> tuple[Tenants, ...]:
        """The groups that multiply."""
        return self.scenario.tenants if self.mix else self.scenario.tenants[:1]

    @property
    def fixed(self) -> tuple[Tenants, ...]:
        """The groups that stay as they are."""
        return () if self.mix else self.scenario.tenants[1:]

    @property
    def fewest(self) -> int:
        """Tenants that there are at least."""
        return len(self.varied)

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each varied group among the tenants."""
        counts = [group.count for group in self.varied]
        return tuple(count / sum(counts) for count in counts)

    def with_count(self, n: int) -> Scenario:
        """The scenario with `n` tenants in the groups that multiply, otherwise as it is."""
        counts = proportioned([group.count for group in self.varied], n)
        groups = [group.model_copy(update={"count": count}) for group, count in zip(self.varied, counts, strict=True)]
        return self.scenario.model_copy(update={"tenants": (*groups, *self.fixed)})

    def at(self, n: int, catalog: Catalog, slo: Slo) -> Scenario:
        """The scenario with `n` tenants, to be run for as long as it takes to judge it."""
        scenario = self.with_count(n)
        resolved = Resolved(scenario, catalog)
        machines = any(layer.provides_processors for layer in resolved.stack.layers)
        run = Run.model_validate({**scenario.run.model_dump(), "duration_s": self._duration_s(n, resolved, slo)})
        return scenario.model_copy(update={"run": run, "overcommit_memory": machines and self._overcommits})

    @property
    def _overcommits(self) -> bool:
        return self.overcommit > 1.0 or self.scenario.overcommit_memory

    def _duration_s(self, n: int, resolved: Resolved, slo: Slo) -> float:
        """Long enough for the requests wanted, for quantiles of each group, and for queues that grow slowly.

        The same for all numbers of tenants between two powers of two, so that neighbours are looked at over the same time. Loads whose rate
        is not the same all the time are looked at for as long as the scenario says.
        """
        scenario = self.scenario
        steady = all(isinstance(group.load, Poisson | Deterministic | Renewal | ClosedLoop) for group in scenario.tenants)
        if not steady:
            return scenario.run.duration_s
        octave = self.with_count(max(self.fewest, 1 << floor(log2(n))))
        rates = {group.name: group.count * rate_of(group, resolved) for group in octave.tenants}
        wanted_s = [self.requests / (MIDDLE * sum(rates.values()))] if sum(rates.values()) else []
        for clause in slo.clauses:
            told = [clause.group] if clause.group else list(rates)
            wanted_s += [1.5 * clause.requests_needed / rates[name] for name in told if rates[name]]
        looked_s = max(wanted_s, default=scenario.run.duration_s) / (1.0 - scenario.run.warm_up_fraction)
        return max(looked_s, BOUNDS_LOOKED_AT * slo.longest_s)


def rate_of(group: Tenants, resolved: Resolved) -> float:
    """Requests per second of one tenant; of a closed loop as many as its clients ask for where nobody waits."""
    if not isinstance(group.load, ClosedLoop):
        return group.load.rate_per_s
    index = next(i for i, one in enumerate(resolved.scenario.tenants) if one.name == group.name)
    stack, workload = resolved.ground(group), resolved.workloads[index]
    if stack is None:
        raise ScenarioError([f"tenants.{index}.on: {group.on!r}; this platform has no such place"])
    served_s = sum(one.demand_s for one in service_demands(stack, workload))
    return group.load.clients / (group.load.think.mean + served_s)
