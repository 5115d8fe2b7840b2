"""`simvirt density`: how many tenants a host carries within a service level, on one platform or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Final

from tqdm import tqdm

from simvirt.catalog import Catalog
from simvirt.commands.compare import candidates_on, check_platforms
from simvirt.commands.numbers import count_text
from simvirt.commands.point import read_scenario
from simvirt.commands.record import check_writable
from simvirt.commands.tables import table
from simvirt.density import Crowd, Density, Limit, Question, Refusal, Trial, survey
from simvirt.errors import ResultsError, ScenarioError
from simvirt.metrics.tidy import write_bytes_atomic, write_csv_atomic
from simvirt.slo import Slo
from simvirt.units import format_quantity

__all__ = ["density", "trial_cells"]

ALL: Final = ("all",)
NOT_COUNTED: Final = (
    "Not counted as bounds: the control plane, process identifiers, open files; cache and memory bandwidth show in response times alone."
)


def density(
    catalog: Catalog,
    path: Path,
    *,
    slo: str,
    confidence: float,
    platforms: Sequence[str],
    mix: bool,
    overcommit: float,
    requests: float,
    seed: int | None,
    csv: Path | None,
    chart: Path | None,
    profiles: Sequence[Path],
) -> list[str]:
    """Search on each platform, set the answers side by side, and tell what each rests on."""
    for output in (csv, chart):
        if output is not None:
            check_writable(output)
    if chart is not None and chart.suffix not in (".svg", ".png"):
        raise ResultsError(f"{chart}: charts are .svg or .png; name the file so")
    objective = Slo.parse(slo)
    scenario = read_scenario(path, catalog, replications=None, seed=seed)
    objective.check([group.name for group in scenario.tenants])
    if tuple(platforms) != ALL:
        check_platforms(platforms, catalog)
    names = catalog.names("platforms") if tuple(platforms) == ALL else tuple(platforms) or (scenario.platform,)
    machine = scenario.machine or catalog.platform(scenario.platform).machine
    candidates = candidates_on(scenario.model_copy(update={"machine": machine}), names, catalog)
    crowds = [Crowd(moved, mix, overcommit, requests) for moved in candidates.scenarios.values()]
    questions = [Question(crowd=crowd, slo=objective, confidence=confidence, profiles=tuple(profiles)) for crowd in crowds]
    with tqdm(total=len(questions), unit="platform", leave=False, disable=None) as bar:

        def finished() -> None:
            bar.update()

        answers = dict(zip(candidates.scenarios, survey(questions, finished=finished), strict=True))
    found = {name: answer for name, answer in answers.items() if isinstance(answer, Density)}
    reasons = {**candidates.reasons, **{name: answer.problems for name, answer in answers.items() if isinstance(answer, Refusal)}}
    if not found:
        raise ScenarioError(f"platform {name}: {problem}" for name, problems in reasons.items() for problem in problems)
    if csv is not None:
        _write_csv(found, csv)
    if chart is not None:
        _draw(found, objective, scenario.name, machine, catalog, chart)
    return list(_report(found, reasons, crowds[0], objective, confidence, machine))


def _report(
    found: dict[str, Density], reasons: dict[str, tuple[str, ...]], crowd: Crowd, slo: Slo, confidence: float, machine: str
) -> Iterator[str]:
    who = " and ".join(f"{group.name!r}" for group in crowd.varied)
    how = "in proportion" if len(crowd.varied) > 1 else "alone"
    beside = f", beside {' and '.join(repr(group.name) for group in crowd.fixed)}" if crowd.fixed else ""
    yield f"{crowd.scenario.name} on machine {machine}: most tenants of {who} ({how}{beside}) with {slo}"
    yield f"Kept at a confidence of {100 * confidence:g} %, and again by independent replications. Seed {crowd.scenario.run.seed}."
    yield ""
    header = ("platform", "tenants", "gives out first", "next bound", "confirmed again", "undecided", "runs", "requests")
    rows = [_row(name, answer) for name, answer in found.items()]
    yield from table(header, rows, right=("tenants", "runs", "requests"))
    runs, requests = sum(a.runs for a in found.values()), sum(a.requests for a in found.values())
    yield f"In all {count_text(runs, 'run')} and {requests:,} simulated requests."
    for name, answer in found.items():
        yield from ("", *_details(name, answer))
    yield from ("", NOT_COUNTED)
    if reasons:
        yield from ("", "No answer:")
        yield from (f"  {name}: {reason}" for name, problems in sorted(reasons.items()) for reason in problems)


def _row(name: str, answer: Density) -> tuple[str, ...]:
    following = answer.next_limit
    after = f"{following.resource}, {_times(following, answer.tenants)}" if following is not None else "none"
    undecided = ", ".join(map(str, answer.undecided)) or "none"
    counts = (str(answer.runs), f"{answer.requests:,}")
    return (name, str(answer.tenants), answer.binding, after, _again(answer), undecided, *counts)


def _again(answer: Density) -> str:
    """What independent replications say."""
    if not answer.tenants:
        return "none fits"
    confirmed = "yes" if answer.is_confirmed else "NO"
    return f"{confirmed}, one more may do" if answer.may_be_more else confirmed


def _times(limit: Limit, tenants: int) -> str:
    if not isfinite(limit.tenants):
        return "no bound known"
    return f"at {limit.tenants:.4g}" + (f" ({100 * (limit.tenants / tenants - 1):+.0f} %)" if tenants else "")


def _details(name: str, answer: Density) -> Iterator[str]:
    yield f"{name}: {count_text(answer.tenants, 'tenant')}; {answer.reason}"
    if answer.kept_at_first > answer.tenants:
        yield f"  The search had said {answer.kept_at_first}; independent replications did not agree."
    header = ("  bound", "tenants", "margin", "why")
    yield from table(header, [_bound(limit, answer.tenants) for limit in answer.limits], right=("tenants", "margin"))
    yield ""
    columns = ("  trial", "says", "closest promise", "measured", "margin", "CPU", "replications")
    rows = [(f"  {trial.tenants}", *_said(trial)) for trial in answer.curve]
    rows += [(f"  {trial.tenants} again", *_said(trial)) for trial in answer.checks]
    yield from table(columns, rows, right=("measured", "margin", "CPU", "replications"))


def _bound(limit: Limit, tenants: int) -> tuple[str, str, str, str]:
    known = isfinite(limit.tenants)
    margin = f"{100 * (limit.tenants / tenants - 1):+.0f} %" if known and tenants else "–"
    return (f"  {limit.resource}", f"{limit.tenants:.4g}" if known else "–", margin, limit.reason)


def _said(trial: Trial) -> tuple[str, ...]:
    worst = trial.worst
    if not isfinite(worst.value):
        value = "saturated"
    elif worst.margin.clause.metric == "error rate":
        value = f"{100 * worst.value:.3g} %"
    else:
        value = format_quantity(worst.value, "rate" if worst.margin.clause.metric == "throughput" else "time")
    margin = f"{100 * worst.mean:.0f} % ({100 * worst.low:.0f} to {100 * worst.high:.0f})"
    promise = f"{worst.margin.clause.metric} of {worst.margin.group}"
    return (trial.verdict, promise, value, margin, f"{100 * trial.utilization['CPU']:.0f} %", str(trial.replications))


def trial_cells(answer: Density) -> Iterator[dict[str, object]]:
    """Every trial of an answer as a row of a table, one per promise and group."""
    for role, trials in (("search", answer.curve), ("check", answer.checks)):
        for trial in trials:
            for one in trial.standings:
                yield {
                    "platform": answer.platform,
                    "machine": answer.machine,
                    "density": answer.tenants,
                    "binding": answer.binding,
                    "role": role,
                    "tenants": trial.tenants,
                    "verdict": str(trial.verdict),
                    "promise": str(one.margin.clause),
                    "group": one.margin.group,
                    "value": one.value,
                    "margin_low": one.low,
                    "margin_mean": one.mean,
                    "margin_high": one.high,
                    **{f"{name.replace(' ', '_').lower()}_utilization": busy for name, busy in trial.utilization.items()},
                    "replications": trial.replications,
                    "requests": trial.requests,
                }


def _write_csv(found: dict[str, Density], path: Path) -> None:
    import pandas as pd  # noqa: PLC0415 - slow to import

    write_csv_atomic(pd.DataFrame([cell for answer in found.values() for cell in trial_cells(answer)]), path)


def _draw(found: dict[str, Density], slo: Slo, name: str, machine: str, catalog: Catalog, path: Path) -> None:
    from simvirt.reports.knee import Knee, knee_chart  # noqa: PLC0415 - slow to import
    from simvirt.reports.style import chart_style, render  # noqa: PLC0415 - slow to import

    knees = [
        Knee(
            name=platform,
            family=catalog.platform(platform).family,
            density=answer.tenants,
            points=tuple((t.tenants, t.worst.low, t.worst.mean, t.worst.high) for t in answer.curve),
        )
        for platform, answer in found.items()
    ]
    caption = (
        f"{name} on machine {machine}, objective: {slo}. Margin of the promise that is closest to being broken, as a share of its "
        "bound, with its interval over replications, drawn from -100 % (twice the bound, or saturated) to 100 %. "
        "Dotted: the most tenants that keep the objective, shown again by independent replications. Numbers that a full resource "
        "excludes are not simulated."
    )
    with chart_style():
        files = render(knee_chart(knees, caption=caption), path.stem)
    write_bytes_atomic(files[path.name], path)
