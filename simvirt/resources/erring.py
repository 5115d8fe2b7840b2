"""What stands in the place of a device that answers every request with an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from simvirt.engine import Engine
from simvirt.resources.stages import AbstractStage, Request

__all__ = ["Erring", "Errors"]


@final
class Errors:
    """Requests that have met an error and go on to their end, where they count as failed: whoever works for them handles the error."""

    __slots__ = ("_failed", "_finished", "_met")

    def __init__(self, finished: Callable[[Request], None], failed: Callable[[Request, str], None]) -> None:
        self._finished = finished
        self._failed = failed
        self._met: dict[Request, str] = {}

    def meet(self, request: Request, reason: str) -> None:
        self._met.setdefault(request, reason)

    def finished(self, request: Request) -> None:
        """The end of every request."""
        reason = self._met.pop(request, None)
        if reason is None:
            self._finished(request)
        else:
            self._failed(request, reason)


@final
class Erring(AbstractStage):
    """Answers at once, in place of `count` stages."""

    __slots__ = ("_count", "_engine", "_errors", "_reason")

    def __init__(self, engine: Engine, errors: Errors, reason: str, count: int) -> None:
        self._engine = engine
        self._errors = errors
        self._reason = reason
        self._count = count

    def enter(self, request: Request) -> None:
        self._errors.meet(request, self._reason)
        request.times += [self._engine._now] * self._count
        self.next.enter(request)
