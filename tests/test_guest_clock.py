"""Time as a guest's kernel sees it while its processors are taken away, against traces worked by hand. Milliseconds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeline import MS, Timeline, each

from simvirt.catalog import Catalog
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.proportional_share import ProportionalShare
from simvirt.resources.cpu.discrete.scheduler import Counters
from simvirt.scenario import Scenario
from simvirt.simulation import simulate

BELOW = ProportionalShare(quantum_s=0.01)
"""Turns of 10."""
INSIDE = CompletelyFair(hz=1000)
"""Ticks of 1; slices of 3 for two hogs on one processor."""

ONE = Share(processors=1)
READS_COUNTER = ONE
LOSES = replace(ONE, counts_ticks=True)
CATCHES_UP = replace(ONE, counts_ticks=True, redelivers_ticks=True, late_tick_s=0.1 * MS)
CHARGES = replace(ONE, charges_steal=True)


def spaced(who: str, first: int, turn: int) -> str:
    """The same in turns, for the reader."""
    turns = [who[:first]] if first else []
    return " ".join([*turns, *(who[i : i + turn] for i in range(first, len(who), turn))])


def two_turns(share: Share) -> tuple[list[float], Counters]:
    """x has the processor until 10 and from 20 to 30, a hog in a virtual machine the rest of 40. What x and the hog had."""
    line = Timeline(BELOW, inside=INSIDE)
    x = line.task("x").hog()
    vm = line.cpu.group("vm", share)
    a = line.task("a", inside=vm).hog()
    line.engine.run(40 * MS)
    return each([x, a]), vm.counters()


def test_a_clock_that_is_read_loses_nothing() -> None:
    """Away from 20 to 30 the ticks at 21 ... 30 were due: ten, of which one comes late. Until 10 there was no task yet to be ticked."""
    had, counters = two_turns(READS_COUNTER)
    assert had == pytest.approx([20.0, 20.0])
    assert (counters.missed_ticks, counters.backlog_ticks, counters.clock_lag_s, counters.steal_charged_s) == (10, 0, 0.0, 0.0)


def test_redelivered_ticks_come_before_the_task_goes_on() -> None:
    """Ten ticks of 0.1 take 1: the task goes on at 31 and has 10 + 9."""
    had, counters = two_turns(CATCHES_UP)
    assert had == pytest.approx([20.0, 19.0])
    assert (counters.missed_ticks, counters.backlog_ticks, counters.clock_lag_s) == (10, 10, 0.0)


def test_a_clock_that_counts_stays_behind_by_what_it_lost() -> None:
    had, counters = two_turns(LOSES)
    assert had == pytest.approx([20.0, 20.0])
    assert (counters.missed_ticks, counters.backlog_ticks) == (10, 0)
    assert counters.clock_lag_s == pytest.approx(10 * MS)


def test_only_the_first_processor_keeps_time() -> None:
    """Two cores: the one of vCPU 1 has a hog below, that of vCPU 0 has none. The ticks that vCPU 1 loses stop no clock."""
    line = Timeline(replace(BELOW, balance_s=1e3), cores=2, inside=replace(INSIDE, balance_s=1e3))
    line.task("x", Share(cpuset=frozenset({1}))).hog()
    vm = line.cpu.group("vm", replace(LOSES, processors=2, pins=(0, 1)))
    for i, name in enumerate("ab"):
        line.task(name, inside=vm, core=i).hog()
    line.engine.run(40 * MS)
    assert (vm.counters().missed_ticks, vm.counters().clock_lag_s) == (10, 0.0)


def behind_every_tick(share: Share) -> tuple[str, Counters]:
    """Turns of 5, the machine's from 2 on, ticks of 10: it is away at 10, 20 and 30, whenever its tick is due."""
    line = Timeline(ProportionalShare(quantum_s=0.005), inside=CompletelyFair(hz=100))
    line.task("y").wakes((0.0, 2.0))
    vm = line.cpu.group("vm", share)
    for name in "ab":
        line.task(name, inside=vm).hog()
    line.task("x").hog()
    return spaced(line.who(32), 2, 5), vm.counters()


def test_a_late_tick_ends_a_slice() -> None:
    """a has run 5, more than its slice of 3, when the tick of 10 comes at 12: b's turn."""
    who, counters = behind_every_tick(READS_COUNTER)
    assert who == "yy aaaaa xxxxx bbbbb xxxxx aaaaa xxxxx"
    assert counters.missed_ticks == 2  # at 32 it is away since 27: the tick of 30 is not late yet


def test_without_ticks_nobody_is_preempted() -> None:
    """The ticks of 10 and 20 never come, the next regular ones fall into the turns of x: a keeps the processor, and the clock stands."""
    who, counters = behind_every_tick(LOSES)
    assert who == "yy aaaaa xxxxx aaaaa xxxxx aaaaa xxxxx"
    assert counters.clock_lag_s == pytest.approx(20 * MS)


def two_inside(share: Share) -> tuple[str, Counters]:
    """Turns of 10 of x and of a machine with two hogs, a of weight 1 and b of 1/2. A latency of 6.6 gives them slices of 4.4 and 2.2: 5 and
    3 by ticks, in which the vruntime of a grows by 5 and that of b by 6.
    """
    line = Timeline(BELOW, inside=replace(INSIDE, latency_s=6.6 * MS))
    line.task("x").hog()
    vm = line.cpu.group("vm", share)
    for name, weight in (("a", 1.0), ("b", 0.5)):
        line.task(name, Share(weight=weight), inside=vm).hog()
    return spaced(line.who(40), 0, 10), vm.counters()


def test_stolen_time_that_is_subtracted_is_nobodys() -> None:
    """At 20 a has run 2 of its second slice, at 30 it has 3 to go. The vruntimes are 10 and 6 then: b, and a again with 10 against 12."""
    who, counters = two_inside(READS_COUNTER)
    assert who == "xxxxxxxxxx aaaaabbbaa xxxxxxxxxx aaabbbaaaa"
    assert counters.steal_charged_s == 0.0


def test_stolen_time_that_is_charged_is_run_time_of_whoever_had_the_processor() -> None:
    """At 20 the vruntimes are 7 and 6; at 30 a is charged 10 and has 17, which ends its slice. b has 12 at 33, 18 at 36: then a again."""
    who, counters = two_inside(CHARGES)
    assert who == "xxxxxxxxxx aaaaabbbaa xxxxxxxxxx bbbbbbaaaa"
    assert counters.steal_charged_s == pytest.approx(10 * MS)


def test_a_kernel_that_loses_ticks_does_not_know_of_stolen_time() -> None:
    _, counters = two_turns(replace(LOSES, charges_steal=True))
    assert counters.steal_charged_s == 0.0


def with_a_quota(share: Share) -> tuple[str, int]:
    """A container that may use 20 in 40, in a machine with every other 10. Who ran, and throttled periods."""
    line = Timeline(BELOW, inside=INSIDE)
    line.task("x").hog()
    vm = line.cpu.group("vm", share)
    line.task("a", Share(per_thread=False, cap_cores=0.5, period_s=0.04), inside=vm).hog()
    return line.who(41), vm.counters().nr_throttled


def test_a_quota_pays_for_stolen_time_unless_it_is_subtracted() -> None:
    """At 30 the container has used 10, and is charged 10 more: it is throttled until the period ends at 40, and the machine sleeps."""
    assert with_a_quota(READS_COUNTER) == ("x" * 10 + "a" * 10 + "x" * 10 + "a" * 10 + "x", 0)
    assert with_a_quota(CHARGES) == ("x" * 10 + "a" * 10 + "x" * 20 + "a", 1)


@settings(max_examples=20, deadline=None)
@given(
    quantum=st.sampled_from([3.0, 7.0, 10.0]), hz=st.sampled_from([100.0, 250.0, 1000.0]), until=st.integers(50, 400), counts=st.booleans(),
    redelivers=st.booleans(), charges=st.booleans(),
)  # fmt: skip
def test_what_is_missed_fits_into_what_was_stolen(
    quantum: float, hz: float, until: int, counts: bool, redelivers: bool, charges: bool
) -> None:
    """Ticks missed are those of the stolen time, to one per turn; the lag is theirs; no more is charged than was stolen; and the
    time of the core is conserved whatever the kernel believes.
    """
    line = Timeline(ProportionalShare(quantum_s=quantum * MS), inside=CompletelyFair(hz=hz))
    line.task("x").hog()
    share = replace(ONE, counts_ticks=counts, redelivers_ticks=redelivers, charges_steal=charges, late_tick_s=0.02 * MS)
    vm = line.cpu.group("vm", share)
    for name in "abc":
        line.task(name, inside=vm).hog()
    line.engine.run(until * MS)
    counters, times = vm.counters(), line.cpu.times()
    turns = until / quantum + 1
    assert abs(counters.missed_ticks - counters.steal_s * hz) <= turns + quantum * MS * hz * 2
    assert counters.clock_lag_s == pytest.approx(counters.missed_ticks / hz if counts and not redelivers else 0.0)
    assert counters.backlog_ticks <= (quantum * MS * hz + 1 if counts and redelivers else 0)
    assert counters.steal_charged_s <= counters.steal_s + 1e-9
    assert times.busy_s + times.idle_s + times.overhead_s == pytest.approx(until * MS, abs=1e-9)


def test_layers_say_how_a_guest_keeps_time() -> None:
    """Two guests with more to do than their core has, on a hypervisor that tells of steal; then on the same with an old kernel inside."""
    catalog = Catalog.builtin()
    load = {"kind": "closed", "clients": 2, "think": {"kind": "constant", "value": 0.0}}
    base = {
        "platform": "kvm", "machine": "small-server", "scheduler": "cfs",
        "tenants": [{"name": "job", "workload": "batch-compute", "count": 2, "load": load, "cpuset": "0"}],
        "run": {"duration_s": 2.0, "replications": 1, "seed": 1},
    }  # fmt: skip
    found = {}
    for name, override in {
        "modern": {},
        "no steal clock": {"kvm.cpu.tells_steal": 0.0},
        "no accounting": {"linux-guest.processes.subtracts_steal": 0.0},
        "counting": {"linux-guest.processes.counts_ticks": 1.0},
        "counting, lost": {"linux-guest.processes.counts_ticks": 1.0, "kvm.cpu.redelivers_ticks": 0.0},
    }.items():
        outcome = simulate(Scenario.model_validate({**base, "override": override}), catalog)
        rows = [row for row in outcome.rows({}) if row.entity == "instance/linux-guest of job 1"]
        found[name] = {row.metric: row.value for row in rows}
    assert all(values["missed_ticks"] > 50 for values in found.values())
    assert [name for name, values in found.items() if values["steal_charged_s"] > 0.5] == ["no steal clock", "no accounting"]
    assert [name for name, values in found.items() if values["backlog_ticks"] > 0] == ["counting"]
    assert [name for name, values in found.items() if values["clock_lag_s"] > 0.2] == ["counting, lost"]
