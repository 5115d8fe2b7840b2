"""A scenario: what runs where, under which load, for how long. Frozen data, from TOML or Python; every mistake is reported at once."""

from simvirt.scenario.check import check_scenario, scenario_notes
from simvirt.scenario.description import MOST_REPLICATIONS, Run, Scenario, Stressors, Tenants
from simvirt.scenario.disk import IoMax
from simvirt.scenario.faults import Fault
from simvirt.scenario.reader import load_scenario, read_document, read_toml
from simvirt.scenario.resolved import Resolved, host_stack
from simvirt.scenario.stressors import as_tenants

__all__ = [
    "MOST_REPLICATIONS",
    "Fault",
    "IoMax",
    "Resolved",
    "Run",
    "Scenario",
    "Stressors",
    "Tenants",
    "as_tenants",
    "check_scenario",
    "host_stack",
    "load_scenario",
    "read_document",
    "read_toml",
    "scenario_notes",
]
