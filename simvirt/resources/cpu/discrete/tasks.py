"""The two kinds of tasks: threads, which do the work, and virtual processors, on which others run."""

from __future__ import annotations

from math import inf
from typing import Any, Protocol, final

from simvirt.resources.cpu.contract import AbstractLock, AbstractThread, Done
from simvirt.resources.cpu.discrete.contract import AbstractDomain, AbstractProcessor, ControlGroup, Task
from simvirt.resources.cpu.discrete.limit import Limit
from simvirt.resources.cpu.discrete.pause_loop import PauseLoop
from simvirt.resources.cpu.discrete.polling import HaltPolling
from simvirt.resources.memory_system.system import Seat

__all__ = ["DiscreteThread", "Siblings", "VirtualProcessor"]


class Siblings(Protocol):
    """Whoever bounds the lead of one virtual processor over the others."""

    def changed(self) -> None: ...


class DiscreteThread(Task, AbstractThread):
    """A thread: it makes progress from `since` on while it runs, and its burst is over at `ends`."""

    __slots__ = (
        "argument", "began", "busy_s", "domain", "done", "ends", "frozen", "later", "left_s", "limit", "lock", "overhead_s", "preemptible",
        "runnable_s", "running", "seat", "since", "speed", "spun_s", "stalled_s", "stalls", "woke",
    )  # fmt: skip

    def __init__(
        self, name: str, domain: AbstractDomain, group: ControlGroup, weight: float, affinity: frozenset[int] | None, limit: Limit
    ) -> None:
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
        self.speed = domain.speed
        """Progress per second on a physical core: less than what ticks leave while it contends for caches and memory."""
        self.seat: Seat | None = None
        """What it is to the memory system; None if it shares nothing but processors."""
        self.stalls = [0.0, 0.0, 0.0]
        """CPU time lost since it was last asked for: to caches and memory, to the other thread of its core, to spinning."""
        self.woke = 0.0
        self.later: tuple[float, Done, Any] | None = None
        """The burst that comes once its core, which was idle, is awake. Until then it shares caches and execution units with nobody."""
        self.lock: AbstractLock | None = None
        """What it spins for at present."""
        self.frozen = False
        """Whether it stands still; what it has to do then stays with it."""
        self.preemptible = True
        """Whether its kernel may take the processor away from it; whoever is below that kernel may in any case."""
        self.busy_s = self.overhead_s = self.runnable_s = self.stalled_s = self.spun_s = 0.0

    def run(self, cpu_s: float, done: Done, argument: Any) -> None:
        if not 0.0 < cpu_s < inf:
            raise ValueError(f"thread {self.name}: burst of {cpu_s} s; must be positive and finite")
        if self.done is not None:
            raise RuntimeError(f"thread {self.name}: runs a burst already")
        self._begin(cpu_s, done, argument)

    def run_after(self, exit_s: float, cpu_s: float, done: Done, argument: Any) -> None:
        if self.seat is None or cpu_s <= 0.0:
            self.run(exit_s + cpu_s, done, argument)
            return
        self.later = (cpu_s, done, argument)
        self.seat.factor, self.speed = 1.0, self.domain.speed
        self.run(exit_s, self._go_on, None)

    def _go_on(self, _: None) -> None:
        """The core is awake."""
        assert self.later is not None
        cpu_s, done, argument = self.later
        self.later = None
        self.run(cpu_s, done, argument)

    def spin(self, lock: AbstractLock, done: Done, argument: Any) -> None:
        if self.done is not None:
            raise RuntimeError(f"thread {self.name}: runs a burst already")
        self.lock = lock
        self._begin(inf, done, argument)

    def enter_section(self, cpu_s: float, done: Done, argument: Any) -> float:
        now = self.domain.engine._now
        self.bring(now)
        self.lock = None
        self.left_s = cpu_s
        spun_s, self.stalls[2] = self.stalls[2], 0.0
        if self.running:
            self.ends = (self.since if self.since > now else now) + cpu_s / self.speed
            processor = self.processor
            assert processor is not None
            if (looked_at := processor.pause_loop()) is not None:
                looked_at.stop()
            processor.retime(now)
        return spun_s

    def has_processor(self) -> bool:
        processor = self.processor
        return self.awake and processor is not None and processor.backed and processor.current is self

    def disable_preemption(self, disabled: bool) -> None:
        self.preemptible = not disabled

    def freeze(self) -> None:
        if self.frozen:
            return
        self.frozen = True
        if self.awake and self.done is not None:
            now = self.domain.engine._now
            self.bring(now)
            self.pause(now)
            assert self.processor is not None
            self.processor.withdraw(self, now)
            self.sleep(now)
            self.domain.agenda.settle(now)

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            if self.done is not None:
                self._begin(self.left_s, self.done, self.argument)

    def _begin(self, cpu_s: float, done: Done, argument: Any) -> None:
        self.done = done
        self.argument = argument
        self.left_s = cpu_s
        if not self.awake and not self.frozen:  # else it goes on without a pause, or not at all
            domain = self.domain
            now = domain.engine._now
            self.woke = now
            self.limit.change(1.0, now)
            self.wake(now)
            domain.agenda.settle(now)

    def wake(self, now: float) -> None:
        """Become runnable."""
        self.domain.wake(self, now)

    def resume(self, now: float, begin: float) -> None:
        if not self.running:
            self.running = True
            self.began = now
            if self.seat is not None and self.later is None:
                assert self.processor is not None
                begin += self.seat.start(self.processor.physical(), now)
            self.since = begin
            self.ends = begin + self.left_s / self.speed
            if self.lock is not None:
                self._resume_spinning(now, begin)

    def _resume_spinning(self, now: float, begin: float) -> None:
        """Take the lock if it is free, else spin on; whoever schedules the virtual processor looks at for how long."""
        assert self.lock is not None
        assert self.processor is not None
        if not self.lock.came_back(self) and (looked_at := self.processor.pause_loop()) is not None:
            looked_at.begin(self.lock, begin)

    def begins(self) -> float:
        return self.since

    def pause(self, now: float) -> None:
        if self.running:
            self.bring(now)
            self.running = False
            self.ends = inf
            if self.lock is not None and self.processor is not None and (looked_at := self.processor.pause_loop()) is not None:
                looked_at.stop()
            if self.seat is not None and self.later is None:
                self.seat.stop(now)

    def pace(self, factor: float, now: float) -> None:
        """Make progress at another speed from now on."""
        self.bring(now)
        self.speed = self.domain.speed * factor
        if self.running:
            self.ends = (self.since if self.since > now else now) + self.left_s / self.speed
            assert self.processor is not None
            self.processor.retime(now)

    def take_stalls(self) -> tuple[float, float]:
        memory_s, sibling_s, _ = self.stalls
        self.stalls[0] = self.stalls[1] = 0.0
        return memory_s, sibling_s

    def finish(self, now: float) -> bool:
        """The burst is over: tell the caller. Whether the next one has been started at once, and may go on."""
        self.pause(now)
        done = self.done
        assert done is not None
        self.done = None
        done(self.argument)
        if self.done is None or self.frozen:
            return False
        self.resume(now, now)
        return True

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
            done_s = (now - self.since) * self.speed
            self.left_s -= done_s
        else:
            done_s = 0.0
        if self.speed != self.domain.speed and now > self.since:
            done_s += self._stalled(done_s, now)
        self.busy_s += done_s
        if self.lock is not None:
            self.spun_s += done_s
            self.stalls[2] += done_s
        self.overhead_s += now - self.began - done_s
        self.began = now
        if now > self.since:
            self.since = now

    def _stalled(self, done_s: float, now: float) -> float:
        """CPU time since it was last looked at in which nothing was done: it held the processor, and waited."""
        assert self.seat is not None
        stalled_s = max(0.0, (now - self.since) * self.domain.speed - done_s)
        sibling_s = stalled_s * self.seat.sibling
        self.stalls[0] += stalled_s - sibling_s
        self.stalls[1] += sibling_s
        self.stalled_s += stalled_s
        return stalled_s

    def sleep(self, now: float) -> None:
        """Account for having been runnable."""
        self.runnable_s += now - self.woke
        self.limit.change(-1.0, now)


@final
class VirtualProcessor(Task):
    """A processor of the domain above, as the domain below sees it. It sleeps while that processor has nothing to run."""

    __slots__ = ("above", "costop_s", "domain", "gang", "pause_loop", "polling", "stopped", "stopped_since")

    above: AbstractProcessor

    def __init__(
        self, name: str, domain: AbstractDomain, group: ControlGroup, weight: float, affinity: frozenset[int] | None = None
    ) -> None:
        super().__init__(name, group, weight, affinity)
        self.domain = domain
        """The one below, which schedules it."""
        self.gang: Siblings | None = None
        """Its siblings and itself, where a lead over them is bounded."""
        self.polling: HaltPolling | None = None
        """What keeps it from sleeping for a while when it has nothing to run."""
        self.pause_loop: PauseLoop | None = None
        """What looks at for how long it spins."""
        self.stopped = False
        """Whether it has something to run and is stopped all the same, until its siblings have caught up; it then sleeps below."""
        self.stopped_since = 0.0
        self.costop_s = 0.0
        """Time that it was stopped."""

    def employ(self, now: float) -> None:
        """Its processor above is idle no more."""
        if self.polling is not None:
            self.polling.work(now)
        self.wake(now)

    def wake(self, now: float) -> None:
        """There is something to run on it."""
        if not self.awake and not self.stopped:
            self.domain.wake(self, now)
            if self.gang is not None:
                self.gang.changed()

    def halt(self, now: float) -> None:
        """There is nothing to run on it."""
        if self.awake and (self.polling is None or not self.polling.halt(now)):
            self.doze(now)

    def doze(self, now: float) -> None:
        """Sleep, as there is nothing to run."""
        assert self.processor is not None
        self.processor.let_sleep(self, now)

    def crowded(self) -> bool:
        assert self.processor is not None
        return self.processor.current is not self or self.processor.queue.runnable > 1

    def lets_run(self, lock: AbstractLock, now: float, *, boost: bool) -> bool:
        processor = self.processor
        assert processor is not None
        holder = lock.holder if boost else None
        face = holder.processor.face() if isinstance(holder, DiscreteThread) and holder.processor is not None else None
        found = False
        if face is not None and face.awake and face is not self and (there := face.processor) is not None and there.backed:
            found = there.run_next(face, now)
        if processor.current is self and processor.queue.runnable > 1:
            found = processor.run_next(None, now) or found
        return found

    def stop(self, now: float) -> None:
        """Stand still, though there is something to run."""
        assert self.processor is not None
        self.stopped = True
        self.stopped_since = now
        self.processor.let_sleep(self, now)

    def start(self, now: float) -> None:
        """Be stopped no more."""
        self.stopped = False
        self.costop_s += now - self.stopped_since
        self.wake(now)

    def costopped_s(self, now: float) -> float:
        """`costop_s`, up to now."""
        return self.costop_s + (now - self.stopped_since if self.stopped else 0.0)

    def restart(self, now: float) -> None:
        Task.restart(self, now)
        self.costop_s = 0.0
        self.stopped_since = now
        if self.polling is not None:
            self.polling.restart(now)

    def resume(self, now: float, begin: float) -> None:
        self.above.back(now, begin)
        if self.gang is not None:
            self.gang.changed()

    def begins(self) -> float:
        return self.above.ready

    def pause(self, now: float) -> None:
        self.above.unback(now)
        if self.polling is not None and self.polling.active:
            self.polling.stop(now)
            if self.awake:
                self.doze(now)
        if self.gang is not None:
            self.gang.changed()
