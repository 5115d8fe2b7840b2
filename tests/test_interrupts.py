"""Interrupts against traces worked by hand, and laws that hold under every set of rules. Times are in milliseconds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_every_scheduler import RULES, every_rules
from timeline import MS, Timeline

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.credit import Credit
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler

INTERRUPT = Share(weight=1000.0, interrupt=True)
TICKS = CompletelyFair(hz=1000)


@every_rules
def test_whoever_was_interrupted_goes_on(rules: AbstractRules) -> None:
    """Two hogs of tiny weight: an interrupt from 0.3 to 0.4 takes the time of whoever runs; that one, not the other, goes on after it.

    The shortest turn of any rules here ends after 0.5 (credit2) or at the first tick after 0.75: until 0.499 nobody else can come.
    """
    line = Timeline(rules)
    for name in "ab":
        line.task(name, Share(weight=2 / 1024, per_thread=False)).hog()
    i = line.task("i", INTERRUPT).wakes((0.3, 0.1))
    line.finish(0.499)
    assert i.done == pytest.approx([0.4])
    assert sorted(line.groups[name].account().busy_s / MS for name in "ab") == pytest.approx([0.0, 0.399])


def test_the_interrupted_pays_for_the_interrupt() -> None:
    """Slice 3, at 1000 Hz: a until tick 4, the interrupt from 1.5 to 2 included, so a has worked for 3.5; b from 4 to 8."""
    line = Timeline(TICKS)
    a, b = line.task("a").hog(), line.task("b").hog()
    line.task("i", INTERRUPT).wakes((1.5, 0.5))
    line.finish(4)
    assert (a.group.account().busy_s / MS, b.group.account().busy_s / MS) == pytest.approx((3.5, 0.0))
    assert line.who(12) == "bbbbaaaa"


def test_a_tick_that_comes_during_an_interrupt_is_dealt_with_after_it() -> None:
    """Tick 4 would end a's turn; the interrupt lasts from 3.5 to 4.4: b from 4.4. At tick 8 b has run for 3.6 > 3, but is 0.8 behind a:
    it goes on; at tick 9 it is 0.2 ahead.
    """
    line = Timeline(TICKS)
    a, b = line.task("a").hog(), line.task("b").hog()
    line.task("i", INTERRUPT).wakes((3.5, 0.9))
    line.finish(10)
    assert (a.group.account().busy_s / MS, b.group.account().busy_s / MS) == pytest.approx((3.5 + 1.0, 4.6))


@pytest.mark.parametrize(("light", "done"), [(False, 11.5), (True, 12.25)])
def test_a_wake_up_in_an_interrupt_preempts_or_not(light: bool, done: float) -> None:
    """a has v = 8.25 when the interrupt, from 11 to 11.25, ends and wakes b, at 8.25 - 3 = 5.25: 3 > 1, so b runs at once, for 0.25.

    With weight 2 each, v grows by 512 per ms and the granularity is 512 ms, of which b is not ahead: a goes on, until tick 12.
    """
    line = Timeline(TICKS)
    share = Share(weight=2 / 1024 if light else 1.0, per_thread=False)
    line.task("a", share).hog()
    b = line.task("b", share)
    handler = line.cpu.group("i", INTERRUPT).thread("i")
    line.engine.wakeup(lambda: handler.run(0.25 * MS, lambda _: b.thread.run(0.25 * MS, b._note, None), None)).at(11 * MS)
    line.finish(14)
    assert b.done == pytest.approx([done])


def test_interrupts_of_one_processor_queue() -> None:
    """One of 1.0 at 1, another of 0.5 at 1.25: done at 2 and 2.5; a has worked for 1 + 0.5 at 3. The second has waited for 0.75."""
    line = Timeline(TICKS)
    a = line.task("a").hog()
    i, j = line.task("i", INTERRUPT).wakes((1.0, 1.0)), line.task("j", INTERRUPT).wakes((1.25, 0.5))
    line.finish(3)
    assert (i.done, j.done) == (pytest.approx([2.0]), pytest.approx([2.5]))
    assert a.group.account().busy_s / MS == pytest.approx(1.5)
    assert j.group.counters().wait_s / MS == pytest.approx(0.75)
    assert a.group.counters().involuntary_switches == 0


def test_a_switch_that_was_interrupted_is_finished_afterwards() -> None:
    """The switch to a takes 0.2; an interrupt of 1.0 comes at 0.1: a begins at 1.2 and is done with 1.0 at 2.2."""
    line = Timeline(CompletelyFair(hz=1000, switch_s=0.2 * MS))
    a = line.task("a").wakes((0.0, 1.0))
    line.task("i", INTERRUPT).wakes((0.1, 1.0))
    assert line.finish(5) == pytest.approx({"a": 2.2, "i": 1.1})
    assert a.done == pytest.approx([2.2])
    times = line.cpu.times()
    assert times.overhead_s / MS == pytest.approx(0.2)
    assert times.idle_s / MS == pytest.approx(5 - 2.2)


def test_an_idle_core_takes_an_interrupt_and_the_thread_woken_goes_where_it_was() -> None:
    """Two cores, a on one of them: the interrupt goes to the other."""
    line = Timeline(TICKS, cores=2)
    a = line.task("a").hog()
    line.task("i", INTERRUPT).wakes((1.0, 1.0))
    line.finish(3)
    assert a.group.account().busy_s / MS == pytest.approx(3.0)


def test_an_interrupt_of_a_virtual_machine_waits_until_its_processor_runs() -> None:
    """A VM with a hog on a core with another one, slices of 30: VM until 30, b until 60. The interrupt at 40 waits for 60; at 30.5 of the
    next turn it is at once. One into a sleeping VM boosts it: credit's wake-up at 100.25 preempts.
    """
    line = Timeline(Credit(), inside=TICKS)
    vm = line.cpu.group("vm", Share(processors=1))
    v = line.task("v", inside=vm).hog()
    line.task("b").hog()
    i = line.task("i", INTERRUPT, inside=vm).wakes((40.0, 1.0), (80.0, 1.0))
    line.finish(95)
    assert i.done == pytest.approx([61.0, 81.0])
    assert v.group.account().busy_s / MS == pytest.approx(30 + 28)
    assert vm.counters().steal_s / MS == pytest.approx(30 + 5)


def test_an_interrupt_wakes_a_halted_virtual_processor() -> None:
    line = Timeline(Credit(), inside=TICKS)
    vm = line.cpu.group("vm", Share(processors=1))
    line.task("b").hog()
    i = line.task("i", INTERRUPT, inside=vm).wakes((12.5, 0.5))
    line.finish(20)
    assert i.done == pytest.approx([13.0])


spans = st.floats(1e-5, 0.02)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
@settings(max_examples=20, deadline=None)
@given(
    interrupts=st.lists(st.tuples(st.booleans(), st.floats(0.0, 0.1), spans), min_size=1, max_size=8),
    bursts=st.lists(st.tuples(st.booleans(), st.floats(0.0, 0.1), spans), min_size=1, max_size=6),
    cores=st.integers(1, 2),
)
def test_time_adds_up_and_all_work_is_done(
    rules: AbstractRules, interrupts: list[tuple[bool, float, float]], bursts: list[tuple[bool, float, float]], cores: int
) -> None:
    """Interrupts of the machine and of a virtual machine of two processors, among threads of both, with switches that cost something."""
    engine = Engine()
    cpu = DiscreteScheduler(engine, cores, type(rules)(switch_s=3e-5, tick_s=1e-5))
    vm = cpu.group("vm", Share(processors=2))
    groups = {inside: ((vm if inside else cpu).group("i", INTERRUPT), vm if inside else cpu) for inside in (False, True)}
    done: list[float] = []
    for kind, jobs in enumerate((interrupts, bursts)):
        for inside, start_s, burst_s in jobs:
            thread = groups[inside][kind].thread("t")
            engine.wakeup(lambda t=thread, s=burst_s: t.run(s, done.append, s)).at(start_s)
    for stop_s in (0.05, 0.11, 1.0):
        engine.run(stop_s)
        times = cpu.times()
        assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(cores * stop_s, abs=1e-9)
    assert sorted(done) == sorted(burst_s for _, _, burst_s in (*interrupts, *bursts))
    assert cpu.account().busy_s == pytest.approx(sum(done), abs=1e-12)


def test_an_interrupt_at_the_very_end_of_a_burst() -> None:
    """a ends at 1, when an interrupt of 1 comes that was there before: a is done, b begins at 2, after the interrupt."""
    line = Timeline(TICKS)
    line.task("i", INTERRUPT).wakes((1.0, 1.0))
    line.task("a").wakes((0.0, 1.0))
    line.task("b").wakes((1.5, 1.0))
    assert line.finish(5) == pytest.approx({"a": 1.0, "i": 2.0, "b": 3.0})


def test_a_wake_up_in_an_interrupt_does_not_hide_a_tick_before_it() -> None:
    """As above, with a light c that wakes at 4.2, in the interrupt from 3.5 to 4.4 and after tick 4: b runs from 4.4 all the same."""
    line = Timeline(TICKS)
    line.task("a").hog()
    b = line.task("b").hog()
    line.task("i", INTERRUPT).wakes((3.5, 0.9))
    line.task("c", Share(weight=2 / 1024, per_thread=False)).hog(4.2)
    line.finish(4.9)
    assert b.group.account().busy_s / MS == pytest.approx(0.5)
