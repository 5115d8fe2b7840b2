"""A block device: parallel channels behind one queue."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush, heapreplace
from typing import Any, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Done
from simvirt.resources.station import AbstractStation

__all__ = ["Disk"]


@final
class Disk(AbstractStation):
    """Serves up to `channels` requests at once, first come first served, from one queue.

    A request takes the channel that is free first and holds it for the service time that its caller computed (random or sequential,
    read or write): completion = max(now, earliest free channel) + service_s, known on arrival. No merging, no reordering; the queue
    is unlimited. Times (`busy_s`, `wait_s`) count what has passed since `restart`, split there; `served` counts at completion.
    Reading an account takes time in proportion to the queue.
    """

    __slots__ = (
        "_accepted",
        "_engine",
        "_free_at",
        "_pending",
        "_served_before",
        "_service_s",
        "_since",
        "_starts",
        "_wait_s",
        "_wakeup",
        "channels",
        "slowness",
    )

    def __init__(self, engine: Engine, channels: int) -> None:
        if channels < 1:
            raise ValueError(f"channels: {channels}; must be at least 1")
        self._engine = engine
        self._wakeup = engine.wakeup(self._complete)
        self._free_at = [engine._now] * channels
        """A heap: when each channel will have served all that it has accepted."""
        self._starts: deque[float] = deque()
        """When those that wait will start, in order; those that have started are dropped when the next one waits."""
        self._pending: list[tuple[float, int, Done, Any]] = []
        """A heap of completion, order of arrival, done, argument of the requests whose completion calls somebody."""
        self._accepted = 0
        self.channels = channels
        self.slowness = 1.0
        """How many times as long it takes as it is built for, from now on."""
        self.restart()

    def reserve(self, service_s: float) -> float:
        """Queue one request and return when it will be complete; for the end of a path, where nothing follows."""
        assert service_s >= 0
        now = self._engine._now
        service_s *= self.slowness
        self._accepted += 1
        self._service_s += service_s
        start = self._free_at[0]
        if start > now:
            self._wait_s += start - now
            starts = self._starts
            starts.append(start)
            while starts[0] <= now:
                starts.popleft()
        else:
            start = now
        completion = start + service_s
        heapreplace(self._free_at, completion)
        return completion

    def submit(self, service_s: float, done: Done, argument: Any) -> float:
        """Queue one request that needs a channel for `service_s` seconds; call `done(argument)` when it is complete.

        Returns when that will be.
        """
        completion = self.reserve(service_s)
        pending = self._pending
        heappush(pending, (completion, self._accepted, done, argument))
        self._wakeup.at(pending[0][0])
        return completion

    def _complete(self) -> None:
        pending = self._pending
        _, _, done, argument = heappop(pending)
        if pending:
            self._wakeup.at(pending[0][0])
        done(argument)

    @property
    def in_system(self) -> int:
        """Requests waiting or in service now."""
        now = self._engine._now
        return sum(start > now for start in self._starts) + sum(free_at > now for free_at in self._free_at)

    @property
    def served(self) -> int:
        """Requests completed since `restart`."""
        return self._accepted - self.in_system - self._served_before

    @property
    def busy_s(self) -> float:
        """Channel-seconds of service since `restart`."""
        return max(0.0, self._service_s - self._service_to_come_s())

    @property
    def wait_s(self) -> float:
        """Time spent waiting since `restart`, summed over requests: the integral of the number waiting."""
        return max(0.0, self._wait_s - self._wait_to_come_s())

    def restart(self) -> None:
        """Set the accounts to zero (the end of warm-up). From here on an account is what is accepted less what is still to come."""
        self._since = self._engine._now
        self._served_before = self._accepted - self.in_system
        self._service_s = self._service_to_come_s()
        self._wait_s = self._wait_to_come_s()

    def _service_to_come_s(self) -> float:
        now = self._engine._now
        return sum(max(0.0, free_at - now) for free_at in self._free_at)

    def _wait_to_come_s(self) -> float:
        now = self._engine._now
        return sum(max(0.0, start - now) for start in self._starts)
