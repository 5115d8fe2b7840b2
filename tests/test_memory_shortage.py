"""Shortage of memory in whole runs: what fits changes nothing, nothing is lost, victims are results, bad input is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_memory import check

from simvirt.catalog import Catalog
from simvirt.errors import ScenarioError
from simvirt.resources.memory.kill import Reason
from simvirt.scenario import Resolved, Scenario, load_scenario
from simvirt.simulation import RunOutcome, Simulation, simulate

PROFILES = Path(__file__).parents[1] / "experiments" / "profiles"
CATALOG = Catalog.builtin(PROFILES)
GIB, MIB = 2.0**30, 2.0**20


def scenario(platform: str, *tenants: Mapping[str, Any], duration_s: float = 1.5, warm_up: float = 0.2, **top: Any) -> Scenario:
    groups = [{"workload": "web-service", "load": {"kind": "poisson", "rate_per_s": 100.0}, **tenant} for tenant in tenants]
    run = {"duration_s": duration_s, "warm_up_fraction": warm_up, "replications": 1}
    return load_scenario({"platform": platform, "machine": "small-server", "tenants": groups, "run": run, **top}, CATALOG)


def balanced(outcome: RunOutcome) -> None:
    """Requests are offered, completed, failed, or in flight."""
    for tenant in outcome.tenants:
        failed = sum(tenant.failed.values())
        assert tenant.arrived == tenant.completed + failed + tenant.in_flight_after - tenant.in_flight_before


SMALL = {"override": {"small-server.memory_bytes": 16.0}}

SHORT = {
    "limit": scenario("docker", {"count": 3, "memory_max": "300 MiB"}),
    "limit with swap": scenario("docker", {"count": 3, "memory_max": "150 MiB", "swap": "1 GiB"}, swap="4 GiB"),
    "host": scenario("docker", {"name": "large", "count": 3, "memory": "25 GiB"}, {"name": "small"}, swap="8 GiB"),
    "sandboxes": scenario("gvisor", {"count": 3, "memory": "21 GiB"}, swap="8 GiB"),
    "processes": scenario("bare-metal", {"count": 3, "memory": "30 GiB"}),
    "guest": scenario("kvm", {"memory": "400 MiB", "swap": "1 GiB"}),
    "machines": scenario("esxi", {"workload": "key-value-store", "count": 18, "memory": "2 GiB"}, overcommit_memory=True, **SMALL),
    "machines on a kernel": scenario(
        "kvm", {"workload": "key-value-store", "count": 18, "memory": "2 GiB"}, overcommit_memory=True, **SMALL
    ),
    "containers in machines": scenario("docker-in-kvm", {"per_vm": 2, "count": 4, "memory": "800 MiB", "memory_max": "250 MiB"}),
    "nested": scenario("kvm-in-kvm", {"count": 2, "memory": "400 MiB", "swap": "1 GiB"}),
    "hosted": scenario(
        "virtualbox",
        {"count": 24, "memory": "1 GiB"},
        overcommit_memory=True,
        swap="16 GiB",
        **SMALL,
    ),
}


@pytest.mark.parametrize("case", SHORT)
def test_no_byte_and_no_request_is_lost(case: str) -> None:
    simulation = Simulation(SHORT[case], CATALOG)
    system = simulation.memory
    assert system is not None
    for time_s in (0.011, 0.1, 0.5, 1.0):
        simulation.engine.run(until=time_s)
        check(*system.memories)
    again = Simulation(SHORT[case], CATALOG)
    outcome = again.run()
    balanced(outcome)
    assert outcome.memory is not None
    assert again.memory is not None
    check(*again.memory.memories)
    for held in outcome.memory.holdings:
        states = [getattr(held, f"{state}_bytes") for state in held.STATES[1:]]
        assert held.asked_bytes == pytest.approx(sum(states), abs=1.0)


@pytest.mark.parametrize("case", ["limit with swap", "processes", "machines"])
def test_the_same_seed_gives_the_same_run(case: str) -> None:
    first, second = (simulate(SHORT[case], CATALOG) for _ in range(2))
    assert list(map(repr, first.rows({}))) == list(map(repr, second.rows({})))
    assert first.memory == second.memory


@pytest.mark.parametrize("platform", ["docker", "kvm", "esxi", "xen-pv", "gvisor", "docker-in-kvm"])
def test_what_fits_changes_nothing(platform: str) -> None:
    silent = scenario(platform, {"count": 2})
    said = {"memory": "2 GiB"} if CATALOG.platform(platform).family in ("type1", "container_in_vm") else {"memory_max": "2 GiB"}
    spoken = scenario(platform, {"count": 2, **said, "oom_score_adj": 100}, swap="1 GiB")
    plain, generous = simulate(silent, CATALOG), simulate(spoken, CATALOG)
    assert generous.memory is None
    assert list(map(repr, plain.rows({}))) == list(map(repr, generous.rows({})))


# --- Results of a shortage -------------------------------------------------------------------------------------------


def test_the_host_kills_the_largest_where_no_limit_is_set_and_nobody_where_there_is_room() -> None:
    """64 GiB less about 1.5 GiB of kernel: 40 + 20 GiB and a small one fit; with 30 instead of 20 the one of 40 GiB goes."""
    fits = simulate(scenario("docker", {"name": "a", "memory": "40 GiB"}, {"name": "b", "memory": "20 GiB"}, {"name": "c"}), CATALOG)
    assert fits.memory is None
    short = simulate(scenario("docker", {"name": "a", "memory": "40 GiB"}, {"name": "b", "memory": "30 GiB"}, {"name": "c"}), CATALOG)
    assert short.memory is not None
    assert [(kill.victim, kill.reason) for kill in short.memory.kills] == [("a", Reason.HOST)]
    dead, alive = short.tenant("a"), short.tenant("c")
    assert dead.completed == 0
    assert dead.failed == {"nobody there": dead.arrived}
    assert not alive.failed
    assert alive.completed > 80


def test_beyond_high_files_are_dropped_and_nobody_is_killed() -> None:
    outcome = simulate(scenario("docker", {"memory_high": "300 MiB"}), CATALOG)
    assert outcome.memory is not None
    assert not outcome.memory.kills
    [held] = [one for one in outcome.memory.holdings if one.name == "tenant"]
    assert held.resident_bytes == pytest.approx(300 * MIB)
    assert held.dropped_bytes == pytest.approx(held.asked_bytes - 300 * MIB)


def test_an_adjustment_spares_or_offers_a_tenant() -> None:
    groups = ({"name": "a", "memory": "40 GiB", "oom_score_adj": -1000}, {"name": "b", "memory": "30 GiB"})
    spared = simulate(scenario("docker", *groups), CATALOG)
    assert spared.memory is not None
    assert [kill.victim for kill in spared.memory.kills] == ["b"]


def test_a_runtime_that_does_not_see_its_limit_is_killed() -> None:
    """Limit 1 GiB. Seen, the heap ends at 256 MiB, and 180 + 256 MiB fit. Not seen, it may grow to 64 / 4 = 16 GiB: at 1 MiB per request it
    is beyond the limit after about 1024 - 180 = 840 requests, hence after about 2.1 s at 400 requests/s.
    """
    load = {"kind": "poisson", "rate_per_s": 400.0}

    def run(workload: str) -> RunOutcome:
        tenant = {"name": "java", "workload": workload, "memory_max": "1 GiB", "load": load}
        return simulate(scenario("docker", tenant, duration_s=4.0), CATALOG)

    assert run("java-service").memory is None
    outcome = run("java-service-unaware")
    balanced(outcome)
    assert outcome.memory is not None
    [kill] = outcome.memory.kills
    assert (kill.victim, kill.reason, kill.asked_by) == ("java", Reason.LIMIT, "java")
    assert kill.time_s == pytest.approx(2.1, abs=0.3)
    java = outcome.tenant("java")
    reasons = dict(java.failed)
    assert reasons["nobody there"] == pytest.approx(400 * (4.0 - kill.time_s), rel=0.15)
    assert 0 < java.completed <= 400 * kill.time_s


def test_clients_of_a_closed_loop_give_up_when_their_server_is_killed() -> None:
    load = {"kind": "closed", "clients": 8, "think": {"kind": "constant", "value": 0.0}}
    tenant = {"name": "java", "workload": "java-service-unaware", "memory_max": "500 MiB", "load": load}
    outcome = simulate(scenario("docker", tenant, warm_up=0.0), CATALOG)
    balanced(outcome)
    assert outcome.tenant("java").in_flight_after == 0
    assert outcome.tenant("java").failed == {"killed: out of memory": 8}
    assert outcome.memory is not None
    [kill] = outcome.memory.kills
    assert outcome.tenant("java").in_flight_mean * 1.5 == pytest.approx(8 * kill.time_s)  # all 8 wait until then, and nobody after


def test_pages_that_are_out_make_requests_wait_at_the_disk() -> None:
    """Closed form: a request alone waits for touched pages * probability that a page is out * (read + transfer) on average.

    150 MiB of 404 MiB stay resident. The cold level (80 %) goes first: 254 of 323 MiB are out; a tenth of touches goes there, so a page is
    out with probability 0.1 * 254 / 323, and 512 KiB are 128 pages.
    """
    load = {"kind": "deterministic", "rate_per_s": 40.0}
    tenant = {"name": "web", "memory_max": "150 MiB", "swap": "1 GiB", "load": load}
    described = scenario("docker", tenant, duration_s=60.0, swap="4 GiB")
    outcome = simulate(described, CATALOG)
    plans = Resolved(described, CATALOG).memory_plans
    assert plans is not None
    asked = plans[0].tenant_bytes
    out = asked - 150 * MIB
    faults = 128 * 0.1 * out / (0.8 * asked)
    disk = CATALOG.hardware("small-server").disk
    expected_s = faults * (disk.read_s.si + disk.seek_s.si + 4096 / disk.read_bytes_per_s.si)
    waited_s = sum(part.seconds for part in outcome.tenant("web").time_parts if part.cause == "wait for memory")
    assert waited_s == pytest.approx(expected_s, rel=0.03)
    assert outcome.memory is not None
    assert outcome.memory.memories[0].pressure == pytest.approx(40.0 * expected_s, rel=0.03)


def test_a_compressed_page_comes_back_without_the_disk() -> None:
    """Little is missing, so that compression is enough: any page may be compressed, and unpacking takes 50,000 cycles at 2.5 GHz, 20 us."""
    described = scenario("esxi", {"workload": "key-value-store", "count": 12, "memory": "2 GiB"}, overcommit_memory=True, **SMALL)
    outcome = simulate(described, CATALOG)
    assert outcome.memory is not None
    assert outcome.memory.swap_in_bytes_per_s == 0.0
    held = [one for one in outcome.memory.holdings if one.memory == "small-server" and one.compressed_bytes]
    assert held
    packed = sum(one.compressed_bytes for one in held) / sum(one.asked_bytes for one in held)
    waits = [part.seconds for tenant in outcome.tenants for part in tenant.time_parts if part.cause == "wait for memory"]
    assert sum(waits) / len(outcome.tenants) == pytest.approx(4 * packed * 20e-6, rel=0.15)  # 16 KiB touched are 4 pages


def test_a_hypervisor_in_need_reclaims_and_kills_nobody() -> None:
    outcome = simulate(SHORT["machines"], CATALOG)
    assert outcome.memory is not None
    assert not outcome.memory.kills
    assert any(held.swapped_bytes > 0 for held in outcome.memory.holdings)
    assert any(held.compressed_bytes > 0 for held in outcome.memory.holdings)
    killed = simulate(SHORT["machines on a kernel"], CATALOG)
    assert killed.memory is not None
    victims = [kill.victim for kill in killed.memory.kills]
    assert victims  # the same on a kernel without swap: whole machines are killed, with the tenant in each
    assert len(victims) % 2 == 0


# --- Bad input -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("platform", "tenants", "top", "told"),
    [
        ("kvm", [{"memory": "100 GiB"}], {}, ["tenants.0.memory: 100 GiB on 'kvm' with 64 GiB; at most ", "or set overcommit_memory"]),
        ("xen-pv", [{"memory": "100 GiB"}], {"overcommit_memory": True}, ["tenants.0.memory: 100 GiB on 'xen-pv'", "when it is built"]),
        ("kvm", [{"memory": "200 MiB"}], {}, ["tenants.0.memory: 200 MiB; at least 366.1 MiB"]),
        ("kvm", [{"memory": "2 GiB", "count": 40}], {}, ["tenants: 40 virtual machines of 81.22 GiB in all on 'kvm'; at most 62.5 GiB"]),
        ("kvm", [{"memory_max": "1 GiB"}], {}, ["tenants.0.memory_max: 1 GiB for a virtual machine, which has no control group"]),
        (
            "docker",
            [{"memory_max": "100 MiB", "memory_high": "1 GiB", "swap": "1 GiB"}],
            {"overcommit_memory": True},
            [
                "tenants.0.memory_max: 100 MiB; at least 204.4 MiB, which it needs at the start, or allow swap",
                "tenants.0.memory_high: 1 GiB above memory_max; at most 100 MiB",
                "tenants.0.swap: 1 GiB; at most 0, the host's, or give it more by `swap` at the top",
                "overcommit_memory: true where there are no virtual machines",
            ],
        ),
        ("docker", [{"memory": "100 GiB"}], {}, ["tenants.0.memory: 100 GiB on 'small-server' with 64 GiB"]),
        ("docker", [{"memory": "-1 GiB", "oom_score_adj": 1001}], {}, ["tenants.0.memory: '-1 GiB'; must be above 0", "1001; at most"]),
        ("docker", [{"memory_maximum": 1}], {}, ["tenants.0.memory_maximum: no such entry; did you mean 'memory_max'"]),
        ("docker", [{"workload": "memcached-get", "memory_max": "1 GiB"}], {}, ["tenants.0: memory is asked for, but the"]),
        ("docker", [{}], {"override": {"docker.footprint.instance_byte": 1.0}}, ["override.docker.footprint.instance_byte: no such"]),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(
    platform: str, tenants: list[dict[str, Any]], top: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(ScenarioError) as refused:
        scenario(platform, *tenants, **top)
    text = str(refused.value)
    assert [part for part in told if part not in text] == []
    assert len(refused.value.problems) >= len([part for part in told if part.startswith(("tenants", "over"))])
