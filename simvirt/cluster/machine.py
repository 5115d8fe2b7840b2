"""Machines, the hosts on them, and the replicas on those.

A host is what an orchestrator sees: a whole machine, or a virtual machine on one. A replica is one container, through all lives of its
process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from simvirt.cluster.back_off import BackOff
from simvirt.cluster.description import Deployment
from simvirt.cluster.policy import Restart
from simvirt.cluster.probe import Prober
from simvirt.cluster.process import Process, Seat
from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.fluid import FluidGroup, FluidScheduler

__all__ = ["Host", "Machine", "Replica"]


@final
class Machine:
    """Cores that are shared by the hosts on it, and that die together."""

    __slots__ = ("alive", "cores", "hosts", "memory_bytes", "name", "scheduler")

    def __init__(self, engine: Engine, name: str, cores: int, memory_bytes: float) -> None:
        self.name = name
        self.cores = cores
        self.memory_bytes = memory_bytes
        self.scheduler = FluidScheduler(engine, cores)
        self.alive = True
        self.hosts: list[Host] = []


@final
class Host:
    """What containers are placed on. `ready` is what the orchestrator believes; `alive` what is the case."""

    __slots__ = (
        "alive",
        "cordoned",
        "cores",
        "evicting",
        "group",
        "images",
        "lease_s",
        "life",
        "machine",
        "memory_bytes",
        "name",
        "network_bytes_per_s",
        "phase",
        "pods",
        "ready",
        "replicas",
        "requested_bytes",
        "requested_cores",
        "virtual",
        "zone",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        machine: Machine,
        cores: int,
        memory_bytes: float,
        pods: int,
        zone: str,
        network_bytes_per_s: float,
        *,
        virtual: bool,
    ) -> None:
        self.name = name
        self.cores = cores
        self.memory_bytes = memory_bytes
        self.pods = pods
        self.zone = zone
        self.network_bytes_per_s = network_bytes_per_s
        self.virtual = virtual
        self.alive = True
        self.ready = True
        self.cordoned = False
        self.evicting = False
        self.life = 0
        """How often it has been started anew: what was begun in an earlier life does not go on."""
        self.lease_s = 0.0
        """When it last renewed its lease."""
        self.phase = 0.0
        """Share of a period by which its agent is ahead of others."""
        self.replicas: dict[str, Replica] = {}
        self.requested_cores = 0.0
        self.requested_bytes = 0.0
        self.settle_on(machine)

    def settle_on(self, machine: Machine) -> None:
        """Be on this machine from now on, with a CPU group of its own if it is a virtual machine."""
        self.machine = machine
        machine.hosts.append(self)
        share = Share(processors=self.cores) if self.virtual else Share()
        self.group: FluidGroup = machine.scheduler.group(self.name, share)

    def leave_machine(self) -> None:
        self.machine.hosts.remove(self)

    def add(self, replica: Replica) -> None:
        """Set aside what a replica asks for."""
        deployment = replica.deployment
        self.replicas[replica.name] = replica
        self.requested_cores += deployment.cpu_request_cores
        self.requested_bytes += deployment.memory_bytes

    def remove(self, replica: Replica) -> None:
        deployment = replica.deployment
        if self.replicas.pop(replica.name, None) is not None:
            self.requested_cores -= deployment.cpu_request_cores
            self.requested_bytes -= deployment.memory_bytes
            if not self.replicas:
                self.requested_cores = self.requested_bytes = 0.0


@final
class Replica:
    """Where it is and how it fares. `serving` is the case: a process that listens and answers; `ready` is what is known of it."""

    __slots__ = (
        "back_off", "deployment", "ending", "healthy", "host", "leaving", "name", "probers", "process", "ready", "ready_s", "restarts",
        "sandbox", "seat", "step", "unready_s",
    )  # fmt: skip

    def __init__(self, name: str, deployment: Deployment, host: Host, restart: Restart) -> None:
        self.name = name
        self.deployment = deployment
        self.host = host
        self.back_off = BackOff(restart)
        self.process: Process | None = None
        self.seat: Seat | None = None
        self.sandbox = False
        """Whether there is what its containers share."""
        self.probers: tuple[Prober, ...] = ()
        self.ready = False
        self.ready_s = 0.0
        """When it was found ready."""
        self.unready_s: float | None = None
        """Since when it has been known not to be ready, having been so."""
        self.healthy = True
        """The mark of a health check that does nothing else."""
        self.leaving = False
        """Whether somebody has decided that it has to go."""
        self.ending: Callable[[], None] | None = None
        """What follows once its process is gone, while it is being ended."""
        self.restarts = 0
        self.step = 0
        """Raised whenever what was begun with it must not go on."""

    @property
    def serving(self) -> bool:
        process = self.process
        return self.host.alive and process is not None and process.listening and not process.hung and not process.stopping
