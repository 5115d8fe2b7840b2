"""Dirty pages of one kernel: traces worked by hand, and the law that nothing is lost at any instant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stations import Log, at

from simvirt.engine import Engine
from simvirt.resources.disk import Disk
from simvirt.resources.writeback import Owner, Writeback


class Kernel:
    """A page cache over a disk of one channel that writes 10 bytes a second."""

    def __init__(self, background: float, limit: float, depth: int = 1, chunk: float = 10.0, least: float = 1.0) -> None:
        self.engine = Engine()
        self.writeback = Writeback(self.engine, background, limit, depth)
        self.disk = Disk(self.engine, 1)
        self.log = Log(self.engine)
        self.sent: list[tuple[str, float, float]] = []
        self._chunk, self._least = chunk, least

    def owner(self, name: str) -> Owner:
        def begin(size_bytes: float) -> None:
            self.sent.append((name, size_bytes, self.engine.now))
            self.disk.submit(size_bytes / 10.0, lambda _: self.writeback.written(owner, size_bytes), None)

        owner = Owner(begin, self._chunk, self._least)
        return owner

    def write(self, time: float, owner: Owner, size_bytes: float, who: Any) -> None:
        at(self.engine, time, lambda: self.writeback.write(owner, size_bytes, self.log.done, who) and None)

    def sync(self, time: float, owner: Owner, who: Any) -> None:
        at(self.engine, time, lambda: self.writeback.sync(owner, self.log.done, who) and None)


def test_throttling_by_hand() -> None:
    """Background 20 B, limit 40 B, one request of 10 B at a time (1 s each).

    0.0  hog writes 30: dirty 30 > 20, so 10 go to the disk until 1.0.
    0.1  hog writes 10: dirty 40, just at the limit: at once.
    0.2  neighbour writes 5: 45 > 40, it waits.
    0.3  neighbour writes 1: 41 > 40, and others are before it: it waits.
    1.0  10 written: dirty 30; 30 + 5 = 35 fits, 35 + 1 = 36 fits: both go on. 36 > 20: the next 10.
    2.0  dirty 26 > 20, and the neighbour's turn: it has 6, less than a whole request of 10, so one of the least, 1 B, until 2.1.
    2.1  dirty 25 > 20: the hog's 10 until 3.1. 3.1: dirty 15: nothing more.
    """
    kernel = Kernel(20.0, 40.0)
    hog, neighbour = kernel.owner("hog"), kernel.owner("neighbour")
    kernel.write(0.0, hog, 30.0, "hog 1")
    kernel.write(0.1, hog, 10.0, "hog 2")
    kernel.write(0.2, neighbour, 5.0, "neighbour 1")
    kernel.write(0.3, neighbour, 1.0, "neighbour 2")
    kernel.engine.run(until=0.5)
    assert (kernel.writeback.dirty_bytes, kernel.writeback.throttled) == (40.0, 2)
    kernel.engine.run(until=10.0)
    assert kernel.log.left == [("hog 1", 0.0), ("hog 2", 0.1), ("neighbour 1", 1.0), ("neighbour 2", 1.0)]
    assert [(who, size) for who, size, _ in kernel.sent] == [("hog", 10.0), ("hog", 10.0), ("neighbour", 1.0), ("hog", 10.0)]
    assert [time for _, _, time in kernel.sent] == pytest.approx([0.0, 1.0, 2.0, 2.1], rel=1e-12)
    assert kernel.writeback.dirty_bytes == pytest.approx(15.0, rel=1e-12)
    assert kernel.writeback.throttled_s == pytest.approx(0.8 + 0.7, rel=1e-12)


def test_sync_by_hand() -> None:
    """Background 100 B: nothing is written until somebody syncs. a has 13 B, b has 20 B; a syncs at 1: 10 + 1 + 1 + 1 B, done at 2.3.

    b's pages stay. A sync of b at 3 takes 2 s more; a sync with nothing dirty returns at once.
    """
    kernel = Kernel(100.0, 200.0)
    a, b = kernel.owner("a"), kernel.owner("b")
    kernel.write(0.0, b, 20.0, "b")
    kernel.write(0.0, a, 13.0, "a")
    kernel.sync(1.0, a, "a synced")
    kernel.engine.run(until=2.9)
    assert [who for who, _ in kernel.log.left] == ["b", "a", "a synced"]
    assert kernel.log.left[2][1] == pytest.approx(2.3, rel=1e-12)
    assert [who for who, _, _ in kernel.sent] == ["a"] * 4
    assert kernel.writeback.dirty_bytes == pytest.approx(20.0, rel=1e-12)
    kernel.sync(3.0, b, "b synced")
    kernel.sync(3.5, a, "a again")
    kernel.engine.run(until=9.0)
    assert [who for who, _ in kernel.log.left[3:]] == ["a again", "b synced"]
    assert kernel.log.left[4][1] == pytest.approx(5.0, rel=1e-12)


def test_a_write_above_the_limit_waits_until_nothing_is_dirty() -> None:
    kernel = Kernel(5.0, 10.0)
    owner = kernel.owner("one")
    kernel.write(0.0, owner, 10.0, "small")
    kernel.write(0.0, owner, 50.0, "huge")
    kernel.write(0.0, owner, 1.0, "behind")
    kernel.engine.run(until=20.0)
    assert [who for who, _ in kernel.log.left] == ["small", "huge", "behind"]
    assert kernel.log.left[1][1] == pytest.approx(1.0, rel=1e-12)  # 10 B at 10 B/s
    assert kernel.log.left[2][1] > kernel.log.left[1][1]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 1.0), st.integers(0, 2), st.one_of(st.none(), st.floats(0.5, 15.0))),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 4),
)
def test_nothing_is_lost_at_any_instant(steps: list[tuple[float, int, float | None]], depth: int) -> None:
    """dirtied = written + dirty; dirty never passes the limit (here no write is above it); all writes and syncs end; a sync covers its own.

    A step is a write of some bytes or, without a size, a sync.
    """
    kernel = Kernel(12.0, 20.0, depth=depth, chunk=6.0, least=2.0)
    owners = [kernel.owner(name) for name in "abc"]
    now = 0.0
    asked = 0
    taken = 0.0
    for gap, whose, size_bytes in steps:
        now += gap
        if size_bytes is None:
            kernel.sync(now, owners[whose], ("sync", asked))
        else:
            kernel.write(now, owners[whose], size_bytes, ("write", asked))
            taken += size_bytes
        asked += 1
    for i in range(int(20 * (now + 1))):
        at(kernel.engine, i / 20, lambda: _holds(kernel, owners) and None)
    kernel.engine.run(until=now + taken / 10.0 + 50.0)
    assert len(kernel.log.left) == asked
    assert sum(owner.dirtied_bytes for owner in owners) == pytest.approx(taken, rel=1e-9, abs=1e-9)
    assert kernel.writeback.dirty_bytes <= 12.0 + 1e-6
    _holds(kernel, owners)


def _holds(kernel: Kernel, owners: list[Owner]) -> bool:
    dirtied = sum(owner.dirtied_bytes for owner in owners)
    written = sum(owner.written_bytes for owner in owners)
    assert dirtied == pytest.approx(written + kernel.writeback.dirty_bytes, rel=1e-9, abs=1e-5)
    assert kernel.writeback.dirty_bytes <= 20.0 + 1e-6
    assert all(owner.waiting_bytes >= 0 for owner in owners)
    return True


@pytest.mark.parametrize(("background", "limit", "depth"), [(-1.0, 5.0, 1), (6.0, 5.0, 1), (1.0, 5.0, 0)])
def test_levels_in_their_order(background: float, limit: float, depth: int) -> None:
    with pytest.raises(ValueError, match="in this order"):
        Writeback(Engine(), background, limit, depth)


@pytest.mark.parametrize(("chunk", "least"), [(1.0, 2.0), (1.0, 0.0)])
def test_pieces_have_a_size(chunk: float, least: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Owner(lambda _: None, chunk, least)
