"""A block device whose queue has an order of its own: shares by weight, and an arm that prefers what is near."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from math import sqrt
from typing import Any, Final, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Done
from simvirt.resources.station import AbstractStation

__all__ = ["Account", "Arm", "Flow", "SharedDisk"]

MOST_SORTED: Final = 32
"""Requests among which a drive can choose: the tags of its command queue."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What moves in a drive.

    positioning = seek_s * sqrt(min(1, 3 / (k + 1))) + a wait for the sector, uniform over a revolution. Of k requests at random places on
    a stroke of length 1 the nearest one ahead is 1 / (k + 1) away, where a single random one is 1/3 away; the time of a seek goes with the
    root of its distance (an arm that speeds up and slows down all the way). Assumes that the drive sorts by place alone, among at most 32.
    """

    seek_s: float
    """Mean seek to a random place, one request at a time."""
    rotation_s: float
    turns: Iterator[float]
    """Uniform numbers from 0 to 1: where the sector is."""

    def positioning_s(self, choices: int) -> float:
        """One move to the next of `choices` requests."""
        near = 3.0 / (min(choices, MOST_SORTED) + 1)
        return self.seek_s * (sqrt(near) if near < 1.0 else 1.0) + self.rotation_s * next(self.turns)

    @property
    def mean_s(self) -> float:
        """Mean of one move where there is no choice."""
        return self.seek_s + self.rotation_s / 2


@final
class Flow:
    """One tenant's requests at a device."""

    __slots__ = ("finish", "served_s", "weight")

    def __init__(self, weight: float) -> None:
        if not weight > 0:
            raise ValueError(f"weight {weight}; must be above 0")
        self.weight = weight
        self.finish = 0.0
        """Virtual time at which its last request would be done."""
        self.served_s = 0.0
        """Channel-seconds of its requests that were dispatched since `restart`."""


@final
class Account:
    """What requests of one kind have taken of a device's time."""

    __slots__ = ("served", "served_s")

    def __init__(self) -> None:
        self.served = 0
        self.served_s = 0.0

    @property
    def mean_s(self) -> float:
        return self.served_s / self.served if self.served else 0.0


class _Waiting:
    """A request in the queue."""

    __slots__ = ("account", "argument", "done", "flow", "moves", "service_s")

    def __init__(self, flow: Flow, service_s: float, moves: float, done: Done, argument: Any, account: Account | None) -> None:
        self.flow = flow
        self.service_s = service_s
        self.moves = moves
        self.done = done
        self.argument = argument
        self.account = account


@final
class SharedDisk(AbstractStation):
    """Serves up to `channels` requests at once; who is next is settled when a channel is free.

    With `fair`, start-time fair queueing with depth `channels` (Goyal, Vin, Cheng 1996; Jin, Chase, Kaur 2004): a request's start tag is
    the larger of virtual time and its flow's last finish tag; its finish tag is start + expected service / weight; the smallest start tag
    goes first; virtual time is the start tag of the last one dispatched. So flows that always wait share the channels' time by weight, and
    nobody waits for an idle one. Without, first come first served. Work: O(log n) a request.

    With an `arm`, `service_s` holds `moves` mean moves, which are replaced by drawn ones; a request that needs none pays one after a
    request of another flow, because the arm has been elsewhere.
    """

    __slots__ = (
        "_arm", "_busy_area", "_engine", "_fair", "_in_service", "_last", "_pending", "_queue", "_seen", "_sequence", "_since", "_virtual",
        "_wait_area", "_wakeup", "channels", "flows", "served", "slowness",
    )  # fmt: skip

    def __init__(self, engine: Engine, channels: int, *, fair: bool, arm: Arm | None = None) -> None:
        if channels < 1:
            raise ValueError(f"channels: {channels}; must be at least 1")
        self._engine = engine
        self._wakeup = engine.wakeup(self._complete)
        self._fair = fair
        self._arm = arm
        self._queue: list[tuple[float, int, _Waiting]] = []
        """A heap of start tag, order of arrival, request."""
        self._pending: list[tuple[float, int, _Waiting]] = []
        """A heap of completion, order of dispatch, request."""
        self._sequence = 0
        self._virtual = 0.0
        self._in_service = 0
        self._last: Flow | None = None
        self._seen = engine._now
        self._busy_area = self._wait_area = 0.0
        self.channels = channels
        self.flows: list[Flow] = []
        self.served = 0
        """Requests completed since `restart`."""
        self.slowness = 1.0
        """How many times as long it takes as it is built for, from now on."""
        self._since = engine._now

    def flow(self, weight: float = 1.0) -> Flow:
        """Somebody new who will send requests."""
        flow = Flow(weight)
        self.flows.append(flow)
        return flow

    @property
    def move_s(self) -> float:
        """Mean time of one move of the arm; 0 without one."""
        return 0.0 if self._arm is None else self._arm.mean_s

    def submit(self, flow: Flow, service_s: float, moves: float, done: Done, argument: Any, account: Account | None = None) -> None:
        """Queue one request; call `done(argument)` when it is complete."""
        self._pass_time()
        waiting = _Waiting(flow, service_s, moves, done, argument, account)
        self._sequence += 1
        start = 0.0
        if self._fair:
            start = self._virtual if self._virtual > flow.finish else flow.finish
            flow.finish = start + service_s / flow.weight
        heappush(self._queue, (start, self._sequence, waiting))
        if self._in_service < self.channels:
            self._dispatch()

    def _dispatch(self) -> None:
        choices = len(self._queue)
        start, _, waiting = heappop(self._queue)
        if self._fair:
            self._virtual = start
        service_s = waiting.service_s if self._arm is None else self._moved_s(self._arm, waiting, choices)
        service_s *= self.slowness
        waiting.flow.served_s += service_s
        if waiting.account is not None:
            waiting.account.served += 1
            waiting.account.served_s += service_s
        self._last = waiting.flow
        self._in_service += 1
        self._sequence += 1
        pending = self._pending
        heappush(pending, (self._engine._now + service_s, self._sequence, waiting))
        self._wakeup.at(pending[0][0])

    def _moved_s(self, arm: Arm, waiting: _Waiting, choices: int) -> float:
        if waiting.moves:
            still_s = waiting.service_s - waiting.moves * arm.mean_s
            return (still_s if still_s > 0.0 else 0.0) + waiting.moves * arm.positioning_s(choices)
        if self._last is not waiting.flow and self._last is not None:
            return waiting.service_s + arm.positioning_s(choices)
        return waiting.service_s

    def _complete(self) -> None:
        self._pass_time()
        pending = self._pending
        _, _, waiting = heappop(pending)
        self._in_service -= 1
        self.served += 1
        if self._queue:
            self._dispatch()
        elif pending:
            self._wakeup.at(pending[0][0])
        waiting.done(waiting.argument)

    def _pass_time(self) -> None:
        now = self._engine._now
        elapsed_s = now - self._seen
        self._busy_area += elapsed_s * self._in_service
        self._wait_area += elapsed_s * len(self._queue)
        self._seen = now

    @property
    def in_system(self) -> int:
        """Requests waiting or in service now."""
        return len(self._queue) + self._in_service

    @property
    def busy_s(self) -> float:
        """Channel-seconds of service since `restart`."""
        self._pass_time()
        return self._busy_area

    @property
    def wait_s(self) -> float:
        """Time spent waiting since `restart`, summed over requests: the integral of the number waiting."""
        self._pass_time()
        return self._wait_area

    def restart(self) -> None:
        """Set the accounts to zero (the end of warm-up)."""
        self._pass_time()
        self._since = self._engine._now
        self._busy_area = self._wait_area = 0.0
        self.served = 0
        for flow in self.flows:
            flow.served_s = 0.0
