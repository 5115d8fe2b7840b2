"""How much faster fluid CPU sharing is than plain SimPy with one process per request: python tests/benchmarks/cpu_sharing.py

Three systems at a load of 0.8, demands log-normal with a coefficient of variation of 2: one core (C1) and 16 cores (C2) shared by
all requests; and 100 tenants with weights 1, 2 and 4 of which every fifth is capped at 1 core, on 16 cores (E). Plain SimPy is
written twice: *textbook*, where every arrival and departure works out all rates and interrupts the processes of the requests whose
rate is another one now; and *virtual time* (C1, C2), where each request waits for its own event and the station keeps one
clock of service and a heap. Then the cost per request of simvirt against tenants and against cores. CPU time of alternating rounds.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from heapq import heappop, heappush
from typing import Any

import simpy

from simvirt.engine import Engine
from simvirt.randomness import Streams, blocks
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.fluid import FluidScheduler, FluidThread

LOAD = 0.8
ROUNDS = 5
Model = Callable[[int], tuple["array[float]", int]]
"""Number of requests to the response times and the number of events served."""


def draws(rate_per_s: float, tenants: int) -> tuple[Iterator[float], Iterator[float], Iterator[float]]:
    """Times between arrivals, demands (mean 1 s, coefficient of variation 2), tenants: the same for every model."""
    streams = Streams(1)
    arrivals, demands, who = streams.stream("arrivals"), streams.stream("demands"), streams.stream("tenants")
    sigma = math.sqrt(math.log(1 + 2.0**2))
    return (
        blocks(lambda n: arrivals.exponential(1 / rate_per_s, n)),
        blocks(lambda n: demands.lognormal(-sigma * sigma / 2, sigma, n)),
        blocks(lambda n: who.integers(0, tenants, n)),
    )


# ---- plain SimPy ----


class TextbookCpu:
    """Processor sharing by interrupts: whoever comes or goes makes everybody look again."""

    def __init__(self, env: simpy.Environment, cores: int, shares: list[Share] | None = None) -> None:
        self.env = env
        self.cores = cores
        self.shares = shares
        self.jobs: dict[simpy.Process, int] = {}
        self.rates: dict[int, float] = {}

    def serve(self, demand_s: float, tenant: int) -> Iterator[simpy.Event]:
        env, left, me = self.env, demand_s, self.env.active_process
        assert me is not None
        self.jobs[me] = tenant
        self.change(me)
        while True:
            rate, since = self.rates[tenant], env.now
            try:
                yield env.timeout(left / rate)
                break
            except simpy.Interrupt:
                left -= rate * (env.now - since)
        del self.jobs[me]
        self.change(me)

    def change(self, me: simpy.Process) -> None:
        """Work out all rates again and wake up those whose rate is another one now."""
        before, self.rates = self.rates, self.solve()
        for process, tenant in self.jobs.items():
            if process is not me and before.get(tenant) != self.rates[tenant]:
                process.interrupt()

    def solve(self) -> dict[int, float]:
        """Rate of one thread of each tenant."""
        if self.shares is None:
            return {0: min(1.0, self.cores / len(self.jobs))} if self.jobs else {}
        threads: dict[int, int] = {}
        for tenant in self.jobs.values():
            threads[tenant] = threads.get(tenant, 0) + 1
        shares = self.shares
        order = sorted((min(n, shares[t].cap_cores) / shares[t].weight, t) for t, n in threads.items())
        weight, cores, rates = sum(shares[t].weight for t in threads), float(self.cores), {}
        for full, t in order:
            rate = shares[t].weight * min(full, cores / weight)
            rates[t] = rate / threads[t]
            cores -= rate
            weight -= shares[t].weight
        return rates


class VirtualTimeCpu:
    """Processor sharing with one clock of service per request, an event per request, and a timeout per change."""

    def __init__(self, env: simpy.Environment, cores: int) -> None:
        self.env = env
        self.cores = cores
        self.heap: list[tuple[float, int, simpy.Event]] = []
        self.virtual = self.since = 0.0
        self.version = 0

    def serve(self, demand_s: float, tenant: int = 0) -> simpy.Event:
        self.advance()
        done = self.env.event()
        heappush(self.heap, (self.virtual + demand_s, self.version, done))
        self.plan()
        return done

    def pace(self) -> float:
        return min(1.0, self.cores / len(self.heap))

    def advance(self) -> None:
        if self.heap:
            self.virtual += (self.env.now - self.since) * self.pace()
        self.since = self.env.now

    def plan(self) -> None:
        self.version += 1
        if self.heap:
            wait = max(0.0, self.heap[0][0] - self.virtual) / self.pace()
            self.env.timeout(wait, self.version).callbacks.append(self.fire)

    def fire(self, timeout: Any) -> None:
        if timeout.value == self.version:
            self.advance()
            heappop(self.heap)[2].succeed()
            self.plan()


def plain(make: Callable[[simpy.Environment], Any], cores: int, tenants: int, requests: int) -> tuple[array[float], int]:
    env = simpy.Environment()
    cpu = make(env)
    gaps, demands, who = draws(LOAD * cores, tenants)
    responses = array("d")
    textbook = isinstance(cpu, TextbookCpu)

    def request(tenant: int) -> Iterator[simpy.Event]:
        arrival = env.now
        if textbook:
            yield from cpu.serve(next(demands), tenant)
        else:
            yield cpu.serve(next(demands), tenant)
        responses.append(env.now - arrival)

    def source() -> Iterator[simpy.Event]:
        for _ in range(requests):
            yield env.timeout(next(gaps))
            env.process(request(int(next(who))))

    env.process(source())
    env.run()
    return responses, next(env._eid)


# ---- simvirt ----


def fluid(cores: int, tenants: int, shares: list[Share] | None, requests: int) -> tuple[array[float], int]:
    """Open arrivals; each request takes a sleeping thread of its tenant, or a new one."""
    engine = Engine()
    cpu = FluidScheduler(engine, cores)
    groups = [cpu] if shares is None else [cpu.group(str(i), share) for i, share in enumerate(shares)]
    gaps, demands, who = (it.__next__ for it in draws(LOAD * cores, tenants))
    responses = array("d")
    idle: list[list[FluidThread]] = [[] for _ in groups]
    left = requests

    def done(request: tuple[float, int, FluidThread]) -> None:
        arrival, tenant, thread = request
        responses.append(engine._now - arrival)
        idle[tenant].append(thread)

    def arrive() -> None:
        nonlocal left
        now, tenant = engine._now, who()
        threads = idle[tenant]
        thread = threads.pop() if threads else groups[tenant].thread("t")
        thread.run(demands(), done, (now, tenant, thread))
        left -= 1
        if left:
            source.at(now + gaps())

    source = engine.wakeup(arrive)
    source.at(gaps())
    engine.run(until=10.0 * requests / cores)
    return responses, next(engine._eid)


def tenant_shares(tenants: int) -> list[Share]:
    return [Share(weight=(1.0, 2.0, 4.0)[i % 3], per_thread=False, cap_cores=1.0 if i % 5 == 0 else math.inf) for i in range(tenants)]


# ---- tables ----


def timed(model: Model, requests: int) -> tuple[float, array[float], int]:
    began = time.process_time()
    responses, events = model(requests)
    return requests / (time.process_time() - began), responses, events


def compare(title: str, ours: Model, theirs: Model, requests: int) -> None:
    """One line: rates and ratio over alternating rounds; both must simulate the same system."""
    rounds = []
    for _ in range(ROUNDS):
        other, expected, other_events = timed(theirs, requests)
        rate, responses, events = timed(ours, requests)
        assert math.isclose(statistics.fmean(responses), statistics.fmean(expected), rel_tol=1e-6)
        rounds.append((rate, other))
    ratios = sorted(rate / other for rate, other in rounds)
    rate, other = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(
        f"{title:28} {rate / 1e3:8.0f} {other / 1e3:8.1f} {ratios[0]:7.1f} {statistics.median(ratios):6.1f} {ratios[-1]:6.1f}"
        f" {events / requests:9.2f} {other_events / requests:8.2f}",
        flush=True,
    )


def cost(title: str, model: Model, requests: int) -> None:
    rate = statistics.median(timed(model, requests)[0] for _ in range(3))
    print(f"{title:28} {1e6 / rate:8.2f} us per request", flush=True)


def main(requests: int) -> None:
    print(f"{'':28} {'thousand requests/s':>17} {'ratio':>16} {'':6} {'events per request':>16}")
    print(f"{'model':28} {'simvirt':>8} {'SimPy':>8} {'min':>7} {'med':>6} {'max':>6} {'simvirt':>9} {'SimPy':>8}")
    for name, cores in (("C1 1 core", 1), ("C2 16 cores", 16)):
        ours = partial(fluid, cores, 1, None)
        textbook = partial(plain, partial(TextbookCpu, cores=cores), cores, 1)
        virtual = partial(plain, partial(VirtualTimeCpu, cores=cores), cores, 1)
        compare(f"{name}, textbook", ours, textbook, requests // 10)
        compare(f"{name}, virtual time", ours, virtual, requests)
    shares = tenant_shares(100)
    theirs = partial(plain, partial(TextbookCpu, cores=16, shares=shares), 16, 100)
    compare("E 100 tenants, textbook", partial(fluid, 16, 100, shares), theirs, requests // 20)
    for tenants in (10, 100, 1000, 10_000):
        cost(f"16 cores, {tenants} tenants", partial(fluid, 16, tenants, tenant_shares(tenants)), requests // 4)
    for cores in (1, 4, 16, 64, 128):
        cost(f"{cores} cores, 1000 tenants", partial(fluid, cores, 1000, tenant_shares(1000)), requests // 4)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
