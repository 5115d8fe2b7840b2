"""Do intervals of the whole simulator cover the truth as often as they say? A small study each time, and the record of the large one."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from coverage_study import OneCore, study, summary

from simvirt.analysis.intervals import Interval, mean_interval, proportion_interval, student_t_quantile

RECORDED = Path(__file__).with_name("coverage_recorded.json")
REPETITIONS = 120
SMALL = OneCore(offered_load_per_s=0.3, requests=900)
"""At load 0.3 the memory of a queue is a few requests, so that short runs are long enough."""


def test_intervals_cover_what_they_say() -> None:
    """The share of intervals of two levels that hold the truth is what it should be, as far as so many can tell."""
    found = [study(repetition, SMALL, first_seed=1000) for repetition in range(REPETITIONS)]
    for confidence in (0.5, 0.95):
        hits = sum(narrowed(interval, confidence).contains(SMALL.truth_s) for interval in found)
        low, high = proportion_interval(hits, REPETITIONS, 0.9999)
        assert low <= confidence <= high, f"{hits} of {REPETITIONS} at {confidence}"
    assert mean_interval([interval.mean for interval in found], 0.9999).contains(SMALL.truth_s)


def narrowed(interval: Interval, confidence: float) -> Interval:
    """The interval of the same replications at another level."""
    ratio = student_t_quantile(confidence, interval.n - 1) / student_t_quantile(interval.confidence, interval.n - 1)
    return Interval(interval.mean, interval.half_width * ratio, interval.n, confidence)


@pytest.fixture(scope="module")
def recorded() -> dict[str, float]:
    found: dict[str, float] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


def test_the_record_covers(recorded: dict[str, float]) -> None:
    """Nominal 95 % covers 93 to 97 % over at least 1,000 repetitions, and the account of the record is right."""
    assert recorded["repetitions"] >= 1000 and recorded["confidence"] == 0.95
    assert 0.93 <= recorded["coverage"] <= 0.97
    assert recorded["coverage"] == recorded["covered"] / recorded["repetitions"]
    bounds = proportion_interval(int(recorded["covered"]), int(recorded["repetitions"]))
    assert (recorded["coverage_low"], recorded["coverage_high"]) == pytest.approx(bounds)


def test_the_record_is_of_this_simulator(recorded: dict[str, float]) -> None:
    """Its first repetition comes out again; if not, renew it: python tests/coverage_study.py --out tests/coverage_recorded.json"""
    system = OneCore(
        offered_load_per_s=recorded["offered_load_per_s"],
        requests=int(recorded["requests"]),
        replications=int(recorded["replications"]),
        confidence=recorded["confidence"],
    )
    assert study(0, system, int(recorded["seed"])).mean == pytest.approx(recorded["first_mean_s"], rel=1e-9)
    assert system.truth_s == pytest.approx(recorded["truth_s"], rel=1e-12)


def test_the_summary_counts() -> None:
    one = partial(Interval, half_width=1.0, n=5, confidence=0.95)
    result = summary([one(1.0), one(1.5), one(4.0)], truth_s=2.0)
    assert (result["repetitions"], result["covered"], result["coverage"], result["first_mean_s"]) == (3, 2, pytest.approx(2 / 3), 1.0)
