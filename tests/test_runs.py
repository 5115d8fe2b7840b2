"""Finished runs: kept whole, found again to the last bit, never mistaken for others, and what happens to those that are not finished."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import signal
import stat
from collections.abc import Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_architecture import reachable

from simvirt.catalog import Catalog
from simvirt.errors import ResultsError
from simvirt.experiment.address import NOT_RUN, address_of, digest_of_folder
from simvirt.experiment.dispatch import DIED
from simvirt.experiment.record import RecordError, decoded, encoded
from simvirt.experiment.runner import Failure, Point, PointOutcome, run_points
from simvirt.experiment.runs import RunStore
from simvirt.experiment.study import Results
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.scenario import Run, Scenario
from simvirt.simulation import simulate
from simvirt.simulation.life_cycle import LifeCycle, LifeCycleOutcome
from simvirt.simulation.outcome import RunOutcome

LOAD = {"kind": "poisson", "rate_per_s": 200.0}


@cache
def catalog() -> Catalog:
    return Catalog.builtin()


def scenario(platform: str = "kvm", *, replications: int = 2, **more: Any) -> Scenario:
    tenants = [{"name": "web", "workload": "web-service", "load": LOAD}]
    run = {"duration_s": 0.3, "replications": replications, "seed": 4}
    return Scenario.model_validate({"platform": platform, "machine": "small-server", "tenants": tenants, "run": run, **more})


def points(*platforms: str, **more: Any) -> list[Point]:
    return [Point(factors={"platform": name}, scenario=scenario(name, **more)) for name in platforms]


def tables(outcomes: list[PointOutcome]) -> dict[str, str]:
    return {name: frame.to_csv() for name, frame in Results(catalog(), outcomes, "bare-metal").tables().items()}


# --- Records ---------------------------------------------------------------------------------------------------------


@cache
def outcomes() -> dict[str, RunOutcome]:
    """One of every form that an outcome has: fluid, by rules, short of memory, saturated, the life of an image."""
    large = {"workload": "web-service", "memory": "40 GiB", "load": LOAD}
    short = [{"name": "a", **large}, {"name": "b", **large, "memory": "30 GiB"}]
    busy = {"name": "web", "workload": "web-service", "load": {"kind": "poisson", "rate_per_s": 9000}}
    where = {"platform": "p", "machine": "small-server", "engine": "docker-engine", "registry": "hosted-registry"}
    cycle = LifeCycle(name="x", acts=("pull", "run"), image="gcc-9", **where)
    return {
        "fluid": simulate(scenario(), catalog(), 1),
        "rules": simulate(scenario(scheduler="cfs", guest_scheduler="cfs"), catalog()),
        "memory": simulate(scenario("docker", tenants=short), catalog()),
        "saturated": simulate(scenario("docker", tenants=[busy]), catalog()),
        "image": cycle.simulate(catalog(), 0),
    }


@pytest.mark.parametrize("name", ["fluid", "rules", "memory", "saturated", "image"])
def test_a_record_gives_the_very_same_outcome(name: str) -> None:
    outcome = outcomes()[name]
    record = encoded(outcome)
    again = decoded(record, type(outcome))
    assert repr(again) == repr(outcome)  # every float to its last digit, NaN as NaN, 0 as 0 and not 0.0
    assert [tenant.histogram for tenant in again.tenants] == [tenant.histogram for tenant in outcome.tenants]
    assert encoded(again) == record
    assert [repr(row) for row in again.rows({})] == [repr(row) for row in outcome.rows({})]


def test_the_outcomes_that_were_tried_have_what_is_rare() -> None:
    kinds = outcomes()
    assert kinds["memory"].memory is not None
    assert kinds["memory"].memory.kills
    assert any(instance.counters for instance in kinds["rules"].instances)
    assert isinstance(kinds["image"], LifeCycleOutcome)
    assert math.isnan(kinds["image"].nic_rx_utilization)


@dataclass(frozen=True)
class Values:
    floats: tuple[float, ...]
    by_name: Mapping[str, float | None]
    pair: tuple[str, int] | None
    times: LatencyHistogram


anything = st.builds(
    Values,
    floats=st.lists(st.floats() | st.integers()).map(tuple),
    by_name=st.dictionaries(st.text(), st.none() | st.floats()),
    pair=st.none() | st.tuples(st.text(), st.integers()),
    times=st.lists(st.floats(0, 1e6)).map(LatencyHistogram),
)


@given(anything)
def test_any_values_come_back_as_they_were(values: Values) -> None:
    again = decoded(encoded(values), Values)
    assert repr(again) == repr(values)
    assert again.times == values.times


@given(st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_record_that_is_cut_off_or_changed_is_never_believed(data: st.DataObject) -> None:
    record = encoded(Values((0.1, math.nan), {"a": None}, ("x", 1), LatencyHistogram([0.5])))
    place = data.draw(st.integers(0, len(record) - 1))
    changed = bytes([record[place] ^ data.draw(st.integers(1, 255))])
    for broken in (record[:place], record[:place] + changed + record[place + 1 :], record + b"x"):
        with pytest.raises(RecordError):
            decoded(broken, Values)


@dataclass(frozen=True)
class Others:
    floats: tuple[float, ...]


def test_a_record_of_another_type_is_refused() -> None:
    with pytest.raises(RecordError, match="no Others as this version has it"):
        decoded(encoded(Values((), {}, None, LatencyHistogram())), Others)
    for wrong in ("text", True, None, [1.0]):
        with pytest.raises(RecordError):
            decoded(encoded(Others((wrong,))), Others)  # type: ignore[arg-type]


# --- Addresses -------------------------------------------------------------------------------------------------------


def test_everything_that_decides_a_run_changes_its_address(tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "mine.toml").write_text("a = 1")
    base = scenario()
    addresses = [
        address_of(base, (), 0),
        address_of(base, (), 1),
        address_of(base, (tmp_path,), 0),
        address_of(scenario("docker"), (), 0),
        address_of(scenario(override={"kvm.cpu.exit_s": "high"}), (), 0),
        address_of(base.model_copy(update={"run": Run(duration_s=0.3, replications=2, seed=5)}), (), 0),
        address_of(base.model_copy(update={"run": Run(duration_s=0.4, replications=2, seed=4)}), (), 0),
    ]
    assert len(set(addresses)) == len(addresses)


def test_more_replications_at_another_confidence_find_those_that_are_there() -> None:
    more = scenario().model_copy(update={"run": Run(duration_s=0.3, replications=9, seed=4, confidence=0.99)})
    assert address_of(more, (), 1) == address_of(scenario(), (), 1)


def test_the_digest_of_a_folder_sees_names_and_contents_and_not_what_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "a.py").write_text("1")
    digests = [digest_of_folder(tmp_path)]
    for change in (lambda: (tmp_path / "a.py").write_text("2"), lambda: (tmp_path / "a.py").rename(tmp_path / "b.py")):
        change()
        digests.append(digest_of_folder(tmp_path))
    without = digest_of_folder(tmp_path, frozenset({"reports"}))
    (tmp_path / "reports" / "chart.py").write_text("3")
    (tmp_path / "notes.txt").write_text("4")
    assert digest_of_folder(tmp_path, frozenset({"reports"})) == without
    assert len({*digests, digest_of_folder(tmp_path)}) == 4


def test_no_run_loads_what_addresses_leave_out() -> None:
    loaded = reachable("simulation") | reachable("catalog")
    left_out = {f"simvirt.{part.removesuffix('.py')}" for part in NOT_RUN if "/" not in part}
    assert left_out
    assert not [module for module in loaded if any(module == one or module.startswith(f"{one}.") for one in left_out)]


# --- The store -------------------------------------------------------------------------------------------------------


class Watch:
    """Counts what was found and what was run."""

    def __init__(self) -> None:
        self.found = self.finished = 0

    def of(self, some: list[Point], store: RunStore, **how: Any) -> list[PointOutcome]:
        self.found = self.finished = 0
        return run_points(some, store=store, found=self._found, finished=self._finished, **how)

    def _found(self, count: int) -> None:
        self.found += count

    def _finished(self) -> None:
        self.finished += 1


def opened(path: Path, **how: Any) -> RunStore:
    store = RunStore(path, **how)
    store.open()
    return store


def test_what_is_there_is_not_run_again_and_tables_are_the_same(tmp_path: Path) -> None:
    watch, some = Watch(), points("bare-metal", "kvm")
    undisturbed = tables(run_points(some, workers=1))
    assert tables(watch.of(some[:1], opened(tmp_path), workers=1)) != undisturbed
    assert (watch.found, watch.finished) == (0, 2)
    with ThreadPoolExecutor(2) as executor:
        assert tables(watch.of(some, opened(tmp_path), executor=executor)) == undisturbed
    assert (watch.found, watch.finished) == (2, 2)
    assert tables(watch.of(some, opened(tmp_path), workers=1)) == undisturbed
    assert (watch.found, watch.finished) == (4, 0)
    assert tables(watch.of(some, opened(tmp_path, fresh=True), workers=1)) == undisturbed
    assert (watch.found, watch.finished) == (0, 4)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".run"] == []


def test_a_damaged_record_is_told_and_run_again(tmp_path: Path) -> None:
    watch, some = Watch(), points("kvm")
    undisturbed = tables(watch.of(some, opened(tmp_path), workers=1))
    first, second = sorted(tmp_path.rglob("*.run"))
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    store = opened(tmp_path)
    assert tables(watch.of(some, store, workers=1)) == undisturbed
    assert (watch.found, watch.finished) == (1, 1)
    assert list(store.damaged) == [first]
    assert "checksum" in store.damaged[first]
    assert first.read_bytes() == whole
    assert second in tmp_path.rglob("*.run")


def test_two_programs_in_one_folder_write_the_same_bytes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as drivers:
        told = [drivers.submit(_drive, tmp_path) for _ in range(2)]
        first, second = (one.result() for one in told)
    alone = opened(tmp_path / "alone")
    assert first == second == tables(run_points(points("bare-metal", "kvm", replications=6), store=alone, workers=1))
    by_name = {path.name: path.read_bytes() for path in (tmp_path / "alone").rglob("*.run")}
    assert len(by_name) == 12
    assert {path.name: path.read_bytes() for path in (tmp_path / "both").rglob("*") if path.is_file()} == by_name


def _drive(folder: Path) -> dict[str, str]:
    return tables(run_points(points("bare-metal", "kvm", replications=6), store=opened(folder / "both"), workers=1))


def test_a_full_disk_is_told_and_loses_nothing_that_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fourth file finds no room: three runs are there, whole, no rest of the fourth; with room again the others are done."""
    watch, some = Watch(), points("bare-metal", "kvm", replications=3)
    store, sync, left = opened(tmp_path), os.fsync, [3]

    def full(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match=r"cannot be written \(No space left on device\); the 3 that are there stay: free some space"):
        watch.of(some, store, workers=1)
    monkeypatch.undo()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(store) == 3
    again = tables(watch.of(some, opened(tmp_path), workers=1))
    assert (watch.found, watch.finished) == (3, 3)
    assert again == tables(run_points(some, workers=1))


@pytest.mark.parametrize("inside", [False, True])
def test_a_place_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path, inside: bool) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(ResultsError, match=r"taken.*cannot be made.*choose another folder"):
        RunStore(taken / "runs" if inside else taken).open()
    assert taken.read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResultsError, match="Permission denied"):
        RunStore(tmp_path).open()


# --- Workers that die ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fragile:
    """A scenario, one of whose replications ends the process that runs it: always, or the first time only."""

    scenario: Scenario
    deadly: int
    once: Path | None = None
    override: Mapping[str, Any] = field(default_factory=dict)

    @property
    def platform(self) -> str:
        return self.scenario.platform

    @property
    def machine(self) -> str | None:
        return self.scenario.machine

    @property
    def run(self) -> Run:
        return self.scenario.run

    def digest(self) -> str:
        return self.scenario.digest()

    def simulate(self, catalog: Catalog, replication: int) -> RunOutcome:
        if replication == self.deadly and (self.once is None or not self.once.exists()):
            if self.once is not None:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return simulate(self.scenario, catalog, replication)


def fragile(deadly: int, once: Path | None = None) -> list[Point]:
    return [Point(factors={"platform": "kvm"}, scenario=Fragile(scenario=scenario(replications=6), deadly=deadly, once=once))]


def test_who_kills_his_process_fails_and_nobody_else_does(tmp_path: Path) -> None:
    [point] = run_points(fragile(2), workers=2, store=opened(tmp_path))
    assert point.failures == (Failure(replication=2, error=DIED),)
    assert [repr(run) for run in point.runs] == [repr(simulate(scenario(replications=6), catalog(), r)) for r in (0, 1, 3, 4, 5)]
    assert len(opened(tmp_path)) == 5


def test_who_was_only_there_when_a_process_died_is_run_again_alone(tmp_path: Path) -> None:
    [point] = run_points(fragile(2, once=tmp_path / "died"), workers=2)
    assert not point.failures
    assert [run.replication for run in point.runs] == list(range(6))


def test_an_executor_of_somebody_else_that_breaks_is_told_and_finished_runs_stay(tmp_path: Path) -> None:
    store = opened(tmp_path)
    executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with executor, pytest.raises(ResultsError, match=r"the executor broke down after \d of 6 runs \(BrokenProcessPool.*goes on"):
        run_points(fragile(3), executor=executor, store=store)
    assert len(store) == 3
    watch = Watch()
    [point] = watch.of(fragile(-1), opened(tmp_path), workers=1)
    assert (watch.found, len(point.runs)) == (3, 6)


class Elsewhere(Executor):
    """An executor on a machine that has another simvirt."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        [task] = args
        future: Future[Any] = Future()
        future.set_result(fn(replace(task, address="0" * 64)))
        return future


def test_a_worker_with_another_simvirt_keeps_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    [point] = run_points(points("kvm"), executor=Elsewhere(), store=store)
    assert len(point.failures) == 2
    assert "another simvirt" in point.failures[0].error
    assert len(store) == 0
