"""Who gets how much of a last-level cache, and how fast everyone then runs: pure functions, solved by bisection.

*Shares.* In equilibrium what an owner loses is what it brings in: its share s of the cache satisfies s = f * p * miss_ratio(s), with p the
rate at which it accesses the cache and one f for all, such that the shares fill the cache. This is random replacement; a cache that
protects what is used again (LRU) leaves more to those that hit often. If all working sets fit, each has its own.

*Speeds.* A stack of stalls, over what is done in a second alone on unloaded memory (a accesses, overlap p, miss ratio m now and m0 alone):

    time(L) = 1 + a * (m * L - m0 * L0) / p + issue * (1 / sibling_speed - 1) * crowding

with the latency L of memory at a utilization u, which in turn is what everyone's misses per time(L) add up to. More utilization means less
traffic of each, so there is exactly one u, below 1. speed = time alone / time, hence 1 alone, by definition. A neighbour adds traffic and
takes cache, and nobody gets faster by either. A sibling counts by what it issues alone, though it issues less when it is slowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from simvirt.memory_character import MemoryCharacter
from simvirt.resources.memory_system.topology import Topology

__all__ = ["Claim", "Runner", "Solution", "alone_s", "issue_share", "shares", "solve", "waiting_share"]

_STEPS = 60
"""Halvings of an interval: what is left of it is below the resolution of a float for all practical ends."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What an owner wants of a cache: its character, and the mean number of its threads that run."""

    character: MemoryCharacter
    threads: float


def shares(claims: Sequence[Claim], llc_bytes: float) -> tuple[float, ...]:
    """Bytes of the cache that each claim holds in equilibrium, in their order."""
    sets = [claim.character.working_set_bytes for claim in claims]
    if sum(sorted(sets)) <= llc_bytes:
        return tuple(sets)
    if len(claims) == 1:
        return (llc_bytes,)
    rates = [claim.character.accesses_per_s * claim.threads for claim in claims]
    ordered = sorted(claims, key=_order)
    fastest = max(rates)
    if fastest == 0.0:
        total = sum(sorted(sets))
        return tuple(llc_bytes * size / total for size in sets)
    low, high = 0.0, 2.0 * llc_bytes / fastest
    while _held(ordered, high) < llc_bytes and high < 1e30:
        high *= 2.0
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        if _held(ordered, middle) < llc_bytes:
            low = middle
        else:
            high = middle
    return tuple(_share(claim, low) for claim in claims)


def _order(claim: Claim) -> tuple[float, ...]:
    one = claim.character
    return (one.accesses_per_s, one.working_set_bytes, one.cold, one.reuse, one.miss_bytes, one.parallelism, claim.threads)


def _held(claims: Sequence[Claim], factor: float) -> float:
    return sum(_share(claim, factor) for claim in claims)


def _share(claim: Claim, factor: float) -> float:
    """The s for which s = factor * access rate * miss_ratio(s): the left side grows with s, the right side does not."""
    character = claim.character
    rate = character.accesses_per_s * claim.threads * factor
    low, high = 0.0, min(character.working_set_bytes, rate)  # no more than if every access missed
    if rate * character.miss_ratio(high) >= high:
        return high
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        if middle < rate * character.miss_ratio(middle):
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@dataclass(frozen=True, slots=True)
class Runner:
    """A thread that runs: what it is like, what of its accesses misses, what its siblings on the core take, where its memory is."""

    character: MemoryCharacter | None
    """None: it computes only."""
    miss_ratio: float = 0.0
    crowding: float = 0.0
    """Part of the time that the other thread of its core uses the core's execution units; 0 if there is none or it sleeps."""
    remote: bool = False
    """Whether its memory belongs to another node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """How the memory of one node is used, and the speed of each kind of runner relative to having the machine to itself."""

    utilization: float
    speeds: Mapping[Runner, float]
    sibling: Mapping[Runner, float]
    """Of the time that a runner loses, the part that it loses to the other thread of its core."""


@lru_cache(maxsize=4096)
def alone_s(character: MemoryCharacter, topology: Topology) -> float:
    """CPU time that a runner which has the machine to itself takes for the work of a second on unloaded memory: at least 1."""
    runner = Runner(character, _miss_ratio_alone(character, topology))
    return _time_s(runner, topology, topology.loaded_latency_s(_utilization({runner: 1}, topology)))


@lru_cache(maxsize=4096)
def issue_share(character: MemoryCharacter | None, topology: Topology) -> float:
    """Part of its time alone in which a runner uses the execution units of its core: it does not while it waits for caches or memory."""
    if character is None:
        return 1.0
    return _issue_s(character, topology) / alone_s(character, topology)


def waiting_share(character: MemoryCharacter, topology: Topology) -> float:
    """Seconds per second of CPU time alone, on unloaded memory, that a runner waits for cache and memory; above 1 it cannot be so."""
    misses_s = character.stall_s(_miss_ratio_alone(character, topology), topology.memory_latency_s)
    return misses_s + character.stall_s(1.0, topology.llc_hit_s)


def _miss_ratio_alone(character: MemoryCharacter, topology: Topology) -> float:
    return character.miss_ratio(min(character.working_set_bytes, topology.llc_bytes))


def _issue_s(character: MemoryCharacter, topology: Topology) -> float:
    """Of a second alone on unloaded memory, what is not waiting."""
    return max(0.0, 1.0 - waiting_share(character, topology))


def _time_s(runner: Runner, topology: Topology, latency_s: float) -> float:
    """CPU time for the work of a second alone on unloaded memory."""
    extra_s = (1.0 / topology.sibling_speed - 1.0) * runner.crowding
    character = runner.character
    if character is None:
        return 1.0 + extra_s
    before_s = character.stall_s(_miss_ratio_alone(character, topology), topology.memory_latency_s)
    now_s = character.stall_s(runner.miss_ratio, latency_s * (topology.remote_latency if runner.remote else 1.0))
    return 1.0 + extra_s * _issue_s(character, topology) + now_s - before_s


def _traffic(runner: Runner, topology: Topology, latency_s: float) -> float:
    """Bytes per second of CPU time that a runner moves to and from memory."""
    character = runner.character
    if character is None:
        return 0.0
    per_work = character.accesses_per_s * runner.miss_ratio * character.miss_bytes
    return per_work / _time_s(runner, topology, latency_s) if per_work else 0.0


def _utilization(runners: Mapping[Runner, int], topology: Topology) -> float:
    """The one utilization at which the traffic of all is what it is at the latency that belongs to it."""
    ordered = sorted(runners.items(), key=_key)

    def wanted(utilization: float) -> float:
        latency_s = topology.loaded_latency_s(utilization)
        return sum(n * _traffic(runner, topology, latency_s) for runner, n in ordered) / topology.memory_bytes_per_s

    if wanted(0.0) == 0.0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        if wanted(middle) > middle:
            low = middle
        else:
            high = middle
    return low


def _key(item: tuple[Runner, int]) -> tuple[float, ...]:
    runner, count = item
    own = _order(Claim(runner.character, 1.0)) if runner.character is not None else ()
    return (*own, runner.miss_ratio, runner.crowding, float(runner.remote), count)


def solve(runners: Mapping[Runner, int], topology: Topology) -> Solution:
    """The speeds of runners whose memory is in one node; each kind of runner with how many there are."""
    utilization = _utilization(runners, topology)
    latency_s = topology.loaded_latency_s(utilization)
    speeds, sibling = {}, {}
    for runner in runners:
        time_s = _time_s(runner, topology, latency_s)
        own_s = 1.0 if runner.character is None else alone_s(runner.character, topology)
        speeds[runner] = own_s / time_s if time_s > own_s else 1.0
        free_s = _time_s(Runner(runner.character, runner.miss_ratio, 0.0, runner.remote), topology, latency_s)
        sibling[runner] = min(1.0, (time_s - free_s) / (time_s - own_s)) if time_s > own_s else 0.0
    return Solution(utilization=utilization, speeds=speeds, sibling=sibling)
