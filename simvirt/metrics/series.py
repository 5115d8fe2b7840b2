"""A run as a series in time, in constant memory: to judge whether it was long enough and when it had warmed up."""

from __future__ import annotations

from typing import Final, final

import numpy as np
import numpy.typing as npt

__all__ = ["BinnedMeans"]

_BINS: Final = 512
"""Over the whole run: enough to see that it holds 200 autocorrelation times, each then two to three bins long."""

Vector = npt.NDArray[np.float64]


@final
class BinnedMeans:
    """Mean response times of the requests that ended in each of 512 equal parts of a run."""

    __slots__ = ("_counts", "_per_s", "_sums")

    def __init__(self, duration_s: float) -> None:
        self._per_s = _BINS / duration_s
        self._counts = np.zeros(_BINS)
        self._sums = np.zeros(_BINS)

    def add(self, ends_s: Vector, response_s: Vector) -> None:
        """A block of requests; the order of blocks changes nothing but rounding."""
        places = np.minimum((ends_s * self._per_s).astype(np.int64), _BINS - 1)
        self._counts += np.bincount(places, minlength=_BINS)
        self._sums += np.bincount(places, response_s, _BINS)

    def means(self) -> Vector:
        """The series; NaN where no request ended."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sums / self._counts)
