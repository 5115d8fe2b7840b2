"""A processor: it runs the task that its run queue chooses, and lets it go when the burst is done, the slice is over or another one comes.

One wake-up per processor, at the earliest of the end of the burst and the next time the run queue wants to look. While one task is runnable
and has no quota, a run to completion is one event.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nextafter
from typing import final

from simvirt.resources.cpu.discrete.contract import AbstractDomain, AbstractProcessor, Task, next_tick
from simvirt.resources.cpu.discrete.tasks import DiscreteThread, VirtualProcessor

__all__ = ["Processor"]


@final
class Processor(AbstractProcessor):
    """A physical or virtual processor and what it runs."""

    __slots__ = (
        "_counted_from", "charged", "check_due", "domain", "idle_s", "last", "off_since", "ready", "task", "wakeup",
    )  # fmt: skip

    def __init__(self, index: int, domain: AbstractDomain, task: VirtualProcessor | None) -> None:
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
            self._let_go(thread, now)

    def let_sleep(self, task: Task, now: float) -> None:
        """The current task, a virtual processor, has nothing more to run."""
        self._let_go(task, now)
        self.request(now)

    def _let_go(self, task: Task, now: float) -> None:
        self.charge(now)
        task.awake = False
        self.queue.dequeue(task, now)
        self.need = True

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
            assert task.processor is not None
            task.processor.let_sleep(task, now)

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

    def physical(self) -> int:
        if self.task is None:
            return self.index
        assert self.task.processor is not None
        return self.task.processor.physical()

    def retime(self, now: float) -> None:
        current = self.current
        if self.backed and isinstance(current, DiscreteThread):
            due = current.ends if current.ends < self.check_due else self.check_due
            if due < inf:
                self.wakeup.at(due if due > now else now)

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
        assert source is not None
        source.charge(now)
        source.queue.dequeue(task, now)
        source.arm(now)
        self.charge(now)
        task.processor = self
        self.queue.enqueue(task, now, waking=False)
