"""Recorded arrivals: both forms come out as written, and a bad file is refused whole with file, line and value."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from simvirt.catalog import Catalog
from simvirt.errors import ScenarioError
from simvirt.scenario import load_scenario
from simvirt.simulation import simulate
from simvirt.workloads.arrivals import Trace

LOG = "when,who\n1000,a\n1500,b\n1500,c\n4000,d\n"


def trace(path: Path, text: str, **entries: Any) -> Trace:
    path.write_text(text, encoding="utf-8")
    return Trace.model_validate({"file": str(path), **entries})


def arrivals(load: Trace, seed: int = 1) -> list[float]:
    return list(accumulate(load.gaps(np.random.default_rng(seed))))


def test_times_are_read_by_name_in_their_unit_from_any_origin(tmp_path: Path) -> None:
    assert trace(tmp_path / "a b.csv", LOG, column="when", unit="ms").times_s == (1.0, 1.5, 1.5, 4.0)
    assert trace(tmp_path / "a b.csv", LOG, unit="ms", from_first=True).times_s == (0.0, 0.5, 0.5, 3.0)
    assert trace(tmp_path / "bare.csv", "0.5\n2\n\n\n").times_s == (0.5, 2.0)
    assert arrivals(trace(tmp_path / "bare.csv", "0.5\n2\n")) == [0.5, 2.0]


def test_rates_hold_for_their_interval_and_a_zero_is_idle_not_the_end(tmp_path: Path) -> None:
    text = "minute,requests\n0,600\n1,0\n2,1200\n"
    load = trace(tmp_path / "rates.csv", text, column="requests", unit="count", interval_s="1 min")
    assert load.rates_per_s == (10.0, 0.0, 20.0)
    assert load.rate_per_s == 10.0
    times = np.array(arrivals(load))
    counts = [int(((times >= 60 * i) & (times < 60 * (i + 1))).sum()) for i in range(3)]
    assert counts[1] == 0
    assert abs(counts[0] - 600) < 4 * 600**0.5
    assert abs(counts[2] - 1200) < 4 * 1200**0.5
    assert times.max() < 180
    same = trace(tmp_path / "rates.csv", text, column="requests", unit="/min", interval_s=60)
    assert same.rates_per_s == load.rates_per_s


@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=6).filter(lambda rates: sum(rates) > 1), st.floats(0.5, 4.0))
def test_scaling_stretches_time_and_keeps_arrivals(rates: list[float], factor: float) -> None:
    load = Trace(rates_per_s=tuple(rates), interval_s=2.0)
    other = load.scaled(load.rate_per_s * factor)
    assert other.rate_per_s == pytest.approx(load.rate_per_s * factor)
    assert np.array(arrivals(other)) * factor == pytest.approx(arrivals(load))


def test_blocks_of_any_size_give_the_same_arrivals() -> None:
    load = Trace(rates_per_s=(30.0, 0.0, 5.0), interval_s=10.0)
    drawn = [list(load.gaps(np.random.default_rng(3), block)) for block in (1, 7, 4096)]
    assert drawn[0] == drawn[1] == drawn[2]
    assert 200 < len(drawn[0]) < 500


@pytest.mark.parametrize(
    ("text", "entries", "said"),
    [
        ("", {}, "x y.csv: empty"),
        ("when\n", {}, "a header and nothing else"),
        (LOG, {"column": "time"}, "line 1: no column 'time'; 'when', 'who'"),
        ("1\n2\n", {"column": "when"}, "no column 'when'; the first line has numbers"),
        (LOG, {"column": "who"}, "line 2: 'a' is not a number"),
        ("t\n1\nx\n3\n1_0\n", {}, "line 3: 'x' is not a number; {file}, line 5: '1_0' is not"),
        ("t\n1\ninf\n", {}, "line 3: 'inf' is not a number"),
        ("t\n1\n-2\n", {}, "line 3: -2 is negative"),
        ("t\n5\n2\n7\n6\n", {}, "line 3: 2 s comes after 5 s; sort the times; {file}, line 5: 6 s comes after 7 s"),
        ("t,n\n1,2\n2\n", {}, "line 3: 1 cells where the first line has 2"),
        ("t,n\n1,2\n2,\n3,4\n", {"column": "n", "unit": "count", "interval_s": 1}, "line 3: '' is a gap; write 0"),
        ("t\n1\n\n3\n", {}, "line 3: 0 cells where the first line has 1"),
        ("t\n0\n0\n", {}, "the last of them after 0 s"),
        ("n\n0\n0\n", {"unit": "/s", "interval_s": 1}, "every rate is 0 /s"),
        ("n\n1\n", {"unit": "/s"}, "rates need interval_s"),
        ("n\n1\n", {"unit": "/s", "interval_s": 1, "from_first": True}, "from_first: rates begin"),
        ("n\n1\n", {"interval_s": 1}, "times in s have none"),
        ("n\n1\n", {"unit": "furlongs"}, "unit 'furlongs' is neither a time nor a rate"),
        ("\n".join(["t", *["x"] * 9]), {}, "and 4 more"),
    ],
)
def test_a_bad_file_is_refused_with_file_line_and_value(text: str, entries: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "x y.csv"
    with pytest.raises(ValidationError) as refused:
        trace(path, text, **entries)
    assert said.replace("{file}", str(path)) in str(refused.value)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "a trace needs arrivals"),
        ({"times_s": []}, "a trace needs arrivals"),
        ({"times_s": [1.0], "rates_per_s": [1.0], "interval_s": 1}, "times_s and rates_per_s are given; choose one"),
        ({"times_s": [1.0], "file": "x.csv"}, "times_s and file are given; choose one"),
        ({"times_s": [1.0], "column": "t"}, "column: of what? give a file"),
        ({"rates_per_s": [1.0]}, "rates_per_s need interval_s"),
        ({"file": "no such.csv"}, "no such.csv: No such file or directory; give the path of a CSV file, from the folder of the scenario"),
    ],
)
def test_what_is_given_twice_or_not_at_all_is_refused(entries: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Trace.model_validate(entries)
    assert said in str(refused.value)


SCENARIO = """
platform = "docker"
[[tenants]]
name = "web"
workload = "web-service"
load = { kind = "trace", file = "my logs/monday morning.csv", column = "when", unit = "ms" }
[run]
duration_s = 5
warm_up_fraction = 0
replications = 1
"""


def test_files_are_found_from_the_folder_of_the_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my logs").mkdir()
    (tmp_path / "my logs" / "monday morning.csv").write_text(LOG, encoding="utf-8")
    (tmp_path / "s.toml").write_text(SCENARIO, encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    catalog = Catalog.builtin()
    scenario = load_scenario(tmp_path / "s.toml", catalog)
    assert simulate(scenario, catalog).tenants[0].arrived == 4
    assert "monday" not in str(scenario.model_dump())
    load = type(scenario).model_validate(scenario.model_dump()).tenants[0].load
    assert isinstance(load, Trace)
    assert load.times_s == (1.0, 1.5, 1.5, 4.0)
    (tmp_path / "my logs" / "monday morning.csv").write_text("when\n2\n1\n", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"tenants.0.load: .*monday morning.csv, line 3: 1 ms comes after 2 ms"):
        load_scenario(tmp_path / "s.toml", catalog)
