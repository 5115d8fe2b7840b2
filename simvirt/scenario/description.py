"""What runs where, under which load, for how long: frozen data, as a scenario file or Python says it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simvirt.catalog import Catalog, Overrides
from simvirt.cpu_limits import CpuLimits
from simvirt.footprint_reader import is_memory_path
from simvirt.layers.stack import Stack
from simvirt.markup import html_table
from simvirt.quantities import Bytes, Number, PositiveNumber, PositiveSeconds
from simvirt.scenario.disk import DiskLimits
from simvirt.scenario.faults import Fault
from simvirt.scenario.memory import MemoryLimits
from simvirt.scenario.tables import TableLimits
from simvirt.scenario.window import Window
from simvirt.scheduler_choice import schedulers_on
from simvirt.startup_reader import is_start_path
from simvirt.table_reader import is_table_path
from simvirt.workloads.arrivals import Arrivals

__all__ = ["MOST_REPLICATIONS", "Run", "Scenario", "Stressors", "Tenants"]

_APART: Final = (is_memory_path, is_start_path, is_table_path)
"""Which overrides are read beside the costs of layers."""

MOST_REPLICATIONS: Final = 10_000


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Group(CpuLimits, DiskLimits, MemoryLimits, TableLimits, Window):
    """A group of equal instances, whatever runs in them."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")] = "tenant"
    weight: Annotated[PositiveNumber, Field(ge=1e-6, le=1e6)] = 1.0
    """Weight of the tenant among its siblings: 1 is the default share of whoever shares the CPU (not 1024, not 256)."""
    threads: Annotated[int, Field(ge=0)] | None = None
    """Worker threads of the application; as in the workload unless given, 0 for one per request."""
    on: Literal["platform", "host"] = "platform"
    """Whether they stand on the whole platform, or on the operating system of the host (its own users)."""
    peer: Literal["network", "host"] = "network"
    """Where their clients are: beyond the network card, or on a bridge of the same host."""
    llc_bytes: Annotated[Bytes, Field(gt=0)] | None = None
    """A part of each last-level cache that only this tenant fills, and beyond which it does not; none unless given."""
    home_node: Annotated[int, Field(ge=0)] | None = None
    """The NUMA node that its memory is in; where it first runs unless given."""
    inside: str | None = None
    """Name of the group of tenants in whose virtual machines or containers they live, one in each; in their own unless given."""

    def names(self, index: int) -> tuple[str, str]:
        """The name of one of them, and that of its virtual machine."""
        name = self.name if self.count == 1 else f"{self.name} {index + 1}"
        return name, name if self.per_vm == 1 else f"{self.name} vm {index // self.per_vm + 1}"


class Tenants(Group):
    """A group of equal tenants: the same workload under the same load, each in an instance of its own."""

    workload: str
    load: Arrivals
    """Of each tenant."""


class Stressors(Group):
    """A group of equal tenants that are there to disturb the others: a stressor's profile says what they do."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")] = "stressor"
    stressor: str
    """A workload's profile with a table [stressor]."""
    intensity: Annotated[Number, Field(le=1e6)] = 1.0
    """How much of the reference behaviour: its workers (rounded up) or its rate times this; not there at 0."""

    def names(self, index: int) -> tuple[str, str]:
        """The name of one of them, and that of its virtual machine."""
        name = self.name if self.count == 1 else f"{self.name} {index + 1}"
        return name, name if self.per_vm == 1 else f"{self.name} vm {index // self.per_vm + 1}"


class Run(_Description):
    """How long to look, and how often."""

    duration_s: PositiveSeconds = 10.0
    """Simulated time, warm-up included."""
    warm_up_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Part of the duration that is not looked at."""
    replications: Annotated[int, Field(ge=1, le=MOST_REPLICATIONS)] = 5
    seed: Annotated[int, Field(ge=0)] = 1
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95

    @property
    def warm_up_s(self) -> float:
        return self.duration_s * self.warm_up_fraction


def _told(load: Arrivals) -> str:
    """The parameters of a load that are plain numbers."""
    numbers = load.model_dump(exclude={"kind"}, exclude_none=True).items()
    return ", ".join(f"{name} {value:g}" for name, value in numbers if isinstance(value, int | float)) or "see the scenario"


class Scenario(_Description):
    """What runs where, under which load, for how long."""

    name: str = "scenario"
    platform: str
    machine: str | None = None
    """A hardware profile; the platform's own unless given."""
    tenants: Annotated[tuple[Tenants, ...], Field(min_length=1)]
    stressors: tuple[Stressors, ...] = ()
    run: Run = Run()
    scheduler: str = "fluid"
    """How the machine's cores are shared: a profile of a CPU scheduler, or `platform` for what each kernel of the platform has."""
    guest_scheduler: str | None = None
    """How virtual machines share theirs inside, likewise; as the machine unless given."""
    swap: Bytes = 0.0
    """Swap space of the host, for its processes; none unless given. Swap files that a hypervisor makes for its machines come with it."""
    overcommit_memory: bool = False
    """Whether virtual machines may be promised more memory than there is."""
    faults: tuple[Fault, ...] = ()
    """What breaks; nothing unless given."""
    background: bool = False
    """Whether systems of virtual machines do what idle systems do: their timers and daemons. Where their profiles say how much."""
    override: dict[str, float | str] = {}
    """Numbers set by hand: `layer.field` or `workload.request.operation.field` → value in its own unit, text with a unit,
    or the word low or high for that end of its range."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        groups: tuple[Group, ...] = (*self.tenants, *self.stressors)
        names = [group.name for group in groups]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"tenants {', '.join(twice)}: named twice; give each group a name of its own")
        for group in groups:
            members = re.compile(re.escape(group.name) + r"( vm)? \d+")
            taken = [name for name in names if (group.count > 1 or group.per_vm > 1) and members.fullmatch(name)]
            if taken:
                raise ValueError(f"tenants {taken[0]}: the name of a member of {group.name!r}; give it another name")
        return self

    def schedulers_on(self, stack: Stack) -> Mapping[str, str]:
        """The name of a CPU scheduler for each layer of a stack that schedules, the machine's first."""
        return schedulers_on(stack, self.scheduler, self.guest_scheduler)

    def layer_overrides(self, catalog: Catalog) -> Overrides:
        """The overrides that are for no workload of its own, no scheduler, no memory, no start and no table."""
        named = (*(group.workload for group in self.tenants), *(group.stressor for group in self.stressors))
        others = (*(f"{name}." for name in named), *(f"{name}." for name in catalog.names("schedulers")))
        mine = (path for path in self.override if not (path.startswith(others) or any(told(path) for told in _APART)))
        return {path: self.override[path] for path in mine}

    def _repr_html_(self) -> str:
        run, machine = self.run, self.machine or "its own machine"
        time = f"{run.replications} replications of {run.duration_s:g} s, seed {run.seed}"
        caption = f"{self.name}: {self.platform} on {machine}, {time}"
        rows = [(g.name, g.count, g.workload, g.vcpus, f"{g.load.kind}, {_told(g.load)}") for g in self.tenants]
        return html_table(caption, ("tenants", "count", "workload", "vCPUs", "load"), rows)

    def digest(self) -> str:
        """A fingerprint of everything that it says; that it says nothing of faults is not a part of it."""
        said = self.model_dump(mode="json", exclude=None if self.faults else {"faults"})
        document = json.dumps(said, sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()[:16]
