"""Escapes: what an attacker crosses follows from the stack, whom it reaches from the tree, and everything says how weak it is."""

from __future__ import annotations

import math
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.commands.escape import Host, Reach, reaches
from simvirt.evidence import Cost, Grade
from simvirt.faults.escape import WEAKEST, Attacker, Exposure, boundaries, probability

CATALOG = Catalog.builtin()


def number(value: float, unit: str = "x") -> Cost:
    return Cost(value=value, unit=unit, low=value / 10, high=value * 2, source="assumption", where="a test", grade=Grade.ASSUMED)


def attacker(days: float = 36.5) -> Attacker:
    return Attacker(name="a", summary="", reference="docker", unpatched_s=number(days, "d"))


def steps(platform: str, tenants: int = 10, per_vm: int = 1) -> list[Reach]:
    described, stack = CATALOG.platform(platform), CATALOG.stack(platform)
    host = Host(stack=stack, shared_level=1 + described.layers.index(described.shared), tenants=tenants, per_vm=per_vm)
    reference = CATALOG.exposure("docker")
    assert reference is not None
    return list(reaches(host, CATALOG.exposures(stack), reference, CATALOG.attacker("opportunist"), 1.0))


def test_the_probability_by_hand() -> None:
    """20 holes a year, a tenth of them usable, each open for a tenth of a year: P = 1 - exp(-20 * 0.1 * 0.1 * 2) in two years."""
    exposure = Exposure(holes_per_year=number(20.0), usable=number(0.1))
    assert probability(exposure, attacker(), 2.0) == pytest.approx(1 - exp(-0.4))
    assert probability(exposure, attacker(), 2.0, "low") == pytest.approx(1 - exp(-0.004))  # both a tenth
    assert probability(exposure, attacker(), 2.0, "high", patched="high") == pytest.approx(1 - exp(-3.2))


@given(holes=st.floats(0.1, 100), usable=st.floats(0.001, 1), days=st.floats(0.1, 300), years=st.floats(0.01, 50))
def test_it_is_a_probability_that_grows_with_time_and_is_memoryless(holes: float, usable: float, days: float, years: float) -> None:
    exposure, who = Exposure(holes_per_year=number(holes), usable=number(usable)), attacker(days)
    one, two = probability(exposure, who, years), probability(exposure, who, 2 * years)
    assert 0.0 < one <= 1.0
    assert two >= one
    assert 1 - two == pytest.approx((1 - one) ** 2, abs=1e-9)


@pytest.mark.parametrize(
    ("platform", "per_vm", "crossed"),
    [
        ("bare-metal", 1, [("linux", "linux", 9)]),
        ("docker", 1, [("docker", "linux", 9)]),
        ("gvisor", 1, [("gvisor", "linux", 9)]),  # the sandbox stands for the container under it
        ("kvm", 1, [("kvm", "kvm", 9)]),  # it has its own kernel to begin with
        ("kvm", 5, [("linux-guest", "linux-guest of vm 0", 4), ("kvm", "kvm", 9)]),
        ("docker-in-kvm", 1, [("kvm", "kvm", 9)]),
        ("docker-in-kvm", 5, [("docker", "linux-guest of vm 0", 4), ("kvm", "kvm", 9)]),
        ("virtualbox", 1, [("virtualbox", "desktop-linux", 9)]),
        ("xen-hvm", 1, [("xen-hvm", "xen-hvm", 9)]),
    ],
)
def test_what_is_crossed_and_who_is_reached(platform: str, per_vm: int, crossed: list[tuple[str, str, int]]) -> None:
    assert [(step.crossing.layer, step.instance, step.tenants) for step in steps(platform, per_vm=per_vm)] == crossed


@pytest.mark.parametrize("platform", CATALOG.names("platforms"))
def test_every_platform_has_boundaries_down_to_the_lowest_kernel(platform: str) -> None:
    found = steps(platform)
    assert found[-1].crossing.level == 1
    for step in found:
        low, value, high = step.chances
        assert 0.0 < low <= value <= high <= 1.0
        assert step.index[0] <= step.index[1] <= step.index[2]
    chances = [step.chances[1] for step in found]
    assert chances == sorted(chances, reverse=True)


def test_a_default_container_has_index_one_and_machines_less() -> None:
    index = {platform: steps(platform)[-1].index[1] for platform in CATALOG.names("platforms")}
    assert index["docker"] == pytest.approx(1.0)
    # 4 of 110 work in the sandbox: 0.04, and a little less as the runtime's own holes do not count
    assert index["gvisor"] == pytest.approx(4 / 110, rel=0.1)
    assert 0.02 <= index["kvm"] <= 0.1  # what its share was chosen for
    assert index["firecracker"] < index["kvm"]
    assert index["docker-in-kvm"] == pytest.approx(index["kvm"])
    assert index["bare-metal"] > 1.0


def test_bands_are_wide() -> None:
    """At least two orders of magnitude between the ends: nobody should read a digit."""
    for platform in ("docker", "kvm", "gvisor", "esxi"):
        low, _, high = steps(platform)[-1].index
        assert math.log10(high / low) > 2.0


def test_nothing_known_ends_the_list() -> None:
    stack = CATALOG.stack("kvm")
    assert boundaries(stack, [None] * len(stack.layers), len(stack.layers)) == ()


@pytest.mark.parametrize("platform", CATALOG.names("platforms"))
def test_every_output_says_how_weak_it_is(platform: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["escape", platform]) == 0
    out = capsys.readouterr().out
    assert WEAKEST in out
    assert out.count("weakest evidence") >= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["escape", "dokcer"], "platform 'dokcer' is unknown"),
        (["escape", "docker", "--attacker", "nobody"], "attacker 'nobody' is unknown"),
        (["escape", "docker", "--tenants", "0"], "a whole number, at least 1"),
        (["escape", "docker", "--years", "-1"], "a number above 0"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
