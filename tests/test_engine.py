"""The engine beside upstream SimPy: same order, same `until`, same failures; and wake-ups, which upstream does not have."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from simvirt.engine import Engine

DELAYS = st.sampled_from([0, 1, 1, 2, 3, 0.5])


def story(env: simpy.Environment, seed: int, delays: list[list[float]]) -> list[tuple[float, str]]:
    """Processes that sleep, meet at a resource, interrupt and wait for one another; returns what happens, in order."""
    log: list[tuple[float, str]] = []
    rng = random.Random(seed)
    resource = simpy.Resource(env, capacity=2)
    processes: list[simpy.Process] = []

    def worker(name: int, sleeps: list[float]) -> Iterator[simpy.Event]:
        for turn, sleep in enumerate(sleeps):
            try:
                with resource.request() as request:
                    yield request
                    log.append((env.now, f"{name} holds {turn}"))
                    yield env.timeout(sleep)
                    log.append((env.now, f"{name} leaves {turn}"))
                other = rng.choice(processes)
                if other.is_alive and other is not env.active_process and rng.random() < 0.3:
                    other.interrupt(name)
                elif rng.random() < 0.3:
                    yield env.any_of([other, env.timeout(1)])
            except simpy.Interrupt as interrupt:
                log.append((env.now, f"{name} interrupted by {interrupt.cause}"))
        log.append((env.now, f"{name} ends"))

    processes.extend(env.process(worker(i, sleeps)) for i, sleeps in enumerate(delays))
    for until in (1, 2.5, 50):
        env.run(until=until)
        log.append((env.now, "stop"))
    return log


@given(st.integers(0, 10_000), st.lists(st.lists(DELAYS, max_size=5), min_size=1, max_size=6))
def test_events_come_in_the_order_of_upstream(seed: int, delays: list[list[float]]) -> None:
    assert story(Engine(), seed, delays) == story(simpy.Environment(), seed, delays)


@given(st.lists(st.tuples(st.booleans(), DELAYS), min_size=1, max_size=20))
def test_wakeups_take_their_turn_among_timeouts_of_the_same_time(asked: list[tuple[bool, float]]) -> None:
    """Asked for once, a wake-up is served exactly when a timeout asked for in its place would be."""
    logs: list[list[int]] = [[], []]
    engine, upstream = Engine(), simpy.Environment()
    for i, (is_wakeup, delay) in enumerate(asked):
        if is_wakeup:
            engine.wakeup(lambda i=i: logs[0].append(i)).at(delay)
        else:
            engine.timeout(delay).callbacks.append(lambda _, i=i: logs[0].append(i))
        upstream.timeout(delay).callbacks.append(lambda _, i=i: logs[1].append(i))
    engine.run(10)
    upstream.run(10)
    assert logs[0] == logs[1]


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 3]), st.one_of(st.none(), st.sampled_from([0, 1, 2, 5, 9]))), max_size=30))
def test_a_wakeup_fires_only_at_the_time_last_asked_for(requests: list[tuple[float, float | None]]) -> None:
    """Against a variable that holds what was last asked for: (after, in) asks for `in` seconds ahead, None cancels."""
    engine = Engine()
    fired: list[float] = []
    wakeup = engine.wakeup(lambda: fired.append(engine.now))
    expected: list[float] = []
    wanted: float | None = None
    for after, ahead in requests:
        if after:
            engine.run(engine.now + after)
            if wanted is not None and wanted < engine.now:
                expected.append(wanted)
                wanted = None
        if ahead is None:
            wakeup.cancel()
            wanted = None
        else:
            wanted = engine.now + ahead
            wakeup.at(wanted)
    engine.run(engine.now + 100)
    assert fired == expected + ([] if wanted is None else [wanted])


def test_an_earlier_a_later_and_a_cancelled_wakeup() -> None:
    """Asked for 5, then 2, then 4: fires at 4 only. Asked for 6 and cancelled: never. Asked for again from its action: at 8, 9, 10."""
    engine = Engine()
    log: list[tuple[str, float]] = []
    moved = engine.wakeup(lambda: log.append(("moved", engine.now)))
    for time in (5, 2, 4):
        moved.at(time)
    cancelled = engine.wakeup(lambda: log.append(("cancelled", engine.now)))
    cancelled.at(6)
    cancelled.cancel()

    def again() -> None:
        log.append(("again", engine.now))
        if engine.now < 10:
            repeated.at(engine.now + 1)

    repeated = engine.wakeup(again)
    repeated.at(8)
    engine.run(20)
    assert log == [("moved", 4), ("again", 8), ("again", 9), ("again", 10)]


def test_a_far_wakeup_asked_for_again_and_again_stays_one_entry_of_the_queue() -> None:
    """1,000 times: wanted at 1e6, then one second ahead, then at 1e6 again."""
    engine = Engine()
    fired: list[float] = []
    wakeup = engine.wakeup(lambda: (fired.append(engine.now), wakeup.at(1e6)))
    wakeup.at(1e6)
    for second in range(1, 1001):
        wakeup.at(second)
        engine.run(second + 0.5)
    assert len(fired) == 1000
    assert sum(entry[3] is wakeup for entry in engine._queue) == 1


def test_a_wakeup_in_the_past_is_refused() -> None:
    engine = Engine(initial_time=3)
    with pytest.raises(ValueError, match="wake-up at 2 s is before the current simulation time of 3 s"):
        engine.wakeup(print).at(2)


@pytest.mark.parametrize("until", ["time", "event", "end"])
def test_wakeups_beside_generators_under_every_kind_of_until(until: str) -> None:
    """A generator every second, a wake-up at 1.5 and 2.5: the same whether run to a time, to an event or to the end."""
    engine = Engine()
    log: list[tuple[str, float]] = []

    def clock() -> Iterator[simpy.Event]:
        for _ in range(3):
            yield engine.timeout(1)
            log.append(("clock", engine.now))

    def ring() -> None:
        log.append(("ring", engine.now))
        if engine.now < 2:
            bell.at(2.5)

    bell = engine.wakeup(ring)
    bell.at(1.5)
    process = engine.process(clock())
    engine.run({"time": 4, "event": process, "end": None}[until])
    assert log == [("clock", 1), ("ring", 1.5), ("clock", 2), ("ring", 2.5), ("clock", 3)]


def test_until_stops_before_the_events_of_that_time_and_goes_on_with_them() -> None:
    engine = Engine()
    fired: list[float] = []
    engine.wakeup(lambda: fired.append(engine.now)).at(2)
    engine.run(2)
    assert (engine.now, fired) == (2, [])
    engine.run(3)
    assert (engine.now, fired) == (3, [2])


@pytest.mark.parametrize("until", [0, -1, 0.0, float("nan")])
def test_until_must_lie_ahead(until: float) -> None:
    with pytest.raises(ValueError, match=r"until \(.*\) must be greater than the current simulation time"):
        Engine().run(until)


class BrokenError(Exception):
    """A failure of the model."""


def test_failures_reach_the_caller_as_upstream() -> None:
    """A process that raises stops the run at its time with the same exception and cause; the run can go on afterwards."""

    def fail(env: simpy.Environment) -> Iterator[simpy.Event]:
        yield env.timeout(1)
        raise BrokenError("the model", 7)

    seen = []
    for env in (Engine(), simpy.Environment()):
        env.process(fail(env))
        with pytest.raises(BrokenError) as raised:
            env.run(until=5)
        late = env.timeout(1)
        env.run(until=9)
        seen.append((raised.value.args, type(raised.value.__cause__), late.processed, env.now))
    assert seen[0] == seen[1]


def test_a_caught_failure_does_not_stop_the_run() -> None:
    engine = Engine()
    log: list[str] = []

    def fail() -> Iterator[simpy.Event]:
        yield engine.timeout(1)
        raise BrokenError("the model")

    def watch() -> Iterator[simpy.Event]:
        try:
            yield engine.process(fail())
        except BrokenError as failure:
            log.append(str(failure))

    engine.process(watch())
    engine.run(until=2)
    assert log == ["the model"]


def test_a_failure_in_a_wakeup_reaches_the_caller() -> None:
    engine = Engine()

    def fail() -> None:
        raise BrokenError("the station")

    engine.wakeup(fail).at(1)
    with pytest.raises(BrokenError, match="the station"):
        engine.run(2)
    assert engine.now == 1
