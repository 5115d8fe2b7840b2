"""The words that processors, run queues and rules share.

A *domain* is a set of processors whose run queues follow one set of rules: the physical cores of a machine, or the virtual processors of
one virtual machine. What a processor runs is a *task*: a thread, or a virtual processor of a domain above, which is a processor to its own
domain and a task to the one below. Control groups divide the tasks of one domain; they do not reach beyond it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf
from typing import Any, ClassVar, final

from simvirt.engine import Engine
from simvirt.resources.cpu.discrete.agenda import Agenda
from simvirt.resources.cpu.discrete.crowd import Crowd
from simvirt.resources.cpu.discrete.pause_loop import PauseLoop

__all__ = [
    "KERNEL_TICKS_PER_S",
    "NANOSECOND",
    "UNIT_WEIGHT",
    "AbstractDomain",
    "AbstractProcessor",
    "AbstractRules",
    "AbstractRunQueue",
    "ControlGroup",
    "Task",
    "next_tick",
]

UNIT_WEIGHT = 1024.0
"""Weight of a thread of no particular priority, and of a share of 1."""

KERNEL_TICKS_PER_S = (100.0, 250.0, 300.0, 1000.0)
"""CONFIG_HZ: what a kernel that follows fair rules can be built with."""

NANOSECOND = 1e-9
"""Resolution of a kernel's clock: times closer than this are equal."""


def next_tick(after_s: float, not_before_s: float, hz: float) -> float:
    """The first multiple of 1/hz that is later than `after_s` and not earlier than `not_before_s`.

    Every processor ticks at the same instants; ticks are not staggered.
    """
    count = max(floor(after_s * hz), ceil(not_before_s * hz - 1e-6))  # a time that is meant to be a tick may be off by rounding
    while count / hz <= after_s:
        count += 1
    return count / hz


@final
class ControlGroup:
    """Tasks and control groups that a domain schedules as one."""

    __slots__ = (
        "burst_s", "cap_cores", "entity", "name", "nr_periods", "nr_throttled", "parent", "per_thread", "period_s", "reservation_cores",
        "throttled_s", "weight",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        parent: ControlGroup | None,
        *,
        weight: float,
        per_thread: bool,
        cap_cores: float,
        period_s: float | None = None,
        burst_s: float | None = None,
        reservation_cores: float = 0.0,
    ) -> None:
        self.name = name
        self.parent = parent
        """None for the domain's own group, which holds everything."""
        self.weight = weight
        self.per_thread = per_thread
        """Whether the weight counts once per runnable task."""
        self.cap_cores = cap_cores
        self.period_s = period_s
        self.burst_s = burst_s
        """Of its quota; as the rules have them if None."""
        self.reservation_cores = reservation_cores
        """What it is entitled to at least; for rules that have reservations."""
        self.entity: Any = None
        """What the domain's rules keep about it."""
        self.nr_periods = 0
        self.nr_throttled = 0
        """Periods at whose end some of its tasks were throttled."""
        self.throttled_s = 0.0
        """Time that tasks were throttled, added up over processors."""


class Task(ABC):
    """What a processor runs."""

    __slots__ = (
        "affinity", "awake", "entity", "group", "involuntary_switches", "name", "processor", "voluntary_switches", "wait_s",
        "waiting_since", "weight",
    )  # fmt: skip

    def __init__(self, name: str, group: ControlGroup, weight: float, affinity: frozenset[int] | None) -> None:
        self.name = name
        self.group = group
        self.weight = weight
        self.affinity = affinity
        """Indices of the processors it may run on; None for all."""
        self.processor: AbstractProcessor | None = None
        """The one in whose run queue it is, or ran last; None before it first runs."""
        self.entity: Any = None
        """What the domain's rules keep about it."""
        self.awake = False
        """Whether it wants to run."""
        self.waiting_since = 0.0
        self.wait_s = 0.0
        """Time it was awake and did not have a processor: run-queue wait; for a virtual processor, steal."""
        self.voluntary_switches = 0
        self.involuntary_switches = 0

    def may_run_on(self, processor: AbstractProcessor) -> bool:
        return self.affinity is None or processor.index in self.affinity

    def waited_s(self, now: float) -> float:
        """`wait_s`, up to now."""
        waits = self.awake and self.processor is not None and self.processor.current is not self
        return self.wait_s + (now - self.waiting_since if waits else 0.0)

    def restart(self, now: float) -> None:
        """Begin to count anew."""
        self.wait_s = 0.0
        self.waiting_since = now
        self.voluntary_switches = self.involuntary_switches = 0

    @abstractmethod
    def resume(self, now: float, begin: float) -> None:
        """Go on from `begin` (≥ now) if it does not already: until then the processor is busy switching."""

    @abstractmethod
    def pause(self, now: float) -> None:
        """Make no more progress, if it did."""

    @abstractmethod
    def begins(self) -> float:
        """Until when the processor was switching to it."""


class AbstractRunQueue(ABC):
    """The awake tasks of one processor under some rules. It chooses; the processor runs."""

    __slots__ = ("processor", "runnable", "waiting")

    def __init__(self, processor: AbstractProcessor) -> None:
        self.processor = processor
        self.runnable = 0
        """Tasks that may be chosen, the current one included."""
        self.waiting: OrderedDict[Task, None] = OrderedDict()
        """Awake tasks that are not the current one, the one that waits longest first; those that may not run now are among them."""

    @abstractmethod
    def enqueue(self, task: Task, now: float, *, waking: bool) -> bool:
        """Take in a task that woke up, or came from another processor. Whether it may run now."""

    @abstractmethod
    def dequeue(self, task: Task, now: float) -> None:
        """Let a task go, be it the current one or not."""

    @abstractmethod
    def charge(self, elapsed_s: float, now: float) -> bool:
        """Account for the time that the current task has just had the processor. Whether the choice must be made anew."""

    @abstractmethod
    def pick(self, now: float) -> Task | None:
        """Choose the task to run from now on; it becomes the current one, and the one before, if awake, waits."""

    @abstractmethod
    def preempts(self, task: Task, now: float) -> bool:
        """Whether a task that has just woken up takes the processor from the current one."""

    @abstractmethod
    def check_at(self, now: float) -> float:
        """The next time at which the current task may have to give way though nothing else happens; infinity if never."""

    @abstractmethod
    def expired(self, now: float) -> bool:
        """At such a time: whether it has to."""

    @abstractmethod
    def load(self) -> float:
        """Weight of what is runnable, to compare processors by."""

    @abstractmethod
    def load_of(self, task: Task) -> float:
        """The part of the load that would leave with a waiting task; infinity if it may not leave."""


class AbstractProcessor(ABC):
    """One processor of a domain, as its run queue and its domain see it."""

    __slots__ = ("backed", "current", "handler", "idle_since", "index", "listed", "need", "queue", "ready")

    index: int
    queue: AbstractRunQueue
    current: Task | None
    handler: Task | None
    """The interrupt that is handled, in the time of the current task."""
    backed: bool
    """Whether it runs at all: a virtual processor does while the one below has chosen it."""
    need: bool
    """Whether it must choose anew."""
    listed: bool
    """Whether it will be looked at before time goes on."""
    idle_since: float
    """When it last fell idle."""
    ready: float
    """When it goes on after a switch below."""

    @abstractmethod
    def request(self, now: float) -> None:
        """Choose anew, as soon as the present event has been dealt with and the processor is backed."""

    @abstractmethod
    def interrupt(self, handler: Task, now: float) -> None:
        """Handle an interrupt, as soon as those before it are over and the processor is backed."""

    @abstractmethod
    def charge(self, now: float) -> None:
        """Bring the accounts of its run queue up to date."""

    @abstractmethod
    def arm(self, now: float) -> None:
        """Find out when the run queue has to be looked at again."""

    @abstractmethod
    def physical(self) -> int:
        """Index of the physical processor that it runs on at present, or ran on last."""

    @abstractmethod
    def pause_loop(self) -> PauseLoop | None:
        """What looks at for how long the processor spins, where somebody below does."""

    @abstractmethod
    def face(self) -> Task | None:
        """What it is to the domain below, if there is one."""

    @abstractmethod
    def run_next(self, chosen: Task | None, now: float) -> bool:
        """Run a waiting task now, whatever the rules would choose; if none is named, any that is not the current one, by the rules.
        Whether there is another current task after it.
        """

    @abstractmethod
    def retime(self, now: float) -> None:
        """The burst of the current task, a thread, ends at another time."""

    @abstractmethod
    def settle(self, now: float) -> None:
        """Deal with what was requested outside the present event."""

    @abstractmethod
    def crowd(self) -> None:
        """Note that the number of runnable tasks has changed."""

    @abstractmethod
    def siblings(self) -> Sequence[AbstractProcessor]:
        """Those processors of the domain that have tasks waiting."""

    @abstractmethod
    def migrate(self, task: Task, now: float) -> None:
        """Take over a waiting task from another processor of the domain."""

    @abstractmethod
    def back(self, now: float, begin: float) -> None:
        """Run from `begin` on: the processor below has chosen this one."""

    @abstractmethod
    def unback(self, now: float) -> None:
        """Stand still, and everything on it: the processor below has chosen something else."""

    @abstractmethod
    def look(self, now: float) -> None:
        """Finish what is due, give way if the time is over, choose anew if need be."""

    @abstractmethod
    def catch_up(self, now: float) -> None:
        """Let what ends at this instant end, on it and above it, before anything is decided below."""

    @abstractmethod
    def let_sleep(self, task: Task, now: float) -> None:
        """The current task, a virtual processor, has nothing more to run."""

    @abstractmethod
    def withdraw(self, task: Task, now: float) -> None:
        """A thread that stands still from now on leaves, in whatever state it is: running, waiting, or as an interrupt."""

    @abstractmethod
    def occupy(self, now: float) -> None:
        """Be idle no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractRules(ABC):
    """How a domain decides. Everything is a parameter of a kernel or hypervisor, or one of the two costs."""

    has_periods: ClassVar[bool] = False
    """Whether each group may have a quota period and a burst of its own."""
    has_reservations: ClassVar[bool] = False
    """Whether a group directly below the domain may have a reservation."""
    ticks_per_s: ClassVar[tuple[float, ...]] = ()
    """The values of `hz` that real systems offer; any if empty. Rules may be tried with others, a scenario may not."""

    hz: float = 250.0
    """Timer ticks per second."""
    switch_s: float = 0.0
    """Time a processor needs to take up a task that it did not run last."""
    tick_s: float = 0.0
    """Time a tick takes from whatever runs, hz times a second."""
    balance_s: float = 0.017
    """Interval between looks for an uneven load, per processor of the domain, while all are busy; one tick while one is idle. Near a
    kernel's 16 ms, but no multiple of a tick: looks in step with the slices would always find the same task waiting."""

    @abstractmethod
    def run_queues(self, engine: Engine, processors: Sequence[AbstractProcessor]) -> list[AbstractRunQueue]:
        """The run queues of a new domain, one for each of its processors."""

    def most_lead_s(self) -> float:
        """By how much a virtual processor may lead its siblings before it is stopped; infinity if they are not co-scheduled."""
        return inf

    def problems(self) -> list[str]:
        """What is wrong with the parameters."""
        found = []
        if not 0.0 < self.hz < inf:
            found.append(f"hz: {self.hz}; must be positive")
        if not 0.0 <= self.switch_s < inf:
            found.append(f"switch_s: {self.switch_s} s; must be at least 0")
        if not 0.0 <= self.tick_s * self.hz < 1.0:
            found.append(f"tick_s: {self.tick_s} s, {self.hz:g} times a second; must leave time for work")
        if not 0.0 < self.balance_s < inf:
            found.append(f"balance_s: {self.balance_s} s; must be positive")
        return found

    def __post_init__(self) -> None:
        if found := self.problems():
            raise ValueError("; ".join(found))


class AbstractDomain(ABC):
    """A domain, as its processors and tasks see it."""

    __slots__ = ("agenda", "crowded", "decisions", "engine", "idle", "rules", "speed")

    engine: Engine
    agenda: Agenda
    rules: AbstractRules
    speed: float
    """Progress of a thread per second of having a physical core: what ticks leave."""
    idle: OrderedDict[AbstractProcessor, None]
    """Idle processors, the one that has been idle longest first."""
    crowded: Crowd[AbstractProcessor]
    """Processors with more than one runnable task."""
    decisions: int
    """How often a processor has chosen what to run."""

    @abstractmethod
    def wake(self, task: Task, now: float) -> None:
        """Let a sleeping task be runnable."""

    @abstractmethod
    def interrupt(self, handler: Task, now: float) -> None:
        """Let a processor handle an interrupt."""

    @abstractmethod
    def pull(self, processor: AbstractProcessor, now: float) -> bool:
        """Find a waiting task for a processor that has nothing to run. Whether there was one."""

    @abstractmethod
    def plan_balance(self) -> None:
        """Look for an uneven load before long."""
