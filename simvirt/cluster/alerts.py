"""Monitoring from outside: scrapes, rules that must hold for some time, and groups of alerts that are sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from simvirt.cluster.log import Log
from simvirt.cluster.policy import Alerting
from simvirt.engine import Engine

__all__ = ["Monitor"]


@final
class Monitor:
    """One rule about one thing.

    What a scrape saw is what the next evaluation judges. A group of alerts that is new waits; one that was sent before waits longer.
    """

    def __init__(
        self,
        engine: Engine,
        policy: Alerting,
        name: str,
        bad: Callable[[], bool],
        log: Log,
        for_s: float = 0.0,
        phases: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.engine = engine
        self.policy = policy
        self.name = name
        self._bad = bad
        self.log = log
        self.for_s = for_s
        self._seen = False
        self._since_s: float | None = None
        self.firing = False
        self._sent_s: float | None = None
        self._scrape = engine.wakeup(self._scraped)
        self._scrape.at(engine._now + phases[0] * policy.scrape_s)
        self._evaluate = engine.wakeup(self._evaluated)
        self._evaluate.at(engine._now + phases[1] * policy.evaluate_s)
        self._notify = engine.wakeup(self._send)

    def _scraped(self) -> None:
        self._scrape.at(self.engine._now + self.policy.scrape_s)
        self._seen = self._bad()

    def _evaluated(self) -> None:
        now = self.engine._now
        self._evaluate.at(now + self.policy.evaluate_s)
        if not self._seen:
            if self.firing:
                self.log.add("resolved", self.name)
            self._since_s, self.firing = None, False
            return
        if self._since_s is None:
            self._since_s = now
            self.log.add("pending", self.name)
        if not self.firing and now - self._since_s >= self.for_s:
            self.firing = True
            self.log.add("firing", self.name)
            policy = self.policy
            due = now + policy.group_wait_s if self._sent_s is None else max(now, self._sent_s + policy.group_interval_s)
            self._notify.at(due)

    def _send(self) -> None:
        if self.firing:
            self._sent_s = self.engine._now
            self.log.add("alerted", self.name)
