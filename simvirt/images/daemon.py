"""A running container engine on a host: what it has, its limits, and the spans of what it did."""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from typing import Any

import simpy
from simpy.events import Event

from simvirt.evidence import Cost
from simvirt.images.host import Host
from simvirt.images.image import Layer
from simvirt.images.profiles import EngineProfile
from simvirt.images.registry import Connection, Line, Registry
from simvirt.images.store import ImageStore
from simvirt.images.timeline import Timeline

__all__ = ["Daemon", "Steps"]

Steps = Generator[Event, Any, Any]
"""What SimPy runs as a process."""


class Daemon:
    """One engine on one host. Pulls, pushes, builds and starts are functions beside it; here is what they share."""

    def __init__(self, host: Host, profile: EngineProfile, timeline: Timeline | None = None) -> None:
        engine = host.engine
        self.host = host
        self.engine = engine
        self.profile = profile
        self.timeline = timeline if timeline is not None else Timeline()
        self.store = ImageStore()
        self.build_cache: dict[str, Layer] = {}
        """Key of a step → the layer that it made."""
        self.running: list[str] = []
        """Digests of images with a container."""
        self.download_slots = simpy.Resource(engine, int(profile.downloads.si))
        self.upload_slots = simpy.Resource(engine, int(profile.uploads.si))
        self.turns = simpy.Resource(engine, int(profile.pulls.si)) if profile.pulls.si else None
        """Pulls at once, where that is limited."""
        self.network_lock = simpy.Resource(engine, 1)
        """The kernel's own: one network set-up at a time."""
        self.downloading: dict[str, Event] = {}
        self.unpacking: dict[str, Event] = {}
        self._group = host.group("container engine")
        self._threads = 0
        self._lines: dict[tuple[int, str], Line] = {}
        self._idle: dict[tuple[int, str], list[Connection]] = {}
        self._tokens = profile.burst.si
        self._token_at = 0.0

    def seconds(self, cost: Cost, amount: float = 1.0) -> float:
        """A cost on this host's clock."""
        return cost.on(self.host.spec.clock_hz).si * amount

    def compute(self, cpu_s: float) -> Event:
        """Work of a thread of its own."""
        self._threads += 1
        return self.host.compute(self._group.thread(f"engine {self._threads}"), cpu_s)

    def take_connection(self, registry: Registry, *, up: bool = False) -> Connection:
        """A connection to a registry that nobody else uses."""
        key = (id(registry), "up" if up else "down")
        if key not in self._lines:
            way = registry.upload if up else registry.download
            self._lines[key] = way(self.host.name, self.host.spec.nic_bytes_per_s)
        idle = self._idle.setdefault(key, [])
        return idle.pop() if idle else self._lines[key].connect()

    def give_connection(self, registry: Registry, connection: Connection, *, up: bool = False) -> None:
        """Leave a connection open for the next one."""
        self._idle[id(registry), "up" if up else "down"].append(connection)

    def token_wait_s(self) -> float:
        """How long a pull must wait for its turn in the rate that the engine keeps to itself (a token bucket)."""
        rate, burst = self.profile.pulls_per_s.si, self.profile.burst.si
        if rate == 0:
            return 0.0
        now = self.engine.now
        self._tokens = min(burst, self._tokens + (now - self._token_at) * rate) - 1.0
        self._token_at = now
        return max(0.0, -self._tokens / rate)

    def span(self, lane: str, kind: str, start_s: float, label: str = "") -> None:
        """Note what ends now."""
        self.timeline.add(lane, kind, start_s, self.engine.now, label)

    def collect(self) -> None:
        """Remove unused images if the disk is fuller than the engine's upper threshold."""
        profile = self.profile
        self.store.collect(
            self.engine.now,
            self.host.spec.disk_bytes or inf,
            above=profile.collect_above.si,
            down_to=profile.collect_down_to.si,
            age_s=profile.collect_age_s.si,
            in_use=self.running,
        )
