"""Stages at which a request takes entries of finite tables, and gives them back."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import final

from simvirt.resources.stages import AbstractStage, Failed, Request
from simvirt.resources.table import Table
from simvirt.resources.threads import ThreadPool

__all__ = ["Give", "Part", "Take"]


@final
class Part:
    """One owner's part of a table: what its requests hold while they last, and what it keeps as long as it lives."""

    __slots__ = ("gone", "kept", "own_error", "shared_error", "table")

    def __init__(self, table: Table, own_error: str, shared_error: str) -> None:
        self.table = table
        self.own_error = own_error
        """Why a request fails that finds the owner's part full."""
        self.shared_error = shared_error
        """Why it fails where the whole table is."""
        self.kept = 0.0
        self.gone = False
        """Whether the owner has ended: nothing is kept any more."""

    def take(self, count: float) -> str:
        """Take entries; why not, or nothing."""
        full = self.table.take(count)
        if full is None:
            return ""
        return self.own_error if full is self.table else self.shared_error

    def keep_rest(self) -> None:
        """Keep all that there is still room for: what somebody got, one after the other, before it was refused."""
        rest = self.table.room
        if not self.gone and 0.0 < rest < inf and self.table.take(rest) is None:
            self.kept += rest

    def end(self, count: float, kept: float) -> None:
        """A request that had taken `count` ends, and leaves `kept` behind."""
        if self.gone:
            kept = 0.0
        self.kept += kept
        self.table.give(count - kept)

    def leave(self) -> None:
        """The owner has ended: what it kept comes back. Its requests that are still under way give theirs back when they end."""
        self.gone = True
        self.table.give(self.kept)
        self.kept = 0.0

    def die(self) -> None:
        """The owner was killed with all its requests: everything comes back at once."""
        self.gone = True
        self.table.give(self.table.entries)
        self.kept = 0.0


Needs = tuple[tuple[Part, float, float], ...]
"""Part, entries taken, and entries kept, for each table that a request needs."""


@final
class Take(AbstractStage):
    """Entries of tables, all of them or none. Without room the call fails after `refused_s` on the caller, and so does the request.

    Whoever keeps entries keeps those that were left when it was refused, as it takes them one after the other. A request holds its
    entries from here to its end: longer than the call that needs them, which may come later on its way.
    """

    __slots__ = ("_done", "_failed", "_needs", "_pool", "_reasons", "_refused_s")

    def __init__(self, needs: Sequence[tuple[Part, float, float]], pool: ThreadPool, refused_s: float, failed: Failed) -> None:
        assert refused_s > 0.0, "a client that asks again at once would ask forever at one instant"
        self._needs: Needs = tuple(needs)
        self._pool = pool
        self._refused_s = refused_s
        self._failed = failed
        self._reasons: dict[Request, str] = {}
        """Requests that were refused and whose thread has not yet noticed."""
        self._done = self._refused

    def enter(self, request: Request) -> None:
        needs = self._needs
        for i in range(len(needs)):
            part, count, kept = needs[i]
            reason = part.take(count)
            if reason:
                if kept:
                    part.keep_rest()
                for taken, earlier, _ in needs[:i]:
                    taken.table.give(earlier)
                self._reasons[request] = reason
                request.thread.run(self._refused_s, self._done, request)
                return
        self.next.enter(request)

    def _refused(self, request: Request) -> None:
        reason = self._reasons.pop(request, "")
        if reason:
            self._pool.release(request.thread)
            self._failed(request, reason)

    def silence(self) -> None:
        self._needs = ()
        self._reasons.clear()


@final
class Give(AbstractStage):
    """Entries given back at the end of a request, but for those that are kept."""

    __slots__ = ("_needs",)

    def __init__(self, needs: Sequence[tuple[Part, float, float]]) -> None:
        self._needs: Needs = tuple(needs)

    def enter(self, request: Request) -> None:
        for part, count, kept in self._needs:
            part.end(count, kept)
        self.next.enter(request)

    def silence(self) -> None:
        self._needs = ()
