"""What a layer does when nobody asks it for anything, and how many of what it makes there may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from simvirt.demand import Compute, ContextSwitch, Demand, Syscall, Timer, Wake
from simvirt.evidence import Cost

__all__ = ["NO_MAXIMUM", "Background", "Maximum"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """The timers and daemons of a system that is idle.

    Each wake-up is the end of a timer: a program of the system is woken, works for `cpu_s`, and sleeps again by a system call. What that
    costs in interrupts, exits and the start of a halted processor follows from the layers below. Wake-ups come at random and independent
    of each other (Poisson), as those of many unrelated timers do; kernels that bundle their timers wake up less often than this says.
    """

    wakeups_per_s: Cost
    """Of a whole system."""
    cpu_s: Cost
    """Work of what is woken, on the reference core and with cold caches, without switching to it."""

    @property
    def demand(self) -> Demand:
        """Of one wake-up."""
        return Demand((Timer(count=1.0), Wake(count=1.0), ContextSwitch(count=1.0), Compute(cpu_s=self.cpu_s.si), Syscall(count=1.0)))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Maximum:
    """Bounds that no amount of hardware moves; None where there is none, or none is known."""

    instances: Cost | None = None
    """Virtual machines of a host, by rule of who sells or supports it."""
    vcpus_per_core: Cost | None = None
    """Virtual processors for each physical core, by rule likewise."""
    bridge_ports: Cost | None = None
    """Ports of the bridge that tenants are plugged into, in its kernel; 0 if they are plugged into none."""


NO_MAXIMUM: Final = Maximum()
