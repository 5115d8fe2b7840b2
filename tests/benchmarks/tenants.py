"""What a simulation costs with ever more tenants on one host under the same total load: python tests/benchmarks/tenants.py [MOST]

Containers and virtual machines, 10 to 10,000 (or MOST), together 20,000 requests/s for half a second, so that what grows is the cost of
tenants, not of requests. CPU seconds to build the running parts and to run them, the better of two; the exponent is the slope between
neighbours on logarithmic scales, 1 for proportional to the number of tenants.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from simvirt.catalog import Catalog
from simvirt.scenario import Scenario
from simvirt.simulation import Simulation

COUNTS = (10, 100, 1_000, 10_000)
MACHINES: dict[str, dict[str, Any]] = {"docker": {}, "kvm": {"overcommit_memory": True}}
SIZES = {"docker": "1 MiB", "kvm": "2 GiB"}
RATE_PER_S = 20_000.0
ROUNDS = 2


def scenario(platform: str, tenants: int) -> Scenario:
    group = {"name": "tenant", "workload": "key-value-store", "count": tenants, "memory": SIZES[platform]}
    load = {"kind": "poisson", "rate_per_s": RATE_PER_S / tenants}
    names = {"platform": platform, "machine": "server-2s", "override": {"server-2s.memory_bytes": "64 TiB"}}
    return Scenario.model_validate({**names, **MACHINES[platform], "tenants": [{**group, "load": load}], "run": {"duration_s": 0.5}})


def seconds(one: Scenario, catalog: Catalog) -> tuple[float, float, int]:
    """CPU time to build and to run, and events."""
    start = time.process_time()
    simulation = Simulation(one, catalog)
    built = time.process_time()
    events = simulation.run().events
    return built - start, time.process_time() - built, events


def main(most: int) -> None:
    catalog = Catalog.builtin()
    for platform in MACHINES:
        sys.stdout.write(f"\n{platform}\n tenants   build s     run s    events  exponent\n")
        before = (0, 0.0)
        for tenants in [count for count in COUNTS if count <= most]:
            found = [seconds(scenario(platform, tenants), catalog) for _ in range(ROUNDS)]
            build_s, run_s = (min(one[i] for one in found) for i in (0, 1))
            total_s = build_s + run_s
            slope = f"{math.log(total_s / before[1]) / math.log(tenants / before[0]):9.2f}" if before[0] else f"{'':9}"
            sys.stdout.write(f"{tenants:8d} {build_s:9.3f} {run_s:9.3f} {found[0][2]:9d} {slope}\n")
            before = (tenants, total_s)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNTS[-1])
