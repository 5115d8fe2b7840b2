"""Gaps and think times of a source that is there only for a part of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

__all__ = ["gaps_between", "thinks_between"]


def gaps_between(gaps: Iterator[float], start_s: float, stop_s: float) -> Iterator[float]:
    """Inter-arrival times of arrivals from `start_s` on, which end before `stop_s`: the first gap is that much longer."""
    clock = start_s
    wait = start_s
    for gap in gaps:
        clock += gap
        if clock >= stop_s:
            return
        yield wait + gap
        wait = 0.0


def thinks_between(thinks: Iterator[float], clients: int, start_s: float, stop_s: float, now: Callable[[], float]) -> Iterator[float]:
    """Think times of clients who begin to think at `start_s`, and never ask again from `stop_s` on."""
    waiting = clients
    for think in thinks:
        wait = think + start_s if waiting else think
        waiting = max(0, waiting - 1)
        yield wait if now() + wait < stop_s else inf
