"""The program that makes a closed load: one thread that reads answers and writes the next requests, as load generators do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import final

from pydantic import BaseModel, ConfigDict, model_validator

from simvirt.engine import Engine
from simvirt.quantities import Seconds

__all__ = ["ClientProgram", "ClientThread"]


class ClientProgram(BaseModel):
    """A load generator with one thread for all its connections.

    An answer takes `receive_s` to be read; the next request of that connection is written, in `send_s`, after what was ready before it
    (an event loop: read what can be read, then write what can be written). A sleeping program first takes `wake_s`. It carries at most
    1 / (receive_s + send_s) requests per second, however fast the server is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    receive_s: Seconds
    send_s: Seconds
    wake_s: Seconds = 0.0

    @model_validator(mode="after")
    def _does_something(self) -> ClientProgram:
        if not self.receive_s + self.send_s > 0:
            raise ValueError("receive_s and send_s are both 0 s; give one of them a time, or leave the client out")
        return self


@final
class ClientThread:
    """The running thread: first come, first served, each connection twice per request (its answer, then its next request).

    `sent` is called whenever a request has been written. One event per piece of work.
    """

    __slots__ = ("_busy_s", "_engine", "_program", "_ready", "_sent", "_since", "_until", "_wakeup", "_writes")

    def __init__(self, engine: Engine, program: ClientProgram, sent: Callable[[], None]) -> None:
        self._engine = engine
        self._program = program
        self._sent = sent
        self._wakeup = engine.wakeup(self._done)
        self._ready: deque[bool] = deque()
        """What can be done, in the order in which it became ready: whether it is a request to write (else an answer to read)."""
        self._writes = False
        self._until = -1.0
        """When it will be done with what it does; in the past if it sleeps."""
        self._busy_s = 0.0
        self._since = engine.now

    @property
    def utilization(self) -> float:
        """Share of the time since `restart` that it was awake, work begun counted in full."""
        return self._busy_s / (self._engine.now - self._since)

    def restart(self) -> None:
        """Begin to count anew."""
        self._busy_s = 0.0
        self._since = self._engine.now

    def forget(self) -> None:
        """Drop all answers that have come and requests that have not been sent, and sleep."""
        self._ready.clear()
        self._until = -1.0
        self._wakeup.cancel()

    def answer(self) -> None:
        """An answer has come."""
        if self._until < 0.0:
            self._work(False, self._program.wake_s)
        else:
            self._ready.append(False)

    def _work(self, writes: bool, before_s: float = 0.0) -> None:
        self._writes = writes
        seconds = before_s + (self._program.send_s if writes else self._program.receive_s)
        self._busy_s += seconds
        self._until = until = self._engine._now + seconds
        self._wakeup.at(until)

    def _done(self) -> None:
        ready, wrote = self._ready, self._writes
        if not wrote:
            ready.append(True)
        if ready:
            self._work(ready.popleft())
        else:
            self._until = -1.0
        if wrote:
            self._sent()
