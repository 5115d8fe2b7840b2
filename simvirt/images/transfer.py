"""Pull and push: layers between a registry and a host.

A pull: wait for a turn; shake hands; ask for the manifests; download the layers that are missing, a few at once, in the order of the image;
unpack them strictly in that order on one thread. A layer that another pull already downloads or unpacks is waited for, so it crosses
the wire once. Checking a blob's digest goes on while it comes. What is unpacked goes to the page cache, and from there to the disk.

A push: ask for each layer whether the registry has it; compress and send the others, a few at once; then configuration and manifest.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from simpy.events import AllOf, Event

from simvirt.images.daemon import Daemon, Steps
from simvirt.images.image import Image, Layer
from simvirt.images.registry import Registry

__all__ = ["greet", "pull", "push", "unpack_s"]

QUESTIONS: Final = 2
"""Asked before a layer can be downloaded: the index of platforms, and the manifest of one."""
PIECE_BYTES: Final = 16e6
"""Unpacked at a time between looks at the disk."""


def pull(daemon: Daemon, image: Image, registry: Registry, name: str = "image") -> Steps:
    """Bring an image to a host, ready to be mounted."""
    if not registry.holds(image):
        raise ValueError(f"{name}: the registry does not have all layers of this image")
    yield from greet(daemon, registry, name)
    turn = daemon.turns.request() if daemon.turns is not None else None
    if turn is not None:
        start = daemon.engine.now
        yield turn
        daemon.span(name, "wait", start, "another pull")
    daemon.store.awaited.append(image)
    try:
        missing = daemon.store.missing(image)
        for layer in missing:
            if layer.digest not in daemon.downloading and layer.digest not in daemon.unpacking:
                daemon.downloading[layer.digest] = daemon.engine.process(_download(daemon, layer, registry))
        for layer in missing:
            yield from _settle(daemon, layer, name)
        daemon.store.add(image, daemon.engine.now)
    finally:
        daemon.store.awaited.remove(image)
        if turn is not None and daemon.turns is not None:
            daemon.turns.release(turn)


def greet(daemon: Daemon, registry: Registry, name: str) -> Steps:
    """Be admitted to a pull, shake hands and read the manifests; after a refusal try again later, and later still."""
    engine, profile = daemon.engine, daemon.profile
    start, back_off = engine.now, profile.retry_s.si
    wait = daemon.token_wait_s()
    if wait:
        yield engine.timeout(wait)
    while not registry.admits(daemon.host.name):
        yield engine.timeout(back_off)
        back_off = min(2.0 * back_off, profile.retry_most_s.si)
    daemon.span(name, "wait", start, "rate limit")
    daemon.collect()
    start = engine.now
    yield engine.timeout(registry.profile.handshake_s.si + QUESTIONS * registry.profile.request_s.si)
    daemon.span(name, "handshake", start)


def _download(daemon: Daemon, layer: Layer, registry: Registry) -> Steps:
    engine = daemon.engine
    with daemon.download_slots.request() as slot:
        yield slot
        start = engine.now
        connection = daemon.take_connection(registry)
        yield engine.timeout(registry.profile.request_s.si + registry.profile.blob_request_s.si)
        checked = daemon.compute(daemon.seconds(daemon.profile.digest_s_per_byte, layer.wire_bytes))
        yield AllOf(engine, (connection.transfer(layer.wire_bytes), checked))
        registry.sent(layer)
        daemon.give_connection(registry, connection)
        daemon.span(_lane(layer), "download", start)
    yield daemon.host.write_behind(layer.wire_bytes)


def _settle(daemon: Daemon, layer: Layer, name: str) -> Steps:
    """See that a layer is unpacked: by this pull, or by another one that was first."""
    if layer.digest in daemon.store.layers:
        return
    if layer.digest in daemon.unpacking:
        yield daemon.unpacking[layer.digest]
        return
    done = daemon.unpacking[layer.digest] = daemon.engine.event()
    start = daemon.engine.now
    yield daemon.downloading[layer.digest]
    daemon.span(name, "wait", start, "for a download")
    yield from _unpack(daemon, layer)
    daemon.store.add_layer(layer)
    del daemon.downloading[layer.digest], daemon.unpacking[layer.digest]
    done.succeed()


def unpack_s(daemon: Daemon, layer: Layer) -> float:
    """Time of one thread to unpack a layer on a processor of its own."""
    profile = daemon.profile
    each = {"gzip": profile.gunzip_s_per_byte, "zstd": profile.zstd_s_per_byte}.get(layer.compression)
    decompress = daemon.seconds(each, layer.size_bytes) if each is not None else 0.0
    return decompress + daemon.seconds(profile.apply_s_per_byte, layer.size_bytes)


def _unpack(daemon: Daemon, layer: Layer) -> Steps:
    start = daemon.engine.now
    pieces = max(1, ceil(layer.size_bytes / PIECE_BYTES))
    cpu_s = unpack_s(daemon, layer) / pieces
    for _ in range(pieces):
        yield daemon.compute(cpu_s)
        yield daemon.host.write_behind(layer.size_bytes / pieces)
    daemon.host.cache.put(layer.digest, layer.size_bytes)
    daemon.span(_lane(layer), "unpack", start)


def _lane(layer: Layer) -> str:
    return layer.made_by or layer.digest.removeprefix("sha256:")[:12]


def push(daemon: Daemon, image: Image, registry: Registry, name: str = "image") -> Steps:
    """Bring an image to a registry."""
    engine, profile = daemon.engine, registry.profile
    start = engine.now
    yield engine.timeout(profile.handshake_s.si)
    daemon.span(name, "handshake", start)
    layers = {layer.digest: layer for layer in image.layers}
    uploads: list[Event] = [engine.process(_upload(daemon, layer, registry)) for layer in layers.values()]
    yield AllOf(engine, uploads)
    start = engine.now
    yield engine.timeout(QUESTIONS * profile.request_s.si)
    daemon.span(name, "manifest", start)


def _upload(daemon: Daemon, layer: Layer, registry: Registry) -> Steps:
    engine = daemon.engine
    with daemon.upload_slots.request() as slot:
        yield slot
        start = engine.now
        yield engine.timeout(registry.profile.request_s.si)
        if layer.digest in registry.blobs:
            daemon.span(_lane(layer), "is there", start)
            return
        connection = daemon.take_connection(registry, up=True)
        yield daemon.host.read(layer.size_bytes - min(layer.size_bytes, daemon.host.cache.held(layer.digest)), PIECE_BYTES)
        packed = daemon.compute(daemon.seconds(daemon.profile.gzip_s_per_byte, layer.size_bytes))
        yield AllOf(engine, (connection.transfer(layer.wire_bytes), packed))
        yield engine.timeout(registry.profile.request_s.si)
        registry.blobs.add(layer.digest)
        daemon.give_connection(registry, connection, up=True)
        daemon.span(_lane(layer), "upload", start)
