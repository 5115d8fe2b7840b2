"""How much of the time somebody waits for memory (pressure stall information)."""

from __future__ import annotations

from typing import final

from simvirt.engine import Engine

__all__ = ["Pressure"]


@final
class Pressure:
    """`some_s`: time in which at least one task waited for memory; `stalled_s`: the sum over tasks of such waits. Both since `restart`."""

    __slots__ = ("_changed", "_engine", "_some_s", "_stalled_s", "waiting")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.waiting = 0
        self.restart()

    def restart(self) -> None:
        self._changed = self._engine.now
        self._some_s = self._stalled_s = 0.0

    def enter(self) -> None:
        """A task begins to wait."""
        self._fold()
        self.waiting += 1

    def leave(self) -> None:
        """A task goes on."""
        assert self.waiting > 0
        self._fold()
        self.waiting -= 1

    def _fold(self) -> None:
        now = self._engine.now
        passed = now - self._changed
        self._changed = now
        self._stalled_s += self.waiting * passed
        if self.waiting:
            self._some_s += passed

    @property
    def some_s(self) -> float:
        self._fold()
        return self._some_s

    @property
    def stalled_s(self) -> float:
        self._fold()
        return self._stalled_s
