"""How a program uses the caches and the memory that it shares with its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

__all__ = ["MemoryCharacter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCharacter:
    """Accesses to the last-level cache, how many of them miss in what share of it, and what a miss costs.

    miss_ratio(s) = cold + (1 - cold) * (1 - min(1, s / working_set) ^ reuse). With `reuse` 1 every line of the working set is as likely to
    be used next as any other; with less some are hotter: it is 1 less the exponent of a Zipf law, of whose lines the cache holds the
    hottest. With nothing in the cache every access misses, with the whole working set only `cold` of them (first uses).

    Rates are per second of CPU time of a program that has the last-level cache to itself and memory that nobody else uses. Overlap is one
    number for hits and misses. Reads and writes are alike: writes cost more bandwidth only as far as `miss_bytes` says.
    """

    accesses_per_s: float
    """Accesses that get past the private caches of a core."""
    working_set_bytes: float
    cold: float = 0.0
    """Part of the accesses that misses in any cache."""
    reuse: float = 1.0
    """Above 0, at most 1."""
    miss_bytes: float = 64.0
    """Moved to and from memory: a line, and what is written back."""
    parallelism: float = 1.0
    """Accesses that are under way together: each one stalls the core for its latency divided by that."""

    def problems(self) -> list[str]:
        """What is wrong with the numbers."""
        found = []
        if not 0.0 <= self.accesses_per_s < inf:
            found.append(f"accesses_per_s: {self.accesses_per_s:g} /s; must be finite and at least 0")
        if not 0.0 < self.working_set_bytes < inf:
            found.append(f"working_set_bytes: {self.working_set_bytes:g} B; must be above 0")
        if not 0.0 <= self.cold <= 1.0:
            found.append(f"cold: {self.cold:g}; must lie between 0 and 1")
        if not 0.0 < self.reuse <= 1.0:
            found.append(f"reuse: {self.reuse:g}; must be above 0 and at most 1")
        if not 0.0 <= self.miss_bytes < inf:
            found.append(f"miss_bytes: {self.miss_bytes:g} B; must be finite and at least 0")
        if not 1.0 <= self.parallelism < inf:
            found.append(f"parallelism: {self.parallelism:g}; must be at least 1")
        return found

    def __post_init__(self) -> None:
        if found := self.problems():
            raise ValueError(*found)

    def miss_ratio(self, share_bytes: float) -> float:
        """Part of the accesses that misses in a share of the cache."""
        held = share_bytes / self.working_set_bytes
        if held >= 1.0:
            return self.cold
        hits: float = held**self.reuse
        return self.cold + (1.0 - self.cold) * (1.0 - hits)

    def stall_s(self, miss_ratio: float, latency_s: float) -> float:
        """Time per second of CPU time alone that the core waits for misses of this latency."""
        return self.accesses_per_s * miss_ratio * latency_s / self.parallelism
