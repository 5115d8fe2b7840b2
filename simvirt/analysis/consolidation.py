"""How many machines with a recorded demand fit on so many cores: overcommit from traces, without a queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Consolidation", "consolidate", "slots_that_fit"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Consolidation:
    """What draws of `machines` machines said: for each share of slots that must fit, the overcommit ratio that it allows.

    ratio = virtual processors of the machines drawn / quantile of their summed demand.
    """

    machines: int
    shares: tuple[float, ...]
    ratios: tuple[float, ...]
    """Median over the draws."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Between them lie 90 % of the draws."""
    slots: int
    """Fewest slots that a draw could use: those in which the demand of all its machines is known."""


def consolidate(
    demand: Floats, vcpus: Floats, machines: int, shares: Sequence[float], rng: np.random.Generator, draws: int = 200
) -> Consolidation:
    """Draw `machines` rows of `demand` (cores, machines by slots, NaN where unknown) without repetition, `draws` times.

    Raises ValueError if there are not so many, or if a draw knows no slot in which all its machines are known.
    """
    if not 1 <= machines <= len(demand):
        raise ValueError(f"machines: {machines} of {len(demand)}; at least 1, at most all of them")
    ratios = np.empty((draws, len(shares)))
    fewest = demand.shape[1]
    for i in range(draws):
        chosen = rng.choice(len(demand), machines, replace=False)
        total = demand[chosen].sum(axis=0)
        total = total[~np.isnan(total)]
        if not len(total):
            raise ValueError(f"machines: {machines}; a draw has no slot in which the demand of all is known, take fewer")
        fewest = min(fewest, len(total))
        ratios[i] = vcpus[chosen].sum() / np.quantile(total, shares)
    low, median, high = np.quantile(ratios, (0.05, 0.5, 0.95), axis=0)
    return Consolidation(machines, tuple(shares), tuple(median.tolist()), tuple(low.tolist()), tuple(high.tolist()), slots=fewest)


def slots_that_fit(total: Floats, cores: float) -> float:
    """Share of the known slots in which a summed demand (cores) is no more than there is."""
    known = total[~np.isnan(total)]
    return float(np.mean(known <= cores)) if len(known) else float("nan")
