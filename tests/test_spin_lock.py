"""Spin locks: traces worked by hand, in microseconds; laws for any rules; closed forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_every_scheduler import RULES

from simvirt.catalog import Catalog
from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractThread, Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.resources.lock import SpinLock
from simvirt.scenario import Scenario
from simvirt.simulation import simulate
from simvirt.simulation.outcome import RunOutcome

US = 1e-6
TICK = 1000.0
"""Microseconds between two ticks."""
RULES_OF_HOST = CompletelyFair(hz=1e6 / TICK, latency_s=1000 * US, min_granularity_s=1000 * US, wakeup_granularity_s=1.0)
"""On two cores all is scaled by 1 + log2(2) = 2. Slice of two tasks: max(2,000, 2 * 2,000) / 2 = 2,000, over at the first tick at which
a task has run for more: every 3,000 if it began at a tick."""


@dataclass
class Sections:
    """Who was in a section, from when to when, in order."""

    engine: Engine
    lock: SpinLock
    log: list[tuple[str, float, float]] = field(default_factory=list)
    inside: str | None = None
    begun: float = 0.0

    def enter_after(self, before: float, name: str, thread: AbstractThread, held: float) -> None:
        """Compute, then ask for the lock and hold it."""
        thread.run(before * US, lambda _: self.enter(name, thread, held), None)

    def enter(self, name: str, thread: AbstractThread, held: float) -> None:
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
    """Core 0: vCPU h and a neighbour x; core 1: vCPU w and a neighbour y; h and w are of one machine, x and y run for ever.

    h computes for 900 and then holds the lock for 3,000; w computes for 950 and then wants it for 50.
    """
    engine = Engine()
    cpu = DiscreteScheduler(engine, 2, RULES_OF_HOST)
    vm = cpu.group("vm", Share(processors=2, pins=(0, 1), pause_loop_s=window * US, boosts_holder=boost))
    sections = Sections(engine, SpinLock(fair=True))
    for name, before, held in (("h", 900.0, 3000.0), ("w", 950.0, 50.0)):
        sections.enter_after(before, name, vm.thread(name), held)
    for core in (0, 1):
        cpu.thread("neighbour", frozenset({core})).run(1e3, lambda _: None, None)
    return sections, cpu


def busy(cpu: DiscreteScheduler, until: float) -> float:
    """Time spun until then. All time is accounted for."""
    cpu.engine.run(until * US)
    times = cpu.times()
    assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(cpu.cores * until * US, abs=1e-12)
    return times.spun_s / US


def test_a_preempted_holder_lets_the_other_spin() -> None:
    """h has 2,100 of its section until 3,000, when x takes the core until 6,000; the other 900 until 6,900.

    w spins from 950 to 3,000, when y takes its core until 6,000, then from 6,000 to 6,900: 2,050 + 900 = 2,950. Then its section.
    """
    sections, cpu = preempted_holder(window=0.0)
    assert busy(cpu, 8000) == pytest.approx(2950)
    assert [name for name, _, _ in sections.log] == ["h", "w"]
    assert [end for _, _, end in sections.log] == pytest.approx([6900, 6950])


def test_a_window_lets_others_run_instead() -> None:
    """w spins for 20 from 950 and y gets the core; y has run for 2,030 at 3,000: w is back and spins for 20. y from 3,020: at 6,000 it has
    run for 2,980 (at 5,000 for 1,980). w spins for 20; y from 6,020, until 9,000. h is done at 6,900 as before, so w enters at 9,000.
    """
    sections, cpu = preempted_holder(window=20.0)
    assert [busy(cpu, until) for until in (960, 2000, 4000, 10_000)] == pytest.approx([10, 20, 40, 60])
    assert [end for _, _, end in sections.log] == pytest.approx([6900, 9050])


def test_a_boosted_holder_is_done_sooner() -> None:
    """At 970 h runs: nobody to boost. At 3,020 h waits since 3,000: it gets core 0 back from x for its other 900, until 3,920.

    w is back at 6,000 as before, and finds that the lock is its own.
    """
    sections, cpu = preempted_holder(window=20.0, boost=True)
    assert busy(cpu, 10_000) == pytest.approx(40)
    assert [end for _, _, end in sections.log] == pytest.approx([3920, 6050])


def test_an_unfair_lock_falls_to_who_has_a_processor() -> None:
    """Only w shares its core. It asks before v.

    h has the lock from 100 to 3,500. w loses its core from 3,000 to 6,000, v never loses its own. Fair: w at 6,000, then v.
    Not fair: v at 3,500, then w when it comes back.
    """
    for fair, expected in ((True, [("h", 3500), ("w", 6050), ("v", 6100)]), (False, [("h", 3500), ("v", 3550), ("w", 6050)])):
        engine = Engine()
        cpu = DiscreteScheduler(engine, 3, RULES_OF_HOST)
        vm = cpu.group("vm", Share(processors=3, pins=(0, 1, 2)))
        sections = Sections(engine, SpinLock(fair=fair))
        for name, before, held in (("h", 100.0, 3400.0), ("w", 200.0, 50.0), ("v", 300.0, 50.0)):
            sections.enter_after(before, name, vm.thread(name), held)
        cpu.thread("neighbour", frozenset({1})).run(1e3, lambda _: None, None)
        busy(cpu, 10_000)
        assert [(name, round(end)) for name, _, end in sections.log] == expected


def test_a_kernel_does_not_preempt_who_holds_its_lock() -> None:
    """One core, no machine in between: h holds the lock from 100 on for 7,000, though x waits and slices are shorter."""
    engine = Engine()
    cpu = DiscreteScheduler(engine, 1, RULES_OF_HOST)
    sections = Sections(engine, SpinLock(fair=True))
    sections.enter_after(100.0, "h", cpu.thread("h"), 7000.0)
    cpu.thread("x").run(1e3, lambda _: None, None)
    assert busy(cpu, 10_000) == 0.0
    ((_, begin, end),) = sections.log
    assert (begin, end) == pytest.approx((100, 7100))


def test_only_the_holder_can_release() -> None:
    engine = Engine()
    with pytest.raises(RuntimeError, match="only be released by its holder"):
        SpinLock(fair=True).release(DiscreteScheduler(engine, 1, RULES_OF_HOST).thread("t"))


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
@settings(max_examples=12, deadline=None)
@given(
    visits=st.lists(st.tuples(st.integers(0, 3), st.floats(10.0, 3000.0), st.floats(10.0, 3000.0)), min_size=2, max_size=14),
    fair=st.booleans(),
    window=st.sampled_from([0.0, 5.0, 300.0]),
    boost=st.booleans(),
    cores=st.integers(1, 3),
    nested=st.booleans(),
)
def test_sections_exclude_each_other_and_everybody_is_served(
    rules: AbstractRules, visits: list[tuple[int, float, float]], fair: bool, window: float, boost: bool, cores: int, nested: bool
) -> None:
    """Never two in a section (`Sections` asserts it), nobody left out, in the order of asking where the lock is fair; all time is accounted
    for, and what is not idle, spun or overhead is the work.
    """
    engine = Engine()
    cpu = DiscreteScheduler(engine, cores, rules)
    share = Share(processors=3, pause_loop_s=window * US, boosts_holder=boost)
    vm = cpu.group("vm", share)
    if nested:
        vm = vm.group("inner", share)
    sections = Sections(engine, SpinLock(fair=fair))
    work = 0.0
    for who in range(4):
        mine = [(before, held) for one, before, held in visits if one == who]
        work += sum(before + held for before, held in mine)
        _in_turn(sections, vm.thread(str(who)), f"{who}", mine)
    for _ in range(2):
        cpu.thread("neighbour").run(5000 * US, lambda _: None, None)
    engine.run(2.0)
    times = cpu.times()
    assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(cores * 2.0, abs=1e-9)
    assert times.busy_s - times.spun_s == pytest.approx((work + 10_000) * US, abs=1e-9)
    assert sorted(name for name, _, _ in sections.log) == sorted(str(who) for who, _, _ in visits)
    assert all(end <= begin + 1e-6 for (_, _, end), (_, begin, _) in zip(sections.log, sections.log[1:], strict=False))


def _in_turn(sections: Sections, thread: AbstractThread, name: str, visits: list[tuple[float, float]]) -> None:
    """Compute and hold the lock, in turn; it begins with the lock."""
    left = iter(visits)

    def go_on(_: object = None) -> None:
        following = next(left, None)
        if following is not None:
            before, held = following
            thread.run(before * US, lambda _: sections.lock.acquire(thread, held * US, over, (name, thread), sections._got), None)

    def over(who: tuple[str, AbstractThread]) -> None:
        sections._over(who)
        go_on()

    go_on()


@settings(max_examples=30, deadline=None)
@given(starts=st.lists(st.integers(0, 2000), min_size=2, max_size=8, unique=True), held=st.floats(1.0, 500.0))
def test_a_fair_lock_serves_in_the_order_of_asking(starts: list[int], held: float) -> None:
    """On a core each: the k-th to ask ends at max(its own asking, the end before) + held, as in a queue."""
    engine = Engine()
    cpu = DiscreteScheduler(engine, len(starts), RULES_OF_HOST)
    sections = Sections(engine, SpinLock(fair=True))
    for i, start in enumerate(starts):
        sections.enter_after(start + 1.0, str(i), cpu.thread(str(i)), held)
    spun = busy(cpu, 10_000)
    end = waited = 0.0
    names, ends = [], []
    for start, i in sorted((start, i) for i, start in enumerate(starts)):
        waited += max(0.0, end - start - 1.0)
        end = max(start + 1.0, end) + held
        names.append(str(i))
        ends.append(end)
    assert [name for name, _, _ in sections.log] == names
    assert [end for _, _, end in sections.log] == pytest.approx(ends, abs=1e-3)
    assert spun == pytest.approx(waited, abs=1e-3)


def test_nothing_but_sections_is_a_queue_of_one_server() -> None:
    """Poisson arrivals at half the rate, exponential sections, a core for everybody: mean response time s / (1 - 1/2) = 2 s (M/M/1)."""
    means = [_mean_response(seed) for seed in range(20)]
    mean, half_width = float(np.mean(means)), 4.0 * float(np.std(means, ddof=1)) / 20**0.5
    assert half_width < 0.1 * 2.0
    assert abs(mean - 2.0) <= half_width


def _mean_response(seed: int) -> float:
    """In mean sections."""
    rng = np.random.default_rng(seed)
    engine = Engine()
    cpu = DiscreteScheduler(engine, 24, RULES_OF_HOST)
    sections = Sections(engine, SpinLock(fair=True))
    came = np.cumsum(rng.exponential(2.0, 3000))
    for i, (at, held) in enumerate(zip(came, rng.exponential(1.0, 3000), strict=True)):
        engine.wakeup(partial(sections.enter, str(i), cpu.thread(str(i)), held)).at(at * US)
    engine.run()
    ends = {int(name): end for name, _, end in sections.log}
    return float(np.mean([ends[i] - at for i, at in enumerate(came)]))


# --- In a scenario ---------------------------------------------------------------------------------------------------

FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "profiles"
CATALOG = Catalog.builtin(FOLDER)


def _run(platform: str, *, vms: int, clients: int = 2, scheduler: str = "platform", compute_us: float = 200.0) -> RunOutcome:
    override = {"locked-pieces.piece.compute.cpu_s": compute_us}
    load = {"kind": "closed", "clients": clients, "think": {"kind": "constant", "value": 0.0}}
    tenants = [{"name": "vm", "workload": "locked-pieces", "load": load, "vcpus": 4, "threads": clients, "count": vms}]
    table = {"name": "locks", "platform": platform, "machine": "small-server", "tenants": tenants, "override": override}
    both = {"scheduler": scheduler, "guest_scheduler": scheduler, "run": {"duration_s": 0.2, "seed": 3, "replications": 2}}
    return simulate(Scenario.model_validate({**table, **both}), CATALOG)


def _parts(outcome: RunOutcome) -> dict[str, float]:
    return {part.cause: part.seconds for part in outcome.tenants[0].classes[0].parts}


@pytest.mark.parametrize("platform", ["bare-metal", "kvm", "docker"])
@pytest.mark.parametrize("scheduler", ["platform", "fluid"])
def test_alone_the_lock_costs_nothing(platform: str, scheduler: str) -> None:
    parts = _parts(_run(platform, vms=1, clients=1, scheduler=scheduler))
    assert parts["critical_section"] == pytest.approx(10e-6)
    assert "spin" not in parts
    assert parts.get("wait for lock", 0.0) == pytest.approx(0.0, abs=1e-12)


def test_one_lock_per_kernel() -> None:
    """Sections only: two machines have a lock each, two containers share one, so that they do half as much."""
    outcomes = {platform: _run(platform, vms=2, compute_us=0.001) for platform in ("kvm", "docker", "bare-metal")}
    each = {platform: sum(tenant.throughput_per_s for tenant in outcome.tenants) for platform, outcome in outcomes.items()}
    assert each["docker"] == pytest.approx(1e5, rel=0.01)
    assert each["bare-metal"] == pytest.approx(1e5, rel=0.01)
    assert each["kvm"] == pytest.approx(2e5, rel=0.01)


@pytest.mark.parametrize("scheduler", ["platform", "fluid"])
def test_time_adds_up(scheduler: str) -> None:
    """What was charged, the time spun included, is what the processors served, but for requests at the edges of the window."""
    outcome = _run("kvm", vms=2, clients=4, scheduler=scheduler, compute_us=20.0)
    parts = _parts(outcome)
    assert parts.get("wait for lock", 0.0) + parts.get("spin", 0.0) > 5e-6
    busy_s = outcome.cpu_utilization * 8 * 0.18
    assert sum(t.cpu_s for t in outcome.tenants) == pytest.approx(busy_s, rel=1e-3)
