"""One replication of one scenario: build the running parts, let time pass, read what was counted."""

from __future__ import annotations

from math import inf

from simvirt.catalog import Catalog
from simvirt.engine import Engine
from simvirt.layers.hardware import Hardware
from simvirt.layers.path import plan_path
from simvirt.layers.stack import Stack
from simvirt.randomness import Streams
from simvirt.resources.cpu.contract import AbstractGroup, AbstractScheduler
from simvirt.resources.cpu.idle import IdleLadder
from simvirt.resources.cpu.scheduling import make_scheduler
from simvirt.resources.disk import Disk
from simvirt.resources.moderation import Moderation
from simvirt.resources.nic import Nic
from simvirt.resources.stages import Failed
from simvirt.scenario import Scenario, Tenants, check_scenario, host_stack
from simvirt.simulation.binding import BoundPath, Host, bind
from simvirt.simulation.instances import InstanceTree, TenantShare
from simvirt.simulation.outcome import InstanceAccount, RunOutcome
from simvirt.simulation.tenant import Finished, Tenant
from simvirt.workloads.profile import RequestClass, Workload

__all__ = ["Simulation", "simulate"]


def simulate(scenario: Scenario, catalog: Catalog | None = None, replication: int = 0) -> RunOutcome:
    """Run one replication of a scenario. The same arguments give the same outcome, to the last bit."""
    return Simulation(scenario, catalog or Catalog.builtin(), replication).run()


class Simulation:
    """The running parts of one replication."""

    def __init__(self, scenario: Scenario, catalog: Catalog, replication: int = 0) -> None:
        check_scenario(scenario, catalog)
        self._scenario = scenario
        self._catalog = catalog
        self._replication = replication
        platform = catalog.platform(scenario.platform)
        self._stack = catalog.stack(scenario.platform, scenario.machine, scenario.layer_overrides())
        self.engine = Engine()
        schedulings = [catalog.scheduling(name, scenario.override) for name in scenario.schedulers]
        scheduler = make_scheduler(self.engine, int(self._stack.hardware.cores.si), *schedulings)
        self.host = _host(self.engine, self._stack.hardware, scheduler)
        shared_level = 1 + platform.layers.index(platform.shared)
        places = schedulings[0].rules is not None
        self.tree = InstanceTree(self.engine, self.host.scheduler, self._stack, shared_level, places=places)
        self._streams = Streams(scenario.run.seed, replication)
        self.tenants = [tenant for group in scenario.tenants for tenant in self._tenants(group)]

    def run(self) -> RunOutcome:
        """Let the whole duration pass and tell what was found after warm-up."""
        run = self._scenario.run
        if run.warm_up_s:
            self.engine.run(until=run.warm_up_s)
            self._restart()
        self.engine.run(until=run.duration_s)
        return self.outcome()

    def outcome(self) -> RunOutcome:
        """What was found since the last restart."""
        host = self.host
        window_s = self._scenario.run.duration_s - self._scenario.run.warm_up_s
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
        )

    def _tenants(self, group: Tenants) -> list[Tenant]:
        workload = self._catalog.workload(group.workload, self._scenario.override)
        stack = self._stack if group.on == "platform" else host_stack(self._stack)
        assert stack is not None
        return [self._tenant(group, i, workload, stack) for i in range(group.count)]

    def _tenant(self, group: Tenants, index: int, workload: Workload, stack: Stack) -> Tenant:
        name = group.name if group.count == 1 else f"{group.name} {index + 1}"
        vm = name if group.per_vm == 1 else f"{group.name} vm {index // group.per_vm + 1}"
        share = TenantShare(vcpus=group.vcpus, weight=group.weight, cap_cores=group.cap_cores or inf)
        branch = self.tree.branch(stack, name, vm, share)
        threads = workload.threads if group.threads is None else group.threads or inf
        workers = self.tree.workers(branch, name, threads, share)

        def bind_class(request_class: RequestClass, finished: Finished, failed: Failed, *, awaited: bool) -> BoundPath:
            path = plan_path(stack, request_class.demand)
            if group.peer == "host":
                path = path.off_the_wire()
            return bind(path, self.host, self.tree, branch, workers, finished, failed, awaited=awaited)

        return Tenant(name, group, workload, self.engine, self._streams, bind_class)

    def _restart(self) -> None:
        self.host.scheduler.restart()
        self.host.nic.restart()
        self.host.moderation.restart()
        self.host.disk.restart()
        self.host.disk_bus.restart()
        for tenant in self.tenants:
            tenant.restart()

    def _accounts(self) -> list[InstanceAccount]:
        """CPU accounts of every group that stands for an instance or a service VM, in order of name."""
        groups: dict[AbstractGroup, str] = {}
        for instance in self.tree.root.subtree():
            groups.setdefault(instance.group, instance.name)
            for name, pool in instance.pools.items():
                groups.setdefault(pool.group, f"{name} of {instance.name}")
        accounts = ((name, group.account()) for group, name in groups.items())
        found = (InstanceAccount(name=name, busy_s=a.busy_s, steal_s=a.steal_s, ready_s=a.ready_s) for name, a in accounts)
        return sorted(found, key=lambda account: account.name)


def _host(engine: Engine, machine: Hardware, scheduler: AbstractScheduler) -> Host:
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
        disk=Disk(engine, int(machine.disk.channels.si)),
        disk_bus=Disk(engine, 1),
        ladder=IdleLadder(states),
    )


