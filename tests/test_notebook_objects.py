"""What a notebook shows: objects as tables whose text is only text, sliders where there are any."""

from __future__ import annotations

import sys
from types import ModuleType
from xml.etree import ElementTree

import pytest

from simvirt.catalog import Catalog
from simvirt.experiment.runner import Point, run_points
from simvirt.experiment.study import Results
from simvirt.markup import html_table
from simvirt.reports.slider import WITHOUT, with_slider
from simvirt.scenario import Scenario, load_scenario
from simvirt.simulation import simulate

CATALOG = Catalog.builtin()


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    loads = {name: {"kind": "poisson", "rate_per_s": rate} for name, rate in (("a", 200), ("b", 30_000))}
    tenants = [{"name": name, "workload": "web-service", "load": load} for name, load in loads.items()]
    run = {"duration_s": 0.2, "replications": 1}
    return load_scenario({"name": "two", "platform": "kvm", "machine": "small-server", "tenants": tenants, "run": run}, CATALOG)


def cells(html: str) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(html).iter("tr")]


def test_text_is_never_markup() -> None:
    html = html_table("<b>", ["a&b"], [["<script>"]])
    assert cells(html) == [["a&b"], ["<script>"]]
    assert "<script>" not in html


def test_a_scenario_shows_its_tenants(scenario: Scenario) -> None:
    html = scenario._repr_html_()
    same = ["1", "web-service", "1"]
    assert cells(html)[1:] == [["a", *same, "poisson, rate_per_s 200"], ["b", *same, "poisson, rate_per_s 30000"]]
    assert "two: kvm on small-server, 1 replications of 0.2 s, seed 1" in html


def test_a_stack_shows_its_layers_from_the_top() -> None:
    rows = cells(CATALOG.stack("docker-in-kvm", "small-server")._repr_html_())
    assert [row[0] for row in rows[1:]] == ["docker", "linux-guest", "kvm", "small-server"]
    assert rows[-1][2] == "nothing below"
    assert all(int(row[4]) >= int(row[5]) for row in rows[1:])


def test_a_platform_and_a_cost_show_what_they_are() -> None:
    assert cells(CATALOG.platform("kvm")._repr_html_())[1][:3] == ["type1", "kvm, linux-guest", "kvm"]
    cost = CATALOG.hardware("small-server").idle.deep_exit_s
    assert cells(cost._repr_html_())[1][:4] == ["92 us", "18.4 us to 133 us", "measured", "intel-idle"]
    assert cells(CATALOG.hardware("small-server").disk.seek_s._repr_html_())[1][:2] == ["0 s", "0 s to 10 us"]


def test_an_outcome_shows_response_times_and_says_who_is_saturated(scenario: Scenario) -> None:
    outcome = simulate(scenario, CATALOG)
    first, second = cells(outcome._repr_html_())[1:]
    assert first[1].endswith(" ms")
    assert first[5].endswith("/s")
    assert second[1:5] == ["saturated"] * 4


def test_results_show_the_summary(scenario: Scenario) -> None:
    results = Results(CATALOG, run_points([Point(factors={"platform": "kvm"}, scenario=scenario)]))
    assert results._repr_html_().startswith("<p>1 points, 1 runs. The first rows of tenants")
    assert "response_time_mean_s" in results._repr_html_()


def test_without_widgets_the_function_is_called_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    seen: list[float] = []
    with_slider(lambda x: seen.append(x), x=(0, 10, 1, 4))
    assert seen == [4]
    assert capsys.readouterr().out.strip() == WITHOUT


def test_with_widgets_each_argument_has_a_slider(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    module = ModuleType("ipywidgets")
    module.FloatSlider = lambda **how: how  # type: ignore[attr-defined]
    module.interact = lambda function, **sliders: asked.update(sliders)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ipywidgets", module)
    with_slider(print, exit_cycles=(1, 9, 2, 5))
    assert asked == {
        "exit_cycles": {"min": 1, "max": 9, "step": 2, "value": 5, "description": "exit cycles", "continuous_update": False},
    }
