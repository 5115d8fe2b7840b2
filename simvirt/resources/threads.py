"""Threads that requests need to get anything done: an application's workers, a backend's thread, a kernel's interrupt handlers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from simvirt.resources.cpu.contract import AbstractGroup, AbstractThread

__all__ = ["Granted", "ThreadPool"]

Granted = Callable[[Any, AbstractThread, bool], None]
"""Called as granted(request, thread, woken) when a thread is free; `woken` tells whether it slept before."""


class ThreadPool:
    """At most `size` threads of one group at work; further requests wait in order of arrival.

    A thread that finds a request waiting goes on without sleeping. Threads are made when first needed.
    """

    __slots__ = ("_made", "_sleeping", "_waiting", "group", "name", "size")

    def __init__(self, group: AbstractGroup, name: str, size: float = inf) -> None:
        assert size >= 1, size
        self.group = group
        self.name = name
        self.size = size
        self._made = 0
        self._sleeping: list[AbstractThread] = []
        self._waiting: deque[tuple[Granted, Any]] = deque()

    def acquire(self, granted: Granted, request: Any) -> None:
        """Give the request a thread, now or when one is released."""
        if self._sleeping:
            granted(request, self._sleeping.pop(), True)
        elif self._made < self.size:
            self._made += 1
            granted(request, self.group.thread(f"{self.name} {self._made}"), True)
        else:
            self._waiting.append((granted, request))

    def release(self, thread: AbstractThread) -> None:
        """Hand the thread to the next request, or let it sleep."""
        if self._waiting:
            granted, request = self._waiting.popleft()
            granted(request, thread, False)
        else:
            self._sleeping.append(thread)

    def would_wake(self) -> bool:
        """Whether a request that came now would wake a sleeping thread."""
        return bool(self._sleeping) or self._made < self.size

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Threads at work or blocked inside a request."""
        return self._made - len(self._sleeping)
