"""Closed forms against each other, against limits, and against balance equations solved by force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.linalg import spsolve

from simvirt.analysis.queueing import (
    Class,
    Station,
    closed_bounds,
    closed_network,
    erlang_b,
    erlang_c,
    md1_response_time,
    md1_wait,
    mg1_ps_conditional_response_time,
    mg1_ps_response_time,
    mg1_response_time,
    mg1_wait,
    mm1_response_time,
    mm1_response_time_quantile,
    mm1_wait,
    mmc_response_time,
    mmc_wait,
    nonpreemptive_priority,
    preemptive_priority,
    utilization_law,
)

SERVICE = st.floats(1e-6, 10.0)
UTILIZATION = st.floats(0.01, 0.98)


def test_by_hand() -> None:
    # λ = 8/s, s = 0.1 s: ρ = 0.8, R = 0.1/0.2 = 0.5 s, W = 0.4 s, half of it with constant service
    assert mm1_response_time(8.0, 0.1) == pytest.approx(0.5)
    assert mm1_wait(8.0, 0.1) == pytest.approx(0.4)
    assert md1_wait(8.0, 0.1) == pytest.approx(0.2)
    assert md1_response_time(8.0, 0.1) == pytest.approx(0.3)
    assert mg1_response_time(8.0, 0.1, 4.0) == pytest.approx(1.1)  # 0.8·0.1·5/0.4 + 0.1
    assert mg1_ps_response_time(8.0, 0.1) == pytest.approx(0.5)
    assert mg1_ps_conditional_response_time(8.0, 0.1, 0.02) == pytest.approx(0.1)
    assert mm1_response_time_quantile(8.0, 0.1, 0.99) == pytest.approx(0.5 * math.log(100))
    assert utilization_law(30.0, 0.1, 4) == pytest.approx(0.75)


def test_erlang_by_hand() -> None:
    # a = 2 erlangs, 3 servers: B = (8/6) / (1 + 2 + 2 + 8/6) = 4/19; C = 4/19 / (1 - 2/3·15/19) = 4/9; W = 4/9 / (3 - 2) s
    assert erlang_b(2.0, 3) == pytest.approx(4 / 19)
    assert erlang_c(2.0, 3) == pytest.approx(4 / 9)
    assert mmc_wait(2.0, 1.0, 3) == pytest.approx(4 / 9)
    assert mmc_response_time(2.0, 1.0, 3) == pytest.approx(13 / 9)
    assert erlang_b(10.0, 1) == pytest.approx(10 / 11)  # overload is lost, not refused


@given(SERVICE, UTILIZATION)
def test_one_server_is_mm1(service_s: float, utilization: float) -> None:
    load = utilization / service_s
    assert mmc_response_time(load, service_s, 1) == pytest.approx(mm1_response_time(load, service_s))
    assert mg1_response_time(load, service_s, 1.0) == pytest.approx(mm1_response_time(load, service_s))
    assert mm1_wait(load, service_s) + service_s == pytest.approx(mm1_response_time(load, service_s))
    assert erlang_c(utilization, 1) == pytest.approx(utilization)


@given(SERVICE, UTILIZATION, st.integers(2, 64))
def test_pooling_helps_but_not_beyond_one_fast_server(service_s: float, utilization: float, servers: int) -> None:
    load = servers * utilization / service_s
    pooled = mmc_response_time(load, service_s, servers)
    assert mm1_response_time(load, service_s / servers) <= pooled * (1 + 1e-12)
    assert pooled <= mm1_response_time(load / servers, service_s) * (1 + 1e-12)


@given(UTILIZATION, st.floats(0, 50))
def test_wait_is_linear_in_squared_variation(utilization: float, squared_variation: float) -> None:
    slope = mg1_wait(utilization, 1.0, 1.0) - mg1_wait(utilization, 1.0, 0.0)
    assert mg1_wait(utilization, 1.0, squared_variation) == pytest.approx(md1_wait(utilization, 1.0) + slope * squared_variation)


def test_conditional_response_averages_to_the_mean() -> None:
    # demands 0.01 s (90 %) and 0.91 s (10 %): mean 0.1 s
    short, long = (mg1_ps_conditional_response_time(7.0, 0.1, x) for x in (0.01, 0.91))
    assert 0.9 * short + 0.1 * long == pytest.approx(mg1_ps_response_time(7.0, 0.1))


def test_mean_is_the_area_over_quantiles() -> None:
    q = (np.arange(200_000) + 0.5) / 200_000
    mean = np.mean([mm1_response_time_quantile(3.0, 0.2, x) for x in q])
    assert mean == pytest.approx(mm1_response_time(3.0, 0.2), rel=1e-4)


UNSTABLE = [
    (mm1_response_time, (10.0, 0.1), "offered_load_per_s: 10; below 10, what 1 server"),
    (mg1_wait, (11.0, 0.1, 1.0), "offered_load_per_s: 11; below 10"),
    (mg1_ps_response_time, (10.0, 0.1), "offered_load_per_s: 10; below 10"),
    (mmc_wait, (40.0, 0.1, 4), r"offered_load_per_s: 40; below 40, what 4 server\(s\) at 0.1 s can carry"),
    (erlang_c, (3.0, 3), "below 3"),
    (mm1_response_time, (-1.0, 0.1), "offered_load_per_s: -1.0; at least 0"),
    (mm1_response_time, (math.nan, 0.1), "offered_load_per_s: nan"),
    (mm1_response_time, (1.0, 0.0), "service_s: 0.0; above 0"),
    (erlang_b, (1.0, 0), "servers: 0; above 0"),
    (mg1_wait, (1.0, 0.1, -0.5), "squared_variation: -0.5; at least 0"),
    (mm1_response_time_quantile, (1.0, 0.1, 1.0), "q: 1.0; at least 0 and below 1"),
    (nonpreemptive_priority, (Class(offered_load_per_s=4, service_s=0.1), Class(offered_load_per_s=6, service_s=0.1)), r"0\.4 \+ 0\.6 = 1"),
    (preemptive_priority, (Class(offered_load_per_s=4, service_s=0.1), Class(offered_load_per_s=7, service_s=0.1)), "below 1"),
    (closed_network, ([Station(demand_s=0.1)], 0), "customers: 0; above 0"),
    (closed_network, ([Station(demand_s=0.0)], 1), "no station with a demand above 0"),
    (closed_network, ([Station(demand_s=0.1), Station(demand_s=0.1, servers=0)], 1), r"stations\[1\]\.servers: 0"),
    (closed_bounds, ([Station(demand_s=-0.1)], 1), r"stations\[0\]\.demand_s: -0\.1; at least 0"),
]


@pytest.mark.parametrize(("formula", "arguments", "message"), UNSTABLE)
def test_refused(formula: object, arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        formula(*arguments)  # type: ignore[operator]


CLASSES = st.builds(Class, offered_load_per_s=st.floats(0.01, 0.45), service_s=st.floats(0.01, 1.05))


@given(CLASSES, CLASSES)
def test_priority_conserves_work(high: Class, low: Class) -> None:
    """Kleinrock's conservation law: Σ ρᵢ·Wᵢ = ρ·W₀ / (1 - ρ), the same in every non-preemptive order; here as FCFS M/G/1 of the mixture."""
    urgent_first = nonpreemptive_priority(high, low)
    other_order = nonpreemptive_priority(low, high)[::-1]
    load = high.offered_load_per_s + low.offered_load_per_s
    mean = (high.utilization + low.utilization) / load
    second = 2 * (high.utilization * high.service_s + low.utilization * low.service_s) / load
    fifo_wait = mg1_wait(load, mean, second / mean**2 - 1 if second > mean**2 else 0.0)
    for order in (urgent_first, other_order):
        weighted = high.utilization * (order[0] - high.service_s) + low.utilization * (order[1] - low.service_s)
        assert weighted == pytest.approx(load * mean * fifo_wait)


@given(CLASSES, CLASSES)
def test_preemption_helps_the_urgent_only(high: Class, low: Class) -> None:
    preempting, waiting = preemptive_priority(high, low), nonpreemptive_priority(high, low)
    assert preempting[0] == pytest.approx(mm1_response_time(high.offered_load_per_s, high.service_s))
    assert preempting[0] <= waiting[0]
    assert preempting[1] >= mm1_response_time(low.offered_load_per_s, low.service_s)


@given(st.floats(0.01, 0.45), st.floats(0.01, 0.45), st.floats(0.1, 1.0))
def test_preemption_between_equals_only_reorders(high_load: float, low_load: float, service_s: float) -> None:
    """With one exponential service time the number in system is M/M/1's whatever the order (Little's law over both classes)."""
    high, low = (Class(offered_load_per_s=load, service_s=service_s) for load in (high_load, low_load))
    r = preemptive_priority(high, low)
    load = high_load + low_load
    assert high_load * r[0] + low_load * r[1] == pytest.approx(load * mm1_response_time(load, service_s))


def test_preemptive_priority_against_balance_equations() -> None:
    """Birth and death on (high, low) counts, cut at 60 each: λ = 0.3, 0.2; s = 1, 1.5."""
    size, load, rate = 60, (0.3, 0.2), (1.0, 1 / 1.5)
    states = list(itertools.product(range(size), repeat=2))
    moves: list[tuple[tuple[int, int], tuple[int, int], float]] = []
    for h, n in states:
        moves += [((h, n), (h + 1, n), load[0]), ((h, n), (h, n + 1), load[1])]
        moves += [((h, n), (h - 1, n), rate[0])] if h else [((h, n), (h, n - 1), rate[1])]
    numbers = stationary_mean_sparse(states, moves)
    expected = preemptive_priority(Class(offered_load_per_s=0.3, service_s=1.0), Class(offered_load_per_s=0.2, service_s=1.5))
    assert numbers / load == pytest.approx(expected, rel=1e-6)


def stationary_mean_sparse(states: list[tuple[int, ...]], moves: list[tuple[tuple[int, ...], tuple[int, ...], float]]) -> np.ndarray:
    """Mean of each coordinate of a Markov chain in equilibrium: solve πQ = 0, Σπ = 1 over the given states."""
    index = {state: i for i, state in enumerate(states)}
    inside = [(index[a], index[b], r) for a, b, r in moves if b in index]
    source, target, rate = (np.array(column) for column in zip(*inside, strict=True))
    n = len(states)
    balance = coo_array((rate, (target, source)), shape=(n, n)).tolil()
    balance.setdiag(-np.bincount(source, weights=rate, minlength=n))
    balance[0, :] = 1.0
    right = np.zeros(n)
    right[0] = 1.0
    return np.asarray(states, dtype=float).T @ spsolve(balance.tocsc(), right)


NETWORKS = [
    ([Station(demand_s=0.3), Station(demand_s=0.2)], 4),
    ([Station(demand_s=1.0, servers=math.inf), Station(demand_s=0.3), Station(demand_s=0.5, servers=2)], 6),
    ([Station(demand_s=2.0, servers=math.inf), Station(demand_s=0.9, servers=3), Station(demand_s=0.4, servers=2), Station(demand_s=1)], 5),
]


@pytest.mark.parametrize(("stations", "customers"), NETWORKS)
def test_closed_network_against_balance_equations(stations: list[Station], customers: int) -> None:
    """A ring of exponential stations, every state enumerated."""
    states = [s for s in itertools.product(range(customers + 1), repeat=len(stations)) if sum(s) == customers]
    moves = []
    for state in states:
        for i, station in enumerate(stations):
            if state[i]:
                after = list(state)
                after[i] -= 1
                after[(i + 1) % len(stations)] += 1
                moves.append((state, tuple(after), min(state[i], station.servers) / station.demand_s))
    numbers = stationary_mean_sparse(states, moves)
    network = closed_network(stations, customers)
    assert network.customers == pytest.approx(numbers, rel=1e-9)
    # the first station is a delay or single: its throughput is known from its mean number or its busy probability
    assert sum(network.customers) == pytest.approx(customers)
    if math.isinf(stations[0].servers):
        assert network.throughput_per_s == pytest.approx(numbers[0] / stations[0].demand_s, rel=1e-9)


def mva(demands_s: list[float], think_s: float, customers: int) -> float:
    """Throughput by the textbook recursion for single servers: Rₘ(n) = Dₘ·(1 + Qₘ(n-1))."""
    queue = [0.0] * len(demands_s)
    throughput = 0.0
    for n in range(1, customers + 1):
        residence = [d * (1 + q) for d, q in zip(demands_s, queue, strict=True)]
        throughput = n / (think_s + sum(residence))
        queue = [throughput * r for r in residence]
    return throughput


@given(st.lists(st.floats(1e-4, 2.0), min_size=1, max_size=5), st.floats(0, 20), st.integers(1, 60))
def test_closed_network_is_mva_for_single_servers(demands_s: list[float], think_s: float, customers: int) -> None:
    stations = [Station(demand_s=think_s, servers=math.inf), *(Station(demand_s=d) for d in demands_s)]
    network = closed_network(stations, customers)
    assert network.throughput_per_s == pytest.approx(mva(demands_s, think_s, customers), rel=1e-9)
    assert network.throughput_per_s * (network.response_time_s + think_s) == pytest.approx(customers)  # Little's law


STATIONS = st.builds(Station, demand_s=st.floats(1e-3, 5.0), servers=st.sampled_from([1, 2, 3, 16, math.inf]))


@given(st.lists(STATIONS, min_size=1, max_size=4), st.integers(1, 40))
def test_closed_network_stays_within_its_bounds(stations: list[Station], customers: int) -> None:
    network, bounds = closed_network(stations, customers), closed_bounds(stations, customers)
    assert bounds.throughput_low_per_s * (1 - 1e-9) <= network.throughput_per_s <= bounds.throughput_high_per_s * (1 + 1e-9)
    assert bounds.response_time_low_s * (1 - 1e-9) <= network.response_time_s <= bounds.response_time_high_s * (1 + 1e-9)
    assert sum(network.residence_s) * network.throughput_per_s == pytest.approx(customers)
    for station, utilization in zip(stations, network.utilization, strict=True):
        assert math.isinf(station.servers) or utilization <= 1 + 1e-9


def test_one_station_is_always_busy() -> None:
    for customers in (1, 10, 1000):
        assert closed_network([Station(demand_s=0.25)], customers).throughput_per_s == pytest.approx(4.0)


def test_many_customers_saturate_sixteen_servers() -> None:
    """Where a recursion that subtracts probabilities fails: X -> c / D = 1000/s, and the rest queue there."""
    stations = [Station(demand_s=0.016, servers=16), Station(demand_s=0.0005), Station(demand_s=1.0, servers=math.inf)]
    network = closed_network(stations, 1600)
    assert network.throughput_per_s == pytest.approx(1000.0, rel=1e-9)
    assert network.customers[2] == pytest.approx(1000.0, rel=1e-9)
    assert network.customers[1] == pytest.approx(1.0, rel=1e-6)  # an M/M/1 at load 0.5: 0.5 / (1 - 0.5)


def test_large_closed_network_becomes_open() -> None:
    """Ten thousand seconds of thinking between requests: arrivals are nearly Poisson, the station nearly M/M/2."""
    stations = [Station(demand_s=1000.0, servers=math.inf), Station(demand_s=0.5, servers=2)]
    network = closed_network(stations, 2000)
    assert network.residence_s[1] == pytest.approx(mmc_response_time(network.throughput_per_s, 0.5, 2), rel=0.01)


def test_bounds_by_hand() -> None:
    # D = 0.1 + 0.4/2-server, Z = 2: slowest 0.2 s; N = 20: X <= min(5, 20/2.5 = 8) = 5, X >= 20/(10 + 2); R >= max(0.5, 4 - 2) = 2
    bounds = closed_bounds([Station(demand_s=2.0, servers=math.inf), Station(demand_s=0.1), Station(demand_s=0.4, servers=2)], 20)
    assert bounds.throughput_high_per_s == pytest.approx(5.0)
    assert bounds.throughput_low_per_s == pytest.approx(20 / 12)
    assert bounds.response_time_low_s == pytest.approx(2.0)
    assert bounds.response_time_high_s == pytest.approx(10.0)
    assert bounds.knee_customers == pytest.approx(12.5)


def test_station_without_demand_is_empty() -> None:
    network = closed_network([Station(demand_s=0.5), Station(demand_s=0.0)], 3)
    assert network.customers == pytest.approx((3.0, 0.0))
