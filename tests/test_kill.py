"""SIGKILL and Ctrl-C for real, in small: `kill_study.py` is the large version, `kill_recorded.json` what it found."""

from __future__ import annotations

import json
import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from kill_study import KINDS, Sweep, gone, survive, workers

RECORDED = Path(__file__).parent / "kill_recorded.json"

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found through /proc")


@pytest.mark.parametrize("kinds", [["worker", "driver"], ["Dask worker", "Dask scheduler"]], ids=["own pool", "Dask"])
def test_a_sweep_survives(kinds: list[str]) -> None:
    """40 runs; the tables and the records of the finished runs are those of an undisturbed sweep in one process."""
    if "Dask worker" in kinds and find_spec("distributed") is None:
        pytest.skip("Dask distributed is not installed")
    result = survive(kinds, rounds=1, seed=1, replications=2, duration_s=0.2, kills=1)
    assert result["tables and records as undisturbed"] is True
    assert all(result[kind]["killed"][0] > 0 for kind in kinds)  # type: ignore[index]


def test_ctrl_c_ends_cleanly_with_what_is_finished_on_the_disk(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, 4, 0.3)
    process = sweep.start("out", "--workers", "2")
    assert sweep.wait_for("out", 5, process)
    children = workers(process.pid)
    os.kill(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    kept = sweep.kept("out")
    assert process.returncode == 130
    assert told.splitlines()[-1].endswith("the same command goes on from there")
    assert f"interrupted: {len(kept)} finished runs in " in told
    assert "Traceback" not in told
    assert gone(children)
    assert 5 <= len(kept) < sweep.runs
    assert not sweep.tables("out")
    sweep.finish("out", "--workers", "1")
    assert {path: one for path, one in sweep.kept("out").items() if path in kept} == kept  # none was done again
    assert len(sweep.tables("out")) == 6


def test_the_recorded_study_was_large_enough_and_lost_nothing() -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert recorded["runs"] >= 200
    assert recorded["tables and records as undisturbed"] is True
    for kind in KINDS:
        assert len(recorded[kind]["killed"]) == recorded["rounds of each kind"] >= 3
        assert sum(recorded[kind]["killed"]) >= 3
