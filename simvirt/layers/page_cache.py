"""What the page caches on a stack hold of the files that a workload reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from simvirt.demand import Demand, DiskRead, DiskReadCached, FileRead, Operation
from simvirt.layers.hosted_hypervisor import HostedHypervisor
from simvirt.layers.hypervisor import Caching, Hypervisor
from simvirt.layers.stack import Stack

__all__ = ["Outcome", "hit_ratio", "reads_through_cache", "second_hit_ratio", "split_reads"]


def hit_ratio(cache_bytes: float, file_bytes: float) -> float:
    """Share of reads that find their data: min(1, cache / files).

    Reads go to all of the files alike and independently, and the cache keeps what was read last. Skewed reads hit more often.
    """
    return 1.0 if file_bytes <= cache_bytes else cache_bytes / file_bytes


def second_hit_ratio(own_bytes: float, host_bytes: float, file_bytes: float) -> float:
    """Of the reads that miss the first cache, the share that a second one below it holds.

    max(0, host - own) / (files - own), at most 1. The second sees only what the first has missed and therefore now holds: the `own` bytes
    read last are in both. That is double caching: a second cache no larger than the first saves nothing.
    """
    if file_bytes <= own_bytes:
        return 0.0
    return min(1.0, max(0.0, host_bytes - own_bytes) / (file_bytes - own_bytes))


@dataclass(frozen=True, slots=True)
class Outcome:
    """One way that the reads of a request may end, and how often they do."""

    word: str
    share: float
    demand: Demand


def reads_through_cache(demand: Demand) -> bool:
    """Whether a demand reads files through the page cache."""
    return any(isinstance(operation, FileRead) for operation in demand.operations)


def split_reads(demand: Demand, stack: Stack, own_bytes: float, host_bytes: float, file_bytes: float) -> tuple[Outcome, ...]:
    """The demand with its reads found in the cache of their own kernel, in that of a host below, or on the disk.

    All reads of one request end alike; the mean over requests is that of independent reads. A second cache counts only where a layer lets a
    virtual disk through its host's page cache.
    """
    own = hit_ratio(own_bytes, file_bytes)
    below = second_hit_ratio(own_bytes, host_bytes, file_bytes) if _has_second_cache(stack) else 0.0
    found = (
        Outcome("cached", own, demand),
        Outcome("cached below", (1.0 - own) * below, Demand(tuple(_missed(demand, below=True)))),
        Outcome("missed", (1.0 - own) * (1.0 - below), Demand(tuple(_missed(demand, below=False)))),
    )
    return tuple(outcome for outcome in found if outcome.share > 0.0)


def _has_second_cache(stack: Stack) -> bool:
    hosts = (layer for layer in stack.layers if isinstance(layer, Hypervisor | HostedHypervisor))
    return any(layer.block_caching is not Caching.NONE for layer in hosts)


def _missed(demand: Demand, *, below: bool) -> Iterator[Operation]:
    """The operations of a demand, its reads gone to the disk and then copied out of the page cache that they have filled."""
    for operation in demand.operations:
        if isinstance(operation, FileRead):
            count, size = operation.count, operation.size_bytes
            yield DiskReadCached(count=count, size_bytes=size) if below else DiskRead(count=count, random=operation.random, size_bytes=size)
        yield replace(operation)
