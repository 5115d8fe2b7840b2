"""The numbers by which a kernel writes back what is dirty in its page cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from simvirt.evidence import Cost

__all__ = ["Writeback"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Writeback:
    """When a kernel writes back, when it makes writers wait, and in what pieces."""

    dirty_background_ratio: Cost
    """Share of the kernel's memory that may be dirty before it begins to write back."""
    dirty_ratio: Cost
    """Share of the kernel's memory that may be dirty at all: writers wait above it."""
    most_bytes: Cost
    """Most that one request of the write-back carries, where neighbouring pages are dirty."""
    depth: Cost
    """Requests that the write-back keeps under way at once."""
