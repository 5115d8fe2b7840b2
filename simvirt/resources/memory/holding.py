"""What one owner has of a memory, and where its bytes are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol, final

from simvirt.resources.memory.kill import Reason
from simvirt.resources.memory.touch import EVEN, Popularity

__all__ = ["NEVER_KILLED", "NO_LIMITS", "Guest", "Holding", "Limits"]

NEVER_KILLED: Final = -1000
"""The adjustment of badness that spares a process for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a control group may have: infinity where nothing is set."""

    max_bytes: float = inf
    """Beyond it somebody of the group is killed."""
    high_bytes: float = inf
    """Beyond it the group is slowed down."""
    swap_bytes: float = inf
    """Most that may be on the swap device."""
    oom_score_adj: int = 0
    """Thousandths of the memory that are added to its badness; -1000 spares it for good."""


NO_LIMITS: Final = Limits()


class Guest(Protocol):
    """The memory of a virtual machine, as the memory below sees it."""

    def idle_bytes(self, wanted: float) -> float:
        """How many of the wanted bytes the guest can do without."""

    def kill_all(self, reason: Reason, asked_by: str) -> None:
        """End everybody in it: the machine has been killed."""


@final
class Holding:
    """Bytes that one owner asked for. At every instant, to rounding,

        asked = resident + swapped + dropped + ballooned + shared + compressed

    *Resident* bytes have a frame of their own. *Swapped* ones are on the swap device; *dropped* ones are pages of a file that are in no
    memory; *ballooned* ones were given back by a guest's balloon; *shared* ones lie in the frame of an equal page of somebody else;
    *compressed* ones take a part of a frame.
    """

    __slots__ = (
        "alike", "alike_bytes", "asked_bytes", "ballooned_bytes", "compressed_bytes", "died_s", "dropped_bytes", "file_bytes", "guest",
        "killed", "limits", "locked_bytes", "name", "popularity", "resident_bytes", "shared_bytes", "size_bytes", "swapped_bytes",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        limits: Limits = NO_LIMITS,
        popularity: Popularity = EVEN,
        size_bytes: float = inf,
        alike: str = "",
        killed: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.limits = limits
        self.popularity = popularity
        self.size_bytes = size_bytes
        """Configured size of a virtual machine; infinity for others."""
        self.alike = alike
        """Machines with the same word have equal pages."""
        self.killed = killed
        """Called when it is killed."""
        self.guest: Guest | None = None
        """What the machine that it is makes of its bytes."""
        self.alike_bytes = 0.0
        """Bytes of which like machines have equal ones."""
        self.locked_bytes = 0.0
        """Resident bytes that cannot be taken."""
        self.file_bytes = 0.0
        """Asked bytes that are pages of files."""
        self.asked_bytes = 0.0
        self.resident_bytes = 0.0
        self.swapped_bytes = 0.0
        self.dropped_bytes = 0.0
        self.ballooned_bytes = 0.0
        self.shared_bytes = 0.0
        self.compressed_bytes = 0.0
        self.died_s: float | None = None

    @property
    def alive(self) -> bool:
        return self.died_s is None

    @property
    def movable_bytes(self) -> float:
        """Bytes that its programs (or its guest) have to work with."""
        return self.asked_bytes - self.locked_bytes - self.ballooned_bytes

    @property
    def out_bytes(self) -> float:
        """Bytes that a touch would have to fetch."""
        return self.swapped_bytes + self.dropped_bytes + self.compressed_bytes

    @property
    def takeable_bytes(self) -> float:
        """Resident bytes that are neither locked nor pages of files."""
        return max(0.0, self.resident_bytes - self.locked_bytes - self.resident_file_bytes)

    @property
    def resident_file_bytes(self) -> float:
        return max(0.0, self.file_bytes - self.dropped_bytes)

    @property
    def cold_bytes(self) -> float:
        """Resident bytes that are used less, those that are out having been cold first."""
        return max(0.0, self.popularity.cold_bytes(self.movable_bytes) - self.out_bytes)

    def miss(self, *, by_age: bool) -> float:
        """Probability that a touch meets a byte that is out."""
        return self.popularity.miss(self.out_bytes, self.movable_bytes, by_age=by_age)

    def throttle_s(self, size_bytes: float, page_bytes: float = 4096.0) -> float:
        """How long an allocation of so many bytes is made to wait for being beyond `high_bytes` (Linux, mm/memcontrol.c).

        overage = resident / high - 1; wait = 64 * overage^2 s per batch of 64 pages, not below 10 ms, at most 2 s.
        """
        overage = self.resident_bytes / self.limits.high_bytes - 1.0
        if overage <= 0.0 or size_bytes <= 0.0:
            return 0.0
        wait_s = 64.0 * overage * overage * size_bytes / page_bytes / 64.0
        return min(2.0, wait_s) if wait_s > 0.01 else 0.0
