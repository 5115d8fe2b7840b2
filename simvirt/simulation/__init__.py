"""Wires a description into running parts; nothing else does."""

from simvirt.simulation.outcome import RunOutcome, TenantOutcome, told_together
from simvirt.simulation.run import Simulation, simulate

__all__ = ["RunOutcome", "Simulation", "TenantOutcome", "simulate", "told_together"]
