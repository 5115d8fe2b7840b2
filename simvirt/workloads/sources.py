"""Sources of requests: open (arrivals do not wait for answers) and closed (clients that think, ask, and wait)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import final

from simvirt.engine import Engine
from simvirt.workloads.client_program import ClientProgram, ClientThread

__all__ = ["ClosedSource", "OpenSource", "Start"]

Start = Callable[[float], None]
"""Begin one request; called with the time at which it was meant to begin, from which its response time counts."""


@final
class OpenSource:
    """Begins a request after each inter-arrival time, whatever happened to those before.

    arrival of n = creation + sum of the first n gaps. A gap of zero is a batch. The source stops when the gaps end.
    """

    __slots__ = ("_arrival", "_gaps", "_start", "_wakeup")

    def __init__(self, engine: Engine, gaps: Iterator[float], start: Start) -> None:
        self._gaps = gaps
        self._start = start
        self._arrival = engine._now
        self._wakeup = engine.wakeup(self._arrive)
        gap = next(gaps, None)
        if gap is not None:
            self._arrival += gap
            self._wakeup.at(self._arrival)

    def redirect(self, start: Start) -> None:
        """Let requests that arrive from now on begin elsewhere."""
        self._start = start

    def _arrive(self) -> None:
        arrival = self._arrival
        gap = next(self._gaps, None)
        if gap is not None:
            self._arrival = coming = arrival + gap
            self._wakeup.at(coming)
        self._start(arrival)


@final
class ClosedSource:
    """A fixed number of clients, each of which thinks, begins a request, waits for it, and thinks again.

    clients = thinking + waiting for a request, at every instant. Clients are exchangeable: `completed` sends any one of them back to
    thinking, for the next of the endless `thinks`. With a think time of zero the next request begins at once.
    Client i of n begins its first think i / n * `stagger_s` after creation. With a `program`, all clients are connections of one
    program: from an answer to the next think, its one thread reads the answer and writes the next request.
    """

    __slots__ = ("_engine", "_releasing", "_stagger_s", "_start", "_thinking", "_thinks", "_wakeup", "clients", "thread")

    def __init__(
        self,
        engine: Engine,
        clients: int,
        thinks: Iterator[float],
        start: Start,
        stagger_s: float = 0.0,
        program: ClientProgram | None = None,
    ) -> None:
        if clients < 1 or stagger_s < 0:
            raise ValueError(f"{clients} clients, staggered by {stagger_s} s: at least 1 client and 0 s")
        self._engine = engine
        self._thinks = thinks
        self._start = start
        self.clients = clients
        self._stagger_s = stagger_s
        now = engine._now
        self._thinking = [now + stagger_s * i / clients + next(thinks) for i in range(clients)]
        """A heap of the times at which thinking clients ask again."""
        heapify(self._thinking)
        self._releasing = False
        self.thread = None if program is None else ClientThread(engine, program, self._think)
        self._wakeup = engine.wakeup(self._release)
        self._wakeup.at(self._thinking[0])

    @property
    def thinking(self) -> int:
        """Clients that think now; the others wait for their requests."""
        return len(self._thinking)

    def multiply(self, more: int, most: int) -> None:
        """So many clients join, up to `most` of them, and begin to think."""
        joined = min(more, most - self.clients)
        if joined > 0:
            self.clients += joined
            for _ in range(joined):
                self._think()

    def stop(self) -> None:
        """No client asks any more, whether it thinks or waits."""
        self._thinking.clear()
        self._wakeup.cancel()
        if self.thread is not None:
            self.thread.forget()

    def resume(self) -> None:
        """After `stop`: all clients are there again, thinking, staggered as at the start."""
        now, thinks, clients = self._engine._now, self._thinks, self.clients
        self._thinking.extend(now + self._stagger_s * i / clients + next(thinks) for i in range(clients))
        heapify(self._thinking)
        self._wakeup.at(self._thinking[0])

    def completed(self) -> None:
        """Take back one client whose request is complete: the end of every path calls this once per request."""
        thinking = self._thinking
        if len(thinking) == self.clients:
            raise RuntimeError(f"a request completed, but none of the {self.clients} clients waits for one")
        if self.thread is None:
            self._think()
        else:
            self.thread.answer()

    def _think(self) -> None:
        """One client begins to think."""
        thinking = self._thinking
        now = self._engine._now
        due = now + next(self._thinks)
        heappush(thinking, due)
        if due > now:
            self._wakeup.at(thinking[0])
        elif not self._releasing:
            self._release()

    def _release(self) -> None:
        """Begin the requests that are due. A request that completes within `start` joins this loop instead of nesting another."""
        now, thinking, start = self._engine._now, self._thinking, self._start
        self._releasing = True
        while thinking and thinking[0] <= now:
            heappop(thinking)
            start(now)
        self._releasing = False
        if thinking:
            self._wakeup.at(thinking[0])
