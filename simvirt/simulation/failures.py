"""Faults at work: what breaks takes its subtree down, is found out, is repaired, and is started again from the bottom to the top."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Protocol

import numpy as np

from simvirt.engine import Engine
from simvirt.faults.part import Effect, Part
from simvirt.faults.profile import FaultProfile
from simvirt.faults.record import FaultEvent, Victim
from simvirt.randomness import Streams
from simvirt.resources.threads import Stop, ThreadPool, go_on, stand_still
from simvirt.scenario.faults import Fault, Spot
from simvirt.simulation.instances import Branch, Instance

__all__ = ["AbstractDevices", "Failures", "FaultOutcome", "Restart", "Service", "Standing", "Up"]

Restart = Callable[[str, int], Mapping[int, float]]
"""For a tenant and a level: how long each layer from that level up takes to start, by level; the application above the top."""


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
    forget: Callable[[Instance], None]
    """What is told of a kernel that has gone: whatever it had in its memory has gone too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """How long a tenant was served in the window."""

    tenant: str
    available_s: float
    window_s: float
    outages: int
    """That ended in the window."""
    outage_s: float
    """Their mean length; 0 if there was none."""

    @property
    def availability(self) -> float:
        return self.available_s / self.window_s


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOutcome:
    """What broke in a run, and how long everybody was served."""

    events: tuple[FaultEvent, ...]
    """Of the whole run, warm-up included, in order of time."""
    tenants: tuple[Up, ...]

    def rows(self) -> Iterator[tuple[str, str, float]]:
        """Entity, metric and value."""
        for i, event in enumerate(self.events):
            entity = f"fault/{i + 1} {event.fault}/{event.instance}"
            yield entity, "instances_hit", float(event.instances_hit)
            yield entity, "tenants_hit", float(len(event.victims))
            yield entity, "requests_lost", float(event.requests_lost)
            yield entity, "time_to_recover_s", event.recovery_s
        for up in self.tenants:
            yield f"tenant/{up.tenant}", "availability", up.availability


@dataclass(slots=True, eq=False)
class _Outage:
    """One fault from its beginning to its end."""

    time_s: float
    fault: str
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


class Failures:
    """Lets things break and brings them back.

    A crash or a hang of an instance takes down its subtree: every tenant that has a part in it. It is over for a tenant when the fault has
    been found out, what has to be repaired first is repaired, and the layers from the broken one up have started, one after the other. The
    layers that tenants share start once; above them each tenant starts at the same time as the others, so long as nobody else's start
    is in its way: starts do not compete here. A fault of a lower layer ends those above: what they waited for is started anew. What is down
    cannot fail, and its time to failure begins when it is up again.
    """

    def __init__(
        self, engine: Engine, tenants: Sequence[Standing], restart: Restart, devices: AbstractDevices, streams: Streams
    ) -> None:
        self._engine = engine
        self._tenants = {tenant.name: tenant for tenant in tenants}
        self._restart_s = restart
        self._devices = devices
        self._streams = streams
        self._accounts = {tenant.name: _Account(engine.now) for tenant in tenants}
        self._holding: dict[str, set[_Outage]] = {tenant.name: set() for tenant in tenants}
        """The outages that keep each tenant down."""
        self._down: dict[str, _Outage] = {}
        """Broken instances."""
        self._starters: dict[Instance, float] = {}
        """Kernels whose daemon is down, and when it will be back."""
        self._outages: list[_Outage] = []

    # --- when

    def expect(self, number: int, fault: Fault, profile: FaultProfile, spots: Sequence[Spot], daemon_level: int | None = None) -> None:
        """Let one entry of a scenario happen: at its times, or at random at each of its places."""
        for spot in spots:
            process = _Process(self, fault.fault, profile, spot, self._streams, f"faults/{number}/{spot.instance}")
            if fault.at is None:
                process.wait()
            else:
                for time_s in fault.at:
                    self.at(time_s, process.strike)

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """Do something at a time."""
        self._engine.wakeup(action).at(time_s)

    @property
    def now(self) -> float:
        return float(self._engine.now)

    # --- what

    def strike(self, fault: str, profile: FaultProfile, spot: Spot, repair_s: float, over: Callable[[], None]) -> None:
        """Something breaks; `over` is called when it is up again. What is down already does not break."""
        if self._is_down(spot):
            self._outages.append(_Outage(self.now, fault, profile, spot, 0, [], {}, repaired_s=self.now))
            over()
            return
        if profile.breaks is Part.DAEMON:
            self._daemon(fault, profile, spot, repair_s, over)
        elif profile.breaks.is_device:
            self._device(fault, profile, spot, repair_s, over)
        elif profile.effect is Effect.STALL:
            self._stall(fault, profile, spot, repair_s, over)
        else:
            self._fall(fault, profile, spot, repair_s, over)

    def _is_down(self, spot: Spot) -> bool:
        """Whether what would break, or something under it, is down."""
        if spot.instance in self._down:
            return True
        ground = self._tenants[spot.tenants[0]].branch.instances[: spot.level + 1]
        return any(instance.name in self._down for instance in ground)

    def _subtree(self, spot: Spot) -> list[Instance]:
        """Instances that stand on what breaks, itself included; none for an application, on which nothing stands."""
        instances = self._tenants[spot.tenants[0]].branch.instances
        return list(instances[spot.level].subtree()) if spot.level < len(instances) else []

    def _begin(self, fault: str, profile: FaultProfile, spot: Spot, instances: int, victims: Sequence[str]) -> _Outage:
        hit = sorted(victims)
        lost = {name: self._tenants[name].service.failed for name in hit}
        outage = _Outage(self.now, fault, profile, spot, instances, hit, lost, waiting=set(hit))
        self._outages.append(outage)
        self._down[spot.instance] = outage
        for name in hit:
            self._accounts[name].go_down(self.now)
            self._holding[name].add(outage)
        return outage

    # --- crashes and hangs

    def _fall(self, fault: str, profile: FaultProfile, spot: Spot, repair_s: float, over: Callable[[], None]) -> None:
        subtree = self._subtree(spot)
        victims = self._standing_on(spot)
        for name in victims:
            for older in [older for older in self._holding[name] if older.spot.level >= spot.level]:
                self._release(older, name, back=False)
        for instance in subtree:
            self._down.pop(instance.name, None)
        for name in victims:
            self._down.pop(name, None)
        outage = self._begin(fault, profile, spot, len(subtree), victims)
        if profile.effect is Effect.HANG:
            self._still(spot, subtree, victims)
            self.at(self.now + profile.detection_s.si, lambda: self._found(outage, subtree, repair_s, over))
        else:
            self._kill(outage, subtree)
            self._repair(outage, profile.detection_s.si + repair_s, over)

    def _standing_on(self, spot: Spot) -> list[str]:
        """Every tenant in the subtree."""
        instances = self._tenants[spot.tenants[0]].branch.instances
        if spot.level == len(instances):
            return [spot.tenants[0]]
        root = instances[spot.level]
        return [name for name, one in self._tenants.items() if spot.level < len(one.branch.instances) and one.branch.instances[spot.level] is root]

    def _found(self, outage: _Outage, subtree: Sequence[Instance], repair_s: float, over: Callable[[], None]) -> None:
        """A hang has been found out: what hangs is killed, and started again. It may have been ended by a fault below in the meantime."""
        if self._down.get(outage.spot.instance) is outage:
            self._kill(outage, subtree)
            self._repair(outage, repair_s, over)
        else:
            over()

    def _kill(self, outage: _Outage, subtree: Sequence[Instance]) -> None:
        why = outage.fault
        for name in sorted(outage.waiting):
            tenant = self._tenants[name]
            tenant.service.stop(f"in flight at {why}", refused=f"arrived while down by {why}", halt=self._halt(tenant, subtree))
        for instance in subtree:
            _die(instance)
            for one in self._tenants.values():
                one.forget(instance)

    def _halt(self, tenant: Standing, subtree: Sequence[Instance]) -> Stop:
        """How a tenant's threads stop: a kernel that goes on lets them leave its critical sections first."""
        kernel = self._kernel(tenant)
        return stand_still if kernel.lock is None or kernel in subtree else kernel.lock.freeze

    def _start(self, tenant: Standing, subtree: Sequence[Instance]) -> Stop:
        kernel = self._kernel(tenant)
        return go_on if kernel.lock is None or kernel in subtree else kernel.lock.thaw

    def _kernel(self, tenant: Standing) -> Instance:
        branch = tenant.branch
        return branch.instances[branch.stack.kernel_level(len(branch.stack.layers) - 1)]

    def _repair(self, outage: _Outage, after_s: float, over: Callable[[], None]) -> None:
        """Begin to start things when that is possible."""
        ready_s = self.now + after_s
        level = outage.spot.level
        starters = [until for kernel, until in self._starters.items() if self._needs(kernel, outage.spot)]
        ready_s = max([ready_s, *starters])
        times = {name: self._restart_s(name, level) for name in outage.waiting}
        own_s = min((chain.get(level, 0.0) for chain in times.values()), default=0.0)
        self.at(ready_s + own_s, lambda: self._up(outage, over))
        for name in sorted(outage.waiting):
            self._come_back(outage, name, ready_s + sum(times[name].values()))

    def _needs(self, kernel: Instance, spot: Spot) -> bool:
        """Whether what broke stands on a kernel, and is not that kernel or below it."""
        instances = self._tenants[spot.tenants[0]].branch.instances
        return kernel in instances[: spot.level]

    def _up(self, outage: _Outage, over: Callable[[], None]) -> None:
        """What broke is up again, unless something below it has broken meanwhile."""
        if self._down.get(outage.spot.instance) is outage:
            del self._down[outage.spot.instance]
            outage.repaired_s = self.now
        over()

    def _come_back(self, outage: _Outage, name: str, time_s: float) -> None:
        self.at(time_s, lambda: self._release(outage, name, back=True))

    def _release(self, outage: _Outage, name: str, *, back: bool) -> None:
        """An outage keeps a tenant down no more; it is back if nothing else does. Not back: a fault below has taken over."""
        if name not in outage.waiting:
            return
        outage.waiting.remove(name)
        self._holding[name].discard(outage)
        tenant = self._tenants[name]
        outage.lost[name] = tenant.service.failed - outage.lost_before[name]
        if not back:
            return
        outage.back_s[name] = self.now
        if not self._holding[name]:
            tenant.service.revive()
            self._accounts[name].come_up(self.now)

    # --- what goes on by itself

    def _stall(self, fault: str, profile: FaultProfile, spot: Spot, lasts_s: float, over: Callable[[], None]) -> None:
        serves = profile.breaks is Part.SERVICE_VM
        subtree = [] if serves else self._subtree(spot)
        victims = self._standing_on(spot)
        pools = list(self._service_pools(spot)) if serves else []
        up = [name for name in victims if not self._holding[name]]
        outage = self._begin(fault, profile, spot, 1 if serves else len(subtree), up)
        for pool in pools:
            pool.freeze()
        if not serves:
            self._still(spot, subtree, up)

        def end() -> None:
            if self._down.get(spot.instance) is outage:
                del self._down[spot.instance]
                outage.repaired_s = self.now
                for pool in pools:
                    pool.thaw()
                if not serves:
                    self._move(spot, subtree, up)
            for name in sorted(outage.waiting):
                self._release(outage, name, back=True)
            over()

        self.at(self.now + lasts_s, end)

    def _service_pools(self, spot: Spot) -> Iterator[ThreadPool]:
        instance = self._tenants[spot.tenants[0]].branch.instances[spot.level]
        names = {getattr(instance.layer, field) for field in ("network_thread", "block_thread")}
        return (pool for name, pool in sorted(instance.pools.items()) if name in names)

    def _still(self, spot: Spot, subtree: Sequence[Instance], victims: Sequence[str]) -> None:
        for instance in subtree:
            for _, pool in sorted(instance.pools.items()):
                pool.freeze()
        for name in victims:
            self._tenants[name].service.freeze(self._halt(self._tenants[name], subtree))

    def _move(self, spot: Spot, subtree: Sequence[Instance], victims: Sequence[str]) -> None:
        for instance in subtree:
            for _, pool in sorted(instance.pools.items()):
                pool.thaw()
        for name in victims:
            self._tenants[name].service.thaw(self._start(self._tenants[name], subtree))

    # --- devices

    def _device(self, fault: str, profile: FaultProfile, spot: Spot, repair_s: float, over: Callable[[], None]) -> None:
        part, fails = profile.breaks, profile.effect is Effect.CRASH
        users = self._devices.users(part)
        lasts_s = repair_s + (profile.detection_s.si if fails else 0.0)
        lost = {name: self._tenants[name].service.failed for name in sorted(users)}
        outage = _Outage(self.now, fault, profile, spot, 0, sorted(users), lost, waiting=set(users))
        self._outages.append(outage)
        key = f"{spot.instance} {part.value}"
        self._down[key] = outage
        if fails and part is Part.NETWORK_CARD:
            for name in sorted(users):
                self._accounts[name].go_down(self.now)
                self._holding[name].add(outage)
                tenant = self._tenants[name]
                tenant.service.stop(f"in flight at {fault}", refused=f"unreachable by {fault}", halt=self._halt(tenant, ()))
        elif fails:
            self._devices.fail(part, f"error by {fault}")
        else:
            self._devices.slow_down(part, profile.slow_factor.si)

        def end() -> None:
            self._down.pop(key, None)
            outage.repaired_s = self.now
            if not fails:
                self._devices.slow_down(part, 1.0)
            elif part is not Part.NETWORK_CARD:
                self._devices.mend(part)
            for name in sorted(outage.waiting):
                self._release(outage, name, back=True)
            over()

        self.at(self.now + lasts_s, end)

    # --- daemons

    def _daemon(self, fault: str, profile: FaultProfile, spot: Spot, repair_s: float, over: Callable[[], None]) -> None:
        """Containers live on; nothing starts meanwhile."""
        outage = self._begin(fault, profile, replace_name(spot, fault), 1, ())
        kernel = self._tenants[spot.tenants[0]].branch.instances[spot.level]
        until = self.now + profile.detection_s.si + repair_s
        self._starters[kernel] = until

        def end() -> None:
            self._starters.pop(kernel, None)
            self._up(outage, over)

        self.at(until, end)

    # --- what was found

    def restart(self) -> None:
        """Begin to count: warm-up has ended. Faults stay known."""
        for account in self._accounts.values():
            account.restart(self.now)

    def outcome(self) -> FaultOutcome:
        events = []
        for one in self._outages:
            still = {name: self._tenants[name].service.failed - one.lost_before[name] for name in one.waiting}
            lost = {**one.lost, **still}
            victims = tuple(Victim(tenant=name, requests_lost=lost[name], back_s=one.back_s.get(name)) for name in one.victims)
            events.append(
                FaultEvent(
                    time_s=one.time_s, fault=one.fault, instance=one.spot.instance, effect=one.profile.effect,
                    instances_hit=one.instances_hit, victims=victims, repaired_s=one.repaired_s,
                )
            )  # fmt: skip
        return FaultOutcome(events=tuple(events), tenants=tuple(account.up(name, self.now) for name, account in self._accounts.items()))
