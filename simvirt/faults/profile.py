"""A fault as a profile describes it: what breaks, how, how often, and what the repair takes."""

from __future__ import annotations

from dataclasses import dataclass

from simvirt.evidence import Cost
from simvirt.faults.part import Effect, Part

__all__ = ["FaultProfile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultProfile:
    """Time to failure: exponential, while the part is up. Down time of a tenant = detection_s + repair + restart.

    The repair is lognormal with mean repair_s and coefficient of variation repair_cv: what people or spare parts take before anything can
    be started. The restart follows from the platform: the failed layer and everything above it, bottom to top. A stall or a slow-down lasts
    for the repair and needs no restart.
    """

    name: str
    summary: str
    breaks: Part
    effect: Effect
    mtbf_s: Cost
    """Mean time from the end of a repair to the next failure of one such part."""
    detection_s: Cost
    """From the failure until somebody begins to repair."""
    repair_s: Cost
    repair_cv: Cost
    slow_factor: Cost
    """How many times as long a slow device takes; 1 for other effects."""
