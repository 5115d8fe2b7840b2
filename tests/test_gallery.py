"""The answers beside the results and the gallery in the README are those of the tables, and one command runs what is not answered yet."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from simvirt.errors import ResultsError
from simvirt.reports.gallery import with_gallery
from simvirt.reports.stored import ANSWER, read_results

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
SMALL = "consolidation_published"
FOUND = (
    "mean", "low", "high", "predicted", "error", "per_message", "ratio", "p99_median_s", "requests_lost", "requests_lost_after",
    "time_to_recover_s", "recovered_after_s", "throughput_loss", "response_time_ratio", "by_memory", "watts_per_tenant",
)  # fmt: skip
"""Columns of numbers that were found, not chosen."""

sys.path.insert(0, str(ROOT))
main_of = pytest.importorskip("experiments.__main__")


@pytest.mark.parametrize("name", main_of.SCRIPTS)
def test_the_answer_follows_from_the_tables(name: str) -> None:
    stored = read_results(RESULTS / name)
    assert main_of.answer_of(name, stored) == dict(stored.about)
    assert stored.about["answer"], "an answer in words"
    assert stored.about["chart"] in stored.charts


@pytest.mark.parametrize("name", main_of.SCRIPTS)
def test_the_answer_is_no_constant(name: str) -> None:
    """Other numbers, another answer: a sentence typed in by hand would stay."""
    stored = read_results(RESULTS / name)
    changed = {}
    for table, frame in stored.tables.items():
        numbers = [c for c in frame.select_dtypes("number").columns if c in FOUND]
        changed[table] = frame.assign(**{column: frame[column] * 1.37 for column in numbers})
    assert main_of.answer_of(name, replace(stored, tables=changed))["answer"] != stored.about["answer"]


def test_the_gallery_of_the_readme_is_that_of_the_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = [read_results(RESULTS / name) for name in main_of.SCRIPTS]
    assert with_gallery(text, found, ROOT) == text
    for name in main_of.SCRIPTS:
        assert f"](results/{name})" in text


def test_a_gallery_has_question_chart_and_answer(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "a_b"
    shutil.copytree(RESULTS / SMALL, folder)
    chart = next((folder / "charts").glob("*.svg")).stem
    about = {"experiment": "a_b", "question": "Is it?", "expected": "", "answer": ["It is.", "More."], "chart": chart}
    (folder / ANSWER).write_text(json.dumps(about), encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "experiment": "a_b"}), encoding="utf-8")
    text = "x\n<!-- gallery -->\nold\n<!-- end of gallery -->\ny\n"
    entry = f"**[A b](results/a_b)** Is it?\n\n![A b](results/a_b/charts/{chart}.png)\n\nIt is.\n"
    assert with_gallery(text, [read_results(folder)], tmp_path) == f"x\n<!-- gallery -->\n{entry}<!-- end of gallery -->\ny\n"
    (folder / ANSWER).write_text(json.dumps({**about, "chart": "gone"}), encoding="utf-8")
    with pytest.raises(ResultsError, match="no chart 'gone'"):
        with_gallery(text, [read_results(folder)], tmp_path)


# --- One command -----------------------------------------------------------------------------------------------------


def test_an_unknown_experiment_is_told_with_a_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_of.main(["--only", "cpu_qouta", "x"]) == 2
    told = capsys.readouterr().err
    assert "--only cpu_qouta: no such experiment; did you mean 'cpu_quota'" in told
    assert "--only x: no such experiment" in told


def test_what_is_answered_is_left_alone_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--quick", "--only", SMALL, "--out", str(tmp_path), "--jobs", "1"]
    assert main_of.main(asked) == 0
    assert f"{SMALL}: running" in capsys.readouterr().err
    command = json.loads((tmp_path / SMALL / "manifest.json").read_text(encoding="utf-8"))["command"]
    assert command[0] == f"experiments/{SMALL}.py"
    before = (tmp_path / SMALL / "manifest.json").stat().st_mtime_ns
    assert main_of.main(asked) == 0
    assert f"{SMALL}: answered already" in capsys.readouterr().err
    assert (tmp_path / SMALL / "manifest.json").stat().st_mtime_ns == before

    def ran_again(arguments: list[str]) -> bool:
        started: list[list[str]] = []

        class Done:
            returncode = 1

        monkeypatch.setattr(main_of.subprocess, "run", lambda command, **how: (started.append(command), Done())[1])
        assert main_of.main(arguments) == (1 if started else 0)
        return bool(started)

    assert not ran_again(asked)
    assert ran_again([*asked, "--seed", "2"])
    assert ran_again([*asked, "--again"])
    monkeypatch.setattr(main_of, "code_digest", lambda: "another")
    assert ran_again(asked)
    monkeypatch.undo()
    summary = tmp_path / SMALL / "summary.csv"
    summary.write_bytes(summary.read_bytes()[:-40])
    assert ran_again(asked)


def test_an_interrupt_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted:
        returncode = main_of.INTERRUPTED

    monkeypatch.setattr(main_of.subprocess, "run", lambda command, **how: Interrupted())
    assert main_of.main(["--quick", "--out", str(tmp_path)]) == main_of.INTERRUPTED
    assert "the same command goes on from there" in capsys.readouterr().err
