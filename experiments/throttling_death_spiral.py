"""How does a CPU limit that is a little too small turn probes against the containers that they are meant to keep alive?

Four replicas share a steady load; their CPU limit is swept around what the load needs. A probe is a request like others: it queues with
them and takes CPU under the same limit. Four ways: no probes at all; readiness only; liveness only; liveness with five seconds of
patience and six tries. A restart costs two seconds of CPU, which a small limit stretches. Clients give up after one second and try once
more. Servers turn away what they cannot take (8 workers, 8 waiting), so that whoever is let in is answered in time. A first design with a
queue of 200 showed why that matters: below the need every answer came too late, with probes or without, and there was nothing left for
probes to spoil.

Expected. Above the need all four ways are the same. Below it, without probes goodput is what the limit allows. With liveness probes,
those that are turned away count as failures: each restart takes a replica away for seconds, the others get its load, fail their probes in
turn, and goodput falls below the limit's. Readiness alone takes replicas out of service, with the same avalanche but no cold starts.
Patience moves the edge, it does not remove it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.cluster_run import ClusterStudy
from simvirt.cluster_scenario import load_cluster_scenario
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.rows import at, estimates
from simvirt.reports.style import SIZE_IN, add_caption, add_title, chart_style, line_of, render
from simvirt.reports.words import listed, number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RATE_PER_S: Final = 120.0
WORK_S: Final = 0.010
REPLICAS: Final = 4
NEED_CORES: Final = RATE_PER_S * WORK_S / REPLICAS
LIMITS: Final = (0.20, 0.25, 0.30, 0.32, 0.35, 0.40, 0.50)

WAYS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "no probes": ("#000000", {}),
    "readiness": ("#0072B2", {"readiness": True}),
    "liveness": ("#D55E00", {"liveness": True}),
    "patient liveness": ("#009E73", {"liveness": {"timeout_s": 5.0, "failures": 6}}),
}


def study(way: str, limit: float, seed: int, quick: bool) -> ClusterStudy:
    document = {
        "name": "death-spiral",
        "orchestrator": "kubernetes",
        "hosts": [{"name": "node", "count": 4, "cores": 8, "memory": "32 GiB"}],
        "deployments": [
            {
                "name": "web", "replicas": REPLICAS, "work": {"mean_s": WORK_S}, "cpu_request": 0.1, "cpu_limit": limit, "start_cpu_s": 2.0,
                "workers": 8, "queue": 8, "balancer": {"timeout_s": 1.0, "retries": 1}, **WAYS[way][1],
            }
        ],
        "loads": [{"to": "web", "rate_per_s": RATE_PER_S}],
        "run": {"duration_s": 60.0 if quick else 150.0, "replications": 2 if quick else 3, "seed": seed, "warm_up_fraction": 0.2},
    }  # fmt: skip
    return ClusterStudy(scenario=load_cluster_scenario(document, Catalog.builtin()), called=way)


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    limits = (0.25, 0.50) if quick else LIMITS
    ways = ("no probes", "liveness") if quick else tuple(WAYS)
    return [
        Point(factors={"platform": way, "limit_cores": limit}, scenario=study(way, limit, seed, quick)) for way in ways for limit in limits
    ]


def charts(results: Results) -> dict[str, bytes]:
    with chart_style():
        return render(_spiral(results), "goodput_and_restarts")


def _spiral(results: Results) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, "A CPU limit against liveness probes")
    left, right = figure.subplots(1, 2)
    frame = results.summary
    ways = [way for way in WAYS if way in set(frame["platform"])]
    for i, way in enumerate(ways):
        own = frame[frame["platform"] == way]
        for axes, metric in ((left, "throughput_per_s"), (right, "restarts")):
            line = own[own["metric"] == metric].sort_values("limit_cores")
            look = {"color": WAYS[way][0], "label": way, "capsize": 3, **line_of(i)}
            axes.errorbar(line["limit_cores"], line["mean"], yerr=line["half_width"], **look)
    ideal = sorted({*LIMITS, NEED_CORES})
    served = [min(RATE_PER_S, limit / WORK_S * REPLICAS) for limit in ideal]
    left.plot(ideal, served, color="#777777", linewidth=1, linestyle=":", label="limit / work, at most the load")
    for axes in (left, right):
        axes.axvline(NEED_CORES, color="#C4C4C4", linewidth=1)
        axes.set_xlabel("CPU limit of a replica (cores)")
        axes.set_ylim(bottom=0)
    left.set_ylabel("Answered requests per second")
    left.set_title("Goodput", loc="left")
    right.set_ylabel("Restarts of four replicas in the run")
    right.set_title("Restarts", loc="left")
    left.legend(loc="lower right")
    caption = (
        f"Kubernetes' default probes (10 s, time-out 1 s, 3 failures); four replicas, {RATE_PER_S:g} requests/s of "
        f"{1000 * WORK_S:g} ms (exponential), which need {NEED_CORES:g} cores each (grey line). Clients give up after 1 s and "
        "try once more; 8 workers, a queue of 8; 2 s of CPU to start. Fluid CPU sharing with the limit as a cap: "
        "tails from quota periods come on top. 95 % intervals over replications. Assumed: 1 ms per probe."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


UNSPOILT: Final = "no probes"
ALIKE: Final = 0.01
"""Relative difference of goodput up to which ways count as alike."""


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """Goodput and restarts at the smallest limit by way, and at which limits probes cost goodput beyond doubt."""
    goodput, restarts = (at(found["summary"], metric=metric) for metric in ("throughput_per_s", "restarts"))
    least = goodput["limit_cores"].min()
    ways = [way for way in WAYS if way in set(goodput["platform"])]
    again = estimates(restarts, "platform", limit_cores=least)
    told = [f"{way} {_interval(at(goodput, platform=way, limit_cores=least))}, {number(again[way])} restarts" for way in ways]
    bare = at(goodput, platform=UNSPOILT).set_index("limit_cores")
    highs = {way: estimates(goodput, "limit_cores", "high", platform=way) for way in ways}
    worse = {way: [f"{cores:g}" for cores, high in own.items() if high < bare["low"][cores]] for way, own in highs.items()}
    apart = "; ".join(f"{way} at {listed(limits)}" for way, limits in worse.items() if limits)
    limit = f"At a limit of {least:g} cores of the {NEED_CORES:g} that are needed"
    return [
        f"{limit}, so many of {RATE_PER_S:g} requests/s are answered (95 % intervals): {'; '.join(told)}.",
        f"{f'Only with {apart} cores' if apart else 'Nowhere'} are fewer answered than with {UNSPOILT} beyond what intervals leave open.",
        *_alike(goodput),
    ]


def _interval(rows: pd.DataFrame) -> str:
    row = rows.iloc[0]
    return f"{number(row['mean'])} ({number(row['low'])} to {number(row['high'])})"


def _alike(goodput: pd.DataFrame) -> Iterator[str]:
    """From which limit on the ways answer equally many."""
    by_limit = goodput.groupby("limit_cores")["mean"]
    differ = by_limit.min() < (1 - ALIKE) * by_limit.max()
    above = differ[differ].index.max() if differ.any() else 0.0
    alike = [limit for limit in differ.index if limit > above]
    if alike:
        yield f"From {min(alike):g} cores on all ways are within {100 * ALIKE:g} % of each other."


EXPERIMENT = Experiment(
    name="throttling_death_spiral",
    question="How does a CPU limit that is a little too small turn probes against the containers that they are meant to keep alive?",
    expected="below the need, liveness probes restart healthy containers, and goodput falls below what the limit would allow.",
    points=points,
    charts=charts,
    answer=answer,
    chart="goodput_and_restarts",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
