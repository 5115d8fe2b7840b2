"""What happens to services when more memory is promised than there is, by the means with which the shortage is met?

Two parts. *Overcommit*: equal web services on a machine of 16 GiB, more and more of them, as containers and as virtual machines. Means of
containers: nothing (the kernel kills), swap space, a limit for each that makes them fit. Means of virtual machines: nothing, swap by the
host's kernel, by the hypervisor alone, balloon and compression before it, page sharing besides. *Leak*: a runtime that does not see the
limit of its container, beside a web service: who is killed, and who notices.

Expected. As long as all fit, nobody notices anything, and more containers than virtual machines fit: there is one kernel, and files are
cached once. Then: without swap space whole tenants are lost, and the others go on as before. With it all become slower together, the
hypervisor's swapping most, as it takes any page where a kernel takes those that were not used for longest; balloons take files that guests
have cached first, which costs reads of files instead of swapping. Limits confine the damage to those who have them. Page sharing at its
finite rate comes too late to matter in seconds. The leaking runtime is killed by its own limit in a container, by the host's choice without
one, and inside its own machine on a hypervisor; its neighbour never notices.

Missing. Start-up: everybody has filled its memory when a run begins, and what did not fit is out. Pages of the program that all share are
counted, but a request does not miss them. Processor time of faults, scanning and compression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.analysis.intervals import mean_interval
from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.charts import Axis, Lines, line_panels
from simvirt.reports.rows import estimates
from simvirt.reports.style import chart_style, render
from simvirt.reports.words import listed, per_cent, quantity
from simvirt.scenario import Run, Scenario
from simvirt.simulation import RunOutcome

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
MACHINE: Final = "small-server"
MEMORY: Final = 16.0
"""GiB of the machine."""
SERVICE: Final = "web-service"
SIZES: Final = {
    f"{MACHINE}.memory_bytes": MEMORY,
    f"{SERVICE}.footprint.resident_bytes": "1 GiB",
    f"{SERVICE}.footprint.cache_bytes": "600 MiB",
}
"""A service large enough that some ten of them are a question."""
VM: Final = "2560 MiB"
SWAP: Final = "32 GiB"
RATE_PER_S: Final = 20.0
TENANTS: Final = (4, 7, 9, 11, 14, 16)
MEANS: Final[Mapping[str, tuple[str, str]]] = {
    "none": ("none: kill", "#000000"),
    "swap": ("swap", "#0072B2"),
    "limits": ("limits and swap", "#009E73"),
    "balloon": ("balloon, compression, swap", "#D55E00"),
    "sharing": ("the same and sharing", "#CC79A7"),
}
"""Lines of a panel: text and colour."""
NO_BALLOON: Final = {"esxi.shortage.balloon_below": 0.0, "esxi.shortage.compress_below": 0.0}
SHARING: Final = {"esxi.shortage.sharing_pages_per_s": "high"}
DESIGN: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "docker": {"none": {}, "swap": {"swap": SWAP}, "limits": {"swap": SWAP}},
    "kvm": {"none": {"overcommit_memory": True}, "swap": {"overcommit_memory": True, "swap": SWAP}},
    "esxi": {
        "swap": {"overcommit_memory": True, "override": NO_BALLOON},
        "balloon": {"overcommit_memory": True},
        "sharing": {"overcommit_memory": True, "override": SHARING},
    },
}
"""Platform → means → entries of the scenario."""
SHARE_OF_LIMITS: Final = 14.0
"""GiB that the limits of all containers add up to."""
SECONDS, LEAK_SECONDS, QUICK_SECONDS = 3.0, 12.0, 0.4
REPLICATIONS, QUICK_REPLICATIONS = 3, 2
CONFIDENCE: Final = 0.95

LEAKS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "container, no limit": ("docker", {}),
    "container, limit of 1 GiB": ("docker", {"memory_max": "1 GiB"}),
    "virtual machine of 1 GiB": ("kvm", {"memory": "1 GiB"}),
}
LEAKING: Final = "java-service-unaware"
LEAK_RATE_PER_S: Final = 250.0


def _run(seconds: float, seed: int, quick: bool) -> Run:
    replications = QUICK_REPLICATIONS if quick else REPLICATIONS
    return Run(duration_s=seconds, warm_up_fraction=0.25, replications=replications, seed=seed, confidence=CONFIDENCE)


def _point(name: str, line: str, tenants: int, document: Mapping[str, Any]) -> Point:
    scenario = Scenario.model_validate({"name": name, "machine": MACHINE, **document})
    factors = {"scenario": name, "platform": scenario.platform, "workload": scenario.tenants[0].workload, "line": line, "tenants": tenants}
    return Point(factors=factors, scenario=scenario, profiles=PROFILES)


def _overcommit(seed: int, quick: bool) -> Iterator[Point]:
    for platform, means in DESIGN.items():
        for line, entries in means.items():
            for count in TENANTS[::3] if quick else TENANTS:
                tenant: dict[str, Any] = {"name": "web", "workload": SERVICE, "count": count}
                tenant["load"] = {"kind": "poisson", "rate_per_s": RATE_PER_S}
                if platform != "docker":
                    tenant["memory"] = VM
                if line == "limits":
                    tenant["memory_max"] = f"{SHARE_OF_LIMITS / count} GiB"
                run = _run(QUICK_SECONDS if quick else SECONDS, seed, quick)
                override = {**SIZES, **entries.get("override", {})}
                document = {**entries, "platform": platform, "tenants": [tenant], "run": run, "override": override}
                yield _point("overcommit", line, count, document)


def _leak(seed: int, quick: bool) -> Iterator[Point]:
    for line, (platform, entries) in LEAKS.items():
        load = {"kind": "poisson", "rate_per_s": LEAK_RATE_PER_S}
        leaking = {"name": "java", "workload": LEAKING, "load": load, **entries}
        web = {"name": "web", "workload": SERVICE, "load": {"kind": "poisson", "rate_per_s": RATE_PER_S}}
        run = _run(QUICK_SECONDS if quick else LEAK_SECONDS, seed, quick)
        override = {f"{MACHINE}.memory_bytes": 3.0, f"{LEAKING}.footprint.heap.share": 0.75}
        yield _point("leak", line, 2, {"platform": platform, "tenants": [leaking, web], "run": run, "override": override})


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    """Both parts."""
    return [*_overcommit(seed, quick), *_leak(seed, quick)]


# --- Answer ----------------------------------------------------------------------------------------------------------


def kills(results: Results) -> pd.DataFrame:
    """Everybody who was killed: who, when, why."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    columns = ["scenario", "platform", "line", "tenants", "replication", "time_s", "victim", "memory", "reason", "asked_by"]
    rows = [
        (*(outcome.point.factors[name] for name in columns[:4]), run.replication, kill.time_s, kill.victim, kill.memory, kill.reason.value,
         kill.asked_by)
        for outcome in results.outcomes
        for run in outcome.runs
        for kill in (() if run.memory is None else run.memory.kills)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def tenants_together(results: Results) -> pd.DataFrame:
    """Over all tenants of a point: mean response times of those alive, share of requests that failed, swap traffic."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = []
    for outcome in results.outcomes:
        factors = {name: outcome.point.factors[name] for name in ("scenario", "platform", "line", "tenants")}
        for metric, of in _ANSWERS.items():
            interval = mean_interval([of(run) for run in outcome.runs], CONFIDENCE)
            low, high = interval.mean - interval.half_width, interval.mean + interval.half_width
            rows.append({**factors, "metric": metric, "mean": interval.mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def _alive_quantile_s(run: RunOutcome) -> float:
    """The 95th percentile over the requests of all tenants that were there to the end."""
    merged = None
    for tenant in run.tenants:
        if not tenant.failed and tenant.histogram.count:
            merged = tenant.histogram if merged is None else merged + tenant.histogram
    return float("nan") if merged is None else float(merged.quantile(0.95))


def _failed_share(run: RunOutcome) -> float:
    arrived = sum(tenant.arrived for tenant in run.tenants)
    return sum(sum(tenant.failed.values()) for tenant in run.tenants) / arrived if arrived else 0.0


_ANSWERS: Final[Mapping[str, Callable[[RunOutcome], float]]] = {
    "response_time_p95_s": _alive_quantile_s,
    "swap_in_bytes_per_s": lambda run: 0.0 if run.memory is None else run.memory.swap_in_bytes_per_s,
    "failed_share": _failed_share,
}


def tables(results: Results) -> dict[str, pd.DataFrame]:
    return {"kills": kills(results), "tenants_together": tenants_together(results)}


TENANTS_AXIS: Final = Axis(column="tenants", label="Tenants")
CHARTS: Final = {
    "response_time_p95_s": ("response_time_p95", "95th percentile of tenants that live", ("Response time (ms)", 1e3, True)),
    "swap_in_bytes_per_s": ("swap_in", "Swapped in", ("Read from swap (MiB/s)", 2.0**-20, False)),
    "failed_share": ("failed", "Requests that fail as their tenant was killed", ("Failed (%)", 1e2, False)),
}
"""Metric → name of the chart, title, and label, factor and scale of its axis."""


def charts(results: Results) -> dict[str, bytes]:
    """Every chart as SVG and PNG."""
    files: dict[str, bytes] = {}
    table = tenants_together(results)
    with chart_style():
        for metric, (name, title, (label, factor, log)) in CHARTS.items():
            y = Axis(column="mean", label=label, factor=factor, log=log)
            files |= render(_chart(results, table, metric, title, y), name)
    return files


def _chart(results: Results, table: pd.DataFrame, metric: str, title: str, y: Axis) -> Figure:
    run = results.outcomes[0].point.scenario.run
    caption = (
        f"{SERVICE} with 1 GiB of its own and 600 MiB of cached files, {RATE_PER_S:g} requests/s each, on {MACHINE} with {MEMORY:g} GiB; "
        f"virtual machines of {VM}; swap space {SWAP}; limits add up to {SHARE_OF_LIMITS:g} GiB. All memory is filled at the start; the "
        f"first quarter of {run.duration_s:g} s is not counted. {run.replications} replications, {100 * run.confidence:g} % intervals. "
        "Footprints of workloads, what a request touches, and rates of balloon and scanner are assumed."
    )
    own = table[(table["scenario"] == "overcommit") & (table["metric"] == metric)]
    shown = [name for name in DESIGN if name in set(own["platform"])]
    lines = Lines(column="line", looks=MEANS)
    title = f"Overcommitted memory: {title.lower()}"
    figure = line_panels(own, own.head(0), shown, lines, x=TENANTS_AXIS, y=y, title=title, caption=caption)
    for axes in figure.axes:
        axes.xaxis.set_tick_params(labelbottom=True)
    for spare in figure.axes[len(shown) :]:
        spare.set_visible(False)
    return figure


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """Up to how many tenants nothing fails, and what the tail is at the most of them."""
    rows = found["tenants_together"]
    told: dict[str, list[str]] = {}
    for (name, line), mine in rows[rows["scenario"] == "overcommit"].groupby(["platform", "line"], sort=True):
        failed, tail = (estimates(mine, "tenants", metric=metric) for metric in ("failed_share", "response_time_p95_s"))
        calm = [tenants for tenants, share in failed.items() if share == 0.0]
        most = max(failed)
        lost = f", {per_cent(failed[most])} of requests fail at {most}" if failed[most] > 0 else ""
        slow = f", 95th percentile {quantity(tail[max(tail)], 's')} at {max(tail)}" if tail else ""
        told.setdefault(str(name), []).append(f"{line}: no failure up to {max(calm, default=0)} tenants{lost}{slow}")
    sentences = [f"On {name}, by what helps when memory runs short: {'; '.join(parts)}." for name, parts in told.items()]
    return sorted(sentences, key=lambda s: "fail at" not in s) + _kills(found["kills"])


def _kills(kills: pd.DataFrame) -> list[str]:
    """Who is killed when a program leaks, by scenario line."""
    leaks = kills[kills["scenario"] == "leak"]
    names = leaks["victim"].str.replace(r" \d+$", "", regex=True)
    parts = [f"{line}: {listed(sorted(set(victims)))}" for line, victims in names.groupby(leaks["line"], sort=True)]
    return [f"When a program leaks, the kernel kills in {'; in '.join(parts)}."] if parts else []


EXPERIMENT = Experiment(
    name="memory_overcommit",
    question="What happens to services when more memory is promised than there is, by the means with which the shortage is met?",
    expected="nothing while all fit; then kills that spare the others, or swapping that slows all, the hypervisor's most.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="failed",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
