"""What a shortage of memory did, for the screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simvirt.commands.tables import table
from simvirt.simulation.outcome import HoldingAccount, MemoryOutcome
from simvirt.units import format_quantity

__all__ = ["memory_report"]

_MOST_ROWS = 24
"""Owners that are listed; the others are counted."""
_STATES = ("asked", "resident", "swapped", "dropped", "ballooned", "shared", "compressed")


def memory_report(found: Sequence[MemoryOutcome | None]) -> Iterator[str]:
    """Who held what on average over replications, the traffic of swap devices, who waited, and who was killed; nothing where all fits."""
    runs = [one for one in found if one is not None]
    if not runs:
        return
    yield ""
    yield "Memory can run short; mean sizes over the window"
    held: dict[tuple[str, str], list[HoldingAccount]] = {}
    for run in runs:
        for account in run.holdings:
            held.setdefault((account.memory, account.name), []).append(account)
    rows = [(of, name, *(_mean(accounts, state, len(runs)) for state in _STATES)) for (of, name), accounts in held.items()]
    yield from table(("memory", "owner", *_STATES), rows[:_MOST_ROWS], right=_STATES)
    if len(rows) > _MOST_ROWS:
        yield f"and {len(rows) - _MOST_ROWS} more"
    came, went = (sum(getattr(run, f"swap_{way}_bytes_per_s") for run in runs) / len(runs) for way in ("in", "out"))
    yield f"Swapped in {format_quantity(came, 'size')}/s, out {format_quantity(went, 'size')}/s."
    for i, memory in enumerate(runs[0].memories):
        share = sum(run.memories[i].pressure for run in runs) / len(runs)
        if share > 0:
            yield f"{memory.name}: somebody waited for memory {100 * share:.3g} % of the time."
    for number, run in enumerate(runs):
        for kill in run.kills:
            told = f"{format_quantity(kill.time_s, 'time')} into replication {number}, {kill.victim} was killed in {kill.memory}"
            yield f"{told}: {kill.reason.value} ({kill.asked_by} asked, the victim had {format_quantity(kill.resident_bytes, 'size')})."


def _mean(accounts: Sequence[HoldingAccount], state: str, runs: int) -> str:
    mean = sum(getattr(account, f"{state}_bytes") for account in accounts) / runs
    return format_quantity(mean, "size") if mean >= 1.0 else "0"
