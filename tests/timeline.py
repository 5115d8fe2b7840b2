"""Reads off a discrete scheduler who ran when."""

from __future__ import annotations

from collections.abc import Sequence

from simvirt.engine import Engine
from simvirt.resources.cpu.contract import AbstractGroup, Share
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.scheduler import DiscreteGroup, DiscreteScheduler

MS = 1e-3


class Timeline:
    """One machine, times in milliseconds. Every task is named by a letter and is the only thread of a group of its own."""

    def __init__(self, rules: AbstractRules, cores: int = 1, *, inside: AbstractRules | None = None) -> None:
        """`inside` are the rules of the kernels in virtual machines, if they are others."""
        self.engine = Engine()
        self.cpu = DiscreteScheduler(self.engine, cores, rules, None if inside is None else lambda _name, _share: inside)
        self.groups: dict[str, DiscreteGroup] = {}
        self.done_at: dict[str, float] = {}

    def task(self, name: str, share: Share | None = None, *, inside: AbstractGroup | None = None, core: int | None = None) -> Task:
        """A thread, as a plain process or in a group with a share, maybe tied to a core."""
        parent = self.cpu if inside is None else inside
        group = parent.group(name, share if share is not None else Share())
        assert isinstance(group, DiscreteGroup)
        self.groups[name] = group
        return Task(self, name, group, None if core is None else frozenset({core}))

    def who(self, until: float, step: float = 1.0) -> str:
        """The letter of the task that ran in each step from now until then; '.' if none did, '?' if more than one did."""
        letters = []
        steps = round((until - self.engine.now / MS) / step)
        start = self.engine.now / MS
        for i in range(steps):
            before = {name: group.account().busy_s for name, group in self.groups.items()}
            self.engine.run((start + (i + 1) * step) * MS)
            ran = [name for name, group in self.groups.items() if group.account().busy_s - before[name] > 1e-9]
            letters.append("." if not ran else ran[0] if len(ran) == 1 else "?")
        return "".join(letters)

    def finish(self, until: float = 10_000.0) -> dict[str, float]:
        """When the bursts were done: the last of each task."""
        self.engine.run(until * MS)
        return self.done_at


class Task:
    """A thread on a timeline."""

    def __init__(self, timeline: Timeline, name: str, group: DiscreteGroup, affinity: frozenset[int] | None) -> None:
        self.timeline = timeline
        self.name = name
        self.group = group
        self.thread = group.thread(name, affinity)
        self.done: list[float] = []

    def wakes(self, *bursts: tuple[float, float]) -> Task:
        """Wake up at these times for these bursts, (time, length) in milliseconds."""
        for time, length in bursts:
            self._wake(time, length)
        return self

    def hog(self, time: float = 0.0) -> Task:
        """Run for ever from this time on."""
        return self.wakes((time, 1e9))

    def _wake(self, time: float, length: float) -> None:
        if time == 0.0:
            self.thread.run(length * MS, self._note, None)
        else:
            self.timeline.engine.wakeup(lambda: self.thread.run(length * MS, self._note, None)).at(time * MS)

    def _note(self, _: None) -> None:
        now = self.timeline.engine.now / MS
        self.done.append(now)
        self.timeline.done_at[self.name] = now


def each(tasks: Sequence[Task]) -> list[float]:
    """CPU time that each task had, in milliseconds."""
    return [task.group.account().busy_s / MS for task in tasks]
