"""The way of one operation down a stack: it is the way that simulations take, every piece of it, with the costs that are behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.demand import Demand, Syscall
from simvirt.evidence import Cost, Grade
from simvirt.layers.contract import map_costs
from simvirt.layers.narration import EXAMPLES, Due, narrate
from simvirt.layers.path import plan_path
from simvirt.layers.stack import Stack

CATALOG = Catalog.builtin()
PLATFORMS = CATALOG.names("platforms")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("operation", EXAMPLES)
def test_what_is_due_always_is_what_a_request_takes(operation: str, platform: str) -> None:
    stack, demand = CATALOG.stack(platform), EXAMPLES[operation].demand
    lines = narrate(stack, demand)
    on_cpu = sum(line.time_s for line in lines if line.due == Due.ALWAYS and line.who.split()[0] in ("thread", "interrupt", "service"))
    assert on_cpu == pytest.approx(plan_path(stack, demand).cpu_s(), rel=1e-12)
    assert [line.step for line in lines] == sorted(line.step for line in lines)


@pytest.mark.parametrize("platform", ["docker", "gvisor", "kvm", "vmware-workstation", "xen-hvm", "docker-in-kvm"])
def test_a_line_changes_with_the_costs_behind_it_and_with_no_other(platform: str) -> None:
    stack, demand = CATALOG.stack(platform), EXAMPLES["packet"].demand
    before = narrate(stack, demand)
    name, field = "linux" if "linux" in stack.names else "linux-guest", "network.send_s"
    after = narrate(_halved(stack, name, field), demand)
    changed = [old for old, new in zip(before, after, strict=True) if new.time_s != pytest.approx(old.time_s, rel=1e-9)]
    assert changed
    assert changed == [line for line in before if (name, field) in [cost[:2] for cost in line.costs]]


def _halved(stack: Stack, name: str, field: str) -> Stack:
    def half(path: str, cost: Cost) -> Cost:
        return replace(cost, value=cost.value / 2, low=min(cost.low, cost.value / 2)) if path == field else cost

    return Stack(tuple(map_costs(layer, half) if own == name else layer for own, layer in zip(stack.names, stack.layers, strict=True)))


def test_a_system_call_on_bare_metal_is_one_entry_into_the_kernel() -> None:
    stack = CATALOG.stack("bare-metal")
    (entry,) = narrate(stack, Demand((Syscall(count=1),)))
    ((owner, field, cost),) = entry.costs
    assert (entry.step, entry.who, entry.layer, entry.cause, entry.due) == (1, "thread of the application", "linux", "syscall", "always")
    assert (owner, field, entry.time_s) == ("linux", "processes.syscall_s", cost.si)


def test_who_begins_an_operation_does_not_sleep_and_who_is_called_may() -> None:
    lines = narrate(CATALOG.stack("kvm"), EXAMPLES["block"].demand)
    assert {line.due for line in lines if line.step == 1} == {Due.ALWAYS, Due.NOTIFY}
    assert any(line.due == Due.HALTED and line.who == "interrupt of linux-guest" for line in lines)
    packet = narrate(CATALOG.stack("kvm"), EXAMPLES["packet"].demand)
    assert [line.who for line in packet if line.due == Due.HALTED] == ["interrupt of linux-guest"] * 2


def test_the_command_tells_the_way_the_ratio_and_the_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "fault", "--platform", "kvm", "--machine", "small-server"]) == 0
    told = capsys.readouterr().out
    assert "platform kvm, machine small-server" in told
    assert "thread of the application" in told
    assert "kvm.cpu.paging.fresh_page_s" in told
    assert "On bare-metal, everybody awake: " in told
    assert Grade.MEASURED in told


def test_on_the_baseline_itself_nothing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "syscall", "--platform", "bare-metal"]) == 0
    assert "times as much" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "sycall", "--platform", "kvm"], "'sycall' is no operation that can be explained; did you mean 'syscall'?"),
        (["explain", "syscall", "--platform", "kvn"], "platform 'kvn' is unknown; did you mean 'kvm'?"),
        (["explain", "syscall"], "--platform"),
    ],
)
def test_unknown_words_are_refused_with_the_nearest(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_a_wire_takes_as_long_as_the_slower_of_its_two_limits() -> None:
    stack = CATALOG.stack("bare-metal")
    nic = stack.hardware.nic
    frames = 1.0 + 100.0 / nic.frame_payload_bytes.si
    by_bytes_s = (100.0 + frames * nic.frame_overhead_bytes.si) / nic.bandwidth_bytes_per_s.si
    assert by_bytes_s > frames / nic.packet_rate_per_s.si
    told = [line.time_s for line in narrate(stack, EXAMPLES["packet"].demand) if line.who.startswith("wire")]
    assert told == pytest.approx([by_bytes_s] * 2, rel=1e-12)
