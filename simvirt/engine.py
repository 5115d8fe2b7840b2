"""The event loop: SimPy, plus one kind of event that can be used again and again.

A station of the model (a CPU scheduler, a disk, a link, a generator of arrivals) owns one `Wakeup` for
its whole life instead of making an event or a process per request. Everything else (generators written by users,
`run`, `until`, failures, the order of simultaneous events) is SimPy's own and works beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, final

import simpy
from simpy.core import EmptySchedule, Infinity, StopSimulation
from simpy.events import NORMAL, URGENT, Event

__all__ = ["Engine", "Wakeup"]


@final
class Wakeup(Event):
    """A reusable event that calls `action()` at the time last asked for.

    `at(t)` asks for one call at time t and replaces the time asked for before. Asking for an earlier time pushes
    a second entry and the late one is ignored when it fires; asking for a later time costs nothing until the early entry
    fires and looks again. Nothing is ever searched for or removed from the queue.
    """

    __slots__ = ("action", "due", "queued")

    def __init__(self, engine: Engine, action: Callable[[], None]) -> None:
        super().__init__(engine)
        self._ok = True
        self._value = None
        self.action = action
        self.due = Infinity
        """When the action is wanted; infinity when it is not."""
        self.queued = Infinity
        """The earliest queue entry that is known to be pending."""
        self.callbacks = [_fire]

    def at(self, time: float) -> None:
        """Call the action at `time` (seconds, not before now) and at no other time."""
        self.due = time
        if time < self.queued:
            self.queued = time
            engine = self.env
            heappush(engine._queue, (time, NORMAL, next(engine._eid), self))

    def cancel(self) -> None:
        """Do not call the action."""
        self.due = Infinity


def _fire(event: Any) -> None:
    """Serve one queue entry of a wake-up: run the action, or look again if it is wanted later."""
    wakeup: Wakeup = event
    wakeup.callbacks = _FIRE
    engine = wakeup.env
    now = engine._now
    if now != wakeup.queued:
        return  # a stale entry: an earlier one was asked for and has been served
    wakeup.queued = Infinity
    due = wakeup.due
    if due <= now:
        wakeup.due = Infinity
        wakeup.action()
    elif due < Infinity:
        wakeup.queued = due
        heappush(engine._queue, (due, NORMAL, next(engine._eid), wakeup))


_FIRE: list[Callable[[Any], None]] = [_fire]


class Engine(simpy.Environment):
    """A SimPy environment whose `run` serves reusable events in a tight loop.

    Only `run` with a number as `until` takes the short way; it gives the same order of events as SimPy's own.
    It reaches into SimPy's private queue, which is why the project pins `simpy<5` and tests against upstream behaviour.
    """

    def wakeup(self, action: Callable[[], None]) -> Wakeup:
        """Make a reusable event that calls `action`."""
        return Wakeup(self, action)

    def run(self, until: Any = None) -> Any:
        """Run as SimPy does; fast when `until` is a number."""
        if until is None or isinstance(until, Event):
            return super().run(until)
        end = float(until)
        if end <= self._now:
            raise ValueError(f"until ({until}) must be greater than the current simulation time")
        stop = Event(self)
        stop._ok = True
        stop._value = None
        heappush(self._queue, (end, URGENT, next(self._eid), stop))
        stop.callbacks.append(StopSimulation.callback)  # type: ignore[union-attr]
        queue, step = self._queue, super().step
        try:
            while True:
                if not queue:
                    raise EmptySchedule
                head = queue[0]
                event = head[3]
                if event.__class__ is Wakeup:
                    heappop(queue)
                    self._now = head[0]
                    _fire(event)
                else:
                    step()
        except StopSimulation as stopped:
            return stopped.args[0]
