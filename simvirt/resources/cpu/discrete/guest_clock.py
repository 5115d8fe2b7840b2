"""Time as the kernel of a virtual machine sees it, whose processors are taken away from it now and then."""

from __future__ import annotations

from math import floor
from typing import Final, final

__all__ = ["GuestClock"]

_ROUNDING: Final = 1e-6
"""Ticks by which a time that is meant to be one may be off."""


@final
class GuestClock:
    """What one guest's kernel does about ticks that were due while a processor of it had a task and was not run, and about that time.

    A kernel that *reads a counter* takes one late tick for all of them: it finds out what time it is, and nothing is lost. One that
    *counts ticks* has to be given each of them: if they are *redelivered*, all come one after the other once the processor is back, before
    its task goes on, and take `tick_s` each; if not, they are lost. Then the clock stays behind by one period for each that the first
    processor lost, as that one keeps time, and no tick comes before the next regular one.

    Time that was taken away is *charged* to the task that had the processor, as if it had run, by kernels that are not told of it or do not
    subtract it; not by one whose ticks are lost, as it does not know that it passed.

    Assumptions: redelivered ticks come at once, where some hypervisors spread them over a while. The one late tick takes no time beyond
    what ticks cost by time of running. Ticks of processors without a task do not count: idle processors are tickless.
    """

    __slots__ = (
        "_charges", "_counted_from", "_counts", "_hz", "_redelivers", "_tick_s", "backlog_ticks", "lag_s", "missed_ticks",
        "steal_charged_s",
    )  # fmt: skip

    def __init__(self, hz: float, *, counts_ticks: bool, redelivers_ticks: bool, charges_steal: bool, tick_s: float, now: float) -> None:
        self._hz = hz
        self._counts = counts_ticks
        self._redelivers = redelivers_ticks
        self._charges = charges_steal and not self.loses_ticks
        self._tick_s = tick_s
        self._counted_from = now
        self.missed_ticks = 0
        """Ticks that were due while a processor with a task was not run."""
        self.backlog_ticks = 0
        """The most of them that were redelivered at a time."""
        self.lag_s = 0.0
        """By how much the clock stays behind."""
        self.steal_charged_s = 0.0
        """Run time that tasks were charged for and did not have."""

    @property
    def loses_ticks(self) -> bool:
        return self._counts and not self._redelivers

    def catch_up_s(self, since: float, now: float, *, keeps_time: bool) -> float:
        """A processor is back that was away with a task: how long it is busy with ticks before it goes on."""
        first = since if since > self._counted_from else self._counted_from
        missed = floor(now * self._hz + _ROUNDING) - floor(first * self._hz + _ROUNDING)
        if missed <= 0:
            return 0.0
        self.missed_ticks += missed
        if not self._counts:
            return 0.0
        if self._redelivers:
            self.backlog_ticks = max(self.backlog_ticks, missed)
            return missed * self._tick_s
        if keeps_time:
            self.lag_s += missed / self._hz
        return 0.0

    def charged_s(self, since: float, now: float) -> float:
        """For how much of the time that it was away the kernel charges its task."""
        if not self._charges:
            return 0.0
        self.steal_charged_s += now - max(since, self._counted_from)
        return now - since

    def restart(self, now: float) -> None:
        """Begin to count anew."""
        self._counted_from = now
        self.missed_ticks = self.backlog_ticks = 0
        self.lag_s = self.steal_charged_s = 0.0
