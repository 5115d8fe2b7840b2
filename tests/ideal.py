"""Machines and layers that cost nothing, or just what a test says: for closed forms and laws.

`ideal(Class)` builds any layer, or part of one, with every cost at 0 (a multiplier at 1, a capacity without bound), except those given by
dotted field name.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

import pytest

from simvirt.catalog import Catalog, Overrides
from simvirt.demand import Compute, Demand, Interface, MachineOperation, Operation, OsOperation
from simvirt.evidence import Cost, Grade
from simvirt.layers.container import ContainerRuntime
from simvirt.layers.contract import AbstractLayer, costs_of, map_costs
from simvirt.layers.hardware import Hardware
from simvirt.layers.hosted_hypervisor import HostedHypervisor
from simvirt.layers.hypervisor import Hypervisor
from simvirt.layers.operating_system import OperatingSystem
from simvirt.layers.sandbox import Sandbox
from simvirt.layers.stack import FoldedCharge, Stack
from simvirt.profile_reader import Platform
from simvirt.resources.cpu.scheduling import Scheduling
from simvirt.scenario import Run, Scenario, Tenants
from simvirt.workloads.distributions import Constant, Distribution
from simvirt.workloads.profile import RequestClass, Workload

T = TypeVar("T")

MACHINE = Interface("machine", "x86_64")
OS = Interface("os", "linux")

UNIT = {"_s_per_byte": "s/B", "_bytes_per_s": "B/s", "_per_s": "/s", "_hz": "Hz", "_bytes": "B", "_s": "s"}
NEUTRAL = {
    "integer_factor": 1.0, "float_factor": 1.0, "cores": 1.0, "sockets": 1.0, "clock_hz": 1e9, "core_speed": 1.0, "memory_bytes": 1e12,
    "bandwidth_bytes_per_s": 1e30, "read_bytes_per_s": 1e30, "write_bytes_per_s": 1e30, "frame_payload_bytes": 1448.0,
    "packet_rate_per_s": 1e30, "channels": 1.0, "receive_queues": 1.0, "service_vcpus": 1.0, "cpu_weight": 1.0,
    "most_bytes": 1048576.0, "depth": 1.0, "dirty_background_ratio": 0.1, "dirty_ratio": 0.2,
    "medium_residency_s": 1e9, "deep_residency_s": 2e9, "threads_per_core": 1.0, "llc_bytes": 1e7, "memory_latency_s": 1e-7,
    "backing_page_bytes": 4096.0, "queueing": 0.2, "memory_bytes_per_s": 2e10, "sibling_speed": 1.0, "remote_latency": 1.0,
}  # fmt: skip


def cost(value: float, field: str = "count") -> Cost:
    """A number with evidence enough for a test."""
    unit = next((unit for suffix, unit in UNIT.items() if field.endswith(suffix)), "count")
    return Cost(value=value, unit=unit, low=value, high=value, source="test", where="test", grade=Grade.ASSUMED, path=field)


def ideal(cls: type[T], name: str = "ideal", given: Mapping[str, float] | None = None, prefix: str = "", **plain: Any) -> T:
    """A layer, or a part of one, whose costs are neutral except those given."""
    given = given or {}
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in fields(cls):  # type: ignore[arg-type]
        hint, path = hints[field.name], prefix + field.name
        if field.name in plain:
            values[field.name] = plain[field.name]
        elif hint is Cost:
            values[field.name] = cost(given.get(path, NEUTRAL.get(field.name, 0.0)), field.name)
        elif isinstance(hint, type) and is_dataclass(hint) and hint is not Interface:
            values[field.name] = ideal(hint, name, given, f"{path}.")
        elif isinstance(hint, type) and issubclass(hint, StrEnum):
            values[field.name] = next(iter(hint))
        elif hint is str:
            values[field.name] = name if field.name == "name" else "thread" if "thread" in field.name else "for a test"
    return cls(**values)


def machine(cores: int = 1, given: Mapping[str, float] | None = None) -> Hardware:
    return ideal(Hardware, "machine", {"cores": float(cores), **(given or {})}, provides=MACHINE, requires=None)


def system(given: Mapping[str, float] | None = None, name: str = "system") -> OperatingSystem:
    return ideal(OperatingSystem, name, given, requires=MACHINE, provides=OS)


def hypervisor(given: Mapping[str, float] | None = None, name: str = "hypervisor", **plain: Any) -> Hypervisor:
    return ideal(Hypervisor, name, given, requires=MACHINE, provides=MACHINE, **plain)


def hosted(given: Mapping[str, float] | None = None, name: str = "hosted") -> HostedHypervisor:
    return ideal(HostedHypervisor, name, given, requires=OS, provides=MACHINE)


def container(given: Mapping[str, float] | None = None, name: str = "container") -> ContainerRuntime:
    return ideal(ContainerRuntime, name, given, requires=OS, provides=OS)


def sandbox(given: Mapping[str, float] | None = None, name: str = "sandbox") -> Sandbox:
    return ideal(Sandbox, name, given, requires=OS, provides=OS)


Layers = tuple[AbstractLayer, ...]


def bare(cores: int = 1) -> Layers:
    """A system on a machine, free of cost."""
    return machine(cores), system()


def in_vm(cores: int = 1) -> Layers:
    """The same in a virtual machine."""
    return machine(cores), hypervisor(), system(name="guest")


def in_hosted_vm(cores: int = 1) -> Layers:
    """The same in a virtual machine that is a program of a host."""
    return machine(cores), system(), hosted(), system(name="guest")


def in_nested_vm(cores: int = 1) -> Layers:
    """The same in a virtual machine within a virtual machine."""
    return machine(cores), hypervisor(name="outer"), hypervisor(name="inner"), system(name="guest")


def workload(*operations: Operation, threads: float = float("inf"), factor: Distribution | None = None, name: str = "work") -> Workload:
    """A workload of one class of requests."""
    request = RequestClass(name="request", weight=1.0, demand=Demand(operations))
    return Workload(
        name=name, summary="for a test", requires=OS, threads=threads, factor=factor or Constant(value=1.0), requests=(request,)
    )


class IdealCatalog(Catalog):
    """A catalog of given layers: one platform called `ideal` and given workloads."""

    def __init__(self, layers: tuple[AbstractLayer, ...], *workloads: Workload, shared: int = 1) -> None:
        super().__init__()
        self._layers = layers
        self._workloads = {w.name: w for w in workloads}
        self._shared = layers[shared].name

    def names(self, kind: str) -> tuple[str, ...]:
        known = {"platforms": ("ideal",), "hardware": ("machine",), "schedulers": ("fluid",), "workloads": tuple(self._workloads)}
        return known.get(kind, tuple(layer.name for layer in self._layers))

    def platform(self, name: str) -> Platform:
        names = tuple(layer.name for layer in self._layers[1:])
        return Platform(name=name, summary="for a test", family="native", layers=names, shared=self._shared, machine="machine")

    def workload(self, name: str, overrides: Overrides | None = None) -> Workload:
        return self._workloads[name]

    def scheduling(self, name: str, overrides: Overrides | None = None) -> Scheduling:
        return Catalog.builtin().scheduling(name, overrides)

    def stack(self, platform: str, machine: str | None = None, overrides: Overrides | None = None) -> Stack:
        return Stack(tuple(layer.on(self._layers[0].clock_hz.si) for layer in self._layers))  # type: ignore[attr-defined]


def scenario(*tenants: Tenants, duration_s: float, warm_up_fraction: float = 0.1, seed: int = 1, platform: str = "ideal") -> Scenario:
    """Tenants on a platform, for a while."""
    return Scenario(platform=platform, tenants=tenants, run=Run(duration_s=duration_s, warm_up_fraction=warm_up_fraction, seed=seed))


# Random layers and demands, for laws

Key = tuple[str, str, str, str, str]


def random_costs(part: T, rng: random.Random) -> T:
    """A layer with each of its costs somewhere from nothing to twice what it was; multipliers, sizes and rates stay positive."""

    def change(field: str, was: Cost) -> Cost:
        least = 1.0 if field.rpartition(".")[2] in NEUTRAL else 0.0
        value = was.value * rng.choice((least, 1.0, rng.uniform(least, 2.0))) or rng.choice((0.0, rng.random()))
        return was.overridden(value)

    return map_costs(part, change)


def random_layer(cls: type[AbstractLayer], rng: random.Random, name: str, requires: Interface | None, provides: Interface) -> AbstractLayer:
    """A layer of a kind with random costs (a few units each) and random choices."""
    hints = get_type_hints(cls)
    chosen = {f: rng.choice(list(hint)) for f, hint in hints.items() if isinstance(hint, type) and issubclass(hint, StrEnum)}
    layer = ideal(cls, name, requires=requires, provides=provides, **chosen)
    zeros = {field: rng.choice((0.0, rng.random())) for field, was in costs_of(layer) if not was.value}
    return map_costs(layer, lambda field, was: was.overridden(zeros.get(field, was.value * rng.uniform(1.0, 2.0))))


def final_classes(of: type[T]) -> tuple[type[T], ...]:
    """Every class below an abstract one. A dataclass with slots is listed twice, the one that counts last."""
    below = of.__subclasses__()
    final = {cls.__name__: cls for cls in below if not cls.__subclasses__()}
    return (*final.values(), *(one for cls in below if cls.__subclasses__() for one in final_classes(cls)))


def kinds() -> dict[type[AbstractLayer], AbstractLayer]:
    """Every final class of layers, found by itself, with one published layer of that kind."""
    catalog = Catalog.builtin()
    layers = [*map(catalog.layer, catalog.names("layers")), *map(catalog.hardware, catalog.names("hardware"))]
    return {cls: next(layer for layer in layers if type(layer) is cls) for cls in final_classes(AbstractLayer)}


def operations_of(interface: Interface) -> tuple[type[Operation], ...]:
    """What may be asked of an interface."""
    above = OsOperation if interface.kind == "os" else MachineOperation
    return (Compute, *final_classes(above))


def random_operation(cls: type[Operation], rng: random.Random) -> Operation:
    """Amounts up to 10, those that are a part of another one not above it."""
    amounts = {field.name: rng.choice((0.0, 10 * rng.random())) for field in fields(cls) if field.name not in cls.PROPERTIES}
    amounts |= dict.fromkeys(cls.PROPERTIES & {"size_bytes"}, 1e9)  # alike in every operation, so that they add up
    for part, whole in (("float_s", "cpu_s"), ("random", "count"), ("fresh", "count"), ("volatile", "count"), ("queued", "count")):
        if part in amounts:
            amounts[part] = rng.random() * amounts[whole]
    return cls(**amounts)


def random_demands(rng: random.Random, count: int = 2) -> tuple[Demand, ...]:
    """Demands with the same kinds of operations in the same order, in other amounts."""
    asked = [rng.choice(operations_of(OS)) for _ in range(rng.randint(1, 6))]
    return tuple(Demand(tuple(random_operation(cls, rng) for cls in asked)) for _ in range(count))


def tally(folded: Iterable[FoldedCharge]) -> Counter[Key]:
    """Amount by layer, cause, resource, context and condition; bytes beside it."""
    sums: Counter[Key] = Counter()
    for charge in (f.charge for f in folded):
        key = (charge.layer, charge.cause, charge.resource.value, str(charge.context), charge.when.value)
        sums[key] += charge.amount
        sums[(*key[:2], f"bytes of {key[2]}", *key[3:])] += charge.size_bytes
    return sums


def approx(sums: Mapping[Key, float]) -> Any:
    """The same amounts to rounding; what amounts to nothing need not be listed."""
    return pytest.approx({key: amount for key, amount in sums.items() if amount}, rel=1e-9, abs=1e-15)


def nonzero(sums: Mapping[Key, float]) -> dict[Key, float]:
    return {key: amount for key, amount in sums.items() if amount}
