"""A registry: a shared server of blobs with bandwidth, time per request, and a limit on pulls."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from simpy.events import Event

from simvirt.engine import Engine
from simvirt.images.host import finish
from simvirt.images.image import Image, Layer
from simvirt.images.profiles import RegistryProfile
from simvirt.resources.cpu.contract import AbstractGroup, AbstractThread, Share
from simvirt.resources.cpu.fluid import FluidScheduler

__all__ = ["Connection", "Line", "Registry"]


class Connection:
    """One connection: one transfer at a time, at no more than its own rate."""

    def __init__(self, engine: Engine, thread: AbstractThread, full_bytes_per_s: float) -> None:
        self._engine = engine
        self._thread = thread
        self._full_bytes_per_s = full_bytes_per_s

    def transfer(self, size_bytes: float) -> Event:
        """Move so many bytes; the event comes with the last one."""
        event = self._engine.event()
        if size_bytes > 0:
            self._thread.run(size_bytes / self._full_bytes_per_s, finish, event)
        else:
            event.succeed()
        return event


class Line:
    """One direction between a client and a registry: max-min fair sharing among all connections of all clients.

    A transfer's rate is bounded by its connection, by the client's network interface, and by the registry's bandwidth, each shared evenly
    by those that it bounds: a fluid tree. The client's interface is counted per registry: two registries at once may exceed it.
    """

    def __init__(self, engine: Engine, group: AbstractGroup, full_bytes_per_s: float, connection_bytes_per_s: float) -> None:
        self._engine = engine
        self._group = group
        self._full_bytes_per_s = full_bytes_per_s
        self._cap = min(1.0, connection_bytes_per_s / full_bytes_per_s)
        self._opened = 0

    def connect(self) -> Connection:
        """Open a connection, to be used again and again."""
        self._opened += 1
        name = f"{self._group.name} connection {self._opened}"
        group = self._group.group(name, Share(per_thread=False, cap_cores=self._cap))
        return Connection(self._engine, group.thread(name), self._full_bytes_per_s)


class Registry:
    """A running registry. It sends and takes at its bandwidth, each for itself."""

    def __init__(self, engine: Engine, profile: RegistryProfile, images: Iterable[Image] = ()) -> None:
        self._engine = engine
        self.profile = profile
        self.blobs: set[str] = {layer.digest for image in images for layer in image.layers}
        self.sent_bytes = 0.0
        """Everything that crossed the wire to clients: layers, indices, parts."""
        self.sent_layers: dict[str, int] = {}
        """How often each layer was sent whole."""
        self._sends = FluidScheduler(engine, 1)
        self._takes = FluidScheduler(engine, 1)
        self._pulls: dict[str, deque[float]] = {}

    def download(self, client: str, nic_bytes_per_s: float) -> Line:
        """The way from here to a client."""
        return self._line(self._sends, client, nic_bytes_per_s)

    def upload(self, client: str, nic_bytes_per_s: float) -> Line:
        """The way from a client to here."""
        return self._line(self._takes, client, nic_bytes_per_s)

    def _line(self, shared: FluidScheduler, client: str, nic_bytes_per_s: float) -> Line:
        full = self.profile.bandwidth_bytes_per_s.si
        group = shared.group(client, Share(per_thread=False, cap_cores=min(1.0, nic_bytes_per_s / full)))
        return Line(self._engine, group, full, self.profile.connection_bytes_per_s.si)

    def admits(self, client: str) -> bool:
        """Whether a client may pull now; if so, the pull counts. At most `pulls` in any window of `window_s`."""
        most = int(self.profile.pulls.si)
        if most == 0:
            return True
        now = self._engine.now
        made = self._pulls.setdefault(client, deque())
        while made and made[0] <= now - self.profile.window_s.si:
            made.popleft()
        if len(made) >= most:
            return False
        made.append(now)
        return True

    def sent(self, layer: Layer) -> None:
        """Note that a layer was sent whole."""
        self.sent_layers[layer.digest] = self.sent_layers.get(layer.digest, 0) + 1
        self.sent_bytes += layer.wire_bytes

    def holds(self, image: Image) -> bool:
        """Whether every layer of an image is here."""
        return all(layer.digest in self.blobs for layer in image.layers)
