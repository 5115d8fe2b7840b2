"""A lock whose waiters sleep: who comes first has it first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import final

__all__ = ["Mutex"]


@final
class Mutex:
    """Handed on in order of arrival; taking and handing on take no time. What is done under it is its holder's business."""

    __slots__ = ("_waiting", "is_held")

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self.is_held = False

    def acquire(self, granted: Callable[[], None]) -> None:
        """Call `granted` as soon as the lock belongs to who asks: now, or when all before have released it."""
        if self.is_held:
            self._waiting.append(granted)
        else:
            self.is_held = True
            granted()

    def release(self) -> None:
        """Hand it on."""
        if not self.is_held:
            raise RuntimeError("a lock that nobody holds cannot be released")
        if self._waiting:
            self._waiting.popleft()()
        else:
            self.is_held = False

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return len(self._waiting)
