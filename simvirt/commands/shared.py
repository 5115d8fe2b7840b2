"""`simvirt tables`: which tables and resources tenants of a platform share by default, at which kernel, and what limits a tenant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simvirt.catalog import Catalog
from simvirt.commands.tables import table
from simvirt.layers.kernel_tables import NO_TABLES, TableKind, TablePlace, place_of_table
from simvirt.layers.operating_system import OperatingSystem
from simvirt.layers.stack import Stack
from simvirt.units import format_quantity

__all__ = ["shared_tables"]

NOBODY: Final = "none"
_SETTINGS: Final = {
    TableKind.PROCESSES: "pids_max",
    TableKind.DESCRIPTORS: "nofile",
    TableKind.DISK_SPACE: "disk_quota",
    TableKind.INODES: "inodes_max",
    TableKind.WATCHES: "watches_max",
    TableKind.PRIVATE_MEMORY: "private_memory_max",
}
"""The entry of a scenario that limits a tenant's part."""


def shared_tables(catalog: Catalog, name: str, machine: str | None) -> list[str]:
    """Each table and resource by who has it, whether tenants share it, its size, and its limiter."""
    platform = catalog.platform(name)
    stack = catalog.stack(name, machine)
    shared_level = 1 + platform.layers.index(platform.shared)
    layers = (NO_TABLES, *(catalog.layer_tables(layer) for layer in platform.layers))
    rows = [_table(stack, place_of_table(layers, kind), shared_level) for kind in TableKind]
    rows += _resources(stack, shared_level)
    head = ("what", "at", "shared by all tenants", "size", "limit of a tenant by default", "to be set by")
    note = "Sizes of tables that grow with memory are those on the whole machine; in a virtual machine they follow its own size."
    return [f"{name}: {' < '.join(stack.names)}", *table(head, rows), note]


def _table(stack: Stack, place: TablePlace, shared_level: int) -> tuple[str, ...]:
    kind = place.kind
    size = "without bound" if place.level is None else _amount(kind, place.rule.size(stack.hardware.memory_bytes.si))
    at = "nobody" if place.level is None else stack.names[place.level]
    limit = NOBODY if place.limit is None or place.limited_by is None else f"{_amount(kind, place.limit)} ({stack.names[place.limited_by]})"
    return kind.words, at, _shared(place.level, shared_level), size, limit, _SETTINGS[kind]


def _amount(kind: TableKind, amount: float) -> str:
    return format_quantity(amount, "size") if kind.in_bytes else f"{amount:,.0f}"


def _shared(level: int | None, shared_level: int) -> str:
    return "no" if level is None or level > shared_level else "yes"


def _resources(stack: Stack, shared_level: int) -> Iterator[tuple[str, ...]]:
    top = stack.kernel_level(len(stack.layers) - 1)
    kernel, hardware = stack.layers[top], stack.hardware
    machines = any(layer.provides_processors for layer in stack.layers)
    if isinstance(kernel, OperatingSystem) and kernel.network.tracked_connections.si:
        size, at = f"{kernel.network.tracked_connections.si:,.0f}", stack.names[top]
        yield "tracked connections", at, _shared(top, shared_level), size, NOBODY, "nothing here"
    weight = next((layer.weight_counts_per for layer in reversed(stack.layers) if layer.weight_counts_per), "")
    cores = f"{hardware.processors} of the machine"
    yield "processors", stack.names[1], "yes", cores, f"equal shares per {weight}" if weight else NOBODY, "weight, cap_cores, cpu_max"
    memory = format_quantity(hardware.memory_bytes.si, "size")
    limit = "the size of its virtual machine" if machines else NOBODY
    yield "memory", stack.names[1], "yes", memory, limit, "memory" if machines else "memory_max, memory_high"
    yield "dirty pages", stack.names[top], _shared(top, shared_level), "a share of its memory", NOBODY, "nothing here"
    yield "disk", stack.names[0], "yes", f"{hardware.disk.channels.si:g} channels", NOBODY, "io_weight, io_max"
    yield "network", stack.names[0], "yes", f"{format_quantity(hardware.nic.bandwidth_bytes_per_s.si, 'size')}/s", NOBODY, "nothing here"
    yield "last-level cache", stack.names[0], "yes", format_quantity(hardware.socket.llc_bytes.si, "size"), NOBODY, "llc_bytes"
