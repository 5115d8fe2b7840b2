"""One run with a disturbance in its middle: what was found while it lasted, and in steps after its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from simvirt.catalog import Catalog
from simvirt.scenario import Run, Scenario
from simvirt.simulation import RunOutcome, Simulation

__all__ = ["Disturbance", "PhasedOutcome"]


@dataclass(frozen=True, kw_only=True)
class PhasedOutcome(RunOutcome):
    """What was found while the disturbance lasted, and then in each step of the time after it."""

    after: tuple[RunOutcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """A scenario whose stressors are there from `start_s` to `stop_s`.

    The window that counts is that time. The rest of the run is looked at in steps of `step_s`. The same scenario without its stressors,
    looked at in the same way, is its baseline: arrivals and demands are the same.
    """

    scenario: Scenario
    start_s: float
    stop_s: float
    step_s: float

    @property
    def name(self) -> str:
        return self.scenario.name

    @property
    def platform(self) -> str:
        return self.scenario.platform

    @property
    def machine(self) -> str | None:
        return self.scenario.machine

    @property
    def run(self) -> Run:
        return self.scenario.run

    @property
    def override(self) -> Mapping[str, float | str]:
        return self.scenario.override

    def digest(self) -> str:
        """A fingerprint of everything that it says: the times are those of the scenario's stressors, or derived from its run."""
        return self.scenario.digest()

    @property
    def ends_s(self) -> tuple[float, ...]:
        """When each phase ends: before it, while it lasts, and the steps after it."""
        steps = int((self.run.duration_s - self.stop_s) / self.step_s + 1e-9)
        return (self.start_s, self.stop_s, *(self.stop_s + self.step_s * (i + 1) for i in range(steps)))

    def simulate(self, catalog: Catalog, replication: int) -> PhasedOutcome:
        """One replication."""
        _, during, *after = Simulation(self.scenario, catalog, replication).run_in_phases(self.ends_s)
        return PhasedOutcome(**{f.name: getattr(during, f.name) for f in fields(RunOutcome)}, after=tuple(after))
