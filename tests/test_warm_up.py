"""Warm-up and run length: closed forms of autocorrelation, and what the rules do to a queue."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ideal import IdealCatalog, bare, workload
from scipy.signal import lfilter

from simvirt.analysis.warm_up import (
    MULTIPLE,
    WarmUpCheck,
    autocorrelation_time,
    check_warm_up,
    fixed_fraction,
    long_enough,
    mean_check,
    mser5,
)
from simvirt.demand import Compute
from simvirt.metrics.series import BinnedMeans
from simvirt.scenario import Run, Scenario, Tenants
from simvirt.simulation import simulate
from simvirt.workloads.arrivals import Poisson
from simvirt.workloads.distributions import Exponential


def autoregressive(phi: float, n: int, seed: int) -> np.ndarray:
    return np.asarray(lfilter([1.0], [1.0, -phi], np.random.default_rng(seed).standard_normal(n + 1000))[1000:])


def mm1_response_times(utilization: float, n: int, seed: int) -> np.ndarray:
    """Lindley's recursion from an empty queue, service 1: W = S - running minimum of S over the walk of service minus interarrival."""
    rng = np.random.default_rng(seed)
    service, gaps = rng.exponential(size=n), rng.exponential(1 / utilization, n)
    walk = np.concatenate([[0.0], np.cumsum(service[:-1] - gaps[1:])])
    return walk - np.minimum.accumulate(walk) + service


@pytest.mark.parametrize(("n", "fraction", "dropped"), [(1000, 0.05, 50), (19, 0.05, 0), (10, 0.0, 0), (0, 0.5, 0), (7, 0.5, 3)])
def test_fixed_fraction(n: int, fraction: float, dropped: int) -> None:
    assert fixed_fraction(n, fraction) == dropped


@pytest.mark.parametrize(("n", "fraction"), [(10, 1.0), (10, -0.1), (-1, 0.1), (10, math.nan)])
def test_fixed_fraction_refuses(n: int, fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction at least 0 and below 1"):
        fixed_fraction(n, fraction)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.98])
def test_autocorrelation_time_of_an_autoregression(phi: float) -> None:
    """τ = (1 + φ) / (1 - φ). Sokal: standard deviation of the estimate about τ·√(2·(2·window + 1)/n), window 5·τ; four of them allowed."""
    tau, n = (1 + phi) / (1 - phi), 400_000
    tolerance = 4 * math.sqrt(2 * (10 * tau + 1) / n)
    assert tolerance < 0.4
    assert autocorrelation_time(autoregressive(phi, n, seed=2)) == pytest.approx(tau, rel=max(tolerance, 0.02))


def test_autocorrelation_time_of_a_queue() -> None:
    """M/M/1 at load ρ: n·Var(mean wait) -> s²·ρ·(2 + 5ρ - 4ρ² + ρ³) / (1-ρ)⁴ (Daley 1968), variance of the wait s²·ρ·(2-ρ) / (1-ρ)²."""
    rho = 0.5
    tau = (2 + 5 * rho - 4 * rho**2 + rho**3) / (1 - rho) ** 2 / (2 - rho)
    rng = np.random.default_rng(4)
    service, gaps = rng.exponential(size=1_000_000), rng.exponential(1 / rho, 1_000_000)
    walk = np.cumsum(service - gaps)
    waits = walk - np.minimum.accumulate(walk)
    assert autocorrelation_time(waits) == pytest.approx(tau, rel=0.1)


def test_autocorrelation_time_at_the_edges() -> None:
    assert autocorrelation_time([5.0] * 100) == 1.0
    assert autocorrelation_time([1.0, -1.0] * 50) == 1.0
    assert math.isnan(autocorrelation_time([1.0]))
    assert math.isnan(autocorrelation_time([1.0, math.nan, 2.0]))
    with pytest.raises(ValueError, match="2 dimensions"):
        autocorrelation_time([[1.0], [2.0]])


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=100), st.sampled_from([0.5, 2.0, 1024.0]))
def test_autocorrelation_time_has_no_unit(values: list[int], scale: float) -> None:
    tau = autocorrelation_time(values)
    assert 1.0 <= tau <= len(values)
    assert autocorrelation_time(scale * np.asarray(values)) == tau  # a power of two changes no digit


def test_autocorrelation_time_ignores_the_level() -> None:
    series = autoregressive(0.9, 10_000, seed=3)
    assert autocorrelation_time(series + 1000.0) == pytest.approx(autocorrelation_time(series), rel=1e-9)


def test_long_enough_by_hand() -> None:
    report = long_enough([1.0] * 50, multiple=40.0)
    assert (report.observations, report.autocorrelation_time, report.effective_sample_size) == (50, 1.0, 50.0)
    assert report.observations_needed == 40.0
    assert report.long_enough
    assert not long_enough([1.0] * 39, multiple=40.0).long_enough
    assert not long_enough([1.0]).long_enough


def test_long_enough_tells_bad_runs_from_good() -> None:
    """At load 0.95 intervals from 50,000 requests cover 64-85 %, from 500,000 93 %; at 0.8 from 50,000 94 %."""
    assert not any(long_enough(mm1_response_times(0.95, 50_000, seed)).long_enough for seed in range(3))
    assert sum(long_enough(mm1_response_times(0.95, 500_000, seed)).long_enough for seed in range(5)) >= 3
    assert all(long_enough(mm1_response_times(0.8, 50_000, seed)).long_enough for seed in range(5))
    assert MULTIPLE == 200.0


def test_mser5_by_hand() -> None:
    # means of five: 9, 1, 3, 1, 3, 1. Σ(y - ȳ)²/(m-d)²: d = 0: 48/36 = 1.33; d = 1: 4.8/25 = 0.192; d = 2: 4/16 = 0.25
    series = np.repeat([9.0, 1.0, 3.0, 1.0, 3.0, 1.0], 5)
    assert mser5(series) == 5
    assert mser5(np.concatenate([series, [1e9]])) == 5  # what does not fill a mean is not looked at
    assert mser5([1.0] * 9) == 0


def test_mser5_cuts_a_ramp_within_the_first_half() -> None:
    rng = np.random.default_rng(1)
    series = 10.0 * np.exp(-np.arange(2000) / 50.0) + rng.standard_normal(2000)
    assert 100 <= mser5(series) <= 500
    assert mser5(np.arange(100.0)) <= 50


# --- The course of a run ---------------------------------------------------------------------------------------------


def test_the_means_of_equal_parts_by_hand() -> None:
    """A run of 512 s has parts of 1 s. Two requests end in the first (1 s and 3 s long), one in the last, at its very end."""
    course = BinnedMeans(512.0)
    course.add(np.array([0.2, 512.0]), np.array([1.0, 5.0]))
    course.add(np.array([0.9]), np.array([3.0]))
    means = course.means()
    assert (means[0], means[511]) == (2.0, 5.0)
    assert np.isnan(means[1:511]).all()


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_a_run_holds_as_many_autocorrelation_times_as_its_course_says(phi: float) -> None:
    """τ = (1 + φ) / (1 - φ): 1 or 19 parts; the window has 512 - ⌈51.2⌉ = 460. The mean of 100 runs is within 10 % of 1/τ: estimates from
    24 times are biased low by about 2 · window / n = 2 · 5τ / 460, 0.4 for φ = 0.9, so that there only the order is asked for."""
    tau = (1 + phi) / (1 - phi)
    check = mean_check([[check_warm_up(autoregressive(phi, 512, seed), 0.1) for seed in range(100)]])
    if phi:
        assert 460 / tau < check.autocorrelation_times < 1.7 * 460 / tau
        assert not check.long_enough
    else:
        assert check.autocorrelation_times == pytest.approx(460, rel=0.1)
        assert check.long_enough


def test_a_queue_that_runs_too_short_is_told_and_a_long_one_is_not() -> None:
    """M/M/1 at load 0.8: τ is 82 requests (see above). 2,700 requests in the window are 33 of them, 36,000 are 437. A run so short sees
    too little of its own τ and says up to twice as many, which is still far from 200."""

    def check(requests: int) -> WarmUpCheck:
        exponential = workload(Compute(cpu_s=1.0), threads=1, factor=Exponential(mean=1.0))
        tenants = Tenants(workload="work", load=Poisson(rate_per_s=0.8))
        scenario = Scenario(platform="ideal", tenants=(tenants,), run=Run(duration_s=requests / 0.8))
        return mean_check([[simulate(scenario, IdealCatalog(bare(), exponential), i).tenants[0].warm_up for i in range(8)]])

    assert 33 < check(3_000).autocorrelation_times < 66
    assert check(40_000).long_enough


def test_empty_parts_are_left_out_and_too_few_say_nothing() -> None:
    """Of 512 parts the first 52 are warm-up and 30 are empty: at most 430 are left."""
    course = autoregressive(0.0, 512, seed=1)
    course[100:400:10] = np.nan
    assert check_warm_up(course, 0.1).autocorrelation_times == pytest.approx(430, rel=0.2)
    course[101:401:10] = np.nan
    assert math.isnan(check_warm_up(course, 0.1).autocorrelation_times)
    assert math.isnan(check_warm_up(autoregressive(0.0, 512, seed=1), 0.3).autocorrelation_times)
    assert not check_warm_up(np.full(512, np.nan), 0.1).long_enough


def test_the_entity_that_fares_worst_is_told_and_nothing_where_one_is_silent() -> None:
    """Lengths 100 and 300 of one, 1,000 and 1,000 of another: τ over the window is (1/100 + 1/300) / 2 = 1/150 and 1/1000."""
    one = [WarmUpCheck(autocorrelation_times=n, mser5_fraction=f) for n, f in ((100.0, 0.1), (300.0, 0.3))]
    other = [WarmUpCheck(autocorrelation_times=1000.0, mser5_fraction=0.0)] * 2
    check = mean_check([one, other])
    assert (check.autocorrelation_times, check.mser5_fraction) == (pytest.approx(150.0), pytest.approx(0.2))
    assert math.isnan(mean_check([one, [None, None]]).autocorrelation_times)
    assert math.isnan(mean_check([]).autocorrelation_times)


def test_a_start_unlike_the_rest_is_where_mser5_would_cut() -> None:
    course = autoregressive(0.0, 512, seed=3) * 0.1
    course[:100] += 5.0
    assert check_warm_up(course, 0.1).mser5_fraction == pytest.approx(100 / 512, abs=5 / 512)
