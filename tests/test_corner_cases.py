"""Corners where a simulator goes wrong without a word: shares inside a shared machine, names that meet, odd files, loads without bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simvirt.catalog import Catalog
from simvirt.commands.record import check_writable
from simvirt.errors import CatalogError, ResultsError, ScenarioError
from simvirt.metrics.tidy import write_json_atomic
from simvirt.scenario import Scenario, load_scenario
from simvirt.simulation import simulate
from simvirt.workloads.arrivals import Trace

CATALOG = Catalog.builtin()
BUSY = {"kind": "closed", "clients": 20, "think": {"kind": "constant", "value": 0}}
CALM = {"kind": "poisson", "rate_per_s": 100}


def scenario(*tenants: dict[str, Any], **more: Any) -> Scenario:
    groups = [{"workload": "web-service", "load": CALM, **group} for group in tenants]
    run = {"duration_s": 0.5, "replications": 1}
    return load_scenario({"platform": "kvm", "machine": "small-server", "tenants": groups, "run": run, **more}, CATALOG)


def problems(*tenants: dict[str, Any], **more: Any) -> str:
    with pytest.raises(ScenarioError) as refused:
        scenario(*tenants, **more)
    return str(refused.value)


def test_a_cap_holds_inside_a_machine_that_tenants_share() -> None:
    capped = scenario({"count": 2, "vcpus": 4, "per_vm": 2, "cap_cores": 0.1, "load": BUSY})
    for tenant in simulate(capped, CATALOG).tenants:
        assert tenant.completed <= 0.1 * 0.5 / 0.8e-3  # a tenth of a core at about a millisecond each


def test_names_of_members_may_not_meet_other_names() -> None:
    told = problems({"name": "a", "count": 2}, {"name": "a 1"})
    assert "a 1: the name of a member of 'a'" in told
    assert "a vm 1" in problems({"name": "a", "count": 2, "per_vm": 2}, {"name": "a vm 1"})
    scenario({"name": "a"}, {"name": "a 1"})  # a group of one has no members with numbers


@pytest.mark.parametrize(
    ("content", "times"),
    [(b"\xef\xbb\xbf0.001\n0.002\n", (0.001, 0.002)), (b"seconds\n1\n2\n", (1.0, 2.0)), (b"1e-3,x\n.5\n", (0.001, 0.5))],
)
def test_a_trace_is_read_whole(tmp_path: Path, content: bytes, times: tuple[float, ...]) -> None:
    path = tmp_path / "my trace.csv"
    path.write_bytes(content)
    assert Trace.model_validate({"times_s": str(path)}).times_s == times


@pytest.mark.parametrize(
    ("content", "word"), [(b"1_0\n", "1_0"), (b"1;5\n2;6\n", "1;5"), (b"1\nnan\n", "line 2"), (b"\xff\xfe1\n", "utf-8")]
)
def test_a_trace_that_is_none_is_refused(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.csv") as refused:
        Trace.model_validate({"times_s": str(path)})
    assert word in str(refused.value)


def test_results_go_through_a_link_and_never_over_a_device(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    write_json_atomic({"a": 1}, link)
    assert link.is_symlink() and '"a"' in target.read_text()
    with pytest.raises(ResultsError, match="is a device"):
        check_writable(Path("/dev/null"))


@pytest.mark.parametrize(
    ("group", "more", "words"),
    [
        ({}, {"override": {"cfs.hz": 1000}}, ("override.cfs.hz", "this scenario's scheduler is fluid")),
        ({}, {"override": {"fluid.hz": 1000}}, ("fluid.hz", "no parameters")),
        ({}, {"override": {"kvm.cpu.exit_s": "2 us"}}, ("'2 us' is not a cycles", "exit_s is kept in cycles")),
        ({}, {"override": {"kvm.cpu.exit_s": -1}}, ("-1", "at least 0", "cycles")),
        ({"weight": 1e12}, {}, ("weight", "1e12", "1e+06", "1000000")),
        ({"count": 10**9}, {}, ("count", "100000")),
        ({"load": {"kind": "poisson", "rate_per_s": 1e12}}, {}, ("load", "at most 1e+09")),
        ({"load": {**BUSY, "clients": 10**9}}, {}, ("clients", "at most 1000000")),
        ({"load": {"kind": "poisson", "rate_per_s": 10**400}}, {}, ("digits", "rate")),
    ],
)
def test_what_cannot_be_is_refused(group: dict[str, Any], more: dict[str, Any], words: tuple[str, ...]) -> None:
    told = problems(group, **more)
    found = [word in told for word in words]
    assert found[0], told
    assert any(found[1:]), told


def test_an_override_may_have_a_unit() -> None:
    (cost,) = (c for f, c in CATALOG.workload("web-service", {"web-service.page.compute.cpu_s": "2 ms"}).evidence if f.endswith("cpu_s"))
    assert cost.si == pytest.approx(2e-3)
    stack = CATALOG.stack("kvm", None, {"kvm.cpu.exit_s": "2600 cycles"})
    assert stack.layers[1].cpu.exit_s.si == pytest.approx(2600 / 2.5e9)  # type: ignore[attr-defined]
    with pytest.raises(CatalogError, match="kept in cycles"):
        CATALOG.stack("kvm", None, {"kvm.cpu.exit_s": "3 GiB"})


def test_no_part_of_the_time_is_negative_however_short_the_run() -> None:
    short = scenario({"load": BUSY, "vcpus": 4}, run={"duration_s": 0.02, "replications": 1})
    (tenant,) = simulate(short, CATALOG).tenants
    assert tenant.completed > 3
    assert min(part.seconds for part in tenant.time_parts) >= -1e-15
    assert sum(part.seconds for part in tenant.time_parts) == pytest.approx(tenant.histogram.mean_s, rel=1e-9)
