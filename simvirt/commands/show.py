"""`simvirt show`: one profile with every number and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from math import isinf

from simvirt.catalog import Catalog
from simvirt.commands.costs import cost_table, costs_as_csv, grade_count, source_table
from simvirt.commands.kinds import kinds_of
from simvirt.commands.tables import table
from simvirt.errors import CatalogError
from simvirt.evidence import Cost
from simvirt.footprint_reader import LayerMemory
from simvirt.layers.contract import AbstractLayer, costs_of
from simvirt.layers.stack import APPLICATION, Stack
from simvirt.workloads.profile import Workload

__all__ = ["memory_costs", "show"]

OwnedCost = tuple[str, str, Cost]
"""Whose it is, its name, itself."""


def show(catalog: Catalog, name: str, *, kind: str | None = None, machine: str | None = None, as_csv: bool = False) -> list[str]:
    """Describe a profile; a name that several kinds bear means the first of them unless a kind is given."""
    found = kinds_of(name, catalog)
    if kind is not None and kind not in found:
        raise CatalogError([f"{name!r} is no {kind} but a {' and a '.join(found)}; leave out --kind or say --kind {found[0]}"])
    chosen = kind or found[0]
    if chosen == "reference":
        return _reference(catalog, name)
    head, costs = _described(catalog, chosen, name, machine)
    if as_csv:
        return costs_as_csv(costs)
    others = [f"There is also a {other} {name}: simvirt show {name} --kind {other}" for other in found if other != chosen]
    return [*head, *_costs(costs, catalog), *others]


def _described(catalog: Catalog, kind: str, name: str, machine: str | None) -> tuple[list[str], list[OwnedCost]]:
    """What is said of a profile before its costs, and its costs."""
    if kind == "platform":
        stack = catalog.stack(name, machine)
        layers = dict.fromkeys(catalog.platform(name).layers)
        memory = [cost for layer in layers for cost in memory_costs(catalog.layer_memory(layer), layer)]
        return _platform(catalog, name, stack), [*_owned(zip(stack.names, stack.layers, strict=True)), *memory]
    if kind == "workload":
        workload = catalog.workload(name)
        footprint = () if workload.footprint is None else workload.footprint.evidence
        memory = [(f"memory of {name}", path, cost) for path, cost in footprint]
        return _workload(workload), [*((name, path, cost) for path, cost in workload.evidence), *memory]
    if kind == "scheduler":
        rules, summary = catalog.scheduler_summary(name)
        return [f"scheduler {name} ({rules}): {summary}"], [(name, path, cost) for path, cost in catalog.scheduling(name).evidence]
    if kind == "fault":
        fault = catalog.fault(name)
        head = f"fault {name}, a {fault.effect.value} of the {fault.breaks.value}: {fault.summary}"
        return [head], [(name, path, cost) for path, cost in costs_of(fault)]
    layer = catalog.hardware(name) if kind == "machine" else catalog.layer(name)
    if machine is not None:
        layer = layer.on(catalog.hardware(machine).clock_hz.si)
    memory = [] if kind == "machine" else memory_costs(catalog.layer_memory(name), name)
    return _layer(kind, layer, machine), [*_owned([(name, layer)]), *memory]


def memory_costs(memory: LayerMemory, name: str) -> list[OwnedCost]:
    """What a layer takes of memory, and how it gets memory back."""
    parts = (("footprint", memory.footprint), ("shortage", memory.shortage))
    return [(f"memory of {name}", f"{word}.{field}", cost) for word, part in parts if part is not None for field, cost in costs_of(part)]


def _owned(layers: Iterable[tuple[str, AbstractLayer]]) -> list[OwnedCost]:
    return [(name, field, cost) for name, layer in layers for field, cost in costs_of(layer)]


def _costs(costs: list[OwnedCost], catalog: Catalog) -> list[str]:
    """The costs of each owner, the grades of all, and their sources."""
    lines: list[str] = []
    for owner in dict.fromkeys(owner for owner, _, _ in costs):
        own = [(name, cost) for of, name, cost in costs if of == owner]
        lines += ["", f"{owner}, {grade_count(cost for _, cost in own)}", *cost_table(own)]
    every = [cost for _, _, cost in costs]
    if not every:
        return ["", "It has no parameters."]
    return [*lines, "", *source_table(every, catalog.references), "", f"In all {grade_count(every)}"]


def _platform(catalog: Catalog, name: str, stack: Stack) -> list[str]:
    platform = catalog.platform(name)
    shared_level = 1 + platform.layers.index(platform.shared)
    kernel = stack.kernel_level(len(stack.layers) - 1)

    def instances(level: int) -> str:
        if level <= shared_level:
            return "one for all tenants"
        return "one per virtual machine" if level <= kernel else "one per tenant"

    rows = [(stack.names[i], stack.layers[i].kind, *_interfaces(stack.layers[i]), instances(i)) for i in _levels_down(stack)]
    rows.insert(0, (APPLICATION, "", str(stack.provides), "", "one per tenant"))
    drawing = table(("stack, lowest layer last", "kind", "requires", "provides", "instances"), rows)
    clock = f"Costs on machine {stack.hardware.name}, {stack.hardware.clock_hz}."
    scheduling = _scheduling([(stack.names[i], stack.layers[i]) for i in _levels_down(stack)])
    return [f"platform {name} ({platform.family}): {platform.summary}", "", *drawing, "", *scheduling, "", clock]


def _levels_down(stack: Stack) -> Iterable[int]:
    """Levels of a stack, the highest first."""
    return reversed(range(len(stack.layers)))


def _scheduling(layers: Iterable[tuple[str, AbstractLayer]]) -> list[str]:
    """Whose scheduler decides at each level, on what evidence, and what carries a CPU weight there."""
    rows = []
    for name, layer in layers:
        choice = layer.own_scheduler
        if choice is not None:
            rows.append((name, choice.value, layer.weight_counts_per, choice.source, choice.grade.value, choice.where))
        elif layer.weight_counts_per:
            rows.append((name, "that of the kernel below", layer.weight_counts_per, "", "", ""))
    header = ("scheduling", 'scheduler = "platform"', "CPU weight counts per", "source", "grade", "where")
    return table(header, rows) if rows else []


def _interfaces(layer: AbstractLayer) -> tuple[str, str]:
    return "nothing" if layer.requires is None else str(layer.requires), str(layer.provides)


def _layer(kind: str, layer: AbstractLayer, machine: str | None) -> list[str]:
    requires, provides = _interfaces(layer)
    lines = [f"{kind} {layer.name} ({layer.kind}): {layer.summary}", f"It requires {requires} and provides {provides}."]
    scheduling = _scheduling([(layer.name, layer)])
    lines += ["", *scheduling] if scheduling else []
    return lines if machine is None else [*lines, *([""] if scheduling else []), f"Costs on machine {machine}."]


def _workload(workload: Workload) -> list[str]:
    threads = "one thread per request" if isinf(workload.threads) else f"{workload.threads:g} worker threads"
    factor = f"compute of a request varies as {workload.factor.kind}, squared coefficient of variation {workload.factor.scv:g}"
    total = sum(request.weight for request in workload.requests)
    classes = ", ".join(f"{request.name} {100 * request.weight / total:.3g} %" for request in workload.requests)
    return [
        f"workload {workload.name}: {workload.summary}",
        f"It requires {workload.requires}; {threads}; {factor}.",
        f"Requests: {classes}.",
    ]


def _reference(catalog: Catalog, name: str) -> list[str]:
    reference = catalog.references[name]
    facts = (("title", reference.title), ("year", str(reference.year)), ("url", reference.url), ("how read", reference.how_read))
    return [f"reference {name}", *(f"{word}: {fact}" for word, fact in facts if fact)]
