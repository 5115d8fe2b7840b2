"""Small clusters for tests: one service, an orchestrator by name, and what is done to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simvirt.catalog import Catalog
from simvirt.cluster.cluster import Cluster
from simvirt.cluster.description import Balancer, Deployment, Failure, HostGroup, Load, Work
from simvirt.cluster.policy import MachineRestart, Policy
from simvirt.randomness import Streams

CATALOG = Catalog.builtin()
WORK = Work(kind="constant", mean_s=0.005)


def policy(name: str, **overrides: Any) -> Policy:
    return CATALOG.orchestrator(name, {key.replace("__", "."): value for key, value in overrides.items()}).policy()


def cluster(
    orchestrator: str | Policy = "kubernetes",
    *,
    hosts: int = 4,
    vms: int = 0,
    replicas: int = 3,
    probed: bool = True,
    balancer: Balancer | None = None,
    machines: bool = False,
    rate_per_s: float = 0.0,
    seed: int = 1,
    rule: str = "default",
    **deployment: Any,
) -> Cluster:
    chosen = policy(orchestrator) if isinstance(orchestrator, str) else orchestrator
    probes = {"liveness": chosen.probe, "readiness": chosen.probe} if probed else {}
    web = Deployment(**{"name": "web", "replicas": replicas, "work": WORK, **probes, **deployment})
    room = {"vm_cores": 4, "vm_memory_bytes": 4e9} if vms else {}
    found = Cluster(
        policy=chosen,
        hosts=[HostGroup(name="host", count=hosts, cores=8, memory_bytes=64e9, vms=vms, **room)],
        deployments=[web],
        balancers={"web": balancer or Balancer()},
        streams=Streams(seed),
        machine_policy=CATALOG.orchestrator("vm-restart").part(MachineRestart) if machines else None,
        rule=rule,
    )
    if rate_per_s:
        found.load(Load(to="web", rate_per_s=rate_per_s), "web")
    return found


def do(found: Cluster, at_s: float, what: str, whom: str = "web", to: float = 0.0) -> None:
    found.schedule(Failure(at_s=at_s, what=what, whom=whom, to=to))


def without(chosen: Policy, **changes: Any) -> Policy:
    """A policy with some fields of its parts changed: `restart={"first_s": 1}`."""
    return replace(chosen, **{part: replace(getattr(chosen, part), **fields) for part, fields in changes.items()})


def accounts_close(found: Cluster) -> None:
    for router in found.routers.values():
        assert router.offered == router.completed + sum(router.failures.values()) + router.in_flight
        assert router.in_flight >= 0
