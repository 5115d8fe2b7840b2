"""Relaxed co-scheduling: a virtual processor that gets too far ahead of its siblings is stopped until they have caught up.

The *progress* of a virtual processor is the time that it has run or has had nothing to run. A sibling that waits for a processor makes
none. One whose progress exceeds that of a waiting sibling by `skew_s` is stopped (co-stop); it goes on once no sibling that wants to run is
behind it. Whoever is last is never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import final

from simvirt.engine import Engine
from simvirt.resources.cpu.discrete.agenda import Agenda
from simvirt.resources.cpu.discrete.contract import NANOSECOND
from simvirt.resources.cpu.discrete.tasks import VirtualProcessor

__all__ = ["Gang"]


@final
class Gang:
    """The virtual processors of one machine. It is looked at when one of them begins or ceases to run, and when a lead becomes too long."""

    __slots__ = (
        "_agenda", "_engine", "_members", "_moves", "_progress_s", "_since", "_skew_s", "_wakeup", "listed",
    )  # fmt: skip

    def __init__(self, engine: Engine, agenda: Agenda, members: Sequence[VirtualProcessor], skew_s: float) -> None:
        self._engine = engine
        self._agenda = agenda
        self._members = members
        self._skew_s = skew_s
        self._progress_s = [0.0] * len(members)
        self._moves = [True] * len(members)
        """Whether each has made progress since `_since`."""
        self._since = engine.now
        self.listed = False
        self._wakeup = engine.wakeup(self._fire)
        for member in members:
            member.gang = self

    def changed(self) -> None:
        """A member has begun or ceased to run, or to want to."""
        self._agenda.add(self)

    def _fire(self) -> None:
        self._agenda.add(self)
        self._agenda.settle(self._engine._now)

    def look(self, now: float) -> None:
        """Stop who leads by too much, let go on who has been caught up with, and find out when to look again."""
        elapsed_s = now - self._since
        self._since = now
        members, progress_s = self._members, self._progress_s
        for i, member in enumerate(members):
            if self._moves[i]:
                progress_s[i] += elapsed_s
            self._moves[i] = member.above.backed or not (member.awake or member.stopped)
        wanting = [i for i, member in enumerate(members) if member.awake]
        last_s = min((progress_s[i] for i in wanting), default=inf)
        last_waiting_s = min((progress_s[i] for i in wanting if not self._moves[i]), default=inf)
        due = inf
        for i, member in enumerate(members):
            if member.stopped:
                lead_s = progress_s[i] - last_s
                if lead_s < NANOSECOND:
                    member.start(now)
                elif progress_s[i] - last_waiting_s < NANOSECOND:  # all that are behind it run
                    due = min(due, now + lead_s)
            elif member.awake and self._moves[i]:
                lead_s = progress_s[i] - last_waiting_s
                if lead_s > self._skew_s - NANOSECOND:
                    member.stop(now)
                elif lead_s > -inf:
                    due = min(due, now + self._skew_s - lead_s)
        if due < inf:
            self._wakeup.at(due)
        else:
            self._wakeup.cancel()
