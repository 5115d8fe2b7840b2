"""Interrupt moderation: a network card that holds packets back so that one interrupt announces several."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Done

__all__ = ["Moderation"]


@final
class Moderation:
    """One queue of a card, whose interrupts are at least `gap_s` apart.

    What comes when the last interrupt is `gap_s` old interrupts at once. What comes earlier waits until it is, or until `frames` frames
    wait, and all that waits goes on together. While the driver polls no interrupt is needed: what comes, and what waits, goes on at once.
    So nothing waits longer than `gap_s`, nothing is lost, and the order stays. With a gap of 0 it is not there at all.

    Under Poisson arrivals of rate r, without polling and without a bound on frames, x = r gap_s come in a gap, all of which wait for its
    end; if none came (exp(-x)), the next one ends the idle time. So packets per interrupt = x + exp(-x), and the mean wait is
    gap_s x / (2 (x + exp(-x))).
    """

    __slots__ = ("_engine", "_frames", "_held", "_last", "_most_frames", "_wakeup", "gap_s", "interrupts", "packets")

    def __init__(self, engine: Engine, gap_s: float, frames: float = 0.0) -> None:
        if not 0 <= gap_s < inf or frames < 0:
            raise ValueError(f"moderation with a gap of {gap_s} s and {frames} frames: both finite and at least 0")
        self._engine = engine
        self._wakeup = engine.wakeup(self._interrupt)
        self._held: deque[tuple[Done, Any]] = deque()
        self._frames = 0.0
        self._most_frames = frames or inf
        self._last = -inf
        self.gap_s = gap_s
        self.interrupts = 0
        """Interrupts raised since `restart`."""
        self.packets = 0
        """Messages passed on since `restart`, announced or polled."""

    @property
    def waiting(self) -> int:
        """Messages that wait for an interrupt now."""
        return len(self._held)

    def restart(self) -> None:
        """Begin to count anew."""
        self.interrupts = self.packets = 0

    def pass_on(self, frames: float, polled: bool, done: Done, argument: Any) -> None:
        """Call `done(argument)` when the driver learns of the message: now, or at the next interrupt. `polled`: it looks anyway."""
        held, now = self._held, self._engine._now
        held.append((done, argument))
        self._frames += frames
        if polled:
            self._release()
        elif now - self._last >= self.gap_s or self._frames >= self._most_frames:
            self._interrupt()
        elif len(held) == 1:
            self._wakeup.at(self._last + self.gap_s)

    def _interrupt(self) -> None:
        self.interrupts += 1
        self._last = self._engine._now
        self._release()

    def _release(self) -> None:
        held = self._held
        self._held = deque()
        self._frames = 0.0
        self._wakeup.cancel()
        self.packets += len(held)
        for done, argument in held:
            done(argument)
