"""Page visits, translation misses and walks, against arithmetic by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.catalog import Catalog
from simvirt.demand import Compute, Demand, FreshPage, PageVisits
from simvirt.errors import ScenarioError
from simvirt.layers.stack import Stack
from simvirt.layers.translation import HUGE_PAGE_BYTES, LARGE_PAGE_BYTES, PAGE_SIZES, missed, native_walk, nested_walk
from simvirt.scenario import Resolved, load_scenario

CATALOG = Catalog.builtin()
MACHINE = "server-2s"
ENTRIES = 1536
WALK_S = 35 / 2.5e9
KIB, MIB, GIB = 2.0**10, 2.0**20, 2.0**30

sizes = st.floats(1.0, 1e15)
pages = st.sampled_from(PAGE_SIZES)


def seconds(stack: Stack, *operations: Compute | PageVisits) -> dict[str, float]:
    """CPU time by cause."""
    found: dict[str, float] = {}
    for folded in stack.fold(Demand(operations)):
        found[folded.charge.cause] = found.get(folded.charge.cause, 0.0) + folded.charge.amount
    return found


def on(platform: str, **overrides: float | str) -> Stack:
    return CATALOG.stack(platform, MACHINE, {f"kvm.cpu.paging.{field}": value for field, value in overrides.items()})


@given(sizes, pages, st.integers(0, 10_000))
def test_misses_are_a_share_that_grows_with_what_is_visited(visited: float, page: float, entries: int) -> None:
    share = missed(visited, page, entries)
    assert 0.0 <= share <= 1.0
    assert share <= missed(2.0 * visited, page, entries)
    assert (share == 0.0) is (visited <= entries * page)


def test_half_of_the_visits_miss_where_the_buffer_covers_half() -> None:
    assert missed(2 * ENTRIES * 4096.0, 4096.0, ENTRIES) == 0.5


def test_a_walk_in_two_dimensions_makes_the_published_references() -> None:
    """(g + 1) (h + 1) - 1 in all: 24 for 4 by 4, 19 with large pages of the host, 14 with large pages of both; g of them are native."""
    for guest, host, references in ((4096.0, 4096.0, 24), (4096.0, LARGE_PAGE_BYTES, 19), (LARGE_PAGE_BYTES, LARGE_PAGE_BYTES, 15)):
        native = 4 * native_walk(guest)
        assert native + 20 * nested_walk(guest, host) == pytest.approx(references)
    assert 4 * native_walk(HUGE_PAGE_BYTES) == 2


@given(pages, pages)
def test_larger_pages_never_lengthen_a_walk(guest: float, host: float) -> None:
    assert nested_walk(guest, host) <= nested_walk(4096.0, host) <= 1.0
    assert nested_walk(guest, host) <= nested_walk(guest, 4096.0)


def test_visits_on_bare_metal() -> None:
    """12 MiB in 4 KiB pages: 1,536 entries hold 6 MiB, so half of 1,000 visits walk: 500 * 35 cycles. In 2 MiB pages all is held."""
    stack = on("bare-metal")
    small = PageVisits(count=1000.0, size_bytes=12 * MIB)
    assert seconds(stack, small)["page_walk"] == pytest.approx(500 * WALK_S)
    assert "page_walk" not in seconds(stack, replace(small, page_bytes=LARGE_PAGE_BYTES))
    # 12 GiB in 2 MiB pages: 3 GiB are held, three quarters of the visits walk three levels
    large = PageVisits(count=1000.0, size_bytes=12 * GIB, page_bytes=LARGE_PAGE_BYTES)
    assert seconds(stack, large)["page_walk"] == pytest.approx(750 * 0.75 * WALK_S)


def test_visits_in_a_virtual_machine() -> None:
    """An entry holds the smaller page of both dimensions: large pages inside shorten the walk (0.8 of the second dimension), but only large
    pages of the host as well extend what is held."""
    both = {"backing_page_bytes": "2 MiB"}
    small = PageVisits(count=1000.0, size_bytes=12 * MIB)
    large = replace(small, page_bytes=LARGE_PAGE_BYTES)
    assert seconds(on("kvm"), small)["nested_walk"] == pytest.approx(500 * WALK_S)
    assert seconds(on("kvm"), large)["nested_walk"] == pytest.approx(500 * 0.8 * WALK_S)
    assert seconds(on("kvm", **both), small)["nested_walk"] == pytest.approx(500 * 0.75 * WALK_S)
    assert "nested_walk" not in seconds(on("kvm", **both), large)
    assert seconds(on("kvm"), small)["page_walk"] == seconds(on("bare-metal"), small)["page_walk"]


def test_nobody_walks_twice_in_nested_virtual_machines() -> None:
    visits = PageVisits(count=1000.0, size_bytes=12 * MIB)
    assert seconds(on("kvm-in-kvm"), visits)["nested_walk"] == pytest.approx(500 * WALK_S)


def test_stated_misses_are_walked_for_as_before() -> None:
    assert seconds(on("kvm"), Compute(cpu_s=1e-3, tlb_misses=100.0))["nested_walk"] == pytest.approx(100 * WALK_S)
    large = on("kvm", backing_page_bytes="2 MiB")
    assert seconds(large, Compute(cpu_s=1e-3, tlb_misses=100.0))["nested_walk"] == pytest.approx(75 * WALK_S)


def test_large_backing_pages_are_touched_first_once_for_512_frames() -> None:
    """The violation is paid once for 512 frames, clearing for each: 3,400 * (0.36 + 0.64 / 512) cycles a frame, and 1/512 of an exit."""
    stacks = (on("kvm"), on("kvm", backing_page_bytes="2 MiB"))
    small, large = (stack.layers[-2].lower(FreshPage(count=512.0), stack.host) for stack in stacks)
    backing = [next(item for item in lowered if getattr(item, "cause", "") == "page_backing").amount for lowered in (small, large)]
    assert backing[0] == pytest.approx(512 * 3400 / 2.5e9)
    assert backing[1] == pytest.approx(512 * 3400 / 2.5e9 * (0.36 + 0.64 / 512))
    exits = [next(item for item in lowered if getattr(item, "cause", "") == "page_backing_exit").amount for lowered in (small, large)]
    assert exits[0] == pytest.approx(512 * exits[1])


def test_a_tenant_chooses_its_pages() -> None:
    document = {
        "platform": "bare-metal",
        "tenants": [{"workload": "table-lookup", "page_size": "2 MiB", "load": {"kind": "poisson", "rate_per_s": "10 /s"}}],
    }
    (workload,) = Resolved(load_scenario(document, CATALOG), CATALOG).workloads
    assert [o.page_bytes for o in workload.demand.operations if isinstance(o, PageVisits)] == [LARGE_PAGE_BYTES]


def test_wrong_pages_are_refused_with_a_way_out() -> None:
    load = {"kind": "poisson", "rate_per_s": "10 /s"}
    odd = {"platform": "bare-metal", "tenants": [{"workload": "table-lookup", "page_size": "8 KiB", "load": load}]}
    with pytest.raises(ScenarioError, match=r"tenants\.0\.page_size: .*8 KiB.*2 MiB"):
        load_scenario(odd, CATALOG)
    deaf = {"platform": "bare-metal", "tenants": [{"workload": "web-service", "page_size": "2 MiB", "load": load}]}
    with pytest.raises(ScenarioError, match=r"tenants\.0\.page_size: 'web-service'.*remove it"):
        load_scenario(deaf, CATALOG)
