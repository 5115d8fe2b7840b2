"""`simvirt sensitivity`: which cost's range decides what a scenario answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simvirt.analysis.intervals import Interval, mean_interval
from simvirt.analysis.sensitivity import Bar, Indices, Range, Samples, sobol, tornado
from simvirt.catalog import Catalog
from simvirt.commands.compare import on_platform
from simvirt.commands.group import groups_of
from simvirt.commands.numbers import interval_text
from simvirt.commands.point import read_scenario, run_all
from simvirt.commands.tables import table
from simvirt.errors import CatalogError, ResultsError, ScenarioError, StackError, nearest
from simvirt.evidence import dimension_of_unit
from simvirt.experiment.runner import Point, PointOutcome
from simvirt.experiment.screening import Candidate, at_end, candidates
from simvirt.metrics.tidy import write_bytes_atomic, write_csv_atomic
from simvirt.randomness import Streams
from simvirt.reports.words import quantity
from simvirt.scenario import Run, Scenario
from simvirt.units import DIMENSIONS, format_quantity

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RESPONSES", "sensitivity"]

RESPONSES: Final[Mapping[str, tuple[str, str, str]]] = {
    "mean": ("response_time_mean_s", "s", "mean response time"),
    "p50": ("response_time_p50_s", "s", "median response time"),
    "p95": ("response_time_p95_s", "s", "95th percentile of response time"),
    "p99": ("response_time_p99_s", "s", "99th percentile of response time"),
    "throughput": ("throughput_per_s", "1/s", "throughput"),
    "cpu": ("cpu_s_per_request", "s", "CPU time per request"),
}
"""Word on the command line → metric, its unit, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The bars of one platform."""

    platform: str
    screened: int
    """Costs with a range that a request feels."""
    base: Interval
    bars: list[Bar]
    candidates: Mapping[str, Candidate]
    indices: list[Indices]


def sensitivity(
    catalog: Catalog,
    path: Path,
    *,
    response: str,
    top: int,
    platforms: Sequence[str],
    tenant: str | None,
    samples: int,
    replications: int | None,
    seed: int | None,
    csv: Path | None,
    chart: Path | None,
    profiles: Sequence[Path],
) -> list[str]:
    """Run the scenario with each of the weightiest costs at the low and at the high end of its range; tell, draw and write what it does."""
    _check_options(chart, samples)
    scenario = read_scenario(path, catalog, replications=replications, seed=seed)
    names = [group.name for group in scenario.tenants]
    if tenant is not None and tenant not in names:
        raise ScenarioError([f"--tenant {tenant}: no such group of tenants in {path}; {nearest(tenant, names)}"])
    place = names.index(tenant) if tenant is not None else 0
    moved = _moved(scenario, platforms, catalog)
    found = [_of_one(one, catalog, RESPONSES[response][0], place, top, samples, profiles) for one in moved]
    frame = _frame(scenario, names[place], response, found)
    if csv is not None:
        write_csv_atomic(frame, csv)
    if chart is not None:
        write_bytes_atomic(_drawn(frame, chart.suffix), chart)
    return list(_told(scenario, names[place], response, found, csv, chart))


def _check_options(chart: Path | None, samples: int) -> None:
    problems = []
    if chart is not None and chart.suffix not in (".svg", ".png"):
        problems.append(f"--chart {chart}: the name of a chart ends in .svg or .png")
    if samples & (samples - 1):
        problems.append(f"--sobol {samples}: a power of two, such as {2 ** samples.bit_length()}")
    if problems:
        raise ResultsError(problems)


def _moved(scenario: Scenario, platforms: Sequence[str], catalog: Catalog) -> list[Scenario]:
    """The scenario on each platform, or on its own; every platform that cannot run it is told."""
    if not platforms:
        return [scenario]
    machine = scenario.machine or catalog.platform(scenario.platform).machine
    found, problems = [], []
    for name in dict.fromkeys(platforms):
        try:
            found.append(on_platform(scenario.model_copy(update={"machine": machine}), name, catalog))
        except (CatalogError, ScenarioError, StackError) as error:
            problems += [f"--platforms {name}: {problem}" for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    return found


def _of_one(scenario: Scenario, catalog: Catalog, metric: str, place: int, top: int, samples: int, profiles: Sequence[Path]) -> _Found:
    screened = candidates(scenario, catalog)
    if not screened:
        raise ScenarioError([f"{scenario.platform}: no cost of this scenario has a range that a request feels; nothing can be varied"])
    chosen = {one.path: one for one in screened[:top]}
    varied = [at_end(scenario, name, end) for name in chosen for end in ("low", "high")]
    points = [_point(one, i, profiles) for i, one in enumerate([scenario, *varied])]
    values = [_values(outcome, place, metric) for outcome in run_all(points)]
    ends = {name: (values[1 + 2 * i], values[2 + 2 * i]) for i, name in enumerate(chosen)}
    confidence = scenario.run.confidence
    bars = tornado(values[0], ends, confidence)
    indices = _sobol(scenario, [chosen[bar.name] for bar in bars], metric, place, samples, profiles) if samples else []
    base = mean_interval(values[0], confidence)
    return _Found(platform=scenario.platform, screened=len(screened), base=base, bars=bars, candidates=chosen, indices=indices)


def _point(scenario: Scenario, index: int, profiles: Sequence[Path]) -> Point:
    return Point(factors={"platform": scenario.platform, "point": index}, scenario=scenario, profiles=tuple(profiles))


def _values(outcome: PointOutcome, place: int, metric: str) -> list[float]:
    if outcome.failures:
        raise ResultsError([f"{outcome.point.scenario.platform}, replication {f.replication}: {f.error}" for f in outcome.failures])
    return groups_of(outcome)[place].values(metric)


_MOST_TOGETHER: Final = 6
"""Costs that vary together: each asks for as many runs again."""


def _sobol(
    scenario: Scenario, ranked: Sequence[Candidate], metric: str, place: int, samples: int, profiles: Sequence[Path]
) -> list[Indices]:
    """Indices of the longest bars, one run for each point, all with the same random numbers."""
    ranges = [Range(name=one.path, low=one.cost.low, high=one.cost.high) for one in ranked[:_MOST_TOGETHER]]
    once = scenario.model_copy(update={"run": Run.model_validate({**scenario.run.model_dump(), "replications": 1})})

    def respond(rows: Samples) -> list[float]:
        overrides = [{r.name: float(x) for r, x in zip(ranges, row, strict=True)} for row in rows]
        drawn = [once.model_copy(update={"override": {**once.override, **own}}) for own in overrides]
        return [_values(outcome, place, metric)[0] for outcome in run_all([_point(one, i, profiles) for i, one in enumerate(drawn)])]

    try:
        return sobol(ranges, respond, samples, Streams(scenario.run.seed).stream("sobol"))
    except ValueError as error:
        raise ScenarioError([f"--sobol: {error}"]) from None


# --- What is told ----------------------------------------------------------------------------------------------------


def _frame(scenario: Scenario, tenant: str, response: str, found: Sequence[_Found]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - slow to import

    _, unit, _ = RESPONSES[response]
    run = scenario.run
    cells: list[dict[str, object]] = []
    for one in found:
        total = {indices.name: indices for indices in one.indices}
        for bar in one.bars:
            cost = one.candidates[bar.name].cost
            indices = total.get(bar.name)
            what = {"scenario": scenario.name, "platform": one.platform, "tenant": tenant, "response": response, "unit": unit}
            evidence = {"cost": bar.name, "grade": str(cost.grade), "source": cost.source, **_ends(one.candidates[bar.name])}
            ends = (("low", bar.at_low), ("high", bar.at_high))
            changes = {f"{end}_{part}": getattr(interval, name) for end, interval in ends for part, name in _PARTS}
            shares = {"sobol_first": indices.first if indices else None, "sobol_total": indices.total if indices else None}
            how = {"screened": one.screened, "replications": run.replications, "confidence": run.confidence, "seed": run.seed}
            row: dict[str, object] = {"base": one.base.mean, "told": bar.is_told}
            for part in (what, evidence, changes, shares, how):
                row.update(part)
            cells.append(row)
    return pd.DataFrame(cells)[list(_COLUMNS)]


_PARTS: Final = (("change", "mean"), ("change_low", "low"), ("change_high", "high"))


_COLUMNS: Final = (
    *("scenario", "platform", "tenant", "response", "unit", "cost", "grade", "source", "low", "value", "high", "base"),
    *(f"{end}_{part}" for end in ("low", "high") for part, _ in _PARTS),
    *("told", "sobol_first", "sobol_total", "screened", "replications", "confidence", "seed"),
)
"""Of the table, in this order."""


def _ends(one: Candidate) -> dict[str, str]:
    dimension = dimension_of_unit(one.cost.unit)
    assert dimension is not None
    factor = DIMENSIONS[dimension][one.cost.unit]
    return {name: format_quantity(getattr(one.cost, name) * factor, dimension) for name in ("low", "value", "high")}


def _told(scenario: Scenario, tenant: str, response: str, found: Sequence[_Found], csv: Path | None, chart: Path | None) -> Iterator[str]:
    _, unit, words = RESPONSES[response]
    run = scenario.run
    for one in found:
        base = interval_text(one.base, "time" if unit == "s" else "rate")
        yield f"{scenario.name} on {one.platform}, tenant {tenant}: {words} {base if not isnan(one.base.mean) else 'none, saturated'}"
        most = f"the {len(one.bars)} weightiest at both ends, {run.replications} replications"
        yield f"A request feels {one.screened} costs with a range; {most}:"
        header = ("cost", "grade", "low", "value", "high", "at low", "at high", "told")
        yield from table(header, (_cells(bar, one.candidates[bar.name], unit) for bar in one.bars), right=header[2:-1])
        if one.indices:
            yield "Varied together, evenly over their ranges; shares of the variance of the response:"
            cells = ((i.name, f"{i.first:.2f}", f"{i.total:.2f}") for i in one.indices)
            yield from table(("cost", "first order", "total"), cells, right=("first order", "total"))
        yield ""
    interval = f"a {100 * run.confidence:g} % interval excludes 0"
    yield f"Changes are against the response at the values of all costs, in pairs of replications; told: {interval}."
    yield from (f"Written: {place}" for place in (csv, chart) if place is not None)


def _cells(bar: Bar, one: Candidate, unit: str) -> tuple[str, ...]:
    changes = (_change(bar.at_low, unit), _change(bar.at_high, unit))
    return bar.name, str(one.cost.grade), *_ends(one).values(), *changes, "yes" if bar.is_told else "no"


def _change(end: Interval, unit: str) -> str:
    return "saturated" if isnan(end.mean) else f"{'+' if end.mean > 0 else ''}{quantity(end.mean, unit)}"


def _drawn(frame: pd.DataFrame, suffix: str) -> bytes:
    from simvirt.reports.style import chart_style, render  # noqa: PLC0415 - slow to import
    from simvirt.reports.tornado import tornado_chart  # noqa: PLC0415 - slow to import

    with chart_style():
        return render(tornado_chart(frame, RESPONSES[str(frame["response"].iloc[0])][2]), "tornado")[f"tornado{suffix}"]
