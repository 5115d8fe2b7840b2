"""How often do nominal 95 % intervals contain the truth? Run it: python tests/coverage_study.py --out coverage.json

The question is put to the simulator, not to synthetic numbers: each repetition is a small study of its own, ten replications of one core
at load 0.8, their Student's t interval, and whether the exact mean response time of M/M/1 lies in it. Expected: 93 to 97 %.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from simvirt.analysis.intervals import Interval, mean_interval, proportion_interval
from simvirt.analysis.queueing import mm1_response_time
from simvirt.analysis.warm_up import fixed_fraction
from simvirt.engine import Engine
from simvirt.metrics.recorder import Observations
from simvirt.randomness import Streams, blocks

OFFERED_LOAD_PER_S = 0.8
SERVICE_S = 1.0
REQUESTS = 50_000
WARM_UP_S = fixed_fraction(REQUESTS) / OFFERED_LOAD_PER_S
DURATION_S = REQUESTS / OFFERED_LOAD_PER_S
TRUTH_S = mm1_response_time(OFFERED_LOAD_PER_S, SERVICE_S)


class OneCore:
    """M/M/1, first come first served: one wake-up for arrivals, one for the server."""

    def __init__(self, seed: int, replication: int) -> None:
        streams = Streams(seed, replication)
        gaps, services = streams.stream("arrivals"), streams.stream("demands")
        self.engine = Engine()
        self.gap_s = blocks(lambda n: gaps.exponential(1 / OFFERED_LOAD_PER_S, n))
        self.service_s = blocks(lambda n: services.exponential(SERVICE_S, n))
        self.waiting: deque[float] = deque()
        self.response_times = Observations()
        self.arrival = self.engine.wakeup(self.arrive)
        self.departure = self.engine.wakeup(self.depart)

    def arrive(self) -> None:
        now = self.engine.now
        self.waiting.append(now)
        if len(self.waiting) == 1:
            self.departure.at(now + next(self.service_s))
        self.arrival.at(now + next(self.gap_s))

    def depart(self) -> None:
        now = self.engine.now
        self.response_times.record(now - self.waiting.popleft())
        if self.waiting:
            self.departure.at(now + next(self.service_s))

    def mean_response_time(self) -> float:
        self.arrival.at(next(self.gap_s))
        self.engine.run(WARM_UP_S)
        self.response_times.restart()
        self.engine.run(DURATION_S)
        return self.response_times.mean


def one_core(seed: int, replication: int) -> float:
    """Mean response time of one replication, in seconds."""
    return OneCore(seed, replication).mean_response_time()


Replicate = Callable[[int, int], float]

REPLICATE: Replicate = one_core
"""What is studied: (seed, replication) to a mean response time whose truth is TRUTH_S."""


def study(repetition: int, replicate: Replicate, replications: int, first_seed: int) -> Interval:
    """One repetition: an interval from replications of its own."""
    seed = first_seed + repetition
    return mean_interval([replicate(seed, replication) for replication in range(replications)])


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
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--replications", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the first repetition; each has the next")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the result is the same for any number")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    arguments = parser.parse_args()

    one = partial(study, replicate=REPLICATE, replications=arguments.replications, first_seed=arguments.seed)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        result = summary(pool.map(one, range(arguments.repetitions)), TRUTH_S)
    result |= {"replications": arguments.replications, "seed": arguments.seed}
    result |= {"requests": REQUESTS, "offered_load_per_s": OFFERED_LOAD_PER_S}
    print(
        f"nominal 95 % intervals of the mean response time cover {result['coverage']:.1%} "
        f"({result['coverage_low']:.1%} to {result['coverage_high']:.1%}) over {result['repetitions']} repetitions; "
        f"mean half-width {result['mean_relative_half_width']:.1%}, mean of means {result['mean_s']:.4f} s, truth {TRUTH_S:.4f} s"
    )
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
