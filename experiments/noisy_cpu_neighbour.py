"""What does a neighbour that computes, or uses caches and memory, without end do to a service, by CPU scheduler and by platform?

Three parts. *General*: a web service beside a batch job, each a tenant of its own with the default weight, on a machine of one core, under
four ways to share it. *Published*: memcached alone and beside a spinning antagonist on one processor of a cloud machine, three teams'
logs of the same course project (Cloud Computing Architecture, ETH Zurich, 2021 and 2024). The rows of memcached alone set its computing
and the time outside the server; what the antagonist does to throughput and response time is a prediction. *Memory*: on a machine of eight
cores a key-value store has cores to spare beside six neighbours that compute, displace it from the last-level cache, or fill the memory
bus; and in the same logs memcached runs beside antagonists of the last two kinds on the other processor of its machine.

Expected. Tenants in groups of their own, or in virtual machines, keep half of the core: the service saturates at half of what it carries
alone, whatever the scheduler, which decides who waits for how long. On bare metal every thread counts, so that a service with many takes
more. Fluid sharing at most doubles response times at low load; run queues make requests wait for ticks and slices of milliseconds, unless
who wakes up preempts. In the published case the tiny weight of the control groups scales wake-up preemption away: a request waits for a
tick at low load, for less at medium load, when the server still runs as it arrives. Neighbours that only compute, on other cores, are not
noticed. Those in cache and memory slow down containers and virtual machines alike, for no platform divides either. On the other thread of
its core an antagonist that finds its lines in the cache takes more of memcached than one that waits for memory.

Taken for the published machines (e2-standard-2, Ubuntu 18.04, supposedly Linux 5.4, for the teams of 2021; n2d-highcpu-2, Ubuntu 22.04,
supposedly Linux 5.15 to 6.5, for 2024): ticks of 250 Hz, CFS, and that the two processors are the two threads of one core, on a host with
the last-level cache and memory of m5d.metal, which nobody else uses.

Beside antagonists in memory, which run on the other thread of the core, the server is described on both, alone too: interrupts come to
the other thread, while that is idle, and slow the server down by 0.56 of their time (its computing is set with that). On one thread the
same server carries 10 % less, for interrupts take all of their time from it; compared with that, any light neighbour on the other thread
would seem to help. An idle thread that wakes up takes nothing from its sibling.

How long the antagonists pause is not known: the part of the time that each runs is fitted to one number, by how much it lowered what
4PiR2's server carried at most; the other two teams are scored. How memcached uses memory is a guess from its set-up, made with all rows in
view.

Missing. Other threads of the node: they would make the scheduler choose anew between ticks, which brings virtual runtimes together, so that
some slices last two ticks; a candidate for the longer waits that are measured past saturation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.experiment.capacity import capacity_per_s
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.layers.contract import Place
from simvirt.layers.path import plan_path
from simvirt.memory_character import MemoryCharacter
from simvirt.memory_contention import topology_of
from simvirt.reports.charts import Axis, Lines, line_panels
from simvirt.reports.predictions import PredictionPanel, prediction_chart, scores
from simvirt.reports.rows import at, estimates, validation_sentence
from simvirt.reports.style import chart_style, render
from simvirt.reports.words import listed, number, quantity
from simvirt.resources.memory_system.contention import Claim, Runner, issue_share, shares, solve
from simvirt.resources.memory_system.topology import Topology
from simvirt.scenario import Run, Scenario

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
MACHINE: Final = "small-server"
ONE_CORE: Final = {f"{MACHINE}.cores": 1.0, f"{MACHINE}.sockets": 1.0}
HOG: Final = "batch-compute"
ALONE, BESIDE, PAIR = "alone", "beside", "pair"
"""The last: alone, on both threads of a core."""
CONFIDENCE: Final = 0.95
REPLICATIONS, QUICK_REPLICATIONS = 5, 2
VICTIM: Final = "web-service"
PLATFORMS: Final = ("bare-metal", "docker", "kvm", "xen-hvm")
LOADS: Final = (0.05, 0.15, 0.25, 0.35, 0.42, 0.6)
"""Offered load, as fractions of what bare metal carries alone."""
SCHEDULERS: Final[Mapping[str, tuple[str, str]]] = {
    ALONE: ("alone", "#000000"),
    "fluid": ("beside: fluid", "#999999"),
    "cfs": ("beside: CFS", "#0072B2"),
    "eevdf": ("beside: EEVDF", "#D55E00"),
    "credit": ("beside: credit, guests CFS", "#009E73"),
}
"""Lines of a panel: text and colour."""
REQUESTS, QUICK_REQUESTS = 3000, 150

PLATFORM: Final = "docker"
MEMCACHED: Final = "memcached-get"
TEAMS: Final = {"ethcca_4pir2_2021": "4PiR2 2021", "ethcca_begeli_2021": "begeli 2021", "ethcca_lorenzo_2024": "lorenzo 2024"}
BEST_EFFORT: Final = 2 / 1024
"""cpu.shares of 2, where a control group has 1024 by default."""
TWO_PROCESSORS: Final = {"cfs.latency_s": 12.0, "cfs.min_granularity_s": 1.5, "cfs.wakeup_granularity_s": 2.0}
"""Of the machine that was measured, which double what is 6, 0.75 and 1 ms on the one processor that is simulated; ms."""
CONNECTIONS: Final = 64
"""Of the load generator: 16 threads with 4 connections, one command under way on each."""
SHARES: Final[Mapping[str, float]] = {ALONE: 1.0, BESIDE: 0.5, PAIR: 1.0}
"""Of the processor, by weight."""
SECONDS, QUICK_SECONDS = {ALONE: 0.4, BESIDE: 3.0, PAIR: 0.4, "llc": 0.4, "membw": 0.4}, 0.1
CPU_ANTAGONISTS: Final = ("cpu", "l1i")
MEMORY_ANTAGONISTS: Final = {"llc": "cache-thrasher", "membw": "bandwidth-hog"}
"""On the other processor → the workload that stands for it."""
FITTED: Final = "ethcca_4pir2_2021"
"""The team whose rows set how much of the time the antagonists in memory run."""
CLOUD_HOST: Final = "m5d-metal"
PASS_MS: Final = 1.0
"""Of an antagonist in memory, between pauses."""

STORE: Final = "key-value-store"
STORE_PLATFORMS: Final = ("docker", "kvm")
STORE_LOADS_PER_S: Final = (5e3, 15e3, 25e3, 35e3)
NEIGHBOURS: Final = 6
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    ALONE: ("alone", "#000000"),
    HOG: ("beside 6 that compute", "#999999"),
    "cache-thrasher": ("beside 6 in the cache", "#0072B2"),
    "bandwidth-hog": ("beside 6 in memory", "#D55E00"),
}
"""Lines of a panel: text and colour."""


# --- General: one machine, four platforms, four schedulers ------------------------------------------------------------


def _capacity_per_s(catalog: Catalog) -> float:
    return capacity_per_s(catalog.stack("bare-metal", MACHINE, ONE_CORE), catalog.workload(VICTIM))


def _general(catalog: Catalog, seed: int, quick: bool) -> Iterator[Point]:
    """Every platform under every scheduler that can run it, and alone, over the offered load."""
    for platform in PLATFORMS[1:3] if quick else PLATFORMS:
        for line in [line for line in SCHEDULERS if line != "credit" or catalog.platform(platform).family == "type1"]:
            for load in LOADS[::4] if quick else LOADS:
                rate_per_s = load * _capacity_per_s(catalog)
                requests, replications = (QUICK_REQUESTS, QUICK_REPLICATIONS) if quick else (REQUESTS, REPLICATIONS)
                run = Run(duration_s=requests / rate_per_s, replications=replications, seed=seed, confidence=CONFIDENCE)
                tenants = [_tenant("victim", VICTIM, _poisson(rate_per_s)), *([] if line == ALONE else [_hog()])]
                factors = {"line": line, "loop": "open", "load": load, "offered_load_per_s": rate_per_s}
                schedulers = {"scheduler": "cfs" if line == ALONE else line, "guest_scheduler": "cfs" if line == "credit" else None}
                yield _point("general", tenants, run, factors, platform=platform, override=ONE_CORE, **schedulers)


def _poisson(rate_per_s: float) -> dict[str, Any]:
    return {"kind": "poisson", "rate_per_s": rate_per_s}


def _tenant(name: str, workload: str, load: Mapping[str, Any], **other: float) -> dict[str, Any]:
    return {"name": name, "workload": workload, "load": load, **other}


def _hog(workload: str = HOG, pause_s: float = 0.0, **other: float) -> dict[str, Any]:
    """One job after the other, on one core each."""
    return _tenant("hog", workload, {"kind": "closed", "clients": 1, "think": {"kind": "constant", "value": pause_s}}, **other)


def _point(name: str, tenants: list[dict[str, Any]], run: Run, factors: Mapping[str, Any], **other: Any) -> Point:
    """One point: its scenario, and the levels of its factors."""
    scenario = Scenario.model_validate({"name": name, "machine": MACHINE, "tenants": tenants, "run": run, **other})
    names = {"scenario": name, "platform": scenario.platform, "workload": scenario.tenants[0].workload}
    return Point(factors={**names, **factors}, scenario=scenario, profiles=PROFILES)


# --- Memory: cores to spare ------------------------------------------------------------------------------------------


def _memory(seed: int, quick: bool) -> Iterator[Point]:
    """A store alone, and beside as many neighbours of each kind, all on cores of their own."""
    for platform in STORE_PLATFORMS:
        for line in KINDS:
            for rate_per_s in STORE_LOADS_PER_S[::3] if quick else STORE_LOADS_PER_S:
                requests, replications = (QUICK_REQUESTS, QUICK_REPLICATIONS) if quick else (2 * REQUESTS, REPLICATIONS)
                run = Run(duration_s=requests / rate_per_s, replications=replications, seed=seed, confidence=CONFIDENCE)
                tenants = [_tenant("victim", STORE, _poisson(rate_per_s)), *([] if line == ALONE else [_hog(line, count=NEIGHBOURS)])]
                factors = {"line": line, "loop": "open", "load": rate_per_s, "offered_load_per_s": rate_per_s}
                yield _point("memory", tenants, run, factors, platform=platform, scheduler="cfs")


# --- Published: calibration on the rows of memcached alone -------------------------------------------------------------


@cache
def measured() -> pd.DataFrame:
    """The published rows."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.read_csv(HERE / "data" / "ethcca_memcached.csv")


def alone(team: str, metric: str) -> dict[float, float]:
    """Offered load → value of the rows without an antagonist."""
    return _rows(team, "none", metric)


def _rows(team: str, antagonist: str, metric: str) -> dict[float, float]:
    """Offered load → value."""
    rows = measured()
    mine = rows[(rows["source_key"] == team) & (rows["antagonist"] == antagonist) & (rows["metric"] == metric)]
    return dict(zip(mine["offered_load_per_s"].tolist(), mine["value"].tolist(), strict=True))


def capacity_alone_per_s(team: str) -> float:
    """The most that was achieved: an upper bound of the time of a command where the sweep ends before saturation (begeli)."""
    return max(alone(team, "throughput_per_s").values())


def outside_s(team: str) -> float:
    """Time of a command outside the server: the median at the lowest load, where next to nobody queues, less the server's time."""
    medians = alone(team, "response_time_p50_s")
    return medians[min(medians)] - 1 / capacity_alone_per_s(team)


def _compute_us(catalog: Catalog, team: str, *, pair: bool = False) -> float:
    """Computing per command that makes the server saturate where it did, its system calls and packets being known.

    Every packet is an interrupt of its own: while the server computes, the card has been told of all that came before. On one processor
    interrupts take its time; on two (`pair`) they run on the other thread of the core, and slow it down.
    """
    path = plan_path(catalog.stack(PLATFORM, MACHINE, ONE_CORE), catalog.workload(MEMCACHED).demand)
    interrupts = [step for step in path.steps if step.context.place is Place.INTERRUPT]
    handled_s = sum(step.asleep.total for step in interrupts)
    known_s = path.cpu_s(0.0) + handled_s
    if pair:
        in_handlers_s = handled_s + sum(step.fixed.total for step in interrupts)
        known_s += in_handlers_s * _sibling_loss(catalog) - in_handlers_s
    profile_s = next(cost.si for name, cost in catalog.workload(MEMCACHED).evidence if name.endswith("compute.cpu_s"))
    return 1e6 * profile_s * (1 / capacity_alone_per_s(team) - known_s) / (path.cpu_s(1.0) - path.cpu_s(0.0))


def _sibling_loss(catalog: Catalog) -> float:
    """What a busy server loses per second of work of an interrupt handler on the other thread of its core, which it slows down in turn."""
    machine, victim = _topology(catalog), catalog.workload(MEMCACHED).memory
    assert victim is not None
    mine, handler = Runner(victim, victim.miss_ratio(victim.working_set_bytes), 1.0), Runner(None, 0.0, issue_share(victim, machine))
    speeds = solve({mine: 1, handler: 1}, machine).speeds
    return (1.0 - speeds[mine]) / speeds[handler]


def _topology(catalog: Catalog) -> Topology:
    """The machine of the published rows, as far as caches, memory and hyper-threads are concerned."""
    stack = catalog.stack(PLATFORM, MACHINE, {**ONE_CORE, **_two_threads(catalog)})
    return topology_of(stack.hardware)


def _two_threads(catalog: Catalog) -> dict[str, float]:
    """Overrides: a core with two threads on the cloud's host."""
    host = catalog.hardware(CLOUD_HOST).socket
    shared = {"llc_bytes": host.llc_bytes.si / 2**20, "memory_bytes_per_s": host.memory_bytes_per_s.si / 1e9}
    return {f"{MACHINE}.socket.{name}": value for name, value in {"threads_per_core": 2.0, **shared}.items()}


def _ratio(victim: MemoryCharacter, antagonist: MemoryCharacter, duty: float, machine: Topology) -> float:
    """Capacity of a busy server, relative to alone, beside an antagonist that runs a part of the time on the other thread of its core."""
    held = shares([Claim(victim, 1.0), Claim(antagonist, duty)], machine.llc_bytes)
    misses, others = victim.miss_ratio(held[0]), antagonist.miss_ratio(held[1])
    mine, free = Runner(victim, misses, issue_share(antagonist, machine)), Runner(victim, misses)
    beside = solve({mine: 1, Runner(antagonist, others, issue_share(victim, machine)): 1}, machine).speeds[mine]
    return duty * beside + (1.0 - duty) * solve({free: 1}, machine).speeds[free]


@cache
def duties() -> Mapping[str, tuple[float, float]]:
    """Per antagonist in memory: the part of the time that it runs, fitted to the capacity of one team's server, and the ratio then."""
    catalog = Catalog.builtin(*PROFILES)
    machine, victim = _topology(catalog), catalog.workload(MEMCACHED).memory
    assert victim is not None
    found = {}
    for line, workload in MEMORY_ANTAGONISTS.items():
        antagonist = catalog.workload(workload).memory
        assert antagonist is not None
        wanted = max(_rows(FITTED, line, "throughput_per_s").values()) / capacity_alone_per_s(FITTED)
        low, high = 0.01, 1.0
        for _ in range(40):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if _ratio(victim, antagonist, middle, machine) > wanted else (low, middle)
        found[line] = (high, _ratio(victim, antagonist, high, machine))
    return found


def _share(line: str) -> float:
    """What is left of the capacity."""
    return SHARES[line] if line in SHARES else duties()[line][1]


def _published(catalog: Catalog, seed: int, quick: bool) -> Iterator[Point]:
    """Each team's server, alone and beside: an open loop at each load that its share of the processor carries, one closed loop beyond.

    Past saturation the generator is a closed loop: every connection waits for its answer, and asks again after what passes outside.
    Response times are those of all commands here, and in the logs those of 1,000 of them per second, sent by connections of their own.
    """
    for team in list(TEAMS)[:1] if quick else TEAMS:
        think = {"kind": "constant", "value": outside_s(team)}
        capacity = capacity_alone_per_s(team)
        for line in (*SHARES, *MEMORY_ANTAGONISTS):
            share, workload = _share(line), MEMORY_ANTAGONISTS.get(line)
            pause_s = 0.0 if workload is None else 1e-3 * PASS_MS * (1.0 / duties()[line][0] - 1.0)
            antagonist = [_hog(weight=BEST_EFFORT)] if line == BESIDE else []
            on_both = line not in (ALONE, BESIDE)
            machine = _two_threads(catalog) if on_both else TWO_PROCESSORS
            if workload is not None:
                antagonist = [_hog(workload, pause_s, weight=BEST_EFFORT)]
                machine = {**machine, f"{workload}.pass.compute.cpu_s": PASS_MS}
            compute = {f"{MEMCACHED}.command.compute.cpu_s": _compute_us(catalog, team, pair=on_both)}
            override = {**ONE_CORE, **machine, **compute}
            seconds, replications = (QUICK_SECONDS, QUICK_REPLICATIONS) if quick else (SECONDS[line], REPLICATIONS)
            run = Run(duration_s=seconds, replications=replications, seed=seed, confidence=CONFIDENCE)
            carried = [rate for rate in alone(team, "throughput_per_s") if rate < share * capacity]
            closed = {"kind": "closed", "clients": CONNECTIONS, "think": think}
            carried = carried[:1] if line == PAIR else carried[::4] if quick else carried
            arrivals = [("open", rate, _poisson(rate)) for rate in carried]
            for loop, rate, load in [*arrivals, ("closed", max(alone(team, "throughput_per_s")), closed)]:
                tenants = [_tenant("victim", MEMCACHED, load, weight=BEST_EFFORT), *antagonist]
                factors = {"line": line, "loop": loop, "load": rate / capacity, "offered_load_per_s": rate}
                yield _point(team, tenants, run, factors, platform=PLATFORM, override=override, scheduler="cfs")


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    """All parts."""
    catalog = Catalog.builtin(*PROFILES)
    return [*_general(catalog, seed, quick), *_memory(seed, quick), *_published(catalog, seed, quick)]


# --- Answer ----------------------------------------------------------------------------------------------------------


def _victim(results: Results, metric: str) -> pd.DataFrame:
    summary = results.summary
    return summary[(summary["entity"] == "tenant/victim") & (summary["metric"] == metric)]


def predictions(results: Results) -> pd.DataFrame:
    """Measured and predicted side by side, one row per measured row that was simulated.

    Calibration are rows of the server alone, and those of antagonists in memory of the one team that sets how much of the time they run.
    """
    columns = ["scenario", "line", "loop", "offered_load_per_s", "mean", "half_width"]
    found = {
        (team, line, None if loop == "closed" else rate, metric): (mean, half_width)
        for metric in measured()["metric"].unique()
        for team, line, loop, rate, mean, half_width in _victim(results, metric)[columns].itertuples(index=False)
    }
    table = measured().rename(columns={"value": "measured"})
    pairs = table[["source_key", "antagonist"]].itertuples(index=False)
    fitted = [antagonist == "none" or (antagonist in MEMORY_ANTAGONISTS and team == FITTED) for team, antagonist in pairs]
    table["role"] = ["calibration" if fit else "validation" for fit in fitted]
    wanted = table[["source_key", "antagonist", "offered_load_per_s", "metric"]].itertuples(index=False)
    cells = [_predicted(found, *row) for row in wanted]
    alone_rows = table[["source_key", "antagonist", "offered_load_per_s", "metric"]].itertuples(index=False)
    table["predicted_on_pair"] = [
        _predicted(found, team, PAIR, load, metric)[1] if antagonist == "none" else nan for team, antagonist, load, metric in alone_rows
    ]
    table["loop"], table["predicted"], table["half_width"] = zip(*cells, strict=True)
    table["range_low"], table["range_high"] = table["predicted"] - table["half_width"], table["predicted"] + table["half_width"]
    return table.assign(error=table["predicted"] / table["measured"] - 1).dropna(subset="predicted").reset_index(drop=True)


def tables(results: Results) -> dict[str, pd.DataFrame]:
    table = predictions(results)
    in_memory = table["antagonist"].isin(list(MEMORY_ANTAGONISTS))
    return {
        "predictions": table,
        "scores": scores(table[~in_memory], ["role", "source_key", "metric"]),
        "memory_scores": scores(table[in_memory], ["role", "antagonist", "source_key", "metric"]),
        "ratios": ratios(table),
    }


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Per team and antagonist: the most that was carried, and p95 at the lowest load, relative to memcached alone; and how long it ran."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    found = []
    for (team, antagonist), mine in table[table["antagonist"] != "none"].groupby(["source_key", "antagonist"], sort=True):
        base = table[(table["source_key"] == team) & (table["antagonist"] == "none")]
        for metric, name, best in (("throughput_per_s", "capacity", "max"), ("response_time_p95_s", "p95_at_lowest_load", "min")):
            own, free = (frame[frame["metric"] == metric] for frame in (mine, base))
            if best == "min":
                lowest = own["offered_load_per_s"].min()
                own, free = (frame[frame["offered_load_per_s"] == lowest] for frame in (own, free))
            free_column = "predicted_on_pair" if antagonist in MEMORY_ANTAGONISTS else "predicted"
            measured_ratio = own["measured"].max() / free["measured"].max()
            predicted_ratio = own["predicted"].max() / free[free_column].max()
            role = "calibration" if antagonist in MEMORY_ANTAGONISTS and team == FITTED else "validation"
            duty = duties()[antagonist][0] if antagonist in MEMORY_ANTAGONISTS else 1.0
            error = predicted_ratio / measured_ratio - 1
            found.append((role, team, antagonist, duty, f"{name}_ratio", measured_ratio, predicted_ratio, error))
    columns = ["role", "source_key", "antagonist", "duty", "metric", "measured", "predicted", "error"]
    return pd.DataFrame(found, columns=columns)


def _predicted(found: Mapping[Any, tuple[float, float]], team: str, antagonist: str, load: float, metric: str) -> tuple[str, float, float]:
    """Loop, mean and half-width: from the open loop at this load, or from the closed one where the open one saturates or was not run."""
    line = {"none": ALONE, **dict.fromkeys(CPU_ANTAGONISTS, BESIDE)}.get(antagonist, antagonist)
    beyond = load >= _share(line) * capacity_alone_per_s(team)
    if not beyond and (team, line, load, metric) not in found:
        return "open", nan, nan
    carried = not beyond and not isnan(found[team, line, load, "response_time_p95_s"][0])
    mean, half_width = found.get((team, line, load if carried else None, metric), (nan, nan))
    return "open" if carried else "closed", mean + (outside_s(team) if metric.startswith("response") else 0.0), half_width


LOAD: Final = Axis(column="load", label="Offered load (%)", factor=1e2)
RESPONSE_TIME: Final = Axis(column="mean", label="Response time (ms)", factor=1e3, log=True)
STATISTICS: Final = {"mean": "Mean", "p95": "95th percentile", "p99": "99th percentile"}
PUBLISHED_CHARTS: Final = {
    "throughput_per_s": ("memcached_throughput", "Throughput", Axis(column="mean", label="Commands per second (1000/s)", factor=1e-3)),
    "response_time_p95_s": ("memcached_p95", "95th percentile", RESPONSE_TIME),
}


def charts(results: Results) -> dict[str, bytes]:
    """Every chart as SVG and PNG."""
    files: dict[str, bytes] = {}
    table = predictions(results)
    with chart_style():
        for name, title in STATISTICS.items():
            files |= render(_general_chart(results, f"response_time_{name}_s", title), f"response_time_{name}")
            files |= render(_memory_chart(results, f"response_time_{name}_s", title), f"memory_response_time_{name}")
        for metric, (name, title, y) in PUBLISHED_CHARTS.items():
            own = table[table["metric"] == metric]
            files |= render(_published_chart(own, title, y), name)
            files |= render(_published_memory_chart(own, title, y), f"{name}_memory")
    return files


def _general_chart(results: Results, metric: str, title: str) -> Figure:
    catalog, run = results.catalog, results.outcomes[0].point.scenario.run
    caption = (
        f"{VICTIM}, Poisson arrivals, beside one endless {HOG} on a machine of one core ({MACHINE}); equal weights, one vCPU each. 100 % "
        f"load is {_capacity_per_s(catalog):,.0f} requests/s, what bare metal carries alone. {run.replications} replications, "
        f"{100 * run.confidence:g} % intervals, the same arrivals and demands everywhere. Schedulers as shipped, ticks of 4 ms (credit "
        "10 ms). Platforms and schedulers are crossed to tell their parts apart: KVM's host has CFS or EEVDF, Xen has credit."
    )
    estimates, saturated = (frame[frame["scenario"] == "general"] for frame in (_victim(results, metric), _victim(results, "saturated")))
    shown = [name for name in PLATFORMS if name in set(estimates["platform"])]
    lines = Lines(column="line", looks=SCHEDULERS)
    title = f"{title} of response time beside a CPU-bound neighbour"
    return line_panels(estimates, saturated, shown, lines, x=LOAD, y=RESPONSE_TIME, title=title, caption=caption)


def _memory_chart(results: Results, metric: str, title: str) -> Figure:
    run = results.outcomes[0].point.scenario.run
    caption = (
        f"{STORE}, Poisson arrivals, one thread, on a machine of eight cores ({MACHINE}: last-level cache of 11 MiB, 68 GB/s), "
        f"beside {NEIGHBOURS} neighbours that each keep a core busy: {HOG}, cache-thrasher (random lines of 16 MiB) or bandwidth-hog "
        "(streams). CFS, in guests too. No cache is partitioned. How the workloads use memory is mostly assumed. "
        f"{run.replications} replications, {100 * run.confidence:g} % intervals, the same arrivals and demands everywhere."
    )
    estimates, saturated = (frame[frame["scenario"] == "memory"] for frame in (_victim(results, metric), _victim(results, "saturated")))
    lines, x = Lines(column="line", looks=KINDS), Axis(column="load", label="Offered load (1000 requests/s)", factor=1e-3)
    y = Axis(column="mean", label="Response time (us)", factor=1e6)
    title = f"{title} of response time beside neighbours on other cores"
    return line_panels(estimates, saturated, STORE_PLATFORMS, lines, x=x, y=y, title=title, caption=caption)


def _panels(table: pd.DataFrame, antagonists: Iterable[str], word: str = "|error| ") -> list[PredictionPanel]:
    """A panel for each team and antagonist, headed by the median absolute error."""
    panels = []
    for team in [team for team in TEAMS if team in set(table["source_key"])]:
        for antagonist in antagonists:
            mine = table[(table["source_key"] == team) & (table["antagonist"] == antagonist)]
            heading = f"{TEAMS[team]}\n{antagonist}: {word}{mine['error'].abs().median():.0%}"
            frame = mine.assign(x=mine["offered_load_per_s"] / 1e3)
            fitted = set(mine["role"]) == {"calibration"}
            panels.append(PredictionPanel(title=heading, colour=SCHEDULERS["cfs"][1], frame=frame, calibration=fitted))
    return panels


def _published_memory_chart(table: pd.DataFrame, title: str, y: Axis) -> Figure:
    """Antagonists in cache and memory."""
    scored = table[(table["role"] == "validation") & table["antagonist"].isin(list(MEMORY_ANTAGONISTS))]["error"].abs()
    runs = ", ".join(f"{line} {100 * duty:.0f} %" for line, (duty, _) in duties().items())
    about = f"{len(scored)} scored points: median absolute error {scored.median():.0%}." if len(scored) else "No point is scored."
    caption = (
        "Points: logs of three teams, memcached -t 1 on one of two processors, antagonist on the other; mcperf. The processors are taken "
        "for two threads of one core. Computing per command and time outside the server are set from the rows of memcached alone, the "
        f"part of the time that an antagonist runs ({runs}) from what the server of {TEAMS[FITTED]} carries, whose panels are no test. "
        f"Headings: median absolute error. Band: {100 * CONFIDENCE:g} % interval. Grey: ± 10 %.\n{about}"
    )
    return prediction_chart(
        _panels(table, MEMORY_ANTAGONISTS, "± "),
        title=f"{title} of memcached beside an antagonist in cache or memory",
        x_label="Offered (1000/s)",
        y_label=y.label,
        factor=y.factor,
        caption=caption,
        x_scale="linear",
        x_ticks=(10, 30, 50),
    )


def _published_chart(table: pd.DataFrame, title: str, y: Axis) -> Figure:
    """Antagonists on the same processor; both keep it busy, so that one prediction is for both."""
    scored = table[table["antagonist"].isin(CPU_ANTAGONISTS)]["error"].abs()
    caption = (
        "Points: logs of three teams, memcached -t 1 on one of two processors, antagonist on the same one, both of cpu.shares 2; mcperf. "
        "CFS, 250 Hz, latencies for two processors. Computing per command and time outside the server are set from the rows of memcached "
        "alone; begeli's never saturates: its computing is an upper bound. Open loop below half of the capacity alone, beyond it a closed "
        f"loop of {CONNECTIONS} connections. |error|: median. Band: {100 * CONFIDENCE:g} % interval. Grey: ± 10 %.\n"
        f"{len(scored)} predicted points: median absolute error {scored.median():.0%}, largest {scored.max():.0%}."
    )
    return prediction_chart(
        _panels(table, CPU_ANTAGONISTS),
        title=f"{title} of memcached beside an antagonist, predicted over measured",
        x_label="Offered (1000/s)",
        y_label=y.label,
        factor=y.factor,
        caption=caption,
        x_scale="linear",
        x_ticks=(10, 30, 50),
    )


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """What a neighbour on the same core does to the tail, what it leaves of the capacity, and how far predictions are off."""
    return [*_capacities(found["ratios"]), *_tails(found["summary"]), *validation_sentence(found)]


def _capacities(ratios: pd.DataFrame) -> list[str]:
    rows = at(ratios, role="validation", antagonist="cpu", metric="capacity_ratio")
    parts = [f"{number(row.predicted, 2)} (measured {number(row.measured, 2)})" for row in rows.itertuples()]
    return [f"A neighbour that computes on the same core leaves memcached this share of its capacity: {listed(parts)}."] if parts else []


def _tails(summary: pd.DataFrame) -> list[str]:
    """At the lowest load at which every line of every platform has a tail."""
    rows = at(summary, scenario="general", entity="tenant/victim", metric="response_time_p99_s")
    told = rows.groupby("load")["mean"].apply(lambda column: bool(column.notna().all()))
    if not told.any():
        return []
    load = float(told[told].index.max())
    parts = []
    for name in sorted(set(rows["platform"])):
        tails = estimates(rows, "line", platform=name, load=load)
        beside = ", ".join(f"{line} {quantity(tail, 's')}" for line, tail in sorted(tails.items()) if line != ALONE)
        parts.append(f"{name} {quantity(tails[ALONE], 's')} alone; beside it under {beside}")
    return [f"At {100 * load:.0f} % load the 99th percentile of a web service is on {part}." for part in parts]


EXPERIMENT = Experiment(
    name="noisy_cpu_neighbour",
    question="What does a neighbour that computes, or uses caches and memory, without end do to a service, by scheduler and platform?",
    expected="half of the capacity under every scheduler; waits for ticks unless wake-ups preempt; stalls alike in VMs and containers.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="memcached_p95",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
