"""Finds profiles, builds what they describe, and refuses what has no evidence.

A profile is a TOML file in a folder of its kind: `references`, `hardware`, `layers`, `platforms`, `schedulers`, `workloads`; `images` and
the folders beside it for what `simvirt image` needs. A user's own folder with the same layout adds to the built-in ones; a profile of the
same name takes its place.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Cost, Reference
from simvirt.fault_reader import FAULT_TABLES, build_attacker, build_exposure, build_fault, build_layer_parts
from simvirt.faults.escape import Attacker, Exposure
from simvirt.faults.part import LayerParts
from simvirt.faults.profile import FaultProfile
from simvirt.footprint_reader import LAYER_TABLES, WORKLOAD_TABLE, LayerMemory, build_layer_memory, build_workload_footprint, is_memory_path
from simvirt.layers.contract import AbstractLayer, costs_of, map_costs
from simvirt.layers.hardware import Hardware
from simvirt.layers.kernel_tables import NO_TABLES, LayerTables
from simvirt.layers.stack import Stack
from simvirt.profile_reader import Platform, bad_overrides, build_layer, build_platform, build_workload, override_amounts
from simvirt.startup.stage import NO_START, LayerStart
from simvirt.startup_reader import START_TABLE, build_start, is_start_path
from simvirt.table_reader import TABLES, build_layer_tables, is_table_path
from simvirt.workloads.profile import Workload

if TYPE_CHECKING:
    from simvirt.orchestrator_reader import OrchestratorProfile
    from simvirt.resources.cpu.scheduling import Scheduling

__all__ = ["Catalog", "Overrides", "Platform"]

P = TypeVar("P")

Overrides = Mapping[str, float | str]
"""Numbers that a scenario sets by hand: path → value in the number's own unit, text with a unit, or the word low or high."""


class Catalog:
    """The profiles of one or more folders."""

    def __init__(self, *folders: Traversable) -> None:
        self._folders = folders
        self._built: dict[tuple[str, str], AbstractLayer] = {}
        self._memories: dict[str, LayerMemory] = {}
        self._starts: dict[tuple[str, str], LayerStart] = {}
        self._tables: dict[str, LayerTables] = {}
        self._workloads: dict[str, Workload] = {}

    @classmethod
    def builtin(cls, *extra: Path) -> Catalog:
        """The profiles that come with simvirt, and those of further folders."""
        missing = [f"{folder}: no such folder of profiles" for folder in extra if not folder.is_dir()]
        if missing:
            raise CatalogError(missing)
        return cls(resources.files("simvirt") / "profiles", *extra)

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of the profiles of one kind (`hardware`, `layers`, `platforms`, `workloads`), sorted."""
        return tuple(sorted(self._files(kind)))

    @cached_property
    def references(self) -> Mapping[str, Reference]:
        """Every publication that numbers are taken from."""
        found: dict[str, Reference] = {}
        for name in self.names("references"):
            for key, entry in self._read("references", name).items():
                try:
                    found[key] = Reference(key=key, **entry)
                except TypeError as error:
                    raise CatalogError([f"references/{name}.toml, {key}: {error}"]) from None
        return found

    def layer(self, name: str) -> AbstractLayer:
        """A layer by name, its costs as published."""
        return self._layer("layers", name)

    def hardware(self, name: str) -> Hardware:
        """A machine by name."""
        machine = self._layer("hardware", name)
        if not isinstance(machine, Hardware):
            raise CatalogError([f"hardware/{name}.toml: kind is {machine.kind!r}; a machine has kind 'hardware'"])
        return machine

    def _layer(self, folder: str, name: str) -> AbstractLayer:
        """A layer; built once, as it is frozen and many runs ask for it."""
        key = (folder, name)
        if key not in self._built:
            apart = (*LAYER_TABLES, START_TABLE, *FAULT_TABLES, TABLES)
            table = {entry: value for entry, value in self._inherited(folder, name).items() if entry not in apart}
            self._built[key] = build_layer(name, table, f"{folder}/{name}", self.references)
        return self._built[key]

    def platform(self, name: str) -> Platform:
        """A platform by name."""
        return build_platform(name, self._read("platforms", name))

    def workload(self, name: str, overrides: Overrides | None = None) -> Workload:
        """A workload by name.

        An override names an amount as `workload.request.operation.field`; those of other things are left alone.
        """
        mine = {path: wanted for path, wanted in (overrides or {}).items() if path.startswith(f"{name}.")}
        if mine:
            return self._workload(name, mine)
        if name not in self._workloads:
            self._workloads[name] = self._workload(name, {})
        return self._workloads[name]

    def _workload(self, name: str, overrides: Overrides) -> Workload:
        table = self._inherited("workloads", name)
        table.pop(START_TABLE, None)
        overrides = {path: wanted for path, wanted in overrides.items() if not is_start_path(path)}
        memory = {path: wanted for path, wanted in overrides.items() if is_memory_path(path)}
        amounts = {path: wanted for path, wanted in overrides.items() if path not in memory}
        footprint = table.pop(WORKLOAD_TABLE, None)
        workload = build_workload(name, override_amounts(table, name, amounts), self.references)
        if footprint is None:
            return workload
        return replace(workload, footprint=build_workload_footprint(name, footprint, self.references, memory))

    def layer_memory(self, name: str, overrides: Overrides | None = None) -> LayerMemory:
        """What a layer takes of memory, and what it does when memory runs short, by the layer's name; nothing for a layer unknown here.

        An override names a number as `layer.footprint.field` or `layer.shortage.field`; those of other things are left alone.
        """
        mine = {path: wanted for path, wanted in (overrides or {}).items() if path.startswith(f"{name}.") and is_memory_path(path)}
        if not mine and name in self._memories:
            return self._memories[name]
        known = name in self._files("layers")
        built = build_layer_memory(name, self._inherited("layers", name), self.references, mine) if known else LayerMemory()
        if not mine:
            self._memories[name] = built
        return built

    def fault(self, name: str) -> FaultProfile:
        """A fault by name."""
        return build_fault(name, self._inherited("faults", name), self.references)

    def attacker(self, name: str) -> Attacker:
        """An attacker by name."""
        return build_attacker(name, self._inherited("attackers", name), self.references)

    def exposure(self, layer: str) -> Exposure | None:
        """How the boundary of a layer is attacked, by the layer's name; None if its profile says nothing of that."""
        return build_exposure(layer, self._inherited("layers", layer), self.references) if layer in self._files("layers") else None

    def exposures(self, stack: Stack) -> tuple[Exposure | None, ...]:
        """The same for each layer of a stack, the machine first."""
        return tuple(self.exposure(layer.name) for layer in stack.layers)

    def parts(self, stack: Stack) -> tuple[LayerParts, ...]:
        """The programs of each layer of a stack that can break, the machine's first; none for a layer unknown here."""
        files = self._files("layers")
        names = [layer.name for layer in stack.layers]
        return tuple(
            build_layer_parts(name, self._inherited("layers", name), self.references) if name in files else LayerParts() for name in names
        )

    def start(self, kind: str, name: str, overrides: Overrides | None = None) -> LayerStart:
        """How a layer, a machine or a workload starts, by its folder and its name; nothing for one unknown here.

        An override names a number as `name.start.stage.field`; those of other things are left alone.
        """
        mine = {path: wanted for path, wanted in (overrides or {}).items() if path.startswith(f"{name}.") and is_start_path(path)}
        if not mine and (kind, name) in self._starts:
            return self._starts[kind, name]
        table = self._inherited(kind, name).get(START_TABLE) if name in self._files(kind) else None
        built = NO_START if table is None else build_start(f"{kind}/{name}.{START_TABLE}", name, table, self.references, mine)
        if not mine:
            self._starts[kind, name] = built
        return built

    def starts(self, stack: Stack, workload: str | None = None, overrides: Overrides | None = None) -> tuple[LayerStart, ...]:
        """How each layer of a stack starts, the machine first, and the application last."""
        machine, *layers = stack.layers
        application = NO_START if workload is None else self.start("workloads", workload, overrides)
        below = self.start("hardware", machine.name, overrides)
        return (below, *(self.start("layers", layer.name, overrides) for layer in layers), application)

    def layer_tables(self, name: str, overrides: Overrides | None = None) -> LayerTables:
        """What a layer says of finite tables, by the layer's name; nothing for a layer unknown here.

        An override names a number as `layer.tables.kind.field`; those of other things are left alone.
        """
        mine = {path: wanted for path, wanted in (overrides or {}).items() if path.startswith(f"{name}.") and is_table_path(path)}
        if not mine and name in self._tables:
            return self._tables[name]
        entries = self._inherited("layers", name).get(TABLES, {}) if name in self._files("layers") else {}
        built = build_layer_tables(name, entries, self.references, mine) if entries or mine else NO_TABLES
        if not mine:
            self._tables[name] = built
        return built

    def scheduler_summary(self, name: str) -> tuple[str, str]:
        """The rules that a scheduler follows, by name, and what it is, in a sentence."""
        table = self._inherited("schedulers", name)
        return str(table.get("rules")), str(table.get("summary"))

    def scheduling(self, name: str, overrides: Overrides | None = None) -> Scheduling:
        """A CPU scheduler by name. An override names a parameter as `scheduler.parameter`; those of other things are left alone."""
        from simvirt.scheduler_reader import build_scheduling  # noqa: PLC0415 - loads the engine, which listing profiles does not need

        mine = {path: wanted for path, wanted in (overrides or {}).items() if path.startswith(f"{name}.")}
        return build_scheduling(name, self._inherited("schedulers", name), self.references, mine)

    def image_profile(self, kind: type[P], name: str) -> P:
        """A registry, container engine, image or lazy format by name, `kind` being what it is built into."""
        from simvirt.image_reader import build_image_profile, folder_of  # noqa: PLC0415 - loads the engine

        folder = folder_of(kind)
        return build_image_profile(kind, name, self._inherited(folder, name), self.references)

    def orchestrator(self, name: str, overrides: Overrides | None = None) -> OrchestratorProfile:
        """An orchestrator, a balancer or a monitoring system by name. An override names a number as `table.field`."""
        from simvirt.orchestrator_reader import FOLDER, build_orchestrator  # noqa: PLC0415 - loads the engine

        return build_orchestrator(name, self._inherited(FOLDER, name), self.references, overrides)

    def stack(self, platform: str, machine: str | None = None, overrides: Overrides | None = None) -> Stack:
        """The layers of a platform on a machine, costs resolved for its clock.

        An override names a cost as `layer.field` and gives a value in the cost's own unit, or the word low or high for that end of
        its range. Raises CatalogError or StackError.
        """
        chosen = self.platform(platform)
        below = self.hardware(machine or chosen.machine)
        layers = [below, *map(self.layer, chosen.layers)]
        changed = _override(layers, overrides or {})
        bottom = changed[0]
        assert isinstance(bottom, Hardware)
        return Stack(tuple(layer.on(bottom.clock_hz.si) for layer in changed))

    def _files(self, kind: str) -> dict[str, Traversable]:
        found: dict[str, Traversable] = {}
        for folder in self._folders:
            place = folder / kind
            if place.is_dir():
                found |= {file.name.removesuffix(".toml"): file for file in place.iterdir() if file.name.endswith(".toml")}
        return found

    def _read(self, kind: str, name: str) -> dict[str, Any]:
        files = self._files(kind)
        if name not in files:
            word = _WORDS.get(kind, kind)
            raise CatalogError([f"{word} {name!r} is unknown; {nearest(name, files)}"])
        try:
            return tomllib.loads(files[name].read_text(encoding="utf-8"))
        except (RecursionError, ValueError) as error:  # what TOML refuses, and what Python does not read
            raise CatalogError([f"{kind}/{name}.toml: {error}"]) from None
        except OSError as error:
            raise CatalogError([f"{kind}/{name}.toml: {error.strerror}"]) from None

    def _inherited(self, kind: str, name: str, heirs: tuple[str, ...] = ()) -> dict[str, Any]:
        """A profile with what it takes over from the one that it extends."""
        if name in heirs:
            raise CatalogError([f"{kind}/{name}.toml: extends itself by way of {' -> '.join((*heirs, name))}"])
        own = self._read(kind, name)
        parent = own.pop("extends", None)
        if parent is not None and not isinstance(parent, str):
            raise CatalogError([f"{kind}/{name}.toml, extends: {parent!r}; the name of one other profile"])
        return own if parent is None else _merged(self._inherited(kind, parent, (*heirs, name)), own)


_WORDS: Final = {
    "hardware": "machine", "layers": "layer", "platforms": "platform", "schedulers": "scheduler", "workloads": "workload",
    "attackers": "attacker", "faults": "fault",
    "images": "image", "registries": "registry", "container-engines": "container engine", "lazy-formats": "lazy format",
    "machine-images": "machine image", "orchestrators": "orchestrator",
}  # fmt: skip
"""What one profile of a folder is called."""


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Own entries over inherited ones; a table with a `value` is one cost and replaces the other whole."""
    result = dict(base)
    for key, value in own.items():
        below = result.get(key)
        both = isinstance(value, dict) and isinstance(below, dict) and "value" not in value
        result[key] = _merged(below, value) if both and isinstance(below, dict) else value
    return result


def _override(layers: Iterable[AbstractLayer], overrides: Overrides) -> tuple[AbstractLayer, ...]:
    """Layers with the costs that a scenario sets by hand."""
    layers = tuple(layers)
    units = {f"{layer.name}.{field}": cost.unit for layer in layers for field, cost in costs_of(layer)}
    problems = [f"override.{path}: no such cost in this stack; {nearest(path, units)}" for path in sorted(overrides) if path not in units]
    problems += bad_overrides(overrides, units)
    if problems:
        raise CatalogError(problems)

    def changed(layer: AbstractLayer) -> AbstractLayer:
        return map_costs(layer, lambda field, cost: _wanted(cost, overrides.get(f"{layer.name}.{field}")))

    return tuple(map(changed, layers))


def _wanted(cost: Cost, wanted: float | str | None) -> Cost:
    return cost if wanted is None else cost.chosen(wanted)
