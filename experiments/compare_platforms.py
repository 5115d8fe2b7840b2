"""The same workloads on the same machine on every platform: how long do requests take, and where does the time go?

Expected. Containers stay within a few per cent of bare metal, whatever the load. Type-1 hypervisors add nested page walks to computing, and
wake-ups and exits to every packet: some ten per cent for a service that computes for a millisecond, a multiple for one that computes for
microseconds. Type-2 hypervisors pay for the same with system calls and context switches of a host that has users of its own, so their
penalty grows with the host's load. Sandboxes pay by system call. Emulation multiplies computing itself and saturates at a tenth of the
load that bare metal carries. What costs CPU time also lowers the load at which queues grow, so near saturation a small overhead becomes a
large slowdown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from simvirt.catalog import Catalog
from simvirt.evidence import Grade
from simvirt.experiment.capacity import capacity_per_s
from simvirt.experiment.command import run_command
from simvirt.experiment.grades import count_grades, doubts
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.charts import Axis, Platforms, family_panels, load_steps, slowdown_table, time_stacks
from simvirt.reports.rows import at, estimates
from simvirt.reports.style import FAMILIES, chart_style, render
from simvirt.reports.words import listed, number
from simvirt.scenario import Run, Scenario, Tenants

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

BASELINE = "bare-metal"
MACHINE = "small-server"
VCPUS = 8
WORKLOAD = "web-service"
LOADS = (0.05, 0.2, 0.4, 0.6, 0.75, 0.85, 0.95, 1.25)
"""Offered load, as fractions of what bare metal can carry."""
MODERATE = 0.4
HOST_LOADS: Mapping[str, tuple[int, str] | None] = {"none": None, "light": (8, "80 ms"), "heavy": (8, "2 ms")}
"""Users of the host itself: clients and mean time to think between bursts."""
HALF = 0.5

REQUESTS = {"load": 1600, "workload": 1500, "host": 3000}
"""Requests offered in a replication, warm-up included, by part of the design."""
HIGH_LOAD, LONGER = 0.8, 4
"""From this load on runs are so many times longer: a queue that grows slowly must have time to show it."""
QUICK_REQUESTS = 60
REPLICATIONS = 5


def points(catalog: Catalog, seed: int, quick: bool) -> list[Point]:
    """Three designs: the sweep of loads; every workload at half of bare metal's capacity; users of the host beside the tenant."""
    platforms = _one_per_family(catalog) if quick else _platforms(catalog)
    workloads = (WORKLOAD, "key-value-store") if quick else [w for w in catalog.names("workloads") if not catalog.workload(w).aggressor]
    families = {name: catalog.platform(name).family for name in platforms}
    hosted = [name for name in platforms if families[name] in ("native", "type2")]
    capacity = {name: capacity_per_s(catalog.stack(BASELINE, MACHINE), catalog.workload(name)) for name in (*workloads, WORKLOAD)}

    def point(design: str, platform: str, workload: str, load: float, *, host_load: str | None = None) -> Point:
        rate_per_s = load * capacity[workload]
        requests = QUICK_REQUESTS if quick else REQUESTS[design] * (LONGER if load >= HIGH_LOAD else 1)
        run = Run(duration_s=requests / rate_per_s, replications=2 if quick else REPLICATIONS, seed=seed)
        tenants = (_tenant(workload, rate_per_s), *_host_users(host_load))
        scenario = Scenario(name=design, platform=platform, machine=MACHINE, tenants=tenants, run=run)
        names = {"scenario": design, "platform": platform, "workload": workload, "host_load": host_load}
        return Point(factors={**names, "offered_load_per_s": rate_per_s, "load": load}, scenario=scenario)

    sweep = [point("load", p, WORKLOAD, load) for p in platforms for load in (LOADS[::4] if quick else LOADS)]
    kinds = [point("workload", p, w, HALF) for p in platforms for w in workloads]
    return sweep + kinds + [point("host", p, WORKLOAD, MODERATE, host_load=level) for p in hosted for level in HOST_LOADS]


def _platforms(catalog: Catalog) -> list[str]:
    return [name for name in catalog.names("platforms") if catalog.platform(name).surveyed]


def _one_per_family(catalog: Catalog) -> list[str]:
    first = {catalog.platform(name).family: name for name in reversed(_platforms(catalog))}
    return sorted({*first.values(), BASELINE})


def _tenant(workload: str, rate_per_s: float) -> Tenants:
    load = {"kind": "poisson", "rate_per_s": rate_per_s}
    return Tenants.model_validate({"name": "tenant", "workload": workload, "vcpus": VCPUS, "load": load})


def _host_users(level: str | None) -> list[Tenants]:
    users = HOST_LOADS.get(level) if level else None
    if users is None:
        return []
    clients, think = users
    load = {"kind": "closed", "clients": clients, "think": {"kind": "exponential", "mean": think}}
    return [Tenants.model_validate({"name": "host users", "workload": "desktop-user", "on": "host", "threads": 0, "load": load})]


# --- Charts ----------------------------------------------------------------------------------------------------------

LOAD = Axis(column="load", label="Offered load (%)", factor=1e2)
SLOWDOWN = Axis(column="mean", label="Slowdown (ratio)", log=True, floor=0.9)
THROUGHPUT = Axis(column="mean", label="Throughput (1000/s)", factor=1e-3)
UTILIZATION = Axis(column="mean", label="Busy cores (%)", factor=1e2)
RESPONSE_TIME = Axis(column="mean", label="Response time (ms)", factor=1e3, log=True)
OVER_LOAD = {
    "throughput_vs_load": ("Throughput over offered load", "throughput_per_s", THROUGHPUT),
    "utilization_vs_load": ("Utilization of the machine's cores over offered load", "cpu_utilization", UTILIZATION),
    "slowdown_vs_bare_metal": ("Slowdown of the mean response time against bare metal", "slowdown", SLOWDOWN),
}
RESPONSE = {
    "response_time_mean": "Mean response time",
    "response_time_p50": "Median response time",
    "response_time_p95": "95th percentile of response time",
    "response_time_p99": "99th percentile of response time",
}


def charts(results: Results) -> dict[str, bytes]:
    """Every chart as SVG and PNG."""
    files: dict[str, bytes] = {}
    with chart_style():
        for name, figure in _figures(results).items():
            files |= render(figure, name)
    return files


def _figures(results: Results) -> dict[str, Figure]:
    catalog, summary = results.catalog, results.summary
    names = sorted(set(summary["platform"]))
    platforms = Platforms(families={name: catalog.platform(name).family for name in names}, baseline=BASELINE)
    notes = _Notes(results, names)
    load, workload, host = (summary[summary["scenario"] == design] for design in ("load", "workload", "host"))
    sweep = notes.about("load", f"Workload {WORKLOAD}")
    responses = {f"{name}_vs_load": (f"{title} over offered load", f"{name}_s", RESPONSE_TIME) for name, title in RESPONSE.items()}
    figures = {}
    for name, (title, metric, y) in {**responses, **OVER_LOAD}.items():
        estimates = _pick(load, metric, "cpu" if metric.startswith("cpu") else "tenant/tenant")
        figures[name] = family_panels(estimates, _saturated(load), platforms, x=LOAD, y=y, title=title, caption=sweep)
    figures["where_the_time_went"] = _time_chart(results.time_parts, platforms, sweep)
    figures["slowdown_by_workload"] = slowdown_table(
        _pick(workload, "slowdown"),
        _saturated(workload),
        platforms,
        column="workload",
        title="Slowdown of each workload at half of the load that bare metal can carry",
        caption=notes.about("workload", "Each workload"),
    )
    figures["type2_under_host_load"] = _host_chart(host, platforms, notes.about("host", f"Workload {WORKLOAD}"))
    return figures


def _pick(summary: pd.DataFrame, metric: str, entity: str = "tenant/tenant") -> pd.DataFrame:
    return summary[(summary["metric"] == metric) & (summary["entity"] == entity)]


def _saturated(summary: pd.DataFrame) -> pd.DataFrame:
    return _pick(summary, "saturated")


def _time_chart(parts: pd.DataFrame, platforms: Platforms, note: str) -> Figure:
    """At the moderate load; platforms that do not carry it, at the highest that they carry."""
    own = parts[(parts["scenario"] == "load") & (parts["tenant"] == "tenant")]
    loads = own.groupby("platform")["load"].agg(lambda column: max(load for load in column if load <= MODERATE))
    panels = []
    for load in sorted(set(loads), reverse=True):
        at = own[(own["load"] == load) & own["platform"].map(loads == load)]
        only = "" if load == max(loads) else ", the most of this sweep that it carries"
        panels.append((f"At {100 * load:.0f} % of bare metal's capacity{only}", at))
    return time_stacks(panels, platforms, "Where the time went, besides the application's own computing", note)


def _host_chart(host: pd.DataFrame, platforms: Platforms, note: str) -> Figure:
    names = set(host["platform"])
    shown = Platforms(families={n: f for n, f in platforms.families.items() if n in names}, baseline=BASELINE)
    panels = (
        ("Mean response time", _pick(host, "response_time_mean_s"), replace(RESPONSE_TIME, log=False)),
        ("Slowdown against bare metal with the same users", _pick(host, "slowdown"), replace(SLOWDOWN, log=False)),
    )
    users = {level: level if users is None else f"{level}\n{users[0]} users, think {users[1]}" for level, users in HOST_LOADS.items()}
    title = f"Type-2 hypervisors at {MODERATE:.0%} of bare metal's capacity on a host with users of its own"
    return load_steps(panels, _saturated(host), shown, column="host_load", levels=users, title=title, caption=note)


class _Notes:
    """What stands under the charts: machine, workload, replications, and how well the costs behind them are known."""

    def __init__(self, results: Results, names: Sequence[str]) -> None:
        stacks = [results.catalog.stack(name, MACHINE) for name in names]
        grades = count_grades(stacks)
        worst = doubts(stacks, results.catalog.workload(WORKLOAD).demand)
        by_field = {doubt.path.partition(".")[2]: doubt for doubt in reversed(worst)}
        offenders = sorted(by_field.values(), key=lambda doubt: -doubt.swing_s)[:3]
        counted = ", ".join(f"{grades[grade]} {grade}" for grade in Grade)
        swings = ", ".join(f"{doubt.path} (± {doubt.swing_s * 5e5:,.0f} µs)" for doubt in offenders)
        self._evidence = f"Costs behind it: {counted}. Assumptions that move the CPU time of a web request most: {swings}."
        self._run = {o.point.scenario.name: o.point.scenario.run for o in results.outcomes}
        self._capacity_per_s = capacity_per_s(results.catalog.stack(BASELINE, MACHINE), results.catalog.workload(WORKLOAD))

    def about(self, design: str, workload: str) -> str:
        run = self._run[design]
        where = f"{workload} on {MACHINE} ({VCPUS} cores), one tenant with {VCPUS} vCPUs, Poisson arrivals"
        how = f"{run.replications} replications, {100 * run.confidence:g} % intervals, the same arrivals and demands everywhere"
        scale = "" if design == "workload" else f" 100 % load is {self._capacity_per_s:,.0f} requests/s, what bare metal can carry."
        return f"{where}; {how}.{scale}\n{self._evidence}"


# --- Answer ----------------------------------------------------------------------------------------------------------


def answer(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Slowdowns by family at the moderate load, who carries how much, and what users of the host do."""
    summary = tables["summary"]
    load = at(summary, scenario="load", entity="tenant/tenant")
    return [*_by_family(load), *_carried(load), *_beside_users(at(summary, scenario="host", entity="tenant/tenant"))]


def _by_family(load: pd.DataFrame) -> list[str]:
    levels = sorted(set(load["load"]))
    moderate = min(levels, key=lambda level: abs(level - MODERATE))
    slow = estimates(load, "platform", metric="slowdown", load=moderate)
    widths = estimates(load, "platform", "half_width", metric="slowdown", load=moderate)
    catalog = Catalog.builtin()
    parts = []
    for family, look in FAMILIES.items():
        mine = sorted(mean for name, mean in slow.items() if name != BASELINE and catalog.platform(name).family == family)
        if mine:
            ends = dict.fromkeys(f"{mean:.2f}" for mean in (mine[0], mine[-1]))
            parts.append(f"{' to '.join(ends)} in {look.title[0].lower()}{look.title[1:]}")
    missing = sorted(set(load["platform"]) - slow.keys())
    width = f" (half-widths of the intervals at most {number(max(widths.values()), 2)})" if widths else ""
    rest = f"; {listed(missing)} cannot carry that load" if missing else ""
    told = f"{', '.join(parts)}{width}{rest}"
    return [f"At {100 * moderate:.0f} % of bare metal's capacity a web request takes, as a multiple of bare metal: {told}."]


def _carried(load: pd.DataFrame) -> list[str]:
    """The highest load of the sweep at which no replication was saturated."""
    full = at(load, metric="saturated")
    calm = full[full["mean"] == 0.0].groupby("platform")["load"].max()
    by_level: dict[float, list[str]] = {}
    for name in sorted(set(full["platform"])):
        by_level.setdefault(float(calm.get(name, 0.0)), []).append(name)
    parts = [f"{100 * level:.0f} % by {listed(names, 20)}" for level, names in sorted(by_level.items()) if level > 0]
    return [f"The highest load of the sweep that is carried without a queue that grows: {'; '.join(parts)}."] if parts else []


def _beside_users(host: pd.DataFrame) -> list[str]:
    names = sorted(set(host["platform"]) - {BASELINE})
    told = []
    for name in names:
        means = estimates(host, "host_load", metric="slowdown", platform=name)
        if {"none", "heavy"} <= means.keys():
            told.append(f"{name} {number(means['none'])} alone and {number(means['heavy'])} beside heavy users")
    return [f"On a host with users of its own, against bare metal with the same users: {listed(told)}."] if told else []


EXPERIMENT = Experiment(
    name="compare_platforms",
    question="The same workloads on the same machine on every platform: how long do requests take, and where does the time go?",
    expected="containers a few per cent, type 1 some ten, type 2 more with users on the host, sandboxes by system call, emulation tenfold.",
    points=points,
    charts=charts,
    baseline=BASELINE,
    answer=answer,
    chart="where_the_time_went",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
