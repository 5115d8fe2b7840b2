"""What every device with a queue tells of itself: two averages over time, from what it has counted since its last restart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import nan

from simvirt.engine import Engine

__all__ = ["AbstractStation"]


class AbstractStation(ABC):
    """Channels and a queue before them. Its accounts begin at `_since`."""

    __slots__ = ()

    channels: int
    _engine: Engine
    _since: float

    @property
    @abstractmethod
    def busy_s(self) -> float:
        """Channel-seconds of service since `restart`."""

    @property
    @abstractmethod
    def wait_s(self) -> float:
        """Time spent waiting since `restart`, summed over requests: the integral of the number waiting."""

    @property
    def utilization(self) -> float:
        """Busy share of the channels since `restart`; not a number before any time has passed."""
        elapsed_s = self._engine._now - self._since
        return self.busy_s / (self.channels * elapsed_s) if elapsed_s > 0 else nan

    @property
    def mean_queue(self) -> float:
        """Number waiting, averaged over the time since `restart`; not a number before any time has passed."""
        elapsed_s = self._engine._now - self._since
        return self.wait_s / elapsed_s if elapsed_s > 0 else nan
