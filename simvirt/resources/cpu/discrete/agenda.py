"""What has to be dealt with at this instant, before time goes on."""

from __future__ import annotations

from collections import deque
from typing import Protocol, final

__all__ = ["Agenda"]


class Due(Protocol):
    """Something to be looked at."""

    listed: bool

    def look(self, now: float) -> None: ...


@final
class Agenda:
    """Processors that have to be looked at before time goes on, whatever their domain, in the order in which that was found out."""

    __slots__ = ("_at_work", "_due")

    def __init__(self) -> None:
        self._due: deque[Due] = deque()
        self._at_work = False

    def add(self, processor: Due) -> None:
        if not processor.listed:
            processor.listed = True
            self._due.append(processor)

    def settle(self, now: float) -> None:
        """Look at all of them, unless this is called from within."""
        if self._at_work:
            return
        self._at_work = True
        try:
            due = self._due
            while due:
                processor = due.popleft()
                processor.listed = False
                processor.look(now)
        finally:
            self._at_work = False
