"""Start-up: the chain of stages from a decision to run something until it serves. Descriptions only; nothing here knows of queues."""

from simvirt.startup.chain import Chain, DiskAccess, Step, chain_of
from simvirt.startup.stage import FRESH, NO_START, RESTORING, AbstractStage, LayerStart, Program, Requests, Section

__all__ = [
    "FRESH",
    "NO_START",
    "RESTORING",
    "AbstractStage",
    "Chain",
    "DiskAccess",
    "LayerStart",
    "Program",
    "Requests",
    "Section",
    "Step",
    "chain_of",
]
