"""A kernel's table of tracked connections."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import final

from simvirt.engine import Engine

__all__ = ["ConnectionTable"]


@final
class ConnectionTable:
    """At most `size` entries; each stays for `timeout_s` after it was made, whatever its connection does meanwhile.

    A connection that finds the table full is refused (its first packet is dropped). With connections opened at a steady rate, the table
    holds rate * timeout_s entries, and refuses what exceeds size / timeout_s per second. All who share the kernel share the table.
    """

    __slots__ = ("_engine", "_entries", "_leaving", "size", "timeout_s")

    def __init__(self, engine: Engine, size: float, timeout_s: float) -> None:
        if size < 0 or not timeout_s >= 0:
            raise ValueError(f"table of {size} connections, kept for {timeout_s} s: both at least 0")
        self._engine = engine
        self._leaving: deque[tuple[float, int]] = deque()
        """When entries will be gone, and how many; the earliest first."""
        self._entries = 0
        self.size = size or inf
        self.timeout_s = timeout_s

    @property
    def entries(self) -> int:
        """Entries now."""
        self._expire()
        return self._entries

    def open(self, count: int) -> bool:
        """Make `count` entries; false, and none made, if there is no room for all."""
        self._expire()
        if self._entries + count > self.size:
            return False
        self._entries += count
        self._leaving.append((self._engine._now + self.timeout_s, count))
        return True

    def _expire(self) -> None:
        leaving, now = self._leaving, self._engine._now
        while leaving and leaving[0][0] <= now:
            self._entries -= leaving.popleft()[1]
