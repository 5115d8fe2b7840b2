"""Caches and memory in scenarios: what is asked for, refused, told, and seen in results."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from ideal import IdealCatalog, bare, in_vm, workload

from simvirt.catalog import Catalog
from simvirt.demand import Compute
from simvirt.errors import CatalogError, ScenarioError
from simvirt.memory_character import MemoryCharacter
from simvirt.memory_contention import topology_of
from simvirt.resources.memory_system.contention import waiting_share
from simvirt.scenario import Run, Scenario, Tenants, load_scenario, scenario_notes
from simvirt.simulation import simulate
from simvirt.workloads.arrivals import ClosedLoop, Poisson
from simvirt.workloads.distributions import Constant

CATALOG = Catalog.builtin()
ENDLESS = {"kind": "closed", "clients": 1, "think": {"kind": "constant", "value": 0}}
CONTENTION = "cache and memory contention"


def document(*others: dict[str, Any], **plain: Any) -> dict[str, Any]:
    """A store beside other tenants."""
    store = {"name": "store", "workload": "key-value-store", "load": {"kind": "poisson", "rate_per_s": "10 k/s"}}
    run = {"duration_s": "0.1 s", "replications": 1}
    return {"platform": "docker", "machine": "server-2s", "scheduler": "cfs", "tenants": [store, *others], "run": run, **plain}


def hog(name: str = "hog", kind: str = "cache-thrasher", **other: Any) -> dict[str, Any]:
    return {"name": name, "workload": kind, "load": ENDLESS, **other}


def refusal(source: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ScenarioError) as error:
        load_scenario(source, CATALOG)
    return error.value.problems


# ---- at the door ----


def test_every_mistake_about_memory_is_told_at_once() -> None:
    asks = document(
        hog("a", llc_bytes="20 MiB", home_node=2),
        {**hog("b", llc_bytes="4 MiB"), "workload": "batch-compute"},
        override={"key-value-store.memory.accesses_per_s": "80 M/s"},
    )
    least = "tenants: llc_bytes add up to 24 MiB; at most 22 MiB, the last-level cache of a socket"
    waits = "tenants.0.workload: 'key-value-store' would wait for caches and memory of server-2s 1.25 s per second of CPU time, alone"
    assert refusal(asks) == (
        "tenants.1.home_node: 2; nodes are numbered from 0 to 1, one per socket",
        "tenants.2.llc_bytes: workload 'batch-compute' does not say how it uses memory; give it a [memory] table, or remove this",
        f"{least}, and something must be left for the tenants without a partition",
        f"{waits}; at most 1: lower key-value-store.memory.accesses_per_s, or raise key-value-store.memory.parallelism",
    )


def test_entries_out_of_bounds_are_refused_with_the_others() -> None:
    problems = refusal(document(hog(llc_bytes=0, home_node=-1, per_vm=0)))
    assert [problem.split(":")[0] for problem in problems] == ["tenants.1.per_vm", "tenants.1.llc_bytes", "tenants.1.home_node"]


def test_fluid_sharing_refuses_what_it_has_not_got_and_says_what_it_leaves_out() -> None:
    two_threads = {"server-2s.socket.threads_per_core": 2}
    problems = refusal(document(hog(llc_bytes="4 MiB", home_node=1), scheduler="fluid", override=two_threads))
    assert [problem.split(":")[0] for problem in problems] == ["scheduler", "tenants.1.llc_bytes", "tenants.1.home_node"]
    assert all("choose" in problem for problem in problems)
    (note,) = scenario_notes(load_scenario(document(hog(count=2), scheduler="fluid"), CATALOG), CATALOG)
    assert note == "note: 3 tenants use the same caches and memory; fluid sharing leaves out what they do to each other there"
    assert scenario_notes(load_scenario(document(scheduler="fluid"), CATALOG), CATALOG) == []
    assert scenario_notes(load_scenario(document(hog()), CATALOG), CATALOG) == []


def test_a_machine_that_cannot_be_is_refused_without_a_traceback() -> None:
    override = {"server-2s.socket.threads_per_core": 3, "server-2s.socket.sibling_speed": 0.2, "server-2s.sockets": 3}
    assert [problem.split(";")[0] for problem in refusal(document(override=override))] == [
        "server-2s: sockets: 3 for 32 cores", "server-2s: threads_per_core: 0", "server-2s: sibling_speed: 0.2",
    ]  # fmt: skip


def test_numbers_of_a_character_are_set_by_hand_like_others() -> None:
    path = "key-value-store.memory.working_set_bytes"
    assert CATALOG.workload("key-value-store", {path: "8 MiB"}).memory == replace(
        CATALOG.workload("key-value-store").memory, working_set_bytes=8 * 2.0**20  # type: ignore[type-var]
    )
    with pytest.raises(CatalogError, match=r"override\.key-value-store\.memory\.reuse: no such number|reuse: 1\.5; must be above 0"):
        CATALOG.workload("key-value-store", {"key-value-store.memory.reuse": 1.5})


@pytest.mark.parametrize("machine", CATALOG.names("hardware"))
@pytest.mark.parametrize("name", [name for name in CATALOG.names("workloads") if CATALOG.workload(name).memory])
def test_every_character_fits_every_machine(machine: str, name: str) -> None:
    character = CATALOG.workload(name).memory
    assert character is not None
    assert 0.0 < waiting_share(character, topology_of(CATALOG.hardware(machine))) < 1.0


# ---- in results ----


def outcomes(source: dict[str, Any]) -> Any:
    return simulate(load_scenario(source, CATALOG), CATALOG)


@pytest.mark.parametrize("platform", ["docker", "kvm", "docker-in-kvm", "gvisor"])
def test_stalls_are_a_cause_of_their_own_and_everything_adds_up(platform: str) -> None:
    outcome = outcomes(document(hog(count=6), platform=platform, machine="small-server"))
    for tenant in outcome.tenants:
        parts = {(part.layer, part.cause): part.seconds for part in tenant.time_parts}
        assert parts["small-server", CONTENTION] > 0.05 * tenant.histogram.mean_s * (tenant.group == "hog")
        assert math.fsum(parts.values()) == pytest.approx(tenant.histogram.mean_s, rel=1e-9)
    store = outcome.tenants[0]
    lost_s = sum(part.seconds for part in store.time_parts if part.cause == CONTENTION)
    cpu_s = sum(part.seconds for part in store.time_parts if not part.is_wait and not part.cause.startswith("nic_"))
    assert store.cpu_s / store.completed == pytest.approx(cpu_s, rel=0.01)
    assert lost_s > 0.02 * cpu_s  # it is CPU time, more than the edges of the window


def test_a_neighbour_without_a_character_costs_nothing_on_another_core() -> None:
    beside, alone = outcomes(document(hog(kind="batch-compute", count=2))), outcomes(document())
    assert CONTENTION not in {part.cause for tenant in beside.tenants for part in tenant.time_parts}
    assert beside.tenants[0].cpu_s == pytest.approx(alone.tenants[0].cpu_s, rel=0.02)


def test_a_partition_keeps_the_store_from_harm() -> None:
    """With its own 5 of 11 MiB it loses no lines, and the thrashers, which are then left 6, cost it a little bandwidth."""
    plain, kept = ({"machine": "small-server", "platform": "kvm"} for _ in range(2))
    one = outcomes(document(hog(count=4), **plain)).tenants[0]
    source = document(hog(count=4), **kept)
    source["tenants"][0]["llc_bytes"] = "5 MiB"
    other = outcomes(source).tenants[0]

    def lost(tenant: Any) -> float:
        return sum(part.seconds for part in tenant.time_parts if part.cause == CONTENTION)

    assert 0.0 <= lost(other) < 0.1 * lost(one)


def test_hyper_threads_are_processors_and_their_contention_has_a_name() -> None:
    override = {"small-server.cores": 1, "small-server.socket.threads_per_core": 2}
    source = document(hog(kind="batch-compute"), machine="small-server", override=override)
    outcome = outcomes(source)
    for tenant in outcome.tenants:
        parts = {part.cause: part.seconds for part in tenant.time_parts}
        assert parts["hyper-thread contention"] > 0.0
        assert math.fsum(parts.values()) == pytest.approx(tenant.histogram.mean_s, rel=1e-9)
    assert 0.5 < outcome.cpu_utilization <= 1.0


@pytest.mark.parametrize("guest", ["cfs", "eevdf"])
def test_a_free_virtual_machine_feels_its_neighbours_as_bare_metal_does(guest: str) -> None:
    """Layers that cost nothing: the same arrivals, the same times to rounding."""
    character = MemoryCharacter(accesses_per_s=4e6, working_set_bytes=6e6, reuse=0.5)
    greedy = MemoryCharacter(accesses_per_s=6e6, working_set_bytes=1e9, cold=1.0)
    store = replace(workload(Compute(cpu_s=1e-3), threads=1, name="store"), memory=character)
    hogs = replace(workload(Compute(cpu_s=1e-2), threads=1, name="hogs"), memory=greedy)
    tenants = (
        Tenants(name="store", workload="store", load=Poisson(rate_per_s=300.0)),
        Tenants(name="hogs", workload="hogs", load=ClosedLoop(clients=1, think=Constant(value=0.0)), count=2),
    )
    found = []
    for layers in (bare(4), in_vm(4)):
        catalog = IdealCatalog(layers, store, hogs)
        names = catalog.names
        catalog.names = lambda kind, names=names: ("cfs", "eevdf") if kind == "schedulers" else names(kind)  # type: ignore[method-assign]
        scenario = Scenario(platform="ideal", tenants=tenants, run=Run(duration_s=2.0), scheduler="cfs", guest_scheduler=guest)
        found.append(simulate(scenario, catalog).tenants)
    for one, other in zip(*found, strict=True):
        assert one.histogram.mean_s == pytest.approx(other.histogram.mean_s, rel=1e-6)
        assert one.completed == other.completed
    assert found[0][0].histogram.mean_s > 1.05e-3
