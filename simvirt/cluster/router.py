"""Sends the requests of a service to its replicas, and keeps account of every one of them.

What it sends to is its own table: changes of readiness reach it after `watch_s`, and at most one change of the table in `sync_s`. A
balancer may ask its servers itself (`Checks`) or leave out those that fail clients (`Ejection`). offered = completed + failed, by reason,
+ in flight.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from math import inf
from typing import final

from simvirt.cluster.description import Balancer
from simvirt.cluster.ejection import Ejector
from simvirt.cluster.log import Log
from simvirt.cluster.machine import Replica
from simvirt.cluster.policy import Endpoints, Probe
from simvirt.cluster.probe import Prober
from simvirt.cluster.request import Attempt
from simvirt.cluster.timers import later
from simvirt.engine import Engine

__all__ = ["Request", "Router"]


@final
class Request:
    """One request of a client to a service. It hears of its attempts, and ends once."""

    __slots__ = ("answered_s", "cpu_s", "done", "left", "legs", "over", "router", "sent_s", "tried")

    def __init__(self, router: Router, cpu_s: float, done: Callable[[Request, str], None] | None, sent_s: float, left: int) -> None:
        self.router = router
        self.cpu_s = cpu_s
        self.done = done
        """Called at the end with an empty reason after an answer, with the reason of the failure else."""
        self.sent_s = sent_s
        self.left = left
        """Attempts that may still be made after failures."""
        self.legs: list[tuple[Attempt, Replica]] = []
        """Attempts that are not over."""
        self.tried: list[Replica] = []
        self.over = False
        self.answered_s = 0.0
        """When the attempt that was answered had been sent."""

    def answered(self, attempt: Attempt) -> None:
        self.router.answered(self, attempt)

    def failed(self, attempt: Attempt, reason: str) -> None:
        self.router.failed(self, attempt, reason)

    def began(self, attempt: Attempt) -> None:
        if len(self.legs) > 1:
            self.router.began(self, attempt)


@final
class Router:
    """All clients of one service, and whatever stands between them and its replicas."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        balancer: Balancer,
        endpoints: Endpoints,
        works: Iterator[float],
        dice: Iterator[float],
        log: Log,
    ) -> None:
        self.engine = engine
        self.name = name
        self.balancer = balancer
        self.endpoints = endpoints
        self._works = works
        self._dice = dice
        self.log = log
        self.table: list[Replica] = []
        """Who is sent requests, but for those that are ejected."""
        self._wanted: dict[Replica, bool] = {}
        self._changes: deque[tuple[float, Replica, bool]] = deque()
        self._synced_s = -inf
        self._sync = engine.wakeup(self._synchronize)
        self._deadlines: deque[tuple[float, Request, Attempt]] = deque()
        self._timeout = engine.wakeup(self._time_out)
        self._next = 0
        self.offered = self.completed = self.in_flight = self.attempts = 0
        self.failures: Counter[str] = Counter()
        self.times_s: list[float] = []
        """Response times of completed requests."""
        self.last_attempt_s = 0.0
        """Of them, the times of the attempts that were answered, added up."""
        self.load: Counter[Replica] = Counter()
        """Attempts under way by replica."""
        self.calls: tuple[tuple[Router, int], ...] = ()
        self.lost_s: list[float] = []
        """When requests failed."""
        self.ejector = Ejector(engine, balancer.ejection, log, self._members) if balancer.ejection is not None else None
        self._checkers: dict[Replica, Prober] = {}

    # ---- the table ----

    def _members(self) -> int:
        return len(self.table)

    def learn(self, replica: Replica, wanted: bool) -> None:
        """Hear, now, that a replica may be sent requests, or no longer; the table follows."""
        if self._wanted.get(replica, False) == wanted:
            return
        self._wanted[replica] = wanted
        if not wanted:
            del self._wanted[replica]
        if self.balancer.checks is not None:
            return
        now = self.engine._now
        self._changes.append((now + self.endpoints.watch_s, replica, wanted))
        if len(self._changes) == 1:
            self._sync.at(max(now + self.endpoints.watch_s, self._synced_s + self.endpoints.sync_s))

    def _synchronize(self) -> None:
        now = self.engine._now
        self._synced_s = now
        changes = self._changes
        while changes and changes[0][0] <= now:
            _, replica, wanted = changes.popleft()
            self._set(replica, wanted)
        if changes:
            self._sync.at(max(changes[0][0], now + self.endpoints.sync_s))

    def _set(self, replica: Replica, wanted: bool) -> None:
        if wanted and replica not in self.table:
            self.table.append(replica)
            self.log.add("routed", replica.name)
        elif not wanted and replica in self.table:
            self.table.remove(replica)
            self.log.add("not routed", replica.name)

    def at_once(self, replica: Replica) -> None:
        """Have a replica in the table from the beginning."""
        self._wanted[replica] = True
        self._set(replica, True)

    def check(self, replica: Replica, phase: float) -> None:
        """Let the balancer ask a replica for itself from now on; until it has an answer, it takes it to be well."""
        checks = self.balancer.checks
        if checks is None or replica in self._checkers:
            return
        probe = Probe(period_s=checks.inter_s, timeout_s=checks.timeout_s, failures=checks.fall, successes=checks.rise, cpu_s=checks.cpu_s)
        prober = self._checkers[replica] = Prober(self.engine, probe, lambda good: self._set(replica, good), True)
        prober.start(lambda attempt: _deliver(replica, attempt), phase)

    def forget(self, replica: Replica) -> None:
        """A replica is gone for good."""
        self.learn(replica, False)
        if replica in self._checkers:
            self._checkers.pop(replica).stop()
            self._set(replica, False)

    # ---- requests ----

    def send(self, done: Callable[[Request, str], None] | None = None) -> Request:
        """A request that comes now."""
        self.offered += 1
        self.in_flight += 1
        request = Request(self, next(self._works), done, self.engine._now, self.balancer.retries)
        self._attempt(request)
        balancer = self.balancer
        if not request.over:
            if balancer.hedge_after_s < inf:
                later(self.engine, balancer.hedge_after_s, lambda: self._second(request))
            if balancer.tied_after_s < inf:
                later(self.engine, balancer.tied_after_s, lambda: self._second(request))
        return request

    def _second(self, request: Request) -> None:
        """A second attempt, if the first has neither ended nor, being tied, begun."""
        if request.over or len(request.legs) != 1:
            return
        first = request.legs[0][0]
        if self.balancer.tied_after_s < inf and first.thread is not None:
            return
        request.cpu_s = next(self._works)
        self._attempt(request)

    def _attempt(self, request: Request) -> None:
        now = self.engine._now
        replica = self._pick(request.tried)
        if replica is None:
            if not request.legs:
                self._end(request, "no endpoint")
            return
        self.attempts += 1
        attempt = Attempt(request, request.cpu_s, now)
        request.legs.append((attempt, replica))
        request.tried.append(replica)
        self.load[replica] += 1
        deadline = now + self.balancer.timeout_s
        self._deadlines.append((deadline, request, attempt))
        if len(self._deadlines) == 1:
            self._timeout.at(deadline)
        _deliver(replica, attempt)

    def _pick(self, tried: list[Replica]) -> Replica | None:
        """Who gets the next attempt: by the rule, and somebody new if there is one."""
        table = self.table
        if self.ejector is not None and self.ejector.out:
            table = [replica for replica in table if replica not in self.ejector.out] or table
        if tried:
            table = [replica for replica in table if replica not in tried] or table
        if not table:
            return None
        pick = self.balancer.pick
        if pick == "random":
            return table[int(next(self._dice) * len(table))]
        if pick == "least-requests":
            return min(table, key=self.load.__getitem__)
        self._next += 1
        return table[self._next % len(table)]

    def _time_out(self) -> None:
        now = self.engine._now
        deadlines = self._deadlines
        while deadlines:
            deadline, request, attempt = deadlines[0]
            if attempt.over:
                deadlines.popleft()
            elif deadline <= now:
                deadlines.popleft()
                self.failed(request, attempt, "timed out")
            else:
                self._timeout.at(deadline)
                return

    # ---- what becomes of attempts ----

    def _leave(self, request: Request, attempt: Attempt) -> Replica:
        """An attempt is over."""
        attempt.over = True
        legs = request.legs
        for i, (one, replica) in enumerate(legs):
            if one is attempt:
                del legs[i]
                self.load[replica] -= 1
                return replica
        raise AssertionError("an attempt ended twice")

    def answered(self, request: Request, attempt: Attempt) -> None:
        replica = self._leave(request, attempt)
        if self.ejector is not None:
            self.ejector.heard(replica, True)
        request.answered_s = attempt.sent_s
        for other, _ in list(request.legs):
            self._leave(request, other)
        if self.calls:
            self._fan_out(request)
        else:
            self._end(request, "")

    def failed(self, request: Request, attempt: Attempt, reason: str) -> None:
        replica = self._leave(request, attempt)
        if self.ejector is not None:
            self.ejector.heard(replica, False)
        if request.legs:
            return
        if request.left:
            request.left -= 1
            wait_s = self.balancer.retry_wait_s
            if wait_s:
                later(self.engine, wait_s, lambda: self._attempt(request))
            else:
                self._attempt(request)
        else:
            self._end(request, reason)

    def began(self, request: Request, attempt: Attempt) -> None:
        """Of tied attempts, the first to begin has the other taken back."""
        if self.balancer.tied_after_s < inf:
            others = [leg for leg in request.legs if leg[0] is not attempt]
            later(self.engine, self.balancer.tie_s, lambda: self._take_back(request, others))

    def _take_back(self, request: Request, legs: list[tuple[Attempt, Replica]]) -> None:
        for attempt, replica in legs:
            waits = not attempt.over and attempt.thread is None and len(request.legs) > 1
            if waits and replica.process is not None and replica.process.withdraw(attempt):
                self._leave(request, attempt)

    def _fan_out(self, request: Request) -> None:
        """Ask the services that this one needs; the request ends when all have answered, or at the first failure."""
        waiting = sum(count for _, count in self.calls)

        def ended(_: Request, reason: str) -> None:
            nonlocal waiting
            waiting -= 1
            if not request.over and (reason or not waiting):
                self._end(request, reason and "call failed")

        for router, count in self.calls:
            for _ in range(count):
                router.send(ended)

    def _end(self, request: Request, reason: str) -> None:
        request.over = True
        self.in_flight -= 1
        now = self.engine._now
        if reason:
            self.failures[reason] += 1
            self.lost_s.append(now)
        else:
            self.completed += 1
            self.times_s.append(now - request.sent_s)
            self.last_attempt_s += now - request.answered_s
        if request.done is not None:
            request.done(request, reason)


def _deliver(replica: Replica, attempt: Attempt) -> None:
    """Bring a message to a replica: to its process, or to a host that refuses it, or to nobody."""
    if replica.host.alive:
        if replica.process is None:
            attempt.sink.failed(attempt, "refused")
        else:
            replica.process.accept(attempt)
