"""Objectives: what is read from text, every mistake at once, and margins worked by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.errors import SloError
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.slo import Clause, Slo


@dataclass
class Seen:
    group: str = "web"
    window_s: float = 10.0
    arrived: int = 0
    completed: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    histogram: LatencyHistogram = field(default_factory=LatencyHistogram)
    saturated: bool = False


@dataclass
class SeenRun:
    tenants: list[Seen]


def served(count: int, seconds: float, group: str = "web", failed: int = 0, window_s: float = 10.0) -> Seen:
    times = LatencyHistogram([seconds] * count)
    return Seen(group, window_s, count + failed, count, {"killed": failed} if failed else {}, times)


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("p99 < 50 ms", [Clause("p99", 0.05)]),
        ("P99.9<=1s", [Clause("p99.9", 1.0, False)]),
        ("mean < 0.25", [Clause("mean", 0.25)]),
        (
            "p50 < 1 ms, throughput ≥ 2 k/s and error  rate < 0.1 %",
            [Clause("p50", 1e-3), Clause("throughput", 2000.0, False), Clause("error rate", 0.001)],
        ),
        ("p95 < 5 ms for my web, p95 < 9 ms", [Clause("p95", 5e-3, True, "my web"), Clause("p95", 9e-3)]),
    ],
)
def test_objectives_are_read(text: str, clauses: list[Clause]) -> None:
    slo = Slo.parse(text)
    assert [c.metric for c in slo.clauses] == [c.metric for c in clauses]
    assert [c.bound for c in slo.clauses] == pytest.approx([c.bound for c in clauses])
    assert [(c.is_strict, c.group) for c in slo.clauses] == [(c.is_strict, c.group) for c in clauses]
    assert str(Slo.parse(str(slo))) == str(slo)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SloError) as refused:
        Slo.parse("p98 < 1 ms, p99 > 1 ms, throughput < 3 /s, mean < 3 GiB, p50 < -1 s, error rate < 100 %, fast, p95 < 1 s, p95 < 2 s")
    told = str(refused.value).splitlines()
    for words in [
        "metric 'p98' is unknown; did you mean",
        "p99 >: promise at most (<)",
        "throughput <: promise at least (>=)",
        "mean: '3 GiB' is not a time",
        "p50: a bound of -1 s; must be above 0",
        "error rate: a bound of 100 %; must be below 100 %",
        "'fast' is no promise; write a metric",
        "p95: promised twice",
    ]:
        assert sum(words in line for line in told) == 1, words
    assert len(told) == 8


@pytest.mark.parametrize("text", ["", "and", "p99", "p99 <", "p99 < 1 ms and"])
def test_what_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(SloError):
        Slo.parse(text)


def test_tenants_that_there_are_not_are_told() -> None:
    Slo.parse("p99 < 1 s for web").check(["web", "hog"])
    with pytest.raises(SloError, match="no tenants 'wed'; did you mean 'web'"):
        Slo.parse("p99 < 1 s for wed").check(["web", "hog"])


def test_margins_by_hand() -> None:
    # Group web: 2 tenants, 2,000 + 1,000 answers of 30 ms in 10 s. Throughput of the mean tenant: 3,000 / 20 s = 150 /s.
    # Group db: 1,000 answers of 80 ms, and 10 requests without one: 10 / 1,010 of its requests.
    run = SeenRun([served(2000, 0.030), served(1000, 0.030), served(1000, 0.080, "db", failed=10)])
    slo = Slo.parse("p99 < 40 ms, throughput >= 120 /s for web, error rate < 1 % for db")
    (verdict,) = slo.judge([run])
    by_place = {(m.clause.metric, m.group): m for m in verdict.margins}
    assert by_place["p99", "web"].margin == pytest.approx(0.25, abs=0.01)
    assert by_place["p99", "db"].margin == -1.0
    assert by_place["throughput", "web"].value == 150.0
    assert by_place["throughput", "web"].margin == 0.25
    assert by_place["error rate", "db"].value == 10 / 1010
    assert by_place["error rate", "db"].margin == pytest.approx(1 - 1000 / 1010)
    assert len(verdict.margins) == 4
    assert (verdict.worst.clause.metric, verdict.worst.group) == ("p99", "db")
    assert not verdict.is_kept
    assert by_place["throughput", "web"].is_kept


def test_the_bound_itself_is_kept_only_where_it_says_so() -> None:
    run = SeenRun([served(1000, 0.01)])
    assert Slo.parse("throughput >= 100 /s").judge([run])[0].is_kept
    assert not Slo.parse("throughput > 100 /s").judge([run])[0].is_kept


def test_saturated_tenants_break_response_times_and_too_few_requests_tell_nothing() -> None:
    full = served(5000, 0.001)
    full.saturated = True
    (broken,) = Slo.parse("p99 < 1 s").judge([SeenRun([full])])
    assert (broken.worst.value, broken.worst.margin) == (inf, -1.0)
    (stuck,) = Slo.parse("mean < 1 s").judge([SeenRun([Seen(arrived=3)])])
    assert not stuck.is_kept
    (untold,) = Slo.parse("p99 < 1 s, mean < 1 s").judge([SeenRun([served(999, 0.001)])])
    assert isnan(untold.worst.margin)
    assert untold.worst.clause.requests_needed == pytest.approx(1000)
    assert not untold.is_kept
    assert Slo.parse("p99 < 1 s").judge([SeenRun([served(1000, 0.001)])])[0].is_kept


@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(0, 1e6), st.floats(0, 1e6))
def test_margins_fall_as_times_rise_and_rise_with_their_bound(bound: float, other: float, value: float, more: float) -> None:
    low, high = sorted((bound, other))
    first, then = sorted((value, more))
    assert Clause("p99", low).margin_of(first) >= Clause("p99", low).margin_of(then)
    assert Clause("p99", high).margin_of(first) >= Clause("p99", low).margin_of(first)
    assert Clause("throughput", low).margin_of(first) <= Clause("throughput", low).margin_of(then)
    assert -1.0 <= Clause("p99", low).margin_of(value) <= 1.0
