"""Calls at a later time, and periods that have a phase."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from simvirt.engine import Engine

__all__ = ["later", "next_tick"]


def later(engine: Engine, delay_s: float, action: Callable[[], None]) -> None:
    """Call `action` after a delay."""
    engine.wakeup(action).at(engine._now + delay_s)


def next_tick(now: float, period_s: float, phase: float) -> float:
    """The first time at or after now at which a period with this phase (a share of it) is over; now where there is no period."""
    if not period_s:
        return now
    offset_s = phase * period_s
    time = offset_s + ceil((now - offset_s) / period_s) * period_s
    return time if time >= now else time + period_s
