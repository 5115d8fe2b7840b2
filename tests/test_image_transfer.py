"""Pull, push, lazy pull, start and build on the event loop: hand-worked times and laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_world import MB, World, image, layer, lazy_profile, machine_profile

from simvirt.images.build import build
from simvirt.images.container import Start, run, stop
from simvirt.images.context import BuildContext, ContextFile
from simvirt.images.dockerfile.reader import read_build_file
from simvirt.images.host import PageCache
from simvirt.images.image import Image
from simvirt.images.lazy import LazyImage, lazy_pull, lazy_run
from simvirt.images.machine import boot, ship
from simvirt.images.plan import plan_build
from simvirt.images.store import ImageStore
from simvirt.images.timeline import Span, most_at_once, union_s
from simvirt.images.transfer import pull, push

APPLY = {"apply_s_per_byte": 1 / (20 * MB)}
"""Unpacks 20 MB a second: as many bytes as 10 MB a second on the wire bring, at a ratio of 2."""


def order(world: World, kind: str) -> list[str]:
    return [span.lane for span in world.daemon.timeline.of(kind)]


# --- Pull ------------------------------------------------------------------------------------------------------------


def test_one_layer_is_downloaded_then_unpacked() -> None:
    one = image(layer("a", 10))
    world = World(one, engine=APPLY)
    # 10 MB / 10 MB/s = 1 s, then 20 MB / 20 MB/s = 1 s
    assert world.do(pull(world.daemon, one, world.registry)) == pytest.approx(2.0)
    assert world.daemon.store.images == (one,)


def test_handshake_questions_and_requests_come_first() -> None:
    one = image(layer("a", 10))
    world = World(one, registry={"handshake_s": 0.5, "request_s": 0.1, "blob_request_s": 0.05})
    # 0.5 + 2 questions * 0.1, then where the blob is 0.1, first byte 0.05, 1 s
    assert world.do(pull(world.daemon, one, world.registry)) == pytest.approx(0.5 + 0.2 + 0.1 + 0.05 + 1.0)


def test_a_big_bottom_layer_delays_all() -> None:
    """Bottom 40 MB, two of 5 MB above. They share 10 MB/s: the small ones are there at 15 MB / 10 MB/s = 1.5 s, the bottom one at 50 / 10
    = 5 s. Unpacking in order begins at 5 s and takes 80 + 10 + 10 MB at 20 MB/s = 5 s: 10 s in all. With the big one on top the small
    ones are unpacked meanwhile (1 s, done at 2.5), and only the big one's 4 s come after 5 s: 9 s."""
    bottom = image(layer("big", 40), layer("x", 5), layer("y", 5))
    world = World(bottom, engine=APPLY)
    assert world.do(pull(world.daemon, bottom, world.registry)) == pytest.approx(10.0)
    assert order(world, "download") == ["x", "y", "big"]
    assert order(world, "unpack") == ["big", "x", "y"]
    top = image(layer("x", 5), layer("y", 5), layer("big", 40))
    world = World(top, engine=APPLY)
    assert world.do(pull(world.daemon, top, world.registry)) == pytest.approx(9.0)


def test_never_more_than_three_layers_at_once() -> None:
    many = image(*(layer(f"l{i}", 1 + i % 4) for i in range(12)))
    world = World(many)
    world.do(pull(world.daemon, many, world.registry))
    assert most_at_once(world.daemon.timeline.of("download")) == 3


def test_the_limit_holds_for_all_pulls_of_a_daemon_together() -> None:
    images = [image(*(layer(f"{name}{i}", 2) for i in range(5))) for name in "abc"]
    world = World(*images)
    world.do(*(pull(world.daemon, one, world.registry, str(i)) for i, one in enumerate(images)))
    assert most_at_once(world.daemon.timeline.of("download")) == 3


def test_shared_layers_cross_the_wire_once_even_at_the_same_time() -> None:
    base = layer("base", 20)
    one, two = image(base, layer("a", 1)), image(base, layer("b", 1))
    world = World(one, two, engine=APPLY)
    world.do(pull(world.daemon, one, world.registry, "one"), pull(world.daemon, two, world.registry, "two"))
    assert world.registry.sent_layers == {"sha256:base": 1, "sha256:a": 1, "sha256:b": 1}
    assert world.registry.sent_bytes == 22 * MB
    assert order(world, "unpack").count("base") == 1
    again = world.do(pull(world.daemon, one, world.registry, "one"))
    assert again == 0.0
    assert world.registry.sent_bytes == 22 * MB


def test_an_image_with_the_same_layer_twice_downloads_it_once() -> None:
    twice = image(layer("a", 10), layer("b", 1), layer("a", 10))
    world = World(twice)
    world.do(pull(world.daemon, twice, world.registry))
    assert world.registry.sent_bytes == 11 * MB


def test_clients_share_the_registry_and_a_connection_has_its_own_limit() -> None:
    one = image(layer("a", 10))
    world = World(one)
    others = [world.daemon_named(f"h{i}") for i in range(4)]
    assert world.do(*(pull(daemon, one, world.registry) for daemon in others)) == pytest.approx(4.0)  # 40 MB / 10 MB/s
    slow = World(one, registry={"connection_bytes_per_s": 2 * MB})
    assert slow.do(pull(slow.daemon, one, slow.registry)) == pytest.approx(5.0)
    narrow = World(one, nic_bytes_per_s=4 * MB)
    assert narrow.do(pull(narrow.daemon, one, narrow.registry)) == pytest.approx(2.5)


def test_refused_pulls_come_back_later_and_later() -> None:
    images = [image(layer(f"l{i}", 0)) for i in range(3)]
    world = World(*images, engine={"retry_s": 10, "retry_most_s": 30}, registry={"pulls": 2, "window_s": 100})
    for one in images[:2]:
        assert world.do(pull(world.daemon, one, world.registry)) == 0.0
    # refused at 0, 10, 30 (10 + 20), 60 (+ 30), 90 (+ 30); the window lets go at 100: admitted at 120
    assert world.do(pull(world.daemon, images[2], world.registry)) == pytest.approx(120.0)


def test_serial_pulls_wait_for_each_other_and_parallel_ones_do_not() -> None:
    images = [image(layer(f"l{i}", 10)) for i in range(2)]
    for at_once, seconds in ((1, [2.0, 4.0]), (0, [3.0, 3.0])):  # alone 1 + 1 s; side by side 20 MB / 10 MB/s + 1 s
        world = World(*images, engine={**APPLY, "pulls": at_once})
        ends = []

        def timed(one: Image, world: World = world, ends: list[float] = ends) -> Any:
            yield from pull(world.daemon, one, world.registry)
            ends.append(world.engine.now)

        world.do(*(timed(one) for one in images))
        assert ends == pytest.approx(seconds)


def test_the_engine_keeps_to_its_own_rate() -> None:
    images = [image(layer(f"l{i}", 0)) for i in range(5)]
    world = World(*images, engine={"pulls_per_s": 2, "burst": 2})
    # two at once, then one every half second: the fifth at 1.5 s
    assert world.do(*(pull(world.daemon, one, world.registry) for one in images)) == pytest.approx(1.5)


def test_unpacking_competes_for_the_processor_and_takes_one_thread() -> None:
    one = image(layer("a", 10), layer("b", 10))
    busy = World(one, engine=APPLY, cores=1)
    thread = busy.daemon.host.group("other").thread("other")

    def hog(_: object) -> None:
        thread.run(0.1, hog, None)

    hog(None)
    alone = World(one, engine=APPLY, cores=64)
    # alone: both downloads end at 2 s, then 2 s of unpacking, however many cores; beside a hog on one core those 2 s become 4 s
    assert alone.do(pull(alone.daemon, one, alone.registry)) == pytest.approx(4.0)
    assert busy.do(pull(busy.daemon, one, busy.registry)) == pytest.approx(6.0, abs=0.2)


def test_a_slow_disk_holds_up_unpacking_once_too_much_is_dirty() -> None:
    one = image(layer("a", 10))
    fast = World(one, write_bytes_per_s=10 * MB, engine=APPLY)
    slow = World(one, write_bytes_per_s=10 * MB, engine=APPLY, cache_bytes=1 * MB)
    assert fast.do(pull(fast.daemon, one, fast.registry)) == pytest.approx(2.0)
    # nothing may stay dirty: 1 s to come, 1 s to be written; then two pieces of 10 MB, each 0.5 s to unpack and 1 s to be written
    assert slow.do(pull(slow.daemon, one, slow.registry)) == pytest.approx(1.0 + 1.0 + 2 * (0.5 + 1.0))


def test_an_unknown_image_is_refused() -> None:
    world = World()
    with pytest.raises(ValueError, match="does not have all layers"):
        world.do(pull(world.daemon, image(layer("a", 1)), world.registry))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(1.0, 4.0)), min_size=1, max_size=9))
def test_a_pull_is_bounded_by_its_stages(sizes: Sequence[tuple[float, float]]) -> None:
    """No faster than the wire, nor than the thread that unpacks; no slower than one after the other. In order, at most three at once."""
    one = image(*(layer(f"l{i}", wire, ratio) for i, (wire, ratio) in enumerate(sizes)))
    world = World(one, engine=APPLY)
    took = world.do(pull(world.daemon, one, world.registry))
    wire_s, unpack_s = one.wire_bytes / (10 * MB), one.size_bytes / (20 * MB)
    assert max(wire_s, unpack_s) - 1e-6 <= took <= wire_s + unpack_s + 1e-6
    assert most_at_once(world.daemon.timeline.of("download")) <= 3
    assert most_at_once(world.daemon.timeline.of("unpack")) <= 1
    spans = [span for name in [f"l{i}" for i in range(len(sizes))] for span in world.daemon.timeline.of("unpack") if span.lane == name]
    assert [span.start_s for span in spans] == sorted(span.start_s for span in spans)


# --- Push ------------------------------------------------------------------------------------------------------------


def test_push_skips_what_is_there_and_sends_at_most_five_at_once() -> None:
    base = image(layer("base", 50))
    mine = image(*base.layers, *(layer(f"l{i}", 2) for i in range(8)))
    world = World(base, registry={"request_s": 0.1})
    for one in mine.layers:
        world.daemon.store.add_layer(one)
    world.daemon.store.add(mine, 0.0)
    world.do(push(world.daemon, mine, world.registry))
    assert most_at_once(world.daemon.timeline.of("upload", "is there")) == 5
    assert order(world, "is there") == ["base"]
    assert world.registry.holds(mine)
    first = world.engine.now
    # again: 9 questions, five at once: 2 rounds of 0.1 s, then 2 more questions
    assert world.do(push(world.daemon, mine, world.registry)) == pytest.approx(0.4)
    assert first > 16 * MB / (10 * MB)


def test_compressing_for_a_push_bounds_it() -> None:
    mine = image(layer("a", 10))
    world = World(engine={"gzip_s_per_byte": 1 / (5 * MB)})
    world.daemon.store.add_layer(mine.layers[0])
    world.daemon.store.add(mine, 0.0)
    # read 20 MB at 100 MB/s, then compress 20 MB at 5 MB/s while it is sent (1 s)
    assert world.do(push(world.daemon, mine, world.registry)) == pytest.approx(0.2 + 4.0)


# --- Start -----------------------------------------------------------------------------------------------------------

START = Start(read_share=0.5, cpu_s=1.0)


def test_a_start_reads_from_the_disk_once() -> None:
    one = image(layer("a", 10))
    world = World(one, engine={"daemon_s": 0.1, "mount_s": 0.01, "network_s": 0.02, "runtime_s": 0.03})
    world.do(pull(world.daemon, one, world.registry))
    warm = 0.1 + 0.01 + 0.02 + 0.03 + 1.0
    assert world.do(run(world.daemon, one, START)) == pytest.approx(warm)  # unpacked pages are still in memory
    world.daemon.host.cache.drop()
    assert world.do(run(world.daemon, one, START)) == pytest.approx(warm + 0.1)  # 10 MB at 100 MB/s
    assert world.do(run(world.daemon, one, START)) == pytest.approx(warm)


def test_network_set_up_is_one_at_a_time() -> None:
    one = image(layer("a", 0))
    world = World(one, engine={"network_s": 0.2})
    world.do(pull(world.daemon, one, world.registry))
    none = Start(read_share=0.0, cpu_s=0.0)
    assert world.do(*(run(world.daemon, one, none, str(i)) for i in range(5))) == pytest.approx(1.0)


def test_a_container_needs_its_image() -> None:
    world = World()
    with pytest.raises(ValueError, match="pull or build it first"):
        world.do(run(world.daemon, image(layer("a", 1)), START))


# --- Lazy ------------------------------------------------------------------------------------------------------------


def lazy(one: Image, **values: float) -> LazyImage:
    return LazyImage(image=one, format=lazy_profile(**values), start=Start(read_share=0.1, cpu_s=0.0))


def test_only_indices_and_what_is_read_cross_the_wire() -> None:
    one = image(layer("a", 100), layer("b", 100))
    wanted = lazy(one, index_entry_bytes=1000.0)
    world = World(one)
    pulled = world.do(lazy_pull(world.daemon, wanted, world.registry))
    assert pulled == pytest.approx(20_000 / (10 * MB))  # 10 files of 1000 B in each of two layers
    assert world.do(lazy_run(world.daemon, wanted, world.registry)) == pytest.approx(2.0)  # 20 of 200 MB at 10 MB/s
    assert world.registry.sent_bytes == pytest.approx(20 * MB + 20_000)


def test_without_a_prioritized_set_every_file_is_a_round_trip() -> None:
    one = image(layer("a", 100))
    wanted = lazy(one, file_share=0.5)
    world = World(one, registry={"blob_request_s": 0.2})
    world.do(lazy_pull(world.daemon, wanted, world.registry))
    # 5 of 10 files: 5 * 0.2 s, and 10 MB at 10 MB/s
    assert world.do(lazy_run(world.daemon, wanted, world.registry, prefetch=False)) == pytest.approx(2.0)
    many = lazy(one, file_share=0.5, streams=5)
    assert world.do(lazy_run(world.daemon, many, world.registry, prefetch=False)) == pytest.approx(1.2)
    assert lazy(one, file_share=1.0, part_bytes=4 * MB).requests == 3  # 10 MB in parts of 4 MB
    assert lazy(one, file_share=0.2, part_bytes=1.0).requests == 2  # never more than files


# --- A virtual machine -----------------------------------------------------------------------------------------------


def test_a_machine_image_comes_whole_and_boots() -> None:
    world = World(engine={"gunzip_s_per_byte": 1 / (100 * MB)})
    vm = machine_profile(size_bytes=200 * MB, ratio=2.0, boot_read_bytes=50 * MB, monitor_s=0.3, boot_cpu_s=2.0, boot_wait_s=4.0)
    assert world.do(ship(world.daemon, vm, world.registry)) == pytest.approx(10.0)  # 100 MB at 10 MB/s; unpacking takes 2 s meanwhile
    warm = 0.3 + 2.0 + 4.0 + 1.0
    assert world.do(boot(world.daemon, vm, START)) == pytest.approx(warm)
    world.daemon.host.cache.drop()
    assert world.do(boot(world.daemon, vm, START)) == pytest.approx(warm + 0.5)
    assert world.do(boot(world.daemon, vm, START)) == pytest.approx(warm)


# --- Build -----------------------------------------------------------------------------------------------------------

FILES = BuildContext({"a": ContextFile(int(20 * MB), "sha256:1"), "b": ContextFile(int(20 * MB), "sha256:2")})
TEXT = (
    "FROM base AS one\n# simvirt: cpu=3s size=20MB\nRUN x\nFROM base AS two\n# simvirt: cpu=2s size=0B download=10MB\nRUN y\n"
    "FROM base\nCOPY a /\nCOPY --from=one /x /\nCOPY --from=two /y /\n"
)
LOOK_UP = 0.25


def built(world: World, base: Image, text: str = TEXT, context: BuildContext = FILES) -> tuple[float, Any]:
    plan = plan_build(read_build_file(text), context, {"base": base}, world.daemon.profile.assumed())
    process = world.engine.process(build(world.daemon, plan, world.registry, {"base": base}))
    start = world.engine.now
    result = world.engine.run(process)
    return world.engine.now - start, result


def test_a_cold_build_does_every_step_and_stages_go_side_by_side() -> None:
    base = image(layer("base", 10))
    world = World(base, engine={**APPLY, "step_s": LOOK_UP})
    took, result = built(world, base)
    # pull 1 + 1; one: 0.25 + 3 + 1 s; two meanwhile: 0.25 + 1 + 2; target: 0.25 + 1 for a, waits for one (4.25), 0.25 for x, 0.25 for y
    assert took == pytest.approx(2.0 + 4.25 + 0.25 + 0.25)
    assert (result.hits, result.misses) == (0, 5)


def test_the_same_build_twice_gives_the_same_digest_and_costs_the_look_ups_only() -> None:
    base = image(layer("base", 10))
    world = World(base, engine={**APPLY, "step_s": LOOK_UP})
    first = built(world, base)[1]
    took, again = built(world, base)
    assert again.image.digest == first.image.digest
    assert (again.hits, again.misses) == (5, 0)
    assert took == pytest.approx(3 * LOOK_UP)  # the longest chain: look-ups of the target's three steps, the others' meanwhile
    assert world.registry.sent_bytes == 10 * MB


def test_a_change_late_costs_less_than_a_change_early() -> None:
    base = image(layer("base", 10))
    text = "FROM base\nCOPY a /\n# simvirt: cpu=5s size=0B\nRUN x\nCOPY b /\n"
    for name, seconds, misses in (("a", 3 * LOOK_UP + 1 + 5 + 1, 3), ("b", 3 * LOOK_UP + 1, 1)):
        world = World(base, engine={**APPLY, "step_s": LOOK_UP})
        built(world, base, text)
        edited = BuildContext({**FILES.files, name: ContextFile(int(20 * MB), "sha256:edited")})
        took, result = built(world, base, text, edited)
        assert (took, result.misses) == (pytest.approx(seconds), misses)


# --- Parts -----------------------------------------------------------------------------------------------------------


def test_images_are_collected_from_the_oldest_down_to_the_lower_threshold() -> None:
    store = ImageStore()
    base = layer("base", 10, 1.0)
    images = [image(base, layer(f"l{i}", 20, 1.0)) for i in range(4)]  # 10 + 4 * 20 = 90 MB
    for i, one in enumerate(images):
        for part in one.layers:
            store.add_layer(part)
        store.add(one, float(i))
    limits = {"above": 0.85, "down_to": 0.80, "age_s": 0.0}
    assert store.collect(100.0, 110 * MB, **limits) == ()  # 82 % of the disk
    assert store.collect(100.0, 100 * MB, **limits) == (images[0],)  # 90 %: one of 20 MB is enough
    assert store.size_bytes == 70 * MB  # the base stays, others have it
    assert store.collect(100.0, 75 * MB, **limits, in_use=[images[1].digest]) == (images[2],)
    assert store.collect(5.0, 10 * MB, above=0.85, down_to=0.8, age_s=4.5) == ()
    assert store.collect(200.0, 10 * MB, above=0.0, down_to=0.0, age_s=0.0) == (images[1], images[3])
    assert store.size_bytes == 0.0


def test_a_pull_makes_room_first_but_not_from_what_runs() -> None:
    images = [image(layer(f"l{i}", 20, 1.0)) for i in range(3)]
    world = World(*images, disk_bytes=45 * MB, engine={"collect_above": 0.85, "collect_down_to": 0.5})
    for one in images[:2]:
        world.do(pull(world.daemon, one, world.registry))
    world.do(run(world.daemon, images[0], Start(read_share=0.0, cpu_s=0.0)))
    world.do(pull(world.daemon, images[2], world.registry))
    assert world.daemon.store.images == (images[0], images[2])
    stop(world.daemon, images[0])
    assert not world.daemon.running


def test_the_page_cache_forgets_what_was_used_longest_ago() -> None:
    cache = PageCache(100.0)
    cache.put("a", 60.0)
    cache.put("b", 30.0)
    assert cache.held("a") == 60.0  # now b is older
    cache.put("c", 30.0)
    assert (cache.held("b"), cache.held("a"), cache.held("c")) == (10.0, 60.0, 30.0)
    cache.put("d", 500.0)
    assert (cache.held("a"), cache.held("d")) == (0.0, 100.0)


def test_spans_are_counted_and_joined() -> None:
    spans = [Span(lane="", kind="", start_s=a, end_s=b) for a, b in ((0.0, 2.0), (1.0, 3.0), (3.0, 4.0), (6.0, 7.0))]
    assert most_at_once(spans) == 2
    assert union_s(spans) == 5.0
