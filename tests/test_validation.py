"""Validation cases: a toy whose answer is known by hand, roles, scores, files, bad input, and what the shipped cases promise."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simvirt.cli import main
from simvirt.errors import CaseError
from simvirt.scenario import Scenario
from simvirt.simulation import simulate
from simvirt.validation.case import Calibration, Case, MeasuredRow, Measurement, Role, Scoring, Selection
from simvirt.validation.case_reader import PROVENANCE, read_cases
from simvirt.validation.prediction import catalog_of, corners, from_path, from_runs
from simvirt.validation.score import Judged, error_of, order, summary, total
from simvirt.validation.table import COLUMNS
from simvirt.validation.validate import validate

ROOT = Path(__file__).parents[1]
TOY = ROOT / "tests" / "validation_cases"
SHIPPED = ROOT / "simvirt" / "profiles" / "cases"
NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))
RESULTS = ROOT / "results"


@cache
def toy() -> tuple[Judged, ...]:
    (case,) = read_cases(TOY)
    return validate([case], workers=1)["toy"]


def toy_row(platform: str, clients: float = 1.0, metric: str = "rate") -> Judged:
    wanted = {"platform": platform, "clients": clients}
    (found,) = (one for one in toy() if one.row.conditions == wanted and one.row.metric == metric)
    return found


# --- A known answer ------------------------------------------------------------------------------------------------------


def test_the_baseline_is_met_and_sets_both_numbers() -> None:
    """S = 40 us by the path, exactly; then S + Z = 1 / 10,000 s, by simulation: Z = 60 us. Two clients of one thread: twice the rate."""
    assert toy_row("plain", metric="computing").predicted == pytest.approx(40.0, rel=1e-9)
    assert toy_row("plain").predicted == pytest.approx(10_000, rel=2e-3)
    assert toy_row("plain", 2.0).predicted == pytest.approx(20.0, rel=2e-3)  # thousands per second, as its row has it


@pytest.mark.parametrize(("end", "wake_cycles"), [("low", 16_600), ("predicted", 12_400), ("high", 1_500)])
def test_a_virtual_machine_adds_its_wake_up_and_the_band_is_that_of_its_range(end: str, wake_cycles: int) -> None:
    """One wake-up of the halted processor in each round, 12,400 cycles (1,500 to 16,600) at 2.5 GHz: rate = 1 / (100 us + wake)."""
    assert getattr(toy_row("guest"), end) == pytest.approx(1 / (100e-6 + wake_cycles / 2.5e9), rel=2e-3)


def test_errors_are_those_of_the_ratio_to_the_baseline() -> None:
    """Guest: (9,527 / 8,000) / (10,000 / 10,000) - 1 = 19.1 %. Boxed is predicted like plain and measured at 1.1 times it: -9.1 %."""
    assert toy_row("guest").error == pytest.approx(9_527 / 8_000 - 1, abs=3e-3)
    assert toy_row("boxed").error == pytest.approx(1 / 1.1 - 1, abs=2e-3)
    assert toy_row("boxed", metric="computing").error == pytest.approx(40 / 44 - 1, rel=1e-9)


def test_the_order_of_pairs_by_hand() -> None:
    """Plain-boxed wrong twice (equal where 10 % apart); boxed-guest, plain-guest right, and plain-guest with two clients: 3 of 5."""
    assert order(toy(), 0.01) == (3, 5)


def test_a_row_that_cannot_be_simulated_is_listed_with_its_reason() -> None:
    lost = toy_row("enclave")
    assert isnan(lost.predicted) and isnan(lost.error)
    assert lost.reason == "no profile of an enclave"
    assert lost.baseline == 10_000


def test_calibration_is_never_scored() -> None:
    (case,) = read_cases(TOY)
    assert [one.row.platform for one in toy() if one.role is Role.CALIBRATION] == ["plain", "plain", "plain"]
    found = summary(case, toy())
    assert (found.rows, found.calibration, found.scored, found.not_predicted) == (8, 3, 4, 1)
    spoilt = [replace(one, error=9.9) if one.role is Role.CALIBRATION else one for one in toy()]
    assert summary(case, spoilt) == found
    owned = replace(case, calibrations=(Calibration(rows=Selection(levels={"platform": ("guest",)}), why="sets something"),))
    assert [owned.role(row) for row in case.rows].count(Role.CALIBRATION) == 5


def test_a_baseline_out_of_reach_is_a_reason_not_a_number(tmp_path: Path) -> None:
    folder = changed(tmp_path, "toy.toml", 'between = ["1 us", "500 us"]', 'between = ["200 us", "500 us"]')
    rows = validate(read_cases(folder), workers=1)["toy"]
    assert all(isnan(one.predicted) for one in rows)
    assert {one.reason for one in rows if one.row.platform != "enclave"} == {
        "the baseline is not reached by any tenants.0.load.think.value within the bounds of its fix"
    }


def test_a_baseline_row_is_held_against_itself_not_against_a_ratio_that_is_always_1() -> None:
    plain = toy_row("plain", 2.0)
    assert plain.error == plain.predicted / 20 - 1 != 0
    assert plain.low == plain.high == plain.predicted


# --- Where a number comes from -------------------------------------------------------------------------------------------


def two_tenants() -> Scenario:
    load = {"kind": "closed", "clients": 1, "think": {"kind": "constant", "value": "60 us"}}
    tenants = [{"name": "app", "workload": "key-value-store", "count": 2, "load": load}]
    return Scenario.model_validate({"platform": "kvm", "tenants": tenants, "run": {"duration_s": "10 ms"}})


def test_numbers_of_a_run_by_their_tenants() -> None:
    """Rates of two tenants add up, times are their mean; an interval is the inverse of the rate; an entity has its own."""
    run = simulate(two_tenants(), catalog_of(()))
    a, b = (dict(tenant.metrics()) for tenant in run.tenants)
    rate_per_s = a["throughput_per_s"] + b["throughput_per_s"]
    mean_s = (a["response_time_mean_s"] + b["response_time_mean_s"]) / 2
    expected = {"throughput_per_s": 3 * rate_per_s, "response_time_mean_s": 3 * mean_s, "interval_s": 3 / rate_per_s}
    assert {of: from_runs([run, run], Measurement(of=of, scale=3.0), "app") for of in expected} == pytest.approx(expected)
    busy = from_runs([run], Measurement(of="cpu_utilization", entity="cpu"), "app")
    assert busy == pytest.approx(run.cpu_utilization)
    assert isnan(from_runs([run], Measurement(of="cpu_utilization", entity="gpu"), "app"))


def test_numbers_of_a_path() -> None:
    """What the layers charge adds up to the whole; the caller's part is less of it; a rate is the inverse of a time."""

    def number(of: str, **plain: Any) -> float:
        return from_path(two_tenants(), Measurement(of=of, **plain), ())

    layers = ("application", "server-2s", "kvm", "linux-guest")
    whole_s = number("path_cpu_s")
    assert sum(number("path_cpu_s", layers=(name,)) for name in layers) == pytest.approx(whole_s)
    assert 0 < number("path_cpu_s", layers=("kvm",)) < whole_s
    assert 0 < number("path_caller_s") < whole_s
    assert number("path_caller_per_s", scale=5.0) == pytest.approx(5 / number("path_caller_s"))


def test_a_band_moves_the_times_that_the_platform_adds_and_no_others() -> None:
    catalog = catalog_of(())
    stacks = {name: catalog.stack(name, "server-2s") for name in ("bare-metal", "docker")}
    moved = corners(stacks["docker"], stacks["bare-metal"], {"docker.send_s": 1.0})
    times = {"filter_s", "file_open_s", "layer_lookup_s", "receive_s", "receive_s_per_byte", "send_s_per_byte", "connect_s", "rule_s"}
    assert moved == {end: dict.fromkeys(sorted(f"docker.{name}" for name in times), end) for end in ("low", "high")}
    assert corners(stacks["bare-metal"], stacks["bare-metal"], {}) == {}
    assert all(path.startswith(("linux.", "docker.")) for path in corners(stacks["docker"], None, {})["low"])


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [({"a": "x", "n": 3.0}, True), ({"a": "y", "n": 2.0}, True), ({"a": "z", "n": 3.0}, False), ({"a": "x", "n": 5.0}, False)],
)
def test_rows_are_told_by_levels_and_ranges(conditions: dict[str, str | float], expected: bool) -> None:
    assert Selection(levels={"a": ("x", "y")}, ranges={"n": (2.0, 4.0)}).holds(conditions) is expected


def test_a_row_that_a_fix_is_solved_on_is_calibration_without_being_a_baseline() -> None:
    case = shipped()["opscart-quota"]
    assert not case.baseline
    assert {case.role(row) for row in case.rows if row.platform == "host"} == {Role.CALIBRATION}


# --- Scores by hand ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scoring", "measured", "predicted", "bases", "expected"),
    [
        (Scoring.ABSOLUTE, 10.0, 12.0, (nan, nan), 0.2),
        (Scoring.RATIO, 10.0, 12.0, (20.0, 24.0), 0.0),
        (Scoring.RATIO, 10.0, 12.0, (20.0, 20.0), 0.2),
        (Scoring.ORDER, 10.0, 12.0, (20.0, 20.0), nan),
        (Scoring.ABSOLUTE, 0.0, 12.0, (nan, nan), nan),
        (Scoring.ABSOLUTE, 10.0, nan, (nan, nan), nan),
    ],
)
def test_errors_by_hand(scoring: Scoring, measured: float, predicted: float, bases: tuple[float, float], expected: float) -> None:
    assert error_of(scoring, measured, predicted, *bases) == pytest.approx(expected, nan_ok=True)


def judged(platform: str, measured: float, predicted: float, role: Role = Role.VALIDATION, error: float = 0.0) -> Judged:
    (case,) = read_cases(TOY)
    row = MeasuredRow(
        source_key="k", place="p", conditions={"platform": platform}, metric="rate", unit="/s", value=measured, provenance="own"
    )
    return Judged(case=case, row=row, role=role, baseline=nan, predicted=predicted, low=predicted, high=predicted, error=error)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([judged("a", 1, 1), judged("b", 2, 3)], (1, 1)),
        ([judged("a", 1, 3), judged("b", 2, 1)], (0, 1)),
        ([judged("a", 1, 2), judged("b", 2, 2)], (0, 1)),
        ([judged("a", 1, 1), judged("b", 1.01, 3)], (0, 0)),
        ([judged("a", 1, 1), judged("b", 2, nan)], (0, 0)),
        ([judged("a", 1, 3, Role.CALIBRATION), judged("b", 2, 1, Role.CALIBRATION)], (0, 0)),
        ([judged("a", 1, 1, Role.CALIBRATION), judged("b", 2, 2), judged("c", 0, 3)], (1, 3)),
    ],
    ids=["right", "wrong", "no difference predicted", "tie", "not predicted", "calibration alone", "three"],
)
def test_pairs_by_hand(rows: list[Judged], expected: tuple[int, int]) -> None:
    assert order(rows, 0.02) == expected


def test_the_total_counts_every_row_and_pair_once() -> None:
    (case,) = read_cases(TOY)
    a = [judged("a", 1, 1, error=0.1), judged("b", 2, 3, error=-0.3)]
    b = [judged("a", 1, 3, error=0.2), judged("b", 2, 1, error=0.0), judged("c", 4, 0.5, error=9.0)]
    both = total([(case, a), (case, b)])
    assert (both.rows, both.scored, both.median_absolute_error, both.largest_absolute_error) == (5, 5, pytest.approx(0.2), 9.0)
    assert (both.pairs, both.in_order) == (4, pytest.approx(1 / 4))


# --- Bad input -----------------------------------------------------------------------------------------------------------


def changed(tmp_path: Path, file: str, before: str, after: str) -> Path:
    folder = tmp_path / "cases"
    if not folder.exists():
        shutil.copytree(TOY, folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert before in text
    (folder / file).write_text(text.replace(before, after), encoding="utf-8")
    return folder


BAD = {
    "no such entry": ("toy.toml", "study = ", "studies = ", "studies: no such entry; did you mean"),
    "missing": ("toy.toml", "study = ", "studies = ", "study: missing; give it a value"),
    "score": ("toy.toml", '"ratio"', '"grade"', "score: 'grade'; Input should be 'absolute', 'ratio' or 'order'"),
    "ties": ("toy.toml", "ties = 0.01", "ties = -1", "ties: -1; Input should be greater than or equal to 0"),
    "table": ("toy.toml", "[conditions.clients]\nentry", "[conditions.clients]\nentrance", "conditions.clients.entrance: no such entry;"),
    "between": ("toy.toml", '["1 us", "500 us"]', '["1 us", "5 MB"]', "fix.1.between: '1 us' and '5 MB'; give both ends in one unit"),
    "order of between": ("toy.toml", '["1 us", "500 us"]', '["9 us", "5 us"]', "fix.1.between: 9 to 5 us; two ends above 0"),
    "unit": ("toy.toml", '["1 us", "500 us"]', '["1 ux", "5 ux"]', "fix.1.between: '1 ux': 'ux' is not a unit; did you mean"),
    "fixed metric": ("toy.toml", 'metric = "rate"', 'metric = "rat"', "fix.1.metric: 'rat' is unknown; did you mean 'rate'?"),
    "of": ("toy.toml", '"path_caller_s"', '"path_s"', "metrics.computing.of: 'path_s' is not a number of a run; did you mean 'path_cpu_s'"),
    "column": ("toy.toml", 'rows = { platform = "enclave" }', 'rows = { plan = "x" }', "missing.0.rows: column 'plan' is unknown"),
    "baseline": ("toy.toml", '[baseline]\nplatform = "plain"', '[baseline]\nplatform = "bare"', "baseline: no row has platform = bare;"),
    "level": ("toy.toml", "boxed = {", "box = {", "conditions.platform.levels: nothing for 'boxed'; say which"),
    "profile": ("toy.toml", '"docker"', '"dokcer"', "scenario at platform = boxed, clients = 1: platform: 'dokcer' is unknown"),
    "entry": ("toy.toml", 'entry = "tenants.0.load', 'entry = "tenants.7.load', "entry '7' is no place in the scenario"),
    "value of entry": ("toy.toml", 'duration_s = "0.2 s"', 'duration_s = "-1 s"', "run.duration_s: '-1 s'; must be above 0"),
    "own study": ("toy.toml", 'study = ["toy-study"]', 'study = ["dall-isca16"]', "study: kvm.cpu.wake_s cites 'dall-isca16'; say in"),
    "not TOML": ("toy.toml", "[scenario]", "[scenario", "toy.toml: Expected"),
    "column without a table": ("toy.csv", "clients", "users", "toy.csv: column 'users' has no table; say what it sets"),
    "no such column": ("toy.csv", "clients", "users", "conditions.clients: toy.csv has no such column;"),
    "column missing": ("toy.csv", ",provenance", ",origin", "toy.csv: column 'provenance' is missing; a row has"),
    "value": ("toy.csv", "8000", "eight", "toy.csv, line 5: value 'eight'; a finite number, at least 0"),
    "negative": ("toy.csv", "8000", "-8", "toy.csv, line 5: value '-8'; a finite number, at least 0"),
    "unit of a row": ("toy.csv", "k/s", "rpm", "toy.csv, line 6: unit 'rpm' is unknown; "),
    "metric of a row": ("toy.csv", "guest,1,rate", "guest,1,late", "toy.csv, line 5: metric 'late' has no table; did you mean 'rate'?"),
    "source": ("toy.csv", "toy,line 4", ",line 4", "toy.csv, line 5: source_key is empty; every row says it"),
    "provenance": ("toy.csv", "8000,own", "8000,hearsay", "toy.csv, line 5: provenance 'hearsay'; one of read, recalled-high"),
    "cells": ("toy.csv", "8000,own", "8000", "toy.csv, line 5: not as many cells as the header has; 8"),
    "twice": ("toy.csv", "toy,line 4,guest", "toy,line 4,boxed", "toy.csv, line 5: the same conditions and metric as line 4"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_told_with_its_place_and_a_way_out(mistake: str, tmp_path: Path) -> None:
    file, before, after, message = BAD[mistake]
    with pytest.raises(CaseError) as caught:
        read_cases(changed(tmp_path, file, before, after))
    assert message in str(caught.value)
    assert all(line.startswith("toy.toml: ") for line in caught.value.problems)


def test_all_mistakes_are_told_at_once_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["between", "fixed metric", "value", "unit of a row", "of"]
    for mistake in told:
        folder = changed(tmp_path, *BAD[mistake][:3])
    shutil.copy(TOY / "toy.toml", folder / "alone.toml")
    files = [tmp_path / "rows.csv", tmp_path / "summary.csv", tmp_path / "charts"]
    arguments = ["--csv", str(files[0]), "--summary", str(files[1]), "--charts", str(files[2])]
    assert main(["validate", str(folder), *arguments]) == 2
    errors = capsys.readouterr().err
    for mistake in told:
        assert BAD[mistake][3] in errors
    assert "alone.toml: alone.csv: " in errors and "Traceback" not in errors
    assert not any(path.exists() for path in files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder; give a folder with cases"),
        (["."], "no case; a case is <name>.toml and <name>.csv"),
        ([str(TOY), "--only", "tyo"], "no case 'tyo'; did you mean 'toy'?"),
        ([str(TOY), "--csv", "no/such/folder/rows.csv"], "cannot be written"),
        ([str(TOY), "--charts", "file"], "file: is a file; give a folder for the charts"),
        ([str(TOY), "--workers", "0"], "a whole number, at least 1"),
    ],
)
def test_a_bad_command_line_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["validate", *arguments]) == 2
    assert message in capsys.readouterr().err


# --- What is written -----------------------------------------------------------------------------------------------------


def written(folder: Path, workers: int) -> dict[str, bytes]:
    folder.mkdir()
    arguments = ["--csv", str(folder / "rows.csv"), "--summary", str(folder / "summary.csv"), "--charts", str(folder / "charts")]
    assert main(["validate", str(TOY), "--rows", *arguments, "--workers", str(workers)]) == 0
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_files_and_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same bytes serially and in parallel; the columns as promised; every row on the screen."""
    first, second = written(tmp_path / "a", 1), written(tmp_path / "b", 2)
    assert first == second
    assert set(first) == {
        "rows.csv", "summary.csv", "charts/predicted_over_measured_1.svg", "charts/predicted_over_measured_1.png"
    }  # fmt: skip
    table = pd.read_csv(tmp_path / "a" / "rows.csv")
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 8
    assert table["predicted"].isna().sum() == 1
    assert set(table["role"]) == {"calibration", "validation"}
    assert table["condition"].iloc[0] == "toy: clients=1"
    shown = capsys.readouterr().out
    assert "1 row not predicted: no profile of an enclave" in shown
    assert shown.count("guest") >= 2


# --- The shipped cases ---------------------------------------------------------------------------------------------------


@cache
def shipped() -> dict[str, Case]:
    return {case.name: case for case in read_cases(SHIPPED)}


def test_the_shipped_cases_are_those_that_were_asked_for() -> None:
    assert set(shipped()) == set(NAMES)
    assert len(NAMES) >= 16


@pytest.mark.parametrize("name", NAMES)
def test_every_row_has_a_source_a_place_and_a_known_provenance(name: str) -> None:
    case = shipped()[name]
    assert all(row.source_key.strip() and row.place.strip() and row.provenance in PROVENANCE for row in case.rows)
    assert {row.source_key for row in case.rows} <= set(case.study), "a case is of one study, under all its keys"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_case_is_idle(name: str) -> None:
    """Each list of missing rows, each calibration and each fix means some row; something is predicted."""
    case = shipped()[name]
    for one in (*case.missing, *case.calibrations):
        assert any(one.rows.holds(row.described) for row in case.rows), one.why
    for fix in case.fixes:
        assert any(fix.applies.holds(row.conditions) and not case.why_missing(row) for row in case.rows), fix.number
    assert any(not case.why_missing(row) for row in case.rows)




@pytest.mark.parametrize("name", NAMES)
def test_measured_values_are_those_of_the_reference_tables(name: str) -> None:
    """Each number stands in the collection of published numbers under its key; one is a sum that its place shows."""
    folder = next((parent / "shared" / "reference" for parent in ROOT.parents if (parent / "shared" / "reference").is_dir()), None)
    if folder is None:
        pytest.skip("the collection of published numbers is not here")
    tables = [pd.read_csv(folder / f"{table}.csv", low_memory=False) for table in ("measurements_performance", "microcosts")]
    known = {(key, float(value)) for frame in tables for key, value in zip(frame["source_key"], frame["value"], strict=True)}
    odd = [row for row in shipped()[name].rows if (row.source_key, row.value) not in known and row.provenance != "derived"]
    assert not odd


# --- The results that the README shows -----------------------------------------------------------------------------------


def results() -> pd.DataFrame:
    return pd.read_csv(RESULTS / "validation" / "rows.csv")


def test_the_summary_follows_from_the_rows() -> None:
    """Counted anew from the table of rows, without the code that made the summary."""
    rows = results().assign(case=lambda frame: frame["condition"].str.partition(":")[0])
    told = pd.read_csv(RESULTS / "validation" / "summary.csv").set_index("case")
    assert set(rows["case"]) | {"all"} == set(told.index) == {*NAMES, "all"}
    for name, mine in [("all", rows), *rows.groupby("case")]:
        scored = mine[(mine["role"] == "validation") & mine["error"].notna()]["error"].abs()
        line = told.loc[name]
        assert (line["rows"], line["calibration"]) == (len(mine), (mine["role"] == "calibration").sum())
        assert (line["scored"], line["not_predicted"]) == (len(scored), mine["predicted"].isna().sum())
        if len(scored):
            assert line["median_absolute_error"] == pytest.approx(scored.median())
            assert line["largest_absolute_error"] == pytest.approx(scored.max())


@pytest.mark.parametrize("name", ["felter-cpu", "felter-cpu-per-byte", "sugerman-send", "adams-agesen", "barham-lmbench", "opscart-quota"])
def test_the_results_are_what_the_cases_give_now(name: str) -> None:
    """The cases that take no time; write the results anew with `simvirt validate --csv … --summary … --charts …`."""
    now = validate([shipped()[name]], workers=1)[name]
    kept = results()
    kept = kept[kept["condition"].str.startswith(f"{name}:")]
    assert [one.predicted for one in now] == pytest.approx(kept["predicted"].tolist(), rel=1e-6, nan_ok=True)
    assert [one.row.value for one in now] == kept["measured"].tolist()


@pytest.mark.parametrize("command", ["get", "set"])
def test_the_redis_cases_say_what_the_experiment_says(command: str) -> None:
    """Two ways to the same scenarios; the time on the wire is searched for by different methods, which shows at few connections."""
    by_case = results()
    by_case = by_case[by_case["condition"].str.startswith(f"felter-redis-{command}:")]
    clients = by_case["condition"].str.extract(r"connections=(\d+)", expand=False).astype(int)
    mine = by_case.assign(connections=clients).set_index(["platform", "connections"])["predicted"]
    table = pd.read_csv(RESULTS / "redis_published" / "predictions.csv")
    theirs = table[table["scenario"] == command.upper()].set_index(["source_platform", "connections"])["predicted"]
    assert len(mine) == len(theirs) == 72
    apart = (mine / theirs.loc[mine.index] - 1).abs()
    assert apart.median() < 5e-4
    assert apart.max() < 2e-2
