"""The reference of metrics, in Markdown, made from their catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from simvirt.metrics.catalog import ENTITIES, Metric, metrics

__all__ = ["metrics_page"]

_ABOUT: Final[Mapping[str, str]] = {
    "tenant": "One tenant: `tenant/<name>`.",
    "layer/cause": "A part of where the time of a tenant's requests went: `tenant/<name>/<layer>/<cause>`.",
    "instance": "A virtual machine, a control group, a service VM, a kernel's interrupts, a tenant's processes: `instance/<name>`.",
    "cpu": "The machine's cores together.",
    "memory": "A memory, `memory/<name>`, or what one owner has in it, `memory/<name>/<owner>`; all together are `memory`.",
    "disk": "The machine's disk.",
    "nic": "The machine's network interface: `nic/rx` and `nic/tx`.",
    "host": "The run as a whole.",
}
"""What the entity of a metric is, and how it is written in tables."""

_HEAD: Final = ("| metric | unit | definition | estimator |", "| --- | --- | --- | --- |")


def metrics_page() -> str:
    """The page: a section for each kind of entity, the metrics in the order of the catalog."""
    return "\n".join(_lines(metrics())) + "\n"


def _lines(known: Mapping[str, Metric]) -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield "Made from `simvirt/metrics/catalog.toml`: run `simvirt metrics`. Values cover the measured window, from the end of warm-up to"
    yield "the end of the run. What was not measured is missing, never 0. Unit 1 is that of shares, ratios and counts."
    for entity in ENTITIES:
        those = [metric for metric in known.values() if metric.entity == entity]
        if those:
            yield from ("", f"## {entity}", "", _ABOUT[entity], "", *_HEAD)
            yield from (f"| `{one.name}` | {one.unit} | {_cell(one.definition)} | {_cell(one.estimator)} |" for one in those)


def _cell(text: str) -> str:
    """Text that ends no cell."""
    return text.replace("|", "\\|")
