"""Pause-loop exiting: whoever schedules a virtual processor notices that it has been spinning, and lets others run."""

from __future__ import annotations

from math import inf
from typing import Final, Protocol, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractLock
from simvirt.resources.cpu.discrete.agenda import Agenda

__all__ = ["PauseLoop", "Spinning"]

GROWTH: Final = 2.0


class Spinning(Protocol):
    """A virtual processor."""

    def lets_run(self, lock: AbstractLock, now: float, *, boost: bool) -> bool:
        """Give way to others, with `boost` to who has the lock. Whether there was anybody."""


@final
class PauseLoop:
    """The look at one virtual processor.

    Once it has spun for a window, it gives way: another of its run queue runs, by the rules. With `boost`, that is the one whose thread
    has the lock, if it waits for a processor, on its own processor or on another's. If there is nobody to give way to, it spins on and the
    window doubles; it is the first again when it next begins to spin (as KVM's is by default). The exit itself takes no time: it is time
    spent spinning.
    """

    __slots__ = ("_agenda", "_boost", "_engine", "_first_s", "_lock", "_spinning", "_wakeup", "_window_s", "exits", "listed", "yields")

    def __init__(self, engine: Engine, agenda: Agenda, spinning: Spinning, window_s: float, *, boost: bool) -> None:
        self._engine = engine
        self._agenda = agenda
        self._spinning = spinning
        self._first_s = self._window_s = window_s
        self._boost = boost
        self._lock: AbstractLock | None = None
        self._wakeup = engine.wakeup(self._fire)
        self.listed = False
        self.exits = self.yields = 0
        """How often the window was over, and how often somebody else ran then."""

    def begin(self, lock: AbstractLock, at: float) -> None:
        """It spins from a time on."""
        self._lock = lock
        self._window_s = self._first_s
        self._wakeup.at(at + self._window_s)

    def stop(self) -> None:
        """It spins no more, or has no processor."""
        self._lock = None
        self._wakeup.cancel()

    def _fire(self) -> None:
        self._agenda.add(self)
        self._agenda.settle(self._engine._now)

    def look(self, now: float) -> None:
        lock = self._lock
        if lock is None or self._wakeup.due < inf:
            return
        self.exits += 1
        if self._spinning.lets_run(lock, now, boost=self._boost):
            self.yields += 1
        if self._lock is not None:
            self._window_s *= GROWTH
            self._wakeup.at(now + self._window_s)
