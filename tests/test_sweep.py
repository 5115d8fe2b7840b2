"""A study as data: designs, factors, precision, comparisons, what is kept, and every mistake at once."""

from __future__ import annotations

import json
import math
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from test_experiment import BASE, OTHER, found, outcome

from simvirt.analysis.comparison import common_numbers_gain
from simvirt.analysis.intervals import mean_interval
from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.errors import ScenarioError
from simvirt.experiment.comparisons import CONTROLS_FROM, compare_points, comparisons_frame
from simvirt.experiment.design import Design, levels_of_points
from simvirt.experiment.factors import FactorPathError, Levels, Range, with_level
from simvirt.experiment.precision import Precision
from simvirt.experiment.responses import responses_frame
from simvirt.experiment.runner import Failure
from simvirt.experiment.runs import RunStore
from simvirt.experiment.study_reader import load_study
from simvirt.experiment.sweep import Comparison, Study
from simvirt.simulation.outcome import RunOutcome

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "experiments" / "studies").glob("*.toml"))
MEAN = "response_time_mean_s"


@cache
def catalog() -> Catalog:
    return Catalog.builtin()


def base(**run: Any) -> dict[str, Any]:
    web = {"name": "web", "workload": "web-service", "vcpus": 2, "load": {"kind": "poisson", "rate_per_s": 500}}
    return {"platform": "kvm", "machine": "small-server", "tenants": [web], "run": {"duration_s": 0.2, "replications": 2, **run}}


def study(**entries: Any) -> Study:
    return Study.model_validate({"base": base(), "factors": {"platform": ["bare-metal", "kvm"]}, **entries})


# --- Factors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("platform", lambda d: d["platform"]),
        ("run.seed", lambda d: d["run"]["seed"]),
        ("tenants.web.load.rate_per_s", lambda d: d["tenants"][0]["load"]["rate_per_s"]),
        ("tenants.0.vcpus", lambda d: d["tenants"][0]["vcpus"]),
        ("tenants.web.cpu_max.quota", lambda d: d["tenants"][0]["cpu_max"]["quota"]),
        ("override.kvm.cpu.exit_s", lambda d: d["override"]["kvm.cpu.exit_s"]),
    ],
)
def test_a_path_leads_to_one_entry_and_leaves_the_rest(path: str, read: Any) -> None:
    before = base()
    changed = with_level(before, path, "x")
    assert read(changed) == "x"
    assert before == base()
    put_back = {k: v for k, v in changed.items() if k != path.split(".", maxsplit=1)[0]}
    assert put_back == {k: v for k, v in before.items() if k != path.split(".", maxsplit=1)[0]}


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("tenants.wbe.vcpus", "tenants has no 'wbe'; use 'web' or a number below 1"),
        ("tenants.1.vcpus", "tenants has no '1'; use 'web' or a number below 1"),
        ("platform.name", "platform is 'kvm', and has nothing below it"),
        ("run..seed", "names with single dots between them"),
        ("", "names with single dots between them"),
    ],
)
def test_a_path_that_leads_nowhere_is_told(path: str, problem: str) -> None:
    with pytest.raises(FactorPathError, match=re.escape(problem)):
        with_level(base(), path, 1)


@given(st.floats(0, 1), st.floats(1, 1e3), st.floats(1.001, 1e3), st.sampled_from(["linear", "log"]))
def test_a_range_is_kept(u: float, low: float, factor: float, scale: Any) -> None:
    value = Range(path="x", low=low, high=low * factor, scale=scale).at(u)
    assert low * (1 - 1e-12) <= value <= low * factor * (1 + 1e-12)


def test_whole_numbers_are_equally_likely_ends_included_and_the_middle_of_a_log_scale_is_the_geometric_mean() -> None:
    whole = Range(path="x", low=1, high=4, whole=True)
    drawn = [whole.at((i + 0.5) / 400) for i in range(400)]
    assert {n: drawn.count(n) for n in set(drawn)} == {1: 100, 2: 100, 3: 100, 4: 100}
    assert whole.at(1.0) == 4
    assert Range(path="x", low=1, high=100, scale="log").at(0.5) == pytest.approx(10.0)


# --- Designs ---------------------------------------------------------------------------------------------------------


def test_a_grid_has_all_combinations() -> None:
    factors = {"a": Levels(path="a", levels=(1, 2, 3)), "b": Levels(path="b", levels=("x", "y"))}
    points = levels_of_points(Design(), factors)
    assert len(points) == 6
    assert {(p["a"], p["b"]) for p in points} == {(a, b) for a in (1, 2, 3) for b in "xy"}


def test_a_latin_hypercube_has_one_point_in_each_slice_of_every_range_crossed_with_the_levels() -> None:
    factors = {"p": Levels(path="p", levels=("x", "y")), "a": Range(path="a", low=0, high=8), "b": Range(path="b", low=1, high=9)}
    design = Design(kind="latin-hypercube", points=8)
    points = levels_of_points(design, factors)
    assert len(points) == 16
    of_x, of_y = ([(q["a"], q["b"]) for q in points if q["p"] == p] for p in "xy")
    assert of_x == of_y  # pairs: every level is seen at the same points
    assert sorted(math.floor(a) for a, _ in of_x) == list(range(8))
    assert sorted(math.floor(b) for _, b in of_x) == list(range(1, 9))
    assert points == levels_of_points(design, factors)
    assert points != levels_of_points(Design(kind="latin-hypercube", points=8, seed=2), factors)


def test_a_sobol_sequence_is_balanced_in_every_square() -> None:
    """16 points in two dimensions are a (0, 4, 2)-net: one in each of the 4 x 4 squares, and in each sixteenth of either side."""
    factors = {name: Range(path=name, low=0, high=1) for name in "ab"}
    points = [(p["a"], p["b"]) for p in levels_of_points(Design(kind="sobol", points=16), factors)]
    assert len({(int(4 * a), int(4 * b)) for a, b in points}) == 16
    assert sorted(int(16 * a) for a, _ in points) == list(range(16))


# --- Mistakes --------------------------------------------------------------------------------------------------------


def problems(**entries: Any) -> tuple[str, ...]:
    with pytest.raises(ScenarioError) as error:
        study(**entries).points(catalog())
    return error.value.problems


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    told = problems(
        factors={"platform": ["kvm", "kmv"], "tenants.wbe.vcpus": [1, 2], "mean": {"path": "run.seed", "levels": [1]}},
        responses=["response_time"],
        comparison={"baseline": "docker"},
        precision={"response": "throughput_per_s", "relative_half_width": 0.1},
    )
    paths = ["responses", "factors.mean", "comparison.baseline", "precision.response", "factors.tenants.wbe.vcpus"]
    assert [line.partition(":")[0] for line in told] == paths
    assert "did you mean" in told[0]
    assert "(at platform = kvm, tenants.wbe.vcpus = 1, mean = 1; " in told[-1]
    assert told[-1].endswith("; and 1 more)")


def test_mistakes_of_scenarios_are_told_with_their_points() -> None:
    told = problems(factors={"platform": ["kvm", "kmv"], "tenants.web.vcpus": [2, 200]})
    assert any("platform: 'kmv' is unknown" in line and "tenants.web.vcpus = 2; " in line for line in told)
    assert any("tenants.0.vcpus: 200" in line and line.endswith("(at platform = kvm, tenants.web.vcpus = 200)") for line in told)


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"factors": {"a": {"low": 1, "high": 2}}}, "factors.a: a range in a grid"),
        ({"design": {"points": 3}}, "design.points: 3 of a grid"),
        ({"design": {"kind": "sobol", "points": 8}}, "without a range to draw from"),
        ({"factors": {"run.seed": {"low": 1, "high": 9}}, "design": {"kind": "sobol", "points": 12}}, "powers of two, such as 16"),
        ({"factors": {"run.seed": {"low": 1, "high": 9}}, "design": {"kind": "latin-hypercube"}}, "design.points: missing"),
        ({"comparison": {"factor": "platfrom", "baseline": "kvm"}}, "did you mean 'platform'?"),
    ],
)
def test_a_design_that_cannot_be_is_told(entries: dict[str, Any], problem: str) -> None:
    assert any(problem in line for line in problems(**entries))


@pytest.mark.parametrize(
    "entries",
    [
        {"factors": {}},
        {"factors": {"platform": []}},
        {"factors": {"platform": ["kvm", "kvm"]}},
        {"factors": {"platform": "kvm"}},
        {"factors": {"x": {"low": 2, "high": 1}}},
        {"factors": {"x": {"low": 0, "high": 1, "scale": "log"}}},
        {"factors": {"x": {"low": 0.5, "high": 1, "whole": True}}},
        {"precision": {"response": MEAN, "relative_half_width": 0.0}},
        {"precision": {"response": MEAN, "relative_half_width": 0.1, "least": 9, "most": 8}},
        {"name": "../elsewhere"},
        {"nonsense": 1},
    ],
)
def test_a_study_that_makes_no_sense_cannot_be_made(entries: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        study(**entries)


def test_a_file_with_many_mistakes_has_a_line_for_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.toml").write_text(
        'base = "nowhere.toml"\nbsae = 1\n[factors]\nplatform = "kvm"\nx = { low = 5, high = 2 }\n[design]\nkind = "sobl"\npoint = 3\n'
        '[precision]\nrelative_half_width = 2\n'
    )
    assert main(["sweep", str(tmp_path / "bad.toml"), "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    paths = sorted(line.removeprefix("simvirt: ").partition(":")[0] for line in lines)
    precision = ["precision.relative_half_width", "precision.response"]
    assert paths == ["base", "bsae", "design.kind", "design.point", "factors.platform", "factors.x", *precision]
    assert not (tmp_path / "out").exists()
    assert any("did you mean 'base'" in line for line in lines)
    assert any("did you mean 'points'?" in line for line in lines)


# --- Comparisons -----------------------------------------------------------------------------------------------------


def test_common_random_numbers_by_hand() -> None:
    """a = 1, 2, 3, b = 1.1, 2, 3.1: s²(a) = 1, s²(b) = 1.003333, a - b = -0.1, 0, -0.1 with s² = 0.003333: 2.003333 / 0.003333 = 601."""
    assert common_numbers_gain([1, 2, 3], [1.1, 2.0, 3.1]) == pytest.approx(601.0)
    assert common_numbers_gain([1, 2, 4], [2, 3, 5]) == math.inf
    assert math.isnan(common_numbers_gain([1], [2]))


def test_levels_are_compared_in_pairs_at_the_same_point_by_hand() -> None:
    """(0.2 + 0.6) / (0.1 + 0.2) = 8/3; the mean difference is ((0.2 - 0.1) + (0.6 - 0.2)) / 2 = 0.25."""
    points = [outcome(OTHER, found(0, 0.2), found(1, 0.6)), outcome(BASE, found(0, 0.1), found(1, 0.2))]
    [compared] = compare_points([*points, outcome(BASE, found(0, 1.0), load=0.9)], "platform", BASE, [MEAN])
    assert (compared.entity, compared.factors["load"], compared.ratio.mean) == ("tenant/web", 0.5, pytest.approx(8 / 3))
    assert (compared.difference.mean, compared.difference.n) == (pytest.approx(0.25), 2)
    assert math.isnan(compared.control_gain)
    frame = comparisons_frame([compared])
    assert frame["p_holm"].tolist() == frame["p_value"].tolist()
    assert comparisons_frame([]).empty


def test_holm_adjusts_over_all_comparisons_of_a_response() -> None:
    """Three equal p-values p of one response become min(1, 3p) each: that of another response is a family of its own."""
    points = [outcome(BASE, found(0, 0.1), found(1, 0.2), found(2, 0.25))]
    points += [outcome(f"other {i}", found(0, 0.2), found(1, 0.31), found(2, 0.34)) for i in range(3)]
    compared = compare_points(points, "platform", BASE, [MEAN, "throughput_per_s"])
    frame = comparisons_frame(compared)
    means = frame[frame["metric"] == MEAN]
    assert len(means) == 3
    assert means["p_holm"].to_numpy() == pytest.approx(3 * means["p_value"].to_numpy())
    assert (frame[frame["metric"] == "throughput_per_s"]["p_holm"] == 1.0).all()  # the same in all


def test_a_saturated_side_has_no_comparison_and_is_in_no_family() -> None:
    full = [found(i, 0.3, growth=20) for i in range(2)]
    points = [outcome(BASE, found(0, 0.1), found(1, 0.2)), outcome(OTHER, *full), outcome("third", found(0, 0.2), found(1, 0.31))]
    frame = comparisons_frame(compare_points(points, "platform", BASE, [MEAN])).set_index("platform")
    assert math.isnan(frame.loc[OTHER, "ratio"])
    assert math.isnan(frame.loc[OTHER, "p_holm"])
    assert frame.loc["third", "p_holm"] == frame.loc["third", "p_value"]


def test_the_number_of_arrivals_is_a_control_where_it_is_known() -> None:
    """y = a - b = 0.1 + (arrived / window - 100) / 1000 exactly, 100 /s being expected: the mean is 0.1, and nothing is left to doubt."""

    def run(replication: int, response_s: float, arrived: int) -> RunOutcome:
        plain = found(replication, response_s)
        return replace(plain, tenants=(replace(plain.tenants[0], arrived=arrived),))

    arrivals = [int(a) for a in 200 + 10 * np.sin(np.arange(CONTROLS_FROM))]
    one = outcome(OTHER, *(run(i, 0.2 + (n / 2.0 - 100) / 1000, n) for i, n in enumerate(arrivals)))
    other = outcome(BASE, *(run(i, 0.1, n) for i, n in enumerate(arrivals)))
    [compared] = compare_points([one, other], "platform", BASE, [MEAN])
    assert compared.difference.mean == pytest.approx(0.1, abs=1e-12)
    assert compared.difference.half_width < 1e-12
    assert compared.control_gain > 1e6
    [fewer] = compare_points([outcome(p.point.factors["platform"], *p.runs[:-1]) for p in (one, other)], "platform", BASE, [MEAN])
    assert math.isnan(fewer.control_gain)


# --- Responses -------------------------------------------------------------------------------------------------------


def test_the_table_says_what_to_beware_of() -> None:
    full = outcome(OTHER, *(found(i, 0.1, growth=20 if i else 0) for i in range(3)))
    broken = outcome("broken", failures=(Failure(replication=0, error="no such disk"),))
    wide = outcome(BASE, found(0, 0.1), found(1, 0.9))
    precision = Precision(response=MEAN, relative_half_width=0.1, least=2, most=2)
    frame = responses_frame([full, broken, wide], [MEAN], precision).set_index("platform")
    assert frame.loc[OTHER, "note"].startswith("saturated in 2 of 3 replications")
    assert math.isnan(frame.loc[OTHER, "mean"])
    assert frame.loc["broken", "note"] == "1 of 1 runs failed, the first: no such disk"
    assert "too few requests to tell whether runs are long enough" in frame.loc[BASE, "note"]
    assert "of the mean, not 0.1 at the most of 2 replications" in frame.loc[BASE, "note"]


# --- Whole studies ---------------------------------------------------------------------------------------------------


def test_one_call_gives_a_table() -> None:
    frame = study(responses=[MEAN, "throughput_per_s"], comparison=Comparison(baseline="bare-metal")).run(workers=1)
    assert isinstance(frame, pd.DataFrame)
    assert frame[["platform", "entity", "metric", "n"]].to_numpy().tolist() == [
        [platform, "tenant/web", metric, 2] for platform in ("bare-metal", "kvm") for metric in (MEAN, "throughput_per_s")
    ]
    assert (frame["low"] < frame["mean"]).all()


def test_replications_are_added_until_the_interval_is_narrow_and_pairs_stay_pairs() -> None:
    precise = {"response": MEAN, "relative_half_width": 0.05, "least": 3, "most": 40}
    factors = {"platform": ["bare-metal", "kvm"], "run.duration_s": [0.1, 0.4]}
    described = study(factors=factors, precision=precise, comparison={"baseline": "bare-metal"})
    result = described.conduct(workers=1)
    n = {tuple(o.point.factors.values()): o.point.scenario.run.replications for o in result.outcomes}
    assert n["bare-metal", 0.1] == n["kvm", 0.1]
    assert n["bare-metal", 0.4] == n["kvm", 0.4]
    assert n["kvm", 0.1] > n["kvm", 0.4] >= 3
    for o in result.outcomes:
        values = [run.tenants[0].histogram.mean_s for run in o.runs]
        assert len(values) == o.point.scenario.run.replications
        assert mean_interval(values).relative_half_width <= 0.05 or len(values) == 40


def test_the_cap_is_kept_and_told() -> None:
    described = study(precision={"response": MEAN, "relative_half_width": 0.001, "least": 2, "most": 4})
    frame = described.run(workers=1)
    assert set(frame["n"]) == {4}
    assert frame["note"].str.contains("not 0.001 at the most of 4 replications").all()


def test_an_interrupted_study_has_the_same_replications_and_rounds_are_not_run_again(tmp_path: Path) -> None:
    described = study(precision={"response": MEAN, "relative_half_width": 0.03, "least": 2, "most": 12})
    alone = described.conduct(workers=1)
    counted = {"planned": 0, "found": 0, "finished": 0}

    def count(what: str) -> Any:
        return lambda n=1: counted.__setitem__(what, counted[what] + n)

    store = RunStore(tmp_path)
    store.open()
    telling = {what: count(what) for what in counted}
    first = described.conduct(workers=1, store=store, **telling)
    total = sum(o.point.scenario.run.replications for o in alone.outcomes)
    assert total > 4
    assert counted == {"planned": total - 4, "found": 0, "finished": total}
    for record in sorted(tmp_path.rglob("*.run"))[:3]:
        record.unlink()
    counted.update(planned=0, found=0, finished=0)
    with ThreadPoolExecutor(2) as executor:
        again = described.conduct(executor=executor, store=store, **telling)
    assert counted == {"planned": total - 4, "found": total - 3, "finished": 3}
    for one in (first, again):
        assert {k: f.to_csv() for k, f in one.tables().items()} == {k: f.to_csv() for k, f in alone.tables().items()}


def test_texts_and_numbers_as_levels_of_one_factor_can_be_sorted() -> None:
    frame = study(factors={"override.kvm.cpu.exit_s": ["low", 2000, "high"]}).run(workers=1)
    assert sorted(set(frame["override.kvm.cpu.exit_s"])) == ["2000", "high", "low"]


def test_common_random_numbers_pay_for_platforms_that_are_alike() -> None:
    """Bare metal and containers with the same arrivals: the difference is known as well as with at least four times the requests."""
    described = study(base=base(replications=5), factors={"platform": ["bare-metal", "docker"]}, comparison={"baseline": "bare-metal"})
    [compared] = described.conduct(workers=1).compared
    assert compared.common_numbers_gain > 4.0


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_that_comes_with_simvirt_can_be_run(path: Path) -> None:
    assert len(load_study(path).points()) > 1


def test_a_study_from_a_file_fills_a_folder_and_goes_on_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "base.toml").write_text(
        'platform = "kvm"\nmachine = "small-server"\nrun = { duration_s = 0.2, replications = 2 }\n'
        '[[tenants]]\nname = "web"\nworkload = "web-service"\nvcpus = 2\nload = { kind = "poisson", rate_per_s = 500 }\n'
        '[override]\n"web-service.page.compute.cpu_s" = "1 ms"\n'
    )
    (tmp_path / "study.toml").write_text(
        'name = "two places"\nquestion = "Where is it faster?"\nbase = "base.toml"\n[factors]\nplatform = ["bare-metal", "docker"]\n'
        '[comparison]\nbaseline = "bare-metal"\n'
    )
    told, contents = [], []
    for _ in range(2):
        assert main(["sweep", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
        told.append(capsys.readouterr().out)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / "out").glob("*.csv")})
    assert told[0] == told[1]
    assert contents[0] == contents[1]
    assert set(contents[0]) == {f"{name}.csv" for name in ("points", "runs", "summary", "time_parts", "responses", "comparisons")}
    assert told[0].startswith("Where is it faster?")
    assert "Over platform = bare-metal, in pairs" in told[0]
    assert "Without common random numbers" in told[0]
    assert "2 points, 4 runs" in told[0]
    about = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert about["overridden"] == {"web-service.page.compute.cpu_s": ["1 ms"]}
    assert about["study"]["factors"]["platform"]["levels"] == ["bare-metal", "docker"]


def test_optional_packages_that_are_not_there_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    some = str(STUDIES[0])
    assert main(["sweep", some, "--out", str(tmp_path / "a"), "--parquet"]) == 2
    assert main(["sweep", some, "--out", str(tmp_path / "b"), "--scheduler"]) == 2
    assert main(["sweep", some, "--tls-ca", "x.pem"]) == 2
    told = capsys.readouterr().err
    assert "pip install 'simvirt[parquet]'" in told
    assert "pip install 'simvirt[cluster]'" in told
    assert "give all three or none" in told


def test_parquet_has_what_the_csv_has(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    small = json.dumps(str(ROOT / "tests" / "scenarios" / "small.toml"))
    (tmp_path / "study.toml").write_text(f"base = {small}\n[factors]\nplatform = ['docker']\n")
    assert main(["sweep", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--workers", "1", "--parquet"]) == 0
    for name in ("runs", "summary", "responses"):
        both = pd.read_parquet(tmp_path / "out" / f"{name}.parquet"), pd.read_csv(tmp_path / "out" / f"{name}.csv")
        assert list(both[0].columns) == list(both[1].columns)
        assert len(both[0]) == len(both[1]) > 0
