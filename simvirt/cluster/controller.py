"""Brings what is there to what is wanted: so many replicas of each deployment, of its newest version, on hosts that can take them."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import final

from simvirt.cluster.agent import Agents
from simvirt.cluster.description import Deployment
from simvirt.cluster.log import Log
from simvirt.cluster.machine import Host, Replica
from simvirt.cluster.placement import choose
from simvirt.cluster.policy import Policy
from simvirt.engine import Engine

__all__ = ["Controller"]


@final
class Controller:
    """Desired state. One reusable event reconciles at the instant at which something changed; nothing is looked at in between."""

    def __init__(
        self, engine: Engine, policy: Policy, hosts: list[Host], log: Log, told: Callable[[Replica, bool], None], rule: str
    ) -> None:
        self.engine = engine
        self.policy = policy
        self.hosts = hosts
        self.log = log
        self._told = told
        """Called with a replica and whether it may be sent requests."""
        self._rule = rule
        self._cursor = 0
        """Index of the host after the one that was chosen last."""
        self._places = {host: i for i, host in enumerate(hosts)}
        self.agents = Agents(engine, policy, log, self.changed, self.replace)
        self.wanted: dict[str, Deployment] = {}
        self.replicas: dict[str, dict[str, Replica]] = {}
        """By deployment and name: those that are not gone."""
        self.pending: dict[str, int] = {}
        """How many replicas no host can take, by deployment."""
        self._numbers: dict[str, int] = {}
        self._held: dict[str, int] = {}
        """Replacements that wait for their delay."""
        self._dirty: dict[str, None] = {}
        self._wakeup = engine.wakeup(self._reconcile)

    # ---- what is wanted ----

    def want(self, deployment: Deployment) -> None:
        """Have this from now on: another number of replicas, another version, or something new."""
        before = self.wanted.get(deployment.name)
        if before is not None and before.version != deployment.version:
            self.log.add("update", deployment.name, f"to version {deployment.version}")
        self.wanted[deployment.name] = deployment
        self.replicas.setdefault(deployment.name, {})
        self.touch(deployment.name)

    def touch(self, name: str) -> None:
        """Look at a deployment at the end of this instant."""
        self._dirty[name] = None
        self._wakeup.at(self.engine._now)

    def touch_all(self) -> None:
        """Hosts have changed: look at everything that lacks a place."""
        for name in self.wanted:
            self.touch(name)

    def settled(self, name: str) -> bool:
        """Whether all that is wanted of a deployment is there, ready, and nothing else."""
        wanted, there = self.wanted[name], self.replicas[name]
        return len(there) == wanted.replicas and all(
            replica.ready and not replica.leaving and replica.deployment.version == wanted.version for replica in there.values()
        )

    def ready_count(self, name: str) -> int:
        return sum(replica.ready for replica in self.replicas[name].values())

    # ---- reconciling ----

    def _reconcile(self) -> None:
        while self._dirty:
            name = next(iter(self._dirty))
            del self._dirty[name]
            self._bring_about(self.wanted[name])

    def _bring_about(self, wanted: Deployment) -> None:
        name = wanted.name
        there = [replica for replica in self.replicas[name].values() if not replica.leaving]
        new = [replica for replica in there if replica.deployment.version == wanted.version]
        old = [replica for replica in there if replica.deployment.version != wanted.version]
        held = self._held.get(name, 0)
        surge = self._surge(wanted) if old else 0
        missing = min(wanted.replicas - len(new), wanted.replicas + surge - len(there)) - held
        self.pending[name] = sum(not self._create(wanted) for _ in range(missing))
        if old:
            self._remove_old(wanted, new, old)
        elif missing < 0:
            for replica in sorted(new, key=lambda one: (one.ready, -one.ready_s))[: len(new) - wanted.replicas]:
                self.remove(replica, "too many")

    def _remove_old(self, wanted: Deployment, new: list[Replica], old: list[Replica]) -> None:
        """As many old ones as may be missing; those that are not ready first, as nobody misses them."""
        least = wanted.replicas - self._unavailable(wanted)
        ready = sum(replica.ready for replica in (*new, *old))
        excess = len(new) + len(old) + self.pending[wanted.name] - least
        for replica in sorted(old, key=lambda one: one.ready):
            if not replica.ready and excess > 0:
                excess -= 1
                self.remove(replica, "old version")
            elif replica.ready and ready > least:
                ready -= 1
                self.remove(replica, "old version")

    def _surge(self, wanted: Deployment) -> int:
        """How many may be there in excess during an update: a share, rounded up."""
        return ceil(self.policy.update.surge * wanted.replicas - 1e-9)

    def _unavailable(self, wanted: Deployment) -> int:
        """How many may be missing during an update: a share, rounded down; one if nothing may be in excess either."""
        missing = floor(self.policy.update.unavailable * wanted.replicas + 1e-9)
        return missing if missing or self._surge(wanted) else 1

    def _create(self, deployment: Deployment, *, launch: bool = False) -> bool:
        host = choose(self.hosts, deployment, self._rule, self._cursor)
        if host is None:
            return False
        self._cursor = self._places[host] + 1
        number = self._numbers[deployment.name] = self._numbers.get(deployment.name, 0) + 1
        replica = Replica(f"{deployment.name}-{number}", deployment, host, self.policy.restart)
        self.replicas[deployment.name][replica.name] = replica
        host.add(replica)
        if launch:
            self.agents.pulls.present(host, deployment.image_bytes)
            self.agents.launch(replica, warm=True)
        else:
            self.log.add("placed", replica.name, host.name)
            self.agents.start(replica, self.policy.runtime.schedule_s)
        return True

    def begin(self, deployment: Deployment) -> bool:
        """Have a deployment in place from the beginning: containers are there, their processes run. Whether all found a place."""
        self.wanted[deployment.name] = deployment
        self.replicas.setdefault(deployment.name, {})
        missing = sum(not self._create(deployment, launch=True) for _ in range(deployment.replicas))
        self.pending[deployment.name] = missing
        return not missing

    # ---- what becomes of replicas ----

    def changed(self, replica: Replica) -> None:
        self._told(replica, replica.ready)
        self.touch(replica.deployment.name)

    def remove(self, replica: Replica, why: str) -> None:
        """End a replica in order; its place is free when it is gone."""
        self.log.add("removed", replica.name, why)
        if replica.host.alive:
            self.agents.stop(replica, lambda: self._gone(replica))
        else:
            self.forget(replica)
        self.touch(replica.deployment.name)

    def forget(self, replica: Replica) -> None:
        """Take a replica that cannot be reached off the books."""
        replica.leaving = True
        if replica.ready:
            replica.ready = False
            self._told(replica, False)
        self._gone(replica)

    def _gone(self, replica: Replica) -> None:
        self.replicas[replica.deployment.name].pop(replica.name, None)
        replica.host.remove(replica)
        self._told(replica, False)
        self.log.add("gone", replica.name)
        self.touch(replica.deployment.name)
        for name, count in self.pending.items():
            if count:
                self.touch(name)

    def replace(self, replica: Replica, why: str) -> None:
        """A replica will not be started again: another one takes its place after the first delay of restarts."""
        replica.leaving = True
        name = replica.deployment.name
        self._held[name] = self._held.get(name, 0) + 1
        wait_s = self.policy.restart.first_s
        self.log.add("replace", replica.name, f"{why}; after {wait_s:g} s")

        def replaced() -> None:
            self._held[name] -= 1
            self.touch(name)

        self._gone(replica)
        self.engine.wakeup(replaced).at(self.engine._now + wait_s)

    # ---- hosts ----

    def evict(self, host: Host) -> None:
        """Replace everything on a host, reachable or not."""
        for replica in self.on(host):
            if host.alive:
                if not replica.leaving:
                    self.remove(replica, "evicted")
            elif self.policy.on_exit == "replace":
                self.replace(replica, "host down")
            else:
                self.log.add("removed", replica.name, "evicted")
                self.forget(replica)

    def on(self, host: Host) -> list[Replica]:
        """The replicas of a host."""
        return list(host.replicas.values())

    def cordon(self, host: Host, closed: bool) -> None:
        """Place nothing more on a host, or do so again."""
        host.cordoned = closed
        self.log.add("cordoned" if closed else "uncordoned", host.name)
        if not closed:
            self.touch_all()
