"""Threads that requests need to get anything done: an application's workers, a backend's thread, a kernel's interrupt handlers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, AbstractThread

__all__ = ["AWAKE", "Granted", "ThreadPool"]

AWAKE: Final = -1.0
"""In place of how long a thread slept: it did not sleep."""

Granted = Callable[[Any, AbstractThread, float], None]
"""Called as granted(request, thread, slept_s) when a thread is free."""


class ThreadPool:
    """At most `size` threads of one group at work; further requests wait in order of arrival.

    A thread that finds a request waiting, or is given one at the very instant at which it would sleep, goes on. The thread that slept
    last is woken first. Threads are made when first needed and count as having slept since the pool was made.
    """

    __slots__ = ("_born", "_engine", "_made", "_sleeping", "_waiting", "group", "name", "size")

    def __init__(self, engine: Engine, group: AbstractGroup, name: str, size: float = inf) -> None:
        assert size >= 1, size
        self._engine = engine
        self._born = engine.now
        self.group = group
        self.name = name
        self.size = size
        self._made = 0
        self._sleeping: list[tuple[AbstractThread, float]] = []
        self._waiting: deque[tuple[Granted, Any]] = deque()

    def acquire(self, granted: Granted, request: Any) -> None:
        """Give the request a thread, now or when one is released."""
        if self._sleeping:
            thread, since = self._sleeping.pop()
            granted(request, thread, (self._engine._now - since) or AWAKE)
        elif self._made < self.size:
            self._made += 1
            granted(request, self.group.thread(f"{self.name} {self._made}"), self._engine._now - self._born)
        else:
            self._waiting.append((granted, request))

    def release(self, thread: AbstractThread) -> None:
        """Hand the thread to the next request, or let it sleep."""
        if self._waiting:
            granted, request = self._waiting.popleft()
            granted(request, thread, AWAKE)
        else:
            self._sleeping.append((thread, self._engine._now))

    def would_wake(self) -> bool:
        """Whether a request that came now would wake a sleeping thread."""
        return bool(self._sleeping) or self._made < self.size

    @property
    def waiting(self) -> int:
        """Requests that wait for a thread."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Threads at work or blocked inside a request."""
        return self._made - len(self._sleeping)
