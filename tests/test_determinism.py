"""The same seed gives the same bytes: in another process, in another order, on more cores. Platforms see the same arrivals and demands."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from simvirt.catalog import Catalog
from simvirt.experiment.runner import Point, run_points
from simvirt.resources.stages import End, Request
from simvirt.scenario import Run, Scenario, Tenants
from simvirt.simulation import RunOutcome, Simulation, simulate
from simvirt.workloads.arrivals import ClosedLoop, Poisson
from simvirt.workloads.distributions import Exponential

CATALOG = Catalog.builtin()
PLATFORMS = ("bare-metal", "docker", "gvisor", "kvm", "xen-hvm", "vmware-workstation", "kvm-in-kvm")


def described(platform: str, replications: int = 2) -> Scenario:
    tenants = (
        Tenants(name="open", workload="database", load=Poisson(rate_per_s=400.0), count=2),
        Tenants(name="closed", workload="web-service", load=ClosedLoop(clients=4, think=Exponential(mean=0.01))),
    )
    return Scenario(platform=platform, machine="small-server", tenants=tenants, run=Run(duration_s=0.3, replications=replications, seed=7))


def digest(outcome: RunOutcome) -> str:
    """A fingerprint of every number of a run."""
    rows = [(row.entity, row.metric, repr(row.value)) for row in outcome.rows({})]
    times = [tenant.histogram.to_dict() for tenant in outcome.tenants]
    return hashlib.sha256(json.dumps([rows, times, outcome.events], sort_keys=True).encode()).hexdigest()


def test_another_process_gives_the_same_bytes() -> None:
    """Whatever the seed of Python's own hashes, which order sets and dictionaries of strings."""
    root = Path(__file__).parent
    code = f"import test_determinism as t; print([t.digest(t.simulate(t.described(p), t.CATALOG)) for p in {PLATFORMS[::2]!r}])"
    found = set()
    for hash_seed in ("0", "4321"):
        paths = os.pathsep.join((str(root), str(root.parent)))
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": paths}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        found.add(done.stdout.strip())
    assert found == {str([digest(simulate(described(platform), CATALOG)) for platform in PLATFORMS[::2]])}


def test_the_order_of_runs_does_not_matter() -> None:
    forwards = {platform: digest(simulate(described(platform), CATALOG)) for platform in PLATFORMS}
    backwards = {platform: digest(simulate(described(platform), Catalog.builtin())) for platform in reversed(PLATFORMS)}
    assert forwards == backwards
    assert len(set(forwards.values())) == len(PLATFORMS)


def test_replications_and_seeds_differ() -> None:
    first = described("docker")
    other_seed = first.model_copy(update={"run": first.run.model_copy(update={"seed": 8})})
    runs = [simulate(first, CATALOG, 0), simulate(first, CATALOG, 1), simulate(other_seed, CATALOG, 0)]
    assert len({digest(run) for run in runs}) == 3


def test_serial_equals_parallel() -> None:
    points = [Point(factors={"platform": platform}, scenario=described(platform)) for platform in ("docker", "kvm")]
    serial = [digest(simulate(point.scenario, CATALOG, replication)) for point in points for replication in range(2)]
    spawned = [digest(run) for point in run_points(points) for run in point.runs]
    with ThreadPoolExecutor(3) as threads:
        threaded = [digest(run) for point in run_points(points, executor=threads) for run in point.runs]
    assert serial == spawned == threaded


def requests_of(platform: str, replication: int = 0) -> list[tuple[float, float]]:
    """When each request of the open tenants was meant to start, and its factor, in order of arrival."""
    simulation = Simulation(described(platform), CATALOG, replication)
    seen: list[tuple[float, float]] = []
    for tenant in simulation.tenants[:2]:
        for one in tenant._classes:
            note(one.path.first, seen)
    simulation.run()
    return sorted(seen)


def note(stage: object, seen: list[tuple[float, float]]) -> None:
    """Have the last stage of a way note what comes out."""
    while not isinstance(stage, End):
        stage = stage.next  # type: ignore[attr-defined]
    finished = stage.finished

    def noted(request: Request) -> None:
        seen.append((request.times[0], request.factor))
        finished(request)

    stage.finished = noted


def test_platforms_see_the_same_arrivals_and_demands() -> None:
    """Common random numbers: all but the few requests that are still in hand at the end are the same, to the last bit."""
    on_metal = requests_of("bare-metal")
    for platform in PLATFORMS[1:]:
        there = requests_of(platform)
        assert len(set(on_metal) & set(there)) >= 0.97 * max(len(on_metal), len(there)), platform
        assert on_metal[:100] == there[:100]
    assert not set(on_metal) & set(requests_of("bare-metal", replication=1))


@pytest.mark.parametrize("change", [{"vcpus": 2}, {"weight": 3.0}, {"threads": 2}])
def test_what_a_tenant_is_given_does_not_change_what_it_asks(change: dict[str, object]) -> None:
    """Nor does it disturb the streams of the others."""
    base = described("kvm")
    changed = base.model_copy(update={"tenants": (base.tenants[0], base.tenants[1].model_copy(update=change))})
    for one, other in zip(simulate(base, CATALOG).tenants[:2], simulate(changed, CATALOG).tenants[:2], strict=True):
        assert one.arrived == other.arrived
