"""What does a neighbour that misbehaves do to the others, by kind of misbehaviour, by platform, and by whether it is limited?

Two parts. *Today*: each stressor beside a service, both as tenants of their own, on platforms of today, without limits and with one for
each resource. *Published*: four tables of isolation (Barham et al. 2003, section 4.4; the Isolation Benchmark Suite of Matthews et al.
2007; Xavier et al. 2013; Sharma et al. 2016) on platforms of their time, whose profiles say which limits there were. Nothing is set from
a disturbed row: what a tenant loses against the same run without the stressor is a prediction.

Expected. Where tenants share a kernel they share its tables and its memory, so that a fork bomb, a memory bomb, or somebody who fills
the disk or a table ends the others' work, unless there is a limit of just that resource; computing, which every platform divides, is no
matter. Virtual machines have a kernel each and lose nothing of this; the disk, the wire and the threads that serve them are shared by all.

A cell says *did not respond* where a group completes nothing in the window. Cells in which the two tables that have OpenVZ or Xen in
common contradict each other (one below 2 %, the other not; or a response in one only) are listed and not scored. For OpenVZ the limits of
its sample configuration are taken (memory, processes), as Matthews' table shows them at work; Xavier's shows them absent.

Missing. Memory of the machines' own system while it swaps, kernel locks that a storm contends for, and what a full table does to daemons.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point, PointOutcome
from simvirt.experiment.study import Experiment, Results
from simvirt.isolation.disturbance import Disturbance, PhasedOutcome
from simvirt.isolation.effect import Effect, effect_on
from simvirt.reports.heat_map import Cell, HeatMap, heat_maps
from simvirt.reports.rows import at, estimates
from simvirt.reports.style import chart_style, render
from simvirt.reports.words import by_value, listed, number, per_cent
from simvirt.scenario import Run, Scenario

if TYPE_CHECKING:
    import pandas as pd

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
PUBLISHED: Final = HERE / "data" / "isolation_published.csv"
VICTIM, CULPRIT, STRESSOR = "well-behaved", "misbehaving", "stressor"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One published set-up: who ran where, under which load."""

    source_key: str
    tenants: Sequence[Mapping[str, Any]]
    """Entries of the groups of tenants."""
    stressors: Mapping[str, Sequence[Mapping[str, Any]]]
    """Row of the table → entries of its stressors."""
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Platform → what it gives to each tenant (a size, a limit), to those of a kind, and to the whole."""
    settle_s: float = 4.0
    """How long the stressor works before anybody looks."""
    override: Mapping[str, float | str] = field(default_factory=dict)


WEB: Final = {"workload": "specweb-2005", "load": {"kind": "poisson", "rate_per_s": 40.0}}
SMALL_VM: Final = {"memory": "190 MiB", "swap": "256 MiB"}
FAIR: Final = {"io_weight": 100}
"""One queue of the disk for each process or virtual machine: CFQ, Linux' default from 2.6.18 on; Xen of 2003 takes turns too."""
IBS: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "cpu": ({"stressor": "cpu-hog"},),
    "memory": ({"stressor": "memory-bomb"},),
    "fork bomb": ({"stressor": "fork-bomb"},),
    "disk": ({"stressor": "disk-hog-sequential"},),
    "network, sending": ({"stressor": "net-flood-send"},),
    "network, receiving": ({"stressor": "net-flood-receive", "intensity": 0.05},),
}
LU: Final = {"workload": "lu-part", "load": {"kind": "closed", "clients": 4, "think": {"kind": "constant", "value": 0.01}}, "vcpus": 4}
"""Half of the processors' threads do the work; memory and processors are divided half and half."""
COMPILE: Final = {"workload": "compile-part", "load": {"kind": "closed", "clients": 2, "think": {"kind": "constant", "value": 0.01}}}
HALF: Final = {"vcpus": 4, "cap_cores": 4.0}
SHARMA: Final = {"vcpus": 2, "cap_cores": 2.0}

SETUPS: Final = (
    Setup(
        source_key="matthews2007",
        tenants=({"name": VICTIM, "count": 3, **WEB}, {"name": CULPRIT, **WEB}),
        stressors={row: tuple({**one, "inside": CULPRIT} for one in entries) for row, entries in IBS.items()},
        limits={"xen-2006": {**SMALL_VM, **FAIR}, "workstation-2006": {**SMALL_VM, **FAIR}, "openvz-2006": FAIR},
        settle_s=4.0,
    ),
    Setup(
        source_key="xavier2013",
        tenants=({"name": VICTIM, **LU},),
        stressors={row: tuple({**one, **HALF} for one in entries) for row, entries in IBS.items()},
        limits={
            "xen-2012": {**FAIR, "memory": "7 GiB", "swap": "2 GiB"},
            "openvz-2012": {**FAIR, "cap_cores": 4.0},
            "vserver-2012": {**FAIR, "cap_cores": 4.0, "memory_max": "8 GiB"},
            "lxc-2012": {**FAIR, "cap_cores": 4.0, "host_swap": "8 GiB"},
        },
        settle_s=9.0,
    ),
    Setup(
        source_key="sharma2016",
        tenants=({"name": VICTIM, **COMPILE, **SHARMA},),
        stressors={
            "fork bomb": ({"stressor": "fork-bomb", **SHARMA},),
            "memory": ({"stressor": "memory-bomb", **SHARMA},),
        },
        limits={
            "lxc-2015": {**FAIR, "memory_max": "4 GiB", "host_swap": "4 GiB"},
            "kvm-2015": {**FAIR, "memory": "4 GiB", "swap": "2 GiB"},
        },
        settle_s=9.0,
    ),
    Setup(
        source_key="sharma2016",
        tenants=(
            {
                "name": VICTIM,
                "workload": "random-io",
                "load": {"kind": "closed", "clients": 2, "think": {"kind": "constant", "value": 0.0}},
                **SHARMA,
            },
        ),
        stressors={"disk": ({"stressor": "disk-hog-random", **SHARMA},)},
        limits={"lxc-2015": {**FAIR, "memory_max": "4 GiB"}, "kvm-2015": {**FAIR, "memory": "4 GiB"}},
        settle_s=2.0,
    ),
    Setup(
        source_key="barham2003",
        tenants=(
            {"name": VICTIM, **WEB, "load": {"kind": "poisson", "rate_per_s": 60.0}},
            {
                "name": "database",
                "workload": "random-io",
                "load": {"kind": "closed", "clients": 1, "think": {"kind": "exponential", "mean": 0.05}},
            },
        ),
        stressors={
            "everything": (
                {"name": "disk", "stressor": "disk-hog-sequential"},
                {"name": "files", "stressor": "inode-filler"},
                {"name": "bomb", "stressor": "fork-bomb"},
                {"name": "memory", "stressor": "memory-bomb"},
            )
        },
        limits={"xen-2003": {**FAIR, "memory": "256 MiB", "swap": "256 MiB"}, "linux-2003": {"host_swap": "2 GiB"}},
        settle_s=14.0,
    ),
)


# --- Design ----------------------------------------------------------------------------------------------------------

WINDOW_S, AFTER_S, STEP_S = 4.0, 2.0, 0.5
QUICK_WINDOW_S = 1.0
BEFORE_S: Final = 0.5
REPLICATIONS, QUICK_REPLICATIONS = 2, 1
HOST_ENTRIES: Final = {"host_swap": "swap"}
"""What a set-up gives to the whole machine, by the entry of a scenario."""
UNDISTURBED: Final = "none"


def _disturbance(document: Mapping[str, Any], settle_s: float, window_s: float, seed: int, replications: int) -> Disturbance:
    """A scenario whose stressors begin early on, settle, and end with the window."""
    start_s, stop_s = BEFORE_S + settle_s, BEFORE_S + settle_s + window_s
    run = Run(duration_s=stop_s + AFTER_S, warm_up_fraction=0.0, replications=replications, seed=seed)
    stressors = [{"start": BEFORE_S, "stop": stop_s, **one} for one in document.get("stressors", ())]
    scenario = Scenario.model_validate({**document, "stressors": stressors, "run": run})
    return Disturbance(scenario=scenario, start_s=start_s, stop_s=stop_s, step_s=STEP_S)


def _published(seed: int, quick: bool) -> Iterator[Point]:
    """Each set-up on each of its platforms, alone and with each stressor; what suffers is started when the stressor is at work."""
    window_s, replications = (QUICK_WINDOW_S, QUICK_REPLICATIONS) if quick else (WINDOW_S, REPLICATIONS)
    for index, setup in enumerate(SETUPS):
        settle_s = setup.settle_s / 8 if quick else setup.settle_s
        for platform, given in list(setup.limits.items())[: 1 if quick else None]:
            host = {entry: given[name] for name, entry in HOST_ENTRIES.items() if name in given}
            mine = {name: value for name, value in given.items() if name not in HOST_ENTRIES}
            tenants = [{**mine, **group, "start": BEFORE_S + settle_s - 0.1} for group in setup.tenants]
            own = {name: value for name, value in mine.items() if name != "cap_cores"}
            rows = {UNDISTURBED: (), **setup.stressors}
            for row, entries in list(rows.items())[: 3 if quick else None]:
                stressors = [{"name": STRESSOR, **({} if "inside" in one else own), **one} for one in entries]
                document = {"name": "published", "platform": platform, "tenants": tenants, "stressors": stressors, **host}
                factors: dict[str, Any] = {
                    "part": "published",
                    "source": setup.source_key,
                    "setup": index,
                    "platform": platform,
                    "stressor": row,
                    "limits": "of their time",
                }
                yield Point(factors=factors, scenario=_disturbance(document, settle_s, window_s, seed, replications), profiles=PROFILES)


TODAY: Final = ("bare-metal", "docker", "gvisor", "docker-in-kvm", "kvm", "xen-pv")
MACHINE: Final = "small-server"
SERVICE_PER_S: Final = 150.0
SERVICE: Final = {"name": VICTIM, "workload": "forking-service", "vcpus": 2, "load": {"kind": "poisson", "rate_per_s": SERVICE_PER_S}}
SIZES: Final = {f"{MACHINE}.cores": 4.0, f"{MACHINE}.memory_bytes": 8.0}
SMALL_TABLES: Final = {
    "processes.capacity": 32768.0,
    "disk_space.capacity_bytes": 20.0,
    "inodes.capacity": 200_000.0,
    "watches.capacity": 8192.0,
}
"""The size of tables without what a distribution raises them to, and of a small file system: so that they are full within seconds."""
TRACKED: Final = 65_536.0
"""Connections that a kernel keeps track of: as on machines of less than 1 GiB."""
NEIGHBOUR: Final = {"vcpus": 2}
VM_SIZE: Final = {"memory": "2 GiB"}
ALL: Final = {
    "cap_cores": 1.0, "memory_max": "512 MiB", "pids_max": 512, "nofile": 1024, "disk_quota": "1 GiB", "inodes_max": 10_000,
    "watches_max": 1000, "io_max": {"riops": 200, "wiops": 200, "rbps": "20 MB/s", "wbps": "20 MB/s"}, "io_weight": 100,
}  # fmt: skip
"""One limit for each resource that has one here. Nothing limits the network."""
TODAY_SETTLE_S, TODAY_WINDOW_S = 5.0, 2.0


def stressors_of(catalog: Catalog) -> list[str]:
    """Every stressor that there is but those whose mark is on caches, which fluid sharing does not see."""
    names = [name for name in catalog.names("workloads") if catalog.workload(name).stressor is not None]
    return [name for name in names if catalog.workload(name).memory is None]


def _today(catalog: Catalog, seed: int, quick: bool) -> Iterator[Point]:
    names = [UNDISTURBED, *stressors_of(catalog)]
    window_s, settle_s = (0.5, 0.5) if quick else (TODAY_WINDOW_S, TODAY_SETTLE_S)
    for platform in TODAY[:2] if quick else TODAY:
        layers = catalog.platform(platform).layers
        machines = any(catalog.layer(name).provides_processors for name in layers)
        tables = dict(_small_tables(catalog, layers))
        for limits in ("off", "on"):
            for name in names[:4] if quick else names:
                given = dict(ALL) if limits == "on" else {}
                if machines:
                    given = {**given, **VM_SIZE}
                    if not any(catalog.layer(layer).isolates_group for layer in layers):
                        given.pop("memory_max", None)
                shared = {**(VM_SIZE if machines else {}), **({"io_weight": 100} if limits == "on" else {})}
                stressors = [] if name == UNDISTURBED else [{"name": STRESSOR, "stressor": name, **NEIGHBOUR, **given}]
                document = {
                    "name": "today", "platform": platform, "machine": MACHINE, "tenants": [{**SERVICE, **shared}], "stressors": stressors,
                    "override": {**SIZES, **tables},
                }  # fmt: skip
                where = {"part": "today", "source": "", "setup": len(SETUPS), "platform": platform}
                factors: dict[str, Any] = {**where, "stressor": name, "limits": limits}
                scenario = _disturbance(document, settle_s, window_s, seed, 1)
                yield Point(factors=factors, scenario=scenario, profiles=PROFILES)


def _small_tables(catalog: Catalog, layers: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Overrides for the layers of a platform that have such tables."""
    for name in layers:
        yield from ((f"{name}.tables.{path}", size) for path, size in SMALL_TABLES.items() if _has_table(catalog, name, path))
        if catalog.layer(name).kind == "operating-system":
            yield f"{name}.network.tracked_connections", TRACKED


def _has_table(catalog: Catalog, layer: str, path: str) -> bool:
    kind, field = path.split(".")
    rules = {str(one): rule for one, rule in catalog.layer_tables(layer).rules.items()}
    return kind in rules and getattr(rules[kind], field) is not None


def points(_: Catalog, seed: int, quick: bool) -> list[Point]:
    """Both parts."""
    return [*_published(seed, quick), *_today(Catalog.builtin(*PROFILES), seed, quick)]


# --- Answer ----------------------------------------------------------------------------------------------------------

KEYS: Final = ("part", "source", "setup", "platform", "limits")


def _phased(outcome: PointOutcome) -> list[PhasedOutcome]:
    return [run for run in outcome.runs if isinstance(run, PhasedOutcome)]


def effects(results: Results) -> Iterator[tuple[PointOutcome, str, Effect, float]]:
    """Each disturbed point, a group of its tenants, what it suffered, and its mean response time over the undisturbed one."""
    alone = {_key(one): one for one in results.outcomes if one.point.factors["stressor"] == UNDISTURBED}
    for outcome in results.outcomes:
        if outcome.point.factors["stressor"] == UNDISTURBED:
            continue
        mine, theirs = _phased(outcome), _phased(alone[_key(outcome)])
        described = outcome.point.scenario
        assert isinstance(described, Disturbance)
        for group in described.scenario.tenants:
            effect = effect_on(group.name, mine, theirs, described.step_s)
            yield outcome, group.name, effect, _mean_s(group.name, mine) / _mean_s(group.name, theirs)


def _key(outcome: PointOutcome) -> tuple[Any, ...]:
    return tuple(outcome.point.factors[name] for name in KEYS)


def _mean_s(group: str, runs: Sequence[PhasedOutcome]) -> float:
    tenants = [tenant for run in runs for tenant in run.of_group(group)]
    count = sum(tenant.histogram.count for tenant in tenants)
    return sum(tenant.histogram.mean_s * tenant.histogram.count for tenant in tenants if tenant.histogram.count) / count if count else inf


def measured() -> list[dict[str, str]]:
    """The published cells."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


SMALL_LOSS, SMALL_PREDICTED = 2.0, 5.0
"""Percent: what is measured below the first must be predicted below the second."""
PAIRS: Final = (("openvz-2006", "openvz-2012"), ("xen-2006", "xen-2012"))
"""Platforms that two tables have in common."""


def _class_of(cell: Mapping[str, str]) -> str:
    return "no response" if cell["did_not_respond"] == "yes" else "small" if float(cell["value"]) < SMALL_LOSS else "large"


def contradicted(cells: Sequence[Mapping[str, str]]) -> set[tuple[str, str]]:
    """Platform and stressor of the cells of others' tenants in which two tables contradict each other."""
    found = {(cell["platform"], cell["stressor"]): _class_of(cell) for cell in cells if cell["who"] == VICTIM}
    clashes = [
        (a, b, row) for a, b in PAIRS for (platform, row) in found if platform == a and found[a, row] != found.get((b, row), found[a, row])
    ]
    return {(platform, row) for a, b, row in clashes for platform in (a, b)}


def compared(results: Results) -> pd.DataFrame:
    """Measured beside predicted, cell by cell, with what is scored of it."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    predicted = {
        (str(one.point.factors["source"]), str(one.point.factors["platform"]), str(one.point.factors["stressor"]), group): (effect, slower)
        for one, group, effect, slower in effects(results)
        if one.point.factors["part"] == "published"
    }
    cells = measured()
    clashes = contradicted(cells)
    rows = []
    for cell in cells:
        found = predicted.get((cell["source_key"], cell["platform"], cell["stressor"], cell["who"]))
        if found is None:
            continue
        effect, slower = found
        clash = (cell["platform"], cell["stressor"]) in clashes
        times = cell["what"] == "response time"
        value = slower if times else 100.0 * effect.throughput_loss
        rows.append({
            **{name: cell[name] for name in ("source_key", "platform", "stressor", "who", "what")},
            "measured": "did not respond" if cell["did_not_respond"] == "yes" else cell["value"],
            "predicted": "did not respond" if not effect.responded else f"{value:.2f}",
            "response_time_ratio": f"{slower:.3g}",
            "recovery_s": f"{effect.recovery_s:.3g}",
            "why": effect.reasons[0] if effect.reasons else "",
            "scored_as": "not scored: tables contradict each other" if clash else "size" if times else _class_of(cell),
            "is_right": "" if clash else _verdict(cell, effect, slower),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _verdict(cell: Mapping[str, str], effect: Effect, slower: float) -> str:
    if cell["what"] == "response time":
        within = isfinite(slower) and 0.1 <= slower / float(cell["value"]) <= 10.0
        return "yes" if within and slower > 1.0 else "no"
    kind = _class_of(cell)
    if kind == "no response":
        return "yes" if not effect.responded else "no"
    if kind == "small":
        return "yes" if effect.responded and 100.0 * effect.throughput_loss < SMALL_PREDICTED else "no"
    return ""


def scores(results: Results) -> pd.DataFrame:
    """Cells by what is asked of them; ranks of those that lost much, in pairs within one table."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    table = compared(results)
    columns = ["scored_as", "cells", "right"]
    rows: list[tuple[str, int, int]] = []
    if not table.empty:
        for kind in ("no response", "small", "size"):
            own = table[table["scored_as"] == kind]
            rows.append((kind, len(own), int((own["is_right"] == "yes").sum())))
        rows.append(("rank of large ones, in pairs", *_pairs(table)))
    return pd.DataFrame(rows, columns=columns)


def _pairs(table: pd.DataFrame) -> tuple[int, int]:
    """Pairs of cells of one table and one kind of tenant, of which at least one was measured large, and those in the right order."""
    scored = table[table["scored_as"].isin(["large", "small", "no response"])]
    told = right = 0
    for _, own in scored.groupby(["source_key", "who"]):
        cells = [(_lost(row["measured"]), _lost(row["predicted"])) for _, row in own.iterrows()]
        for i, (first, mine) in enumerate(cells):
            for second, other in cells[i + 1 :]:
                if abs(first - second) > SMALL_LOSS and max(first, second) >= SMALL_LOSS:
                    told += 1
                    right += (first - second) * (mine - other) > 0
    return told, right


def _lost(text: str) -> float:
    return 100.0 if text == "did not respond" else float(text)


def matrix(results: Results) -> pd.DataFrame:
    """What each group lost, of both parts."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    rows = [
        {
            **{name: outcome.point.factors[name] for name in ("part", "source", "platform", "stressor", "limits")},
            "group": group,
            "completed": effect.completed,
            "throughput_loss": effect.throughput_loss,
            "response_time_ratio": slower,
            "p99_ratio": effect.p99_ratio,
            "failed": effect.failed,
            "why": effect.reasons[0] if effect.reasons else "",
            "recovery_s": effect.recovery_s,
        }
        for outcome, group, effect, slower in effects(results)
    ]
    return pd.DataFrame(rows)


def tables(results: Results) -> dict[str, pd.DataFrame]:
    return {"matrix": matrix(results), "compared": compared(results), "scores": scores(results)}


def charts(results: Results) -> dict[str, bytes]:
    """Both parts as heat maps, SVG and PNG."""
    return drawn(matrix(results), compared(results))


def drawn(whole: pd.DataFrame, beside: pd.DataFrame) -> dict[str, bytes]:
    """The charts of both tables."""
    files: dict[str, bytes] = {}
    with chart_style():
        files |= render(_today_chart(whole), "today")
        files |= render(_published_chart(beside), "published")
    return files


MOST_TOLD: Final = 99.0
"""Ratio of response times beyond which only that is told."""


def _cell(row: Any) -> Cell:
    if not row["completed"]:
        return Cell(text="DNR", level=1.0, is_marked=True)
    loss = 100.0 * row["throughput_loss"]
    told = f"{loss:.0f} %" if loss >= 1.0 else "0"
    slower = row["response_time_ratio"]
    ratio = "" if slower < 1.05 or loss >= 1.0 else f", ×{slower:.2g}" if slower <= MOST_TOLD else f", ×>{MOST_TOLD:g}"
    return Cell(text=told + ratio, level=row["throughput_loss"])


def _today_chart(whole: pd.DataFrame) -> Any:
    own = whole[whole["part"] == "today"]
    found = {(row["limits"], row["stressor"], row["platform"]): _cell(row) for _, row in own.iterrows() if row["group"] == VICTIM}
    rows, columns = (list(dict.fromkeys(own[name])) for name in ("stressor", "platform"))
    panels = [
        HeatMap(
            title=f"Limits {limits}",
            rows=rows,
            columns=columns,
            cells={(r, c): cell for (of, r, c), cell in found.items() if of == limits},
        )
        for limits in ("off", "on")
    ]
    caption = (
        f"A service that makes a process for each request, {SERVICE_PER_S:g} requests/s, beside one stressor on {MACHINE} with 4 cores and "
        "8 GiB. Loss of throughput; else (×) its mean response time over the undisturbed one; DNR: nothing done. Per kernel "
        "32,768 processes, 20 GiB of disk, 200,000 inodes, 65,536 connections. Each limit is of one resource; none limits the network. "
        "Stressors' sizes are assumed."
    )
    return heat_maps(panels, title="What a neighbour that misbehaves does to a service", caption=caption, bar="loss of throughput")


def _published_chart(table: pd.DataFrame) -> Any:
    own = table[(table["what"] == "throughput")]
    panels = []
    for source, cells in own.groupby("source_key", sort=True):
        rows = list(
            dict.fromkeys(f"{row}, {who}" if who != VICTIM else row for row, who in zip(cells["stressor"], cells["who"], strict=True))
        )
        for column in ("measured", "predicted"):
            shown = {}
            for _, row in cells.iterrows():
                name = row["stressor"] if row["who"] == VICTIM else f"{row['stressor']}, {row['who']}"
                lost = _lost(str(row[column]))
                text = "DNR" if row[column] == "did not respond" else f"{lost:.1f} %"
                wrong = column == "predicted" and row["is_right"] == "no"
                shown[name, row["platform"]] = Cell(text=text, level=lost / 100.0, is_marked=wrong)
            panels.append(HeatMap(title=f"{source}, {column}", rows=rows, columns=list(dict.fromkeys(cells["platform"])), cells=shown))
    caption = (
        "Loss of throughput of the tenants beside the stressor, and of the one in which it runs (misbehaving); DNR: did not respond. A "
        "frame marks a prediction that misses: no response where none was measured, below 5 % where less than 2 % was measured. "
        "Which limits there were, the applications and their sizes are assumed where the sources are silent."
    )
    return heat_maps(panels, title="Published tables of isolation, measured and predicted", caption=caption, bar="loss of throughput")


MUCH_LOST: Final = 0.5
"""Share of the throughput from which on a stressor is said to stop a service."""
MUCH_SLOWER: Final = 2.0
"""Ratio of response times from which on it is said to slow one down."""
SCORED: Final[Mapping[str, str]] = {
    "no response": "no response",
    "small": f"losses below {SMALL_LOSS:g} %",
    "size": "response times within a factor of ten",
    "rank of large ones, in pairs": "order in pairs with a large loss",
}
"""Kinds of score in words."""


def answer(found: Mapping[str, pd.DataFrame]) -> list[str]:
    """Which stressors stop the service, without limits and with them, which slow it down, and what published tables say."""
    today = at(found["matrix"], part="today", group=VICTIM)
    stressors = today["stressor"].nunique()
    free, limited = (at(today, limits=limits) for limits in ("off", "on"))
    slow = f"without limits {_slowed(free)}; with them {_slowed(limited)}"
    scored = [f"{SCORED[row['scored_as']]} {row['right']} of {row['cells']}" for row in found["scores"].to_dict("records")]
    return [
        f"Stressors, of {stressors}, that take {per_cent(MUCH_LOST)} of a service's throughput or more without limits: {_stopped(free)}.",
        f"With a limit for each resource: {_stopped(limited)}.",
        f"Stressors that take less, but make answers take {MUCH_SLOWER:g} times as long or more: {slow}.",
        *([f"Predicted right of published tables: {', '.join(scored)}."] if scored else []),
    ]


def _stopped(cells: pd.DataFrame) -> str:
    """Platforms with the stressors that stop the service there, the most of them first."""
    mine = {name: sorted(own[own["throughput_loss"] >= MUCH_LOST]["stressor"]) for name, own in cells.groupby("platform", sort=False)}
    same: dict[tuple[str, ...], list[str]] = {}
    for platform in sorted(mine, key=lambda name: -len(mine[name])):
        same.setdefault(tuple(mine[platform]), []).append(str(platform))
    return "; ".join(f"{f'{len(which)} ({listed(which)})' if which else 'none'} on {listed(names)}" for which, names in same.items())


def _slowed(cells: pd.DataFrame) -> str:
    """Stressors that slow the service down without stopping it, with the ratios of response times."""
    rows = cells[(cells["throughput_loss"] < MUCH_LOST) & (cells["response_time_ratio"] >= MUCH_SLOWER)]
    ratios = {str(name): estimates(own, "platform", "response_time_ratio") for name, own in rows.groupby("stressor")}
    return listed([f"{name} {by_value(own, number)}" for name, own in ratios.items()]) or "none"


EXPERIMENT = Experiment(
    name="isolation_matrix",
    question="What does a neighbour that misbehaves do to the others, by kind of misbehaviour, by platform, and by whether it is limited?",
    expected="a shared kernel's tables and memory end the others' work unless limited; virtual machines share disk, wire and processors.",
    points=points,
    charts=charts,
    tables=tables,
    answer=answer,
    chart="today",
)

if __name__ == "__main__":
    raise SystemExit(run_command(EXPERIMENT))
