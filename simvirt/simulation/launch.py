"""Starts on a running host: each goes through its chain, stage by stage, on the cores, locks, control planes and disk that all share.

Nothing here makes a start slower because others are there: it waits for them where they have what it needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Final, final

from simvirt.layers.contract import Context, Place
from simvirt.layers.hypervisor import Hypervisor
from simvirt.randomness import Streams
from simvirt.resources.control_plane import ControlPlane
from simvirt.resources.cpu.contract import AbstractGroup, AbstractThread, Done, Share
from simvirt.resources.mutex import Mutex
from simvirt.resources.shared_disk import Flow, SharedDisk
from simvirt.simulation.binding import Host
from simvirt.simulation.instances import Branch, Instance, InstanceTree
from simvirt.simulation.storage import DiskOfHost
from simvirt.startup import Chain, Program, Requests, Section, Step
from simvirt.workloads.distributions import Lognormal

__all__ = ["Launch", "Launcher", "Piece"]

TURN: Final = 32
"""Requests of one start that a control plane answers before it looks at those of others."""
WAIT: Final = "wait for "
"""How causes begin that are waits for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A time of one start, spent for one cause."""

    layer: str
    stage: str
    cause: str
    """The stage itself, what it waits for, or what it reads."""
    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@final
class Launcher:
    """Where the starts on one host meet: locks of its kernels, control planes, files in memory, and how many instances exist."""

    def __init__(
        self,
        host: Host,
        tree: InstanceTree,
        shared_level: int,
        streams: Streams,
        *,
        running: float = 0.0,
        shares_files: bool = False,
    ) -> None:
        """`running` instances exist already. With `shares_files`, the host keeps one copy in memory of what virtual machines read of
        the same image; else each reads its own from the disk.
        """
        self.host = host
        self._tree = tree
        self._shared_level = shared_level
        self._streams = streams
        self._shares_files = shares_files
        self._factors: dict[tuple[str, str], Iterator[float]] = {}
        self._locks: dict[tuple[Instance, str], Mutex] = {}
        self._servers: dict[tuple[Instance, str], ControlPlane] = {}
        self._files: dict[tuple[Instance, str, str, int], list[Callable[[], None]] | None] = {}
        """Rounds of reading by kernel, layer, stage and number: who waits for it; None once it is in memory."""
        self.existing = running
        """Instances that a control plane knows: from the end of the first stage of their start."""
        self.reads = 0.0
        """Requests to the disk so far."""

    def begin(self, chain: Chain, branch: Branch, ready: Callable[[Launch], None], *, cold: bool = False, vcpus: int = 1) -> Launch:
        """Go through a chain for the tenant of a branch, beginning now; call `ready` at its end. If `cold`, no file is in memory."""
        launch = Launch(self, chain, branch, ready, cold=cold, vcpus=vcpus)
        launch.advance()
        return launch

    def factor(self, step: Step) -> float:
        """How much longer than its mean a stage takes this time."""
        cv = step.stage.cv.si
        if not cv:
            return 1.0
        key = (step.layer, step.stage.name)
        if key not in self._factors:
            rng = self._streams.stream(f"start/{step.layer}/{step.stage.name}")
            self._factors[key] = Lognormal(mean=1.0, cv=cv).draw(rng, block=256)
        return next(self._factors[key])

    def lock(self, kernel: Instance, name: str) -> Mutex:
        return self._locks.setdefault((kernel, name), Mutex())

    def server(self, kernel: Instance, name: str, group: AbstractGroup) -> ControlPlane:
        """The control plane of that name on a kernel; its thread is made in `group` when it is first asked."""
        if (kernel, name) not in self._servers:
            self._servers[kernel, name] = ControlPlane(group.group(name, Share()).thread(name))
        return self._servers[kernel, name]

    @property
    def failed_transactions(self) -> int:
        return sum(server.failed for server in self._servers.values())

    def group(self, branch: Branch, step: Step) -> AbstractGroup:
        """Where the work of a step competes for processors."""
        by = min(step.by, len(branch.stack.layers) - 1)
        layer = branch.stack.layers[by]
        if isinstance(layer, Hypervisor) and layer.service_vcpus.si:
            return self._tree.executor(branch, Context(Place.SERVICE_VM, layer.block_thread, by)).group
        below = layer.isolates_group and step.by == step.level < len(branch.stack.layers)  # whoever sets a container up is not in it
        return branch.instances[by - 1 if below else by].group

    def kernel(self, branch: Branch, step: Step) -> Instance:
        """Whose locks, control planes and page cache a step uses."""
        by = min(step.by, len(branch.stack.layers) - 1)
        return branch.instances[branch.stack.kernel_level(by)]

    def is_shared(self, branch: Branch, step: Step) -> bool:
        """Whether a step's kernel is that of all tenants."""
        return branch.stack.kernel_level(min(step.by, len(branch.stack.layers) - 1)) <= self._shared_level

    def fetch(self, launch: Launch, step: Step, stage: Program, index: int, done: Callable[[], None]) -> None:
        """Have one round of a stage's file in memory, then call `done`: read it, or wait for another start that is just reading it."""
        assert step.read is not None
        kernel = self._tree.root if self._shares_files else self.kernel(launch.branch, step)
        key = (kernel, step.layer, stage.name, index)
        if stage.is_shared and key in self._files:
            waiting = self._files[key]
            if waiting is None:
                done()
            else:
                waiting.append(done)
            return
        if stage.is_shared:
            self._files[key] = [done]
        count = step.reads / stage.round_count
        self.reads += count
        transfer_s = count * step.read.transfer_s

        def transferred(_: None) -> None:
            for one in (self._files.get(key) or ()) if stage.is_shared else (done,):
                one()
            if stage.is_shared:
                self._files[key] = None

        def accessed(_: None) -> None:
            self._submit(launch, self.host.disk_bus, transfer_s, 0.0, transferred)

        self._submit(launch, self.host.disk, count * step.read.access_s, count * step.read.moves, accessed)

    def _submit(self, launch: Launch, device: DiskOfHost, service_s: float, moves: float, done: Done) -> None:
        if isinstance(device, SharedDisk):
            device.submit(launch.flow(device), service_s, moves, done, None)
        else:
            device.submit(service_s, done, None)


@final
class Launch:
    """One start on its way."""

    def __init__(
        self, launcher: Launcher, chain: Chain, branch: Branch, ready: Callable[[Launch], None], *, cold: bool, vcpus: int
    ) -> None:
        self.launcher = launcher
        self.branch = branch
        self.cold = cold
        self.vcpus = vcpus
        self.engine = launcher.host.engine
        self.began_s = self.engine.now
        self.ready_s: float | None = None
        """When it was ready."""
        self.pieces: list[Piece] = []
        """Where its time went; they follow each other without gaps."""
        self._ready = ready
        self._steps = [(step, launcher.factor(step)) for step in chain.steps]
        self._next = 0
        self._exists = False
        self._threads: dict[tuple[AbstractGroup, int], AbstractThread] = {}
        self._flows: dict[SharedDisk, Flow] = {}
        self._wakeup = self.engine.wakeup(self._awake)
        self._asleep: Callable[[], None] | None = None

    @property
    def length_s(self) -> float:
        """Time from its beginning until it was ready."""
        assert self.ready_s is not None
        return self.ready_s - self.began_s

    def advance(self) -> None:
        """Go on with the next stage."""
        if self._next == 1 and not self._exists:
            self._exists = True
            self.launcher.existing += 1
        if self._next == len(self._steps):
            self.ready_s = self.engine.now
            self._ready(self)
            return
        step, factor = self._steps[self._next]
        self._next += 1
        _run_of(step, self, factor).begin()

    def others(self, step: Step) -> float:
        """Instances that exist beside this one where a step looks at what exists: none in a virtual machine of its own."""
        return self.launcher.existing - self._exists if self.launcher.is_shared(self.branch, step) else 0.0

    def thread(self, group: AbstractGroup, index: int = 0) -> AbstractThread:
        """A thread of this start in a group."""
        if (group, index) not in self._threads:
            self._threads[group, index] = group.thread(f"start {index + 1}")
        return self._threads[group, index]

    def flow(self, device: SharedDisk) -> Flow:
        if device not in self._flows:
            self._flows[device] = device.flow()
        return self._flows[device]

    def sleep(self, seconds: float, then: Callable[[], None]) -> None:
        """Go on after a time."""
        self._asleep = then
        self._wakeup.at(self.engine.now + seconds)

    def _awake(self) -> None:
        assert self._asleep is not None
        self._asleep()

    def note(self, step: Step, since_s: float, own_s: float, waits_for: str, cause: str = "") -> None:
        """The time from `since_s` to now: so much for the stage itself, the rest a wait, which is told first."""
        now = self.engine.now
        turn_s = max(since_s, now - own_s)
        stage = step.stage.name
        for label, start_s, end_s in ((WAIT + waits_for, since_s, turn_s), (cause or stage, turn_s, now)):
            if end_s > start_s:
                self.pieces.append(Piece(layer=step.layer, stage=stage, cause=label, start_s=start_s, end_s=end_s))


class _Run(ABC):
    """One stage of one start, under way."""

    def __init__(self, step: Step, launch: Launch, factor: float) -> None:
        self.step = step
        self.launch = launch
        self.factor = factor
        self.since_s = launch.engine.now
        """Since when what it does now goes on."""

    @abstractmethod
    def begin(self) -> None:
        """Do it; the start advances at the end."""

    def note(self, own_s: float, waits_for: str, cause: str = "") -> None:
        """Tell what the time since the last note was for."""
        self.launch.note(self.step, self.since_s, own_s, waits_for, cause)
        self.since_s = self.launch.engine.now


@final
class _ProgramRun(_Run):
    """Sleeping, reading, computing, round after round."""

    def begin(self) -> None:
        stage = self.step.stage
        assert isinstance(stage, Program)
        self.stage = stage
        self.round = 0
        self.group = self.launch.launcher.group(self.launch.branch, self.step)
        work_s = stage.compute_s(self.launch.others(self.step)) * self.factor * self.step.slowdown / stage.round_count
        together = min(self.launch.vcpus, self.group.share.processors) if stage.parallel_share else 1
        self.helpers = max(1, int(together))
        self.serial_s = work_s * (1.0 - stage.parallel_share) if self.helpers > 1 else work_s
        self.each_s = work_s * stage.parallel_share / self.helpers if self.helpers > 1 else 0.0
        self._sleep()

    def _sleep(self) -> None:
        self.round += 1
        sleep_s = self.stage.sleep_s * self.factor / self.stage.round_count
        if sleep_s > 0:
            self.launch.sleep(sleep_s, self._slept)
        else:
            self._read()

    def _slept(self) -> None:
        self.note(inf, "", "sleep")
        self._read()

    def _read(self) -> None:
        if self.launch.cold and self.step.reads:
            self.launch.launcher.fetch(self.launch, self.step, self.stage, self.round, self._have_read)
        else:
            self._compute()

    def _have_read(self) -> None:
        self.note(self.step.cold_s / self.stage.round_count, "disk", "read")
        self._compute()

    def _compute(self) -> None:
        if self.serial_s > 0:
            self.launch.thread(self.group).run(self.serial_s, self._computed, None)
        else:
            self._spread()

    def _computed(self, _: None) -> None:
        self.note(self.serial_s, "processor")
        self._spread()

    def _spread(self) -> None:
        if self.each_s > 0:
            self.busy = self.helpers
            for i in range(self.helpers):
                self.launch.thread(self.group, i).run(self.each_s, self._joined, None)
        else:
            self._end_round()

    def _joined(self, _: None) -> None:
        self.busy -= 1
        if not self.busy:
            self.note(self.each_s, "processor")
            self._end_round()

    def _end_round(self) -> None:
        if self.round < self.stage.round_count:
            self._sleep()
        else:
            self.launch.advance()


@final
class _SectionRun(_Run):
    """Waiting for a lock, and computing under it."""

    def begin(self) -> None:
        stage = self.step.stage
        assert isinstance(stage, Section)
        launcher, branch = self.launch.launcher, self.launch.branch
        self.stage = stage
        self.mutex = launcher.lock(launcher.kernel(branch, self.step), stage.lock)
        self.mutex.acquire(self._granted)

    def _granted(self) -> None:
        self.note(0.0, f"lock {self.stage.lock}")
        self.work_s = self.stage.held_s(self.launch.others(self.step)) * self.factor * self.step.slowdown
        if self.work_s > 0:
            group = self.launch.launcher.group(self.launch.branch, self.step)
            self.launch.thread(group).run(self.work_s, self._done, None)
        else:
            self._done(None)

    def _done(self, _: None) -> None:
        self.note(self.work_s, "processor")
        self.mutex.release()
        self.launch.advance()


@final
class _RequestsRun(_Run):
    """Asking a control plane: what needs no transaction in turns, transactions request by request."""

    def begin(self) -> None:
        stage = self.step.stage
        assert isinstance(stage, Requests)
        launcher, branch = self.launch.launcher, self.launch.branch
        self.stage = stage
        self.server = launcher.server(launcher.kernel(branch, self.step), stage.server, launcher.group(branch, self.step))
        others = self.launch.others(self.step)
        self.left = stage.plain_requests(others)
        self.one_s = stage.one_s(others) * self.factor * self.step.slowdown
        self.transactions = stage.transaction_count
        self._turn()

    def _turn(self) -> None:
        if self.left > 0:
            count = min(float(TURN), self.left)
            self.left -= count
            self._ask(count, self._turn)
        elif self.transactions:
            self.began_at = self.server.version
            self.within = self.stage.requests_per_transaction
            self._transact()
        else:
            self.launch.advance()

    def _transact(self) -> None:
        if self.within > 1e-9:
            count = min(1.0, self.within)
            self.within -= count
            self._ask(count, self._transact)
        else:
            self.transactions -= self.server.commit(self.began_at)
            self._turn()

    def _ask(self, count: float, then: Callable[[], None]) -> None:
        work_s = count * self.one_s
        self.server.serve(work_s, self._answered, (work_s, then))

    def _answered(self, asked: tuple[float, Callable[[], None]]) -> None:
        work_s, then = asked
        self.note(work_s, self.stage.server)
        then()


_RUNS: Final[dict[type, type[_Run]]] = {Program: _ProgramRun, Section: _SectionRun, Requests: _RequestsRun}


def _run_of(step: Step, launch: Launch, factor: float) -> _Run:
    return _RUNS[type(step.stage)](step, launch, factor)
