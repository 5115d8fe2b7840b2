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

import simpy

from simvirt.engine import Engine
from simvirt.randomness import Streams
from simvirt.resources.disk import Disk
from simvirt.resources.nic import Link
from simvirt.workloads.arrivals import Poisson
from simvirt.workloads.distributions import Exponential
from simvirt.workloads.sources import OpenSource

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


def on_link(servers: int) -> array[float]:
    """Response times of M/M/1: a link of 1 byte per second, whose service time is the size."""
    assert servers == 1
    engine, streams, responses = Engine(), Streams(1), array("d")
    link = Link(engine, 1.0, 1.0)
    services = Exponential(mean=1.0).draw(streams.stream("service"))
    send, draw = link.send, services.__next__

    def record(arrival: float) -> None:
        responses.append(engine._now - arrival)

    def start(arrival: float) -> None:
        send(0.0, draw(), record, arrival)

    OpenSource(engine, Poisson(rate_per_s=LOAD).gaps(streams.stream("arrivals")), start)
    engine.run(until=REQUESTS / LOAD)
    return responses


def on_disk(servers: int) -> array[float]:
    """Response times of M/M/servers: a disk with as many channels."""
    engine, streams, responses = Engine(), Streams(1), array("d")
    disk = Disk(engine, servers)
    services = Exponential(mean=1.0).draw(streams.stream("service"))
    submit, draw = disk.submit, services.__next__

    def record(arrival: float) -> None:
        responses.append(engine._now - arrival)

    def start(arrival: float) -> None:
        submit(draw(), record, arrival)

    OpenSource(engine, Poisson(rate_per_s=LOAD * servers).gaps(streams.stream("arrivals")), start)
    engine.run(until=REQUESTS / (LOAD * servers))
    return responses


def requests_per_cpu_second(model: Callable[[int], array[float]], servers: int) -> float:
    began = time.process_time()
    responses = model(servers)
    return len(responses) / (time.process_time() - began)


def compare(title: str, model: Callable[[int], array[float]], servers: int) -> None:
    """Print rates and their ratio over alternating rounds."""
    rounds = [(requests_per_cpu_second(plain, servers), requests_per_cpu_second(model, servers)) for _ in range(ROUNDS)]
    ratios = sorted(ours / theirs for theirs, ours in rounds)
    theirs, ours = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    print(
        f"{title:16} plain {theirs / 1e3:6.0f} k/s  simvirt {ours / 1e3:6.0f} k/s  "
        f"ratio {statistics.median(ratios):5.1f} [{ratios[0]:.1f}, {ratios[-1]:.1f}]"
    )


if __name__ == "__main__":
    compare("M/M/1 on a link", on_link, 1)
    compare("M/M/1 on a disk", on_disk, 1)
    compare("M/M/8 on a disk", on_disk, 8)
