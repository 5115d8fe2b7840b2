"""A scanner that finds equal pages of different machines and lets them share one frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from simvirt.resources.memory.holding import Holding
from simvirt.resources.memory.swap import PAGE_BYTES

__all__ = ["PageSharing"]


@final
class PageSharing:
    """Looks at `pages_per_s` pages, round and round.

    Of n like machines each can share alike_share * its alike bytes * (n - 1) / n: one copy stays. A pass over all resident bytes finds all
    of them, so in a time dt a machine's shared bytes grow by at most rate * dt / (resident bytes of all) of what it can share. Pages that
    are written again and part are not modelled: what is alike is code and files.
    """

    __slots__ = ("_alike_share", "bytes_per_s")

    def __init__(self, pages_per_s: float, alike_share: float) -> None:
        self.bytes_per_s = pages_per_s * PAGE_BYTES
        self._alike_share = alike_share

    def step(self, holdings: Sequence[Holding], passed_s: float) -> float:
        """Let time pass; bytes that became shared."""
        alive = [h for h in holdings if h.alive and h.alike]
        scanned = sum(h.resident_bytes for h in alive)
        if not scanned or not self.bytes_per_s:
            return 0.0
        part = min(1.0, self.bytes_per_s * passed_s / scanned)
        found = 0.0
        for holding in alive:
            like = sum(other.alike == holding.alike for other in alive)
            target = self._alike_share * holding.alike_bytes * (like - 1) / like
            more = min(max(0.0, target - holding.shared_bytes), part * target, holding.takeable_bytes)
            holding.resident_bytes -= more
            holding.shared_bytes += more
            found += more
        return found
