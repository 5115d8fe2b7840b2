"""Does the simulator predict a published measurement that it has not seen? Redis on four platforms, 1 to 120 connections.

Measured: Felter, Ferreira, Rajamony, Rubio 2014, raw data (redis-benchmark on a second machine, 10 Gbit/s back to back, 50 B values,
one command per round trip). The native rows set the workload, and nothing else: the plateau gives the server's computing per command,
the first few connections the time that a command spends on the wire. Every cost of the platforms comes from other sources. What
is left is a prediction: host network, bridge with address translation, and a virtual machine, 18 numbers of connections each.

Both programs are event loops with one thread, by their sources: the server reads every command that is ready before it writes the answers,
the client reads every answer that is ready before it writes the next commands. The client's times per command are those of its system
calls and packets on the same machine and kernel, and computing of its own that is taken as half a microsecond each way.

Expected. Host network equals native. Address translation costs CPU on the server's own thread, so the whole curve is lower, the plateau
too. The virtual machine costs latency (a second thread to wake, a halted processor to wake, an idle core under each), which a few
connections feel in full and many connections hide, because what is awake need not be woken; its plateau is near native's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Final

from simvirt.catalog import Catalog
from simvirt.demand import Demand, Send, Syscall, Wake
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.layers.contract import costs_of
from simvirt.layers.path import plan_path
from simvirt.reports.predictions import PredictionPanel, prediction_chart, scores
from simvirt.reports.rows import at, validation_sentence
from simvirt.reports.style import FAMILIES, chart_style, render
from simvirt.reports.words import per_cent
from simvirt.scenario import Run, Scenario
from simvirt.simulation import simulate
from simvirt.workloads.client_program import ClientProgram

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE.parent / "simvirt" / "profiles" / "cases" / "profiles",)
MACHINE: Final = "felter-2014"
VCPUS: Final = 16
PLATFORMS: Final[Mapping[str, str]] = {
    "native": "bare-metal",
    "docker_hostnet": "docker-host-network",
    "docker_nat": "docker",
    "kvm_vhost": "kvm",
}
"""Platform of the measurement → profile."""
BASELINE: Final = "bare-metal"
WORKLOADS: Final[Mapping[str, str]] = {"GET": "redis-get", "SET": "redis-set"}
PLATEAU: Final = 50
"""From this many connections on, the native server is always busy."""
FEW: Final = 5
"""Up to this many connections, the time outside the server shows."""
OUTSIDE_S: Final = (2e-6, 60e-6)
"""Where the time on the wire is looked for."""
CLIENT_OWN_S: Final = 0.5e-6
"""The client's own computing per answer, and per command (assumed)."""
CLIENT_READS: Final = Demand((Syscall(count=5.0),))
"""Per answer: epoll_wait, read, and three epoll_ctl of resetClient."""
CLIENT_WRITES: Final = Demand((Syscall(count=3.0), Send(messages=1.0, packets=1.0, size_bytes=36.0)))
"""Per command: write, and two epoll_ctl of writeHandler."""
REQUESTS, QUICK_REQUESTS = 3000, 400
REPLICATIONS: Final = 4


@cache
def measured() -> pd.DataFrame:
    """The published rows."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.read_csv(HERE / "data" / "felter_2014_redis.csv")


def native(command: str) -> dict[int, float]:
    """Connections → requests per second of the native rows."""
    rows = measured()
    mine = rows[(rows["platform"] == "native") & (rows["command"] == command)].sort_values("connections")
    return dict(zip(mine["connections"].tolist(), mine["value"].tolist(), strict=True))


# --- Calibration on the native rows ----------------------------------------------------------------------------------


def calibrated(catalog: Catalog, command: str, seed: int, requests: int) -> tuple[float, float]:
    """Computing per command (reference seconds) and time outside the server (seconds) that the native rows imply.

    Computing: at the plateau a command takes 1 / throughput of the server's thread; what system calls and packets take of it is known. Half
    of it is taken to be spent on reading and looking up, half on writing.
    Time outside: least squares of the logarithm of throughput over the first few connections.
    """
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - slow to import

    rows = native(command)
    plateau = [rate for connections, rate in rows.items() if connections >= PLATEAU]
    stack = catalog.stack(BASELINE, MACHINE)
    path = plan_path(stack, catalog.workload(WORKLOADS[command]).demand)
    per_factor_s = path.caller_s(1.0) - path.caller_s(0.0)
    left_s = len(plateau) / sum(plateau) - path.caller_s(0.0)
    profile_s = next(cost.si for name, cost in catalog.workload(WORKLOADS[command]).evidence if name.endswith("compute.cpu_s"))
    compute_s = profile_s * left_s / per_factor_s

    def misfit(outside_s: float) -> float:
        few = [connections for connections in rows if connections <= FEW]
        rates = [_throughput(catalog, scenario(catalog, command, BASELINE, n, compute_s, outside_s, seed, requests, 1)) for n in few]
        return sum(log(rate / rows[n]) ** 2 for n, rate in zip(few, rates, strict=True))

    found = minimize_scalar(misfit, bounds=OUTSIDE_S, method="bounded", options={"xatol": 2e-7})
    return compute_s, float(found.x)


def _throughput(catalog: Catalog, one: Scenario) -> float:
    return simulate(one, catalog).tenants[0].throughput_per_s


def client(catalog: Catalog) -> ClientProgram:
    """The load generator on a machine of the same make without virtualization."""
    stack = catalog.stack(BASELINE, MACHINE)
    wake_s = sum(f.charge.amount for f in stack.fold(Demand((Wake(count=1.0),))))
    read_s, write_s = (plan_path(stack, demand).cpu_s() + CLIENT_OWN_S for demand in (CLIENT_READS, CLIENT_WRITES))
    return ClientProgram(receive_s=read_s, send_s=write_s, wake_s=wake_s)


# --- Design ----------------------------------------------------------------------------------------------------------


def scenario(
    catalog: Catalog,
    command: str,
    platform: str,
    connections: int,
    compute_s: float,
    outside_s: float,
    seed: int,
    requests: int,
    replications: int,
    override: Mapping[str, str] | None = None,
) -> Scenario:
    """One point of the sweep: connections of one client program, the time on the wire as their time to think."""
    workload = WORKLOADS[command]
    duration_s = requests / native(command)[connections]
    return Scenario.model_validate(
        {
            "name": command,
            "platform": platform,
            "machine": MACHINE,
            "tenants": [
                {
                    "name": "redis",
                    "workload": workload,
                    "vcpus": VCPUS,
                    "load": {
                        "kind": "closed",
                        "clients": connections,
                        "think": {"kind": "lognormal", "mean": outside_s, "cv": 0.5},
                        "client": client(catalog),
                    },
                }
            ],
            "run": Run(duration_s=duration_s, replications=replications, seed=seed),
            "override": {
                f"{workload}.command.compute.cpu_s": compute_s / 2 * 1e6,
                f"{workload}.command.syscall.kernel_s": compute_s / 2 * 1e6,
                **(override or {}),
            },
        }
    )


def _ends(catalog: Catalog, platform: str) -> dict[str, dict[str, str]]:
    """Overrides that move every cost which the platform adds to bare metal to one end of its range."""
    base = {layer.name for layer in catalog.stack(BASELINE, MACHINE).layers}
    added = [layer for layer in catalog.stack(platform, MACHINE).layers if layer.name not in base]
    times = [f"{layer.name}.{field}" for layer in added for field, _ in costs_of(layer) if field.endswith(("_s", "_s_per_byte"))]
    return {"value": {}, "low": dict.fromkeys(times, "low"), "high": dict.fromkeys(times, "high")}


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    """Every measured row; for the predicted ones also with the platform's costs at both ends of their ranges."""
    catalog = Catalog.builtin(*PROFILES)
    requests = QUICK_REQUESTS if quick else REQUESTS
    design = []
    for command, workload in WORKLOADS.items():
        compute_s, outside_s = calibrated(catalog, command, seed, requests)
        connections = list(native(command))[:: 6 if quick else 1]
        for platform in PLATFORMS.values():
            for end, override in _ends(catalog, platform).items():
                if end != "value" and platform == BASELINE:
                    continue
                replications = REPLICATIONS if end == "value" and not quick else 1
                for n in connections:
                    one = scenario(catalog, command, platform, n, compute_s, outside_s, seed, requests, replications, override)
                    about = {"scenario": command, "platform": platform, "workload": workload, "costs": end}
                    design.append(Point(factors={**about, "connections": n}, scenario=one, profiles=PROFILES))
    return design


# --- Answer ----------------------------------------------------------------------------------------------------------


def predictions(results: Results) -> pd.DataFrame:
    """Measured and predicted side by side, one row per measured row that was simulated; native rows are calibration."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    summary = results.summary
    found = summary[(summary["metric"] == "throughput_per_s") & (summary["entity"] == "tenant/redis")]
    keys = ["scenario", "platform", "connections"]
    by_end = {end: found[found["costs"] == end].set_index(keys) for end in ("value", "low", "high")}
    rows = measured().assign(scenario=measured()["command"], source_platform=measured()["platform"])
    rows["platform"] = rows["source_platform"].map(PLATFORMS)
    table = rows[[*keys, "source_key", "place", "source_platform", "metric", "unit", "value"]].rename(columns={"value": "measured"})
    table = table.join(by_end["value"][["mean", "half_width"]], on=keys).dropna(subset=["mean"]).rename(columns={"mean": "predicted"})
    ends = pd.concat([by_end[end]["mean"].rename(end) for end in ("low", "high")], axis=1)
    table = table.join(ends, on=keys)
    table["range_low"] = table[["predicted", "low", "high"]].min(axis=1)
    table["range_high"] = table[["predicted", "low", "high"]].max(axis=1)
    table["error"] = table["predicted"] / table["measured"] - 1
    table["role"] = ["calibration" if platform == BASELINE else "validation" for platform in table["platform"]]
    return table.drop(columns=["low", "high"]).sort_values(keys).reset_index(drop=True)


def charts(results: Results) -> dict[str, bytes]:
    """One chart per command, SVG and PNG."""
    table = predictions(results)
    files: dict[str, bytes] = {}
    with chart_style():
        for command in WORKLOADS:
            files |= render(_chart(results, table[table["scenario"] == command], command), f"redis_{command.lower()}")
    return files


def _chart(results: Results, table: pd.DataFrame, command: str) -> Figure:
    panels = [_panel(results.catalog, table, platform) for platform in PLATFORMS.values()]
    scored = table[table["role"] == "validation"]["error"].abs()
    caption = (
        f"Points: Felter et al. 2014, raw data, redis-benchmark {command}, 50 B values. Machine {MACHINE}, {VCPUS} vCPUs. Computing per "
        "command and the time on the wire are set from the native rows; all costs of the platforms come from other sources. "
        "Band: every cost that the platform adds at the low, and at the high end of its range. Grey: ± 10 %.\n"
        f"{len(scored)} predicted points: median absolute error {scored.median():.0%}, largest {scored.max():.0%}."
    )
    return prediction_chart(
        panels,
        title=f"Redis {command}: predicted over measured throughput",
        x_label="Connections",
        y_label="Requests per second (thousands)",
        factor=1e-3,
        caption=caption,
    )


def _panel(catalog: Catalog, table: pd.DataFrame, platform: str) -> PredictionPanel:
    mine = table[table["platform"] == platform].rename(columns={"connections": "x"})
    baseline = platform == BASELINE
    colour = FAMILIES[catalog.platform(platform).family].colour
    role = "calibration" if baseline else f"median |error| {mine['error'].abs().median():.0%}"
    return PredictionPanel(title=f"{platform}\n{role}", colour=colour, frame=mine, calibration=baseline)


def tables(results: Results) -> dict[str, pd.DataFrame]:
    table = predictions(results)
    return {"predictions": table, "scores": scores(table, ("scenario", "role", "platform"))}


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """The plateau of each platform, predicted and measured, against native; then the errors."""
    rows = at(found["predictions"], scenario="GET")
    plateau = rows[rows["connections"] >= PLATEAU].groupby("platform")[["measured", "predicted"]].mean()
    told = []
    if BASELINE in plateau.index:
        shares = plateau / plateau.loc[BASELINE]
        others = shares.drop(index=BASELINE).iterrows()
        parts = [f"{name} {per_cent(own.predicted)} (measured {per_cent(own.measured)})" for name, own in others]
        told.append(f"With {PLATEAU} connections and more, Redis GET carries, as a share of native: {', '.join(parts)}.")
    few = at(rows, connections=1).set_index("platform")
    if {BASELINE, "kvm"} <= set(few.index):
        ratio = {side: float(few.loc["kvm", side] / few.loc[BASELINE, side]) for side in ("predicted", "measured")}
        one = f"{per_cent(ratio['predicted'])} of native (measured {per_cent(ratio['measured'])})"
        told.append(f"With one connection the virtual machine carries {one}.")
    platforms = sorted(set(rows["platform"]) - {BASELINE})
    return [*told, *(sentence for name in platforms for sentence in validation_sentence(found, platform=name))]


EXPERIMENT = Experiment(
    name="redis_published",
    question="Does the simulator predict Redis on host network, behind address translation and in a virtual machine?",
    expected="host network as native; translation lowers the whole curve; a virtual machine costs latency that many connections hide.",
    points=points,
    charts=charts,
    tables=tables,
    baseline=BASELINE,
    answer=answer,
    chart="redis_get",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
