"""A machine whose processors are shared by rules: the tree of groups, the domains in it, and the accounts of both.

A group with a finite number of processors is a virtual machine: it opens a domain above, whose processors are tasks here. Any other group
is a control group of the domain it is in; if it weighs per thread, has no cap and no groups of its own, it needs no entity: its threads
compete directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import final

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, AbstractScheduler, CpuAccount, Share
from simvirt.resources.cpu.discrete.agenda import Agenda
from simvirt.resources.cpu.discrete.contract import UNIT_WEIGHT, AbstractProcessor, AbstractRules, ControlGroup
from simvirt.resources.cpu.discrete.domain import Domain
from simvirt.resources.cpu.discrete.gang import Gang
from simvirt.resources.cpu.discrete.guest_clock import GuestClock
from simvirt.resources.cpu.discrete.interrupts import InterruptHandler
from simvirt.resources.cpu.discrete.limit import Limit
from simvirt.resources.cpu.discrete.pause_loop import PauseLoop
from simvirt.resources.cpu.discrete.polling import HaltPolling
from simvirt.resources.cpu.discrete.tasks import DiscreteThread, VirtualProcessor
from simvirt.resources.memory_system.system import MemorySystem, Owner
from simvirt.resources.memory_system.topology import Topology

__all__ = ["Counters", "DiscreteGroup", "DiscreteScheduler", "ProcessorTimes", "RulesFor"]

RulesFor = Callable[[str, Share], AbstractRules]
"""Rules that the kernel inside a virtual machine follows, given its name and share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a kernel counts about a group, everything below it included, since the last restart."""

    wait_s: float
    """Run-queue wait of its threads: awake, without a processor of their own kernel."""
    voluntary_switches: int
    involuntary_switches: int
    nr_periods: int
    nr_throttled: int
    throttled_usec: float
    steal_s: float
    """Time that its own virtual processors had something to run and no processor below."""
    costop_s: float
    """Time that its own virtual processors were stopped until their siblings had caught up; not part of `steal_s`."""
    missed_ticks: int
    """Ticks of its own kernel that were due while a virtual processor with a task was not run."""
    backlog_ticks: int
    """The most of them that were redelivered at a time."""
    clock_lag_s: float
    """By how much the clock of its own kernel fell behind, for ticks that were lost."""
    steal_charged_s: float
    """Run time that its own kernel charged tasks for and that was stolen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorTimes:
    """Where the time of the physical cores went since the last restart; the three add up to all of it."""

    busy_s: float
    idle_s: float
    overhead_s: float
    """Switches, refilling private caches, ticks and halt polling."""
    stalled_s: float = 0.0
    """The part of `busy_s` in which nothing was done: lost to neighbours, by contention for caches, memory and cores."""
    spun_s: float = 0.0
    """The part of `busy_s` that was spent spinning for locks."""


class _Branch(AbstractGroup):
    """What the machine and its groups have in common: threads and further groups."""

    __slots__ = (
        "_affinity", "_children", "_clock", "_control", "_domain", "_flat", "_limit", "_limited", "_parent", "_scheduler", "_threads",
        "_vcpus", "_weight", "name", "owner", "share",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        share: Share,
        scheduler: DiscreteScheduler,
        parent: _Branch | None,
        domain: Domain,
        control: ControlGroup,
        limit: Limit,
    ) -> None:
        self.name = name
        self.share = share
        self._scheduler = scheduler
        self._parent = parent
        self._domain = domain
        """In which its threads are scheduled."""
        self._control = control
        """Where in it."""
        self._affinity: frozenset[int] | None = None
        """Processors of the domain on which its threads may run; None for all."""
        self._weight = UNIT_WEIGHT
        self._flat = False
        """Whether its threads are members of the group above, as far as the rules know."""
        self._limit = limit
        """Of this group, or of the nearest one around it that has one."""
        self._limited = parent is None or limit is not parent._limit
        self._children: list[DiscreteGroup] = []
        self._threads: list[DiscreteThread] = []
        self._vcpus: list[VirtualProcessor] = []
        self._clock: GuestClock | None = None
        """Of its own kernel, if it is a virtual machine."""
        self.owner: Owner | None = None
        """The program that the threads made from now on belong to, as the memory system knows it."""

    def group(self, name: str, share: Share) -> DiscreteGroup:
        if not 0.0 < share.weight < inf or not share.cap_cores > 0.0 or not share.processors > 0.0:
            raise ValueError(f"group {name}: {share}: weight, cap_cores and processors must be positive, the weight finite")
        if share.processors != inf and share.processors != int(share.processors):
            raise ValueError(f"group {name}: {share.processors} processors; must be a whole number")
        self._check_reservation(name, share)
        affinity = self._affinity_of(name, share)
        self._stand_alone()
        scheduler = self._scheduler
        limit = self._limit
        cap_cores = min(share.cap_cores, share.processors)
        if cap_cores < inf:
            limit = Limit(cap_cores, limit, scheduler.now)
        plain = share.per_thread and share.cap_cores == inf and not share.reservation_cores
        control = self._control if plain else self._control_group(name, share)
        weight = share.weight * UNIT_WEIGHT if plain else UNIT_WEIGHT
        if share.processors == inf:
            group = DiscreteGroup(name, share, scheduler, self, self._domain, control, limit)
            group._weight, group._flat, group._affinity = weight, plain, affinity
        else:
            homes: list[frozenset[int] | None] = [frozenset({pin}) for pin in share.pins]
            homes = homes or [affinity] * int(share.processors)
            vcpus = [VirtualProcessor(f"{name} vcpu {i}", self._domain, control, weight, home) for i, home in enumerate(homes)]
            domain = Domain(scheduler.engine, self._domain.agenda, scheduler.rules_for(name, share), vcpus, self._domain.speed)
            group = DiscreteGroup(name, share, scheduler, self, domain, domain.group, limit)
            group._vcpus = vcpus
            group._keep_time(domain)
            if share.halt_poll_s:
                for vcpu in vcpus:
                    vcpu.polling = HaltPolling(scheduler.engine, self._domain.agenda, vcpu, share.halt_poll_s)
            if share.pause_loop_s:
                for vcpu in vcpus:
                    looked = PauseLoop(scheduler.engine, self._domain.agenda, vcpu, share.pause_loop_s, boost=share.boosts_holder)
                    vcpu.pause_loop = looked
            most_lead_s = self._domain.rules.most_lead_s()
            if most_lead_s < inf and len(vcpus) > 1:
                Gang(scheduler.engine, self._domain.agenda, vcpus, most_lead_s)
        group._outer = control
        self._children.append(group)
        return group

    def _keep_time(self, domain: Domain) -> None:
        """Give the kernel of this virtual machine a clock."""
        share = self.share
        self._clock = GuestClock(
            domain.rules.hz, counts_ticks=share.counts_ticks, redelivers_ticks=share.redelivers_ticks, charges_steal=share.charges_steal,
            tick_s=share.late_tick_s, now=self._scheduler.now,
        )  # fmt: skip
        for processor in domain.processors:
            processor.clock = self._clock

    def thread(self, name: str, affinity: frozenset[int] | None = None) -> DiscreteThread:
        """Add a sleeping thread. It may be tied to some of the processors that its group may use, by index."""
        tied = self._narrowed(f"thread {name}: affinity", affinity)
        kind = InterruptHandler if self.share.interrupt else DiscreteThread
        thread = kind(name, self._domain, self._control, self._weight, tied, self._limit)
        self._threads.append(thread)
        memory = self._scheduler.memory
        if memory is not None and (owner := self.owner or self._scheduler.nobody) is not None:
            thread.seat = memory.seat(owner, thread)
        return thread

    def _affinity_of(self, name: str, share: Share) -> frozenset[int] | None:
        """Where a new group may run: its own set within this one's. Raises ValueError if its vCPUs cannot be pinned as wished."""
        for pin in share.pins:
            self._narrowed(f"group {name}: pin", frozenset({pin}))
        if share.pins and len(share.pins) != share.processors:
            raise ValueError(f"group {name}: {len(share.pins)} pins for {share.processors:g} vCPUs; must be one for each")
        return self._narrowed(f"group {name}: cpuset", share.cpuset)

    def _narrowed(self, what: str, wanted: frozenset[int] | None) -> frozenset[int] | None:
        """Those of the processors that this group may use that are wanted; all if none are named."""
        if wanted is None:
            return self._affinity
        processors = range(len(self._domain.processors))
        usable = frozenset(processors) if self._affinity is None else self._affinity
        if not wanted or not wanted <= usable:
            raise ValueError(f"{what} {sorted(wanted)}; must name some of processors {_ranges(usable)}")
        return wanted

    def _control_group(self, name: str, share: Share) -> ControlGroup:
        return ControlGroup(
            name,
            self._control,
            weight=share.weight * UNIT_WEIGHT,
            per_thread=share.per_thread,
            cap_cores=share.cap_cores,
            period_s=share.period_s,
            burst_s=share.burst_s,
            reservation_cores=share.reservation_cores,
        )

    def _check_reservation(self, name: str, share: Share) -> None:
        cores, processors = share.reservation_cores, len(self._domain.processors)
        if not 0.0 <= cores <= min(share.cap_cores, share.processors, processors):
            raise ValueError(f"group {name}: reservation of {cores} cores; must be at least 0 and no more than it can use")
        if cores and not (self._domain.rules.has_reservations and self._control is self._domain.group):
            raise ValueError(f"group {name}: reservation of {cores} cores; only some rules have them, for groups of the machine itself")

    def _stand_alone(self) -> None:
        """Become a group to the rules, whatever runs in it now."""
        if self._flat:
            self._flat = False
            self._control = self._control_group(self.name, self.share)
            self._weight = UNIT_WEIGHT
            now = self._scheduler.now
            for thread in self._threads:
                self._domain.regroup(thread, self._control, self._weight, now)
            self._domain.agenda.settle(now)

    def polled_for(self) -> bool:
        return any(vcpu.polling is not None and vcpu.polling.active for vcpu in self._vcpus)

    def idle_processor_s(self) -> float:
        return self._domain.idle_processor_s(self._scheduler.now) if self._parent is None or self._vcpus else -1.0

    # ---- accounts ----

    def walk(self) -> Iterator[_Branch]:
        """This group and all below it."""
        yield self
        for child in self._children:
            yield from child.walk()

    @property
    def threads(self) -> Sequence[DiscreteThread]:
        """Those that sit directly in this group."""
        return self._threads

    @property
    def vcpus(self) -> Sequence[VirtualProcessor]:
        """Those of a virtual machine, as the level below sees them."""
        return self._vcpus

    @property
    def processors(self) -> Sequence[AbstractProcessor]:
        """Those on which its threads are scheduled."""
        return self._domain.processors

    def account(self) -> CpuAccount:
        now = self._scheduler.now
        busy_s = entitled_s = runnable_s = 0.0
        for thread in self._threads:
            thread.bring(now)
            busy_s += thread.busy_s
            runnable_s += thread.runnable_s
        entitled_s = runnable_s
        for child in self._children:
            account = child.account()
            busy_s += account.busy_s
            entitled_s += account.entitled_s
            runnable_s += account.runnable_s
        if self._limited:
            self._limit.change(0.0, now)
            entitled_s = self._limit.entitled_s
        return CpuAccount(busy_s=busy_s, entitled_s=entitled_s, runnable_s=runnable_s)

    def counters(self) -> Counters:
        """What the kernels have counted, up to now."""
        now = self._scheduler.now
        groups = list(self.walk())
        threads = [thread for group in groups for thread in group._threads]
        controls = {control for group in groups for control in group._own_controls()}
        clock = self._clock
        return Counters(
            wait_s=sum(thread.waited_s(now) for thread in threads),
            voluntary_switches=sum(thread.voluntary_switches for thread in threads),
            involuntary_switches=sum(thread.involuntary_switches for thread in threads),
            nr_periods=sum(control.nr_periods for control in controls),
            nr_throttled=sum(control.nr_throttled for control in controls),
            throttled_usec=1e6 * sum(control.throttled_s for control in controls),
            steal_s=sum(vcpu.waited_s(now) for vcpu in self._vcpus),
            costop_s=sum(vcpu.costopped_s(now) for vcpu in self._vcpus),
            missed_ticks=clock.missed_ticks if clock is not None else 0,
            backlog_ticks=clock.backlog_ticks if clock is not None else 0,
            clock_lag_s=clock.lag_s if clock is not None else 0.0,
            steal_charged_s=clock.steal_charged_s if clock is not None else 0.0,
        )

    def _own_controls(self) -> tuple[ControlGroup, ...]:
        """The control group that only this group has a part in, if there is one."""
        return ()

    def _restart(self, now: float) -> None:
        for control in self._own_controls():
            control.nr_periods = control.nr_throttled = 0
            control.throttled_s = 0.0
        for thread in self._threads:
            thread.bring(now)
            thread.busy_s = thread.overhead_s = thread.runnable_s = 0.0
            thread.stalled_s = thread.spun_s = 0.0
        for task in (*self._threads, *self._vcpus):
            task.restart(now)
        if self._clock is not None:
            self._clock.restart(now)
        if self._limited:
            self._limit.change(0.0, now)
            self._limit.entitled_s = 0.0


def _ranges(processors: frozenset[int]) -> str:
    """A set of processors in words: an unbroken one by its ends."""
    first, last = min(processors), max(processors)
    return f"{first} to {last}" if len(processors) == last - first + 1 else ", ".join(map(str, sorted(processors)))


@final
class DiscreteGroup(_Branch):
    """A control group or a virtual machine."""

    __slots__ = ("_outer",)

    _outer: ControlGroup
    """What stands for it in the level below: a group of its own, or the one that its threads or virtual processors are members of."""

    def _own_controls(self) -> tuple[ControlGroup, ...]:
        assert self._parent is not None
        return () if self._outer is self._parent._control else (self._outer,)


@final
class DiscreteScheduler(_Branch, AbstractScheduler):
    """The cores of one machine, shared by rules. Virtual machines follow the same ones inside, unless `rules_for` says otherwise."""

    __slots__ = ("_decided", "cores", "engine", "memory", "nobody", "rules_for")

    def __init__(self, engine: Engine, cores: int, rules: AbstractRules, rules_for: RulesFor | None = None) -> None:
        if cores < 1:
            raise ValueError(f"cores: {cores}; must be at least 1")
        self.cores = cores
        self.engine = engine
        self._decided = 0
        self.memory: MemorySystem | None = None
        self.nobody: Owner | None = None
        """Of threads that compute only, where they share cores with others."""
        self.rules_for: RulesFor = rules_for if rules_for is not None else lambda _name, _share: rules
        domain = Domain(engine, Agenda(), rules, [None] * cores, 1.0)
        super().__init__("root", Share(processors=cores), self, None, domain, domain.group, Limit(cores, None, engine.now))

    def share_memory(self, topology: Topology, partitioned_bytes: float = 0.0) -> MemorySystem:
        """Let threads made from now on share caches, memory and cores, as far as the groups that they are in have an owner."""
        if topology.processors != self.cores:
            raise ValueError(f"{topology.processors} processors in cores and sockets, {self.cores} to schedule; must be the same")
        memory = self.memory = MemorySystem(self.engine, topology, self._domain.agenda, partitioned_bytes=partitioned_bytes)
        if topology.threads_per_core > 1:
            self.nobody = memory.owner(None)
        return memory

    @property
    def now(self) -> float:
        """The time, in seconds."""
        return self.engine._now

    def times(self) -> ProcessorTimes:
        """Where the time of the cores went, up to now. Idle time is measured at each core, work and overhead at each thread."""
        now = self.now
        threads = [thread for group in self.walk() for thread in group._threads]
        for thread in threads:
            thread.bring(now)
        vcpus = [vcpu for group in self.walk() for vcpu in group._vcpus]
        polled_s = sum(vcpu.polling.spent_s(now) for vcpu in vcpus if vcpu.polling is not None)
        return ProcessorTimes(
            busy_s=sum(thread.busy_s for thread in threads),
            idle_s=sum(processor.idled_s(now) for processor in self._domain.processors),
            overhead_s=sum(thread.overhead_s for thread in threads) + polled_s,
            stalled_s=sum(thread.stalled_s for thread in threads),
            spun_s=sum(thread.spun_s for thread in threads),
        )

    def decisions(self) -> int:
        """How often a processor of any level has chosen what to run, since the last restart."""
        return self._decisions() - self._decided

    def _decisions(self) -> int:
        return sum(domain.decisions for domain in {group._domain for group in self.walk()})

    def restart(self) -> None:
        now = self.now
        self._decided = self._decisions()
        for group in self.walk():
            group._restart(now)
        for processor in self._domain.processors:
            processor.restart(now)
