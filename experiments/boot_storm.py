"""After a power failure, how long until all tenants serve again, and what holds them up: disk, processors or the control plane?

All tenants of a host begin at the same instant, with nothing in memory. By platform and number of tenants; for virtual machines and
containers by the kind of disk, and with the files of all in one copy that the host keeps in memory. How long the host itself takes to
come up is told apart: it is the same for one tenant or hundreds. *Desktops*: what they read while they boot is set by published input,
150 requests a second for a pooled one and 400 to 450 for a personal one (Citrix CTX135986); 60 to 70 % of them are reads, all are taken
as such.

Expected. Processes wait for cores, and are back in seconds. Containers read the files of their image once, then wait for cores and for
the network's lock. Each virtual machine reads its own system: on a moving disk that is all there is to see, on a fast one processors.
Sharing what is read changes the disk and nothing else. Where the control plane is the bottleneck (xl with its store), no disk helps.
Desktops ask for more requests than a moving disk has as soon as there are two of them.

Assumed: what distributions read and compute while they boot, in wide ranges; reads of a round are sent as one, first come first served.
Not modelled: what the layers charge for a read, writes during the boot, memory that runs short, operators who start tenants in groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.rows import at, estimates
from simvirt.reports.style import FAMILIES, SIZE_IN, add_caption, add_title, chart_style, line_of, render
from simvirt.reports.words import brief, by_value, listed, per_cent
from simvirt.scenario import Run
from simvirt.simulation.starts import Starts, chain_for

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
WORKLOAD: Final = "web-service"
STORM: Final = "tenants"
DISKS: Final = "disks"
DESKTOPS: Final = "desktops"
PLATFORMS: Final = ("bare-metal", "docker", "gvisor", "firecracker", "kata", "kvm", "esxi", "hyper-v", "docker-in-kvm")
STORES: Final = ("xen-pv",)
"""Platforms whose control plane has transactions: many starts at once make most of them fail, so only some are begun together."""
COUNTS: Final = (1, 10, 30, 100, 300)
PRECISE: Final = 30
"""Up to so many starts there are more replications."""
STORE_COUNTS: Final = (1, 10, 30, 100)
MACHINE: Final = "server-2s"
FEW: Final = 100
SMALL: Final[Mapping[str, str]] = {"small-server-hdd": "moving disk", "small-server-sata": "SATA flash", "small-server": "NVMe flash"}
SHARING: Final[Mapping[str, bool]] = {"own files": False, "one copy": True}
DESKTOP_MACHINE: Final = "small-server-hdd"
DESKTOP_COUNTS: Final = (1, 2, 5, 10, 20, 50)
BOOT_S: Final = 27.0
"""How long a desktop boots alone with four processors (VirtualBox, a stopwatch): reads = requests per second * this."""
DESKTOP_KINDS: Final[Mapping[str, float]] = {"pooled (150/s)": 150.0, "personal (425/s)": 425.0}


def _point(scenario: str, case: str, starts: Starts) -> Point:
    factors: dict[str, str | float | int | None] = {"scenario": scenario, "platform": starts.platform, "case": case}
    factors |= {"machine_type": starts.machine, "count": starts.count}
    return Point(factors=factors, scenario=starts, profiles=PROFILES)


@cache
def desktop_cpu_s(machine: str) -> float:
    """Computing of a desktop's services with which it boots in 27 s alone, on four processors and with its files in memory."""
    catalog = Catalog.builtin(*PROFILES)
    path = "linux-guest.start.services.cpu_s"
    starts = [Starts(platform="kvm", machine=machine, vcpus=4, override={path: value}) for value in (0.0, 1.0)]
    base_s, with_one_s = (chain_for(one, catalog)[0].alone_s(vcpus=4) for one in starts)
    return (BOOT_S - base_s) / (with_one_s - base_s)


def desktop(count: int, requests_per_s: float, machine: str, run: Run, *, shares: bool = False) -> Starts:
    """Desktops: their services make so many requests of 16 KiB in a boot that takes 27 s alone."""
    reads = requests_per_s * BOOT_S
    override: dict[str, float | str] = {
        "linux-guest.start.services.reads": reads,
        "linux-guest.start.services.size_bytes": f"{reads * 16:.0f} KiB",
        "linux-guest.start.services.cpu_s": desktop_cpu_s(machine),
    }
    return Starts(platform="kvm", machine=machine, count=count, cold=True, vcpus=4, override=override, shares_files=shares, run=run)


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    def run(count: int) -> Run:
        """Few starts vary more, and take less computing."""
        return Run(replications=2 if quick else 10 if count <= PRECISE else 3, seed=seed)

    found = []
    for platform in (*PLATFORMS, *STORES):
        counts = STORE_COUNTS if platform in STORES else COUNTS
        for count in counts[: 2 if quick else None]:
            starts = Starts(platform=platform, machine=MACHINE, workload=WORKLOAD, count=count, cold=True, run=run(count))
            found.append(_point(STORM, "own files", starts))
    for platform in ("docker", "kvm"):
        for machine in SMALL:
            for case, shares in SHARING.items():
                count = 4 if quick else FEW
                starts = Starts(
                    platform=platform, machine=machine, workload=WORKLOAD, count=count, cold=True, shares_files=shares, run=run(count)
                )  # fmt: skip
                found.append(_point(DISKS, case, starts))
    for case, requests_per_s in DESKTOP_KINDS.items():
        for count in DESKTOP_COUNTS[: 2 if quick else None]:
            found.append(_point(DESKTOPS, case, desktop(count, requests_per_s, DESKTOP_MACHINE, run(count))))
            found.append(_point(DESKTOPS, case, desktop(count, requests_per_s, "small-server", run(count))))
    return found


# --- Tables ----------------------------------------------------------------------------------------------------------

KINDS: Final[Mapping[str, str]] = {
    "own work": "#009E73",
    "sleep": "#C4C4C4",
    "disk": "#0072B2",
    "wait for disk": "#9CC9EA",
    "wait for processors": "#E69F00",
    "wait for locks": "#B8578F",
    "wait for the control plane": "#D55E00",
}


def kind_of(cause: str) -> str:
    """What a cause of a start's time is, for the eye."""
    if cause == "sleep":
        return "sleep"
    if cause in ("read", "wait for disk"):
        return "disk" if cause == "read" else cause
    if cause == "wait for processor":
        return "wait for processors"
    if cause.startswith("wait for lock"):
        return "wait for locks"
    return "wait for the control plane" if cause.startswith("wait for") else "own work"


def hold_ups(results: Results) -> pd.DataFrame:
    """Mean time of a start by kind, per point."""
    frame = results.time_parts
    keys = ["scenario", "platform", "case", "machine_type", "count"]
    return frame.assign(kind=frame["cause"].map(kind_of)).groupby([*keys, "kind"])["mean_s"].sum().reset_index()


def hosts(results: Results) -> pd.DataFrame:
    """How long the host itself takes to be there, alone: from power on to the layer that all tenants share."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = []
    for platform in (*PLATFORMS, *STORES):
        chain, shared_level = chain_for(Starts(platform=platform, machine=MACHINE, level=0), results.catalog)
        rows.append((platform, chain.upto(shared_level).alone_s(cold=True)))
    return pd.DataFrame(rows, columns=["platform", "host_ready_s"])


def tables(results: Results) -> dict[str, pd.DataFrame]:
    return {"hold_ups": hold_ups(results), "hosts": hosts(results)}


# --- Charts ----------------------------------------------------------------------------------------------------------


def charts(results: Results) -> dict[str, bytes]:
    """Every chart as SVG and PNG."""
    files: dict[str, bytes] = {}
    with chart_style():
        files |= render(_until(results), "until_all_serve")
        files |= render(_why(results), "what_holds_them_up")
        files |= render(_disks(results), "disks_and_sharing")
        files |= render(_desktops(results), "desktops")
    return files


def _figure(title: str) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, title)
    return figure


def _of(results: Results, scenario: str, metric: str) -> pd.DataFrame:
    frame = results.summary
    return frame[(frame["scenario"] == scenario) & (frame["metric"] == metric)]


def _until(results: Results) -> Figure:
    figure = _figure("All tenants of a host start at once, nothing in memory: time until the last one serves")
    axes = figure.subplots()
    frame = _of(results, STORM, "all_ready_s")
    for i, platform in enumerate((*PLATFORMS, *STORES)):
        own = frame[frame["platform"] == platform].sort_values("count")
        colour = FAMILIES[results.catalog.platform(platform).family].colour
        axes.plot(own["count"], own["mean"], color=colour, label=platform, **line_of(i))
        axes.fill_between(own["count"], own["low"].clip(lower=0.1), own["high"], color=colour, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(COUNTS, [f"{count:,}" for count in COUNTS])
    axes.minorticks_off()
    axes.set_xlabel("Tenants")
    axes.set_ylabel("Time (s)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption = (
        f"{MACHINE}: 32 cores of 2.5 GHz, NVMe; {WORKLOAD}; one virtual machine or container per tenant, one vCPU; from the instant at "
        "which the host is there. Means of 10 replications (3 beyond 30 starts) with 95 % intervals. Xen with a disk per guest and xl; "
        "its transactions fail when many start at once. What distributions read and compute is assumed, as are the control planes of "
        "ESXi and Hyper-V."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


def _stacked(axes: Any, rows: list[tuple[str, pd.DataFrame]]) -> None:
    for i, (_, own) in enumerate(rows):
        left, parts = 0.0, own.set_index("kind")["mean_s"]
        for kind, colour in KINDS.items():
            seconds = float(parts.get(kind, 0.0))
            axes.barh(i, seconds, left=left, color=colour, height=0.65, label=kind if i == 0 else None)
            left += seconds
        axes.text(left, i, f" {left:,.0f} s" if left >= 100 else f" {left:.3g} s", va="center", fontsize=11)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Mean time until a tenant serves (s)")


def _why(results: Results) -> Figure:
    frame = hold_ups(results)
    frame = frame[frame["scenario"] == STORM]
    most = min(FEW, int(frame["count"].max()))
    figure = _figure(f"{most} tenants at once: what a tenant waits for")
    axes = figure.subplots()
    rows = [(p, frame[(frame["platform"] == p) & (frame["count"] == most)]) for p in (*PLATFORMS, *STORES)]
    _stacked(axes, rows)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption = (
        f"{MACHINE}, {WORKLOAD}, nothing in memory, one vCPU each; means over tenants and 3 replications. Own work holds what a retried "
        "transaction does again."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


def _disks(results: Results) -> Figure:
    frame = hold_ups(results)
    frame = frame[frame["scenario"] == DISKS]
    figure = _figure(f"{int(frame['count'].max())} tenants at once on a small server: the disk, and one copy of what is read")
    grid = figure.subplots(1, 2)
    for axes, platform in zip(grid, ("docker", "kvm"), strict=True):
        rows = [
            (f"{disk},\n{case}", frame[(frame["platform"] == platform) & (frame["machine_type"] == machine) & (frame["case"] == case)])
            for machine, disk in SMALL.items()
            for case in SHARING
        ]
        _stacked(axes, rows)
        axes.set_title("Containers (docker)" if platform == "docker" else "Virtual machines (kvm)", loc="left")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(KINDS), bbox_to_anchor=(0.5, 0.93), fontsize=11)
    caption = (
        f"8 cores of 2.5 GHz, {WORKLOAD}. One copy: the host keeps in memory what virtual machines read of one image; containers of one "
        "image share their kernel's page cache anyway. Means over tenants and 3 replications."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.88))
    return figure


def _desktops(results: Results) -> Figure:
    figure = _figure("Desktops that boot at once: what they ask of the disk, and how long it takes")
    grid = figure.subplots(1, 2)
    colours = {DESKTOP_MACHINE: "#D55E00", "small-server": "#0072B2"}
    shown = (("disk_reads_per_s", "Requests served (1/s)"), ("all_ready_s", "Until the last is ready (s)"))
    for axes, (metric, label) in zip(grid, shown, strict=True):
        frame = _of(results, DESKTOPS, metric)
        for i, case in enumerate(DESKTOP_KINDS):
            for machine, colour in colours.items():
                own = frame[(frame["case"] == case) & (frame["machine_type"] == machine)].sort_values("count")
                axes.plot(own["count"], own["mean"], color=colour, label=f"{case}, {SMALL[machine]}", **line_of(i))
                axes.fill_between(own["count"], own["low"].clip(lower=1.0), own["high"], color=colour, alpha=0.15, linewidth=0)
        if metric == "disk_reads_per_s":
            for i, (case, rate) in enumerate(DESKTOP_KINDS.items()):
                wanted, dashes = [count * rate for count in DESKTOP_COUNTS], line_of(i)["linestyle"]
                axes.plot(DESKTOP_COUNTS, wanted, color="#777777", linewidth=1, linestyle=dashes, label=f"{case}, asked for")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(DESKTOP_COUNTS, [str(count) for count in DESKTOP_COUNTS])
        axes.minorticks_off()
        axes.set_xlabel("Desktops")
        axes.set_ylabel(label)
    grid[0].legend(loc="upper left", fontsize=10)
    caption = (
        "KVM on 8 cores of 2.5 GHz, four vCPUs each; means of 10 replications (3 beyond 30 starts) with 95 % intervals. Input: 150 "
        f"requests a second of a pooled and 400 to 450 of a personal desktop (Citrix), for the {BOOT_S:g} s that a desktop boots alone, "
        "of 16 KiB (assumed), half at random places."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


WAITS: Final[Mapping[str, tuple[str, ...]]] = {
    "processors": ("wait for processors",),
    "the disk": ("disk", "wait for disk"),
    "locks": ("wait for locks",),
    "the control plane": ("wait for the control plane",),
}
"""What may hold a start up, and the kinds of time it takes."""
CHANGED: Final = 0.1
"""Relative change of a time from which on a sentence tells it."""


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """When the last of very many serves, what it waited for, what disks and desktops change, and when the host is there at all."""
    times = at(found["summary"], metric="all_ready_s")
    storm = at(times, scenario=STORM)
    count = min((own["count"].max() for _, own in storm.groupby("platform")), default=0)
    ready = by_value(estimates(storm, "platform", count=count), _seconds)
    host = by_value(estimates(found["hosts"], "platform", "host_ready_s"), _seconds)
    return [
        f"When {count} tenants start at once with nothing in memory, the last one serves after {ready}.",
        f"Besides own work and sleep, a mean start waits longest for {_held_up(at(found['hold_ups'], scenario=STORM, count=count))}.",
        f"{'; '.join([*_shared(at(times, scenario=DISKS)), *_desktop_times(at(times, scenario=DESKTOPS))])}.",
        f"Before all this the host itself takes {host}.",
    ]


def _seconds(value: float) -> str:
    return brief(value, "s")


def _held_up(table: pd.DataFrame) -> str:
    """What a mean start waits for most, with the platforms where it does."""
    worst: dict[str, dict[str, float]] = {}
    for platform, own in table.groupby("platform", sort=False):
        kinds = estimates(own, "kind", "mean_s")
        waits = {cause: sum(kinds.get(kind, 0.0) for kind in parts) for cause, parts in WAITS.items()}
        cause = max(waits, key=waits.__getitem__)
        worst.setdefault(cause, {})[str(platform)] = waits[cause]
    return "; for ".join(f"{cause}: {by_value(seconds, _seconds)}" for cause, seconds in worst.items())


def _shared(times: pd.DataFrame) -> Iterator[str]:
    """Where one copy of all files changes the time of a storm, and that it does nowhere else."""
    own, one = (times[times["case"] == case].set_index(["platform", "machine_type"])["mean"] for case in ("own files", "one copy"))
    changed = [key for key in own.index if abs(one[key] / own[key] - 1) > CHANGED]
    count = times["count"].max()
    told = [f"makes it {_seconds(one[key])} instead of {_seconds(own[key])} for {count} on {' with '.join(key)}" for key in changed]
    if len(own) > len(changed):
        told.append(f"changes it by no more than {per_cent(CHANGED)} {'elsewhere' if changed else 'anywhere'}")
    yield f"One copy of the files that all read {listed(told)}"


def _desktop_times(times: pd.DataFrame) -> Iterator[str]:
    """The most desktops, by kind and machine."""
    count = times["count"].max()
    for machine, own in at(times, count=count).groupby("machine_type", sort=False):
        cases = {str(case).replace(" (", " at ").rstrip(")"): seconds for case, seconds in estimates(own, "case").items()}
        yield f"{count} desktops on {machine} take {by_value(cases, _seconds)}"


EXPERIMENT = Experiment(
    name="boot_storm",
    question="After a power failure, how long until all tenants serve again, and what holds them up?",
    expected="moving disks hold up virtual machines, processors all on fast ones, a store that looks at all its own platform.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="until_all_serve",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
