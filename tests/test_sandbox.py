"""What a sandbox's kernel asks of its host, by hand."""

from __future__ import annotations

import pytest

from simvirt.catalog import Catalog
from simvirt.demand import Demand, FileRead, Operation, Syscall

CATALOG = Catalog.builtin()
CLOCK_HZ = 2.5e9


def cycles(platform: str, operation: Operation, **overrides: float) -> dict[tuple[str, str], float]:
    """Cycles of the sandbox and of the host, by layer and cause."""
    set_by_hand = {f"{platform}.{field}": value for field, value in overrides.items()}
    folded = CATALOG.stack(platform, "server-2s", set_by_hand).fold(Demand((operation,)))
    found: dict[tuple[str, str], float] = {}
    for charge in (f.charge for f in folded):
        found[charge.layer, charge.cause] = found.get((charge.layer, charge.cause), 0.0) + charge.amount * CLOCK_HZ
    return found


def test_a_read_of_a_file_makes_its_host_calls() -> None:
    """Six host calls, each with a round trip out of the mode of the sandbox's kernel: 6 * 2,530 cycles, and six native calls."""
    native = cycles("bare-metal", Syscall(count=1.0))["linux", "syscall"]
    found = cycles("gvisor-kvm", FileRead(count=1.0))
    assert found["gvisor-kvm", "host_call"] == pytest.approx(6 * 2530)
    assert found["linux", "syscall"] == pytest.approx(6 * native)
    assert found["gvisor-kvm", "sandbox_block"] == pytest.approx(2500)


def test_a_kernel_that_is_a_process_leaves_no_mode() -> None:
    assert ("gvisor", "host_call") not in cycles("gvisor", FileRead(count=1.0))


def test_a_call_that_is_answered_inside_pays_its_share_of_host_calls() -> None:
    found = cycles("gvisor-kvm", Syscall(count=10.0))
    assert found["gvisor-kvm", "host_call"] == pytest.approx(10 * 0.2 * 2530)
    assert ("gvisor-kvm", "host_call") not in cycles("gvisor-kvm", Syscall(count=10.0), host_syscalls=0.0)


def test_a_whole_call_takes_what_was_measured() -> None:
    """763 ns at 2.2 GHz, all layers together but for the host kernel's work inside the call."""
    found = cycles("gvisor-kvm", Syscall(count=1.0))
    assert sum(found[label] for label in found if label[1] in ("intercept", "sandbox_kernel", "host_call", "syscall")) == pytest.approx(
        763 * 2.2, rel=0.02
    )
