"""What textbooks say of platforms comes out of the published costs: same machine, same arrivals, same demands, paired by replication."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest

from simvirt.analysis.comparison import paired_difference, paired_ratio
from simvirt.catalog import Catalog
from simvirt.layers.hypervisor import Hypervisor
from simvirt.layers.virtual_cpu import VirtualCpu
from simvirt.scenario import Run, Scenario, Tenants, host_stack
from simvirt.simulation import simulate
from simvirt.workloads.arrivals import Poisson

CATALOG = Catalog.builtin()
REPLICATIONS = 4
CONFIDENCE = 0.99
LOADS = {"database": 200.0, "network-heavy": 500.0, "key-value-store": 5000.0}
"""Requests per second of each of four tenants: a tenth to a fifth of 8 cores."""


def of_family(family: str) -> tuple[str, ...]:
    """Platforms of a family that execute instructions natively and stand between a machine and its devices."""
    names = (name for name in CATALOG.names("platforms") if CATALOG.platform(name).family == family)
    return tuple(name for name in names if not emulates(name) and not passes_through(name))


def passes_through(platform: str) -> bool:
    """Whether packets and blocks reach the machine without anybody's work: that may well be faster than a container behind a bridge."""
    layers = [layer for layer in CATALOG.stack(platform).layers if isinstance(layer, Hypervisor)]
    return any(layer.network.receive_s.si == 0.0 for layer in layers)


def emulates(platform: str) -> bool:
    cpus = (getattr(layer, "cpu", None) for layer in CATALOG.stack(platform).layers)
    return any(isinstance(cpu, VirtualCpu) and max(cpu.integer_factor.si, cpu.float_factor.si) > 1.5 for cpu in cpus)


@cache
def means(platform: str, workload: str, rate_per_s: float, requests: int) -> list[float]:
    """Mean response time of each replication."""
    tenants = Tenants(name="t", workload=workload, load=Poisson(rate_per_s=rate_per_s), count=4, vcpus=2)
    described = Scenario(platform=platform, machine="small-server", tenants=(tenants,), run=Run(duration_s=requests / 4 / rate_per_s))
    outcomes = [simulate(described, CATALOG, replication) for replication in range(REPLICATIONS)]
    return [sum(tenant.histogram.mean_s for tenant in outcome.tenants) / 4 for outcome in outcomes]


@pytest.mark.parametrize("workload", LOADS)
def test_input_and_output_at_moderate_load(workload: str) -> None:
    """Native ≤ container on the host's network < each type 1 < each type 2; a bridge costs something, nesting more than one level."""
    found = {
        name: means(name, workload, LOADS[workload], 240)
        for name in ("bare-metal", "docker-host-network", "docker", "kvm-in-kvm", *of_family("type1"), *of_family("type2"))
    }
    assert len(of_family("type1")) >= 4 and len(of_family("type2")) >= 2
    chains = [("docker-host-network", "docker"), ("kvm", "kvm-in-kvm")]
    chains += [(a, b) for a in ("docker-host-network", "docker") for b in of_family("type1")]
    chains += [(a, b) for a in of_family("type1") for b in of_family("type2")]
    for faster, slower in chains:
        assert paired_difference(found[slower], found[faster], CONFIDENCE).low > 0, (faster, slower)
    slowdown = paired_ratio(found["docker-host-network"], found["bare-metal"], CONFIDENCE)
    assert slowdown.mean >= 1.0 and slowdown.high < 1.01


def test_pure_computation_is_nearly_native() -> None:
    """Within 1 % in containers, 8 % in virtual machines, which walk two page tables; many times slower where instructions are emulated."""
    native = means("bare-metal", "batch-compute", 3.0, 40)
    for name in (*of_family("container"), *of_family("type1"), *of_family("type2")):
        slowdown = paired_ratio(means(name, "batch-compute", 3.0, 40), native, CONFIDENCE)
        assert slowdown.mean < (1.01 if name in of_family("container") else 1.08), name
        assert slowdown.mean >= 1.0
    (emulator, *_) = (name for name in CATALOG.names("platforms") if emulates(name))
    assert paired_ratio(means(emulator, "batch-compute", 0.05, 48), native).mean > 5


def test_a_hosted_machine_suffers_with_its_host() -> None:
    """The more the users of the host do, the more a virtual machine there loses against a process: its threads are some of many.

    Leaving idle states is free here: a busy host also keeps its cores awake, which is another effect.
    """
    awake: dict[str, float] = {f"small-server.idle.{name}": 0.0 for name in ("shallow_exit_s", "medium_exit_s", "deep_exit_s")}

    def run(platform: str, users_per_s: float) -> list[float]:
        guest = Tenants(name="guest", workload="key-value-store", load=Poisson(rate_per_s=3000.0))
        users = Tenants(name="user", workload="desktop-user", load=Poisson(rate_per_s=users_per_s), count=4, on="host", threads=0)
        described = Scenario(platform=platform, machine="small-server", tenants=(guest, users), run=Run(duration_s=0.25), override=awake)
        return [simulate(described, CATALOG, replication).tenants[0].histogram.mean_s for replication in range(REPLICATIONS)]

    levels = (50.0, 250.0, 375.0)  # a tenth, six and nine tenths of the cores
    native = [run("bare-metal", level) for level in levels]
    for platform in of_family("type2"):
        assert host_stack(CATALOG.stack(platform)) is not None
        hosted = [run(platform, level) for level in levels]
        penalties = [[b - a for a, b in zip(alone, there, strict=True)] for alone, there in zip(native, hosted, strict=True)]
        for lighter, heavier in pairwise(penalties):
            assert all(a < b for a, b in zip(lighter, heavier, strict=True)), platform  # in every pair: near saturation means are skewed
