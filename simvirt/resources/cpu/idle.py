"""Idle states of a processor: the longer it was idle, the longer it takes to run again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import final

__all__ = ["IdleLadder"]


@final
class IdleLadder:
    """Exit latency by the length of the idle period.

    exit_s(t) = exit of the deepest state whose residency is at most t. Assumes an idle governor that always picks that state; real
    ones mispredict.
    """

    __slots__ = ("_exits", "_residencies")

    def __init__(self, states: Sequence[tuple[float, float]]) -> None:
        """`states` are (residency_s, exit_s), shallowest first; the first residency is 0."""
        residencies = [residency for residency, _ in states]
        if not states or residencies[0] != 0.0 or residencies != sorted(residencies):
            raise ValueError(f"idle states {list(states)}: residencies must begin at 0 s and increase")
        self._residencies = residencies[1:]
        self._exits = [exit_s for _, exit_s in states]

    def exit_s(self, idle_s: float) -> float:
        """Seconds until a core runs that was idle for `idle_s`."""
        return self._exits[bisect_right(self._residencies, idle_s)]
