"""How many virtual processors may share a core before throughput, tail and steal suffer, by CPU scheduler and by platform?

Equal tenants on a machine of four cores: virtual machines of two virtual processors, or, as a control, containers of equal weight. Each has
a service of 5 ms per request and a load that keeps a quarter of its two processors busy, so that each virtual processor per core adds
a quarter to the load of the machine. From one to five per core; each platform under fluid sharing, under what it has by itself, and under
what has come since.

Expected. Nothing happens to throughput until the work, with what virtualization adds to it, is more than the cores: just below four per
core. The tail grows before: with short slices as under fluid sharing, with the 30 ms of credit and the 50 ms of ESXi's quanta by a
slice for each machine that is ahead, unless who wakes up preempts. Steal is what the cores are short of, whatever the scheduler. Containers
wait on the same queues as single threads, and do better than machines by what virtualization adds.

Found. As far as the intervals tell, schedulers do not differ here, with ESXi's long quanta a little slower near saturation: requests of
5 ms are shorter than a slice, and nobody runs for long, so that who wakes up is soon served under all rules and the cores decide. Next to
a neighbour that never sleeps it is otherwise (noisy_cpu_neighbour.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simvirt.analysis.intervals import mean_interval
from simvirt.catalog import Catalog
from simvirt.experiment.capacity import capacity_per_s
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.charts import Axis, Lines, line_panels
from simvirt.reports.rows import estimates
from simvirt.reports.style import chart_style, render
from simvirt.reports.words import listed, per_cent, quantity
from simvirt.scenario import Run, Scenario

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HERE: Final = Path(__file__).resolve().parent
MACHINE: Final = "small-server"
CORES: Final = 4
VCPUS: Final = 2
SERVICE: Final = "web-service"
COMPUTE: Final = {f"{SERVICE}.page.compute.cpu_s": "5 ms"}
BUSY: Final = 0.25
"""Load of each virtual processor, on bare metal."""
RATIOS: Final = (1.0, 2.0, 3.0, 3.5, 4.0, 5.0)
"""Virtual processors per core."""
PLATFORMS: Final[Mapping[str, tuple[str, str]]] = {
    "docker": ("cfs", "eevdf"),
    "kvm": ("cfs", "eevdf"),
    "xen-hvm": ("credit", "credit2"),
    "esxi": ("esxi-shares", ""),
}
"""What each has by itself, and what has come since; guests follow CFS in both."""
LOOKS: Final = {
    "fluid": ("fluid", "#999999"),
    "own": ("its own: CFS, credit, ESXi", "#0072B2"),
    "newer": ("since: EEVDF, credit2", "#D55E00"),
}
SECONDS, QUICK_SECONDS = 14.0, 0.5
REPLICATIONS, QUICK_REPLICATIONS = 4, 2
CONFIDENCE: Final = 0.95


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    """Every ratio under every scheduler of each platform."""
    return list(_points(seed, quick))


def _override() -> dict[str, float | str]:
    return {f"{MACHINE}.cores": float(CORES), f"{MACHINE}.sockets": 1.0, **COMPUTE}


def _rate_per_s() -> float:
    """Of each tenant: its part of what bare metal carries."""
    catalog = Catalog.builtin()
    machine = {path: value for path, value in _override().items() if path not in COMPUTE}
    return BUSY * VCPUS / CORES * capacity_per_s(catalog.stack("bare-metal", MACHINE, machine), catalog.workload(SERVICE, COMPUTE))


def _points(seed: int, quick: bool) -> Iterator[Point]:
    seconds, replications = (QUICK_SECONDS, QUICK_REPLICATIONS) if quick else (SECONDS, REPLICATIONS)
    run = Run(duration_s=seconds, replications=replications, seed=seed, confidence=CONFIDENCE)
    rate_per_s = _rate_per_s()
    for platform, (own, newer) in list(PLATFORMS.items())[:: 2 if quick else 1]:
        for line, scheduler in (("fluid", "fluid"), ("own", own), ("newer", newer)):
            for ratio in RATIOS[:: 3 if quick else 1] if scheduler else ():
                tenants = {"name": "vm", "workload": SERVICE, "vcpus": VCPUS, "count": int(ratio * CORES / VCPUS)}
                tenants |= {"load": {"kind": "poisson", "rate_per_s": rate_per_s}}
                scenario = Scenario.model_validate(
                    {"name": "overcommit", "platform": platform, "machine": MACHINE, "tenants": [tenants], "run": run}
                    | {"scheduler": scheduler, "guest_scheduler": "fluid" if line == "fluid" else "cfs", "override": _override()}
                )
                factors = {"scenario": "overcommit", "platform": platform, "workload": SERVICE, "line": line, "scheduler": scheduler}
                yield Point(factors={**factors, "vcpus_per_core": ratio}, scenario=scenario)


# --- Answer ----------------------------------------------------------------------------------------------------------

KEYS: Final = ("platform", "line", "scheduler", "vcpus_per_core")


def of_all(results: Results, entities: str, metric: str, how: str) -> pd.DataFrame:
    """A metric of all tenants taken together in each replication, with its mean and interval over replications."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    runs = results.runs
    own = runs[runs["entity"].str.fullmatch(entities) & (runs["metric"] == metric)]
    each = own.groupby([*KEYS, "replication"])["value"].agg(lambda values: getattr(values, how)(skipna=False)).reset_index()
    cells = []
    for key, values in each.groupby(list(KEYS))["value"]:
        interval = mean_interval(values.tolist(), CONFIDENCE)
        cells.append((*key, metric, interval.mean, interval.mean - interval.half_width, interval.mean + interval.half_width))
    return pd.DataFrame(cells, columns=[*KEYS, "metric", "mean", "low", "high"])


TENANT: Final = r"tenant/vm \d+"
STANDS_FOR_IT: Final = r"instance/(docker|linux-guest) of vm \d+"
ANSWERS: Final[Mapping[str, tuple[str, str, str, Axis]]] = {
    "throughput_per_s": ("Throughput of all tenants", TENANT, "sum", Axis(column="mean", label="Requests per second")),
    "response_time_p99_s": (
        "99th percentile of response time, mean over tenants", TENANT, "mean",
        Axis(column="mean", label="Response time (ms)", factor=1e3, log=True),
    ),
    "steal_share": ("Steal", STANDS_FOR_IT, "mean", Axis(column="mean", label="Steal (%)", factor=1e2)),
}  # fmt: skip
RATIO: Final = Axis(column="vcpus_per_core", label="Virtual processors per core")


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """The three answers in one table."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    frames = [of_all(results, entities, metric, how) for metric, (_, entities, how, _axis) in ANSWERS.items()]
    return {"answers": pd.concat(frames, ignore_index=True)}


def charts(results: Results) -> dict[str, bytes]:
    """Every chart as SVG and PNG."""
    files: dict[str, bytes] = {}
    with chart_style():
        for metric, (title, entities, how, y) in ANSWERS.items():
            estimates = of_all(results, entities, metric, how)
            files |= render(_chart(results, estimates, f"{title} by virtual processors per core", y), metric.removesuffix("_s"))
    return files


def _chart(results: Results, estimates: pd.DataFrame, title: str, y: Axis) -> Figure:
    run = results.outcomes[0].point.scenario.run
    caption = (
        f"{SERVICE} with 5 ms of computing per request, Poisson, {_rate_per_s():.0f} /s for each tenant: a quarter of two virtual "
        f"processors. {CORES} cores ({MACHINE}); machines of {VCPUS} virtual processors, guests CFS; docker: as many containers, equal "
        "weights, whose threads no virtual processors bound, so that all of them can be stolen from. Steal: of what is wanted. "
        f"{run.replications} replications of {run.duration_s:g} s, {100 * run.confidence:g} % intervals, the same arrivals everywhere. "
        "ESXi's rules and costs are by analogy: assumed."
    )
    saturated = of_all(results, TENANT, "saturated", "mean")
    shown = [name for name in PLATFORMS if name in set(estimates["platform"])]
    return line_panels(estimates, saturated, shown, Lines(column="line", looks=LOOKS), x=RATIO, y=y, title=title, caption=caption)


LOST: Final = 0.02
"""So much less throughput per tenant is told as less."""


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """Up to where throughput grows with the number of tenants, what the tail is on the way, and how much is stolen."""
    return [sentence for name in PLATFORMS for sentence in _answer_of(found["answers"], name)] + _schedulers(found["answers"])


def _answer_of(rows: pd.DataFrame, platform: str) -> list[str]:
    """Under its own scheduler."""
    through, tail, stolen = (
        estimates(rows, "vcpus_per_core", metric=metric, platform=platform, line="own")
        for metric in ("throughput_per_s", "response_time_p99_s", "steal_share")
    )
    if len(through) < 2:
        return []
    first = min(through)
    last = max(ratio for ratio, rate in through.items() if rate / ratio > (1 - LOST) * through[first] / first)
    tails = [f"{quantity(tail[ratio], 's')} at {ratio:g}" for ratio in sorted(tail)]
    told = f"{platform} carries what it is offered up to {last:g} virtual processors per core"
    waits = f"; at {last:g}, {per_cent(stolen[last])} of the time is waited for a core" if last in stolen else ""
    return [f"{told}; the 99th percentile is {', '.join(tails) or 'not to be had'}{waits}."]


def _schedulers(rows: pd.DataFrame) -> list[str]:
    """Whether schedulers differ, as far as intervals tell, in the tail."""
    tails = rows[rows["metric"] == "response_time_p99_s"].dropna(subset=["low", "high"])
    apart = []
    for (name, ratio), mine in tails.groupby(["platform", "vcpus_per_core"]):
        if mine["low"].max() > mine["high"].min():
            apart.append(f"{name} at {ratio:g}")
    return [f"Schedulers of one platform are told apart by the 99th percentile at: {listed(apart) or 'no point'}."]


EXPERIMENT = Experiment(
    name="cpu_overcommit",
    question="How many virtual processors may share a core before throughput, tail and steal suffer, by scheduler and platform?",
    expected="throughput holds to almost four at a quarter of load each; the tail goes before, by the length of slices.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="response_time_p99",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
