"""The running process of a container: worker threads that share its part of the CPU, and a queue before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, final

from simvirt.cluster.request import Attempt
from simvirt.resources.cpu.fluid import FluidGroup, FluidScheduler, FluidThread

__all__ = ["Process", "Seat"]


@final
class Seat:
    """The control group of a container and its threads: processes come and go in it."""

    __slots__ = ("_idle", "_made", "group", "scheduler")

    def __init__(self, group: FluidGroup, scheduler: FluidScheduler) -> None:
        self.group = group
        self.scheduler = scheduler
        self._idle: list[FluidThread] = []
        self._made = 0

    def take(self) -> FluidThread:
        """A thread that nobody uses."""
        if self._idle:
            return self._idle.pop()
        self._made += 1
        return self.group.thread(f"{self.group.name} {self._made}")

    def give(self, thread: FluidThread) -> None:
        self._idle.append(thread)


@final
class Process:
    """One life of a container's process: it listens once its start is computed, and serves in order of arrival with so many workers.

    A request has a worker until its own CPU work is done; calls to others are waited for without one (an asynchronous server).
    """

    __slots__ = (
        "_workers", "born_s", "hung", "idle_workers", "listening", "on_idle", "queue", "queue_most", "running", "seat", "stopping",
    )  # fmt: skip

    def __init__(self, seat: Seat, workers: int, queue_most: float, born_s: float) -> None:
        self.seat = seat
        self._workers = workers
        self.idle_workers = float(workers) if workers else inf
        self.queue: deque[Attempt] = deque()
        self.queue_most = queue_most
        self.running: dict[Attempt, None] = {}
        """In service, and everything that a hung process has taken."""
        self.born_s = born_s
        self.listening = False
        self.hung = False
        self.stopping = False
        self.on_idle: Callable[[], None] | None = None
        """Called when the last request is done, once it takes no more."""

    def start(self, cpu_s: float, done: Callable[[Process], None]) -> None:
        """Compute the start, under the container's limits, then listen."""
        if cpu_s <= 0:
            self.listening = True
            done(self)
            return
        attempt = Attempt(_Start(self, done), cpu_s, self.born_s)
        self._run(attempt)

    def accept(self, attempt: Attempt) -> None:
        """Take a request that has come in."""
        if not self.listening or self.stopping:
            attempt.sink.failed(attempt, "refused")
        elif self.hung:
            self.running[attempt] = None
        elif self.idle_workers > 0:
            self.idle_workers -= 1
            attempt.has_worker = True
            self._run(attempt)
        elif len(self.queue) < self.queue_most:
            attempt.has_worker = True
            self.queue.append(attempt)
        else:
            attempt.sink.failed(attempt, "queue full")

    def execute(self, attempt: Attempt) -> None:
        """Run something beside the workers: it shares the CPU and queues for nothing."""
        if self.hung:
            self.running[attempt] = None
        else:
            self._run(attempt)

    def _run(self, attempt: Attempt) -> None:
        thread = attempt.thread = self.seat.take()
        self.running[attempt] = None
        attempt.sink.began(attempt)
        thread.run(attempt.cpu_s, self._served, attempt)

    def _served(self, attempt: Any) -> None:
        thread = attempt.thread
        attempt.thread = None
        self.seat.give(thread)
        del self.running[attempt]
        if attempt.has_worker:
            if self.queue:
                self._next()
            else:
                self.idle_workers += 1
        if not attempt.over:
            attempt.sink.answered(attempt)
        if self.stopping and not self.running and self.on_idle is not None:
            done, self.on_idle = self.on_idle, None
            done()

    def _next(self) -> None:
        """Give the worker that is free to the next in the queue."""
        self._run(self.queue.popleft())

    def withdraw(self, attempt: Attempt) -> bool:
        """Take an attempt back that has not begun; whether there was one."""
        try:
            self.queue.remove(attempt)
        except ValueError:
            return False
        return True

    def hang(self) -> None:
        """Go on listening and never answer again; no CPU is used."""
        self.hung = True
        self._stop_threads()
        for attempt in self.queue:
            self.running[attempt] = None
        self.queue.clear()

    def finish(self, done: Callable[[], None]) -> None:
        """Take no more, and call when the last is done."""
        self.stopping = True
        if self.running or self.queue:
            self.on_idle = done
        else:
            done()

    def end(self, *, silent: bool = False) -> None:
        """End at once: what was in it is reset, or never heard of again where the host died with it."""
        self.listening = False
        self.stopping = True
        self.on_idle = None
        self._stop_threads()
        lost = [*self.running, *self.queue]
        self.running.clear()
        self.queue.clear()
        if not silent:
            for attempt in lost:
                if not attempt.over:
                    attempt.sink.failed(attempt, "reset")

    def _stop_threads(self) -> None:
        seat = self.seat
        busy = [attempt for attempt in self.running if attempt.thread is not None]
        if not busy:
            return
        for attempt in busy:
            assert attempt.thread is not None
            if attempt.thread.done is not None:
                seat.scheduler.withdraw(attempt.thread)
            seat.give(attempt.thread)
            attempt.thread = None


@final
class _Start:
    """Waits for the end of a start."""

    __slots__ = ("_done", "_process")

    def __init__(self, process: Process, done: Callable[[Process], None]) -> None:
        self._process = process
        self._done = done

    def answered(self, attempt: Attempt) -> None:
        self._process.listening = True
        self._done(self._process)

    def failed(self, attempt: Attempt, reason: str) -> None:
        """The process has ended before it listened; who ended it knows."""

    def began(self, attempt: Attempt) -> None:
        """Nobody needs to know."""
