"""The answer in words follows from the numbers: checked on tables small enough to rank by hand."""

from __future__ import annotations

from math import nan

import pandas as pd
import pytest

from simvirt.reports.answer import (
    conditions,
    fewer_requests,
    headline,
    pairing_sentence,
    ranking_sentences,
    saturation_sentences,
    telling_factors,
)
from simvirt.reports.rows import at, estimates, off_by, validation_sentence
from simvirt.reports.time_bars import time_tables
from simvirt.reports.words import brief, by_value, ends

Cells = tuple[str, float, str, float, float]
"""Platform, load, metric, mean, half-width."""


def summary(rows: list[Cells]) -> pd.DataFrame:
    cells = [
        {
            "scenario": "load",
            "platform": platform,
            "offered_load_per_s": 1000 * load,
            "load": load,
            "entity": "tenant/t",
            "metric": metric,
            "unit": "1",
            "mean": mean,
            "low": mean - half,
            "high": mean + half,
            "half_width": half,
            "n": 5,
            "confidence": 0.95,
        }
        for platform, load, metric, mean, half in rows
    ]
    return pd.DataFrame(cells)


RANKED = summary(
    [
        *(("base", load, "slowdown", 1.0, 0.0) for load in (0.2, 0.4, 0.8)),
        *(("base", load, "saturated", 0.0, 0.0) for load in (0.2, 0.4, 0.8)),
        ("alike", 0.2, "slowdown", 1.01, 0.02),
        ("alike", 0.4, "slowdown", 1.02, 0.03),
        ("alike", 0.8, "slowdown", 1.3, 0.1),
        ("near", 0.2, "slowdown", 1.03, 0.01),
        ("near", 0.4, "slowdown", 1.06, 0.02),
        ("near", 0.8, "slowdown", nan, nan),
        ("far", 0.2, "slowdown", 2.0, 0.1),
        ("far", 0.4, "slowdown", 3.0, 0.2),
        ("far", 0.8, "slowdown", nan, nan),
        *(("alike", load, "saturated", 0.0, 0.0) for load in (0.2, 0.4, 0.8)),
        *(("near", load, "saturated", share, 0.0) for load, share in ((0.2, 0.0), (0.4, 0.0), (0.8, 0.4))),
        *(("far", load, "saturated", share, 0.0) for load, share in ((0.2, 0.0), (0.4, 0.0), (0.8, 1.0))),
    ]
)


def test_conditions_rank_and_leave_the_baseline_out() -> None:
    found = conditions(RANKED, "base")
    assert [one.levels["load"] for one in found] == [0.2, 0.4, 0.8]
    assert [r.platform for r in found[1].ranking] == ["alike", "near", "far"]
    assert [r.platform for r in found[2].told] == ["alike"]
    assert found[1].undecided == [("alike", "near")]  # 0.99 to 1.05 and 1.04 to 1.08; the third begins at 2.8
    assert telling_factors(found) == ["load"]  # the rate follows from the load, the scenario is the same


def test_the_headline_is_in_the_middle_of_what_most_carry() -> None:
    first = headline(conditions(RANKED, "base"))
    assert first is not None
    assert first.levels["load"] == 0.4  # at 0.8 one of three is told, fewer than three quarters
    assert headline([]) is None


def test_sentences_tell_ends_and_doubts() -> None:
    told = list(ranking_sentences(conditions(RANKED, "base")[1], "load 0.4"))
    assert told == [
        (
            "At load 0.4, alike is fastest with 1.020 times (0.990 to 1.050) the mean response time of base, far slowest with 3.00 times "
            "(2.80 to 3.20) (95 % intervals in brackets, 3 platforms)."
        ),
        "Not told apart from base, as the interval holds 1: alike.",
        "Not told apart, as intervals overlap: alike from near.",
    ]


def test_sentences_tell_who_has_no_response_time() -> None:
    told = list(ranking_sentences(conditions(RANKED, "base")[2], "load 0.8"))
    assert told[0].startswith("At load 0.8, alike takes 1.30 times (1.20 to 1.40)")
    assert told[1:] == [
        "Saturated, so without a response time: far.",
        "Saturated in some replications, so without a response time: near.",
    ]


def test_nobody_who_carries_it_is_said_so() -> None:
    rows = summary([("base", 1.0, "slowdown", 1.0, 0.0), ("a", 1.0, "slowdown", nan, nan), ("a", 1.0, "saturated", 1.0, 0.0)])
    told = list(ranking_sentences(conditions(rows, "base")[0], ""))
    assert told[0] == "Here no platform carries the load, so none has a slowdown against base."


def test_saturation_is_told_from_its_first_level_on() -> None:
    told = list(saturation_sentences(RANKED, "load"))
    assert told == ["Saturated from load 0.8 on: far.", "Carried at every load up to 0.8: alike, base and near."]


def test_what_pairing_spared_is_the_ratio_of_squared_half_widths() -> None:
    rows = summary(
        [
            ("base", 0.4, "response_time_mean_s", 1.0, 0.3),
            ("a", 0.4, "response_time_mean_s", 2.0, 0.8),
            ("base", 0.4, "slowdown", 1.0, 0.0),
            ("a", 0.4, "slowdown", 2.0, 0.2),
        ]
    )
    (factor,) = fewer_requests(rows, "base")
    assert factor == pytest.approx((0.3**2 + 0.4**2) / 0.1**2)  # 0.25 / 0.01
    assert "25 times as many requests (median of 1 comparisons" in pairing_sentence([factor])


# --- Tables ----------------------------------------------------------------------------------------------------------


def test_rows_are_looked_up_and_missing_ones_left_out() -> None:
    assert estimates(RANKED, "platform", metric="slowdown", load=0.8) == {"base": 1.0, "alike": 1.3}
    assert len(at(RANKED, platform="far", metric="saturated")) == 3


def test_names_stand_with_their_values_lowest_first_and_missing_last() -> None:
    def tell(seconds: float) -> str:
        return "never" if seconds != seconds else brief(seconds, "s")

    values = {"far": 51.0762, "lost": nan, "b": 0.0302, "near": 0.03021, "a": 2.0}
    assert by_value(values, tell) == "30.2 ms (b and near), 2 s (a), 51.1 s (far), never (lost)"
    assert ends(values, tell) == "30.2 ms (b and near) to 51.1 s (far)"
    assert ends({"a": 1.001, "b": 1.002}, tell) == "1 s"
    assert ends({"lost": nan}, tell) == "–"
    assert by_value({}, tell) == ""


def test_only_scored_predictions_count() -> None:
    roles = ["calibration", *["validation"] * 3]
    frame = pd.DataFrame({"role": roles, "error": [9.0, -0.1, 0.3, nan], "kind": [*"aabb"]})
    assert list(off_by(frame)) == [0.1, 0.3]
    assert list(validation_sentence({"predictions": frame})) == ["2 published values predicted: median error 20 %, largest 30 %."]
    assert next(validation_sentence({"predictions": frame}, kind="b")).endswith("largest 30 % of kind b.")
    assert list(validation_sentence({"predictions": frame[:1]})) == []


def parts(rows: list[tuple[str, str, str, str, bool, float]]) -> pd.DataFrame:
    columns = ["platform", "tenant", "layer", "kind", "wait", "mean_s"]
    return pd.DataFrame(rows, columns=columns).assign(load=0.4, cause="work", half_width_s=0.0, share=0.0)


def test_where_the_time_went_averages_equal_tenants_and_puts_the_baseline_first() -> None:
    frame = parts(
        [
            ("a", "vm 1", "app", "application", False, 1.0),
            ("a", "vm 2", "app", "application", False, 3.0),
            ("a", "vm 2", "os", "operating system", True, 1.0),
            ("base", "vm 1", "app", "application", False, 5.0),
            ("base", "vm 2", "app", "application", False, 5.0),
        ]
    )
    (table,) = time_tables(frame, {"load": 0.4}, "base")
    assert table.tenant == "vm"
    assert [row.name for row in table.rows] == ["base", "a"]
    assert table.rows[1].seconds == {"application": 2.0, "waits": 0.5}
    assert list(table.colours) == ["application", "waits"]
    assert time_tables(frame[:0]) == []


def test_where_the_time_went_is_looked_for_where_there_is_something_to_show() -> None:
    frame = parts([("a", "t", "app", "application", False, 1.0), ("b", "t", "app", "application", False, 2.0)])
    (table,) = time_tables(frame, {"load": 0.9}, "a")
    assert len(table.rows) == 2
    assert table.where == "load 0.4"
