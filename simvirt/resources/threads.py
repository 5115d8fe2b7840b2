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

    __slots__ = ("_born", "_engine", "group", "made", "name", "size", "sleeping", "waiting")

    def __init__(self, engine: Engine, group: AbstractGroup, name: str, size: float = inf) -> None:
        assert size >= 1, size
        self._engine = engine
        self._born = engine.now
        self.group = group
        self.name = name
        self.size = size
        self.made = 0
        """Threads that there are, asleep or not."""
        self.sleeping: list[tuple[AbstractThread, float]] = []
        """Threads that sleep and since when, the last to fall asleep last."""
        self.waiting: deque[tuple[Granted, Any]] = deque()
        """Requests that wait for a thread, in order of arrival, and whom to tell."""

    def acquire(self, granted: Granted, request: Any) -> None:
        """Give the request a thread, now or when one is released."""
        if self.sleeping:
            thread, since = self.sleeping.pop()
            granted(request, thread, (self._engine._now - since) or AWAKE)
        elif self.made < self.size:
            self.made += 1
            granted(request, self.group.thread(f"{self.name} {self.made}"), self._engine._now - self._born)
        else:
            self.waiting.append((granted, request))

    def close(self) -> None:
        """Give no thread to anybody any more: those who wait are forgotten, those at work are not called back."""
        self.size = self.made
        self.sleeping.clear()
        self.waiting = deque(maxlen=0)

    def release(self, thread: AbstractThread) -> None:
        """Hand the thread to the next request, or let it sleep."""
        if self.waiting:
            granted, request = self.waiting.popleft()
            granted(request, thread, AWAKE)
        else:
            self.sleeping.append((thread, self._engine._now))
