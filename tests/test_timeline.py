"""The timeline of a run: what is on one track nests or is disjoint, adds up to what the run counts, and looking changes nothing."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ideal import IdealCatalog, bare, workload

from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.demand import Compute
from simvirt.reports.timeline import chrome_trace
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.scenario import Run, Scenario, Tenants, load_scenario
from simvirt.simulation import simulate
from simvirt.simulation.watch import Level, Recording, Slice, Track, watched
from simvirt.workloads.arrivals import Deterministic

SMALL = Path(__file__).parent / "scenarios" / "small.toml"


@cache
def catalog() -> Catalog:
    return Catalog.builtin()


def scenario(platform: str = "kvm", scheduler: str = "platform", count: int = 2, *, seed: int = 1, duration_s: float = 0.1) -> Scenario:
    web = {"name": "web", "workload": "web-service", "vcpus": 2, "count": count, "load": {"kind": "poisson", "rate_per_s": 800}}
    endless = {"kind": "closed", "clients": 6, "think": {"kind": "constant", "value": 0}}
    batch = {"name": "batch", "workload": "batch-compute", "vcpus": 6, "load": endless}
    run = {"duration_s": duration_s, "replications": 1, "seed": seed}
    document = {"platform": platform, "machine": "small-server", "scheduler": scheduler, "tenants": [web, batch], "run": run}
    return load_scenario(document, catalog())


def by_track(slices: Iterable[Any], key: Any) -> dict[Any, list[Any]]:
    found = defaultdict(list)
    for one in slices:
        found[key(one)].append(one)
    return found


def overlaps(spans: Sequence[tuple[float, float]]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Pairs of spans that neither nest nor are disjoint: with a stack of those that are open."""
    wrong = []
    opened: list[tuple[float, float]] = []
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        while opened and opened[-1][1] <= start:
            opened.pop()
        if opened and end > opened[-1][1]:
            wrong.append((opened[-1], (start, end)))
        opened.append((start, end))
    return wrong


def lasting(slices: Iterable[Slice]) -> float:
    return math.fsum(one.end_s - one.start_s for one in slices)


def test_the_check_for_overlaps_finds_them() -> None:
    assert not overlaps([(0, 4), (0, 2), (2, 4), (3, 4), (4, 5)])
    assert overlaps([(0, 2), (1, 3)]) == [((0, 2), (1, 3))]


@given(
    platform=st.sampled_from(["bare-metal", "docker", "kvm", "xen-pv", "esxi", "gvisor", "kvm-in-kvm", "docker-in-kvm"]),
    scheduler=st.sampled_from(["fluid", "platform"]),
    count=st.integers(1, 5),
    seed=st.integers(0, 1000),
    window=st.tuples(st.floats(0, 0.1), st.floats(0, 0.1)).map(sorted).filter(lambda w: w[1] - w[0] > 1e-3),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_slices_of_one_track_nest_or_are_disjoint_and_looking_changes_nothing(
    platform: str, scheduler: str, count: int, seed: int, window: list[float]
) -> None:
    described = scenario(platform, scheduler, count, seed=seed)
    simulation, seen = watched(described, catalog(), *window)
    outcome = simulation.run()
    assert repr(replace(outcome, events=0)) == repr(replace(simulate(described, catalog()), events=0))
    assert seen.slices
    for slices in by_track(seen.slices, lambda one: one.track).values():
        assert not overlaps([(one.start_s, one.end_s) for one in slices])
        for depth_slices in by_track(slices, lambda one: one.depth).values():
            ordered = sorted((one.start_s, one.end_s) for one in depth_slices)
            assert all(a[1] <= b[0] for a, b in pairwise(ordered))
    assert min(one.start_s for one in seen.slices) >= window[0]
    assert max(one.end_s for one in seen.slices) <= window[1]
    document = json.loads(gzip.decompress(chrome_trace(seen.slices, seen.levels, {})))
    events = [event for event in document["traceEvents"] if event["ph"] == "X"]
    for slices in by_track(events, lambda event: (event["pid"], event["tid"])).values():
        assert not overlaps([(round(e["ts"] * 1000), round(e["ts"] * 1000) + round(e["dur"] * 1000)) for e in slices])


def test_cores_are_busy_for_as_long_as_they_are_not_idle() -> None:
    """Over the whole window after warm-up: cores · time = what is on their tracks + the idle time that the scheduler itself counts."""
    for platform in ("docker", "kvm", "esxi"):
        described = scenario(platform, duration_s=0.3)
        simulation, seen = watched(described, catalog(), described.run.warm_up_s, described.run.duration_s)
        simulation.run()
        assert isinstance(simulation.host.scheduler, DiscreteScheduler)
        on_cores = lasting(one for one in seen.slices if one.track.group == "cores" and one.depth == 0)
        window_s = described.run.duration_s - described.run.warm_up_s
        idle_s = simulation.host.scheduler.times().idle_s
        assert 0.02 < idle_s / (8 * window_s) < 0.98
        assert on_cores == pytest.approx(8 * window_s - idle_s, rel=1e-9)


def test_a_thread_runs_where_and_while_its_processor_says_so() -> None:
    """In containers: every time on a core's track that a thread is there is a time on the thread's track, and the other way round."""
    simulation, seen = watched(scenario("docker"), catalog(), 0.02, 0.08)
    simulation.run()
    cores = by_track([s for s in seen.slices if s.track.group == "cores" and not s.name.startswith("interrupts")], lambda s: s.track.name)
    threads = [s for s in seen.slices if s.track.group.startswith("threads of docker")]
    for core, slices in cores.items():
        told = [s for s in threads if s.name == f"runs on {core}"]
        assert lasting(slices) == pytest.approx(lasting(told), rel=0.05)
        assert {s.track.name for s in told} <= {s.name for s in slices}
    assert {s.name.partition(" on ")[0] for s in threads} == {"runs", "ready"}


def test_virtual_processors_are_on_a_core_ready_or_not_told_of() -> None:
    simulation, seen = watched(scenario("kvm", count=4), catalog(), 0.02, 0.08)
    simulation.run()
    vcpus = [s for s in seen.slices if s.track.group == "virtual processors"]
    outer = {s.name.partition(" core ")[0] for s in vcpus if s.depth == 0}
    assert outer == {"on", "ready"}
    nested = [s for s in seen.slices if s.track.group == "cores" and s.depth == 1]
    assert any(s.name.startswith("web") for s in nested)
    on_cores = lasting(s for s in seen.slices if s.track.group == "cores" and s.depth == 0 and " vcpu " in s.name)
    told = lasting(s for s in vcpus if s.depth == 0 and s.name.startswith("on "))
    assert 0.0 < on_cores <= told  # a core that handles an interrupt shows that, not whom it interrupts


def test_a_clock_of_requests_by_hand() -> None:
    """Requests at 1, 2, 3, … s that compute for 0.4 s on one core. The window from 0.5 to 3.2 s cuts the third one off."""
    exact = workload(Compute(cpu_s=0.4), threads=1)
    tenants = Tenants(name="web", workload="work", load=Deterministic(rate_per_s=1.0))
    described = Scenario(platform="ideal", tenants=(tenants,), run=Run(duration_s=10.0))
    simulation, seen = watched(described, IdealCatalog(bare(), exact), 0.5, 3.2)
    assert simulation.run().tenants[0].completed > 0
    [(track, slices)] = by_track(seen.slices, lambda one: one.track).items()
    assert track == Track("threads of web", "web 1")
    assert [(s.name, pytest.approx(s.start_s), pytest.approx(s.end_s)) for s in slices] == [
        ("runs", 1.0, 1.4),
        ("runs", 2.0, 2.4),
        ("runs", 3.0, 3.2),
    ]


# --- The file --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    slices: list[Slice]
    levels: list[Level]

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(gzip.decompress(chrome_trace(self.slices, self.levels, {"seed": 1})))["traceEvents"]
        return found


CORE = Track("cores", "core 10")


def test_a_slice_is_a_complete_event_in_microseconds_and_a_level_a_counter() -> None:
    events = Written([Slice(CORE, "web", 0, 0.5, 0.5000012345)], [Level(Track("queues", "disk"), 0.25, 3)]).events()
    [complete] = [event for event in events if event["ph"] == "X"]
    assert complete == {"ph": "X", "pid": 1, "tid": 1, "ts": 500000.0, "dur": 1.234, "name": "web"}
    [counter] = [event for event in events if event["ph"] == "C"]
    assert (counter["ts"], counter["name"], counter["args"]) == (250000.0, "disk", {"value": 3})
    names = {(event["name"], event["pid"]): event["args"]["name"] for event in events if event["name"].endswith("_name")}
    assert names == {("process_name", 1): "cores", ("thread_name", 1): "core 10", ("process_name", 2): "queues"}


def test_cores_come_first_in_order_of_number_queues_last_and_outer_slices_before_inner() -> None:
    tracks = [Track("queues", "a"), Track("alpha", "x"), CORE, Track("virtual processors", "v"), Track("cores", "core 2")]
    slices = [Slice(track, name, depth, 0.0, 1.0) for track in tracks for depth, name in ((1, "inner"), (0, "outer"))]
    events = Written(slices, []).events()
    named = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    assert named == ["core 2", "core 10", "v", "x"]
    assert [event["name"] for event in events if event["ph"] == "X"][:2] == ["outer", "outer"]


def test_what_takes_no_nanosecond_is_left_out() -> None:
    assert not [e for e in Written([Slice(CORE, "x", 0, 1.0, 1.0 + 1e-10)], []).events() if e["ph"] == "X"]


def test_the_command_writes_the_same_bytes_for_the_same_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"{name}.json.gz" for name in ("one", "two", "other")]
    for file, seed in zip(files, ("1", "1", "2"), strict=True):
        window = ["--trace", str(file), "--trace-window", "0.2s..210 ms"]
        assert main(["run", str(SMALL), "--replications", "1", "--seed", seed, *window]) == 0
    one, two, other = (file.read_bytes() for file in files)
    assert one == two != other
    assert one[4:8] == bytes(4)  # no time in the head of the file
    document = json.loads(gzip.decompress(one))
    assert document["otherData"]["seed"] == 1
    times = [event["ts"] for event in document["traceEvents"] if event["ph"] == "X"]
    assert 200_000 <= min(times) <= max(times) <= 210_000
    assert "slices from 200 ms to 210 ms of replication 0" in capsys.readouterr().out


def test_what_is_told_of_a_run_is_the_same_with_and_without_a_timeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for more in ([], ["--trace", str(tmp_path / "x.json.gz")]):
        assert main(["run", str(SMALL), "--replications", "1", *more]) == 0
        told.append([line for line in capsys.readouterr().out.splitlines() if line and "slices" not in line])
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("window", "problem"),
    [
        ("0.2s", "no two times; write two times, such as 0.5s..0.6s"),
        ("a..b", "write two times, such as 0.5s..0.6s"),
        ("0.3s..0.2s", "the end must be after the start, both within the 1 s of a run"),
        ("0.9s..1.1s", "the end must be after the start, both within the 1 s of a run"),
    ],
)
def test_a_bad_window_is_refused(window: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json.gz"
    assert main(["run", str(SMALL), "--trace", str(file), "--trace-window", window]) == 2
    assert problem in capsys.readouterr().err
    assert not file.exists()


def test_a_window_without_a_file_and_a_file_that_cannot_be_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(SMALL), "--trace-window", "0.1s..0.2s"]) == 2
    assert main(["run", str(SMALL), "--trace", str(tmp_path / "none" / "x.gz")]) == 2
    told = capsys.readouterr().err
    assert "--trace-window: of what?" in told
    assert "cannot be written" in told


def test_a_recording_that_is_full_says_when(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simvirt.simulation.watch.MOST_SLICES", 50)
    simulation, seen = watched(scenario("docker"), catalog(), 0.0, 0.1)
    simulation.run()
    assert isinstance(seen, Recording)
    assert 0.0 < seen.full_at_s < 0.1
    assert max(s.end_s for s in seen.slices) <= seen.full_at_s
