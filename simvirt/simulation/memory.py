"""The memories of a machine at work: built from what tenants ask for, filled at the start, stepped while time passes.

It is built only where something can run short: a limit, a virtual machine or the whole machine. Where all fits, nothing runs, and
nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Final, final

import numpy as np

from simvirt.demand import Demand, PageFault
from simvirt.engine import Engine
from simvirt.layers.footprint import BACKED, Scope
from simvirt.layers.hardware import Hardware
from simvirt.memory_plan import MemoryPlan
from simvirt.resources.disk import Disk
from simvirt.resources.memory.holding import Holding, Limits
from simvirt.resources.memory.kill import Kill
from simvirt.resources.memory.memory import Memory
from simvirt.resources.memory.paging import Paging, PagingDevice, PagingFlow
from simvirt.resources.memory.swap import PAGE_BYTES, Swap
from simvirt.resources.memory.touch import Popularity
from simvirt.resources.shared_disk import SharedDisk
from simvirt.resources.threads import Stop
from simvirt.simulation.binding import Host
from simvirt.simulation.outcome import HoldingAccount, MemoryAccount, MemoryOutcome
from simvirt.simulation.storage import DiskOfHost
from simvirt.simulation.tenant import Tenant
from simvirt.workloads.footprint import Footprint

__all__ = ["MemorySystem", "TenantMemory", "can_run_short", "limits_of", "with_growth"]

TICK_S: Final = 0.02
"""How often growth is counted, and what goes on in the background is done."""
FILL_BYTES: Final = 16 * 2.0**20
"""Tenants fill their memory in turn, so much at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantMemory:
    """One tenant and its memory, as described."""

    name: str
    vm: str
    plan: MemoryPlan
    limits: Limits
    swap_bytes: float
    """Swap space of its virtual machine."""


@dataclass(slots=True, kw_only=True)
class _Growing:
    """A tenant that may grow as it works."""

    described: TenantMemory
    holding: Holding
    memory: Memory
    tenant: Tenant | None = None
    grown_bytes: float = 0.0
    counted: int = 0
    """Requests that have been counted."""
    ended: bool = False
    """Whether its programs have ended."""


@dataclass(slots=True)
class _Filling:
    """What a tenant has yet to fill at the start."""

    one: _Growing
    resident_bytes: float
    file_bytes: float

    @property
    def wanted(self) -> bool:
        return self.resident_bytes + self.file_bytes > 0.0 and self.one.holding.alive

    def step(self) -> None:
        taken = min(FILL_BYTES, self.resident_bytes)
        self.one.memory.allocate(self.one.holding, taken)
        self.resident_bytes -= taken
        taken = min(FILL_BYTES - taken, self.file_bytes)
        self.one.memory.allocate(self.one.holding, taken, file=True)
        self.file_bytes -= taken


@dataclass(slots=True)
class _Sums:
    """Sums over ticks of where the bytes of one holding were."""

    ticks: int = 0
    states: dict[str, float] = field(default_factory=lambda: dict.fromkeys(HoldingAccount.STATES, 0.0))


def can_run_short(tenants: Sequence[TenantMemory]) -> bool:
    """Whether a limit, a virtual machine or the machine can be too small for what its tenants come to ask for."""
    taken = 0.0
    own: dict[tuple[str, str], float] = {}
    images: set[str] = set()
    machines: set[str] = set()
    growing = _growing_in(tenants)
    for one in tenants:
        plan = one.plan
        most = plan.tenant_bytes + plan.most_growth_bytes
        if most > min(one.limits.max_bytes, one.limits.high_bytes):
            return True
        own |= {(p.layer, p.cause): p.size_bytes for p in plan.parts if p.scope is Scope.HOST}
        image = sum(p.size_bytes for p in plan.parts if p.scope is Scope.IMAGE)
        if not plan.sizes:
            taken += most + (0.0 if plan.workload in images else image)
            images.add(plan.workload)
        elif one.vm not in machines:
            machines.add(one.vm)
            rules = plan.ground.rules
            assert rules is not None
            size = plan.sizes[-1].size_bytes
            inside = plan.own_bytes(len(plan.sizes)) + image + max(plan.per_vm * most, growing[one.vm])
            if inside > size - rules[-1].reserve(size):
                return True
            taken += plan.beside_bytes(0) + max(_touched(plan) + plan.per_vm * plan.most_growth_bytes, _backed(plan))
    if not tenants:
        return False
    ground = tenants[0].plan.ground
    assert ground.rules is not None
    capacity = ground.stack.hardware.memory_bytes.si
    return sum(own.values()) + taken > capacity - ground.rules[0].reserve(capacity)


def _growing_in(tenants: Sequence[TenantMemory]) -> dict[str, float]:
    """What all that live in each virtual machine may come to ask for, by its name."""
    sums: dict[str, float] = {}
    for one in tenants:
        sums[one.vm] = sums.get(one.vm, 0.0) + one.plan.tenant_bytes + one.plan.most_growth_bytes
    return sums


def _touched(plan: MemoryPlan) -> float:
    """What one virtual machine, all its tenants in it, takes of the machine before they grow."""
    return sum(
        p.size_bytes * (plan.per_vm if p.scope is Scope.TENANT else 1) for p in plan.parts if p.pool and p.scope is not Scope.HOST
    )


def _backed(plan: MemoryPlan) -> float:
    return plan.ground.layers[plan.ground.providers[0]].footprint.backed_at_start(plan.sizes[0])


class MemorySystem:
    """All memories of one machine."""

    def __init__(
        self, engine: Engine, host: Host, hardware: Hardware, tenants: Sequence[TenantMemory], swap_bytes: float
    ) -> None:
        self._engine = engine
        self._device = _device(host, hardware)
        self._device.paced = any(one.plan.most_growth_bytes > 0.0 for one in tenants)
        self.kills: list[Kill] = []
        self._since_s = engine.now
        self._started = False
        self._swapped_before = (0.0, 0.0)
        rules = tenants[0].plan.ground.rules
        assert rules is not None
        own = {(p.layer, p.cause): p.size_bytes for one in tenants for p in one.plan.parts if p.scope is Scope.HOST}
        with_machines = {one.vm: one.plan.sizes[0].size_bytes for one in tenants if one.plan.sizes}
        swap_bytes += rules[0].swap_share.si * sum(with_machines.values())
        self.machine = Memory(
            engine, hardware.name, hardware.memory_bytes.si, rules[0], own_bytes=sum(own.values()),
            swap=self._swap(swap_bytes), on_kill=self.kills.append,
        )  # fmt: skip
        self.memories = [self.machine]
        self._machines: dict[str, tuple[tuple[Memory, Holding], ...]] = {}
        self._images: set[tuple[str, str]] = set()
        self._growing = {one.name: self._tenant(one) for one in tenants}
        self._chains = {name: self._chain(one) for name, one in self._growing.items()}
        self._rngs: dict[str, np.random.Generator] = {}
        self._sums: dict[tuple[str, str], _Sums] = {}
        self._wakeup = engine.wakeup(self._tick)

    # --- building

    def _swap(self, swap_bytes: float) -> Swap:
        return Swap(swap_bytes, self._write)

    def _write(self, operations: float, size_bytes: float) -> None:
        if self._started:
            self._device.write(operations, size_bytes)

    def _tenant(self, one: TenantMemory) -> _Growing:
        memory = self._machine_of(one)[-1][0] if one.plan.sizes else self.machine
        footprint = one.plan.footprint
        popularity = Popularity(hot_share=footprint.hot_share.si, hot_touches=footprint.hot_touches.si)
        holding = memory.hold(Holding(one.name, limits=one.limits, popularity=popularity))
        return _Growing(described=one, holding=holding, memory=memory)

    def _machine_of(self, one: TenantMemory) -> tuple[tuple[Memory, Holding], ...]:
        """The memories of a tenant's virtual machines, the outermost first, each with what it holds of the one below."""
        if one.vm not in self._machines:
            plan, rules, below = one.plan, one.plan.ground.rules, self.machine
            assert rules is not None
            chain: list[tuple[Memory, Holding]] = []
            for i, size in enumerate(plan.sizes):
                pool = i + 1
                name = f"{plan.ground.stack.names[plan.ground.providers[i]]} machine of {one.vm}"
                alike = " < ".join(plan.ground.stack.names[plan.ground.providers[i] + 1 :]) if pool == len(plan.sizes) else ""
                footprint = plan.footprint
                popularity = Popularity(hot_share=footprint.hot_share.si, hot_touches=footprint.hot_touches.si)
                backing = below.hold(Holding(name, popularity=popularity, size_bytes=size.size_bytes, alike=alike, killed=_nothing))
                backing.alike_bytes = sum(p.size_bytes for p in plan.parts if p.pool == pool and p.alike)
                swap = self._swap(one.swap_bytes if pool == len(plan.sizes) else 0.0)
                memory = Memory(
                    self._engine, f"memory of {name}", size.size_bytes, rules[pool], own_bytes=plan.own_bytes(pool), swap=swap,
                    on_kill=self.kills.append,
                )  # fmt: skip
                self.memories.append(memory)
                chain.append((memory, backing))
                below = memory
            self._machines[one.vm] = tuple(chain)
        return self._machines[one.vm]

    def _chain(self, one: _Growing) -> tuple[tuple[Memory, Holding], ...]:
        """Where a tenant's touches may miss: in its own kernel's memory, then in those below."""
        machines = self._machines.get(one.described.vm, ()) if one.described.plan.sizes else ()
        belows = [self.machine, *(memory for memory, _ in machines)]
        backings = [backing for _, backing in machines]
        return ((one.memory, one.holding), *reversed(list(zip(belows, backings, strict=False))))

    def draw(self, tenant: str, rng: np.random.Generator) -> None:
        """Where a tenant's page faults are drawn from."""
        self._rngs[tenant] = rng

    def paging(self, tenant: str) -> Paging:
        """A stage at which a tenant's requests of one class wait for memory."""
        footprint = self._growing[tenant].described.plan.footprint
        asked = 0.0 if footprint.growth is None else footprint.growth.request_bytes.si
        return Paging(self._engine, self._chains[tenant], self._device, self._rngs[tenant], footprint.touched_bytes.si, asked)

    def attach(self, tenant: Tenant) -> None:
        """Whom to stop when it is killed, and whose requests make it grow."""
        one = self._growing[tenant.name]
        one.tenant = tenant
        one.holding.killed = partial(tenant.stop, "killed: out of memory")

    def service(self, tenant: Tenant) -> TenantInMemory:
        """The tenant, giving back its memory when it dies and filling it anew when it is back."""
        return TenantInMemory(tenant, self)

    def leave(self, tenant: str) -> None:
        """A tenant has died. What its virtual machine has of the machine's memory stays with that: it is used again after the start."""
        one = self._growing[tenant]
        if one.holding.alive:
            one.memory.leave(one.holding)

    def come_back(self, tenant: str) -> None:
        """A tenant, or what was killed in its place before, fills its memory as at the start."""
        one = self._growing[tenant]
        one.holding.died_s = None
        one.ended = False
        one.grown_bytes = 0.0
        one.counted = one.tenant.begun if one.tenant is not None else 0
        filling = _Filling(one, *_wanted(one.described.plan))
        while filling.wanted:
            filling.step()

    def start(self) -> None:
        """Everybody was started before: virtual machines and tenants have filled what they ask for, in turn, and what does not fit is out.

        What that cost, on the processors and on the disk, lies before the run.
        """
        for chain in self._machines.values():
            belows = [self.machine, *(memory for memory, _ in chain)]
            for below, (memory, backing) in zip(belows, chain, strict=False):
                below.allocate(backing, self._beside(below, backing), locked=True)
                memory.stands_on(below, backing)
        self._fill()
        for one in self._growing.values():
            self._populate(one)
        self._started = True
        self._swapped_before = self._swapped()
        self._wakeup.at(self._engine.now + TICK_S)

    def _beside(self, below: Memory, backing: Holding) -> float:
        if below is not self.machine:
            return 0.0  # inside a machine, it is a part of what its system takes
        return next(one.described.plan.beside_bytes(0) for one in self._growing.values() if self._holds(one, backing))

    def _holds(self, one: _Growing, backing: Holding) -> bool:
        return any(held is backing for _, held in self._machines.get(one.described.vm, ()))

    def _fill(self) -> None:
        for one in self._growing.values():
            image = sum(p.size_bytes for p in one.described.plan.parts if p.scope is Scope.IMAGE)
            key = (one.memory.name, one.described.plan.workload)
            if image and key not in self._images:
                self._images.add(key)
                shared = one.memory.hold(Holding(f"files of {key[1]}"))
                one.memory.allocate(shared, image, file=True)
        left = [_Filling(one, *_wanted(one.described.plan)) for one in self._growing.values()]
        while left:
            for filling in left:
                filling.step()
            left = [filling for filling in left if filling.wanted]

    def _populate(self, one: _Growing) -> None:
        """Frames that a virtual machine has from the start though nobody has touched them."""
        chain = self._machines.get(one.described.vm, ())
        for (_, backing), size in zip(chain, one.described.plan.sizes, strict=False):
            backed = one.described.plan.ground.layers[one.described.plan.ground.providers[0]].footprint.backed_at_start(size)
            if backed > backing.movable_bytes and backing.alive:
                self.machine.allocate(backing, backed - backing.movable_bytes)

    # --- while time passes

    def _tick(self) -> None:
        for one in self._growing.values():
            self._grow(one)
        for memory in self.memories:
            memory.step(TICK_S)
        self._sample()
        self._wakeup.at(self._engine.now + TICK_S)

    def _grow(self, one: _Growing) -> None:
        growth, tenant = one.described.plan.footprint.growth, one.tenant
        if growth is None or tenant is None or one.ended or not one.holding.alive:
            return
        begun = tenant.begun
        wanted = growth.request_bytes.si * (begun - one.counted) + growth.steady_bytes_per_s.si * TICK_S
        one.counted = max(begun, one.counted)
        wanted = min(wanted, one.described.plan.most_growth_bytes - one.grown_bytes)
        if wanted > 0.0:
            one.grown_bytes += wanted
            one.memory.allocate(one.holding, wanted)

    def _sample(self) -> None:
        for memory in self.memories:
            for holding in memory.holdings:
                sums = self._sums.setdefault((memory.name, holding.name), _Sums())
                sums.ticks += 1
                for state in sums.states:
                    sums.states[state] += getattr(holding, f"{state}_bytes")

    def shrink(self, tenant: str) -> None:
        """A tenant's programs have ended: what they grew by comes back."""
        one = self._growing[tenant]
        one.ended = True
        if one.holding.alive:
            movable = one.holding.asked_bytes - one.holding.file_bytes - one.holding.ballooned_bytes
            one.memory.release(one.holding, max(0.0, min(one.grown_bytes, movable)))
        one.grown_bytes = 0.0

    def restart(self) -> None:
        """Begin to count: warm-up has ended. Kills stay known."""
        self._sums = {}
        self._since_s = self._engine.now
        self._swapped_before = self._swapped()
        for memory in self.memories:
            memory.pressure.restart()

    def _swapped(self) -> tuple[float, float]:
        return sum(m.swap.in_bytes for m in self.memories), sum(m.swap.out_bytes for m in self.memories)

    def outcome(self) -> MemoryOutcome:
        window_s = self._engine.now - self._since_s
        came, went = (after - before for after, before in zip(self._swapped(), self._swapped_before, strict=True))
        holdings = (
            HoldingAccount(memory=memory, name=name, **{f"{state}_bytes": total / sums.ticks for state, total in sums.states.items()})
            for (memory, name), sums in sorted(self._sums.items())
        )
        memories = (
            MemoryAccount(name=m.name, capacity_bytes=m.capacity_bytes, own_bytes=m.own_bytes, pressure=m.pressure.some_s / window_s)
            for m in self.memories
        )
        return MemoryOutcome(
            holdings=tuple(holdings), memories=tuple(memories), kills=tuple(self.kills), swap_in_bytes_per_s=came / window_s,
            swap_out_bytes_per_s=went / window_s,
        )  # fmt: skip


def _wanted(plan: MemoryPlan) -> tuple[float, float]:
    """What a tenant fills at the start: memory of its own, pages of files."""
    mine = [p for p in plan.parts if p.scope is Scope.TENANT and p.cause != BACKED]
    return sum(p.size_bytes for p in mine if not p.file), sum(p.size_bytes for p in mine if p.file)


def _device(host: Host, hardware: Hardware) -> PagingDevice:
    disk = hardware.disk
    return PagingDevice(
        disk=_paging(host.disk), bus=_paging(host.disk_bus), write_disk=_paging(host.disk), read_s=disk.read_s.si, write_s=disk.write_s.si,
        read_bytes_per_s=disk.read_bytes_per_s.si, write_bytes_per_s=disk.write_bytes_per_s.si,
    )  # fmt: skip


def _paging(disk: DiskOfHost) -> Disk | PagingFlow:
    return PagingFlow(disk) if isinstance(disk, SharedDisk) else disk


@final
class TenantInMemory:
    """A tenant whose life and whose memory begin and end together."""

    def __init__(self, tenant: Tenant, memory: MemorySystem) -> None:
        self._tenant = tenant
        self._memory = memory
        self.freeze = tenant.freeze
        self.thaw = tenant.thaw

    @property
    def failed(self) -> int:
        return self._tenant.failed

    def stop(self, reason: str, *, refused: str, halt: Stop) -> None:
        if self._tenant.alive:
            self._tenant.stop(reason, refused=refused, halt=halt)
            self._memory.leave(self._tenant.name)

    def revive(self) -> None:
        if not self._tenant.alive:
            self._tenant.revive()
            self._memory.come_back(self._tenant.name)


def _nothing() -> None:
    """A virtual machine that is killed: its tenants are told one by one."""


def with_growth(demand: Demand, footprint: Footprint | None) -> Demand:
    """The demand of a request, the first touch of the memory by which it makes its application grow included."""
    if footprint is None or footprint.growth is None or not footprint.growth.request_bytes.si:
        return demand
    pages = footprint.growth.request_bytes.si / PAGE_BYTES
    return Demand((*demand.operations, PageFault(count=pages, fresh=pages)))


def limits_of(memory_max: float | None, memory_high: float | None, swap: float | None, oom_score_adj: int) -> Limits:
    """The limits of a control group, infinity where a scenario says nothing."""
    return Limits(
        max_bytes=inf if memory_max is None else memory_max,
        high_bytes=inf if memory_high is None else memory_high,
        swap_bytes=inf if swap is None else swap,
        oom_score_adj=oom_score_adj,
    )
