"""Distributions, arrivals and sources: moments, laws, traces worked by hand, and what a mistake is told."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterable
from itertools import accumulate, islice, repeat
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.stats import t as student

from simvirt.engine import Engine
from simvirt.randomness import Streams
from simvirt.resources.disk import Disk
from simvirt.workloads.arrivals import Arrivals, ClosedLoop, Deterministic, Mmpp, OpenLoop, Poisson, Renewal, Trace
from simvirt.workloads.distributions import (
    Constant,
    Distribution,
    Empirical,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Uniform,
)
from simvirt.workloads.sources import ClosedSource, OpenSource

DISTRIBUTIONS = [
    Constant(value=0.3),
    Exponential(mean=0.2),
    Lognormal(mean=2.0, cv=1.0),
    Uniform(low=1.0, high=3.0),
    Erlang(mean=5.0, k=4),
    Hyperexponential(mean=0.01, cv=2.0),
    Empirical(values=(1.0, 2.0, 10.0), weights=(5.0, 4.0, 1.0)),
]
BURSTS = Mmpp(rates_per_s=(10.0, 1.0), sojourn_s=(1.0, 2.0))
OPEN_LOOPS = [
    Poisson(rate_per_s=4.0),
    Deterministic(rate_per_s=4.0),
    BURSTS,
    Mmpp(rates_per_s=(0.0, 6.0, 3.0), sojourn_s=(0.5, 0.25, 1.0)),
    Renewal(gap=Erlang(mean=0.5, k=3)),
    Trace(times_s=(0.0, 0.5, 0.5, 4.0)),
]


def kind(description: object) -> str:
    return type(description).__name__


def rng(name: str = "draws", replication: int = 0) -> np.random.Generator:
    return Streams(7, replication).stream(name)


def interval(values: list[float], confidence: float = 0.999) -> tuple[float, float]:
    """Mean of independent replications and its half-width."""
    half_width = student.ppf((1 + confidence) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half_width


def assert_estimates(values: list[float], expected: float, precision: float) -> None:
    """The interval contains the expected value and is tight enough to see an error of `precision`."""
    mean, half_width = interval(values)
    assert half_width < precision * expected
    assert abs(mean - expected) <= half_width + 1e-12 * expected


# Distributions


def test_every_kind_is_tested() -> None:
    assert {type(d) for d in DISTRIBUTIONS} == set(get_args(get_args(Distribution)[0]))
    assert {type(a) for a in OPEN_LOOPS} == set(get_args(get_args(OpenLoop)[0]))
    assert set(get_args(get_args(Arrivals)[0])) == set(get_args(get_args(OpenLoop)[0])) | {ClosedLoop}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=kind)
def test_draws_have_the_stated_mean_and_variability(distribution: Distribution) -> None:
    samples = [np.fromiter(islice(distribution.draw(rng(replication=r)), 20_000), float) for r in range(20)]
    assert min(s.min() for s in samples) >= 0
    assert_estimates([float(s.mean()) for s in samples], distribution.mean, 0.02)
    second = [float(np.mean(s**2)) for s in samples]
    assert_estimates(second, distribution.mean**2 * (1 + distribution.scv), 0.05)


@pytest.mark.parametrize(
    ("distribution", "mean", "scv"),
    [
        (Constant(value=0.0), 0.0, 0.0),
        (Uniform(low=1.0, high=3.0), 2.0, 1 / 12),  # variance (3 - 1)² / 12 = 1/3, over 2²
        (Erlang(mean=5.0, k=4), 5.0, 0.25),
        (Empirical(values=(1.0, 3.0)), 2.0, 0.25),  # variance 1, over 2²
        (Empirical(values=(1.0, 2.0, 10.0), weights=(5.0, 4.0, 1.0)), 2.3, 12.1 / 2.3**2 - 1),  # (5 + 8 + 10) / 10; (5 + 16 + 100) / 10
    ],
)
def test_moments_by_hand(distribution: Distribution, mean: float, scv: float) -> None:
    assert distribution.mean == pytest.approx(mean, rel=1e-12)
    assert distribution.scv == pytest.approx(scv, rel=1e-12)


def test_hyperexponential_of_cv_1_is_exponential() -> None:
    draws = np.fromiter(islice(Hyperexponential(mean=2.0, cv=1.0).draw(rng()), 50_000), float)
    for quantile in (0.1, 0.5, 0.9, 0.99):
        below = float(np.mean(draws <= -2.0 * math.log(1 - quantile)))
        assert abs(below - quantile) < 4 * math.sqrt(quantile * (1 - quantile) / 50_000)


@pytest.mark.parametrize("description", DISTRIBUTIONS + OPEN_LOOPS, ids=kind)
def test_sequence_depends_on_the_seed_and_not_on_the_block(description: Distribution | OpenLoop) -> None:
    make = description.draw if isinstance(description, get_args(get_args(Distribution)[0])) else description.gaps
    first = list(islice(make(rng()), 500))
    assert first == list(islice(make(rng()), 500))
    assert first == list(islice(make(rng(), 1), 500)) == list(islice(make(rng(), 7), 500))
    if len(set(first)) > 4:
        assert first != list(islice(make(rng("others")), 500))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=kind)
def test_scaling_a_distribution_stretches_the_same_draws(distribution: Distribution) -> None:
    scaled = distribution.scaled(3 * distribution.mean)
    assert scaled.mean == pytest.approx(3 * distribution.mean, rel=1e-12)
    assert scaled.scv == pytest.approx(distribution.scv, rel=1e-12)
    draws = islice(zip(distribution.draw(rng()), scaled.draw(rng()), strict=False), 1000)
    assert all(theirs == pytest.approx(3 * ours, rel=1e-12) for ours, theirs in draws)


# Arrivals


@pytest.mark.parametrize("arrivals", OPEN_LOOPS, ids=kind)
def test_scaling_arrivals_stretches_the_same_draws(arrivals: OpenLoop) -> None:
    scaled = arrivals.scaled(arrivals.rate_per_s / 3)
    assert scaled.rate_per_s == pytest.approx(arrivals.rate_per_s / 3, rel=1e-12)
    gaps = islice(zip(arrivals.gaps(rng()), scaled.gaps(rng()), strict=False), 1000)
    assert all(theirs == pytest.approx(3 * ours, rel=1e-9) for ours, theirs in gaps)


@pytest.mark.parametrize("arrivals", OPEN_LOOPS[:-1], ids=kind)
def test_gaps_have_the_stated_rate(arrivals: OpenLoop) -> None:
    rates = [24_000 / math.fsum(islice(arrivals.gaps(rng(replication=r)), 24_000)) for r in range(20)]
    assert_estimates(rates, arrivals.rate_per_s, 0.02)


@pytest.mark.parametrize(
    ("arrivals", "dispersion"),
    [
        (Poisson(rate_per_s=4.0), 1.0),
        # Two states with leaving rates a = 1, b = 1/2 /s and arrival rates 10, 1 /s, mean 4 /s. In windows of t = 2 s:
        # 1 + 2 (10 - 1)² a b / ((a + b)² (10 b + 1 a)) (1 - (1 - exp(-(a + b) t)) / ((a + b) t)), the fraction being 81 / 13.5 = 6.
        (BURSTS, 1 + 6 * (1 - (1 - math.exp(-3)) / 3)),
    ],
    ids=kind,
)
def test_index_of_dispersion(arrivals: OpenLoop, dispersion: float) -> None:
    windows, width = 4_000, 2.0
    indices = []
    for replication in range(30):
        gaps = arrivals.gaps(rng(replication=replication))
        times = np.cumsum(np.fromiter(islice(gaps, int(4 * windows * width * 1.2)), float))
        assert times[-1] > windows * width
        counts = np.histogram(times, windows, (0.0, windows * width))[0]
        indices.append(float(np.mean((counts - 4 * width) ** 2)) / (4 * width))
    assert_estimates(indices, dispersion, 0.03)


def test_bursts_begin_in_the_steady_state() -> None:
    counts = []
    for replication in range(3_000):
        times = accumulate(BURSTS.gaps(rng(replication=replication), 8))
        counts.append(float(sum(1 for _ in iter(lambda times=times: next(times) < 0.5, False))))
    assert_estimates(counts, 4 * 0.5, 0.1)  # always starting in the burst would give more than 4


def test_trace_file_is_read_with_or_without_a_header(tmp_path: Path) -> None:
    bare, headed = tmp_path / "bare.csv", tmp_path / "headed.csv"
    bare.write_text("0.5\n0.5\n\n2\n")
    headed.write_text("time_s,user\n0.5,a\n0.5,b\n2,c\n")
    for path in (bare, str(headed)):
        trace = Trace(times_s=path)
        assert trace == Trace(times_s=(0.5, "500 ms", 2))
        assert list(trace.gaps(rng())) == [0.5, 0.0, 1.5]
        assert trace.rate_per_s == 1.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t\n0.5\n-0.25\n", "line 3: -0.25 s is before the start of the run; at least 0 s"),
        ("1.5\n0.5\n", "line 2: 0.5 s comes after 1.5 s; sort the times"),
        ("1.5\nnan\n", "line 2: nan is not a finite time"),
        ("t\n1.5\nsoon\n", "line 3: 'soon' is not a number of seconds"),
        ("9\n" + "1\n" * 8, "line 6: 1.0 s comes after 9.0 s; sort the times; and 3 more"),
        ("t\n", "a trace needs arrivals"),
        ("0\n0\n", "the last of them after 0 s"),
    ],
)
def test_trace_file_mistakes_have_line_and_value(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_text(text)
    with pytest.raises(ValidationError) as caught:
        Trace(times_s=path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value) or "needs arrivals" in message or "after 0 s" in message


def test_trace_given_in_place_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"arrival 1: 0\.5 s comes after 1\.0 s; sort the times"):
        Trace(times_s=(1.0, 0.5))
    with pytest.raises(ValidationError, match="No such file or directory; give the path of a CSV file"):
        Trace(times_s=tmp_path / "absent.csv")


@given(st.lists(st.floats(0, 1e6), min_size=1).map(sorted).filter(lambda times: times[-1] > 0))
def test_trace_gaps_add_up_to_its_times(times: list[float]) -> None:
    gaps = list(Trace(times_s=tuple(times)).gaps(rng()))
    assert min(gaps) >= 0
    assert list(accumulate(gaps)) == pytest.approx(times, rel=4 * sys.float_info.epsilon, abs=0)


# Descriptions as input


def test_units_are_read_and_every_mistake_is_reported_at_once() -> None:
    adapter = TypeAdapter(list[Arrivals])
    good = adapter.validate_python(
        [
            {"kind": "poisson", "rate_per_s": "2 k/s"},
            {"kind": "closed", "clients": 3, "think": {"kind": "exponential", "mean": "12 us"}, "stagger_s": "1 ms"},
        ]
    )
    assert good == [Poisson(rate_per_s=2000.0), ClosedLoop(clients=3, think=Exponential(mean=12e-6), stagger_s=1e-3)]
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(
            [
                {"kind": "poisson", "rate_per_s": "12 us"},
                {"kind": "poisson", "rate_per_s": None},
                {"kind": "poisson", "rate_per_s": 0},
                {"kind": "closed", "clients": 0, "think": {"kind": "uniform", "low": 2, "high": 1}},
                {"kind": "mmpp", "rates_per_s": [1, 2], "sojourn_s": [1, 2, 3]},
                {"kind": "mmpp", "rates_per_s": [0, 0], "sojourn_s": [1, 2]},
                {"kind": "renewal", "gap": {"kind": "constant", "value": 0}},
                {"kind": "renewal", "gap": {"kind": "empirical", "values": [0, 1], "weights": [1, 0]}},
                {"kind": "renewal", "gap": {"kind": "empirical", "values": [1], "weights": [1, 2]}},
                {"kind": "deterministic", "rate_per_s": 1, "ratio": 2},
                {"kind": "sometimes"},
            ]
        )
    messages = str(caught.value)
    for message in (
        "'12 us' is not a rate: 'us' measures time",
        "a rate is a number or text, not NoneType",
        "greater than 0",
        "greater than or equal to 1",
        "low 2 is above high 1; swap them",
        "2 rates but 3 sojourns; give one sojourn for each rate",
        "every rate is 0 /s",
        "the mean gap is 0 s",
        "the mean is 0; give a positive value",
        "1 values but 2 weights",
        "Extra inputs are not permitted",
        "'sometimes'",
    ):
        assert message in messages
    with pytest.raises(ValidationError, match="frozen"):
        good[0].rate_per_s = 1.0


# Sources


def test_open_source_starts_at_intended_times_and_stops_with_its_trace() -> None:
    engine, started = Engine(5.0), []
    OpenSource(engine, iter([0.5, 0.0, 0.0, 1.5]), lambda intended: started.append((engine.now, intended)))
    engine.run(until=100)
    assert started == [(t, t) for t in (5.5, 5.5, 5.5, 7.0)]
    OpenSource(engine, iter([]), lambda _: pytest.fail("there was nothing to start"))
    engine.run(until=200)


class Server:
    """Serves one request at a time, each in `service_s`; remembers when each began and ended."""

    def __init__(self, engine: Engine, channels: int, services: Iterable[float]) -> None:
        self.engine = engine
        self.disk = Disk(engine, channels)
        self.services = iter(services)
        self.begun: list[float] = []
        self.ended: list[tuple[float, float]] = []

    def start(self, intended: float) -> None:
        self.begun.append(intended)
        self.disk.submit(next(self.services), self.end, intended)

    def end(self, intended: float) -> None:
        self.ended.append((intended, self.engine.now))
        self.source.completed()

    def serve(self, source: ClosedSource, until: float) -> None:
        self.source = source
        self.engine.run(until=until)


def test_closed_source_by_hand() -> None:
    """Two clients think 2 s; one server takes 3 s.

    Both ask at 2: served 2-5 and 5-8. The first asks again at 5 + 2 = 7, served 8-11; the second at 8 + 2 = 10, served 11-14.
    """
    engine = Engine()
    server = Server(engine, 1, repeat(3.0))
    server.serve(ClosedSource(engine, 2, repeat(2.0), server.start), until=12.5)
    assert server.begun == [2, 2, 7, 10]
    assert server.ended == [(2, 5), (2, 8), (7, 11)]
    assert server.source.thinking == 1


def test_stagger_spreads_the_first_requests() -> None:
    engine, started = Engine(), []
    ClosedSource(engine, 4, iter([1.0, 1.0, 1.0, 1.0]), started.append, stagger_s=2.0)
    engine.run(until=10)
    assert started == [1.0, 1.5, 2.0, 2.5]


def test_without_think_time_requests_follow_at_once_and_never_nest() -> None:
    engine, depths, wanted = Engine(), [], 10 * sys.getrecursionlimit()
    depth = 0

    def start(now: float) -> None:
        nonlocal depth
        depth += 1
        depths.append(depth)
        if len(depths) < wanted:
            source.completed()
        depth -= 1

    source = ClosedSource(engine, 1, repeat(0.0), start)
    engine.run(until=1)
    assert len(depths) == wanted
    assert max(depths) == 1

    server = Server(engine, 1, repeat(0.25))
    server.serve(ClosedSource(engine, 1, repeat(0.0), server.start), until=2.1)
    assert server.begun == [1.0, 1.25, 1.5, 1.75, 2.0]


def test_completing_what_was_not_begun_is_an_error() -> None:
    source = ClosedSource(Engine(), 3, repeat(1.0), lambda _: None)
    with pytest.raises(RuntimeError, match="none of the 3 clients waits for one"):
        source.completed()
    with pytest.raises(ValueError, match="0 clients"):
        ClosedSource(Engine(), 0, repeat(1.0), lambda _: None)


@given(st.integers(1, 5), st.integers(1, 3), st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=30))
def test_clients_are_always_thinking_or_waiting(clients: int, channels: int, times: list[tuple[int, int]]) -> None:
    """Little's law, exact: clients · T = time thought + time waited, whatever the times (eighths, so that ties abound)."""
    engine, thought, until = Engine(), [], 20.0
    end = iter(times)

    def thinks() -> Iterable[float]:
        for think, _ in end:
            thought.append((engine.now, think / 8))
            yield think / 8
        while True:
            thought.append((engine.now, 100.0))
            yield 100.0

    server = Server(engine, channels, [service / 8 for _, service in times])
    server.serve(ClosedSource(engine, clients, iter(thinks()), server.start), until)
    waiting = clients - server.source.thinking
    thought_s = sum(min(think, until - begun) for begun, think in thought)
    waited_s = sum(ended - begun for begun, ended in server.ended)
    waited_s += until * waiting - (sum(server.begun) - sum(begun for begun, _ in server.ended))
    assert len(server.begun) == len(server.ended) + waiting
    assert thought_s + waited_s == clients * until


def test_closed_loop_throughput_is_that_of_the_finite_source_queue() -> None:
    """M/M/1 with 4 clients, think Z = 1 s, service S = 0.5 s.

    P(n at the server) is proportional to 4! / (4 - n)! · (S / Z)^n; throughput = (1 - P(0)) / S.
    """
    p0 = 1 / sum(math.factorial(4) / math.factorial(4 - n) * 0.5**n for n in range(5))
    throughputs = []
    for replication in range(20):
        engine, streams = Engine(), Streams(3, replication)
        server = Server(engine, 1, Exponential(mean=0.5).draw(streams.stream("service")))
        loop = ClosedLoop(clients=4, think=Exponential(mean=1.0))
        server.serve(ClosedSource(engine, loop.clients, loop.thinks(streams.stream("think")), server.start), until=50)
        server.disk.restart()
        engine.run(until=3050)
        throughputs.append(server.disk.served / 3000)
    assert_estimates(throughputs, (1 - p0) / 0.5, 0.02)
