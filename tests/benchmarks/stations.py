"""How much faster the stations are than plain SimPy with one process per request: python tests/benchmarks/stations.py

Prints, for M/M/1 and M/M/8 at a load of 0.8, requests per second of CPU time and the ratio over alternating rounds.
Both sides draw their own exponential times and keep every response time.
"""

from __future__ import annotations

import random
import statistics
import time
from array import array
from collections.abc import Callable, Iterator
from functools import partial

import simpy

from simvirt.engine import Engine
from simvirt.randomness import Streams
from simvirt.resources.disk import Disk
from simvirt.resources.nic import Link
from simvirt.workloads.arrivals import Poisson
from simvirt.workloads.distributions import Exponential
from simvirt.workloads.sources import OpenSource, Start

REQUESTS = 200_000
ROUNDS = 5
LOAD = 0.8


def plain(servers: int) -> array[float]:
    """Response times of M/M/servers, written as the SimPy manual would: a process and a resource request for each customer."""
    env = simpy.Environment()
    station = simpy.Resource(env, servers)
    draw = random.Random(1).expovariate
    responses = array("d")

    def request() -> Iterator[simpy.Event]:
        arrival = env.now
        with station.request() as turn:
            yield turn
            yield env.timeout(draw(1.0))
        responses.append(env.now - arrival)

    def source() -> Iterator[simpy.Event]:
        while True:
            yield env.timeout(draw(LOAD * servers))
            env.process(request())

    env.process(source())
    env.run(until=REQUESTS / (LOAD * servers))
    return responses


def link_called_back() -> array[float]:
    """M/M/1 on a link of 1 byte per second, whose service time is the size; each departure calls the path on."""
    engine, draw, gaps, responses = parts(1)
    send, append = Link(engine, 1.0, 1.0).send, responses.append

    def record(arrival: float) -> None:
        append(engine._now - arrival)

    def start(arrival: float) -> None:
        send(0.0, draw(), record, arrival)

    return run(engine, gaps, start, 1, responses)


def link_reserved() -> array[float]:
    """The same as the last station of a path: the departure is known on arrival."""
    engine, draw, gaps, responses = parts(1)
    reserve, append = Link(engine, 1.0, 1.0).reserve, responses.append

    def start(arrival: float) -> None:
        append(reserve(0.0, draw()) - arrival)

    return run(engine, gaps, start, 1, responses)


def disk_called_back(channels: int) -> array[float]:
    """M/M/channels on a disk; each completion calls the path on."""
    engine, draw, gaps, responses = parts(channels)
    submit, append = Disk(engine, channels).submit, responses.append

    def record(arrival: float) -> None:
        append(engine._now - arrival)

    def start(arrival: float) -> None:
        submit(draw(), record, arrival)

    return run(engine, gaps, start, channels, responses)


def disk_reserved(channels: int) -> array[float]:
    """The same as the last station of a path: the completion is known on arrival."""
    engine, draw, gaps, responses = parts(channels)
    reserve, append = Disk(engine, channels).reserve, responses.append

    def start(arrival: float) -> None:
        append(reserve(draw()) - arrival)

    return run(engine, gaps, start, channels, responses)


def parts(servers: int) -> tuple[Engine, Callable[[], float], Iterator[float], array[float]]:
    """An engine, draws of service times, inter-arrival times, and a place for the response times."""
    streams = Streams(1)
    draw = Exponential(mean=1.0).draw(streams.stream("service")).__next__
    return Engine(), draw, Poisson(rate_per_s=LOAD * servers).gaps(streams.stream("arrivals")), array("d")


def run(engine: Engine, gaps: Iterator[float], start: Start, servers: int, responses: array[float]) -> array[float]:
    OpenSource(engine, gaps, start)
    engine.run(until=REQUESTS / (LOAD * servers))
    return responses


def requests_per_cpu_second(model: Callable[[], array[float]]) -> float:
    began = time.process_time()
    responses = model()
    return len(responses) / (time.process_time() - began)


def compare(title: str, servers: int, model: Callable[[], array[float]]) -> None:
    """Print rates and their ratio over alternating rounds."""
    rounds = [(requests_per_cpu_second(partial(plain, servers)), requests_per_cpu_second(model)) for _ in range(ROUNDS)]
    ratios = sorted(ours / theirs for theirs, ours in rounds)
    theirs, ours = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    print(
        f"M/M/{servers} {title:20} plain {theirs / 1e3:4.0f} k/s  simvirt {ours / 1e3:5.0f} k/s  "
        f"ratio {statistics.median(ratios):4.1f} [{ratios[0]:.1f}, {ratios[-1]:.1f}]"
    )


if __name__ == "__main__":
    compare("link, called back", 1, link_called_back)
    compare("link, reserved", 1, link_reserved)
    compare("disk, called back", 1, partial(disk_called_back, 1))
    compare("disk, reserved", 1, partial(disk_reserved, 1))
    compare("disk, called back", 8, partial(disk_called_back, 8))
    compare("disk, reserved", 8, partial(disk_reserved, 8))
