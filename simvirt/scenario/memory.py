"""What a scenario may say of a tenant's memory: its size, the limits of its group, swap, and who is spared."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from simvirt.memory_plan import MemoryWish
from simvirt.quantities import Bytes, PositiveBytes

__all__ = ["MemoryLimits"]


class MemoryLimits(BaseModel):
    """What a group of equal tenants may have of memory: each tenant so much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: PositiveBytes | None = None
    """Size of their virtual machine, large enough for them unless given; elsewhere what takes the place of the workload's resident set."""
    memory_max: PositiveBytes | None = None
    """Limit of their control group, beyond which somebody in it is killed; none unless given, as in real systems."""
    memory_high: PositiveBytes | None = None
    """Size of their control group from which on it is slowed down; none unless given."""
    swap: Bytes | None = None
    """Swap space of their virtual machine, none unless given; elsewhere a limit to what they may have of the host's."""
    oom_score_adj: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Thousandths of the memory added to their badness when somebody has to be killed; -1000 spares them."""

    @property
    def memory_wish(self) -> MemoryWish:
        """What is said of their memory."""
        return MemoryWish(memory=self.memory, memory_max=self.memory_max, memory_high=self.memory_high, swap=self.swap)
