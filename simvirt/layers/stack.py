"""Layers on top of each other: checked once, folded once, never touched while requests run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from simvirt.demand import Compute, Demand, Interface, Operation, PageVisits, Yield
from simvirt.errors import StackError
from simvirt.evidence import Grade
from simvirt.layers.contract import CALLER, AbstractLayer, Charge, Context, Host, Item, Place, Placed, Resource, When, costs_of
from simvirt.layers.hardware import Hardware
from simvirt.layers.translation import BASE_PAGE_BYTES, missed, native_walk, nested_walk
from simvirt.markup import html_table

__all__ = ["APPLICATION", "FoldedCharge", "Processors", "Stack", "misfit"]

APPLICATION: Final = "application"
"""The name under which a workload's own instructions are charged."""


@dataclass(frozen=True, slots=True)
class FoldedCharge:
    """A charge with its layer and its owner settled."""

    charge: Charge
    random: bool
    """Whether the amount varies with the request's own factor (it descends from the workload's `Compute`)."""


@dataclass(frozen=True, slots=True)
class Processors:
    """Whose virtual processors: those that the layer at `level` gives to the tenant's virtual machine, or to a service VM."""

    level: int
    service_vm: str = ""


@dataclass(frozen=True)
class Stack:
    """Layers from the hardware (first) to the one that applications stand on (last).

    `fold` lowers a demand through all of them: pure, and linear in the demand. Raises StackError with every pair of layers that do
    not fit, and why.
    """

    layers: tuple[AbstractLayer, ...]

    def __post_init__(self) -> None:
        problems = tuple(self._misfits())
        if problems:
            raise StackError(problems)

    def _misfits(self) -> Iterator[str]:
        if not self.layers or not isinstance(self.layers[0], Hardware):
            yield "stack: the lowest layer must be hardware; begin the list with a machine"
            return
        for below, above in zip(self.layers, self.layers[1:], strict=False):
            reason = misfit(above, below.provides)
            if reason:
                yield f"stack: {above.name!r} cannot stand on {below.name!r}: {reason}"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A unique name for each layer: a kind of layer that occurs again gets its depth (`x`, `x L2`)."""
        seen: dict[str, int] = {}
        names = []
        for layer in self.layers:
            seen[layer.name] = seen.get(layer.name, 0) + 1
            names.append(layer.name if seen[layer.name] == 1 else f"{layer.name} L{seen[layer.name]}")
        return tuple(names)

    @property
    def provides(self) -> Interface:
        """What an application on this stack finds."""
        return self.layers[-1].provides

    @property
    def hardware(self) -> Hardware:
        machine = self.layers[0]
        assert isinstance(machine, Hardware)
        return machine

    @cached_property
    def host(self) -> Host:
        return Host(clock_hz=self.hardware.clock_hz.si, core_speed=self.hardware.core_speed.si)

    def kernel_level(self, level: int) -> int:
        """The layer at or below `level` that schedules threads; the hardware stands for a machine without one."""
        return next((i for i in range(level, 0, -1) if self.layers[i].schedules_threads), 0)

    def processors(self, context: Context) -> tuple[Processors, ...]:
        """The virtual processors, lowest first, on which work in a context runs."""
        top = self.scheduled_by(context)
        own = [Processors(i) for i in range(1, top) if self.layers[i].provides_processors]
        if context.place is Place.SERVICE_VM:
            own.append(Processors(context.level, context.name))
        return tuple(own)

    def scheduled_by(self, context: Context) -> int:
        """The layer whose scheduler decides when work in a context runs."""
        if context.place is Place.CALLER:
            return self.kernel_level(len(self.layers) - 1)
        if context.place is Place.THREAD:
            return self.kernel_level(context.level)
        return context.level

    def fold(self, demand: Demand) -> tuple[FoldedCharge, ...]:
        """Every charge of a demand, in the order in which its time is spent. The sum of charges is linear in the demand."""
        top = len(self.layers) - 1
        folded: list[FoldedCharge] = []
        for operation in demand.operations:
            if operation.is_zero:
                continue
            if isinstance(operation, Compute):
                work = operation.scaled(1.0 / self.host.core_speed)
                work = replace(work, tlb_misses=operation.tlb_misses)
                own = Charge(cause="compute", amount=work.cpu_s, layer=APPLICATION)
                folded.append(FoldedCharge(own, random=True))
                folded += (FoldedCharge(c, random=True) for c in self._lower(work, top, CALLER, When.ALWAYS))
            elif isinstance(operation, PageVisits):
                folded += (FoldedCharge(c, random=True) for c in self._walk(operation, top))
            elif isinstance(operation, Yield):
                turn = Charge(cause="yield", amount=operation.count, resource=Resource.TURN, layer=APPLICATION)
                folded.append(FoldedCharge(turn, random=False))
            else:
                folded += (FoldedCharge(c, random=False) for c in self._lower(operation, top, CALLER, When.ALWAYS))
        return tuple(folded)

    def _walk(self, visits: PageVisits, top: int) -> Iterator[Charge]:
        """Walks for the visits that miss: the native ones, and what they cost more below.

        An entry of the translation buffer holds the smallest of the pages that an address goes through.
        """
        size, buffer = visits.page_bytes, self.hardware.translation
        held = min(size, *(layer.backing_page_bytes for layer in self.layers))
        misses = visits.count * missed(visits.size_bytes, held, buffer.entries_for(held))
        walked_s = misses * buffer.walk_s.si * native_walk(size)
        if walked_s:
            yield Charge(cause="page_walk", amount=walked_s, layer=self.names[0])
        like = misses * nested_walk(size, BASE_PAGE_BYTES)
        yield from self._lower(Compute(cpu_s=walked_s, tlb_misses=like), top, CALLER, When.ALWAYS)

    def wake(self, level: int, context: Context, *, polled: bool = False) -> tuple[Charge, ...]:
        """What it costs work in a context to start on a halted virtual processor of the layer at `level`, which may be polled for."""
        layer = self.layers[level]
        items = layer.wake_polled_processor(self.host) if polled else layer.wake_processor(self.host)
        return tuple(c for item in items for c in self._emit(item, level, context, When.PROCESSOR_IDLE))

    def _repr_html_(self) -> str:
        header = ("layer", "kind", "needs", "gives", "costs", "of them assumed")
        rows = []
        for name, layer in reversed(list(zip(self.names, self.layers, strict=True))):
            grades = [cost.grade for _, cost in costs_of(layer)]
            needs = layer.requires or "nothing below"
            rows.append((name, layer.kind.replace("-", " "), needs, layer.provides, len(grades), grades.count(Grade.ASSUMED)))
        return html_table("A stack, the highest layer first", header, rows)

    def _lower(self, operation: Operation, level: int, context: Context, when: When) -> Iterator[Charge]:
        if level < 0 or operation.is_zero:
            return
        for item in self.layers[level].lower(operation, self.host):
            yield from self._emit(item, level, context, when)

    def _emit(self, item: Item, level: int, context: Context, when: When) -> Iterator[Charge]:
        """Settle one item that the layer at `level` gave out in a context of somebody above it."""
        if isinstance(item, Operation):
            yield from self._lower(item, level - 1, context, when)
            return
        context = self._settle(item.context, level, context)
        when = when if item.when is When.ALWAYS else item.when
        if isinstance(item, Placed):
            yield from self._lower(item.operation, level - 1, context, when)
            return
        yield replace(item, layer=self.names[level], context=context, when=when)
        if item.resource is Resource.CPU:
            yield from self._lower(Compute(cpu_s=item.amount), level - 1, context, when)

    def _settle(self, chosen: Context, level: int, outer: Context) -> Context:
        if chosen == CALLER:
            return outer
        if chosen.place is Place.INTERRUPT:
            return replace(chosen, level=self.kernel_level(level))
        return replace(chosen, level=level)


def misfit(layer: AbstractLayer, offered: Interface) -> str:
    """Why a layer cannot stand on an interface; empty if it can."""
    required = layer.requires
    if required is None:
        return "hardware stands on nothing; put it first"
    if required == offered:
        return ""
    if required.kind != offered.kind:
        hint = {
            ("os", "machine"): "put an operating system between them",
            ("machine", "os"): "it wants a bare machine; use a hosted hypervisor, or put a hypervisor between them",
        }.get((required.kind, offered.kind), f"something that provides {required} must be below it")
        return f"it requires {required}, which is offered {offered}; {hint}".replace(", which is offered", " and is offered")
    if required.kind == "machine":
        return f"it requires {required} and is offered {offered}; another instruction set needs an emulator below it"
    return f"it requires {required} and is offered {offered}; it needs a virtual machine with that system"
