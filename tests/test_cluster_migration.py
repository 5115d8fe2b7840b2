"""Live migration by pre-copy against closed forms."""

from __future__ import annotations

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.cluster.migration import Dirtying, migrate

MEGA = 1e6


def test_rounds_shrink_geometrically_while_pages_are_never_the_same() -> None:
    """800 MB at 100 MB/s while 10 MB/s are dirtied: 800, 80, 8 MB; the 8 MB would take 0.08 s, the 0.8 MB 0.008 s: stop."""
    dirtying = Dirtying(rate_bytes_per_s=10 * MEGA, working_set_bytes=1e15)
    found = migrate(800 * MEGA, dirtying, bandwidth_bytes_per_s=100 * MEGA, resume_s=0.0)
    assert [one.sent_bytes for one in found.rounds] == pytest.approx([800e6, 80e6, 8e6, 0.8e6], rel=1e-3)
    assert found.downtime_s == pytest.approx(0.008, rel=1e-3)
    assert found.total_s == pytest.approx(8.888, rel=1e-3)


def test_a_machine_that_writes_faster_than_it_is_sent_stops_for_its_whole_working_set() -> None:
    """A round trip: the worst writer of Clark et al. (NSDI 2005) stood still for 3.5 s; 3.5 s · 125 MB/s = 437 MB give that back."""
    writer = Dirtying(rate_bytes_per_s=10_000 * MEGA, working_set_bytes=437 * MEGA)
    found = migrate(512 * MEGA, writer, bandwidth_bytes_per_s=125 * MEGA)
    assert found.downtime_s == pytest.approx(437 / 125 + 0.03, rel=0.01)
    assert len(found.rounds) <= 4


def test_a_round_held_to_a_lower_bandwidth_takes_longer_and_disturbs_less() -> None:
    idle = Dirtying(rate_bytes_per_s=0.0, working_set_bytes=0.0)
    held = migrate(800 * MEGA, idle, bandwidth_bytes_per_s=62.5 * MEGA, first_bandwidth_bytes_per_s=12.5 * MEGA)
    assert held.total_s == pytest.approx(800 / 12.5 + 0.03)
    assert migrate(800 * MEGA, idle, bandwidth_bytes_per_s=62.5 * MEGA).total_s == pytest.approx(800 / 62.5 + 0.03)


def test_dirty_bytes_saturate_at_the_working_set() -> None:
    dirtying = Dirtying(rate_bytes_per_s=100.0, working_set_bytes=1000.0)
    assert dirtying.written(10.0) == pytest.approx(1000 * (1 - exp(-1.0)))
    assert dirtying.written(1e9) == pytest.approx(1000.0)


@given(
    memory=st.floats(1e7, 1e11),
    rate=st.floats(0.0, 1e10),
    share=st.floats(0.0, 1.0),
    bandwidth=st.floats(1e7, 1e10),
    most=st.integers(1, 40),
)
def test_every_migration_ends_and_sends_the_memory_at_least_once(
    memory: float, rate: float, share: float, bandwidth: float, most: int
) -> None:
    dirtying = Dirtying(rate_bytes_per_s=rate, working_set_bytes=share * memory)
    found = migrate(memory, dirtying, bandwidth_bytes_per_s=bandwidth, rounds_most=most)
    assert len(found.rounds) <= most + 1
    assert found.sent_bytes >= memory
    assert found.downtime_s <= max(0.03, share * memory / bandwidth, 0.0) * (1 + 1e-9) + 0.03
    assert found.total_s >= memory / bandwidth
