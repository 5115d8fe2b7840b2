"""Intervals and comparisons: hand arithmetic, laws, and the share of intervals that contain the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.analysis.comparison import control_variate_interval, holm, paired_difference, paired_p_value, paired_ratio
from simvirt.analysis.intervals import (
    Interval,
    batch_means_interval,
    mean_interval,
    proportion_interval,
    quantile_interval,
    replications_needed,
    student_t_quantile,
)

REPETITIONS = 2000
FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def assert_covers(hits: int, nominal: float = 0.95) -> None:
    """The nominal coverage lies in the 99.9 % interval of what was seen, and that interval can see a miss of 2 %."""
    low, high = proportion_interval(hits, REPETITIONS, confidence=0.999)
    assert high - low < 0.04
    assert low <= nominal <= high


def test_mean_interval_by_hand() -> None:
    # mean 2; s² = (1 + 0 + 1) / 2 = 1; t(0.975; 2) = 4.302653 (table); half-width 4.302653 / √3 = 2.484138
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(2.484138, abs=1e-6)
    assert (interval.n, interval.confidence) == (3, 0.95)
    assert interval.low == pytest.approx(-0.484138, abs=1e-6)
    assert interval.high == pytest.approx(4.484138, abs=1e-6)
    assert interval.relative_half_width == pytest.approx(1.242069, abs=1e-6)
    assert interval.contains(4.48)
    assert not interval.contains(4.49)


def test_not_measured_is_not_zero() -> None:
    one, none, hole = mean_interval([3.0]), mean_interval([]), mean_interval([1.0, math.nan, 2.0])
    assert one.mean == 3.0
    assert math.isnan(one.half_width)
    assert not one.contains(3.0)
    assert math.isnan(none.mean)
    assert math.isnan(none.half_width)
    assert math.isnan(hole.mean)
    assert math.isnan(hole.half_width)
    assert math.isnan(Interval(0.0, 1.0, 2, 0.95).relative_half_width)


@given(st.lists(FINITE, min_size=2, max_size=30), FINITE, st.floats(0.01, 100))
def test_mean_interval_follows_shift_and_scale(values: list[float], shift: float, scale: float) -> None:
    interval, moved = mean_interval(values), mean_interval([shift + scale * v for v in values])
    size = scale * max(map(abs, values)) + abs(shift) + 1.0
    assert moved.mean == pytest.approx(shift + scale * interval.mean, abs=1e-9 * size)
    assert moved.half_width == pytest.approx(scale * interval.half_width, abs=1e-6 * size)


@given(st.lists(FINITE, min_size=2, max_size=30))
def test_more_confidence_is_wider(values: list[float]) -> None:
    assert mean_interval(values, 0.99).half_width >= mean_interval(values, 0.9).half_width >= 0.0


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"confidence: .*; above 0 and below 1"):
        mean_interval([1.0, 2.0], confidence)
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([1.0], confidence)


@pytest.mark.parametrize("n", [3, 10])
def test_mean_interval_covers(n: int) -> None:
    draws = np.random.default_rng(11).standard_normal((REPETITIONS, n))
    assert_covers(sum(mean_interval(row).contains(0.0) for row in draws))


def test_normal_quantile_would_not_cover() -> None:
    """The check above can fail: with 1.96 in place of t(2) = 4.30 three replications cover 81 %."""
    draws = np.random.default_rng(11).standard_normal((REPETITIONS, 3))
    hits = sum(abs(row.mean()) <= 1.96 * row.std(ddof=1) / math.sqrt(3) for row in draws)
    with pytest.raises(AssertionError):
        assert_covers(int(hits))


def test_batch_means_by_hand() -> None:
    # seven observations, three batches of two; the first observation is dropped: means 2, 3, 7 -> mean 4, s² = (4 + 1 + 9) / 2 = 7
    interval = batch_means_interval([100.0, 1.0, 3.0, 2.0, 4.0, 6.0, 8.0], batches=3)
    assert interval.mean == 4.0
    assert interval.half_width == pytest.approx(4.302653 * math.sqrt(7 / 3), abs=1e-5)


def test_batch_means_see_correlation_that_single_values_hide() -> None:
    """AR(1) with φ = 0.9: variance of the mean is (1 + φ) / (1 - φ) = 19 times that of independent values."""
    rng = np.random.default_rng(5)
    batched = single = 0
    for _ in range(400):
        noise = rng.standard_normal(4000).tolist()
        x, series = 0.0, []
        for e in noise:
            x = 0.9 * x + e
            series.append(x)
        batched += batch_means_interval(series).contains(0.0)
        single += mean_interval(series).contains(0.0)
    assert proportion_interval(batched, 400, 0.999)[1] >= 0.93
    assert proportion_interval(single, 400, 0.999)[1] < 0.5


@pytest.mark.parametrize(("series", "batches", "message"), [([1.0] * 9, 1, "batches: 1"), ([1.0] * 9, 10, "9 observations for 10")])
def test_batch_means_refuse(series: list[float], batches: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batch_means_interval(series, batches)


def test_quantile_interval_by_hand() -> None:
    # medians of 0…20 + k are 10 + k: values 10, 11, 12
    runs = [np.arange(21.0) + k for k in range(3)]
    assert quantile_interval(runs, 0.5) == mean_interval([10.0, 11.0, 12.0])


def test_quantile_needs_ten_in_the_tail() -> None:
    assert not math.isnan(quantile_interval([np.arange(1000.0)] * 2, 0.99).mean)
    assert math.isnan(quantile_interval([np.arange(1000.0), np.arange(999.0)], 0.99).mean)


def test_replications_needed_by_hand() -> None:
    # s = 1, mean 10, target ± 1 at 95 %: t(6)·1/√7 = 2.446912/2.645751 = 0.925; t(5)/√6 = 2.570582/2.449490 = 1.049
    pilot = Interval(10.0, student_t_quantile(0.95, 3) / 2.0, 4, 0.95)
    assert replications_needed(pilot, 0.1) == 7


@given(st.floats(0.1, 10), st.integers(2, 20), st.floats(0.005, 0.5))
def test_replications_needed_is_least(spread: float, n: int, target: float) -> None:
    def half_width(m: int) -> float:
        return student_t_quantile(0.95, m - 1) * spread / math.sqrt(m)

    needed = replications_needed(Interval(5.0, half_width(n), n, 0.95), target)
    assert half_width(needed) <= target * 5.0 * (1 + 1e-9)
    assert needed == 2 or half_width(needed - 1) > target * 5.0 * (1 - 1e-9)


@pytest.mark.parametrize("pilot", [Interval(1.0, math.nan, 1, 0.95), Interval(0.0, 1.0, 5, 0.95)])
def test_replications_needed_refuses(pilot: Interval) -> None:
    with pytest.raises(ValueError, match="at least 2 replications and a mean other than 0"):
        replications_needed(pilot, 0.1)


def test_proportion_interval_against_textbook() -> None:
    # no success in n: upper limit 1 - 0.025^(1/n), here n = 10: 0.308497
    assert proportion_interval(0, 10) == pytest.approx((0.0, 0.308497), abs=1e-6)
    assert proportion_interval(10, 10) == pytest.approx((0.691503, 1.0), abs=1e-6)
    assert proportion_interval(5, 10) == pytest.approx((0.187086, 0.812914), abs=1e-6)


def test_paired_difference_by_hand() -> None:
    # differences 1, 2, 3
    assert paired_difference([11.0, 22.0, 33.0], [10.0, 20.0, 30.0]) == mean_interval([1.0, 2.0, 3.0])


def test_pairing_removes_what_is_common() -> None:
    rng = np.random.default_rng(3)
    common = rng.gamma(4.0, 1.0, 20)
    a, b = common + 0.1 + 0.01 * rng.standard_normal(20), common
    assert paired_difference(a, b).half_width < mean_interval(a).half_width / 50


def test_paired_ratio_by_hand() -> None:
    # a = 2, 4; b = 1, 3: r = 6/4 = 1.5; without one pair 4/3 and 2; their mean 5/3; s² = 1/2 · 2 · (1/3)² = 1/9; t(1) = 12.706205
    interval = paired_ratio([2.0, 4.0], [1.0, 3.0])
    assert interval.mean == 1.5
    assert interval.half_width == pytest.approx(12.706205 / 3, abs=1e-5)


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=20), st.floats(0.1, 10))
def test_ratio_of_proportional_pairs_is_certain(values: list[float], factor: float) -> None:
    interval = paired_ratio([factor * v for v in values], values)
    assert interval.mean == pytest.approx(factor)
    assert interval.half_width == pytest.approx(0.0, abs=1e-9 * factor)


@pytest.mark.parametrize("n", [5, 10, 20])
def test_paired_ratio_covers_the_ratio_of_means(n: int) -> None:
    """b = g, a = 0.6·(g + g²), g ~ gamma(100, 1/100): E[g] = 1, E[g²] = 1.01, so E[a]/E[b] = 0.6·2.01 = 1.206."""
    g = np.random.default_rng(23).gamma(100.0, 1 / 100, (REPETITIONS, n))
    assert_covers(sum(paired_ratio(0.6 * (row + row**2), row).contains(1.206) for row in g))


def test_mean_of_ratios_is_another_quantity() -> None:
    """As above with gamma(16, 1/16): the ratio of means is 0.6·(2 + 1/16) = 1.2375, the mean of ratios 0.6·(1 + E[g]) = 1.2."""
    g = np.random.default_rng(23).gamma(16.0, 1 / 16, (REPETITIONS, 20))
    hits = sum(mean_interval(0.6 * (1 + row)).contains(1.2375) for row in g)
    assert proportion_interval(hits, REPETITIONS, 0.999)[1] < 0.85


def test_paired_ratio_covers_skewed_values_with_noise_of_their_own() -> None:
    """b = g·u, a = 2·v·√g with g, v ~ gamma(4, 1/4), u ~ gamma(16, 1/16), all of mean 1: E[a]/E[b] = 2·E[√g] = Γ(4.5)/Γ(4)."""
    rng = np.random.default_rng(29)
    g, v, u = (rng.gamma(k, 1 / k, (REPETITIONS, 20)) for k in (4.0, 4.0, 16.0))
    truth = math.gamma(4.5) / math.gamma(4)
    assert_covers(sum(paired_ratio(2 * a * np.sqrt(c), c * b).contains(truth) for a, b, c in zip(v, u, g, strict=True)))


def test_paired_ratio_refuses_and_misses() -> None:
    with pytest.raises(ValueError, match=r"b: 0\.0; a ratio needs denominators above 0"):
        paired_ratio([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="the same replications of both"):
        paired_ratio([1.0, 2.0], [1.0])
    assert math.isnan(paired_ratio([1.0], [2.0]).half_width)
    assert math.isnan(paired_ratio([1.0, math.nan], [2.0, 3.0]).mean)
    assert math.isnan(paired_ratio([], []).mean)


def test_control_variate_by_hand() -> None:
    # y = 3 + 2·(c - 1) exactly: intercept 3 without error, though the plain mean is 3 + 2·(2 - 1) = 5
    interval = control_variate_interval([3.0, 5.0, 7.0], [1.0, 2.0, 3.0], 1.0)
    assert interval.mean == pytest.approx(3.0)
    assert interval.half_width == pytest.approx(0.0, abs=1e-9)


def test_control_variate_covers_and_sharpens() -> None:
    rng = np.random.default_rng(17)
    hits, ratio = 0, []
    for _ in range(REPETITIONS):
        c = rng.standard_normal((12, 2)) * [1.0, 1e-6] + [4.0, 1e-3]
        y = 10.0 + 2.0 * (c[:, 0] - 4.0) - 1e6 * (c[:, 1] - 1e-3) + rng.standard_normal(12)
        interval = control_variate_interval(y, c, [4.0, 1e-3])
        hits += interval.contains(10.0)
        ratio.append(interval.half_width / mean_interval(y).half_width)
    assert_covers(hits)
    # variance explained: (4 + 1) of 6, so √(1/6) = 0.41, less a little for the degrees of freedom spent
    assert 0.35 < np.median(ratio) < 0.55


def test_control_that_does_not_vary_is_left_out() -> None:
    y = [1.0, 2.0, 4.0]
    plain, adjusted = mean_interval(y), control_variate_interval(y, [0.1, 0.1, 0.1], 0.1)
    assert adjusted.mean == pytest.approx(plain.mean)
    assert adjusted.half_width == pytest.approx(plain.half_width)


def test_control_variate_needs_degrees_of_freedom() -> None:
    assert math.isnan(control_variate_interval([1.0, 2.0], [1.0, 3.0], 2.0).mean)
    assert math.isnan(control_variate_interval([1.0, 2.0, math.nan, 3.0], [1.0, 3.0, 2.0, 5.0], 2.0).mean)
    with pytest.raises(ValueError, match="a column for each of 2 known means"):
        control_variate_interval([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [2.0, 2.0])


def test_paired_p_value_matches_the_interval() -> None:
    a, b = np.array([1.0, 2.5, 2.0, 4.0]), np.array([0.5, 1.0, 2.2, 2.0])
    p = paired_p_value(a, b)
    edge = paired_difference(a, b, confidence=1.0 - p)
    assert edge.low == pytest.approx(0.0, abs=1e-9)  # the interval whose error is p just touches zero
    assert paired_p_value(a, a) == 1.0
    assert paired_p_value(a + 1.0, a) == 0.0
    assert math.isnan(paired_p_value([1.0], [2.0]))


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04 -> running maximum 0.04, 0.06, 0.06, 0.06
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, math.nan])


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_laws(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(q <= a <= min(1.0, len(p) * q) for q, a in zip(p, adjusted, strict=True))
    assert np.argsort(p, kind="stable").tolist() == sorted(range(len(p)), key=lambda i: (adjusted[i], p[i], i))
