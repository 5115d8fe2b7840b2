"""What breaks takes its subtree down and nothing else, what is repaired serves again, and no request is lost silently."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.engine import Engine
from simvirt.errors import ScenarioError
from simvirt.faults.part import Effect, Part, fits
from simvirt.faults.record import FaultEvent
from simvirt.metrics.catalog import metrics
from simvirt.resources.connections import ConnectionTable
from simvirt.resources.stages import TABLE_FULL, End, Request, Track
from simvirt.scenario import Fault, Resolved, Run, Scenario, Tenants, check_scenario, load_scenario
from simvirt.scenario.faults import spots
from simvirt.simulation import RunOutcome, Simulation, simulate
from simvirt.simulation.binding import BoundPath
from simvirt.simulation.instances import Instance
from simvirt.startup import chain_of
from simvirt.workloads.arrivals import ClosedLoop, Deterministic, Poisson
from simvirt.workloads.client_program import ClientProgram
from simvirt.workloads.distributions import Constant, Exponential

CATALOG = Catalog.builtin(Path(__file__).parents[1] / "experiments/profiles")
PLATFORMS = ("bare-metal", "docker", "lxc", "gvisor", "kvm", "xen-hvm", "docker-in-kvm", "virtualbox", "kvm-in-kvm", "firecracker")
every_platform = pytest.mark.parametrize("platform", CATALOG.names("platforms"))


def scene(platform: str, *faults: Fault, duration_s: float = 30.0, tenants: tuple[Tenants, ...] = (), **more: Any) -> Scenario:
    web = Tenants(name="web", workload="web-service", count=3, load=Poisson(rate_per_s=40.0))
    return Scenario(
        platform=platform, machine="small-server", tenants=tenants or (web,), faults=faults,
        run=Run(duration_s=duration_s, warm_up_fraction=0.0), **more,
    )  # fmt: skip


def at_once(name: str, time_s: float, target: str | None = None, **more: Any) -> Fault:
    return Fault(fault=name, at=(time_s,), target=target, detection=0.0, repair=0.0, **more)


def events(outcome: RunOutcome) -> tuple[FaultEvent, ...]:
    assert outcome.faults is not None
    return outcome.faults.events


def possible(platform: str) -> list[str]:
    """Faults that a platform can have."""
    grounds = Resolved(scene(platform), CATALOG).grounds
    return [name for name in CATALOG.names("faults") if spots(CATALOG.fault(name).breaks, grounds)]


# --- nothing is lost


def assert_nothing_is_lost(outcome: RunOutcome) -> None:
    for tenant in outcome.tenants:
        grown = tenant.in_flight_after - tenant.in_flight_before
        assert tenant.arrived == tenant.completed + sum(tenant.failed.values()) + grown, tenant.name
        assert tenant.in_flight_after >= 0
        assert tenant.in_flight_mean >= -1e-9
        assert tenant.completed == tenant.histogram.count
        parts_s = math.fsum(part.seconds for part in tenant.time_parts) if tenant.completed else 0.0
        assert parts_s == pytest.approx(tenant.histogram.mean_s if tenant.completed else 0.0, rel=1e-6)


@st.composite
def troubles(draw: st.DrawFn) -> Scenario:
    """A platform, tenants of every kind, a scheduler, and faults of any kind at any time, repaired soon."""
    platform = draw(st.sampled_from(PLATFORMS))
    loads = st.sampled_from(
        [
            Poisson(rate_per_s=60.0),
            Deterministic(rate_per_s=25.0),
            ClosedLoop(clients=4, think=Exponential(mean=0.02)),
            ClosedLoop(clients=5, think=Constant(value=0.0), client=ClientProgram(receive_s=2e-3, send_s=3e-3, wake_s=1e-3)),
        ]
    )
    workloads = st.sampled_from(["web-service", "database", "key-value-store"])
    groups = tuple(
        Tenants(
            name=name, workload=draw(workloads), load=draw(loads), count=count, per_vm=draw(st.sampled_from([1, 2])),
            threads=draw(st.sampled_from([None, 0, 1, 3])), vcpus=draw(st.integers(1, 2)),
        )
        for name, count in (("a", 2), ("b", 1))
    )  # fmt: skip
    kinds = possible(platform)
    faults = []
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(kinds))
        profile = CATALOG.fault(name)
        found = draw(st.none() | st.floats(0.0, 2.0)) if profile.effect in (Effect.CRASH, Effect.HANG) else None
        times = tuple(draw(st.lists(st.floats(0.0, 14.0), min_size=1, max_size=3)))
        target, repair = draw(st.sampled_from(["a 1", "a 2", "b"])), draw(st.floats(0, 3))
        faults.append(Fault(fault=name, target=target, at=times, detection=found, repair=repair))
    choice = draw(st.sampled_from(["fluid", "platform", "cfs", "credit2"]))
    if choice == "credit2" and platform != "xen-hvm":
        choice = "eevdf"
    hardware = draw(st.sampled_from(["small-server", "small-server-hdd"]))
    run = Run(duration_s=15.0, warm_up_fraction=draw(st.sampled_from([0.0, 0.3])), seed=draw(st.integers(0, 99)))
    return Scenario(platform=platform, machine=hardware, tenants=groups, faults=tuple(faults), scheduler=choice, run=run)


@settings(max_examples=40, deadline=None)
@given(scenario=troubles())
def test_nothing_is_lost_silently_whatever_breaks_and_whenever(scenario: Scenario) -> None:
    outcome = simulate(scenario, CATALOG)
    assert_nothing_is_lost(outcome)
    assert outcome.faults is not None
    for up in outcome.faults.tenants:
        assert -1e-9 <= up.available_s <= up.window_s * (1 + 1e-9)
    for tenant in outcome.tenants:
        hit = sum(victim.requests_lost for event in events(outcome) for victim in event.victims if victim.tenant == tenant.name)
        assert sum(tenant.failed.values()) <= hit or scenario.run.warm_up_fraction  # each failure belongs to a fault


@settings(max_examples=25, deadline=None)
@given(
    platform=st.sampled_from(PLATFORMS), scheduler=st.sampled_from(["fluid", "platform"]), closed=st.booleans(),
    acts=st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(["stop", "revive", "freeze", "thaw"]), st.integers(0, 2)), max_size=12),
)  # fmt: skip
def test_a_tenant_may_be_stopped_and_revived_at_any_time(
    platform: str, scheduler: str, closed: bool, acts: list[tuple[float, str, int]]
) -> None:
    load = ClosedLoop(clients=6, think=Exponential(mean=0.01)) if closed else Poisson(rate_per_s=300.0)
    simulation = Simulation(scene(platform, tenants=(Tenants(workload="database", load=load, count=3),), scheduler=scheduler), CATALOG)
    for time_s, act, which in acts:
        tenant = simulation.tenants[which]
        simulation.engine.wakeup(partial(tenant.stop, "killed") if act == "stop" else getattr(tenant, act)).at(time_s)
    simulation.engine.run(until=3.5)
    for tenant in simulation.tenants:
        tenant.revive()
        tenant.thaw()
    before = [tenant.outcome().completed for tenant in simulation.tenants]
    simulation.engine.run(until=6.0)
    outcome = simulation.outcome()
    assert_nothing_is_lost(outcome)
    assert all(tenant.completed > count for tenant, count in zip(outcome.tenants, before, strict=True))


@pytest.mark.parametrize("scheduler", ["fluid", "platform"])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_dead_take_no_processor(platform: str, scheduler: str) -> None:
    """Computing without end in two tenants, one of which dies at 1 s: from then on one processor is busy, not two."""
    busy = Tenants(name="busy", workload="batch-compute", load=ClosedLoop(clients=1, think=Constant(value=0.0)), count=2)
    override = {"batch-compute.job.compute.cpu_s": "100 s"}  # one burst, which does not end by itself
    dead = Simulation(scene(platform, tenants=(busy,), scheduler=scheduler, override=override), CATALOG)
    dead.engine.wakeup(lambda: dead.tenants[0].stop("killed")).at(1.0)
    dead.engine.run(until=1.0 + 1e-9)
    dead.engine.run(until=2.0)
    before_s = dead.host.scheduler.account().busy_s
    dead.engine.run(until=4.0)
    assert dead.host.scheduler.account().busy_s - before_s == pytest.approx(2.0, rel=0.02)


def test_what_comes_late_from_a_former_life_counts_for_nothing() -> None:
    """Devices are told beforehand where a request goes next: it may come to a full table, or to the end, when its tenant is dead."""
    told: list[str] = []
    full = Track(ConnectionTable(Engine(), 1, 1.0), 2.0, lambda _, reason: told.append(reason))
    full.next = End(lambda _: told.append("finished"))
    path = BoundPath(full, (), ())
    full.enter(Request(0.0, 1.0))
    full.next.enter(Request(0.0, 1.0))
    assert told == [TABLE_FULL, "finished"]
    end = full.next
    path.cut()
    full.enter(Request(0.0, 1.0))
    end.enter(Request(0.0, 1.0))
    full.table.size = 9
    full.enter(Request(0.0, 1.0))
    assert told == [TABLE_FULL, "finished"]


# --- who is hit


def walk(simulation: Simulation) -> dict[str, set[str]]:
    """Each instance of the running tree, and the tenants that stand on it: found by going up from each tenant, not down."""
    found: dict[str, set[str]] = {}
    for name, branch in simulation._branches.items():
        instance: Instance | None = branch.instances[-1]
        while instance is not None:
            found.setdefault(instance.name, set()).add(name)
            instance = instance.parent
    return found


stacks = st.tuples(st.sampled_from(CATALOG.names("platforms")), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40, deadline=None)
@given(tree=stacks, data=st.data())
def test_the_blast_radius_is_the_subtree(tree: tuple[str, int, int, int], data: st.DataObject) -> None:
    platform, count, per_vm, others = tree
    groups = (
        Tenants(name="a", workload="web-service", load=Poisson(rate_per_s=1.0), count=count, per_vm=per_vm),
        Tenants(name="b", workload="key-value-store", load=Poisson(rate_per_s=1.0), count=others),
    )
    grounds = Resolved(scene(platform, tenants=groups), CATALOG).grounds
    name = data.draw(st.sampled_from([n for n in possible(platform) if CATALOG.fault(n).effect in (Effect.CRASH, Effect.HANG)]))
    profile = CATALOG.fault(name)
    if profile.breaks.is_device or profile.breaks is Part.DAEMON:
        return
    spot = data.draw(st.sampled_from(spots(profile.breaks, grounds)))
    scenario = scene(platform, Fault(fault=name, at=(0.5,), target=spot.instance), tenants=groups, duration_s=1.0)
    simulation = Simulation(scenario, CATALOG)
    standing = walk(simulation)
    [event] = events(simulation.run())
    expected = standing.get(spot.instance, {spot.instance})  # an application is nobody's ground
    assert {victim.tenant for victim in event.victims} == expected
    below = {spot.instance} if spot.instance in standing else set()
    on = [one for one in simulation.tree.root.subtree() if standing.get(one.name, set()) <= expected and _over(one, spot.instance)]
    assert event.instances_hit == len(on) >= len(below)


def _over(instance: Instance, name: str) -> bool:
    """Whether an instance is the named one, or stands on it."""
    here: Instance | None = instance
    while here is not None:
        if here.name == name:
            return True
        here = here.parent
    return False


@every_platform
def test_names_of_places_are_those_of_the_running_tree(platform: str) -> None:
    groups = (
        Tenants(name="a", workload="web-service", load=Poisson(rate_per_s=1.0), count=3, per_vm=2),
        Tenants(name="b", workload="web-service", load=Poisson(rate_per_s=1.0)),
    )
    simulation = Simulation(scene(platform, tenants=groups), CATALOG)
    for ground, _ in simulation._resolved.grounds:
        names = [instance.name for instance in simulation._branches[ground.tenant].instances]
        assert [ground.instance(level) for level in range(len(names))] == names


@pytest.mark.parametrize(
    ("fault", "platform", "victims"),
    [
        ("application-crash", "docker", 1),
        ("application-crash", "kvm", 1),
        ("guest-kernel-panic", "kvm", 1),
        ("vmm-crash", "kvm", 1),
        ("vmm-crash", "docker-in-kvm", 1),
        ("hypervisor-crash", "kvm", 3),
        ("hypervisor-crash", "virtualbox", 1),  # a program of the host for each machine
        ("host-kernel-panic", "virtualbox", 3),
        ("host-kernel-panic", "docker", 3),
        ("sandbox-crash", "gvisor", 1),
        ("service-vm-stall", "xen-hvm", 3),
        ("container-daemon-crash", "docker", 0),
        ("host-loss", "bare-metal", 3),
        ("network-card-failure", "kvm", 3),
    ],
)
def test_who_is_hit(fault: str, platform: str, victims: int) -> None:
    profile = CATALOG.fault(fault)
    ends = profile.effect is Effect.STALL
    one = Fault(fault=fault, at=(0.5,), target="web 2", repair=0.1 if ends else None)
    [event] = events(simulate(scene(platform, one, duration_s=1.0), CATALOG))
    assert len(event.victims) == victims


# --- when they are back


@every_platform
def test_the_restart_is_the_chain_of_the_platform(platform: str) -> None:
    """Down time = detection + repair + the chain from the broken layer up, for one tenant alone."""
    tenants = (Tenants(name="web", workload="web-service", load=Poisson(rate_per_s=5.0)),)
    for name in possible(platform):
        profile = CATALOG.fault(name)
        if profile.breaks.is_device or profile.breaks is Part.DAEMON or profile.effect is not Effect.CRASH:
            continue
        resolved = Resolved(scene(platform, tenants=tenants), CATALOG)
        [spot] = spots(profile.breaks, resolved.grounds)
        starts = CATALOG.starts(resolved.stack, "web-service")
        alone_s = chain_of(resolved.stack, starts, spot.level).alone_s(cold=spot.level <= 1)
        fault = Fault(fault=name, at=(1.0,), detection=2.0, repair=3.0)
        outcome = simulate(scene(platform, fault, tenants=tenants, duration_s=alone_s + 30.0), CATALOG)
        [event] = events(outcome)
        assert event.recovery_s == pytest.approx(5.0 + alone_s, rel=1e-9)
        [up] = outcome.faults.tenants if outcome.faults is not None else ()
        assert up.window_s - up.available_s == pytest.approx(5.0 + alone_s, rel=1e-9)
        # Poisson arrivals at 5 /s while it was down, and perhaps one in flight
        lost, expected = event.requests_lost, 5.0 * (5.0 + alone_s)
        assert abs(lost - expected) <= 5 * expected**0.5 + 1
        assert all(name in reason for reason in outcome.tenants[0].failed)
        served = outcome.tenants[0]
        assert served.in_flight_after <= 3  # those that came in the 24 s after the start have been served
        assert served.completed + event.requests_lost == served.arrived - served.in_flight_after


def test_who_starts_at_the_same_time_waits_for_locks() -> None:
    """Three machines start together after their host; each waits for the network lock of those before it, and all are back in order."""
    outcome = simulate(scene("kvm", at_once("host-kernel-panic", 0.5), duration_s=60.0), CATALOG)
    [event] = events(outcome)
    back = [victim.back_s for victim in event.victims]
    resolved = Resolved(scene("kvm"), CATALOG)
    starts = CATALOG.starts(resolved.stack, "web-service")
    locked = [step for step in chain_of(resolved.stack, starts, 2).steps if step.stage.kind == "lock"]
    hold_s = max(math.fsum(step.alone_s(instances=2.0) for step in locked if step.level == level) for level in (2, 3))
    assert hold_s > 0.0
    assert [time - back[0] for time in back if time is not None and back[0] is not None] == pytest.approx([0.0, hold_s, 2 * hold_s])


def test_a_fault_below_takes_over_from_one_above() -> None:
    """The guest would be back after its own start; but its host panics meanwhile, and everything starts from there."""
    guest, host = at_once("guest-kernel-panic", 1.0, "web 2"), at_once("host-kernel-panic", 2.0)
    first, second = events(simulate(scene("kvm", guest, host, duration_s=60.0), CATALOG))
    assert [victim.back_s for victim in first.victims] == [None]
    assert first.repaired_s is None
    assert all(victim.back_s is not None and victim.back_s > 20.0 for victim in second.victims)


def test_what_is_down_does_not_break() -> None:
    host, guest = at_once("host-kernel-panic", 1.0), at_once("guest-kernel-panic", 2.0, "web 2")
    _, second = events(simulate(scene("kvm", host, guest, duration_s=60.0), CATALOG))
    assert second.victims == ()
    assert second.instances_hit == 0


def test_a_container_does_not_start_while_its_daemon_is_down() -> None:
    """The daemon is down from 1 to 7; the application that crashes at 2 starts at 7, those of a platform without a daemon at once."""
    daemon = Fault(fault="container-daemon-crash", at=(1.0,), detection=1.0, repair=5.0)
    crash = at_once("application-crash", 2.0, "web 1")
    both = simulate(scene("docker", daemon, crash, duration_s=20.0), CATALOG)
    alone = simulate(scene("docker", crash, duration_s=20.0), CATALOG)
    assert events(both)[1].recovery_s == pytest.approx(events(alone)[0].recovery_s + 5.0)
    assert both.tenants[1].failed == {}  # containers live on
    with pytest.raises(ScenarioError, match="no daemon starts containers here"):
        check_scenario(scene("lxc", daemon), CATALOG)


def test_a_hang_is_found_out_and_loses_what_waited() -> None:
    """Hung at 2, found at 5: what came in between waits, and fails at 5; nobody is told before."""
    fault = Fault(fault="application-hang", at=(2.0,), target="web 1", detection=3.0, repair=0.0)
    simulation = Simulation(scene("bare-metal", fault), CATALOG)
    simulation.engine.run(until=4.999)
    assert simulation.tenants[0].failed == 0
    simulation.engine.run(until=5.001)
    waited = simulation.tenants[0].failed
    assert waited == pytest.approx(40.0 * 3.0, abs=5 * (40.0 * 3.0) ** 0.5)
    simulation.engine.run(until=30.0)
    assert simulation.tenants[0].outcome().completed > 0
    assert simulation.tenants[1].failed == 0


@pytest.mark.parametrize("scheduler", ["fluid", "platform"])
def test_a_stall_of_the_service_vm_delays_and_loses_nothing(scheduler: str) -> None:
    """2 s without domain 0: what arrives waits for it, at most 2 s and what the queue then takes; elsewhere there is no such fault."""
    stall = Fault(fault="service-vm-stall", at=(3.0,), repair=2.0)
    outcome = simulate(scene("xen-hvm", stall, duration_s=10.0, scheduler=scheduler), CATALOG)
    calm = simulate(scene("xen-hvm", duration_s=10.0, scheduler=scheduler), CATALOG)
    for tenant, before in zip(outcome.tenants, calm.tenants, strict=True):
        assert tenant.failed == {}
        assert tenant.arrived == before.arrived
        assert 1.8 < tenant.histogram.max_s < 2.2
        assert before.histogram.max_s < 0.1
    with pytest.raises(ScenarioError, match="no service VM has the drivers"):
        check_scenario(scene("kvm", stall), CATALOG)


# --- devices


def test_a_slow_disk_takes_so_many_times_as_long() -> None:
    """Reads from the disk one at a time, far apart: the disk's part of the response is the factor times what it was."""
    reads = (Tenants(workload="fio-read", load=Deterministic(rate_per_s=20.0)),)
    slow = Fault(fault="disk-slow", at=(0.0,), repair=100.0, factor=7.0)
    calm, late = (simulate(scene("bare-metal", *faults, tenants=reads, duration_s=5.0), CATALOG).tenants[0] for faults in ((), (slow,)))

    own_s = {part.cause: part.seconds for part in calm.time_parts if not part.is_wait}
    device_s = own_s["disk_read"] + own_s["disk_transfer"]
    assert late.histogram.mean_s - calm.histogram.mean_s == pytest.approx(6.0 * device_s, rel=1e-6)


def test_a_failed_disk_fails_what_needs_it_and_nothing_else() -> None:
    groups = (
        Tenants(name="reads", workload="fio-read", load=Poisson(rate_per_s=200.0)),
        Tenants(name="web", workload="key-value-store", load=Poisson(rate_per_s=200.0)),
        Tenants(name="closed", workload="fio-read", load=ClosedLoop(clients=3, think=Constant(value=0.01))),
    )
    fault = Fault(fault="disk-failure", at=(2.0,), detection=1.0, repair=2.0)
    outcome = simulate(scene("docker", fault, tenants=groups, duration_s=10.0), CATALOG)
    assert_nothing_is_lost(outcome)
    reads, web, closed = outcome.tenants
    assert web.failed == {}
    assert reads.failed["error by disk-failure"] == pytest.approx(600, abs=5 * 600**0.5)
    assert reads.completed == pytest.approx(1400, abs=5 * 1400**0.5)
    assert closed.failed["error by disk-failure"] > 100  # clients go on asking
    assert {victim.tenant for victim in events(outcome)[0].victims} == {"reads", "closed"}


def test_nobody_is_reached_through_a_failed_card_but_those_on_the_host() -> None:
    groups = (
        Tenants(name="far", workload="key-value-store", load=Poisson(rate_per_s=100.0)),
        Tenants(name="near", workload="key-value-store", load=Poisson(rate_per_s=100.0), peer="host"),
    )
    fault = Fault(fault="network-card-failure", at=(2.0,), detection=0.0, repair=3.0)
    far, near = simulate(scene("docker", fault, tenants=groups, duration_s=10.0), CATALOG).tenants
    assert sum(far.failed.values()) == pytest.approx(300, abs=5 * 300**0.5)
    assert near.failed == {}


# --- at random, and again


def test_faults_at_random_are_the_same_each_time_and_on_every_platform() -> None:
    """Times to failure come from streams of their own: the same on two platforms, different in two replications."""

    def crashes(platform: str, replication: int) -> list[tuple[float, str]]:
        fault = Fault(fault="application-crash", mtbf=5.0, detection=0.0, repair=0.0)
        found = events(simulate(scene(platform, fault, duration_s=60.0), CATALOG, replication))
        return [(event.time_s, event.instance) for event in found]

    assert crashes("docker", 0) == crashes("docker", 0)
    assert crashes("docker", 0) != crashes("docker", 1)
    assert crashes("docker", 0)[0] == crashes("kvm", 0)[0]


def test_the_timeline_is_in_order_and_without_faults_there_is_none() -> None:
    fault = Fault(fault="application-crash", mtbf=5.0)
    times = [event.time_s for event in events(simulate(scene("docker", fault, duration_s=60.0), CATALOG))]
    assert times == sorted(times)
    assert len(times) > 10
    calm = simulate(scene("docker", duration_s=2.0), CATALOG)
    assert calm.faults is None


def test_a_scenario_without_faults_keeps_its_fingerprint() -> None:
    assert scene("kvm").digest() == scene("kvm").model_copy(update={"faults": ()}).digest()
    assert scene("kvm").digest() != scene("kvm", at_once("host-loss", 1.0)).digest()


# --- what is refused


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"fault": "guest-kernel-panic", "at": 1.0}, "0.fault: 'guest-kernel-panic' needs a guest-kernel, but on 'docker' tenants share"),
        ({"fault": "guest-panic"}, "faults.0.fault: 'guest-panic' is unknown"),
        ({"fault": "application-crash", "at": 1.0}, "faults.0.target: missing, and there are 3 of the application; name one of 'web 1'"),
        ({"fault": "application-crash", "target": "web 7"}, "faults.0.target: 'web 7' has no application; did you mean"),
        ({"fault": "host-loss", "at": [1.0, 99.0]}, "faults.0.at: 99 s in a run of 30 s; must be earlier, or run longer"),
        ({"fault": "host-loss", "at": 1.0, "mtbf": "1 h"}, "faults.0: at and mtbf are both given"),
        ({"fault": "host-loss", "at": 1.0, "factor": 3}, "faults.0.factor: 3, but 'host-loss' is a crash"),
        ({"fault": "disk-slow", "detection": "1 s"}, "faults.0.detection: 1 s, but a slow-down ends by itself"),
        ({"fault": "host-loss", "at": []}, "no time; give one"),
        ({"fault": "host-loss", "when": 1.0}, "faults.0.when: no such entry; "),
        ({"fault": "host-loss", "repair": "3 kg"}, "faults.0.repair: "),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_a_way_out(entry: dict[str, Any], message: str) -> None:
    document = scene("docker").model_dump(mode="json", exclude={"faults"})
    with pytest.raises(ScenarioError) as caught:
        load_scenario({**document, "faults": [entry]}, CATALOG)
    assert any(message in problem for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize("name", CATALOG.names("faults"))
def test_every_fault_has_evidence_and_somewhere_to_happen(name: str) -> None:
    profile = CATALOG.fault(name)
    assert profile.effect in fits(profile.breaks)
    assert any(name in possible(platform) for platform in PLATFORMS)
    assert profile.mtbf_s.si > 0.0
    for cost in (profile.mtbf_s, profile.detection_s, profile.repair_s, profile.repair_cv, profile.slow_factor):
        assert cost.source in CATALOG.references


# --- the command line

TOLD = """
platform = "docker"
machine = "small-server"

[[tenants]]
name = "web"
workload = "web-service"
count = 2
load = { kind = "poisson", rate_per_s = "50 /s" }

[[faults]]
fault = "application-crash"
target = "web 1"
at = ["1 s", "6 s"]
detection = "0.5 s"

[run]
duration_s = "10 s"
replications = 2
warm_up_fraction = 0.0
"""


def test_the_command_line_tells_who_fell_when_why_and_when_it_was_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "told.toml"
    path.write_text(TOLD, encoding="utf-8")
    assert main(["check", str(path)]) == 0
    assert main(["run", str(path)]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if "application-crash" in line and "web 1" in line and not line.startswith("web")]
    assert [row[:2] for row in rows] == [["0", "1.000"], ["0", "6.000"], ["1", "1.000"], ["1", "6.000"]]
    outcome = simulate(load_scenario(path, CATALOG), CATALOG)
    assert [row[-3] for row in rows[:2]] == [str(event.requests_lost) for event in events(outcome)]
    assert "web 1 failed" in out
    assert "web 2 failed" not in out
    assert main(["availability", str(path), "--years", "1"]) == 0
    out = capsys.readouterr().out
    assert "all faults that take tenants down here" in out
    assert "host-kernel-panic" in out
    assert "guest-kernel-panic" not in out


def test_the_rows_of_a_run_are_metrics_of_the_catalog() -> None:
    fault = Fault(fault="application-crash", at=(1.0,), target="web 1", detection=0.0, repair=0.0)
    rows = [(row.entity, row.metric, row.value) for row in simulate(scene("docker", fault, duration_s=5.0), CATALOG).rows({})]
    assert all(name in metrics() for _, name, _ in rows)
    found = {(entity, name): value for entity, name, value in rows}
    entity = "fault/1 application-crash/web 1"
    assert found[entity, "tenants_hit"] == 1.0
    assert found[entity, "time_to_recover_s"] == pytest.approx((1.0 - found["tenant/web 1", "availability"]) * 5.0)
    reasons = [value for (who, name), value in found.items() if name == "requests_failed" and who.startswith("tenant/web 1/")]
    assert sum(reasons) == found["tenant/web 1", "requests_failed"] == found[entity, "requests_lost"]


# --- neighbours of the dead


@pytest.mark.parametrize("scheduler", ["fluid", "platform"])
@pytest.mark.parametrize("fault", ["application-crash", "application-hang"])
def test_who_dies_or_hangs_in_a_section_of_the_kernel_leaves_its_lock(fault: str, scheduler: str) -> None:
    """Two containers that are under the lock of their kernel a third of the time; one dies at 1 s: the other goes on, and faster."""
    busy = Tenants(name="a", workload="locked-pieces", load=ClosedLoop(clients=6, think=Constant(value=0.0)), count=2)
    override = {"locked-pieces.piece.locked.held_s": "200 us"}
    times = tuple(1.0 + 1e-5 * i for i in range(4))
    strikes = tuple(Fault(fault=fault, at=(time,), target="a 1", detection=3.0, repair=5.0) for time in times)
    simulation = Simulation(scene("docker", *strikes, tenants=(busy,), scheduler=scheduler, override=override, duration_s=4.0), CATALOG)
    simulation.engine.run(until=0.9)
    before = [tenant.outcome().completed for tenant in simulation.tenants]
    simulation.engine.run(until=1.1)
    middle = [tenant.outcome().completed for tenant in simulation.tenants]
    simulation.engine.run(until=2.0)
    after = [tenant.outcome().completed for tenant in simulation.tenants]
    assert after[0] == middle[0]  # the dead does nothing
    assert (after[1] - middle[1]) / 0.9 > 1.2 * before[1] / 0.9
    assert_nothing_is_lost(simulation.outcome())


def test_a_thread_of_a_backend_that_a_dead_tenant_held_serves_its_neighbour() -> None:
    """Two tenants in one virtual machine whose disk thread waits for the device: one dies while it holds that thread."""
    pair = Tenants(name="a", workload="fio-read", load=ClosedLoop(clients=4, think=Constant(value=0.0)), count=2, per_vm=2)
    strikes = tuple(Fault(fault="application-crash", at=(0.5 + 0.07 * i,), target="a 1", detection=0.0, repair=0.0) for i in range(4))
    for scheduler in ("fluid", "platform"):
        simulation = Simulation(scene("firecracker", *strikes, tenants=(pair,), scheduler=scheduler, duration_s=3.0), CATALOG)
        simulation.engine.run(until=0.8)
        before = simulation.tenants[1].outcome().completed
        simulation.engine.run(until=1.0)
        assert simulation.tenants[1].outcome().completed > before + 100


def test_who_was_killed_for_want_of_memory_is_back_with_its_machine() -> None:
    """A runtime outgrows its limit and is killed; its kernel panics later, and after the start it serves, grows and is killed again."""
    java = Tenants(name="java", workload="java-service-unaware", load=Poisson(rate_per_s=250.0), memory="1 GiB")
    override = {"java-service-unaware.footprint.heap.share": 0.75, "small-server.memory_bytes": 3.0}
    fault = Fault(fault="guest-kernel-panic", at=(12.0,), target="java", detection=0.0, repair=0.0)
    described = scene("kvm", fault, tenants=(java,), override=override, duration_s=40.0)
    outcome = simulate(described, CATALOG)
    assert_nothing_is_lost(outcome)
    assert outcome.memory is not None
    [event] = events(outcome)
    back_s = event.victims[0].back_s
    assert back_s is not None
    killed = [kill.time_s for kill in outcome.memory.kills]
    assert [time < 12.0 for time in killed] == [True, False]
    assert killed[1] - back_s == pytest.approx(killed[0], rel=0.25)  # it takes as long to outgrow the machine again
