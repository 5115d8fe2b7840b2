"""The largest number of tenants that keeps an objective: bounds first, then halving by trials, then a second opinion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from simvirt.catalog import Catalog
from simvirt.density.crowd import Crowd
from simvirt.density.limits import MOST_TENANTS, Limit, limits_of
from simvirt.density.trial import Trial, Trials, Verdict
from simvirt.slo import Slo
from simvirt.workloads.arrivals import ClosedLoop

__all__ = ["Density", "find_density", "largest"]

SECOND_OPINION: Final = 5_000
"""First replication of those that check the answer: nobody searched with them."""
CLEAR: Final = 0.1
"""Margin, or lack of one, beyond which a trial that a search begins with is believed about its neighbours too."""
FULL: Final = 0.85
"""Utilization from which on a resource is what a broken promise is put down to."""
PRESSED: Final = 0.01
"""Share of the time with somebody waiting for memory from which on it is put down to that."""


@dataclass(frozen=True, kw_only=True)
class Density:
    """An answer: how many tenants, what bounds them, and what it rests on."""

    platform: str
    machine: str
    tenants: int
    """The most that were shown to keep the objective; 0 if not even the fewest do."""
    binding: str
    """The resource that gives out first."""
    reason: str
    limits: tuple[Limit, ...]
    """Every bound known beforehand, the tightest first."""
    curve: tuple[Trial, ...]
    """Every trial of the search, by number of tenants."""
    checks: tuple[Trial, ...]
    """Independent trials of the answer and of one tenant more, where that could be."""
    undecided: tuple[int, ...]
    """Numbers of tenants that were tried and neither kept nor broke the objective beyond doubt."""
    kept_at_first: int
    """What the search said before independent replications were asked; more than the answer if they did not agree."""

    all_trials: tuple[Trial, ...]
    """Those of the search and all independent ones."""

    @property
    def runs(self) -> int:
        """Replications in all."""
        return sum(trial.replications for trial in self.all_trials)

    @property
    def requests(self) -> int:
        """Simulated in all."""
        return sum(trial.requests for trial in self.all_trials)

    @property
    def next_limit(self) -> Limit | None:
        """The bound that would come next if what binds were not there."""
        return next((limit for limit in self.limits if limit.resource != self.binding), None)

    @property
    def is_confirmed(self) -> bool:
        """Whether independent replications keep the objective with this number too; by construction, unless there is no answer."""
        return any(trial.tenants == self.tenants and trial.verdict is Verdict.KEPT for trial in self.checks)

    @property
    def may_be_more(self) -> bool:
        """Whether independent replications keep the objective with one tenant more, of which the search was not sure."""
        return any(trial.tenants > self.tenants and trial.verdict is Verdict.KEPT for trial in self.checks)


def largest(is_kept: Callable[[int], bool], least: int, most: int) -> int:
    """The largest number from `least` to `most` that is kept; `least - 1` if none is. Kept numbers are below those that are not.

    Powers of two are tried from the largest down, so that which numbers are tried depends on `most` alone.
    """
    found, step = least - 1, 1 << max(0, (most - least + 1).bit_length())
    while step:
        if found + step <= most and is_kept(found + step):
            found += step
        step //= 2
    return found


def find_density(
    crowd: Crowd, slo: Slo, catalog: Catalog, confidence: float = 0.95, bracket: Sequence[int] | None = None
) -> Density:
    """The most tenants that keep the objective at this confidence.

    What a full resource or a hard bound excludes is not simulated. `bracket` are guesses to try first, three quarters of the tightest
    bound unless given; what they show is used only where it is clear, so that the answer does not depend on them. Independent replications
    have to show the objective kept as well; where they do not, the answer is the largest number at which both do.
    """
    slo.check([group.name for group in crowd.scenario.tenants])
    limits = limits_of(crowd, catalog)
    hard = min([limit.whole for limit in limits if limit.hard], default=MOST_TENANTS)
    open_loops = all(not isinstance(group.load, ClosedLoop) for group in crowd.scenario.tenants)
    most = min([hard, *(limit.whole for limit in limits if open_loops)])
    trials = Trials(crowd, slo, catalog, confidence)
    first = crowd.fewest
    low, high = _clear(trials, bracket if bracket is not None else (max(first, 3 * most // 4),), first, most)

    def is_kept(n: int) -> bool:
        return n <= low or (n < high and trials.at(n).verdict is Verdict.KEPT)

    at_first = largest(is_kept, first, most)
    others = Trials(crowd, slo, catalog, confidence, SECOND_OPINION)
    tenants = _agreed(at_first, first, is_kept, others)
    beyond = next((made[tenants + 1] for made in (trials.made, others.made) if tenants + 1 in made), None)
    if beyond is None and first <= tenants + 1 <= most:
        beyond = trials.at(tenants + 1)
    checked = [others.at(n) for n in (tenants, tenants + 1) if first <= n <= most]
    binding, reason = _binding(tenants, most, limits, beyond)
    curve = tuple(trials.made[n] for n in sorted(trials.made))
    return Density(
        platform=crowd.scenario.platform,
        machine=crowd.scenario.machine or catalog.platform(crowd.scenario.platform).machine,
        tenants=0 if tenants < first else tenants,
        kept_at_first=0 if at_first < first else at_first,
        binding=binding,
        reason=reason,
        limits=limits,
        curve=curve,
        checks=tuple(checked),
        all_trials=(*curve, *others.made.values()),
        undecided=tuple(trial.tenants for trial in curve if trial.verdict is Verdict.UNDECIDED),
    )


def _clear(trials: Trials, bracket: Sequence[int], first: int, most: int) -> tuple[int, int]:
    """What guesses show beyond doubt: numbers up to the first are kept, from the second on they are not."""
    low, high = first - 1, most + 1
    for guess in bracket:
        if first <= guess <= most:
            trial = trials.at(guess)
            if trial.verdict is Verdict.KEPT and trial.worst.mean > CLEAR:
                low = max(low, guess)
            elif trial.verdict is Verdict.BROKEN and trial.worst.mean < -CLEAR:
                high = min(high, guess)
    return low, high


def _binding(tenants: int, most: int, limits: tuple[Limit, ...], beyond: Trial | None) -> tuple[str, str]:
    """What gives out first, and why: the bound that ends the search, or what is full with one tenant more."""
    if tenants == most or beyond is None:
        tightest = min(limits, key=lambda limit: limit.whole)
        return tightest.resource, tightest.reason
    worst = beyond.worst
    broken = f"{worst.margin.clause} of {worst.margin.group}"
    if beyond.killed or beyond.memory_pressure > PRESSED:
        return "memory", f"{broken}: {beyond.killed:.2g} killed, somebody waits for memory {100 * beyond.memory_pressure:.2g} % of the time"
    resource, busy = max(beyond.utilization.items(), key=lambda item: item[1])
    if busy >= FULL:
        return resource, f"{broken}: {resource} is {100 * busy:.0f} % busy with {beyond.tenants}"
    most_busy = f"{resource} is {100 * busy:.0f} % busy"
    return "response time", f"{broken}, with no shared resource full ({most_busy}): queues, or what a tenant has of its own"


def _agreed(at_first: int, first: int, is_kept: Callable[[int], bool], others: Trials) -> int:
    """The largest number that independent replications show to be kept too."""
    if at_first < first or others.at(at_first).verdict is Verdict.KEPT:
        return at_first
    return largest(lambda n: is_kept(n) and others.at(n).verdict is Verdict.KEPT, first, at_first - 1)
