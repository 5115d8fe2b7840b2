"""The dirty pages of one kernel: a budget that all who write on it share, and the flusher that makes room."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Done

__all__ = ["Owner", "Writeback"]

Begin = Callable[[float], None]
"""Send so many bytes on their way to the disk; `Writeback.written` is called for them in the end."""


@final
class Owner:
    """One tenant's dirty pages."""

    __slots__ = ("_begin", "chunk_bytes", "dirtied_bytes", "least_bytes", "queued", "syncs", "waiting_bytes", "written_bytes")

    def __init__(self, begin: Begin, chunk_bytes: float, least_bytes: float) -> None:
        if not 0 < least_bytes <= chunk_bytes:
            raise ValueError(f"requests of {least_bytes} to {chunk_bytes} B: the least must be above 0 and not above the most")
        self._begin = begin
        self.chunk_bytes = chunk_bytes
        """Most that one request carries."""
        self.least_bytes = least_bytes
        """What one request carries where less than that is left together."""
        self.waiting_bytes = 0.0
        """Dirty, not yet on their way to the disk."""
        self.dirtied_bytes = 0.0
        """All that ever became dirty."""
        self.written_bytes = 0.0
        """All that ever was written back."""
        self.queued = False
        """Whether it stands in the flusher's round."""
        self.syncs: deque[tuple[float, Done, Any]] = deque()
        """Who waits for how much to be written, in order."""

    def next_bytes(self) -> float:
        """What its next request carries."""
        if self.waiting_bytes >= self.chunk_bytes:
            return self.chunk_bytes
        return self.waiting_bytes if self.waiting_bytes < self.least_bytes else self.least_bytes

    def begin(self, size_bytes: float) -> None:
        self.waiting_bytes -= size_bytes
        self._begin(size_bytes)


@final
class Writeback:
    """Dirty bytes of one kernel, at most `limit_bytes` of them.

    dirtied = written + dirty, at every instant; dirty counts what waits and what is on its way to the disk. A write that would pass the
    limit waits, in order of arrival, until enough has been written back (one that is larger than the limit waits until nothing is dirty).
    Above `background_bytes` the flusher writes back, `depth` requests at once, owners in turn, until the level is reached again. A sync
    begins the writing of all that its owner has dirty, before the others, and waits for it. The level is everybody's, so one heavy writer
    makes all writers of its kernel wait. Simpler than a kernel: writers wait at the limit alone, where Linux slows them down gradually
    between the levels; nothing is written because of its age.
    """

    __slots__ = ("_engine", "_owners", "_throttled", "_under_way", "background_bytes", "depth", "dirty_bytes", "limit_bytes", "throttled_s")

    def __init__(self, engine: Engine, background_bytes: float, limit_bytes: float, depth: int) -> None:
        if not 0 <= background_bytes <= limit_bytes or depth < 1:
            raise ValueError(f"background {background_bytes} B, limit {limit_bytes} B, depth {depth}: in this order, and at least 1")
        self._engine = engine
        self._owners: deque[Owner] = deque()
        """Owners of dirty pages in the order of their turns; those that somebody waits for come first."""
        self._throttled: deque[tuple[Owner, float, float, Done, Any]] = deque()
        self._under_way = 0
        self.background_bytes = background_bytes
        self.limit_bytes = limit_bytes
        self.depth = depth
        self.dirty_bytes = 0.0
        self.throttled_s = 0.0
        """Time that writers have waited, ever."""

    @property
    def throttled(self) -> int:
        """Writes that wait now."""
        return len(self._throttled)

    def write(self, owner: Owner, size_bytes: float, done: Done, argument: Any) -> bool:
        """Take bytes into the page cache; call `done(argument)` when they are in it. Whether that was at once."""
        if self._throttled or not self._fits(size_bytes):
            self._throttled.append((owner, size_bytes, self._engine._now, done, argument))
            self._write_back()
            return False
        self._take(owner, size_bytes)
        self._write_back()
        done(argument)
        return True

    def sync(self, owner: Owner, done: Done, argument: Any) -> bool:
        """Call `done(argument)` when all that the owner has dirty now is written. Whether that was at once."""
        if owner.written_bytes >= owner.dirtied_bytes:
            done(argument)
            return True
        owner.syncs.append((owner.dirtied_bytes, done, argument))
        if owner.queued:
            self._owners.remove(owner)
            self._owners.appendleft(owner)
        self._write_back()
        return False

    def written(self, owner: Owner, size_bytes: float) -> None:
        """A request of the flusher has reached the disk."""
        self._under_way -= 1
        self.dirty_bytes -= size_bytes
        owner.written_bytes += size_bytes
        if self.dirty_bytes < 1e-6:  # what is left of adding and subtracting
            self.dirty_bytes = 0.0
        now = self._engine._now
        released: list[tuple[Done, Any]] = []
        while self._throttled and self._fits(self._throttled[0][1]):
            writer, wanted_bytes, since, done, argument = self._throttled.popleft()
            self.throttled_s += now - since
            self._take(writer, wanted_bytes)
            released.append((done, argument))
        while owner.syncs and owner.written_bytes >= owner.syncs[0][0] - 1e-6:
            _, done, argument = owner.syncs.popleft()
            released.append((done, argument))
        self._write_back()
        for done, argument in released:
            done(argument)

    def _fits(self, size_bytes: float) -> bool:
        return self.dirty_bytes + size_bytes <= self.limit_bytes or self.dirty_bytes == 0.0

    def _take(self, owner: Owner, size_bytes: float) -> None:
        self.dirty_bytes += size_bytes
        owner.dirtied_bytes += size_bytes
        owner.waiting_bytes += size_bytes
        if not owner.queued and owner.waiting_bytes > 0.0:
            owner.queued = True
            self._owners.append(owner)

    def _write_back(self) -> None:
        """Keep the flusher busy while there is a reason."""
        while self._under_way < self.depth and self._owners:
            owner = self._owners[0]
            wanted = owner.syncs or self.dirty_bytes > self.background_bytes or self._throttled
            if not wanted:
                return
            self._owners.popleft()
            size_bytes = owner.next_bytes()
            self._under_way += 1
            owner.begin(size_bytes)
            owner.queued = owner.waiting_bytes > 1e-6
            if not owner.queued:
                owner.waiting_bytes = 0.0
            elif owner.syncs:
                self._owners.appendleft(owner)
            else:
                self._owners.append(owner)
