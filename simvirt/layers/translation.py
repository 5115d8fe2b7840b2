"""Translation of addresses: which page visits miss the translation buffer, and how far the hardware then walks."""

from __future__ import annotations

from typing import Final

__all__ = ["BASE_PAGE_BYTES", "HUGE_PAGE_BYTES", "LARGE_PAGE_BYTES", "PAGE_SIZES", "missed", "native_walk", "nested_walk", "walk_levels"]

BASE_PAGE_BYTES: Final = 4096.0
LARGE_PAGE_BYTES: Final = 2.0**21
HUGE_PAGE_BYTES: Final = 2.0**30
PAGE_SIZES: Final = (BASE_PAGE_BYTES, LARGE_PAGE_BYTES, HUGE_PAGE_BYTES)
"""Of a radix tree with 512 entries in each of its four levels: a leaf in the lowest level, in the one above, or two above."""


def missed(visited_bytes: float, page_bytes: float, entries: float) -> float:
    """Share of visits to random pages whose translation is not held: max(0, 1 - entries * page / visited).

    Visits go to all pages alike and independently, and the buffer keeps what was used last. Skewed visits miss less often.
    """
    return max(0.0, 1.0 - entries * page_bytes / visited_bytes) if visited_bytes > 0.0 else 0.0


def walk_levels(page_bytes: float) -> int:
    """Levels of the tree down to a page of this size: 4 for the smallest, 3 for large ones, 2 for huge ones."""
    return 4 - sum(page_bytes >= size for size in PAGE_SIZES[1:])


def native_walk(page_bytes: float) -> float:
    """References of a walk in one dimension, relative to one of four levels: g / 4."""
    return walk_levels(page_bytes) / 4.0


def nested_walk(guest_page_bytes: float, host_page_bytes: float) -> float:
    """References that the second dimension adds to a walk, relative to those of four by four levels.

    A walk in two dimensions makes (g + 1) (h + 1) - 1 references, h (g + 1) more than the g of a native one: 20 for 4 by 4, 15 with large
    pages of the host, 12 with large pages of both (Bhargava et al., ASPLOS 2008). Each reference is taken to cost the same.
    """
    return walk_levels(host_page_bytes) / 4.0 * (walk_levels(guest_page_bytes) + 1.0) / 5.0
