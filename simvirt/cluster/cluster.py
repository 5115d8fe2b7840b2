"""A cluster: hosts, an orchestrator, deployments with their routers, loads, and what goes wrong, all on one engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Final, final

from simvirt.cluster.controller import Controller
from simvirt.cluster.description import Balancer, Deployment, Failure, HostGroup, Load
from simvirt.cluster.draws import draws
from simvirt.cluster.leases import Leases
from simvirt.cluster.log import Log
from simvirt.cluster.machine import Host, Machine, Replica
from simvirt.cluster.machines import Keeper
from simvirt.cluster.policy import MachineRestart, Policy
from simvirt.cluster.router import Router
from simvirt.engine import Engine
from simvirt.randomness import Streams, blocks, uniforms

__all__ = ["FAILURES", "Cluster"]

FAILURES: Final = (
    "crash", "hang", "kill sandbox", "kill host", "kill vm", "boot", "cordon", "uncordon", "drain", "update", "scale"
)  # fmt: skip
"""What can be done to a cluster."""


@final
class Cluster:
    """Everything that runs. `machine_policy`: what brings virtual machines back, if anything does."""

    def __init__(
        self,
        *,
        policy: Policy,
        hosts: Sequence[HostGroup],
        deployments: Sequence[Deployment],
        balancers: Mapping[str, Balancer],
        streams: Streams,
        machine_policy: MachineRestart | None = None,
        rule: str = "default",
    ) -> None:
        engine = self.engine = Engine()
        self.log = Log(engine)
        self.policy = policy
        self.streams = streams
        self.machines: list[Machine] = []
        self.hosts: list[Host] = []
        for group in hosts:
            self._make(group)
        phases = uniforms(streams.stream("phases"))
        for host in self.hosts:
            host.phase = next(phases)
        self.controller = Controller(engine, policy, self.hosts, self.log, self._told, rule)
        self.keeper = Keeper(engine, machine_policy, self.machines, self.log, self.boot) if machine_policy is not None else None
        self.routers: dict[str, Router] = {}
        for deployment in deployments:
            self._route(deployment, balancers.get(deployment.name, Balancer()))
        for deployment in deployments:
            self.routers[deployment.name].calls = tuple((self.routers[call.to], call.count) for call in deployment.calls)
            self.controller.begin(deployment)
        self.controller.agents.phases = False
        dice = uniforms(streams.stream("leases"))
        self.leases = Leases(engine, policy.lease, self.controller, self.hosts, self.log, dice) if policy.lease is not None else None
        for deployment in deployments:
            for replica in self.controller.replicas[deployment.name].values():
                self._first(replica)

    def _make(self, group: HostGroup) -> None:
        for i in range(group.count):
            name = f"{group.name}-{i + 1}" if group.count > 1 else group.name
            machine = Machine(self.engine, name, group.cores, group.memory_bytes)
            self.machines.append(machine)
            parts = max(1, group.vms)
            for k in range(parts):
                own = f"{name}-vm{k + 1}" if group.vms else name
                cores = group.vm_cores or max(1, group.cores // parts)
                memory_bytes = group.vm_memory_bytes or group.memory_bytes / parts
                host = Host(own, machine, cores, memory_bytes, group.pods, group.zone, group.network_bytes_per_s, virtual=bool(group.vms))
                self.hosts.append(host)

    def _route(self, deployment: Deployment, balancer: Balancer) -> None:
        name = deployment.name
        works = draws(deployment.work, self.streams.stream(f"{name} work"))
        dice = uniforms(self.streams.stream(f"{name} dice"))
        self.routers[name] = Router(self.engine, name, balancer, self.policy.endpoints, works, dice, self.log)

    def _first(self, replica: Replica) -> None:
        """A replica that is there from the beginning is ready and routed to, unless it has to start first."""
        router = self.routers[replica.deployment.name]
        if replica.process is not None and replica.process.listening:
            replica.ready = True
            for prober in replica.probers:
                if prober.role == "readiness":
                    prober.state = True
            router.at_once(replica)
            router.check(replica, replica.host.phase)

    def _told(self, replica: Replica, ready: bool) -> None:
        """It became known whether a replica can be sent requests."""
        router = self.routers[replica.deployment.name]
        by = self.policy.routes_by
        if ready:
            router.learn(replica, True)
            router.check(replica, replica.host.phase)
        elif by == "readiness":
            router.learn(replica, False)
        if replica.leaving and replica.name not in self.controller.replicas[replica.deployment.name]:
            router.forget(replica)

    # ---- loads ----

    def load(self, load: Load, name: str) -> None:
        """Let clients send requests."""
        router = self.routers[load.to]
        gaps: Iterator[float]
        if load.regular:
            gaps = repeat(1.0)
        else:
            rng = self.streams.stream(f"{name} arrivals")
            gaps = blocks(lambda n: rng.exponential(1.0, n))
        engine = self.engine

        def arrive() -> None:
            now = engine._now
            if now >= load.end_s:
                return
            router.send()
            rate = load.rate_per_s * (load.factor if load.step_s <= now < load.step_end_s else 1.0)
            wakeup.at(now + next(gaps) / rate)

        wakeup = engine.wakeup(arrive)
        wakeup.at(engine._now + load.start_s + next(gaps) / load.rate_per_s)

    # ---- what is done to it ----

    def schedule(self, failure: Failure) -> None:
        """Have something done at its time."""
        self.engine.wakeup(partial(self.do, failure)).at(failure.at_s)

    def do(self, failure: Failure) -> None:
        """Do something to the cluster now."""
        what, whom = failure.what, failure.whom
        self.log.add("failure", whom, what)
        agents = self.controller.agents
        if what in {"crash", "hang", "kill sandbox"}:
            found = self.replica(whom)
            if found is not None:
                {"crash": agents.crash, "hang": agents.hang, "kill sandbox": agents.kill_sandbox}[what](found)
        elif what == "kill host":
            machine = next(one for one in self.machines if one.name == whom or any(host.name == whom for host in one.hosts))
            machine.alive = False
            for host in list(machine.hosts):
                self._die(host)
            if self.keeper is not None:
                self.keeper.machine_died(machine)
        elif what == "kill vm":
            host = self.host(whom)
            self._die(host)
            if self.keeper is not None:
                self.keeper.host_died(host)
        elif what == "boot":
            host = self.host(whom)
            host.machine.alive = True
            self.boot(host)
        elif what in {"cordon", "uncordon"}:
            self.controller.cordon(self.host(whom), what == "cordon")
        elif what == "drain":
            self.controller.cordon(self.host(whom), True)
            self.controller.evict(self.host(whom))
        elif what == "update":
            wanted = self.controller.wanted[whom]
            self.controller.want(replace(wanted, version=wanted.version + 1))
        else:
            assert what == "scale", what
            self.controller.want(replace(self.controller.wanted[whom], replicas=int(failure.to)))

    def _die(self, host: Host) -> None:
        if host.alive:
            host.alive = False
            host.life += 1
            self.log.add("died", host.name)
            self.controller.agents.host_died(host)

    def boot(self, host: Host) -> None:
        """A host runs again, empty, and starts what it still has."""
        if host.alive:
            return
        host.alive = True
        self.log.add("booted", host.name)
        self.controller.agents.host_came_back(host)
        if self.leases is not None:
            self.leases.resume(host)
        self.controller.touch_all()

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def replica(self, whom: str) -> Replica | None:
        """The replica of that name, or the first of the deployment of that name that has a process."""
        for replicas in self.controller.replicas.values():
            if whom in replicas:
                return replicas[whom]
        return next((one for one in self.controller.replicas.get(whom, {}).values() if one.process is not None), None)

    # ---- running ----

    def run(self, until_s: float) -> None:
        """Go on until a time."""
        self.engine.run(until_s)

    @property
    def events(self) -> int:
        """Entries that the event queue has seen."""
        return next(self.engine._eid)

