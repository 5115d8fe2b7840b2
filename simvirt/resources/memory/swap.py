"""A swap device: space, and the disk operations that moving pages takes."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf
from typing import Final, final

__all__ = ["PAGE_BYTES", "Swap"]

PAGE_BYTES: Final = 4096.0
CLUSTER_BYTES: Final = 32 * PAGE_BYTES
"""Pages are written together, 32 at a time (Linux, SWAP_CLUSTER_MAX)."""

Write = Callable[[float, float], None]
"""Called as write(operations, bytes) for pages that go out; nobody waits for it."""


@final
class Swap:
    """Space for `capacity_bytes`.

    Going out costs a write per cluster; coming back a read per page, for which the one who touched it waits.
    """

    __slots__ = ("_write", "capacity_bytes", "in_bytes", "out_bytes", "used_bytes")

    def __init__(self, capacity_bytes: float = inf, write: Write | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self._write = write
        self.used_bytes = 0.0
        self.out_bytes = 0.0
        """Written since the start."""
        self.in_bytes = 0.0
        """Read since the start."""

    @property
    def free_bytes(self) -> float:
        return max(0.0, self.capacity_bytes - self.used_bytes)

    def put(self, size_bytes: float) -> None:
        """Pages go out."""
        assert size_bytes <= self.free_bytes + 1.0
        self.used_bytes += size_bytes
        self.out_bytes += size_bytes
        if self._write is not None and size_bytes > 0.0:
            self._write(ceil(size_bytes / CLUSTER_BYTES), size_bytes)

    def take(self, size_bytes: float) -> None:
        """Pages come back."""
        self.in_bytes += size_bytes
        self.drop(size_bytes)

    def drop(self, size_bytes: float) -> None:
        """Pages are not wanted any more."""
        self.used_bytes = max(0.0, self.used_bytes - size_bytes)
