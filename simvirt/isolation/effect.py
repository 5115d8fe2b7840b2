"""What a disturbance did to a group of tenants: changes against the same run without it, and the time until they recovered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, nan

from simvirt.isolation.disturbance import PhasedOutcome
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.simulation import RunOutcome

__all__ = ["RECOVERED_RESPONSE", "RECOVERED_THROUGHPUT", "Effect", "effect_on"]

RECOVERED_THROUGHPUT = 0.9
"""Share of the undisturbed throughput at which a group counts as recovered."""
RECOVERED_RESPONSE = 1.5
"""Mean response time, relative to the undisturbed one, up to which it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A disturbance's effect on a group, over all replications together."""

    completed: int
    """Requests answered while it lasted."""
    throughput_loss: float
    """1 - throughput / undisturbed throughput; negative if it gained."""
    p99_ratio: float
    """99th percentile of the response time over the undisturbed one; infinite if nothing was answered, NaN with too few requests."""
    failed: int
    reasons: tuple[str, ...]
    """Why requests failed, the most frequent reason first."""
    recovery_s: float
    """From the end of the disturbance until throughput and mean response time were as without it; infinite if that was not seen."""

    @property
    def responded(self) -> bool:
        """Whether it made any progress."""
        return self.completed > 0


def effect_on(group: str, disturbed: Sequence[PhasedOutcome], undisturbed: Sequence[PhasedOutcome], step_s: float) -> Effect:
    """Compare replications of a run with those of the same run without the disturbance."""
    mine, theirs = _answered(group, disturbed), _answered(group, undisturbed)
    reasons: dict[str, int] = {}
    for run in disturbed:
        for tenant in run.of_group(group):
            for reason, count in tenant.failed.items():
                reasons[reason] = reasons.get(reason, 0) + count
    p99 = nan if not theirs.count else inf if not mine.count else mine.quantile(0.99) / theirs.quantile(0.99)
    return Effect(
        completed=mine.count,
        throughput_loss=1.0 - mine.count / theirs.count if theirs.count else nan,
        p99_ratio=p99,
        failed=sum(reasons.values()),
        reasons=tuple(sorted(reasons, key=lambda reason: (-reasons[reason], reason))),
        recovery_s=_recovery_s(group, disturbed, undisturbed, step_s),
    )


def _answered(group: str, runs: Sequence[RunOutcome]) -> LatencyHistogram:
    return sum((tenant.histogram for run in runs for tenant in run.of_group(group)), LatencyHistogram())


def _recovery_s(group: str, disturbed: Sequence[PhasedOutcome], undisturbed: Sequence[PhasedOutcome], step_s: float) -> float:
    """The end of the last step in which it had not recovered."""
    steps = min(len(run.after) for run in (*disturbed, *undisturbed))
    late = -1
    for i in range(steps):
        mine = _answered(group, [run.after[i] for run in disturbed])
        theirs = _answered(group, [run.after[i] for run in undisturbed])
        if not theirs.count:
            continue
        slow = mine.count == 0 or isnan(mine.mean_s) or mine.mean_s > RECOVERED_RESPONSE * theirs.mean_s
        if slow or mine.count < RECOVERED_THROUGHPUT * theirs.count:
            late = i
    return inf if late == steps - 1 else step_s * (late + 1)
