"""Stressors, load windows, finite tables and limits: what holds whatever misbehaves."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

import simvirt
from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.demand import Allocate, Compute, Connect, Demand, FileGrowth, FileOpen, Spawn, Watch
from simvirt.errors import CatalogError, ScenarioError
from simvirt.isolation.disturbance import Disturbance
from simvirt.isolation.effect import effect_on
from simvirt.isolation.limits import LIMITS, limited
from simvirt.layers.kernel_tables import NO_TABLES, Entries, TableKind, entries_of, place_of_table
from simvirt.resources.entries import Part
from simvirt.resources.table import Table
from simvirt.scenario import Scenario, as_tenants, load_scenario
from simvirt.simulation import RunOutcome, Simulation, simulate
from simvirt.simulation.tables import refused_s
from simvirt.table_reader import build_layer_tables, table_costs
from simvirt.workloads.between import gaps_between, thinks_between

CATALOG = Catalog.builtin()
STRESSORS = [name for name in CATALOG.names("workloads") if CATALOG.workload(name).stressor is not None]
LAYERS = CATALOG.names("layers")
every_stressor = pytest.mark.parametrize("stressor", STRESSORS)


def document(stressors: list[dict[str, Any]], platform: str = "docker", duration_s: float = 0.6, **plain: Any) -> dict[str, Any]:
    """A service beside stressors on a machine of two cores."""
    web = {"name": "web", "workload": "web-service", "load": {"kind": "poisson", "rate_per_s": 300}, **plain.pop("web", {})}
    run = {"duration_s": duration_s, "warm_up_fraction": 0.0, "replications": 1}
    override = {"small-server.cores": 2, **plain.pop("override", {})}
    given = {"platform": platform, "machine": "small-server", "tenants": [web], "stressors": stressors, "run": run, "override": override}
    return {**given, **plain}


def run(stressors: list[dict[str, Any]], **plain: Any) -> RunOutcome:
    return simulate(load_scenario(document(stressors, **plain), CATALOG), CATALOG)


def balanced(outcome: RunOutcome) -> bool:
    """Whether nothing is lost silently."""
    return all(
        t.in_flight_before + t.arrived == t.completed + sum(t.failed.values()) + t.in_flight_after and t.in_flight_after >= 0
        for t in outcome.tenants
    )


# --- Tables ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 8.0), st.booleans()), max_size=60), st.floats(0.0, 20.0), st.floats(0.0, 10.0))
def test_entries_never_exceed_capacity_and_parts_add_up(steps: list[tuple[int, float, bool]], capacity: float, limit: float) -> None:
    whole = Table("whole", capacity)
    parts = [Table("a", limit, whole), Table("b", inf, whole), Table("c", limit, whole)]
    for i, count, takes in steps:
        part = parts[i]
        before = [table.entries for table in (whole, *parts)]
        if takes:
            full = part.take(count)
            if full is not None:
                assert full.entries + count > full.capacity
                assert [table.entries for table in (whole, *parts)] == before
        else:
            part.give(min(count, part.entries))
        assert all(0.0 <= table.entries <= table.capacity for table in (whole, *parts))
        assert whole.entries == pytest.approx(sum(part.entries for part in parts), abs=1e-9)


def test_what_is_not_held_cannot_be_given_back() -> None:
    table = Table("processes", 10.0)
    assert table.take(3.0) is None
    with pytest.raises(ValueError, match="4 entries given back of 3"):
        table.give(4.0)
    with pytest.raises(ValueError, match="at least 0"):
        Table("processes", -1.0)


def test_what_an_owner_kept_comes_back_when_it_ends_and_all_when_it_dies() -> None:
    """Two requests take 2 each; one ends and leaves 1 behind: 3 are held. Its owner ends: the kept one comes back, the other's 2 stay."""
    whole = Table("processes", 5.0)
    part = Part(Table("mine", 4.0, whole), "my limit", "table full")
    assert part.take(2.0) == "" and part.take(2.0) == ""
    assert part.take(1.0) == "my limit"
    part.end(2.0, 1.0)
    assert (whole.entries, part.kept) == (3.0, 1.0)
    part.leave()
    assert whole.entries == 2.0
    part.end(2.0, 1.0)  # one that was under way keeps nothing any more
    assert whole.entries == 0.0
    part.kept = 0.0
    other = Part(Table("other", inf, whole), "my limit", "table full")
    assert other.take(3.5) == ""
    other.keep_rest()
    assert (whole.entries, other.kept) == (5.0, 1.5)
    other.die()
    other = Part(Table("other", inf, whole), "my limit", "table full")
    assert other.take(5.0) == ""
    assert part.take(1.0) == "table full"
    other.die()
    assert whole.entries == 0.0


def test_entries_of_a_demand_add_up_by_kind() -> None:
    demand = Demand((
        Spawn(count=2.0, kept=1.0), FileOpen(count=3.0), Connect(count=1.0), FileGrowth(files=1.0, size_bytes=10.0), Watch(count=4.0),
        Allocate(size_bytes=5.0, kept_bytes=2.0), Spawn(count=1.0),
    ))  # fmt: skip
    assert entries_of(demand) == (
        Entries(TableKind.PROCESSES, 3.0, 1.0),
        Entries(TableKind.DESCRIPTORS, 4.0, 0.0),
        Entries(TableKind.DISK_SPACE, 10.0, 10.0),
        Entries(TableKind.INODES, 1.0, 1.0),
        Entries(TableKind.WATCHES, 4.0, 4.0),
        Entries(TableKind.PRIVATE_MEMORY, 5.0, 2.0),
    )
    assert entries_of(Demand((Compute(cpu_s=1.0), FileOpen()))) == ()


def test_who_is_refused_has_done_what_came_before_and_one_call_for_each_entry() -> None:
    stack = CATALOG.stack("bare-metal")
    spawn = Spawn(count=3.0)
    alone = refused_s(stack, Demand((spawn,)), entries_of(Demand((spawn,))))
    after = refused_s(stack, Demand((spawn, Compute(cpu_s=1.0))), entries_of(Demand((spawn,))))
    before = refused_s(stack, Demand((Compute(cpu_s=1.0), spawn)), entries_of(Demand((spawn,))))
    assert 0.0 < alone == after < 1e-5
    assert before > 1.0 / stack.host.core_speed


PLACES = {
    # platform: layer that has the table of processes, that of the disk, and the default limit of open files
    "bare-metal": ("linux", "linux", 1024.0),
    "docker": ("linux", "linux", 1048576.0),
    "kvm": ("linux-guest", "linux-guest", 1024.0),
    "docker-in-kvm": ("linux-guest", "linux-guest", 1048576.0),
    "gvisor": ("gvisor", "linux", None),
}


@pytest.mark.parametrize("platform", PLACES)
def test_a_table_belongs_to_the_nearest_kernel_that_has_one(platform: str) -> None:
    names = CATALOG.platform(platform).layers
    layers = (NO_TABLES, *map(CATALOG.layer_tables, names))
    processes, space, files = (place_of_table(layers, kind) for kind in (TableKind.PROCESSES, TableKind.DISK_SPACE, TableKind.DESCRIPTORS))
    assert processes.level is not None and space.level is not None
    assert (names[processes.level - 1], names[space.level - 1], files.limit) == PLACES[platform]
    assert processes.limit is None


def test_an_engine_may_limit_by_default() -> None:
    layers = (NO_TABLES, *map(CATALOG.layer_tables, CATALOG.platform("podman").layers))
    place = place_of_table(layers, TableKind.PROCESSES)
    assert (place.level, place.limited_by, place.limit) == (1, 2, 4096.0)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_table_has_evidence(layer: str) -> None:
    for path, cost in table_costs(CATALOG.layer_tables(layer)):
        assert cost.source in CATALOG.references, path
        assert cost.low <= cost.value <= cost.high, path


def test_the_size_by_memory_is_the_smaller_one() -> None:
    rule = CATALOG.layer_tables("linux").rules[TableKind.PROCESSES]
    assert rule.size(2.0**30) == 8192.0  # 1 GiB / 128 KiB
    assert rule.size(2.0**50) == 4194304.0


def test_mistakes_in_tables_are_told_together() -> None:
    number = {"value": 1, "unit": "count", "low": 1, "high": 1, "source": "assumption", "where": "x", "grade": "assumed"}
    entries = {"proceses": {"limit": number}, "inodes": {"limits": number}, "disk_space": {"capacity": number}, "watches": 3}
    with pytest.raises(CatalogError) as error:
        build_layer_tables("mine", entries, CATALOG.references, {})
    told = "\n".join(error.value.problems)
    assert "mine.tables.proceses: no such kind of table; did you mean 'processes'" in told
    assert "mine.tables.inodes.limits: not a part of a table of inodes; did you mean 'limit'" in told
    assert "mine.tables.disk_space.capacity: not a part of a table of disk space" in told
    assert "mine.tables.watches: 3; must be numbers with evidence" in told


# --- Windows ---------------------------------------------------------------------------------------------------------


def test_arrivals_of_a_window_lie_in_it() -> None:
    """Gaps of 1 s from 2 s on and before 5 s: arrivals at 3 and 4 s."""
    assert list(gaps_between(iter([1.0] * 9), 2.0, 5.0)) == [3.0, 1.0]
    assert list(gaps_between(iter([1.0] * 3), 0.0, inf)) == [1.0, 1.0, 1.0]


def test_clients_of_a_window_ask_in_it() -> None:
    now = 0.0
    thinks = thinks_between(iter([1.0] * 9), 2, 3.0, 6.0, lambda: now)
    assert [next(thinks), next(thinks)] == [4.0, 4.0]  # both begin to think at 3 s
    now = 4.5
    assert next(thinks) == 1.0  # asks at 5.5 s
    assert next(thinks) == 1.0
    now = 5.5
    assert next(thinks) == inf  # would ask at 6.5 s


CLIENTS = {"kind": "closed", "clients": 3, "think": {"kind": "constant", "value": 0.001}}


@pytest.mark.parametrize("load", [{"kind": "poisson", "rate_per_s": 500}, CLIENTS])
def test_a_tenant_asks_only_in_its_window(load: dict[str, Any]) -> None:
    described = load_scenario(document([], web={"load": load, "start": 0.2, "stop": 0.4}), CATALOG)
    before, during, after = Simulation(described, CATALOG).run_in_phases((0.2, 0.45, 0.6))
    assert (before.tenants[0].arrived, after.tenants[0].arrived) == (0, 0)
    assert during.tenants[0].arrived == during.tenants[0].completed > 50


# --- Stressors -------------------------------------------------------------------------------------------------------


@every_stressor
def test_at_intensity_zero_a_stressor_changes_nothing(stressor: str) -> None:
    none = run([])
    assert run([{"stressor": stressor, "intensity": 0}]) == none
    assert run([{"stressor": stressor, "intensity": 0.5}]).tenants[0] != none.tenants[0] or stressor in ("bandwidth-hog", "cache-thrasher")


@every_stressor
@pytest.mark.parametrize("platform", ["docker", "kvm"])
def test_a_stressor_does_something_and_nothing_is_lost(stressor: str, platform: str) -> None:
    outcome = run([{"name": "bad", "stressor": stressor, "start": 0.1, "stop": 0.5, "intensity": 0.2}], platform=platform)
    bad = outcome.tenant("bad")
    assert bad.completed + sum(bad.failed.values()) > 0
    assert balanced(outcome)


def test_intensity_scales_workers_and_rates() -> None:
    hog, flood = CATALOG.workload("cpu-hog").stressor, CATALOG.workload("net-flood-receive").stressor
    assert hog is not None and flood is not None
    clients = [as_tenants(scenario_of("cpu-hog", x), CATALOG).tenants[1].load.clients for x in (0.25, 0.26, 1.0, 2.0)]  # type: ignore[union-attr]
    assert clients == [1, 2, 4, 8]
    assert as_tenants(scenario_of("net-flood-receive", 0.5), CATALOG).tenants[1].load.rate_per_s == 0.5 * 10000  # type: ignore[union-attr]


def scenario_of(stressor: str, intensity: float) -> Scenario:
    return load_scenario(document([{"stressor": stressor, "intensity": intensity}]), CATALOG)


SMALL = {"linux.tables.processes.capacity": 2000}
BOMB = {"name": "bomb", "stressor": "fork-bomb", "start": 0.0, "stop": 4.0}
FORKS = {
    "name": "batch", "workload": "fork-process", "load": {"kind": "poisson", "rate_per_s": 50.0}, "start": 2.0
}  # fmt: skip


def forking(platform: str, bomb: dict[str, Any]) -> RunOutcome:
    """Processes that are started one by one beside a fork bomb."""
    catalog = Catalog.builtin(Path(simvirt.__file__).parent / "profiles" / "cases" / "profiles")
    layers = catalog.platform(platform).layers
    override = {f"{name}.tables.processes.capacity": 2000 for name in layers if TableKind.PROCESSES in catalog.layer_tables(name).rules}
    described = document([{**BOMB, **bomb}], platform=platform, duration_s=3.5, override=override)
    return simulate(load_scenario({**described, "tenants": [FORKS]}, catalog), catalog)


def test_a_fork_bomb_leaves_nobody_on_its_kernel_a_process_unless_it_is_limited() -> None:
    """2,000 entries are taken within two seconds: 1 / (0.2 ms + fork) on each of two cores."""
    shared = forking(platform="docker", bomb={}).tenant("batch")
    assert (shared.completed, set(shared.failed)) == (0, {"no processes of linux left (EAGAIN)"})
    assert sum(shared.failed.values()) == shared.arrived - shared.in_flight_after > 50
    for platform, bomb in (("docker", {"pids_max": 500}), ("kvm", {}), ("gvisor", {})):
        apart = forking(platform=platform, bomb=bomb).tenant("batch")
        assert apart.failed == {} and apart.completed > 50, platform


def test_tables_hold_no_more_than_they_can_and_are_empty_when_the_stressor_has_ended() -> None:
    described = document([{**BOMB, "stop": 2.0, "pids_max": 300}, {"name": "fill", "stressor": "disk-filler", "stop": 2.0}], duration_s=3.0)
    simulation = Simulation(load_scenario(described, CATALOG), CATALOG)
    assert simulation.tables is not None
    most: dict[str, float] = {}
    for i in range(1, 31):
        simulation.engine.run(until=0.1 * i)
        for table in simulation.tables.tables:
            assert table.entries <= table.capacity
            most[table.name] = max(most.get(table.name, 0.0), table.entries)
    assert most["processes of bomb"] == 300.0 <= most["processes of linux"]
    assert most["disk space of linux"] == most["disk space of fill"] > 1e9
    assert all(table.entries == pytest.approx(0.0, abs=1e-6) for table in simulation.tables.tables)


def test_what_was_taken_before_a_refusal_comes_back() -> None:
    """A turn takes 100 open files, then finds no inode left: the files are given back, so no turn ever meets the limit of 250 of them."""
    filler = {"name": "fill", "stressor": "inode-filler", "nofile": 250, "inodes_max": 150}
    simulation = Simulation(load_scenario(document([filler], duration_s=0.3), CATALOG), CATALOG)
    outcome = simulation.run()
    assert simulation.tables is not None
    assert set(outcome.tenant("fill").failed) == {"limit of inodes reached (EDQUOT)"}
    [files] = [table for table in simulation.tables.tables if table.name == "open files of fill"]
    assert files.entries == 0.0


def test_entries_come_back_when_their_owner_is_killed() -> None:
    simulation = Simulation(load_scenario(document([BOMB], duration_s=2.0), CATALOG), CATALOG)
    assert simulation.tables is not None
    simulation.engine.run(until=1.0)
    [processes] = [table for table in simulation.tables.tables if table.name == "processes of linux"]
    assert processes.entries > 1000.0
    bomb = simulation.tenants[1]
    bomb.stop("killed: for a test")
    assert processes.entries == 0.0
    simulation.engine.run(until=2.0)
    assert processes.entries == 0.0
    told = bomb.outcome()
    assert told.arrived == told.completed + sum(told.failed.values()) and told.in_flight_after == 0


def test_who_lives_again_keeps_entries_again() -> None:
    """A leak of open files: nothing is held after the kill, and as much as before once it has leaked for as long again."""
    leak = {"name": "leak", "stressor": "descriptor-leak"}
    simulation = Simulation(load_scenario(document([leak], duration_s=1.5), CATALOG), CATALOG)
    assert simulation.tables is not None
    [files] = [table for table in simulation.tables.tables if table.name == "open files of leak"]
    tenant = simulation.tenants[1]
    simulation.engine.run(until=0.5)
    before = files.entries
    tenant.stop("killed: for a test")
    simulation.engine.run(until=1.0)
    assert (before > 0.0, files.entries) == (True, 0.0)
    tenant.revive()
    simulation.engine.run(until=1.5)
    assert files.entries == pytest.approx(before, rel=0.05)
    told = tenant.outcome()
    assert told.arrived == told.completed + sum(told.failed.values()) + told.in_flight_after


def test_a_kill_counts_no_request_twice_whatever_its_requests_wait_for() -> None:
    """Requests at a device when their tenant is killed still reach the stage behind it, which must not count them again."""
    clients = {"kind": "closed", "clients": 40, "think": {"kind": "constant", "value": 0.0}}
    for workload in ("database", "key-value-store", "network-heavy"):
        described = document([], web={"workload": workload, "load": clients}, override={"linux.network.tracked_connections": 10})
        simulation = Simulation(load_scenario(described, CATALOG), CATALOG)
        simulation.engine.run(until=0.2)
        simulation.tenants[0].stop("killed: for a test")
        at_once = simulation.tenants[0].outcome()
        simulation.engine.run(until=0.6)
        assert simulation.tenants[0].outcome().completed == at_once.completed
        assert simulation.tenants[0].outcome().failed == at_once.failed
        assert at_once.in_flight_after == 0


def test_memory_comes_back_when_the_stressor_has_ended() -> None:
    bomb = {"name": "bomb", "stressor": "memory-bomb", "stop": 0.3}
    described = document([bomb], override={"small-server.memory_bytes": 3.0}, duration_s=0.6)
    described["tenants"][0]["workload"] = "web-service"
    simulation = Simulation(load_scenario(described, CATALOG), CATALOG)
    assert simulation.memory is not None
    simulation.engine.run(until=0.28)
    grown = simulation.memory.machine.used_bytes
    simulation.engine.run(until=0.6)
    assert simulation.memory.machine.used_bytes < grown - 2e8


STEPS = st.fixed_dictionaries({
    "stressor": st.sampled_from([name for name in STRESSORS if not name.startswith(("net-flood", "disk-hog"))]),
    "intensity": st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    "start": st.sampled_from([0.0, 0.1]),
    "stop": st.sampled_from([0.2, 0.35]),
    "limits": st.sets(st.sampled_from(["pids_max", "nofile", "disk_quota", "inodes_max", "watches_max", "cap_cores"])),
})  # fmt: skip
SIZES = {"pids_max": 60, "nofile": 150, "disk_quota": 1e8, "inodes_max": 250, "watches_max": 350, "cap_cores": 0.5}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=1, max_size=3), st.sampled_from(["bare-metal", "docker", "gvisor", "kvm"]), st.booleans())
def test_offered_is_completed_and_failed_and_in_flight(steps: list[dict[str, Any]], platform: str, limited_web: bool) -> None:
    stressors = [
        {**{k: v for k, v in step.items() if k != "limits"}, **{k: SIZES[k] for k in sorted(step["limits"])}, "name": f"s{i}"}
        for i, step in enumerate(steps)
    ]
    web = {"nofile": 2, "threads": 8} if limited_web else {}
    layers = CATALOG.platform(platform).layers
    override = {f"{name}.tables.watches.capacity": 500 for name in layers if TableKind.WATCHES in CATALOG.layer_tables(name).rules}
    described = load_scenario(document(stressors, platform=platform, duration_s=0.5, web=web, override=override), CATALOG)
    simulation = Simulation(described, CATALOG)
    outcome = simulation.run()
    assert balanced(outcome)
    for table in () if simulation.tables is None else simulation.tables.tables:
        assert 0.0 <= table.entries <= table.capacity


# --- Recovery --------------------------------------------------------------------------------------------------------


def test_the_victim_is_as_before_when_the_stressor_has_gone() -> None:
    """Response times of the last part of runs that had a neighbour earlier, and of runs that had none: two samples of one distribution."""
    web = {"workload": "web-service", "vcpus": 2}
    fork = {"name": "bad", "stressor": "fork-bomb", "start": 0.5, "stop": 1.5}
    described = [load_scenario(document(s, duration_s=5.0, web=web), CATALOG) for s in ([fork], [])]
    samples = []
    for number, one in enumerate(described):
        times = []
        for replication in range(8):
            *_, last = Simulation(one, CATALOG, 2 * replication + number).run_in_phases((1.5, 2.5, 5.0))
            histogram = last.tenants[0].histogram
            times += [histogram.quantile(q) for q in (0.1, 0.25, 0.5, 0.75, 0.9)]
        samples.append(times)
    assert ks_2samp(*samples).pvalue > 0.01
    during = [Simulation(described[0], CATALOG, r).run_in_phases((0.5, 1.5))[1].tenants[0].histogram.quantile(0.5) for r in range(8)]
    calm = [Simulation(described[1], CATALOG, r).run_in_phases((0.5, 1.5))[1].tenants[0].histogram.quantile(0.5) for r in range(8)]
    assert ks_2samp(during, calm).pvalue < 0.01  # the test can see a neighbour


def test_an_effect_is_told_against_the_same_run_without_the_stressor() -> None:
    bad = {"name": "bad", "stressor": "cpu-hog", "start": 0.5, "stop": 1.5, "intensity": 4}
    web = {"load": {"kind": "poisson", "rate_per_s": 1500}}
    runs = []
    for stressors in ([bad], []):
        described = load_scenario(document(stressors, platform="bare-metal", duration_s=2.5, web=web), CATALOG)
        runs.append([Disturbance(scenario=described, start_s=0.5, stop_s=1.5, step_s=0.25).simulate(CATALOG, r) for r in range(2)])
    effect = effect_on("web", *runs, step_s=0.25)
    assert effect.responded and effect.p99_ratio > 1.5
    assert 0.0 <= effect.recovery_s < 1.0
    same = effect_on("web", runs[1], runs[1], step_s=0.25)
    assert (same.throughput_loss, same.p99_ratio, same.recovery_s, same.failed) == (0.0, 1.0, 0.0, 0)


# --- At the door -----------------------------------------------------------------------------------------------------


def refusal(source: dict[str, Any]) -> str:
    with pytest.raises(ScenarioError) as error:
        load_scenario(source, CATALOG)
    return "\n".join(error.value.problems)


def test_mistakes_about_stressors_are_told() -> None:
    assert "stressors.0.stressor: 'fork-bom' is unknown; did you mean 'fork-bomb'" in refusal(document([{"stressor": "fork-bom"}]))
    assert "stressors.0.stressor: 'database' is an ordinary workload" in refusal(document([{"stressor": "database"}]))
    nowhere = refusal(document([{"stressor": "cpu-hog", "inside": "wep"}]))
    assert "stressors.0.inside: 'wep' is no group of tenants; did you mean 'web'" in nowhere
    late = refusal(document([{"stressor": "cpu-hog", "start": 2.0}]))
    assert "start: 2 s in a run of 0.6 s; below that, or run longer" in late
    twice = refusal(document([{"stressor": "cpu-hog", "name": "web"}]))
    assert "tenants web: named twice" in twice
    backwards = refusal(document([{"stressor": "cpu-hog", "start": 0.3, "stop": 0.2}]))
    assert "start at 0.3 s and stop at 0.2 s" in backwards
    assert "stressors.0.intensity" in refusal(document([{"stressor": "cpu-hog", "intensity": -1}]))
    assert "stressors.0.pids_max" in refusal(document([{"stressor": "cpu-hog", "pids_max": 0}]))
    assert "no such entry; did you mean 'intensity'" in refusal(document([{"stressor": "cpu-hog", "intensty": 1}]))


def test_a_stressor_inside_a_tenant_shares_its_machine_and_its_part_of_tables() -> None:
    web = {"workload": "web-service", "vcpus": 2, "pids_max": 100, "memory": "1 GiB"}
    for platform in ("docker", "kvm"):
        own = {k: v for k, v in web.items() if k != "memory" or platform == "kvm"}
        described = document([{**BOMB, "stop": None, "inside": "web"}], platform=platform, duration_s=1.0, web=own)
        described["stressors"][0].pop("stop")
        outcome = run_document(described)
        bomb = outcome.tenant("bomb")
        assert set(bomb.failed) == {"no processes of " + ("linux" if platform == "docker" else "linux-guest of web") + " left (EAGAIN)"}
        assert bomb.completed == 100
        assert [i.name for i in outcome.instances if "of bomb" in i.name] == []


def run_document(described: dict[str, Any]) -> RunOutcome:
    return simulate(load_scenario(described, CATALOG), CATALOG)


def test_overrides_of_tables_are_checked_at_the_door() -> None:
    misspelt = refusal(document([], override={"linux.tables.proceses.capacity": 3}))
    assert "override.linux.tables.proceses.capacity: no such number" in misspelt
    elsewhere = refusal(document([], override={"gvisor.tables.processes.capacity": 3}))
    assert "override.gvisor.tables.processes.capacity: no such layer in this stack" in elsewhere


def test_limits_are_set_where_nothing_was_said() -> None:
    plain = load_scenario(document([{"stressor": "fork-bomb", "pids_max": 7}]), CATALOG)
    everything = limited(plain, LIMITS)
    assert (everything.stressors[0].pids_max, everything.stressors[0].nofile, everything.tenants[0].nofile) == (7, 1024, None)
    assert (everything.stressors[0].io_weight, everything.tenants[0].io_weight) == (100, 100)
    assert limited(plain, ()) == plain


def test_the_same_bytes_whatever_table_is_in_play_for_others() -> None:
    """A limit so wide that nobody meets it changes no time of anybody but by the threads that requests then keep."""
    tight, wide = (run([], web={"threads": 1, "nofile": limit}) for limit in (50, 5000))
    assert tight.tenants[0] == replace(wide.tenants[0])


# --- Commands --------------------------------------------------------------------------------------------------------


def test_the_command_line_tells_who_shares_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "docker"]) == 0
    told = capsys.readouterr().out
    assert "processes" in told and "none" in told and "pids_max" in told
    row = next(line for line in told.splitlines() if line.startswith("processes"))
    assert row.split()[1:3] == ["linux", "yes"]
    assert main(["tables", "kvm"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("processes"))
    assert row.split()[1:3] == ["linux-guest", "no"]
    assert main(["tables", "dokcer"]) == 2
    assert "docker" in capsys.readouterr().err


SCENARIO = """
platform = "docker"
machine = "small-server"
[[tenants]]
name = "web"
workload = "web-service"
nofile = 400
load = { kind = "poisson", rate_per_s = "400 /s" }
[run]
duration_s = "3 s"
replications = 1
[override]
"small-server.cores" = 2
"linux.tables.descriptors.entry_bytes" = "1 GiB"
"""


def test_the_command_line_finds_the_neighbour_that_breaks_an_objective_and_the_limit_that_saves_it(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """64 GiB at 1 GiB for an open file: 64 of them. A leak takes all of them, unless it may have fewer."""
    path = tmp_path / "web.toml"
    path.write_text(SCENARIO.replace("1 GiB", "50 MiB"))
    asked = ["isolation", str(path), "--slo", "error rate < 1 %", "--stressors", "descriptor-leak,cpu-hog"]
    assert main(asked) == 0
    told = capsys.readouterr().out
    leak = next(line for line in told.splitlines() if line.startswith("descriptor-leak"))
    assert "breaks it" in leak and "open files limit" in leak
    hog = next(line for line in told.splitlines() if line.startswith("cpu-hog"))
    assert "kept" in hog
    assert main(["isolation", str(path), "--stressors", "fork-bom"]) == 2
    assert "fork-bomb" in capsys.readouterr().err
    assert main(["isolation", str(path), "--slo", "speed < 3"]) == 2
