"""What a group with a limit has left for more threads."""

from __future__ import annotations

from math import inf, nextafter
from typing import final

from simvirt.resources.cpu.contract import Share

__all__ = ["Gate"]


@final
class Gate:
    """The limit of one group: whether one more thread below could run at full speed, and which processor it would wake.

    While every gate on the way from a thread to the root has room for it, the thread runs at full speed whatever the others do.
    """

    __slots__ = ("crowd", "idle_since", "limit", "room")

    def __init__(self, share: Share, now: float) -> None:
        self.limit = min(share.processors, share.cap_cores)
        self.room = self.limit
        """Cores not in use; minus infinity while everybody below is in the gate's island."""
        processors = 0 if share.processors == inf else int(share.processors)
        self.idle_since = [nextafter(now, -inf)] * processors
        """Since when each idle processor has been idle; a new one since just before now. The last to fall idle is the first to be woken."""
        self.crowd = 0
        """Runnable threads beyond the number of processors."""

    def idle_processor_s(self, now: float) -> float:
        """How long that processor has been idle that has been idle longest.

        Negative if there is none, also when it fell idle at this very instant: it goes on without a halt.
        """
        return (now - self.idle_since[0]) or -1.0 if self.idle_since else -1.0
