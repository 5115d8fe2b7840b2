"""`simvirt compare`: the same tenants under the same arrivals and demands on several platforms, and how much slower each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Final

from simvirt.analysis.comparison import common_numbers_gain, paired_ratio
from simvirt.catalog import Catalog
from simvirt.commands.group import Group, groups_of
from simvirt.commands.numbers import UNKNOWN, count_text, gain_text, interval_text
from simvirt.commands.point import read_scenario, run_all
from simvirt.commands.run import RESPONSE_TIMES, saturation
from simvirt.commands.tables import table
from simvirt.errors import CatalogError, ScenarioError, StackError, nearest
from simvirt.experiment.runner import Point, PointOutcome
from simvirt.layers.contract import costs_of
from simvirt.scenario import Scenario, check_scenario

__all__ = ["Candidates", "candidates_on", "check_platforms", "compare", "native_platform", "on_platform"]

BASELINE_FAMILY: Final = "native"
"""The first platform of this family is the baseline unless another is named."""

_MEAN: Final = "response_time_mean_s"


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which platforms can run a scenario, and why the others cannot."""

    scenarios: dict[str, Scenario]
    reasons: dict[str, tuple[str, ...]]


def compare(
    catalog: Catalog,
    path: Path,
    *,
    platforms: Sequence[str],
    baseline: str | None,
    replications: int | None,
    seed: int | None,
    profiles: Sequence[Path],
) -> list[str]:
    """Run a scenario on each platform (if none is named, those that surveys include) on one machine, and set the results side by side."""
    scenario = read_scenario(path, catalog, replications=replications, seed=seed)
    check_platforms((*platforms, *([baseline] if baseline else [])), catalog)
    machine = scenario.machine or catalog.platform(scenario.platform).machine
    scenario = scenario.model_copy(update={"machine": machine})
    reference = baseline or native_platform(catalog)
    names = tuple(platforms) or tuple(name for name in catalog.names("platforms") if catalog.platform(name).surveyed)
    candidates = candidates_on(scenario, (*([reference] if reference else []), *names), catalog)
    if baseline in candidates.reasons:
        raise ScenarioError(f"baseline {baseline}: {problem}" for problem in candidates.reasons[baseline])
    if reference not in candidates.scenarios:
        reference = next(iter(candidates.scenarios))
    places = candidates.scenarios.items()
    points = [Point(factors={"platform": name}, scenario=moved, profiles=tuple(profiles)) for name, moved in places]
    outcomes = dict(zip(candidates.scenarios, run_all(points), strict=True))
    for name, outcome in outcomes.items():
        if outcome.failures:
            candidates.reasons[name] = tuple(f"replication {f.replication}: {f.error}" for f in outcome.failures)
    return list(_report(scenario, reference, outcomes, candidates.reasons))


def check_platforms(names: Sequence[str], catalog: Catalog) -> None:
    """Raise CatalogError for names of platforms that there are not."""
    known = catalog.names("platforms")
    unknown = [f"platform {name!r} is unknown; {nearest(name, known)}" for name in dict.fromkeys(names) if name not in known]
    if unknown:
        raise CatalogError(unknown)


def candidates_on(scenario: Scenario, platforms: Sequence[str], catalog: Catalog) -> Candidates:
    """The scenario moved to each platform that can run it. Raises ScenarioError if none can."""
    found = Candidates({}, {})
    for name in dict.fromkeys(platforms):
        try:
            found.scenarios[name] = on_platform(scenario, name, catalog)
        except (CatalogError, ScenarioError, StackError) as error:
            found.reasons[name] = error.problems
    if not found.scenarios:
        raise ScenarioError(f"platform {name}: {problem}" for name, problems in found.reasons.items() for problem in problems)
    return found


def on_platform(scenario: Scenario, platform: str, catalog: Catalog) -> Scenario:
    """The scenario on another platform, with those costs set by hand that occur there. Raises why it cannot be run."""
    stack = catalog.stack(platform, scenario.machine)
    known = {f"{layer.name}.{field}" for layer in stack.layers for field, _ in costs_of(layer)}
    elsewhere = scenario.layer_overrides(catalog).keys() - known
    unused = {f"{name}." for name in catalog.names("schedulers")} - {f"{name}." for name in scenario.schedulers_on(stack).values()}
    override = {p: wanted for p, wanted in scenario.override.items() if p not in elsewhere and not p.startswith(tuple(unused))}
    moved = scenario.model_copy(update={"platform": platform, "override": override})
    check_scenario(moved, catalog)
    return moved


def native_platform(catalog: Catalog) -> str | None:
    return next((name for name in catalog.names("platforms") if catalog.platform(name).family == BASELINE_FAMILY), None)


def _report(scenario: Scenario, reference: str, outcomes: dict[str, PointOutcome], reasons: dict[str, tuple[str, ...]]) -> Iterator[str]:
    time = scenario.run
    runs = f"{count_text(time.replications, 'replication')} of {time.duration_s:g} s"
    yield f"{scenario.name} on machine {scenario.machine}: {runs}, seed {time.seed}"
    told = {name: groups_of(outcome) for name, outcome in outcomes.items() if not outcome.failures}
    for i in range(len(scenario.tenants)):
        yield from ("", *_group_table({name: groups[i] for name, groups in told.items()}, reference))
    yield "Slowdown: ratio of mean response times to those of the baseline, paired by replication."
    yield f"± is half a {100 * time.confidence:g} % confidence interval over replications." if time.replications > 1 else (
        "One replication has no interval; ask for more with --replications."
    )
    yield from gain_text([*_gains(told, reference)])
    for name, groups in told.items():
        yield from (f"{name}: {saturation(group, outcomes[name])}" for group in groups if group.saturated_runs)
    if reasons:
        yield from ("", "Not run:")
        yield from (f"  {name}: {reason}" for name, problems in sorted(reasons.items()) for reason in problems)


def _gains(told: Mapping[str, Sequence[Group]], reference: str) -> Iterator[float]:
    """What common random numbers saved in the difference of mean response times of each platform and group to those of the baseline."""
    for name, groups in told.items():
        pairs = zip(groups, told.get(reference, ()), strict=False)
        yield from (common_numbers_gain(a.values(_MEAN), b.values(_MEAN)) for a, b in pairs if name != reference)


def _group_table(by_platform: dict[str, Group], reference: str) -> list[str]:
    [label] = {group.label for group in by_platform.values()}
    header = (label, *RESPONSE_TIMES, "throughput", "slowdown")
    base = by_platform.get(reference)
    rows = [
        (f"{name} (baseline)" if name == reference else name, *_response_times(group), _throughput(group), _slowdown(group, base))
        for name, group in by_platform.items()
    ]
    return table(header, rows, right=header[1:])


def _response_times(group: Group) -> Iterator[str]:
    for metric in RESPONSE_TIMES.values():
        yield "saturated" if group.saturated_runs else interval_text(group.interval(metric), "time")


def _throughput(group: Group) -> str:
    return interval_text(group.interval("throughput_per_s"), "rate")


def _slowdown(group: Group, base: Group | None) -> str:
    if group.saturated_runs:
        return "saturated"
    if base is None or base.saturated_runs:
        return UNKNOWN
    own, others = group.values("response_time_mean_s"), base.values("response_time_mean_s")
    if any(map(isnan, others)):
        return UNKNOWN
    return interval_text(paired_ratio(own, others, group.interval("throughput_per_s").confidence), "number")
