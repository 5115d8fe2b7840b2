"""How far can processors be overcommitted when machines ask for what real machines asked for, and what does a reader of the tail see?

Expected. Machines that are idle most of the time and independent of each other fit the better the more of them share a host: the sum of
many is steadier than each. So the ratio at which 99 of 100 slots fit grows with the number of machines towards 1 / mean demand, and never
reaches it. Slots that do not fit are not the first to hurt: response times grow before, as queues do, and platforms whose overhead is
larger reach the same tail at a lower ratio.

Demand is that of a recording (`--trace`: PlanetLab or Bitbrains, a folder, an archive or a table), or, without one, independent samples of
a lognormal distribution with the median and the mean that the PlanetLab recording of 3 March 2011 has.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from math import log, nan, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from simvirt.analysis.consolidation import consolidate, slots_that_fit
from simvirt.catalog import Catalog
from simvirt.errors import SimvirtError
from simvirt.experiment.capacity import capacity_per_s
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.randomness import Streams
from simvirt.reports.rows import at
from simvirt.reports.style import FAMILIES, SIZE_IN, add_caption, add_title, chart_style, line_of, render
from simvirt.reports.words import quantity
from simvirt.scenario import Run, Scenario
from simvirt.simulation import RunOutcome
from simvirt.workloads.utilization_files import read_utilization

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEDIAN, MEAN = 0.06, 0.1231
"""Of all samples of the PlanetLab recording: what the stand-in is drawn from."""
STAND_IN = (500, 288)
"""Machines and slots of the stand-in."""

SIZES = (5, 10, 20, 50, 100, 200)
SHARES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
DRAWS, QUICK_DRAWS = 200, 20

MACHINE = "server-2s"
WORKLOAD = "web-service"
PLATFORMS = ("bare-metal", "docker", "kvm")
MACHINES = 40
CORES = (20, 10, 8, 7, 6)
"""Of the host that carries them: overcommit ratios of 2 to 6.7."""
SLOTS, QUICK_SLOTS = 6, 1
REPLICATIONS = 2
SECONDS, QUICK_SECONDS = 2.0, 0.1
FULL = 0.99
"""Utilization from which on processors count as full."""

Demand = tuple[NDArray[np.float64], NDArray[np.float64], str]
"""Cores used by machine and slot, cores given to each machine, and where it is from."""


@cache
def demand(trace: str | None, seed: int) -> Demand:
    """The recording, or its stand-in."""
    if trace is not None:
        recorded = read_utilization(Path(trace))
        return recorded.slots(), recorded.vcpus, recorded.form
    sigma = sqrt(2 * log(MEAN / MEDIAN))  # a lognormal distribution has mean / median = exp(sigma ** 2 / 2)
    rng = Streams(seed).stream("stand-in")
    used = np.minimum(1.0, MEDIAN * rng.lognormal(0.0, sigma, STAND_IN))
    return used, np.ones(STAND_IN[0]), f"independent lognormal samples, median {MEDIAN:.0%}, mean {MEAN:.1%}"


def points(trace: str | None, catalog: Catalog, seed: int, quick: bool) -> list[Point]:
    """Hosts that carry the same machines in the same slots on ever fewer cores."""
    used, vcpus, _ = demand(trace, seed)
    rng = Streams(seed).stream("slots")
    busiest = np.flatnonzero(~np.isnan(used).any(axis=0) if len(used) <= MACHINES else np.ones(used.shape[1], dtype=bool))
    rate_per_core = capacity_per_s(catalog.stack("bare-metal", MACHINE, {f"{MACHINE}.cores": 1}), catalog.workload(WORKLOAD))
    found = []
    for i in range(QUICK_SLOTS if quick else SLOTS):
        slot = int(rng.choice(busiest))
        known = np.flatnonzero(~np.isnan(used[:, slot]))
        chosen = rng.choice(known, min(MACHINES, len(known)), replace=False)
        wanted = np.minimum(1.0, used[chosen, slot] / vcpus[chosen])
        for cores in CORES[1::3] if quick else CORES:
            platforms = PLATFORMS[1:3] if quick else PLATFORMS
            found += [_point(platform, i, cores, wanted, rate_per_core, seed, quick=quick) for platform in platforms]
    return found


def _point(platform: str, slot: int, cores: int, wanted: NDArray[np.float64], rate_per_core: float, seed: int, *, quick: bool) -> Point:
    """One slot on one host. A machine that was idle in it is there and asks for nothing."""
    tenants = [
        {"name": f"machine {i:02d}", "workload": WORKLOAD, "cap_cores": 1, "load": {"kind": "poisson", "rate_per_s": share * rate_per_core}}
        for i, share in enumerate(wanted)
        if share > 0.0
    ]
    run = Run(duration_s=QUICK_SECONDS if quick else SECONDS, replications=2 if quick else REPLICATIONS, seed=seed)
    names = {"name": "slots", "platform": platform, "machine": MACHINE, "override": {f"{MACHINE}.cores": cores}}
    scenario = Scenario.model_validate({**names, "tenants": tenants, "run": run})
    factors = {
        "platform": platform,
        "workload": WORKLOAD,
        "slot": slot,
        "cores": cores,
        "overcommit": len(wanted) / cores,
        "load": float(wanted.sum()) / cores,
    }
    return Point(factors=factors, scenario=scenario)


# --- Answer ----------------------------------------------------------------------------------------------------------


def ratios(trace: str | None, seed: int, draws: int) -> pd.DataFrame:
    """Overcommit ratio by number of machines and by the share of slots that must fit."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    used, vcpus, _ = demand(trace, seed)
    rng = Streams(seed).stream("draws")
    rows = []
    for size in [size for size in SIZES if size <= len(used)]:
        found = consolidate(used, vcpus, size, SHARES, rng, draws)
        cells = zip(found.shares, found.ratios, found.low, found.high, strict=True)
        rows += [
            {"machines": size, "slots": found.slots, "share_fits": s, "ratio": r, "low": low, "high": high} for s, r, low, high in cells
        ]
    return pd.DataFrame(rows)


def tails(results: Results, trace: str | None) -> pd.DataFrame:
    """By platform and ratio: the 99th percentile of all machines' requests, by slot; missing if the processors are full in any slot.

    A full host serves no more than it can, and the requests that it leaves waiting have no response time.
    """
    import pandas as pd  # noqa: PLC0415 - slow to import

    used = demand(trace, results.outcomes[0].point.scenario.run.seed)[0]
    hosts = np.array([used[i : i + MACHINES].sum(axis=0) for i in range(0, len(used) - MACHINES + 1, MACHINES)]).ravel()
    slots: dict[tuple[str, int], list[tuple[float, bool]]] = {}
    for outcome in results.outcomes:
        factors = outcome.point.factors
        slots.setdefault((str(factors["platform"]), int(str(factors["cores"]))), []).append(_slot(outcome.runs))
    rows = []
    for (platform, cores), found in sorted(slots.items(), key=lambda item: (item[0][0], -item[0][1])):
        full = sum(is_full for _, is_full in found)
        p99_s = [nan, nan, nan] if full else np.quantile([p99 for p99, _ in found], (0.0, 0.5, 1.0)).tolist()
        names = ("p99_low_s", "p99_median_s", "p99_high_s")
        cells = {
            "platform": platform,
            "cores": cores,
            "overcommit": MACHINES / cores,
            "slots_that_fit": slots_that_fit(hosts, float(cores)),
        }
        rows.append({**cells, **dict(zip(names, p99_s, strict=True)), "slots": len(found), "slots_full": full})
    return pd.DataFrame(rows)


def _slot(runs: Sequence[RunOutcome]) -> tuple[float, bool]:
    """The 99th percentile of all requests of a slot, and whether its processors were full in most replications."""
    every = LatencyHistogram()
    for run in runs:
        for tenant in run.tenants:
            every += tenant.histogram
    return every.quantile(0.99), sum(run.cpu_utilization > FULL for run in runs) > len(runs) / 2


def charts(trace: str | None, results: Results) -> dict[str, bytes]:
    """Both answers as SVG and PNG."""
    seed, quick = results.outcomes[0].point.scenario.run.seed, _is_quick(results)
    with chart_style():
        ratio = _ratio_chart(ratios(trace, seed, QUICK_DRAWS if quick else DRAWS), demand(trace, seed)[2], QUICK_DRAWS if quick else DRAWS)
        tail = _tail_chart(tails(results, trace), results, demand(trace, seed)[2])
        return {**render(ratio, "overcommit_ratio"), **render(tail, "overcommit_tail")}


def _is_quick(results: Results) -> bool:
    return results.outcomes[0].point.scenario.run.duration_s < SECONDS


def _figure(title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, title)
    return figure, figure.subplots()


SHADES: Final = ("#56B4E9", "#009E73", "#0072B2", "#D55E00", "#B8578F", "#000000")


def _ratio_chart(table: pd.DataFrame, source: str, draws: int) -> Figure:
    figure, axes = _figure("Overcommit ratio at which so many of the 5-minute slots fit")
    places = range(len(SHARES))
    for i, (size, own) in enumerate(table.groupby("machines")):
        if size in (SIZES[1], max(table["machines"])):
            axes.fill_between(places, own["low"], own["high"], color=SHADES[i], alpha=0.15, linewidth=0)
        axes.plot(places, own["ratio"], color=SHADES[i], label=f"{size} machines", **line_of(i))
    axes.set_xticks(list(places), [f"{100 * share:g} %" for share in SHARES])
    axes.set_xlabel("Share of slots in which the machines get all they ask for")
    axes.set_ylabel("Virtual processors per core")
    axes.set_ylim(bottom=0.0)
    axes.legend(loc="upper right", ncols=2)
    caption = (
        f"Demand: {source}. Machines are drawn at random without repetition; "
        f"lines are medians of {draws} draws, bands (10 "
        "machines and the most) hold 90 % of them. Summed demand only: no overhead of a platform and no queue. Recorded demand "
        "cannot exceed "
        "what a machine was given, so that a machine that was "
        "short then asks for no more here."
    )
    bottom = add_caption(figure, caption, columns=145)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.94))
    return figure


def _tail_chart(table: pd.DataFrame, results: Results, source: str) -> Figure:
    figure, axes = _figure("99th percentile of response time against overcommit, in recorded slots")
    run = results.outcomes[0].point.scenario.run
    shown = [name for name in PLATFORMS if name in set(table["platform"])]
    for i, name in enumerate(shown):
        own, colour = table[table["platform"] == name].sort_values("overcommit"), FAMILIES[results.catalog.platform(name).family].colour
        if name == shown[0]:
            axes.fill_between(own["overcommit"], 1e3 * own["p99_low_s"], 1e3 * own["p99_high_s"], color=colour, alpha=0.10, linewidth=0)
        axes.plot(own["overcommit"], 1e3 * own["p99_median_s"], color=colour, label=name, **line_of(i))
    ticks = table[table["platform"] == shown[0]]
    columns = (ticks["overcommit"], ticks["cores"], ticks["slots_that_fit"])
    labels = [f"{ratio:.3g}\n({cores} cores,\n{fits:.0%} of slots fit)" for ratio, cores, fits in zip(*columns, strict=True)]
    axes.set_xticks(list(ticks["overcommit"]), labels)
    axes.set_xlabel("Virtual processors per core")
    axes.set_ylabel("99th percentile, ms (median of slots)")
    axes.set_ylim(bottom=0.0)
    axes.legend(loc="upper left")
    slots = len({outcome.point.factors["slot"] for outcome in results.outcomes})
    caption = (
        f"Demand: {source}. {MACHINES} machines of one core in {slots} slots drawn at random, each a {WORKLOAD} tenant with Poisson "
        f"arrivals that keep bare metal as busy as the slot says; {run.replications} replications of {run.duration_s:g} s, the same "
        f"arrivals and demands everywhere, fluid CPU sharing. Band: from the quietest to the busiest slot on {shown[0]}. A line ends "
        "where the processors are full in one of the slots. The slots that fit count summed demand alone."
    )
    bottom = add_caption(figure, caption, columns=145)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.94))
    return figure


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """The ratio at which 99 of 100 slots fit, for few and for many machines; what the tail is on each platform."""
    told = []
    fit = at(found["ratios"], share_fits=0.99).sort_values("machines")
    if len(fit):
        few_and_many = (fit.iloc[0], fit.iloc[-1])
        ends = [f"{row.ratio:.1f} ({row.low:.1f} to {row.high:.1f}) for {int(row.machines)} machines" for row in few_and_many]
        told.append(f"99 of 100 slots fit at an overcommit ratio of {' and '.join(ends)}.")
    tails = found["tails"]
    for name in PLATFORMS:
        mine = at(tails, platform=name).sort_values("overcommit")
        if len(mine) >= 2:
            parts = [f"{quantity(row.p99_median_s, 's')} at {row.overcommit:.1f}" for row in (mine.iloc[0], mine.iloc[-1])]
            told.append(f"The 99th percentile of the median slot on {name} goes from {' to '.join(parts)}.")
    return told


def experiment(trace: str | None = None) -> Experiment:
    """The question asked of a recording, or of its stand-in."""
    return Experiment(
        name="overcommit_trace",
        question="How many virtual processors per core does recorded demand allow, and what happens to the tail?",
        expected="the more machines the more; 99 of 100 slots fit at about half of 1 / mean demand; tails grow before slots cease to fit.",
        points=lambda catalog, seed, quick: points(trace, catalog, seed, quick),
        charts=lambda results: charts(trace, results),
        tables=lambda results: {
            "ratios": ratios(trace, results.outcomes[0].point.scenario.run.seed, QUICK_DRAWS if _is_quick(results) else DRAWS),
            "tails": tails(results, trace),
        },
        answer=answer,
        chart="overcommit_ratio",
    )


def main(arguments: Sequence[str]) -> int:
    """Like every experiment, with one option more."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--trace", help="a recording: PlanetLab or Bitbrains, a folder, an archive or a table")
    own, others = parser.parse_known_args(arguments)
    if own.trace is not None:
        try:
            demand(own.trace, 0)
        except SimvirtError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return run_command(experiment(own.trace), others)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
