"""What is run on a cluster, as frozen data: hosts, deployments, services, loads, failures."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from simvirt.cluster.policy import Checks, Ejection, Probe

__all__ = ["Balancer", "Call", "Deployment", "Failure", "HostGroup", "Load", "Work"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """CPU time of a request, on a core of its own.

    `constant`, `exponential`, `lognormal` (mean and coefficient of variation), or `quantiles`: pairs of probability and time, between
    which the logarithm of time is linear in the logarithm of the probability to be exceeded.
    """

    kind: str = "exponential"
    mean_s: float = 0.0
    cv: float = 1.0
    quantiles: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Requests that a service sends to another one for each of its own, all at once; it answers when all of them are answered."""

    to: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """So many equal replicas of one container, and the service that they offer under the same name."""

    name: str
    replicas: int
    work: Work
    version: int = 1
    cpu_request_cores: float = 0.1
    cpu_limit_cores: float = inf
    memory_bytes: float = 128e6
    workers: int = 0
    """Requests computed at once; 0 for all."""
    queue_most: float = inf
    start_cpu_s: float = 0.0
    """CPU time from the start of the process until it listens."""
    readiness: Probe | None = None
    liveness: Probe | None = None
    startup: Probe | None = None
    """Until it has said yes, the others are not asked."""
    on_term: str = "finish"
    """What the process does when asked to end: `finish` what it has and take no more, `exit` at once, `ignore`."""
    pre_stop_s: float = 0.0
    """Wait before it is asked to end; part of the grace."""
    grace_s: float | None = None
    """As the orchestrator has it unless given."""
    image_bytes: float = 0.0
    """To be brought to a host that does not have it."""
    spread_by: str = ""
    """`host` or `machine`: no two replicas on the same."""
    near: str = ""
    """A deployment whose hosts are wanted."""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGroup:
    """Equal hosts. With `vms`, each is divided into so many virtual machines, which are what the orchestrator sees."""

    name: str
    count: int
    cores: int
    memory_bytes: float
    pods: int = 110
    vms: int = 0
    vm_cores: int = 0
    """Of each virtual machine; an equal part of the host's unless given."""
    vm_memory_bytes: float = 0.0
    zone: str = ""
    network_bytes_per_s: float = 125e6
    """For images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancer:
    """How requests to a service find a replica, and what is done when one fails."""

    pick: str = "round-robin"
    """`round-robin`, `random`, or `least-requests`."""
    timeout_s: float = 1.0
    retries: int = 0
    """Further attempts after a failure, each at another replica if there is one."""
    retry_wait_s: float = 0.0
    hedge_after_s: float = inf
    """A second attempt if there is no answer by then."""
    tied_after_s: float = inf
    """A second attempt so much later, which is taken back as soon as the first begins, and the other way round."""
    tie_s: float = 0.0
    """Time that taking back takes to arrive."""
    checks: Checks | None = None
    ejection: Ejection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Clients of a service: Poisson arrivals, between two times, the rate multiplied by `factor` from `step_s` to `step_end_s`."""

    to: str
    rate_per_s: float
    start_s: float = 0.0
    end_s: float = inf
    step_s: float = inf
    step_end_s: float = inf
    factor: float = 1.0
    regular: bool = False
    """Evenly spaced instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Something done to a cluster at a time: to the first of those with that name at the moment."""

    at_s: float
    what: str
    """`crash`, `hang`, `kill sandbox` (replicas); `kill host`, `kill vm`, `boot`, `cordon`, `uncordon`, `drain` (hosts); `update`, `scale`
    (deployments)."""
    whom: str
    to: float = 0.0
    """For `scale`, the number of replicas."""
