"""A report as one HTML file that needs nothing else: no script, nothing from the network, the same bytes for the same results."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from simvirt.errors import ResultsError
from simvirt.reports.answer import (
    Condition,
    conditions,
    fewer_requests,
    headline,
    pairing_sentence,
    ranking_sentences,
    saturation_sentences,
    telling_factors,
)
from simvirt.reports.evidence import CostRow, Evidence, Source
from simvirt.reports.inline_svg import inline, title_of
from simvirt.reports.stored import StoredResults
from simvirt.reports.style import chart_style, render
from simvirt.reports.time_bars import TimeTable, time_tables
from simvirt.reports.tornado import tornado_chart
from simvirt.reports.words import MISSING, is_missing, level_text, listed, micro, number, quantity, times

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["render_page"]

SENSITIVITY: Final = "sensitivity"
"""The table that `simvirt sensitivity --csv` writes."""
_NOT_SHOWN: Final = ("points", "summary", "time_parts", SENSITIVITY)
"""Tables that stand in the report in another form."""
_MOST_ROWS: Final = 60
_LONG: Final = 40
"""Letters from which on a cell is a sentence."""
_EXACT: Final = 1e-12
_MOST_CHANGED: Final = 12


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column."""

    text: str
    number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTable:
    """A table as the page has it: every cell is text."""

    title: str
    header: Sequence[Head]
    rows: Sequence[Sequence[str]]
    note: str = ""
    open: bool = True

    def look(self, column: int) -> str:
        """Flush right for numbers; wide for cells that hold sentences, so that a small screen scrolls instead of breaking every word."""
        if self.header[column].number:
            return "number"
        longest = max((len(row[column]) for row in self.rows), default=0)
        return "long" if longest > _LONG else "short"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownChart:
    """A chart inside the page."""

    title: str
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTime:
    """A row of where the time went."""

    name: str
    total: str
    bars: Sequence[tuple[str, str]]
    """Colour and width in per cent."""
    parts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTimes:
    """A table of where the time went."""

    tenant: str
    where: str
    across: str
    colours: Sequence[tuple[str, str]]
    rows: Sequence[ShownTime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that the template writes, in words."""

    title: str
    experiment: str
    made: str
    sections: Sequence[tuple[str, str]]
    answer: Sequence[str]
    rules: Sequence[str]
    expected: str
    charts: Sequence[ShownChart]
    times: Sequence[ShownTimes]
    tables: Sequence[ShownTable]
    evidence: Sequence[str]
    evidence_tables: Sequence[ShownTable]
    sources: Sequence[Source]
    sensitivity: Sequence[str]
    sensitivity_tables: Sequence[ShownTable]
    tornado: ShownChart | None
    command: str
    facts: Sequence[tuple[str, str]]
    reproduce_tables: Sequence[ShownTable] = field(default=())


def render_page(results: StoredResults, evidence: Evidence, responses: Mapping[str, str]) -> str:
    """The page of one experiment. `responses` says what a response of a sensitivity table is called."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - slow to import

    folder = resources.files("simvirt.reports") / "html"
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((folder / "report.html").read_text(encoding="utf-8"))
    page = _page(results, evidence, responses)
    return template.render(page=page, style=_markup((folder / "report.css").read_text(encoding="utf-8")))


def _markup(text: str) -> Any:
    """Text that is HTML already: the style sheet, and charts whose texts were escaped as they were drawn."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2

    return Markup(text)


def _page(results: StoredResults, evidence: Evidence, responses: Mapping[str, str]) -> Page:
    summary = results.tables["summary"]
    baseline = _baseline(summary)
    found = conditions(summary, baseline) if baseline else []
    first = headline(found)
    charts = [_chart(name, svg) for name, svg in _ordered(results)]
    time_rows = time_tables(results.tables["time_parts"], first.levels if first else None, baseline)
    tornado, tornado_words, tornado_tables = _sensitivity(results, responses)
    sections = (
        ("answer", "Answer", True),
        ("charts", "Charts", bool(charts)),
        ("times", "Where the time went", bool(time_rows)),
        ("tables", "Tables", True),
        ("assumptions", "Assumptions", True),
        ("sensitivity", "Sensitivity", True),
        ("reproduce", "How to reproduce", True),
    )
    return Page(
        title=str(results.about.get("question") or results.experiment.replace("_", " ")),
        experiment=results.experiment,
        made=_made(results),
        sections=[(name, heading) for name, heading, present in sections if present],
        answer=[str(sentence) for sentence in results.about.get("answer", ())],
        rules=list(_rules(results, found, first)),
        expected=str(results.about.get("expected", "")),
        charts=charts,
        times=[_shown_times(table) for table in time_rows],
        tables=[*_comparison(found), *_own_tables(results)],
        evidence=list(_evidence_sentences(evidence)),
        evidence_tables=list(_evidence_tables(evidence)),
        sources=evidence.sources,
        sensitivity=tornado_words,
        sensitivity_tables=tornado_tables,
        tornado=tornado,
        command=_command(results),
        facts=list(_facts(results)),
        reproduce_tables=_profiles(results),
    )


# --- Answer ----------------------------------------------------------------------------------------------------------


def _baseline(summary: pd.DataFrame) -> str | None:
    """The platform whose slowdown is 1 without an interval, as it is measured against itself."""
    if "platform" not in summary.columns:
        return None
    slow = summary[(summary["metric"] == "slowdown") & summary["mean"].notna()]
    off = (slow["mean"] - 1.0).abs() + slow["half_width"].fillna(0.0)
    worst = off.groupby(slow["platform"]).max()
    return _named_so([str(name) for name in worst[worst < _EXACT].index], slow)


def _named_so(itself: Sequence[str], slow: pd.DataFrame) -> str | None:
    """Of several that never differ from the baseline, the one that has a slowdown wherever another has one."""
    rows = slow.groupby("platform").size()
    return max(itself, key=lambda name: (rows[name], name)) if itself else None


def _made(results: StoredResults) -> str:
    points = results.tables["points"]
    counts = sorted(set(points["replications"]))
    runs = int(points["replications"].sum())
    replications = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{len(points)} points of the design, {replications} replications each, {runs:,} runs; finished {_day(results)}."


def _day(results: StoredResults) -> str:
    """`2026-11-24 18:55 UTC`, as the manifest has it."""
    day, _, time = str(results.manifest["date"]).partition("T")
    return f"{day} {time[:5]} UTC" if time.endswith("+00:00") else str(results.manifest["date"])


def _rules(results: StoredResults, found: Sequence[Condition], first: Condition | None) -> Iterator[str]:
    summary = results.tables["summary"]
    if first is not None:
        yield from ranking_sentences(first, first.named(telling_factors(found)))
    along = _along(results)
    if along:
        yield from saturation_sentences(summary, along)
    if first is not None:
        factors = fewer_requests(summary, first.baseline)
        if factors:
            yield pairing_sentence(factors)


def _along(results: StoredResults) -> str | None:
    """The factor over which points are looked at for saturation: the number with most levels, a relative load before a rate."""
    points = results.tables["points"]
    numeric = [name for name in results.factors if points[name].dtype.kind in "if"]
    levels = {name: points[name].nunique() for name in numeric}
    named = [name for name in numeric if name == "load" and levels[name] > 1]
    return next(iter(named), None) or max((n for n in numeric if levels[n] > 1), key=lambda n: levels[n], default=None)


# --- Charts and time -------------------------------------------------------------------------------------------------


def _ordered(results: StoredResults) -> list[tuple[str, str]]:
    """The chart that answers the question first, the others by name."""
    chief = results.about.get("chart")
    return sorted(results.charts.items(), key=lambda item: (item[0] != chief, item[0]))


def _chart(name: str, svg: str) -> ShownChart:
    title = title_of(svg, name)
    return ShownChart(title=title, svg=_markup(inline(svg, name, title)))


def _shown_times(table: TimeTable) -> ShownTimes:
    longest = max(row.total for row in table.rows) or 1.0
    rows = []
    for row in table.rows:
        bars = [(colour, f"{100 * row.seconds.get(kind, 0.0) / longest:.3f}") for kind, colour in table.colours.items()]
        parts = ", ".join(f"{label} {quantity(seconds, 's')}" for label, seconds in row.causes if seconds > 0)
        rows.append(ShownTime(name=row.name, total=quantity(row.total, "s"), bars=[bar for bar in bars if bar[1] != "0.000"], parts=parts))
    return ShownTimes(tenant=table.tenant, where=table.where, across=table.across, colours=list(table.colours.items()), rows=rows)


# --- Tables ----------------------------------------------------------------------------------------------------------


def _comparison(found: Sequence[Condition]) -> Iterator[ShownTable]:
    """Fastest and slowest at every condition."""
    if not found:
        return
    factors = telling_factors(found)
    columns = (*map(_words, factors), "tenant", "fastest", "slowest", "not told from the baseline", "saturated")
    rows = []
    for one in found:
        ends = [one.told[0], one.told[-1]] if one.told else []
        told = [f"{end.platform}: {times(end.mean, end.low, end.high)}" for end in ends] or [MISSING, MISSING]
        same = listed([r.platform for r in one.ranking if r.as_baseline]) or "none"
        full = listed([r.platform for r in one.ranking if r.share_saturated > 0]) or "none"
        rows.append([*(_cell(one.levels[name]) for name in factors), one.entity.removeprefix("tenant/"), *told, same, full])
    title = f"Slowdown against {found[0].baseline} at every condition"
    note = f"Ratio of mean response times, {100 * found[0].confidence:g} % interval in brackets."
    yield ShownTable(title=title, header=list(map(Head, columns)), rows=rows[:_MOST_ROWS], note=_with_rest(note, len(rows), "summary"))


def _own_tables(results: StoredResults) -> Iterator[ShownTable]:
    for name, frame in results.tables.items():
        if name not in _NOT_SHOWN:
            yield _frame_table(name, frame, open_=len(frame) <= _MOST_ROWS)


def _frame_table(name: str, frame: pd.DataFrame, *, open_: bool) -> ShownTable:
    """A table of the experiment's own; a row's unit goes with its numbers where there is one."""
    columns = [str(column) for column in frame.columns]
    header = [Head(_words(column), frame[column].dtype.kind in "if") for column in columns]
    rows = [list(map(_cell, row)) for row in frame.head(_MOST_ROWS).itertuples(index=False)]
    return ShownTable(title=_words(name).capitalize(), header=header, rows=rows, note=_with_rest("", len(frame), name), open=open_)


def _with_rest(note: str, rows: int, name: str) -> str:
    rest = f"{rows - _MOST_ROWS} more rows stand in {name}.csv." if rows > _MOST_ROWS else ""
    return f"{note} {rest}".strip()


def _words(column: str) -> str:
    for suffix, unit in (("_bytes_per_s", " (B/s)"), ("_per_s", " (per s)"), ("_bytes", " (B)"), ("_s", " (s)")):
        if column.endswith(suffix):
            return column.removesuffix(suffix).replace("_", " ") + unit
    return column.replace("_", " ")


def _cell(value: object) -> str:
    if is_missing(value):
        return MISSING
    if isinstance(value, float):
        return level_text(value) if value.is_integer() and abs(value) < 1e9 else number(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


# --- Evidence --------------------------------------------------------------------------------------------------------


def _evidence_sentences(evidence: Evidence) -> Iterator[str]:
    if evidence.counts:
        yield f"Behind these results stand {sum(evidence.counts.values())} costs of layers and machines: " + (
            ", ".join(f"{count} {grade}" for grade, count in evidence.counts.items()) + "."
        )
        yield (
            "Measured: read in the source as a measurement of this mechanism. Derived: arithmetic on measured numbers. Assumed: no "
            "measurement behind it, the range is wide on purpose. Costs are those of the profiles as they stand now."
        )
    if evidence.changed:
        yield f"Changed since this was run, so that a rerun may differ: {listed(evidence.changed, _MOST_CHANGED)}."
    elif evidence.counts:
        yield "No profile that decides what a run gives has changed since."
    for note in evidence.notes:
        yield f"Not looked up: {note}."


def _evidence_tables(evidence: Evidence) -> Iterator[ShownTable]:
    if evidence.doubts:
        title = "Assumptions that move the CPU time of a request most"
        note = "What a range means for a request: its CPU time at the high end less that at the low end."
        yield _cost_table(title, evidence.doubts, swing=True, note=note)
    if evidence.costs:
        yield _cost_table(f"All {len(evidence.costs)} costs", evidence.costs, swing=False, note="", open_=False)


def _cost_table(title: str, costs: Sequence[CostRow], *, swing: bool, note: str, open_: bool = True) -> ShownTable:
    columns = ("cost", "value", "range", *(("means",) if swing else ()), "grade", "source", "where")
    header = [Head(text, text == "value") for text in columns]
    rows = [[c.path, micro(c.value), micro(c.range), *((micro(c.swing),) if swing else ()), c.grade, c.source, c.where] for c in costs]
    return ShownTable(title=title, header=header, rows=rows, note=note, open=open_)


# --- Sensitivity -----------------------------------------------------------------------------------------------------


def _sensitivity(results: StoredResults, responses: Mapping[str, str]) -> tuple[ShownChart | None, list[str], list[ShownTable]]:
    frame = results.tables.get(SENSITIVITY)
    if frame is None:
        place = results.path / f"{SENSITIVITY}.csv"
        way = f"simvirt sensitivity SCENARIO.toml --csv {place}, then the report again"
        return None, [f"Not computed for these results. To have it here: {way}."], []
    needed = ("platform", "response", "cost", "grade", "unit", "base", "low", "value", "high", "low_change", "high_change", "told")
    missing = [column for column in needed if column not in frame.columns]
    if missing or frame.empty:
        what = f"no column {', '.join(missing)}" if missing else "no row"
        raise ResultsError([f"{results.path / SENSITIVITY}.csv: {what}; write it again with simvirt sensitivity"])
    words = responses.get(str(frame["response"].iloc[0]), str(frame["response"].iloc[0]))
    with chart_style():
        svg = render(tornado_chart(frame, words), SENSITIVITY)[f"{SENSITIVITY}.svg"].decode()
    chart = _chart(SENSITIVITY, svg)
    as_written = ("platform", "cost", "grade", "low", "value", "high")
    columns = [Head(text, text not in as_written[:3]) for text in (*as_written, "change at low", "change at high")] + [Head("told")]
    records = frame.astype(object).to_dict("records")
    rows = [[*(micro(str(row[c])) for c in as_written), _change(row, "low"), _change(row, "high"), _cell(row["told"])] for row in records]
    note = f"Change of the {words}, in pairs of replications; told: the interval of an end excludes 0."
    return chart, list(_decides(frame, words)), [ShownTable(title="The bars as numbers", header=columns, rows=rows, note=note)]


def _decides(frame: pd.DataFrame, words: str) -> Iterator[str]:
    """For each platform, the cost with the longest bar."""
    for platform, own in frame.groupby("platform", sort=False):
        first = own.iloc[0]
        if is_missing(float(first["low_change"])) or is_missing(float(first["high_change"])):
            change = "at one end of which nothing is carried any more"
        else:
            base = quantity(float(first["base"]), str(first["unit"]))
            change = f"which moves the {words} by {_change(first, 'low')} to {_change(first, 'high')} from {base}"
        yield f"On {platform} most hangs on {first['cost']} ({first['grade']}, {micro(first['low'])} to {micro(first['high'])}), {change}."


def _change(row: Any, end: str) -> str:
    value = float(row[f"{end}_change"])
    return "saturated" if is_missing(value) else f"{'+' if value > 0 else ''}{quantity(value, str(row['unit']))}"


# --- How to reproduce ------------------------------------------------------------------------------------------------


def _command(results: StoredResults) -> str:
    return shlex.join(["python", *map(str, results.manifest["command"])])


def _facts(results: StoredResults) -> Iterator[tuple[str, str]]:
    manifest = results.manifest
    points = results.tables["points"]
    yield "Seeds", ", ".join(map(str, manifest["seeds"]))
    commit = manifest["commit"]
    changed = ", with changes that are not in it" if commit and commit["dirty"] else ""
    yield "Commit", f"{commit['digest']}{changed}" if commit else "not from a checkout"
    yield "Versions", ", ".join(f"{name} {version}" for name, version in sorted(manifest["versions"].items()))
    yield "Machine that ran it", f"{manifest['host']['cores']} cores, {manifest['host']['platform']}"
    yield "Machines simulated", listed(sorted(map(str, set(points["machine"].dropna()))), 20) or MISSING
    durations = sorted(set(points["duration_s"]))
    ends = [quantity(float(end), "s") for end in (durations[0], durations[-1])]
    yield "Simulated time of a run", ends[0] if len(durations) == 1 else f"{ends[0]} to {ends[1]}"
    overridden = manifest["overridden"]
    yield "Costs set by hand", "; ".join(f"{path} = {', '.join(map(str, levels))}" for path, levels in sorted(overridden.items())) or "none"


def _profiles(results: StoredResults) -> list[ShownTable]:
    rows = [[path, str(digest)] for path, digest in sorted(results.manifest["profiles"].items())]
    header = [Head("profile"), Head("SHA-256, first 16 digits")]
    return [ShownTable(title=f"Digests of {len(rows)} profiles", header=header, rows=rows, open=False)]
