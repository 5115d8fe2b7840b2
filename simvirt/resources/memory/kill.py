"""The record of a victim of a shortage of memory."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Kill", "Reason"]


class Reason(StrEnum):
    """Why somebody was killed."""

    LIMIT = "beyond its own limit"
    HOST = "no memory left for anybody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One victim."""

    time_s: float
    victim: str
    memory: str
    """Whose memory was short."""
    reason: Reason
    asked_by: str
    """Whose allocation found nothing."""
    resident_bytes: float
    badness_bytes: float
