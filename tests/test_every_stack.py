"""Laws of whole stacks, with random layers and random demands, and of the way that a demand takes through them."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ideal import MACHINE, OS, Key, approx, kinds, nonzero, random_demands, random_layer, tally

from simvirt.demand import Compute, Demand, FirstWrite, Interface, Operation, PageVisits
from simvirt.layers.container import ContainerRuntime
from simvirt.layers.contract import AbstractLayer, Charge, Resource
from simvirt.layers.hardware import Hardware
from simvirt.layers.hosted_hypervisor import HostedHypervisor
from simvirt.layers.hypervisor import Hypervisor
from simvirt.layers.operating_system import OperatingSystem
from simvirt.layers.path import plan_path
from simvirt.layers.sandbox import Sandbox
from simvirt.layers.stack import APPLICATION, Stack

KINDS = kinds()

SHAPES: dict[str, tuple[type[AbstractLayer], ...]] = {
    "bare": (OperatingSystem,),
    "container": (OperatingSystem, ContainerRuntime),
    "container in container": (OperatingSystem, ContainerRuntime, ContainerRuntime),
    "sandbox": (OperatingSystem, ContainerRuntime, Sandbox),
    "vm": (Hypervisor, OperatingSystem),
    "container in vm": (Hypervisor, OperatingSystem, ContainerRuntime),
    "hosted": (OperatingSystem, HostedHypervisor, OperatingSystem),
    "container in hosted": (OperatingSystem, HostedHypervisor, OperatingSystem, ContainerRuntime),
    "nested": (Hypervisor, Hypervisor, OperatingSystem),
    "hosted in vm": (Hypervisor, OperatingSystem, HostedHypervisor, OperatingSystem),
    "vm in hosted": (OperatingSystem, HostedHypervisor, Hypervisor, OperatingSystem),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)
seeds = given(st.integers(0, 2**32))
few = settings(max_examples=15)


def stack_of(shape: str, rng: random.Random) -> Stack:
    layers = [random_layer(Hardware, rng, "machine", None, MACHINE)]
    for i, kind in enumerate(SHAPES[shape]):
        layers.append(random_layer(kind, rng, f"{kind.kind} {i}", *interfaces(kind)))
    return Stack(tuple(layers))


def interfaces(kind: type[AbstractLayer]) -> tuple[Interface | None, Interface]:
    """What a kind requires and provides, in one flavour."""
    published = KINDS[kind]
    return {None: None, "os": OS, "machine": MACHINE}[published.requires and published.requires.kind], {"os": OS, "machine": MACHINE}[
        published.provides.kind
    ]


def test_every_kind_stands_in_some_stack() -> None:
    assert {Hardware, *(kind for shape in SHAPES.values() for kind in shape)} == set(KINDS)


@every_shape
@few
@seeds
def test_folding_is_linear(shape: str, seed: int) -> None:
    """fold(a + b) = fold(a) + fold(b), and fold(x a) = x fold(a), by layer, cause, resource, context and condition."""
    rng = random.Random(seed)
    stack = stack_of(shape, rng)
    a, b = random_demands(rng)
    both = Demand(tuple(x + y for x, y in zip(a.operations, b.operations, strict=True)))
    assert nonzero(tally(stack.fold(both))) == approx(tally(stack.fold(a)) + tally(stack.fold(b)))
    factor = 3 * rng.random()
    assert nonzero(tally(stack.fold(a.scaled(factor)))) == approx({k: factor * v for k, v in tally(stack.fold(a)).items()})
    assert stack.fold(a.scaled(0.0)) == ()


@every_shape
@few
@seeds
def test_no_stack_is_cheaper_than_its_user_time(shape: str, seed: int) -> None:
    rng = random.Random(seed)
    stack = stack_of(shape, rng)
    (demand,) = random_demands(rng, 1)
    folded = [f.charge for f in stack.fold(demand)]
    assert all(charge.amount >= -1e-12 and charge.size_bytes >= 0 for charge in folded)
    assert all(charge.cause and charge.layer in (APPLICATION, *stack.names) for charge in folded)
    user_s = sum(operation.cpu_s for operation in demand.operations if isinstance(operation, Compute)) / stack.host.core_speed
    own_s = sum(c.amount for c in folded if c.layer == APPLICATION and c.resource is not Resource.TURN)
    assert own_s == pytest.approx(user_s, rel=1e-9)
    assert cpu_s(folded) >= user_s * (1 - 1e-12)


def cpu_s(folded: list[Charge]) -> float:
    return sum(charge.amount for charge in folded if charge.resource is Resource.CPU)


@every_shape
@few
@seeds
def test_the_way_loses_nothing(shape: str, seed: int) -> None:
    """What a demand is charged is what its steps hold, label by label; no two neighbours on a CPU share an executor."""
    rng = random.Random(seed)
    stack = stack_of(shape, rng)
    (demand,) = random_demands(rng, 1)
    expected: Counter[tuple[str, ...]] = Counter()
    for folded in stack.fold(demand):
        charge = folded.charge
        expected[charge.layer, charge.cause, charge.resource.value, str(charge.context), charge.when.value] += charge.amount
    path = plan_path(stack, demand)
    found: Counter[tuple[str, ...]] = Counter()
    for step in path.steps:
        always = (*step.fixed.parts, *step.random.parts)
        for parts, when in ((always, "always"), (step.asleep.parts, "asleep"), (step.notify.parts, "next_asleep")):
            for part in parts:
                found[part.layer, part.cause, step.resource.value, str(step.context), when] += part.amount
    assert {k: v for k, v in found.items() if v} == pytest.approx({k: v for k, v in expected.items() if v}, rel=1e-9)
    on_cpu = [(a, b) for a, b in zip(path.steps, path.steps[1:], strict=False) if a.resource is b.resource is Resource.CPU]
    assert all(a.context != b.context for a, b in on_cpu)
    always_s = sum(amount for label, amount in expected.items() if label[2] == "cpu" and label[4] == "always")
    assert path.cpu_s() == pytest.approx(always_s, rel=1e-9)
    assert path.caller_s() <= path.cpu_s() * (1 + 1e-12)


@every_shape
@few
@seeds
def test_only_what_a_processor_does_by_itself_varies_with_the_request(shape: str, seed: int) -> None:
    rng = random.Random(seed)
    stack = stack_of(shape, rng)
    (demand,) = random_demands(rng, 1)
    varies = tally(f for f in stack.fold(demand) if f.random)
    alone = Demand(tuple(operation for operation in demand.operations if isinstance(operation, Compute | PageVisits)))
    assert nonzero(varies) == approx(tally(stack.fold(alone)))


@few
@seeds
def test_a_container_in_a_virtual_machine_is_its_parts(seed: int) -> None:
    """Beyond the plain virtual machine's, there are the container's own charges, and what those instructions cause below: nothing else."""
    rng = random.Random(seed)
    stack = stack_of("container in vm", rng)
    plain = Stack(stack.layers[:-1])
    (demand,) = random_demands(rng, 1)
    whole, without = anywhere(tally(stack.fold(demand))), anywhere(tally(plain.fold(demand)))
    own = {key: amount for key, amount in whole.items() if key[0] == stack.names[-1]}
    caused: Counter[tuple[str, ...]] = Counter()
    for key, amount in own.items():
        if key[2] == "cpu":
            below = plain.fold(Demand((Compute(cpu_s=amount * stack.host.core_speed),)))
            caused += anywhere(tally(f for f in below if f.charge.layer != APPLICATION))
    for first in (operation for operation in demand.operations if isinstance(operation, FirstWrite)):  # what is copied up
        copied = tuple(item for item in stack.layers[-1].lower(first, stack.host) if isinstance(item, Operation))
        caused += anywhere(tally(plain.fold(Demand(copied))))
    assert {k: v for k, v in whole.items() if v} == pytest.approx(
        {k: v for k, v in (without + caused + Counter(own)).items() if v}, rel=1e-9
    )


def anywhere(sums: Counter[Key]) -> Counter[tuple[str, ...]]:
    """Amounts by layer, cause, resource and condition, whoever does the work."""
    merged: Counter[tuple[str, ...]] = Counter()
    for (layer, cause, resource, _, when), amount in sums.items():
        merged[layer, cause, resource, when] += amount
    return merged


@few
@seeds
def test_nesting_only_adds(seed: int) -> None:
    """Another hypervisor between changes no charge of the layers above it, and takes no CPU time away."""
    rng = random.Random(seed)
    stack = stack_of("nested", rng)
    flat = Stack((stack.layers[0], *stack.layers[2:]))
    (demand,) = random_demands(rng, 1)
    deep, shallow = anywhere(tally(stack.fold(demand))), anywhere(tally(flat.fold(demand)))
    for key, amount in shallow.items():
        if key[0] in (APPLICATION, stack.names[-1]):
            assert deep[key] == pytest.approx(amount, rel=1e-9)
    assert cpu_s([f.charge for f in stack.fold(demand)]) >= cpu_s([f.charge for f in flat.fold(demand)]) * (1 - 1e-12)


def test_the_same_layer_twice_has_two_names() -> None:
    stack = stack_of("nested", random.Random(1))
    machine, outer, inner, guest = stack.layers
    twice = Stack((machine, outer, replace(inner, name=outer.name), guest))  # type: ignore[type-var]
    assert twice.names == ("machine", "hypervisor 0", "hypervisor 0 L2", "operating-system 2")
