"""CPU quotas against traces worked by hand. Milliseconds; period 100, slices of 5; quota = cap * 100."""

from __future__ import annotations

from math import inf

import pytest
from timeline import Task, Timeline, each

from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.bandwidth import QuotaRules
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.eevdf import EarliestEligibleDeadline
from simvirt.resources.cpu.discrete.proportional_share import ProportionalShare
from simvirt.resources.cpu.discrete.scheduler import DiscreteGroup

RULES = CompletelyFair(hz=1000)


def capped(cap_cores: float) -> Share:
    return Share(cap_cores=cap_cores)


def throttled(group: DiscreteGroup) -> tuple[int, int]:
    counters = group.counters()
    return counters.nr_throttled, counters.nr_periods


def bursts(task: Task, start_s: float, first_s: float) -> None:
    """`first_s` of work, then 50 on, 50 off for ever."""
    engine = task.timeline.engine
    source = engine.wakeup(lambda: task.thread.run(0.05, lambda _: source.at(engine.now + 0.05), None))
    engine.wakeup(lambda: task.thread.run(first_s, lambda _: source.at(engine.now + 0.05), None)).at(start_s)


@pytest.mark.parametrize("rules", [RULES, EarliestEligibleDeadline(hz=1000), ProportionalShare(hz=1000)])
def test_a_hog_runs_for_its_quota_and_waits_for_the_period(rules: AbstractRules) -> None:
    """10 per 100: two slices of 5, then nothing until 100; alone, whatever the order that the rules have."""
    line = Timeline(rules)
    a = line.task("a", capped(0.1)).hog()
    assert line.who(200, step=5.0) == ("aa" + "." * 18) * 2
    assert throttled(a.group) == (1, 1)  # the period that ends at 200 is counted by the events of that instant
    line.engine.run(0.205)
    assert throttled(a.group) == (2, 2)
    assert a.group.counters().throttled_usec == pytest.approx(2 * 90e3)


@pytest.mark.parametrize(
    ("cap_cores", "first_ms", "until_ms", "expected"),
    [(0.1, 50, 19_950, (199, 199)), (0.5, 60, 19_850, (1, 198)), (1.0, 50, 19_850, (0, 198))],
)
def test_half_time_work_under_three_quotas(cap_cores: float, first_ms: float, until_ms: float, expected: tuple[int, int]) -> None:
    """50 on, 50 off.

    Quota 10: 50 take the 10 of each of five periods, 0-10, 100-110 ... 400-410; asleep until 460, awake in a period without quota,
    throttled until 500. Every period ends throttled. Quota 50: the first burst is 60, so 10 are put off to 100-110: one period throttled.
    From then on it works at 0-10 and 60-100 of each period, all of the 50 and no more. Quota 100: never.
    """
    line = Timeline(RULES)
    task = line.task("a", capped(cap_cores))
    bursts(task, 0.0, first_ms / 1e3)
    line.engine.run(until_ms / 1e3)
    assert throttled(task.group) == expected


def test_an_overrun_is_paid_back() -> None:
    """250 Hz, quota 10. Tick 8 finds 5 used up and 3 more: 5 more are lent, 2 are left. Tick 12 finds -2 and an empty pool: throttled after
    12.

    At 100 the debt of 2 is paid, 8 are left: 100-108, in all 20 for two periods.
    """
    line = Timeline(CompletelyFair(hz=250))
    line.task("a", capped(0.1)).hog()
    assert line.who(200, step=4.0) == "aaa" + "." * 22 + "aa" + "." * 23


def test_several_threads_eat_one_quota() -> None:
    """Four cores, quota 20: each thread takes a slice of 5 and is throttled at 5, whatever the others do: 4 * 95 of waiting per period.

    At 100 each gets a nanosecond, runs, and owes 1 when tick 101 finds it. Three take the 5 of a slice and what they owe, 6; for the last 2
    are left.
    """
    line = Timeline(RULES, cores=4)
    group = line.cpu.group("g", capped(0.2))
    tasks = [line.task(name, inside=group).hog() for name in "abcd"]
    line.engine.run(0.099)
    assert each(tasks) == pytest.approx([5.0] * 4)
    line.engine.run(0.199)
    assert each(tasks) == pytest.approx([11.0, 11.0, 11.0, 7.0])
    counters = group.counters()
    assert (counters.nr_throttled, counters.nr_periods) == (1, 1)
    assert counters.throttled_usec == pytest.approx(4 * 95e3)
    assert group.account().steal_s == pytest.approx(0.0, abs=1e-9)  # it had what it is entitled to


def test_what_a_sleeper_leaves_goes_back_to_the_pool() -> None:
    """Two cores, quota 10: a and b take 5 each. b sleeps at 1 and keeps 1 of its 4; a is lent 3 at 5 and is throttled at 8."""
    line = Timeline(RULES, cores=2)
    group = line.cpu.group("g", capped(0.1))
    a, b = (line.task(name, inside=group) for name in "ab")
    a.hog()
    b.wakes((0.0, 1.0))
    line.engine.run(0.09)
    assert each([a, b]) == pytest.approx([8.0, 1.0])


def test_throttled_threads_get_what_sleepers_leave_a_little_later() -> None:
    """Four cores, quota 20. a and b take 5 each at 0, c and d at 4; at 5 a and b are throttled. c and d sleep at 5.2 with 3.8 left and keep
    1: 2 * 2.8 go back.

    These are more than a slice, so 5 later, at 10.2, a and b may go on. Tick 11: both owe 0.8. a gets all 5.6 and has 4.8 left; b is
    throttled, after 5.8. Tick 16 finds that a has used them and 0.2 more: throttled, after 5 + 5.8.
    """
    line = Timeline(RULES, cores=4)
    group = line.cpu.group("g", capped(0.2))
    tasks = [line.task(name, inside=group) for name in "abcd"]
    for task in tasks[:2]:
        task.hog()
    for task in tasks[2:]:
        task.wakes((4.0, 1.2))
    line.engine.run(0.099)
    assert each(tasks) == pytest.approx([10.8, 5.8, 1.2, 1.2])


def test_what_is_not_used_may_be_carried_over_as_burst() -> None:
    """Quota 10, slices of 1. After 2 of work the processor has taken 3 and keeps 1 (no more than 1 stays), the pool has 7. At 100 it is
    filled to 7 + 10, but no further than 10 and the burst of 5: so 1 + 15 in the second period, without burst 1 + 10.
    """
    for burst_s, expected in ((0.005, 16.0), (0.0, 11.0)):
        line = Timeline(CompletelyFair(hz=1000, quota=QuotaRules(burst_s=burst_s, slice_s=0.001)))
        a = line.task("a", capped(0.1)).wakes((0.0, 2.0), (110.0, 1e9))
        line.engine.run(0.199)
        assert each([a]) == pytest.approx([2.0 + expected])


def test_whoever_comes_back_is_taken_by_an_idle_core_within_a_tick() -> None:
    """Two cores, slices of 6: h and a (quota 10) take turns of 7 on core 0, c has core 1 until 50. a runs 7-14 and 21-24. At 100 it is back
    behind h; tick 101 finds core 1 idle.
    """
    line = Timeline(RULES, cores=2)
    line.task("h").hog()
    line.task("c").wakes((0.0, 50.0))
    a = line.task("a", capped(0.1)).hog()
    had = []
    for time in (7.0, 14.0, 21.0, 24.0, 101.0, 102.0, 111.0, 199.0):
        line.engine.run(time / 1e3)
        had.append(round(each([a])[0], 6))
    assert had == [0.0, 7.0, 7.0, 10.0, 10.0, 11.0, 20.0, 20.0]


def test_a_throttled_group_leaves_the_core_to_others_and_comes_back() -> None:
    """b runs while a (quota 10) is throttled; a comes back at 100 as a sleeper does: preempted or not, it gets its 10 again before long."""
    line = Timeline(RULES)
    a, b = line.task("a", capped(0.1)).hog(), line.task("b").hog()
    line.engine.run(1.0)
    assert each([a, b]) == pytest.approx([100.0, 900.0], abs=1.0)


def test_a_quota_on_a_virtual_machine_throttles_its_virtual_processors() -> None:
    """VM with 2 vCPUs, quota 20, two hogs in it on 2 cores: 20 in all per period, of the 20 that it is entitled to."""
    line = Timeline(RULES, cores=2)
    vm = line.cpu.group("vm", Share(cap_cores=0.2, processors=2))
    tasks = [line.task(name, inside=vm).hog() for name in "ab"]
    line.engine.run(0.999)
    assert sum(each(tasks)) == pytest.approx(200.0)
    assert (vm.counters().nr_throttled, vm.counters().nr_periods) == (9, 9)
    assert vm.account().entitled_s == pytest.approx(0.2 * 0.999)


def test_quotas_within_quotas() -> None:
    """An outer quota of 30 around inner ones of 20 and 20, on two cores: 30 in all. Alone, an inner group has its 20."""
    for names, expected in (("ab", 30.0), ("a", 20.0)):
        line = Timeline(RULES, cores=2)
        outer = line.cpu.group("outer", capped(0.3))
        tasks = [line.task(name, capped(0.2), inside=outer).hog() for name in names]
        line.engine.run(0.99)
        assert sum(each(tasks)) == pytest.approx(10 * expected, abs=1.0)


def test_a_group_without_a_cap_has_no_periods() -> None:
    line = Timeline(RULES)
    a = line.task("a", capped(inf)).hog()
    line.engine.run(1.0)
    assert throttled(a.group) == (0, 0)
    assert a.group.counters().throttled_usec == 0.0


# ---- slices that expire ----

EXPIRING = CompletelyFair(hz=1000, quota=QuotaRules(slice_expires=1.0))


@pytest.mark.parametrize(("rules", "second_ms"), [(RULES, 10.0), (EXPIRING, 8.0)])
def test_what_another_processor_loses_is_missing(rules: CompletelyFair, second_ms: float) -> None:
    """Two cores, quota 10. a runs for ever; b, on the other core, for 0.5 at 1 and at 101.2.

    a takes 5; b takes 5, uses 0.5, keeps 1 and gives back 3.5; a takes those at 5 and is throttled by tick 9, owing 0.5. At 100 it pays,
    at 101 it takes 6 for the 1 that it owes, and 3.5 are left. Kept, the 1 of b is enough: a takes the 3.5 at 106 and is throttled by tick
    110. Expired, b takes 3.5, keeps 1 and gives back 2: a takes those at 106 and is throttled at 108.
    """
    line = Timeline(rules, cores=2)
    group = line.cpu.group("g", capped(0.1))
    a = line.task("a", inside=group, core=0).hog()
    b = line.task("b", inside=group, core=1).wakes((1.0, 0.5), (101.2, 0.5))
    line.engine.run(0.099)
    assert each([a, b]) == pytest.approx([9.0, 0.5])
    line.engine.run(0.199)
    assert each([a, b]) == pytest.approx([9.0 + second_ms, 1.0])


@pytest.mark.parametrize(("rules", "until"), [(RULES, 114), (EXPIRING, 110)])
def test_a_slice_ends_with_its_period(rules: CompletelyFair, until: int) -> None:
    """Quota 10. a runs from 0 to 1 and keeps 1 of its slice; from 98 on it uses that, and takes 5 at 99. Kept, they last until 104, and the
    10 of the new period until 114. Expired, tick 100 finds 4 lost and takes 5 of the new 10, which last until 110.
    """
    line = Timeline(rules)
    line.task("a", capped(0.1)).wakes((0.0, 1.0), (98.0, 1e9))
    assert line.who(130) == "a" + "." * 97 + "a" * (until - 98) + "." * (130 - until)


@pytest.mark.parametrize(("rules", "done"), [(RULES, 105.0), (EXPIRING, 204.0)])
def test_a_burst_within_quota_may_wait_for_two_periods(rules: CompletelyFair, done: float) -> None:
    """Quota 20. On each of 20 cores something runs for 0.04, one after the other from 0 on and again from 100.01 on; a needs 5 at 1.

    Each takes 5, or what there is, and keeps 1: at 1 nothing is left of the 20, of which 0.8 were used, and a waits until 100. If slices
    are kept, the others need no more then: a runs from 100 to 105. If they expire, the others leave nothing again by tick 101, which
    finds a owing 1: throttled until 200, when it pays and has 4 to go. In no period more than 2 of 20 are used until then.
    """
    line = Timeline(rules, cores=21)
    group = line.cpu.group("g", capped(0.2))
    for i in range(20):
        line.task(f"light {i}", inside=group, core=i + 1).wakes((0.045 * i, 0.04), (100.01 + 0.045 * i, 0.04))
    a = line.task("a", inside=group, core=0).wakes((1.0, 5.0))
    line.engine.run(0.0995)
    first_s = group.account().busy_s
    line.engine.run(0.1995)
    assert first_s < 0.001
    if rules is EXPIRING:
        assert group.account().busy_s - first_s < 0.002
    line.finish(300)
    assert a.done == pytest.approx([done], abs=1e-5)
