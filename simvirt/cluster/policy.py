"""What an orchestrator does, as numbers and words: probes, restarts, leases, endpoints, updates, scaling, alerts.

Each class is one table of a profile; a table that a profile lacks is a part that the orchestrator lacks. Times are in seconds, counts and
shares plain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "WORDS",
    "Alerting",
    "Autoscaling",
    "Checks",
    "Ejection",
    "Endpoints",
    "Lease",
    "MachineRestart",
    "Policy",
    "Probe",
    "Restart",
    "Runtime",
    "Update",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question asked again and again: it is a request to the container and takes CPU time there."""

    period_s: float
    timeout_s: float
    failures: int
    """In a row, after which the answer is no."""
    successes: int = 1
    """In a row, after which the answer is yes again."""
    delay_s: float = 0.0
    """From the start of the process to the first question."""
    cpu_s: float = 0.001
    """What an answer takes, on a core of its own."""
    timing: str = "start"
    """`start`: a question every period; `end`: the next one a period after the answer or the time-out of the last."""
    kind: str = "request"
    """`request`: queues with the requests of clients; `exec`: a process of its own in the container, which only shares its CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """How long to wait before a process is started again: k-th exit in a row, min(most, initial · factor^(k-2)) from the second on."""

    first_s: float
    initial_s: float
    factor: float
    most_s: float
    reset_s: float
    """A process that ran for so long starts the row anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What starting and stopping takes on a host."""

    create_s: float
    """From the decision to the start of the process."""
    sandbox_s: float
    """Making what the containers of one replica share, its network before all."""
    notice_s: float
    """Period of looking which processes are gone; 0 where an exit is an event."""
    grace_s: float
    """From asking a process to end to killing it."""
    schedule_s: float
    """Choosing a host and telling it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How a host shows that it lives, and what becomes of one that does not."""

    renew_s: float
    jitter_s: float
    """A renewal comes up to so much earlier or later."""
    look_s: float
    """Period of looking at leases; 0 where each has a timer of its own."""
    grace_s: float
    """Age of a lease at which the host is given up."""
    evict_after_s: float
    """From then until its replicas are replaced."""
    evict_per_s: float
    """Hosts evicted per second; 0 for all at once."""
    evict_slow_per_s: float
    """The same while a zone has more than `unhealthy_share` of its hosts down, if it is larger than `large`."""
    unhealthy_share: float
    large: float
    """Hosts of a zone up to which nothing is evicted while it is unhealthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """How a change of who may be sent requests gets to those who send."""

    watch_s: float
    """Until they hear of it."""
    sync_s: float
    """Least time between two changes of their tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How a new version takes the place of an old one."""

    surge: float
    """Share of the replicas that may be there in excess, rounded up."""
    unavailable: float
    """Share of the replicas that may be missing, rounded down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """Desired replicas = ceil(current · metric / target), if that is off by more than the tolerance; down to the most of a window."""

    sync_s: float
    tolerance: float
    window_s: float
    """Downscaling takes the highest proposal of this time."""
    up_share: float
    up_count: float
    up_period_s: float
    """At most this share or this count more in this time, whichever is more."""
    metric_s: float
    """Over which CPU use is measured."""
    ready_s: float
    """A replica younger than this is left out until it is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRestart:
    """How virtual machines of a dead host, or a dead virtual machine, come back."""

    host_s: float
    """From the death of a host to the restart of its machines elsewhere."""
    machine_s: float
    """From the death of a virtual machine alone to its restart."""
    boot_s: float
    """Until its operating system runs again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """A balancer that asks its servers itself."""

    inter_s: float
    timeout_s: float
    fall: int
    rise: int
    cpu_s: float = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejection:
    """A balancer that leaves out who fails: passive, from the answers to clients."""

    consecutive: int
    sweep_s: float
    """Period of looking who may come back."""
    base_s: float
    """Out for base · times ejected, at most `most_s`."""
    most_s: float
    most_share: float
    """Of the servers, that may be out at once; one always may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerting:
    """Scrapes, evaluates, waits, groups."""

    scrape_s: float
    evaluate_s: float
    timeout_s: float
    group_wait_s: float
    group_interval_s: float
    resolve_s: float


WORDS: Final = {
    "on_exit": ("restart", "replace", "leave"),
    "on_unhealthy": ("restart", "replace", "mark"),
    "routes_by": ("readiness", "nothing"),
}
"""What a profile may say in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One orchestrator."""

    runtime: Runtime
    probe: Probe
    """Defaults for probes that a deployment has."""
    restart: Restart
    endpoints: Endpoints
    update: Update
    lease: Lease | None = None
    autoscaling: Autoscaling | None = None
    on_exit: str = "restart"
    """`restart` in place with back-off, `replace` by another one after the first restart delay, or `leave`."""
    on_unhealthy: str = "restart"
    """What a failed liveness probe leads to; `mark`: nothing but a mark."""
    routes_by: str = "readiness"
    """Who gets requests: replicas that are ready, or all that there have been."""
