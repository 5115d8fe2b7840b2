"""How often do nominal 95 % intervals contain the truth? Run it: python tests/coverage_study.py --out tests/coverage_recorded.json

The question is put to the whole simulator, not to synthetic numbers: each repetition is a small study of its own, with as many
replications and as much warm-up as a scenario has by default, of an ideal machine with one core and one worker at load 0.8, and asks
whether the exact mean response time of M/M/1 lies in its Student's t interval. Expected: 93 to 97 %.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from ideal import IdealCatalog, bare, workload

from simvirt.analysis.intervals import Interval, mean_interval, proportion_interval
from simvirt.analysis.queueing import mm1_response_time
from simvirt.demand import Compute
from simvirt.scenario import Run, Scenario, Tenants
from simvirt.simulation import simulate
from simvirt.workloads.arrivals import Poisson
from simvirt.workloads.distributions import Exponential

SERVICE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class OneCore:
    """M/M/1, first come first served: one core, one worker."""

    offered_load_per_s: float = 0.8
    requests: int = 40_000
    """Mean number in one replication, those of the warm-up included."""
    replications: int = Run().replications
    confidence: float = 0.95

    @property
    def truth_s(self) -> float:
        return mm1_response_time(self.offered_load_per_s, SERVICE_S)

    def scenario(self, seed: int) -> Scenario:
        tenants = Tenants(workload="work", load=Poisson(rate_per_s=self.offered_load_per_s))
        run = Run(duration_s=self.requests / self.offered_load_per_s, seed=seed)
        return Scenario(platform="ideal", tenants=(tenants,), run=run)

    def means(self, seed: int) -> list[float]:
        """Mean response time of each replication of one repetition, in seconds."""
        exponential = workload(Compute(cpu_s=SERVICE_S), threads=1, factor=Exponential(mean=1.0))
        scenario, catalog = self.scenario(seed), IdealCatalog(bare(), exponential)
        return [simulate(scenario, catalog, replication).tenants[0].histogram.mean_s for replication in range(self.replications)]


def study(repetition: int, system: OneCore, first_seed: int) -> Interval:
    """One repetition: an interval from replications of its own."""
    return mean_interval(system.means(first_seed + repetition), system.confidence)


def summary(intervals: Iterable[Interval], truth_s: float) -> dict[str, float]:
    """Share of intervals that contain the truth, with its own exact 95 % interval."""
    found = list(intervals)
    hits = sum(interval.contains(truth_s) for interval in found)
    low, high = proportion_interval(hits, len(found))
    return {
        "repetitions": len(found),
        "covered": hits,
        "coverage": hits / len(found),
        "coverage_low": low,
        "coverage_high": high,
        "truth_s": truth_s,
        "mean_s": math.fsum(interval.mean for interval in found) / len(found),
        "mean_relative_half_width": math.fsum(interval.relative_half_width for interval in found) / len(found),
        "first_mean_s": found[0].mean,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first repetition; each has the next")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the result is the same for any number")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    arguments = parser.parse_args()

    system = OneCore()
    one = partial(study, system=system, first_seed=arguments.seed)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        result = summary(pool.map(one, range(arguments.repetitions), chunksize=4), system.truth_s)
    result |= {"seed": arguments.seed, **asdict(system)}
    print(
        f"nominal {system.confidence:.0%} intervals of the mean response time cover {result['coverage']:.1%} "
        f"({result['coverage_low']:.1%} to {result['coverage_high']:.1%}) over {result['repetitions']} repetitions; "
        f"mean half-width {result['mean_relative_half_width']:.1%}, mean of means {result['mean_s']:.4f} s, truth {system.truth_s:.4f} s"
    )
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
