"""Recorded CPU demand: every form is read alike, what is odd is reported, what is wrong is refused whole, and ratios come out."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.analysis.consolidation import consolidate, slots_that_fit
from simvirt.errors import TraceError
from simvirt.workloads.utilization import Series
from simvirt.workloads.utilization_files import read_utilization

TRACES = Path(__file__).parents[2] / "shared" / "traces"
needs_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="the recorded traces are not here")

MACHINES = {"b two": [0, 50, 100], "a": [10, 20, 30], "c": [0, 0, 1]}
"""Per cent of a core."""


def planetlab(folder: Path, machines: dict[str, list[int]] = MACHINES) -> Path:
    folder.mkdir(exist_ok=True)
    for name in sorted(machines, reverse=True):
        (folder / name).write_text("".join(f"{value}\n" for value in machines[name]), encoding="utf-8")
    return folder


def archive(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, values in MACHINES.items():
            raw = "\n".join(map(str, values)).encode()
            member = tarfile.TarInfo(f"20110303/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return path


def wide(path: Path) -> Path:
    rows = ["vm,t0,t300,t600", *(f"{name},{','.join(map(str, values))}" for name, values in MACHINES.items())]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def bitbrains(folder: Path, samples: str, machines: str = "1,2,2000\n7,1,3000\n") -> Path:
    (folder / "x_meta.csv").write_text("id,cpu_count,cpu_capacity_mhz\n" + machines, encoding="utf-8")
    path = folder / "x_trace.csv.gz"
    path.write_bytes(gzip.compress(f"id,end_s,duration_s,cpu_count,cpu_usage_mhz\n{samples}".encode()))
    return path


@pytest.mark.parametrize("form", ["folder", "archive", "table"])
def test_planetlab_reads_the_same_from_files_an_archive_and_a_table(form: str, tmp_path: Path) -> None:
    makers = {
        "folder": lambda: planetlab(tmp_path / "f"),
        "archive": lambda: archive(tmp_path / "f.tar.gz"),
        "table": lambda: wide(tmp_path / "f.csv"),
    }
    trace = read_utilization(makers[form]())
    assert [one.name for one in trace.series] == ["a", "b two", "c"]
    assert trace.slots().tolist() == [[0.1, 0.2, 0.3], [0.0, 0.5, 1.0], [0.0, 0.0, 0.01]]
    assert trace.vcpus.tolist() == [1.0, 1.0, 1.0]
    report = "\n".join(trace.report())
    assert "3 machines, 3 virtual processors, 9 samples over 0.25 h" in report
    assert "zeros: 3 samples" in report
    assert "names with blanks: 1" in report
    assert "gaps" not in report


def test_bitbrains_samples_may_be_unsorted_span_more_and_leave_gaps(tmp_path: Path) -> None:
    # Machine 1 (2 cores of 1,000 MHz): 1,000 MHz for 300 s, nothing known for 300 s, 500 MHz for 600 s, then nothing for 299 s.
    # Machine 7 (1 core of 3,000 MHz): 3,300 MHz from the start to the end.
    trace = read_utilization(bitbrains(tmp_path, "1,1200,600,2,500\n1,300,300,2,1000\n7,1200,1200,1,3300\n1,1499,300,2,0\n"))
    first, seventh = trace.slots()
    assert first[:1] == pytest.approx([1.0])
    assert np.isnan(first[1])
    assert first[2:] == pytest.approx([0.5, 0.5])
    assert seventh == pytest.approx([1.1] * 4)
    one = trace.series[0]
    assert (one.start_s.tolist(), one.duration_s.tolist()) == ([0.0, 600.0, 1200.0], [300.0, 600.0, 299.0])
    assert (one.gaps, trace.series[1].over_capacity) == (1, 1)
    assert np.isnan(trace.slots(longest_s=300.0)[0]).tolist() == [False, True, True, True]


def test_gwa_tables_have_semicolons_and_a_sample_holds_until_the_next(tmp_path: Path) -> None:
    header = "Timestamp [ms];\tCPU cores;\tCPU capacity provisioned [MHZ];\tCPU usage [MHZ];\tCPU usage [%]"
    (tmp_path / "2.csv").write_text(f"{header}\n1000;\t4;\t8000;\t2000;\t25\n1600;\t4;\t8000;\t0;\t0\n", encoding="utf-8")
    trace = read_utilization(tmp_path)
    (one,) = trace.series
    assert (one.name, one.vcpus, one.start_s.tolist(), one.duration_s.tolist()) == ("2", 4.0, [1000.0, 1600.0], [600.0, 300.0])
    assert one.used_cores.tolist() == [1.0, 0.0]
    assert trace.slots().tolist() == [[1.0, 1.0, 0.0]]


@given(
    st.lists(st.tuples(st.floats(1, 1000), st.floats(0, 500), st.floats(0, 4)), min_size=1, max_size=12),
    st.floats(50, 700),
)
def test_averaging_keeps_what_was_used(samples: list[tuple[float, float, float]], step_s: float) -> None:
    durations, gaps, used = (np.array(column) for column in zip(*samples, strict=True))
    starts = np.cumsum(durations + gaps) - durations
    one = Series("x", 4.0, starts, durations, used)
    whole = one.averaged(np.array([starts[0], starts[-1] + durations[-1]]))
    if not np.isnan(whole[0]):
        assert whole[0] == pytest.approx(one.mean_cores)
    pieces = one.averaged(starts[0] + step_s * np.arange(5))
    known = pieces[~np.isnan(pieces)]
    assert ((known >= used.min() - 1e-9) & (known <= used.max() + 1e-9)).all()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a": "1\n2\n", "b": "1\n-2\n"}, ["f/b, line 2: -2 lies outside 0 to 100"]),
        (
            {"a": "1\nx\n", "b": "101\n1_0\n"},
            ["f/a, line 2: 'x' is not a number", "f/b, line 1: 101 lies outside", "f/b, line 2: '1_0' is not"],
        ),
        ({"a": "1\n2\n", "b": "1\n2\n", "c": "1\n"}, ["f/c: 1 samples where others have 2"]),
        ({"a": "1\n2\n", "b": ""}, ["f/b: empty"]),
        ({"a": "1\n\n2\n"}, ["f/a, line 2: '' is not a number"]),
        ({"a": "1\n2\n", "b": "x;y\n1;2\n", "c": "1\n3\n"}, ["f/b: another form"]),
        ({"a.csv": "t;u\n1;2\n"}, ["f/a.csv, line 1: no column 'Timestamp [ms]'"]),
        ({}, ["f: no files"]),
    ],
)
def test_bad_files_are_refused_with_file_line_and_value(files: dict[str, str], said: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(TraceError) as refused:
        read_utilization(folder)
    assert all(part in str(refused.value) for part in said)
    assert len(refused.value.problems) == len(said)


@pytest.mark.parametrize(
    ("samples", "machines", "said"),
    [
        ("1,300,300,2,-1\n", None, "x_trace.csv.gz, line 2, column cpu_usage_mhz: -1 lies outside"),
        ("1,300,300,2\n", None, "line 2: 4 cells where the header has 5"),
        ("9,300,300,2,1\n", None, "machine '9' has no capacity"),
        ("1,300,300,2,1\n1,300,300,2,1\n", None, "line 3: machine '1': a sample of 0 s that ends at 300 s"),
        ("", None, "no samples"),
        ("1,300,300,2,1\n", "1,2,0\n", "x_meta.csv, line 2: 2 cores of 0 MHz"),
    ],
)
def test_bad_tables_are_refused(samples: str, machines: str | None, said: str, tmp_path: Path) -> None:
    path = bitbrains(tmp_path, samples) if machines is None else bitbrains(tmp_path, samples, machines)
    with pytest.raises(TraceError) as refused:
        read_utilization(path)
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["", "x,t0\n1,2\n", "vm,t0,t100\na,1,2\n", "vm,t0,t300\na,1,2\na,1,2\n", "vm,t0\n"])
def test_a_table_of_another_shape_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(TraceError, match=r"x\.csv"):
        read_utilization(tmp_path / "x.csv")


def test_what_is_not_there_or_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no archive")
    for path in (tmp_path / "none.csv", tmp_path / "x.tar"):
        with pytest.raises(TraceError, match="give a folder, an archive or a table"):
            read_utilization(path)


# --- Consolidation -----------------------------------------------------------------------------------------------------


def test_equal_steady_machines_fit_by_their_demand() -> None:
    found = consolidate(np.full((6, 10), 0.25), np.ones(6), 3, (0.5, 1.0), np.random.default_rng(1), draws=5)
    assert found.ratios == pytest.approx((4.0, 4.0))
    assert (found.low, found.high, found.slots) == (found.ratios, found.ratios, 10)


def test_slots_in_which_a_machine_is_unknown_are_left_out_and_counted() -> None:
    demand = np.array([[0.5, np.nan, 0.5], [0.5, 0.5, 0.0]])
    found = consolidate(demand, np.ones(2), 2, (1.0,), np.random.default_rng(1), draws=3)
    assert (found.slots, found.ratios) == (2, (2.0,))
    assert slots_that_fit(demand.sum(axis=0), 0.75) == 0.5
    with pytest.raises(ValueError, match="no slot in which the demand of all is known"):
        consolidate(np.array([[np.nan, 1.0], [1.0, np.nan]]), np.ones(2), 2, (1.0,), np.random.default_rng(1))
    with pytest.raises(ValueError, match="machines: 3 of 2"):
        consolidate(demand, np.ones(2), 3, (1.0,), np.random.default_rng(1))


@needs_traces
@pytest.mark.parametrize(("machines", "ratio"), [(5, 4.38), (10, 5.19), (20, 5.72), (50, 6.47), (100, 6.76), (200, 7.09)])
def test_planetlab_machines_fit_as_published(machines: int, ratio: float) -> None:
    trace = read_utilization(TRACES / "planetlab" / "planetlab_20110303.csv")
    found = consolidate(trace.slots(), trace.vcpus, machines, (0.99,), np.random.default_rng(7))
    assert found.ratios[0] == pytest.approx(ratio, rel=0.05)


@needs_traces
def test_the_recordings_are_what_is_said_of_them() -> None:
    table = read_utilization(TRACES / "planetlab" / "planetlab_20110303.csv")
    files = read_utilization(TRACES / "planetlab" / "planetlab_20110303_original_files.tar.gz")
    assert (table.slots() == files.slots()).all()
    assert 100 * table.slots().mean() == pytest.approx(12.31, abs=0.005)
    assert (np.quantile(100 * table.slots(), (0.25, 0.5, 0.75)).round(9) == (2, 6, 15)).all()
    other = read_utilization(TRACES / "bitbrains" / "bitbrains_trace.csv.gz")
    assert (len(other.series), other.vcpus.sum(), sum(len(one.start_s) for one in other.series)) == (50, 194, 276_979)


def test_the_experiment_refuses_a_bad_recording_before_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "experiments"))
    import overcommit_trace  # noqa: PLC0415

    planetlab(tmp_path / "f", {"a": [1, 2], "b": [1, 200]})
    assert overcommit_trace.main(["--trace", str(tmp_path / "f"), "--out", str(tmp_path / "out")]) == 1
    assert "f/b, line 2: 200 lies outside 0 to 100" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    sys.modules.pop("overcommit_trace")
