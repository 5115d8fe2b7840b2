"""Interrupts: what a processor does at once, in the time of whoever it runs."""

from __future__ import annotations

from typing import final

from simvirt.resources.cpu.discrete.tasks import DiscreteThread

__all__ = ["InterruptHandler"]


@final
class InterruptHandler(DiscreteThread):
    """Work that a kernel does in interrupts. It is in no run queue and is no task to any rules.

    It runs at once on its processor, before any task; those that come to one processor run one after the other. Then the task that was
    interrupted goes on, unless a wake-up in the meantime preempts it or its time is over. Its run queue counts the time of the interrupt
    as the task's own, as kernels do that do not account for interrupts apart; on an idle processor nobody pays. Which processor: that of
    the time before if it is idle, else one that is idle, else that of the time before.
    """

    __slots__ = ()

    def wake(self, now: float) -> None:
        self.domain.interrupt(self, now)

    def waited_s(self, now: float) -> float:
        """Time from the interrupt until its processor took it, because of other interrupts or because a virtual processor did not run."""
        pending = self.awake and self.processor is not None and self.processor.handler is not self
        return self.wait_s + (now - self.waiting_since if pending else 0.0)
