"""Runs a cluster scenario, and what one run found: per service like every other run, and when failures were seen and mended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from simvirt.catalog import Catalog
from simvirt.cluster.cluster import Cluster
from simvirt.cluster.log import Entry
from simvirt.cluster.router import Router
from simvirt.cluster_scenario import ClusterScenario
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.metrics.tidy import Row
from simvirt.randomness import Streams
from simvirt.scenario import Run
from simvirt.simulation.outcome import ClassTimes, RunOutcome, TenantOutcome, TimePart

__all__ = ["ClusterOutcome", "ClusterStudy", "Recovery", "build_cluster", "recovery", "simulate_cluster"]

_SEEN = ("exit noticed", "unhealthy", "host not ready", "not ready", "ejected", "not routed")
"""The first of these after a failure is its detection."""
_CHANGES = ("ready", "not ready", "routed", "not routed", "gone", "placed")
_UP = ("listens",)
_DOWN = ("crashed", "hangs", "sandbox killed", "died with its host", "ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What followed a failure, as seen from outside; missing (NaN) if it did not happen within the run."""

    detect_s: float
    """Until anybody knew: orchestrator or balancer."""
    reroute_s: float
    """Until the last request was lost before as many replicas served again as before, 0 if none was."""
    recover_s: float
    """Until as many replicas served again as before."""
    lost: int
    """Requests that failed from the failure on."""


def recovery(log: Sequence[Entry], lost_s: Sequence[float], name: str, at_s: float) -> Recovery:
    """Read in a log what followed a failure of something that a service needs."""
    seen = next((e.time_s for e in log if e.time_s >= at_s and e.what in _SEEN), nan)
    serving: set[str] = set()
    before = 0
    recovered = nan
    hit = False
    for entry in log:
        if entry.whom.rpartition("-")[0] == name:
            if entry.what in _UP:
                serving.add(entry.whom)
            elif entry.what in _DOWN:
                serving.discard(entry.whom)
        if entry.time_s < at_s:
            before = len(serving)
        else:
            hit = hit or len(serving) < before
            if hit and len(serving) >= before:
                recovered = entry.time_s - at_s
                break
    lost = [time for time in lost_s if time >= at_s]
    return Recovery(detect_s=seen - at_s, reroute_s=lost[-1] - at_s if lost else 0.0, recover_s=recovered, lost=len(lost))


@dataclass(frozen=True, kw_only=True)
class ClusterOutcome(RunOutcome):
    """A run's outcome, with the log of what happened and what followed the first failure."""

    log: tuple[Entry, ...]
    recovery: Recovery | None
    settle_s: float
    """From the first thing that was done to it until nothing changed any more."""
    restarts: int
    attempts_per_request: float

    def rows(self, factors: Mapping[str, str | float | int | None]) -> Iterator[Row]:
        yield from RunOutcome.rows(self, factors)

        def row(metric: str, value: float) -> Row:
            return Row(factors=factors, replication=self.replication, entity=f"tenant/{self.tenants[0].name}", metric=metric, value=value)

        yield row("restarts", float(self.restarts))
        yield row("attempts_per_request", self.attempts_per_request)
        yield row("time_to_settle_s", self.settle_s)
        if self.recovery is not None:
            yield row("time_to_detect_s", self.recovery.detect_s)
            yield row("time_to_reroute_s", self.recovery.reroute_s)
            yield row("recovered_after_s", self.recovery.recover_s)
            yield row("requests_lost_after", float(self.recovery.lost))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStudy:
    """A cluster scenario as an experiment runs it."""

    scenario: ClusterScenario
    called: str = ""
    """What it is compared as; the orchestrator unless given."""

    @property
    def platform(self) -> str:
        return self.called or self.scenario.orchestrator

    @property
    def machine(self) -> str | None:
        return None

    @property
    def run(self) -> Run:
        return self.scenario.run

    @property
    def override(self) -> Mapping[str, Any]:
        return self.scenario.override

    def digest(self) -> str:
        return self.scenario.digest()

    def simulate(self, catalog: Catalog, replication: int) -> ClusterOutcome:
        return simulate_cluster(self.scenario, catalog, replication, self.platform)


def build_cluster(scenario: ClusterScenario, catalog: Catalog, replication: int) -> Cluster:
    """The running parts of a scenario, loads and failures included."""
    policy = scenario.policy(catalog)
    cluster = Cluster(
        policy=policy,
        hosts=[group.group() for group in scenario.hosts],
        deployments=[one.deployment(policy) for one in scenario.deployments],
        balancers={one.name: one.balancer.balancer(catalog) for one in scenario.deployments},
        streams=Streams(scenario.run.seed, replication),
        machine_policy=scenario.machine_policy(catalog),
        rule=scenario.placement,
    )
    for i, load in enumerate(scenario.loads):
        cluster.load(load.load(), f"load {i + 1}")
    for failure in scenario.failures:
        cluster.schedule(failure.failure())
    return cluster


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a router had counted when the window began."""

    offered: int
    completed: int
    in_flight: int
    failed: Mapping[str, int]
    last_attempt_s: float


def simulate_cluster(scenario: ClusterScenario, catalog: Catalog, replication: int, platform: str = "") -> ClusterOutcome:
    """One replication."""
    cluster = build_cluster(scenario, catalog, replication)
    run = scenario.run
    if run.warm_up_s:
        cluster.run(run.warm_up_s)
    busy_s = sum(machine.scheduler.account().busy_s for machine in cluster.machines)
    marks = {name: _mark(router) for name, router in cluster.routers.items()}
    cluster.run(run.duration_s)
    window_s = run.duration_s - run.warm_up_s
    busy_s = sum(machine.scheduler.account().busy_s for machine in cluster.machines) - busy_s
    asked = {load.to for load in scenario.loads} or set(cluster.routers)
    cpu_s = busy_s if len(cluster.routers) == 1 else nan
    tenants = tuple(_tenant(router, marks[name], window_s, cpu_s) for name, router in cluster.routers.items() if name in asked)
    entries = cluster.log.entries
    first = scenario.failures[0].at_s if scenario.failures else None
    router = cluster.routers[tenants[0].name]
    offered = router.offered - marks[tenants[0].name].offered
    return ClusterOutcome(
        platform=platform or scenario.orchestrator,
        replication=replication,
        tenants=tenants,
        instances=(),
        cpu_utilization=busy_s / window_s / sum(machine.cores for machine in cluster.machines),
        disk_utilization=nan,
        disk_wait_s=nan,
        nic_rx_utilization=nan,
        nic_tx_utilization=nan,
        events=cluster.events,
        log=tuple(entries),
        recovery=recovery(entries, router.lost_s, router.name, first) if first is not None else None,
        settle_s=max((e.time_s for e in entries if e.what in _CHANGES), default=0.0) - first if first is not None else nan,
        restarts=sum(entry.what == "restart" for entry in entries),
        attempts_per_request=router.attempts / router.offered if offered else nan,
    )


def _mark(router: Router) -> _Mark:
    return _Mark(router.offered, router.completed, router.in_flight, dict(router.failures), router.last_attempt_s)


def _tenant(router: Router, mark: _Mark, window_s: float, cpu_s: float) -> TenantOutcome:
    """What clients of a service saw in the window. Requests in flight: by Little's law, completed ones only.

    The CPU time is that of all hosts, probes and starts included, where there is one service; else not told apart.
    """
    completed = router.completed - mark.completed
    times = router.times_s[mark.completed :]
    total_s = sum(times)
    last_s = router.last_attempt_s - mark.last_attempt_s
    failed = {reason: count - mark.failed.get(reason, 0) for reason, count in sorted(router.failures.items())}
    histogram = LatencyHistogram(times)
    parts: tuple[TimePart, ...] = ()
    if completed:
        parts = (
            TimePart(layer="service", cause="answer", seconds=last_s / completed),
            TimePart(layer="service", cause="wait for earlier attempts", seconds=(total_s - last_s) / completed),
        )
    return TenantOutcome(
        name=router.name,
        group=router.name,
        window_s=window_s,
        arrived=router.offered - mark.offered,
        completed=completed,
        in_flight_before=mark.in_flight,
        in_flight_after=router.in_flight,
        in_flight_mean=total_s / window_s,
        open_loop=True,
        histogram=histogram,
        cpu_s=cpu_s,
        classes=(ClassTimes(name="request", completed=completed, parts=parts),) if completed else (),
        failed={reason: count for reason, count in failed.items() if count},
    )
