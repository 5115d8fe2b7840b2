"""Which single limit on a neighbour that misbehaves saves the others, by kind of misbehaviour and by platform?

A service that takes something of every table beside one stressor at a time, in containers of one kernel and in virtual machines. First no
limit is set, then one at a time: a cap on the processors, a limit of memory, of processes, of open files, of disk space, of inodes, of
watches, a throttle of the disk, weights at the disk.

Expected. In containers each table is saved by the limit of just that table and by nothing else; what computes is harmless without a limit
wherever groups share the processors; a disk hog is met by a throttle or by weights. In virtual machines nothing needs a limit but the disk.
Nothing here saves anybody from floods of the network: no platform limits them by itself, and no limit of the network is modelled.

Missing. Limits that slow a stressor down before it hurts (a cap on the processors makes a leak slower, not smaller) look like a cure in
a short run: `holds_s` says how long this one was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point, PointOutcome
from simvirt.experiment.study import Experiment, Results
from simvirt.isolation.disturbance import Disturbance, PhasedOutcome
from simvirt.isolation.effect import Effect, effect_on
from simvirt.isolation.limits import LIMITS, Limit
from simvirt.isolation.search import STRESSOR, trials
from simvirt.reports.heat_map import Cell, HeatMap, heat_maps
from simvirt.reports.rows import at
from simvirt.reports.style import chart_style, render
from simvirt.reports.words import listed, number, per_cent
from simvirt.scenario import Run, Scenario

if TYPE_CHECKING:
    import pandas as pd

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
MACHINE: Final = "small-server-sata"
PLATFORMS: Final = ("docker", "kvm")
SERVICE: Final = "service"
NO_LIMIT: Final = Limit(name="")
ALONE, UNLIMITED = "alone", "no limit"
SIZES: Final = {f"{MACHINE}.cores": 4.0, f"{MACHINE}.memory_bytes": 8.0}
TABLES: Final = {
    "tables.processes.capacity": 32768.0,
    "tables.disk_space.capacity_bytes": 20.0,
    "tables.inodes.capacity": 200_000.0,
    "network.tracked_connections": 65_536.0,
}
"""Sizes of a kernel's tables without what a distribution raises them to, and of a small file system."""
BEFORE_S, SETTLE_S, WINDOW_S, STEP_S = 0.5, 5.0, 2.0, 0.5
QUICK_SETTLE_S, QUICK_WINDOW_S = 0.3, 0.3
SAVED_LOSS, SAVED_RESPONSE = 0.05, 1.5
"""Loss of throughput, and mean response time over the undisturbed one, up to which a service counts as saved."""


def _scenario(platform: str, catalog: Catalog, seed: int, quick: bool) -> Scenario:
    layers = catalog.platform(platform).layers
    kernels = [name for name in layers if catalog.layer(name).kind == "operating-system"]
    machines = any(catalog.layer(name).provides_processors for name in layers)
    tenant: dict[str, Any] = {"name": SERVICE, "workload": "forking-service", "vcpus": 2, "load": {"kind": "poisson", "rate_per_s": 150.0}}
    if machines:
        tenant["memory"] = "2 GiB"
    settle_s, window_s = (QUICK_SETTLE_S, QUICK_WINDOW_S) if quick else (SETTLE_S, WINDOW_S)
    run = Run(duration_s=BEFORE_S + settle_s + window_s + STEP_S, warm_up_fraction=0.0, replications=1, seed=seed)
    override = {**SIZES, **{f"{name}.{path}": size for name in kernels for path, size in TABLES.items()}}
    document = {"platform": platform, "machine": MACHINE, "tenants": [tenant], "run": run, "override": override}
    return Scenario.model_validate({"name": "limits", **document})


def _disturbed(scenario: Scenario) -> Disturbance:
    """The stressor begins early on and ends one step before the run does."""
    stop_s = scenario.run.duration_s - STEP_S
    stressors = [group.model_copy(update={"start": BEFORE_S, "stop": stop_s}) for group in scenario.stressors]
    window_s = QUICK_WINDOW_S if stop_s < BEFORE_S + SETTLE_S else WINDOW_S
    described = scenario.model_copy(update={"stressors": tuple(stressors)})
    return Disturbance(scenario=described, start_s=stop_s - window_s, stop_s=stop_s, step_s=STEP_S)


def stressors_of(catalog: Catalog) -> list[str]:
    """Every stressor that there is but those whose mark is on caches, which fluid sharing does not see."""
    names = [name for name in catalog.names("workloads") if catalog.workload(name).stressor is not None]
    return [name for name in names if catalog.workload(name).memory is None]


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    """Each platform alone, then beside each stressor without a limit and with each limit that the platform has."""
    catalog = Catalog.builtin(*PROFILES)
    found: list[Point] = []
    for platform in PLATFORMS[:1] if quick else PLATFORMS:
        scenario = _scenario(platform, catalog, seed, quick)
        names = ["descriptor-leak", "fork-bomb"] if quick else stressors_of(catalog)
        limits = (NO_LIMIT, *(LIMITS[2:4] if quick else LIMITS))
        found.append(_point(platform, ALONE, UNLIMITED, scenario))
        found += [_point(platform, t.stressor, t.limit or UNLIMITED, t.scenario) for t in trials(scenario, names, 1.0, limits, catalog)]
    return found


def _point(platform: str, stressor: str, limit: str, scenario: Scenario) -> Point:
    factors = {"platform": platform, "stressor": stressor, "limit": limit}
    return Point(factors=factors, scenario=_disturbed(scenario), profiles=PROFILES)


# --- Answer ----------------------------------------------------------------------------------------------------------


def _phased(outcome: PointOutcome) -> list[PhasedOutcome]:
    return [run for run in outcome.runs if isinstance(run, PhasedOutcome)]


def _mean_s(runs: list[PhasedOutcome]) -> float:
    times = [tenant.histogram for run in runs for tenant in run.of_group(SERVICE) if tenant.histogram.count]
    count = sum(one.count for one in times)
    return sum(one.mean_s * one.count for one in times) / count if count else inf


def effects(results: Results) -> Iterator[tuple[PointOutcome, Effect, float]]:
    """Each disturbed point, what the service suffered, and its mean response time over the undisturbed one."""
    alone = {str(one.point.factors["platform"]): one for one in results.outcomes if one.point.factors["stressor"] == ALONE}
    for outcome in results.outcomes:
        if outcome.point.factors["stressor"] != ALONE:
            mine, theirs = _phased(outcome), _phased(alone[str(outcome.point.factors["platform"])])
            yield outcome, effect_on(SERVICE, mine, theirs, STEP_S), _mean_s(mine) / _mean_s(theirs)


def is_saved(effect: Effect, slower: float) -> bool:
    """Whether the service works as without the stressor, or nearly so."""
    return effect.throughput_loss <= SAVED_LOSS and slower <= SAVED_RESPONSE


def saved(results: Results) -> pd.DataFrame:
    """One row for each platform, stressor and limit."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = [
        {
            **outcome.point.factors,
            "throughput_loss": effect.throughput_loss,
            "response_time_ratio": slower,
            "why": effect.reasons[0] if effect.reasons else "",
            "is_saved": is_saved(effect, slower),
            "holds_s": outcome.point.scenario.run.duration_s,
            "stressor_turns": sum(tenant.completed for run in outcome.runs for tenant in run.of_group(STRESSOR)),
        }
        for outcome, effect, slower in effects(results)
    ]
    return pd.DataFrame(rows)


def tables(results: Results) -> dict[str, pd.DataFrame]:
    return {"answer": saved(results)}


def charts(results: Results) -> dict[str, bytes]:
    """One panel for each platform: stressors by limits."""
    found: dict[tuple[str, str, str], Cell] = {}
    for outcome, effect, slower in effects(results):
        platform, stressor, limit = (str(outcome.point.factors[name]) for name in ("platform", "stressor", "limit"))
        found[platform, stressor, limit] = _cell(effect, slower)
    rows = list(dict.fromkeys(key[1] for key in found))
    columns = [UNLIMITED, *(limit.name for limit in LIMITS if any(key[2] == limit.name for key in found))]
    panels = [
        HeatMap(title=platform, rows=rows, columns=columns, cells={(r, c): cell for (p, r, c), cell in found.items() if p == platform})
        for platform in dict.fromkeys(key[0] for key in found)
    ]
    caption = (
        "A service that makes a process for each request, 150 requests/s, beside one stressor; no limit, then one at a time on it. "
        f"A frame marks what is not saved: more than {100 * SAVED_LOSS:.0f} % of the throughput lost (the number), or a mean response "
        f"time above {SAVED_RESPONSE:g} times the undisturbed one (×). Empty: the platform has no such limit. 4 cores, 8 GiB, SATA drive; "
        "per kernel 32,768 processes, 20 GiB of disk, 200,000 inodes, 65,536 connections. Sizes of limits and stressors are choices."
    )
    title = "Which limit saves the others"
    with chart_style():
        return render(heat_maps(panels, title=title, caption=caption, across=1, bar="loss of throughput"), "which_limit")


def _cell(effect: Effect, slower: float) -> Cell:
    marked = not is_saved(effect, slower)
    if not effect.responded:
        return Cell(text="DNR", level=1.0, is_marked=marked)
    loss = f"{100 * effect.throughput_loss:.0f} %" if effect.throughput_loss >= 0.01 else "0"
    return Cell(text=f"{loss}, ×{slower:.2g}" if slower >= 1.05 else loss, level=effect.throughput_loss, is_marked=marked)


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """By platform: which stressors hurt without a limit, which single limits save the service from each, and which none does."""
    return [_platform_sentence(str(platform), own) for platform, own in found["answer"].groupby("platform", sort=False)]


def _platform_sentence(platform: str, rows: pd.DataFrame) -> str:
    bare = at(rows, limit=UNLIMITED)
    hurt = bare[~bare["is_saved"].astype(bool)]
    cures: dict[str, list[str]] = {}
    for row in hurt.to_dict("records"):
        own = rows[(rows["stressor"] == row["stressor"]) & (rows["limit"] != UNLIMITED) & rows["is_saved"].astype(bool)]
        lost, slower = row["throughput_loss"], row["response_time_ratio"]
        what = f"{per_cent(lost)} lost" if lost > SAVED_LOSS else f"answers take {number(slower)} times as long"
        cures.setdefault(" or ".join(own["limit"]) or "no single limit", []).append(f"{row['stressor']} ({what})")
    told = "; ".join(f"{cure} saves it from {listed(names)}" for cure, names in cures.items())
    return f"On {platform}, {len(hurt)} of {len(bare)} stressors hurt a service without limits{f': {told}' if told else ''}."


EXPERIMENT = Experiment(
    name="which_limits_matter",
    question="Which single limit on a neighbour that misbehaves saves the others, by kind of misbehaviour and by platform?",
    expected="in containers the limit of just the table or resource that runs out; in virtual machines only the disk needs one.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="which_limit",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
