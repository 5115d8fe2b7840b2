"""Stages of a start: each waits for one resource, and says how much of it one start needs.

What makes starts slower where much is running, or where many start at once, is nowhere a number. It is work that looks at each thing that
exists (`instance_s`, entries of a store), a lock that one has at a time, a server that answers one request at a time, cores, and a disk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, final

from simvirt.evidence import Cost
from simvirt.layers.contract import map_costs

__all__ = ["FRESH", "MACHINE", "NO_START", "PROCESS", "RESTORING", "AbstractStage", "LayerStart", "Program", "Requests", "Section"]

FRESH: Final = "fresh"
"""The way of a start that uses nothing kept from before."""
MACHINE: Final = "machine"
"""What a layer that provides processors does to start one virtual machine on them, before that machine's first instruction."""
PROCESS: Final = "process"
"""What a kernel does to start a program."""
RESTORING: Final = ("restore", "clone")
"""Ways that bring back all that stands on a layer as it was: from a snapshot on the disk, or as a copy of one that runs."""


def _si(cost: Cost | None) -> float:
    """A number in SI units; what a profile does not speak of is none of it."""
    return 0.0 if cost is None else cost.si


class AbstractStage(ABC):
    """One stage of a start. Times vary by a lognormal factor of mean 1, drawn once per stage and start."""

    __slots__ = ()

    kind: ClassVar[str]
    """The word by which profiles say what the stage runs on."""
    name: str
    cv: Cost
    """Standard deviation of the stage's time over its mean, with nobody else there."""

    @abstractmethod
    def alone_s(self, *, instances: float, processors: float, slowdown: float, cold_s: float) -> float:
        """Mean time with nobody else starting: `instances` exist, the start has `processors` cores to itself, one second of computing takes
        `slowdown` there, and what the stage reads takes `cold_s` to come from the disk.
        """

    def on(self, clock_hz: float) -> AbstractStage:
        """The same stage with its costs resolved for a machine with this clock."""
        return map_costs(self, lambda _, cost: cost.on(clock_hz))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Program(AbstractStage):
    """Something that runs: computing, waiting for devices and timers, and reading files, in `rounds` alike rounds one after the other.

    cpu = cpu_s + instance_s * instances + size_bytes * copy_s_per_byte, of which the share `parallel` is done by all processors together.
    Files are read with `reads` requests of equal size from the disk unless they are in memory; copying them is due in both cases.
    """

    kind: ClassVar[str] = "processor"

    name: str
    cv: Cost
    cpu_s: Cost
    instance_s: Cost | None = None
    """Computing for each instance of the layer that exists already."""
    parallel: Cost | None = None
    wait_s: Cost | None = None
    """Sleeping: until devices and timers answer, whatever else happens."""
    size_bytes: Cost | None = None
    reads: Cost | None = None
    random: Cost | None = None
    """Share of the reads at random places."""
    copy_s_per_byte: Cost | None = None
    shared: Cost | None = None
    """1 if all instances read the same file, which the first one leaves in memory; 0 if each has its own."""
    rounds: Cost | None = None

    def compute_s(self, instances: float) -> float:
        """Core-seconds, its variation left out."""
        return self.cpu_s.si + _si(self.instance_s) * instances + _si(self.size_bytes) * _si(self.copy_s_per_byte)

    @property
    def parallel_share(self) -> float:
        return _si(self.parallel)

    @property
    def sleep_s(self) -> float:
        return _si(self.wait_s)

    @property
    def read_bytes(self) -> float:
        return _si(self.size_bytes)

    @property
    def read_count(self) -> float:
        """Requests to the disk, if nothing is in memory."""
        return _si(self.reads)

    @property
    def random_share(self) -> float:
        return _si(self.random)

    @property
    def is_shared(self) -> bool:
        return _si(self.shared) > 0

    @property
    def round_count(self) -> int:
        return 1 if self.rounds is None else max(1, round(self.rounds.si))

    def alone_s(self, *, instances: float, processors: float, slowdown: float, cold_s: float) -> float:
        spread = 1.0 - self.parallel_share + self.parallel_share / processors
        return self.compute_s(instances) * spread * slowdown + self.sleep_s + cold_s


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Section(AbstractStage):
    """Work under a lock of the nearest kernel that one start has at a time: it is handed on in order of arrival, and who waits sleeps.

    held = hold_s + instance_s * instances, all of it computing.
    """

    kind: ClassVar[str] = "lock"

    name: str
    cv: Cost
    lock: str
    """Which lock: stages of several layers on one kernel that name the same one meet there."""
    hold_s: Cost
    instance_s: Cost | None = None

    def held_s(self, instances: float) -> float:
        return self.hold_s.si + _si(self.instance_s) * instances

    def alone_s(self, *, instances: float, processors: float, slowdown: float, cold_s: float) -> float:
        return self.held_s(instances) * slowdown


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Requests(AbstractStage):
    """Requests to a control plane that answers one at a time, in order of arrival, and whose answer may take a look at all that it holds.

    requests = requests + instance_requests * instances; one takes request_s + entry_s * entries * instances: so the whole grows with the
    square of what exists where both do. Of the fixed requests, the share `transactional` is sent in `transactions`; one that finds
    that another start has committed since it began is begun anew. The first to commit always succeeds, so there is always progress.
    """

    kind: ClassVar[str] = "server"

    name: str
    cv: Cost
    server: str
    """Which control plane."""
    requests: Cost
    request_s: Cost
    instance_requests: Cost | None = None
    """Further requests for each instance that exists, as to see that a name is not taken."""
    entries: Cost | None = None
    """What the control plane holds for each instance."""
    entry_s: Cost | None = None
    """Computing of one request for each entry."""
    transactions: Cost | None = None
    transactional: Cost | None = None

    def one_s(self, instances: float) -> float:
        """Computing of one request."""
        return self.request_s.si + _si(self.entry_s) * _si(self.entries) * instances

    def plain_requests(self, instances: float) -> float:
        """Requests outside of transactions."""
        return self.requests.si * (1.0 - self.transactional_share) + _si(self.instance_requests) * instances

    @property
    def transactional_share(self) -> float:
        return _si(self.transactional) if self.transaction_count else 0.0

    @property
    def transaction_count(self) -> int:
        return round(_si(self.transactions))

    @property
    def requests_per_transaction(self) -> float:
        count = self.transaction_count
        return self.requests.si * self.transactional_share / count if count else 0.0

    def alone_s(self, *, instances: float, processors: float, slowdown: float, cold_s: float) -> float:
        count = self.requests.si + _si(self.instance_requests) * instances
        return count * self.one_s(instances) * slowdown


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStart:
    """What a layer's profile says of starting it: stages by name, and ways, each an order of some of them."""

    stages: Mapping[str, AbstractStage] = field(default_factory=dict)
    ways: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Way → stages in order: `fresh`, `machine`, `process`, `restore`, `clone`, or another one in place of `fresh`."""
    above: str = FRESH
    """The way by which the next layer is started on this one; afresh if it does not know that way."""

    def along(self, way: str) -> tuple[AbstractStage, ...]:
        """The stages of a way; none if the layer does not know it."""
        return tuple(self.stages[name] for name in self.ways.get(way, ()))


NO_START: Final = LayerStart()
"""Of a layer whose profile says nothing of starting it: it takes no time."""
