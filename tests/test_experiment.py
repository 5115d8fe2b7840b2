"""From runs to tables and to a folder: statistics by hand, nothing where nothing was measured, files whole or not at all."""

from __future__ import annotations

import json
import math
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
from ideal import cost, hypervisor, machine, system, workload

from simvirt.catalog import Catalog
from simvirt.demand import Compute, Demand
from simvirt.errors import ResultsError
from simvirt.evidence import Grade
from simvirt.experiment.capacity import capacity_per_s
from simvirt.experiment.command import run_command
from simvirt.experiment.grades import count_grades, doubts
from simvirt.experiment.manifest import manifest
from simvirt.experiment.runner import Failure, Point, PointOutcome, run_points
from simvirt.experiment.store import ResultsFolder
from simvirt.experiment.study import Experiment, Results, layer_kinds
from simvirt.experiment.summary import runs_frame, summary_frame, time_parts_frame
from simvirt.layers.stack import Stack
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.scenario import Run, Scenario
from simvirt.simulation.outcome import ClassTimes, RunOutcome, TenantOutcome, TimePart

BASE, OTHER = "base", "other"


def scenario(platform: str, **run: object) -> Scenario:
    load = {"kind": "poisson", "rate_per_s": 100.0}
    tenants = [{"name": "web", "workload": "web-service", "load": load}]
    return Scenario.model_validate({"platform": platform, "machine": "small-server", "tenants": tenants, "run": run})


def found(replication: int, response_s: float, *, growth: int = 0, wait_s: float = 0.0) -> RunOutcome:
    """A run whose one tenant completed 4 requests in `response_s` each, `wait_s` of it waiting."""
    parts = [TimePart(layer="application", cause="compute", seconds=response_s - wait_s)]
    if wait_s:
        parts.append(TimePart(layer="kernel", cause="wait for cpu", seconds=wait_s))
    tenant = TenantOutcome(
        name="web", group="web", window_s=2.0, arrived=4, completed=4, in_flight_before=0, in_flight_after=growth, in_flight_mean=0.5,
        open_loop=True, histogram=LatencyHistogram([response_s] * 4), cpu_s=0.4,
        classes=(ClassTimes(name="page", completed=4, parts=tuple(parts)),),
    )  # fmt: skip
    return RunOutcome(
        platform="", replication=replication, tenants=(tenant,), instances=(), cpu_utilization=0.25, disk_utilization=0.0, disk_wait_s=0.0,
        nic_rx_utilization=0.0, nic_tx_utilization=0.0, events=0,
    )  # fmt: skip


def outcome(platform: str, *runs: RunOutcome, load: float = 0.5, failures: tuple[Failure, ...] = ()) -> PointOutcome:
    point = Point(factors={"platform": platform, "load": load}, scenario=scenario(platform, replications=max(1, len(runs))))
    return PointOutcome(point=point, runs=runs, failures=failures)


def row(frame: pd.DataFrame, platform: str, metric: str, load: float = 0.5) -> pd.Series:
    chosen = frame[(frame["platform"] == platform) & (frame["metric"] == metric) & (frame["load"] == load)]
    assert len(chosen) == 1
    return chosen.iloc[0]


# --- Statistics ------------------------------------------------------------------------------------------------------


def test_the_interval_of_three_replications_by_hand() -> None:
    """0.1, 0.2, 0.6: mean 0.3; deviations -0.2, -0.1, 0.3; s² = (0.04 + 0.01 + 0.09) / 2 = 0.07; t(2; 95 %) = 4.302653; ± t √(0.07 / 3)."""
    frame = summary_frame([outcome(BASE, found(0, 0.1), found(1, 0.2), found(2, 0.6))])
    mean = row(frame, BASE, "response_time_mean_s")
    half_width = 4.302653 * math.sqrt(0.07 / 3)
    assert mean["mean"] == pytest.approx(0.3, rel=1e-12)
    assert mean["half_width"] == pytest.approx(half_width, rel=1e-6)
    assert (mean["low"], mean["high"]) == pytest.approx((0.3 - half_width, 0.3 + half_width), rel=1e-6)
    assert (mean["n"], mean["confidence"], mean["unit"]) == (3, 0.95, "s")
    assert row(frame, BASE, "throughput_per_s")["mean"] == 2.0  # 4 requests in 2 s
    assert row(frame, BASE, "cpu_s_per_request")["mean"] == pytest.approx(0.1)  # 0.4 s for 4 requests


def test_the_slowdown_is_the_ratio_of_means_in_pairs() -> None:
    """(0.2 + 0.6) / (0.1 + 0.2) = 8/3, not the mean of the ratios 2 and 3.

    Without pair 1 the ratio is 3, without pair 2 it is 2: jackknife s² = 1/2 · (0.5² + 0.5²) = 0.25; t(1; 95 %) = 12.706205.
    """
    frame = summary_frame([outcome(OTHER, found(0, 0.2), found(1, 0.6)), outcome(BASE, found(0, 0.1), found(1, 0.2))], BASE)
    slowdown = row(frame, OTHER, "slowdown")
    assert slowdown["mean"] == pytest.approx(8 / 3, rel=1e-12)
    assert slowdown["half_width"] == pytest.approx(12.706205 * 0.5, rel=1e-6)
    own = row(frame, BASE, "slowdown")
    assert (own["mean"], own["half_width"]) == (1.0, 0.0)


def test_a_slowdown_is_taken_at_the_same_load() -> None:
    points = [outcome(p, found(0, r), found(1, r), load=load) for p, load, r in [(BASE, 0.5, 0.1), (BASE, 0.9, 0.4), (OTHER, 0.9, 0.8)]]
    frame = summary_frame(points, BASE)
    assert row(frame, OTHER, "slowdown", 0.9)["mean"] == pytest.approx(2.0)
    alone = summary_frame([outcome(OTHER, found(0, 0.2), load=0.7), *points], BASE)
    assert "slowdown" not in set(alone[alone["load"] == 0.7]["metric"])


@pytest.mark.parametrize(("saturated", "share"), [(1, 1 / 3), (2, 2 / 3), (3, 1.0)])
def test_a_point_with_saturated_replications_has_no_response_time(saturated: int, share: float) -> None:
    """Growth of 20 requests in flight with 4 arrivals: more than 4 · √4 + 10 = 18."""
    runs = [found(i, 0.1, growth=20 if i < saturated else 0) for i in range(3)]
    frame = summary_frame([outcome(BASE, found(0, 0.1), found(1, 0.1), found(2, 0.1)), outcome(OTHER, *runs)], BASE)
    assert math.isnan(row(frame, OTHER, "response_time_mean_s")["mean"])
    assert math.isnan(row(frame, OTHER, "slowdown")["mean"])
    assert row(frame, OTHER, "saturated")["mean"] == pytest.approx(share)
    assert row(frame, OTHER, "throughput_per_s")["mean"] == 2.0
    assert time_parts_frame([outcome(OTHER, *runs)], {}).empty


def test_a_failed_run_is_a_row_with_its_error_and_leaves_no_estimate() -> None:
    broken = outcome(BASE, found(0, 0.1), failures=(Failure(replication=1, error="no such disk"),))
    rows = runs_frame([broken])
    failed = rows[rows["metric"] == "failed"]
    assert failed[["replication", "value", "error"]].to_numpy().tolist() == [[1, 1.0, "no such disk"]]
    assert math.isnan(row(summary_frame([broken]), BASE, "throughput_per_s")["mean"])


def test_parts_of_time_add_up_and_an_absent_part_took_no_time() -> None:
    """Two replications of 0.1 s and 0.3 s, of which the second waited for 0.2 s: compute (0.1 + 0.1) / 2, wait (0 + 0.2) / 2, sum 0.2."""
    frame = time_parts_frame([outcome(BASE, found(0, 0.1), found(1, 0.3, wait_s=0.2))], {BASE: {"kernel": "operating system"}})
    assert frame["cause"].tolist() == ["compute", "wait for cpu"]
    assert frame["mean_s"].tolist() == pytest.approx([0.1, 0.1])
    assert frame["share"].tolist() == pytest.approx([0.5, 0.5])
    assert frame["kind"].tolist() == ["application", "operating system"]
    assert frame["wait"].tolist() == [False, True]


# --- What bounds a machine, and what is known ------------------------------------------------------------------------


@cache
def catalog() -> Catalog:
    return Catalog.builtin()


def test_capacity_is_the_bottlenecks() -> None:
    """Threads of a single-threaded server give out long before 8 cores; a server of 64 threads has the cores as its limit."""
    stack = catalog().stack("bare-metal", "small-server")
    web, store = catalog().workload("web-service"), catalog().workload("key-value-store")
    assert capacity_per_s(stack, replace(web, threads=1.0)) < 1.2 * capacity_per_s(stack, web) / 8
    assert capacity_per_s(stack, replace(store, threads=math.inf)) > 2 * capacity_per_s(stack, store)


def test_capacity_of_pure_computing_by_hand() -> None:
    """4 cores, 10 ms each: 400 requests a second; 2 threads: 200; a core of half the speed: half of that."""
    work = workload(Compute(cpu_s=0.01))
    assert capacity_per_s(Stack((machine(4), system())), work) == pytest.approx(400.0)
    assert capacity_per_s(Stack((machine(4), system())), replace(work, threads=2.0)) == pytest.approx(200.0)
    assert capacity_per_s(Stack((machine(4, {"core_speed": 0.5}), system())), replace(work, threads=2.0)) == pytest.approx(100.0)


def test_the_largest_doubt_comes_first_and_its_swing_is_arithmetic() -> None:
    """A core speed between 0.5 and 2 makes 10 ms of computing 20 ms or 5 ms: 15 ms apart."""
    bare = machine()
    doubtful = replace(bare, core_speed=replace(cost(1.0, "core_speed"), low=0.5, high=2.0))
    first = doubts([Stack((doubtful,))], Demand((Compute(cpu_s=0.01),)))
    swings = {doubt.path: doubt.swing_s for doubt in first}
    assert swings["machine.core_speed"] == pytest.approx(0.015)
    assert first[0].path == "machine.core_speed"


def test_a_layer_of_two_stacks_counts_once() -> None:
    one, two = Stack((machine(),)), Stack((machine(),))
    assert count_grades([one, two]) == count_grades([one])
    assert count_grades([one])[Grade.ASSUMED] > 0


def test_an_operating_system_on_virtual_processors_is_a_guest() -> None:
    assert layer_kinds(Stack((machine(), hypervisor(), system()))) == {
        "machine": "hardware",
        "hypervisor": "hypervisor",
        "system": "guest operating system",
    }
    assert layer_kinds(Stack((machine(), system())))["system"] == "operating system"


# --- The folder ------------------------------------------------------------------------------------------------------


def tiny(_: Catalog, seed: int, quick: bool) -> list[Point]:
    names = ("bare-metal", "kvm")
    run = {"duration_s": 0.3, "replications": 2, "seed": seed}
    return [Point(factors={"platform": name, "workload": "web-service"}, scenario=scenario(name, **run)) for name in names]


def no_charts(_: Results) -> dict[str, bytes]:
    return {"empty.svg": b"<svg/>"}


EXPERIMENT = Experiment(name="tiny", question="?", expected="!", points=tiny, charts=no_charts, baseline="bare-metal")


def files(folder: Path) -> dict[str, bytes]:
    """All but the finished runs."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: content for name, content in found.items() if not name.endswith(".run")}


def test_a_folder_has_every_file_and_nothing_unfinished(tmp_path: Path) -> None:
    assert run_command(EXPERIMENT, ["--out", str(tmp_path / "new" / "out"), "--workers", "1"]) == 0
    expected = ["answer.json", "charts/empty.svg", "manifest.json", "points.csv", "runs.csv", "summary.csv", "time_parts.csv"]
    assert list(files(tmp_path / "new" / "out")) == expected
    about = json.loads((tmp_path / "new" / "out" / "manifest.json").read_text())
    assert about["seeds"] == [1]
    assert len(about["scenarios"]) == 2
    assert any(name.startswith("layers/") for name in about["profiles"])


def test_a_file_in_the_place_of_the_folder_is_told_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = tmp_path / "results"
    taken.write_text("mine")
    asked: list[str] = []

    def drawn(_: Results) -> dict[str, bytes]:
        asked.append("drawn")
        return {}

    assert run_command(replace(EXPERIMENT, charts=drawn), ["--out", str(taken), "--workers", "1"]) == 1
    message = capsys.readouterr().err
    assert str(taken) in message
    assert "choose another folder" in message
    assert (asked, taken.read_text(), list(tmp_path.iterdir())) == ([], "mine", [taken])


def test_a_failure_while_writing_leaves_the_old_answer(tmp_path: Path) -> None:
    """NaN has no form in JSON: the manifest is refused after the tables were written, and none of them takes its place."""
    folder = ResultsFolder(tmp_path)
    folder.open()
    folder.write({"runs": pd.DataFrame({"a": [1]})}, {"run": 1}, {"c.svg": b"old"})
    before = files(tmp_path)
    with pytest.raises(ResultsError, match=r"manifest\.json"):
        folder.write({"runs": pd.DataFrame({"a": [2]})}, {"run": math.nan}, {"c.svg": b"new"})
    assert files(tmp_path) == before


def test_ctrl_c_ends_with_130_and_writes_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: Results) -> dict[str, bytes]:
        raise KeyboardInterrupt

    assert run_command(replace(EXPERIMENT, charts=interrupted), ["--out", str(tmp_path / "out"), "--workers", "1"]) == 130
    assert "Interrupted" in capsys.readouterr().err
    assert files(tmp_path) == {}


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--workers", "two"], ["--seed", "-1"]])
def test_bad_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        run_command(EXPERIMENT, arguments)
    assert refused.value.code == 2
    assert "a whole number, at least" in capsys.readouterr().err


def test_serial_and_parallel_give_the_same_tables() -> None:
    def texts(executor: Executor) -> dict[str, str]:
        with executor:
            results = Results(catalog(), run_points(tiny(catalog(), 3, True), executor=executor), "bare-metal")
        return {name: frame.to_csv() for name, frame in results.tables().items()}

    assert texts(ThreadPoolExecutor(1)) == texts(ThreadPoolExecutor(3))


def test_the_manifest_names_what_was_set_by_hand() -> None:
    low, high = (scenario(BASE).model_copy(update={"override": {"linux.syscall_s": end}}) for end in ("low", 0.5))
    about = manifest("x", ["x.py"], [low, high])
    assert about["overridden"] == {"linux.syscall_s": [0.5, "low"]}
    assert about["versions"]["simvirt"]
    assert Run().seed in about["seeds"]
