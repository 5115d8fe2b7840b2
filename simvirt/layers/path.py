"""The way of one request through a stack: its folded charges gathered into steps, each done by one executor or device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import compress, groupby

from simvirt.demand import Demand
from simvirt.layers.contract import BlockWork, Charge, Context, Place, Resource, When
from simvirt.layers.hardware import NIC_LATENCY
from simvirt.layers.stack import FoldedCharge, Processors, Stack

__all__ = ["Amounts", "Part", "Path", "Step", "plan_path"]


@dataclass(frozen=True, slots=True)
class Part:
    """A labelled piece of a step: so much, charged by this layer for this cause."""

    layer: str
    cause: str
    amount: float


@dataclass(frozen=True, slots=True)
class Amounts:
    """Labelled pieces that are due on the same condition."""

    parts: tuple[Part, ...] = ()

    @property
    def total(self) -> float:
        return sum(part.amount for part in self.parts)

    @classmethod
    def of(cls, charges: Iterable[Charge]) -> Amounts:
        """Gather charges by label; the order of first appearance stays."""
        sums: dict[tuple[str, str], float] = {}
        for charge in charges:
            label = (charge.layer, charge.cause)
            sums[label] = sums.get(label, 0.0) + charge.amount
        return cls(tuple(Part(layer, cause, amount) for (layer, cause), amount in sums.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happens between two hand-overs.

    On a CPU the step takes fixed + random * (the request's factor) seconds, and asleep, idle or notify on top if somebody had to be
    woken. On a device, `fixed` is the amount in the device's own unit and `size_bytes` the bytes.
    """

    resource: Resource
    context: Context
    fixed: Amounts
    random: Amounts = Amounts()
    asleep: Amounts = Amounts()
    """Due if the executor was idle."""
    notify: Amounts = Amounts()
    """Due if the executor of the next step is idle."""
    idle: tuple[tuple[Processors, Amounts], ...] = ()
    """Per kind of virtual processor that the step runs on: due if that processor was halted."""
    polled: tuple[Amounts, ...] = ()
    """The same, in place of it: due if that processor was halted but polled for."""
    size_bytes: float = 0.0
    block: BlockWork | None = None
    """What a step on the disk is for."""
    sections: float = 0.0
    """Critical sections that a step on the caller is made of; none if 0."""
    may_wake_core: bool = True
    """Whether the step may find its physical core idle; not if it goes on where the step before has just worked."""


@dataclass(frozen=True, slots=True)
class Path:
    """The steps of one class of requests on one stack."""

    steps: tuple[Step, ...]

    def cpu_s(self, factor: float = 1.0) -> float:
        """CPU time of a request that wakes nobody, wherever it is spent."""
        return sum(s.fixed.total + factor * s.random.total for s in self.steps if s.resource is Resource.CPU)

    def caller_s(self, factor: float = 1.0) -> float:
        """The part of `cpu_s` that the application's own thread spends."""
        mine = (s for s in self.steps if s.resource is Resource.CPU and s.context.place is Place.CALLER)
        return sum(s.fixed.total + factor * s.random.total for s in mine)

    def off_the_wire(self) -> Path:
        """The same way between two who live on one host: what the physical card does is left out.

        Messages come from, and go to, the host's bridge; the host's kernel handles them as before (a soft interrupt in place of the
        card's). What the other one spends is not on this path.
        """
        return Path(tuple(step for step in self.steps if not _of_the_card(step)))


def _of_the_card(step: Step) -> bool:
    if step.resource is Resource.DELAY:
        return any(part.cause == NIC_LATENCY for part in step.fixed.parts)
    return step.resource in (Resource.NIC_RX, Resource.NIC_TX, Resource.MODERATION)


def plan_path(stack: Stack, demand: Demand) -> Path:
    """Fold a demand and gather what one executor does in one go.

    Neighbouring CPU charges in one context become one step; each packet batch, block request or delay is a step of its own. Steps of
    nothing are dropped.
    """
    steps: list[Step] = []
    for key, run in groupby(stack.fold(demand), key=_executor):
        folded = list(run)
        steps += [_burst(stack, key[1], folded)] if key[0] is Resource.CPU else _devices(folded)
    steps = [step for step in steps if _matters(step)]
    return Path(tuple(_still_awake(stack, before, step) for before, step in zip([None, *steps], steps, strict=False)))


def _still_awake(stack: Stack, before: Step | None, step: Step) -> Step:
    """What has just worked for this request need not be woken for the next step.

    That holds for a virtual processor, and for the core of an interrupt: a kernel runs the thread that its interrupt wakes there, as that
    core is awake and otherwise idle. A thread woken by another thread runs elsewhere, beside the one that woke it.
    """
    if before is None or before.resource is not Resource.CPU:
        return step
    awake = stack.processors(before.context)
    asleep = [processors not in awake for processors, _ in step.idle]
    idle, polled = tuple(compress(step.idle, asleep)), tuple(compress(step.polled, asleep))
    same_kernel = stack.scheduled_by(before.context) == stack.scheduled_by(step.context)
    goes_on = before.context.place is step.context.place is Place.CALLER  # into a critical section, or out of it
    same_core = same_kernel and (before.context.place is Place.INTERRUPT or goes_on)
    return replace(step, idle=idle, polled=polled, may_wake_core=not same_core and (bool(idle) or not step.idle))


def _executor(folded: FoldedCharge) -> tuple[Resource, Context]:
    return folded.charge.resource, folded.charge.context


def _matters(step: Step) -> bool:
    return bool(step.fixed.parts or step.random.parts or step.asleep.parts or step.notify.parts)


def _burst(stack: Stack, context: Context, folded: list[FoldedCharge]) -> Step:
    always = [f for f in folded if f.charge.when is When.ALWAYS]
    return Step(
        resource=Resource.CPU,
        context=context,
        fixed=Amounts.of(f.charge for f in always if not f.random),
        random=Amounts.of(f.charge for f in always if f.random),
        asleep=Amounts.of(f.charge for f in folded if f.charge.when is When.ASLEEP),
        notify=Amounts.of(f.charge for f in folded if f.charge.when is When.NEXT_ASLEEP),
        idle=tuple((p, Amounts.of(stack.wake(p.level, context))) for p in stack.processors(context)),
        polled=tuple(Amounts.of(stack.wake(p.level, context, polled=True)) for p in stack.processors(context)),
        sections=sum(f.charge.sections for f in folded),
    )


def _devices(folded: list[FoldedCharge]) -> Iterator[Step]:
    for one in folded:
        charge = one.charge
        amounts = Amounts.of((charge,))
        yield Step(
            resource=charge.resource, context=charge.context, fixed=amounts, size_bytes=charge.size_bytes, block=charge.block
        )
