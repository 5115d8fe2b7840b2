"""How many scheduling decisions a second of CPU time makes, and how that scales: python tests/benchmarks/scheduling.py

*Hogs*: tasks that never sleep; a decision is a switch at a tick. *Bursts*: tasks that sleep and wake, 100 us of work each time at a load
of 0.7; a decision is a burst: a wake-up, a choice, an end. Every task is in a control group of its own. From 1 to 1,000 tasks on one core,
and from 1 to 128 cores with 4 tasks each. CPU time, setting up included; the median of three runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from simvirt.engine import Engine
from simvirt.randomness import Streams, blocks
from simvirt.resources.cpu.contract import AbstractScheduler, AbstractThread, Share
from simvirt.resources.cpu.discrete.borrowed_virtual_time import BorrowedVirtualTime
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.credit import Credit
from simvirt.resources.cpu.discrete.credit2 import Credit2
from simvirt.resources.cpu.discrete.eevdf import EarliestEligibleDeadline
from simvirt.resources.cpu.discrete.proportional_share import ProportionalShare
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.resources.cpu.fluid import FluidScheduler

SWITCHES = 1_000
BURSTS = 5_000
WORK_S = 1e-4
LOAD = 0.7
RULES: dict[str, AbstractRules] = {
    "CFS": CompletelyFair(hz=1000),
    "EEVDF": EarliestEligibleDeadline(hz=1000),
    "credit": Credit(),
    "credit2": Credit2(),
    "shares": ProportionalShare(),
    "bvt": BorrowedVirtualTime(),
}


def threads(cpu: AbstractScheduler, tasks: int) -> list[AbstractThread]:
    return [cpu.group(str(i), Share(weight=1 + i % 3, per_thread=False)).thread("t") for i in range(tasks)]


def hogs(rules: AbstractRules, cores: int, tasks: int) -> int:
    """Decisions made while tasks that never sleep take turns."""
    engine = Engine()
    cpu = DiscreteScheduler(engine, cores, rules)
    for thread in threads(cpu, tasks):
        thread.run(1e9, str, None)
    decisions, until_s = 0, 0.0
    while decisions < SWITCHES and until_s < 1e4:
        until_s += SWITCHES * 0.004 / cores / 4
        engine.run(until_s)
        decisions = cpu.counters().involuntary_switches
    return decisions


def bursts(cpu: AbstractScheduler, engine: Engine, cores: int, tasks: int) -> int:
    """Bursts served while tasks come and go, each in its turn if it is asleep."""
    rng = Streams(1).stream("bursts")
    gaps = blocks(lambda n: rng.exponential(WORK_S / (LOAD * cores), n))
    works = blocks(lambda n: rng.exponential(WORK_S, n))
    asleep = threads(cpu, tasks)
    asleep.reverse()
    served = 0

    def done(thread: AbstractThread) -> None:
        nonlocal served
        served += 1
        asleep.append(thread)

    def wake() -> None:
        if asleep:
            thread = asleep.pop()
            thread.run(next(works), done, thread)
        source.at(engine.now + next(gaps))

    source = engine.wakeup(wake)
    source.at(0.0)
    engine.run(BURSTS * WORK_S / (LOAD * cores))
    return served


def rate(run: Callable[[], int]) -> float:
    rates = []
    for _ in range(3):
        began = time.process_time()
        decisions = run()
        rates.append(decisions / (time.process_time() - began))
    return statistics.median(rates)


def row(title: str, cells: list[float]) -> None:
    print(f"{title:26}" + "".join(f"{cell / 1e3:10.1f}" for cell in cells), flush=True)


def sleepers(rules: AbstractRules | None, cores: int, tasks: int) -> int:
    engine = Engine()
    cpu = FluidScheduler(engine, cores) if rules is None else DiscreteScheduler(engine, cores, rules)
    return bursts(cpu, engine, cores, tasks)


def main() -> None:
    print("thousands of decisions per CPU second" + "".join(f"\n{'':26}" + "".join(f"{name:>10}" for name in [*RULES, "fluid"])))
    for tasks in (2, 10, 100, 1000):
        row(f"hogs: {tasks} on 1 core", [rate(lambda r=r, n=tasks: hogs(r, 1, n)) for r in RULES.values()])
    for cores in (1, 8, 32, 128):
        row(f"hogs: {4 * cores} on {cores} cores", [rate(lambda r=r, m=cores: hogs(r, m, 4 * m)) for r in RULES.values()])
    for tasks in (1, 10, 100, 1000):
        row(f"bursts: {tasks} on 1 core", [rate(lambda r=r, n=tasks: sleepers(r, 1, n)) for r in [*RULES.values(), None]])
    for cores in (1, 8, 32, 128):
        row(f"bursts: {4 * cores} on {cores} cores", [rate(lambda r=r, m=cores: sleepers(r, m, 4 * m)) for r in [*RULES.values(), None]])


if __name__ == "__main__":
    main()
