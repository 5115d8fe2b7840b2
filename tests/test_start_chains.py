"""Chains of stages: what starts what, in which order, and how long it takes alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from simvirt.catalog import Catalog
from simvirt.errors import CatalogError, ScenarioError, StackError
from simvirt.evidence import Grade
from simvirt.layers.contract import costs_of
from simvirt.scenario import Scenario, Tenants, check_scenario
from simvirt.startup import RESTORING, Chain, Program, Requests, Section, chain_of
from simvirt.workloads.arrivals import Poisson

CATALOG = Catalog.builtin()
PLATFORMS = CATALOG.names("platforms")
every_platform = pytest.mark.parametrize("platform", PLATFORMS)


def chain(platform: str, level: int | None = None, way: str = "fresh", workload: str | None = "web-service") -> Chain:
    stack = CATALOG.stack(platform)
    shared = stack.names.index(CATALOG.platform(platform).shared)
    return chain_of(stack, CATALOG.starts(stack, workload), shared + 1 if level is None else level, way)


@every_platform
def test_every_platform_can_start_each_of_its_layers_and_what_stands_on_it(platform: str) -> None:
    """The time from a level up falls with the level, and levels never go down along a chain."""
    top = len(CATALOG.stack(platform).layers)
    times = [chain(platform, level).alone_s() for level in range(top + 1)]
    assert all(times) and times == sorted(times, reverse=True)
    whole = chain(platform, 0)
    assert [step.level for step in whole.steps] == sorted(step.level for step in whole.steps)
    assert whole.steps[0].level == 0 and whole.steps[-1].level == top
    for level in range(top + 1):
        split = whole.upto(level).alone_s() + whole.above(level).alone_s()
        assert split == pytest.approx(whole.alone_s(), rel=1e-12)


@every_platform
def test_a_cold_start_takes_longer_by_what_the_disk_takes(platform: str) -> None:
    found = chain(platform, 1)
    assert found.alone_s(cold=True) == pytest.approx(found.alone_s() + sum(step.cold_s for step in found.steps), rel=1e-12)
    assert found.alone_s(cold=True) > found.alone_s()


@every_platform
def test_every_number_of_a_start_has_evidence(platform: str) -> None:
    for step in chain(platform, 0).steps:
        assert isinstance(step.stage, Program | Section | Requests)
        for field, cost in costs_of(step.stage):
            assert cost.source in CATALOG.references, (step, field)
            assert cost.grade is not Grade.DERIVED or cost.derivation, (step, field)
            assert cost.grade is not Grade.ASSUMED or cost.low < cost.high or field == "shared", (step, field)


def test_who_makes_processors_starts_the_machine_before_its_kernel() -> None:
    found = chain("docker-in-kvm", workload=None)
    assert [(step.layer, step.stage.name) for step in found.steps] == [
        ("kvm", "network"),
        ("kvm", "monitor"),
        ("kvm", "make-machine"),
        ("kvm", "firmware"),
        ("linux-guest", "kernel"),
        ("linux-guest", "services"),
        ("docker", "engine"),
        ("docker", "root-file-system"),
        ("docker", "network"),
        ("docker", "runtime"),
        ("linux-guest", "spawn"),
    ]
    assert [(step.level, step.by) for step in found.steps] == [(2, 1)] * 4 + [(2, 2)] * 2 + [(3, 3)] * 4 + [(4, 2)]


def test_the_layer_below_chooses_how_a_guest_comes_up() -> None:
    assert "minimal-kernel" in [step.stage.name for step in chain("firecracker").steps]
    assert "minimal-kernel" not in [step.stage.name for step in chain("kvm").steps]
    assert "minimal-kernel" in [step.stage.name for step in chain("kvm", way="minimal").steps]


@pytest.mark.parametrize("way", RESTORING)
def test_what_is_brought_back_is_not_started_again(way: str) -> None:
    for platform in PLATFORMS:
        try:
            found = chain(platform, way=way)
        except StackError:
            continue
        assert {step.stage.name for step in found.steps}.isdisjoint({"spawn", "load"})
        assert found.alone_s() < chain(platform).alone_s()


def test_a_restored_machine_does_not_boot() -> None:
    assert [step.stage.name for step in chain("kvm", way="restore").steps] == ["network", "monitor", "make-machine", "load-memory"]


def test_an_unknown_way_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(StackError, match="start 'thaw': no layer from 2 up knows this way; known: fresh, minimal, restore"):
        chain("kvm", way="thaw")
    with pytest.raises(StackError, match="level 9: no such layer"):
        chain("kvm", 9)


def test_times_by_hand() -> None:
    """Docker at 2.5 GHz: 250 ms (at 2.9 GHz) and 40 us for each of 100 others, 3 ms and 10 MB at 0.2 ns, 5 ms, 95 ms (at 2.9 GHz)."""
    stack = CATALOG.stack("docker")
    ticks = chain("docker").steps[0].slowdown
    assert stack.host.clock_hz == 2.5e9 and 1.0 < ticks < 1.01
    engine = 0.250 * 2.9 / 2.5 + 100 * 40e-6
    expected = ticks * (engine + 0.003 + 10e6 * 0.2e-9 + 0.005 + 0.095 * 2.9 / 2.5) + 0.001 * 2.6 / 2.5 + 0.0012
    assert chain("docker", workload=None).alone_s(instances=100) == pytest.approx(expected, rel=1e-9)


def test_requests_grow_with_the_square_of_what_exists() -> None:
    """By hand: (110 + n) requests of 52.7 us + 16 ns x 30 n: 5.797 ms alone, 590.2 ms beside 1,000."""
    store = next(step.stage for step in chain("xen-pv").steps if step.stage.name == "store").on(3.7e9)
    resolved = CATALOG.start("layers", "xen-pv").stages["store"]
    assert isinstance(store, Requests) and isinstance(resolved, Requests)

    def alone_ms(n: float) -> float:
        return 1e3 * resolved.alone_s(instances=n, processors=1, slowdown=1.0, cold_s=0.0)

    assert alone_ms(0) == pytest.approx(5.797)
    assert alone_ms(1000) == pytest.approx(590.2, abs=1.5)
    second = (alone_ms(1000) - 2 * alone_ms(500) + alone_ms(0)) / 500**2
    assert second == pytest.approx(2 * 30 * 16e-6, rel=1e-9)


def test_an_emulated_processor_makes_everything_on_it_slow() -> None:
    slow, fast = chain("qemu-tcg", workload=None), chain("kvm", workload=None)
    assert [step.slowdown > 5 for step in slow.steps] == [step.by > 2 for step in slow.steps]
    assert all(step.slowdown < 1.1 for step in fast.steps)


def test_numbers_of_a_start_can_be_set_by_hand() -> None:
    stack = CATALOG.stack("docker")
    slow = CATALOG.starts(stack, overrides={"docker.start.engine.cpu_s": "1 s", "kvm.start.monitor.cpu_s": "9 s"})
    assert chain_of(stack, slow, 2).alone_s() - chain("docker", workload=None).alone_s() == pytest.approx(0.75 * 2.9 / 2.5, rel=0.01)
    with pytest.raises(CatalogError, match=r"override.docker.start.engin.cpu_s: no such number; did you mean 'docker.start.engine.cpu_s'"):
        CATALOG.starts(stack, overrides={"docker.start.engin.cpu_s": 1.0})


BAD = """
extends = "docker"
[start]
above = 3
fresh = ["engin", "network"]
thaw = "network"
[start.stage.engine]
on = "moon"
[start.stage.network]
lock = ""
hold = 3
[start.stage.network.hold_s]
value = 1
unit = "B"
low = 1
high = 1
source = "assumption"
where = "here"
grade = "assumed"
"""


def test_all_mistakes_of_a_start_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "bad.toml").write_text(BAD, encoding="utf-8")
    with pytest.raises(CatalogError) as caught:
        Catalog.builtin(tmp_path).start("layers", "bad")
    told = "\n".join(caught.value.problems)
    for piece in (
        "layers/bad.start.above: 3; must be the name of a way",
        "layers/bad.start.fresh: 'engin' is no stage; did you mean 'engine'?",
        "layers/bad.start.thaw: 'network'; must be a list of names of stages",
        "layers/bad.start.stage.engine.on: 'moon' is no resource; known: lock, processor, server",
        "layers/bad.start.stage.network.lock: ''; must be a name",
        "layers/bad.start.stage.network.hold: not a part of such a stage; did you mean 'hold_s'",
        "layers/bad.start.stage.network.hold_s.unit: 'B' measures size; hold_s is a time or cycles",
    ):
        assert piece in told, told


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("kvm.start.monitor.cpu_s", "override.kvm.start.monitor.cpu_s: 'kvm' starts nothing here; known: linux-guest, server-2s"),
        ("xen-pv.start.monitor.cpu_s", "override.xen-pv.start.monitor.cpu_s: no such number"),
        ("web-service.start.load.gpu_s", "gpu_s: no such number; did you mean 'web-service.start.load.cpu_s'"),
    ],
)
def test_scenarios_refuse_numbers_of_starts_that_there_are_not(path: str, message: str) -> None:
    tenants = (Tenants(workload="web-service", load=Poisson(rate_per_s=1.0)),)
    known: dict[str, float | str] = {"xen-pv.start.store.cv": 0.0, "web-service.start.load.cv": 0.0}
    check_scenario(Scenario(platform="xen-pv", tenants=tenants, override=known), CATALOG)
    with pytest.raises(ScenarioError) as caught:
        check_scenario(Scenario(platform="xen-pv", tenants=tenants, override={path: 1.0}), CATALOG)
    assert message in str(caught.value)
