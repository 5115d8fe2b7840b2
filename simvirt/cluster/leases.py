"""Leases of hosts: renewed by those that live, watched by the orchestrator, and what follows when one runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import final

from simvirt.cluster.controller import Controller
from simvirt.cluster.log import Log
from simvirt.cluster.machine import Host
from simvirt.cluster.policy import Lease
from simvirt.cluster.timers import later
from simvirt.engine import Engine, Wakeup

__all__ = ["Leases"]

_FEW_DOWN = 2
"""Hosts of a zone that may be down without its being called unhealthy."""


@final
class Leases:
    """Renewals of all hosts, and the watch over them.

    A host is given up when its lease is older than the grace, at the next look, or at once where each has a timer. Its replicas are known
    not to be ready from then on. They are replaced `evict_after_s` later; hosts enter that wait one after the other at a limited rate.
    """

    def __init__(self, engine: Engine, policy: Lease, controller: Controller, hosts: list[Host], log: Log, dice: Iterator[float]) -> None:
        self.engine = engine
        self.policy = policy
        self.controller = controller
        self.hosts = hosts
        self.log = log
        self._dice = dice
        self._timers: dict[Host, Wakeup] = {}
        self._renewals = {host: engine.wakeup(partial(self._renew, host)) for host in hosts}
        for host in hosts:
            host.lease_s = engine._now - (1.0 - host.phase) * policy.renew_s
            self._renewals[host].at(host.lease_s + policy.renew_s)
        if policy.look_s:
            self._watch = engine.wakeup(self._look)
            self._watch.at(engine._now + next(dice) * policy.look_s)
        else:
            for host in hosts:
                self._timers[host] = engine.wakeup(partial(self._late, host))
                self._timers[host].at(host.lease_s + policy.grace_s)
        self._queue: deque[Host] = deque()
        self._token_s = 0.0
        """When the next host may enter the wait before eviction."""

    def resume(self, host: Host) -> None:
        """A host runs again."""
        self._renew(host)

    def _renew(self, host: Host) -> None:
        if not host.alive:
            return
        policy = self.policy
        now = host.lease_s = self.engine._now
        self._renewals[host].at(now + policy.renew_s + policy.jitter_s * (2.0 * next(self._dice) - 1.0))
        if host in self._timers:
            self._timers[host].at(now + policy.grace_s)
            if not host.ready:
                self._back(host)

    def _look(self) -> None:
        now, grace_s = self.engine._now, self.policy.grace_s
        self._watch.at(now + self.policy.look_s)
        for host in self.hosts:
            late = now - host.lease_s > grace_s
            if late == host.ready:
                if late:
                    self._late(host)
                else:
                    self._back(host)

    def _late(self, host: Host) -> None:
        host.ready = False
        self.log.add("host not ready", host.name)
        for replica in self.controller.on(host):
            if replica.ready:
                replica.ready = False
                replica.unready_s = self.engine._now
                self.log.add("not ready", replica.name, "its host is not")
                self.controller.changed(replica)
        self._queue.append(host)
        host.evicting = True
        if len(self._queue) == 1:
            later(self.engine, max(0.0, self._token_s - self.engine._now), self._admit)

    def _admit(self) -> None:
        """Let the next host enter the wait before eviction."""
        policy, now = self.policy, self.engine._now
        while self._queue:
            rate = self._rate(self._queue[0])
            if policy.evict_per_s and not rate:  # nothing is evicted at present: look again
                later(self.engine, policy.look_s, self._admit)
                return
            host = self._queue.popleft()
            if not host.evicting:
                continue
            later(self.engine, policy.evict_after_s, partial(self._evict, host, host.life))
            if policy.evict_per_s:
                self._token_s = now + 1.0 / rate
                if self._queue:
                    later(self.engine, 1.0 / rate, self._admit)
                return

    def _rate(self, host: Host) -> float:
        policy = self.policy
        zone = [one for one in self.hosts if one.zone == host.zone]
        down = sum(not one.ready for one in zone)
        if down == len(zone):
            return 0.0
        if down <= _FEW_DOWN or down < policy.unhealthy_share * len(zone):
            return policy.evict_per_s
        return policy.evict_slow_per_s if len(zone) > policy.large else 0.0

    def _evict(self, host: Host, life: int) -> None:
        if host.evicting and host.life == life and not host.ready:
            self.log.add("evicted", host.name)
            self.controller.evict(host)

    def _back(self, host: Host) -> None:
        host.ready = True
        host.evicting = False
        self.log.add("host ready", host.name)
        for replica in self.controller.on(host):
            self.controller.agents.report(replica)
        self.controller.touch_all()
