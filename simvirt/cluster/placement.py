"""On which host a replica is put: first who can take it, then who suits best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from simvirt.cluster.description import Deployment
from simvirt.cluster.machine import Host

__all__ = ["RULES", "balanced_score", "choose", "fits", "least_allocated_score", "most_allocated_score"]

_SLACK: Final = 1e-9
"""Of the capacity, for rounding."""


def fits(host: Host, deployment: Deployment) -> bool:
    """Whether a host is ready, open, and has the CPU, the memory and the place for one more replica."""
    return (
        host.ready
        and not host.cordoned
        and len(host.replicas) < host.pods
        and host.requested_cores + deployment.cpu_request_cores <= host.cores * (1 + _SLACK)
        and host.requested_bytes + deployment.memory_bytes <= host.memory_bytes * (1 + _SLACK)
    )


def _shares(host: Host, deployment: Deployment) -> tuple[float, float]:
    """Of its CPU and of its memory, asked for with one more replica."""
    return (
        (host.requested_cores + deployment.cpu_request_cores) / host.cores,
        (host.requested_bytes + deployment.memory_bytes) / host.memory_bytes,
    )


def least_allocated_score(host: Host, deployment: Deployment) -> float:
    """Σ (capacity − requested) · 100 / capacity over CPU and memory, halved: 100 for an empty host. Spreads."""
    cpu, memory = _shares(host, deployment)
    return 100.0 * ((1.0 - cpu) + (1.0 - memory)) / 2.0


def most_allocated_score(host: Host, deployment: Deployment) -> float:
    """Σ requested · 100 / capacity over CPU and memory, halved. Packs."""
    cpu, memory = _shares(host, deployment)
    return 100.0 * (cpu + memory) / 2.0


def balanced_score(host: Host, deployment: Deployment) -> float:
    """100 · (1 − standard deviation of the shares of CPU and memory): for two shares, half their difference."""
    cpu, memory = _shares(host, deployment)
    return 100.0 * (1.0 - abs(cpu - memory) / 2.0)


def _fewest(host: Host, _: Deployment) -> float:
    return -float(len(host.replicas))


def _any(_: Host, __: Deployment) -> float:
    return 0.0


def _spread(host: Host, deployment: Deployment) -> float:
    return -float(sum(replica.deployment.name == deployment.name for replica in host.replicas.values()))


def _default(host: Host, deployment: Deployment) -> float:
    return least_allocated_score(host, deployment) + balanced_score(host, deployment)


RULES: Final[Mapping[str, Callable[[Host, Deployment], float]]] = {
    "default": _default,
    "least-allocated": least_allocated_score,
    "most-allocated": most_allocated_score,
    "balanced": balanced_score,
    "spread": _spread,
    "fewest": _fewest,
    "first-fit": _any,
    "next-fit": _any,
}
"""Word → score; the highest is taken, of equal ones the first. `next-fit` goes on after the host that was found last, and looks no
further than the first that can take the replica: its cost does not grow with the cluster."""


def choose(hosts: Sequence[Host], deployment: Deployment, rule: str = "default", begin: int = 0) -> Host | None:
    """The host for a replica, None if none can take it.

    `begin`: index of the host with which to begin, for `next-fit`. `spread_by` forbids a second replica on the same host or machine;
    `near` wants a host that has a replica of that deployment.
    """
    if rule == "next-fit":
        turn = (hosts[(begin + i) % len(hosts)] for i in range(len(hosts)))
        return next((host for host in turn if fits(host, deployment) and not _forbidden(host, deployment)), None)
    score = RULES[rule]
    able = [host for host in hosts if fits(host, deployment) and not _forbidden(host, deployment)]
    if deployment.near:
        near = [host for host in able if any(replica.deployment.name == deployment.near for replica in host.replicas.values())]
        able = near or able
    if rule == "default" and able:
        # a replica more of the same deployment on a host counts against it before anything else, as topology spreading does
        fewest = min(-_spread(host, deployment) for host in able)
        able = [host for host in able if -_spread(host, deployment) == fewest]
    return max(able, key=lambda host: score(host, deployment), default=None)


def _forbidden(host: Host, deployment: Deployment) -> bool:
    if not deployment.spread_by:
        return False
    among = [host] if deployment.spread_by == "host" else host.machine.hosts
    return any(replica.deployment.name == deployment.name for one in among for replica in one.replicas.values())
