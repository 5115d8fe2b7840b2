"""Many starts on one host: how many, how close together, beside what, and what was found.

Outcomes have the form of every other run, with one request per start: its response time is the time until it was ready, its layers are the
layers that did the work, its causes the stages and what they waited for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import ceil, nan
from typing import Any, Final

from simvirt.catalog import Catalog
from simvirt.engine import Engine
from simvirt.errors import CatalogError
from simvirt.layers.stack import Stack
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.metrics.tidy import Row
from simvirt.randomness import Streams, uniforms
from simvirt.resources.cpu.contract import AbstractGroup, AbstractScheduler, AbstractThread, Share
from simvirt.resources.cpu.scheduling import make_scheduler
from simvirt.scenario import Run
from simvirt.scheduler_choice import schedulers_on
from simvirt.simulation.instances import InstanceTree, TenantShare
from simvirt.simulation.launch import Launch, Launcher
from simvirt.simulation.outcome import ClassTimes, RunOutcome, TenantOutcome, TimePart
from simvirt.simulation.run import host_of
from simvirt.simulation.storage import make_disks
from simvirt.startup import FRESH, Chain, chain_of
from simvirt.startup_reader import is_start_path, strange_starts
from simvirt.workloads.distributions import Exponential

__all__ = ["Started", "Starts", "StartsOutcome", "chain_for", "start_all"]

IDLE_PERIOD_S: Final = 0.01
"""How often instances that idle want a processor."""



@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """A frozen description of starts on one host."""

    platform: str
    machine: str | None = None
    name: str = "starts"
    count: int = 1
    at_once: int = 0
    """How many are under way at any time: the next begins when one is ready; all begin together if 0."""
    rate_per_s: float = 0.0
    """In a stream: they begin as Poisson arrivals at this rate, whatever is under way; takes the place of `at_once` if above 0."""
    running: int = 0
    """Instances that are there before."""
    idle_cores: float = 0.0
    """What one of these takes of the processors while it idles."""
    cold: bool = False
    """Whether nothing that is read is in memory."""
    shares_files: bool = False
    """Whether the host keeps one copy in memory of what virtual machines read of the same image."""
    way: str = FRESH
    level: int | None = None
    """From which layer up, by its index in the stack; the first that is not shared unless given."""
    until: int | None = None
    """The last layer to start, by its index; the application as well unless given."""
    workload: str | None = None
    """Whose start ends the chain; none has anything to load unless given."""
    vcpus: int = 1
    scheduler: str = "fluid"
    override: Mapping[str, float | str] = field(default_factory=dict)
    run: Run = field(default_factory=Run)
    """Replications and seed; a run lasts until all are ready."""

    def digest(self) -> str:
        """A fingerprint of everything that it says."""
        return hashlib.sha256(json.dumps(_plain(self), sort_keys=True).encode()).hexdigest()[:16]

    def simulate(self, catalog: Catalog, replication: int) -> StartsOutcome:
        """One replication."""
        return _outcome(start_all(self, catalog, replication), replication)


@dataclass(frozen=True, slots=True)
class Started:
    """What happened in one replication."""

    starts: Starts
    chain: Chain
    launches: Sequence[Launch]
    """In the order in which they began."""
    scheduler: AbstractScheduler
    disk_utilization: float
    disk_wait_s: float
    reads: float
    """Requests to the disk."""
    failed_transactions: int
    events: int

    @property
    def all_ready_s(self) -> float:
        """From the first beginning until the last was ready."""
        return max(launch.began_s + launch.length_s for launch in self.launches) - min(launch.began_s for launch in self.launches)

    def parts(self) -> tuple[TimePart, ...]:
        """Where the time of a mean start went; the parts add up to it."""
        sums: dict[tuple[str, str], float] = {}
        for launch in self.launches:
            for piece in launch.pieces:
                label = (piece.layer, piece.cause)
                sums[label] = sums.get(label, 0.0) + piece.length_s / len(self.launches)
        return tuple(TimePart(layer=layer, cause=cause, seconds=seconds) for (layer, cause), seconds in sums.items())


@dataclass(frozen=True, kw_only=True)
class StartsOutcome(RunOutcome):
    """A run's outcome, and what only starts have."""

    all_ready_s: float
    disk_reads_per_s: float
    failed_transactions: int

    def rows(self, factors: Mapping[str, str | float | int | None]) -> Iterator[Row]:
        yield from RunOutcome.rows(self, factors)
        entity = f"tenant/{self.tenants[0].name}"
        for where, metric, value in (
            (entity, "all_ready_s", self.all_ready_s),
            ("disk", "disk_reads_per_s", self.disk_reads_per_s),
            (entity, "failed_transactions", float(self.failed_transactions)),
        ):
            yield Row(factors=factors, replication=self.replication, entity=where, metric=metric, value=value)


def chain_for(starts: Starts, catalog: Catalog) -> tuple[Chain, int]:
    """The chain of one start, and the level of the layer that all share. Raises what catalogs and stacks raise, with every reason."""
    if starts.workload is not None:
        catalog.workload(starts.workload)  # refuses one that is unknown
    costs = {path: value for path, value in starts.override.items() if not is_start_path(path)}
    stack = catalog.stack(starts.platform, starts.machine, costs)
    platform = catalog.platform(starts.platform)
    shared_level = 1 + platform.layers.index(platform.shared)
    level = shared_level + 1 if starts.level is None else starts.level
    strangers = strange_starts(starts.override, [*(layer.name for layer in stack.layers), starts.workload or ""])
    if strangers:
        raise CatalogError(strangers)
    chain = chain_of(stack, catalog.starts(stack, starts.workload, starts.override), level, starts.way)
    return (chain if starts.until is None else chain.upto(starts.until)), shared_level


def start_all(starts: Starts, catalog: Catalog, replication: int = 0) -> Started:
    """Run one replication until all are ready."""
    return _Run(starts, catalog, replication).run()


class _Run:
    """The running parts of one replication."""

    def __init__(self, starts: Starts, catalog: Catalog, replication: int) -> None:
        self.starts = starts
        self.chain, shared_level = chain_for(starts, catalog)
        stack: Stack = self.chain.stack
        machine = stack.hardware
        self.engine = Engine()
        streams = Streams(starts.run.seed, replication)
        rules = {kernel: catalog.scheduling(name) for kernel, name in schedulers_on(stack, starts.scheduler, None).items()}
        scheduler = make_scheduler(self.engine, machine.processors, rules)
        self.disks = make_disks(self.engine, machine, fair=False, turns=uniforms(streams.stream("disk/turns")))
        host = host_of(self.engine, machine, scheduler, self.disks, contends=False)
        places = next(iter(rules.values())).rules is not None
        tree = InstanceTree(self.engine, scheduler, stack, shared_level, places=places)
        self.scheduler = scheduler
        self.launcher = Launcher(host, tree, shared_level, streams, running=starts.running, shares_files=starts.shares_files)
        share = TenantShare(vcpus=starts.vcpus)
        names = [f"{starts.name} {i + 1}" for i in range(starts.count)]
        self.branches = iter([tree.branch(stack, name, name, share) for name in names])
        self.launches: list[Launch] = []
        self.left = self.to_come = starts.count
        self.gaps = Exponential(mean=1.0 / starts.rate_per_s).draw(streams.stream("start/gaps")) if starts.rate_per_s > 0 else None
        self.arrivals = self.engine.wakeup(self._arrive)
        self.done = self.engine.event()
        if starts.running and starts.idle_cores > 0:
            _idle(self.engine, scheduler, starts.running * starts.idle_cores)

    def run(self) -> Started:
        if self.gaps is not None:
            self._arrive()
        else:
            for _ in range(min(self.starts.at_once or self.to_come, self.to_come)):
                self._begin()
        if self.left:
            self.engine.run(until=self.done)
        disk, bus = self.disks
        return Started(
            starts=self.starts,
            chain=self.chain,
            launches=self.launches,
            scheduler=self.scheduler,
            disk_utilization=max(disk.utilization, bus.utilization),
            disk_wait_s=disk.wait_s / disk.served if disk.served else 0.0,
            reads=self.launcher.reads,
            failed_transactions=self.launcher.failed_transactions,
            events=next(self.engine._eid),
        )

    def _arrive(self) -> None:
        assert self.gaps is not None
        self._begin()
        if self.to_come:
            self.arrivals.at(self.engine.now + next(self.gaps))

    def _begin(self) -> None:
        self.to_come -= 1
        launch = self.launcher.begin(
            self.chain, next(self.branches), self._ready, cold=self.starts.cold, vcpus=self.starts.vcpus
        )
        self.launches.append(launch)

    def _ready(self, _: Launch) -> None:
        self.left -= 1
        if not self.left:
            self.done.succeed()
        elif self.to_come and self.gaps is None:
            self._begin()


def _idle(engine: Engine, scheduler: AbstractScheduler, cores: float) -> None:
    """What idle instances take of the processors all together: bursts of equal length, every so often, on as few threads as can do it."""
    group: AbstractGroup = scheduler.group("instances that idle", Share())
    count = max(1, ceil(cores))
    burst_s = IDLE_PERIOD_S * cores / count

    class _Idler:
        def __init__(self, thread: AbstractThread) -> None:
            self.thread = thread
            self.due_s = engine.now
            self.wakeup = engine.wakeup(self.work)
            self.wakeup.at(engine.now)

        def work(self) -> None:
            self.thread.run(burst_s, self.rest, None)

        def rest(self, _: None) -> None:
            self.due_s = max(self.due_s + IDLE_PERIOD_S, engine.now)
            self.wakeup.at(self.due_s)

    for i in range(count):
        _Idler(group.thread(f"idle {i + 1}"))


def _outcome(found: Started, replication: int) -> StartsOutcome:
    starts, launches = found.starts, found.launches
    times = [launch.length_s for launch in launches]
    busy_s = found.scheduler.account().busy_s
    window_s = found.all_ready_s
    tenant = TenantOutcome(
        name=starts.name,
        group=starts.name,
        window_s=window_s,
        arrived=len(times),
        completed=len(times),
        in_flight_before=0,
        in_flight_after=0,
        in_flight_mean=sum(times) / window_s,
        open_loop=False,
        histogram=LatencyHistogram(times),
        cpu_s=busy_s,
        classes=(ClassTimes(name="start", completed=len(times), parts=found.parts()),),
    )
    return StartsOutcome(
        platform=starts.platform,
        replication=replication,
        tenants=(tenant,),
        instances=(),
        cpu_utilization=busy_s / (found.scheduler.cores * window_s),
        disk_utilization=found.disk_utilization,
        disk_wait_s=found.disk_wait_s,
        nic_rx_utilization=nan,
        nic_tx_utilization=nan,
        events=found.events,
        all_ready_s=window_s,
        disk_reads_per_s=found.reads / window_s,
        failed_transactions=found.failed_transactions,
    )


def _plain(value: Any) -> Any:
    """A description as JSON can hold it."""
    if isinstance(value, Run):
        return value.model_dump(mode="json")
    if isinstance(value, Starts):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return value
