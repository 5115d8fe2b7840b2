"""CPU bandwidth control: a group may use so much CPU time per period, on whatever processors, and is throttled when it has.

At every period the pool is filled with quota = cap_cores * period (what is left over is kept up to `burst_s`). Each processor on which the
group runs takes `slice_s` at a time from the pool and uses it up locally. With nothing left in either place the group's tasks on that
processor are throttled until the next period, or until another processor gives time back. Use is accounted for when the kernel looks,
so a group may overrun by up to a tick; it pays the debt back from the next period.

What a processor has left when the period ends it keeps (Linux from 5.4 on), or loses with `slice_expires` (4.18 to 5.3): then
a group whose threads use a little on many processors is throttled though it uses less than its quota, as each of them takes a slice, gives
back what is more than 1 ms of it, and loses the rest every period. (From 3.16 to 4.17 slices were meant to expire and did not, by mistake.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import floor, inf
from typing import final

from simvirt.engine import Engine
from simvirt.resources.cpu.discrete.contract import NANOSECOND, ControlGroup

__all__ = ["Bandwidth", "LocalQuota", "QuotaRules"]

_KEPT_S = 0.001
"""What a processor keeps when its last task of the group sleeps; the rest goes back to the pool."""
_SLACK_S = 0.005
"""Delay until time given back is handed to those that are throttled."""
_REFILL_NEAR_S = 0.002
"""With the next period closer than this after the delay, they wait for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRules:
    """Parameters of bandwidth control."""

    period_s: float = 0.1
    slice_s: float = 0.005
    """Taken from the pool at a time by one processor."""
    burst_s: float = 0.0
    """Unused quota that may be carried over."""
    slice_expires: float = 0.0
    """1 if what is left of a slice is lost at the end of the period, 0 if it is kept."""

    def of(self, group: ControlGroup) -> QuotaRules:
        """The parameters of one group, which may have a period and a burst of its own."""
        if group.period_s is None and group.burst_s is None:
            return self
        period_s = self.period_s if group.period_s is None else group.period_s
        return replace(self, period_s=period_s, burst_s=self.burst_s if group.burst_s is None else group.burst_s)


@final
class LocalQuota:
    """What one processor may still use of a group's quota."""

    __slots__ = ("_period", "_pool", "_release", "remaining_s", "throttled", "throttled_since")

    def __init__(self, pool: Bandwidth, release: Callable[[float], None]) -> None:
        self._pool = pool
        self._release = release
        """Lets the tasks run again."""
        self.remaining_s = 0.0
        self._period = 0
        """In which it was last lent time."""
        self.throttled = False
        self.throttled_since = 0.0

    def use(self, elapsed_s: float, now: float) -> bool:
        """Use up time. Whether any is left, or could be had from the pool."""
        self.remaining_s -= elapsed_s
        return self.acquire(now)

    def lasts_s(self, now: float) -> float:
        """How long what it has lasts, if it is used."""
        pool = self._pool
        if not pool.expires or self.remaining_s <= 0.0:
            return self.remaining_s
        return min(self.remaining_s, max(pool.next_period - now, 0.0)) if self._period == pool.period else 0.0

    def renew(self, amount_s: float) -> None:
        """Be lent time."""
        self.remaining_s += amount_s
        self._period = self._pool.period

    def acquire(self, now: float) -> bool:
        """Have some time left, from the pool if need be."""
        if self._pool.expires and self._period != self._pool.period and self.remaining_s > 0.0:
            self.remaining_s = 0.0
        return self.remaining_s > NANOSECOND / 2 or self._pool.lend(self, now)

    def give_back(self, now: float) -> None:
        """The last task of the group on this processor sleeps."""
        slack_s = self.remaining_s - _KEPT_S
        if slack_s > 0.0:
            self.remaining_s -= slack_s
            self._pool.take_back(slack_s, now)

    def throttle(self, now: float) -> None:
        self.throttled = True
        self.throttled_since = now
        self._pool.throttled[self] = None

    def unthrottle(self, now: float) -> None:
        self.throttled = False
        self._pool.unthrottled(self, now)
        self._release(now)


@final
class Bandwidth:
    """The pool of a group. Periods begin when the group first runs; an idle group has no period."""

    __slots__ = (
        "_engine", "_group", "_idle", "_period", "_slack", "expires", "next_period", "period", "pool_s", "quota_s", "rules", "settle",
        "throttled",
    )  # fmt: skip

    def __init__(self, engine: Engine, group: ControlGroup, rules: QuotaRules, settle: Callable[[float], None]) -> None:
        self._engine = engine
        self._group = group
        self.rules = rules
        self.expires = rules.slice_expires > 0.0
        self.period = 0
        """The number of the present one."""
        self.quota_s = group.cap_cores * rules.period_s
        self.settle = settle
        """Called after tasks were let run again."""
        self.pool_s = self.quota_s
        self.throttled: dict[LocalQuota, None] = {}
        self.next_period = -inf
        self._idle = True
        self._period = engine.wakeup(self._refill)
        self._slack = engine.wakeup(self._hand_out)

    def lend(self, local: LocalQuota, now: float) -> bool:
        """Give a processor a slice, and what it owes, as far as the pool goes. Whether it has any time then."""
        if self._period.due == inf:
            self._start(now)
        elif self.next_period - now < NANOSECOND:
            self._refill()  # the period ends at this instant
        amount_s = min(self.pool_s, self.rules.slice_s - local.remaining_s)
        if amount_s > 0.0:
            self.pool_s -= amount_s
            local.renew(amount_s)
            self._idle = False
        return local.remaining_s > NANOSECOND / 2

    def take_back(self, slack_s: float, now: float) -> None:
        self.pool_s += slack_s
        soon_refilled = now + _SLACK_S + _REFILL_NEAR_S >= self.next_period
        if self.throttled and self.pool_s > self.rules.slice_s and self._slack.due == inf and not soon_refilled:
            self._slack.at(now + _SLACK_S)

    def unthrottled(self, local: LocalQuota, now: float) -> None:
        del self.throttled[local]
        self._group.throttled_s += now - local.throttled_since

    def _start(self, now: float) -> None:
        """Begin a period: the first, or the one that is under way after a time of idleness."""
        period_s = self.rules.period_s
        if self.next_period == -inf:
            self.next_period = now
        if self.next_period <= now:
            self.next_period += (floor((now - self.next_period) / period_s) + 1) * period_s
        self._period.at(self.next_period)

    def _refill(self) -> None:
        self._group.nr_periods += 1
        self.period += 1
        self.pool_s = min(self.pool_s + self.quota_s, self.quota_s + self.rules.burst_s)
        if not self.throttled and self._idle:
            return
        self.next_period += self.rules.period_s
        self._period.at(self.next_period)
        self._idle = not self.throttled
        if self.throttled:
            self._group.nr_throttled += 1
            self._hand_out()

    def _hand_out(self) -> None:
        """Pay the debts of those that are throttled, in turn, and let them run."""
        now = self._engine._now
        for local in list(self.throttled):
            if self.pool_s <= 0.0:
                break
            amount_s = min(self.pool_s, NANOSECOND - local.remaining_s)
            self.pool_s -= amount_s
            local.renew(amount_s)
            if local.remaining_s > NANOSECOND / 2:
                local.unthrottle(now)
        self.settle(now)
