"""Fair run queues in a hierarchy: on every processor, one queue for each control group, in which tasks and groups are entities alike.

A control group has an entity and a queue on every processor on which it has runnable tasks. Its weight is divided over those entities in
proportion to the load of their queues, as it was when the entity's own queue last changed or the entity was last chosen; or the entity
weighs `weight` per runnable task, for groups whose tasks compete as if there were no group. The load is the present one, not an average
over the past. A choice goes down from the root: O(log n) in the entities of each queue.

What a queue orders its entities by, and when the current one has to give way, is up to the kinds of queue (`cfs.py`, `eevdf.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import final

from simvirt.engine import Engine
from simvirt.resources.cpu.discrete.bandwidth import Bandwidth, LocalQuota, QuotaRules
from simvirt.resources.cpu.discrete.contract import AbstractProcessor, AbstractRules, AbstractRunQueue, ControlGroup, Task, next_tick
from simvirt.resources.cpu.discrete.reservations import Reservations

__all__ = [
    "AbstractFairQueue",
    "AbstractFairRules",
    "AbstractOrderedQueue",
    "Entity",
    "FairGroup",
    "QueueMaker",
    "scale_by_processors",
]


def scale_by_processors(processors: int) -> int:
    """By how much latencies grow with the number of processors: 1 + floor(log2(min(processors, 8)))."""
    return min(processors, 8).bit_length()


@final
class Entity:
    """A task, or a control group on one processor."""

    __slots__ = ("deadline", "lag", "mine", "on", "order", "picked_s", "protected_until", "queue", "ran_s", "task", "vruntime", "weight")

    def __init__(self, weight: float, task: Task | None, mine: AbstractFairQueue | None) -> None:
        self.weight = weight
        self.task = task
        self.mine = mine
        """The queue of the group."""
        self.queue: AbstractFairQueue | None = None
        """The queue it is in, or was in last."""
        self.on = False
        self.order = -1
        """Number of its entry in the heap of its queue; none is valid while it is the current one."""
        self.ran_s = 0.0
        self.picked_s = 0.0
        """`ran_s` when it was last chosen."""
        self.vruntime = -inf
        """Time it has run, in seconds * 1024 / weight; -inf before it first runs."""
        self.deadline = 0.0
        self.lag = 0.0
        self.protected_until = -inf


class AbstractFairQueue(ABC):
    """Entities of one control group on one processor. The current one is not among those that are ordered."""

    __slots__ = ("count", "current", "group", "load", "orders", "owner", "quota", "tasks", "weighed_with")

    def __init__(self, group: FairGroup, owner: Entity | None) -> None:
        self.group = group
        self.owner = owner
        """The entity of this queue in the queue above; None at the root."""
        self.current: Entity | None = None
        self.count = 0
        self.load = 0.0
        """Sum of weights, the current entity included."""
        self.tasks = 0
        """Runnable tasks in this queue and below it."""
        self.orders = 0
        self.quota: LocalQuota | None = None
        self.weighed_with = 0.0
        """Load of the group when the weight of its entity here was worked out."""

    def add(self, entity: Entity, *, waking: bool) -> None:
        """Take in an entity."""
        self.place(entity, waking=waking)
        entity.on = True
        entity.queue = self
        self.count += 1
        self.load += entity.weight
        self.group.load += entity.weight
        self.push(entity)

    def remove(self, entity: Entity) -> None:
        """Let an entity go, be it the current one or not."""
        self.leave(entity)
        entity.on = False
        self.count -= 1
        self.load -= entity.weight
        self.group.load -= entity.weight
        if not self.count:
            self.load = 0.0
        if entity is self.current:
            self.current = None
        else:
            entity.order = -1

    def demote(self) -> None:
        """Let the current entity wait, and whatever is current below it."""
        entity = self.current
        if entity is not None:
            self.current = None
            if entity.mine is not None:
                entity.mine.demote()
            self.push(entity)

    def promote(self, entity: Entity) -> None:
        """Make a waiting entity the current one."""
        entity.order = -1
        entity.picked_s = entity.ran_s
        self.current = entity

    def weigh(self, entity: Entity, weight: float) -> None:
        """Give an entity another weight."""
        if entity.on:
            self.load += weight - entity.weight
            self.group.load += weight - entity.weight
        entity.weight = weight

    def weigh_owner(self) -> None:
        """Work out the weight of the group's entity on this processor."""
        group, owner = self.group, self.owner
        assert owner is not None
        assert owner.queue is not None
        self.weighed_with = group.load
        weight = group.weight * group.boost * (self.tasks if group.per_thread else self.load / group.load)
        if weight != owner.weight and weight > 0.0:
            owner.queue.weigh(owner, weight)

    @abstractmethod
    def place(self, entity: Entity, *, waking: bool) -> None:
        """Give an entity that comes in its place in the order."""

    @abstractmethod
    def leave(self, entity: Entity) -> None:
        """Note what has to be remembered of an entity that goes."""

    @abstractmethod
    def push(self, entity: Entity) -> None:
        """Put an entity among those that wait."""

    @abstractmethod
    def choose(self) -> Entity | None:
        """The entity to run next: the current one, or one that waits."""

    @abstractmethod
    def advance(self, entity: Entity, elapsed_s: float, now: float) -> bool:
        """The current entity has run until now. Whether the choice must be made anew."""

    @abstractmethod
    def preempts(self, entity: Entity) -> bool:
        """Whether an entity below which a task has just woken up takes the place of the current one."""

    @abstractmethod
    def expires_s(self) -> float:
        """How long the current entity can run on before a tick may make it give way; infinity if none will."""

    @abstractmethod
    def expired(self) -> bool:
        """At a tick: whether the current entity has to give way."""


class AbstractOrderedQueue(AbstractFairQueue):
    """Waiting entities in a heap by vruntime; the one that has waited longest is the first of equals."""

    __slots__ = ("_heap",)

    def __init__(self, group: FairGroup, owner: Entity | None) -> None:
        super().__init__(group, owner)
        self._heap: list[tuple[float, int, Entity]] = []

    def push(self, entity: Entity) -> None:
        self.orders += 1
        entity.order = self.orders
        heappush(self._heap, (entity.vruntime, self.orders, entity))

    def _first(self) -> Entity | None:
        """The waiting entity with the smallest vruntime; entries of those that have left are dropped."""
        heap = self._heap
        while heap:
            _, order, entity = heap[0]
            if order == entity.order and entity.queue is self:
                return entity
            heappop(heap)
        return None


@final
class FairGroup:
    """A control group in one domain: its queues, its load over all processors, its quota."""

    __slots__ = ("bandwidth", "boost", "load", "per_thread", "queues", "reservations", "weight")

    def __init__(self, processors: int, *, weight: float = 1.0, per_thread: bool = False) -> None:
        self.weight = weight
        self.per_thread = per_thread
        self.boost = 1.0
        """What its weight is multiplied by for the sake of its reservation."""
        self.load = 0.0
        self.queues: list[AbstractFairQueue | None] = [None] * processors
        self.bandwidth: Bandwidth | None = None
        self.reservations: Reservations | None = None
        """Of the groups in it."""

    def tasks(self) -> int:
        """Runnable tasks in it, on all processors."""
        return sum(queue.tasks for queue in self.queues if queue is not None)

    def weight_now(self) -> float:
        """Weight of its entities, over all processors."""
        owners = (queue.owner for queue in self.queues if queue is not None)
        return sum(owner.weight for owner in owners if owner is not None and owner.on)

    def weigh(self) -> None:
        """Work out the weight of its entity on every processor."""
        for queue in self.queues:
            if queue is not None and queue.count:
                queue.weigh_owner()


QueueMaker = Callable[[FairGroup, Entity | None], AbstractFairQueue]
"""Makes the queue of a group on one processor, given the entity of the group there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstractFairRules(AbstractRules):
    """What fair rules have in common."""

    quota: QuotaRules = field(default_factory=QuotaRules)

    def look_at(self, now: float, after_s: float) -> float:
        """When the kernel looks at what is due `after_s` from now: at the next tick."""
        return next_tick(now, now + after_s, self.hz)

    @abstractmethod
    def queue_maker(self, processors: int) -> QueueMaker:
        """What makes the queues of a domain with so many processors."""

    def run_queues(self, engine: Engine, processors: Sequence[AbstractProcessor]) -> list[AbstractRunQueue]:
        make = self.queue_maker(len(processors))
        root = FairGroup(len(processors))
        return [FairRunQueue(processor, self, engine, make, root, len(processors)) for processor in processors]


@final
class FairRunQueue(AbstractRunQueue):
    """The hierarchy of queues of one processor."""

    __slots__ = ("_engine", "_limited", "_make", "_processors", "_rules", "_task", "root")

    def __init__(
        self, processor: AbstractProcessor, rules: AbstractFairRules, engine: Engine, make: QueueMaker, root: FairGroup, processors: int
    ) -> None:
        super().__init__(processor)
        self._engine = engine
        self._rules = rules
        self._make = make
        self._processors = processors
        self._limited = False
        """Whether any group on this processor has a quota."""
        self._task: Task | None = None
        self.root = make(root, None)

    # ---- groups ----

    def _queue_of(self, group: ControlGroup) -> AbstractFairQueue:
        """The queue of a control group on this processor, made when first needed."""
        if group.parent is None:
            return self.root
        state = group.entity
        if state is None:
            state = group.entity = FairGroup(self._processors, weight=group.weight, per_thread=group.per_thread)
            if group.cap_cores < inf:
                state.bandwidth = Bandwidth(self._engine, group, self._rules.quota.of(group), self._settle)
            if group.reservation_cores:
                self._reserve(group, state)
        assert isinstance(state, FairGroup)
        queue = state.queues[self.processor.index]
        if queue is None:
            queue = self._add_queue(group, state)
        return queue

    def _reserve(self, group: ControlGroup, state: FairGroup) -> None:
        everything = self.root.group
        if everything.reservations is None:
            everything.reservations = Reservations(everything, self._processors)
        everything.reservations.add(state, min(group.reservation_cores, group.cap_cores))

    def _add_queue(self, group: ControlGroup, state: FairGroup) -> AbstractFairQueue:
        assert group.parent is not None
        owner = Entity(group.weight, None, None)
        queue = owner.mine = self._make(state, owner)
        owner.queue = self._queue_of(group.parent)
        state.queues[self.processor.index] = queue
        if state.bandwidth is not None:
            self._limited = True
            queue.quota = LocalQuota(state.bandwidth, lambda now: self._release(queue, now))
        return queue

    # ---- coming and going ----

    def enqueue(self, task: Task, now: float, *, waking: bool) -> bool:
        entity = task.entity
        if entity is None:
            entity = task.entity = Entity(task.weight, task, None)
        assert isinstance(entity, Entity)
        entity.weight = task.weight
        if task is not self._task:
            self.waiting[task] = None
        return self._admit(entity, self._queue_of(task.group), 1, now, waking=waking)

    def dequeue(self, task: Task, now: float) -> None:
        entity = task.entity
        assert isinstance(entity, Entity)
        self.waiting.pop(task, None)
        self._withdraw(entity, 1, now)

    def _admit(self, entity: Entity, queue: AbstractFairQueue, tasks: int, now: float, *, waking: bool) -> bool:
        """Add an entity with `tasks` runnable tasks to a queue, and the entities of the groups above as far as they are not there."""
        fresh = True
        while True:
            if fresh:
                queue.add(entity, waking=waking)
            queue.tasks += tasks
            quota = queue.quota
            if quota is not None:
                if quota.throttled:
                    return False
                if fresh and queue.count == 1 and not quota.acquire(now):
                    quota.throttle(now)
                    return False
            owner = queue.owner
            if owner is None:
                break
            queue.weigh_owner()
            assert owner.queue is not None
            fresh = not owner.on
            entity, queue = owner, owner.queue
            waking = True  # a group comes back to a processor as if it woke up, however its first task comes there
        self.runnable = queue.tasks
        if queue.group.reservations is not None:
            queue.group.reservations.refresh()
        self.processor.crowd()
        return True

    def _withdraw(self, entity: Entity, tasks: int, now: float) -> None:
        """Remove an entity with `tasks` runnable tasks, and the entities of the groups above that are empty then."""
        going = True
        while True:
            queue = entity.queue
            assert queue is not None
            if going:
                queue.remove(entity)
            queue.tasks -= tasks
            quota = queue.quota
            if quota is not None:
                if quota.throttled:
                    return
                if not queue.count:
                    quota.give_back(now)
            owner = queue.owner
            if owner is None:
                break
            if queue.count:
                going = False
                queue.weigh_owner()
            entity = owner
        self.runnable = queue.tasks
        if queue.group.reservations is not None:
            queue.group.reservations.refresh()
        self.processor.crowd()

    # ---- quotas ----

    def _throttle(self, queue: AbstractFairQueue, now: float) -> None:
        assert queue.owner is not None
        assert queue.quota is not None
        queue.demote()
        self._withdraw(queue.owner, queue.tasks, now)
        queue.quota.throttle(now)

    def _release(self, queue: AbstractFairQueue, now: float) -> None:
        """The group may run here again."""
        owner = queue.owner
        assert owner is not None
        assert owner.queue is not None
        if not queue.count:
            return
        processor = self.processor
        processor.charge(now)
        queue.weigh_owner()
        if self._admit(owner, owner.queue, queue.tasks, now, waking=True):
            if processor.current is None:
                processor.request(now)
            else:
                processor.arm(now)

    def _settle(self, now: float) -> None:
        self.processor.settle(now)

    # ---- choosing ----

    def charge(self, elapsed_s: float, now: float) -> bool:
        again = False
        queue = self.root
        while (entity := queue.current) is not None:
            entity.ran_s += elapsed_s
            if queue.advance(entity, elapsed_s, now):
                again = True
            if entity.mine is None:
                break
            queue = entity.mine
            if queue.quota is not None and not queue.quota.use(elapsed_s, now):
                again = True
        return again

    def pick(self, now: float) -> Task | None:
        if self._limited:
            self._check_quotas(now)
        queue = self.root
        while True:
            chosen = queue.choose()
            if chosen is None:
                break
            if chosen is not queue.current:
                queue.demote()
                queue.promote(chosen)
            if chosen.mine is None:
                break
            queue = chosen.mine
            if queue.weighed_with != queue.group.load:
                queue.weigh_owner()
        task = chosen.task if chosen is not None else None
        before = self._task
        if task is not before:
            if before is not None and before.awake and before.processor is self.processor:
                self.waiting[before] = None
            if task is not None:
                self.waiting.pop(task, None)
            self._task = task
        return task

    def _check_quotas(self, now: float) -> None:
        """Throttle those of the current groups that have used up what they may use."""
        queue = self.root
        while (entity := queue.current) is not None and entity.mine is not None:
            queue = entity.mine
            if queue.quota is not None and not queue.quota.acquire(now):
                self._throttle(queue, now)
                return

    def preempts(self, task: Task, now: float) -> bool:
        entity = task.entity
        path = []
        while entity is not None:
            assert isinstance(entity, Entity)
            path.append(entity)
            assert entity.queue is not None
            entity = entity.queue.owner
        for entity in reversed(path):
            queue = entity.queue
            assert queue is not None
            if queue.current is not entity:
                return queue.current is None or queue.preempts(entity)
        return False

    def check_at(self, now: float) -> float:
        if self.runnable <= 1 and not self._limited:
            return inf
        soonest_s = inf
        queue = self.root
        while (entity := queue.current) is not None:
            if queue.count > 1:
                soonest_s = min(soonest_s, queue.expires_s())
            if entity.mine is None:
                break
            queue = entity.mine
            if queue.quota is not None:
                soonest_s = min(soonest_s, queue.quota.lasts_s(now))
        return self._rules.look_at(now, soonest_s) if soonest_s < inf else inf

    def expired(self, now: float) -> bool:
        queue = self.root
        while (entity := queue.current) is not None:
            if queue.count > 1 and queue.expired():
                return True
            if entity.mine is None:
                break
            queue = entity.mine
        return False

    # ---- load ----

    def load(self) -> float:
        return self.root.load

    def load_of(self, task: Task) -> float:
        entity = task.entity
        load = 1.0
        while True:
            assert isinstance(entity, Entity)
            queue = entity.queue
            assert queue is not None
            if queue.quota is not None and queue.quota.throttled:
                return inf
            load *= entity.weight / queue.load
            if queue.owner is None:
                return load * queue.load
            entity = queue.owner
