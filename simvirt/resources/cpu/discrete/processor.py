"""A processor: it runs the task that its run queue chooses, and lets it go when the burst is done, the slice is over or another one comes.

One wake-up per processor, at the earliest of the end of the burst and the next time the run queue wants to look. While one task is runnable
and has no quota, a run to completion is one event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf, nextafter
from typing import final

from simvirt.resources.cpu.discrete.contract import AbstractDomain, AbstractProcessor, Task, next_tick
from simvirt.resources.cpu.discrete.guest_clock import GuestClock
from simvirt.resources.cpu.discrete.pause_loop import PauseLoop
from simvirt.resources.cpu.discrete.tasks import DiscreteThread, VirtualProcessor

__all__ = ["Processor"]


@final
class Processor(AbstractProcessor):
    """A physical or virtual processor and what it runs."""

    __slots__ = (
        "_counted_from", "_left_s", "_pending", "charged", "check_due", "clock", "domain", "idle_s", "last", "off_since", "task", "wakeup",
    )  # fmt: skip

    handler: DiscreteThread | None

    def __init__(self, index: int, domain: AbstractDomain, task: VirtualProcessor | None) -> None:
        self.index = index
        self.domain = domain
        self.task = task
        """Its face to the domain below; None for a physical processor."""
        self.clock: GuestClock | None = None
        """How its kernel keeps time while it is taken away; None for a physical processor."""
        self.current = None
        self.handler = None
        self._pending: deque[DiscreteThread] = deque()
        """Interrupts that wait for their turn."""
        self._left_s = 0.0
        """How much of the switch to the current task was left when it was interrupted."""
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
        elif self.task is not None:
            self.task.wake(now)

    def back(self, now: float, begin: float) -> None:
        """Run from `begin` on: the processor below has chosen this one."""
        if self.backed:
            return
        self.backed = True
        self.charged = now
        ticks_come = True
        if self.clock is not None and self.current is not None:
            begin += self._keep_time(self.clock, now)
            ticks_come = not self.clock.loses_ticks
        self.ready = begin
        missed = next_tick(self.off_since, self.off_since, self.domain.rules.hz) <= now
        if ticks_come and (missed or self.check_due <= now) and self.current is not None and self.queue.expired(now):
            self.need = True  # the tick that was missed comes now
        if self.handler is not None:
            self.handler.resume(now, begin)
            self.arm(now)
        elif self.need or self._pending:
            self.domain.agenda.add(self)
        else:
            if self.current is not None:
                self.current.resume(now, begin)
            self.arm(now)

    def _keep_time(self, clock: GuestClock, now: float) -> float:
        """It has a task and was away: for how long it is busy with ticks. An interrupt of the host is none of the guest's business."""
        since = self.off_since
        assert self.task is not None
        if self.task.waiting_since < since:
            return 0.0
        charged_s = clock.charged_s(since, now)
        if charged_s > 0.0 and self.current is not None and self.current.awake and self.queue.charge(charged_s, now):
            self.need = True
        return clock.catch_up_s(since, now, keeps_time=self.index == 0)

    def unback(self, now: float) -> None:
        """Stand still, and everything on it: the processor below has chosen something else."""
        if self.backed:
            self.charge(now)
            self.backed = False
            self.off_since = now
            running = self.handler if self.handler is not None else self.current
            if running is not None:
                running.pause(now)
            self.wakeup.cancel()

    def look(self, now: float) -> None:
        """Finish what is due, give way if the time is over, choose anew if need be."""
        if not self.backed:
            return
        if self.handler is not None and not self._handled(self.handler, now):
            self.arm(now)
            return
        current = self.current
        if isinstance(current, DiscreteThread):
            if now >= current.ends:
                self._complete(current, now)
        elif isinstance(current, VirtualProcessor):
            current.above.catch_up(now)
        self.charge(now)
        if self._pending:
            self._take_interrupt(now)
            self.arm(now)
            return
        if not self.need and self.check_due <= now and self.queue.expired(now):
            self.need = True
        if self.need:
            if self._kept():
                assert self.current is not None
                self.current.resume(now, self.ready if self.ready > now else now)
            else:
                self._choose(now)
        self.arm(now)

    def _kept(self) -> bool:
        """Whether the current task keeps the processor whatever the rules say: they are asked when it does so no more."""
        current = self.current
        return isinstance(current, DiscreteThread) and not current.preemptible and current.awake

    def catch_up(self, now: float) -> None:
        """What ends above at this instant ends before anything is decided below."""
        if self.need or self._pending or self.wakeup.due <= now:
            self.look(now)
        elif isinstance(self.current, VirtualProcessor):
            self.current.above.catch_up(now)

    def _complete(self, thread: DiscreteThread, now: float) -> None:
        """The burst is over: tell the caller, who may start the next one at once; else the thread sleeps."""
        if not thread.finish(now):
            thread.sleep(now)
            self._let_go(thread, now)

    # ---- interrupts ----

    def interrupt(self, handler: Task, now: float) -> None:
        assert isinstance(handler, DiscreteThread)
        self._pending.append(handler)
        self.occupy(now)
        if self.backed:
            self.domain.agenda.add(self)

    def _take_interrupt(self, now: float) -> None:
        """Handle the next interrupt; the current task stands still meanwhile."""
        if self.current is not None:
            self._left_s = max(self.current.begins() - now, 0.0)
            self.current.pause(now)
        self._handle_next(now, self.ready if self.ready > now else now)

    def _handle_next(self, now: float, begin: float) -> None:
        handler = self.handler = self._pending.popleft()
        handler.wait_s += now - handler.waiting_since
        handler.resume(now, begin)

    def _handled(self, handler: DiscreteThread, now: float) -> bool:
        """Go back to the task that was interrupted if all interrupts have been handled; whether they have."""
        if now < handler.ends or handler.finish(now):
            return False
        handler.sleep(now)
        handler.awake = False
        self.handler = None
        return self._after_interrupt(now)

    def _after_interrupt(self, now: float) -> bool:
        """Handle the next interrupt, or go back to the task that was interrupted; whether there was no further one."""
        if self._pending:
            self._handle_next(now, now)
            return False
        self.charge(now)
        if self.current is None:
            self.need = True
        elif self.current.awake:
            self.current.resume(now, now + self._left_s)
        return True

    def let_sleep(self, task: Task, now: float) -> None:
        """The current task, a virtual processor, has nothing more to run."""
        self._let_go(task, now)
        self.request(now)

    def withdraw(self, task: Task, now: float) -> None:
        if task is self.handler:
            assert isinstance(task, DiscreteThread)
            task.awake = False
            self.handler = None
            self._after_interrupt(now)
            self.request(now)
        elif task in self._pending:
            assert isinstance(task, DiscreteThread)
            task.wait_s += now - task.waiting_since
            task.awake = False
            self._pending.remove(task)
            self.request(now)
        elif task is self.current:
            self.let_sleep(task, now)
        else:
            task.wait_s += now - task.waiting_since
            self.charge(now)
            task.awake = False
            self.queue.dequeue(task, now)
            self.arm(now)

    def _let_go(self, task: Task, now: float) -> None:
        self.charge(now)
        task.awake = False
        self.queue.dequeue(task, now)
        self.need = True

    def _choose(self, now: float) -> None:
        self.need = False
        self.charge(now)
        self.need = False  # the choice is made here
        self.domain.decisions += 1
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

    # ---- giving way ----

    def pause_loop(self) -> PauseLoop | None:
        return None if self.task is None else self.task.pause_loop

    def face(self) -> Task | None:
        return self.task

    def run_next(self, chosen: Task | None, now: float) -> bool:
        """The others leave the run queue while it chooses. They keep what the rules know of them: it is no sleep."""
        current, queue = self.current, self.queue
        if self.handler is not None or self._pending or current is None or not current.awake or current is chosen:
            return False
        self.charge(now)
        others = [current] if chosen is None else [current, *(task for task in queue.waiting if task is not chosen)]
        for task in others:
            queue.dequeue(task, now)
        self._choose(now)
        for task in others:
            queue.enqueue(task, now, waking=False)
        self.arm(now)
        return self.current is not current

    # ---- idle or not ----

    def _fall_idle(self, now: float) -> None:
        if self in self.domain.idle:
            return
        self.domain.idle[self] = None
        self.idle_since = self._counted_from = now
        if self.domain.crowded:
            self.domain.plan_balance()
        if self.task is not None:
            self.task.halt(now)

    def occupy(self, now: float) -> None:
        """Be idle no more."""
        if self in self.domain.idle:
            del self.domain.idle[self]
            self.idle_s += now - self._counted_from
            if self.task is not None:
                self.task.employ(now)

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
            if self.current is not None and self.current.awake and self.queue.charge(elapsed_s, now):
                self.request(now)

    def arm(self, now: float) -> None:
        current = self.current
        if self.handler is not None and self.backed:
            if current is not None and self.check_due > now:  # a tick in the meantime is dealt with afterwards
                self.check_due = self.queue.check_at(now)
            self.wakeup.at(self.handler.ends)
            return
        if not self.backed or current is None:
            self.check_due = inf
            self.wakeup.cancel()
            return
        self.check_due = due = inf if self.need and self._kept() else self.queue.check_at(now)
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
        if self.handler is not None:
            if self.backed:
                self.wakeup.at(max(self.handler.ends, now))
            return
        current = self.current
        if self.backed and isinstance(current, DiscreteThread):
            due = current.ends if current.ends < self.check_due else self.check_due
            if due < inf:
                self.wakeup.at(due if due > now else now)

    def settle(self, now: float) -> None:
        self.domain.agenda.settle(now)

    def crowd(self) -> None:
        if self.domain.crowded.note(self, self.queue.runnable):
            self.domain.plan_balance()
            if isinstance(self.current, VirtualProcessor) and self.current.polling is not None:
                self.current.polling.disturb()

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
