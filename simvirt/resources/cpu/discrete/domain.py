"""A domain at work: processors with run queues of their own, and what they do for each other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import final

from simvirt.engine import Engine
from simvirt.resources.cpu.discrete.agenda import Agenda
from simvirt.resources.cpu.discrete.contract import AbstractDomain, AbstractProcessor, AbstractRules, ControlGroup, Task, next_tick
from simvirt.resources.cpu.discrete.crowd import Crowd
from simvirt.resources.cpu.discrete.processor import Processor
from simvirt.resources.cpu.discrete.tasks import VirtualProcessor

__all__ = ["Domain"]

_LOOKED_AT = 32
"""Waiting tasks looked at before another processor is given up as a source."""


Ranked = tuple[float, int, AbstractProcessor]
"""A load, what tells equal loads apart, and whose it is."""


@final
class Domain(AbstractDomain):
    """Placing, pulling, balancing.

    A task that wakes up goes to the processor it ran on last if that one is idle, else to the one that fell idle last, else to the one it
    ran on last, and the first time to the one with the least load. A processor that falls idle takes the longest-waiting task of the most
    crowded one. Every `balance_s` per processor (every tick, if one is idle) a waiting task moves from the highest to the lowest load if
    its own load is no more than their difference.
    """

    __slots__ = ("_balancer", "group", "processors")

    def __init__(
        self, engine: Engine, agenda: Agenda, rules: AbstractRules, tasks: Sequence[VirtualProcessor | None], speed: float
    ) -> None:
        self.engine = engine
        self.agenda = agenda
        self.rules = rules
        self.speed = speed * (1.0 - rules.hz * rules.tick_s)
        self.group = ControlGroup("all", None, weight=1.0, per_thread=False, cap_cores=inf)
        self.idle = OrderedDict()
        self.crowded = Crowd()
        self.decisions = 0
        self.processors = [Processor(i, self, task) for i, task in enumerate(tasks)]
        for processor, queue in zip(self.processors, rules.run_queues(engine, self.processors), strict=True):
            processor.queue = queue
            if processor.task is not None:
                processor.task.above = processor
        self.idle.update(dict.fromkeys(reversed(self.processors)))  # the first is taken first
        self._balancer = engine.wakeup(self._balance)

    # ---- waking ----

    def wake(self, task: Task, now: float) -> None:
        processor = self._place(task)
        task.awake = True
        task.processor = processor
        task.waiting_since = now
        processor.charge(now)
        if processor.current is None:
            if processor.queue.enqueue(task, now, waking=True):
                processor.occupy(now)
                processor.request(now)
        elif processor.queue.enqueue(task, now, waking=True):
            if processor.current is task or processor.queue.preempts(task, now):
                processor.request(now)
            elif not processor.listed:
                processor.arm(now)

    def interrupt(self, handler: Task, now: float) -> None:
        processor = self._place(handler)
        handler.awake = True
        handler.processor = processor
        handler.waiting_since = now
        processor.interrupt(handler, now)

    def _place(self, task: Task) -> AbstractProcessor:
        previous = task.processor
        if previous is not None and (previous in self.idle or previous.current is task):
            return previous
        for processor in reversed(self.idle):
            if task.may_run_on(processor):
                return processor
        if previous is not None:
            return previous
        allowed = [processor for processor in self.processors if task.may_run_on(processor)]
        return min(allowed, key=_crowding)

    def idle_processor_s(self, now: float) -> float:
        """How long that processor has been idle that has been idle longest; negative if there is none, or only since this instant."""
        for processor in self.idle:
            return (now - processor.idle_since) or -1.0
        return -1.0

    def regroup(self, task: Task, group: ControlGroup, weight: float, now: float) -> None:
        """Let a task compete elsewhere in the domain from now on."""
        processor = task.processor
        if task.awake:
            assert processor is not None
            processor.charge(now)
            processor.queue.dequeue(task, now)
        task.group, task.weight = group, weight
        if task.awake:
            assert processor is not None
            processor.queue.enqueue(task, now, waking=False)
            processor.request(now)

    # ---- balancing ----

    def pull(self, processor: AbstractProcessor, now: float) -> bool:
        """Take a waiting task from the most crowded processor to one that has nothing to run."""
        task = self.crowded.find(lambda source: self._candidate(source, processor, inf)) if self.crowded else None
        if task is None:
            return False
        processor.migrate(task, now)
        return True

    def _candidate(self, source: AbstractProcessor, target: AbstractProcessor, most: float) -> Task | None:
        """The task that has waited longest for `source`, may run on `target` and has a load of at most `most`."""
        for _, task in zip(range(_LOOKED_AT), source.queue.waiting, strict=False):
            if task.may_run_on(target) and source.current is not task:
                load = source.queue.load_of(task)
                if load < inf and load <= most * (1.0 + 1e-9):
                    return task
        return None

    def plan_balance(self) -> None:
        """Look for an uneven load before long, unless that is planned already."""
        processors = len(self.processors)
        if processors > 1:
            now = self.engine._now
            rules = self.rules
            due = now + rules.balance_s * processors
            if self.idle:
                due = min(due, next_tick(now, now, rules.hz))
            if due < self._balancer.due:
                self._balancer.at(due)

    def _balance(self) -> None:
        now = self.engine._now
        for processor in self.processors:
            processor.charge(now)
        self._even_out(now)
        self.agenda.settle(now)
        if self.crowded:
            self.plan_balance()

    def _even_out(self, now: float) -> None:
        """Move tasks, one at a time, from the highest to the lowest load, found by two heaps."""
        crowd = self.crowded
        high: list[Ranked] = [(-source.queue.load(), crowd.since(source), source) for source in crowd]
        low: list[Ranked] = [(target.queue.load(), target.index, target) for target in self.processors]
        heapify(high)
        heapify(low)
        for _ in self.processors:
            while high and (high[0][2] not in crowd or high[0][:2] != (-high[0][2].queue.load(), crowd.since(high[0][2]))):
                heappop(high)
            while low[0][0] != low[0][2].queue.load():
                heappop(low)
            if not high:
                return
            source, target = high[0][2], low[0][2]
            gap = source.queue.load() - target.queue.load()
            task = self._candidate(source, target, gap)
            if task is None:
                self._serve_idle(now)
                return
            load = source.queue.load_of(task)
            self._hand_over(task, target, now)
            if 2.0 * load >= gap:
                return
            for changed in (source, target):
                heappush(low, (changed.queue.load(), changed.index, changed))
                if changed in crowd:
                    heappush(high, (-changed.queue.load(), crowd.since(changed), changed))

    def _serve_idle(self, now: float) -> None:
        """What the highest load may not give to the lowest, because it is tied to its processors, others may have for one that is idle."""
        for processor in list(self.idle):
            if processor.current is None and self.pull(processor, now):
                processor.occupy(now)
                processor.request(now)

    def _hand_over(self, task: Task, target: AbstractProcessor, now: float) -> None:
        """Let a waiting task go on elsewhere."""
        target.migrate(task, now)
        if target.current is None:
            target.occupy(now)
            target.request(now)
        else:
            target.arm(now)


def _crowding(processor: AbstractProcessor) -> int:
    return processor.queue.runnable
