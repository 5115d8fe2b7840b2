"""Starting a container: the engine's own work, mounts, network, run time, first reads, and the application until it is ready."""

from __future__ import annotations

from dataclasses import dataclass

from simvirt.images.daemon import Daemon, Steps
from simvirt.images.image import Image

__all__ = ["Start", "run", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What an application does until it is ready."""

    read_share: float
    """Share of its image's bytes that it reads."""
    cpu_s: float
    """Computing on the reference core."""
    request_bytes: float = 131072.0
    """Read at once: the read-ahead of the kernel."""


def run(daemon: Daemon, image: Image, start: Start, name: str = "container") -> Steps:
    """Start a container from an image that is here. Reads that the page cache holds take no time; the others go to the disk."""
    yield from create(daemon, image, name)
    began = daemon.engine.now
    for layer in image.layers:
        wanted = start.read_share * layer.size_bytes
        yield daemon.host.read(wanted - _cached(daemon, layer.digest, wanted, layer.size_bytes), start.request_bytes)
        daemon.host.cache.put(_hot(layer.digest), wanted)
    daemon.span(name, "read", began)
    yield from settle(daemon, start.cpu_s, name)


def create(daemon: Daemon, image: Image, name: str) -> Steps:
    """Everything up to the application's first instruction."""
    profile, engine = daemon.profile, daemon.engine
    began = engine.now
    if image.digest not in {kept.digest for kept in daemon.store.images}:
        raise ValueError(f"{name}: the image is not here; pull or build it first")
    daemon.store.use(image, began)
    daemon.running.append(image.digest)
    yield daemon.compute(daemon.seconds(profile.daemon_s))
    daemon.span(name, "engine", began)
    began = engine.now
    yield daemon.compute(daemon.seconds(profile.mount_s, len(image.layers)))
    daemon.span(name, "mount", began)
    began = engine.now
    with daemon.network_lock.request() as lock:
        yield lock
        yield daemon.compute(daemon.seconds(profile.network_s))
    daemon.span(name, "network", began)
    began = engine.now
    yield daemon.compute(daemon.seconds(profile.runtime_s))
    daemon.span(name, "run time", began)


def settle(daemon: Daemon, cpu_s: float, name: str) -> Steps:
    """The application computes until it is ready."""
    began = daemon.engine.now
    yield daemon.compute(cpu_s / daemon.host.spec.core_speed)
    daemon.span(name, "application", began)


def stop(daemon: Daemon, image: Image) -> None:
    """A container ends; what it wrote goes with it."""
    daemon.running.remove(image.digest)


def _cached(daemon: Daemon, digest: str, wanted: float, size_bytes: float) -> float:
    """Bytes of those wanted that are in memory: what an earlier start read, or a share of what unpacking left there."""
    if not wanted:
        return 0.0
    left = wanted * daemon.host.cache.held(digest) / size_bytes
    return min(wanted, max(left, daemon.host.cache.held(_hot(digest))))


def _hot(digest: str) -> str:
    """What a start reads of a layer, as an entry of the page cache."""
    return f"{digest} start"
