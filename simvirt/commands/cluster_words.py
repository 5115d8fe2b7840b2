"""A cluster scenario in one line."""

from __future__ import annotations

from simvirt.cluster_scenario import ClusterScenario
from simvirt.commands.numbers import count_text

__all__ = ["cluster_in_words"]


def cluster_in_words(scenario: ClusterScenario) -> str:
    """How many replicas on how many hosts, under whom, and for how long."""
    hosts = sum(group.count * max(1, group.vms) for group in scenario.hosts)
    replicas = sum(one.replicas for one in scenario.deployments)
    runs = f"{count_text(scenario.run.replications, 'replication')} of {scenario.run.duration_s:g} s"
    return f"{count_text(replicas, 'replica')} on {count_text(hosts, 'host')} under {scenario.orchestrator}, {runs}"
