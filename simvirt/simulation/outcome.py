"""What one run found: frozen, picklable, and able to tell itself as rows of the tidy table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, nan
from typing import ClassVar

from simvirt.analysis.warm_up import WarmUpCheck
from simvirt.faults.record import FaultOutcome
from simvirt.markup import html_table
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.metrics.tidy import Row
from simvirt.resources.memory.kill import Kill
from simvirt.simulation.counters import Counted
from simvirt.units import format_quantity

__all__ = [
    "ClassTimes",
    "HoldingAccount",
    "InstanceAccount",
    "MemoryAccount",
    "MemoryOutcome",
    "RunOutcome",
    "TenantOutcome",
    "TimePart",
    "show_overload",
    "together",
    "told_together",
]

WAITING = "wait"
"""First word of a cause that is a wait, not work."""

QUANTILES: Mapping[str, float] = {
    "response_time_p50_s": 0.5,
    "response_time_p95_s": 0.95,
    "response_time_p99_s": 0.99,
    "response_time_p999_s": 0.999,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePart:
    """A part of the mean response time: spent by this layer for this cause."""

    layer: str
    cause: str
    seconds: float

    @property
    def is_wait(self) -> bool:
        return self.cause.startswith(WAITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTimes:
    """Where the time of one class of requests went; the parts add up to the mean response time of the class."""

    name: str
    completed: int
    parts: tuple[TimePart, ...]


def together(lives: Sequence[ClassTimes]) -> ClassTimes:
    """The times of one class of requests over several lives of its tenant: means weighted by the requests of each."""
    completed = sum(one.completed for one in lives)
    sums: dict[tuple[str, str], float] = {}
    for one in lives:
        for part in one.parts:
            label = (part.layer, part.cause)
            sums[label] = sums.get(label, 0.0) + part.seconds * one.completed / completed
    parts = (TimePart(layer=layer, cause=cause, seconds=seconds) for (layer, cause), seconds in sums.items())
    return ClassTimes(name=lives[0].name, completed=completed, parts=tuple(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantOutcome:
    """What a tenant saw in the window from the end of warm-up to the end of the run."""

    name: str
    group: str
    window_s: float
    arrived: int
    completed: int
    in_flight_before: int
    in_flight_after: int
    in_flight_mean: float
    open_loop: bool
    histogram: LatencyHistogram
    cpu_s: float
    """Core-seconds charged for its requests, wherever they were served."""
    classes: tuple[ClassTimes, ...]
    failed: Mapping[str, int] = field(default_factory=dict)
    """Requests that ended without an answer, by reason. arrived = completed + failed + what requests in flight have grown by."""
    warm_up: WarmUpCheck | None = None
    """Whether the run was long enough, where that is looked at."""
    overloaded: bool = False
    """Whether all replications together show that more is offered than carried, where this one alone need not."""

    @property
    def saturated(self) -> bool:
        """Whether an open loop offers more than is carried."""
        return self.overloaded or show_overload((self,))

    @property
    def throughput_per_s(self) -> float:
        return self.completed / self.window_s

    @property
    def time_parts(self) -> tuple[TimePart, ...]:
        """Where the time went, over all classes; the parts add up to the mean response time."""
        total = sum(c.completed for c in self.classes)
        sums: dict[tuple[str, str], float] = {}
        for one in self.classes:
            for part in one.parts:
                label = (part.layer, part.cause)
                sums[label] = sums.get(label, 0.0) + part.seconds * one.completed / total
        return tuple(TimePart(layer=layer, cause=cause, seconds=seconds) for (layer, cause), seconds in sums.items())

    def metrics(self) -> Iterator[tuple[str, float]]:
        """Name and value of each metric of the tenant. A saturated point has no response time."""
        trusted = not self.saturated
        yield "response_time_mean_s", self.histogram.mean_s if trusted else nan
        for name, q in QUANTILES.items():
            yield name, self.histogram.quantile(q) if trusted else nan
        yield "throughput_per_s", self.throughput_per_s
        yield "offered_load_per_s", self.arrived / self.window_s
        yield "completed", float(self.completed)
        yield "in_flight", self.in_flight_mean
        if self.failed:
            yield "requests_failed", float(sum(self.failed.values()))
        yield "saturated", float(self.saturated)
        yield "cpu_s_per_request", self.cpu_s / self.completed if self.completed and trusted else nan


def show_overload(replications: Sequence[TenantOutcome]) -> bool:
    """Whether one tenant's replications show that an open loop offers more than is carried.

    Requests in flight then grow as long as a run lasts. Under a stable load arrivals exceed completions by chance alone: over n
    replications by less than four standard deviations of a Poisson count, and some requests that were in flight at the end.
    """
    growth = sum(run.in_flight_after - run.in_flight_before for run in replications)
    arrived = sum(run.arrived for run in replications)
    return all(run.open_loop for run in replications) and growth > 4 * arrived**0.5 + 10 * len(replications) ** 0.5


def told_together(runs: Sequence[RunOutcome]) -> tuple[RunOutcome, ...]:
    """The replications of one scenario, a tenant called saturated in all of them if they show it together."""
    tenants = [tuple(run.tenants[i] for run in runs) for i in range(len(runs[0].tenants))] if runs else []
    overloaded = [show_overload(replications) for replications in tenants]
    return tuple(
        replace(run, tenants=tuple(replace(tenant, overloaded=over) for tenant, over in zip(run.tenants, overloaded, strict=True)))
        for run in runs
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceAccount:
    """CPU accounts of one virtual machine, control group or service VM over the window."""

    name: str
    busy_s: float
    steal_s: float
    ready_s: float
    counters: Counted = ()
    """What its scheduler has counted, where it has run queues."""

    def metrics(self) -> Iterator[tuple[str, float]]:
        wanted = self.busy_s + self.steal_s
        yield "busy_s", self.busy_s
        yield "steal_s", self.steal_s
        yield "ready_s", self.ready_s
        yield "steal_share", self.steal_s / wanted if wanted else nan
        yield from self.counters


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingAccount:
    """Where the bytes of one owner in one memory were, averaged over the window; they add up to what it asked for."""

    STATES: ClassVar[tuple[str, ...]] = ("asked", "resident", "swapped", "dropped", "ballooned", "shared", "compressed")

    memory: str
    name: str
    asked_bytes: float
    resident_bytes: float
    swapped_bytes: float
    dropped_bytes: float
    ballooned_bytes: float
    shared_bytes: float
    compressed_bytes: float

    def metrics(self) -> Iterator[tuple[str, float]]:
        for state in self.STATES:
            yield f"memory_{state}_bytes", getattr(self, f"{state}_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAccount:
    """One memory over the window."""

    name: str
    capacity_bytes: float
    own_bytes: float
    """What its kernel has for itself."""
    pressure: float
    """Share of the time in which at least one request waited for memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryOutcome:
    """What a shortage of memory did. There is none where everything fits."""

    holdings: tuple[HoldingAccount, ...]
    memories: tuple[MemoryAccount, ...]
    kills: tuple[Kill, ...]
    """Of the whole run, warm-up included."""
    swap_in_bytes_per_s: float
    """Read from swap devices, over all memories."""
    swap_out_bytes_per_s: float

    def rows(self) -> Iterator[tuple[str, str, float]]:
        """Entity, metric and value."""
        for holding in self.holdings:
            yield from ((f"memory/{holding.memory}/{holding.name}", metric, value) for metric, value in holding.metrics())
        for memory in self.memories:
            yield f"memory/{memory.name}", "memory_pressure", memory.pressure
        yield "memory", "swap_in_bytes_per_s", self.swap_in_bytes_per_s
        yield "memory", "swap_out_bytes_per_s", self.swap_out_bytes_per_s
        yield "memory", "memory_kills", float(len(self.kills))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """One replication of one scenario."""

    platform: str
    replication: int
    tenants: tuple[TenantOutcome, ...]
    instances: tuple[InstanceAccount, ...]
    cpu_utilization: float
    disk_utilization: float
    """Of its channels or of its bus, whichever is busier."""
    disk_wait_s: float
    nic_rx_utilization: float
    nic_tx_utilization: float
    events: int
    """Entries that the event queue saw in the whole run."""
    decisions: int | None = None
    """How often a processor chose what to run, in the window; None where nothing is chosen, under fluid sharing."""

    @property
    def decisions_per_request(self) -> float:
        completed = sum(tenant.completed for tenant in self.tenants)
        return self.decisions / completed if self.decisions is not None and completed else nan
    memory: MemoryOutcome | None = None
    """Where memory could run short."""
    faults: FaultOutcome | None = None
    """What broke, where a scenario lets anything break."""

    def _repr_html_(self) -> str:
        caption = f"{self.platform}, replication {self.replication}; cores busy {100 * self.cpu_utilization:.0f} %"
        header = ("tenant", "mean", "median", "95th percentile", "99th percentile", "throughput")
        rows = []
        for tenant in self.tenants:
            found = dict(tenant.metrics())
            times = [found[name] for name in ("response_time_mean_s", *list(QUANTILES)[:3])]
            missing = "saturated" if tenant.saturated else "–"
            texts = [missing if isnan(time) else format_quantity(time, "time") for time in times]
            rows.append((tenant.name, *texts, format_quantity(tenant.throughput_per_s, "rate")))
        return html_table(caption, header, rows)

    def tenant(self, name: str) -> TenantOutcome:
        return next(tenant for tenant in self.tenants if tenant.name == name)

    def of_group(self, group: str) -> tuple[TenantOutcome, ...]:
        """The tenants of one group of the scenario."""
        return tuple(tenant for tenant in self.tenants if tenant.group == group)

    def rows(self, factors: Mapping[str, str | float | int | None]) -> Iterator[Row]:
        """The run as rows of the tidy table, with the levels of the design point."""

        def row(entity: str, metric: str, value: float) -> Row:
            return Row(factors=factors, replication=self.replication, entity=entity, metric=metric, value=value)

        for tenant in self.tenants:
            entity = f"tenant/{tenant.name}"
            yield from (row(entity, metric, value) for metric, value in tenant.metrics())
            if not tenant.saturated:
                for part in tenant.time_parts:
                    yield row(f"{entity}/{part.layer}/{part.cause}", "time_per_request_s", part.seconds)
        for instance in self.instances:
            yield from (row(f"instance/{instance.name}", metric, value) for metric, value in instance.metrics())
        yield row("cpu", "cpu_utilization", self.cpu_utilization)
        if self.decisions is not None:
            yield row("cpu", "decisions_per_request", self.decisions_per_request)
        yield row("disk", "disk_utilization", self.disk_utilization)
        yield row("disk", "disk_wait_s", self.disk_wait_s)
        yield row("nic/rx", "nic_utilization", self.nic_rx_utilization)
        yield row("nic/tx", "nic_utilization", self.nic_tx_utilization)
        if self.memory is not None:
            yield from (row(entity, metric, value) for entity, metric, value in self.memory.rows())
        if self.faults is not None:
            yield from (row(entity, metric, value) for entity, metric, value in self.faults.rows())
            for tenant in self.tenants:
                yield from (row(f"tenant/{tenant.name}/{why}", "requests_failed", float(count)) for why, count in tenant.failed.items())


