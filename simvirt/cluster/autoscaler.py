"""Horizontal scaling by the use of CPU: the rule, and who applies it every so often."""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import final

from simvirt.cluster.controller import Controller
from simvirt.cluster.log import Log
from simvirt.cluster.policy import Autoscaling
from simvirt.engine import Engine

__all__ = ["Autoscaler", "proposal"]


def proposal(current: int, metric: float, target: float, tolerance: float) -> int:
    """ceil(current · metric / target); current, if that ratio is within the tolerance of 1."""
    ratio = metric / target
    return current if abs(ratio - 1.0) <= tolerance else ceil(current * ratio - 1e-9)


@final
class Autoscaler:
    """Scales one deployment between two bounds, so that its ready replicas use a share `target` of the CPU that they ask for."""

    def __init__(
        self, engine: Engine, policy: Autoscaling, controller: Controller, name: str, least: int, most: int, target: float, log: Log
    ) -> None:
        self.engine = engine
        self.policy = policy
        self.controller = controller
        self.name = name
        self.least = least
        self.most = most
        self.target = target
        self.log = log
        self._proposals: deque[tuple[float, int]] = deque()
        self._ups: deque[tuple[float, int]] = deque()
        """When it scaled up, and by how many."""
        self._busy: dict[str, float] = {}
        self._use = 0.0
        self._measure = engine.wakeup(self._measured)
        self._measure.at(engine._now + policy.metric_s)
        self._sync = engine.wakeup(self._decide)
        self._sync.at(engine._now + policy.sync_s)

    def _measured(self) -> None:
        """Mean use over the last window, of the replicas that are ready, over what they ask for."""
        policy, now = self.policy, self.engine._now
        self._measure.at(now + policy.metric_s)
        uses = []
        busy: dict[str, float] = {}
        for name, replica in self.controller.replicas[self.name].items():
            if replica.seat is not None:
                busy[name] = replica.seat.group.account().busy_s
                if replica.ready and name in self._busy:
                    uses.append((busy[name] - self._busy[name]) / policy.metric_s / replica.deployment.cpu_request_cores)
        self._busy = busy
        self._use = sum(uses) / len(uses) if uses else 0.0

    def _decide(self) -> None:
        policy, now = self.policy, self.engine._now
        self._sync.at(now + policy.sync_s)
        wanted = self.controller.wanted[self.name]
        current = wanted.replicas
        if not self._busy or not self._use:
            return
        aim = self.next(now, current, proposal(max(1, self.controller.ready_count(self.name)), self._use, self.target, policy.tolerance))
        if aim != current:
            from dataclasses import replace  # noqa: PLC0415

            self.log.add("scaled", self.name, f"{current} to {aim} at {100 * self._use:.0f} %")
            self.controller.want(replace(wanted, replicas=aim))

    def next(self, now: float, current: int, proposed: int) -> int:
        """What is made of a proposal: down only to the highest of the window, up only as fast as allowed, within bounds."""
        policy = self.policy
        self._proposals.append((now, proposed))
        while self._proposals[0][0] < now - policy.window_s:
            self._proposals.popleft()
        while self._ups and self._ups[0][0] <= now - policy.up_period_s:
            self._ups.popleft()
        if proposed > current:
            before = current - sum(count for _, count in self._ups)
            aim = min(proposed, int(max(before * (1.0 + policy.up_share), before + policy.up_count)))
        else:
            aim = min(current, max(one for _, one in self._proposals))
        aim = max(self.least, min(self.most, aim))
        if aim > current:
            self._ups.append((now, aim - current))
        return aim
