"""Brings virtual machines back: on their own machine, or on another one when theirs is dead."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import final

from simvirt.cluster.log import Log
from simvirt.cluster.machine import Host, Machine
from simvirt.cluster.policy import MachineRestart
from simvirt.cluster.timers import later
from simvirt.engine import Engine

__all__ = ["Keeper"]


@final
class Keeper:
    """What watches machines below an orchestrator. A virtual machine keeps its name and what was placed on it."""

    def __init__(
        self, engine: Engine, policy: MachineRestart, machines: list[Machine], log: Log, came_back: Callable[[Host], None]
    ) -> None:
        self.engine = engine
        self.policy = policy
        self.machines = machines
        self.log = log
        self._came_back = came_back

    def machine_died(self, machine: Machine) -> None:
        for host in list(machine.hosts):
            if host.virtual:
                later(self.engine, self.policy.host_s, partial(self._restart, host))

    def host_died(self, host: Host) -> None:
        if host.virtual:
            later(self.engine, self.policy.machine_s, partial(self._restart, host))

    def _restart(self, host: Host) -> None:
        """Start a virtual machine where there is room for its memory; if there is none, try again as often."""
        if host.alive:
            return
        if not host.machine.alive:
            able = [one for one in self.machines if one.alive and _room(one) >= host.memory_bytes]
            if not able:
                later(self.engine, self.policy.host_s, partial(self._restart, host))
                return
            host.leave_machine()
            host.settle_on(max(able, key=_room))
        self.log.add("machine restarted", host.name, host.machine.name)
        later(self.engine, self.policy.boot_s, partial(self._came_back, host))


def _room(machine: Machine) -> float:
    return machine.memory_bytes - sum(host.memory_bytes for host in machine.hosts)
