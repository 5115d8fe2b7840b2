"""Years of simulated time without a request: only instances, what breaks and what is repaired."""

from __future__ import annotations

from dataclasses import dataclass

from simvirt.catalog import Catalog
from simvirt.engine import Engine
from simvirt.faults.part import Effect, Part
from simvirt.faults.profile import FaultProfile
from simvirt.faults.record import FaultOutcome
from simvirt.randomness import Streams
from simvirt.resources.cpu.scheduling import make_scheduler
from simvirt.resources.threads import Stop
from simvirt.scenario import Resolved, Scenario, check_scenario
from simvirt.scenario.faults import chosen, spots
from simvirt.simulation.failures import Standing, expect_all
from simvirt.simulation.instances import Instance, InstanceTree, TenantShare
from simvirt.simulation.restarts import Restarts

__all__ = ["FaultShare", "endure", "shares_of", "takes_down"]


def endure(scenario: Scenario, catalog: Catalog, duration_s: float, replication: int = 0) -> FaultOutcome:
    """Let the faults of a scenario happen for so long, from a start at which all is up. The same arguments give the same outcome."""
    check_scenario(scenario, catalog)
    resolved, engine = Resolved(scenario, catalog), Engine()
    stack = resolved.stack
    scheduler = make_scheduler(engine, stack.hardware.processors, resolved.schedulers)
    tree = InstanceTree(engine, scheduler, stack, resolved.shared_level)
    standing = [
        Standing(name=g.tenant, service=_Idle(), branch=tree.branch(g.stack, g.tenant, g.vm, TenantShare(vcpus=g.vcpus)))
        for g, _ in resolved.grounds
    ]
    on_the_wire = frozenset(
        name for group in scenario.tenants if group.peer == "network" for name, _ in (group.names(i) for i in range(group.count))
    )
    failures = expect_all(engine, resolved, standing, _NoDevices(on_the_wire), _nothing, Streams(scenario.run.seed, replication))
    engine.run(until=duration_s)
    return failures.outcome()


class _Idle:
    """A tenant of whom nobody asks anything."""

    failed = 0

    def stop(self, reason: str, *, refused: str, halt: Stop) -> None:
        """Nothing is in flight."""

    def revive(self) -> None:
        """Nobody comes back."""

    def freeze(self, halt: Stop) -> None:
        """Nothing runs."""

    def thaw(self, start: Stop) -> None:
        """Nothing runs."""


@dataclass(frozen=True, slots=True)
class _NoDevices:
    """Devices that are not used, but through which tenants are reached."""

    on_the_wire: frozenset[str]

    def users(self, part: Part) -> frozenset[str]:
        return self.on_the_wire if part is Part.NETWORK_CARD else frozenset()

    def slow_down(self, part: Part, factor: float) -> None:
        """Nobody notices."""

    def fail(self, part: Part, reason: str) -> None:
        """Nobody notices."""

    def mend(self, part: Part) -> None:
        """Nobody notices."""


def _nothing(_: Instance) -> None:
    """There is nothing in anybody's memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultShare:
    """What one fault does to one tenant by the closed form."""

    fault: str
    level: int
    """Of the layer that it hits; below the machine for what stands beside the layers: devices, service VMs."""
    mtbf_s: float
    down_s: float
    """Mean time for which the tenant is down."""


def shares_of(scenario: Scenario, catalog: Catalog, tenant: str) -> tuple[FaultShare, ...]:
    """The faults at random of a scenario that take a tenant down, as closed forms see them: nobody else starts at the same time."""
    resolved = Resolved(scenario, catalog)
    levels = Restarts(scenario, catalog, resolved.grounds).levels
    found = []
    for number, fault in enumerate(scenario.faults):
        profile = fault.applied(catalog.fault(fault.fault))
        hit = [spot for spot in chosen(fault, spots(profile.breaks, resolved.grounds)) if tenant in spot.tenants]
        if fault.at is None and hit and takes_down(profile):
            beside = profile.breaks.is_device or profile.breaks is Part.SERVICE_VM
            restarts = not beside and profile.effect is not Effect.STALL
            chain_s = sum(start.alone_s for start in levels(tenant, hit[0].level).values()) if restarts else 0.0
            down_s = profile.repair_s.si + chain_s + (0.0 if profile.effect is Effect.STALL else profile.detection_s.si)
            level = -1 - number if beside else hit[0].level
            found.append(FaultShare(fault=profile.name, level=level, mtbf_s=profile.mtbf_s.si, down_s=down_s))
    return tuple(found)


def takes_down(profile: FaultProfile) -> bool:
    """Whether a fault keeps tenants from being served: a slow device and a lost daemon do not, a failed disk only some requests."""
    return profile.effect is not Effect.SLOW_DOWN and profile.breaks not in (Part.DAEMON, Part.DISK)
