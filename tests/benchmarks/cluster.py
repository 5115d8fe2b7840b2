"""How fast a cluster is simulated: every probe of every container is a request that competes for its CPU.

Run as a script: `python tests/benchmarks/cluster.py [--hosts 1000] [--per-host 30] [--simulated 3600]`. Prints the events of the queue
and the probes per second of CPU time, the peak of memory, and the cost per probe at growing sizes, which must grow no faster than log n.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace

from simvirt.catalog import Catalog
from simvirt.cluster.cluster import Cluster
from simvirt.cluster.description import Balancer, Deployment, HostGroup, Work
from simvirt.randomness import Streams


def build(hosts: int, per_host: int) -> Cluster:
    policy = Catalog.builtin().orchestrator("kubernetes").policy()
    probe = policy.probe
    deployments = [
        Deployment(
            name=f"service{i}", replicas=hosts, work=Work(mean_s=0.005), liveness=probe, readiness=replace(probe), cpu_limit_cores=1.0,
            memory_bytes=1e8, cpu_request_cores=0.1, spread_by="host",
        )
        for i in range(per_host)
    ]  # fmt: skip
    group = HostGroup(name="host", count=hosts, cores=16, memory_bytes=64e9)
    return Cluster(policy=policy, hosts=[group], deployments=deployments, balancers={"": Balancer()}, streams=Streams(1), rule="next-fit")


def measure(hosts: int, per_host: int, simulated_s: float) -> None:
    began = time.process_time()
    cluster = build(hosts, per_host)
    built_s = time.process_time() - began
    before = cluster.events
    began = time.process_time()
    cluster.run(simulated_s)
    ran_s = time.process_time() - began
    events = cluster.events - before
    probes = sum(
        prober.asked for replicas in cluster.controller.replicas.values() for replica in replicas.values() for prober in replica.probers
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    containers = hosts * per_host
    print(
        f"{hosts:5d} hosts {containers:6d} containers {simulated_s:6.0f} s: built in {built_s:6.1f} s, run in {ran_s:6.1f} s; "
        f"{events / ran_s:9.0f} events/s, {probes / ran_s:8.0f} probes/s, {1e6 * ran_s / probes:5.1f} us per probe, "
        f"{events / probes:.2f} events per probe, peak {peak:5.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--per-host", type=int, default=30)
    parser.add_argument("--simulated", type=float, default=3600.0)
    given = parser.parse_args()
    for hosts in (10, 100):
        if hosts < given.hosts:
            measure(hosts, given.per_host, min(given.simulated, 600.0))
    measure(given.hosts, given.per_host, given.simulated)


if __name__ == "__main__":
    main()
