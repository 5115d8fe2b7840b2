"""A request of a client, and its attempts: each goes to one replica and ends by an answer, by a failure, or not at all."""

from __future__ import annotations

from typing import Protocol, final

from simvirt.resources.cpu.fluid import FluidThread

__all__ = ["Attempt", "Sink"]


class Sink(Protocol):
    """Who waits for an attempt."""

    def answered(self, attempt: Attempt) -> None:
        """The server has answered."""

    def failed(self, attempt: Attempt, reason: str) -> None:
        """There will be no answer, and that is known now."""

    def began(self, attempt: Attempt) -> None:
        """The server has begun to work on it."""


@final
class Attempt:
    """One message to one replica. Its sender may have given up on it: then it is still worked on, and nobody hears the answer."""

    __slots__ = ("cpu_s", "has_worker", "over", "sent_s", "sink", "thread")

    def __init__(self, sink: Sink, cpu_s: float, sent_s: float) -> None:
        self.sink = sink
        self.cpu_s = cpu_s
        self.sent_s = sent_s
        self.over = False
        """Whether the sender waits no longer."""
        self.has_worker = False
        """Whether it needs one of the workers of its process."""
        self.thread: FluidThread | None = None
