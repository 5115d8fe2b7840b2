"""`simvirt isolation`: which neighbours that misbehave break a scenario's objective on each platform, and which limit would prevent it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite, isnan
from pathlib import Path
from typing import Final

from simvirt.catalog import Catalog
from simvirt.commands.numbers import count_text
from simvirt.commands.point import read_scenario, run_all
from simvirt.commands.tables import table
from simvirt.errors import CatalogError, ScenarioError, nearest
from simvirt.experiment.runner import Point, PointOutcome
from simvirt.isolation.limits import LIMITS, Limit
from simvirt.isolation.search import Trial, judged, trials
from simvirt.scenario import Scenario, check_scenario
from simvirt.slo import Margin, Slo
from simvirt.units import format_quantity

__all__ = ["isolation"]

NO_LIMIT: Final = Limit(name="")
_CONTENDED: Final = "Stressors of caches and memory bandwidth do nothing under fluid sharing; say scheduler = \"platform\" for those."


def isolation(
    catalog: Catalog,
    path: Path,
    *,
    slo: str,
    platforms: Sequence[str],
    stressors: Sequence[str],
    intensity: float,
    replications: int | None,
    seed: int | None,
    profiles: Sequence[Path],
) -> list[str]:
    """Put each stressor beside the scenario's tenants on each platform; where the objective breaks, try each limit by itself."""
    objective = Slo.parse(slo)
    scenario = read_scenario(path, catalog, replications=replications, seed=seed)
    groups = [group.name for group in scenario.tenants]
    objective.check(groups)
    names = _chosen(stressors, _stressors(catalog), "stressor")
    places = _chosen(platforms, catalog.names("platforms"), "platform") if platforms else [scenario.platform]
    machine = scenario.machine or catalog.platform(scenario.platform).machine
    lines = [f"{scenario.name}: {objective}, beside one stressor at a time (intensity {intensity:g}) from the beginning of each run."]
    for place in places:
        moved = scenario.model_copy(update={"platform": place, "machine": machine if platforms else scenario.machine})
        check_scenario(moved, catalog)
        lines += ["", *_on_platform(moved, objective, groups, names, intensity, catalog, tuple(profiles))]
    time = scenario.run
    runs = f"{count_text(time.replications, 'replication')} of {time.duration_s:g} s, the first {time.warm_up_s:g} s not counted"
    lines += ["", f"{runs}: what takes"]
    lines.append("longer to run out (a large disk, millions of processes) is not seen. Sizes of stressors and limits are choices.")
    return [*lines, _CONTENDED] if scenario.scheduler == "fluid" else lines


def _stressors(catalog: Catalog) -> list[str]:
    return [name for name in catalog.names("workloads") if catalog.workload(name).stressor is not None]


def _chosen(wanted: Sequence[str], known: Sequence[str], word: str) -> list[str]:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise CatalogError([f"{word} {name!r} is unknown; {nearest(name, known)}" for name in unknown])
    return list(wanted or known)


def _on_platform(
    scenario: Scenario,
    slo: Slo,
    groups: Sequence[str],
    names: Sequence[str],
    intensity: float,
    catalog: Catalog,
    profiles: tuple[Path, ...],
) -> Iterator[str]:
    plain = [Trial(stressor="", limit="", scenario=scenario), *trials(scenario, names, intensity, (NO_LIMIT,), catalog)]
    alone, *found = _run(plain, profiles)
    verdict = _worst(slo, alone, groups)
    if not verdict.is_kept:
        yield f"{scenario.platform}: breaks its objective by itself ({_told(verdict)}); nothing to be blamed on neighbours."
        return
    worst = {trial.stressor: _worst(slo, outcome, groups) for trial, outcome in zip(plain[1:], found, strict=True)}
    broken = [name for name, margin in worst.items() if not margin.is_kept]
    tried = list(trials(scenario, broken, intensity, LIMITS, catalog))
    saved: dict[str, list[str]] = {name: [] for name in broken}
    for trial, outcome in zip(tried, _run(tried, profiles), strict=True):
        if _worst(slo, outcome, groups).is_kept:
            saved[trial.stressor].append(trial.limit)
    yield f"{scenario.platform}: alone {_told(verdict)}"
    rows = []
    for name, margin in worst.items():
        helps = ", ".join(saved[name]) or "none of those tried" if name in saved else ""
        rows.append((name, "breaks it" if name in saved else "kept", _told(margin), helps))
    yield from table(("stressor", "objective", "closest clause", "kept with a"), rows)


def _run(tried: Sequence[Trial], profiles: tuple[Path, ...]) -> list[PointOutcome]:
    outcomes = run_all([Point(factors={}, scenario=trial.scenario, profiles=profiles) for trial in tried]) if tried else []
    for trial, outcome in zip(tried, outcomes, strict=True):
        if outcome.failures:
            raise ScenarioError(f"beside {trial.stressor or 'nobody'}, replication {f.replication}: {f.error}" for f in outcome.failures)
    return outcomes


def _worst(slo: Slo, outcome: PointOutcome, groups: Sequence[str]) -> Margin:
    """The clause that is broken most, or kept least, in the worst replication."""
    margins = [verdict.worst for verdict in judged(slo, outcome.runs, groups)]
    return min(margins, key=lambda one: (not isnan(one.margin), one.margin))


def _told(margin: Margin) -> str:
    if isnan(margin.value):
        return f"{margin.clause.metric} of {margin.group} not known: too few requests, run longer"
    if not isfinite(margin.value):
        return f"{margin.clause.metric} of {margin.group} without bound"
    kind = margin.clause.metric
    if kind == "error rate":
        return f"{kind} of {margin.group} {100 * margin.value:.3g} %"
    return f"{kind} of {margin.group} {format_quantity(margin.value, 'rate' if kind == 'throughput' else 'time')}"
