"""What does each way of a packet cost, and how do its notifications grow rarer as load grows?

Two questions, and rows of published measurements beside both.

*Paths.* One request and one answer, alone, on every path of the profiles: the host's own stack, bridge and address translation, virtio
with a kernel thread (vhost) and in the monitor's process, an emulated card, a function passed through, a split driver through a service
machine, a hosted monitor with and without send combining, a stack in user space; and the same between two who live on one host.

*Load.* The same message at growing rates. An interrupt is only taken, a doorbell only rung, a world switch only made, if whoever is to be
told was idle; so these grow rarer with load by themselves. A card that holds packets back (moderation) does so at every load.

Published: the native row of each source sets what is not known (time outside the server, computing per page, cycles per byte beyond the
network stack); the rest is predicted. Round trips of netperf, and rows that set or fitted a constant, are shown as a check and not scored.

Expected. Passthrough near native; vhost, QEMU and emulation in that order; hosted paths and user-space stacks dearest. Interrupts and
doorbells per message fall towards zero as the thread that they would wake stays awake; an emulated card's exits per packet sent stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.layers.path import plan_path
from simvirt.reports.charts import Platforms, time_stacks
from simvirt.reports.predictions import scores
from simvirt.reports.rows import at, estimates, validation_sentence
from simvirt.reports.style import FAMILIES, SIZE_IN, add_caption, chart_style, line_of, render
from simvirt.reports.words import number
from simvirt.scenario import Run, Scenario
from simvirt.simulation import simulate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
BASELINE: Final = "bare-metal"
MACHINE: Final = "server-2s"
ECHO: Final = "netperf-rr"
VCPUS: Final = 4

PATHS: Final = (
    "bare-metal", "docker", "gvisor", "kvm-passthrough", "kvm", "kvm-qemu-net", "kvm-e1000", "xen-pv",
    "vmware-workstation", "vmware-workstation-combining", "virtualbox",
)  # fmt: skip
NEAR: Final = ("bare-metal", "docker", "kvm")
"""Paths that are also shown between two who live on one host."""
LOADS_PER_S: Final = (2e3, 5e3, 1e4, 2e4, 4e4, 6e4, 8e4)
ALONE_PER_S: Final = 1e3
GAP: Final = "50 us"
"""Moderation of the card where it is looked at: 20,000 interrupts per second."""
MODERATED: Final = f"moderation {GAP}"
MESSAGES, QUICK_MESSAGES = 4000, 150
REPLICATIONS: Final = 4

NOT_CYCLES: Final = ("nic_rx", "nic_tx", "nic_latency", "core_wake")
"""Time in which no core executes anything: the card's, and that of cores that leave an idle state."""
CAUSES: Final[Mapping[str, tuple[str, ...]]] = {
    "interrupts": ("interrupt",),
    "doorbells": ("kick", "world_switch"),
}
"""What is counted per message: charges that are made only if somebody sleeps (and, emulated, always)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """How the rows of one condition are predicted."""

    workload: str
    machine: str
    platforms: Mapping[str, str]
    """Platform of the measurement → profile; the first one is the baseline."""
    connections: int = 1
    rate_per_s: float = 0.0
    """Of an open load, where CPU time is compared."""
    window: int = 0
    """Messages under way in a stream, where CPU time is compared."""
    override: Mapping[str, float] | None = None

    @property
    def is_bulk(self) -> bool:
        """Whether CPU time per message is compared."""
        return bool(self.rate_per_s or self.window)


KVM_ROWS: Final = {"native": "bare-metal", "docker_nat": "docker", "kvm_vhost": "kvm"}
BULK_ROWS: Final = {**KVM_ROWS, "kvm_vhost": "kvm-zero-copy"}
WINDOW: Final = 8
"""Pieces of 64 KiB under way in a stream: it goes as fast as the card, as all paths of the source did."""
PIECE_BYTES: Final = 65536
FRAMES: Final = {"bulk-send.message.send.packets": 45.0}
"""64 KiB in frames of 1,448 B: before segmentation offload."""
PUBLISHED: Final[Mapping[str, Published]] = {
    "bulk-send": Published(workload="bulk-send", machine="felter-2014", platforms=BULK_ROWS, window=WINDOW),
    "bulk-receive": Published(workload="bulk-receive", machine="felter-2014", platforms=BULK_ROWS, window=WINDOW),
    "netperf-rr": Published(workload=ECHO, machine="felter-2014", platforms=KVM_ROWS),
    "sockperf": Published(
        workload=ECHO,
        machine=MACHINE,
        platforms={"bare_metal": "bare-metal", "kvm_vhost": "kvm", "kvm_no_vhost": "kvm-qemu-net", "firecracker": "firecracker"},
    ),
    "http-small": Published(
        workload="http-small",
        machine="small-server",
        connections=100,
        platforms={
            "Ubuntu/Native": "bare-metal", "Docker/Native": "docker", "LXD/Native": "lxc", "Ubuntu/KVM": "kvm", "Ubuntu/Xen": "xen-hvm",
        },
    ),
    "hosted-send": Published(
        workload="bulk-send",
        machine="desktop",
        rate_per_s=190.0,  # 100 Mbit/s
        override=FRAMES,
        platforms={"native": "bare-metal", "vmware_workstation": "vmware-workstation"},
    ),
}  # fmt: skip


@cache
def measured() -> pd.DataFrame:
    """The published rows."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.read_csv(HERE / "data" / "network_paths.csv")


def baseline(condition: str) -> float:
    """The measured native value of a condition in its own unit."""
    rows = measured()
    name = next(iter(PUBLISHED[condition].platforms))
    return float(rows[(rows["condition"] == condition) & (rows["platform"] == name)]["value"].iloc[0])


# --- Design ----------------------------------------------------------------------------------------------------------


def _scenario(platform: str, machine: str, workload: str, load: Mapping[str, Any], run: Run, **more: Any) -> Scenario:
    override = more.pop("override", {})
    tenants = [{"name": "server", "workload": workload, "vcpus": VCPUS, "load": load, **more}]
    return Scenario.model_validate({"platform": platform, "machine": machine, "tenants": tenants, "run": run, "override": override})


def _open(platform: str, machine: str, workload: str, rate_per_s: float, run: Run, **more: Any) -> Scenario:
    return _scenario(platform, machine, workload, {"kind": "poisson", "rate_per_s": rate_per_s}, run, **more)


def _closed(platform: str, about: Published, outside_s: float, run: Run, **more: Any) -> Scenario:
    think = {"kind": "constant", "value": outside_s}
    load = {"kind": "closed", "clients": about.connections, "think": think, "stagger_s": outside_s}
    return _scenario(platform, about.machine, about.workload, load, run, **more)


def _set_by_the_baseline(catalog: Catalog, condition: str, seed: int) -> tuple[float, dict[str, float]]:
    """Time outside the server, and overrides of the workload, that the native row implies."""
    about = PUBLISHED[condition]
    stack = catalog.stack(BASELINE, about.machine)
    path = plan_path(stack, catalog.workload(about.workload).demand)
    if about.window:  # cycles per byte beyond the stack's: acknowledgements, buffers, the program
        left_s = baseline(condition) * PIECE_BYTES / stack.host.clock_hz - path.cpu_s()
        return 0.0, {f"{about.workload}.message.syscall.kernel_s": left_s * stack.host.core_speed * 1e6}
    if about.connections > 1:
        compute_s = (1 / baseline(condition) - path.caller_s(0.0)) / (path.caller_s(1.0) - path.caller_s(0.0))
        return 1e-5, {f"{about.workload}.message.compute.cpu_s": compute_s * 5.0}  # the profile's 5 us, scaled
    wanted_s = baseline(condition) * 1e-6 * (2.0 if condition == "sockperf" else 1.0)
    outside_s = wanted_s / 2
    for _ in range(8):  # the server's part depends on it only by the idle state that a core reaches meanwhile
        one = _closed(BASELINE, about, outside_s, Run(duration_s=0.02, replications=1, seed=seed))
        outside_s = wanted_s - simulate(one, catalog).tenants[0].histogram.mean_s
    return outside_s, {}


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    """Every path alone and under load, moderation, peers on one host, and every published row."""
    return [Point(factors=factors, scenario=one, profiles=PROFILES) for factors, one in _design(Catalog.builtin(*PROFILES), seed, quick)]


Factors = dict[str, str | float | int | None]


def _design(catalog: Catalog, seed: int, quick: bool) -> Iterator[tuple[Factors, Scenario]]:
    messages = QUICK_MESSAGES if quick else MESSAGES

    def run(rate_per_s: float) -> Run:
        return Run(duration_s=messages / rate_per_s, replications=2 if quick else REPLICATIONS, seed=seed)

    for condition, published in PUBLISHED.items():
        rate_per_s = published.rate_per_s
        outside_s, override = (0.0, {}) if rate_per_s else _set_by_the_baseline(catalog, condition, seed)
        override |= published.override or {}
        for platform in published.platforms.values():
            about: Factors = {"scenario": "published", "platform": platform, "workload": published.workload, "condition": condition}
            if published.window:
                stream = {"kind": "closed", "clients": published.window, "think": {"kind": "constant", "value": 0.0}}
                one = _scenario(platform, published.machine, published.workload, stream, run(2e4), override=override)
            elif rate_per_s:
                one = _open(platform, published.machine, published.workload, rate_per_s, run(rate_per_s), override=override)
            else:
                one = _closed(platform, published, outside_s, run(5e4), override=override)
            yield about | {"rate_per_s": None}, one
    for platform in PATHS:
        about = {"scenario": "alone", "platform": platform, "workload": ECHO, "condition": "network"}
        yield about | {"rate_per_s": ALONE_PER_S}, _open(platform, MACHINE, ECHO, ALONE_PER_S, run(ALONE_PER_S * 4))
        for rate_per_s in LOADS_PER_S[:: 3 if quick else 1]:
            yield about | {"scenario": "load", "rate_per_s": rate_per_s}, _open(platform, MACHINE, ECHO, rate_per_s, run(rate_per_s))
    for platform in NEAR:
        about = {"scenario": "near", "platform": platform, "workload": ECHO, "condition": "one host"}
        yield about | {"rate_per_s": ALONE_PER_S}, _open(platform, MACHINE, ECHO, ALONE_PER_S, run(ALONE_PER_S * 4), peer="host")
    for rate_per_s in LOADS_PER_S[:: 3 if quick else 1]:
        about = {"scenario": "load", "platform": BASELINE, "workload": ECHO, "condition": MODERATED}
        moderated = {f"{MACHINE}.nic.interrupt_gap_s": GAP}
        yield about | {"rate_per_s": rate_per_s}, _open(BASELINE, MACHINE, ECHO, rate_per_s, run(rate_per_s), override=moderated)


# --- Answer ----------------------------------------------------------------------------------------------------------


def batching(results: Results) -> pd.DataFrame:
    """Interrupts and doorbells per message over load, counted from the time that was spent on them."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    parts = results.time_parts
    parts = parts[parts["scenario"].isin(("alone", "load"))]
    rows = []
    keys = ["scenario", "platform", "condition", "rate_per_s"]
    for levels, mine in parts.groupby(keys):
        point = dict(zip(keys, levels, strict=True))
        unit = _unit_costs(results.catalog, point["platform"])
        for name, causes in CAUSES.items():
            spent = mine[mine["cause"].isin(causes)].set_index(["layer", "cause"])["mean_s"]
            per_message = sum(seconds / unit[label] for label, seconds in spent.items() if label in unit)
            rows.append({**point, "event": name, "per_message": per_message})
    return pd.DataFrame(rows)


@cache
def _unit_costs(catalog: Catalog, platform: str) -> dict[tuple[str, str], float]:
    """What one occurrence costs, by layer and cause: the most that a message can be charged."""
    found: dict[tuple[str, str], float] = {}
    for step in plan_path(catalog.stack(platform, MACHINE), catalog.workload(ECHO).demand).steps:
        for amounts in (step.fixed, step.asleep, step.notify):
            for part in amounts.parts:
                if any(part.cause in causes for causes in CAUSES.values()):
                    label = (part.layer, part.cause)
                    found[label] = max(found.get(label, 0.0), part.amount)
    return found


def predictions(results: Results) -> pd.DataFrame:
    """Published rows, predicted beside measured, both over the native row of their source."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    summary = results.summary
    found = summary[(summary["scenario"] == "published") & (summary["entity"] == "tenant/server")]
    value = {(c, p, m): v for c, p, m, v in found[["condition", "platform", "metric", "mean"]].itertuples(index=False)}
    parts = results.time_parts
    worked = parts[(parts["scenario"] == "published") & ~parts["wait"] & ~parts["cause"].isin(NOT_CYCLES)]
    cycles = worked.groupby(["condition", "platform"], as_index=False)["mean_s"].sum()
    value |= {(c, p, "cycles"): seconds for c, p, seconds in cycles.itertuples(index=False)}
    rows: list[dict[str, Any]] = []
    for record in measured().to_dict("records"):
        row = {str(key): cell for key, cell in record.items()}
        condition = str(row["condition"])
        about = PUBLISHED[condition]
        metric = "throughput_per_s" if about.connections > 1 else "cycles" if about.is_bulk else "rate"
        names = (about.platforms[str(row["platform"])], next(iter(about.platforms.values())))
        one, base = (value.get((condition, name, "throughput_per_s" if metric == "rate" else metric), float("nan")) for name in names)
        predicted = base / one if metric == "rate" else one / base
        over = float(row["value"]) if row["metric"] == "cpu_ratio" else float(row["value"]) / baseline(condition)
        clock_hz = results.catalog.stack(names[0], about.machine).host.clock_hz
        told = {"profile": names[0], "predicted_cycles_per_byte": one * clock_hz / PIECE_BYTES if about.is_bulk else float("nan")}
        rows.append({**row, **told, "measured_ratio": over, "predicted_ratio": predicted, "error": predicted / over - 1})
    return pd.DataFrame(rows)


def charts(results: Results) -> dict[str, bytes]:
    """Where a lone message's time goes, notifications over load, and the published rows."""
    files: dict[str, bytes] = {}
    with chart_style():
        for name, figure in (
            ("where_a_message_spends_its_time", _paths(results)),
            ("notifications_per_message_vs_load", _batching(results)),
            ("published_rows", _published(results)),
        ):
            files |= render(figure, name)
    return files


def _paths(results: Results) -> Figure:
    parts = results.time_parts
    platforms = Platforms(families={name: results.catalog.platform(name).family for name in PATHS}, baseline=BASELINE)
    titles = {"alone": "Over the network", "near": "Between two who live on one host"}
    panels = [(title, parts[parts["scenario"] == scenario]) for scenario, title in titles.items()]
    caption = (
        f"100 B in, 200 B out, {ALONE_PER_S:,.0f} messages/s on {MACHINE}, Poisson arrivals; time in the server's machine. "
        "Costs of hosted monitors and of gVisor are mostly assumed. Between two on one host only the server's side is shown."
    )
    return time_stacks(panels, platforms, "Where a message spends its time, by path", caption)


def _batching(results: Results) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    table = batching(results)
    table = table[table["scenario"] == "load"]
    shown = {
        "interrupts": ("bare-metal", "kvm-passthrough", "kvm", "kvm-e1000", MODERATED),
        "doorbells": ("kvm", "kvm-qemu-net", "xen-pv", "vmware-workstation", "vmware-workstation-combining"),
    }
    looks = list(dict.fromkeys(name for names in shown.values() for name in names))
    titles = {"interrupts": "Interrupts taken per message (host and guest)", "doorbells": "Doorbells or world switches per message sent"}
    figure = Figure(figsize=SIZE_IN)
    figure.suptitle("Notifications grow rarer as load grows", x=0.012, y=0.985, ha="left", va="top", weight="bold")
    panels: Any = figure.subplots(1, 2)
    for axes, (event, names) in zip(panels, shown.items(), strict=True):
        for name in names:
            i = looks.index(name)
            moderated = name.startswith("moderation")
            own = table[(table["event"] == event) & (table["condition"] == name if moderated else table["platform"] == name)]
            own = own if moderated else own[own["condition"] == "network"]
            text = f"bare-metal, {name}" if moderated else name
            axes.plot(own["rate_per_s"] / 1e3, own["per_message"], label=text, color=_colour(i), **line_of(i))
        axes.set_title(titles[event], loc="left")
        axes.set_xlabel("Messages (1000/s)")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=9)
    panels[0].set_ylabel("Per message")
    caption = (
        f"100 B in, 200 B out on {MACHINE}, Poisson arrivals, {VCPUS} vCPUs; {REPLICATIONS} replications. A path that cannot carry "
        "a load has no point there. A world switch there and back counts as one. Nobody is told how often to notify: who is awake is not."
    )
    figure.tight_layout(rect=(0.0, add_caption(figure, caption), 1.0, 0.98))
    return figure


def _colour(index: int) -> str:
    return list(FAMILIES.values())[index % len(FAMILIES)].colour


def _published(results: Results) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    table = predictions(results)
    names = {next(iter(about.platforms)) for about in PUBLISHED.values()}
    table = table[~table["platform"].isin(names)].reset_index(drop=True)
    figure = Figure(figsize=SIZE_IN)
    axes = figure.subplots()
    rows = range(len(table))
    scored = table["role"] == "validation"
    for i, (lowest, highest) in enumerate(zip(table["measured_ratio"], table["predicted_ratio"], strict=True)):
        axes.plot([lowest, highest], [i, i], color="#BBBBBB", linewidth=3, zorder=1)
    axes.scatter(table["measured_ratio"], rows, color="#222222", marker="o", s=60, label="measured", zorder=2)
    axes.scatter(table["predicted_ratio"][scored], table.index[scored], color=_colour(1), marker="D", s=60, label="predicted", zorder=3)
    axes.scatter(
        table["predicted_ratio"][~scored], table.index[~scored], facecolors="none", edgecolors=_colour(1), marker="D", s=60,
        label="check only, not scored", zorder=3,
    )  # fmt: skip
    axes.axvline(1.0, color="#222222", linewidth=1)
    axes.set_yticks(rows, labels=[f"{c}: {p}" for c, p in zip(table["condition"], table["platform"], strict=True)])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xticks([0.5, 0.7, 1, 1.5, 2, 3, 5], labels=["0.5", "0.7", "1", "1.5", "2", "3", "5"])
    axes.minorticks_off()
    axes.set_xlabel("Over the native row of the same source (ratio)")
    axes.legend(loc="center right")
    figure.suptitle("Published network rows: predicted beside measured", x=0.012, y=0.985, ha="left", va="top", weight="bold")
    error = table[scored]["error"].abs()
    caption = (
        "bulk: CPU cycles per byte (Felter 2014). netperf-rr, sockperf: round trip (Felter 2014; two-node table of 2025, machine not "
        "stated). http-small: requests/s at 100 connections (Plauth 2017). hosted-send: CPU per byte (Sugerman 2001). "
        f"{len(error)} scored rows: median absolute error {error.median():.0%}, largest {error.max():.0%}."
    )
    figure.tight_layout(rect=(0.0, add_caption(figure, caption), 1.0, 0.98))
    return figure


def tables(results: Results) -> dict[str, pd.DataFrame]:
    table = predictions(results)
    scored = table[table["role"] == "validation"]
    by: Sequence[str] = ("source_key", "condition")
    return {"batching": batching(results), "predictions": table, "scores": scores(scored, by)}


LESS: Final = 0.9
"""Notifications are told when they fall below so much of what they are at the lowest load."""


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """What a lone message costs on each path, how notifications grow rarer, and how far predictions are off."""
    told = []
    slow = estimates(found["summary"], "platform", metric="slowdown", scenario="alone", condition="network", entity="tenant/server")
    ranked = sorted((mean, name) for name, mean in slow.items() if name != BASELINE)
    if ranked:
        parts = ", ".join(f"{name} {number(mean)}" for mean, name in ranked)
        told.append(f"A message to an idle server takes, as a multiple of bare metal: {parts}.")
    kicks = at(found["batching"], event="doorbells", scenario="load")
    for name in sorted(set(kicks["platform"])):
        mine = at(kicks, platform=name).sort_values("rate_per_s")
        first, last = mine.iloc[0], mine.iloc[-1]
        if last["per_message"] < LESS * first["per_message"]:
            ends = " to ".join(f"{number(float(row['per_message']), 2)} at {row['rate_per_s']:,.0f} per s" for row in (first, last))
            told.append(f"Doorbells per message fall with load on {name}: from {ends}.")
    return [*told, *validation_sentence(found)]


EXPERIMENT = Experiment(
    name="network_paths",
    question="What does each way of a packet cost, and how do its notifications grow rarer as load grows?",
    expected="passthrough near native, then vhost, QEMU, emulation; hosted and user-space stacks dearest; notifications vanish with load.",
    points=points,
    charts=charts,
    tables=tables,
    baseline=BASELINE,
    answer=answer,
    chart="where_a_message_spends_its_time",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
