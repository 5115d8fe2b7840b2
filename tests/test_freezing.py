"""A thread that is frozen stands still, whatever the scheduler: nothing is lost, nothing is gained, and others go on."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_every_scheduler import CONTAINER, Make, every_scheduler

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, AbstractThread, Share
from simvirt.resources.lock import SpinLock
from simvirt.resources.threads import ThreadPool


@every_scheduler
def test_what_is_left_of_a_burst_is_done_after_the_thaw(make: Make) -> None:
    """2 s of work from 0, frozen from 0.5 to 3: done at 3 + 1.5, with a core of its own. Nobody else is disturbed."""
    engine = Engine()
    cpu = make(engine, 2)
    times: dict[str, float] = {}
    frozen, other = cpu.group("a", CONTAINER).thread("a"), cpu.group("b", CONTAINER).thread("b")
    frozen.run(2.0, lambda name: times.setdefault(name, engine.now), "a")
    other.run(4.0, lambda name: times.setdefault(name, engine.now), "b")
    engine.wakeup(frozen.freeze).at(0.5)
    engine.wakeup(frozen.thaw).at(3.0)
    engine.run(10.0)
    assert times == pytest.approx({"a": 4.5, "b": 4.0}, rel=1e-6)
    assert cpu.account().busy_s == pytest.approx(6.0, rel=1e-6)


@every_scheduler
def test_a_burst_that_begins_while_its_thread_is_frozen_waits(make: Make) -> None:
    engine = Engine()
    thread = make(engine, 1).group("vm", Share(processors=1)).thread("t")
    times: list[float] = []
    thread.freeze()
    thread.run(1.0, lambda _: times.append(engine.now), None)
    engine.wakeup(thread.thaw).at(2.0)
    engine.run(10.0)
    assert times == pytest.approx([3.0], rel=1e-6)


@every_scheduler
def test_who_shares_a_core_with_a_frozen_thread_has_it_alone(make: Make) -> None:
    """Two threads of 3 s on one core: each has had 1 s at 2 s (give or take a slice), then one is gone: 2 s left are done at 4 s."""
    engine = Engine()
    cpu = make(engine, 1)
    a, b = (cpu.group(name, CONTAINER).thread(name) for name in "ab")
    times: list[float] = []
    a.run(3.0, print, None)
    b.run(3.0, lambda _: times.append(engine.now), None)
    engine.wakeup(a.freeze).at(2.0)
    engine.run(10.0)
    assert times == pytest.approx([4.0], abs=0.06)
    assert cpu.account().busy_s == pytest.approx(times[0], abs=1e-6)  # the frozen one takes nothing after 2 s


def test_interrupts_and_what_they_interrupted_stand_still_apart() -> None:
    """On one core a task of 2 s is interrupted at 1 s for 1 s; the interrupt is frozen at 1.5: the task goes on and is done at 2.5."""
    from simvirt.resources.cpu.discrete.cfs import CompletelyFair  # noqa: PLC0415
    from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler  # noqa: PLC0415

    engine = Engine()
    cpu = DiscreteScheduler(engine, 1, CompletelyFair(hz=1000))
    handlers = cpu.group("interrupts", Share(interrupt=True))
    handler, second, task = handlers.thread("h"), handlers.thread("h 2"), cpu.thread("t")
    times: list[float] = []
    task.run(2.0, lambda _: times.append(engine.now), None)
    engine.wakeup(lambda: handler.run(1.0, print, None)).at(1.0)
    engine.wakeup(lambda: second.run(1.0, print, None)).at(1.2)
    engine.wakeup(second.freeze).at(1.3)  # while it waits for its turn
    engine.wakeup(handler.freeze).at(1.5)
    engine.run(5.0)
    assert times == pytest.approx([2.5], abs=1e-6)


steps = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["freeze", "thaw"]), st.floats(0.01, 3.0)), max_size=14
)


@every_scheduler
@settings(max_examples=30, deadline=None)
@given(works=st.lists(st.floats(0.05, 1.5), min_size=6, max_size=6), acts=steps, cores=st.integers(1, 3))
def test_nothing_is_lost_however_often_threads_are_frozen(
    make: Make, works: list[float], acts: list[tuple[int, str, float]], cores: int
) -> None:
    """Threads in a virtual machine, in containers with and without a cap, and beside them. In the end all are thawed and done."""
    engine = Engine()
    cpu = make(engine, cores)
    vm, capped = cpu.group("vm", Share(processors=2, per_thread=False)), cpu.group("c", Share(cap_cores=0.5, per_thread=False))
    groups: list[AbstractGroup] = [vm, vm, capped, capped, cpu, cpu.group("plain", CONTAINER)]
    threads = [group.thread(str(i)) for i, group in enumerate(groups)]
    done: list[int] = []
    for i, (thread, work) in enumerate(zip(threads, works, strict=True)):
        thread.run(work, done.append, i)
    for i, what, when in acts:
        engine.wakeup(getattr(threads[i], what)).at(when)
    engine.run(3.5)
    for thread in threads:
        thread.thaw()
    engine.run(60.0)
    assert sorted(done) == list(range(6))
    assert cpu.account().busy_s == pytest.approx(math.fsum(works), rel=1e-6)
    assert cpu.idle_processor_s() > 0.0


@every_scheduler
def test_a_dead_pool_takes_no_processor_and_a_frozen_one_takes_it_later(make: Make) -> None:
    engine = Engine()
    cpu = make(engine, 4)
    pools = [ThreadPool(engine, cpu.group(name, CONTAINER), name, 2) for name in ("dead", "frozen")]
    for pool in pools:
        for _ in range(3):  # the third waits for a thread
            pool.acquire(lambda pool, thread, _: thread.run(1.0, lambda pair: pair[0].release(pair[1]), (pool, thread)), pool)
    engine.run(0.25)
    pools[0].close()
    pools[1].freeze()
    engine.run(2.0)
    assert [pool.group.account().busy_s for pool in pools] == pytest.approx([0.5, 0.5], abs=1e-6)
    pools[1].thaw()
    engine.run(9.0)
    assert [pool.group.account().busy_s for pool in pools] == pytest.approx([0.5, 3.0], abs=1e-6)


@every_scheduler
def test_who_holds_the_lock_of_a_kernel_stands_still_only_after_it(make: Make) -> None:
    """a has the lock from 0 to 1; it is to be frozen at 0.5 and is so from 1 on. b, which waits, gets the lock at 1 all the same."""
    engine = Engine()
    cpu = make(engine, 2)
    lock = SpinLock(fair=True)
    a, b = cpu.thread("a"), cpu.thread("b")
    times: dict[str, float] = {}

    def over(who: tuple[str, AbstractThread]) -> None:
        times[who[0]] = engine.now
        lock.release(who[1])
        if who[0] == "a":
            who[1].run(1.0, lambda _: times.setdefault("a more", engine.now), None)

    for name, thread in (("a", a), ("b", b)):
        thread.run(1e-9 * len(name), lambda who: lock.acquire(who[1], 1.0, over, who, lambda _, __: None), (name, thread))
    engine.wakeup(lambda: lock.freeze(a)).at(0.5)
    engine.run(5.0)
    assert times == pytest.approx({"a": 1.0, "b": 2.0}, abs=0.01)
    lock.thaw(a)
    engine.run(9.0)
    assert times["a more"] == pytest.approx(6.0, abs=0.01)
