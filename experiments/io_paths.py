"""How many requests does a disk serve, and how long do they take, by the way that leads to it and by how many are queued?

One generator keeps 1 to 128 direct requests of 4 KiB under way (fio, libaio) on every path: bare metal, containers, a backend in user space
and in the kernel, an emulated controller, a passed-through disk, a service VM, hosted hypervisors, a monitor that blocks, a sandbox. Beside
it: four kinds of devices on bare metal; published measurements of three teams, predicted; a writer beside a heavy one; a second page cache.

Expected. Containers equal bare metal. A backend adds its wake-ups at depth 1; with many requests under way nothing need be woken, and what
is left is a ceiling: one thread's time per request. A backend that blocks is stuck at one request at a time, whatever the depth. An
emulated controller pays exits per request on the guest's own processor. A heavy writer fills the dirty pages of its kernel, so its
neighbours in containers wait for room and those in other virtual machines only for the device. A second page cache helps only as far as it
is larger than the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.layers.path import plan_path
from simvirt.reports.predictions import scores
from simvirt.reports.rows import estimates, validation_sentence
from simvirt.reports.style import FAMILIES, SIZE_IN, add_caption, chart_style, line_of, render
from simvirt.reports.words import number
from simvirt.scenario import Scenario
from simvirt.simulation import simulate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
BASELINE: Final = "bare-metal"
MACHINE: Final = "m5d-metal"
DEPTHS: Final = (1, 2, 4, 8, 16, 32, 64, 128)
PANELS: Final[Mapping[str, Sequence[str]]] = {
    "Containers, sandbox": ("docker", "gvisor"),
    "KVM": ("kvm", "kvm-in-kernel-block", "kvm-passthrough", "kvm-emulated-disk", "docker-in-kvm"),
    "Other type 1": ("xen-hvm", "esxi", "hyper-v"),
    "MicroVMs": ("firecracker", "firecracker-async"),
    "Type 2": ("virtualbox", "virtualbox-host-cache", "vmware-workstation"),
}
WORKLOADS: Final = {"fio-read": "random reads of 4 KiB", "fio-write": "random writes of 4 KiB"}
DEVICES: Final = {
    "small-server-hdd": "magnetic disk",
    "small-server-sata": "SATA SSD",
    "small-server": "NVMe",
    "felter-2014": "flash array",
}
SLOW: Final = "small-server-hdd"
ENOUGH_DEPTH: Final = 128
"""Depth where a publication gives only the ceiling."""
REPLICATIONS: Final = 2

# --- Published rows --------------------------------------------------------------------------------------------------

FELTER, NSDI20, FORUM12 = "felter2014_raw", "fc_nsdi20", "he-kvmforum12"
JOBS: Final[Mapping[str, tuple[str, dict[str, str]]]] = {
    "random read": ("fio-read", {}),
    "random write": ("fio-write", {}),
    "random mixed": ("fio-mixed", {}),
    "sequential read": ("fio-seq-read", {}),
    "sequential write": ("fio-seq-write", {}),
    "large read": ("fio-seq-read", {"fio-seq-read.io.disk_read.size_bytes": "128 KiB"}),
    "large write": ("fio-seq-write", {"fio-seq-write.io.disk_write.size_bytes": "128 KiB"}),
    "small sequential read": ("fio-seq-read", {"fio-seq-read.io.disk_read.size_bytes": "4 KiB"}),
    "small sequential write": ("fio-seq-write", {"fio-seq-write.io.disk_write.size_bytes": "4 KiB"}),
}
MACHINES: Final = {FELTER: "felter-2014", NSDI20: "m5d-metal", FORUM12: "server-2s"}
SETS_A_NUMBER: Final = {
    (FELTER, BASELINE, "random read", 16, 1),
    (FELTER, BASELINE, "random read", 16, 8),
    (FELTER, BASELINE, "random write", 16, 8),
    (FELTER, BASELINE, "sequential read", 1, 1),
    (FELTER, BASELINE, "sequential read", 2, 1),
    (FELTER, BASELINE, "sequential write", 16, 1),
    (NSDI20, BASELINE, "random read", 1, 1),
    (NSDI20, BASELINE, "random read", 32, 1),
    (NSDI20, BASELINE, "random write", 1, 1),
    (NSDI20, BASELINE, "large read", 1, 1),
    (NSDI20, BASELINE, "large read", 32, 1),
    (NSDI20, BASELINE, "large write", 32, 1),
    *((FORUM12, BASELINE, f"{kind} {side}", 0, 0) for kind in ("random", "small sequential") for side in ("read", "write")),
    (FORUM12, "kvm", "random read", 0, 0),
    (FELTER, "kvm-2013", "random read", 16, 8),
    (NSDI20, "kvm-2020", "random read", 32, 1),
}
"""Rows from which a number was taken, of the device or (the last three) of a backend: calibration, never scored."""
NO_PROFILE: Final = "no profile of this monitor"


@cache
def measured() -> pd.DataFrame:
    """The published rows; depth and jobs are 0 where they are not stated."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = pd.read_csv(HERE / "data" / "disk_paths.csv", keep_default_na=False, na_values={"depth": [""], "jobs": [""]})
    return rows.fillna({"depth": 0, "jobs": 0}).astype({"depth": int, "jobs": int})


def native(study: str, job: str, depth: int, jobs: int) -> float:
    """Requests per second of a row without virtualization."""
    rows = measured()
    mine = rows[(rows["source_key"] == study) & (rows["platform"] == BASELINE) & (rows["job"] == job)]
    mine = mine[(mine["depth"] == depth) & (mine["jobs"] == jobs) & (mine["metric"] == "throughput_per_s")]
    return float(mine["value"].iloc[0])


def felter_disk(catalog: Catalog) -> dict[str, float | str]:
    """The flash array as the native rows show it.

    With 128 under way all channels are busy: channels / access = throughput. With 16 there is one for each: access = 16 / throughput less
    the host's software, so channels = throughput(128) * access. One large request at a time takes software + access + size *
    fetch_s_per_byte + size / bandwidth; two fill the bus.
    """
    deep, shallow = native(FELTER, "random read", 16, 8), native(FELTER, "random read", 16, 1)
    path = plan_path(catalog.stack(BASELINE, MACHINES[FELTER]), catalog.workload("fio-read").demand)
    software_s = path.cpu_s()
    channels = round(deep * (16 / shallow - software_s))
    mib = 2.0**20
    read_per_s, write_per_s = native(FELTER, "sequential read", 2, 1) * mib, native(FELTER, "sequential write", 16, 1) * mib
    alone_s = 1 / native(FELTER, "sequential read", 1, 1) - software_s - channels / deep - mib / read_per_s
    per_byte_s = alone_s / mib
    return {
        "felter-2014.disk.channels": float(channels),
        "felter-2014.disk.read_s": (channels / deep - 4096 * per_byte_s) * 1e6,
        "felter-2014.disk.write_s": channels / native(FELTER, "random write", 16, 8) * 1e6,
        "felter-2014.disk.fetch_s_per_byte": per_byte_s * 1e9,
        "felter-2014.disk.read_bytes_per_s": read_per_s / 1e9,
        "felter-2014.disk.write_bytes_per_s": write_per_s / 1e9,
    }


@cache
def nsdi20_disk() -> dict[str, float | str]:
    """The NVMe drive as the native rows show it.

    One request at a time takes software (simulated) + access + size / bandwidth, for a read + size * fetch_s_per_byte too; with many under
    way, channels / (access + 4 KiB * fetch_s_per_byte) = throughput. Three lengths of one read at a time and of many give three numbers.
    """
    catalog = Catalog.builtin(*PROFILES)
    disk, small, large = catalog.hardware("m5d-metal").disk, 4096.0, 131072.0
    alone = simulate(scenario(BASELINE, "m5d-metal", "fio-read", 1, 0.02, 1), catalog).tenants[0]
    software_s = 1 / alone.throughput_per_s - disk.read_s.si - small * (disk.fetch_s_per_byte.si + 1 / disk.read_bytes_per_s.si)
    short_s = 1 / native(NSDI20, "random read", 1, 1) - software_s - small / disk.read_bytes_per_s.si
    long_s = 1 / native(NSDI20, "large read", 1, 1) - software_s - large / disk.read_bytes_per_s.si
    write_s = 1 / native(NSDI20, "random write", 1, 1) - software_s - small / disk.write_bytes_per_s.si
    per_byte_s = (long_s - short_s) / (large - small)
    return {
        "m5d-metal.disk.channels": float(round(native(NSDI20, "random read", 32, 1) * short_s)),
        "m5d-metal.disk.read_s": (short_s - small * per_byte_s) * 1e6,
        "m5d-metal.disk.write_s": write_s * 1e6,
        "m5d-metal.disk.fetch_s_per_byte": per_byte_s * 1e9,
    }


def forum_disk(job: str) -> dict[str, float | str]:
    """A drive that reaches the native ceiling of the job with 16 channels (how many it has changes nothing where all are busy)."""
    access_us = 16 / native(FORUM12, job, 0, 0) * 1e6
    side = "read_s" if job.endswith("read") else "write_s"
    return {"server-2s.disk.channels": 16.0, f"server-2s.disk.{side}": access_us}


def device(catalog: Catalog, study: str, job: str) -> dict[str, float | str]:
    """The device of a study, set from its native rows alone; everything else stays as its own sources say."""
    if study == FELTER:
        return felter_disk(catalog)
    return forum_disk(job) if study == FORUM12 else nsdi20_disk()


# --- Design ----------------------------------------------------------------------------------------------------------


def scenario(
    platform: str,
    machine: str,
    workload: str,
    depth: int,
    duration_s: float,
    seed: int,
    *,
    jobs: int = 1,
    override: Mapping[str, float | str] | None = None,
    **entries: Any,
) -> Scenario:
    """One generator that keeps `depth` requests under way."""
    load = {"kind": "closed", "clients": depth, "think": {"kind": "constant", "value": 0}}
    tenant = {"name": "io", "workload": workload, "vcpus": 8, "threads": jobs, "load": load, **entries}
    run = {"duration_s": duration_s, "warm_up_fraction": 0.25, "replications": REPLICATIONS, "seed": seed}
    return Scenario.model_validate(
        {"name": "io", "platform": platform, "machine": machine, "tenants": [tenant], "run": run, "override": override or {}}
    )


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    catalog = Catalog.builtin(*PROFILES)
    shapes = (_paths, _devices, _neighbours, _caches)
    design = [*_published(catalog, seed, quick), *(one for shape in shapes for one in shape(seed, quick))]
    return [Point(factors=factors, scenario=one, profiles=PROFILES) for factors, one in design]


Designed = Iterator[tuple[dict[str, str | float | int | None], Scenario]]


def _factors(design: str, platform: str, workload: str, machine: str, depth: int, jobs: int = 1, variant: str = "") -> dict[str, Any]:
    return {
        "design": design, "platform": platform, "workload": workload, "on": machine, "depth": depth, "jobs": jobs, "variant": variant,
    }  # fmt: skip


def _paths(seed: int, quick: bool) -> Designed:
    for platform in (BASELINE, *(name for panel in PANELS.values() for name in panel)):
        for workload in WORKLOADS:
            for depth in DEPTHS[:: 7 if quick else 1]:
                duration_s = 0.01 if quick else 0.03
                yield (
                    _factors("paths", platform, workload, MACHINE, depth),
                    scenario(platform, MACHINE, workload, depth, duration_s, seed),
                )


def _devices(seed: int, quick: bool) -> Designed:
    for machine in DEVICES:
        for depth in DEPTHS[:: 7 if quick else 1]:
            duration_s = (4.0 if quick else 20.0) if machine == SLOW else 0.02 if quick else 0.05
            yield (
                _factors("devices", BASELINE, "fio-read", machine, depth),
                scenario(BASELINE, machine, "fio-read", depth, duration_s, seed),
            )


def _published(catalog: Catalog, seed: int, quick: bool) -> Designed:
    rates = measured()[measured()["metric"] == "throughput_per_s"]
    rows = rates[rates["platform"] != ""].drop_duplicates(["source_key", "platform", "job", "depth", "jobs"])
    for row in rows.iloc[:: 5 if quick else 1].itertuples():
        study, job = str(row.source_key), str(row.job)
        workload, amounts = JOBS[job]
        jobs = int(row.jobs) or 4
        depth = int(row.depth) * int(row.jobs) or ENOUGH_DEPTH
        duration_s = max(0.02, 400 / float(row.value)) * (0.5 if quick else 1.0)
        override = {**device(catalog, study, job), **amounts}
        one = scenario(str(row.platform), MACHINES[study], workload, depth, duration_s, seed, jobs=jobs, override=override)
        yield _factors(study, str(row.platform), job, MACHINES[study], int(row.depth), int(row.jobs)), one


WRITER: Final = {"name": "writer", "vcpus": 2, "load": {"kind": "poisson", "rate_per_s": "100 /s"}}
HEAVY: Final = {
    "name": "heavy",
    "workload": "file-copy",
    "vcpus": 2,
    "load": {"kind": "closed", "clients": 4, "think": {"kind": "constant", "value": 0}},
}
NEIGHBOURS: Final = {"alone": (False, None), "beside a heavy writer": (True, None), "the same, io_weight 10000 to 1": (True, (10_000, 1))}


def _neighbours(seed: int, quick: bool) -> Designed:
    """A light writer, with and without fsync, alone and beside a heavy one. The levels are lowered so that they are reached soon."""
    for platform in ("docker", "kvm"):
        kernel = {"docker": "linux", "kvm": "linux-guest"}[platform]
        levels = {f"{kernel}.block.writeback.dirty_background_ratio": 0.2, f"{kernel}.block.writeback.dirty_ratio": 0.4}
        for workload in ("file-append", "log-append"):
            for variant, (heavy, weights) in NEIGHBOURS.items():
                tenants = [{**WRITER, "workload": workload}, *([dict(HEAVY)] if heavy else [])]
                if weights is not None:
                    tenants = [{**tenant, "io_weight": weight} for tenant, weight in zip(tenants, weights, strict=True)]
                run = {"duration_s": 1.0 if quick else 3.0, "warm_up_fraction": 0.3, "replications": REPLICATIONS, "seed": seed}
                one = Scenario.model_validate(
                    {"platform": platform, "machine": "small-server", "tenants": tenants, "run": run, "override": levels}
                )
                yield _factors("neighbours", platform, workload, "small-server", 0, variant=variant), one


FILE_GIB, OWN_GIB = 8, 2
HOST_GIB: Final = (0, 1, 2, 3, 4, 6, 8)


def _caches(seed: int, quick: bool) -> Designed:
    """Reads of files four times as large as the guest's own page cache, over a host that has a page cache too."""
    for platform in ("kvm", "virtualbox", "virtualbox-host-cache"):
        for host in HOST_GIB[:: 3 if quick else 1]:
            caches = {"file_set": f"{FILE_GIB} GiB", "page_cache": f"{OWN_GIB} GiB", "host_page_cache": f"{host} GiB"}
            one = scenario(platform, "small-server", "file-read", 1, 0.05 if quick else 0.2, seed, jobs=0, **caches)
            yield _factors("caches", platform, "file-read", "small-server", 1, variant=f"{host} GiB"), one


# --- Answer ----------------------------------------------------------------------------------------------------------

KEYS: Final = ["source_key", "platform", "job", "depth", "jobs"]


def predictions(results: Results) -> pd.DataFrame:
    """Every published row; predicted where there is a profile. A job of reads and writes is told apart by class from its mix."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    summary = results.summary[results.summary["entity"] == "tenant/io"].rename(columns={"design": "source_key", "workload": "job"})
    rate = summary[summary["metric"] == "throughput_per_s"].set_index(KEYS)["mean"]
    ran = {key: float(value) for key, value in rate.items() if key[0] in MACHINES}
    table = measured().copy()
    predicted, reasons, roles = [], [], []
    for row in table.itertuples():
        key = (row.source_key, row.platform, row.job, row.depth, row.jobs)
        per_s = ran.get(key, nan)
        share = {"read": 0.7, "write": 0.3}[str(row.side)] if row.job == "random mixed" else 1.0
        latency = row.metric == "completion_latency_mean_s"
        under_way = max(1, int(row.depth) * int(row.jobs))
        predicted.append(under_way / per_s if latency else per_s * share)
        reasons.append(NO_PROFILE if row.platform == "" else "")
        roles.append("calibration" if key in SETS_A_NUMBER else "validation")
    table["predicted"], table["role"], table["reason"] = predicted, roles, reasons
    table["error"] = table["predicted"] / table["value"] - 1
    table = table.rename(columns={"value": "measured"})
    simulated = pd.Series([tuple(key) in ran for key in table[KEYS].itertuples(index=False)], index=table.index)
    return table[simulated | (table["platform"] == "")].reset_index(drop=True)


def tables(results: Results) -> dict[str, pd.DataFrame]:
    table = predictions(results)
    return {"predictions": table, "scores": scores(table, ("source_key", "role", "source_platform"))}


def charts(results: Results) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with chart_style():
        for workload in WORKLOADS:
            files |= render(_paths_chart(results, workload), f"depth_{workload.removeprefix('fio-')}")
        files |= render(_devices_chart(results), "devices")
        files |= render(_predictions_chart(predictions(results)), "predicted")
        files |= render(_neighbours_chart(results), "neighbours")
        files |= render(_caches_chart(results), "double_caching")
    return files


def _found(results: Results, design: str, metric: str, entity: str = "tenant/io") -> pd.DataFrame:
    summary = results.summary
    return summary[(summary["design"] == design) & (summary["metric"] == metric) & (summary["entity"] == entity)]


def _titled(title: str) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    figure.suptitle(title, x=0.012, y=0.985, ha="left", va="top", weight="bold")
    return figure


def _finish(figure: Figure, caption: str) -> Figure:
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.97), h_pad=1.0, w_pad=1.2)
    return figure


def _line(axes: Any, frame: pd.DataFrame, factor: float, colour: str, index: int, label: str) -> None:
    frame = frame.sort_values("depth")
    look = {"color": colour, "capsize": 3, "label": label, **line_of(index)}
    axes.errorbar(frame["depth"], frame["mean"] * factor, frame["half_width"] * factor, **look)


def _depth_axis(axes: Any) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(DEPTHS, labels=[str(depth) for depth in DEPTHS])
    axes.set_yscale("log")
    axes.minorticks_off()


def _paths_chart(results: Results, workload: str) -> Figure:
    figure = _titled(f"Queue depth and the way to the disk: {WORKLOADS[workload]}")
    grid: Any = figure.subplots(2, len(PANELS), sharex=True, sharey="row")
    for column, (panel, names) in enumerate(PANELS.items()):
        for row, (metric, factor) in enumerate((("throughput_per_s", 1e-3), ("response_time_mean_s", 1e6))):
            axes, found = grid[row][column], _found(results, "paths", metric)
            found = found[found["workload"] == workload]
            for i, name in enumerate((BASELINE, *names)):
                colour = FAMILIES[results.catalog.platform(name).family].colour
                _line(axes, found[found["platform"] == name], factor, colour, i, name)
            _depth_axis(axes)
        grid[0][column].set_title(panel, loc="left", fontsize=12)
        grid[1][column].set_ylim(top=1e5)
        grid[1][column].tick_params(axis="x", labelsize=10)
        grid[1][column].set_xlabel("Requests under way")
        grid[1][column].legend(loc="upper left", fontsize=8.5)
    grid[0][0].set_ylabel("Thousand requests/s", fontsize=12)
    grid[1][0].set_ylabel("Mean response (us)", fontsize=12)
    return _finish(
        figure,
        f"Machine {MACHINE}, local NVMe, one generator on one thread, direct requests, 95 % intervals from {REPLICATIONS} "
        "replications (where "
        "nothing is drawn at random they vanish). firecracker and virtualbox-host-cache end writes in the host's page cache. "
        "Backends of type-1 "
        "and type-2 hypervisors other than KVM and Firecracker are assumptions with wide ranges.",
    )


def _devices_chart(results: Results) -> Figure:
    figure = _titled("Queue depth by kind of device, bare metal, random reads of 4 KiB")
    grid: Any = figure.subplots(1, 2)
    for axes, (metric, factor, label) in zip(
        grid,
        (("throughput_per_s", 1.0, "Requests per second"), ("response_time_mean_s", 1e3, "Mean response time (ms)")),
        strict=True,
    ):
        found = _found(results, "devices", metric)
        for i, (machine, title) in enumerate(DEVICES.items()):
            colour = ("#D55E00", "#C98A00", "#000000", "#0072B2")[i]
            _line(axes, found[found["on"] == machine], factor, colour, i, title)
        _depth_axis(axes)
        axes.set_xlabel("Requests under way")
        axes.set_ylabel(label)
        axes.legend(loc="best")
    return _finish(
        figure,
        "The arm of the magnetic disk moves less the more requests it may choose from, up to 32 (assumes sorting by place "
        "alone); its sector "
        "comes after a time uniform over a revolution. The others have parallel channels with constant times. 95 % intervals.",
    )


STUDIES: Final = {FELTER: "Felter 2014, flash array", NSDI20: "Agache 2020, NVMe", FORUM12: "He 2012, Fusion-io"}


def _predictions_chart(table: pd.DataFrame) -> Figure:
    figure = _titled("Predicted over measured requests per second")
    grid: Any = figure.subplots(1, len(STUDIES))
    colours = {
        "bare-metal": "#000000",
        "docker": "#009E73",
        "kvm": "#0072B2",
        "kvm-2013": "#0072B2",
        "kvm-2020": "#0072B2",
        "kvm-in-kernel-block": "#C98A00",
        "firecracker": "#B8578F",
    }
    rows = table[(table["metric"] == "throughput_per_s") & table["predicted"].notna()]
    for axes, (study, title) in zip(grid, STUDIES.items(), strict=True):
        mine = rows[rows["source_key"] == study]
        for i, (platform, colour) in enumerate(colours.items()):
            for role in ("calibration", "validation"):
                some = mine[(mine["platform"] == platform) & (mine["role"] == role)]
                face = "none" if role == "calibration" else colour
                look = {"marker": line_of(i)["marker"], "facecolor": face, "edgecolor": colour, "s": 55}
                if len(some):
                    axes.scatter(some["measured"], some["predicted"], label=f"{platform}, {role}", **look)
        ends = [min(mine["measured"].min(), mine["predicted"].min()) * 0.7, max(mine["measured"].max(), mine["predicted"].max()) * 1.4]
        axes.plot(ends, ends, color="#222222", linewidth=1)
        axes.fill_between(ends, [0.9 * e for e in ends], [1.1 * e for e in ends], color="#DDDDDD", alpha=0.6, linewidth=0)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="Measured (1/s)", ylabel="Predicted (1/s)")
        scored = mine[mine["role"] == "validation"]["error"].abs()
        axes.set_title(f"{title}\n{len(scored)} predicted, median |error| {scored.median():.0%}", loc="left", fontsize=12)
        axes.legend(loc="upper left", fontsize=9)
    return _finish(
        figure,
        "Open: rows from which a number of the device, or the ceiling of QEMU's thread (random read, once per study), was taken; not "
        "scored. Filled: "
        "predicted; other costs come from other studies. Grey: ± 10 %. Depths of He 2012 are not stated and taken as "
        f"{ENOUGH_DEPTH} on 4 threads. Monitors without a profile are in predictions.csv with an empty prediction.",
    )


def _neighbours_chart(results: Results) -> Figure:
    figure = _titled("A writer of 4 KiB beside a heavy writer: one kernel for both, or one each")
    grid: Any = figure.subplots(1, 2, sharey=True)
    colours = ("#56B4E9", "#D55E00", "#009E73")
    for axes, (workload, title) in zip(
        grid, {"file-append": "write into the page cache", "log-append": "write and fsync"}.items(), strict=True
    ):
        found = _found(results, "neighbours", "response_time_mean_s", "tenant/writer")
        found = found[found["workload"] == workload]
        for i, variant in enumerate(NEIGHBOURS):
            rows = found[found["variant"] == variant].set_index("platform").reindex(["docker", "kvm"])
            at = [place + 0.27 * (i - 1) for place in range(2)]
            bars = axes.bar(at, rows["mean"] * 1e3, 0.25, yerr=rows["half_width"] * 1e3, capsize=4, color=colours[i], label=variant)
            axes.bar_label(bars, labels=["saturated" if isnan(m) else f"{m * 1e3:.3g}" for m in rows["mean"]], fontsize=10, padding=3)
        axes.set_xticks(range(2), ["docker (one kernel)", "kvm (a kernel each)"])
        axes.set_yscale("log")
        axes.set_title(title, loc="left")
        axes.legend(loc="upper left")
        axes.margins(y=0.35)
    grid[0].set_ylabel("Mean response time (ms)")
    return _finish(
        figure,
        "small-server, NVMe, 100 writes/s; the heavy writer writes 1 MiB at a time as fast as it can. Dirty levels are "
        "lowered to 0.2 and 0.4 % "
        "of memory (the defaults are 10 and 20 %) so that they are reached at once; the memory of a virtual machine is taken "
        "in proportion to its "
        "processors. 95 % intervals. Assumes a device without shares unless io_weight is given.",
    )


def _caches_chart(results: Results) -> Figure:
    figure = _titled("Double caching: a second page cache under the guest's own")
    axes: Any = figure.subplots()
    found = _found(results, "caches", "response_time_mean_s")
    found = found.assign(depth=found["variant"].str.removesuffix(" GiB").astype(float))
    for i, name in enumerate(("kvm", "virtualbox", "virtualbox-host-cache")):
        colour = FAMILIES[results.catalog.platform(name).family].colour
        _line(axes, found[found["platform"] == name], 1e6, colour, i, name)
    axes.axvline(OWN_GIB, color="#777777", linewidth=1)
    axes.text(OWN_GIB, 0.03, " the guest's own cache", color="#444444", transform=axes.get_xaxis_transform())
    axes.set(xlabel="Page cache of the host for this guest (GiB)", ylabel="Mean time of a read (us)")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right")
    return _finish(
        figure,
        f"Reads of 4 KiB at random places of {FILE_GIB} GiB of files, {OWN_GIB} GiB of page cache in the guest, small-server, "
        "NVMe, one at a time, "
        "95 % intervals. kvm goes past the host's cache. Assumes that reads are uniform and independent, so that what the "
        "guest has read last is "
        "in both caches. The costs of VirtualBox are assumptions with wide ranges.",
    )


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """What each path costs a lone read and a lone write, and how far predictions are off."""
    told = []
    for workload, word in (("fio-read", "read"), ("fio-write", "write")):
        slow = estimates(found["summary"], "platform", metric="slowdown", design="paths", workload=workload, depth=1)
        ranked = sorted((mean, name) for name, mean in slow.items() if name != BASELINE)
        if ranked:
            parts = ", ".join(f"{name} {number(mean)}" for mean, name in ranked)
            told.append(f"One {word} at a time on a fast disk takes, as a multiple of bare metal: {parts}.")
    return [*told, *validation_sentence(found)]


EXPERIMENT = Experiment(
    name="io_paths",
    question="How many requests does a disk serve, and how long do they take, by the way that leads to it and by how many are queued?",
    expected="backends add wake-ups at depth 1 and a ceiling at depth; one that blocks stays at one request; containers equal bare metal.",
    points=points,
    charts=charts,
    tables=tables,
    baseline=BASELINE,
    answer=answer,
    chart="depth_read",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
