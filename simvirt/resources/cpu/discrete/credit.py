"""The credit scheduler: groups earn credits by weight and burn them by running; three priorities decide (Xen, "credit").

Running burns `CREDITS` per second. Every `slice_s` all processors together hand out that much for the slice, to the groups that have tasks
at work, by weight and in each group to its tasks, down the tree: a group gets no more than its cap and no more than its tasks can burn, and
what it cannot use goes to the others (water-filling). A task with credits left is UNDER, one without is OVER; the one that runs keeps its
priority until credits are handed out again. A task that wakes up UNDER is in BOOST until a tick finds it running. The highest priority
runs, in turn, for a slice. A higher priority preempts at once, but never before the current task has run for `ratelimit_s`. A processor
whose next task would be OVER, or that has none, takes a waiting task of a higher priority from another one. A task that has more than a
slice's credits leaves the distribution with half of them; it joins again when a tick finds it running. Debts beyond a slice's credits are
forgiven. A task of a capped group that owes more than it is given is parked until it has paid. Because of the two bounds, shares follow
weights closely in flat trees and only roughly in nested ones.

A group's weight counts once or per task at work, as its share says. Control groups within groups divide in the same way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final, final

from simvirt.engine import Engine
from simvirt.resources.cpu.discrete.contract import (
    NANOSECOND,
    AbstractProcessor,
    AbstractRules,
    AbstractRunQueue,
    ControlGroup,
    Task,
    next_tick,
)

__all__ = ["CREDITS", "Credit", "Priority"]

CREDITS: Final = 10_000.0
"""Credits burnt per second of running."""


_ROUNDING: Final = 1e-6
"""Credits that do not matter."""


class Priority(IntEnum):
    """What is compared first."""

    OVER = 0
    UNDER = 1
    BOOST = 2


_DOWNWARDS: Final = (Priority.BOOST, Priority.UNDER, Priority.OVER)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Credit(AbstractRules):
    """Parameters of the credit scheduler."""

    hz: float = 100.0
    slice_s: float = 0.03
    ratelimit_s: float = 0.001

    def run_queues(self, engine: Engine, processors: Sequence[AbstractProcessor]) -> list[AbstractRunQueue]:
        bank = _Bank(engine, self, len(processors))
        return [*bank.open(processors)]

    def problems(self) -> list[str]:
        found = AbstractRules.problems(self)
        if not 0.0 < self.slice_s < inf:
            found.append(f"slice_s: {self.slice_s} s; must be positive")
        if not 0.0 <= self.ratelimit_s <= self.slice_s:
            found.append(f"ratelimit_s: {self.ratelimit_s} s; must be at least 0 and at most slice_s")
        return found


@final
class _Account:
    """What the scheduler keeps about a task."""

    __slots__ = ("active", "credits", "entry", "group", "level", "order", "pace", "parked", "priority", "share", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.credits = 0.0
        """As of `level`."""
        self.level = 0.0
        """Of the bank, when it was last brought up to date."""
        self.pace = 0.0
        """Credits per unit of the bank's level: its part of all weight, times that weight; 0 outside the distribution."""
        self.priority = Priority.UNDER
        self.active = False
        """Whether it takes part in the distribution."""
        self.order = 0
        """When it joined."""
        self.group = task.group
        """With whom it shares, while it is active."""
        self.entry = 0
        """Number of its valid entry among those that are due some time."""
        self.parked = False
        self.share = 0.0


@final
class _Node:
    """A control group while credits are handed out: the tasks at work below it."""

    __slots__ = ("accounts", "children", "group")

    def __init__(self, group: ControlGroup) -> None:
        self.group = group
        self.accounts: list[_Account] = []
        self.children: list[_Node] = []

    def tasks(self) -> int:
        return len(self.accounts) + sum(child.tasks() for child in self.children)

    def weight(self) -> float:
        return self.group.weight * (self.tasks() if self.group.per_thread else 1)

    def most(self, per_core: float) -> float:
        """What it can use, if a core can use `per_core`."""
        return min(len(self.accounts) * per_core + sum(child.most(per_core) for child in self.children), self.group.cap_cores * per_core)

    def divide(self, credits_: float, per_core: float) -> None:
        """Hand credits to the tasks: min(most, weight * level) for each member."""
        members: list[tuple[float, float, _Account | _Node]] = [(per_core, account.task.weight, account) for account in self.accounts]
        members += [(child.most(per_core), child.weight(), child) for child in self.children]
        weight_left = sum(weight for _, weight, _ in members)
        for most, weight, member in sorted(members, key=_breakpoint):
            part = min(most, credits_ * weight / weight_left)
            credits_ -= part
            weight_left -= weight
            if isinstance(member, _Node):
                member.divide(part, per_core)
            else:
                member.share = part


def _breakpoint(member: tuple[float, float, _Account | _Node]) -> float:
    return member[0] / member[1]


@final
class _Bank:
    """Hands out credits to the tasks of one domain, once per slice, as long as anything is runnable.

    Where no share is bounded, all grow at constant paces: a *level* rises with every slice, by what is handed out per unit of weight, and a
    task that does not run has credits + pace * (level - level at which they were noted). It is looked at when it has run, and when the
    level is reached at which its priority changes, found by a heap: O(log n) per slice for each task that ran. Where a cap, or what one
    processor can burn, bounds a share, or groups are within groups, everybody's share is worked out anew.
    """

    __slots__ = (
        "_active", "_due", "_engine", "_entries", "_heaviest", "_joined", "_level", "_members", "_per_core", "_queues", "_touched",
        "_unusual", "_wakeup", "_weight", "rules", "size",
    )  # fmt: skip

    def __init__(self, engine: Engine, rules: Credit, processors: int) -> None:
        self._engine = engine
        self.rules = rules
        self.size = processors
        self._per_core = CREDITS * rules.slice_s
        self._queues: list[_Queue] = []
        self._active: dict[_Account, None] = {}
        self._members: dict[ControlGroup, dict[_Account, None]] = {}
        """Active tasks by group."""
        self._weight = 0.0
        """Of all that take part."""
        self._heaviest = 0.0
        """No pace is above this."""
        self._unusual = 0
        """Active tasks in groups that have a cap or are within others."""
        self._level = 0.0
        self._touched: dict[_Account, None] = {}
        """Those that have to be looked at when credits are handed out next."""
        self._due: list[tuple[float, int, _Account]] = []
        """Levels at which somebody's priority changes though it does not run."""
        self._entries = self._joined = 0
        self._wakeup = engine.wakeup(self._hand_out)

    def open(self, processors: Sequence[AbstractProcessor]) -> list[_Queue]:
        self._queues = [_Queue(processor, self) for processor in processors]
        return self._queues

    def start(self, now: float) -> None:
        """Something is runnable."""
        if self._wakeup.due == inf:
            self._wakeup.at(next_tick(now + NANOSECOND, now, 1.0 / self.rules.slice_s))

    def join(self, account: _Account) -> None:
        account.active = True
        account.group = account.task.group
        self._joined += 1
        account.order = self._joined
        self._active[account] = None
        members = self._members.setdefault(account.group, {})
        self._unusual += _is_unusual(account.group)
        self._weight -= _weight(account.group, members)
        members[account] = None
        account.level = self._level
        self._set_paces(account.group, members)

    def move(self, account: _Account) -> None:
        """A task belongs to another group from now on."""
        self._bring(account)
        self._leave(account)
        self.join(account)

    def burn(self, account: _Account, credits_: float) -> None:
        """A task has run."""
        account.credits -= credits_
        if account.active:
            self._touched[account] = None

    def _set_paces(self, group: ControlGroup, members: dict[_Account, None]) -> None:
        """The members of a group have changed: count its weight again and divide it."""
        weight = _weight(group, members)
        self._weight += weight
        whole = sum(member.task.weight for member in members)
        for member in members:
            self._bring(member)
            member.pace = weight * member.task.weight / whole
            self._heaviest = max(self._heaviest, member.pace)
            self._touched[member] = None

    def _bring(self, account: _Account) -> None:
        """Credit what was handed out since it was last looked at."""
        account.credits += account.pace * (self._level - account.level)
        account.level = self._level

    def catch_up(self, now: float) -> None:
        """Credits come before slices that end at the same instant."""
        if self._wakeup.due - now < NANOSECOND:
            self._wakeup.cancel()
            self._hand_out()

    def _leave(self, account: _Account) -> None:
        account.active = False
        account.pace = 0.0
        account.entry = 0
        del self._active[account]
        members = self._members[account.group]
        self._unusual -= _is_unusual(account.group)
        self._weight -= _weight(account.group, members)
        del members[account]
        if members:
            self._set_paces(account.group, members)
        else:
            del self._members[account.group]
        if not self._active:
            self._weight = self._heaviest = 0.0

    def _hand_out(self) -> None:
        now = self._engine._now
        for queue in self._queues:
            queue.processor.charge(now)
        if self._active:
            rise = self._per_core * self.size / self._weight
            bounded = self._unusual or self._heaviest * rise > self._per_core * (1.0 + 1e-9)
            looked_at = self._divide_anew() if bounded else self._raise_level(rise)
            for account in looked_at:
                self._look(account, now)
        if self._active or any(queue.runnable for queue in self._queues):
            self.start(now)
        if self._queues:
            self._queues[0].processor.settle(now)

    def _divide_anew(self) -> list[_Account]:
        """Credit everybody a share of its own. Who is to be looked at: everybody."""
        self._divide()
        self._touched.clear()
        accounts = list(self._active)
        self._heaviest = max(account.pace for account in accounts)
        for account in accounts:
            self._bring(account)
            account.credits += account.share
        return accounts

    def _raise_level(self, rise: float) -> list[_Account]:
        """Credit everybody at its pace. Who is to be looked at, in the order in which they joined."""
        level = self._level = self._level + rise
        touched, due = self._touched, self._due
        while due and due[0][0] <= level:
            _, entry, account = heappop(due)
            if entry == account.entry:
                touched[account] = None
        found = sorted((account for account in touched if account.active), key=_order)
        touched.clear()
        for account in found:
            self._bring(account)
        return found

    def _expect(self, account: _Account) -> None:
        """Note at which level it has credits again, or too many."""
        wanted = -_ROUNDING if account.credits < -_ROUNDING else self._per_core
        self._entries += 1
        account.entry = self._entries
        heappush(self._due, (account.level + (wanted - account.credits) / account.pace, self._entries, account))
        if len(self._due) > 64 + 4 * len(self._active):
            self._due = [entry for entry in self._due if entry[1] == entry[2].entry]
            heapify(self._due)

    def _divide(self) -> None:
        """Work out what each active task gets."""
        nodes: dict[ControlGroup, _Node] = {}
        root: _Node | None = None
        for account in self._active:
            group = account.task.group
            node = nodes.get(group)
            if node is None:
                node = nodes[group] = _Node(group)
                below = node
                while below.group.parent is not None:
                    above = nodes.get(below.group.parent)
                    if above is not None:
                        above.children.append(below)
                        break
                    above = nodes[below.group.parent] = _Node(below.group.parent)
                    above.children.append(below)
                    below = above
                else:
                    root = below
            node.accounts.append(account)
        if root is not None:
            root.divide(self._per_core * self.size, self._per_core)

    def _look(self, account: _Account, now: float) -> None:
        """A task has been credited: see what that makes of it."""
        queue = account.task.processor.queue if account.task.processor is not None else None
        assert isinstance(queue, _Queue)
        if account.credits < -_ROUNDING:
            queue.rank(account, Priority.OVER)
            if account.credits < -account.share - _ROUNDING and _capped(account.task.group):
                queue.park(account, now)
            account.credits = max(account.credits, -self._per_core)
            self._expect(account)
            return
        queue.rank(account, Priority.UNDER)
        if account.parked:
            queue.unpark(account, now)
        if account.credits > self._per_core + _ROUNDING:
            account.credits /= 2.0
            self._leave(account)
        else:
            self._expect(account)


def _order(account: _Account) -> int:
    return account.order


def _weight(group: ControlGroup, members: dict[_Account, None]) -> float:
    """What a group weighs against others of the domain; the tasks of no group, each for itself."""
    if group.parent is None:
        return sum(member.task.weight for member in members)
    return group.weight * (len(members) if group.per_thread else 1) if members else 0.0


def _is_unusual(group: ControlGroup) -> bool:
    """Whether what its tasks get is not simply by weight."""
    return group.cap_cores < inf or (group.parent is not None and group.parent.parent is not None)


def _capped(group: ControlGroup | None) -> bool:
    while group is not None:
        if group.cap_cores < inf:
            return True
        group = group.parent
    return False


@final
class _Queue(AbstractRunQueue):
    """The tasks of one processor by priority, in turn within each."""

    __slots__ = ("_bank", "_lines", "_rules", "_since", "_task", "_wanted")

    def __init__(self, processor: AbstractProcessor, bank: _Bank) -> None:
        super().__init__(processor)
        self._bank = bank
        self._rules = bank.rules
        self._task: Task | None = None
        self._since = 0.0
        """When the current task was chosen."""
        self._wanted = False
        """Whether a higher priority waits for the rate limit to pass."""
        self._lines: dict[Priority, OrderedDict[Task, None]] = {priority: OrderedDict() for priority in Priority}

    # ---- coming and going ----

    def enqueue(self, task: Task, now: float, *, waking: bool) -> bool:
        account = task.entity
        if account is None:
            account = task.entity = _Account(task)
        assert isinstance(account, _Account)
        if account.active and account.group is not task.group:
            self._bank.move(account)
        if account.parked:
            self.waiting[task] = None
            return False
        if waking and account.priority is Priority.UNDER:
            account.priority = Priority.BOOST
        if task is not self._task:
            self._wait(task, account)
        self.runnable += 1
        self._bank.start(now)
        self.processor.crowd()
        return True

    def dequeue(self, task: Task, now: float) -> None:
        account = task.entity
        assert isinstance(account, _Account)
        if account.parked:
            self.waiting.pop(task, None)
            return
        if task in self.waiting:
            del self.waiting[task]
            del self._lines[account.priority][task]
        self.runnable -= 1
        self.processor.crowd()

    def _wait(self, task: Task, account: _Account) -> None:
        self.waiting[task] = None
        self._lines[account.priority][task] = None

    def rank(self, account: _Account, priority: Priority) -> None:
        """Give a task another priority; a boosted one that waits keeps its own while it has credits."""
        task = account.task
        if account.priority is priority or (account.priority is Priority.BOOST and priority is Priority.UNDER):
            return
        if task in self._lines[account.priority]:
            del self._lines[account.priority][task]
            self._lines[priority][task] = None
        account.priority = priority

    def park(self, account: _Account, now: float) -> None:
        """Let a task wait until it has credits again."""
        task = account.task
        if account.parked:
            return
        if task.awake:
            self.dequeue(task, now)
            self.waiting[task] = None
            if task is self._task:
                self.processor.request(now)
        account.parked = True
        task.group.nr_throttled += 1

    def unpark(self, account: _Account, now: float) -> None:
        account.parked = False
        task = account.task
        if task.awake:
            self.waiting.pop(task, None)
            self.enqueue(task, now, waking=False)
            if self.processor.current is None or self.preempts(task, now):
                self.processor.request(now)
            else:
                self.processor.arm(now)

    # ---- choosing ----

    def charge(self, elapsed_s: float, now: float) -> bool:
        task = self._task
        if task is not None:
            account = task.entity
            assert isinstance(account, _Account)
            self._bank.burn(account, CREDITS * elapsed_s)
            if next_tick(now - elapsed_s, now - elapsed_s, self._rules.hz) <= now:  # a tick found it running
                if account.priority is Priority.BOOST:
                    account.priority = Priority.UNDER
                if not account.active:
                    self._bank.join(account)
        return False

    def pick(self, now: float) -> Task | None:
        before = self._task
        self._wanted = False
        if before is not None and before.awake and before.processor is self.processor and before not in self.waiting:
            if before.entity.parked:
                self.waiting[before] = None
            elif now - self._since < self._rules.ratelimit_s - NANOSECOND:
                self._wanted = True
                return before
            else:
                self._wait(before, before.entity)
        task = self._next(now)
        if task is not None:
            self.waiting.pop(task, None)
            del self._lines[task.entity.priority][task]
            self._since = now
        self._task = task
        return task

    def _next(self, now: float) -> Task | None:
        """The first of the highest priority here; if that is OVER, or there is none, of a higher one elsewhere."""
        for priority in _DOWNWARDS:
            if priority is Priority.OVER:
                self._steal(now)
                return next((task for higher in _DOWNWARDS for task in self._lines[higher]), None)
            if self._lines[priority]:
                return next(iter(self._lines[priority]))
        return None

    def _steal(self, now: float) -> None:
        """Take a waiting task that is UNDER or in BOOST from another processor."""
        for sibling in self.processor.siblings():
            queue = sibling.queue
            assert isinstance(queue, _Queue)
            if queue is not self:
                for priority in (Priority.BOOST, Priority.UNDER):
                    for task in queue._lines[priority]:
                        if task.may_run_on(self.processor):
                            self.processor.migrate(task, now)
                            return

    def preempts(self, task: Task, now: float) -> bool:
        current = self._task
        return current is None or task.entity.priority > current.entity.priority

    def check_at(self, now: float) -> float:
        if self.runnable <= 1:
            return inf
        return self._since + (self._rules.ratelimit_s if self._wanted else self._rules.slice_s)

    def expired(self, now: float) -> bool:
        self._bank.catch_up(now)
        if self._wanted:
            return now >= self._since + self._rules.ratelimit_s - NANOSECOND
        return self.runnable > 1 and now >= self._since + self._rules.slice_s - NANOSECOND

    # ---- load ----

    def load(self) -> float:
        return float(self.runnable)

    def load_of(self, task: Task) -> float:
        return inf if task.entity.parked else 1.0
