"""What does a neighbour that misbehaves do to the others, by kind of misbehaviour, by platform, and by whether it is limited?

Two parts. *Today*: each stressor beside a service, both as tenants of their own, on platforms of today, without limits and with one for
each resource. *Published*: four tables of isolation (Barham et al. 2003, section 4.4; the Isolation Benchmark Suite of Matthews et al.
2007; Xavier et al. 2013; Sharma et al. 2016) on platforms of their time, whose profiles say which limits there were. Nothing is set from
a disturbed row: what a tenant loses against the same run without the stressor is a prediction.

Expected. Where tenants share a kernel they share its tables and its memory, so that a fork bomb, a memory bomb, or somebody who fills
the disk or a table ends the others' work, unless there is a limit of just that resource; computing, which every platform divides, is no
matter. Virtual machines have a kernel each and lose nothing of this; the disk, the wire and the threads that serve them are shared by all.

A cell says *did not respond* where a group completes nothing in the window. Cells in which the two tables that have OpenVZ or Xen in
common contradict each other (one below 2 %, the other not; or a response in one only) are listed and not scored. For OpenVZ the limits of
its sample configuration are taken (memory, processes), as Matthews' table shows them at work; Xavier's shows them absent.

Missing. Memory of the machines' own system while it swaps, kernel locks that a storm contends for, and what a full table does to daemons.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.catalog import Catalog
from simvirt.experiment.command import run_command
from simvirt.experiment.runner import Point, PointOutcome
from simvirt.experiment.study import Experiment, Results
from simvirt.isolation.disturbance import Disturbance, PhasedOutcome
from simvirt.isolation.effect import Effect, effect_on
from simvirt.reports.heat_map import Cell, HeatMap, heat_maps
from simvirt.reports.style import chart_style, render
from simvirt.scenario import Run, Scenario

if TYPE_CHECKING:
    import pandas as pd

HERE: Final = Path(__file__).resolve().parent
PROFILES: Final = (HERE / "profiles",)
PUBLISHED: Final = HERE / "data" / "isolation_published.csv"
VICTIM, CULPRIT, STRESSOR = "well-behaved", "misbehaving", "stressor"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One published set-up: who ran where, under which load."""

    source_key: str
    tenants: Sequence[Mapping[str, Any]]
    """Entries of the groups of tenants."""
    stressors: Mapping[str, Sequence[Mapping[str, Any]]]
    """Row of the table → entries of its stressors."""
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Platform → what it gives to each tenant (a size, a limit), to those of a kind, and to the whole."""
    settle_s: float = 4.0
    """How long the stressor works before anybody looks."""
    override: Mapping[str, float | str] = field(default_factory=dict)


WEB: Final = {"workload": "specweb-2005", "load": {"kind": "poisson", "rate_per_s": 40.0}}
SMALL_VM: Final = {"memory": "200 MiB", "swap": "256 MiB"}
FAIR: Final = {"io_weight": 100}
"""One queue of the disk for each process or virtual machine: CFQ, which Linux had by default from 2.6.18 on; Xen of 2003 takes turns too."""
IBS: Final = {
    "cpu": ({"stressor": "cpu-hog"},),
    "memory": ({"stressor": "memory-bomb"},),
    "fork bomb": ({"stressor": "fork-bomb"},),
    "disk": ({"stressor": "disk-hog-sequential"},),
    "network, sending": ({"stressor": "net-flood-send"},),
    "network, receiving": ({"stressor": "net-flood-receive", "intensity": 0.05},),
}
LU: Final = {"workload": "lu-part", "load": {"kind": "closed", "clients": 4, "think": {"kind": "constant", "value": 0.01}}, "vcpus": 4}
"""Half of the processors' threads do the work; memory and processors are divided half and half."""
COMPILE: Final = {"workload": "compile-part", "load": {"kind": "closed", "clients": 2, "think": {"kind": "constant", "value": 0.01}}}
HALF: Final = {"vcpus": 4, "cap_cores": 4.0}
SHARMA: Final = {"vcpus": 2, "cap_cores": 2.0}

SETUPS: Final = (
    Setup(
        source_key="matthews2007",
        tenants=({"name": VICTIM, "count": 3, **WEB}, {"name": CULPRIT, **WEB}),
        stressors={row: tuple({**one, "inside": CULPRIT} for one in entries) for row, entries in IBS.items()},
        limits={"xen-2006": {**SMALL_VM, **FAIR}, "workstation-2006": {**SMALL_VM, **FAIR, "memory": "160 MiB"}, "openvz-2006": FAIR},
        settle_s=4.0,
    ),
    Setup(
        source_key="xavier2013",
        tenants=({"name": VICTIM, **LU},),
        stressors={row: tuple({**one, **HALF} for one in entries) for row, entries in IBS.items()},
        limits={
            "xen-2012": {**FAIR, "memory": "7 GiB", "swap": "2 GiB"},
            "openvz-2012": {**FAIR, "cap_cores": 4.0},
            "vserver-2012": {**FAIR, "cap_cores": 4.0, "memory_max": "8 GiB"},
            "lxc-2012": {**FAIR, "cap_cores": 4.0, "host_swap": "8 GiB"},
        },
        settle_s=9.0,
    ),
    Setup(
        source_key="sharma2016",
        tenants=({"name": VICTIM, **COMPILE, **SHARMA},),
        stressors={
            "fork bomb": ({"stressor": "fork-bomb", **SHARMA},),
            "memory": ({"stressor": "memory-bomb", **SHARMA},),
        },
        limits={"lxc-2015": {**FAIR, "memory_max": "4 GiB", "host_swap": "4 GiB"}, "kvm-2015": {**FAIR, "memory": "4 GiB", "swap": "2 GiB"}},
        settle_s=9.0,
    ),
    Setup(
        source_key="sharma2016",
        tenants=({"name": VICTIM, "workload": "random-io", "load": {"kind": "closed", "clients": 2, "think": {"kind": "constant", "value": 0.0}}, **SHARMA},),
        stressors={"disk": ({"stressor": "disk-hog-random", **SHARMA},)},
        limits={"lxc-2015": {**FAIR, "memory_max": "4 GiB"}, "kvm-2015": {**FAIR, "memory": "4 GiB"}},
        settle_s=2.0,
    ),
    Setup(
        source_key="barham2003",
        tenants=(
            {"name": VICTIM, **WEB, "load": {"kind": "poisson", "rate_per_s": 60.0}},
            {"name": "database", "workload": "random-io", "load": {"kind": "closed", "clients": 1, "think": {"kind": "exponential", "mean": 0.05}}},
        ),
        stressors={
            "everything": (
                {"name": "disk", "stressor": "disk-hog-sequential"},
                {"name": "files", "stressor": "inode-filler"},
                {"name": "bomb", "stressor": "fork-bomb"},
                {"name": "memory", "stressor": "memory-bomb"},
            )
        },
        limits={"xen-2003": {**FAIR, "memory": "256 MiB", "swap": "256 MiB"}, "linux-2003": {"host_swap": "2 GiB"}},
        settle_s=14.0,
    ),
)
