"""What of a machine its runners share beside the processors: caches, memory, cores with several threads."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

__all__ = ["Topology"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Processors in cores, cores in sockets; a socket is a NUMA node: it has a last-level cache and memory of its own.

    Processor p is thread p mod threads_per_core of core p div threads_per_core; sockets have equal numbers of cores, in order.

    Latency of a miss at utilization u of a node's memory: memory_latency_s * (1 + queueing * u / (1 - u)), the form of
    the wait in an M/G/1 queue; it grows without bound, so that bandwidth is never exceeded.
    Memory of another node is `remote_latency` times as far away, at the utilization of that node; the link between nodes has no limit.
    """

    cores: int
    sockets: int = 1
    threads_per_core: int = 1
    llc_bytes: float
    llc_hit_s: float
    memory_latency_s: float
    """What a miss adds to a hit when nobody else uses the memory."""
    queueing: float
    memory_bytes_per_s: float
    """Of one socket."""
    private_bytes: float
    """Second-level cache of a core."""
    refill_s_per_byte: float
    """Time to bring a byte of a displaced working set back into the private cache."""
    sibling_speed: float
    """Speed of each of two threads of a core that both compute, relative to one alone."""
    remote_latency: float = 1.0

    def problems(self) -> list[str]:
        """What is wrong with the numbers."""
        found = []
        if self.cores < 1 or self.sockets < 1 or self.cores % self.sockets:
            found.append(f"sockets: {self.sockets} for {self.cores} cores; each socket must have the same number of cores")
        if self.threads_per_core not in (1, 2):
            found.append(f"threads_per_core: {self.threads_per_core}; 1 or 2")
        positive = ("llc_bytes", "memory_latency_s", "memory_bytes_per_s", "queueing")
        found += [f"{name}: {getattr(self, name):g}; must be above 0" for name in positive if not 0.0 < getattr(self, name) < inf]
        at_least_0 = ("llc_hit_s", "private_bytes", "refill_s_per_byte")
        found += [f"{name}: {getattr(self, name):g}; must be at least 0" for name in at_least_0 if not 0.0 <= getattr(self, name) < inf]
        if not 0.5 <= self.sibling_speed <= 1.0:
            found.append(f"sibling_speed: {self.sibling_speed:g}; between 0.5 (two take turns) and 1 (neither notices)")
        if not 1.0 <= self.remote_latency < inf:
            found.append(f"remote_latency: {self.remote_latency:g}; must be at least 1")
        return found

    def __post_init__(self) -> None:
        if found := self.problems():
            raise ValueError(*found)

    @property
    def processors(self) -> int:
        return self.cores * self.threads_per_core

    def core_of(self, processor: int) -> int:
        return processor // self.threads_per_core

    def node_of(self, processor: int) -> int:
        """The socket, and NUMA node, of a processor."""
        return self.core_of(processor) // (self.cores // self.sockets)

    def loaded_latency_s(self, utilization: float) -> float:
        """What a miss adds to a hit at a utilization (below 1) of the memory."""
        return self.memory_latency_s * (1.0 + self.queueing * utilization / (1.0 - utilization))
