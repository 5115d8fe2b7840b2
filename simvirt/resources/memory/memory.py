"""The memory of one kernel or hypervisor: frames, who has them, and what is done when they run out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import final

from simvirt.engine import Engine
from simvirt.resources.memory.holding import Holding
from simvirt.resources.memory.kill import Kill, Reason
from simvirt.resources.memory.oom import badness, worst
from simvirt.resources.memory.pressure import Pressure
from simvirt.resources.memory.rules import Shortage
from simvirt.resources.memory.sharing import PageSharing
from simvirt.resources.memory.swap import Swap

__all__ = ["Memory"]

_Most = Callable[[Holding], float]
_Move = Callable[[Holding, float], None]

_NOTHING = 1e-3
"""Bytes that are rounding."""


@final
class Memory:
    """`capacity_bytes` of frames, shared among holdings.

    used = own + sum over holdings of resident + compressed * compressed_size. `allocate` gives frames at once; where there are none it
    drops pages of files, then compresses, then swaps, as the rules say, and kills if that does not suffice: never is more used than
    there is. `step` does what goes on in the background: the scanner for equal pages, the balloon, and keeping a reserve free.

    In a virtual machine, `backing` is what the machine holds of the memory below: it grows when the guest uses more frames than ever, and
    shrinks only by the balloon.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        capacity_bytes: float,
        rules: Shortage,
        *,
        own_bytes: float = 0.0,
        swap: Swap | None = None,
        on_kill: Callable[[Kill], None] | None = None,
    ) -> None:
        self._engine = engine
        self.name = name
        self.capacity_bytes = capacity_bytes
        self.rules = rules
        self.own_bytes = own_bytes
        """What the kernel itself has; never taken."""
        self.swap = swap or Swap(0.0)
        self.pressure = Pressure(engine)
        self.holdings: list[Holding] = []
        self.kills: list[Kill] = []
        self.below: Memory | None = None
        self.backing: Holding | None = None
        self._on_kill = on_kill
        self._by_age = rules.knows_age.si > 0
        self._compressed_size = rules.compressed_size.si
        self._sharing = PageSharing(rules.sharing_pages_per_s.si, rules.alike_share.si)
        self._reserve = rules.reserve(capacity_bytes)

    # --- what there is

    @property
    def used_bytes(self) -> float:
        size = self._compressed_size
        return self.own_bytes + sum(h.resident_bytes + h.compressed_bytes * size for h in self.holdings if h.alive)

    @property
    def ballooned_bytes(self) -> float:
        """What the balloon has taken of it."""
        return 0.0 if self.backing is None else self.backing.ballooned_bytes

    @property
    def free_bytes(self) -> float:
        return self.capacity_bytes - self.ballooned_bytes - self.used_bytes

    @property
    def by_age(self) -> bool:
        """Whether pages that were not used for longest go first."""
        return self._by_age

    def hold(self, holding: Holding) -> Holding:
        """Add an owner."""
        self.holdings.append(holding)
        self.holdings.sort(key=lambda h: h.name)
        return holding

    def stands_on(self, below: Memory, backing: Holding) -> None:
        """This is the memory of a virtual machine, which holds `backing` of the memory below."""
        self.below, self.backing = below, backing
        backing.guest = self
        self._touch()

    # --- asking and giving back

    def allocate(self, holding: Holding, size_bytes: float, *, file: bool = False, locked: bool = False) -> bool:
        """Give frames to an owner; False if it was killed instead."""
        if not holding.alive:
            return False
        if not self._make_room(holding, size_bytes):
            return False
        holding.asked_bytes += size_bytes
        holding.resident_bytes += size_bytes
        holding.file_bytes += size_bytes if file else 0.0
        holding.locked_bytes += size_bytes if locked else 0.0
        return self._touch(holding)

    def release(self, holding: Holding, size_bytes: float) -> None:
        """Take back bytes that are not pages of files: resident ones first, then those that are out. Raises if it has not so many."""
        if size_bytes > holding.asked_bytes - holding.file_bytes - holding.ballooned_bytes + _NOTHING:
            raise ValueError(f"{holding.name} gives back {size_bytes:.0f} B and has {holding.asked_bytes - holding.file_bytes:.0f} B")
        left = size_bytes
        for kind in ("resident_bytes", "swapped_bytes", "compressed_bytes", "shared_bytes"):
            most = holding.takeable_bytes if kind == "resident_bytes" else getattr(holding, kind)
            taken = min(left, most)
            setattr(holding, kind, getattr(holding, kind) - taken)
            if kind == "swapped_bytes":
                self.swap.drop(taken)
            left -= taken
        holding.asked_bytes -= size_bytes - left
        holding.locked_bytes = min(holding.locked_bytes, holding.resident_bytes)

    def fetch(self, holding: Holding, read_bytes: float, unpacked_bytes: float = 0.0) -> bool:
        """Bring bytes back that somebody touched: read from the swap device or a file, or unpacked; False if that got it killed."""
        read_bytes = min(read_bytes, holding.swapped_bytes + holding.dropped_bytes)
        unpacked_bytes = min(unpacked_bytes, holding.compressed_bytes)
        size_bytes = read_bytes + unpacked_bytes
        if size_bytes <= 0.0 or not self._make_room(holding, size_bytes):
            return holding.alive
        out = holding.swapped_bytes + holding.dropped_bytes  # making room may have pushed out more
        swapped = read_bytes * holding.swapped_bytes / out if out else 0.0
        holding.swapped_bytes -= swapped
        holding.dropped_bytes -= read_bytes - swapped
        holding.compressed_bytes -= unpacked_bytes
        holding.resident_bytes += size_bytes
        self.swap.take(swapped)
        return True

    def kill(self, victim: Holding, reason: Reason, asked_by: str) -> None:
        """End an owner: all that it has is free again."""
        points = badness(victim, self._total_bytes)
        kill = Kill(
            time_s=float(self._engine.now), victim=victim.name, memory=self.name, reason=reason, asked_by=asked_by,
            resident_bytes=victim.resident_bytes, badness_bytes=points,
        )  # fmt: skip
        victim.died_s = self._engine.now
        if victim.killed is not None:  # else they were pages of files, which nobody misses
            self.kills.append(kill)
            if self._on_kill is not None:
                self._on_kill(kill)
        if victim.guest is not None:
            victim.guest.kill_all(reason, asked_by)
        self.leave(victim)
        if victim.killed is not None:
            victim.killed()

    def leave(self, holding: Holding) -> None:
        """All that an owner has is free again."""
        self.swap.drop(holding.swapped_bytes)
        holding.asked_bytes = holding.resident_bytes = holding.swapped_bytes = holding.dropped_bytes = 0.0
        holding.ballooned_bytes = holding.shared_bytes = holding.compressed_bytes = holding.file_bytes = holding.locked_bytes = 0.0

    def kill_all(self, reason: Reason, asked_by: str) -> None:
        """End everybody: the virtual machine whose memory this is has been killed."""
        for holding in self.holdings:
            if holding.alive:
                self.kill(holding, reason, asked_by)

    # --- what goes on in the background

    def step(self, passed_s: float) -> None:
        """Let time pass: scan for equal pages, let balloons grow or shrink, keep the reserve free."""
        rules, reserve = self.rules, self._reserve
        self._sharing.step(self.holdings, passed_s)
        if self.free_bytes < rules.balloon_below.si * reserve:
            self._inflate(min(rules.balloon_bytes_per_s.si * passed_s, rules.balloon_below.si * reserve - self.free_bytes))
        elif self.free_bytes > reserve:
            self._deflate(min(rules.balloon_bytes_per_s.si * passed_s, self.free_bytes - reserve))
        if self.free_bytes < rules.compress_below.si * reserve:
            self._compress(rules.compress_below.si * reserve - self.free_bytes)
        if self.free_bytes < rules.swap_below.si * reserve:
            wanted = rules.swap_below.si * reserve - self.free_bytes
            self._swap_out(self.holdings, wanted - self._drop_files(self.holdings, wanted))

    # --- making room

    @property
    def _total_bytes(self) -> float:
        return self.capacity_bytes + (self.swap.capacity_bytes if self.swap.capacity_bytes < float("inf") else 0.0)

    def _make_room(self, holding: Holding, size_bytes: float) -> bool:
        """Have so many frames free, within the owner's limit; False if it was killed for it."""
        limits = holding.limits
        for bound in (limits.high_bytes, limits.max_bytes):
            beyond = holding.resident_bytes + size_bytes - bound
            if beyond > _NOTHING:
                beyond -= self._drop_files((holding,), beyond)
                beyond -= self._swap_out((holding,), beyond)
            if beyond > _NOTHING and bound == limits.max_bytes:
                self.kill(holding, Reason.LIMIT, holding.name)
                return False
        lack = size_bytes - self.free_bytes
        if lack > _NOTHING:
            lack -= self._drop_files(self.holdings, lack)
            lack -= self._compress(lack)
            lack -= self._swap_out(self.holdings, lack)
        while lack > _NOTHING and holding.alive:
            self.kill(worst(self.holdings, self._total_bytes) or holding, Reason.HOST, holding.name)
            lack = size_bytes - self.free_bytes
        return holding.alive

    def _take(self, holdings: Iterable[Holding], wanted: float, most: _Most, move: _Move) -> float:
        """Take bytes of several owners: in proportion to what is cold of each if the rules know that, then to all that can be taken."""
        alive = [h for h in holdings if h.alive]
        done = 0.0
        rounds = (True, False) if self._by_age else (False,)
        for cold in rounds:
            able = [min(most(h), h.cold_bytes) if cold else most(h) for h in alive]
            total = sum(able)
            if total <= _NOTHING or wanted - done <= _NOTHING:
                continue
            part = min(1.0, (wanted - done) / total)
            for holding, bound in zip(alive, able, strict=True):
                if bound > 0.0:
                    move(holding, part * bound)
            done += part * total
        return done

    def _drop_files(self, holdings: Iterable[Holding], wanted: float) -> float:
        def move(holding: Holding, size_bytes: float) -> None:
            holding.resident_bytes -= size_bytes
            holding.dropped_bytes += size_bytes

        return self._take(holdings, wanted, lambda h: h.resident_file_bytes, move) if wanted > _NOTHING else 0.0

    def _compress(self, wanted: float) -> float:
        """Free so many bytes by compressing machines' pages; what that freed."""
        saved = 1.0 - self._compressed_size
        if wanted <= _NOTHING or not self.rules.compress_below.si or saved <= 0.0:
            return 0.0
        most_share = self.rules.compressed_most.si / self._compressed_size

        def most(holding: Holding) -> float:
            room = holding.size_bytes * most_share - holding.compressed_bytes if holding.guest is not None else 0.0
            return min(holding.takeable_bytes, max(0.0, room))

        def move(holding: Holding, size_bytes: float) -> None:
            holding.resident_bytes -= size_bytes
            holding.compressed_bytes += size_bytes

        return self._take(self.holdings, wanted / saved, most, move) * saved

    def _swap_out(self, holdings: Iterable[Holding], wanted: float) -> float:
        wanted = min(wanted, self.swap.free_bytes)
        if wanted <= _NOTHING or not self.rules.swap_below.si:
            return 0.0

        def most(holding: Holding) -> float:
            return min(holding.takeable_bytes, max(0.0, holding.limits.swap_bytes - holding.swapped_bytes))

        def move(holding: Holding, size_bytes: float) -> None:
            holding.resident_bytes -= size_bytes
            holding.swapped_bytes += size_bytes

        done = min(self._take(holdings, wanted, most, move), self.swap.free_bytes)
        self.swap.put(done)
        return done

    # --- virtual machines

    def _inflate(self, wanted: float) -> None:
        """Let balloons take bytes of machines in proportion to what those have; a guest gives what it can without killing anybody."""
        machines = [h for h in self.holdings if h.alive and h.guest is not None]
        total = sum(h.resident_bytes for h in machines)
        for holding in machines:
            assert holding.guest is not None
            room = self.rules.balloon_most.si * holding.size_bytes - holding.ballooned_bytes
            share = min(wanted * holding.resident_bytes / total if total else 0.0, max(0.0, room))
            self._balloon(holding, holding.guest.idle_bytes(share))

    def _balloon(self, holding: Holding, size_bytes: float) -> None:
        """Bytes of a machine into its balloon: swapped ones are just forgotten, the others free a frame."""
        size_bytes = min(size_bytes, holding.takeable_bytes)
        holding.resident_bytes -= size_bytes
        holding.ballooned_bytes += size_bytes

    def _deflate(self, wanted: float) -> None:
        """Give balloons back. A guest that has use for the bytes touches them again and so asks anew."""
        machines = [h for h in self.holdings if h.alive and h.ballooned_bytes > 0.0]
        total = sum(h.ballooned_bytes for h in machines)
        part = min(1.0, wanted / total) if total else 0.0
        for holding in machines:
            given = part * holding.ballooned_bytes
            holding.ballooned_bytes -= given
            holding.asked_bytes -= given

    def idle_bytes(self, wanted: float) -> float:
        """How many of the wanted bytes the guest can do without: frames that it has used and does not use now, then what it gets back by
        its own means, short of killing."""
        assert self.backing is not None
        idle = self.backing.movable_bytes - self.used_bytes
        lack = wanted - idle
        if lack > _NOTHING:
            lack -= self._drop_files(self.holdings, lack)
            lack -= self._swap_out(self.holdings, lack)
            idle = self.backing.movable_bytes - self.used_bytes
        return max(0.0, min(wanted, idle))

    def _touch(self, holding: Holding | None = None) -> bool:
        """Ask the memory below for frames that the guest uses for the first time; False if the owner did not survive that."""
        if self.backing is not None and self.below is not None:
            more = self.used_bytes - self.backing.movable_bytes
            if more > _NOTHING and not self.below.allocate(self.backing, more):
                return False
        return holding is None or holding.alive
