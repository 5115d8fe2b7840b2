"""Halt polling against traces worked by hand, in microseconds; and what it does to a request."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_every_scheduler import RULES

from simvirt.catalog import Catalog
from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.scenario import Scenario
from simvirt.simulation import simulate

US = 1e-6
VM = Share(processors=1, halt_poll_s=200 * US)


class Guest:
    """A virtual machine of one processor on one core, with a thread that runs for 10 at given times."""

    def __init__(self, starts: list[float]) -> None:
        self.engine = Engine()
        self.cpu = DiscreteScheduler(self.engine, 1, CompletelyFair())
        self.vm = self.cpu.group("vm", VM)
        self.done: list[float] = []
        thread = self.vm.thread("t")
        for start in starts:
            self.engine.wakeup(lambda: thread.run(10 * US, self._note, None)).at(start * US)

    def _note(self, _: None) -> None:
        self.done.append(self.engine.now / US)

    def overhead(self, until: float) -> float:
        self.engine.run(until * US)
        times = self.cpu.times()
        assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(until * US, abs=1e-12)
        return times.overhead_s / US


def test_the_window_grows_until_it_covers_the_halts() -> None:
    """Halts of 50 between bursts from 0, 60, 120 ...: windows 0, 10, 20, 40, 80: polled for 0, 10, 20, 40 and all 50."""
    guest = Guest([0.0, 60.0, 120.0, 180.0, 240.0, 300.0])
    assert [guest.overhead(until) for until in (60, 120, 180, 240, 300)] == pytest.approx([0, 10, 30, 70, 120])
    assert guest.done == pytest.approx([10, 70, 130, 190, 250])


def test_a_halt_longer_than_the_most_ends_polling() -> None:
    """After a halt of 50 the window is 10; the one of 300 is polled for 10 and makes it nothing; the next is not polled for."""
    guest = Guest([0.0, 60.0, 370.0, 430.0])
    assert [guest.overhead(until) for until in (370, 430)] == pytest.approx([10, 10])


def test_whoever_wants_the_core_gets_it_at_once() -> None:
    """Polling from 250 on, the window being 80; h comes at 270."""
    guest = Guest([0.0, 60.0, 120.0, 180.0, 240.0])
    hog = guest.cpu.thread("h")
    done: list[float] = []
    guest.engine.wakeup(lambda: hog.run(5 * US, lambda _: done.append(guest.engine.now / US), None)).at(270 * US)
    assert guest.overhead(400) == pytest.approx(70 + 20)
    assert done == pytest.approx([275])
    assert not guest.vm.polled_for()


def test_what_is_polled_for_is_told() -> None:
    guest = Guest([0.0, 60.0, 120.0, 180.0, 240.0])
    told = []
    for until in (30, 75, 90, 255):
        guest.engine.run(until * US)
        told.append(guest.vm.polled_for())
    assert told == [False, True, False, True]
    assert guest.vm.idle_processor_s() == pytest.approx(5 * US)  # to the guest it is idle; the core is not
    assert guest.cpu.idle_processor_s() < 0.0


spans = st.floats(1e-6, 1e-3)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
@settings(max_examples=15, deadline=None)
@given(
    bursts=st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 2e-3), spans), min_size=1, max_size=12),
    interrupts=st.lists(st.tuples(st.booleans(), st.floats(0.0, 2e-3), spans), max_size=4),
    cores=st.integers(1, 2),
)
def test_time_adds_up_and_all_work_is_done(
    rules: AbstractRules, bursts: list[tuple[int, float, float]], interrupts: list[tuple[bool, float, float]], cores: int
) -> None:
    """Threads of the host, of a polled machine of two processors and of one nested in it, with interrupts of the host and the machine."""
    engine = Engine()
    cpu = DiscreteScheduler(engine, cores, rules)
    vm = cpu.group("vm", Share(processors=2, halt_poll_s=200 * US))
    nested = vm.group("nested", Share(processors=1, halt_poll_s=200 * US))
    handlers = {inside: (vm if inside else cpu).group("interrupts", Share(interrupt=True)) for inside in (False, True)}
    done: list[float] = []
    jobs = [((cpu, vm, nested)[level], start_s, burst_s) for level, start_s, burst_s in bursts]
    jobs += [(handlers[inside], start_s, burst_s) for inside, start_s, burst_s in interrupts]
    for group, start_s, burst_s in jobs:
        thread = group.thread("t")
        engine.wakeup(lambda t=thread, s=burst_s: t.run(s, done.append, s)).at(start_s)
    for stop_s in (0.001, 0.0021, 1.0):
        engine.run(stop_s)
        times = cpu.times()
        assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(cores * stop_s, abs=1e-9)
    assert sorted(done) == sorted(burst_s for _, _, burst_s in jobs)


def _kvm(halt_poll: float) -> Scenario:
    """One client that asks again 30 us after its answer, so that halts are short."""
    load = {"kind": "closed", "clients": 1, "think": {"kind": "constant", "value": 30 * US}}
    tenant = {"name": "t", "workload": "key-value-store", "load": load}
    run = {"duration_s": 0.5, "replications": 2, "seed": 1}
    table = {"name": "poll", "platform": "kvm", "machine": "small-server", "tenants": [tenant], "run": run, "scheduler": "cfs"}
    return Scenario.model_validate({**table, "override": {"kvm.cpu.halt_poll_s": halt_poll}})


def test_a_request_pays_the_exit_in_place_of_the_wake_up() -> None:
    """What is saved is the wake-up of the virtual processor, and its core's exit from the idle state; the parts still add up."""
    catalog = Catalog.builtin()
    polled, halted = (simulate(_kvm(us), catalog).tenants[0] for us in (200.0, 0.0))
    parts = [{part.cause: part.seconds for part in tenant.time_parts} for tenant in (polled, halted)]
    kvm = catalog.stack("kvm", "small-server").layers[1]
    wake_s = kvm.cpu.wake_s.si  # type: ignore[attr-defined]
    assert parts[0].get("vcpu_wake", 0.0) < 0.05 * wake_s
    assert parts[1]["vcpu_wake"] > 0.95 * wake_s
    assert parts[0]["halt_exit"] == pytest.approx(parts[1]["halt_exit"], rel=0.05)
    for tenant in (polled, halted):
        assert sum(part.seconds for part in tenant.time_parts) == pytest.approx(tenant.histogram.mean_s, rel=1e-6)
    assert polled.histogram.mean_s < halted.histogram.mean_s - 0.9 * wake_s


