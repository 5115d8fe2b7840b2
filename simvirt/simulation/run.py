"""One replication of one scenario: build the running parts, let time pass, read what was counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import inf

from simvirt.catalog import Catalog
from simvirt.cpu_limits import free_cores
from simvirt.engine import Engine
from simvirt.layers.background import Background
from simvirt.layers.hardware import Hardware
from simvirt.layers.path import Path, plan_path
from simvirt.layers.stack import Stack
from simvirt.randomness import Streams, uniforms
from simvirt.resources.cpu.contract import AbstractGroup, AbstractScheduler
from simvirt.resources.cpu.idle import IdleLadder
from simvirt.resources.cpu.scheduling import make_scheduler
from simvirt.resources.moderation import Moderation
from simvirt.resources.nic import Nic
from simvirt.resources.stages import Failed
from simvirt.resources.threads import ThreadPool
from simvirt.scenario import Resolved, Scenario, Tenants, as_tenants, check_scenario
from simvirt.simulation.binding import BoundPath, Host, bind
from simvirt.simulation.contention import share_memory
from simvirt.simulation.counters import counted, decisions_of
from simvirt.simulation.devices import Devices
from simvirt.simulation.failures import Failures, Standing, expect_all
from simvirt.simulation.instances import Branch, InstanceTree, TenantShare
from simvirt.simulation.memory import MemorySystem, TenantMemory, can_run_short, limits_of, with_growth
from simvirt.simulation.outcome import InstanceAccount, RunOutcome
from simvirt.simulation.storage import DiskOfHost, Kernels, TenantStorage, make_disks, with_page_cache
from simvirt.simulation.tables import TableSystem, TenantTables, kinds_in_play
from simvirt.simulation.tenant import Finished, Tenant
from simvirt.workloads.arrivals import Poisson
from simvirt.workloads.distributions import Constant
from simvirt.workloads.profile import RequestClass, Workload

__all__ = ["Simulation", "host_of", "simulate"]


def simulate(scenario: Scenario, catalog: Catalog | None = None, replication: int = 0) -> RunOutcome:
    """Run one replication of a scenario. The same arguments give the same outcome, to the last bit."""
    return Simulation(scenario, catalog or Catalog.builtin(), replication).run()


class Simulation:
    """The running parts of one replication."""

    def __init__(self, scenario: Scenario, catalog: Catalog, replication: int = 0, engine: Engine | None = None) -> None:
        check_scenario(scenario, catalog)
        scenario = as_tenants(scenario, catalog)
        self._scenario = scenario
        self._resolved = Resolved(scenario, catalog)
        self._replication = replication
        self._stack = self._resolved.stack
        self.engine = Engine() if engine is None else engine
        self._since_s = self.engine.now
        scheduler = make_scheduler(self.engine, self._stack.hardware.processors, self._resolved.schedulers)
        self._contention = share_memory(scheduler, self._stack.hardware, scenario.tenants, self._resolved.workloads)
        self._streams = Streams(scenario.run.seed, replication)
        turns = uniforms(self._streams.stream("disk/turns"))
        disks = make_disks(self.engine, self._stack.hardware, fair=any(group.io_weight for group in scenario.tenants), turns=turns)
        self.host = host_of(self.engine, self._stack.hardware, scheduler, disks, contends=self._contention is not None)
        self._kernels = Kernels(self.engine, self._stack.hardware)
        level = self._resolved.shared_level
        self.tree = InstanceTree(self.engine, self.host.scheduler, self._stack, level, places=not self._resolved.is_fluid)
        self._branches: dict[str, Branch] = {}
        self._paths: dict[tuple[str, str], Path] = {}
        """The way of each class of requests, by group and class: planned once for all tenants of a group."""
        self._processes: dict[AbstractGroup, str] = {}
        """Groups of the tenants' own processes."""
        self._free_cores = free_cores(scenario.tenants, self._stack.hardware.processors)
        """Those that no virtual processor is pinned to."""
        self.memory = self._memory()
        self.tables = TableSystem(self._resolved) if kinds_in_play(self._resolved) else None
        self.tenants = [tenant for group, workload in self._resolved.groups for tenant in self._tenants(group, workload)]
        self._systems = [] if self._resolved.guest is None else list(self._guests(*self._resolved.guest))
        if self.memory is not None:
            self.memory.start()
        self.failures = self._failures() if scenario.faults else None

    def run(self) -> RunOutcome:
        """Let the whole duration pass and tell what was found after warm-up."""
        run = self._scenario.run
        if run.warm_up_s:
            self.engine.run(until=run.warm_up_s)
            self._restart()
        self.engine.run(until=run.duration_s)
        return self.outcome()

    def run_in_phases(self, ends_s: Sequence[float]) -> tuple[RunOutcome, ...]:
        """Let time pass up to each of these times in turn, and tell what was found in each part of it."""
        found = []
        for end_s in ends_s:
            self.engine.run(until=end_s)
            found.append(self.outcome())
            self._restart()
        return tuple(found)

    def outcome(self) -> RunOutcome:
        """What was found since the last restart."""
        host = self.host
        window_s = self.engine.now - self._since_s
        return RunOutcome(
            platform=self._scenario.platform,
            replication=self._replication,
            tenants=tuple(tenant.outcome() for tenant in self.tenants),
            instances=tuple(self._accounts()),
            cpu_utilization=host.scheduler.account().busy_s / (host.scheduler.cores * window_s),
            disk_utilization=max(host.disk.utilization, host.disk_bus.utilization),
            disk_wait_s=host.disk.wait_s / host.disk.served if host.disk.served else 0.0,
            nic_rx_utilization=host.nic.rx.utilization,
            nic_tx_utilization=host.nic.tx.utilization,
            events=next(self.engine._eid),
            decisions=decisions_of(host.scheduler),
            memory=None if self.memory is None else self.memory.outcome(),
            faults=None if self.failures is None else self.failures.outcome(),
        )

    def _failures(self) -> Failures:
        """What lets things break."""
        resolved, memory = self._resolved, self.memory
        services = {tenant.name: tenant if memory is None else memory.service(tenant) for tenant in self.tenants}
        standing = [Standing(name=name, service=service, branch=self._branches[name]) for name, service in services.items()]
        devices = Devices(self.host, self.tenants)
        return expect_all(self.engine, resolved, standing, devices, self._kernels.forget, self._streams)

    def _memory(self) -> MemorySystem | None:
        """The memories, if any of them can run short."""
        scenario, plans = self._scenario, self._resolved.memory_plans
        if plans is None:
            return None
        described = [
            TenantMemory(
                name=name, vm=vm, plan=plan, swap_bytes=group.swap or 0.0,
                limits=limits_of(group.memory_max, group.memory_high, None if plan.sizes else group.swap, group.oom_score_adj),
            )
            for group, plan in zip(scenario.tenants, plans, strict=True)
            for name, vm in ((group.names(i)[0], self._home(group, i)[1]) for i in range(group.count))
        ]  # fmt: skip
        if not can_run_short(described):
            return None
        return MemorySystem(self.engine, self.host, self._stack.hardware, described, scenario.swap)

    def _tenants(self, group: Tenants, workload: Workload) -> list[Tenant]:
        stack = self._resolved.ground(group)
        assert stack is not None
        workload = with_page_cache(workload, group, stack)
        tenants = [self._tenant(group, i, workload, stack) for i in range(group.count)]
        del self._free_cores[: group.pinned]
        return tenants

    def _tenant(self, group: Tenants, index: int, workload: Workload, stack: Stack) -> Tenant:
        name, _ = group.names(index)
        home, vm = self._home(group, index)
        share = TenantShare(vcpus=group.vcpus, own=replace(group.share(index, self._free_cores), weight=group.weight))
        branch = self._branches[name] = self.tree.branch(stack, home, vm, share)
        threads = workload.threads if group.threads is None else group.threads or inf
        workers = self.tree.workers(branch, name, threads, share)
        self._processes[workers.group] = f"processes of {name}"
        if self._contention is not None:
            self._contention.owned(workers.group, group, workload)
        tables = self._tables(name, group, branch, home)
        storage = TenantStorage(self.engine, name, group, self.host.disk, self.host.disk_bus, self._kernels)

        def bind_class(
            request_class: RequestClass, workers: ThreadPool, finished: Finished, failed: Failed, *, awaited: bool
        ) -> BoundPath:
            return bind(
                self._path(stack, group, request_class, workload),
                self.host,
                self.tree,
                branch,
                workers,
                finished,
                failed,
                storage=storage,
                awaited=awaited,
                holds_thread=request_class.waits_for_disk,
                paging=None if self.memory is None else self.memory.paging(name),
                needed=None if tables is None else tables.needed(stack, request_class.demand),
            )

        if self.memory is not None:
            self.memory.draw(name, self._streams.stream(f"{name}/page faults"))
        tenant = Tenant(name, group, workload, self.engine, self._streams, bind_class, workers, self._scenario.run, storage.work)
        if self.memory is not None:
            self.memory.attach(tenant)
        if tables is not None:
            tenant.attend(tables.die, tables.begin_again)
        if group.stop is not None:
            self.engine.wakeup(partial(self._leave, name, tables)).at(group.stop)
        return tenant

    def _guests(self, level: int, background: Background) -> Iterator[Tenant]:
        """What the systems of virtual machines do by themselves, one for each machine: requests of nobody, which no outcome tells of."""
        stack = Stack(self._stack.layers[: level + 1])
        wake_up = RequestClass(name="wake-up", weight=1.0, demand=background.demand)
        one = Constant(value=1.0)
        work = Workload(name="system", summary="An idle system.", requires=stack.provides, threads=inf, factor=one, requests=(wake_up,))
        path = plan_path(stack, wake_up.demand)
        groups = [group for group in self._scenario.tenants if group.on == "platform"]
        machines = {group.names(i)[1]: group.vcpus for group in groups for i in range(group.count)}
        for vm, vcpus in machines.items():
            name = f"system of {vm}"
            branch = self.tree.branch(stack, vm, vm, TenantShare(vcpus=vcpus))
            workers = self.tree.workers(branch, name, inf, TenantShare(vcpus=vcpus))
            group = Tenants(name="system", workload="system", load=Poisson(rate_per_s=background.wakeups_per_s.si))
            storage = TenantStorage(self.engine, name, group, self.host.disk, self.host.disk_bus, self._kernels)

            def bind_class(
                _: RequestClass, workers: ThreadPool, finished: Finished, failed: Failed, *, awaited: bool,
                branch: Branch = branch, storage: TenantStorage = storage,
            ) -> BoundPath:
                return bind(path, self.host, self.tree, branch, workers, finished, failed, storage=storage, awaited=awaited)

            yield Tenant(name, group, work, self.engine, self._streams, bind_class, workers, self._scenario.run, storage.work)

    def _path(self, stack: Stack, group: Tenants, request_class: RequestClass, workload: Workload) -> Path:
        """The way of one class of requests of a group down its stack."""
        key = (group.name, request_class.name)
        if key not in self._paths:
            path = plan_path(stack, with_growth(request_class.demand, workload.footprint))
            self._paths[key] = path.off_the_wire() if group.peer == "host" else path
        return self._paths[key]

    def _home(self, group: Tenants, index: int) -> tuple[str, str]:
        """The names of whose container a tenant lives in, which may be its own, and of its virtual machine."""
        owner = next((other for other in self._scenario.tenants if other.name == group.inside), group)
        return owner.names(index)

    def _tables(self, name: str, group: Tenants, branch: Branch, home: str) -> TenantTables | None:
        if self.tables is None:
            return None
        return self.tables.join(name, group, branch, self._kernel_memory_bytes(group, branch), None if home == name else home)

    def _kernel_memory_bytes(self, group: Tenants, branch: Branch) -> float:
        """Memory of the kernel that a tenant stands on, by which it sizes its tables."""
        plans = self._resolved.memory_plans
        plan = None if plans is None else plans[self._scenario.tenants.index(group)]
        if plan is not None and plan.sizes and branch.stack is self._stack:
            return plan.sizes[-1].size_bytes
        return self._kernels.memory_bytes(branch.instances[branch.stack.kernel_level(len(branch.stack.layers) - 1)])

    def _leave(self, name: str, tables: TenantTables | None) -> None:
        """A tenant's time is over."""
        if tables is not None:
            tables.leave()
        if self.memory is not None:
            self.memory.shrink(name)

    def _restart(self) -> None:
        self._since_s = self.engine.now
        self.host.scheduler.restart()
        self.host.nic.restart()
        self.host.moderation.restart()
        self.host.disk.restart()
        self.host.disk_bus.restart()
        for tenant in (*self.tenants, *self._systems):
            tenant.restart()
        if self.memory is not None:
            self.memory.restart()
        if self.failures is not None:
            self.failures.restart()

    def _accounts(self) -> list[InstanceAccount]:
        """CPU accounts of every group that stands for an instance or a service VM, in order of name."""
        groups: dict[AbstractGroup, str] = {}
        for instance in self.tree.root.subtree():
            groups.setdefault(instance.group, instance.name)
            for name, pool in instance.pools.items():
                groups.setdefault(pool.group, f"{name} of {instance.name}")
        if decisions_of(self.host.scheduler) is not None:
            groups = {**self._processes, **groups}  # they have counters of their own
        return sorted((self._account(name, group) for group, name in groups.items()), key=lambda account: account.name)

    def _account(self, name: str, group: AbstractGroup) -> InstanceAccount:
        account, window_s = group.account(), self.engine.now - self._since_s
        times = {"busy_s": account.busy_s, "steal_s": account.steal_s, "ready_s": account.ready_s}
        return InstanceAccount(name=name, **times, counters=counted(group, window_s))


def host_of(
    engine: Engine, machine: Hardware, scheduler: AbstractScheduler, disks: tuple[DiskOfHost, DiskOfHost], *, contends: bool
) -> Host:
    """The running machine, from what has been made of its parts."""
    idle = machine.idle
    states = [
        (0.0, idle.shallow_exit_s.si),
        (idle.medium_residency_s.si, idle.medium_exit_s.si),
        (idle.deep_residency_s.si, idle.deep_exit_s.si),
    ]
    return Host(
        engine=engine,
        scheduler=scheduler,
        nic=Nic(engine, machine.nic.bandwidth_bytes_per_s.si, machine.nic.packet_rate_per_s.si),
        moderation=Moderation(engine, machine.nic.interrupt_gap_s.si, machine.nic.interrupt_frames.si),
        disk=disks[0],
        disk_bus=disks[1],
        ladder=IdleLadder(states),
        contends=contends,
    )


