"""What a group with a limit is entitled to."""

from __future__ import annotations

from typing import final

__all__ = ["Limit"]


@final
class Limit:
    """What a limited group could use if it were alone: entitled_s is the integral of min(demand, limit), in core-seconds."""

    __slots__ = ("above", "demand", "entitled_s", "limit", "maximum", "since")

    def __init__(self, limit: float, below: Limit | None, now: float) -> None:
        self.limit = limit
        self.above = below
        """The limited group that this one is part of."""
        self.demand = 0.0
        self.maximum = 0.0
        self.entitled_s = 0.0
        self.since = now

    def change(self, by: float, now: float) -> None:
        """Let the demand grow, here and as far up as it matters."""
        self.entitled_s += self.maximum * (now - self.since)
        self.since = now
        self.demand += by
        maximum = self.demand if self.demand < self.limit else self.limit
        by = maximum - self.maximum
        self.maximum = maximum
        if by and self.above is not None:
            self.above.change(by, now)
