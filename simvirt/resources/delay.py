"""A pure delay: propagation, a fixed interrupt latency, a remote service that never queues."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Done

__all__ = ["Delay"]


@final
class Delay:
    """Holds each request for `delay_s` seconds, any number at once.

    departure = arrival + delay_s. The delay is constant, so requests leave in the order in which they came; there is no contention.
    """

    __slots__ = ("_engine", "_in_flight", "_wakeup", "delay_s", "served")

    def __init__(self, engine: Engine, delay_s: float) -> None:
        if not 0 <= delay_s < inf:
            raise ValueError(f"delay_s: {delay_s} s; must be finite and at least 0 s")
        self._engine = engine
        self._wakeup = engine.wakeup(self._depart)
        self._in_flight: deque[tuple[float, Done, Any]] = deque()
        self.delay_s = delay_s
        self.served = 0
        """Requests that left since `restart`."""

    def pass_on(self, done: Done, argument: Any) -> float:
        """Call `done(argument)` after the delay, and return when that will be."""
        return self.pass_on_from(self._engine._now, done, argument)

    def pass_on_from(self, arrival: float, done: Done, argument: Any) -> float:
        """The same for a request that comes at `arrival`: now or later, but not before one that has been accepted already."""
        departure = arrival + self.delay_s
        in_flight = self._in_flight
        if not in_flight:
            self._wakeup.at(departure)
        in_flight.append((departure, done, argument))
        return departure

    def _depart(self) -> None:
        in_flight = self._in_flight
        _, done, argument = in_flight.popleft()
        self.served += 1
        if in_flight:
            self._wakeup.at(in_flight[0][0])
        done(argument)

    @property
    def in_system(self) -> int:
        """Requests being held now."""
        return len(self._in_flight)

    def restart(self) -> None:
        """Set the account to zero (the end of warm-up); requests being held count when they leave."""
        self.served = 0
