"""A network interface: one first-come-first-served link for each direction."""

from __future__ import annotations

from collections import deque
from typing import Any, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Done
from simvirt.resources.station import AbstractStation

__all__ = ["Link", "Nic"]


@final
class Link(AbstractStation):
    """One direction of a wire, limited in bytes and in packets per second, first come first served.

    service_s = max(size_bytes / bandwidth_bytes_per_s, packets / packets_per_s);
    departure = max(now, departure of the request before) + service_s, known on arrival.

    A request is a burst of packets that is sent whole: no interleaving with others, no loss, an unlimited queue. A limit may be infinite; a
    changed limit holds for requests that come later. Times (`busy_s`, `wait_s`) count what has passed since `restart`, split
    there; `served`, `packets` and `size_bytes` count requests at departure. Reading an account takes time in proportion to the queue.
    """

    __slots__ = (
        "_accepted",
        "_engine",
        "_free_at",
        "_in_system",
        "_packets",
        "_pending",
        "_service_s",
        "_since",
        "_size_bytes",
        "_wait_s",
        "_wakeup",
        "bandwidth_bytes_per_s",
        "packets_per_s",
    )

    channels = 1

    def __init__(self, engine: Engine, bandwidth_bytes_per_s: float, packets_per_s: float) -> None:
        if not (bandwidth_bytes_per_s > 0 and packets_per_s > 0):
            raise ValueError(f"link of {bandwidth_bytes_per_s} B/s and {packets_per_s} packets/s: both must be above 0")
        self._engine = engine
        self._wakeup = engine.wakeup(self._depart)
        self._in_system: deque[tuple[float, float, float]] = deque()
        """Departure, packets, bytes; those that have departed are dropped when the next request comes."""
        self._pending: deque[tuple[float, Done, Any]] = deque()
        """Departure, done, argument of the requests whose departure calls somebody."""
        self._free_at = engine._now
        self.bandwidth_bytes_per_s = bandwidth_bytes_per_s
        self.packets_per_s = packets_per_s
        self.restart()

    def service_s(self, packets: float, size_bytes: float) -> float:
        """How long one request occupies the link."""
        assert packets >= 0
        assert size_bytes >= 0
        bytes_s = size_bytes / self.bandwidth_bytes_per_s
        packets_s = packets / self.packets_per_s
        return bytes_s if bytes_s > packets_s else packets_s

    def reserve(self, packets: float, size_bytes: float) -> float:
        """Queue one request and return when its last byte will have left; for the end of a path, where nothing follows."""
        now = self._engine._now
        bytes_s = size_bytes / self.bandwidth_bytes_per_s
        packets_s = packets / self.packets_per_s
        service_s = bytes_s if bytes_s > packets_s else packets_s
        self._accepted += 1
        self._packets += packets
        self._size_bytes += size_bytes
        self._service_s += service_s
        start = self._free_at
        if start > now:
            self._wait_s += start - now
        else:
            start = now
        self._free_at = departure = start + service_s
        in_system = self._in_system
        while in_system and in_system[0][0] <= now:
            in_system.popleft()
        in_system.append((departure, packets, size_bytes))
        return departure

    def send(self, packets: float, size_bytes: float, done: Done, argument: Any) -> float:
        """Queue one request; call `done(argument)` when its last byte has left, and return when that will be."""
        departure = self.reserve(packets, size_bytes)
        pending = self._pending
        if not pending:
            self._wakeup.at(departure)
        pending.append((departure, done, argument))
        return departure

    def _depart(self) -> None:
        pending = self._pending
        _, done, argument = pending.popleft()
        if pending:
            self._wakeup.at(pending[0][0])
        done(argument)

    @property
    def in_system(self) -> int:
        """Requests waiting or being sent now."""
        return len(self._to_come())

    @property
    def served(self) -> int:
        """Requests that departed since `restart`."""
        return self._accepted - self.in_system

    @property
    def packets(self) -> float:
        """Packets of the requests that departed since `restart`."""
        return self._packets - sum(packets for _, packets, _ in self._to_come())

    @property
    def size_bytes(self) -> float:
        """Bytes of the requests that departed since `restart`."""
        return self._size_bytes - sum(size_bytes for _, _, size_bytes in self._to_come())

    @property
    def busy_s(self) -> float:
        """Time spent sending since `restart`."""
        return max(0.0, self._service_s - self._service_to_come_s())

    @property
    def wait_s(self) -> float:
        """Time spent waiting since `restart`, summed over requests: the integral of the number waiting."""
        return max(0.0, self._wait_s - self._wait_to_come_s())

    def restart(self) -> None:
        """Set the accounts to zero (the end of warm-up). From here on an account is what is accepted less what is still to come."""
        to_come = self._to_come()
        self._since = self._engine._now
        self._accepted = len(to_come)
        self._packets = sum(packets for _, packets, _ in to_come)
        self._size_bytes = sum(size_bytes for _, _, size_bytes in to_come)
        self._service_s = self._service_to_come_s()
        self._wait_s = self._wait_to_come_s()

    def _to_come(self) -> list[tuple[float, float, float]]:
        """Requests that have not departed, in order."""
        now = self._engine._now
        return [request for request in self._in_system if request[0] > now]

    def _service_to_come_s(self) -> float:
        return max(0.0, self._free_at - self._engine._now)

    def _wait_to_come_s(self) -> float:
        """Each request starts when the one before it departs; the first has started."""
        now = self._engine._now
        return sum(departure - now for departure, _, _ in self._to_come()[:-1])


@final
class Nic:
    """A full-duplex network interface: receiving and sending do not disturb each other on the wire."""

    __slots__ = ("rx", "tx")

    def __init__(self, engine: Engine, bandwidth_bytes_per_s: float, packets_per_s: float) -> None:
        self.rx = Link(engine, bandwidth_bytes_per_s, packets_per_s)
        self.tx = Link(engine, bandwidth_bytes_per_s, packets_per_s)

    def restart(self) -> None:
        """Set the accounts of both directions to zero (the end of warm-up)."""
        self.rx.restart()
        self.tx.restart()
