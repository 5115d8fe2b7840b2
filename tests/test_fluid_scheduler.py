"""Fluid CPU sharing against hand arithmetic, closed forms and a slow integrator that solves every rate again at every event."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simvirt.engine import Engine
from simvirt.randomness import Streams, blocks
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.fluid import FluidGroup, FluidScheduler, FluidThread

CONTAINER = Share(per_thread=False)


# ---- hand-worked traces ----


class Trace:
    """Runs bursts at given times and keeps when each was done."""

    def __init__(self, cores: int) -> None:
        self.engine = Engine()
        self.cpu = FluidScheduler(self.engine, cores)
        self.done_at: dict[str, float] = {}

    def burst(self, thread: FluidThread, name: str, cpu_s: float, start_s: float = 0.0) -> None:
        self.engine.wakeup(lambda: thread.run(cpu_s, self.note, name)).at(start_s)

    def note(self, name: str) -> None:
        self.done_at[name] = self.engine.now

    def finish(self, until: float = 1000.0) -> dict[str, float]:
        self.engine.run(until)
        return self.done_at


def test_two_level_shares_on_one_core() -> None:
    """A VM with one vCPU and two threads beside a native thread: 1/4, 1/4, 1/2.

    Native: 1 s at 1/2 is done at 2.0. Until then each guest thread got 0.5 s; alone on the vCPU each runs at 1/2:
    guest a (1 s) needs 0.5 more, done at 3.0; guest b (2 s) then has 1 s left at rate 1, done at 4.0.
    """
    trace = Trace(cores=1)
    vm = trace.cpu.group("vm", Share(processors=1))
    trace.burst(trace.cpu.thread("native"), "native", 1.0)
    trace.burst(vm.thread("a"), "a", 1.0)
    trace.burst(vm.thread("b"), "b", 2.0)
    assert trace.finish() == pytest.approx({"native": 2.0, "a": 3.0, "b": 4.0}, rel=1e-14)


def test_two_level_shares_on_two_cores() -> None:
    """A VM with two vCPUs and two threads beside a native thread on 2 cores: 2/3 each, so 1 s takes 1.5 s."""
    trace = Trace(cores=2)
    vm = trace.cpu.group("vm", Share(processors=2))
    trace.burst(trace.cpu.thread("native"), "native", 1.0)
    trace.burst(vm.thread("a"), "a", 1.0)
    trace.burst(vm.thread("b"), "b", 1.0)
    assert trace.finish() == pytest.approx({"native": 1.5, "a": 1.5, "b": 1.5}, rel=1e-14)


def test_weights_per_group_and_per_thread() -> None:
    """1 core. Containers a (weight 1, two threads) and b (weight 3, one thread): a gets 1/4, each of its threads 1/8; b 3/4.

    b: 1.5 s at 3/4, done at 2.0. Each thread of a has 1/4 s by then; alone they run at 1/2: a0 (1 s) is done at 2 + 0.75/0.5 = 3.5,
    and so is a1. With the weight per thread a would have 2 / (2 + 3) and b 3/5: b is done at 2.5, a0 and a1 have 0.5 each: done at 3.5.
    """
    for per_thread, b_done in ((False, 2.0), (True, 2.5)):
        trace = Trace(cores=1)
        a = trace.cpu.group("a", Share(weight=1, per_thread=per_thread))
        b = trace.cpu.group("b", Share(weight=3, per_thread=per_thread))
        trace.burst(a.thread("0"), "a0", 1.0)
        trace.burst(a.thread("1"), "a1", 1.0)
        trace.burst(b.thread("0"), "b", 1.5)
        assert trace.finish() == pytest.approx({"a0": 3.5, "a1": 3.5, "b": b_done}, rel=1e-14)


def test_a_capped_group_leaves_the_rest_to_others() -> None:
    """2 cores: group capped at 0.5 with 2 threads (1/4 each), 3 native threads share 1.5 (1/2 each).

    Natives: 1 s each, done at 2.0. The capped threads run at 1/4 whatever happens: 1 s each, done at 4.0.
    Weights alone would have given every thread 2/5.
    """
    trace = Trace(cores=2)
    capped = trace.cpu.group("capped", Share(cap_cores=0.5))
    for i in range(2):
        trace.burst(capped.thread(str(i)), f"capped{i}", 1.0)
    for i in range(3):
        trace.burst(trace.cpu.thread(str(i)), f"native{i}", 1.0)
    done_at = trace.finish()
    assert [done_at[f"native{i}"] for i in range(3)] == pytest.approx([2.0] * 3, rel=1e-14)
    assert [done_at[f"capped{i}"] for i in range(2)] == pytest.approx([4.0] * 2, rel=1e-14)


def test_containers_inside_a_vm_divide_what_the_vm_is_given() -> None:
    """1 core; VM with 2 vCPUs holding containers x (weight 2) and y (weight 1), one thread each; beside it one native thread.

    The VM weighs 2 against 1: it gets 2/3, x 4/9 and y 2/9; native 1/3. x: 4/9 s is done at 1.0; the VM then weighs 1: y and native 1/2.
    y has 5/18 of its 1/2 s left, done at 1 + 5/9. Native (1 s) has 2/3 - 5/18 = 7/18 left then, done at 1 + 5/9 + 7/18 = 35/18.
    """
    trace = Trace(cores=1)
    vm = trace.cpu.group("vm", Share(processors=2))
    trace.burst(vm.group("x", Share(weight=2, per_thread=False)).thread("x"), "x", 4 / 9)
    trace.burst(vm.group("y", CONTAINER).thread("y"), "y", 0.5)
    trace.burst(trace.cpu.thread("native"), "native", 1.0)
    assert trace.finish() == pytest.approx({"x": 1.0, "y": 1 + 5 / 9, "native": 35 / 18}, rel=1e-14)


def test_a_group_may_be_divided_while_its_threads_run() -> None:
    """1 core. Container c runs one thread from 0 and is given a child group at 1 whose thread then takes half: 2 s done at 3, 1 s at 3."""
    trace = Trace(cores=1)
    c = trace.cpu.group("c", CONTAINER)
    trace.burst(c.thread("own"), "own", 2.0)
    trace.engine.run(1.0)
    trace.burst(c.group("child", CONTAINER).thread("inner"), "inner", 1.0, start_s=1.0)
    assert trace.finish() == pytest.approx({"own": 3.0, "inner": 3.0}, rel=1e-14)
    assert c.account().busy_s == pytest.approx(3.0, rel=1e-14)
    assert c.account().runnable_s == pytest.approx(1.0 + 2 * 2.0, rel=1e-14)


def test_accounts_separate_steal_from_waiting_for_a_vcpu() -> None:
    """1 core, VM with one vCPU and two threads of 1 s beside a native thread of 1 s (rates 1/4, 1/4, 1/2 until 2.0, then 1/2, 1/2).

    VM: busy 2 s, entitled to 1 core for 3 s, so 1 s is stolen; two threads runnable for 3 s: 6 s, so 3 s wait for the vCPU.
    Root: busy 3 s, entitled 3 s, runnable 2 * 3 + 2 = 8 s.
    """
    trace = Trace(cores=1)
    vm = trace.cpu.group("vm", Share(processors=1))
    for name in "ab":
        trace.burst(vm.thread(name), name, 1.0)
    trace.burst(trace.cpu.thread("native"), "native", 1.0)
    trace.finish()
    account, root = vm.account(), trace.cpu.account()
    assert (account.busy_s, account.entitled_s, account.runnable_s) == pytest.approx((2.0, 3.0, 6.0), rel=1e-13)
    assert (account.steal_s, account.ready_s) == pytest.approx((1.0, 3.0), rel=1e-13)
    assert (root.busy_s, root.entitled_s, root.runnable_s) == pytest.approx((3.0, 3.0, 8.0), rel=1e-13)


def test_accounts_may_be_read_and_restarted_in_mid_burst() -> None:
    """1 core, two threads in two groups: from 0.5 to 1.25 each group is busy 3/8 s."""
    trace = Trace(cores=1)
    groups = [trace.cpu.group(name, Share()) for name in "ab"]
    for group in groups:
        trace.burst(group.thread("t"), group.name, 5.0)
    trace.engine.run(0.5)
    assert groups[0].account().busy_s == pytest.approx(0.25, rel=1e-14)
    trace.cpu.restart()
    trace.engine.run(1.25)
    for group in groups:
        assert group.account().busy_s == pytest.approx(0.375, rel=1e-14)
        assert group.account().entitled_s == pytest.approx(0.75, rel=1e-14)
    assert trace.cpu.account().busy_s == pytest.approx(0.75, rel=1e-14)


def test_the_longest_idle_time_of_a_group_counts_from_when_its_processor_fell_idle() -> None:
    """VM with 2 vCPUs on 4 cores. a runs from 1 to 2, b from 1.5 to 3; the processor that fell idle last is woken first."""
    trace = Trace(cores=4)
    vm, container = trace.cpu.group("vm", Share(processors=2)), trace.cpu.group("container", CONTAINER)
    trace.burst(vm.thread("a"), "a", 1.0, start_s=1.0)
    trace.burst(vm.thread("b"), "b", 1.5, start_s=1.5)
    idle = {}
    for time in (0.75, 1.25, 1.75, 2.25, 3.5):
        trace.engine.run(time)
        idle[time] = vm.idle_processor_s()
    assert idle == {0.75: 0.75, 1.25: 1.25, 1.75: -1.0, 2.25: 0.25, 3.5: 1.5}
    vm.group("inner", CONTAINER).thread("c").run(9.0, trace.note, "c")
    assert vm.idle_processor_s() == 1.5  # a's, idle since 2; b's works for c
    assert trace.cpu.idle_processor_s() == 3.5  # two cores were idle all the time
    assert container.idle_processor_s() < 0.0


def test_a_processor_whose_next_thread_comes_at_once_is_not_woken() -> None:
    trace = Trace(cores=1)
    vm = trace.cpu.group("vm", Share(processors=1))
    found: list[float] = []
    vm.thread("a").run(1.0, lambda _: found.extend([vm.idle_processor_s(), trace.cpu.idle_processor_s()]), None)
    assert vm.idle_processor_s() < 0.0
    trace.engine.run(2.0)
    assert max(found) < 0.0
    assert (vm.idle_processor_s(), trace.cpu.idle_processor_s()) == (1.0, 1.0)


def test_bursts_done_together_are_reported_in_order_of_start() -> None:
    trace = Trace(cores=1)
    groups = [trace.cpu.group(str(i), Share()) for i in range(3)]
    threads = [group.thread("t") for group in groups for _ in range(3)]
    order = [4, 0, 8, 2, 6, 1, 7, 3, 5]
    for i in order:
        threads[i].run(1.0, trace.note, str(i))
    done_at = trace.finish()
    assert list(done_at) == [str(i) for i in order]
    assert set(done_at.values()) == {9.0}


def test_a_burst_may_start_the_next_one_from_within_its_completion() -> None:
    """1 core: a ping-pong of 1 s bursts between two groups is done at 1, 2, 3 ...; one more thread on the side halves the speed."""
    trace = Trace(cores=1)
    threads = [trace.cpu.group(str(i), CONTAINER).thread("t") for i in range(2)]
    times: list[float] = []

    def again(turn: int) -> None:
        times.append(trace.engine.now)
        threads[turn % 2].run(1.0, again, turn + 1)

    threads[0].run(1.0, again, 1)
    trace.engine.run(4.5)
    assert times == [1.0, 2.0, 3.0, 4.0]
    trace.burst(trace.cpu.thread("side"), "side", 100.0, start_s=5.0)
    trace.engine.run(12.0)
    assert times[4:] == pytest.approx([5.0, 7.0, 9.0, 11.0], rel=1e-14)


@pytest.mark.parametrize("cpu_s", [0.0, -1.0, math.inf, math.nan])
def test_a_burst_must_be_positive_and_finite(cpu_s: float) -> None:
    thread = FluidScheduler(Engine(), 1).thread("web")
    with pytest.raises(ValueError, match=rf"thread web: burst of {cpu_s} s; must be positive and finite"):
        thread.run(cpu_s, print, None)


def test_a_thread_runs_one_burst_at_a_time() -> None:
    thread = FluidScheduler(Engine(), 1).thread("web")
    thread.run(1.0, print, None)
    with pytest.raises(RuntimeError, match="thread web: runs a burst already"):
        thread.run(1.0, print, None)


@pytest.mark.parametrize("share", [Share(weight=0.0), Share(weight=math.inf), Share(cap_cores=0.0), Share(processors=0)])
def test_a_share_must_be_positive(share: Share) -> None:
    with pytest.raises(ValueError, match=r"group web: .* must be positive"):
        FluidScheduler(Engine(), 1).group("web", share)


def test_short_bursts_late_in_a_long_run_beside_a_hog_are_neither_lost_nor_early() -> None:
    """Time 1e5 s, bursts of 1e-6 s beside a thread that never sleeps, on 1 core: each takes 2e-6 s, to the resolution of the clock."""
    trace = Trace(cores=1)
    trace.cpu.group("hog", CONTAINER).thread("hog").run(1e9, trace.note, "hog")
    thread = trace.cpu.group("web", CONTAINER).thread("web")
    trace.engine.run(1e5)
    spans: list[float] = []

    def again(start_s: float) -> None:
        spans.append(trace.engine.now - start_s)
        if len(spans) < 1000:
            thread.run(1e-6, again, trace.engine.now)

    thread.run(1e-6, again, trace.engine.now)
    trace.engine.run(1e5 + 1.0)
    assert len(spans) == 1000
    assert sum(spans) == pytest.approx(2e-3, rel=1e-4)
    assert max(abs(span - 2e-6) for span in spans) <= 4 * math.ulp(1e5)


def test_heaps_do_not_grow_with_the_number_of_bursts() -> None:
    """A hog's far completion is noted anew after each of 2,000 short bursts in its group; what is outdated must not pile up."""
    trace = Trace(cores=1)
    groups = [trace.cpu.group(str(i), CONTAINER) for i in range(2)]
    for group in groups:
        group.thread("hog").run(1e6, trace.note, "hog")
    turns = 0

    def again(thread: FluidThread) -> None:
        nonlocal turns
        turns += 1
        thread.run(1e-3, again, thread)

    again(groups[0].thread("web"))
    trace.engine.run(2000 * 4e-3)
    assert turns >= 2000 - 1
    assert sum(len(cohort.heap) for cohort in trace.cpu._root.cohorts) < 40
    assert len(trace.engine._queue) < 5


# ---- a slow, obviously correct integrator ----


@dataclass
class Branch:
    """A group of a random tree: its share, its threads, its children."""

    share: Share
    threads: list[int] = field(default_factory=list)
    children: list[Branch] = field(default_factory=list)

    def runnable(self, left: dict[int, float]) -> int:
        return sum(t in left for t in self.threads) + sum(child.runnable(left) for child in self.children)

    def maximum(self, left: dict[int, float]) -> float:
        below = sum(t in left for t in self.threads) + sum(child.maximum(left) for child in self.children)
        return min(below, self.share.processors, self.share.cap_cores)

    def weight(self, left: dict[int, float]) -> float:
        return self.share.weight * (min(self.runnable(left), self.share.processors) if self.share.per_thread else 1)

    def rates(self, rate: float, left: dict[int, float], out: dict[int, float]) -> None:
        """Fill in the rate of every thread below when this group receives `rate` cores."""
        leaves = [t for t in self.threads if t in left]
        groups = [child for child in self.children if child.runnable(left)]
        shares = water_fill(rate, [(1.0, 1.0)] * len(leaves) + [(c.weight(left), c.maximum(left)) for c in groups])
        out.update(zip(leaves, shares, strict=False))
        for child, share in zip(groups, shares[len(leaves) :], strict=True):
            child.rates(share, left, out)

    def walk(self) -> Iterator[Branch]:
        yield self
        for child in self.children:
            yield from child.walk()


def water_fill(rate: float, children: list[tuple[float, float]]) -> list[float]:
    """min(maximum, weight * level) for each (weight, maximum), with the level such that they add up to `rate`."""
    result = [0.0] * len(children)
    weight_left = sum(weight for weight, _ in children)
    for i in sorted(range(len(children)), key=lambda i: children[i][1] / children[i][0]):
        weight, maximum = children[i]
        result[i] = min(maximum, rate * weight / weight_left)
        rate -= result[i]
        weight_left -= weight
    return result


Plan = list[list[tuple[float, float]]]
"""For each thread, its (sleep, burst) pairs in turn."""


def integrate(tree: Branch, cores: int, plan: Plan) -> tuple[list[list[float]], dict[int, tuple[float, float, float]], float]:
    """When each burst of each thread is done; busy, entitled and runnable seconds of each branch by its id; when all is done."""
    now, left = 0.0, dict[int, float]()
    turn = [0] * len(plan)
    wakes = {t: bursts[0][0] for t, bursts in enumerate(plan) if bursts}
    done: list[list[float]] = [[] for _ in plan]
    accounts = {id(branch): (0.0, 0.0, 0.0) for branch in tree.walk()}
    while wakes or left:
        rates: dict[int, float] = {}
        if left:
            tree.rates(min(cores, tree.maximum(left)), left, rates)
        step = min([left[t] / rates[t] for t in left] + [wake - now for wake in wakes.values()])
        finished = [t for t in left if left[t] / rates[t] <= step * (1 + 1e-13) + 1e-15]
        for branch in tree.walk():
            busy_s, entitled_s, runnable_s = accounts[id(branch)]
            rate = sum(rates.get(t, 0.0) for below in branch.walk() for t in below.threads)
            maximum = min(branch.maximum(left), cores) if branch is tree else branch.maximum(left)
            accounts[id(branch)] = (busy_s + rate * step, entitled_s + maximum * step, runnable_s + branch.runnable(left) * step)
        for t in left:
            left[t] -= rates[t] * step
        now += step
        for t in [t for t, wake in wakes.items() if wake <= now]:
            del wakes[t]
            left[t] = plan[t][turn[t]][1]
        for t in finished:
            del left[t]
            done[t].append(now)
            turn[t] += 1
            if turn[t] < len(plan[t]):
                sleep, burst = plan[t][turn[t]]
                if sleep:
                    wakes[t] = now + sleep
                else:
                    left[t] = burst
    return done, accounts, now


class Built:
    """The same tree under the scheduler, driven by the same plan."""

    def __init__(self, tree: Branch, cores: int, plan: Plan) -> None:
        self.engine = Engine()
        self.cpu = FluidScheduler(self.engine, cores)
        self.plan = plan
        self.threads: dict[int, FluidThread] = {}
        self.groups: list[tuple[Branch, FluidGroup | FluidScheduler]] = []
        self.done: list[list[float]] = [[] for _ in plan]
        self._build(tree, self.cpu)
        self._wakeups = [self.engine.wakeup(self._starter(t)) for t in range(len(plan))]
        for t, bursts in enumerate(plan):
            if bursts:
                self._wakeups[t].at(bursts[0][0])

    def _build(self, branch: Branch, group: FluidGroup | FluidScheduler) -> None:
        self.groups.append((branch, group))
        self.threads.update((t, group.thread(str(t))) for t in branch.threads)
        for i, child in enumerate(branch.children):
            self._build(child, group.group(str(i), child.share))

    def _starter(self, t: int) -> Callable[[], None]:
        return lambda: self.threads[t].run(self.plan[t][len(self.done[t])][1], self._finished, t)

    def _finished(self, t: int) -> None:
        self.done[t].append(self.engine.now)
        turn = len(self.done[t])
        if turn < len(self.plan[t]):
            sleep, burst = self.plan[t][turn]
            if sleep:
                self._wakeups[t].at(self.engine.now + sleep)
            else:
                self.threads[t].run(burst, self._finished, t)


numbers = st.sampled_from([0.25, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0])
shares = st.builds(
    Share,
    weight=st.sampled_from([0.3, 1.0, 1.0, 2.0, 5.0]),
    per_thread=st.booleans(),
    cap_cores=st.one_of(st.just(math.inf), numbers),
    processors=st.one_of(st.just(math.inf), st.sampled_from([1, 2, 3])),
)
spans = st.one_of(st.sampled_from([0.5, 1.0, 2.0]), st.floats(1e-3, 3.0))
sleeps = st.one_of(st.just(0.0), st.sampled_from([0.5, 1.0]), st.floats(1e-3, 2.0))


@st.composite
def systems(draw: st.DrawFn) -> tuple[Branch, int, Plan]:
    """A random tree of up to three levels of groups with a random plan for each of its threads."""
    plan: Plan = []

    def branch(share: Share, depth: int) -> Branch:
        node = Branch(share)
        for _ in range(draw(st.integers(0, 3))):
            node.threads.append(len(plan))
            first = [(draw(sleeps), draw(spans))]
            plan.append(first + draw(st.lists(st.tuples(sleeps, spans), max_size=3)))
        if depth:
            node.children = [branch(draw(shares), depth - 1) for _ in range(draw(st.integers(0, 3)))]
        return node

    return branch(Share(), 3), draw(st.integers(1, 4)), plan


def close(measured: list[list[float]], expected: list[list[float]]) -> bool:
    return all(
        len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-9) for x, y in zip(a, b, strict=True))
        for a, b in zip(measured, expected, strict=True)
    )


@settings(max_examples=200, deadline=None)
@given(systems())
def test_completions_and_accounts_agree_with_the_slow_integrator(system: tuple[Branch, int, Plan]) -> None:
    tree, cores, plan = system
    expected, accounts, end = integrate(tree, cores, plan)
    built = Built(tree, cores, plan)
    built.engine.run(until=max(end, 1e-3) * 1.000001)
    assert close(built.done, expected)
    for branch, group in built.groups:
        account = group.account()
        measured = (account.busy_s, account.entitled_s, account.runnable_s)
        assert measured == pytest.approx(accounts[id(branch)], rel=1e-9, abs=1e-12)
    work = sum(cpu_s for bursts in plan for _, cpu_s in bursts)
    assert built.cpu.account().busy_s == pytest.approx(work, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(systems(), st.lists(st.floats(0.01, 10.0), min_size=2, max_size=5))
def test_no_group_exceeds_its_limits_and_the_cores_are_never_idle_in_vain(system: tuple[Branch, int, Plan], pauses: list[float]) -> None:
    """Between any two looks, also in mid-burst, and looking changes nothing."""
    tree, cores, plan = system
    built = Built(tree, cores, plan)
    times = [0.0, *sorted(set(pauses))]
    for before, after in pairwise(times):
        built.cpu.restart()
        built.engine.run(after)
        span = after - before
        for branch, group in built.groups:
            account = group.account()
            assert account.busy_s <= span * min(branch.share.cap_cores, branch.share.processors, cores) * (1 + 1e-9)
        root = built.cpu.account()
        assert root.busy_s == pytest.approx(root.entitled_s, rel=1e-9, abs=1e-12)  # idle only for want of threads that may run
    expected, _, end = integrate(tree, cores, plan)
    built.engine.run(max(end, times[-1]) * 1.000001)
    assert close(built.done, expected)


@settings(max_examples=60, deadline=None)
@given(systems(), shares)
def test_two_equal_groups_swapped_swap_their_results(system: tuple[Branch, int, Plan], share: Share) -> None:
    """Two groups of one share beside a random tree; exchanging which plan runs in which exchanges the results, to the last bit."""
    tree, cores, plan = system
    first, second = Branch(share, [len(plan), len(plan) + 1]), Branch(share, [len(plan) + 2])
    plan = [*plan, [(0.1, 1.0)], [(0.2, 0.7), (0.1, 0.9)], [(0.15, 1.3), (0.0, 0.4)]]
    results = []
    for pair in ([first, second], [second, first]):
        built = Built(Branch(Share(), tree.threads, [*pair, *tree.children]), cores, plan)
        built.engine.run(1000.0)
        results.append(built.done)
    assert results[0] == results[1]


# ---- closed forms ----

REPLICATIONS = 10


def mean_response_s(cores: int, rate_per_s: float, draw: Callable[[np.random.Generator, int], np.ndarray], replication: int) -> float:
    """Mean response time of an open system without groups, the first tenth dropped."""
    requests = 20_000
    streams = Streams(7, replication)
    arrivals, demands = streams.stream("arrivals"), streams.stream("demands")
    gaps, works = blocks(lambda n: arrivals.exponential(1 / rate_per_s, n)), blocks(lambda n: draw(demands, n))
    engine = Engine()
    cpu = FluidScheduler(engine, cores)
    idle: list[FluidThread] = []
    responses: list[float] = []

    def done(request: tuple[float, FluidThread]) -> None:
        responses.append(engine.now - request[0])
        idle.append(request[1])

    def arrive() -> None:
        thread = idle.pop() if idle else cpu.thread("t")
        thread.run(next(works), done, (engine.now, thread))
        source.at(engine.now + next(gaps))

    source = engine.wakeup(arrive)
    source.at(next(gaps))
    engine.run(requests / rate_per_s)
    return float(np.mean(responses[len(responses) // 10 :]))


def exponential(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.exponential(1.0, n)


def lognormal(rng: np.random.Generator, n: int) -> np.ndarray:
    """Mean 1, coefficient of variation 2."""
    sigma = math.sqrt(math.log(5.0))
    return rng.lognormal(-sigma * sigma / 2, sigma, n)


def erlang_c_response_s(servers: int, rate_per_s: float) -> float:
    """M/M/c with a mean service time of 1 s: 1 + P(wait) / (c - rate)."""
    terms = [rate_per_s**k / math.factorial(k) for k in range(servers)]
    last = rate_per_s**servers / math.factorial(servers) * servers / (servers - rate_per_s)
    return 1.0 + last / (sum(terms) + last) / (servers - rate_per_s)


@pytest.mark.parametrize(
    ("cores", "rate_per_s", "draw", "expected"),
    [
        pytest.param(1, 0.5, exponential, 1 / (1 - 0.5), id="M/M/1-PS"),
        pytest.param(1, 0.5, lognormal, 1 / (1 - 0.5), id="M/G/1-PS does not depend on the distribution"),
        pytest.param(4, 2.8, exponential, erlang_c_response_s(4, 2.8), id="M/M/4"),
    ],
)
def test_mean_response_time(cores: int, rate_per_s: float, draw: Callable[[np.random.Generator, int], np.ndarray], expected: float) -> None:
    """Inside the 99.9 % interval of the replications, which must be narrow enough to see an error of 4 %."""
    means = [mean_response_s(cores, rate_per_s, draw, i) for i in range(REPLICATIONS)]
    half_width = stats.t.ppf(0.9995, REPLICATIONS - 1) * np.std(means, ddof=1) / math.sqrt(REPLICATIONS)
    assert half_width < 0.04 * expected
    assert abs(np.mean(means) - expected) <= half_width
