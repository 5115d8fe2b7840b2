"""`simvirt cluster`: a cluster with what goes wrong: what clients saw, when it was seen and mended, and what happened when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path

from simvirt.analysis.intervals import mean_interval
from simvirt.catalog import Catalog
from simvirt.cluster.log import Entry
from simvirt.cluster_run import ClusterOutcome, simulate_cluster
from simvirt.cluster_scenario import ClusterScenario, load_cluster_scenario
from simvirt.commands.cluster_words import cluster_in_words
from simvirt.commands.numbers import count_text
from simvirt.commands.tables import table

__all__ = ["cluster"]

_QUIET = ("ready", "listens", "started")
"""At the very beginning everything starts: nobody needs to be told."""


def cluster(catalog: Catalog, path: Path, *, replications: int | None, seed: int | None, events: int) -> list[str]:
    """Lines for a terminal. Raises ScenarioError with every problem of the file."""
    scenario = load_cluster_scenario(path, catalog)
    changes = {name: value for name, value in (("replications", replications), ("seed", seed)) if value is not None}
    scenario = scenario.model_copy(update={"run": scenario.run.model_copy(update=changes)})
    outcomes = [simulate_cluster(scenario, catalog, replication) for replication in range(scenario.run.replications)]
    head = f"{scenario.name}: {cluster_in_words(scenario)}"
    return [head, "", *_services(outcomes, scenario), *_failures(outcomes, scenario), "", *_events(outcomes[0].log, events)]


def _services(outcomes: Sequence[ClusterOutcome], scenario: ClusterScenario) -> list[str]:
    rows = []
    for tenants in zip(*(outcome.tenants for outcome in outcomes), strict=True):
        reasons = sorted({reason for tenant in tenants for reason in tenant.failed})
        failed = ", ".join(f"{sum(t.failed.get(r, 0) for t in tenants) / len(tenants):.4g} {r}" for r in reasons) or "none"
        median, p99 = (mean_interval([tenant.histogram.quantile(q) for tenant in tenants], scenario.run.confidence) for q in (0.5, 0.99))
        offered, completed = (sum(values) / len(tenants) for values in ([t.arrived for t in tenants], [t.completed for t in tenants]))
        rows.append((tenants[0].name, f"{offered:.0f}", f"{completed:.0f}", failed, _ms(median.mean), _ms(p99.mean)))
    return table(("service", "offered", "completed", "failed", "p50", "p99"), rows, right={"offered", "completed", "p50", "p99"})


def _ms(seconds: float) -> str:
    return "–" if isnan(seconds) else f"{1000 * seconds:.4g} ms"


def _failures(outcomes: Sequence[ClusterOutcome], scenario: ClusterScenario) -> list[str]:
    """What followed the first failure, over replications."""
    found = [outcome.recovery for outcome in outcomes if outcome.recovery is not None]
    if not found:
        return []
    first = scenario.failures[0]
    rows = []
    for name, values in {
        "seen": [one.detect_s for one in found],
        "last request lost": [one.reroute_s for one in found],
        "mended": [one.recover_s for one in found],
    }.items():
        known = [value for value in values if not isnan(value)]
        shown = f"{sum(known) / len(known):.4g} s" if known else "never"
        spread = f"{min(known):.4g} to {max(known):.4g} s" if known else ""
        rows.append((name, shown, spread, f"{len(known)} of {len(values)}"))
    lost = [one.lost for one in found]
    rows.append(("requests lost", f"{sum(lost) / len(lost):.4g}", f"{min(lost)} to {max(lost)}", f"{len(lost)} of {len(lost)}"))
    heading = f"after {first.what!r} of {first.whom} at {first.at_s:g} s"
    return ["", *table((heading, "mean", "range", "replications"), rows, right={"mean"})]


def _events(log: Sequence[Entry], most: int) -> Iterator[str]:
    told = [entry for entry in log if entry.time_s > 0 or entry.what not in (*_QUIET, "routed")]
    yield f"What happened in the first replication ({count_text(len(told), 'event')})"
    yield from (f"{entry.time_s:10.3f} s  {entry.what:<18} {entry.whom:<20} {entry.why}".rstrip() for entry in told[:most])
    if len(told) > most:
        yield f"… and {len(told) - most} more; --events N shows them"
