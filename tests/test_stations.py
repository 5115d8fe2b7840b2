"""Disk, link and delay: traces worked by hand, laws against plain references, closed forms within the run's own interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from simvirt.engine import Engine
from simvirt.randomness import Streams
from simvirt.resources.delay import Delay
from simvirt.resources.disk import Disk
from simvirt.resources.nic import Link, Nic
from simvirt.workloads.arrivals import Deterministic, Poisson
from simvirt.workloads.distributions import Constant, Distribution, Erlang, Exponential, Hyperexponential
from simvirt.workloads.sources import OpenSource


def interval(values: list[float], confidence: float = 0.999) -> tuple[float, float]:
    """Mean of independent replications and its half-width."""
    half_width = student.ppf((1 + confidence) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values), half_width


def assert_estimates(values: list[float], expected: float, precision: float = 0.02) -> None:
    """The interval contains the expected value and is tight enough to see an error of `precision`."""
    mean, half_width = interval(values)
    assert half_width < precision * expected
    assert abs(mean - expected) <= half_width


class Log:
    """Notes who left and when."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.left: list[tuple[Any, float]] = []

    def done(self, who: Any) -> None:
        self.left.append((who, self.engine.now))


def at(engine: Engine, time: float, action: Callable[[], None]) -> None:
    """Call the action at `time`."""
    engine.wakeup(action).at(time)


# Traces worked by hand


def test_link_by_hand() -> None:
    """A link of 100 B/s and 10 packets/s.

    request  arrives  packets  bytes  service                start  departs
    a        0.0      1        50     max(0.50, 0.1) = 0.5   0.0    0.5
    b        0.125    4        10     max(0.10, 0.4) = 0.4   0.5    0.9
    c        2.0      1        100    max(1.00, 0.1) = 1.0   2.0    3.0

    Restarted at 0.25, read at 2.5: busy (0.5 - 0.25) + 0.4 + (2.5 - 2.0) = 1.15; b waited 0.5 - 0.25 = 0.25; a and b have departed.
    """
    engine = Engine()
    link, log = Link(engine, 100.0, 10.0), Log(engine)
    for time, who, packets, size in ((0.0, "a", 1, 50), (0.125, "b", 4, 10), (2.0, "c", 1, 100)):
        at(engine, time, lambda who=who, packets=packets, size=size: link.send(packets, size, log.done, who))
    at(engine, 0.25, link.restart)
    engine.run(until=2.5)
    assert log.left == [("a", 0.5), ("b", 0.9)]
    assert (link.served, link.packets, link.size_bytes, link.in_system) == (2, 5, 60, 1)
    assert link.busy_s == pytest.approx(1.15, rel=1e-12)
    assert link.utilization == pytest.approx(1.15 / 2.25, rel=1e-12)
    assert link.wait_s == pytest.approx(0.25, rel=1e-12)
    assert link.mean_queue == pytest.approx(0.25 / 2.25, rel=1e-12)
    engine.run(until=4.0)
    assert log.left[2:] == [("c", 3.0)]
    assert (link.served, link.size_bytes, link.in_system) == (3, 160, 0)


def test_disk_by_hand() -> None:
    """Two channels; a batch at 0 with services a 3, b 1, c 2, d 1.

    a runs 0-3 and b 0-1; c follows b, 1-3; d follows at 3 on either channel, 3-4. At 3, a leaves before c: it came first.
    Restarted at 2, read at 4: busy a 1 + c 1 + d 1 = 3; d waited 3 - 2 = 1; b had left before.
    """
    engine = Engine()
    disk, log = Disk(engine, 2), Log(engine)
    for who, service_s in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 1.0)):
        disk.submit(service_s, log.done, who)
    assert disk.in_system == 4
    at(engine, 2.0, disk.restart)
    engine.run(until=2.5)
    assert (disk.served, disk.busy_s, disk.wait_s, disk.in_system) == (0, 1.0, 0.5, 3)
    engine.run(until=4.5)
    assert log.left == [("b", 1.0), ("a", 3.0), ("c", 3.0), ("d", 4.0)]
    assert (disk.served, disk.busy_s, disk.wait_s, disk.in_system) == (3, 3.0, 1.0, 0)
    assert disk.utilization == 3.0 / (2 * 2.5)
    assert disk.mean_queue == 1.0 / 2.5


def test_delay_by_hand() -> None:
    """Held for 2 s each, together: in at 0, 0, 1, out at 2, 2, 3."""
    engine = Engine()
    delay, log = Delay(engine, 2.0), Log(engine)
    delay.pass_on(log.done, "a")
    delay.pass_on(log.done, "b")
    at(engine, 1.0, lambda: delay.pass_on(log.done, "c"))
    engine.run(until=1.5)
    assert (delay.in_system, delay.served) == (3, 0)
    engine.run(until=2.5)
    delay.restart()
    assert (delay.in_system, delay.served) == (1, 0)
    engine.run(until=4.0)
    assert log.left == [("a", 2.0), ("b", 2.0), ("c", 3.0)]
    assert delay.served == 1


def test_directions_of_a_nic_do_not_disturb_each_other() -> None:
    engine = Engine()
    nic, log = Nic(engine, 100.0, inf), Log(engine)
    nic.rx.send(1, 100, log.done, "in")
    nic.tx.send(1, 100, log.done, "out")
    nic.tx.send(1, 100, log.done, "out again")
    engine.run(until=1.5)
    assert log.left == [("in", 1.0), ("out", 1.0)]
    nic.restart()
    engine.run(until=3.0)
    assert (nic.rx.served, nic.tx.served, nic.rx.busy_s, nic.tx.busy_s) == (0, 1, 0.0, 0.5)


@pytest.mark.parametrize("delay_s", [0.0, 1.0])
def test_stations_can_be_used_again_from_done(delay_s: float) -> None:
    engine, rounds = Engine(), []
    delay, disk, link = Delay(engine, delay_s), Disk(engine, 1), Link(engine, inf, inf)

    def again(n: int) -> None:
        rounds.append(engine.now)
        if n < 5:
            delay.pass_on(to_disk, n)

    def to_disk(n: int) -> None:
        disk.submit(0.0, to_link, n)

    def to_link(n: int) -> None:
        link.send(1, 1, again, n + 1)

    again(0)
    engine.run(until=10)
    assert rounds == [n * delay_s for n in range(6)]


def test_accounts_have_no_mean_before_time_has_passed() -> None:
    engine = Engine()
    for station in (Link(engine, 1.0, 1.0), Disk(engine, 1)):
        assert math.isnan(station.utilization)
        assert math.isnan(station.mean_queue)
        assert station.busy_s == station.wait_s == station.served == 0


def test_impossible_stations_are_refused() -> None:
    with pytest.raises(ValueError, match="channels: 0; must be at least 1"):
        Disk(Engine(), 0)
    with pytest.raises(ValueError, match="both must be above 0"):
        Link(Engine(), 0.0, 1.0)
    with pytest.raises(ValueError, match="delay_s: -1 s"):
        Delay(Engine(), -1)
    with pytest.raises(ValueError, match="delay_s: nan s"):
        Delay(Engine(), math.nan)


# Laws against plain references. Times are eighths: sums are exact, and ties and batches abound.

JOBS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 24)), min_size=1, max_size=40)


def arrivals_of(jobs: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """Arrival and service time of each job, from gaps and services in eighths."""
    clock, arrivals = 0, []
    for gap, service in jobs:
        clock += gap
        arrivals.append((clock / 8, service / 8))
    return arrivals


def served_by_simpy(arrivals: list[tuple[float, float]], servers: int) -> list[tuple[float, float]]:
    """Start and end of each job at a SimPy resource."""
    env = simpy.Environment()
    resource = simpy.Resource(env, servers)
    spans = [(inf, inf)] * len(arrivals)

    def job(i: int) -> Iterator[simpy.Event]:
        with resource.request() as turn:
            yield turn
            start = env.now
            yield env.timeout(arrivals[i][1])
            spans[i] = (start, env.now)

    def source() -> Iterator[simpy.Event]:
        for i, (arrival, _) in enumerate(arrivals):
            yield env.timeout(arrival - env.now)
            env.process(job(i))

    env.process(source())
    env.run()
    return spans


def overlap(begin: float, end: float, low: float, high: float) -> float:
    """How much of begin-end lies in low-high."""
    return max(0.0, min(end, high) - max(begin, low))


@given(JOBS, st.integers(1, 4), st.booleans(), st.integers(0, 60), st.integers(1, 60))
def test_stations_agree_with_a_resource_and_split_their_accounts(
    jobs: list[tuple[int, int]], servers: int, calls_back: bool, restart: int, more: int
) -> None:
    """Completion times, and accounts restarted and read at any time, against a process per request on a SimPy resource."""
    arrivals = arrivals_of(jobs)
    spans = served_by_simpy(arrivals, servers)
    low, high = restart / 8 + 1 / 16, (restart + more) / 8 + 1 / 16  # between events, where ties leave nothing open
    for make in (Disk, Link)[: 2 if servers == 1 else 1]:
        engine = Engine()
        station = make(engine, servers) if make is Disk else make(engine, 1.0, inf)
        ends: list[float] = [inf] * len(jobs)
        order: list[int] = []

        def done(i: int, engine=engine, ends=ends, order=order) -> None:
            order.append(i)
            ends[i] = engine.now

        def arrive(i: int, service_s: float, station=station, ends=ends, done=done) -> None:
            if isinstance(station, Disk):
                if calls_back:
                    station.submit(service_s, done, i)
                else:
                    ends[i] = station.reserve(service_s)
            elif calls_back:
                station.send(3, service_s, done, i)
            else:
                ends[i] = station.reserve(3, service_s)

        for i, (arrival, service_s) in enumerate(arrivals):
            at(engine, arrival, lambda i=i, service_s=service_s, arrive=arrive: arrive(i, service_s))
        at(engine, low, station.restart)
        engine.run(until=high)
        assert station.busy_s == sum(overlap(start, end, low, high) for start, end in spans)
        waits = [(arrival, start) for (arrival, _), (start, _) in zip(arrivals, spans, strict=True)]
        assert station.wait_s == sum(overlap(arrival, start, low, high) for arrival, start in waits)
        assert station.served == sum(low < end < high for _, end in spans)
        assert station.in_system == sum(arrival < high < end for (arrival, _), (_, end) in zip(arrivals, spans, strict=True))
        assert station.utilization == station.busy_s / (servers * (high - low))
        if isinstance(station, Link):
            assert station.packets == 3 * station.served
            assert station.size_bytes == sum(size for (_, size), (_, end) in zip(arrivals, spans, strict=True) if low < end < high)
        engine.run(until=1e6)
        assert ends == [end for _, end in spans]
        assert station.in_system == 0
        if calls_back:
            assert order == sorted(range(len(jobs)), key=lambda i: (spans[i][1], i))


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=50))
def test_one_server_follows_lindleys_recursion(jobs: list[tuple[float, float]]) -> None:
    """departure of n = max(arrival of n, departure of n - 1) + service of n, in the order of arrival."""
    engine = Engine()
    disk, link, services = Disk(engine, 1), Link(engine, 1.0, inf), iter([service for _, service in jobs])
    of_disk, of_link = Log(engine), Log(engine)

    def start(arrival: float) -> None:
        service_s = next(services)
        disk.submit(service_s, of_disk.done, arrival)
        link.send(0, service_s, of_link.done, arrival)

    OpenSource(engine, iter([gap for gap, _ in jobs]), start)
    engine.run(until=1e4)
    expected, arrival, departure = [], 0.0, 0.0
    for gap, service in jobs:
        arrival += gap
        departure = max(arrival, departure) + service
        expected.append((arrival, departure))
    for log in (of_disk, of_link):
        assert [a for a, _ in log.left] == [a for a, _ in expected]
        assert [d for _, d in log.left] == pytest.approx([d for _, d in expected], rel=1e-12)


# Closed forms

REPLICATIONS = 20


def controlled(values: list[float], controls: list[float], expected_control: float) -> list[float]:
    """Take out of each value what its control explains, whose mean is known: a busier run waits longer (control variate)."""
    slope = statistics.linear_regression(controls, values).slope
    return [value - slope * (control - expected_control) for value, control in zip(values, controls, strict=True)]


def waits_at(
    make: Callable[[Engine], tuple[Disk | Link, Callable[[float], object]]], rate_per_s: float, service: Distribution, length_s: float
) -> tuple[list[float], list[float]]:
    """Mean wait and utilization of each replication after a tenth of warm-up, under Poisson arrivals."""
    waits, utilizations = [], []
    for replication in range(REPLICATIONS):
        engine, streams = Engine(), Streams(11, replication)
        station, serve = make(engine)
        draw = service.draw(streams.stream("service")).__next__
        OpenSource(engine, Poisson(rate_per_s=rate_per_s).gaps(streams.stream("arrivals")), lambda _, serve=serve, draw=draw: serve(draw()))
        engine.run(until=length_s / 10)
        station.restart()
        engine.run(until=length_s)
        waits.append(station.mean_queue / rate_per_s)
        utilizations.append(station.utilization)
    return waits, utilizations


def a_link(engine: Engine) -> tuple[Link, Callable[[float], object]]:
    """A link of 1 B/s that calls back."""
    link = Link(engine, 1.0, inf)
    return link, lambda service_s: link.send(0.0, service_s, int, 0)


def a_disk(engine: Engine) -> tuple[Disk, Callable[[float], object]]:
    """A disk of one channel that tells the completion in advance."""
    disk = Disk(engine, 1)
    return disk, disk.reserve


@pytest.mark.parametrize(
    ("make", "service", "length_s"),
    [
        (a_link, Constant(value=1.0), 70_000),
        (a_disk, Constant(value=1.0), 70_000),
        (a_link, Exponential(mean=1.0), 80_000),
        (a_disk, Exponential(mean=1.0), 80_000),
        (a_disk, Erlang(mean=1.0, k=3), 80_000),
    ],
    ids=["M/D/1 link", "M/D/1 disk", "M/M/1 link", "M/M/1 disk", "M/E3/1 disk"],
)
def test_one_server_waits_as_pollaczek_and_khinchine_say(make: Any, service: Distribution, length_s: float) -> None:
    """Mean wait = load · service (1 + scv) / (2 (1 - load)), here at a load of 0.5."""
    waits, utilizations = waits_at(make, 0.5, service, length_s)
    assert_estimates(controlled(waits, utilizations, 0.5), 0.5 * (1 + service.scv) / (2 * (1 - 0.5)))
    assert_estimates(utilizations, 0.5)


@pytest.mark.parametrize(("channels", "load", "length_s", "calls_back"), [(2, 0.6, 70_000, True), (4, 0.7, 68_000, False)])
def test_parallel_channels_wait_as_erlang_says(channels: int, load: float, length_s: float, calls_back: bool) -> None:
    """Mean wait = P(wait) / (c (1 - load)); P(wait) = C / (C + (1 - load) sum of a^k / k! for k < c); C = a^c / c!; a = c · load."""

    def make(engine: Engine) -> tuple[Disk, Callable[[float], object]]:
        disk = Disk(engine, channels)
        return disk, (lambda service_s: disk.submit(service_s, int, 0)) if calls_back else disk.reserve

    offered = channels * load
    full = offered**channels / math.factorial(channels)
    must_wait = full / (full + (1 - load) * sum(offered**k / math.factorial(k) for k in range(channels)))
    waits, utilizations = waits_at(make, offered, Exponential(mean=1.0), length_s)
    assert_estimates(controlled(waits, utilizations, load), must_wait / (channels * (1 - load)))
    assert_estimates(utilizations, load)


def test_variable_service_waits_longer_on_the_same_arrivals() -> None:
    constant, variable = (waits_at(a_disk, 0.5, service, 4_000)[0] for service in (Constant(value=1.0), Hyperexponential(mean=1.0, cv=2.0)))
    assert all(longer > shorter for longer, shorter in zip(variable, constant, strict=True))


def test_utilization_law() -> None:
    """Utilization · channels = throughput · service time, exactly, when the books are read with the station empty."""
    engine = Engine()
    disk = Disk(engine, 3)
    OpenSource(engine, Deterministic(rate_per_s=4.0).gaps(Streams(1).stream("arrivals")), lambda _: disk.reserve(0.5))
    engine.run(until=100.125)  # arrivals at 0.25, 0.5, ... 100; those of 99.75 and 100 are being served
    assert (disk.served, disk.in_system) == (398, 2)
    assert disk.busy_s == 398 * 0.5 + 0.375 + 0.125
    trace = Engine()
    link = Link(trace, 8.0, inf)
    OpenSource(trace, iter([0.5, 0.25, 3.0]), lambda _: link.reserve(1, 4))
    trace.run(until=16)
    assert link.utilization == link.served / 16 * (4 / 8) == 3 / 32


def test_an_overloaded_link_sends_its_bandwidth_and_no_more() -> None:
    engine = Engine()
    link = Link(engine, 1000.0, inf)
    OpenSource(engine, Deterministic(rate_per_s=2.0).gaps(Streams(1).stream("arrivals")), lambda _: link.reserve(1, 1000))
    engine.run(until=100.75)
    assert (link.served, link.size_bytes) == (100, 100_000)  # the first arrives at 0.5 and departs at 1.5; the last by then at 100.5
    assert link.busy_s == 100.25
    assert link.in_system == 101  # 201 came, at 0.5, 1.0, ... 100.5


@pytest.mark.parametrize(("station", "events"), [("link", 2), ("reserved", 1)])
def test_a_request_costs_few_events(station: str, events: int) -> None:
    """One event for the arrival, one for the departure; none for a departure that nobody waits for."""
    engine, streams = Engine(), Streams(5)
    link = Link(engine, 1.0, inf)
    sizes = Exponential(mean=0.5).draw(streams.stream("sizes"))
    requests = 0

    def start(_: float) -> None:
        nonlocal requests
        requests += 1
        if station == "link":
            link.send(0, next(sizes), int, 0)
        else:
            link.reserve(0, next(sizes))

    OpenSource(engine, Poisson(rate_per_s=1.0).gaps(streams.stream("arrivals")), start)
    engine.run(until=2_000)
    assert next(engine._eid) == pytest.approx(events * requests, abs=20)
