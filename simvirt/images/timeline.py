"""What happened when: spans of time in lanes, for charts and for where the time went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Span", "Timeline", "divided", "most_at_once", "union_s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One thing from start to end."""

    lane: str
    """Where it is drawn: a layer, a stage, a container."""
    kind: str
    """What it is: download, unpack, wait, …"""
    start_s: float
    end_s: float
    label: str = ""

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


class Timeline:
    """Spans in the order in which they ended."""

    __slots__ = ("spans",)

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, lane: str, kind: str, start_s: float, end_s: float, label: str = "") -> None:
        """Note a span; one of no length is left out."""
        assert end_s >= start_s, (lane, kind, start_s, end_s)
        if end_s > start_s:
            self.spans.append(Span(lane=lane, kind=kind, start_s=start_s, end_s=end_s, label=label))

    def of(self, *kinds: str) -> list[Span]:
        """Spans of some kinds."""
        return [span for span in self.spans if span.kind in kinds]

    def kinds(self) -> tuple[str, ...]:
        """Every kind, in the order in which they first began."""
        return tuple(dict.fromkeys(span.kind for span in sorted(self.spans, key=lambda s: (s.start_s, s.end_s))))

    @property
    def end_s(self) -> float:
        return max((span.end_s for span in self.spans), default=0.0)


def union_s(spans: Iterable[Span]) -> float:
    """Time during which at least one of some spans is under way."""
    total, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda s: s.start_s):
        total += max(0.0, span.end_s - max(span.start_s, until))
        until = max(until, span.end_s)
    return total


def most_at_once(spans: Sequence[Span]) -> int:
    """The largest number of spans under way at the same instant; one that ends when another begins is over."""
    changes = sorted([(span.start_s, 1) for span in spans] + [(span.end_s, -1) for span in spans])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def divided(spans: Iterable[Span], start_s: float, end_s: float, order: Sequence[str]) -> dict[str, float]:
    """The time from start to end, each instant given to one kind of span: the first in `order` that is under way.

    Kinds that `order` does not name come after it, by name; an instant without a span is a wait. The parts add up to the whole.
    """
    known = sorted(spans, key=lambda span: span.start_s)
    edges = sorted({start_s, end_s, *(t for span in known for t in (span.start_s, span.end_s) if start_s < t < end_s)})
    parts: dict[str, float] = {}
    for a, b in pairwise(edges):
        active = {span.kind for span in known if span.start_s <= a and span.end_s >= b}
        kind = next((kind for kind in (*order, *sorted(active)) if kind in active), "wait")
        parts[kind] = parts.get(kind, 0.0) + b - a
    return parts
