"""Live migration of a virtual machine by pre-copy: memory is sent while it runs, what it dirties meanwhile again, then it stops.

Round 0 sends the whole memory. Round i + 1 sends what was dirtied in round i: `written(t)` says how many bytes have been written to, each
counted once, in t seconds. It stops when what is left takes no longer than the downtime aimed at, when rounds do not get smaller, or
after so many of them; the rest, and the state of processors and devices, are sent while it stands still.

With bandwidth B, memory M and a constant rate D < B of dirtying pages that are never the same, round i sends M (D / B)^i. Real machines
write the same pages again: `working_set_bytes` bounds what a round can leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

__all__ = ["Dirtying", "Migration", "Round", "migrate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirtying:
    """Writes at random to a set of pages: in t seconds working_set · (1 - exp(-rate · t / working_set)) bytes are dirty at least once."""

    rate_bytes_per_s: float
    """At which pages are written to, the first time or again."""
    working_set_bytes: float

    def written(self, time_s: float) -> float:
        """Bytes that are dirty after so long."""
        if not self.working_set_bytes:
            return 0.0
        return self.working_set_bytes * (1.0 - exp(-self.rate_bytes_per_s * time_s / self.working_set_bytes))


@dataclass(frozen=True, slots=True)
class Round:
    """One pass over what is dirty."""

    sent_bytes: float
    bandwidth_bytes_per_s: float

    @property
    def time_s(self) -> float:
        return self.sent_bytes / self.bandwidth_bytes_per_s


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration took."""

    rounds: tuple[Round, ...]
    """While it ran; the last one stands still."""
    downtime_s: float

    @property
    def total_s(self) -> float:
        return sum(one.time_s for one in self.rounds[:-1]) + self.downtime_s

    @property
    def sent_bytes(self) -> float:
        return sum(one.sent_bytes for one in self.rounds)


def migrate(
    memory_bytes: float,
    dirtying: Dirtying,
    *,
    bandwidth_bytes_per_s: float,
    first_bandwidth_bytes_per_s: float | None = None,
    step_bytes_per_s: float = 0.0,
    downtime_aim_s: float = 0.03,
    resume_s: float = 0.03,
    rounds_most: int = 30,
) -> Migration:
    """Migrate a machine.

    The first round may be held to a lower bandwidth, so that its services do not suffer; each further one has the rate at which pages
    were dirtied in the last plus a step, at most the whole bandwidth. The last round always has that. `resume_s`: state of processors and
    devices, and the new place of its address, made known.
    """
    least = first_bandwidth_bytes_per_s or bandwidth_bytes_per_s
    pace = least
    rounds: list[Round] = []
    left = memory_bytes
    while left / bandwidth_bytes_per_s > downtime_aim_s and len(rounds) < rounds_most:
        one = Round(left, pace)
        rounds.append(one)
        dirty = min(memory_bytes, dirtying.written(one.time_s))
        if pace == bandwidth_bytes_per_s and dirty >= left * 0.99:  # it does not get smaller any more
            left = dirty
            break
        left = dirty
        pace = min(bandwidth_bytes_per_s, max(least, dirty / one.time_s + step_bytes_per_s))
    last = Round(left, bandwidth_bytes_per_s)
    return Migration((*rounds, last), last.time_s + resume_s)
