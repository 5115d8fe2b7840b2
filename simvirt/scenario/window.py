"""When a tenant asks: from a time of the run to another."""

from __future__ import annotations

from math import inf

from pydantic import BaseModel, ConfigDict, model_validator

from simvirt.quantities import PositiveSeconds, Seconds

__all__ = ["Window"]


class Window(BaseModel):
    """The part of a run in which a group of tenants is there; the whole run unless given.

    Before `start` they ask for nothing; what they hold from the beginning (the memory of a virtual machine) they hold. At `stop` their
    programs end: nothing new is asked for, what was asked for is finished, and what they kept or grew by comes back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Seconds = 0.0
    """Seconds from the beginning of the run, warm-up included."""
    stop: PositiveSeconds | None = None

    @property
    def stop_s(self) -> float:
        return inf if self.stop is None else self.stop

    @model_validator(mode="after")
    def _in_order(self) -> Window:
        if self.start >= self.stop_s:
            raise ValueError(f"start at {self.start:g} s and stop at {self.stop_s:g} s; stop after the start, or leave it out")
        return self
