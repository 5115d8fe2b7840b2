"""The processors of a domain that have tasks waiting, found by how crowded they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar, final

__all__ = ["Crowd"]


class Queue(Protocol):
    """A run queue."""

    runnable: int


class Served(Protocol):
    """Whoever has one."""

    @property
    def queue(self) -> Queue: ...


T = TypeVar("T")
P = TypeVar("P", bound=Served)


@final
class Crowd(Generic[P]):
    """Processors with more than one runnable task. Iterated in the order in which they became crowded.

    A heap by number of runnable tasks, with an entry for each number that there was; those that hold no more are dropped when met, and all
    of them when they are most. So a change is O(log n), and so is finding the most crowded one.
    """

    __slots__ = ("_count", "_heap", "_since")

    def __init__(self) -> None:
        self._since: dict[P, int] = {}
        self._heap: list[tuple[int, int, P]] = []
        """Minus the number of runnable tasks, when it became crowded (a count), itself."""
        self._count = 0

    def __len__(self) -> int:
        return len(self._since)

    def __iter__(self) -> Iterator[P]:
        return iter(self._since)

    def __contains__(self, processor: object) -> bool:
        return processor in self._since

    def since(self, processor: P) -> int:
        """When it became crowded: a number that grows."""
        return self._since[processor]

    def note(self, processor: P, runnable: int) -> bool:
        """A processor has so many runnable tasks now. Whether it has just become crowded."""
        since = self._since.get(processor)
        if runnable <= 1:
            if since is not None:
                del self._since[processor]
            return False
        fresh = since is None
        if since is None:
            self._count += 1
            since = self._since[processor] = self._count
        heap = self._heap
        heappush(heap, (-runnable, since, processor))
        if len(heap) > 64 + 4 * len(self._since):
            self._heap = [(-one.queue.runnable, since, one) for one, since in self._since.items()]
            heapify(self._heap)
        return fresh

    def find(self, wanted: Callable[[P], T | None]) -> T | None:
        """What is wanted from the most crowded processor that has it; of equally crowded ones, the one that has been so for longest."""
        heap, since = self._heap, self._since
        looked_at: list[tuple[int, int, P]] = []
        found: T | None = None
        while heap and found is None:
            entry = heappop(heap)
            runnable, entered, processor = entry
            holds = since.get(processor) == entered and processor.queue.runnable == -runnable
            if holds and not (looked_at and looked_at[-1] == entry):
                looked_at.append(entry)
                found = wanted(processor)
        for entry in looked_at:
            heappush(heap, entry)
        return found
