"""What does a tenant cost in processor time, memory and energy, on each platform?

Equal web services, as many as share one server of 12 cores on every platform, at three rates: hardly anything, some, much. Systems of
virtual machines have their timers and daemons. Processor time is what the machine was busy for, leaving idle states included; memory is
what each tenant takes of the machine; power is that of a published curve at the utilization found, shared equally.

Expected. When little is asked for, a server draws a quarter of its full power for nothing, and a tenant costs its part of that whatever the
platform; then platforms differ by how many fit, which memory decides. The more is asked for, the more the price of a request shows: energy
differs less than processor time, as the curve is flat where servers are busy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from simvirt.analysis.intervals import mean_interval
from simvirt.analysis.power import PowerCurve
from simvirt.catalog import Catalog
from simvirt.density import Crowd, limits_of
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.rows import at, estimates
from simvirt.reports.style import FAMILIES, SIZE_IN, add_caption, add_title, chart_style, render
from simvirt.reports.words import brief, ends, number, per_cent
from simvirt.scenario import Run, Scenario

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MACHINE: Final = "small-server"
OVERRIDE: Final[dict[str, float | str]] = {f"{MACHINE}.cores": 12.0}
CORES: Final = 12
CURVE: Final = PowerCurve((58.4, 98.0, 109.0, 118.0, 128.0, 140.0, 153.0, 170.0, 189.0, 205.0, 222.0))
"""Watts of an IBM System x3550 M3 with 12 cores, idle to full (specpower-x3550-m3)."""
PLATFORMS: Final = ("bare-metal", "docker", "gvisor", "kvm", "xen-pv", "firecracker", "virtualbox")
SERVICE: Final = "web-service"
TENANTS: Final = 24
RATES: Final = (1.0, 40.0, 150.0)
"""Requests per second of each tenant."""
SECONDS, QUICK_SECONDS = 2.0, 0.3
REPLICATIONS, QUICK_REPLICATIONS = 3, 2
CONFIDENCE: Final = 0.95


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    """Every platform at every rate."""
    return list(_points(seed, quick))


def _points(seed: int, quick: bool) -> Iterator[Point]:
    run = Run(
        duration_s=QUICK_SECONDS if quick else SECONDS,
        replications=QUICK_REPLICATIONS if quick else REPLICATIONS,
        seed=seed,
        confidence=CONFIDENCE,
    )
    for rate in RATES[1:2] if quick else RATES:
        for platform in PLATFORMS[1:4:2] if quick else PLATFORMS:
            yield Point(factors={"platform": platform, "workload": SERVICE, "rate_per_s": rate}, scenario=_scenario(platform, rate, run))


def _scenario(platform: str, rate: float, run: Run) -> Scenario:
    tenants: list[dict[str, Any]] = [
        {"name": "web", "workload": SERVICE, "count": TENANTS, "load": {"kind": "poisson", "rate_per_s": rate}}
    ]
    names = {"name": "cost", "platform": platform, "machine": MACHINE, "override": OVERRIDE, "background": True}
    return Scenario.model_validate({**names, "tenants": tenants, "run": run})


def costs(results: Results) -> pd.DataFrame:
    """Per tenant: cores, memory, watts, joules per request, each with its half-width over replications."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = []
    for outcome in results.outcomes:
        busy = [run.cpu_utilization for run in outcome.runs]
        cores = mean_interval([CORES * one / TENANTS for one in busy], CONFIDENCE)
        watts = mean_interval([CURVE.at(min(1.0, one)) / TENANTS for one in busy], CONFIDENCE)
        scenario = outcome.point.scenario
        assert isinstance(scenario, Scenario)
        fit = next(limit.tenants for limit in limits_of(Crowd(scenario), results.catalog) if limit.resource == "memory")
        rate = float(str(outcome.point.factors["rate_per_s"]))
        rows.append({
            **outcome.point.factors,
            "cores_per_tenant": cores.mean,
            "cores_half_width": cores.half_width,
            "memory_bytes_per_tenant": results.catalog.hardware(MACHINE).memory_bytes.si / fit,
            "watts_per_tenant": watts.mean,
            "watts_half_width": watts.half_width,
            "joules_per_request": watts.mean / rate,
        })  # fmt: skip
    return pd.DataFrame(rows)


def charts(results: Results) -> dict[str, bytes]:
    """Cores, memory and watts per tenant."""
    with chart_style():
        return render(_figure(results, costs(results)), "cost_per_tenant")


def _figure(results: Results, table: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, f"What one of {TENANTS} equal tenants costs")
    panels = figure.subplots(1, 3, sharey=True)
    names = list(dict.fromkeys(table["platform"]))
    rates = sorted(set(table["rate_per_s"]))
    height = 0.8 / len(rates)
    columns = (
        ("cores_per_tenant", "cores_half_width", 1e3, "Processor time, thousandths of a core"),
        ("memory_bytes_per_tenant", None, 2.0**-20, "Memory, MiB"),
        ("watts_per_tenant", "watts_half_width", 1.0, "Power, W"),
    )
    for axis, (column, half_width, factor, label) in zip(panels, columns, strict=True):
        for i, rate in enumerate(rates):
            own = table[table["rate_per_s"] == rate].set_index("platform").loc[names]
            places = [k + (i - (len(rates) - 1) / 2) * height for k in range(len(names))]
            colours = [FAMILIES[results.catalog.platform(name).family].colour for name in names]
            spread = None if half_width is None else factor * own[half_width]
            shade = 0.35 + 0.65 * (i + 1) / len(rates)
            drawn = axis.barh(places, factor * own[column], height, color=colours, alpha=shade, xerr=spread, capsize=2)
            if column == "watts_per_tenant":
                axis.bar_label(drawn, [f"{rate:g} /s"] * len(names), padding=12, fontsize=9)
        axis.set_xlabel(label)
        axis.grid(visible=False, axis="y")
        axis.margins(x=0.2)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    run = results.outcomes[0].point.scenario.run
    caption = (
        f"{SERVICE} tenants with Poisson arrivals at the rates beside the bars, on {CORES} cores of {MACHINE}; {run.replications} "
        f"replications of {run.duration_s:g} s, {100 * CONFIDENCE:g} % intervals. Idle systems of virtual machines wake up (one measured "
        "rate, assumed work). Processor time includes leaving idle states. Power: the SPECpower curve of an IBM x3550 M3 of 2011 "
        "(idle 58.4 W, full 222 W), shared equally: an assumption about another machine with as many cores."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.94))
    return figure


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """Memory, then processor time and power at each rate: the cheapest platform and the dearest."""
    table = found["costs"]
    memory = estimates(table.drop_duplicates("platform"), "platform", "memory_bytes_per_tenant")
    rates = sorted(set(table["rate_per_s"]), reverse=True)
    first, *others = (_at_rate(at(table, rate_per_s=rate), rate) for rate in rates)
    kept = ends(memory, lambda size: f"{number(2.0**-20 * size)} MiB")
    return [f"At {first}; it keeps {kept} of memory.", *(f"At {one}." for one in others)]


def _at_rate(rows: pd.DataFrame, rate: float) -> str:
    """Processor time and power at one rate, with how much more the dearest takes than the cheapest."""
    cores, watts = (estimates(rows, "platform", column) for column in ("cores_per_tenant", "watts_per_tenant"))
    more = [f"{per_cent(max(values.values()) / min(values.values()) - 1)} more" for values in (cores, watts)]
    return (
        f"{rate:g} request{'' if rate == 1 else 's'}/s a tenant takes {ends({name: 1e3 * value for name, value in cores.items()}, number)} "
        f"thousandths of a core ({more[0]}) and {ends(watts, lambda power: brief(power, 'W'))} ({more[1]})"
    )


EXPERIMENT = Experiment(
    name="cost_per_tenant",
    question="What does a tenant cost in processor time, memory and energy, on each platform?",
    expected="idle tenants cost their part of an idle server, and the memory that decides how many share it; busy ones by request.",
    points=points,
    charts=charts,
    tables=lambda results: {"costs": costs(results)},
    answer=answer,
    chart="cost_per_tenant",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
