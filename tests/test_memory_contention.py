"""Shares of a cache and the speeds that follow: closed forms worked by hand, and laws for any runners."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simvirt.memory_character import MemoryCharacter
from simvirt.resources.memory_system.contention import Claim, Runner, alone_s, issue_share, shares, solve, waiting_share
from simvirt.resources.memory_system.topology import Topology

NS = 1e-9
MIB = 2.0**20

SOCKET = Topology(
    cores=8, llc_bytes=16 * MIB, llc_hit_s=20 * NS, memory_latency_s=70 * NS, queueing=0.2, memory_bytes_per_s=20e9,
    private_bytes=MIB, refill_s_per_byte=0.03 * NS, sibling_speed=0.62, remote_latency=1.6,
)  # fmt: skip


def streamer(accesses_per_s: float, **other: float) -> MemoryCharacter:
    """Every access misses, whatever the cache."""
    return MemoryCharacter(accesses_per_s=accesses_per_s, working_set_bytes=1e12, cold=1.0, **other)


# ---- what a working set is ----


@pytest.mark.parametrize(
    ("reuse", "cold", "held", "expected"),
    [
        (1.0, 0.0, 0.25, 0.75),  # one line as likely as another: three of four are not there
        (0.5, 0.0, 0.25, 0.5),  # the hotter quarter takes half of the accesses: sqrt(0.25)
        (0.5, 0.2, 0.25, 0.6),  # 0.2 + 0.8 * 0.5
        (0.5, 0.2, 1.0, 0.2),
        (0.5, 0.2, 3.0, 0.2),
        (0.5, 0.2, 0.0, 1.0),
    ],
)
def test_the_miss_ratio_of_a_share(reuse: float, cold: float, held: float, expected: float) -> None:
    character = MemoryCharacter(accesses_per_s=1e6, working_set_bytes=1000.0, cold=cold, reuse=reuse)
    assert character.miss_ratio(1000.0 * held) == pytest.approx(expected, rel=1e-12)


def test_a_character_that_cannot_be_is_refused_with_all_its_mistakes() -> None:
    with pytest.raises(ValueError, match="accesses_per_s: -1 /s") as refused:
        MemoryCharacter(accesses_per_s=-1.0, working_set_bytes=0.0, cold=1.5, reuse=0.0, miss_bytes=-1.0, parallelism=0.5)
    assert [str(problem).partition(":")[0] for problem in refused.value.args] == [
        "accesses_per_s", "working_set_bytes", "cold", "reuse", "miss_bytes", "parallelism",
    ]  # fmt: skip


def test_a_machine_that_cannot_be_is_refused_with_all_its_mistakes() -> None:
    with pytest.raises(ValueError, match="sockets: 3 for 8 cores") as refused:
        replace(SOCKET, sockets=3, threads_per_core=4, queueing=0.0, refill_s_per_byte=-1.0, sibling_speed=0.4, remote_latency=0.5)
    assert len(refused.value.args) == 6


def test_processors_are_numbered_by_core_and_socket() -> None:
    machine = replace(SOCKET, cores=4, sockets=2, threads_per_core=2)
    assert machine.processors == 8
    assert [machine.core_of(p) for p in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [machine.node_of(p) for p in range(8)] == [0, 0, 0, 0, 1, 1, 1, 1]


# ---- shares of a cache ----


def test_shares_worked_by_hand() -> None:
    """A set of 2 with even reuse beside a stream, both bringing in 1 per access, in a cache of 3.

    s = f * (1 - s / 2) gives s = 2 f / (2 + f); the stream holds f. Together 3: f^2 + f - 6 = 0, so f = 2: the set keeps 1, and half of
    its accesses miss.
    """
    even = MemoryCharacter(accesses_per_s=5.0, working_set_bytes=2.0)
    held = shares([Claim(even, 1.0), Claim(streamer(5.0), 1.0)], 3.0)
    assert held == pytest.approx((1.0, 2.0), rel=1e-9)
    assert even.miss_ratio(held[0]) == pytest.approx(0.5, rel=1e-9)


def test_who_runs_half_of_the_time_brings_in_half_as_much() -> None:
    """As above, but s = f / 2 * (1 - s / 2) = 2 f / (4 + f): f^2 + 3 f - 12 = 0, so f = (sqrt(57) - 3) / 2."""
    even = MemoryCharacter(accesses_per_s=5.0, working_set_bytes=2.0)
    f = (sqrt(57.0) - 3.0) / 2.0
    assert shares([Claim(even, 0.5), Claim(streamer(5.0), 1.0)], 3.0) == pytest.approx((3.0 - f, f), rel=1e-9)


def test_sets_that_all_fit_are_all_held() -> None:
    one, other = (MemoryCharacter(accesses_per_s=rate, working_set_bytes=size) for rate, size in ((1e3, 10.0), (1e9, 20.0)))
    assert shares([Claim(one, 1.0), Claim(other, 1.0)], 30.0) == (10.0, 20.0)


characters = st.builds(
    MemoryCharacter,
    accesses_per_s=st.floats(0.0, 1e7),
    working_set_bytes=st.floats(MIB / 4, 512 * MIB),
    cold=st.floats(0.0, 1.0),
    reuse=st.floats(0.1, 1.0),
    miss_bytes=st.floats(0.0, 256.0),
    parallelism=st.floats(1.0, 20.0),
)
"""At most 1e7 * 90 ns = 0.9 s of stalls a second."""
claims = st.builds(Claim, characters, st.floats(1 / 32, 8.0))


@given(st.lists(claims, min_size=1, max_size=5))
def test_shares_fill_the_cache_and_no_more_than_each_can_use(several: list[Claim]) -> None:
    held = shares(several, SOCKET.llc_bytes)
    sets = [claim.character.working_set_bytes for claim in several]
    assert all(0.0 <= share <= size for share, size in zip(held, sets, strict=True))
    assert sum(held) <= SOCKET.llc_bytes * (1.0 + 1e-9)
    # what is brought in by those that take part is not left unused
    if all(claim.character.accesses_per_s > 1.0 and claim.character.cold > 1e-3 for claim in several):
        assert sum(held) == pytest.approx(min(sum(sets), SOCKET.llc_bytes), rel=1e-6)


@given(st.lists(claims, min_size=1, max_size=4), claims)
def test_a_further_claim_leaves_nobody_more(several: list[Claim], further: Claim) -> None:
    before, after = shares(several, SOCKET.llc_bytes), shares([*several, further], SOCKET.llc_bytes)
    assert all(b <= a * (1.0 + 1e-6) + 1e-3 for a, b in zip(before, after, strict=False))


# ---- speeds ----


def test_the_fixed_point_worked_by_hand() -> None:
    """Streams of 5e6 misses a second, 100 ns each, so half of the time alone; queueing 1.

    time = 1 + 0.5 u / (1 - u), and u = b / time with b what n of them ask for: u (1 - u / 2) / (1 - u) = b. For two with b = 0.75, u = 0.5
    and time = 1.5. For one with b = 0.375, u = 1.375 - sqrt(1.375^2 - 0.75).
    """
    stream = streamer(5e6)
    memory = replace(SOCKET, memory_latency_s=100 * NS, llc_hit_s=0.0, queueing=1.0, memory_bytes_per_s=2 * 5e6 * 64 / 0.75)
    u = 1.375 - sqrt(1.375**2 - 0.75)
    alone = 1.0 + 0.5 * u / (1.0 - u)
    runner = Runner(stream, 1.0)
    assert alone_s(stream, memory) == pytest.approx(alone, rel=1e-9)
    both = solve({runner: 2}, memory)
    assert both.utilization == pytest.approx(0.5, rel=1e-9)
    assert both.speeds[runner] == pytest.approx(alone / 1.5, rel=1e-9)


def test_stalls_for_misses_worked_by_hand() -> None:
    """10e6 accesses a second, 70 ns for a miss, two at a time, of no bandwidth: from no misses to half of them adds 10e6 * 0.5 * 35 ns."""
    light = MemoryCharacter(accesses_per_s=10e6, working_set_bytes=MIB, miss_bytes=0.0, parallelism=2.0)
    runner = Runner(light, 0.5)
    assert solve({runner: 1}, SOCKET).speeds[runner] == pytest.approx(1.0 / 1.175, rel=1e-9)


def test_memory_of_another_node_is_farther_away() -> None:
    """5e6 misses of 70 ns are 0.35 s of a second; of 1.6 times 70 ns, 0.56 s."""
    light = streamer(5e6, miss_bytes=0.0)
    runner = Runner(light, 1.0, remote=True)
    assert solve({runner: 1}, SOCKET).speeds[runner] == pytest.approx(1.0 / 1.21, rel=1e-9)


def test_two_threads_that_compute_share_a_core() -> None:
    runner = Runner(None, 0.0, issue_share(None, SOCKET))
    solution = solve({runner: 2}, SOCKET)
    assert solution.speeds[runner] == pytest.approx(0.62, rel=1e-12)
    assert solution.sibling[runner] == pytest.approx(1.0)


def test_a_sibling_that_waits_for_memory_takes_less_of_the_core() -> None:
    """Waiting 10e6 * (20 + 40) ns = 0.6 of its time, it issues in 0.4: 1 + (1 / 0.62 - 1) * 0.4."""
    waiting = streamer(10e6, miss_bytes=0.0)
    memory = replace(SOCKET, memory_latency_s=40 * NS)
    assert waiting_share(waiting, memory) == pytest.approx(0.6)
    computing = Runner(None, 0.0, issue_share(waiting, memory))
    assert solve({computing: 1}, memory).speeds[computing] == pytest.approx(1.0 / (1.0 + (1.0 / 0.62 - 1.0) * 0.4), rel=1e-9)


def test_a_runner_that_waits_for_memory_notices_a_sibling_less() -> None:
    """The same, issuing in 0.4 of its time: only that part takes longer beside one that computes; the other 0.6 is waiting as before."""
    waiting = streamer(10e6, miss_bytes=0.0)
    memory = replace(SOCKET, memory_latency_s=40 * NS)
    beside = Runner(waiting, 1.0, issue_share(None, memory))
    assert solve({beside: 1}, memory).speeds[beside] == pytest.approx(1.0 / (0.4 / 0.62 + 0.6), rel=1e-9)


@given(characters)
def test_alone_is_the_measure(character: MemoryCharacter) -> None:
    runner = Runner(character, character.miss_ratio(min(character.working_set_bytes, SOCKET.llc_bytes)))
    assert solve({runner: 1}, SOCKET).speeds[runner] == 1.0


runners = st.one_of(
    st.builds(Runner, st.none(), st.just(0.0), st.floats(0.0, 1.0)),
    characters.flatmap(
        lambda one: st.builds(
            Runner, st.just(one), st.floats(one.miss_ratio(SOCKET.llc_bytes), 1.0), st.floats(0.0, 1.0), st.booleans()
        )
    ),
)
crowds = st.dictionaries(runners, st.integers(1, 16), min_size=1, max_size=4)


@given(crowds)
def test_speeds_are_bounded_and_bandwidth_is_not_exceeded(crowd: dict[Runner, int]) -> None:
    solution = solve(crowd, SOCKET)
    assert 0.0 <= solution.utilization < 1.0
    assert all(0.0 < speed <= 1.0 for speed in solution.speeds.values())
    assert all(0.0 <= part <= 1.0 for part in solution.sibling.values())
    moved = 0.0
    for runner, n in crowd.items():
        if runner.character is not None:
            work_per_s = solution.speeds[runner] / alone_s(runner.character, SOCKET)
            moved += n * work_per_s * runner.character.accesses_per_s * runner.miss_ratio * runner.character.miss_bytes
    assert moved <= SOCKET.memory_bytes_per_s
    assert moved == pytest.approx(solution.utilization * SOCKET.memory_bytes_per_s, rel=1e-6, abs=1.0)


@given(crowds, runners)
def test_a_neighbour_never_speeds_anybody_up(crowd: dict[Runner, int], neighbour: Runner) -> None:
    before, after = solve(crowd, SOCKET), solve({**crowd, neighbour: crowd.get(neighbour, 0) + 1}, SOCKET)
    assert all(after.speeds[runner] <= before.speeds[runner] * (1.0 + 1e-9) for runner in crowd)
    assert after.utilization >= before.utilization * (1.0 - 1e-9)


@given(runners.filter(lambda runner: runner.character is not None), st.floats(0.0, 1.0))
def test_less_cache_is_never_faster(runner: Runner, more: float) -> None:
    worse = replace(runner, miss_ratio=runner.miss_ratio + more * (1.0 - runner.miss_ratio))
    assert solve({worse: 2}, SOCKET).speeds[worse] <= solve({runner: 2}, SOCKET).speeds[runner] * (1.0 + 1e-9)


@settings(max_examples=30)
@given(crowds)
def test_the_order_of_runners_does_not_matter(crowd: dict[Runner, int]) -> None:
    expected = solve(crowd, SOCKET)
    for order in permutations(crowd.items()):
        assert solve(dict(order), SOCKET) == expected
