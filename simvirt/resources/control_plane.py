"""A control plane: one thread that answers requests in order of arrival, and transactions that may have to be begun anew."""

from __future__ import annotations

from collections import deque
from typing import Any, final

from simvirt.resources.cpu.contract import AbstractThread, Done

__all__ = ["ControlPlane"]


@final
class ControlPlane:
    """A server on a thread of its own, which competes for processors like any other.

    Transactions are optimistic: `version` tells how many have been committed; one that began at another version than the present one fails.
    """

    __slots__ = ("_queue", "_thread", "busy_s", "failed", "version")

    def __init__(self, thread: AbstractThread) -> None:
        self._thread = thread
        self._queue: deque[tuple[float, Done, Any]] = deque()
        self.version = 0
        self.failed = 0
        """Transactions that had to be begun anew."""
        self.busy_s = 0.0
        """Computing that it has done, or has begun."""

    def serve(self, work_s: float, done: Done, argument: Any) -> None:
        """Queue some requests of one client that are answered one right after the other; call done(argument) when they are."""
        assert work_s > 0
        self._queue.append((work_s, done, argument))
        if len(self._queue) == 1:
            self._next()

    def commit(self, began_at: int) -> bool:
        """Try to commit what began at a version."""
        if began_at != self.version:
            self.failed += 1
            return False
        self.version += 1
        return True

    @property
    def waiting(self) -> int:
        """Who is being served included."""
        return len(self._queue)

    def _next(self) -> None:
        work_s = self._queue[0][0]
        self.busy_s += work_s
        self._thread.run(work_s, self._served, None)

    def _served(self, _: None) -> None:
        done, argument = self._queue.popleft()[1:]
        if self._queue:
            self._next()
        done(argument)
