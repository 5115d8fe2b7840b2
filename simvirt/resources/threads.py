"""Threads that requests need to get anything done: an application's workers, a backend's thread, a kernel's interrupt handlers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, AbstractThread

__all__ = ["AWAKE", "Granted", "Stop", "ThreadPool", "go_on", "stand_still"]

AWAKE: Final = -1.0
"""In place of how long a thread slept: it did not sleep."""

Granted = Callable[[Any, AbstractThread, float], None]
"""Called as granted(request, thread, slept_s) when a thread is free."""

Stop = Callable[[AbstractThread], None]
"""Makes one thread stand still, or go on."""


def stand_still(thread: AbstractThread) -> None:
    """At once, wherever it is."""
    thread.freeze()


def go_on(thread: AbstractThread) -> None:
    """From where it is."""
    thread.thaw()


class ThreadPool:
    """At most `size` threads of one group at work; further requests wait in order of arrival.

    A thread that finds a request waiting, or is given one at the very instant at which it would sleep, goes on. The thread that slept
    last is woken first. Threads are made when first needed and count as having slept since the pool was made.
    """

    __slots__ = ("_born", "_engine", "_frozen", "_threads", "group", "made", "name", "size", "sleeping", "waiting")

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
        self._threads: list[AbstractThread] = []
        self._frozen: Stop | None = None
        """How its threads were made to stand still, if they do."""

    def acquire(self, granted: Granted, request: Any) -> None:
        """Give the request a thread, now or when one is released."""
        if self.sleeping:
            thread, since = self.sleeping.pop()
            granted(request, thread, (self._engine._now - since) or AWAKE)
        elif self.made < self.size:
            granted(request, self._make(), self._engine._now - self._born)
        else:
            self.waiting.append((granted, request))

    def _make(self) -> AbstractThread:
        self.made += 1
        thread = self.group.thread(f"{self.name} {self.made}")
        self._threads.append(thread)
        if self._frozen is not None:
            self._frozen(thread)
        return thread

    def close(self, stop: Stop = stand_still) -> None:
        """Give no thread to anybody any more: those who wait are forgotten, those at work stop and are not called back."""
        self.size = self.made
        self.sleeping.clear()
        self.waiting = deque(maxlen=0)
        self.freeze(stop)

    def renewed(self, size: float) -> ThreadPool:
        """A pool in the same group, with none of the threads of this one."""
        return ThreadPool(self._engine, self.group, self.name, size)

    def freeze(self, stop: Stop = stand_still) -> None:
        """Let all threads stand still, those too that are made from now on. Requests still get threads and wait with them."""
        self._frozen = stop
        for thread in self._threads:
            stop(thread)

    def thaw(self, start: Stop = go_on) -> None:
        """Let all threads go on."""
        self._frozen = None
        for thread in self._threads:
            start(thread)

    def release(self, thread: AbstractThread) -> None:
        """Hand the thread to the next request, or let it sleep."""
        if self.waiting:
            granted, request = self.waiting.popleft()
            granted(request, thread, AWAKE)
        else:
            self.sleeping.append((thread, self._engine._now))
