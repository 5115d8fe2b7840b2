"""Numbers and their evidence: what a cost must say, and what it becomes on a machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.errors import CatalogError
from simvirt.evidence import Cost, Grade, dimension_of_field, dimension_of_unit

EXIT = Cost(
    value=1200, unit="cycles", low=1000, high=2000, source="somebody-2020", where="table 2", grade=Grade.MEASURED, path="layer.exit_s"
)
WIRE = replace(EXIT, value=5.0, low=4.0, high=6.0, unit="us")


def test_cycles_become_seconds_on_a_machine() -> None:
    """1200 cycles at 2.4 GHz take 0.5 us; the range goes with the value."""
    there = EXIT.on(2.4e9)
    assert (there.si, there.unit) == (pytest.approx(0.5e-6), "s")
    assert (there.low, there.high) == (pytest.approx(1000 / 2.4e9), pytest.approx(2000 / 2.4e9))
    assert EXIT.dimension == there.dimension == "time"
    assert there.on(1e9) == there  # resolved once


def test_a_time_measured_on_one_clock_is_work() -> None:
    """5 us at 3 GHz are 15,000 cycles: 7.5 us at 2 GHz. Without a clock it is a wire or a timer, and stays."""
    assert replace(WIRE, clock_hz=3e9).on(2e9).si == pytest.approx(7.5e-6)
    assert WIRE.on(2e9) == WIRE
    per_byte = replace(EXIT, unit="cycles/B", value=1200.0)
    assert per_byte.on(2.4e9).si == pytest.approx(0.5e-6)
    assert per_byte.dimension == "time_per_byte"


@given(st.floats(1e-9, 1e9), st.floats(1e8, 1e10))
def test_cost_times_amount_is_amount_times_cost(amount: float, clock_hz: float) -> None:
    there = EXIT.on(clock_hz)
    assert there * amount == amount * there == pytest.approx(1200 / clock_hz * amount)


def test_the_ends_of_the_range() -> None:
    assert [EXIT.at(end).value for end in ("low", "value", "high")] == [1000, 1200, 2000]


def test_a_number_set_by_hand_is_an_assumption() -> None:
    mine = EXIT.overridden(5000)
    assert (mine.value, mine.low, mine.high, mine.grade) == (5000, 1000, 5000, Grade.ASSUMED)
    assert mine.where == "set by hand to 5000 cycles (profile: 1200, table 2)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "parsec"}, "layer.exit_s.unit: 'parsec' is not a unit"),
        ({"value": 3000}, "layer.exit_s: value 3000 lies outside its range 1000 to 2000 cycles"),
        ({"value": 1.0, "low": -1.0}, "layer.exit_s.low: -1.0 cycles is negative; at least 0"),
        ({"high": float("inf")}, "must be finite"),
        ({"source": " "}, "layer.exit_s: a cost needs a source"),
        ({"where": ""}, "and where in it the number stands"),
        ({"grade": Grade.DERIVED}, "layer.exit_s: a derived cost shows its arithmetic in `derivation`"),
        ({"clock_hz": 1e9}, "layer.exit_s.clock_hz: 1000000000.0 only goes with a unit of time"),
        ({"unit": "us", "clock_hz": 0.0}, "must be positive"),
    ],
)
def test_a_cost_without_evidence_cannot_be_made(change: dict[str, object], message: str) -> None:
    with pytest.raises(CatalogError) as error:
        replace(EXIT, **change)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_every_defect_is_told_at_once() -> None:
    with pytest.raises(CatalogError) as error:
        replace(EXIT, unit="parsec", value=3000, source="", grade=Grade.DERIVED)
    assert len(error.value.problems) == 4


@pytest.mark.parametrize(
    ("field", "dimensions"),
    [
        ("exit_s", ("time", "cycles")),
        ("send_s_per_byte", ("time_per_byte", "cycles_per_byte")),
        ("bandwidth_bytes_per_s", ("bandwidth",)),
        ("packet_rate_per_s", ("rate",)),
        ("tick_hz", ("frequency",)),
        ("memory_bytes", ("size",)),
        ("cores", ("number",)),
    ],
)
def test_a_name_tells_its_unit(field: str, dimensions: tuple[str, ...]) -> None:
    assert dimension_of_field(field) == dimensions


def test_units_tell_their_dimension() -> None:
    assert [dimension_of_unit(unit) for unit in ("us", "cycles", "MiB", "Gbit/s", "count", "parsec")] == [
        "time", "cycles", "size", "bandwidth", "number", None,
    ]  # fmt: skip
