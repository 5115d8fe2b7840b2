"""The chain of a start: the stages of one layer and of all that stands on it, bottom to top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import fsum
from typing import final

from simvirt.demand import BlockRead, Compute, Demand
from simvirt.errors import StackError
from simvirt.layers.contract import Charge, Resource
from simvirt.layers.stack import APPLICATION, Stack
from simvirt.startup.stage import FRESH, MACHINE, PROCESS, RESTORING, AbstractStage, LayerStart, Program

__all__ = ["Chain", "DiskAccess", "Step", "chain_of"]


@final
@dataclass(frozen=True, slots=True)
class DiskAccess:
    """What one read asks of a disk."""

    access_s: float
    """Of one channel."""
    transfer_s: float
    """Of the bus."""
    moves: float
    """Moves of an arm, where there is one."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One stage of one start."""

    level: int
    """Index of the layer that is being started; the number of layers stands for the application."""
    by: int
    """Index of the layer that does it: that one, or the one below."""
    layer: str
    """Name of the layer that does it, or that of applications."""
    stage: AbstractStage
    slowdown: float = 1.0
    """Core-seconds that the machine spends for one of the stage's own: what the layers below add to any instruction."""
    reads: int = 0
    """Requests to the disk when nothing is in memory."""
    read: DiskAccess | None = None
    """One of them."""

    @property
    def cold_s(self) -> float:
        """What the disk takes, with nobody else there."""
        return self.reads * (self.read.access_s + self.read.transfer_s) if self.read is not None else 0.0

    def alone_s(self, *, instances: float = 0.0, vcpus: int = 1, cold: bool = False) -> float:
        """Mean time with nobody else there."""
        return self.stage.alone_s(
            instances=instances, processors=vcpus, slowdown=self.slowdown, cold_s=self.cold_s if cold else 0.0
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Steps one after the other. They start the layers from `level` up for one tenant."""

    stack: Stack
    level: int
    steps: tuple[Step, ...]

    def alone_s(self, *, instances: float = 0.0, vcpus: int = 1, cold: bool = False) -> float:
        """Mean time until the last step is done, with nobody else starting. `instances` exist already; if `cold`, nothing is in memory."""
        return fsum(step.alone_s(instances=instances, vcpus=vcpus, cold=cold) for step in self.steps)

    def upto(self, level: int) -> Chain:
        """The part that starts layers up to `level`: what tenants share, of a chain that begins below it."""
        return replace(self, steps=tuple(step for step in self.steps if step.level <= level))

    def above(self, level: int) -> Chain:
        """The part that starts layers above `level`."""
        return replace(self, level=max(self.level, level + 1), steps=tuple(step for step in self.steps if step.level > level))


def chain_of(stack: Stack, starts: Sequence[LayerStart], level: int, way: str = FRESH) -> Chain:
    """The stages that start the layer at `level` of a stack and everything above it, for one tenant, bottom to top.

    `starts` has one entry for each layer, and one more for the application. A layer is started by whoever makes its processors
    (the way `machine` of the layer below), then by itself, in the way that the layer below asks for, or afresh. With a `way` of
    its own choice, the lowest layer that knows it goes that way; what is restored or cloned brings back all that stands on it.
    Raises StackError if no layer from `level` up knows the way.
    """
    top = len(stack.layers)
    if not 0 <= level <= top:
        raise StackError([f"level {level}: no such layer; 0 (the machine) to {top} (the application)"])
    if len(starts) != top + 1:
        raise StackError([f"{len(starts)} descriptions of starts for {top} layers and an application; one for each"])
    chosen = next((i for i in range(level, top + 1) if way in _ways(stack, starts, i)), None)
    if way != FRESH and chosen is None:
        known = sorted({word for i in range(level, top + 1) for word in _ways(stack, starts, i)})
        raise StackError([f"start {way!r}: no layer from {level} up knows this way; known: {', '.join(known) or 'none'}"])
    steps: list[Step] = []
    for i in range(level, top + 1):
        steps += _level(stack, starts, i, way if i == chosen else FRESH)
        if i == chosen and way in RESTORING:
            break
    return Chain(stack=stack, level=level, steps=tuple(steps))


def _makes(stack: Stack, level: int) -> bool:
    """Whether a layer makes the processors of the next one."""
    return 0 <= level < len(stack.layers) - 1 and stack.layers[level].provides_processors


def _ways(stack: Stack, starts: Sequence[LayerStart], level: int) -> set[str]:
    """Ways in which the layer at a level may come up."""
    own = starts[level].ways.keys() - {*RESTORING, MACHINE, PROCESS} if _makes(stack, level) else starts[level].ways.keys() - {PROCESS}
    return {*own, *(starts[level - 1].ways.keys() & {*RESTORING} if _makes(stack, level - 1) else ())}


def _level(stack: Stack, starts: Sequence[LayerStart], level: int, way: str) -> Iterator[Step]:
    """All stages that bring up one layer."""
    own, below = starts[level], starts[level - 1] if level else None
    if below is not None and _makes(stack, level - 1):
        if way in RESTORING:
            yield from _steps(stack, level, level - 1, below.along(way))
            return
        yield from _steps(stack, level, level - 1, below.along(MACHINE))
    if level == len(stack.layers):
        kernel = stack.kernel_level(level - 1)
        yield from _steps(stack, level, kernel, starts[kernel].along(PROCESS))
    if way == FRESH and below is not None and below.above in own.ways:
        way = below.above
    yield from _steps(stack, level, level, own.along(way))


def _steps(stack: Stack, level: int, by: int, stages: Sequence[AbstractStage]) -> Iterator[Step]:
    """Stages as they are on this machine."""
    for stage in stages:
        here = stage.on(stack.host.clock_hz)
        reads = round(here.read_count) if isinstance(here, Program) else 0
        yield Step(
            level=level,
            by=by,
            layer=stack.names[by] if by < len(stack.layers) else APPLICATION,
            stage=here,
            slowdown=_slowdown(stack, by),
            reads=reads,
            read=_access(stack, here, reads) if isinstance(here, Program) and reads else None,
        )


def _slowdown(stack: Stack, by: int) -> float:
    """Core-seconds per second of computing at a level: what `lower` of all layers below adds to an instruction."""
    ground = Stack(stack.layers[: max(1, min(by, len(stack.layers)))])
    charged = ground.fold(Demand((Compute(cpu_s=stack.host.core_speed),)))
    return fsum(one.charge.amount for one in charged if one.charge.resource is Resource.CPU)


def _access(stack: Stack, stage: Program, reads: int) -> DiskAccess:
    """What the machine's disk takes for one of a stage's reads."""
    operation = BlockRead(count=1.0, random=stage.random_share, size_bytes=stage.read_bytes / reads)
    charged = [item for item in stack.hardware.lower(operation, stack.host) if isinstance(item, Charge)]
    access_s = sum(charge.amount for charge in charged if charge.resource is Resource.DISK)
    transfer_s = sum(charge.amount for charge in charged if charge.resource is Resource.DISK_BUS)
    return DiskAccess(access_s, transfer_s, stage.random_share)
