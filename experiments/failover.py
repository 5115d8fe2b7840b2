"""When something dies, who notices, when do clients notice no longer, and when is everything as before?

One service, four replicas on four machines, clients at 40 requests per second that give up after one second. A container crashes, a
container hangs, a virtual machine dies, a machine dies: under Docker alone, Docker behind HAProxy, Swarm, Kubernetes, Kubernetes behind
Envoy, Kubernetes on virtual machines that are restarted elsewhere, and a cluster where each replica is a virtual machine. All defaults
are the documented ones; phases of probes and leases differ between replications.

Expected. A crash is mended within seconds wherever a restart policy acts; a hang takes as long as probes take, about half a minute under
Kubernetes, two and a half minutes under Swarm, for ever under Docker alone, which only marks it. A dead host is rerouted after 15 s by
Swarm and 38 s by Kubernetes, which waits five minutes more before it replaces what was there: restarting the virtual machines below is
faster. Balancers that look for themselves reroute in 4 to 7 seconds and mend nothing. What is lost is the rate, times the time to
reroute, over the number of replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.cluster_run import ClusterStudy
from simvirt.cluster_scenario import load_cluster_scenario
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.rows import at
from simvirt.reports.style import SIZE_IN, add_caption, add_title, chart_style, render
from simvirt.reports.words import brief, by_value, ends, listed, number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RATE_PER_S: Final = 40.0
REPLICAS: Final = 4
AT_S: Final = 130.0
DURATION_S: Final = 800.0
TIMEOUT_S: Final = 1.0

VMS: Final = {"vms": 1, "vm_cores": 4, "vm_memory": "12 GiB"}
SYSTEMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Docker alone": {"orchestrator": "docker-alone"},
    "Docker, HAProxy": {"orchestrator": "docker-alone", "using": "haproxy"},
    "Swarm": {"orchestrator": "swarm"},
    "Kubernetes": {"orchestrator": "kubernetes"},
    "Kubernetes, Envoy": {"orchestrator": "kubernetes", "using": "envoy"},
    "Kubernetes, VMs with HA": {"orchestrator": "kubernetes", "vm_restart": "vm-restart"},
    "VM per replica, HA": {"orchestrator": "vm-cluster-ha"},
}
FAULTS: Final[Mapping[str, tuple[str, str]]] = {
    "container crashes": ("crash", "web-1"),
    "container hangs": ("hang", "web-1"),
    "virtual machine dies": ("kill vm", "node-1-vm1"),
    "machine dies": ("kill host", "node-1"),
}
QUICK: Final = (("Swarm", "machine dies"), ("Kubernetes", "container crashes"), ("Docker alone", "container hangs"))
"""Points of a tiny run."""
OWN_MACHINES: Final = ("VM per replica, HA",)
"""Where a replica is a virtual machine: what dies is the replica, and a crash of the application alone is not looked for."""


def study(system: str, fault: str, seed: int, quick: bool) -> ClusterStudy | None:
    """A point of the design; None where the fault means nothing."""
    how = SYSTEMS[system]
    what, whom = FAULTS[fault]
    if system in OWN_MACHINES:
        if fault == "container crashes":
            return None
        if fault == "virtual machine dies":
            what, whom = "crash", "web-1"
    hosts = {"name": "node", "count": REPLICAS + 1, "cores": 8, "memory": "32 GiB"} | ({} if system in OWN_MACHINES else VMS)
    document = {
        "name": "failover",
        "orchestrator": how["orchestrator"],
        "vm_restart": how.get("vm_restart", ""),
        "hosts": [hosts],
        "deployments": [
            {
                "name": "web", "replicas": REPLICAS, "work": {"mean_s": 0.005}, "cpu_request": 0.5, "start_cpu_s": 2.0, "liveness": True,
                "readiness": how["orchestrator"] == "kubernetes", "spread_by": "machine", "balancer": {"using": how.get("using", "")},
            }
        ],
        "loads": [{"to": "web", "rate_per_s": RATE_PER_S}],
        "failures": [{"at_s": AT_S, "what": what, "whom": whom}],
        "run": {"duration_s": 160.0 if quick else DURATION_S, "replications": 2 if quick else 10, "seed": seed},
    }  # fmt: skip
    return ClusterStudy(scenario=load_cluster_scenario(document, Catalog.builtin()), called=system)


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    found = []
    for system in SYSTEMS:
        for fault in FAULTS:
            if quick and (system, fault) not in QUICK:
                continue
            one = study(system, fault, seed, quick)
            if one is not None:
                found.append(Point(factors={"platform": system, "fault": fault}, scenario=one))
    return found


def _value(frame: pd.DataFrame, system: str, fault: str, metric: str) -> tuple[float, float]:
    row = frame[(frame["platform"] == system) & (frame["fault"] == fault) & (frame["metric"] == metric)]
    return (float(row["mean"].iloc[0]), float(row["half_width"].iloc[0])) if len(row) else (float("nan"), float("nan"))


MOMENTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "time_to_detect_s": ("seen", "#E69F00", "o"),
    "time_to_reroute_s": ("last request lost", "#0072B2", "s"),
    "recovered_after_s": ("all replicas serve again", "#009E73", "D"),
}


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """One row per system and fault."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    names = [*MOMENTS, "requests_lost_after"]
    frame = results.summary
    design = results.points[["platform", "fault"]].itertuples(index=False)
    rows = [(system, fault, *(_value(frame, system, fault, name)[0] for name in names)) for system, fault in design]
    order = [(system, fault) for fault in FAULTS for system in SYSTEMS]
    rows.sort(key=lambda row: order.index((row[0], row[1])))
    return {"failover": pd.DataFrame(rows, columns=["platform", "fault", *names])}


def charts(results: Results) -> dict[str, bytes]:
    with chart_style():
        return render(_moments(results), "detect_reroute_recover") | render(_lost(results), "requests_lost")


def _figure(title: str) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, title)
    return figure


def _moments(results: Results) -> Figure:
    """A panel for each fault, a row for each system, a mark for each moment."""
    figure = _figure("Seen, rerouted, mended: seconds after a failure")
    grid = figure.subplots(2, 2, sharex=True, sharey=True)
    end_s = float(results.points["duration_s"].iloc[0]) - AT_S
    for axes, fault in zip(grid.flat, FAULTS, strict=True):
        axes.set_title(fault, loc="left")
        for i, system in enumerate(SYSTEMS):
            known = results.points[(results.points["platform"] == system) & (results.points["fault"] == fault)]
            if not len(known):
                axes.text(0.12, i, "not run", va="center", fontsize=10, color="#777777")
                continue
            for k, (metric, (label, colour, marker)) in enumerate(MOMENTS.items()):
                mean, half = _value(results.summary, system, fault, metric)
                shown = axes.get_legend_handles_labels()[1]
                new = label if label not in shown else None
                look = {"color": colour, "marker": marker, "label": new, "linestyle": "none", "capsize": 3}
                y = i + 0.22 * (k - 1)
                if isnan(mean):
                    axes.text(0.55 * end_s, y, "never", va="center", ha="right", fontsize=10, color=colour)
                elif mean < 0.1:
                    axes.plot(0.1, y, marker="<", color=colour, linestyle="none")
                else:
                    axes.errorbar(mean, y, xerr=min(half, mean * 0.9), **look)
        axes.set_xscale("log")
        axes.set_xlim(0.09, end_s * 1.05)
        axes.set_yticks(range(len(SYSTEMS)), list(SYSTEMS))
        axes.grid(visible=False, axis="y")
    grid[0][0].invert_yaxis()
    for axes in grid[1]:
        axes.set_xlabel("Time after the failure (s)")
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="upper right", ncols=len(handles), bbox_to_anchor=(0.99, 0.99))
    caption = (
        f"Four replicas, {RATE_PER_S:g} requests/s, time-out of clients 1 s, no retries. Documented defaults; means with "
        "95 % intervals over replications (phases of probes and leases). ◂: within 0.1 s. Never: not within the run in "
        "some replication. Assumed: creating a sandbox (0.5 s), all of the times of the cluster of virtual machines "
        "(boot 30 s, heartbeats), delays of messages. Start-up: 2 s of CPU."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


def _lost(results: Results) -> Figure:
    """Requests lost, a bar for each system and fault, and the closed form."""
    figure = _figure("Requests lost per failure")
    grid = figure.subplots(1, len(FAULTS), sharey=True)
    for axes, fault in zip(grid, FAULTS, strict=True):
        axes.set_title(fault, loc="left")
        for i, system in enumerate(SYSTEMS):
            mean, half = _value(results.summary, system, fault, "requests_lost_after")
            if not isnan(mean):
                axes.errorbar(mean, i, xerr=min(half, 0.9 * mean), color="#000000", marker="o", capsize=3, linestyle="none")
                axes.text(mean, i - 0.17, f"{mean:.0f}", va="bottom", ha="center", fontsize=11)
                until, _ = _value(results.summary, system, fault, "time_to_reroute_s")
                told_s = 0.0 if fault == "container crashes" else TIMEOUT_S  # a refusal is told at once, silence after the time-out
                predicted = RATE_PER_S * max(until - told_s, 0.0) / REPLICAS
                axes.plot(predicted, i, marker="|", markersize=18, markeredgewidth=2.5, color="#D55E00")
        axes.set_yticks(range(len(SYSTEMS)), list(SYSTEMS))
        axes.set_xscale("log")
        axes.set_xlim(0.5, 20_000)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Requests lost")
    grid[0].set_ylim(len(SYSTEMS) - 0.5, -0.8)
    caption = (
        f"Of {RATE_PER_S:g} requests/s, until the end of the run; means with 95 % intervals. Orange: rate · time until "
        "the last request was sent that is lost / replicas, which is what round robin sends to one of four. With "
        "ejections that come and go fewer are lost than that."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


UNTIL_THE_END: Final = 0.99
"""Share of the time after a failure: who still loses requests then does so until the run ends."""


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """By fault, the largest first: how long requests are lost, when all replicas serve again, and what was lost."""
    table = found["failover"].assign(platform=found["failover"]["platform"].str.replace(", ", " + "))
    end_s = float(found["points"]["duration_s"].min()) - AT_S
    return [_fault_sentence(fault, at(table, fault=fault), end_s) for fault in reversed(FAULTS) if fault in set(table["fault"])]


def _fault_sentence(fault: str, rows: pd.DataFrame, end_s: float) -> str:
    def last_lost(seconds: float) -> str:
        return "at the end of the run" if seconds > UNTIL_THE_END * end_s else brief(seconds, "s")

    def back_after(seconds: float) -> str:
        return "not in the run" if isnan(seconds) else brief(seconds, "s")

    seen, rerouted, recovered, lost = (dict(zip(rows["platform"], rows[name], strict=True)) for name in (*MOMENTS, "requests_lost_after"))
    blind = [name for name, seconds in seen.items() if isnan(seconds)]
    noticed = [f"it is seen after {ends(seen, lambda seconds: brief(seconds, 's'))}"] if len(blind) < len(seen) else []
    when = ", ".join([*noticed, *([f"never by {listed(blind)}"] if blind else [])])
    return (
        f"When a {fault}, all replicas serve again after {by_value(recovered, back_after)}; {when}; "
        f"{ends(lost, number)} requests are lost, the last after {by_value(rerouted, last_lost)}."
    )


EXPERIMENT = Experiment(
    name="failover",
    question="When something dies, who notices, when do clients notice no longer, and when is everything as before?",
    expected="seconds for a crash, half a minute for a hang, 15 to 40 s to reroute around a dead host, minutes to replace what it had.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="detect_reroute_recover",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
