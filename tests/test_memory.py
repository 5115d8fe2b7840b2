"""Memory: bytes are never lost, limits hold, and traces worked by hand come out."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_rules import MODERN, rules

from simvirt.engine import Engine
from simvirt.resources.memory.holding import NEVER_KILLED, Holding, Limits
from simvirt.resources.memory.kill import Reason
from simvirt.resources.memory.memory import Memory
from simvirt.resources.memory.oom import badness
from simvirt.resources.memory.swap import PAGE_BYTES, Swap
from simvirt.resources.memory.touch import Popularity

STATES = ("resident_bytes", "swapped_bytes", "dropped_bytes", "ballooned_bytes", "shared_bytes", "compressed_bytes")


def check(*memories: Memory) -> None:
    """What holds at every instant."""
    for memory in memories:
        assert memory.free_bytes >= -1e-2
        swapped = 0.0
        for holding in memory.holdings:
            parts = [getattr(holding, state) for state in STATES]
            assert min(parts) >= -1e-6, holding.name
            assert holding.asked_bytes == pytest.approx(sum(parts), abs=1e-2)
            assert holding.alive or holding.asked_bytes == 0.0
            assert holding.resident_bytes <= holding.limits.max_bytes + 1e-2
            assert holding.swapped_bytes <= holding.limits.swap_bytes + 1e-2
            assert holding.resident_bytes >= holding.locked_bytes - 1e-6
            assert holding.compressed_bytes * 0.5 <= 0.1 * holding.size_bytes + 1e-2
            assert not holding.ballooned_bytes or holding.ballooned_bytes <= 0.65 * holding.size_bytes + 1e-2
            swapped += holding.swapped_bytes
        assert memory.swap.used_bytes == pytest.approx(swapped, abs=1e-2)
        assert swapped <= memory.swap.capacity_bytes + 1e-2
        if memory.backing is not None and memory.backing.alive:
            assert memory.used_bytes <= memory.backing.movable_bytes + 1e-2


# --- Laws ------------------------------------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.tuples(st.sampled_from(["ask", "file", "lock", "back", "fetch", "step"]), st.integers(0, 3), st.floats(0.0, 400.0)), max_size=40
)
BOUND = st.one_of(st.just(inf), st.floats(20.0, 600.0))


@given(ACTIONS, st.lists(st.tuples(BOUND, BOUND, BOUND, st.sampled_from([NEVER_KILLED, 0, 500])), min_size=4, max_size=4), BOUND)
@settings(max_examples=150, deadline=None)
def test_a_kernel_loses_no_byte(actions: list[tuple[str, int, float]], bounds: list[tuple[float, float, float, int]], swap: float) -> None:
    memory = Memory(Engine(), "machine", 1000.0, rules(reserve_bytes=30.0), own_bytes=50.0, swap=Swap(swap))
    for i, (most, high, swapped, adjust) in enumerate(bounds):
        limits = Limits(max_bytes=most, high_bytes=high, swap_bytes=swapped, oom_score_adj=adjust)
        memory.hold(Holding(f"owner {i}", limits=limits, popularity=Popularity(hot_share=0.2, hot_touches=0.9), killed=lambda: None))
    for action, i, amount in actions:
        act(memory, action, memory.holdings[i], amount)
        check(memory)


@given(ACTIONS, st.sampled_from([300.0, 700.0, 2000.0]))
@settings(max_examples=150, deadline=None)
def test_machines_on_a_short_hypervisor_lose_no_byte(actions: list[tuple[str, int, float]], swap: float) -> None:
    engine = Engine()
    host = Memory(engine, "host", 1000.0, rules(**MODERN), own_bytes=20.0, swap=Swap(swap))
    guests = []
    for i in range(4):
        backing = host.hold(Holding(f"vm {i}", size_bytes=500.0, alike="guest", killed=lambda: None))
        backing.alike_bytes = 40.0
        host.allocate(backing, 5.0, locked=True)
        guest = Memory(engine, f"memory of vm {i}", 500.0, rules(reserve_bytes=10.0), own_bytes=40.0, swap=Swap(100.0 * i))
        guest.hold(Holding(f"program {i}", killed=lambda: None))
        guest.stands_on(host, backing)
        guests.append(guest)
        check(host, *guests)
    for action, i, amount in actions:
        if action == "step":
            host.step(amount / 100.0)
        elif i == 3 and action == "fetch":
            host.fetch(host.holdings[1], amount, amount / 2)
        else:
            act(guests[i], action, guests[i].holdings[0], amount)
        check(host, *guests)


def act(memory: Memory, action: str, holding: Holding, amount: float) -> None:
    if action == "back":
        memory.release(holding, min(amount, holding.asked_bytes - holding.file_bytes - holding.locked_bytes))
    elif action == "fetch":
        memory.fetch(holding, amount, amount / 2)
    elif action == "step":
        memory.step(amount / 100.0)
    else:
        memory.allocate(holding, amount, file=action == "file", locked=action == "lock")


@given(st.floats(0.01, 0.99), st.floats(0.0, 1.0), st.floats(1.0, 1e12), st.floats(0.0, 1.0))
def test_a_touch_misses_more_the_more_is_out(hot: float, more: float, total: float, part: float) -> None:
    popularity = Popularity(hot_share=hot, hot_touches=hot + more * (1.0 - hot))
    by_age = [popularity.miss(x * part * total, total, by_age=True) for x in (0.0, 0.5, 1.0)]
    assert by_age == sorted(by_age)
    for x, missed in zip((0.0, 0.5, 1.0), by_age, strict=True):
        assert 0.0 <= missed <= popularity.miss(x * part * total, total, by_age=False) + 1e-9 <= 1.0 + 1e-9
    assert popularity.miss(total, total, by_age=True) == pytest.approx(1.0)


# --- Traces worked by hand -------------------------------------------------------------------------------------------


def at(holding: Holding) -> dict[str, float]:
    """Where its bytes are, without the places where there are none."""
    return {state.removesuffix("_bytes"): pytest.approx(getattr(holding, state)) for state in STATES if getattr(holding, state)}


def test_a_hypervisor_shares_then_balloons_then_compresses_then_swaps() -> None:
    """1000 B; the reserve is 100 B: balloons grow below 100 B, compression begins below 40 B, swapping below 20 B.

    Two like machines of 600 B have used 400 B each, of which 200 B are alike and half of those equal. Their kernels have 100 B; a program
    has the rest, and gives 150 B of it back in machine 0.
    """
    engine = Engine()
    bytes_per_s = 100.0 / PAGE_BYTES  # the scanner's rate, in pages
    given = {**MODERN, "reserve_bytes": 100.0, "sharing_pages_per_s": bytes_per_s, "balloon_bytes_per_s": 30.0}
    given |= {"compress_below": 0.4, "swap_below": 0.2}
    host = Memory(engine, "host", 1000.0, rules(**given), swap=Swap(inf))
    machines, guests = [], []
    for i in range(2):
        machine = host.hold(Holding(f"vm {i}", size_bytes=600.0, alike="like", killed=lambda: None))
        machine.alike_bytes = 200.0
        guest = Memory(engine, f"memory of vm {i}", 600.0, rules(), own_bytes=100.0)
        program = guest.hold(Holding(f"program {i}", killed=lambda: None))
        guest.stands_on(host, machine)
        guest.allocate(program, 300.0)
        machines.append(machine)
        guests.append(guest)
    # 1. Sharing. Each machine can share 0.5 * 200 * (2 - 1) / 2 = 50 B. In 4 s the scanner sees 400 of 800 resident bytes: half of it.
    host.step(4.0)
    assert at(machines[0]) == at(machines[1]) == {"resident": 375.0, "shared": 25.0}
    # 2. The rest is found in the next 4 s (400 of 750 B is more than the missing half).
    host.step(4.0)
    assert at(machines[0]) == {"resident": 350.0, "shared": 50.0}
    assert host.free_bytes == pytest.approx(300.0)
    # 3. The program gives 150 B back: the host does not see it. A third owner takes 260 B: 40 B are left, which is below 100 B.
    guests[0].release(guests[0].holdings[0], 150.0)
    third = host.hold(Holding("other"))
    host.allocate(third, 260.0)
    assert at(machines[0]) == {"resident": 350.0, "shared": 50.0}
    # 4. In one second balloons may take 30 B, asked of both alike. Machine 0 has 150 B that it does not use and gives 15 B. Machine 1 uses
    #    all that it ever touched, has no file to drop and no swap of its own: it gives nothing.
    host.step(1.0)
    assert at(machines[0]) == {"resident": 335.0, "shared": 50.0, "ballooned": 15.0}
    assert at(machines[1]) == {"resident": 350.0, "shared": 50.0}
    assert host.free_bytes == pytest.approx(55.0)
    # 5. The third owner takes 85 B where 55 B are free: 30 B are missing. Two compressed bytes free one, so 60 B are to be compressed.
    #    Of each machine 600 * 0.1 / 0.5 = 120 B may be, so both give half.
    host.allocate(third, 85.0)
    assert [m.compressed_bytes for m in machines] == pytest.approx([30.0, 30.0])
    assert host.free_bytes == pytest.approx(0.0)
    # 6. It takes 200 B more. Compression can grow to 120 B each, which frees (240 - 60) / 2 = 90 B; 110 B are swapped, of all three in
    #    proportion to what can be taken.
    host.allocate(third, 200.0)
    assert [m.compressed_bytes for m in machines] == pytest.approx([120.0, 120.0])
    resident = [335.0 - 120.0, 350.0 - 120.0, 345.0]
    assert [h.swapped_bytes for h in (*machines, third)] == pytest.approx([110.0 * r / sum(resident) for r in resident])
    assert host.swap.out_bytes == pytest.approx(110.0)
    check(host, *guests)
    # 7. What a request touches of machine 1 is out with probability (swapped + compressed) / asked, as any page may have been taken.
    out = machines[1].swapped_bytes + 120.0
    assert machines[1].miss(by_age=host.by_age) == pytest.approx(out / 400.0)


def test_the_one_with_most_badness_is_killed() -> None:
    """1000 B of memory, 200 B of swap: 1200 B in all. Page tables are 8 / 4096 of what is mapped.

    | owner | anonymous | files | adjustment | badness without page tables |
    | small | 100 | 0 | 600 | 100 + 0.6 * 1200 = 820 |
    | large | 500 | 100 | 0 | 500 |
    | spared | 200 | 0 | -1000 | never |
    """
    killed: list[str] = []
    memory = Memory(Engine(), "machine", 1000.0, rules(), swap=Swap(200.0))

    def owner(name: str, size: float, adjust: int = 0) -> Holding:
        limits = Limits(oom_score_adj=adjust, swap_bytes=0.0)
        holding = memory.hold(Holding(name, limits=limits, killed=lambda: killed.append(name)))
        memory.allocate(holding, size)
        return holding

    small, large, spared = owner("small", 100.0, 600), owner("large", 500.0), owner("spared", 200.0, NEVER_KILLED)
    memory.allocate(large, 100.0, file=True)
    assert badness(small, 1200.0) == pytest.approx(100.0 + 100.0 * 8 / 4096 + 720.0)
    assert badness(large, 1200.0) == pytest.approx(500.0 + 600.0 * 8 / 4096)
    # 100 B are free. 200 B more: the 100 B of files are dropped, and nobody needs to die.
    memory.allocate(large, 200.0)
    assert not killed
    assert large.dropped_bytes == pytest.approx(100.0)
    # Nothing is free, nothing can be dropped, nobody may swap. 50 B more for the spared one: the small one dies, 100 B are enough.
    memory.allocate(spared, 50.0)
    assert killed == ["small"]
    assert memory.free_bytes == pytest.approx(50.0)
    # 100 B more for the spared one: now the large one is the worst.
    memory.allocate(spared, 100.0)
    assert killed == ["small", "large"]
    assert [(kill.victim, kill.reason, kill.asked_by) for kill in memory.kills] == [
        ("small", Reason.HOST, "spared"), ("large", Reason.HOST, "spared"),
    ]  # fmt: skip
    check(memory)


def test_what_is_swapped_counts_as_badness() -> None:
    memory = Memory(Engine(), "machine", 1000.0, rules(), swap=Swap(500.0))
    holding = memory.hold(Holding("a", limits=Limits(max_bytes=100.0)))
    memory.allocate(holding, 100.0)
    memory.allocate(holding, 60.0)
    assert at(holding) == {"resident": 100.0, "swapped": 60.0}
    assert badness(holding, 1500.0) == pytest.approx(160.0 * (1 + 8 / 4096))


def test_a_limit_kills_its_own_group_and_nobody_else() -> None:
    killed: list[str] = []
    memory = Memory(Engine(), "machine", 1000.0, rules(), swap=Swap(100.0))
    inside = memory.hold(Holding("inside", limits=Limits(max_bytes=200.0, swap_bytes=30.0), killed=lambda: killed.append("inside")))
    other = memory.hold(Holding("other", killed=lambda: killed.append("other")))
    memory.allocate(other, 600.0)
    memory.allocate(inside, 150.0)
    memory.allocate(inside, 50.0, file=True)
    # 60 B beyond the limit: the 50 B of files are dropped, 10 B are swapped.
    memory.allocate(inside, 60.0)
    assert at(inside) == {"resident": 200.0, "dropped": 50.0, "swapped": 10.0}
    # 30 B more: only 20 B may still be swapped. It is killed although the machine has 200 B free.
    assert not memory.allocate(inside, 30.0)
    assert killed == ["inside"]
    assert memory.kills[0].reason is Reason.LIMIT
    assert at(other) == {"resident": 600.0}
    assert memory.swap.used_bytes == pytest.approx(0.0)


def test_a_killed_machine_takes_what_stands_in_it() -> None:
    engine = Engine()
    killed: list[str] = []
    host = Memory(engine, "host", 1000.0, rules())
    machine = host.hold(Holding("vm", size_bytes=800.0, killed=lambda: killed.append("vm")))
    guest = Memory(engine, "memory of vm", 800.0, rules(), own_bytes=50.0)
    for name in ("a", "b"):
        guest.hold(Holding(name, killed=lambda name=name: killed.append(name)))
    guest.stands_on(host, machine)
    other = host.hold(Holding("other", limits=Limits(oom_score_adj=-500), killed=lambda: killed.append("other")))
    host.allocate(other, 500.0)
    assert guest.allocate(guest.holdings[0], 300.0)
    assert not guest.allocate(guest.holdings[1], 300.0)  # 50 + 300 + 300 B would be needed where 500 B are
    assert killed == ["a", "b", "vm"]
    assert host.free_bytes == pytest.approx(500.0)


@pytest.mark.parametrize(("overage", "expected_s"), [(0.0, 0.0), (0.01, 0.0), (0.1, 0.64), (0.05, 0.16), (0.5, 2.0)])
def test_beyond_high_an_allocation_waits(overage: float, expected_s: float) -> None:
    """64 * overage^2 s for a batch of 64 pages; 0.01 gives 6.4 ms, which is below the 10 ms that are worth a sleep."""
    holding = Holding("a", limits=Limits(high_bytes=100.0))
    holding.asked_bytes = holding.resident_bytes = 100.0 * (1.0 + overage)
    assert holding.throttle_s(64 * PAGE_BYTES) == pytest.approx(expected_s)


def test_what_is_not_held_cannot_be_given_back() -> None:
    memory = Memory(Engine(), "machine", 1000.0, rules())
    holding = memory.hold(Holding("a"))
    memory.allocate(holding, 10.0)
    with pytest.raises(ValueError, match="a gives back 11 B and has 10 B"):
        memory.release(holding, 11.0)
