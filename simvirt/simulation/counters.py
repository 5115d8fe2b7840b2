"""What schedulers by rules count, under the names of the metrics that tell it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from math import inf
from typing import Final

from simvirt.resources.cpu.contract import AbstractGroup
from simvirt.resources.cpu.discrete.scheduler import Counters, DiscreteGroup, DiscreteScheduler

__all__ = ["Counted", "counted", "decisions_of"]

Counted = tuple[tuple[str, float], ...]
"""Metric and value."""

_METRICS: Final = {"wait_s": "run_queue_wait_s", "steal_s": "vcpu_ready_s"}
"""Counter → metric, where the two have different names."""
_VCPUS: Final = ("vcpu_ready_s", "vcpu_ready_share", "costop_s", "missed_ticks", "backlog_ticks", "clock_lag_s", "steal_charged_s")
"""What only a group with virtual processors has."""


def counted(group: AbstractGroup, window_s: float) -> Counted:
    """The counters of a group that is scheduled by rules; nothing under fluid sharing, which has no run queues."""
    if not isinstance(group, DiscreteGroup | DiscreteScheduler):
        return ()
    has_vcpus = isinstance(group, DiscreteGroup) and group.share.processors < inf
    return tuple((name, value) for name, value in _told(group.counters(), window_s) if has_vcpus or name not in _VCPUS)


def _told(counters: Counters, window_s: float) -> Iterator[tuple[str, float]]:
    for field in fields(counters):
        yield _METRICS.get(field.name, field.name), float(getattr(counters, field.name))
    yield "vcpu_ready_share", counters.steal_s / window_s


def decisions_of(scheduler: AbstractGroup) -> int | None:
    """How often a processor has chosen what to run; None under fluid sharing."""
    return scheduler.decisions() if isinstance(scheduler, DiscreteScheduler) else None
