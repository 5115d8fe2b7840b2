"""How many tenants does one server carry within a service level, on which platform, and what gives out first?

Four parts. *Services*: web services of 200 requests/s and key-value stores of 2,000 /s each. *Idle*: web services that are hardly asked for
anything, with the timers and daemons of idle systems in virtual machines; these are bounds of resources, nothing needs to run. *Noisy*:
for every two services one batch job of 16 threads that nobody limits, or that is limited to one core. *Idle processors*: what a thousand
idle machines take of the host of a published measurement.

Expected. Busy services fit by what a request costs, so that platforms differ by their overhead per request; cores give out. Idle ones fit
by memory: more containers than virtual machines, by the ratio of what each takes. Of noisy tenants without limits fewer fit in containers,
where a job has all cores that there are, than in virtual machines, where it has its virtual processors; a limit makes up for it.

Found. Services and idle tenants as expected. *Noisy tenants not*: 19 fit in containers without limits, 18 in virtual machines, and a limit
changes nothing. Control groups of equal weight, shared as a fluid, give a job no more than its part as soon as others want theirs; what
wakes up waits for nobody. Nor does noise reach caches or memory here. So this does not show that containers suffer more; schedulers
with slices, floods of processes and memory without limits are not in it.

The answers stand in `density.csv`, with trials in `trials.csv`; `runs.csv` are further replications at the answer and at one tenant more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from math import floor
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.commands.density import trial_cells
from simvirt.density import Crowd, Density, Question, limits_of, survey
from simvirt.density.limits import background_cpu_s
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point
from simvirt.experiment.study import Experiment, Results
from simvirt.reports.rows import at, estimates
from simvirt.reports.style import FAMILIES, SIZE_IN, add_caption, add_title, chart_style, render
from simvirt.reports.words import by_value, listed, per_cent
from simvirt.scenario import Run, Scenario
from simvirt.slo import Slo

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MACHINE: Final = "small-server"
PLATFORMS: Final = ("bare-metal", "docker", "gvisor", "kvm", "xen-pv", "virtualbox")
IDLE_PLATFORMS: Final = (*PLATFORMS, "lxc", "firecracker", "esxi", "hyper-v", "docker-in-kvm")
SERVICES: Final[Mapping[str, tuple[float, str]]] = {"web-service": (200.0, "p95 < 6 ms"), "key-value-store": (2000.0, "p95 < 1 ms")}
"""Requests per second of each tenant, and what is promised."""
NOISY_PLATFORMS: Final = ("docker", "kvm")
NOISY_SLO: Final = "p95 < 6 ms for web"
LIMITS: Final[Mapping[str, dict[str, float]]] = {"none": {}, "one core": {"cap_cores": 1.0}}
REQUESTS, QUICK_REQUESTS = 800.0, 300.0
QUICK_SLO: Final = "mean < 5 ms"
CONFIDENCE: Final = 0.95
REPLICATIONS: Final = 2

GUESTS: Final = 1000
MEASURED: Final = {"Debian": 0.243, "Tinyx": 0.0115, "Docker": 0.0013}
"""Of four cores at 3.7 GHz with about a thousand guests (manco-sosp17-idle)."""


def _scenario(platform: str, tenants: list[dict[str, Any]], seed: int, **more: Any) -> Scenario:
    run = Run(duration_s=1.0, replications=REPLICATIONS, seed=seed)
    return Scenario.model_validate({"platform": platform, "machine": MACHINE, "tenants": tenants, "run": run, **more})


def _service(workload: str) -> dict[str, Any]:
    return {"name": "web", "workload": workload, "vcpus": 2, "load": {"kind": "poisson", "rate_per_s": SERVICES[workload][0]}}


def _noisy(limits: dict[str, float]) -> list[dict[str, Any]]:
    load = {"kind": "closed", "clients": 16, "think": {"kind": "constant", "value": 0}}
    batch = {"name": "batch", "workload": "batch-compute", "threads": 16, "vcpus": 2, "load": load, **limits}
    return [_service("web-service") | {"count": 2}, batch]


def _questions(seed: int, quick: bool) -> Iterator[tuple[dict[str, str], Question]]:
    requests = QUICK_REQUESTS if quick else REQUESTS
    for workload, (_, promised) in list(SERVICES.items())[: 1 if quick else None]:
        slo = Slo.parse(QUICK_SLO if quick else promised)
        for platform in PLATFORMS[:2] if quick else PLATFORMS:
            crowd = Crowd(_scenario(platform, [_service(workload)], seed), requests=requests)
            labels = {"platform": platform, "workload": workload, "noise": "no", "limits": "none"}
            yield labels, Question(crowd=crowd, slo=slo, confidence=CONFIDENCE)
    if quick:
        return
    for platform in NOISY_PLATFORMS:
        for name, limits in LIMITS.items():
            crowd = Crowd(_scenario(platform, _noisy(limits), seed), mix=True, requests=requests)
            labels = {"platform": platform, "workload": "web-service", "noise": "yes", "limits": name}
            yield labels, Question(crowd=crowd, slo=Slo.parse(NOISY_SLO), confidence=CONFIDENCE)


@cache
def answers(seed: int, quick: bool) -> tuple[tuple[dict[str, str], Crowd, Slo, Density], ...]:
    """Every question with its answer; searched once."""
    asked = list(_questions(seed, quick))
    found = survey([question for _, question in asked], workers=1 if quick else None)
    pairs = zip(asked, found, strict=True)
    return tuple((labels, question.crowd, question.slo, one) for (labels, question), one in pairs if isinstance(one, Density))


def points(catalog: Catalog, seed: int, quick: bool) -> list[Point]:
    """Replications of another seed at each answer, and at one tenant more where resources allow it."""
    found = []
    for labels, crowd, slo, density in answers(seed, quick):
        most = min(limit.whole for limit in density.limits)
        for more in (0, 1):
            n = density.tenants + more
            if crowd.fewest <= n <= most:
                scenario = crowd.at(n, catalog, slo)
                run = scenario.run.model_copy(update={"seed": seed + 1, "replications": REPLICATIONS})
                factors = {**labels, "tenants": n, "beyond": more}
                found.append(Point(factors=factors, scenario=scenario.model_copy(update={"run": run})))
    return found


# --- Answer ----------------------------------------------------------------------------------------------------------


def densities(seed: int, quick: bool) -> pd.DataFrame:
    """One row per question."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.DataFrame([_cells(labels, slo, density) for labels, _, slo, density in answers(seed, quick)])


def _cells(labels: dict[str, str], slo: Slo, density: Density) -> dict[str, object]:
    following = density.next_limit
    return {
        **labels,
        "promise": str(slo),
        "tenants": density.tenants,
        "gives_out": density.binding,
        "next_bound": "" if following is None else following.resource,
        "next_bound_tenants": float("nan") if following is None else following.tenants,
        "confirmed": density.is_confirmed,
        "one_more_may_do": density.may_be_more,
        "undecided": " ".join(map(str, density.undecided)),
        "runs": density.runs,
        "requests": density.requests,
    }


def trials(seed: int, quick: bool) -> pd.DataFrame:
    """Every trial of every search."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.DataFrame([{**labels, **cell} for labels, _, _, density in answers(seed, quick) for cell in trial_cells(density)])


def idle(catalog: Catalog, seed: int) -> pd.DataFrame:
    """How many idle services fit by what resources allow, and by what."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    service = {"name": "idle", "workload": "web-service", "load": {"kind": "poisson", "rate_per_s": 0.1}}
    rows = []
    for platform in IDLE_PLATFORMS:
        limits = limits_of(Crowd(_scenario(platform, [service], seed, background=True)), catalog)
        by_name = {limit.resource: limit for limit in reversed(limits)}
        cells = {"tenants": limits[0].whole, "gives_out": limits[0].resource, "by_memory": by_name["memory"].tenants}
        rows.append({"platform": platform, **cells, "by_cpu": by_name["CPU"].tenants, "why": limits[0].reason})
    return pd.DataFrame(rows)


def idle_processors(catalog: Catalog) -> pd.DataFrame:
    """Share of four cores at 3.7 GHz that a thousand idle machines of a Xen host take, as the profile says and at the ends of its range."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    stack = catalog.stack("xen-pv", MACHINE, {f"{MACHINE}.clock_hz": "3.7 GHz"})
    level = stack.kernel_level(len(stack.layers) - 1)
    background = catalog.layer_memory(stack.layers[level].name).background
    assert background is not None
    low, high = (replace(background, wakeups_per_s=background.wakeups_per_s.at(end)) for end in ("low", "high"))
    systems = {"low": low, "value": background, "high": high}
    at = {name: GUESTS * background_cpu_s(stack, level, one) / 4 for name, one in systems.items()}
    rows = (
        ("Debian", at["value"], "as the profile says"),
        ("Tinyx", at["low"], "low end of the range"),
        ("Docker", 0.0, "shims not modelled"),
    )
    ends = {"low": at["low"], "high": at["high"]}
    return pd.DataFrame(
        [{"guest": guest, "measured": MEASURED[guest], "predicted": share, **ends, "how": how} for guest, share, how in rows]
    )


def tables(results: Results) -> dict[str, pd.DataFrame]:
    """The four answers."""
    seed, quick = _how(results)
    named = {"density": densities(seed, quick), "trials": trials(seed, quick)}
    return {**named, "idle": idle(results.catalog, seed), "idle_processors": idle_processors(results.catalog)}


def _how(results: Results) -> tuple[int, bool]:
    seed = results.outcomes[0].point.scenario.run.seed - 1
    return seed, len({outcome.point.factors["platform"] for outcome in results.outcomes}) <= 2


def charts(results: Results) -> dict[str, bytes]:
    """Tenants per host: services, noisy neighbours, idle."""
    seed, quick = _how(results)
    with chart_style():
        services = _bars(results, densities(seed, quick), quick)
        return {**render(services, "tenants_per_host"), **render(_idle_bars(results, idle(results.catalog, seed)), "idle_tenants")}


def _bars(results: Results, table: pd.DataFrame, quick: bool) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, "Tenants per host within the service level")
    quiet = [(workload, own) for workload, own in table[table["noise"] == "no"].groupby("workload", sort=False)]
    noisy = table[table["noise"] == "yes"]
    panels = [*quiet, *([("web-service, a third noisy", noisy)] if len(noisy) else [])]
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, own) in zip(axes, panels, strict=True):
        labels = [f"{p}\n(limit: {how})" if "noisy" in title else p for p, how in zip(own["platform"], own["limits"], strict=True)]
        colours = [FAMILIES[results.catalog.platform(name).family].colour for name in own["platform"]]
        drawn = axis.barh(range(len(own)), own["tenants"], color=colours)
        words = [f"{n}  {why}" for n, why in zip(own["tenants"], own["gives_out"], strict=True)]
        axis.bar_label(drawn, words, padding=4, fontsize=11)
        axis.set_yticks(range(len(own)), labels)
        axis.invert_yaxis()
        axis.set_xlim(0, 1.6 * max(1, own["tenants"].max()))
        axis.set_title(f"{title}\n{own['promise'].iloc[0]}", loc="left")
        axis.set_xlabel("Tenants on 8 cores")
        axis.grid(visible=False, axis="y")
    caption = (
        f"On machine {MACHINE}, fluid CPU sharing. Beside each bar: what gives out first. Each number keeps its promise at 95 % confidence "
        "and again in independent replications; one more does not, or a resource is full by the utilization law. Noisy: one batch job of "
        "16 threads for every two services, all with 2 virtual processors where there are any; the bars count all of them."
    )
    bottom = add_caption(figure, caption if not quick else f"A quick run. {caption}")
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.94))
    return figure


def _idle_bars(results: Results, table: pd.DataFrame) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, "Idle tenants per host")
    axes = figure.subplots()
    own = table.sort_values("tenants", kind="stable")
    colours = [FAMILIES[results.catalog.platform(name).family].colour for name in own["platform"]]
    drawn = axes.barh(range(len(own)), own["tenants"], color=colours)
    cells = zip(own["tenants"], own["gives_out"], own["by_cpu"], strict=True)
    words = [f"{n}  ({why}; processors at {floor(cpu):,})" for n, why, cpu in cells]
    axes.bar_label(drawn, words, padding=4, fontsize=11)
    axes.set_yticks(range(len(own)), own["platform"])
    axes.set_xlim(0, 1.5 * own["tenants"].max())
    axes.set_xlabel("Idle web services on a host of 64 GiB and 8 cores")
    axes.grid(visible=False, axis="y")
    caption = (
        "Bounds of resources, not simulated. A service keeps its memory whether it is asked for anything or not; systems of virtual "
        "machines wake up 25 times a second (from a comment of 2023 on one distribution; range 2 to 100) for 10 us (assumed). No "
        "overcommitment; machines have the smallest size, in steps of 128 MiB, that leaves a fifth free."
    )
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.94))
    return figure


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """How many fit and what gives out: services, noisy ones, idle ones; and what idle machines take of processors."""
    table, idle_ones = found["density"], found["idle"]
    quiet = [
        f"of {workload} within {own['promise'].iloc[0]}: {by_value(estimates(own, 'platform', 'tenants'), _whole)}, {_gives_out(own)}"
        for workload, own in at(table, noise="no").groupby("workload", sort=False)
    ]
    noisy = [
        f"{platform} {by_value(estimates(own, 'limits', 'tenants'), _whole)}"
        for platform, own in at(table, noise="yes").groupby("platform", sort=False)
    ]
    shares = [
        f"{row['guest']} {per_cent(row['predicted'])}, measured {per_cent(row['measured'])} ({row['how']})"
        for row in found["idle_processors"].to_dict("records")
    ]
    return [
        f"One server carries, {'; '.join(quiet)}.",
        *([f"Where a third are batch jobs it carries, by the limit on a job: {'; '.join(noisy)}."] if noisy else []),
        f"Of idle services it carries {by_value(estimates(idle_ones, 'platform', 'by_memory'), _whole)}, {_gives_out(idle_ones)}.",
        f"What {GUESTS:,} idle guests take of four cores: {'; '.join(shares)}.",
    ]


def _whole(tenants: float) -> str:
    return f"{floor(tenants):,}"


def _gives_out(rows: pd.DataFrame) -> str:
    """What gives out first on most platforms, and where it is something else."""
    platforms = {str(what): list(own["platform"]) for what, own in rows.groupby("gives_out", sort=False)}
    usual = max(platforms, key=lambda what: len(platforms[what]))
    others = "".join(f" (on {listed(names)} {what})" for what, names in platforms.items() if what != usual)
    return f"until {usual} gives out{others}"


EXPERIMENT = Experiment(
    name="density",
    question="How many tenants does one server carry within a service level, on which platform, and what gives out first?",
    expected="busy services by cost per request, idle ones by memory; fewer noisy ones in containers without limits than in machines.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="tenants_per_host",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
