"""Who goes down when something breaks, what do they lose, and when are they back, on each platform?

Eight equal web services on one machine; containers in virtual machines share them by four. One fault strikes at a time: an application, its
kernel, the program that is its machine, the hypervisor, the lowest kernel, the host; a service VM that stalls, a daemon that is gone. Then
the same platforms over centuries, with the faults that take a tenant down coming at random, against the closed form.

Expected. Blast radius is a matter of where the broken part stands in the tree: a kernel that all containers share takes all of them down, a
guest's kernel takes its own tenant, or the four that share it. What is shared at the bottom is shared by everybody: a hypervisor or a host
that fails makes virtual machines and containers equal. Time to recover is detection plus the platform's own chain of starts: a second for a
container or a process, a few for a micro-VM, ten for a virtual machine, half a minute to minutes for a host. A stalled service VM loses
nothing and delays everybody. Availability is that of the host, whose repair takes people days; where only restarts count, platforms differ
by how many layers there are that can fail and how long these take to start. Simulated availability agrees with the closed form.

Missing. Rates of failure are inputs that a published model assumes, or wider guesses; the same rate is taken for every kernel and every
hypervisor, so that differences between platforms here are those of structure and of starts, not of quality. Starts of several tenants at
a time do not compete for cores and disks. Nobody moves to another machine. Clients of an open loop do not ask again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from simvirt.analysis.availability import layered
from simvirt.analysis.intervals import mean_interval
from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.faults.part import Effect
from simvirt.reports.failures import Cell, down_times, heat_map
from simvirt.reports.rows import estimates
from simvirt.reports.style import chart_style, render
from simvirt.reports.words import brief, ends, listed, number, per_cent
from simvirt.scenario import Fault, Resolved, Run, Scenario, Tenants
from simvirt.scenario.faults import spots
from simvirt.simulation.endurance import endure, shares_of, takes_down
from simvirt.simulation.restarts import Restarts
from simvirt.workloads.arrivals import Poisson

if TYPE_CHECKING:
    import pandas as pd

PLATFORMS: Final = (
    "bare-metal", "docker", "lxc", "gvisor", "docker-in-kvm", "firecracker", "kata", "kvm", "xen-hvm", "esxi", "hyper-v",
    "virtualbox",
)  # fmt: skip
FAULTS: Final = (
    "application-crash", "application-hang", "sandbox-crash", "guest-kernel-panic", "vmm-crash", "container-daemon-crash",
    "service-vm-stall", "hypervisor-crash", "host-kernel-panic", "host-loss",
)  # fmt: skip
TENANTS: Final = 8
PER_VM: Final = {"docker-in-kvm": 4}
VICTIM: Final = "web 1"
MACHINE: Final = "server-2s"
SERVICE: Final = "web-service"
RATE_PER_S: Final = 10.0
STRIKES_S: Final = 5.0
AFTER_S: Final = 10.0
"""That a run goes on after everybody is back."""
REPLICATIONS, QUICK_REPLICATIONS = 3, 2
YEARS, QUICK_YEARS = 100.0, 3.0
RUNS, QUICK_RUNS = 8, 2
YEAR_S: Final = 365 * 86400.0
CONFIDENCE: Final = 0.95
RESTARTS_ONLY: Final = "restarts only"
AS_ASSUMED: Final = "repairs by people, as assumed"


def _scenario(platform: str, faults: tuple[Fault, ...], *, count: int, run: Run) -> Scenario:
    web = Tenants(name="web", workload=SERVICE, load=Poisson(rate_per_s=RATE_PER_S), count=count, per_vm=PER_VM.get(platform, 1))
    return Scenario(name="blast radius", platform=platform, machine=MACHINE, tenants=(web,), faults=faults, run=run)


def _strike(catalog: Catalog, platform: str, name: str, run: Run) -> tuple[Fault, float] | None:
    """One fault as the experiment has it, and how long a run has to be; None if the platform has no such part."""
    profile = catalog.fault(name)
    resolved = Resolved(_scenario(platform, (), count=TENANTS, run=run), catalog)
    places = [spot for spot in spots(profile.breaks, resolved.grounds) if VICTIM in spot.tenants]
    if not places:
        return None
    stalls = profile.effect is Effect.STALL
    chain = Restarts(resolved.scenario, catalog, resolved.grounds).levels(VICTIM, places[0].level)
    chain_s = sum(start.alone_s + TENANTS * start.serial_s for start in chain.values())
    fault = Fault(fault=name, at=(STRIKES_S,), target=VICTIM, repair=profile.repair_s.si if stalls else 0.0)
    return fault, STRIKES_S + profile.detection_s.si + (profile.repair_s.si if stalls else chain_s) + AFTER_S


def points(catalog: Catalog, seed: int, quick: bool) -> list[Point]:
    """Each fault on each platform that has the part."""
    run = Run(warm_up_fraction=0.0, replications=QUICK_REPLICATIONS if quick else REPLICATIONS, seed=seed, confidence=CONFIDENCE)
    found = []
    for platform in PLATFORMS[::5] if quick else PLATFORMS:
        for name in FAULTS:
            struck = _strike(catalog, platform, name, run)
            if struck is not None:
                fault, duration_s = struck
                scenario = _scenario(platform, (fault,), count=TENANTS, run=run.model_copy(update={"duration_s": duration_s}))
                found.append(Point(factors={"scenario": name, "platform": platform, "workload": SERVICE}, scenario=scenario))
    return found


# --- Answer ----------------------------------------------------------------------------------------------------------


def blast(results: Results) -> pd.DataFrame:
    """Each fault on each platform: instances and tenants hit, requests lost, time to recover, each over replications."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = []
    for outcome in results.outcomes:
        events = [event for run in outcome.runs if run.faults is not None for event in run.faults.events]
        lost = mean_interval([float(event.requests_lost) for event in events], CONFIDENCE)
        recovery = mean_interval([event.recovery_s for event in events], CONFIDENCE)
        rows.append(
            {
                "fault": outcome.point.factors["scenario"], "platform": outcome.point.factors["platform"],
                "instances_hit": events[0].instances_hit, "tenants_hit": len(events[0].victims), "tenants": TENANTS,
                "requests_lost": lost.mean, "requests_lost_half_width": lost.half_width, "time_to_recover_s": recovery.mean,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


@cache
def _years(platforms: tuple[str, ...], seed: int, quick: bool) -> tuple[dict[str, Any], ...]:
    """Availability of one tenant alone on each platform, simulated and by the closed form."""
    return tuple(row for platform in platforms for row in _of_platform(Catalog.builtin(), platform, seed, quick))


def _of_platform(catalog: Catalog, platform: str, seed: int, quick: bool) -> Iterator[dict[str, Any]]:
    years, runs = (QUICK_YEARS, QUICK_RUNS) if quick else (YEARS, RUNS)
    bare = _scenario(platform, (), count=1, run=Run(seed=seed))
    grounds = Resolved(bare, catalog).grounds
    there = [one for name in FAULTS if takes_down(one := catalog.fault(name)) and spots(one.breaks, grounds)]
    sets = {
        AS_ASSUMED: tuple(Fault(fault=one.name) for one in there),
        RESTARTS_ONLY: tuple(
            Fault(fault=one.name, repair=None if one.effect is Effect.STALL else 0.0) for one in there if one.name != "host-loss"
        ),
    }
    for words, faults in sets.items():
        scenario = bare.model_copy(update={"faults": faults})
        found = mean_interval([endure(scenario, catalog, years * YEAR_S, i).tenants[0].availability for i in range(runs)], CONFIDENCE)
        layers: dict[int, list[tuple[float, float]]] = {}
        for share in shares_of(scenario, catalog, "web"):
            layers.setdefault(share.level, []).append((share.mtbf_s, share.down_s))
        yield {
            "platform": platform, "faults": words, "years": years, "runs": runs, "availability": found.mean,
            "half_width": found.half_width, "closed_form": layered(layers.values()),
        }  # fmt: skip


def availability(results: Results) -> pd.DataFrame:
    """Over centuries, against the closed form."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.DataFrame(_years(*_asked(results)))


def _asked(results: Results) -> tuple[tuple[str, ...], int, bool]:
    """Platforms, seed and size of what was run."""
    platforms = tuple(dict.fromkeys(str(outcome.point.factors["platform"]) for outcome in results.outcomes))
    run = results.outcomes[0].point.scenario.run
    return platforms, run.seed, run.replications == QUICK_REPLICATIONS


def tables(results: Results) -> dict[str, pd.DataFrame]:
    return {"blast": blast(results), "availability": availability(results)}


SETTING: Final = (
    f"{TENANTS} web services of {RATE_PER_S:g} requests/s on {MACHINE}; containers in virtual machines share them by four. One fault "
    f"at {STRIKES_S:g} s, with nothing to repair but what has to be started again."
)
ASSUMED: Final = "Times of detection are assumed; chains of starts are those of the profiles, nobody else being on cores and disks."


def charts(results: Results) -> dict[str, bytes]:
    """Every chart as SVG and PNG."""
    table = blast(results)
    files: dict[str, bytes] = {}
    platforms = list(dict.fromkeys(table["platform"]))
    faults = [name for name in FAULTS if name in set(table["fault"])]
    runs = f"{results.outcomes[0].point.scenario.run.replications} replications."

    parts = f"{SETTING} Grey: the platform has no such part."
    maps = (
        ("tenants_hit", f"Blast radius: tenants that one fault takes down, of {TENANTS}", "Tenants hit", "{:.0f}", float(TENANTS),
         f"{parts} Computed from the tree of instances; containers outlive their daemon."),
        ("time_to_recover_s", "Time until all victims are served again", "Time to recover (s)", "{:.3g} s", None, f"{parts} {ASSUMED}"),
        ("requests_lost", "Requests lost, all victims together", "Requests lost", "{:.0f}", None,
         f"{parts} {ASSUMED} Mean of {runs} A stall delays and loses nothing."),
    )  # fmt: skip
    with chart_style():
        for column, title, label, form, most, caption in maps:
            cells = {
                (row["fault"], row["platform"]): Cell(row[column], "none" if isnan(row[column]) else form.format(row[column]))
                for row in table.to_dict("records")
            }
            figure = heat_map(cells, faults, platforms, title=title, caption=caption, label=label, most=most)
            files |= render(figure, column)
        files |= render(_availability_chart(results, platforms), "availability")
    return files


def _availability_chart(results: Results, platforms: list[str]) -> Any:
    frame = availability(results)
    caption = (
        f"One tenant, {frame['years'][0]:g} years in each of {frame['runs'][0]} runs; circles, 95 % intervals: simulated; diamonds: the "
        "closed form, a product over layers of 1 / (1 + sum of down time / time to failure). Left: repairs by people as a published model "
        "assumes them (host 72 h, hypervisor 100 min, guest 30 min). Right: without loss of the host, all is back once found and "
        "started. Rates of failure are assumed and the same for all; differences between platforms are those of structure and starts."
    )
    return down_times(frame, platforms, (AS_ASSUMED, RESTARTS_ONLY), title="Down time of one tenant", caption=caption)


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """Whom one fault hits, until when and at what loss, and what that comes to in a year."""
    table = found["blast"]
    hits: dict[str, list[str]] = {}
    back = []
    for name, own in table.groupby("fault", sort=False):
        hits.setdefault(_hits(estimates(own, "platform", "tenants_hit")), []).append(str(name))
        recovery = estimates(own, "platform", "time_to_recover_s")
        back += [f"{name} {ends(recovery, lambda seconds: brief(seconds, 's'))}"] if recovery else []
    told = "; ".join(f"{count} by {listed(hits[count])}" for count in sorted(hits))
    most = table.loc[table["requests_lost"].idxmax()]
    return [
        f"Tenants that one fault hits, of {table['tenants'].iloc[0]}: {told}.",
        f"Time until all of them are served again, by fault: {'; '.join(back)}.",
        f"Most requests are lost by {most['fault']} on {most['platform']}: {number(most['requests_lost'])}.",
        *_down_sentences(found["availability"]),
    ]


def _hits(tenants: Mapping[str, float]) -> str:
    """How many are hit on most platforms, and where it is another number."""
    platforms: dict[float, list[str]] = {}
    for platform, count in tenants.items():
        platforms.setdefault(count, []).append(platform)
    usual = max(platforms, key=lambda count: len(platforms[count]))
    others = ", ".join(f"{count:g} on {listed(names)}" for count, names in platforms.items() if count != usual)
    return f"{usual:g}{f' ({others})' if others else ''}"


def _down_sentences(table: pd.DataFrame) -> Iterator[str]:
    """Down time in a year by what fails, and how far the closed form is from it."""
    told = []

    def tell(hours: float) -> str:
        return f"{number(hours)} h" if hours >= 1 else f"{number(60 * hours)} min"

    for faults, own in table.groupby("faults", sort=False):
        down_h = {row["platform"]: (1 - row["availability"]) * YEAR_S / 3600 for row in own.to_dict("records")}
        best, worst = (own.loc[own["availability"].idxmax()], own.loc[own["availability"].idxmin()])
        alike = best["availability"] - best["half_width"] <= worst["availability"] + worst["half_width"]
        off = max(abs((1 - row["closed_form"]) / (1 - row["availability"]) - 1) for row in own.to_dict("records"))
        doubt = "intervals overlap, " if alike else ""
        told.append(f"{ends(down_h, tell)} with {faults} ({doubt}closed forms within {per_cent(off)})")
    if told:
        yield f"Down time of a tenant in a year: {'; '.join(told)}."


EXPERIMENT = Experiment(
    name="blast_radius",
    question="Who goes down when something breaks, what do they lose, and when are they back, on each platform?",
    expected="the subtree of what breaks; back after detection and the platform's chain of starts; availability as closed forms say.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="tenants_hit",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
