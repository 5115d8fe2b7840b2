"""A key-value server and an endless loop on one core, response time against load: python tests/benchmarks/shared_core.py

Two cores, 250 Hz. A server thread (20 us a request, first come, first served) and a loop that never sleeps are both tied to core 0, each in
a control group of its own of weight 2/1024, as pods without requests or limits are. Clients send on 64 connections, one request at a time
on each, as a Poisson stream while a connection is free; a measuring client adds 1,000 requests per second, and its response times are the
ones shown. Published for such a pair, with 0.5 to 0.9 ms of network in the times: 95th percentile about 4 ms at 5,000 requests per second,
3 to 4 ms at 20,000 to 25,000, 5 to 9 ms past saturation, 0.49 to 0.55 of the throughput without the loop. Nothing here is fitted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from simvirt.engine import Engine
from simvirt.randomness import Streams, blocks
from simvirt.resources.cpu.contract import AbstractScheduler, AbstractThread, Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.eevdf import EarliestEligibleDeadline
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.resources.cpu.fluid import FluidScheduler

SERVICE_S = 20e-6
CONNECTIONS = 64
MEASURING_PER_S = 1_000.0
SECONDS = 4.0
POD = Share(weight=2 / 1024, per_thread=False)


class Server:
    """One thread that serves the requests of two streams in order of arrival."""

    def __init__(self, engine: Engine, thread: AbstractThread, rate_per_s: float) -> None:
        self.engine = engine
        self.thread = thread
        self.served = 0
        self.responses: list[float] = []
        self._queue: deque[tuple[float, bool]] = deque()
        self._busy_connections = 0
        self._stream("load", rate_per_s - MEASURING_PER_S, self._load)
        self._stream("measuring", MEASURING_PER_S, self._measuring)

    def _stream(self, name: str, rate_per_s: float, arrive: Callable[[], None]) -> None:
        rng = Streams(1).stream(name)
        gaps = blocks(lambda n: rng.exponential(1 / rate_per_s, n))

        def fire() -> None:
            arrive()
            source.at(self.engine.now + next(gaps))

        source = self.engine.wakeup(fire)
        source.at(self.engine.now + next(gaps))

    def _load(self) -> None:
        if self._busy_connections < CONNECTIONS:
            self._busy_connections += 1
            self._accept(measured=False)

    def _measuring(self) -> None:
        self._accept(measured=True)

    def _accept(self, *, measured: bool) -> None:
        self._queue.append((self.engine.now, measured))
        if len(self._queue) == 1:
            self.thread.run(SERVICE_S, self._done, None)

    def _done(self, _: None) -> None:
        arrived, measured = self._queue.popleft()
        self.served += 1
        if measured:
            self.responses.append(self.engine.now - arrived)
        else:
            self._busy_connections -= 1
        if self._queue:
            self.thread.run(SERVICE_S, self._done, None)


def measure(rate_per_s: float, rules: AbstractRules | None, *, loop: bool, seconds: float = SECONDS) -> tuple[float, float]:
    """Throughput per second and 95th percentile of the response time in seconds."""
    engine = Engine()
    pods: list[AbstractThread]
    if rules is None:
        cpu: AbstractScheduler = FluidScheduler(engine, 1)
        pods = [cpu.group(name, POD).thread(name) for name in ("server", "loop")]
    else:
        machine = DiscreteScheduler(engine, 2, rules)
        pods = [machine.group(name, POD).thread(name, frozenset({0})) for name in ("server", "loop")]
    server = Server(engine, pods[0], rate_per_s)
    if loop:
        pods[1].run(1e6, print, None)
    engine.run(seconds)
    return server.served / seconds, float(np.quantile(server.responses, 0.95))


def main() -> None:
    systems = (("CFS", CompletelyFair()), ("EEVDF", EarliestEligibleDeadline()), ("processor sharing", None))
    print(f"{'':14}" + "".join(f"{name:>26}" for name, _ in systems) + f"{'CFS without the loop':>26}")
    print(f"{'offered k/s':14}" + f"{'served k/s   p95 ms':>26}" * 4)
    most = [0.0] * 4
    for rate_per_s in range(5_000, 60_000, 5_000):
        cells = [measure(rate_per_s, rules, loop=True) for _, rules in systems]
        cells.append(measure(rate_per_s, systems[0][1], loop=False))
        most = [max(before, throughput) for before, (throughput, _) in zip(most, cells, strict=True)]
        print(f"{rate_per_s / 1e3:<14g}" + "".join(f"{served / 1e3:17.1f}{1e3 * p95:9.2f}" for served, p95 in cells), flush=True)
    ratios = (f"{name} {m / most[-1]:.2f}" for (name, _), m in zip(systems, most, strict=False))
    print("capacity to that without the loop: " + ", ".join(ratios))


if __name__ == "__main__":
    main()
