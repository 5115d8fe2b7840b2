"""The README is true: its tables are those of the results, its scenario is valid, its code runs, its files exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.errors import ResultsError
from simvirt.reports.readme import with_tables
from simvirt.scenario import load_scenario

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_tables_are_those_of_the_results() -> None:
    assert with_tables(README, ROOT) == README
    assert README.count("<!-- table:") >= 1


def test_a_table_follows_its_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a_b,c\nx,0.12345\ny,7\n")
    text = "before\n<!-- table: t.csv -->\nold\n<!-- end -->\nafter\n"
    table = "| a b | c |\n| --- | --- |\n| x | 0.123 |\n| y | 7 |\n"
    assert with_tables(text, tmp_path) == f"before\n<!-- table: t.csv -->\n{table}<!-- end -->\nafter\n"
    with pytest.raises(ResultsError, match=r"u\.csv: No such file"):
        with_tables(text.replace("t.csv", "u.csv"), tmp_path)


def test_the_scenario_shown_is_valid() -> None:
    (document,) = blocks("toml")
    scenario = load_scenario(tomllib.loads(document), Catalog.builtin())
    assert scenario.tenants[0].count == 2


def test_the_code_shown_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0.0


def test_every_command_shown_works(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    lines = [line.split("#")[0].split() for block in blocks("") for line in block.splitlines() if line.startswith("simvirt ")]
    assert len(lines) >= 4
    for line in lines:
        if line[1] in ("list", "show", "check"):
            assert main(line[1:]) == 0, line
    capsys.readouterr()


def test_every_path_named_exists() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    named = re.findall(r"`((?:simvirt|experiments|tests|results)/[\w./-]+)`", README)
    missing = [path for path in (*pictures, *named) if not (ROOT / path).exists()]
    assert not missing
