"""`simvirt availability`: for which share of years each tenant is served, simulated and by the closed form, and what it owes that to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from simvirt.analysis.availability import layered
from simvirt.analysis.intervals import Interval, mean_interval
from simvirt.catalog import Catalog
from simvirt.commands.faults import long_text
from simvirt.commands.numbers import count_text
from simvirt.commands.point import read_scenario
from simvirt.commands.tables import table
from simvirt.errors import ScenarioError
from simvirt.scenario import Fault, Resolved, Scenario
from simvirt.scenario.faults import spots
from simvirt.simulation.endurance import FaultShare, endure, shares_of, takes_down

__all__ = ["availability", "closed_form", "with_all_faults"]

YEAR_S: Final = 365 * 86400.0
MINUTES_PER_YEAR: Final = YEAR_S / 60.0


def availability(catalog: Catalog, path: Path, *, years: float, replications: int | None, seed: int | None) -> list[str]:
    """Without faults at random in the scenario: with all that take anybody down on its platform, at the rates of their profiles."""
    given = read_scenario(path, catalog, replications=replications, seed=seed)
    scenario = given if any(fault.at is None for fault in given.faults) else with_all_faults(given, catalog)
    if not scenario.faults:
        raise ScenarioError([f"{path}: nothing can break on platform {scenario.platform!r}; add [[faults]]"])
    run = scenario.run
    outcomes = [endure(scenario, catalog, years * YEAR_S, replication) for replication in range(run.replications)]
    first = [group.names(0)[0] for group in scenario.tenants]
    index = {up.tenant: i for i, up in enumerate(outcomes[0].tenants)}
    rows = []
    for name in first:
        found = mean_interval([outcome.tenants[index[name]].availability for outcome in outcomes], run.confidence)
        closed = closed_form(shares_of(scenario, catalog, name))
        down = sum(outcome.tenants[index[name]].outages for outcome in outcomes) / run.replications / years
        rows.append((name, _share(found), f"{100 * closed:.5f} %", f"{MINUTES_PER_YEAR * (1 - found.mean):.4g} min", f"{down:.3g}"))
    columns = ("tenant", "availability", "closed form", "down a year", "outages a year")
    counts = f"{count_text(run.replications, 'replication')} of {years:g} years, seed {run.seed}"
    source = "the scenario's faults" if scenario is given else "all faults that take tenants down here, as profiles have them"
    return [
        f"{scenario.name} on platform {scenario.platform}: {counts}; {source}",
        "",
        *table(columns, rows, right=columns[1:]),
        f"± is half a {100 * run.confidence:g} % interval over replications. The first tenant of each group is told.",
        "Rates of failure and times of repair by people are assumptions of published models or wider guesses: simvirt show FAULT.",
        *(line for name in first for line in ("", *_faults(name, shares_of(scenario, catalog, name)))),
    ]


def closed_form(shares: Sequence[FaultShare]) -> float:
    """Availability by layers on each other."""
    layers = groupby(sorted(shares, key=lambda share: share.level), key=lambda share: share.level)
    return layered([[(share.mtbf_s, share.down_s) for share in faults] for _, faults in layers])


def with_all_faults(scenario: Scenario, catalog: Catalog) -> Scenario:
    """The scenario with every fault that takes a tenant down on its platform, at random."""
    grounds = Resolved(scenario, catalog).grounds
    profiles = [catalog.fault(name) for name in catalog.names("faults")]
    faults = tuple(Fault(fault=one.name) for one in profiles if takes_down(one) and spots(one.breaks, grounds))
    return scenario.model_copy(update={"faults": faults})


def _share(interval: Interval) -> str:
    return f"{100 * interval.mean:.5f} % ± {100 * interval.half_width:.2g}"


def _faults(name: str, shares: Sequence[FaultShare]) -> list[str]:
    """What each fault costs a tenant a year, the worst first."""
    worst = sorted(shares, key=lambda share: share.mtbf_s / share.down_s if share.down_s else float("inf"))
    rows = [
        (
            share.fault, long_text(share.mtbf_s), long_text(share.down_s),
            f"{MINUTES_PER_YEAR * share.down_s / share.mtbf_s:.3g} min",
        )
        for share in worst
    ]  # fmt: skip
    columns = ("fault", "mean time between", "down each time", "down a year")
    return [f"By the closed form, {name} owes to", *table(columns, rows, right=columns[1:])]
