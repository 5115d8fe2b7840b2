"""Closed forms of availability: the share of the time in which something is up, from times to failure and times to repair.

Reference: Trivedi & Bobbio, Reliability and Availability Engineering, ch. 6 (alternating renewal) and 4 (series).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, prod

__all__ = ["alternating", "layered", "series"]


def alternating(mttf_s: float, mttr_s: float) -> float:
    """One part that is up and down in turn, whatever the distributions: A = MTTF / (MTTF + MTTR).

    Raises ValueError if the part is never up, or its repair takes less than no time.
    """
    if not mttf_s > 0 or not mttr_s >= 0:
        raise ValueError(f"time to failure {mttf_s} s, time to repair {mttr_s} s; the first above 0 s, the second at least 0 s")
    return 1.0 / (1.0 + mttr_s / mttf_s)


def series(parts: Iterable[tuple[float, float]]) -> float:
    """Independent parts, each (MTTF, MTTR), all of which are needed: A = product of A_i."""
    return prod(alternating(mttf_s, mttr_s) for mttf_s, mttr_s in parts)


def layered(layers: Iterable[Sequence[tuple[float, float]]]) -> float:
    """Layers on each other, each with the faults (MTTF, MTTR) that may hit it: A = product over layers of 1 / (1 + sum MTTR / MTTF).

    A layer fails only while it and all below it are up, and a fault below ends those above it: so each layer is up for the share
    1 / (1 + sum) of the time in which those below are. That neglects repairs that a fault below cuts short: the relative error is
    below MTTR of the upper times the failure rate of the lower, of which the same layer has only the second order.
    """
    shares = []
    for faults in layers:
        for mttf_s, mttr_s in faults:
            alternating(mttf_s, mttr_s)
        shares.append(1.0 / (1.0 + fsum(mttr_s / mttf_s for mttf_s, mttr_s in faults)))
    return prod(shares)
