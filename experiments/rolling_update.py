"""What does a rolling update cost in lost requests and in time, and which of its settings is it that saves them?

Eight replicas under load get a new version, with different surge and unavailability, with readiness probes and without, with a wait
before a process is asked to end and without. A start takes two seconds of CPU.

Expected. Time: the more may be in excess or missing at once, the fewer rounds. Lost requests: without a wait before the end, those that
are sent to a process that no longer listens while tables are old, about rate / replicas · delay of the endpoints for every replica; with
a wait longer than that delay, none. Without readiness probes a replica counts as ready when it listens, so nothing more is lost in this
model, only the probe's period is saved. No surge and nothing missing is one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from simvirt.catalog import Catalog
from simvirt.cluster_run import ClusterStudy
from simvirt.cluster_scenario import load_cluster_scenario
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.rows import estimates
from simvirt.reports.style import SIZE_IN, add_caption, add_title, chart_style, render
from simvirt.reports.words import brief, by_value, number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RATE_PER_S: Final = 200.0
REPLICAS: Final = 8
AT_S: Final = 60.0
PACES: Final[Mapping[str, tuple[float, float]]] = {
    "one at a time": (0.0, 0.0),
    "surge 25 %": (0.25, 0.0),
    "missing 25 %": (0.0, 0.25),
    "both 25 % (default)": (0.25, 0.25),
    "surge 100 %": (1.0, 0.0),
    "missing 100 %": (0.0, 1.0),
}
CARES: Final[Mapping[str, tuple[bool, float, str]]] = {
    "readiness, wait 2 s": (True, 2.0, "#009E73"),
    "readiness": (True, 0.0, "#0072B2"),
    "neither": (False, 0.0, "#D55E00"),
}
"""Readiness probe; wait before the process is asked to end; colour."""


def study(pace: str, care: str, seed: int, quick: bool) -> ClusterStudy:
    surge, unavailable = PACES[pace]
    readiness, pre_stop_s, _ = CARES[care]
    document = {
        "name": "rolling-update",
        "orchestrator": "kubernetes",
        "hosts": [{"name": "node", "count": 4, "cores": 16, "memory": "64 GiB"}],
        "deployments": [
            {
                "name": "web", "replicas": REPLICAS, "work": {"mean_s": 0.010}, "cpu_request": 0.5, "start_cpu_s": 2.0,
                "readiness": readiness, "pre_stop_s": pre_stop_s,
            }
        ],
        "loads": [{"to": "web", "rate_per_s": RATE_PER_S}],
        "failures": [{"at_s": AT_S, "what": "update", "whom": "web"}],
        "run": {"duration_s": 100.0 if quick else 300.0, "replications": 2 if quick else 5, "seed": seed},
    }  # fmt: skip
    document["override"] = {"update.surge": 100 * surge, "update.unavailable": 100 * unavailable}  # in the profile's unit, per cent
    return ClusterStudy(scenario=load_cluster_scenario(document, Catalog.builtin()), called=pace)


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    paces = ("both 25 % (default)",) if quick else tuple(PACES)
    return [Point(factors={"platform": pace, "care": care}, scenario=study(pace, care, seed, quick)) for pace in paces for care in CARES]


def charts(results: Results) -> dict[str, bytes]:
    with chart_style():
        return render(_bars(results), "lost_and_time")


def _bars(results: Results) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, "Rolling update of eight replicas")
    left, right = figure.subplots(1, 2, sharey=True)
    frame = results.summary
    paces = [pace for pace in PACES if pace in set(frame["platform"])]
    for k, (care, (_, _, colour)) in enumerate(CARES.items()):
        for axes, metric in ((left, "requests_lost_after"), (right, "time_to_settle_s")):
            own = frame[(frame["care"] == care) & (frame["metric"] == metric)].set_index("platform")
            for i, pace in enumerate(paces):
                mean, half = own.loc[pace, "mean"], own.loc[pace, "half_width"]
                y = i + 0.27 * (k - 1)
                axes.barh(y, mean, xerr=half, height=0.25, color=colour, capsize=2, label=care if i == 0 else None)
                axes.text(mean + half, y, f" {mean:.0f}", va="center", fontsize=10)
    left.set_yticks(range(len(paces)), paces)
    left.invert_yaxis()
    left.set_xscale("symlog", linthresh=10)
    left.set_xticks([0, 5, 10, 100, 1000], ["0", "5", "10", "100", "1,000"])
    left.set_xlabel("Requests lost (linear to 10, then logarithmic)")
    right.set_xlabel("Time until everything is new and settled (s)")
    left.set_title("Lost", loc="left")
    right.set_title("Time", loc="left")
    for axes in (left, right):
        axes.margins(x=0.15)
        axes.set_xlim(left=0)
        axes.grid(visible=False, axis="y")
    left.set_xlim(right=8000)
    right.legend(loc="lower right")
    caption = (
        f"Kubernetes; {RATE_PER_S:g} requests/s of 10 ms, no retries, 2 s of CPU to start, image present. Bars with 95 % "
        "intervals over replications. A process that is asked to end takes no more requests and finishes what it has; "
        "endpoints follow after 0.05 s (assumed), at most one change of a table in 1 s. Surge and missing are rounded as "
        "Kubernetes does; neither means one at a time."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """What is lost with each care, then how long it takes, by pace."""
    summary = found["summary"]
    summary = summary.assign(platform=summary["platform"].str.removesuffix(" (default)"))
    lost, settled = (
        "; ".join(
            f"with {care.replace(', ', ' and ')}: {by_value(own, tell)}"
            for care in CARES
            if (own := estimates(summary, "platform", metric=metric, care=care))
        )
        for metric, tell in (("requests_lost_after", _requests), ("time_to_settle_s", lambda seconds: brief(seconds, "s")))
    )
    return [
        f"While {REPLICAS} replicas at {RATE_PER_S:g} requests/s are replaced, so many requests are lost {lost}.",
        f"Until all are new and settled it takes {settled}.",
    ]


def _requests(count: float) -> str:
    return number(count) if count else "none"


EXPERIMENT = Experiment(
    name="rolling_update",
    question="What does a rolling update cost in lost requests and in time, and which of its settings is it that saves them?",
    expected="a wait before the end saves all requests; surge and unavailability set the number of rounds.",
    points=points,
    charts=charts,
    answer=answer,
    chart="lost_and_time",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
