"""Stacks of shipped platforms with their footprints, for tests of memory."""

from __future__ import annotations

from dataclasses import dataclass

from simvirt.catalog import Catalog, Overrides
from simvirt.demand import MemoryDemand
from simvirt.layers.footprint import AbstractFootprint, MachineSize, MemoryPart, NoFootprint, machine_sizes, memory_parts
from simvirt.layers.stack import Stack

CATALOG = Catalog.builtin()
MIB, GIB, MB = 2.0**20, 2.0**30, 1e6


@dataclass(frozen=True)
class Ground:
    """A platform as memory sees it."""

    stack: Stack
    footprints: tuple[AbstractFootprint, ...]
    shared_level: int

    @classmethod
    def of(cls, platform: str, overrides: Overrides | None = None) -> Ground:
        described = CATALOG.platform(platform)
        footprints = [CATALOG.layer_memory(name, overrides).footprint for name in described.layers]
        return cls(CATALOG.stack(platform), (NoFootprint(), *footprints), 1 + described.layers.index(described.shared))

    @property
    def is_virtual(self) -> bool:
        return any(layer.provides_processors for layer in self.stack.layers)

    def parts(self, demand: MemoryDemand, size_bytes: float = GIB, vcpus: int = 1) -> tuple[MemoryPart, ...]:
        machine = MachineSize(size_bytes=size_bytes, vcpus=vcpus)
        sizes = machine_sizes(self.stack, self.footprints, self.shared_level, demand, machine) if self.is_virtual else ()
        return memory_parts(self.stack, self.footprints, self.shared_level, demand, sizes)
