"""Limits on what one tenant may ask of the disk: requests and bytes per second."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Done

__all__ = ["IoLimit"]


@final
class IoLimit:
    """Lets requests pass one after the other, no faster than a rate.

    Each request is let go at max(now, when the limit is free) and makes it busy for max(count / requests_per_s, size / bytes_per_s). So
    over any time t no more than 1 + t * rate of equal requests pass. A request larger than what a second allows passes whole, and those
    behind it wait. There are no bursts: a kernel that counts in slices of 100 ms lets more pass at the beginning of a slice.
    """

    __slots__ = ("_engine", "_free_at", "_held", "_wakeup", "bytes_per_s", "held_s", "passed", "requests_per_s")

    def __init__(self, engine: Engine, requests_per_s: float = inf, bytes_per_s: float = inf) -> None:
        if not (requests_per_s > 0 and bytes_per_s > 0):
            raise ValueError(f"limit of {requests_per_s} requests/s and {bytes_per_s} B/s: both must be above 0")
        self._engine = engine
        self._wakeup = engine.wakeup(self._let_go)
        self._held: deque[tuple[float, Done, Any]] = deque()
        self._free_at = engine._now
        self.requests_per_s = requests_per_s
        self.bytes_per_s = bytes_per_s
        self.passed = 0
        """Requests let go, ever."""
        self.held_s = 0.0
        """Time that requests were held, ever, counted when they come."""

    def enter(self, count: float, size_bytes: float, done: Done, argument: Any) -> None:
        """Call `done(argument)` as soon as the limit allows: now, if it does."""
        now = self._engine._now
        start = self._free_at if self._free_at > now else now
        self._free_at = start + max(count / self.requests_per_s, size_bytes / self.bytes_per_s)
        if start <= now and not self._held:
            self.passed += 1
            done(argument)
            return
        self.held_s += start - now
        if not self._held:
            self._wakeup.at(start)
        self._held.append((start, done, argument))

    def _let_go(self) -> None:
        _, done, argument = self._held.popleft()
        self.passed += 1
        if self._held:
            self._wakeup.at(self._held[0][0])
        done(argument)
