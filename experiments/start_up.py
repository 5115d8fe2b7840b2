"""How long until something serves, on which platform, and what do instances that run already and others that start at once change?

Three parts. *Published*, predicted: each table's row of one start alone sets one stage of one profile; the other rows are predicted from
what is there: requests that grow with guests, locks, cores. *Beside what runs*: one start beside 0 to 1,000 instances. *At once*: 1 to
100 starts together. Nothing is cold here; `boot_storm.py` asks what the disk does.

Expected. A start is a chain: 2 ms for a process, a fifth of a second for a minimal virtual machine, half a second for a container with
its engine, ten seconds for a distribution in a virtual machine. Beside many, only those grow whose control plane looks at all that
exists: xl with the square of the guests (more requests, each of them longer), its lean successors with their number, those without a
store not at all. At once, containers queue for cores and for the kernel's network lock, virtual machines for cores, xl for its store,
whose transactions fail.

What is fitted, and on what. Figure 5 of LightVM (XenStore 5.8 and 590 ms, devices 72 and 108 ms) sets request, entry and look at devices;
that the growth divides alike between more requests and longer ones is assumed (110 requests of one start: a guess, with the rows in
view). Debian with a disk pays a script that looks through the disks of all guests: its constant is set by the creation beside 999, the
others are predicted. Lean tools take the same numbers less what they leave out. SOCK's two rates set two locks and validate nothing.

Misses. *Firecracker from process to process, 50 and 100 at once*: measured 28 and 35 % longer than alone, predicted 0 and 18 %. The start
of a configured machine on the same host grows by 5 to 11 % only, so what grows is before and after the guest's boot: making and tearing
down processes and machines. One lock of one length cannot explain it: if it were full with 50 under way, as the times say, 100 under way
would take twice as long, and they take 6 % more. *100 at once* with QEMU and with configured machines: predicted 12 and 19 % too long;
that half of a boot computes is then too much, or the script that starts them does not keep 100 under way, as the source says of smaller
hosts. *Ten at once are faster than alone* (QEMU by 8 %, the others by 3): cores of a host that does more sleep less deep; not modelled.
*gVisor beside runc under the same engine*: measured 3 to 5 % faster, predicted slower by the 90 ms that another study measured. *docker
run* (541 and 568 ms): predicted a quarter shorter; the client and the end of the container, which such times hold, are no stages. *runc
with caches dropped*: the same, and a disk that is not told. *Docker of 2017*: a third of its growth is explained by mounts that are
listed again and again; the rest is not known. *No store, beside 500*: the measured point dips below its own first one.

The second time of the desktop on VirtualBox (four processors for one) follows from half of its services being spread over them: assumed,
with the row in view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.layers.hypervisor import Hypervisor
from simvirt.reports.predictions import scores
from simvirt.reports.rows import at, estimates, validation_sentence
from simvirt.reports.style import FAMILIES, SIZE_IN, add_caption, add_title, chart_style, line_of, render
from simvirt.reports.words import brief, by_value, ends, number, per_cent
from simvirt.scenario import Run
from simvirt.simulation.starts import Starts, chain_for

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
PUBLISHED: Final = "published"
BESIDE: Final = "beside what runs"
AT_ONCE: Final = "at once"

# --- Published tables ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """One series of a published table: how it is run, and which number its baseline row sets."""

    sets: str = ""
    """Path of the number, as overrides name it."""
    starts: Mapping[str, Any] = field(default_factory=dict)
    """What differs from one start on the platform's own machine."""
    base: tuple[str, str] | None = None
    """Platform and case whose baseline row sets the number, if it is not this one's."""
    made: bool = False
    """Whether the row counts only what makes the machine, without its boot."""


TINYX: Final = {"override": {"xl-2017.start.build.size_bytes": "9.5 MB"}}


def _unikernel(layer: str, **more: Any) -> dict[str, Any]:
    return {"override": {f"{layer}.start.build.size_bytes": "0.48 MB"}, **more}


def _docker(load: bool) -> dict[str, Any]:
    return {"machine": "n1-standard-4", "workload": "web-service" if load else None}


M5D: Final = {"count": 1000}
DESKTOP: Final = {"workload": None, "machine": "i5-3470"}
SETTINGS: Final[Mapping[tuple[str, str], Setting]] = {
    ("xl-unikernel", "create"): Setting("xl-2017.start.devices.hold_s", _unikernel("xl-2017"), made=True),
    ("xl-unikernel", "total"): Setting("xl-2017.start.devices.hold_s", _unikernel("xl-2017"), base=("xl-unikernel", "create")),
    ("xl-tinyx", "create"): Setting("xl-2017.start.devices.hold_s", TINYX, made=True),
    ("xl-tinyx", "total"): Setting("xl-2017.start.devices.hold_s", TINYX, base=("xl-tinyx", "create")),
    ("xl-debian", "create"): Setting("xl-2017-disk.start.disk-script.hold_s", made=True),
    ("xl-debian", "total"): Setting("xl-2017-disk.start.disk-script.hold_s", base=("xl-debian", "create")),
    ("docker-2017", "total"): Setting("docker-2017.start.engine.cpu_s"),
    ("xl-unikernel", "daytime"): Setting("xl-2017.start.devices.hold_s", _unikernel("xl-2017"), made=True),
    ("chaos-unikernel", "daytime"): Setting("chaos-2017.start.devices.hold_s", _unikernel("chaos-2017"), made=True),
    ("chaos-split-unikernel", "daytime"): Setting("chaos-2017-split.start.devices.hold_s", _unikernel("chaos-2017-split"), made=True),
    ("noxs-unikernel", "daytime"): Setting("noxs-2017.start.devices.hold_s", _unikernel("noxs-2017"), made=True),
    ("lightvm", "daytime"): Setting("lightvm-2017.start.devices.hold_s", _unikernel("lightvm-2017"), made=True),
    ("firecracker-2020", "Firecracker (config file, total)"): Setting("firecracker-2020.start.configure.wait_s", M5D),
    ("firecracker-2020-start", "Firecracker (pre-configured)"): Setting("minimal-2020.start.minimal-kernel.wait_s", M5D),
    ("qemu-qboot-2020", "QEMU 4.2 + qboot"): Setting("qemu-qboot-2020.start.firmware.wait_s", M5D),
    ("docker", "alpine"): Setting("docker.start.engine.cpu_s", _docker(load=False)),
    ("docker", "node"): Setting("web-service.start.load.cpu_s", _docker(load=True)),
    ("docker", "ruby"): Setting("web-service.start.load.cpu_s", _docker(load=True)),
    ("gvisor-ptrace", "alpine"): Setting("docker.start.engine.cpu_s", _docker(load=False), base=("docker", "alpine")),
    ("gvisor-ptrace", "node"): Setting("web-service.start.load.cpu_s", _docker(load=True), base=("docker", "node")),
    ("gvisor-ptrace", "ruby"): Setting("web-service.start.load.cpu_s", _docker(load=True), base=("docker", "ruby")),
    ("docker", "khan"): Setting("", {"machine": "small-runner"}),
    ("docker", "empty"): Setting("", {"machine": "small-server"}),
    ("runc-direct", "runc 1.1.7"): Setting("", {"cold": True}),
    ("name-spaces", "with network name spaces"): Setting("", {"count": 600}),
    ("name-spaces", "without"): Setting("", {"count": 600, "way": "bare"}),
    ("virtualbox", "Ubuntu desktop, 1 vCPU"): Setting("linux-guest.start.services.cpu_s", DESKTOP),
    ("virtualbox", "Ubuntu desktop, 4 vCPUs"): Setting(
        "linux-guest.start.services.cpu_s", {**DESKTOP, "vcpus": 4}, base=("virtualbox", "Ubuntu desktop, 1 vCPU")
    ),
}
SECONDS: Final = {"ms": 1e-3, "s": 1.0, "1/s": 1.0}


@cache
def measured() -> pd.DataFrame:
    """The published rows, in seconds or starts per second."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = pd.read_csv(HERE / "data" / "start_up.csv", keep_default_na=False)
    rows["case"] = rows["case"].where(rows["source_key"] != "khan2026", "khan")
    return rows.assign(value=[value * SECONDS[unit] for value, unit in zip(rows["value"], rows["unit"], strict=True)])


@cache
def catalog() -> Catalog:
    return Catalog.builtin(*PROFILES)


def _alone_s(starts: Starts, *, made: bool) -> float:
    """Mean time of a start with nobody else starting: of all of it, or of what the hypervisor does."""
    chain, _ = chain_for(starts, catalog())
    steps = [step for step in chain.steps if not made or step.by == 1]
    return sum(step.alone_s(instances=starts.running, vcpus=starts.vcpus, cold=starts.cold) for step in steps)


@cache
def baseline(platform: str, case: str) -> tuple[tuple[str, float | str], ...]:
    """The number that a series' baseline row sets, as an override: all other stages as they are, this one is what is left."""
    setting = SETTINGS[platform, case]
    path = setting.sets
    if not path:
        return ()
    if setting.base is not None:
        return baseline(*setting.base)
    rows = measured()
    row = rows[(rows["platform"] == platform) & (rows["case"] == case) & (rows["role"] == "calibration") & (rows["at_once"] == 1)]
    first: Any = row[row["metric"] != "p99"].iloc[0]
    before = dict(baseline("docker", "alpine")) if (platform, case) in {("docker", "node"), ("docker", "ruby")} else {}
    starts = _starts(platform, case, int(first["running"]), 1, before)

    def alone_s(value: float) -> float:
        override = {**starts.override, path: f"{value!r} s"}
        return _alone_s(replace(starts, override=override), made=setting.made)

    base_s, slope = alone_s(0.0), alone_s(1.0) - alone_s(0.0)
    return (*before.items(), (path, f"{float(first['value'] - base_s) / slope!r} s"))


def _starts(platform: str, case: str, running: int, at_once: int, override: Mapping[str, float | str]) -> Starts:
    more = dict(SETTINGS[platform, case].starts)
    own = more.pop("override", {})
    return Starts(platform=platform, running=running, at_once=at_once, override={**own, **override}, **more)


def published(seed: int, quick: bool) -> list[Point]:
    """A point for each row that can be predicted, and for each that sets something."""
    found: dict[tuple[str, str, int, int], Point] = {}
    rows: Any = measured().itertuples(index=False)
    for row in rows:
        key = (str(row.platform), str(row.case), int(row.running), int(row.at_once))
        if key[:2] not in SETTINGS or key in found or (quick and key[2] not in (0, 1, 100)):
            continue
        starts = _starts(*key, dict(baseline(*key[:2])))
        many = starts.count > 1
        count = min(starts.count, 60) if quick else starts.count
        run = Run(replications=2 if quick else 3 if many else 20, seed=seed)
        factors: dict[str, str | float | int | None] = dict(
            zip(("scenario", "platform", "case", "running", "at_once"), (PUBLISHED, *key), strict=True)
        )
        found[key] = Point(factors=factors, scenario=replace(starts, count=count, run=run), profiles=PROFILES)
    return list(found.values())


# --- Sweeps ----------------------------------------------------------------------------------------------------------

PLATFORMS: Final = ("bare-metal", "docker", "gvisor", "firecracker", "kata", "kvm", "xen-pv", "esxi")
WORKLOAD: Final = "key-value-store"
MACHINE: Final = "server-2s"
RUNNING: Final = (0, 10, 30, 100, 300, 1000)
TOGETHER: Final = (1, 3, 10, 30, 100)


def sweeps(seed: int, quick: bool) -> list[Point]:
    found = []
    run = Run(replications=2 if quick else 5, seed=seed)
    for platform in PLATFORMS:
        for running in RUNNING[: 2 if quick else None]:
            starts = Starts(platform=platform, machine=MACHINE, workload=WORKLOAD, running=running, run=run)
            factors = {"scenario": BESIDE, "platform": platform, "case": WORKLOAD, "running": running, "at_once": 1}
            found.append(Point(factors=factors, scenario=starts, profiles=PROFILES))
        for count in TOGETHER[: 2 if quick else None]:
            starts = Starts(platform=platform, machine=MACHINE, workload=WORKLOAD, count=count, run=run)
            factors = {"scenario": AT_ONCE, "platform": platform, "case": WORKLOAD, "running": 0, "at_once": count}
            found.append(Point(factors=factors, scenario=starts, profiles=PROFILES))
    return found


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    return [*published(seed, quick), *sweeps(seed, quick)]


# --- Predictions -----------------------------------------------------------------------------------------------------

METRICS: Final = {"mean": "response_time_mean_s", "p50": "response_time_p50_s", "p99": "response_time_p99_s", "rate": "throughput_per_s"}


def predictions(results: Results) -> pd.DataFrame:
    """Measured beside predicted; rows that set a number have a role of their own, those that cannot be predicted no value."""
    rows = measured().copy()
    rows["predicted"] = [_predicted(results, row) for row in rows.itertuples(index=False)]
    rows.loc[rows["role"] == "not predicted", "predicted"] = nan
    return rows.assign(error=rows["predicted"] / rows["value"] - 1)


def _predicted(results: Results, row: Any) -> float:
    key = (str(row.platform), str(row.case))
    if key not in SETTINGS:
        return nan
    if SETTINGS[key].made:
        frame = results.time_parts
        frame = frame[_at(frame, row)]
        stack = catalog().stack(key[0])
        makers = [name for name, layer in zip(stack.names, stack.layers, strict=True) if isinstance(layer, Hypervisor)]
        return float(frame[frame["layer"].isin(makers)]["mean_s"].sum()) if len(frame) else nan
    frame = results.summary
    frame = frame[_at(frame, row) & (frame["metric"] == METRICS[row.metric])]
    return float(frame["mean"].iloc[0]) if len(frame) else nan


def _at(frame: pd.DataFrame, row: Any) -> Any:
    own = (frame["scenario"] == PUBLISHED) & (frame["platform"] == row.platform) & (frame["case"] == row.case)
    return own & (frame["running"] == row.running) & (frame["at_once"] == row.at_once)


def tails(table: pd.DataFrame) -> pd.DataFrame:
    """The 99th percentile over the median, measured and predicted, of the parallel boots."""
    keys = ["source_key", "platform", "at_once"]
    own = table[(table["role"] == "validation") & (table["source_key"] == "agache2020")].set_index(keys)
    middle, tail = own[own["metric"] == "p50"], own[own["metric"] == "p99"]
    frame = (tail[["value", "predicted"]] / middle[["value", "predicted"]]).rename(columns={"value": "measured"}).dropna().reset_index()
    return frame.assign(error=frame["predicted"] / frame["measured"] - 1).sort_values(["platform", "at_once"], ignore_index=True)


def tables(results: Results) -> dict[str, pd.DataFrame]:
    table = predictions(results)
    scored = scores(table[table["role"] == "validation"].dropna(subset=["error"]), ["source_key", "platform", "case", "metric"])
    return {"predictions": table, "scores": scored, "tails": tails(table)}


# --- Charts ----------------------------------------------------------------------------------------------------------


def charts(results: Results) -> dict[str, bytes]:
    """Every chart as SVG and PNG."""
    table = predictions(results)
    files: dict[str, bytes] = {}
    with chart_style():
        files |= render(_creations(table), "creations_beside_guests")
        files |= render(_boots(table), "parallel_boots")
        files |= render(_sweep(results), "time_to_ready")
        files |= render(_where(results), "where_the_time_went")
    return files


def _figure(title: str) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, title)
    return figure


LINES: Final = ("#0072B2", "#D55E00", "#009E73", "#B8578F", "#000000")
SERIES: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "xl, guests by size; Docker": (
        ("xl-debian", "create", "Debian, xl"),
        ("xl-tinyx", "create", "Tinyx, xl"),
        ("xl-unikernel", "create", "unikernel, xl"),
        ("docker-2017", "total", "Docker 1.13"),
    ),
    "A unikernel, by control plane": (
        ("xl-unikernel", "daytime", "xl"),
        ("chaos-unikernel", "daytime", "chaos"),
        ("chaos-split-unikernel", "daytime", "chaos, split"),
        ("noxs-unikernel", "daytime", "chaos, no store"),
        ("lightvm", "daytime", "LightVM"),
    ),
}


def _creations(table: pd.DataFrame) -> Figure:
    figure = _figure("Time to create a guest beside those that run: a store that looks at all makes it quadratic")
    grid = figure.subplots(1, 2)
    for axes, (title, series) in zip(grid, SERIES.items(), strict=True):
        for i, (platform, case, label) in enumerate(series):
            own = table[(table["platform"] == platform) & (table["case"] == case) & (table["metric"] == "mean")].sort_values("running")
            axes.plot(own["running"], own["predicted"] * 1e3, color=LINES[i], label=f"{label}, predicted", linewidth=2)
            for role, face in (("calibration", "white"), ("validation", LINES[i])):
                part = own[own["role"] == role]
                axes.plot(part["running"], part["value"] * 1e3, "o", color=LINES[i], markerfacecolor=face, markersize=7)
        axes.set_yscale("log")
        axes.set_title(title, loc="left")
        axes.set_xlabel("Guests that run already")
        axes.set_ylabel("Time (ms)")
        axes.legend(loc="upper left" if axes is grid[1] else "center right", fontsize=11)
    grid[1].set_ylim(2, 5e3)
    caption = (
        "Points: LightVM (Manco et al. 2017), figures 4 and 9, digitised; 4 cores of 3.7 GHz, images in memory. Hollow points set a "
        "number: the remaining stage beside 1 guest, for Debian also the look through all disks beside 999. Request and entry of "
        "XenStore come from figure 5. Assumed: 110 requests per creation, 30 entries per guest. Text and figure of the source disagree "
        "for Debian and Tinyx beyond 500."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


BOOTS: Final = (
    ("firecracker-2020-start", "Firecracker,\nconfigured"),
    ("firecracker-2020", "Firecracker"),
    ("qemu-qboot-2020", "QEMU + qboot"),
)


def _boots(table: pd.DataFrame) -> Figure:
    figure = _figure("Minimal virtual machines booted 10, 50 and 100 at a time on 48 cores")
    axes = figure.subplots()
    own = table[table["source_key"] == "agache2020"]
    ticks: list[tuple[float, str]] = []
    for g, (platform, name) in enumerate(BOOTS):
        for i, at_once in enumerate((1, 10, 50, 100)):
            x = g * 5 + i
            rows = own[(own["platform"] == platform) & (own["at_once"] == at_once)].set_index("metric")
            values, predicted = rows["value"].to_dict(), rows["predicted"].to_dict()
            ticks.append((x, f"{at_once}\n\n{name}" if i == 1 else str(at_once)))
            for metric, marker in (("p50", "o"), ("mean", "D"), ("p99", "^")):
                if metric in values and not (metric == "mean" and "p50" in values):
                    axes.plot([x - 0.12], [values[metric] * 1e3], marker, color="#222222", markersize=9)
                    if at_once > 1:
                        axes.plot([x + 0.12], [predicted[metric] * 1e3], marker, color="#0072B2", markersize=9)
    for label, marker in (("median", "o"), ("mean", "D"), ("99th percentile", "^")):
        axes.plot([], [], marker, color="#222222", label=f"measured, {label}", markersize=9)
        axes.plot([], [], marker, color="#0072B2", label=f"predicted, {label}", markersize=9)
    axes.set_xticks([x for x, _ in ticks], [label for _, label in ticks])
    axes.set_ylim(0, None)
    axes.set_ylabel("Time to boot (ms)")
    axes.set_xlabel("At a time")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption = (
        "Measured: Agache et al. 2020, data of m5d.metal; one at a time sets one stage of each. Assumed: half of a boot computes (33 to "
        "65 %), 0.5 ms under the lock of the kernel's list of machines. Misses: Firecracker from process to process with 50 and more; "
        "too much queueing with 100."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


def _sweep(results: Results) -> Figure:
    figure = _figure("Time until one more serves: beside those that run, and when many start at once")
    grid = figure.subplots(1, 2, sharey=True)
    for axes, scenario, factor, metric in (
        (grid[0], BESIDE, "running", "response_time_mean_s"),
        (grid[1], AT_ONCE, "at_once", "all_ready_s"),
    ):
        for i, platform in enumerate(PLATFORMS):
            _line(axes, results, scenario, platform, factor, metric, i)
        axes.set_yscale("log")
        axes.set_xscale("symlog" if factor == "running" else "log", **({"linthresh": 10} if factor == "running" else {}))
        levels = RUNNING if factor == "running" else TOGETHER
        axes.set_xlim(-1.0 if factor == "running" else 0.9, 1.2 * levels[-1])
        axes.set_xticks(levels, [f"{level:,}" for level in levels])
        axes.minorticks_off()
    grid[0].set_xlabel("Instances that run already")
    grid[1].set_xlabel("Starts at once (time until the last is ready)")
    grid[0].set_ylabel("Time (s)")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right")
    caption = (
        f"{MACHINE} (32 cores of 2.5 GHz), {WORKLOAD}, everything in memory; means of 5 replications with 95 % intervals. Instances that "
        "run take nothing but the control plane's look at them. Virtual machines boot a distribution, Firecracker and Kata a minimal "
        "Linux. ESXi is assumed throughout, as are distributions; Xen with a disk per guest, from figures of 2017."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 0.87, 0.935))
    return figure


def _line(axes: Axes, results: Results, scenario: str, platform: str, factor: str, metric: str, index: int) -> None:
    frame = results.summary
    own = frame[(frame["scenario"] == scenario) & (frame["platform"] == platform) & (frame["metric"] == metric)].sort_values(factor)
    colour = FAMILIES[results.catalog.platform(platform).family].colour
    look = line_of(index)
    axes.plot(own[factor], own["mean"], color=colour, label=platform, **look)
    axes.fill_between(own[factor], own["low"].clip(lower=1e-4), own["high"], color=colour, alpha=0.15, linewidth=0)


KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "control plane": ("store", "disk-check", "operation", "engine", "toolstack", "agent"),
    "devices and network": ("devices", "disk-script", "network", "make-machine"),
    "monitor and firmware": ("monitor", "model", "firmware", "build", "root-file-system"),
    "kernel": ("kernel", "minimal-kernel", "runtime", "sentry"),
    "services": ("services",),
    "application": ("spawn", "load"),
    "sleep": ("sleep",),
}
SHADES: Final = ("#0072B2", "#56B4E9", "#E69F00", "#009E73", "#B8578F", "#000000", "#C4C4C4")


def _where(results: Results) -> Figure:
    figure = _figure("One start, alone: where the time goes")
    grid = figure.subplots(1, 2, width_ratios=(1, 1))
    frame = results.time_parts
    frame = frame[(frame["scenario"] == BESIDE) & (frame["running"] == 0)]
    for axes, names in ((grid[0], ("bare-metal", "firecracker", "docker", "gvisor", "kata")), (grid[1], ("kvm", "xen-pv", "esxi"))):
        for i, platform in enumerate(names):
            own = frame[frame["platform"] == platform].groupby("cause")["mean_s"].sum()
            left = 0.0
            for (kind, causes), colour in zip(KINDS.items(), SHADES, strict=True):
                seconds = float(own.reindex(causes).sum())
                axes.barh(i, seconds, left=left, color=colour, label=kind if axes is grid[0] and i == 0 else None, height=0.6)
                left += seconds
            axes.text(left, i, f" {left:.3g} s", va="center", fontsize=11)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.14)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Time (s)")
    figure.legend(loc="upper center", ncols=len(KINDS), bbox_to_anchor=(0.5, 0.93), fontsize=11)
    caption = (
        f"{MACHINE}, {WORKLOAD}, everything in memory; means of 5 replications. Sleep: waits for devices and timers. Most stages of ESXi "
        "and of distributions are assumed; Firecracker, Docker, gVisor and Xen have published figures behind most of theirs."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.87))
    return figure


GREW: Final = 1.1
"""Ratio to a start beside nothing from which on a sentence tells it."""


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """One start alone, beside very many, many at once, and how far predictions are off."""
    summary = found["summary"]
    beside = at(summary, scenario=BESIDE, metric="response_time_mean_s")
    most = beside["running"].max()
    alone, crowded = (estimates(beside, "platform", running=running) for running in (0, most))
    grown = {name: crowded[name] for name in alone if name in crowded and crowded[name] > GREW * alone[name]}
    growth = "".join(f"grows from {_seconds(alone[name])} to {_seconds(after)} on {name}, and " for name, after in grown.items())
    together = at(summary, scenario=AT_ONCE, metric="all_ready_s")
    many = together["at_once"].max()
    ratios = {name: after / alone[name] for name, after in estimates(together, "platform", at_once=many).items() if name in alone}
    last = by_value(estimates(together, "platform", at_once=many), _seconds)
    return [
        f"Alone, a start is ready after {by_value(alone, _seconds)}.",
        f"Beside {most:,} that run already it {growth}grows by no more than {per_cent(GREW - 1)} on {'the others' if grown else 'all'}.",
        f"Of {many} started at once, the last is ready after {last}, which is {ends(ratios, number)} times one alone.",
        *validation_sentence(found),
    ]


def _seconds(value: float) -> str:
    return brief(value, "s")


EXPERIMENT = Experiment(
    name="start_up",
    question="How long until something serves, beside what runs already, and when many start at once?",
    expected="only control planes that look at all that exists grow with it; starts at once queue for cores, locks and stores.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="time_to_ready",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
