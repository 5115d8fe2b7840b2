"""A disk with an order of its own: traces by hand, shares by weight, laws, closed forms, and an arm."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, cycle, pairwise, repeat
from math import sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stations import Log, assert_estimates, at

from simvirt.analysis.queueing import mg1_wait
from simvirt.engine import Engine
from simvirt.randomness import Streams, uniforms
from simvirt.resources.disk import Disk
from simvirt.resources.io_limit import IoLimit
from simvirt.resources.shared_disk import Arm, SharedDisk
from simvirt.workloads.arrivals import Poisson
from simvirt.workloads.sources import OpenSource


def test_fair_queue_by_hand() -> None:
    """One channel, service 1 s each; flow a has weight 2, b weight 1; a1 a2 a3 b1 b2 come together at 0.

    Tags (start, finish): a1 0, 0.5; a2 0.5, 1; a3 1, 1.5; b1 0, 1; b2 1, 2. a1 is dispatched when it comes. Then the smallest start
    tag, among equals who came first: b1 (0), a2 (0.5), a3 (1), b2 (1). Completions at 1, 2, 3, 4, 5.
    """
    engine = Engine()
    disk, log = SharedDisk(engine, 1, fair=True), Log(engine)
    a, b = disk.flow(2.0), disk.flow(1.0)
    for flow, who in ((a, "a1"), (a, "a2"), (a, "a3"), (b, "b1"), (b, "b2")):
        disk.submit(flow, 1.0, 0.0, log.done, who)
    engine.run(until=2.5)
    assert (disk.served, disk.in_system) == (2, 3)
    assert disk.busy_s == pytest.approx(2.5, rel=1e-12)
    assert disk.wait_s == pytest.approx(4 + 3 + 2 * 0.5, rel=1e-12)  # four wait, then three, then two for half a second
    engine.run(until=10.0)
    assert log.left == [("a1", 1.0), ("b1", 2.0), ("a2", 3.0), ("a3", 4.0), ("b2", 5.0)]
    assert disk.utilization == pytest.approx(0.5, rel=1e-12)


def test_who_was_idle_earns_nothing() -> None:
    """b comes at 10, after a alone has been served: both have one request waiting from then on, and they alternate."""
    engine = Engine()
    disk, log = SharedDisk(engine, 1, fair=True), Log(engine)
    a, b = disk.flow(), disk.flow()
    for i in range(14):
        disk.submit(a, 1.0, 0.0, log.done, f"a{i}")
    at(engine, 9.5, lambda: [disk.submit(b, 1.0, 0.0, log.done, f"b{i}") for i in range(4)] and None)
    engine.run(until=20.0)
    assert [str(who)[0] for who, _ in log.left] == list("aaaaaaaaaa" + "babababa")


def closed(disk: SharedDisk, weight: float, service_s: float, depth: int) -> None:
    """Keep `depth` requests of a new flow at the disk."""
    flow = disk.flow(weight)

    def again(_: Any) -> None:
        disk.submit(flow, service_s, 0.0, again, None)

    for _ in range(depth):
        again(None)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.001, 0.02), st.integers(8, 20)), min_size=2, max_size=5),
    st.integers(1, 4),
)
def test_shares_follow_weights(flows: list[tuple[float, float, int]], channels: int) -> None:
    """Who always waits gets channel time by weight, whatever the size and the number of its requests.

    Between flows that always wait, served / weight differs by at most a request of each per channel and weight (the bound of the rule).
    """
    engine = Engine()
    disk = SharedDisk(engine, channels, fair=True)
    for weight, service_s, depth in flows:
        closed(disk, weight, service_s, max(depth, 4 * channels))
    engine.run(until=5.0)
    assert disk.utilization == pytest.approx(1.0, abs=1e-9)
    assert sum(flow.served_s for flow in disk.flows) == pytest.approx(5.0 * channels, abs=0.02 * channels)
    asked = zip(disk.flows, flows, strict=True)
    normalized = [(flow.served_s / weight, (channels + 1) * service_s / weight) for flow, (weight, service_s, _) in asked]
    for mine, my_slack in normalized:
        for other, slack in normalized:
            assert abs(mine - other) <= my_slack + slack + 1e-9


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 3.0), st.integers(0, 2)), min_size=1, max_size=40),
    st.integers(1, 3),
    st.booleans(),
)
def test_conservation_little_and_utilization(jobs: list[tuple[float, float, int]], channels: int, fair: bool) -> None:
    """Nothing is lost; the channels never serve more than there are; the sum of stays is the integral of the number in the system."""
    engine = Engine()
    disk = SharedDisk(engine, channels, fair=fair)
    flows = [disk.flow(weight) for weight in (1.0, 2.0, 5.0)]
    arrivals, left = {}, {}
    now = 0.0
    for i, (gap, service_s, whose) in enumerate(jobs):
        now += gap
        arrivals[i] = now

        def come(i: int = i, service_s: float = service_s, whose: int = whose) -> None:
            disk.submit(flows[whose], service_s, 0.0, lambda who: left.__setitem__(who, engine.now), i)

        at(engine, now, come)
    end = now + sum(service_s for _, service_s, _ in jobs) + 1.0
    engine.run(until=end)
    assert sorted(left) == sorted(arrivals) and disk.served == len(jobs) and disk.in_system == 0
    assert disk.busy_s == pytest.approx(sum(service_s for _, service_s, _ in jobs), rel=1e-9, abs=1e-9)
    assert disk.utilization <= 1 + 1e-12
    stays_s = sum(left[i] - arrivals[i] for i in left)
    assert disk.busy_s + disk.wait_s == pytest.approx(stays_s, rel=1e-9, abs=1e-9)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 3.0)), min_size=1, max_size=40), st.integers(1, 3))
def test_without_weights_it_is_the_plain_disk(jobs: list[tuple[float, float]], channels: int) -> None:
    engine = Engine()
    plain, shared = Disk(engine, channels), SharedDisk(engine, channels, fair=False)
    flow = shared.flow()
    expected, found, now = {}, {}, 0.0
    for i, (gap, service_s) in enumerate(jobs):
        now += gap

        def come(i: int = i, service_s: float = service_s) -> None:
            expected[i] = plain.submit(service_s, lambda _: None, i)
            shared.submit(flow, service_s, 0.0, lambda who: found.__setitem__(who, engine.now), i)

        at(engine, now, come)
    engine.run(until=now + sum(service_s for _, service_s in jobs) + 1.0)
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert (shared.busy_s, shared.wait_s) == pytest.approx((plain.busy_s, plain.wait_s), rel=1e-9, abs=1e-9)


# The arm


def arm(turns: Iterator[float]) -> Arm:
    return Arm(seek_s=0.008, rotation_s=0.004, turns=turns)


def test_arm_by_hand() -> None:
    """Mean move 8 + 2 = 10 ms; three random requests of 10 + 1 ms come together and draw half a revolution each (2 ms).

    a goes at once, alone: 1 + 8 + 2 = 11 ms. b has two to choose from: 3 / (2 + 1) = 1, no gain: 11 ms. c has none: 11 ms. A request of the
    same flow that needs no move takes its 1 ms; one of another flow pays a move: 1 + 11 - 1 = 11 ms.
    """
    engine = Engine()
    disk, log = SharedDisk(engine, 1, fair=False, arm=arm(repeat(0.5))), Log(engine)
    one, other = disk.flow(), disk.flow()
    for who in "abc":
        disk.submit(one, 0.011, 1.0, log.done, who)
    disk.submit(one, 0.001, 0.0, log.done, "d")
    disk.submit(other, 0.001, 0.0, log.done, "e")
    disk.submit(other, 0.001, 0.0, log.done, "f")
    engine.run(until=1.0)
    seek = [0.008 * sqrt(min(1.0, 3 / (choices + 1))) for choices in (1, 5, 4, 3, 2, 1)]
    steps = [0.003 + seek[0], 0.003 + seek[1], 0.003 + seek[2], 0.001, 0.003 + seek[4], 0.001]
    assert [time for _, time in log.left] == pytest.approx([sum(steps[: i + 1]) for i in range(6)], rel=1e-12)


def test_a_deeper_queue_makes_moves_shorter() -> None:
    """One at a time a move takes 8.5 + 4.17 ms: 79 a second. Sorting gains up to the drive's 32 tags, and nothing beyond."""
    rates = {}
    for depth in (1, 2, 8, 32, 128):
        engine = Engine()
        disk = SharedDisk(engine, 1, fair=False, arm=Arm(seek_s=8.5e-3, rotation_s=8.33e-3, turns=repeat(0.5)))
        flow, mean_s = disk.flow(), 8.5e-3 + 8.33e-3 / 2

        def again(_: Any, disk: SharedDisk = disk, mean_s: float = mean_s) -> None:
            disk.submit(flow, mean_s, 1.0, again, None)  # noqa: B023 - each loop has finished with its flow

        for _ in range(depth):
            again(None)
        engine.run(until=100.0)
        rates[depth] = disk.served / 100.0
    assert rates[1] == pytest.approx(1 / (8.5e-3 + 8.33e-3 / 2), rel=1e-3)
    assert rates[1] == pytest.approx(rates[2], rel=1e-3)
    assert rates[32] == pytest.approx(1 / (8.5e-3 * sqrt(3 / 33) + 8.33e-3 / 2), rel=2e-2)
    assert rates[1] < rates[8] < rates[32]
    assert rates[128] == pytest.approx(1 / (8.5e-3 * sqrt(3 / 33) + 8.33e-3 / 2), rel=1e-2)


def test_rotation_makes_an_mg1_queue() -> None:
    """Without seeks the service is uniform over a revolution T: mean T/2, second moment T^2/3; wait = rate * T^2/3 / (2 (1 - rho))."""
    period_s, rate = 0.008, 150.0
    expected = mg1_wait(rate, period_s / 2, 1 / 3)
    assert expected == pytest.approx(rate * period_s**2 / 3 / (2 * (1 - rate * period_s / 2)), rel=1e-12)
    waits = []
    for replication in range(10):
        engine, streams = Engine(), Streams(3, replication)
        disk = SharedDisk(engine, 1, fair=False, arm=Arm(seek_s=0.0, rotation_s=period_s, turns=uniforms(streams.stream("turns"))))
        flow = disk.flow()
        gaps = Poisson(rate_per_s=rate).gaps(streams.stream("arrivals"))
        OpenSource(engine, gaps, lambda _, disk=disk, flow=flow: disk.submit(flow, period_s / 2, 1.0, lambda _: None, None))
        engine.run(until=20.0)
        disk.restart()
        engine.run(until=220.0)
        waits.append(disk.wait_s / disk.served)
    assert_estimates(waits, expected, precision=0.05)


@pytest.mark.parametrize("channels", [0, -1])
def test_a_disk_needs_a_channel(channels: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SharedDisk(Engine(), channels, fair=True)


def test_a_weight_is_above_nothing() -> None:
    with pytest.raises(ValueError, match="above 0"):
        SharedDisk(Engine(), 1, fair=True).flow(0.0)


# Limits


def test_limit_by_hand() -> None:
    """10 requests/s and 100 B/s; a (1 request, 5 B) and b (1, 30) at 0, c (1, 0) at 0.05, d (2, 0) at 2.

    a passes at once and blocks for max(0.1, 0.05) = 0.1. b passes at 0.1, blocks for 0.3. c passes at 0.4. d finds it free.
    """
    engine = Engine()
    limit, log = IoLimit(engine, 10.0, 100.0), Log(engine)
    limit.enter(1, 5, log.done, "a")
    limit.enter(1, 30, log.done, "b")
    at(engine, 0.05, lambda: limit.enter(1, 0, log.done, "c"))
    at(engine, 2.0, lambda: limit.enter(2, 0, log.done, "d"))
    engine.run(until=3.0)
    assert [who for who, _ in log.left] == ["a", "b", "c", "d"]
    assert [time for _, time in log.left] == pytest.approx([0.0, 0.1, 0.4, 2.0], abs=1e-12)
    assert limit.held_s == pytest.approx(0.1 + 0.35, rel=1e-9)
    assert limit.passed == 4


@settings(max_examples=50)
@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60), st.floats(1.0, 50.0))
def test_a_limit_is_never_passed(gaps: list[float], rate: float) -> None:
    """Between any two requests let go, i and j, at least (j - i) / rate passes, in order; and nobody waits without need."""
    engine = Engine()
    limit, log = IoLimit(engine, rate), Log(engine)
    now, number, arrivals = 0.0, count(), []
    for gap in gaps:
        now += gap
        arrivals.append(now)
        at(engine, now, lambda: limit.enter(1, 0, log.done, next(number)))
    engine.run(until=now + len(gaps) / rate + 1.0)
    times = [time for _, time in log.left]
    assert [who for who, _ in log.left] == list(range(len(gaps)))
    assert all(b - a >= 1 / rate - 1e-9 for a, b in pairwise(times))
    free = 0.0
    for arrival, time in zip(arrivals, times, strict=True):
        assert time == pytest.approx(max(arrival, free), abs=1e-9)
        free = time + 1 / rate


def test_turns_are_drawn_from_their_stream() -> None:
    drawn = uniforms(Streams(1).stream("disk/turns"))
    again = uniforms(Streams(1).stream("disk/turns"))
    first = [next(drawn) for _ in range(5)]
    assert first == [next(again) for _ in range(5)] and all(0 <= x < 1 for x in first)
    assert next(cycle(first)) == first[0]
