"""Which number decides: against functions whose answer is known, and end to end on a scenario where one cost does nearly all."""

from __future__ import annotations

import re
from math import nan, pi
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simvirt.analysis.sensitivity import Range, sobol, tornado
from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.experiment.screening import at_end, candidates
from simvirt.scenario import Scenario, load_scenario
from simvirt.simulation import simulate

SCENARIO = """
platform = "kvm"
machine = "small-server"
[[tenants]]
name = "web"
workload = "web-service"
vcpus = 8
load = { kind = "poisson", rate_per_s = "2000 /s" }
[run]
duration_s = "0.3 s"
replications = 3
"""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.builtin()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "web.toml"
    place.write_text(SCENARIO, encoding="utf-8")
    return place


# --- Tornado ---------------------------------------------------------------------------------------------------------


def test_bars_are_paired_and_the_longest_comes_first() -> None:
    base = [1.0, 2.0, 3.0]
    bars = tornado(base, {"small": ([0.9, 1.9, 2.9], [1.1, 2.1, 3.1]), "large": ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])})
    assert [bar.name for bar in bars] == ["large", "small"]
    assert bars[0].at_high.mean == pytest.approx(1.0)
    assert bars[0].at_high.half_width == pytest.approx(0.0, abs=1e-12)  # the replications differ, their differences do not
    assert bars[1].swing == pytest.approx(0.2)


def test_a_difference_within_chance_is_not_told_and_none_is_told_as_none() -> None:
    noisy, none = tornado([1.0, 2.0, 3.0], {"noisy": ([0.0, 3.0, 3.0], [1.0, 2.0, 3.0]), "none": ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])})
    assert not noisy.is_told
    assert not none.is_told


def test_an_end_without_a_response_comes_before_all_others() -> None:
    bars = tornado([1.0, 2.0], {"long": ([0.0, 0.0], [9.0, 9.0]), "saturates": ([1.0, 2.0], [nan, nan])})
    assert [bar.name for bar in bars] == ["saturates", "long"]
    assert bars[0].is_told


# --- Sobol indices ---------------------------------------------------------------------------------------------------


def test_indices_of_a_sum_are_the_shares_of_its_variances() -> None:
    """f = 1a + 2b + 3c over ranges of width 1: variances go as 1 : 4 : 9, and nothing acts together."""
    ranges = [Range(name=name, low=5.0, high=6.0) for name in "abc"]
    found = sobol(ranges, lambda x: x @ np.array([1.0, 2.0, 3.0]), 1024, np.random.default_rng(1))
    assert [one.name for one in found] == ["c", "b", "a"]
    for one, share in zip(found, (9 / 14, 4 / 14, 1 / 14), strict=True):
        assert one.first == pytest.approx(share, abs=0.02)
        assert one.total == pytest.approx(share, abs=0.02)


def test_indices_of_ishigami_are_those_of_the_literature() -> None:
    """f = sin a + 7 sin² b + 0.1 c⁴ sin a on ±π: first order 0.3139, 0.4424, 0; total 0.5576, 0.4424, 0.2437 (Ishigami & Homma 1990)."""
    ranges = [Range(name=name, low=-pi, high=pi) for name in "abc"]

    def f(x: np.ndarray) -> np.ndarray:
        return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])

    found = {one.name: one for one in sobol(ranges, f, 4096, np.random.default_rng(3))}
    for name, first, total in (("a", 0.3139, 0.5576), ("b", 0.4424, 0.4424), ("c", 0.0, 0.2437)):
        assert found[name].first == pytest.approx(first, abs=0.03)
        assert found[name].total == pytest.approx(total, abs=0.03)


def test_a_response_that_never_moves_hangs_on_nothing() -> None:
    found = sobol([Range(name="a", low=0.0, high=1.0)], lambda x: np.ones(len(x)), 8, np.random.default_rng(1))
    assert [(one.first, one.total) for one in found] == [(0.0, 0.0)]


def test_bad_samples_and_missing_responses_are_refused() -> None:
    one = [Range(name="a", low=0.0, high=1.0)]
    with pytest.raises(ValueError, match="samples: 12; a power of two"):
        sobol(one, lambda x: x[:, 0], 12, np.random.default_rng(1))
    with pytest.raises(ValueError, match="24 of 24 points have no response"):
        sobol(one, lambda x: np.full(len(x), nan), 8, np.random.default_rng(1))


# --- Screening -------------------------------------------------------------------------------------------------------


def test_screening_puts_first_what_a_run_says_is_first(path: Path, catalog: Catalog) -> None:
    """The mean response time at both ends of each cost, on one replication: the first of the screening moves it most of all."""
    scenario = load_scenario(path, catalog)
    found = candidates(scenario, catalog)

    def mean_s(one: Scenario) -> float:
        return simulate(one, catalog).tenants[0].histogram.mean_s

    swings = {one.path: abs(mean_s(at_end(scenario, one.path, "high")) - mean_s(at_end(scenario, one.path, "low"))) for one in found}
    assert max(swings, key=lambda name: swings[name]) in [one.path for one in found[:2]]
    left_out = sum(swings[one.path] for one in found[10:])
    assert left_out < 0.1 * sum(swings.values())


def test_screening_leaves_out_what_is_set_by_hand_and_what_has_no_range(path: Path, catalog: Catalog) -> None:
    scenario = load_scenario(path, catalog)
    names = [one.path for one in candidates(scenario, catalog)]
    assert "kvm.cpu.paging.nested_walk_s" in names
    assert all(one.cost.low < one.cost.high for one in candidates(scenario, catalog))
    fixed = scenario.model_copy(update={"override": {"kvm.cpu.paging.nested_walk_s": 40.0}})
    assert "kvm.cpu.paging.nested_walk_s" not in [one.path for one in candidates(fixed, catalog)]


# --- The command -----------------------------------------------------------------------------------------------------


def test_the_command_tells_draws_and_writes(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, chart = tmp_path / "s.csv", tmp_path / "s.svg"
    assert main(["sensitivity", str(path), "--top", "3", "--csv", str(table), "--chart", str(chart), "--sobol", "8"]) == 0
    told = capsys.readouterr().out
    frame = pd.read_csv(table)
    assert len(frame) == 3
    assert frame["cost"].iloc[0] == "kvm.cpu.paging.nested_walk_s"
    assert frame["high_change"].iloc[0] > 5e-5
    assert frame["told"].iloc[0]
    assert frame["sobol_total"].iloc[0] == frame["sobol_total"].max()
    assert re.search(r"kvm\.cpu\.paging\.nested_walk_s +assumed", told)
    assert "shares of the variance" in told
    assert "nested_walk_s" in chart.read_text(encoding="utf-8")


def test_platforms_are_set_side_by_side_and_the_same_seed_gives_the_same_table(path: Path, tmp_path: Path) -> None:
    asked = ["sensitivity", str(path), "--platforms", "docker,gvisor", "--top", "2", "--replications", "2"]
    for name in ("a.csv", "b.csv"):
        assert main([*asked, "--csv", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert list(pd.read_csv(tmp_path / "a.csv")["platform"]) == ["docker", "docker", "gvisor", "gvisor"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tenant", "wob"], "--tenant wob: no such group of tenants"),
        (["--platforms", "kvm2,dockr"], "--platforms kvm2: platform 'kvm2' is unknown"),
        (["--chart", "x.pdf"], "--chart x.pdf: the name of a chart ends in .svg or .png"),
        (["--sobol", "6"], "--sobol 6: a power of two, such as 8"),
        (["--response", "p42"], "invalid choice: 'p42'"),
    ],
)
def test_mistakes_are_told(path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sensitivity", str(path), "--top", "1", "--replications", "1", *arguments]) == 2
    assert said in capsys.readouterr().err
