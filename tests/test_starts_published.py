"""Published times of starts: one row of each series sets one number, the others are predicted within stated bands, and in order.

Means are those of chains with nobody else starting, which simulations give as well (`test_starts.py`); parallel boots are simulated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from simvirt.catalog import Catalog
from simvirt.scenario import Run
from simvirt.simulation.starts import start_all

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "experiments"))
        import start_up  # noqa: PLC0415

        return start_up


def predicted_s(experiment: ModuleType, platform: str, case: str, running: int) -> float:
    override = dict(experiment.baseline(platform, case))
    starts = experiment._starts(platform, case, running, 1, override)
    return float(experiment._alone_s(starts, made=experiment.SETTINGS[platform, case].made))


def rows(experiment: ModuleType, source: str, role: str = "validation") -> list[Any]:
    table = experiment.measured()
    return list(table[(table["source_key"] == source) & (table["role"] == role)].itertuples(index=False))


def test_creations_beside_100_250_and_500_guests(experiment: ModuleType) -> None:
    """Within 20 %, but for one point that is measured below its own first one."""
    found = {
        (row.platform, row.case, row.running): predicted_s(experiment, row.platform, row.case, row.running) / row.value - 1
        for row in rows(experiment, "manco2017")
        if row.running in (100, 250, 500)
    }
    assert len(found) == 36
    worse = {key for key, error in found.items() if abs(error) > 0.2}
    assert worse == {("noxs-unikernel", "daytime", 500)}
    debian = [error for (platform, _, _), error in found.items() if platform == "xl-debian"]
    assert max(map(abs, debian)) < 0.1


@pytest.mark.parametrize("running", [100, 250, 500])
def test_the_order_of_control_planes(experiment: ModuleType, running: int) -> None:
    """But for pairs that are measured within a tenth of each other (chaos and its split variant cross beside 100)."""
    own = [(row.platform, row.value) for row in rows(experiment, "manco2017") if row.case == "daytime" and row.running == running]
    assert len(own) == 5
    for i, (one, one_s) in enumerate(own):
        for other, other_s in own[i + 1 :]:
            if abs(one_s / other_s - 1) > 0.1:
                a, b = (predicted_s(experiment, platform, "daytime", running) for platform in (one, other))
                assert (a < b) == (one_s < other_s), (one, other)


def test_the_breakdown_that_sets_the_store_comes_out_of_it(experiment: ModuleType) -> None:
    """XenStore 5.8 and 590 ms, devices 72 and 108 ms."""
    stages = experiment.catalog().start("layers", "xl-2017").stages
    found = [stages[name].alone_s(instances=n, processors=1, slowdown=1, cold_s=0) for n in (0, 1000) for name in ("store", "devices")]
    assert found == pytest.approx([0.0058, 0.072, 0.590, 0.108], rel=0.01)


def test_baseline_rows_come_out_as_they_are(experiment: ModuleType) -> None:
    for platform, case in experiment.SETTINGS:
        for row in rows(experiment, "manco2017", "calibration"):
            if (row.platform, row.case) == (platform, case) and row.running == 1:
                assert predicted_s(experiment, platform, case, 1) == pytest.approx(row.value, rel=0.006), (platform, case)


@pytest.mark.parametrize("at_once", [10, 50])
def test_parallel_boots(experiment: ModuleType, at_once: int) -> None:
    """Medians and means within 10 %, tails over medians within 30 %; a known miss: Firecracker from process to process with 50."""
    catalog = Catalog.builtin(*experiment.PROFILES)
    table = [row for row in rows(experiment, "agache2020") if row.at_once == at_once]
    assert {row.platform for row in table} == {"firecracker-2020", "firecracker-2020-start", "qemu-qboot-2020"}
    for platform, case in sorted({(row.platform, row.case) for row in table}):
        starts = experiment._starts(platform, case, 0, at_once, dict(experiment.baseline(platform, case)))
        times = sorted(launch.length_s for launch in start_all(replace(starts, run=Run(seed=2)), catalog).launches)
        measured = {row.metric: row.value for row in table if row.platform == platform}
        middle, tail, mean = times[len(times) // 2], times[int(0.99 * len(times))], sum(times) / len(times)
        miss = (platform, at_once) == ("firecracker-2020", 50)
        if "p50" in measured:
            assert (abs(middle / measured["p50"] - 1) < 0.10) != miss
            assert tail / middle == pytest.approx(measured["p99"] / measured["p50"], rel=0.3)
        assert (abs(mean / measured["mean"] - 1) < 0.10) != miss
