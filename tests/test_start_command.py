"""`simvirt start`: what is told, written and refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from simvirt.cli import main


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["start", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_stages_are_told_with_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = told(capsys, "docker", "--count", "20", "--cold", "--workload", "web-service", "--replications", "3")
    assert code == 0
    assert "Starts on docker (server-2s), fresh, nothing in memory; 3 replications." in out
    shares = [float(found) for found in re.findall(r"([\d.]+) %$", out, re.MULTILINE)]
    assert len(shares) == 6 and sum(shares) == pytest.approx(100.0, abs=0.4)
    assert re.search(r"^docker +network +lock rtnl ", out, re.MULTILINE)
    assert re.search(r"^application +load +processor, disk ", out, re.MULTILINE)
    assert "start 12 |" in out and "start 13" not in out and "The first 12 of 20 starts" in out


def test_company_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    out = told(capsys, "xen-pv", "--count", "3", "--running", "100", "--replications", "2")[1]
    assert "files in memory, beside 100 instances that run" in out
    assert re.search(r"30 transactions of the control plane had to be begun anew", out)
    assert "until the last one is" in out


def test_a_chart_and_a_record_are_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chart, record = tmp_path / "start.svg", tmp_path / "start.json"
    code, _, _ = told(capsys, "kvm", "--count", "2", "--way", "restore", "--cold", "--chart", str(chart), "--json", str(record))
    assert code == 0 and "<svg" in chart.read_text(encoding="utf-8")
    found = json.loads(record.read_text(encoding="utf-8"))
    assert found["starts"]["way"] == "restore" and len(found["replications"]) == 10
    launch = found["replications"][0]["launches"][0]
    assert sum(p["end_s"] - p["start_s"] for p in launch["pieces"]) == pytest.approx(launch["ready_s"] - launch["began_s"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("kwm",), "platform 'kwm' is unknown; did you mean 'kvm'"),
        (("kvm", "--machine", "moon"), "machine 'moon' is unknown"),
        (("kvm", "--workload", "games"), "workload 'games' is unknown"),
        (("kvm", "--way", "thaw"), "start 'thaw': no layer from 2 up knows this way; known: fresh, minimal, restore"),
        (("kvm", "--count", "0"), "'0'; a whole number, at least 1"),
        (("kvm", "--chart", "start.bmp"), "start.bmp: a chart is written as .svg or .png"),
        (("kvm", "--scheduler", "lottery"), "scheduler 'lottery' is unknown"),
    ],
)
def test_mistakes_are_told(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    code, out, err = told(capsys, *arguments)
    assert code == 2 and not out
    assert message in err
