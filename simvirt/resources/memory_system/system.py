"""Who runs where at this instant, what that does to the speed of each, and what it takes to start on a core.

Two things change at different paces. Bandwidth and the other thread of a core are contended for by those that run now: every start and
stop changes speeds at that instant. What a cache holds is a matter of milliseconds: an owner's claim counts by the mean number of its
threads that ran over the last window, so that who has just run still has a share, and who runs seldom has little of it. An owner that ran
in no part of a window has lost its share. The window is the time in which the cache is filled anew at a quarter of the bandwidth.

Solutions are kept by what runs: a start or a stop on the way of a request is a look-up.
"""

from __future__ import annotations

from math import inf
from typing import Final, Protocol, final

from simvirt.engine import Engine
from simvirt.memory_character import MemoryCharacter
from simvirt.resources.memory_system.contention import Claim, Runner, Solution, issue_share, shares, solve
from simvirt.resources.memory_system.topology import Topology

__all__ = ["Instant", "MemorySystem", "Owner", "Paced", "Seat"]

LEVELS: Final = 32
"""Steps in which the mean number of running threads is told apart."""
WINDOW_UTILIZATION: Final = 0.25


class Instant(Protocol):
    """What has to be dealt with before time goes on."""

    def add(self, due: MemorySystem, /) -> None:
        """Have `look` called before time goes on."""

    def settle(self, now: float) -> None:
        """Deal with it now, outside any other event."""


class Paced(Protocol):
    """Something that makes progress at a speed."""

    def pace(self, factor: float, now: float) -> None:
        """Go on at `factor` times the speed alone."""


@final
class Owner:
    """A program with one working set, whatever number of threads it has."""

    __slots__ = ("character", "home", "index", "issue", "partition_bytes")

    def __init__(
        self, index: int, character: MemoryCharacter | None, partition_bytes: float | None, home: int | None, issue: float
    ) -> None:
        self.index = index
        self.character = character
        """None: it computes only."""
        self.partition_bytes = partition_bytes
        """Part of each cache that nobody else may fill, and beyond which it may not; None: it shares what is in no partition."""
        self.home = home
        """The node that its memory is in; None until it first runs, which is where that then is."""
        self.issue = issue


@final
class Seat:
    """A thread as the memory system sees it."""

    __slots__ = ("_system", "factor", "kind", "node", "owner", "processor", "sibling", "thread")

    def __init__(self, system: MemorySystem, owner: Owner, thread: Paced) -> None:
        self._system = system
        self.owner = owner
        self.thread = thread
        self.processor = -1
        """Where it runs; -1 if it does not."""
        self.node = -1
        """Where it ran last."""
        self.factor = 1.0
        """Its speed, relative to what it is alone."""
        self.sibling = 0.0
        """Of what it loses, the part that goes to the other thread of its core."""
        self.kind = -1

    def start(self, processor: int, now: float) -> float:
        """Run on a processor. How long its core is busy first with filling its private cache again."""
        return self._system.start(self, processor, now)

    def stop(self, now: float) -> None:
        """Stand still."""
        self._system.stop(self, now)


@final
class _Core:
    """A core: what its private cache has taken in, and who runs on its threads."""

    __slots__ = ("brought_bytes", "left_at", "seats")

    def __init__(self) -> None:
        self.brought_bytes = 0.0
        self.left_at: dict[Owner, float] = {}
        """What had been brought in when a thread of the owner last stopped here."""
        self.seats: list[Seat] = []


@final
class _Cache:
    """The last-level cache of a socket: claims, and the miss ratios that follow."""

    __slots__ = ("_began", "_known", "_llc_bytes", "_since", "area_s", "levels", "miss_ratios", "running")

    def __init__(self, llc_bytes: float) -> None:
        self._llc_bytes = llc_bytes
        """What is in no partition."""
        self._began = 0.0
        self.levels: dict[Owner, int] = {}
        """Mean number of running threads of each owner over the last window, in `LEVELS` of one."""
        self.running: dict[Owner, int] = {}
        self.area_s: dict[Owner, float] = {}
        """Integral of the number of running threads over the present window."""
        self._since: dict[Owner, float] = {}
        self.miss_ratios: dict[Owner, float] = {}
        self._known: dict[tuple[tuple[int, int], ...], dict[Owner, float]] = {}

    def change(self, owner: Owner, by: int, now: float) -> bool:
        """One thread more or less. Whether the claims have changed."""
        n = self.running.get(owner, 0)
        self.area_s[owner] = self.area_s.get(owner, 0.0) + n * (now - self._since.get(owner, now))
        self._since[owner] = now
        self.running[owner] = n + by
        if owner in self.levels:
            return False
        self.levels[owner] = 1
        self._settle()
        return True

    @property
    def is_contended(self) -> bool:
        """Whether shares depend on who runs how much."""
        free = [owner for owner in self.levels if owner.partition_bytes is None]
        return len(free) > 1 and sum(_set_bytes(owner) for owner in free) > self._llc_bytes

    def begin(self, now: float) -> None:
        """A window begins."""
        self._began = now
        for owner in self.levels:
            self.change(owner, 0, now)
            self.area_s[owner] = 0.0

    def turn(self, now: float) -> bool:
        """A window is over, and the next one begins. Whether the claims have changed."""
        window_s = now - self._began
        levels: dict[Owner, int] = {}
        for owner in self.levels:
            self.change(owner, 0, now)
            if self.area_s[owner] > 0.0 or self.running[owner]:
                levels[owner] = max(1, round(LEVELS * self.area_s[owner] / window_s))
        self.begin(now)
        if levels == self.levels:
            return False
        self.levels = levels
        self._settle()
        return True

    def _settle(self) -> None:
        key = tuple(sorted((owner.index, level) for owner, level in self.levels.items()))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._divide()
        self.miss_ratios = found

    def _divide(self) -> dict[Owner, float]:
        """Miss ratios by the shares of all that claim some."""
        free = [(owner, owner.character) for owner in self.levels if owner.partition_bytes is None]
        claims = [Claim(character, self.levels[owner] / LEVELS) for owner, character in free if character is not None]
        held = shares(claims, self._llc_bytes) if claims else ()
        found = dict.fromkeys(self.levels, 0.0)
        for (owner, character), share in zip([pair for pair in free if pair[1] is not None], held, strict=True):
            assert character is not None
            found[owner] = character.miss_ratio(share)
        for owner in self.levels:
            if owner.partition_bytes is not None and owner.character is not None:
                found[owner] = owner.character.miss_ratio(owner.partition_bytes)
        return found


def _set_bytes(owner: Owner) -> float:
    return owner.character.working_set_bytes if owner.character is not None else 0.0


@final
class MemorySystem:
    """The caches and memories of one machine.

    Whoever schedules calls `start` and `stop` within an event at whose end it deals with the `instant`.
    """

    __slots__ = (
        "_caches", "_cores", "_counts", "_engine", "_instant", "_kinds", "_owners", "_seats", "_solutions", "_window", "_window_s",
        "listed", "topology",
    )  # fmt: skip

    def __init__(self, engine: Engine, topology: Topology, instant: Instant, *, partitioned_bytes: float = 0.0) -> None:
        """`partitioned_bytes` of every cache are set aside for owners with a partition."""
        if not 0.0 <= partitioned_bytes <= topology.llc_bytes:
            raise ValueError(f"partitions of {partitioned_bytes:g} B in a cache of {topology.llc_bytes:g} B; at most all of it")
        self.topology = topology
        self.listed = False
        self._engine = engine
        self._instant = instant
        self._owners: list[Owner] = []
        self._cores = [_Core() for _ in range(topology.cores)]
        self._caches = [_Cache(topology.llc_bytes - partitioned_bytes) for _ in range(topology.sockets)]
        self._seats: dict[Seat, None] = {}
        """Those that run."""
        self._counts: list[dict[int, int]] = [{} for _ in range(topology.sockets)]
        """Per node: kind of runner → how many of those whose memory is there run."""
        self._kinds: dict[Runner, int] = {}
        self._solutions: dict[tuple[tuple[int, int], ...], dict[int, tuple[float, float]]] = {}
        self._window_s = topology.llc_bytes / (WINDOW_UTILIZATION * topology.memory_bytes_per_s)
        self._window = engine.wakeup(self._turn)

    def owner(self, character: MemoryCharacter | None, *, partition_bytes: float | None = None, home: int | None = None) -> Owner:
        """A program; it keeps its memory on the node `home`, or on the one where it first runs."""
        owner = Owner(len(self._owners), character, partition_bytes, home, issue_share(character, self.topology))
        self._owners.append(owner)
        return owner

    def seat(self, owner: Owner, thread: Paced) -> Seat:
        """A thread of a program."""
        return Seat(self, owner, thread)

    # ---- starting and stopping ----

    def start(self, seat: Seat, processor: int, now: float) -> float:
        """A thread begins to run. How long its core is busy with filling its private cache again."""
        topology = self.topology
        seat.processor = processor
        core = self._cores[topology.core_of(processor)]
        node = topology.node_of(processor)
        owner = seat.owner
        if owner.home is None:
            owner.home = node
        refill_s = self._refill_s(seat, core, node) if owner.character is not None else 0.0
        seat.node = node
        core.seats.append(seat)
        self._seats[seat] = None
        self._present(owner, node, 1, now)
        self._seat_core(core)
        self._ask()
        return refill_s

    def stop(self, seat: Seat, now: float) -> None:
        """A thread stands still."""
        topology = self.topology
        core = self._cores[topology.core_of(seat.processor)]
        core.left_at[seat.owner] = core.brought_bytes
        core.seats.remove(seat)
        del self._seats[seat]
        self._leave(seat)
        self._present(seat.owner, topology.node_of(seat.processor), -1, now)
        seat.processor = -1
        self._seat_core(core)
        self._ask()

    def _ask(self) -> None:
        self._instant.add(self)

    def _refill_s(self, seat: Seat, core: _Core, node: int) -> float:
        """Of its working set, what the private cache can hold and has lost to others, or never had, is brought in.

        The set takes min(working set, private cache); what else fits into the cache is lost first. Threads of one owner share the
        set. A thread that has never run has none to bring along. From another node it takes longer.
        """
        topology = self.topology
        private_bytes = topology.private_bytes
        set_bytes = min(_set_bytes(seat.owner), private_bytes)
        mark = core.left_at.get(seat.owner)
        if mark is not None:
            lost_bytes = min(set_bytes, max(0.0, core.brought_bytes - mark - (private_bytes - set_bytes)))
        elif any(one.owner is seat.owner for one in core.seats):
            lost_bytes = 0.0
        else:
            lost_bytes = set_bytes
        core.brought_bytes += lost_bytes
        if seat.node < 0 and mark is None:
            return 0.0
        return lost_bytes * topology.refill_s_per_byte * (topology.remote_latency if node != seat.node >= 0 else 1.0)

    def _present(self, owner: Owner, node: int, by: int, now: float) -> None:
        if owner.character is None:
            return
        cache = self._caches[node]
        if cache.change(owner, by, now):
            self._reseat(node)
            if cache.is_contended and self._window.due == inf:
                for one in self._caches:
                    one.begin(now)
                self._window.at(now + self._window_s)

    # ---- kinds of runners ----

    def _leave(self, seat: Seat) -> None:
        if seat.kind >= 0:
            assert seat.owner.home is not None
            counts = self._counts[seat.owner.home]
            left = counts[seat.kind] - 1
            if left:
                counts[seat.kind] = left
            else:
                del counts[seat.kind]
            seat.kind = -1

    def _seat_core(self, core: _Core) -> None:
        """Say anew of what kind the runners on a core are."""
        for seat in core.seats:
            self._leave(seat)
            crowding = sum(other.owner.issue for other in core.seats if other is not seat)
            owner = seat.owner
            assert owner.home is not None
            miss_ratio = self._caches[seat.node].miss_ratios[owner] if owner.character is not None else 0.0
            runner = Runner(owner.character, miss_ratio, crowding, owner.character is not None and owner.home != seat.node)
            seat.kind = kind = self._kinds.setdefault(runner, len(self._kinds))
            counts = self._counts[owner.home]
            counts[kind] = counts.get(kind, 0) + 1

    def _reseat(self, node: int) -> None:
        """Miss ratios on a socket have changed."""
        per_socket = self.topology.cores // self.topology.sockets
        for core in self._cores[node * per_socket : (node + 1) * per_socket]:
            self._seat_core(core)
        self._ask()

    # ---- speeds ----

    def look(self, now: float) -> None:
        """Let all that run go on at the speed that belongs to who runs."""
        solved = [self._solved(counts) for counts in self._counts]
        for seat in self._seats:
            home = seat.owner.home
            assert home is not None
            factor, sibling = solved[home][seat.kind]
            if factor != seat.factor or sibling != seat.sibling:
                seat.thread.pace(factor, now)
                seat.factor, seat.sibling = factor, sibling

    def _solved(self, counts: dict[int, int]) -> dict[int, tuple[float, float]]:
        key = tuple(sorted(counts.items()))
        found = self._solutions.get(key)
        if found is None:
            runners = list(self._kinds)
            solution: Solution = solve({runners[kind]: n for kind, n in counts.items()}, self.topology)
            found = {kind: (solution.speeds[runners[kind]], solution.sibling[runners[kind]]) for kind in counts}
            self._solutions[key] = found
        return found

    def _turn(self) -> None:
        """A window is over: caches are shared by who ran in it."""
        now = self._engine._now
        contended = False
        for node, cache in enumerate(self._caches):
            if cache.turn(now):
                self._reseat(node)
            contended = contended or cache.is_contended
        if contended:
            self._window.at(now + self._window_s)
        self._instant.settle(now)
