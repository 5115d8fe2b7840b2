"""The lock of a kernel, for which threads spin."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, final

from simvirt.resources.cpu.contract import AbstractLock, AbstractThread, Done

__all__ = ["Granted", "SpinLock"]

Granted = Callable[[Any, float], None]
"""Called as granted(argument, seconds that the thread has spun) when the lock is given to it."""


@final
class SpinLock(AbstractLock):
    """One lock: a section is a burst of its holder, and whoever finds it taken spins.

    *Fair* (a ticket or queued lock): it is handed on in the order of arrival, at the end of a section, be the next one on a processor
    or not; while that one waits for a processor, so does everybody. *Not fair*: it falls to the one that has waited longest of those
    that have a processor; if none has, it is free until somebody comes, or comes back. Taking a free lock takes no time, nor does
    handing it on. A kernel does not preempt who holds its lock or spins for it; whoever schedules its virtual processors knows nothing of
    that. A thread asks for the lock once it has a processor. Under fluid sharing nobody spins: the lock is a server in order of
    arrival, whether fair or not.
    """

    __slots__ = ("_coming", "_fair", "_freezing", "_waiting", "holder")

    def __init__(self, *, fair: bool) -> None:
        self._fair = fair
        self._waiting: OrderedDict[AbstractThread, tuple[float, Done, Any, Granted]] = OrderedDict()
        """Threads that spin, in order of arrival: the length of the section, what is to be done at its end and at its begin."""
        self._coming: dict[AbstractThread, tuple[float, Done, Any, Granted]] = {}
        """Threads that will ask for it as soon as they have a processor."""
        self._freezing: set[AbstractThread] = set()
        """Threads that will stand still once they have left their section."""
        self.holder = None

    def acquire(self, thread: AbstractThread, section_s: float, done: Done, argument: Any, granted: Granted) -> None:
        """Run a section on a thread as soon as the lock is its own, then call done(argument), which must release it."""
        thread.disable_preemption(True)
        here = thread.has_processor()
        if here and self._is_open():
            self.holder = thread
            granted(argument, 0.0)
            thread.run(section_s, done, argument)
            return
        (self._waiting if here else self._coming)[thread] = (section_s, done, argument, granted)
        thread.spin(self, done, argument)

    def freeze(self, thread: AbstractThread) -> None:
        """Let a thread of a kernel that goes on stand still: at once, or, as nobody is stopped within a section, after it."""
        if thread is self.holder or thread in self._waiting or thread in self._coming:
            self._freezing.add(thread)
        else:
            thread.freeze()

    def thaw(self, thread: AbstractThread) -> None:
        """The opposite."""
        self._freezing.discard(thread)
        thread.thaw()

    def _is_open(self) -> bool:
        """Whether a newcomer may take it."""
        return self.holder is None and not (self._fair and self._waiting)

    def release(self, thread: AbstractThread) -> None:
        """The section is over."""
        if self.holder is not thread:
            raise RuntimeError("a lock can only be released by its holder")
        self.holder = None
        thread.disable_preemption(False)
        if self._freezing and thread in self._freezing:
            self._freezing.remove(thread)
            thread.freeze()
        if self._waiting:
            heir = self._heir()
            if heir is not None:
                self._grant(heir)

    def _heir(self) -> AbstractThread | None:
        if self._fair:
            return next(iter(self._waiting))
        return next((thread for thread in self._waiting if thread.has_processor()), None)

    def came_back(self, thread: AbstractThread) -> bool:
        if (comer := self._coming.pop(thread, None)) is not None:
            self._waiting[thread] = comer
        if self.holder is not None or (self._fair and next(iter(self._waiting)) is not thread):
            return False
        self._grant(thread)
        return True

    def _grant(self, thread: AbstractThread) -> None:
        section_s, done, argument, granted = self._waiting.pop(thread)
        self.holder = thread
        granted(argument, thread.enter_section(section_s, done, argument))
