"""`simvirt cluster`: a file in, a table and a log out; a bad file is answered with all of its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.cluster.log import Entry
from simvirt.cluster_run import ClusterStudy, recovery, simulate_cluster
from simvirt.cluster_scenario import load_cluster_scenario
from simvirt.errors import CatalogError, ScenarioError
from simvirt.orchestrator_reader import build_orchestrator

CATALOG = Catalog.builtin()
EXAMPLE = Path(__file__).parents[1] / "experiments" / "scenarios" / "cluster_host_dies.toml"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "orchestrator": "kubernetes",
        "hosts": [{"name": "node", "count": 2, "cores": 4, "memory": "16 GiB"}],
        "deployments": [{"name": "web", "replicas": 2, "work": {"mean_s": "5 ms"}, "readiness": True}],
        "loads": [{"to": "web", "rate_per_s": "50 /s"}],
        "run": {"duration_s": "60 s", "replications": 2},
        **changes,
    }


def test_the_example_tells_what_clients_saw_and_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", str(EXAMPLE), "--replications", "2", "--events", "5"]) == 0
    told = capsys.readouterr().out
    for words in ("3 replicas on 4 hosts under kubernetes", "timed out", "requests lost", "mended", "host not ready", "--events N"):
        assert words in told


def test_all_mistakes_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        'orchestrator = "kubernete"\nplacement = "defalt"\n[[hosts]]\ncores = 0\nmemory = "32 GiX"\n[[deployments]]\nname = "web"\n'
        'replcas = 3\nwork = { mean_s = "-5 ms" }\nreadiness = { period = 3 }\n[[loads]]\nto = "wb"\nrate_per_s = "100 /s"\n',
        encoding="utf-8",
    )
    assert main(["cluster", str(path)]) == 2
    told = capsys.readouterr().err.splitlines()
    for start in (
        "simvirt: orchestrator 'kubernete' is unknown; did you mean 'kubernetes'",
        "simvirt: placement: 'defalt' is unknown; did you mean 'default'",
        "simvirt: hosts.0.cores: 0;",
        "simvirt: hosts.0.memory: '32 GiX'",
        "simvirt: deployments.0.replcas: no such entry; did you mean 'replicas'",
        "simvirt: deployments.0.work.mean_s: '-5 ms';",
        "simvirt: deployments.0.readiness.period: no such entry; did you mean 'period_s'",
        "simvirt: loads.0.to: 'wb' is no deployment; did you mean 'web'",
    ):
        assert sum(line.startswith(start) for line in told) == 1, start
    assert len(told) == 8


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"vm_restart": "haproxy"}, "does not restart machines"),
        ({"orchestrator": "haproxy"}, "has no [runtime], so it is no orchestrator"),
        ({"override": {"lease.grace": 3}}, "no such number; did you mean 'lease.grace_s'"),
        ({"failures": [{"at_s": 10, "what": "kill host", "whom": "nod-1"}]}, "failures.0.whom: 'nod-1' is unknown"),
        ({"failures": [{"at_s": 100, "what": "crash", "whom": "web"}]}, "is not before the end of the run at 60 s"),
        ({"hosts": [{"cores": 4, "memory": "16 GiB", "vms": 2, "vm_memory": "9 GiB"}]}, "need more than"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_cluster_scenario(document(**changes), CATALOG)
    assert problem in str(caught.value)


def test_services_that_call_each_other_in_a_circle_are_refused() -> None:
    web = {"name": "web", "work": {"mean_s": 0.001}, "calls": [{"to": "db"}]}
    db = {"name": "db", "work": {"mean_s": 0.001}, "calls": [{"to": "web"}], "balancer": {"using": "kubernetes"}}
    with pytest.raises(ScenarioError) as caught:
        load_cluster_scenario(document(deployments=[web, db]), CATALOG)
    assert "'web' calls itself" in str(caught.value)
    assert "'kubernetes' is no balancer" in str(caught.value)


def test_an_override_is_in_the_unit_of_the_profile_or_one_end_of_its_range() -> None:
    scenario = load_cluster_scenario(document(override={"lease.grace_s": "high", "update.surge": 50}), CATALOG)
    policy = scenario.policy(CATALOG)
    assert policy.lease is not None
    assert policy.lease.grace_s == 50.0
    assert policy.update.surge == 0.5


def test_a_profile_without_evidence_is_refused() -> None:
    table = {"summary": "x", "checks": {"inter_s": 2, "fal": 3}, "on_exit": "maybe"}
    with pytest.raises(CatalogError) as caught:
        build_orchestrator("mine", table, CATALOG.references)
    told = str(caught.value)
    for words in ("on_exit: 'maybe' is none of", "checks.inter_s: no cost given", "checks.fal: not a part of it; did you mean 'fall'"):
        assert words in told


def test_an_outcome_adds_up_and_is_the_same_with_the_same_seed() -> None:
    scenario = load_cluster_scenario(document(failures=[{"at_s": 30, "what": "crash", "whom": "web"}]), CATALOG)
    study = ClusterStudy(scenario=scenario, called="mine")
    first, second = study.simulate(CATALOG, 1), study.simulate(CATALOG, 1)
    assert [repr(row) for row in first.rows({})] == [repr(row) for row in second.rows({})]
    assert first.platform == "mine"
    tenant = first.tenants[0]
    assert tenant.in_flight_before + tenant.arrived == tenant.completed + sum(tenant.failed.values()) + tenant.in_flight_after
    assert sum(part.seconds for part in tenant.time_parts) == pytest.approx(tenant.histogram.mean_s, rel=1e-9)
    assert 0.0 < first.cpu_utilization < 0.1
    assert simulate_cluster(scenario, CATALOG, 0).log != first.log


def test_recovery_is_read_from_the_log() -> None:
    """Two serve; one crashes at 10 s, is noticed at 10.5 s and listens again at 13 s. Requests fail at 10.1 s and 10.9 s."""
    log = [
        Entry(0.0, "listens", "web-1"), Entry(0.0, "listens", "web-2"), Entry(10.0, "failure", "web-1"), Entry(10.0, "crashed", "web-1"),
        Entry(10.5, "exit noticed", "web-1"), Entry(12.0, "listens", "db-1"), Entry(13.0, "listens", "web-1"),
    ]  # fmt: skip
    found = recovery(log, [3.0, 10.1, 10.9], "web", 10.0)
    assert (found.detect_s, found.recover_s, found.lost) == (0.5, 3.0, 2)
    assert found.reroute_s == pytest.approx(0.9)
