"""What an experiment can run: a scenario, or anything else that says how long, how often, on which machine, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast, get_type_hints, runtime_checkable

from simvirt.catalog import Catalog
from simvirt.scenario import Run, Scenario
from simvirt.simulation import RunOutcome, simulate

__all__ = ["Subject", "outcome_of", "outcome_type"]


@runtime_checkable
class Subject(Protocol):
    """A description that is frozen, can be pickled, and runs itself."""

    @property
    def platform(self) -> str: ...
    @property
    def machine(self) -> str | None: ...
    @property
    def run(self) -> Run: ...
    @property
    def override(self) -> Mapping[str, Any]: ...

    def digest(self) -> str:
        """A fingerprint of everything that it says."""

    def simulate(self, catalog: Catalog, replication: int) -> RunOutcome:
        """One replication."""


def outcome_of(subject: Scenario | Subject, catalog: Catalog, replication: int) -> RunOutcome:
    """One replication of either."""
    return simulate(subject, catalog, replication) if isinstance(subject, Scenario) else subject.simulate(catalog, replication)


def outcome_type(subject: Scenario | Subject) -> type[RunOutcome]:
    """The class of what either finds: what `simulate` of a description says that it returns."""
    if isinstance(subject, Scenario):
        return RunOutcome
    kind = get_type_hints(type(subject).simulate)["return"]
    assert issubclass(kind, RunOutcome), f"{type(subject).__name__}.simulate returns {kind.__name__}; a class of outcomes"
    return cast("type[RunOutcome]", kind)
