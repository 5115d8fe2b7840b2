"""Who is killed when memory is gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from simvirt.resources.memory.holding import NEVER_KILLED, Holding

__all__ = ["badness", "worst"]

PAGE_TABLE_SHARE: Final = 8 / 4096
"""Page tables over memory mapped: an entry of 8 bytes per page."""


def badness(holding: Holding, total_bytes: float) -> float:
    """Bytes by which victims are chosen (Linux, mm/oom_kill.c).

    resident without pages of files + swapped + page tables + oom_score_adj / 1000 * memory and swap.
    """
    mapped = holding.asked_bytes - holding.ballooned_bytes
    own = holding.resident_bytes - holding.resident_file_bytes + holding.swapped_bytes + mapped * PAGE_TABLE_SHARE
    return own + holding.limits.oom_score_adj / 1000.0 * total_bytes


def worst(holdings: Iterable[Holding], total_bytes: float) -> Holding | None:
    """The one with most badness, by name among equals; None if nobody may be killed."""
    able = [h for h in holdings if h.alive and h.limits.oom_score_adj > NEVER_KILLED and h.killed is not None]
    return min(able, key=lambda h: (-badness(h, total_bytes), h.name), default=None)
