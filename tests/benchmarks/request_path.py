"""The whole simulator against plain SimPy: PYTHONPATH=tests python tests/benchmarks/request_path.py [requests]

Plain SimPy has one process per request, `simpy.Resource` for everything that is first come first served, and processor sharing by a
clock of service with an event per request (the fast one of the two plain ways in `cpu_sharing.py`). Both simulate the same system from
draws of their own; simvirt also keeps histograms, the account of where time went and, on real platforms, idle states, wake-ups and
steal. CPU time of alternating rounds.

A   M/M/1
C2  16 cores shared by everybody
D   100 tenants: 16 shared cores, disk, cores again, network card
platforms: one tenant with the key-value store on a published stack; plain SimPy passes the same stages with the folded amounts, and
    knows nothing of sleep and wake-ups, so that its mean response time is lower
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf

import simpy
from cpu_sharing import VirtualTimeCpu
from ideal import IdealCatalog, bare, machine, scenario, system, workload

from simvirt.catalog import Catalog
from simvirt.demand import Compute, DiskRead, Operation, Send
from simvirt.layers.contract import Place, Resource
from simvirt.layers.path import Step, plan_path
from simvirt.scenario import Run, Scenario, Tenants
from simvirt.simulation import Simulation
from simvirt.workloads.arrivals import Poisson
from simvirt.workloads.distributions import Exponential

ROUNDS = 5
LOAD = 0.8

Result = tuple[int, int, float]
"""Requests, events, mean response time."""
Model = Callable[[], Result]


# ---- plain SimPy ----


def held(resource: simpy.Resource, seconds: float) -> Iterator[simpy.Event]:
    """Wait for a turn, keep it for a while."""
    with resource.request() as turn:
        yield turn
        yield resource._env.timeout(seconds)


def plain(request: Callable[[simpy.Environment], Callable[[], Iterator[simpy.Event]]], per_s: float, requests: int) -> Result:
    """Poisson arrivals of requests that are processes."""
    env = simpy.Environment()
    draw = random.Random(1).expovariate
    begin = request(env)
    responses: list[float] = []

    def measured() -> Iterator[simpy.Event]:
        arrival = env.now
        yield from begin()
        responses.append(env.now - arrival)

    def source() -> Iterator[simpy.Event]:
        while True:
            yield env.timeout(draw(per_s))
            env.process(measured())

    env.process(source())
    env.run(until=requests / per_s)
    return len(responses), next(env._eid), statistics.fmean(responses)


def one_server(env: simpy.Environment) -> Callable[[], Iterator[simpy.Event]]:
    server, draw = simpy.Resource(env, 1), random.Random(2).expovariate
    return lambda: held(server, draw(1.0))


def shared(env: simpy.Environment) -> Callable[[], Iterator[simpy.Event]]:
    cores, draw = VirtualTimeCpu(env, 16), random.Random(2).expovariate

    def request() -> Iterator[simpy.Event]:
        yield cores.serve(draw(1.0))

    return request


def path(env: simpy.Environment) -> Callable[[], Iterator[simpy.Event]]:
    cores, draw = VirtualTimeCpu(env, 16), random.Random(2).expovariate
    disk, card = simpy.Resource(env, 16), simpy.Resource(env, 1)

    def request() -> Iterator[simpy.Event]:
        factor = draw(1.0)
        yield cores.serve(0.5 * factor)
        yield from held(disk, 0.8)
        yield cores.serve(0.5 * factor)
        yield from held(card, 0.05)

    return request


def stages(steps: tuple[Step, ...], catalog_name: str, env: simpy.Environment) -> Callable[[], Iterator[simpy.Event]]:
    """The stages of a published stack: cores, threads that serve in turn, devices."""
    hardware = Catalog.builtin().stack(catalog_name).hardware
    cores, draw = VirtualTimeCpu(env, int(hardware.cores.si)), random.Random(2).lognormvariate
    threads: dict[object, simpy.Resource] = {}
    mine = [i for i, step in enumerate(steps) if step.resource is Resource.CPU and step.context.place is Place.CALLER]
    worker = simpy.Resource(env, 1)
    bandwidth = hardware.nic.bandwidth_bytes_per_s.si

    def stay(step: Step, factor: float) -> Iterator[simpy.Event]:
        if step.resource is Resource.DELAY:
            yield env.timeout(step.fixed.total)
        elif step.resource is Resource.CPU:
            work_s = step.fixed.total + factor * step.random.total
            if step.context.place is Place.CALLER:
                yield cores.serve(work_s)
            else:
                executor = threads.setdefault(step.context, simpy.Resource(env, 1))
                with executor.request() as turn:
                    yield turn
                    yield cores.serve(work_s)
        else:
            device = threads.setdefault(step.resource, simpy.Resource(env, 1))
            yield from held(device, step.size_bytes / bandwidth)

    def request() -> Iterator[simpy.Event]:
        factor = draw(-0.11, 0.47)
        for step in steps[: mine[0]]:
            yield from stay(step, factor)
        with worker.request() as turn:
            yield turn
            for step in steps[mine[0] : mine[-1] + 1]:
                yield from stay(step, factor)
        for step in steps[mine[-1] + 1 :]:
            yield from stay(step, factor)

    return request


# ---- simvirt ----


def run(described: Scenario, catalog: Catalog) -> Result:
    outcome = Simulation(described, catalog).run()
    completed = sum(tenant.completed for tenant in outcome.tenants)
    mean_s = sum(tenant.histogram.mean_s * tenant.completed for tenant in outcome.tenants) / completed
    return completed, outcome.events, mean_s


def ours(cores: int, tenants: int, threads: float, operations: tuple[Operation, ...], requests: int) -> Result:
    """An ideal machine; the whole simulator."""
    given = {"disk.channels": 16.0, "disk.read_s": 0.8, "nic.bandwidth_bytes_per_s": 1.0}
    layers = bare(cores) if tenants == 1 else (machine(cores, given), system())
    one = workload(*operations, threads=threads, factor=Exponential(mean=1.0))
    per_s = LOAD * cores
    load = Poisson(rate_per_s=per_s / tenants)
    return run(
        scenario(Tenants(workload="work", load=load, count=tenants), duration_s=requests / per_s, warm_up_fraction=0.0),
        IdealCatalog(layers, one),
    )


def published(platform: str, per_s: float, requests: int) -> Result:
    tenants = Tenants(workload="key-value-store", load=Poisson(rate_per_s=per_s))
    return run(
        Scenario(platform=platform, tenants=(tenants,), run=Run(duration_s=requests / per_s, warm_up_fraction=0.0)), Catalog.builtin()
    )


# ---- tables ----


def timed(model: Model) -> tuple[float, int, int, float]:
    gc.collect()
    began = time.process_time()
    requests, events, mean_s = model()
    return requests / (time.process_time() - began), requests, events, mean_s


def compare(title: str, mine: Model, theirs: Model) -> None:
    """One line: thousands of requests per CPU second, the ratio over alternating rounds, events per request, mean response times."""
    rounds = [(timed(theirs), timed(mine)) for _ in range(ROUNDS)]
    ratios = sorted(b[0] / a[0] for a, b in rounds)
    (_, theirs_done, their_events, their_mean_s), (_, done, events, mean_s) = rounds[0]
    print(
        f"{title:22} {statistics.median(b[0] for _, b in rounds) / 1e3:8.1f} {statistics.median(a[0] for a, _ in rounds) / 1e3:8.1f}"
        f" {ratios[0]:7.2f} {statistics.median(ratios):6.2f} {ratios[-1]:6.2f} {events / done:9.2f} {their_events / theirs_done:8.2f}"
        f" {mean_s:11.4g} {their_mean_s:9.4g}",
        flush=True,
    )


def main(requests: int) -> None:
    print(f"{'':22} {'thousand/s':>17} {'ratio':>21} {'events/request':>18} {'mean response s':>21}")
    print(
        f"{'model':22} {'simvirt':>8} {'SimPy':>8} {'min':>7} {'med':>6} {'max':>6}"
        f" {'simvirt':>9} {'SimPy':>8} {'simvirt':>11} {'SimPy':>9}"
    )
    half = Compute(cpu_s=0.5)
    send = Send(messages=0.0, packets=0.0, size_bytes=0.05)
    compare("A M/M/1", partial(ours, 1, 1, 1, (Compute(cpu_s=1.0),), requests), partial(plain, one_server, LOAD, requests))
    compare("C2 16 shared cores", partial(ours, 16, 1, inf, (Compute(cpu_s=1.0),), requests), partial(plain, shared, LOAD * 16, requests))
    compare(
        "D 100 tenants, path",
        partial(ours, 16, 100, inf, (half, DiskRead(count=1.0), half, send), requests // 2),
        partial(plain, path, LOAD * 16, requests // 2),
    )
    for platform in ("docker", "kvm"):
        get = Catalog.builtin().workload("key-value-store").requests[0].demand
        steps = plan_path(Catalog.builtin().stack(platform), get).steps
        per_s = 0.5 / max(
            sum(s.fixed.total + s.random.total for s in steps if s.resource is Resource.CPU and s.context == c)
            for c in {s.context for s in steps}
        )
        compare(
            f"{platform}, key-value",
            partial(published, platform, per_s, requests // 2),
            partial(plain, partial(stages, steps, platform), per_s, requests // 2),
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
