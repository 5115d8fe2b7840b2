"""Leaves out servers that fail clients several times in a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import final

from simvirt.cluster.log import Log
from simvirt.cluster.machine import Replica
from simvirt.cluster.policy import Ejection
from simvirt.engine import Engine

__all__ = ["Ejector"]


@final
class Ejector:
    """Out at the n-th failure in a row, at once; for base · (times out), at most `most_s`; back at the next sweep after that.

    Each sweep that finds a server in its place forgives it one time out. At most a share of the servers is out, but one may always be.
    """

    def __init__(self, engine: Engine, policy: Ejection, log: Log, members: Callable[[], int]) -> None:
        self.engine = engine
        self.policy = policy
        self.log = log
        self._members = members
        self._bad: Counter[Replica] = Counter()
        self._times: Counter[Replica] = Counter()
        self.out: dict[Replica, float] = {}
        """Who is out, and until when."""
        self._sweep = engine.wakeup(self._look)
        self._sweep.at(engine._now + policy.sweep_s)

    def heard(self, replica: Replica, good: bool) -> None:
        """A server answered, or failed."""
        if good:
            self._bad[replica] = 0
            return
        self._bad[replica] += 1
        room = len(self.out) < max(1, int(self.policy.most_share * self._members()))
        if self._bad[replica] >= self.policy.consecutive and replica not in self.out and room:
            self._bad[replica] = 0
            self._times[replica] += 1
            out_s = min(self.policy.most_s, self.policy.base_s * self._times[replica])
            self.out[replica] = self.engine._now + out_s
            self.log.add("ejected", replica.name, f"for {out_s:g} s")

    def _look(self) -> None:
        now = self.engine._now
        for replica, times in self._times.items():
            if times and replica not in self.out:
                self._times[replica] = times - 1
        for replica in [one for one, until in self.out.items() if until <= now]:
            del self.out[replica]
            self.log.add("back", replica.name)
        self._sweep.at(now + self.policy.sweep_s)
