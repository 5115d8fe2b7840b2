"""Idle systems of virtual machines: what a wake-up costs comes from the stack, and who does not ask for them gets none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simvirt.catalog import Catalog
from simvirt.demand import Demand, Timer
from simvirt.density.limits import background_cpu_s
from simvirt.errors import CatalogError
from simvirt.layers.operating_system import OperatingSystem
from simvirt.layers.path import plan_path
from simvirt.scenario import Scenario
from simvirt.simulation import RunOutcome, simulate

CATALOG = Catalog.builtin()
AWAKE = {f"small-server.idle.{state}_exit_s": 0.0 for state in ("shallow", "medium", "deep")}
"""Cores that leave idle states in no time."""


def outcome(platform: str, *, background: bool, override: dict[str, Any] | None = None, **group: Any) -> RunOutcome:
    tenants = [{"name": "quiet", "workload": "web-service", "count": 20, "load": {"kind": "poisson", "rate_per_s": 0.05}, **group}]
    run = {"duration_s": 10.0, "replications": 1}
    names = {"platform": platform, "machine": "small-server", "background": background, "override": override or {}}
    return simulate(Scenario.model_validate({**names, "tenants": tenants, "run": run}), CATALOG)


@pytest.mark.parametrize("platform", ["docker", "gvisor", "bare-metal"])
def test_who_has_no_system_of_its_own_has_no_background(platform: str) -> None:
    quiet, asked = (outcome(platform, background=wanted) for wanted in (False, True))
    assert list(quiet.rows({})) == list(asked.rows({}))


@pytest.mark.parametrize("platform", ["kvm", "xen-pv", "esxi", "docker-in-kvm"])
def test_simulated_background_is_what_the_stack_says_of_a_wake_up(platform: str) -> None:
    """20 systems with 100 wake-ups a second each, all found asleep but for a few: 18,000 in the window, so chance moves the sum by 1 %."""
    override = {**AWAKE, "linux-guest.background.wakeups_per_s": 100}
    quiet, busy = (outcome(platform, background=wanted, override=override).cpu_utilization for wanted in (False, True))
    stack = CATALOG.stack(platform, "small-server", AWAKE)
    level = stack.kernel_level(len(stack.layers) - 1)
    background = CATALOG.layer_memory("linux-guest").background
    assert background is not None
    fast = replace(background, wakeups_per_s=replace(background.wakeups_per_s, value=100.0, low=100.0, high=100.0))
    assert 8 * (busy - quiet) == pytest.approx(20 * background_cpu_s(stack, level, fast), rel=0.04)


def test_tenants_that_share_a_machine_share_its_background() -> None:
    alone, paired = (outcome("kvm", background=True, override=AWAKE, per_vm=per_vm).cpu_utilization for per_vm in (1, 2))
    quiet = outcome("kvm", background=False, override=AWAKE).cpu_utilization
    assert (paired - quiet) / (alone - quiet) == pytest.approx(0.5, abs=0.08)


def test_background_is_not_among_the_tenants() -> None:
    assert {tenant.group for tenant in outcome("kvm", background=True).tenants} == {"quiet"}


def test_a_timer_costs_an_interrupt_and_its_programming() -> None:
    stack = CATALOG.stack("bare-metal", "small-server")
    kernel = stack.layers[1]
    assert isinstance(kernel, OperatingSystem)
    path = plan_path(stack, Demand((Timer(count=3.0),)))
    timer = sum(part.amount for step in path.steps for part in step.fixed.parts if part.cause == "timer")
    assert timer == pytest.approx(3 * kernel.processes.tick_s.si)
    inside = plan_path(CATALOG.stack("kvm", "small-server"), Demand((Timer(count=3.0),)))
    assert inside.cpu_s() > path.cpu_s()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[maximum.tenants]\nvalue = 3\nunit = "count"', "layers/odd.maximum.tenants: nothing that is counted"),
        ('[maximum.instances]\nvalue = 3\nunit = "count"', "layers/odd.maximum.instances: evidence lacks"),
        ("[background.wakeups_per_s]\nvalue = 3", "layers/odd.background.wakeups_per_s: evidence lacks"),
    ],
)
def test_bad_tables_are_refused(table: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "odd.toml").write_text(f'extends = "lxc"\n{table}\n', encoding="utf-8")
    with pytest.raises(CatalogError) as refused:
        Catalog.builtin(tmp_path).layer_memory("odd")
    assert said in str(refused.value)
