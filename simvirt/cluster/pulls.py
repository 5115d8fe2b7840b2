"""Images on their way to hosts: one at a time per host, at the rate of its network, and only where they are missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from simvirt.cluster.machine import Host
from simvirt.cluster.timers import later
from simvirt.engine import Engine

__all__ = ["Pulls"]


@final
class Pulls:
    """What of images the start of a replica waits for: size over the host's bandwidth, after those that were asked for before.

    Unpacking and the registry's own limits are left out: `simvirt image pull` has them.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._free_s: dict[Host, float] = {}
        self._coming: dict[tuple[Host, float], float] = {}

    def fetch(self, host: Host, size_bytes: float, then: Callable[[], None]) -> None:
        """Call when an image of this size (images of one size are one image) is on a host."""
        now = self.engine._now
        key = (host, size_bytes)
        if not size_bytes or self._coming.get(key, now + 1.0) <= now:
            then()
            return
        if key not in self._coming:
            begin = max(now, self._free_s.get(host, now))
            self._free_s[host] = self._coming[key] = begin + size_bytes / host.network_bytes_per_s
        later(self.engine, self._coming[key] - now, then)

    def present(self, host: Host, size_bytes: float) -> None:
        """Say that an image is there already."""
        self._coming[host, size_bytes] = self.engine._now
