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
from simpy.core import Infinity, StopSimulation
from simpy.events import NORMAL, URGENT, Event

__all__ = ["Engine", "Wakeup"]


@final
class Wakeup(Event):
    """A reusable event that calls `action()` at the time last asked for.

    `at(t)` asks for one call at time t and replaces the time asked for before. Asking for an earlier time pushes
    another entry; asking for a later time costs nothing until the earliest entry fires and looks again. Nothing is ever searched
    for or removed from the queue, and every pending entry is remembered and used, so a far time asked for again and
    again in between nearer ones stays one entry.
    """

    __slots__ = ("action", "due", "pending")

    def __init__(self, engine: Engine, action: Callable[[], None]) -> None:
        super().__init__(engine)
        self._ok = True
        self._value = None
        self.action = action
        self.due = Infinity
        """When the action is wanted; infinity when it is not."""
        self.pending = [Infinity]
        """Times of the entries in the queue, the earliest last."""
        self.callbacks = _FIRE

    def at(self, time: float) -> None:
        """Call the action at `time` (seconds, not before now) and at no other time."""
        self.due = time
        pending = self.pending
        if time < pending[-1]:
            engine = self.env
            if not time >= engine._now:
                raise ValueError(f"wake-up at {time} s is before the current simulation time of {engine._now} s")
            pending.append(time)
            heappush(engine._queue, (time, NORMAL, next(engine._eid), self))

    def cancel(self) -> None:
        """Do not call the action."""
        self.due = Infinity


def _fire(event: Any) -> None:
    """Callback for SimPy's own `step`, which has just taken the callbacks away: do what the loop of `run` does."""
    event.callbacks = _FIRE
    event.pending.pop()
    if event.due <= event.env._now:
        event.due = Infinity
        event.action()
    else:
        _again(event)


_FIRE: list[Callable[[Any], None]] = [_fire]


def _again(wakeup: Wakeup) -> None:
    """Look again at a wake-up whose entry came before its time."""
    due = wakeup.due
    if due < wakeup.pending[-1]:
        wakeup.pending.append(due)
        engine = wakeup.env
        heappush(engine._queue, (due, NORMAL, next(engine._eid), wakeup))


class Engine(simpy.Environment):
    """A SimPy environment whose `run` serves reusable events in a tight loop.

    Only `run` with a number as `until` takes the short way; it gives the same order of events as SimPy's own.
    It reaches into SimPy's private queue, which is why the project pins `simpy<5` and tests against upstream behaviour.
    """

    _is_running = False
    """Whether `run` serves events in its own loop."""

    def pass_to(self, time: float) -> bool:
        """Move the clock to `time` if nothing is due until then, so that a station may go on without an event of its own.

        Only while `run` has a number as `until`; else every step is one event, as in SimPy.
        """
        if self._is_running and time < self._queue[0][0]:  # the queue holds the end of the run
            self._now = time
            return True
        return False

    def wakeup(self, action: Callable[[], None]) -> Wakeup:
        """Make a reusable event that calls `action`."""
        return Wakeup(self, action)

    def run(self, until: Any = None) -> Any:
        """Run as SimPy does; fast when `until` is a number."""
        if until is None or isinstance(until, Event):
            return super().run(until)
        end = float(until)
        if not end > self._now:
            raise ValueError(f"until ({until}) must be greater than the current simulation time")
        stop = Event(self)
        stop._ok = True
        stop._value = None
        stop.callbacks = [StopSimulation.callback]
        queue, step, again = self._queue, self.step, _again
        heappush(queue, (end, URGENT, next(self._eid), stop))
        self._is_running = True
        try:
            while True:  # the queue holds `stop`, so it is not empty
                event = queue[0][3]
                if event.__class__ is Wakeup:
                    self._now = now = heappop(queue)[0]
                    event.pending.pop()
                    if event.due <= now:
                        event.due = Infinity
                        event.action()
                    else:
                        again(event)
                else:
                    step()
        except StopSimulation as stopped:
            return stopped.args[0]
        finally:
            self._is_running = False
