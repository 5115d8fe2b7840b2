"""What a server draws at a utilization: measured at steps of load, straight lines between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["PowerCurve"]


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """Watts at equal steps of utilization, from idle to full.

    Assumes that power follows the utilization of processors alone and does not depend on what keeps them busy.
    """

    watts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.watts) < 2 or min(self.watts) <= 0 or list(self.watts) != sorted(self.watts):
            raise ValueError(f"watts: {self.watts}; at least two, above 0 and rising")

    def at(self, utilization: float) -> float:
        """Watts at a utilization from 0 to 1."""
        if not 0.0 <= utilization <= 1.0:
            raise ValueError(f"utilization: {utilization}; from 0 to 1")
        return float(np.interp(utilization, np.linspace(0.0, 1.0, len(self.watts)), self.watts))
