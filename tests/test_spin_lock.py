"""Spin locks: traces worked by hand, in microseconds; laws for any rules; closed forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_every_scheduler import RULES

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractScheduler, AbstractThread, Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.resources.cpu.fluid.scheduler import FluidScheduler
from simvirt.resources.lock import SpinLock

US = 1e-6
TICK = 1000.0
"""Microseconds between two ticks."""
RULES_OF_HOST = CompletelyFair(hz=1e6 / TICK, latency_s=1000 * US, min_granularity_s=1000 * US, wakeup_granularity_s=1.0)
"""On two cores scaled by 1 + log2(2) = 2: slices of 1,000 for two tasks; who wakes up never preempts."""


@dataclass
class Sections:
    """Who was in a section, from when to when, in order, and who had asked when."""

    engine: Engine
    lock: SpinLock
    log: list[tuple[str, float, float]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    inside: str | None = None
    begun: float = 0.0

    def enter(self, name: str, thread: AbstractThread, held: float) -> None:
        self.asked.append(name)
        self.lock.acquire(thread, held * US, self._over, (name, thread), self._got)

    def _got(self, who: tuple[str, AbstractThread], spun_s: float) -> None:
        assert self.inside is None
        assert spun_s >= 0.0
        self.inside, self.begun = who[0], self.engine.now / US

    def _over(self, who: tuple[str, AbstractThread]) -> None:
        name, thread = who
        assert self.inside == name
        self.inside = None
        self.log.append((name, self.begun, self.engine.now / US))
        self.lock.release(thread)


def preempted_holder(*, window: float, boost: bool = False) -> tuple[Sections, DiscreteScheduler]:
    """Core 0: vCPU h and a neighbour x; core 1: vCPU w and a neighbour y; h and w are of one machine, x and y for ever.

    h computes for 900 and then holds the lock for 200; w computes for 950 and then wants it for 50.
    """
    engine = Engine()
    cpu = DiscreteScheduler(engine, 2, RULES_OF_HOST)
    vm = cpu.group("vm", Share(processors=2, pins=(0, 1), pause_loop_s=window * US, boosts_holder=boost))
    sections = Sections(engine, SpinLock(fair=True))
    for name, before, held in (("h", 900.0, 200.0), ("w", 950.0, 50.0)):
        thread = vm.thread(name)
        ask = (name, thread, held)
        thread.run(before * US, lambda a: sections.enter(*a), ask)
    for core in (0, 1):
        cpu.thread("neighbour", frozenset({core})).run(1e3, lambda _: None, None)
    return sections, cpu


def busy(cpu: DiscreteScheduler, until: float) -> float:
    """Time spun until then. All time is accounted for."""
    cpu.engine.run(until * US)
    times = cpu.times()
    assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(cpu.cores * until * US, abs=1e-12)
    return times.spun_s / US


