"""A probe at work: it asks, waits for the answer or the time-out, and says when the verdict changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from simvirt.cluster.policy import Probe
from simvirt.cluster.request import Attempt
from simvirt.engine import Engine

__all__ = ["Prober"]


@final
class Prober:
    """Asks whatever `deliver` brings its questions to. One reusable event serves for the next question and for the time-out."""

    __slots__ = ("_asked_s", "_bad", "_deliver", "_good", "_verdict", "_waiting", "_wakeup", "asked", "engine", "probe", "role", "state")

    def __init__(self, engine: Engine, probe: Probe, verdict: Callable[[bool], None], state: bool | None, role: str = "") -> None:
        self.engine = engine
        self.probe = probe
        self.role = role
        """What is asked for: readiness, liveness, startup, or a balancer's own check."""
        self._verdict = verdict
        self._wakeup = engine.wakeup(self._fire)
        self._waiting: Attempt | None = None
        self._asked_s = 0.0
        self._good = self._bad = 0
        self.state = state
        """The verdict so far; None before there is one."""
        self._deliver: Callable[[Attempt], None] | None = None
        self.asked = 0

    def start(self, deliver: Callable[[Attempt], None], ahead: float = 0.0, *, delayed: bool = True) -> None:
        """Ask from now on. `ahead`: a share of a period by which the first question comes later; `delayed`: after the probe's own delay."""
        self._deliver = deliver
        probe = self.probe
        first_s = (probe.delay_s if delayed else 0.0) + (probe.period_s if probe.timing == "end" else 0.0)
        self._wakeup.at(self.engine._now + first_s + ahead * probe.period_s)

    def stop(self) -> None:
        """Ask no more; an answer that is still to come is not heard."""
        self._wakeup.cancel()
        self._deliver = None
        if self._waiting is not None:
            self._waiting.over = True
            self._waiting = None

    def _fire(self) -> None:
        if self._waiting is not None:
            self._waiting.over = True
            self._heard(False)
            return
        deliver = self._deliver
        assert deliver is not None
        now = self._asked_s = self.engine._now
        probe = self.probe
        self.asked += 1
        attempt = self._waiting = Attempt(self, probe.cpu_s, now)
        self._wakeup.at(now + probe.timeout_s)
        deliver(attempt)

    def answered(self, attempt: Attempt) -> None:
        self._heard(True)

    def failed(self, attempt: Attempt, reason: str) -> None:
        self._heard(False)

    def began(self, attempt: Attempt) -> None:
        """Nothing changes by it."""

    def _heard(self, good: bool) -> None:
        self._waiting = None
        probe = self.probe
        now = self.engine._now
        if probe.timing == "start":
            due = self._asked_s + probe.period_s
            self._wakeup.at(due if due > now else now)
        else:
            self._wakeup.at(now + probe.period_s)
        if good:
            self._good += 1
            self._bad = 0
            if self.state is not True and self._good >= probe.successes:
                self.state = True
                self._verdict(True)
        else:
            self._bad += 1
            self._good = 0
            if self.state is not False and self._bad >= probe.failures:
                self.state = False
                self._verdict(False)
