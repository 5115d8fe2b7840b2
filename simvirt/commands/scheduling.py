"""What schedulers have counted, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan
from typing import Final

from simvirt.analysis.intervals import mean_interval
from simvirt.commands.numbers import UNKNOWN, interval_text
from simvirt.commands.tables import table
from simvirt.simulation import RunOutcome

__all__ = ["counter_table"]

_SHOWN: Final = 16
"""Instances in the table; with more, those that waited longest."""
_COLUMNS: Final = {
    "run-queue wait": ("run_queue_wait_s", "time"),
    "vCPUs ready": ("vcpu_ready_s", "time"),
    "periods": ("nr_periods", "number"),
    "throttled": ("nr_throttled", "number"),
    "switches, own will": ("voluntary_switches", "number"),
    "not": ("involuntary_switches", "number"),
}


def counter_table(runs: Sequence[RunOutcome], confidence: float) -> Iterator[str]:
    """Means over replications; nothing where no scheduler with run queues was at work."""
    found: dict[str, list[dict[str, float]]] = {}
    for run in runs:
        for instance in run.instances:
            if instance.counters:
                found.setdefault(instance.name, []).append(dict(instance.counters))
    if not found:
        return
    names = sorted(found, key=lambda name: (-sum(counters["run_queue_wait_s"] for counters in found[name]), name))[:_SHOWN]

    def cell(name: str, metric: str, unit: str) -> str:
        values = [counters.get(metric, nan) for counters in found[name]]
        return interval_text(mean_interval(values, confidence), unit) if metric in found[name][0] else UNKNOWN

    yield ""
    yield "What the schedulers counted, everything below included"
    rows = [(name, *(cell(name, metric, unit) for metric, unit in _COLUMNS.values())) for name in sorted(names)]
    yield from table(("instance", *_COLUMNS), rows, right=tuple(_COLUMNS))
    if len(found) > len(names):
        yield f"{len(found) - len(names)} more that waited less: see --json."
    decisions = mean_interval([run.decisions_per_request for run in runs], confidence)
    yield f"Scheduling decisions per request: {interval_text(decisions, 'number')}"
