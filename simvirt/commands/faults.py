"""What broke in a run, for the screen: who, when, why, what it cost, and when it was over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from typing import Final

from simvirt.analysis.intervals import mean_interval
from simvirt.commands.numbers import UNKNOWN
from simvirt.commands.tables import table
from simvirt.faults.record import FaultEvent, FaultOutcome

__all__ = ["fault_report", "long_text"]

MOST_ROWS: Final = 24
"""Faults, or tenants, that are listed; the others are counted."""
_LONG: Final = ((2 * 86400.0, 86400.0, "d"), (2 * 3600.0, 3600.0, "h"), (120.0, 60.0, "min"))


def long_text(seconds: float) -> str:
    """A time that may be long, in the largest unit of which it has two."""
    factor, unit = next(((size, unit) for least, size, unit in _LONG if seconds >= least), (1.0, "s"))
    return f"{seconds / factor:.4g} {unit}"


def fault_report(found: Sequence[FaultOutcome | None], confidence: float) -> Iterator[str]:
    """The timeline of all replications, and for which share of the window each tenant was served; nothing where nothing can break."""
    runs = [one for one in found if one is not None]
    if not runs:
        return
    events = [(number, event) for number, run in enumerate(runs) for event in run.events]
    yield ""
    if not events:
        yield "Nothing broke."
    else:
        yield "What broke, warm-up included; a tenant is back when it has started, as the platform starts it"
        columns = ("replication", "at", "fault", "of", "instances", "tenants", "requests lost", "all back after")
        yield from table(columns, [_row(number, event) for number, event in events[:MOST_ROWS]], right=("at", *columns[4:]))
        if len(events) > MOST_ROWS:
            yield f"and {len(events) - MOST_ROWS} more"
    yield ""
    rows = []
    for i, up in enumerate(runs[0].tenants[:MOST_ROWS]):
        share = mean_interval([run.tenants[i].availability for run in runs], confidence)
        lost = sum(victim.requests_lost for _, event in events for victim in event.victims if victim.tenant == up.tenant) / len(runs)
        rows.append((up.tenant, f"{100 * share.mean:.3f} %", f"{lost:.4g}"))
    header = ("tenant", "served for", "requests lost, mean of a replication")
    yield from table(header, rows, right=header[1:])
    if len(runs[0].tenants) > MOST_ROWS:
        yield f"and {len(runs[0].tenants) - MOST_ROWS} more"


def _row(number: int, event: FaultEvent) -> tuple[str, ...]:
    back = UNKNOWN if not event.victims else "not by this repair" if isnan(event.recovery_s) else long_text(event.recovery_s)
    lost = str(event.requests_lost) if event.victims else UNKNOWN
    who = str(len(event.victims)) if event.victims else "none" if event.instances_hit else "down already"
    return str(number), f"{event.time_s:.3f} s", event.fault, event.instance, str(event.instances_hit), who, lost, back
