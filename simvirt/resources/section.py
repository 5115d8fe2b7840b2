"""The stage at which a request is in critical sections."""

from __future__ import annotations

from typing import final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractThread
from simvirt.resources.lock import SpinLock
from simvirt.resources.stages import AbstractStage, CpuWork, Request

__all__ = ["CriticalSection"]


@final
class CriticalSection(AbstractStage):
    """Critical sections on the thread that the request holds, one after the other, each under the lock.

    It notes two times: how long all the waits for the lock took, as if they had come first, and when it is done.
    """

    __slots__ = ("_count", "_engine", "_first", "lock", "work")

    def __init__(self, engine: Engine, work: CpuWork, lock: SpinLock, sections: float, *, first: bool) -> None:
        self._engine = engine
        self._first = first
        self._count = max(1, round(sections))
        self.work = work
        self.lock = lock

    def enter(self, request: Request) -> None:
        now = self._engine._now
        slept_s = request.slept_s if self._first else now - request.blocked_at
        seconds = self.work.seconds(request.factor, slept_s) / self._count
        visit = _Visit(request, request.thread, seconds, self._count)
        self._again(visit)

    def _again(self, visit: _Visit) -> None:
        visit.asked = self._engine._now
        self.lock.acquire(visit.thread, visit.section_s, self._over, visit, self._got)

    def _got(self, visit: _Visit, spun_s: float) -> None:
        """It has the lock; before that it spun for so long."""
        visit.waited_s += self._engine._now - visit.asked
        self.work.spun_s += spun_s

    def _over(self, visit: _Visit) -> None:
        self.lock.release(visit.thread)
        self.work.stalled(visit.thread)
        visit.left -= 1
        if visit.left:
            self._again(visit)
            return
        request, now = visit.request, self._engine._now
        request.blocked_at = now
        request.times += request.times[-1] + visit.waited_s, now
        self.next.enter(request)


@final
class _Visit:
    """One request on its way through the sections."""

    __slots__ = ("asked", "left", "request", "section_s", "thread", "waited_s")

    def __init__(self, request: Request, thread: AbstractThread, section_s: float, left: int) -> None:
        self.request = request
        self.thread = thread
        self.section_s = section_s
        self.left = left
        self.asked = self.waited_s = 0.0
