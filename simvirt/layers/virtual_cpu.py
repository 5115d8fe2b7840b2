"""The virtual processor and its memory: the part that every hypervisor has, whatever it stands on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar, final

from simvirt.demand import AddressSpaceSwitch, Compute, FreshPage, Interrupt, KernelEntry, Operation, PageTableUpdate, Privileged
from simvirt.evidence import Cost
from simvirt.layers.contract import AbstractLayer, Charge, charges
from simvirt.layers.translation import BASE_PAGE_BYTES, nested_walk

__all__ = ["Paging", "ProcessorMaker", "VirtualCpu"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """What address translation costs beyond a real machine's.

    Nested paging pays walks and first touches; shadow paging and paravirtual page tables pay updates, switches and faults instead. The mode
    is nothing but which of these are zero. A walk is paid once, however many hypervisors stand on each other: they merge their tables
    into one (multi-dimensional paging, Ben-Yehuda et al., OSDI 2010).
    """

    nested_walk_s: Cost
    """Extra page-walk time per TLB miss, pages of 4 KiB in both dimensions."""
    backing_page_bytes: Cost
    """Pages in which the hypervisor backs the machine's memory: larger ones shorten the walk and are touched first less often."""
    fresh_page_s: Cost
    """Backing one frame of 4 KiB at its first touch, without the exit."""
    clear_share: Cost
    """Part of `fresh_page_s` that clears the frame, which a larger page pays for each 4 KiB too."""
    fresh_page_exits: Cost
    """Exits for it."""
    page_table_update_s: Cost
    """One entry written by the guest's kernel."""
    address_space_switch_s: Cost
    """One load of the page-table base register."""

    @property
    def walked_page_bytes(self) -> float:
        """The size of page that limits what one entry of the translation buffer holds; none where nothing is walked in two dimensions."""
        return self.backing_page_bytes.si if self.nested_walk_s.si else inf

    @property
    def walk_s(self) -> float:
        """Extra time of one walk for a guest's page of 4 KiB."""
        return self.nested_walk_s.si * nested_walk(BASE_PAGE_BYTES, self.backing_page_bytes.si)

    @property
    def backed_per_touch(self) -> float:
        """First touches of backing pages per first touch of a frame of 4 KiB, memory being touched all over."""
        return BASE_PAGE_BYTES / max(BASE_PAGE_BYTES, self.backing_page_bytes.si)

    @property
    def fresh_s(self) -> float:
        """Backing one frame of 4 KiB, alone or as a part of a larger page."""
        cleared = self.clear_share.si
        return self.fresh_page_s.si * (cleared + (1.0 - cleared) * self.backed_per_touch)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualCpu:
    """A processor made by a hypervisor.

    An exit costs `exit_s` and, in handling it, the hypervisor executes `exit_privileged` privileged operations of its own. On real
    hardware those are free (they are inside `exit_s`). On a virtual machine each of them traps again: that is the whole of exit
    multiplication under nesting.
    """

    exit_s: Cost
    """One exit and re-entry that the hypervisor handles by itself."""
    exit_privileged: Cost
    """Privileged operations that the hypervisor executes to handle one exit."""
    interrupt_exits: Cost
    """Exits to deliver one interrupt and have it acknowledged (fewer with hardware assistance)."""
    wake_s: Cost
    """From the signal to a halted virtual processor running again."""
    wake_exits: Cost
    """Exits of one halt and wake-up."""
    halt_poll_s: Cost
    """How long at most the hypervisor looks out for work for a halted virtual processor, on its core, before it lets it sleep; 0: not at
    all. A wake-up in that time costs the exits only. Felt where CPUs are shared by rules; fluid sharing does not know it."""
    pause_loop_s: Cost
    """For how long a virtual processor may spin for a lock before the hypervisor lets others run; 0: as long as it likes. Felt where CPUs
    are shared by rules."""
    boosts_holder: Cost
    """1 if the hypervisor then runs the virtual processor whose thread has the lock, where that one waits; 0 if any."""
    tells_steal: Cost
    """1 if guests can read for how long their virtual processors had to wait (a steal clock), 0 if not. This and the next: felt where CPUs
    are shared by rules."""
    redelivers_ticks: Cost
    """1 if timer ticks that a guest missed meanwhile are delivered to it afterwards, one by one; 0 if they are merged into one."""
    kernel_entry_s: Cost
    """Added to each transition into the guest's kernel (binary translation, paravirtual kernels)."""
    integer_factor: Cost
    """Host instructions' time per guest instruction's; 1 where guest instructions run natively."""
    float_factor: Cost
    """The same for floating point."""
    paging: Paging

    @property
    def tick_s(self) -> float:
        """Exits of one timer tick: to deliver the interrupt, and to set the timer anew."""
        return self.exit_s.si * (self.interrupt_exits.si + 1.0)

    def exits(self, cause: str, count: float) -> tuple[Charge | Operation, ...]:
        """`count` exits for a cause: this hypervisor's time, and what it does in handling them."""
        return (*charges(Charge(cause=cause, amount=count * self.exit_s)), Privileged(count=count * self.exit_privileged))

    def lower(self, operation: Operation) -> tuple[Charge | Operation, ...] | None:
        """Lower an operation of processor or memory; None if it is another kind. What is left for the machine below comes last."""
        paging = self.paging
        match operation:
            case Compute(cpu_s=cpu_s, float_s=float_s, tlb_misses=misses):
                walk = Charge(cause="nested_walk", amount=misses * paging.walk_s)
                slowed_s = (cpu_s - float_s) * (self.integer_factor.si - 1.0) + float_s * (self.float_factor.si - 1.0)
                walked = replace(operation, tlb_misses=0.0) if paging.nested_walk_s.si else operation
                return (*charges(walk, Charge(cause="emulation", amount=slowed_s)), walked)
            case Privileged(count=count):
                return self.exits("vm_exit", count)
            case Interrupt(count=count):
                return (*self.exits("interrupt_exit", count * self.interrupt_exits), operation)
            case KernelEntry(count=count):
                return (*charges(Charge(cause="kernel_entry", amount=count * self.kernel_entry_s)), operation)
            case PageTableUpdate(count=count):
                return (*charges(Charge(cause="page_table_update", amount=count * paging.page_table_update_s)), operation)
            case AddressSpaceSwitch(count=count):
                return (*charges(Charge(cause="address_space_switch", amount=count * paging.address_space_switch_s)), operation)
            case FreshPage(count=count):
                backing = Charge(cause="page_backing", amount=count * paging.fresh_s)
                exits = count * paging.backed_per_touch * paging.fresh_page_exits
                return (*charges(backing), *self.exits("page_backing_exit", exits), operation)
        return None

    def wake(self) -> tuple[Charge | Operation, ...]:
        """One halted processor starts to run."""
        return (*charges(Charge(cause="vcpu_wake", amount=self.wake_s.si)), *self.wake_polled())

    def wake_polled(self) -> tuple[Charge | Operation, ...]:
        """The same while the hypervisor looks out for work for it."""
        return self.exits("halt_exit", self.wake_exits.si)


class ProcessorMaker(AbstractLayer):
    """A layer that makes virtual processors: what schedulers and memories ask of it is what its processors are like."""

    provides_processors: ClassVar[bool] = True

    cpu: VirtualCpu

    @property
    def backing_page_bytes(self) -> float:
        return self.cpu.paging.walked_page_bytes

    @property
    def halt_poll_s(self) -> float:
        return self.cpu.halt_poll_s.si

    @property
    def pause_loop_s(self) -> float:
        return self.cpu.pause_loop_s.si

    @property
    def boosts_holder(self) -> bool:
        return self.cpu.boosts_holder.si > 0.0

    @property
    def tells_steal(self) -> bool:
        return self.cpu.tells_steal.si > 0.0
