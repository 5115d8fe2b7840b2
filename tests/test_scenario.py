"""Scenarios: read, and refused with every mistake, its place, the value, the bound and a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simvirt.catalog import Catalog
from simvirt.errors import ScenarioError
from simvirt.scenario import Scenario, check_scenario, host_stack, load_scenario

CATALOG = Catalog.builtin()


def document(**changes: Any) -> dict[str, Any]:
    tenants = {"name": "web", "workload": "web-service", "load": {"kind": "poisson", "rate_per_s": "200 /s"}}
    plain: dict[str, Any] = {"platform": "docker", "tenants": [tenants]}
    for path, value in changes.items():
        head, _, rest = path.partition("__")
        if head == "tenant":
            tenants[rest] = value
        elif rest:
            plain.setdefault(head, {})[rest] = value
        else:
            plain[head] = value
    return plain


def refusal(source: Any) -> tuple[str, ...]:
    with pytest.raises(ScenarioError) as error:
        load_scenario(source, CATALOG)
    return error.value.problems


def test_a_scenario_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'platform = "kvm"\n[run]\nduration_s = "2 min"\n[[tenants]]\nworkload = "database"\ncount = 3\nvcpus = 2\n'
        '[tenants.load]\nkind = "closed"\nclients = 5\nthink = { kind = "exponential", mean = "20 ms" }\n'
        '[override]\n"kvm.cpu.exit_s" = "low"\n',
        encoding="utf-8",
    )
    scenario = load_scenario(path, CATALOG)
    assert (scenario.run.duration_s, scenario.run.warm_up_s, scenario.tenants[0].count) == (120.0, 12.0, 3)
    assert scenario.tenants[0].load.think.mean == pytest.approx(0.02)  # type: ignore[union-attr]
    assert scenario.override == {"kvm.cpu.exit_s": "low"}
    assert Scenario.model_validate(scenario.model_dump(mode="json")) == scenario


def test_the_digest_tells_scenarios_apart() -> None:
    one, same = load_scenario(document(), CATALOG), load_scenario(document(), CATALOG)
    other = load_scenario(document(run__seed=2), CATALOG)
    assert one.digest() == same.digest() != other.digest()


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"platform": "dokcer"}, "platform", ("'dokcer' is unknown", "'docker'")),
        ({"machine": "lap-top"}, "machine", ("'lap-top' is unknown", "desktop")),
        ({"tenant__workload": "web-servce"}, "tenants.0.workload", ("'web-servce' is unknown", "'web-service'")),
        ({"tenant__count": 0}, "tenants.0.count", ("0", "at least 1")),
        ({"tenant__weight": -1}, "tenants.0.weight", ("-1", "0")),
        ({"tenant__colour": "blue"}, "tenants.0.colour", ("no such entry",)),
        ({"tenant__cap_cores": 99}, "tenants.0.cap_cores", ("99", "at most 32")),
        ({"tenant__load": {"kind": "poison", "rate_per_s": 1}}, "tenants.0.load", ("poison", "poisson")),
        ({"tenant__load": {"kind": "poisson", "rate_per_s": "3 MiB"}}, "tenants.0.load", ("'3 MiB'", "measures size")),
        ({"run__duration_s": 0}, "run.duration_s", ("0", "above 0")),
        ({"run__warm_up_fraction": 1.0}, "run.warm_up_fraction", ("1", "below 1")),
        ({"run__seed": -1}, "run.seed", ("-1", "at least 0")),
        ({"override": {"docker.filter": 1.0}}, "override.docker.filter", ("no such cost", "'docker.filter_s'")),
        ({"tenants": []}, "tenants", ("at least 1",)),
    ],
)
def test_a_mistake_has_a_place_a_value_and_a_way_out(changes: dict[str, Any], place: str, words: tuple[str, ...]) -> None:
    (problem,) = refusal(document(**changes))
    assert problem.startswith(place)
    for word in words:
        assert word in problem


def test_every_mistake_is_told_at_once() -> None:
    found = refusal(document(platform="dokcer", tenant__workload="web", tenant__count=0, run__duration_s=-1, run__replications="many"))
    assert [problem.partition(":")[0] for problem in sorted(found)] == [
        "platform", "run.duration_s", "run.replications", "tenants.0.count", "tenants.0.workload",
    ]  # fmt: skip


def test_what_the_machine_has_not_got_is_refused() -> None:
    scenario = Scenario.model_validate(document(platform="kvm", machine="small-server", tenant__vcpus=9, tenant__cap_cores=10))
    with pytest.raises(ScenarioError) as error:
        check_scenario(scenario, CATALOG)
    assert error.value.problems == (
        "tenants.0.cap_cores: 10 on a machine with 8 cores; at most 8",
        "tenants.0.vcpus: 9 on a machine with 8 cores; at most 8",
    )


def test_the_hosts_own_users_need_a_host() -> None:
    (problem,) = refusal(document(platform="kvm", tenant__on="host"))
    assert problem == "tenants.0.on: 'host', but 'kvm' on the bare machine has no users; use 'platform'"
    load_scenario(document(platform="virtualbox", tenant__on="host"), CATALOG)
    assert host_stack(CATALOG.stack("kvm")) is None
    ground = host_stack(CATALOG.stack("virtualbox"))
    assert ground is not None and ground.names == ("desktop", "desktop-linux")


def test_two_groups_of_one_name_are_refused() -> None:
    twice = document()
    twice["tenants"] *= 2
    (problem,) = refusal(twice)
    assert "web: named twice; give each group a name of its own" in problem


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty; a scenario needs at least a platform"),
        (b"platform = ", "may be cut off or not be TOML"),
        (b"\xff\xfe", "not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_bytes(content)
    (problem,) = refusal(path)
    assert problem.startswith(str(path)) and words in problem


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    (problem,) = refusal(tmp_path / "nowhere.toml")
    assert "No such file" in problem and "give the path of a scenario in TOML" in problem
