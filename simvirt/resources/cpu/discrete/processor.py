"""A processor: it runs the task that its run queue chooses, and lets it go when the burst is done, the slice is over or another one comes.

One wake-up per processor, at the earliest of the end of the burst and the next time the run queue wants to look. While one task is runnable
and has no quota, a run to completion is one event.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from math import inf, nextafter
from typing import Any, final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractThread, Done
from simvirt.resources.cpu.discrete.contract import AbstractProcessor, AbstractRules, ControlGroup, Task, next_tick

__all__ = ["Agenda", "DiscreteThread", "Domain", "Limit", "Processor", "VirtualProcessor"]

_LOOKED_AT = 32
"""Waiting tasks looked at before another processor is given up as a source."""


@final
class Agenda:
    """Processors that have to be looked at before time goes on, whatever their domain, in the order in which that was found out."""

    __slots__ = ("_at_work", "_due")

    def __init__(self) -> None:
        self._due: deque[Processor] = deque()
        self._at_work = False

    def add(self, processor: Processor) -> None:
        if not processor.listed:
            processor.listed = True
            self._due.append(processor)

    def settle(self, now: float) -> None:
        """Look at all of them, unless this is called from within."""
        if self._at_work:
            return
        self._at_work = True
        try:
            due = self._due
            while due:
                processor = due.popleft()
                processor.listed = False
                processor.look(now)
        finally:
            self._at_work = False


@final
class Limit:
    """What a limited group could use if it were alone: entitled_s is the integral of min(demand, limit), in core-seconds."""

    __slots__ = ("above", "demand", "entitled_s", "limit", "maximum", "since")

    def __init__(self, limit: float, below: Limit | None, now: float) -> None:
        self.limit = limit
        self.above = below
        """The limited group that this one is part of."""
        self.demand = 0.0
        self.maximum = 0.0
        self.entitled_s = 0.0
        self.since = now

    def change(self, by: float, now: float) -> None:
        """Let the demand grow, here and as far up as it matters."""
        self.entitled_s += self.maximum * (now - self.since)
        self.since = now
        self.demand += by
        maximum = self.demand if self.demand < self.limit else self.limit
        by = maximum - self.maximum
        self.maximum = maximum
        if by and self.above is not None:
            self.above.change(by, now)


@final
class DiscreteThread(Task, AbstractThread):
    """A thread: it makes progress from `since` on while it runs, and its burst is over at `ends`."""

    __slots__ = ("argument", "began", "busy_s", "done", "domain", "ends", "left_s", "limit", "overhead_s", "running", "runnable_s", "since", "woke")

    def __init__(self, name: str, domain: Domain, group: ControlGroup, weight: float, affinity: frozenset[int] | None, limit: Limit) -> None:
        super().__init__(name, group, weight, affinity)
        self.domain = domain
        self.limit = limit
        self.done: Done | None = None
        self.argument: Any = None
        self.left_s = 0.0
        self.running = False
        self.began = self.since = 0.0
        """When it got the processor, and from when on it makes progress."""
        self.ends = inf
        self.woke = 0.0
        self.busy_s = self.overhead_s = self.runnable_s = 0.0

    def run(self, cpu_s: float, done: Done, argument: Any) -> None:
        if not 0.0 < cpu_s < inf:
            raise ValueError(f"thread {self.name}: burst of {cpu_s} s; must be positive and finite")
        if self.done is not None:
            raise RuntimeError(f"thread {self.name}: runs a burst already")
        self.done = done
        self.argument = argument
        self.left_s = cpu_s
        if not self.awake:  # else it goes on without a pause
            domain = self.domain
            now = domain.engine._now
            self.woke = now
            self.limit.change(1.0, now)
            domain.wake(self, now)
            domain.agenda.settle(now)

    def resume(self, now: float, begin: float) -> None:
        if not self.running:
            self.running = True
            self.began = now
            self.since = begin
            self.ends = begin + self.left_s / self.domain.speed

    def pause(self, now: float) -> None:
        if self.running:
            self.bring(now)
            self.running = False
            self.ends = inf

    def bring(self, now: float) -> None:
        """Bring the accounts up to date."""
        if self.awake:
            self.runnable_s += now - self.woke
            self.woke = now
        if not self.running:
            return
        if now >= self.ends:
            done_s = self.left_s
            self.left_s = 0.0
        elif now > self.since:
            done_s = (now - self.since) * self.domain.speed
            self.left_s -= done_s
        else:
            done_s = 0.0
        self.busy_s += done_s
        self.overhead_s += now - self.began - done_s
        self.began = now
        if now > self.since:
            self.since = now

    def sleep(self, now: float) -> None:
        """Account for having been runnable."""
        self.runnable_s += now - self.woke
        self.limit.change(-1.0, now)


@final
class VirtualProcessor(Task):
    """A processor of the domain above, as the domain below sees it. It sleeps while that processor has nothing to run."""

    __slots__ = ("above", "domain")

    def __init__(self, name: str, domain: Domain, group: ControlGroup, weight: float) -> None:
        super().__init__(name, group, weight, None)
        self.domain = domain
        """The one below, which schedules it."""
        self.above: Processor

    def resume(self, now: float, begin: float) -> None:
        self.above.back(now, begin)

    def pause(self, now: float) -> None:
        self.above.unback(now)


@final
class Processor(AbstractProcessor):
    """A physical or virtual processor and what it runs."""

    __slots__ = ("_counted_from", "charged", "check_due", "domain", "idle_s", "idle_since", "last", "listed", "off_since", "ready", "task", "wakeup")

    def __init__(self, index: int, domain: Domain, task: VirtualProcessor | None) -> None:
        self.index = index
        self.domain = domain
        self.task = task
        """Its face to the domain below; None for a physical processor."""
        self.current = None
        self.backed = task is None
        self.need = False
        self.listed = False
        self.last: Task | None = None
        """The task whose state it holds."""
        self.ready = self.charged = self.off_since = domain.engine.now
        """When it goes on after a switch below; when the run queue was last charged; when it was last taken away."""
        self.check_due = inf
        """When the run queue wants to look."""
        self.idle_since = nextafter(domain.engine.now, -inf)
        self._counted_from = domain.engine.now
        """From when on the present idle time counts."""
        self.idle_s = 0.0
        self.wakeup = domain.engine.wakeup(self._fire)

    # ---- what may happen ----

    def _fire(self) -> None:
        now = self.domain.engine._now
        self.domain.agenda.add(self)
        self.domain.agenda.settle(now)

    def request(self, now: float) -> None:
        self.need = True
        if self.backed:
            self.domain.agenda.add(self)
        elif self.task is not None and not self.task.awake:
            self.task.domain.wake(self.task, now)

    def back(self, now: float, begin: float) -> None:
        """Run from `begin` on: the processor below has chosen this one."""
        if self.backed:
            return
        self.backed = True
        self.ready = begin
        self.charged = now
        missed = next_tick(self.off_since, self.off_since, self.domain.rules.hz) <= now
        if (missed or self.check_due <= now) and self.current is not None and self.queue.expired(now):
            self.need = True  # the tick that was missed comes now
        if self.need:
            self.domain.agenda.add(self)
        else:
            if self.current is not None:
                self.current.resume(now, begin)
            self.arm(now)

    def unback(self, now: float) -> None:
        """Stand still, and everything on it: the processor below has chosen something else."""
        if self.backed:
            self.charge(now)
            self.backed = False
            self.off_since = now
            if self.current is not None:
                self.current.pause(now)
            self.wakeup.cancel()

    def look(self, now: float) -> None:
        """Finish what is due, give way if the time is over, choose anew if need be."""
        if not self.backed:
            return
        current = self.current
        if isinstance(current, DiscreteThread):
            if now >= current.ends:
                self._complete(current, now)
        elif isinstance(current, VirtualProcessor):
            current.above.catch_up(now)
        self.charge(now)
        if not self.need and self.check_due <= now and self.queue.expired(now):
            self.need = True
        if self.need:
            self._choose(now)
        self.arm(now)

    def catch_up(self, now: float) -> None:
        """What ends above at this instant ends before anything is decided below."""
        if self.need or self.wakeup.due <= now:
            self.look(now)
        elif isinstance(self.current, VirtualProcessor):
            self.current.above.catch_up(now)

    def _complete(self, thread: DiscreteThread, now: float) -> None:
        """The burst is over: tell the caller, who may start the next one at once; else the thread sleeps."""
        thread.pause(now)
        done = thread.done
        assert done is not None
        thread.done = None
        done(thread.argument)
        if thread.done is not None:
            thread.resume(now, now)
        else:
            thread.sleep(now)
            self.let_sleep(thread, now)

    def let_sleep(self, task: Task, now: float) -> None:
        """The current task has nothing more to do."""
        self.charge(now)
        task.awake = False
        self.queue.dequeue(task, now)
        self.request(now)

    def _choose(self, now: float) -> None:
        self.need = False
        self.charge(now)
        self.need = False  # the choice is made here
        previous = self.current
        chosen = self.queue.pick(now)
        if chosen is None and self.domain.pull(self, now):
            chosen = self.queue.pick(now)
        if chosen is not previous and previous is not None:
            previous.pause(now)
            if previous.awake:
                previous.involuntary_switches += 1
                previous.waiting_since = now
            else:
                previous.voluntary_switches += 1
        self.current = chosen
        if chosen is None:
            self._fall_idle(now)
            return
        if chosen is not previous:
            self.occupy(now)
            chosen.wait_s += now - chosen.waiting_since
        begin = self.ready if self.ready > now else now
        if chosen is not self.last:
            self.last = chosen
            begin += self.domain.rules.switch_s
        chosen.resume(now, begin)

    # ---- idle or not ----

    def _fall_idle(self, now: float) -> None:
        if self in self.domain.idle:
            return
        self.domain.idle[self] = None
        self.idle_since = self._counted_from = now
        if self.domain.crowded:
            self.domain.plan_balance()
        task = self.task
        if task is not None and task.awake:
            below = task.processor
            assert isinstance(below, Processor)
            below.let_sleep(task, now)

    def occupy(self, now: float) -> None:
        """Be idle no more."""
        if self in self.domain.idle:
            del self.domain.idle[self]
            self.idle_s += now - self._counted_from
            task = self.task
            if task is not None and not task.awake:
                task.domain.wake(task, now)

    def idled_s(self, now: float) -> float:
        """Idle time since the last restart, up to now."""
        return self.idle_s + (now - self._counted_from if self in self.domain.idle else 0.0)

    def restart(self, now: float) -> None:
        """Begin to count anew."""
        self.idle_s = 0.0
        self._counted_from = now

    # ---- the run queue ----

    def charge(self, now: float) -> None:
        elapsed_s = now - self.charged
        if elapsed_s > 0.0 and self.backed:
            self.charged = now
            if self.current is not None and self.queue.charge(elapsed_s, now):
                self.request(now)

    def arm(self, now: float) -> None:
        current = self.current
        if not self.backed or current is None:
            self.check_due = inf
            self.wakeup.cancel()
            return
        self.check_due = due = self.queue.check_at(now)
        if isinstance(current, DiscreteThread) and current.ends < due:
            due = current.ends
        if due < inf:
            self.wakeup.at(due if due > now else now)
        else:
            self.wakeup.cancel()

    def settle(self, now: float) -> None:
        self.domain.agenda.settle(now)

    def crowd(self) -> None:
        if self.queue.runnable > 1:
            if self not in self.domain.crowded:
                self.domain.crowded[self] = None
                self.domain.plan_balance()
        else:
            self.domain.crowded.pop(self, None)

    def siblings(self) -> Sequence[AbstractProcessor]:
        return list(self.domain.crowded)

    def migrate(self, task: Task, now: float) -> None:
        source = task.processor
        assert isinstance(source, Processor)
        source.charge(now)
        source.queue.dequeue(task, now)
        source.arm(now)
        self.charge(now)
        task.processor = self
        self.queue.enqueue(task, now, waking=False)


@final
class Domain:
    """Processors with run queues of their own, and what they do for each other: placing, pulling, balancing.

    A task that wakes up goes to the processor it ran on last if that one is idle, else to the one that fell idle last, else to the one it ran on
    last, and the first time to the one with the least load. A processor that falls idle takes the longest-waiting task of the most crowded
    one. Every `balance_s` per processor (every tick, if one is idle) a waiting task moves from the highest to the lowest load if its own load
    is no more than their difference.
    """

    __slots__ = ("_balancer", "agenda", "crowded", "engine", "group", "idle", "processors", "rules", "speed")

    def __init__(self, engine: Engine, agenda: Agenda, rules: AbstractRules, tasks: Sequence[VirtualProcessor | None], speed: float) -> None:
        self.engine = engine
        self.agenda = agenda
        self.rules = rules
        self.speed = speed * (1.0 - rules.hz * rules.tick_s)
        """Progress of a thread per second of having a physical core."""
        self.group = ControlGroup("all", None, weight=1.0, per_thread=False, cap_cores=inf)
        self.idle: OrderedDict[Processor, None] = OrderedDict()
        """Idle processors, the one that has been idle longest first."""
        self.crowded: dict[Processor, None] = {}
        """Processors with more than one runnable task."""
        self.processors = [Processor(i, self, task) for i, task in enumerate(tasks)]
        for processor, queue in zip(self.processors, rules.run_queues(engine, self.processors), strict=True):
            processor.queue = queue
            if processor.task is not None:
                processor.task.above = processor
        self.idle.update(dict.fromkeys(reversed(self.processors)))  # the first is taken first
        self._balancer = engine.wakeup(self._balance)

    # ---- waking ----

    def wake(self, task: Task, now: float) -> None:
        """Let a sleeping task be runnable."""
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

    def _place(self, task: Task) -> Processor:
        previous = task.processor
        if previous is not None:
            assert isinstance(previous, Processor)
            if previous in self.idle or previous.current is task:
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

    def pull(self, processor: Processor, now: float) -> bool:
        """Take a waiting task from the most crowded processor to one that has nothing to run."""
        for source in sorted(self.crowded, key=_crowding, reverse=True) if self.crowded else ():
            task = self._candidate(source, processor, inf)
            if task is not None:
                processor.migrate(task, now)
                return True
        return False

    def _candidate(self, source: Processor, target: Processor, most: float) -> Task | None:
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
        for _ in self.processors:
            if not self.crowded or not self._move(now):
                break
        self.agenda.settle(now)
        if self.crowded:
            self.plan_balance()

    def _move(self, now: float) -> bool:
        """Move one task from the highest to the lowest load; whether to go on."""
        source = max(self.crowded, key=_load)
        target = min(self.processors, key=_load)
        gap = source.queue.load() - target.queue.load()
        task = self._candidate(source, target, gap)
        if task is None:
            return False
        load = source.queue.load_of(task)
        target.migrate(task, now)
        if target.current is None:
            target.occupy(now)
            target.request(now)
        else:
            target.arm(now)
        return 2.0 * load < gap


def _crowding(processor: Processor) -> int:
    return processor.queue.runnable


def _load(processor: Processor) -> float:
    return processor.queue.load()
