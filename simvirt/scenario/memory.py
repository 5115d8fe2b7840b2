"""What a scenario may say of a tenant's memory: its size, the limits of its group, swap, and who is spared."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from simvirt.layers.translation import BASE_PAGE_BYTES, PAGE_SIZES
from simvirt.memory_plan import MemoryWish
from simvirt.quantities import Bytes, PositiveBytes
from simvirt.units import format_quantity

__all__ = ["MemoryLimits"]


def _a_page_size(size_bytes: float) -> float:
    if size_bytes not in PAGE_SIZES:
        raise ValueError(f"{format_quantity(size_bytes, 'size')}; processors have pages of 4 KiB, 2 MiB and 1 GiB, use one of them")
    return size_bytes



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
    page_size: Annotated[PositiveBytes, AfterValidator(_a_page_size)] = BASE_PAGE_BYTES
    """Pages in which its memory stands in its own kernel: 4 KiB, 2 MiB or 1 GiB. Felt by workloads that say how they visit pages."""
    oom_score_adj: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Thousandths of the memory added to their badness when somebody has to be killed; -1000 spares them."""

    @property
    def memory_wish(self) -> MemoryWish:
        """What is said of their memory."""
        return MemoryWish(memory=self.memory, memory_max=self.memory_max, memory_high=self.memory_high, swap=self.swap)
