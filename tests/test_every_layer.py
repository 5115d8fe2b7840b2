"""Laws that hold for every kind of layer, including the one that was added last: found by listing, with random costs."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ideal import kinds, operations_of, random_layer, random_operation

from simvirt.catalog import Catalog
from simvirt.demand import Compute, Operation
from simvirt.layers.contract import CALLER, AbstractLayer, Charge, Host, Lowered, Place, Placed, Resource, When, costs_of

KINDS = kinds()
HOST = Host(clock_hz=2e9, core_speed=1.25)

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
seeds = given(st.integers(0, 2**32))
few = settings(max_examples=40)


def layer_of(kind: type[AbstractLayer], rng: random.Random) -> AbstractLayer:
    published = KINDS[kind]
    return random_layer(kind, rng, "one", published.requires, published.provides)


def sums(lowered: Lowered) -> Counter[tuple[str, ...]]:
    """Amounts of the charges by label, and of the operations for the layer below by field."""
    found: Counter[tuple[str, ...]] = Counter()
    for item in lowered:
        if isinstance(item, Charge):
            label = (item.cause, item.resource.value, str(item.context), item.when.value)
            found[label] += item.amount
            found[(*label, "bytes")] += item.size_bytes
            continue
        placed = item if isinstance(item, Placed) else Placed(item)
        for field in (f for f in fields(placed.operation) if f.name not in placed.operation.PROPERTIES):
            label = (type(placed.operation).__name__, field.name, str(placed.context), placed.when.value)
            found[label] += getattr(placed.operation, field.name)
    return found


def operations(lowered: Lowered) -> list[Operation]:
    return [item.operation if isinstance(item, Placed) else item for item in lowered if not isinstance(item, Charge)]


def charges(lowered: Lowered) -> list[Charge]:
    return [item for item in lowered if isinstance(item, Charge)]


def test_every_kind_has_its_own_word() -> None:
    words = [kind.kind for kind in KINDS]
    assert len(words) == len(set(words)) >= 6


@every_kind
@few
@seeds
def test_nothing_asked_costs_nothing(kind: type[AbstractLayer], seed: int) -> None:
    layer = layer_of(kind, random.Random(seed))
    for cls in operations_of(layer.provides):
        lowered = layer.lower(cls(), HOST)
        assert all(operation.is_zero for operation in operations(lowered))
        assert not charges(lowered)


@every_kind
@few
@seeds
def test_twice_asked_costs_the_sum(kind: type[AbstractLayer], seed: int) -> None:
    rng = random.Random(seed)
    layer = layer_of(kind, rng)
    for cls in operations_of(layer.provides):
        a, b, factor = random_operation(cls, rng), random_operation(cls, rng), 3 * rng.random()
        apart = sums(layer.lower(a, HOST)) + sums(layer.lower(b, HOST))
        assert +sums(layer.lower(a + b, HOST)) == pytest.approx(+apart, rel=1e-9, abs=1e-12)
        scaled = {label: factor * amount for label, amount in sums(layer.lower(a, HOST)).items()}
        assert sums(layer.lower(a.scaled(factor), HOST)) == pytest.approx(scaled, rel=1e-9, abs=1e-12)


@every_kind
@few
@seeds
def test_charges_are_amounts_with_a_cause(kind: type[AbstractLayer], seed: int) -> None:
    rng = random.Random(seed)
    layer = layer_of(kind, rng)
    for cls in operations_of(layer.provides):
        operation = random_operation(cls, rng)
        lowered = layer.lower(operation, HOST)
        assert lowered == layer.lower(operation, HOST)  # pure
        for charge in charges(lowered):
            assert charge.amount >= -1e-12 and charge.size_bytes >= 0
            assert charge.cause and not charge.cause.startswith("wait")
            assert not charge.layer and charge.context.level == -1  # settled when the stack is folded
        assert all(getattr(passed, field.name) >= 0 for passed in operations(lowered) for field in fields(passed))


@every_kind
@few
@seeds
def test_only_what_the_layer_below_offers_is_asked_of_it(kind: type[AbstractLayer], seed: int) -> None:
    rng = random.Random(seed)
    layer = layer_of(kind, rng)
    below = () if layer.requires is None else operations_of(layer.requires)
    for cls in operations_of(layer.provides):
        asked = operations(layer.lower(random_operation(cls, rng), HOST))
        assert all(isinstance(operation, below) for operation in asked)
    assert all(isinstance(operation, below) for operation in operations(layer.wake_processor(HOST)))


@every_kind
@few
@seeds
def test_instructions_reach_the_machine(kind: type[AbstractLayer], seed: int) -> None:
    """No layer makes a program's own instructions vanish, or does more than pass through it; a paid page walk is not paid again."""
    rng = random.Random(seed)
    layer = layer_of(kind, rng)
    compute = random_operation(Compute, rng)
    lowered = layer.lower(compute, HOST)
    if layer.requires is not None:
        (passed,) = (operation for operation in operations(lowered) if isinstance(operation, Compute))
        assert replace(passed, tlb_misses=compute.tlb_misses) == compute
        paid = any(charge.cause == "nested_walk" for charge in charges(lowered))
        assert passed.tlb_misses == (0.0 if paid else compute.tlb_misses)
    for charge in charges(lowered):
        assert charge.context == CALLER and charge.when is When.ALWAYS and charge.resource is Resource.CPU


@every_kind
def test_places_are_of_a_kind_that_exists(kind: type[AbstractLayer]) -> None:
    """Interrupts need a kernel: a layer that gives them out holds one, or stands on an operating system."""
    layer = layer_of(kind, random.Random(1))
    for cls in operations_of(layer.provides):
        for item in layer.lower(random_operation(cls, random.Random(2)), HOST):
            context = CALLER if not isinstance(item, Charge | Placed) else item.context
            if context.place is Place.INTERRUPT:
                assert layer.schedules_threads or (layer.requires is not None and layer.requires.kind == "os")
            assert (context.place in (Place.THREAD, Place.SERVICE_VM)) == bool(context.name)


CATALOG = Catalog.builtin()


@pytest.mark.parametrize("name", CATALOG.names("layers"))
def test_every_published_layer_has_evidence_and_a_clock(name: str) -> None:
    layer = CATALOG.layer(name)
    assert layer.summary
    for field, cost in costs_of(layer.on(2e9)):
        assert cost.source in CATALOG.references, field
        assert cost.low <= cost.value <= cost.high, field
        assert cost.grade != "derived" or cost.derivation, field
        assert not cost.unit.startswith("cycles"), field  # resolved
