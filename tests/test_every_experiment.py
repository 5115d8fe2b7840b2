"""Every file in `experiments` answers its question, in a tiny size: files, columns and sums are right, and a rerun gives the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(path.name for path in (ROOT / "experiments").glob("[a-z]*.py"))
TABLES = ("points.csv", "runs.csv", "summary.csv", "time_parts.csv")

pytestmark = pytest.mark.parametrize("name", EXPERIMENTS)


@cache
def answered(name: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of two runs of an experiment, one in its own process, one with two workers."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    with TemporaryDirectory() as scratch:
        folders = [Path(scratch, "serial"), Path(scratch, "parallel")]
        commands = [
            [sys.executable, str(ROOT / "experiments" / name), "--quick", "--out", str(folder), "--workers", workers]
            for folder, workers in zip(folders, ("1", "2"), strict=True)
        ]
        running = [subprocess.Popen(c, cwd=scratch, env=environment, stderr=subprocess.PIPE, text=True) for c in commands]
        for process in running:
            told = process.communicate(timeout=300)[1]
            assert process.returncode == 0, told
        first, second = ({str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in folders)
        assert all(any(is_run(file) for file in files) for files in (first, second))
        first, second = ({file: content for file, content in files.items() if not is_run(file)} for files in (first, second))
        return first, second


def is_run(file: str) -> bool:
    """Whether a file is a finished run, kept so that an interrupted experiment goes on."""
    return file.startswith(".runs/") and file.endswith(".run")


def table(name: str, file: str, scratch: Path) -> pd.DataFrame:
    path = scratch / file
    path.write_bytes(answered(name)[0][file])
    return pd.read_csv(path, low_memory=False)


def test_the_docstring_opens_with_the_question_and_the_expected_answer(name: str) -> None:
    text = (ROOT / "experiments" / name).read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    assert "?" in docstring.split("\n", maxsplit=1)[0]
    assert "\nExpected" in docstring


def test_every_table_and_chart_is_there_and_nothing_else(name: str) -> None:
    files = set(answered(name)[0])
    charts = {file for file in files if file.startswith("charts/")}
    assert {*TABLES, "manifest.json"} <= files
    assert {Path(file).suffix for file in files - charts} == {".csv", ".json"}
    assert charts
    assert {Path(file).suffix for file in charts} == {".svg", ".png"}
    assert {Path(f).stem for f in charts if f.endswith(".svg")} == {Path(f).stem for f in charts if f.endswith(".png")}


def test_a_rerun_on_other_workers_gives_the_same_bytes(name: str) -> None:
    first, second = answered(name)
    assert set(first) == set(second)
    assert [file for file in first if first[file] != second[file]] == ["manifest.json"]


def test_tables_have_their_columns_and_no_run_failed(name: str, tmp_path: Path) -> None:
    runs, summary, points = (table(name, file, tmp_path) for file in ("runs.csv", "summary.csv", "points.csv"))
    assert list(runs.columns)[-6:] == ["replication", "entity", "metric", "unit", "value", "error"]
    assert list(summary.columns)[-9:] == ["entity", "metric", "unit", "mean", "low", "high", "half_width", "n", "confidence"]
    assert {"scenario_digest", "replications", "duration_s", "warm_up_s", "seed", "confidence"} <= set(points.columns)
    assert "failed" not in set(runs["metric"])


def test_parts_of_time_add_up_to_the_mean_response_time_in_every_run(name: str, tmp_path: Path) -> None:
    runs = table(name, "runs.csv", tmp_path)
    factors = list(runs.columns[:-6])
    runs["tenant"] = runs["entity"].str.extract(r"^(tenant/[^/]+)", expand=False)
    key = [*factors, "replication", "tenant"]
    parts = runs[runs["metric"] == "time_per_request_s"].groupby(key, dropna=False)["value"].sum()
    means = runs[runs["metric"] == "response_time_mean_s"].set_index(key)["value"].dropna()
    assert len(means) > 0
    assert len(parts) == len(means)
    assert ((parts.sort_index() - means.sort_index()).abs() / means.sort_index()).max() < 1e-9


def test_the_manifest_tells_what_the_points_say(name: str, tmp_path: Path) -> None:
    points = table(name, "points.csv", tmp_path)
    about = json.loads(answered(name)[0]["manifest.json"])
    assert about["experiment"] == Path(name).stem
    assert about["scenarios"] == sorted(set(points["scenario_digest"]))
    assert about["seeds"] == sorted(set(points["seed"]))
    assert {"python", "simvirt", "simpy", "numpy", "pandas", "scipy"} <= set(about["versions"])
