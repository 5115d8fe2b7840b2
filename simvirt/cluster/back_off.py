"""How long to wait before a process that ended is started again."""

from __future__ import annotations

from typing import final

from simvirt.cluster.policy import Restart

__all__ = ["BackOff"]


@final
class BackOff:
    """The row of waits of one container: first, initial, initial · factor, … up to the most."""

    __slots__ = ("exits", "policy")

    def __init__(self, policy: Restart) -> None:
        self.policy = policy
        self.exits = 0
        """In a row."""

    def wait_s(self, ran_s: float) -> float:
        """The wait after an exit of a process that ran for so long."""
        policy = self.policy
        if ran_s >= policy.reset_s:
            self.exits = 0
        self.exits += 1
        if self.exits == 1:
            return policy.first_s
        return float(min(policy.most_s, policy.initial_s * policy.factor ** min(self.exits - 2, 64)))
