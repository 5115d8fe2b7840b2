"""Where does the time go when an image is built, pulled and run, and does the model predict what lazy formats gained?

Cases: a build (cold, cached, changed early, changed late), a pull (cold, with the lower layers already there, lazy), a start (cold,
warm), and the same application as the image of a virtual machine. Then published measurements. Slacker (Harter et al. 2016): the share of
the pull in the time until an application is ready, over a population of images drawn from the distributions that the paper gives; nothing
is fitted. eStargz and Nydus: how much faster a start is than with gzip layers. Of each of these two charts the gzip rows set one number,
the bandwidth to the registry; the lazy rows are predicted.

Expected. A cached build costs look-ups only; a change costs all steps after it. Unpacking, one thread in order, takes longer than
downloading on a fast network. Shared layers are not sent again. Lazily, what is left is a handshake, an index, and what is read. A
virtual machine's image is larger and boots an operating system. The pull is about three quarters of the first start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.gantt import draw_lanes, kinds
from simvirt.reports.rows import at, estimates, validation_sentence
from simvirt.reports.style import SIZE_IN, add_caption, add_title, chart_style, render
from simvirt.reports.words import listed, number, quantity
from simvirt.scenario import Run
from simvirt.simulation.life_cycle import BuildInput, LifeCycle, Population, perform

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
ENGINE: Final = "docker-engine"
MACHINE: Final = "small-server"

# --- Cases -----------------------------------------------------------------------------------------------------------

BUILD_FILE: Final = """FROM python-3.7
COPY requirements.txt .
# simvirt: cpu=15s size=150MB files=6000 download=45MB
RUN install the requirements
COPY src src/
# simvirt: cpu=6s size=5MB files=300
RUN compile
CMD start
"""


def folder(requirements: str = "1", source: str = "1") -> BuildInput:
    return BuildInput(text=BUILD_FILE, files=(("requirements.txt", requirements, 2e3), ("src/app.py", source, 2e6)))


def cases() -> dict[str, LifeCycle]:
    """Every case by what it is called in charts, in their order."""

    def case(name: str, acts: Sequence[str], before: Sequence[str] = (), **more: Any) -> tuple[str, LifeCycle]:
        settings: dict[str, Any] = {"platform": "container", "machine": MACHINE, "engine": ENGINE, "registry": "hosted-registry", **more}
        return name, LifeCycle(name=name.replace("/", "-"), acts=tuple(acts), before=tuple(before), **settings)

    app = {"image": "python-3.7", "built": folder()}
    gcc, mysql = {"image": "gcc-9"}, {"image": "mysql"}
    lazy = {**gcc, "form": "estargz", "platform": "lazy container"}
    machine = {"image": "mysql", "machine_image": "mysql-vm", "platform": "virtual machine"}
    return dict(
        (
            case("build, cold", ["build"], ["pull"], **app),
            case("build, all cached", ["build"], ["pull", "build"], **app),
            case("build, changed late", ["build"], ["pull", "build"], **app, built_before=folder(source="0")),
            case("build, changed early", ["build"], ["pull", "build"], **app, built_before=folder(requirements="0")),
            case("gcc: pull and run, cold", ["pull", "run"], **gcc),
            case("gcc: lower layers there", ["pull", "run"], ["have python-3.7"], **gcc),
            case("gcc: lazy, prefetched", ["lazy pull", "lazy run"], **lazy),
            case("gcc: lazy, on demand", ["lazy pull", "lazy run unprepared"], **lazy),
            case("gcc: run from the disk", ["run"], ["pull", "drop cache"], **gcc),
            case("gcc: run, warm", ["run"], ["pull", "run"], **gcc),
            case("mysql container: first start", ["pull", "run"], **mysql),
            case("mysql VM: first start", ["ship", "boot"], **machine),
            case("mysql container: start, warm", ["run"], ["pull", "run"], **mysql),
            case("mysql VM: start, warm", ["boot"], ["ship", "boot"], **machine),
        )
    )


# --- Slacker ---------------------------------------------------------------------------------------------------------

SLACKER: Final = Population(
    images=57,
    size_median_bytes=329e6,
    size_mean_bytes=27e6 / 0.064,  # 27 MB read on average are 6.4 % of the bytes
    ratio=(2.3, 2.7),
    layers=(2, 28),  # mean 15, at most 28
    layer_sigma=log(63 / 4) / 1.2816,  # Docker Hub: median of layers 4 MB, 90th percentile 63 MB
    read_share=0.064,
    start_mean_s=1.35,  # gVisor's startup figures under runc: node 2.56, ruby 2.53, an empty container 1.19 s
    start_cv=1.0,
)
PUBLISHED_SHARE: Final = 0.76
SENSITIVITY: Final[Mapping[str, Mapping[str, Any]]] = {
    "as stated": {},
    "unpacking, low": {"engine.gunzip_s_per_byte": "low", "engine.apply_s_per_byte": "low"},
    "unpacking, high": {"engine.gunzip_s_per_byte": "high", "engine.apply_s_per_byte": "high"},
    "engine and run time, high": {"engine.daemon_s": "high", "engine.runtime_s": "high", "engine.network_s": "high"},
    "application, half": {"start": 0.5},
    "application, double": {"start": 2.0},
}
"""What is assumed, moved: overrides, and a factor on what applications compute."""


def slacker(variant: str, seed: int, quick: bool) -> LifeCycle:
    from dataclasses import replace  # noqa: PLC0415

    override = dict(SENSITIVITY[variant])
    factor = float(override.pop("start", 1.0))
    population = replace(SLACKER, start_mean_s=SLACKER.start_mean_s * factor, images=5 if quick else SLACKER.images)
    return LifeCycle(
        name="slacker",
        platform="container",
        acts=("pull", "run"),
        machine="slacker-2016",
        engine=ENGINE,
        registry="local-registry",
        population=population,
        override=override,
        run=Run(duration_s=1.0, replications=2 if quick else 5, seed=seed),
    )


# --- Lazy formats ----------------------------------------------------------------------------------------------------

FORMATS: Final = {"stargz_bench": ("estargz", "small-runner"), "nydus_perf": ("nydus", MACHINE)}
"""Chart → format and machine."""
WAYS: Final = {"gzip": ("pull", "run"), "prefetched": ("lazy pull", "lazy run"), "on demand": ("lazy pull", "lazy run unprepared")}
BANDWIDTH_BYTES_PER_S: Final = (1e6, 200e6)
"""Where the bandwidth to the registry is looked for."""


@cache
def measured() -> pd.DataFrame:
    """The published times, whole starts: phases added up."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = pd.read_csv(HERE / "data" / "image_starts.csv")
    return rows.groupby(["source_key", "image", "way"], as_index=False)["value_s"].sum()


def start_of(chart: str, image: str, way: str, bandwidth_bytes_per_s: float, seed: int = 1) -> LifeCycle:
    form, machine = FORMATS[chart]
    bandwidth = f"{float(bandwidth_bytes_per_s)!r} B/s"
    return LifeCycle(
        name=f"{image} {way}",
        platform="container" if way == "gzip" else "lazy container",
        acts=WAYS[way],
        machine=machine,
        engine=ENGINE,
        registry="hosted-registry",
        image=image,
        form=form,
        override={"registry.bandwidth_bytes_per_s": bandwidth, "registry.connection_bytes_per_s": bandwidth},
        run=Run(duration_s=1.0, replications=2, seed=seed),
    )


@cache
def bandwidth_of(chart: str) -> float:
    """Bandwidth at which the gzip rows of a chart come out best (least squares of logarithms)."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - slow to import

    catalog = Catalog.builtin(*PROFILES)
    rows = measured()
    rows = rows[(rows["source_key"] == chart) & (rows["way"] == "gzip")]

    def misfit(log_bandwidth: float) -> float:
        total = 0.0
        for image, value_s in rows[["image", "value_s"]].itertuples(index=False):
            cycle = start_of(chart, image, "gzip", 10**log_bandwidth)
            total += log(perform(cycle, catalog).acts[-1][2] / value_s) ** 2
        return total

    bounds = [log(bound) / log(10) for bound in BANDWIDTH_BYTES_PER_S]
    return round(float(10 ** minimize_scalar(misfit, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x), -3)


# --- Design ----------------------------------------------------------------------------------------------------------


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    from dataclasses import replace  # noqa: PLC0415

    def point(scenario: str, case: str, cycle: LifeCycle) -> Point:
        return Point(factors={"scenario": scenario, "platform": cycle.platform, "case": case}, scenario=cycle, profiles=PROFILES)

    found = [point("cases", name, replace(cycle, run=Run(duration_s=1.0, replications=2, seed=seed))) for name, cycle in cases().items()]
    found += [point("slacker", variant, slacker(variant, seed, quick)) for variant in list(SENSITIVITY)[: 1 if quick else None]]
    for chart, image, way in measured()[["source_key", "image", "way"]].itertuples(index=False):
        if not quick or image == "centos-8":
            cycle = start_of(chart, image, way, 10e6 if quick else bandwidth_of(chart), seed)
            found.append(point(chart, f"{image} {way}", cycle))
    return found


def estimate(results: Results, scenario: str, case: str, metric: str) -> tuple[float, float]:
    """Mean and half-width of a metric of one point."""
    frame = results.summary
    row = frame[(frame["scenario"] == scenario) & (frame["case"] == case) & (frame["metric"] == metric)].iloc[0]
    return float(row["mean"]), float(row["half_width"])


def predictions(results: Results) -> pd.DataFrame:
    """Speed-up of lazy formats over gzip, and the share of the pull: measured, predicted, error. Gzip rows are calibration."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    run = set(results.points["case"])
    rows = []
    table = measured().set_index(["source_key", "image", "way"])["value_s"]
    for (chart, image, way), value_s in table.items():
        case = f"{image} {way}"
        if case not in run:
            continue
        seconds = estimate(results, chart, case, "response_time_mean_s")[0]
        if way == "gzip":
            rows.append((chart, "calibration", image, way, "seconds", value_s, seconds))
        else:
            base = estimate(results, chart, f"{image} gzip", "response_time_mean_s")[0]
            rows.append((chart, "validation", image, way, "speed-up over gzip", table[chart, image, "gzip"] / value_s, base / seconds))
    share = estimate(results, "slacker", "as stated", "pull_share")[0]
    rows.append(("harter2016", "validation", "57 images", "gzip", "share of the pull", PUBLISHED_SHARE, share))
    frame = pd.DataFrame(rows, columns=["source_key", "role", "image", "way", "what", "measured", "predicted"])
    return frame.assign(error=frame["predicted"] / frame["measured"] - 1)


def tables(results: Results) -> dict[str, pd.DataFrame]:
    return {"predictions": predictions(results)}


# --- Charts ----------------------------------------------------------------------------------------------------------

PARTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "handshake, look-up": ("#8DA3B4", ("handshake", "look up")),
    "download": ("#0072B2", ("download",)),
    "unpack": ("#E69F00", ("unpack",)),
    "index": ("#56B4E9", ("index",)),
    "fetch or read what is used": ("#B8578F", ("prefetch", "fetch on demand", "read")),
    "unpack and hand to the reader": ("#F2CF8F", ("serve",)),
    "steps of the build": ("#D55E00", ("RUN", "COPY", "ADD")),
    "boot of the machine": ("#7A5C3A", ("monitor", "boot")),
    "start of the container": ("#009E73", ("engine", "mount", "network", "run time")),
    "application": ("#000000", ("application",)),
    "wait": ("#C4C4C4", ("wait",)),
}
"""What a part is called, its colour, the causes that it holds."""


def charts(results: Results) -> dict[str, bytes]:
    """Every chart as SVG and PNG."""
    files: dict[str, bytes] = {}
    with chart_style():
        files |= render(_where(results), "where_the_time_went")
        files |= render(_pulls(), "pull_lanes")
        files |= render(_predicted(results), "predicted_and_measured")
    return files


def _figure(title: str) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, title)
    return figure


def _where(results: Results) -> Figure:
    """A bar for each case, cut into what went on."""
    figure = _figure("Build, pull, run: where the time goes")
    axes = figure.subplots()
    names = list(cases())
    frame = results.time_parts
    frame = frame[frame["scenario"] == "cases"]
    seen: set[str] = set()
    for i, name in enumerate(names):
        own = frame[frame["case"] == name].groupby("cause")["mean_s"].sum()
        left = 0.0
        for part, (colour, causes) in PARTS.items():
            seconds = own.reindex(causes).sum()
            if seconds:
                axes.barh(i, seconds, left=left, color=colour, label=part if part not in seen else None)
                seen.add(part)
                left += seconds
        axes.text(left, i, f" {left:.2f} s", va="center", fontsize=11)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Time (s)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    caption = (
        f"{MACHINE}, hosted registry (1 Gbit/s, 50 MB/s per connection), three layers downloaded at once, unpacked in order on one "
        "thread. Where several things go on, an instant counts as unpacking first, then as downloading. Assumed: sizes of layers "
        "(recalled), times of the registry, what applications compute. Work of the build's steps is annotated in its file. "
        "Deterministic: no intervals."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


def _pulls() -> Figure:
    """Lanes of four first starts of the same image."""
    figure = _figure("The first start of gcc 9.2: layers down three at once, unpacked in order")
    names = ["gcc: pull and run, cold", "gcc: lower layers there", "gcc: lazy, prefetched", "gcc: lazy, on demand"]
    catalog = Catalog.builtin(*PROFILES)
    spans = {name: [s for s in perform(cases()[name], catalog).timeline.spans if s.kind != "wait"] for name in names}
    order = kinds([span for own in spans.values() for span in own])
    grid = figure.subplots(2, 2, sharex=True)
    for axes, (name, own) in zip(grid.flat, spans.items(), strict=True):
        draw_lanes(axes, own, order)
        axes.set_title(name, loc="left")
        axes.tick_params(labelsize=10)
    for axes in grid[1]:
        axes.set_xlabel("Time (s)")
    drawn = [axes.get_legend_handles_labels() for axes in grid.flat]
    known = {label: handle for handles, labels in drawn for handle, label in zip(handles, labels, strict=True)}
    figure.legend([known[kind] for kind in order], order, loc="center right")
    caption = f"{MACHINE}, hosted registry; lanes in the order in which they begin. Sizes of layers are recalled."
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 0.85, 0.935))
    return figure


def _predicted(results: Results) -> Figure:
    """Speed-ups of lazy formats, and the share of the pull with what moves it."""
    figure = _figure("Predicted and measured: what lazy formats gain, and the share of the pull")
    left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
    table = predictions(results)
    lazy = table[table["what"] == "speed-up over gzip"].reset_index(drop=True)
    for i, row in lazy.iterrows():
        left.barh(i - 0.2, row["measured"], height=0.38, color="#222222", label="measured" if i == 0 else None)
        left.barh(i + 0.2, row["predicted"], height=0.38, color="#0072B2", label="predicted" if i == 0 else None)
        left.text(max(row["measured"], row["predicted"]), i, f"  {100 * row['error']:+.0f} %", va="center", fontsize=11)
    left.set_yticks(range(len(lazy)), [f"{row.image}\n{row.way}" for row in lazy.itertuples()])
    left.invert_yaxis()
    left.grid(visible=False, axis="y")
    left.margins(x=0.12)
    left.set_xlabel("Time with gzip layers / time with the lazy format")
    left.set_title("eStargz (gcc, python) and Nydus", loc="left")
    left.legend(loc="lower right")
    frame = results.summary
    shares = frame[(frame["scenario"] == "slacker") & (frame["metric"] == "pull_share")].set_index("case")
    variants = [variant for variant in SENSITIVITY if variant in shares.index]
    for i, variant in enumerate(variants):
        mean, half = 100 * shares.loc[variant, "mean"], 100 * shares.loc[variant, "half_width"]
        right.errorbar(mean, i, xerr=half, color="#0072B2", marker="o", capsize=4, linestyle="none")
    right.axvline(100 * PUBLISHED_SHARE, color="#222222", linewidth=2)
    right.axvspan(100 * PUBLISHED_SHARE - 10, 100 * PUBLISHED_SHARE + 10, color="#DDDDDD", alpha=0.6, linewidth=0)
    right.set_yticks(range(len(variants)), variants)
    right.invert_yaxis()
    right.set_xlim(40, 100)
    right.set_xlabel("Pull / (pull + run), mean over 57 images (%)")
    right.set_title("Slacker; line: published 76 %", loc="left")
    fitted = "; ".join(f"{chart} {bandwidth_of(chart) / 1e6:.1f} MB/s" for chart in FORMATS if chart in set(results.points["scenario"]))
    caption = (
        f"Left: of each chart the gzip rows set the bandwidth to the registry ({fitted}) and are not scored; sizes of images are "
        "recalled, a start reads 6.4 % of the bytes and 1 % of the files of every image. Right: images drawn from the published "
        "distributions, 95 % intervals; nothing is fitted; what applications compute is assumed (mean 1.35 s, coefficient of variation 1), "
        "so is a network of 1 Gbit/s. Grey: ± 10 points."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """How long builds and starts take by what is there already, how much lazy pulling wins, and how far predictions are off."""
    seconds = estimates(found["summary"], "case", metric="response_time_mean_s", scenario="cases")
    ranked = sorted((s, case) for case, s in seconds.items())
    told = [f"Until it is done: {listed([f'{case} {text}' for case, text in _in_words(ranked)], len(ranked))}."] if ranked else []
    lazily = at(found["predictions"], what="speed-up over gzip")
    if len(lazily):
        rows = lazily.itertuples()
        parts = [f"{row.image}, {row.way}: {number(row.predicted, 2)} times (measured {number(row.measured, 2)})" for row in rows]
        told.append(f"Starting before everything is here is faster than a pull of gzip: {'; '.join(parts)}.")
    return [*told, *validation_sentence(found)]


def _in_words(ranked: Sequence[tuple[float, str]]) -> Iterator[tuple[str, str]]:
    return ((case, quantity(seconds, "s")) for seconds, case in ranked)


EXPERIMENT = Experiment(
    name="image_life_cycle",
    question="Where does the time go when an image is built, pulled and run, and does the model predict what lazy formats gained?",
    expected="unpacking dominates pulls, the pull is three quarters of a first start, lazy formats gain 5 to 20 times.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="where_the_time_went",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
