"""Histograms, the catalog and the long table."""

from __future__ import annotations

import json
import math
import pickle
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.errors import CatalogError, ResultsError
from simvirt.metrics.catalog import ENTITIES, metric, metrics, parse_metrics
from simvirt.metrics.histogram import HIGHEST_S, LOWEST_S, RELATIVE_WIDTH, LatencyHistogram
from simvirt.metrics.tidy import Row, tidy_frame, write_csv_atomic, write_json_atomic
from simvirt.reports.metrics_page import metrics_page

ROOT = Path(__file__).parents[1]

TIMES = st.lists(st.floats(0.0, HIGHEST_S) | st.floats(1e-6, 1.0), max_size=60)

# Histogram


def test_histogram_by_hand() -> None:
    # ln(1 s / 1e-9 s) / ln 1.01 = 20.72327 / 0.00995033 = 2082.67: bucket 2082; 1.005 s is ln 1.005 / ln 1.01 = 0.50 further: bucket 2083
    histogram = LatencyHistogram([1.0, 1.005, 2.5e-10])
    assert histogram.count == 3
    assert histogram.sum_s == pytest.approx(2.005 + 2.5e-10, abs=1e-16)
    assert histogram.mean_s == pytest.approx(2.00500000025 / 3)
    assert (histogram.min_s, histogram.max_s) == (2.5e-10, 1.005)
    assert histogram.to_dict()["buckets"] == [[0, 1], [2082, 1], [2083, 1]]


def test_empty_histogram_measures_nothing() -> None:
    empty = LatencyHistogram()
    assert (empty.count, empty.sum_s) == (0, 0.0)
    assert all(map(math.isnan, (empty.mean_s, empty.min_s, empty.max_s, empty.quantile(0.5))))
    assert empty == LatencyHistogram([]) == empty + empty
    assert LatencyHistogram.from_dict(empty.to_dict()) == empty


@given(TIMES, TIMES, TIMES)
def test_merging_is_adding(a: list[float], b: list[float], c: list[float]) -> None:
    """Exactly, sums included: any order, any grouping, blocks or one by one."""
    x, y, z = LatencyHistogram(a), LatencyHistogram(b), LatencyHistogram(c)
    whole = LatencyHistogram(a + b + c)
    one_by_one = LatencyHistogram()
    for value in c + a + b:
        one_by_one.add([value])
    assert (x + y) + z == x + (y + z) == z + (y + x) == whole == one_by_one
    assert x + LatencyHistogram() == x


@given(TIMES)
def test_count_sum_and_extremes_are_exact(values: list[float]) -> None:
    histogram = LatencyHistogram(values)
    assert histogram.count == len(values)
    assert histogram.sum_s == pytest.approx(math.fsum(values), rel=1e-15, abs=len(values) * 2.0**-61)
    if values:
        assert (histogram.min_s, histogram.max_s) == (min(values), max(values))
        assert histogram.mean_s == pytest.approx(math.fsum(values) / len(values), rel=1e-15, abs=2.0**-61)


def test_sum_of_many_long_times_is_exact() -> None:
    """A block larger than a float can add up without rounding gives the same sum, to the last bit, as small ones."""
    assert LatencyHistogram(np.full(20_000, HIGHEST_S)).sum_s == 2e10
    times = np.random.default_rng(6).uniform(HIGHEST_S / 2, HIGHEST_S, 50_001)
    in_pieces = LatencyHistogram()
    for piece in np.array_split(times, 500):
        in_pieces.add(piece)
    assert LatencyHistogram(times) == in_pieces


@given(TIMES, st.floats(1e-6, 1.0), st.floats(1e-6, 1.0))
def test_difference_is_seen(values: list[float], one: float, other: float) -> None:
    assert LatencyHistogram(values) != LatencyHistogram([*values, one])
    assert (LatencyHistogram([*values, one]) == LatencyHistogram([*values, other])) == (abs(one - other) < 2.0**-60)
    assert LatencyHistogram(values) != "a histogram"


@given(TIMES)
def test_histogram_survives_json_and_pickle(values: list[float]) -> None:
    histogram = LatencyHistogram(values)
    assert LatencyHistogram.from_dict(json.loads(json.dumps(histogram.to_dict()))) == histogram
    assert pickle.loads(pickle.dumps(histogram)) == histogram


SAMPLES = {
    "exponential": lambda rng: rng.exponential(1e-3, 200_000),
    "lognormal, sigma 2": lambda rng: rng.lognormal(-7.0, 2.0, 200_000),
    "pareto, infinite variance": lambda rng: 1e-4 * (1.0 + rng.pareto(1.3, 200_000)),
    "two modes": lambda rng: np.concatenate([rng.uniform(1e-6, 2e-6, 190_000), rng.uniform(0.1, 0.3, 10_000)]),
    "constant": lambda rng: np.full(200_000, 0.0123),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_quantiles_within_one_percent(sample: str) -> None:
    values = SAMPLES[sample](np.random.default_rng(9))
    histogram = LatencyHistogram(values)
    for q in (0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999):
        assert histogram.quantile(q) == pytest.approx(np.quantile(values, q), rel=RELATIVE_WIDTH), q


@given(st.lists(st.floats(1e-9, HIGHEST_S), min_size=20, max_size=60), st.floats(0, 0.5))
def test_quantile_of_few_within_one_percent(values: list[float], q: float) -> None:
    assert LatencyHistogram(values).quantile(q) == pytest.approx(np.quantile(values, q), rel=RELATIVE_WIDTH * (1 + 1e-9))


@pytest.mark.parametrize(("q", "needed"), [(0.5, 20), (0.9, 100), (0.95, 200), (0.99, 1000), (0.999, 10_000)])
def test_quantile_needs_ten_in_the_tail(q: float, needed: int) -> None:
    values = np.linspace(0.1, 0.2, needed)
    assert not math.isnan(LatencyHistogram(values).quantile(q))
    assert math.isnan(LatencyHistogram(values[1:]).quantile(q))


def test_zero_is_told_apart_from_a_nanosecond() -> None:
    assert LatencyHistogram([0.0] * 30 + [1.0] * 10).quantile(0.5) == 0.0
    assert LatencyHistogram([LOWEST_S * 5] * 30).quantile(0.5) == pytest.approx(5e-9)


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf, 1.1e6])
def test_what_is_no_time_is_refused_and_nothing_counted(bad: float) -> None:
    histogram = LatencyHistogram([1.0])
    with pytest.raises(ValueError, match="at least 0 s and at most 1e"):
        histogram.add([2.0, bad, 3.0])
    assert histogram == LatencyHistogram([1.0])


def test_quantile_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"q: 1\.0; at least 0 and below 1"):
        LatencyHistogram([1.0]).quantile(1.0)


def test_documents_of_another_shape_are_refused() -> None:
    document = LatencyHistogram([1.0, 2.0]).to_dict()
    with pytest.raises(ValueError, match="this version reads only"):
        LatencyHistogram.from_dict(document | {"relative_width": 0.02})
    with pytest.raises(ValueError, match="count: 3; the buckets hold 2"):
        LatencyHistogram.from_dict(document | {"count": 3})


def test_size_depends_on_span_not_on_count() -> None:
    rng = np.random.default_rng(2)
    small, large = (LatencyHistogram(10.0 ** rng.uniform(-5, -2, n)) for n in (20_000, 500_000))
    assert len(small.to_dict()["buckets"]) == len(large.to_dict()["buckets"]) <= math.log(1e3) / math.log(1.01) + 2


# Catalog


def test_every_metric_is_declared_in_full() -> None:
    assert len(metrics()) >= 22
    for name, declared in metrics().items():
        assert declared.name == name
        assert declared.entity in ENTITIES
        assert declared.definition.endswith(".")
    assert metric("steal_s").unit == "s"
    assert metric("throughput_per_s").unit == "1/s"
    assert metric("slowdown").unit == "1"


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(CatalogError, match=r"metric 'response_time_p98_s' is not in the catalog; did you mean 'response_time_p9"):
        metric("response_time_p98_s")


def test_every_mistake_of_a_catalog_is_reported() -> None:
    text = """
    [wait_s]
    unit = "ms"
    entity = "tennant"
    definition = ""
    estimater = "mean"
    """
    with pytest.raises(CatalogError) as caught:
        parse_metrics(text)
    assert caught.value.problems == (
        "wait_s.estimator: missing; write a text",
        "wait_s.estimater: unknown; did you mean 'estimator' or 'entity'?",
        "wait_s.definition: ''; a text that is not empty",
        "wait_s.entity: 'tennant'; did you mean 'tenant'?",
        "wait_s.unit: 'ms'; the name says 's'",
    )
    with pytest.raises(CatalogError, match="wait_s: 3; a table with unit, entity"):
        parse_metrics("wait_s = 3")
    with pytest.raises(CatalogError, match="catalog of metrics: "):
        parse_metrics("[wait_s")


# The long table


def rows() -> list[Row]:
    return [
        Row(factors={"zeta": level, "platform": p, "offered_load_per_s": load}, replication=r, entity="tenant/web", metric=m, value=v)
        for p in ("b", "a")
        for load in (100.0, 9.0)
        for level in (None, "x", 2)
        for r in (10, 9)
        for m, v in (("throughput_per_s", load / 3), ("response_time_mean_s", math.nan))
    ]


def test_table_by_hand() -> None:
    frame = tidy_frame(rows())
    assert list(frame.columns) == ["platform", "offered_load_per_s", "zeta", "replication", "entity", "metric", "unit", "value", "error"]
    first = frame.iloc[0]
    assert (first["platform"], first["offered_load_per_s"], first["replication"], first["metric"]) == ("a", 9.0, 9, "response_time_mean_s")
    assert frame["unit"].tolist()[:2] == ["s", "1/s"]
    assert len(frame) == 48


@given(st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(shuffler: random.Random) -> None:
    shuffled = rows()
    shuffler.shuffle(shuffled)
    assert tidy_frame(shuffled).to_csv() == tidy_frame(rows()).to_csv()


def test_table_refuses() -> None:
    good = Row(factors={"platform": "a"}, replication=0, entity="host", metric="failed", value=1.0, error="out of memory")
    assert tidy_frame([good])["error"].tolist() == ["out of memory"]
    assert tidy_frame([]).empty
    with pytest.raises(CatalogError, match="metric 'throughput' is not in the catalog; did you mean 'throughput_per_s'"):
        tidy_frame([good, Row(factors={"platform": "a"}, replication=0, entity="host", metric="throughput", value=1.0)])
    with pytest.raises(ResultsError, match="two values for"):
        tidy_frame([good, good])
    with pytest.raises(ResultsError, match="every row of a table has"):
        tidy_frame([good, Row(factors={}, replication=1, entity="host", metric="failed", value=1.0)])
    with pytest.raises(ResultsError, match="factor 'value' is also a column"):
        tidy_frame([Row(factors={"value": 1.0}, replication=1, entity="host", metric="failed", value=1.0)])


def test_csv_reads_back_bit_by_bit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-300, 5e-324, 1 / 3, 123456789.123456789, math.nan]
    table = [Row(factors={}, replication=i, entity="tenant/a", metric="slowdown", value=v) for i, v in enumerate(values)]
    path = tmp_path / "runs.csv"
    write_csv_atomic(tidy_frame(table), path)
    assert [repr(v) for v in pd.read_csv(path)["value"].tolist()] == [repr(v) for v in values]
    assert b"\r" not in path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["runs.csv"]


def test_writing_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_json_atomic({"b": 1, "a": "µ"}, path)
    with path.open(encoding="utf-8") as reader:  # whoever is reading goes on with the old file, whole
        write_json_atomic({"b": 2, "a": None}, path)
        assert json.load(reader) == {"b": 1, "a": "µ"}
    assert path.read_text(encoding="utf-8") == '{\n  "a": null,\n  "b": 2\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("document", [{"x": math.nan}, {"x": object()}])
def test_json_that_is_none_leaves_the_old_file(tmp_path: Path, document: object) -> None:
    path = tmp_path / "manifest.json"
    write_json_atomic({"x": 1}, path)
    with pytest.raises(ResultsError, match=r"manifest\.json: .*null for what was not measured"):
        write_json_atomic(document, path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"x": 1}


def test_failure_to_write_names_the_path_and_leaves_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "runs.csv"
    with pytest.raises(ResultsError, match=r"nowhere/runs\.csv: cannot be written \(No such file or directory\); make the folder"):
        write_csv_atomic(tidy_frame([]), missing)
    folder = tmp_path / "runs.csv"
    folder.mkdir()
    with pytest.raises(ResultsError, match="cannot be written"):
        write_csv_atomic(tidy_frame([]), folder)  # written beside it, but a folder cannot be replaced
    assert [p.name for p in tmp_path.iterdir()] == ["runs.csv"]


# --- The reference page ----------------------------------------------------------------------------------------------


def test_the_page_of_metrics_is_the_catalog() -> None:
    """The committed page is what `simvirt metrics` writes now, and every metric stands in it once, in the section of its entity."""
    page = metrics_page()
    kept = (ROOT / "simvirt" / "metrics" / "metrics.md").read_text(encoding="utf-8")
    assert kept == page, "renew it: simvirt metrics > simvirt/metrics/metrics.md"
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL))
    lines = [(entity, line) for entity, text in sections.items() for line in text.splitlines() if line.startswith("| `")]
    rows = [(entity, *(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:5])) for entity, line in lines]
    declared = [(m.entity, f"`{m.name}`", m.unit, m.definition, m.estimator) for m in metrics().values()]
    assert sorted(rows) == sorted(declared)
    assert page.count("| `") == len(metrics())
