"""How many tenants a host carries within a service level: bounds known beforehand, trials by simulation, and the search between them."""

from simvirt.density.crowd import Crowd
from simvirt.density.limits import Limit, limits_of
from simvirt.density.search import Density, find_density
from simvirt.density.survey import Question, Refusal, survey
from simvirt.density.trial import Trial, Trials, Verdict

__all__ = ["Crowd", "Density", "Limit", "Question", "Refusal", "Trial", "Trials", "Verdict", "find_density", "limits_of", "survey"]
