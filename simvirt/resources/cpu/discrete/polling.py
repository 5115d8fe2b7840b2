"""Halt polling: a host looks out for work for a virtual processor that has fallen idle, for a while, before it lets it sleep."""

from __future__ import annotations

from typing import Final, Protocol, final

from simvirt.engine import Engine
from simvirt.resources.cpu.discrete.agenda import Agenda

__all__ = ["HaltPolling", "Polled"]

START_S: Final = 10e-6
"""The first window after one of nothing."""
GROWTH: Final = 2.0


class Polled(Protocol):
    """A virtual processor."""

    def crowded(self) -> bool:
        """Whether somebody else wants its processor."""

    def doze(self, now: float) -> None:
        """Sleep, as there is nothing to run."""


@final
class HaltPolling:
    """The polling for one virtual processor.

    It keeps its physical processor busy for up to a window. The window adapts to how long it was halted, as KVM's does: if longer than
    the window and no longer than `most_s`, the window doubles, from `START_S` on; if longer than `most_s`, it becomes nothing. Polling ends
    when there is work, when the window is over, when anybody else wants the processor, and when an interrupt takes it.
    """

    __slots__ = ("_agenda", "_begun", "_engine", "_halted", "_most_s", "_polled", "_wakeup", "active", "listed", "polled_s", "window_s")

    def __init__(self, engine: Engine, agenda: Agenda, polled: Polled, most_s: float) -> None:
        self._engine = engine
        self._agenda = agenda
        self._polled = polled
        self._most_s = most_s
        self._wakeup = engine.wakeup(self._fire)
        self._begun = 0.0
        self._halted = 0.0
        """When the virtual processor last fell idle."""
        self.active = False
        self.listed = False
        self.window_s = 0.0
        self.polled_s = 0.0
        """Time that was spent polling."""

    def halt(self, now: float) -> bool:
        """The virtual processor has fallen idle: whether it is polled for."""
        self._halted = now
        if self.window_s <= 0.0 or self._polled.crowded():
            return False
        self.active = True
        self._begun = now
        self._wakeup.at(now + self.window_s)
        return True

    def work(self, now: float) -> None:
        """There is work: the halt is over."""
        halted_s = now - self._halted
        self.stop(now)
        if halted_s > self._most_s:
            self.window_s = 0.0
        elif halted_s > self.window_s:
            self.window_s = min(max(self.window_s * GROWTH, START_S), self._most_s)

    def stop(self, now: float) -> None:
        """Poll no more."""
        if self.active:
            self.active = False
            self.polled_s += now - self._begun
            self._wakeup.cancel()

    def spent_s(self, now: float) -> float:
        """`polled_s`, up to now."""
        return self.polled_s + (now - self._begun if self.active else 0.0)

    def restart(self, now: float) -> None:
        self.polled_s = 0.0
        self._begun = now

    def disturb(self) -> None:
        """Somebody else may want the processor."""
        if self.active:
            self._agenda.add(self)

    def _fire(self) -> None:
        self._agenda.add(self)
        self._agenda.settle(self._engine._now)

    def look(self, now: float) -> None:
        if self.active and (now >= self._begun + self.window_s or self._polled.crowded()):
            self.stop(now)
            self._polled.doze(now)
