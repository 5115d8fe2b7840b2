"""What every CPU scheduler offers to the rest of simvirt: a tree of groups with threads at its leaves.

The tree is the scheduling hierarchy of one machine. Its root shares the physical cores. A group below it is whatever the
level above schedules as one: a control group, or a virtual machine, whose vCPUs are tasks below and processors above.
A thread runs one burst of CPU work at a time and sleeps between bursts.

Nothing here names a platform, a layer or a workload. A scheduler that follows other rules (run queues, ticks, slices) is another
package beside `fluid` that keeps this contract.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

__all__ = ["AbstractGroup", "AbstractLock", "AbstractScheduler", "AbstractThread", "CpuAccount", "Done", "Share"]

Done = Callable[[Any], None]
"""Called with the caller's own argument when a burst has been served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How the level above treats a group.

    The group's weight at any instant is `weight` (`per_thread=False`: the group counts once, as a control group or a Xen domain
    does) or `weight * min(runnable threads, processors)` (`per_thread=True`: every runnable task or vCPU counts, as
    for plain processes, KVM's vCPU threads and ESXi's shares). It never gets more than `min(cap_cores, processors, runnable threads)`
    cores.
    """

    weight: float = 1.0
    """Relative weight among siblings; positive."""
    per_thread: bool = True
    """Whether each runnable thread carries the weight, or the group as a whole."""
    cap_cores: float = inf
    """Upper limit in cores, averaged over time (quota / period)."""
    processors: float = inf
    """Number of vCPUs: the most threads of the group that can run at the same instant."""
    period_s: float | None = None
    """Over which time the cap holds; as the rules have it unless given."""
    burst_s: float | None = None
    """What of the cap may be saved for later periods; as the rules have it unless given."""
    cpuset: frozenset[int] | None = None
    """Processors of the level above on which its threads, or its vCPUs, may run, by index; all unless given."""
    pins: tuple[int, ...] = ()
    """The processor of the level above on which each vCPU stays, in order; none stays anywhere unless given."""
    reservation_cores: float = 0.0
    """What it gets at least while it wants it, in cores; for rules that have reservations."""
    kernel: str = ""
    """What schedules inside a virtual machine, by the name under which its rules are known; as the machine's guests unless given."""
    interrupt: bool = False
    """Whether its threads are a kernel's handlers of interrupts: by rules, they run at once and in the time of whom they interrupt. Fluid
    sharing knows weights only."""
    pause_loop_s: float = 0.0
    """For how long a processor of the group may spin for a lock before it has to give way to others; never has to if 0. By rules only."""
    boosts_holder: bool = False
    """Whether it then gives way to that processor whose thread has the lock, if that one waits to run."""
    halt_poll_s: float = 0.0
    """How long at most the level above looks out for work for an idle processor of the group before it lets it sleep; by rules only."""
    counts_ticks: bool = False
    """Whether the kernel inside tells time by counting ticks, not by reading a counter; this and the next three by rules only."""
    redelivers_ticks: bool = False
    """Whether ticks that were due while a processor was taken away are given to it afterwards, each of them."""
    late_tick_s: float = 0.0
    """Time that each of those takes."""
    charges_steal: bool = False
    """Whether the kernel inside charges its tasks for time in which their processor was taken away."""

    @property
    def plain(self) -> bool:
        """Whether it says nothing that sharing without rules cannot do."""
        cap = self.period_s is None and self.burst_s is None and not self.reservation_cores
        return cap and self.cpuset is None and not self.pins


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuAccount:
    """Time integrals of one group since the last `restart`, in core-seconds.

    `runnable_s` counts threads that want to run, `entitled_s` what they could use at most if the group were alone
    (threads up to the number of processors and the cap), `busy_s` what they got.
    Hence `steal_s = entitled_s - busy_s` is time taken by others below, and `ready_s = runnable_s - entitled_s` is the wait
    for a processor inside the group.
    """

    busy_s: float
    entitled_s: float
    runnable_s: float

    @property
    def steal_s(self) -> float:
        return max(0.0, self.entitled_s - self.busy_s)

    @property
    def ready_s(self) -> float:
        return max(0.0, self.runnable_s - self.entitled_s)


class AbstractLock(ABC):
    """What threads spin for."""

    __slots__ = ()

    holder: AbstractThread | None
    """Who has it, or has been given it, be it on a processor or not."""

    @abstractmethod
    def came_back(self, thread: AbstractThread) -> bool:
        """A thread that waits for it has a processor, or has one again: whether it takes the lock now, being free."""


class AbstractThread(ABC):
    """One schedulable thread. It runs bursts, one at a time."""

    __slots__ = ()

    @abstractmethod
    def run(self, cpu_s: float, done: Done, argument: Any) -> None:
        """Become runnable with `cpu_s` (> 0) seconds of work; when it has been served, sleep and call `done(argument)`.

        `done` may call `run` again at once, on this thread or on others.
        """

    def run_after(self, exit_s: float, cpu_s: float, done: Done, argument: Any) -> None:
        """The same, after the time in which an idle core wakes up: the thread has it then, and executes nothing."""
        self.run(exit_s + cpu_s, done, argument)

    def take_stalls(self) -> tuple[float, float]:
        """CPU time that it has had and not made use of since this was asked last: lost by contention for caches and memory, and to the
        other thread of its core. Nothing, where neither is modelled.
        """
        return 0.0, 0.0

    def disable_preemption(self, disabled: bool) -> None:  # noqa: B027 - fluid sharing never preempts
        """Whether the kernel that schedules it lets it keep its processor, once it has one, until further notice."""

    def spin(self, lock: AbstractLock, done: Done, argument: Any) -> None:  # noqa: B027 - to sleep is to do nothing
        """Wait for a lock, until `enter_section`: by burning its processor where there are run queues. Under fluid sharing, it sleeps."""

    def enter_section(self, cpu_s: float, done: Done, argument: Any) -> float:
        """Go on with a burst, the lock being granted; done and argument are those given to `spin`. For how long it has spun."""
        self.run(cpu_s, done, argument)
        return 0.0

    def has_processor(self) -> bool:
        """Whether it can execute an instruction now."""
        return True

    @abstractmethod
    def freeze(self) -> None:
        """Stand still until further notice: what is left of its burst is kept, and a burst that begins meanwhile waits.

        Who is never thawed is dead: it takes no processor again.
        """

    @abstractmethod
    def thaw(self) -> None:
        """Go on with what was left, or with what has begun meanwhile."""


class AbstractGroup(ABC):
    """What one level schedules as one: it holds threads and further groups."""

    __slots__ = ()

    name: str
    share: Share

    @abstractmethod
    def group(self, name: str, share: Share) -> AbstractGroup:
        """Add a group below this one."""

    @abstractmethod
    def thread(self, name: str) -> AbstractThread:
        """Add a sleeping thread to this group. Threads of one group have equal weight."""

    @abstractmethod
    def idle_processor_s(self) -> float:
        """How long that processor of this group has been idle that has been idle longest; negative if a thread that becomes runnable now
        finds none idle.

        It bounds how long any thread's own processor was idle. For a virtual machine: negative if there are as many runnable threads as
        vCPUs. For a group without processors of its own: negative.
        """

    def polled_for(self) -> bool:
        """Whether one of its idle virtual processors is polled for at this instant, so that it need not be woken."""
        return False

    @abstractmethod
    def account(self) -> CpuAccount:
        """Time integrals of this group, everything below it included."""


class AbstractScheduler(AbstractGroup):
    """The root: shares the physical cores among its groups and threads."""

    __slots__ = ()

    cores: int

    @abstractmethod
    def restart(self) -> None:
        """Set every account in the tree to zero (the end of warm-up)."""
