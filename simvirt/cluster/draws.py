"""CPU times of requests, drawn in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from math import log, sqrt

import numpy as np

from simvirt.cluster.description import Work
from simvirt.randomness import blocks

__all__ = ["draws"]


def draws(work: Work, rng: np.random.Generator) -> Iterator[float]:
    """Endless CPU times."""
    if work.kind == "constant":
        return repeat(work.mean_s)
    if work.kind == "exponential":
        return blocks(lambda n: rng.exponential(work.mean_s, n))
    if work.kind == "lognormal":
        spread = sqrt(log(1.0 + work.cv**2))
        return blocks(lambda n: work.mean_s * rng.lognormal(-(spread**2) / 2.0, spread, n))
    exceeded = np.log([1.0 - q for q, _ in work.quantiles])[::-1]
    seconds = np.log([s for _, s in work.quantiles])[::-1]
    return blocks(lambda n: np.exp(np.interp(np.log1p(-rng.random(n)), exceeded, seconds)))
