"""Faults at work: what breaks takes its subtree down, is found out, is repaired, and is started again from the bottom to the top."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log, sqrt
from typing import Protocol

from simvirt.engine import Engine
from simvirt.faults.part import Effect, Part
from simvirt.faults.profile import FaultProfile
from simvirt.faults.record import FaultEvent, FaultOutcome, Up, Victim
from simvirt.randomness import Streams
from simvirt.resources.threads import Stop, ThreadPool, go_on, stand_still
from simvirt.scenario import Resolved
from simvirt.scenario.faults import Fault, Spot, chosen, spots
from simvirt.simulation.instances import Branch, Instance
from simvirt.simulation.restarts import LevelStart, Restarts

__all__ = ["AbstractDevices", "Failures", "Service", "Standing", "expect_all"]

Levels = Callable[[str, int], dict[int, LevelStart]]
"""For a tenant and a level: the start of each layer from that level up, by level; the application comes last."""


class Service(Protocol):
    """What somebody offers who may die."""

    @property
    def failed(self) -> int:
        """Requests that have failed since the start of the run."""
        ...

    def stop(self, reason: str, *, refused: str, halt: Stop) -> None: ...

    def revive(self) -> None: ...

    def freeze(self, halt: Stop) -> None: ...

    def thaw(self, start: Stop) -> None: ...


class AbstractDevices(Protocol):
    """The devices of the machine, as faults see them."""

    def users(self, part: Part) -> frozenset[str]:
        """Tenants whose requests need the device."""
        ...

    def slow_down(self, part: Part, factor: float) -> None:
        """Let it take so many times as long as it is built for."""
        ...

    def fail(self, part: Part, reason: str) -> None:
        """Let it answer every request with an error."""
        ...

    def mend(self, part: Part) -> None:
        """The opposite."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A tenant in the tree."""

    name: str
    service: Service
    branch: Branch


@dataclass(slots=True, eq=False)
class _Outage:
    """One fault from its beginning to its end."""

    time_s: float
    profile: FaultProfile
    spot: Spot
    instances_hit: int
    victims: list[str]
    lost_before: dict[str, int]
    """What each victim had lost when it began."""
    waiting: set[str] = field(default_factory=set)
    """Victims that it still keeps down."""
    back_s: dict[str, float] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    repaired_s: float | None = None
    """When what broke was up again."""
    ends_s: float = 0.0
    """When it will be up again, where nothing has to be started for that."""


class _Account:
    """Up and down times of one tenant."""

    __slots__ = ("down_s", "down_since", "outages", "since", "sum_s")

    def __init__(self, now: float) -> None:
        self.down_since: float | None = None
        self.restart(now)

    def restart(self, now: float) -> None:
        self.since = now
        self.down_s = self.sum_s = 0.0
        self.outages = 0

    def go_down(self, now: float) -> None:
        if self.down_since is None:
            self.down_since = now

    def come_up(self, now: float) -> None:
        if self.down_since is not None:
            self.down_s += now - max(self.down_since, self.since)
            self.sum_s += now - self.down_since
            self.outages += 1
            self.down_since = None

    def up(self, tenant: str, now: float) -> Up:
        window_s = now - self.since
        down_s = self.down_s + (0.0 if self.down_since is None else now - max(self.down_since, self.since))
        mean_s = self.sum_s / self.outages if self.outages else 0.0
        return Up(tenant=tenant, available_s=window_s - down_s, window_s=window_s, outages=self.outages, outage_s=mean_s)


class _Strike:
    """One fault that happens at one place, at times that are given or at random."""

    def __init__(self, failures: Failures, profile: FaultProfile, spot: Spot, streams: Streams, name: str) -> None:
        self._failures = failures
        self._profile = profile
        self._spot = spot
        self._gaps = streams.stream(f"{name}/time to failure")
        self._repairs = streams.stream(f"{name}/repair")

    def wait(self) -> None:
        """Come at random, again and again."""
        gap_s = float(self._gaps.exponential(self._profile.mtbf_s.si))
        self._failures.at(self._failures.now + gap_s, self._at_random)

    def _at_random(self) -> None:
        if self._failures.is_down(self._profile.breaks, self._spot):
            self.wait()  # what is down does not break; a time without memory may as well begin anew
        else:
            self._failures.strike(self._profile, self._spot, self._repair_s(), self.wait)

    def once(self) -> None:
        """Come now."""
        if self._failures.is_down(self._profile.breaks, self._spot):
            self._failures.miss(self._profile, self._spot)
        else:
            self._failures.strike(self._profile, self._spot, self._repair_s(), _nothing)

    def _repair_s(self) -> float:
        mean_s, cv = self._profile.repair_s.si, self._profile.repair_cv.si
        if not mean_s or not cv:
            return mean_s
        sigma = sqrt(log(1.0 + cv * cv))
        return float(mean_s * self._repairs.lognormal(-sigma * sigma / 2.0, sigma))


def _nothing() -> None:
    """A fault at a given time does not come again."""


Over = Callable[[], None]
"""Called when what broke is up again."""


class Failures:
    """Lets things break and brings them back.

    A crash or a hang of an instance takes down its subtree: every tenant that has a part in it. It is over for a tenant when the fault has
    been found out, what has to be repaired first is repaired, and the layers from the broken one up have started, one after the other.
    Layers that tenants share start once; above them each tenant starts at the same time as the others, but for the parts that only one
    start can be in at a time: the k-th waits for k of the longest of them. A fault of a lower layer ends those above: what
    they waited for is started anew. What is down cannot fail, and its time to failure begins when it is up again.
    """

    def __init__(
        self,
        engine: Engine,
        tenants: Sequence[Standing],
        levels: Levels,
        devices: AbstractDevices,
        forget: Callable[[Instance], None],
        streams: Streams,
    ) -> None:
        """`forget` is told of each instance that has gone: what a kernel had in its memory has gone with it."""
        self._engine = engine
        self._forget = forget
        self._tenants = {tenant.name: tenant for tenant in tenants}
        self._levels = levels
        self._devices = devices
        self._streams = streams
        self._accounts = {tenant.name: _Account(engine.now) for tenant in tenants}
        self._holding: dict[str, set[_Outage]] = {tenant.name: set() for tenant in tenants}
        """The outages that keep each tenant down."""
        self._down: dict[str, _Outage] = {}
        """What is broken, by name."""
        self._outages: list[_Outage] = []

    @property
    def now(self) -> float:
        return float(self._engine.now)

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        self._engine.wakeup(action).at(time_s)

    def expect(self, number: int, fault: Fault, profile: FaultProfile, spots: Sequence[Spot]) -> None:
        """Let one entry of a scenario happen: at its times, or at random at each of its places."""
        for spot in spots:
            strike = _Strike(self, profile, spot, self._streams, f"faults/{number}/{spot.instance}")
            if fault.at is None:
                strike.wait()
            for time_s in fault.at or ():
                self.at(time_s, strike.once)

    # --- what happens

    def is_down(self, part: Part, spot: Spot) -> bool:
        """Whether what would break is down, or something under it."""
        if _key(part, spot) in self._down:
            return True
        below = [instance.name for instance in self._branch(spot)[: spot.level + 1]]
        if spot.level == len(self._branch(spot)):
            below.append(spot.instance)
        return any(name in self._down for name in below)

    def miss(self, profile: FaultProfile, spot: Spot) -> None:
        """A fault comes to what is down already: it changes nothing, and is noted."""
        self._outages.append(_Outage(self.now, profile, spot, 0, [], {}, repaired_s=self.now))

    def strike(self, profile: FaultProfile, spot: Spot, repair_s: float, over: Over) -> None:
        """Something breaks that is not down; its repair takes so long."""
        if profile.breaks is Part.DAEMON:
            self._lose_daemon(profile, spot, repair_s, over)
        elif profile.breaks.is_device:
            self._lose_device(profile, spot, repair_s, over)
        elif profile.effect is Effect.STALL:
            self._stall(profile, spot, repair_s, over)
        else:
            self._fall(profile, spot, repair_s, over)

    def _branch(self, spot: Spot) -> tuple[Instance, ...]:
        return self._tenants[spot.tenants[0]].branch.instances

    def _subtree(self, spot: Spot) -> list[Instance]:
        """Instances that stand on what breaks, itself included; none for an application, on which nothing stands."""
        instances = self._branch(spot)
        return list(instances[spot.level].subtree()) if spot.level < len(instances) else []

    def _standing_on(self, spot: Spot) -> list[str]:
        """Every tenant in the subtree, in order of name."""
        instances = self._branch(spot)
        if spot.level == len(instances):
            return [spot.tenants[0]]
        return sorted(name for name, one in self._tenants.items() if instances[spot.level] in one.branch.instances)

    def _begin(self, profile: FaultProfile, spot: Spot, instances: int, victims: Sequence[str], *, down: bool = True) -> _Outage:
        """Note a fault and whom it hits; `down`: whether those are not served."""
        lost = {name: self._tenants[name].service.failed for name in victims}
        outage = _Outage(self.now, profile, spot, instances, list(victims), lost, waiting=set(victims))
        self._outages.append(outage)
        self._down[_key(profile.breaks, spot)] = outage
        for name in victims if down else ():
            self._accounts[name].go_down(self.now)
            self._holding[name].add(outage)
        return outage

    def _is_over(self, outage: _Outage) -> bool:
        """Whether what broke is up again: so unless a fault below it has taken over."""
        key = _key(outage.profile.breaks, outage.spot)
        if self._down.get(key) is not outage:
            return False
        del self._down[key]
        outage.repaired_s = self.now
        return True

    def _release(self, outage: _Outage, name: str, *, back: bool = True) -> None:
        """An outage keeps a tenant down no more; it is back if nothing else does. Not `back`: a fault below has taken over."""
        if name not in outage.waiting:
            return
        outage.waiting.remove(name)
        self._holding[name].discard(outage)
        tenant = self._tenants[name]
        outage.lost[name] = tenant.service.failed - outage.lost_before[name]
        if back:
            outage.back_s[name] = self.now
            if not self._holding[name]:
                tenant.service.revive()
                self._accounts[name].come_up(self.now)

    # --- crashes and hangs

    def _fall(self, profile: FaultProfile, spot: Spot, repair_s: float, over: Over) -> None:
        subtree, victims = self._subtree(spot), self._standing_on(spot)
        self._take_over(spot, {instance.name for instance in subtree}, victims)
        outage = self._begin(profile, spot, len(subtree), victims)
        if profile.effect is Effect.CRASH:
            self._kill(outage, subtree)
            self._repair(outage, profile.detection_s.si + repair_s, over)
            return
        self._still(subtree, victims)

        def found_out() -> None:
            if self._down.get(_key(profile.breaks, spot)) is outage:
                self._kill(outage, subtree)
                self._repair(outage, repair_s, over)
            else:
                over()

        self.at(self.now + profile.detection_s.si, found_out)

    def _take_over(self, spot: Spot, fallen: set[str], victims: Sequence[str]) -> None:
        """End the outages of everything that stands on what falls."""
        for name in victims:
            for older in sorted(self._holding[name], key=lambda outage: outage.time_s):
                if older.spot.level >= spot.level and not older.profile.breaks.is_device:
                    self._release(older, name, back=False)
        gone = {*fallen, *victims}
        for key, older in list(self._down.items()):
            if older.spot.instance in gone and older.spot.level >= spot.level and not older.profile.breaks.is_device:
                del self._down[key]

    def _kill(self, outage: _Outage, subtree: Sequence[Instance]) -> None:
        why = outage.profile.name
        for name in sorted(outage.waiting):
            tenant = self._tenants[name]
            tenant.service.stop(f"in flight at {why}", refused=f"arrived while down by {why}", halt=self._halt(tenant, subtree))
        for instance in subtree:
            instance.die()
            self._forget(instance)

    def _repair(self, outage: _Outage, after_s: float, over: Over) -> None:
        """Start things, as soon as that is possible."""
        spot = outage.spot
        ready_s = max([self.now + after_s, *self._starters(spot)])
        levels = {name: self._levels(name, spot.level) for name in outage.waiting}
        own_s = min(chain[spot.level].alone_s for chain in levels.values()) if levels else 0.0

        def up() -> None:
            self._is_over(outage)
            over()

        self.at(ready_s + own_s, up)
        ranks: dict[int, dict[str, int]] = {}
        for name, chain in sorted(levels.items()):
            instances = [instance.name for instance in self._tenants[name].branch.instances]
            waits_s = 0.0
            for level, start in chain.items():
                turns = ranks.setdefault(level, {})
                turn = turns.setdefault([*instances, name][level], len(turns))
                waits_s = max(waits_s, turn * start.serial_s)
            self._back_at(outage, name, ready_s + sum(start.alone_s for start in chain.values()) + waits_s)

    def _back_at(self, outage: _Outage, name: str, time_s: float) -> None:
        self.at(time_s, lambda: self._release(outage, name))

    def _starters(self, spot: Spot) -> Iterator[float]:
        """When each of the daemons will be back without which nothing starts that stands where something broke."""
        for outage in self._down.values():
            here = outage.profile.breaks is Part.DAEMON and spot.level > outage.spot.level
            if here and self._branch(spot)[outage.spot.level].name == outage.spot.instance and spot.tenants[0] in outage.spot.tenants:
                yield outage.ends_s

    def _halt(self, tenant: Standing, subtree: Sequence[Instance]) -> Stop:
        """How a tenant's threads stop: a kernel that goes on lets them leave its critical sections first."""
        kernel = tenant.branch.kernel
        return stand_still if kernel.lock is None or kernel in subtree else kernel.lock.freeze

    # --- what stands still

    def _stall(self, profile: FaultProfile, spot: Spot, lasts_s: float, over: Over) -> None:
        serves = profile.breaks is Part.SERVICE_VM
        subtree = [] if serves else self._subtree(spot)
        victims = self._standing_on(spot)
        pools = _service_pools(self._branch(spot)[spot.level]) if serves else []
        outage = self._begin(profile, spot, 1 if serves else len(subtree), victims)
        for pool in pools:
            pool.freeze()
        if not serves:
            self._still(subtree, victims)

        def end() -> None:
            if self._is_over(outage):
                for pool in pools:
                    pool.thaw()
                if not serves:
                    self._move(subtree, sorted(outage.waiting))
            for name in sorted(outage.waiting):
                self._release(outage, name)
            over()

        self.at(self.now + lasts_s, end)

    def _still(self, subtree: Sequence[Instance], victims: Sequence[str]) -> None:
        for instance in subtree:
            for pool in instance.pools.values():
                pool.freeze()
        for name in victims:
            self._tenants[name].service.freeze(self._halt(self._tenants[name], subtree))

    def _move(self, subtree: Sequence[Instance], victims: Sequence[str]) -> None:
        for instance in subtree:
            for pool in instance.pools.values():
                pool.thaw()
        for name in victims:
            tenant = self._tenants[name]
            kernel = tenant.branch.kernel
            tenant.service.thaw(go_on if kernel.lock is None or kernel in subtree else kernel.lock.thaw)

    # --- devices and daemons

    def _lose_device(self, profile: FaultProfile, spot: Spot, repair_s: float, over: Over) -> None:
        part, fails = profile.breaks, profile.effect is Effect.CRASH
        unreachable = fails and part is Part.NETWORK_CARD
        outage = self._begin(profile, spot, 1, sorted(self._devices.users(part)), down=unreachable)
        if unreachable:
            for name in outage.victims:
                tenant = self._tenants[name]
                tenant.service.stop(f"in flight at {profile.name}", refused=f"unreachable by {profile.name}", halt=self._halt(tenant, ()))
        elif fails:
            self._devices.fail(part, f"error by {profile.name}")
        else:
            self._devices.slow_down(part, profile.slow_factor.si)

        def end() -> None:
            self._is_over(outage)
            if not fails:
                self._devices.slow_down(part, 1.0)
            elif not unreachable:
                self._devices.mend(part)
            for name in sorted(outage.waiting):
                self._release(outage, name)
            over()

        self.at(self.now + repair_s + (profile.detection_s.si if fails else 0.0), end)

    def _lose_daemon(self, profile: FaultProfile, spot: Spot, repair_s: float, over: Over) -> None:
        """Containers live on; nothing starts meanwhile."""
        outage = self._begin(profile, spot, 1, ())
        outage.ends_s = self.now + profile.detection_s.si + repair_s

        def end() -> None:
            self._is_over(outage)
            over()

        self.at(outage.ends_s, end)

    # --- what was found

    def restart(self) -> None:
        """Begin to count: warm-up has ended. Faults stay known."""
        for account in self._accounts.values():
            account.restart(self.now)

    def outcome(self) -> FaultOutcome:
        tenants = tuple(account.up(name, self.now) for name, account in self._accounts.items())
        return FaultOutcome(events=tuple(map(self._event, self._outages)), tenants=tenants)

    def _event(self, outage: _Outage) -> FaultEvent:
        still = {name: self._tenants[name].service.failed - outage.lost_before[name] for name in outage.waiting}
        lost = {**outage.lost, **still}
        victims = (Victim(tenant=name, requests_lost=lost[name], back_s=outage.back_s.get(name)) for name in outage.victims)
        return FaultEvent(
            time_s=outage.time_s, fault=outage.profile.name, instance=outage.spot.instance, effect=outage.profile.effect,
            instances_hit=outage.instances_hit, victims=tuple(victims), repaired_s=outage.repaired_s,
        )  # fmt: skip


def expect_all(
    engine: Engine,
    resolved: Resolved,
    standing: Sequence[Standing],
    devices: AbstractDevices,
    forget: Callable[[Instance], None],
    streams: Streams,
) -> Failures:
    """Let everything happen that a scenario says of faults."""
    levels = Restarts(resolved.scenario, resolved.catalog, resolved.grounds).levels
    failures = Failures(engine, standing, levels, devices, forget, streams)
    for number, fault in enumerate(resolved.scenario.faults):
        profile = fault.applied(resolved.catalog.fault(fault.fault))
        failures.expect(number, fault, profile, chosen(fault, spots(profile.breaks, resolved.grounds)))
    return failures


def _key(part: Part, spot: Spot) -> str:
    """What breaks, by name: a part of an instance that is not the instance itself has one of its own."""
    apart = part.is_device or part in (Part.SERVICE_VM, Part.DAEMON)
    return f"{part.value} of {spot.instance}" if apart else spot.instance


def _service_pools(instance: Instance) -> list[ThreadPool]:
    """The threads of a service VM."""
    names = {getattr(instance.layer, field) for field in ("network_thread", "block_thread")}
    return [pool for name, pool in sorted(instance.pools.items()) if name in names]
