"""A report is one page that needs nothing else: whole, the same bytes for the same results, and true to the tables behind it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from simvirt.cli import main
from simvirt.errors import ResultsError
from simvirt.reports.inline_svg import inline, title_of
from simvirt.reports.stored import read_all, read_results
from simvirt.reports.words import level_text, listed, number, per_cent, quantity, times

RESULTS = Path(__file__).resolve().parent.parent / "results"
SMALL = "consolidation_published"
WITH_RANKING = "network_paths"
VOID = {"meta", "link", "br", "hr", "img", "input"}
FETCHES = {"src", "srcset", "data", "poster", "background", "action", "formaction"}
"""Attributes whose address a browser asks for by itself."""


class Page(HTMLParser):
    """Reads a page as a browser would have it: every element closed by its own end, every attribute kept."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(" ".join(data.split()))


@cache
def page_of(name: str, scratch: Path) -> str:
    out = scratch / f"{name}.html"
    assert main(["report", str(RESULTS / name), "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


NAMES = sorted(path.parent.name for path in RESULTS.glob("*/manifest.json"))


# --- The page as such ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_has_a_page_that_is_whole_and_asks_nobody(name: str, scratch: Path) -> None:
    text = page_of(name, scratch)
    page = Page(text)
    assert not page.open
    assert text.startswith("<!doctype html>")
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert not {tag for tag, _ in page.found} & {"script", "iframe", "object", "embed", "base"}
    for tag, attributes in page.found:
        assert not any(key.startswith("on") for key in attributes), "a script in an attribute"
        for key, value in attributes.items():
            if key in FETCHES:
                pytest.fail(f"<{tag} {key}={value!r}> is fetched")
            if key in ("href", "xlink:href") and tag != "a":
                assert value is not None
                assert value.startswith(("#", "data:")), f"<{tag} {key}={value!r}> is fetched"
    assert not re.search(r"url\((?!#)", text), "a style fetches something"
    assert "@import" not in text


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_inside_a_page_has_its_target(name: str, scratch: Path) -> None:
    page = Page(page_of(name, scratch))
    ids = {attributes["id"] for _, attributes in page.found if "id" in attributes}
    wanted = {value[1:] for _, a in page.found if (value := a.get("href")) and value[0] == "#"}
    wanted |= {value for _, a in page.found if (value := a.get("aria-labelledby"))}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page_of(name, scratch)))
    assert not wanted - ids


@pytest.mark.parametrize("name", NAMES)
def test_charts_tables_and_sections_can_be_followed_without_seeing(name: str, scratch: Path) -> None:
    page = Page(page_of(name, scratch))
    charts = [attributes for tag, attributes in page.found if tag == "svg"]
    assert len(charts) == len(list((RESULTS / name / "charts").glob("*.svg"))) + (RESULTS / name / "sensitivity.csv").exists()
    assert all(chart["role"] == "img" and chart["aria-labelledby"] for chart in charts)
    assert sum(tag == "h1" for tag, _ in page.found) == 1
    assert ("html", {"lang": "en"}) in page.found
    heads = [attributes for tag, attributes in page.found if tag == "th"]
    assert all(head.get("scope") in ("col", "row") for head in heads)


def test_the_same_results_give_the_same_bytes(scratch: Path) -> None:
    again = scratch / "again.html"
    assert main(["report", str(RESULTS / SMALL), "--out", str(again)]) == 0
    assert again.read_text(encoding="utf-8") == page_of(SMALL, scratch)


def test_the_page_stands_in_its_folder_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(RESULTS / SMALL, tmp_path / "r")
    assert main(["report", str(tmp_path / "r")]) == 0
    assert (tmp_path / "r" / "report.html").stat().st_size > 10_000
    assert "one file that needs nothing else" in capsys.readouterr().out


def test_colours_of_text_are_dark_on_light_and_light_on_dark(scratch: Path) -> None:
    """Contrast of 4.5 and more, as WCAG 2 asks for text."""
    blocks = re.findall(r":root \{([^}]*)\}", page_of(SMALL, scratch))
    assert len(blocks) == 3
    for block in blocks:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", block))
        for text in ("ink", "soft", "link"):
            for ground in ("paper", "band"):
                assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground, colours)


def _contrast(a: str, b: str) -> float:
    low, high = sorted(_luminance(colour) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- What it says ----------------------------------------------------------------------------------------------------


def test_it_tells_the_answer_the_manifest_and_the_sources(scratch: Path) -> None:
    text = " ".join(Page(page_of(SMALL, scratch)).text)
    about = json.loads((RESULTS / SMALL / "answer.json").read_text(encoding="utf-8"))
    manifest = json.loads((RESULTS / SMALL / "manifest.json").read_text(encoding="utf-8"))
    for said in (about["question"], about["expected"], *about["answer"], manifest["commit"]["digest"], manifest["versions"]["numpy"]):
        assert said in text
    assert "small-server.cores = 4.0" in text


def test_fastest_and_slowest_are_those_of_the_summary(scratch: Path) -> None:
    """By hand from the CSV, at the condition that the page names."""
    text = " ".join(Page(page_of(WITH_RANKING, scratch)).text)
    said = re.search(r"At condition network, rate 10,000, (\S+) is fastest with (\S+) times .*? (\S+) slowest with (\S+) times", text)
    assert said is not None
    summary = pd.read_csv(RESULTS / WITH_RANKING / "summary.csv", low_memory=False)
    rows = summary[(summary["metric"] == "slowdown") & (summary["scenario"] == "load") & (summary["rate_per_s"] == 10_000)]
    ranked = rows[rows["platform"] != "bare-metal"].sort_values("mean")
    assert (said[1], said[3]) == (ranked["platform"].iloc[0], ranked["platform"].iloc[-1])
    assert float(said[2]) == pytest.approx(ranked["mean"].iloc[0], abs=5e-4)
    assert float(said[4]) == pytest.approx(ranked["mean"].iloc[-1], abs=5e-3)


def test_without_sensitivity_it_says_how_to_have_it(scratch: Path) -> None:
    assert "Not computed for these results. To have it here: simvirt sensitivity" in page_of(SMALL, scratch)


def test_a_profile_that_has_changed_since_is_told(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / SMALL, tmp_path / "r")
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text(encoding="utf-8"))
    manifest["profiles"]["layers/kvm.toml"] = "0" * 16
    (tmp_path / "r" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert main(["report", str(tmp_path / "r"), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.search(r"Changed since this was run, so that a rerun may differ: [^.]*layers/kvm\.toml", text)


def test_text_from_results_cannot_become_markup(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / SMALL, tmp_path / "r")
    about = {"question": "<script>alert(1)</script>?", "expected": "", "answer": ["<b>bold</b> & more"], "chart": "", "experiment": SMALL}
    (tmp_path / "r" / "answer.json").write_text(json.dumps(about), encoding="utf-8")
    (tmp_path / "r" / "extra.csv").write_text('name\n"<img src=x onerror=y>"\n', encoding="utf-8")
    assert main(["report", str(tmp_path / "r"), "--out", str(tmp_path / "page.html")]) == 0
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not {tag for tag, _ in page.found} & {"script", "img"}
    assert "<b>bold</b> & more" in page.text


# --- Folders that are not whole --------------------------------------------------------------------------------------


def test_every_defect_of_every_folder_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(RESULTS / SMALL, broken)
    (broken / "manifest.json").write_text('{"experiment": "x"', encoding="utf-8")
    summary = (broken / "summary.csv").read_text(encoding="utf-8")
    (broken / "summary.csv").write_text(summary[: len(summary) // 2].rstrip("\n"), encoding="utf-8")
    (broken / "time_parts.csv").write_text("", encoding="utf-8")
    (broken / "points.csv").unlink()
    chart = next((broken / "charts").glob("*.svg"))
    chart.write_text(chart.read_text(encoding="utf-8")[:500], encoding="utf-8")
    code = main(["report", str(broken), str(tmp_path / "nowhere"), __file__, "--out", str(tmp_path / "x.html")])
    assert code == 2
    assert capsys.readouterr().err.startswith("simvirt: --out")
    assert main(["report", str(broken), str(tmp_path / "nowhere"), __file__]) == 2
    told = capsys.readouterr().err.splitlines()
    patterns = (
        r"manifest\.json: cut off or damaged",
        r"points\.csv: missing",
        r"summary\.csv: (line \d+ has not the \d+ cells of the header|the last line has no end)",
        r"time_parts\.csv: empty, not even a header",
        r"\.svg: not a whole SVG",
        r"nowhere: no such folder; run an experiment first",
        r"test_report\.py: a file, not a folder of results",
    )
    assert len(told) == len(patterns)
    for pattern in patterns:
        assert any(re.search(pattern, line) for line in told), pattern
    assert not (broken / "report.html").exists()


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        (lambda text: text[: text.rindex(",")] + "\n", r"summary\.csv: line \d+ has not the \d+ cells of the header: cut off"),
        (lambda text: text.rstrip("\n"), r"summary\.csv: the last line has no end: cut off"),
        (lambda text: text.replace(",metric,", ",metrik,", 1), r"summary\.csv: no column metric;"),
        (lambda text: "", r"summary\.csv: empty, not even a header"),
    ],
)
def test_a_table_that_is_cut_off_is_told_where(cut: Callable[[str], str], said: str, tmp_path: Path) -> None:
    shutil.copytree(RESULTS / SMALL, tmp_path / "r")
    table = tmp_path / "r" / "summary.csv"
    table.write_text(cut(table.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ResultsError, match=said) as error:
        read_results(tmp_path / "r")
    assert len(error.value.problems) == 1


def test_a_manifest_of_another_kind_is_refused(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / SMALL, tmp_path / "r")
    (tmp_path / "r" / "manifest.json").write_text('{"experiment": "x"}', encoding="utf-8")
    with pytest.raises(ResultsError, match=r"manifest\.json: no command, date, versions"):
        read_results(tmp_path / "r")


def test_a_table_of_sensitivity_of_another_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(RESULTS / SMALL, tmp_path / "r")
    (tmp_path / "r" / "sensitivity.csv").write_text("platform,cost\nkvm,x\n", encoding="utf-8")
    assert main(["report", str(tmp_path / "r")]) == 2
    assert "sensitivity.csv: no column response, grade" in capsys.readouterr().err


def test_what_was_meant_perhaps_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(RESULTS.parent)
    with pytest.raises(ResultsError, match=rf"^results: no results of an experiment in it; did you mean .*results/{SMALL} or "):
        read_results(Path("results"))
    with pytest.raises(ResultsError, match=rf"^{SMALL}: no such folder; did you mean results/{SMALL}\?$"):
        read_results(Path(SMALL))
    with pytest.raises(ResultsError, match="no results of an experiment in it; run an experiment first"):
        read_results(tmp_path)


def test_whole_folders_are_read() -> None:
    found = read_all([RESULTS / SMALL, RESULTS / WITH_RANKING])
    assert [one.experiment for one in found] == [SMALL, WITH_RANKING]
    assert "platform" in found[0].factors


# --- Charts inside a page --------------------------------------------------------------------------------------------

SVG = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" viewBox="0 0 9 5" '
    'xmlns="http://www.w3.org/2000/svg"><metadata><a href="http://elsewhere"/></metadata><defs><style type="text/css">*{stroke-linejoin: '
    'round}</style><path id="m1"/></defs><use xlink:href="#m1" clip-path="url(#m1)"/><text style="font-size: 12px">small</text>'
    '<text style="font-size: 18px">Title &amp; more</text></svg>'
)


def test_an_inlined_chart_keeps_its_names_to_itself() -> None:
    text = inline(SVG, "one", 'Says "x" & more')
    root = ElementTree.fromstring(text)
    assert root.get("viewBox") == "0 0 9 5"
    assert root.get("width") is None
    assert 'id="one-m1"' in text
    assert 'href="#one-m1"' in text
    assert "url(#one-m1)" in text
    assert "elsewhere" not in text
    assert "<title id=\"one-title\">Says &quot;x&quot; &amp; more</title>" in text
    assert root.get("style") == "stroke-linejoin: round"


def test_the_title_of_a_chart_is_its_largest_text() -> None:
    assert title_of(SVG, "name") == "Title & more"
    assert title_of('<svg xmlns="http://www.w3.org/2000/svg"/>', "a_name") == "a name"


# --- Words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1234.5, "1,234"), (0.012345, "0.0123"), (float("nan"), "–"), (1.0, "1.00"), (9.87e-5, "9.87e-05"), (12.34, "12.3")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_quantities_have_the_unit_that_suits_them() -> None:
    assert quantity(0.00123, "s") == "1.23 ms"
    assert quantity(2.5e-6, "s") == "2.5 µs"
    assert quantity(float("nan"), "s") == "–"
    assert per_cent(0.123) == "12 %"


def test_a_ratio_shows_its_interval() -> None:
    assert times(1.00074, 1.00068, 1.0008) == "1.0007 times (1.0007 to 1.0008)"
    assert times(12.34, 10.0, 14.7) == "12.3 times (10.0 to 14.7)"
    assert times(1.5, float("nan"), float("nan")) == "1.50 times"


def test_lists_and_levels_read_as_people_write() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([]) == ""
    assert listed([str(i) for i in range(12)], 3) == "0, 1, 2 and 9 more"
    assert level_text(10_000.0) == "10,000"
    assert level_text(0.05) == "0.05"
    assert level_text("kvm") == "kvm"
