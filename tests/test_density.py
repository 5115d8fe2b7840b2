"""How many fit: bounds worked by hand, laws of the bounds, the sequential test, and answers that do not depend on where a search begins."""

from __future__ import annotations

from math import isinf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.commands.density import trial_cells
from simvirt.density import Crowd, Density, Trials, Verdict, find_density, limits_of
from simvirt.density.crowd import proportioned
from simvirt.density.search import largest
from simvirt.density.survey import Question, Refusal, survey
from simvirt.errors import ScenarioError, SloError
from simvirt.layers.path import plan_path
from simvirt.scenario import Scenario
from simvirt.slo import Slo

CATALOG = Catalog.builtin()
GIB = 2.0**30


def scenario(platform: str = "docker", *, rate: float = 2000.0, workload: str = "web-service", **more: Any) -> Scenario:
    group = {"name": "web", "workload": workload, "load": {"kind": "poisson", "rate_per_s": rate}, "vcpus": 4}
    run = {"duration_s": 2.0, "replications": 2}
    tenants = more.pop("tenants", [group | more.pop("group", {})])
    return Scenario.model_validate({"platform": platform, "machine": "small-server", "tenants": tenants, "run": run, **more})


def bounds(crowd: Crowd) -> dict[str, float]:
    """The tightest bound of each resource."""
    found: dict[str, float] = {}
    for limit in limits_of(crowd, CATALOG):
        found.setdefault(limit.resource, limit.tenants)
    return found


# --- Who multiplies ----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 200))
def test_groups_grow_in_proportion_and_never_shrink(counts: list[int], more: int) -> None:
    total = len(counts) + more
    now, after = proportioned(counts, total), proportioned(counts, total + 1)
    assert sum(now) == total
    assert min(now) >= 1
    grown = [b - a for a, b in zip(now, after, strict=True)]
    assert sorted(grown) == [0] * (len(counts) - 1) + [1]
    assert proportioned(counts, 3 * sum(counts)) == tuple(3 * count for count in counts)


def test_the_first_group_multiplies_alone_unless_all_shall() -> None:
    web = {"name": "web", "workload": "web-service", "count": 2, "load": {"kind": "poisson", "rate_per_s": 10}}
    two = scenario(tenants=[web, web | {"name": "store", "workload": "key-value-store", "count": 1}])
    assert [group.count for group in Crowd(two).with_count(7).tenants] == [7, 1]
    assert [group.count for group in Crowd(two, mix=True).with_count(9).tenants] == [6, 3]
    with pytest.raises(ValueError, match="1 tenants of 2 groups"):
        Crowd(two, mix=True).with_count(1)


def test_neighbours_are_looked_at_over_the_same_time() -> None:
    crowd, slo = Crowd(scenario(rate=100.0), requests=1000.0), Slo.parse("mean < 1 ms")
    times = [crowd.at(n, CATALOG, slo).run.duration_s for n in (8, 9, 15, 16)]
    assert times[0] == times[1] == times[2] == 2 * times[3]
    # 1,000 requests at 1.5 · 8 · 100 per second after a tenth of warm-up
    assert times[0] == pytest.approx(1000 / 1200 / 0.9)
    assert crowd.at(8, CATALOG, Slo.parse("p99 < 1 s")).run.duration_s == 10.0
    trace = scenario(group={"load": {"kind": "trace", "times_s": [0.1, 0.2]}})
    assert Crowd(trace).at(5, CATALOG, slo).run.duration_s == 2.0


# --- Bounds known beforehand -------------------------------------------------------------------------------------------


def test_busy_resources_follow_the_utilization_law() -> None:
    moved = scenario("docker", rate=50.0)
    path = plan_path(CATALOG.stack("docker", "small-server"), CATALOG.workload("web-service").demand)
    assert bounds(Crowd(moved))["CPU"] == pytest.approx(8 / (50.0 * path.cpu_s()))
    beside = {"name": "beside", "workload": "web-service", "count": 3, "load": {"kind": "poisson", "rate_per_s": 100.0}}
    two = scenario(tenants=[moved.tenants[0].model_dump(), beside])
    assert bounds(Crowd(two))["CPU"] == pytest.approx((8 - 3 * 100.0 * path.cpu_s()) / (50.0 * path.cpu_s()))
    # In proportion, 1 to 3: a mean tenant asks for (50 + 3 · 100) / 4 requests per second.
    assert bounds(Crowd(two, mix=True))["CPU"] == pytest.approx(8 / (87.5 * path.cpu_s()))


def test_a_closed_loop_asks_for_no_more_than_its_clients_do_where_nobody_waits() -> None:
    load = {"kind": "closed", "clients": 4, "think": {"kind": "exponential", "mean": 1.0}}
    path = plan_path(CATALOG.stack("bare-metal", "small-server"), CATALOG.workload("batch-compute").demand)
    found = bounds(Crowd(scenario("bare-metal", workload="batch-compute", group={"load": load})))
    # The knee of asymptotic bounds: N* = (Z + D) · m / (clients · D) tenants; this workload uses the processor alone.
    assert found["CPU"] == pytest.approx(8 * (1.0 + path.cpu_s()) / (4 * path.cpu_s()))


def test_processes_fit_by_what_they_take_and_machines_by_their_size() -> None:
    # Bare metal: tenants of 1 GiB resident each, beside their kernel, their programs' files once.
    def plain(size: str) -> Scenario:
        return scenario("bare-metal", rate=1e-3, group={"memory": "1 GiB"}, override={"small-server.memory_bytes": size})

    fewer, more = (bounds(Crowd(plain(size)))["memory"] for size in ("20 GiB", "40 GiB"))
    footprint = CATALOG.workload("web-service").footprint
    assert footprint is not None
    each = GIB + footprint.cache_bytes.si
    # Of 20 GiB more the kernel takes 1 / 64 for page structures.
    assert more - fewer == pytest.approx(20 * GIB * (1 - 1 / 64) / each, rel=1e-3)
    # Machines of 2 GiB: promised 1.5 times, 1.5 times as many, whatever the monitor takes.
    machines = scenario("kvm", rate=1e-3, group={"memory": "2 GiB"})
    once, overcommitted = bounds(Crowd(machines))["memory"], bounds(Crowd(machines, overcommit=1.5))["memory"]
    assert overcommitted == pytest.approx(1.5 * once)
    assert once < 32


def test_overcommitted_machines_run_beyond_what_there_is_and_no_others_do() -> None:
    small = scenario("kvm", rate=20.0, group={"memory": "2 GiB", "vcpus": 1}, override={"small-server.memory_bytes": "8 GiB"})
    slo = Slo.parse("mean < 1 s")
    found = {ratio: find_density(Crowd(small, overcommit=ratio, requests=200.0), slo, CATALOG) for ratio in (1.0, 2.0)}
    assert found[1.0].tenants == min(limit.whole for limit in found[1.0].limits) == 3
    assert found[1.0].binding == "memory"
    assert 3 < found[2.0].tenants <= 2 * 3 + 1


def test_pairs_in_a_machine_count_half_a_machine_each() -> None:
    single = bounds(Crowd(scenario("hyper-v", rate=1e-3)))
    paired = bounds(Crowd(scenario("hyper-v", rate=1e-3, group={"per_vm": 2, "count": 2})))
    assert single["administrative maximum"] == 1024
    assert paired["administrative maximum"] == 2048


def test_bounds_by_rule_and_by_table() -> None:
    assert bounds(Crowd(scenario("docker", rate=1e-3)))["kernel table"] == 1024
    assert "kernel table" not in bounds(Crowd(scenario("docker-host-network", rate=1e-3)))
    assert bounds(Crowd(scenario("esxi", rate=1e-3)))["administrative maximum"] == 32 * 8 / 4
    assert "administrative maximum" not in bounds(Crowd(scenario("bare-metal", rate=1e-3)))
    # The bridge of a container in a virtual machine is that machine's own.
    assert all(
        "docker" not in limit.reason for limit in limits_of(Crowd(scenario("docker-in-kvm")), CATALOG) if limit.resource == "kernel table"
    )
    fewer = scenario("docker", rate=1e-3, override={"docker.maximum.bridge_ports": 10})
    assert bounds(Crowd(fewer))["kernel table"] == 10


def test_memory_that_no_profile_speaks_of_does_not_bound_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "workloads"
    folder.mkdir()
    text = (Path(__file__).parents[1] / "simvirt/profiles/workloads/web-service.toml").read_text(encoding="utf-8")
    assert "[footprint." in text
    (folder / "mute.toml").write_text(text[: text.index("[footprint.")] + "\n", encoding="utf-8")
    catalog = Catalog.builtin(tmp_path)
    limit = next(one for one in limits_of(Crowd(scenario(workload="mute")), catalog) if one.resource == "memory")
    assert isinf(limit.tenants)
    assert "not bounded by memory: the profile of 'mute' says nothing of it" in limit.reason


def test_idle_systems_take_their_part_of_the_processors() -> None:
    quiet, busy = (bounds(Crowd(scenario("kvm", rate=1.0, background=wanted)))["CPU"] for wanted in (False, True))
    more = scenario("kvm", rate=1.0, background=True, override={"linux-guest.background.wakeups_per_s": 100})
    assert bounds(Crowd(more))["CPU"] < busy < quiet
    containers = [bounds(Crowd(scenario("docker", rate=1.0, background=wanted)))["CPU"] for wanted in (False, True)]
    assert containers[0] == containers[1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    platform=st.sampled_from(["bare-metal", "docker", "kvm", "esxi", "xen-pv", "gvisor"]),
    cores=st.integers(2, 64),
    memory_gib=st.integers(16, 512),
    rate=st.floats(0.01, 500.0),
    factor=st.floats(1.0, 5.0),
)
def test_more_host_carries_no_fewer_and_more_demand_no_more(platform: str, cores: int, memory_gib: int, rate: float, factor: float) -> None:
    def density(cores: float, memory_gib: float, rate: float) -> int:
        override = {"small-server.cores": cores, "small-server.memory_bytes": f"{memory_gib} GiB"}
        one = scenario(platform, rate=rate, override=override, group={"vcpus": 1})
        return min(limit.whole for limit in limits_of(Crowd(one), CATALOG))

    base = density(cores, memory_gib, rate)
    assert density(cores + 1, memory_gib, rate) >= base
    assert density(cores, memory_gib + 8, rate) >= base
    assert density(cores, memory_gib, rate * factor) <= base


# --- The search --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(1, 500), st.integers(1, 5))
def test_the_largest_kept_number_is_found_in_few_trials(knee: int, most: int, least: int) -> None:
    tried: list[int] = []

    def kept(n: int) -> bool:
        tried.append(n)
        return n <= knee

    most = max(most, least)
    assert largest(kept, least, most) == max(least - 1, min(knee, most))
    assert all(least <= n <= most for n in tried)
    assert len(tried) == len(set(tried)) <= most.bit_length() + 1


@pytest.fixture(scope="module")
def found() -> Density:
    return find_density(Crowd(scenario(rate=500.0), requests=2000.0), Slo.parse("p95 < 4 ms"), CATALOG)


def test_an_answer_is_kept_and_one_more_is_not_by_independent_replications(found: Density) -> None:
    assert found.is_confirmed
    crowd, slo = Crowd(scenario(rate=500.0), requests=2000.0), Slo.parse("p95 < 4 ms")
    others = Trials(crowd, slo, CATALOG, 0.95, first_replication=900)
    assert others.at(found.tenants).verdict is not Verdict.BROKEN
    bound = min(limit.whole for limit in found.limits)
    assert found.tenants <= bound
    if found.tenants < bound:
        assert not (found.may_be_more and others.at(found.tenants + 1).verdict is Verdict.KEPT)
    assert others.at(max(1, found.tenants // 2)).verdict is Verdict.KEPT


@pytest.mark.parametrize("bracket", [(1,), (12, 2), (15, 16)])
def test_the_answer_does_not_depend_on_where_the_search_begins(found: Density, bracket: tuple[int, ...]) -> None:
    again = find_density(Crowd(scenario(rate=500.0), requests=2000.0), Slo.parse("p95 < 4 ms"), CATALOG, bracket=bracket)
    assert (again.tenants, again.binding) == (found.tenants, found.binding)


def test_simulated_density_falls_with_demand_and_rises_with_the_host() -> None:
    def density(rate: float, cores: int) -> int:
        one = scenario(rate=rate, override={"small-server.cores": cores})
        return find_density(Crowd(one, requests=1500.0), Slo.parse("p95 < 6 ms"), CATALOG).tenants

    base = density(500.0, 4)
    assert base > 0
    assert density(1000.0, 4) <= base <= density(500.0, 8)
    assert density(500.0, 8) > base


def test_an_objective_that_nobody_keeps_fits_none_and_one_that_all_keep_is_bounded_by_a_table() -> None:
    none = find_density(Crowd(scenario(rate=100.0), requests=1000.0), Slo.parse("mean < 1 us"), CATALOG)
    assert (none.tenants, none.binding) == (0, "response time")
    assert [trial.verdict for trial in none.checks] == [Verdict.BROKEN]
    ports = scenario(rate=100.0, override={"docker.maximum.bridge_ports": 3})
    full = find_density(Crowd(ports, requests=1000.0), Slo.parse("mean < 1 s"), CATALOG)
    assert (full.tenants, full.binding) == (3, "kernel table")
    assert full.next_limit is not None
    assert full.next_limit.resource == "CPU"


def test_requests_and_runs_are_counted(found: Density) -> None:
    assert found.runs == sum(trial.replications for trial in found.all_trials) >= 6
    assert found.requests == sum(trial.requests for trial in found.all_trials)
    assert all(cell["margin_low"] <= cell["margin_mean"] <= cell["margin_high"] for cell in trial_cells(found))  # type: ignore[operator]


def test_the_verdict_is_right_about_as_often_as_it_says() -> None:
    """Objectives at the true value of a metric: kept or broken beyond doubt seldom, in at most one of twenty each (here: 24 tries)."""
    crowd = Crowd(scenario(rate=1000.0), requests=300.0)
    many = Trials(crowd, Slo.parse("mean < 1 s"), CATALOG, 0.95, first_replication=10_000)
    truth = sum(many.at(n).worst.value for n in (1,))
    runs = [Trials(crowd, Slo.parse("mean < 1 s"), CATALOG, 0.95, first_replication=100 * i).at(1).worst.value for i in range(30)]
    truth = (truth + sum(runs)) / 31
    slo = Slo.parse(f"mean < {truth} s")
    verdicts = [Trials(crowd, slo, CATALOG, 0.95, first_replication=20_000 + 100 * i).at(1).verdict for i in range(24)]
    assert verdicts.count(Verdict.KEPT) <= 5  # Binomial(24, 0.05) exceeds 5 in less than 1 of 500
    assert verdicts.count(Verdict.BROKEN) <= 5


def test_too_few_requests_for_a_quantile_are_told() -> None:
    trace = scenario(group={"load": {"kind": "trace", "times_s": [0.5, 1.0, 1.5]}})
    with pytest.raises(ScenarioError, match=r"p99 < 50 ms: too few requests of 'web' in a replication; at least 1000"):
        find_density(Crowd(trace), Slo.parse("p99 < 50 ms"), CATALOG)


def test_unknown_groups_are_refused_before_anything_runs() -> None:
    with pytest.raises(SloError, match="no tenants 'wed'"):
        find_density(Crowd(scenario()), Slo.parse("p99 < 50 ms for wed"), CATALOG)


def test_a_survey_answers_in_order_and_tells_refusals() -> None:
    slo = Slo.parse("mean < 10 ms")
    wrong = scenario(group={"load": {"kind": "trace", "times_s": [5.0]}})
    questions = [Question(crowd=Crowd(one, requests=500.0), slo=slo) for one in (scenario(rate=2000.0), wrong)]
    answers = survey(questions, workers=1)
    assert isinstance(answers[0], Density)
    assert isinstance(answers[1], Density | Refusal)


# --- The command -------------------------------------------------------------------------------------------------------

SMALL = """
platform = "docker"
machine = "small-server"
[[tenants]]
name = "web"
workload = "web-service"
load = { kind = "poisson", rate_per_s = "2 k/s" }
"""


def test_the_command_tells_answer_bounds_and_effort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, csv, chart = tmp_path / "a.toml", tmp_path / "trials.csv", tmp_path / "knee.svg"
    file.write_text(SMALL, encoding="utf-8")
    arguments = ["density", str(file), "--slo", "mean < 20 ms", "--requests", "1000", "--csv", str(csv), "--chart", str(chart)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "most tenants of 'web' (alone) with mean < 20 ms" in out
    assert "simulated requests" in out
    assert "kernel table" in out
    assert "3 again" in out
    assert csv.read_text(encoding="utf-8").startswith("platform,machine,density,binding,role,tenants,verdict,promise,group,value,")
    assert "Margin of the objective" in chart.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--slo", "p98 < 1 ms"], "metric 'p98' is unknown"),
        (["--slo", "p99 < 1 ms for db"], "no tenants 'db'"),
        (["--slo", "p99 < 1 ms", "--platforms", "dokcer"], "did you mean 'docker'"),
        (["--slo", "p99 < 1 ms", "--overcommit", "0.5"], "a ratio from 1 to 1000"),
        (["--slo", "p99 < 1 ms", "--confidence", "95"], "above 0.5 and below 1"),
        (["--slo", "p99 < 1 ms", "--chart", "knee.pdf"], "charts are .svg or .png"),
        ([], "--slo"),
    ],
)
def test_the_command_says_no(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(SMALL, encoding="utf-8")
    assert main(["density", str(file), *more]) == 2
    assert said in capsys.readouterr().err
