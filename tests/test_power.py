"""Power between the steps at which it was measured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.analysis.power import PowerCurve

CURVE = PowerCurve((50.0, 90.0, 100.0))


@pytest.mark.parametrize(("utilization", "watts"), [(0.0, 50.0), (0.25, 70.0), (0.5, 90.0), (0.75, 95.0), (1.0, 100.0)])
def test_power_lies_on_straight_lines(utilization: float, watts: float) -> None:
    assert CURVE.at(utilization) == pytest.approx(watts)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_more_work_draws_no_less(a: float, b: float) -> None:
    assert CURVE.at(min(a, b)) <= CURVE.at(max(a, b))


@pytest.mark.parametrize("watts", [(1.0,), (2.0, 1.0), (0.0, 1.0)])
def test_what_is_no_curve_is_refused(watts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="watts"):
        PowerCurve(watts)


@pytest.mark.parametrize("utilization", [-0.1, 1.1, float("nan")])
def test_what_is_no_utilization_is_refused(utilization: float) -> None:
    with pytest.raises(ValueError, match="utilization"):
        CURVE.at(utilization)
