"""Starting before everything is here: the index first, then what is read, when it is read.

The indices of all layers are fetched at once, each with a few questions one after the other. With a list of what a start reads (a
prioritized set), that part is fetched before the container starts; without, the application waits for each part that it touches. What is
not touched is not fetched. Parts are one request per file, or fewer where neighbours come along; `streams` of them are under way at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from simpy.events import AllOf, Event

from simvirt.images.container import Start, create, settle
from simvirt.images.daemon import Daemon, Steps
from simvirt.images.image import Image, Layer
from simvirt.images.profiles import LazyProfile
from simvirt.images.registry import Registry
from simvirt.images.transfer import greet

__all__ = ["LazyImage", "lazy_pull", "lazy_run"]

_BATCHES: Final = 16
"""Requests of one stream are put together into so many, to spare events: the time is that of all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyImage:
    """An image in a lazy format and what a start reads of it."""

    image: Image
    format: LazyProfile
    start: Start

    @property
    def wire_bytes(self) -> float:
        """What a start reads, as it is sent."""
        return self.start.read_share * self.image.wire_bytes

    @property
    def size_bytes(self) -> float:
        """What a start reads, unpacked."""
        return self.start.read_share * self.image.size_bytes

    @property
    def requests(self) -> int:
        """One per file touched; or as many parts as the bytes need, where parts are longer than files."""
        files = max(1, ceil(self.format.file_share.si * self.image.files))
        part = self.format.part_bytes.si
        return min(files, max(1, ceil(self.wire_bytes / part))) if part else files


def lazy_pull(daemon: Daemon, lazy: LazyImage, registry: Registry, name: str = "image") -> Steps:
    """Fetch the indices: after that the image can be mounted."""
    yield from greet(daemon, registry, name)
    began = daemon.engine.now
    indices: list[Event] = [daemon.engine.process(_index(daemon, lazy.format, layer, registry)) for layer in lazy.image.layers]
    yield AllOf(daemon.engine, indices)
    daemon.span(name, "index", began)
    for layer in lazy.image.layers:
        daemon.store.add_layer(layer)
    daemon.store.add(lazy.image, daemon.engine.now)


def _index(daemon: Daemon, form: LazyProfile, layer: Layer, registry: Registry) -> Steps:
    profile = registry.profile
    yield daemon.engine.timeout(profile.request_s.si + form.layer_requests.si * profile.blob_request_s.si)
    connection = daemon.take_connection(registry)
    size = min(layer.files * form.index_entry_bytes.si, layer.wire_bytes)
    yield connection.transfer(size)
    registry.sent_bytes += size
    daemon.give_connection(registry, connection)
    yield daemon.compute(daemon.seconds(form.index_entry_s, layer.files))


def lazy_run(daemon: Daemon, lazy: LazyImage, registry: Registry, name: str = "container", *, prefetch: bool = True) -> Steps:
    """Start a container whose files come when they are read, or, prefetched, in one go before it starts."""
    engine = daemon.engine
    if prefetch:
        began = engine.now
        yield from _fetch(daemon, lazy, registry, requests=len(lazy.image.layers))
        daemon.span(name, "prefetch", began)
    yield from create(daemon, lazy.image, name)
    if not prefetch:
        began = engine.now
        yield from _fetch(daemon, lazy, registry, requests=lazy.requests)
        daemon.span(name, "fetch on demand", began)
    began = engine.now
    yield daemon.compute(daemon.seconds(lazy.format.serve_s_per_byte, lazy.size_bytes))
    daemon.span(name, "serve", began)
    yield from settle(daemon, lazy.start.cpu_s, name)


def _fetch(daemon: Daemon, lazy: LazyImage, registry: Registry, *, requests: int) -> Steps:
    """Fetch what a start reads in so many requests, `streams` of them at once."""
    streams = min(requests, max(1, int(lazy.format.streams.si)))
    size = lazy.wire_bytes / streams
    yield AllOf(daemon.engine, [daemon.engine.process(_stream(daemon, registry, size, requests / streams)) for _ in range(streams)])
    registry.sent_bytes += lazy.wire_bytes


def _stream(daemon: Daemon, registry: Registry, size_bytes: float, requests: float) -> Steps:
    connection = daemon.take_connection(registry)
    batches = max(1, min(_BATCHES, int(requests)))
    for _ in range(batches):
        yield daemon.engine.timeout(registry.profile.blob_request_s.si * requests / batches)
        yield connection.transfer(size_bytes / batches)
    daemon.give_connection(registry, connection)
