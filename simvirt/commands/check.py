"""`simvirt check`: whether a scenario can be run."""

from __future__ import annotations

from pathlib import Path

from simvirt.catalog import Catalog
from simvirt.cluster_scenario import load_cluster_scenario
from simvirt.commands.cluster_words import cluster_in_words
from simvirt.commands.numbers import count_text
from simvirt.scenario import load_scenario, read_document, scenario_notes

__all__ = ["check"]


def check(catalog: Catalog, path: Path) -> list[str]:
    """Say that all is well. Raises ScenarioError with every problem if it is not."""
    document = read_document(path)
    if "orchestrator" in document:
        return [f"{path}: ok; {cluster_in_words(load_cluster_scenario(document, catalog))}"]
    scenario = load_scenario(document, catalog)
    tenants = sum(group.count for group in scenario.tenants)
    runs = f"{count_text(scenario.run.replications, 'replication')} of {scenario.run.duration_s:g} s"
    return [f"{path}: ok; {count_text(tenants, 'tenant')} on platform {scenario.platform}, {runs}", *scenario_notes(scenario, catalog)]
