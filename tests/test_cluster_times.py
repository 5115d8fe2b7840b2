"""When an orchestrator does what: documented defaults, worked by hand. Sources stand in the profiles.

Each host's agent has a phase, a share of its period, that is drawn once; with it known, every time below is exact.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor

import pytest
from cluster_bench import CATALOG, cluster, do, policy, without

from simvirt.cluster.alerts import Monitor
from simvirt.cluster.autoscaler import Autoscaler, proposal
from simvirt.cluster.back_off import BackOff
from simvirt.cluster.cluster import Cluster
from simvirt.cluster.description import Balancer
from simvirt.cluster.log import Log
from simvirt.cluster.policy import Alerting, Autoscaling, Checks, Ejection
from simvirt.engine import Engine

exactly = pytest.approx


def time_of(found: Cluster, what: str, whom: str = "web-1", since_s: float = 0.0) -> float:
    time = found.log.first(what, whom, since_s)
    assert time is not None, f"{what} {whom} did not happen"
    return time


def first_tick(at_s: float, period_s: float, phase: float) -> float:
    return phase * period_s + ceil((at_s - phase * period_s) / period_s) * period_s


# --- Back-off ---------------------------------------------------------------------------------------------------------


def test_waits_before_restarts_of_kubernetes_are_0_10_20_40_80_160_300_300() -> None:
    """k-th exit in a row: min(300, 10 · 2^(k-2)) from the second on. A run of ten minutes starts anew."""
    back_off = BackOff(policy("kubernetes").restart)
    assert [back_off.wait_s(1.0) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert back_off.wait_s(599.9) == 300
    assert back_off.wait_s(600.0) == 0
    assert back_off.wait_s(1.0) == 10


def test_waits_before_restarts_of_docker_double_from_a_tenth_of_a_second_to_a_minute() -> None:
    """0.1, 0.2, …, 51.2, then 60 where 102.4 would be; a run of 10 s starts anew."""
    back_off = BackOff(policy("docker-alone").restart)
    waits = [back_off.wait_s(1.0) for _ in range(12)]
    assert waits[:10] == exactly([0.1 * 2**k for k in range(10)])
    assert waits[10:] == [60, 60]
    assert back_off.wait_s(10.0) == 0.1


def test_a_container_that_crashes_as_soon_as_it_runs_is_restarted_after_these_waits() -> None:
    """From the notice of an exit to the next start: wait + 0.68 s of making the container."""
    found = cluster("kubernetes", hosts=1, replicas=1, probed=False)
    for k in range(7):
        do(found, 5.0 + 400.0 * k, "crash", "web-1")
    found.run(3000.0)
    noticed = [e.time_s for e in found.log.of("exit noticed")]
    started = [e.time_s for e in found.log.of("started", since_s=1.0)]
    waits = [b - a for a, b in zip(noticed, started, strict=True)]
    # 400 s after a crash it has run 400 - 0.68 - 1 - wait s: less than ten minutes, so the row goes on
    assert waits == exactly([w + 0.68 for w in (0, 10, 20, 40, 80, 160, 300)])


# --- Kubernetes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_s", [50.0, 53.21, 59.99])
def test_a_crash_is_noticed_at_the_next_relist_and_restarted_at_once(at_s: float) -> None:
    """U(0, 1) to the relist + 0.68 s; endpoints: 0.05 s after the notice, as the last change is long ago."""
    found = cluster("kubernetes", probed=False)
    phase = found.host("host-1").phase
    do(found, at_s, "crash", "web-1")
    found.run(70.0)
    noticed = first_tick(at_s, 1.0, phase)
    assert 0.0 <= noticed - at_s < 1.0
    assert time_of(found, "exit noticed") == exactly(noticed)
    assert time_of(found, "not routed") == exactly(noticed + 0.05)
    assert time_of(found, "started", since_s=at_s) == exactly(noticed + 0.68)


@pytest.mark.parametrize("at_s", [100.0, 103.3, 109.9])
def test_a_hang_is_found_by_the_third_probe_that_times_out(at_s: float) -> None:
    """U(0, 10) to the next question + 2 · 10 + 1 = 21 to 31 s. The hung process ignores SIGTERM: + 30 s of grace, + 0.68 s."""
    found = cluster("kubernetes")
    phase = found.host("host-1").phase
    do(found, at_s, "hang", "web-1")
    found.run(200.0)
    found_out = first_tick(at_s, 10.0, phase) + 2 * 10 + 1
    assert 21.0 <= found_out - at_s < 31.0
    assert time_of(found, "unhealthy") == exactly(found_out)
    assert time_of(found, "not ready") == exactly(found_out)
    assert time_of(found, "not routed") == exactly(found_out + 0.05)
    assert time_of(found, "started", since_s=at_s) == exactly(found_out + 30 + 0.68)


def test_without_a_liveness_probe_a_hang_is_taken_out_of_service_and_never_restarted() -> None:
    kubernetes = policy("kubernetes")
    found = cluster(kubernetes, probed=False, readiness=kubernetes.probe)
    do(found, 100.0, "hang", "web-1")
    found.run(500.0)
    assert 121.0 <= time_of(found, "not ready") < 131.0
    assert time_of(found, "not routed") == exactly(time_of(found, "not ready") + 0.05)
    assert found.log.first("started", "web-1", 1.0) is None


@pytest.mark.parametrize("seed", range(5))
def test_a_dead_host_is_given_up_when_its_lease_is_older_than_40_s_and_its_pods_300_s_later(seed: int) -> None:
    """40 - U(0, 10) + U(0, 5) s to not ready; + 300 s of toleration; + 0.05 schedule + 0.5 sandbox + 0.68 create."""
    found = cluster("kubernetes", probed=False, seed=seed)
    host = found.host("host-1")
    at_s = 93.7
    do(found, at_s, "kill host", "host-1")
    found.run(500.0)
    renewed = first_tick(at_s - 10.0, 10.0, host.phase)  # the last renewal before it died
    assert host.lease_s == exactly(renewed)
    given_up = time_of(found, "host not ready", "host-1")
    assert 0.0 < given_up - (renewed + 40.0) <= 5.0
    assert 30.0 < given_up - at_s < 45.0
    assert time_of(found, "not routed") == exactly(given_up + 0.05)
    assert time_of(found, "evicted", "host-1") == exactly(given_up + 300.0)
    assert time_of(found, "started", "web-4") == exactly(given_up + 300.0 + 0.05 + 0.5 + 0.68)


def test_time_to_not_ready_is_uniform_sums_with_mean_37_5() -> None:
    """40 - 5 + 2.5; the standard deviation is sqrt(100/12 + 25/12) = 3.23 s."""
    times = []
    for seed in range(200):
        found = cluster("kubernetes", probed=False, seed=seed, hosts=2, replicas=1)
        do(found, 60.0, "kill host", "host-1")
        found.run(110.0)
        times.append(time_of(found, "host not ready", "host-1") - 60.0)
    mean = sum(times) / len(times)
    assert abs(mean - 37.5) < 3 * 3.23 / 200**0.5
    assert min(times) > 30.0 and max(times) < 45.0


def test_a_killed_sandbox_costs_the_grace_of_a_process_that_ignores_sigterm() -> None:
    """U(0, 1) + 30 + 0.5 sandbox + 0.68 create."""
    found = cluster("kubernetes", probed=False, on_term="ignore")
    phase = found.host("host-1").phase
    do(found, 50.3, "kill sandbox", "web-1")
    found.run(100.0)
    noticed = first_tick(50.3, 1.0, phase)
    assert time_of(found, "exit noticed") == exactly(noticed)
    assert time_of(found, "started", since_s=1.0) == exactly(noticed + 30.0 + 0.5 + 0.68)


@pytest.mark.parametrize(
    ("ready", "proposed"), [((4, 0.88, 0.8), 4), ((4, 0.881, 0.8), 5), ((4, 1.6, 0.8), 8), ((4, 0.72, 0.8), 4), ((4, 0.3, 0.8), 2)]
)
def test_autoscaling_proposes_the_ceiling_outside_the_tolerance(ready: tuple[int, float, float], proposed: int) -> None:
    """ceil(4 · 0.881 / 0.8) = ceil(4.405) = 5; 0.88 / 0.8 = 1.1 is just within 0.1."""
    assert proposal(*ready, tolerance=0.1 + 1e-12) == proposed


def test_autoscaling_goes_up_by_100_per_cent_or_4_and_down_to_the_most_of_300_s() -> None:
    found = cluster("kubernetes", replicas=3)
    rules = found.policy.autoscaling
    assert isinstance(rules, Autoscaling)
    scaler = Autoscaler(found.engine, rules, found.controller, "web", 1, 100, 0.5, Log(found.engine))
    assert scaler.next(15.0, 3, 50) == 7  # 3 + 4 is more than 3 · 2
    assert scaler.next(29.0, 7, 50) == 7  # nothing more within 15 s
    assert scaler.next(30.0, 7, 50) == 14  # 7 · 2
    assert scaler.next(45.0, 14, 2) == 14  # 50 was proposed within 300 s
    assert scaler.next(330.0, 14, 2) == 14  # at 30 s exactly is still within
    assert scaler.next(330.1, 14, 2) == 2


# --- Docker and Swarm -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_s", [100.0, 111.1, 129.0])
def test_a_hang_is_marked_by_docker_after_three_timeouts_of_30_s_and_nothing_else_happens(at_s: float) -> None:
    """A question comes 30 s after the last one ended; it takes 0.02 s while all is well. U(0, 30) + 30 + 30 + 30 + 30 + 30."""
    found = cluster("docker-alone", hosts=1, replicas=1)
    phase = found.host("host").phase
    do(found, at_s, "hang", "web-1")
    found.run(800.0)
    first, period = 30.0 + phase * 30.0, 30.02
    question = first + max(0, floor((at_s - first) / period) + 1) * period
    assert time_of(found, "unhealthy") == exactly(question + 30 + 30 + 30 + 30 + 30)
    assert 150.0 <= time_of(found, "unhealthy") - at_s < 180.1
    assert not list(found.log.of("not routed"))
    assert not list(found.log.of("started", since_s=1.0))


def test_a_container_whose_health_check_fails_at_once_is_marked_60_to_90_s_later() -> None:
    """U(0, 30) + 30 + 30: the check of a process that refuses is over at once."""
    docker = without(policy("docker-alone"), probe={"kind": "request"})
    found = cluster(docker, hosts=1, replicas=1)
    found.run(100.0)
    process = found.controller.replicas["web"]["web-1"].process
    assert process is not None
    process.listening = False
    found.run(300.0)
    assert 60.0 <= time_of(found, "unhealthy") - 100.0 < 90.1


def test_an_exit_is_an_event_to_docker() -> None:
    """0.1 s of back-off + 0.35 s."""
    found = cluster("docker-alone", hosts=1, replicas=1)
    do(found, 50.0, "crash", "web-1")
    found.run(60.0)
    assert time_of(found, "started", since_s=1.0) == exactly(50.0 + 0.1 + 0.35)


@pytest.mark.parametrize("seed", range(8))
def test_swarm_gives_a_node_up_15_s_after_its_last_heartbeat_and_waits_5_s(seed: int) -> None:
    """15 - U(0, 5.5) + 5 + 0.05 + 0.35 s."""
    found = cluster("swarm", probed=False, seed=seed)
    at_s = 61.7
    do(found, at_s, "kill host", "host-1")
    found.run(120.0)
    host = found.host("host-1")
    assert 0.0 <= at_s - host.lease_s <= 5.5
    assert time_of(found, "host not ready", "host-1") == exactly(host.lease_s + 15.0)
    assert time_of(found, "started", "web-4") == exactly(host.lease_s + 15.0 + 5.0 + 0.05 + 0.35)


# --- Balancers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_s", [50.0, 50.9, 51.99])
def test_haproxy_takes_a_server_out_at_the_third_failed_check(at_s: float) -> None:
    """U(0, 2) + 2 · 2 s for a process that is gone; back after two good checks."""
    checks = CATALOG.orchestrator("haproxy").part(Checks)
    docker = without(policy("docker-alone"), runtime={"create_s": 10.0})
    found = cluster(docker, hosts=1, replicas=2, probed=False, balancer=Balancer(checks=checks))
    phase = found.host("host").phase
    do(found, at_s, "crash", "web-1")
    found.run(80.0)
    question = first_tick(at_s, 2.0, phase)
    assert time_of(found, "not routed") == exactly(question + 4.0)
    assert 4.0 <= time_of(found, "not routed") - at_s < 6.0
    listens = at_s + 0.1 + 10.0
    assert time_of(found, "routed", since_s=1.0) == exactly(first_tick(listens, 2.0, phase) + 2.0 + 0.0005)


def test_envoy_ejects_at_the_fifth_failure_in_a_row_for_30_s_times_the_count() -> None:
    ejection = CATALOG.orchestrator("envoy").part(Ejection)
    balancer = Balancer(ejection=ejection, timeout_s=0.5)
    found = cluster("docker-alone", hosts=1, replicas=3, probed=False, balancer=balancer, rate_per_s=100.0)
    do(found, 52.0, "hang", "web-1")
    do(found, 52.0, "hang", "web-2")
    found.run(170.0)
    router = found.routers["web"]
    out = [e for e in found.log.entries if e.what == "ejected"]
    back = [e for e in found.log.entries if e.what == "back"]
    first = out[0].whom
    # 10 % of three servers is none, but one may always be out
    assert {e.whom for e in out if e.time_s < back[0].time_s} == {first}
    # ejected at 52.5 s or a little later, so the sweep at 90 s brings it back
    assert 52.5 < out[0].time_s < 53.0 and out[0].why == "for 30 s"
    assert back[0].time_s == exactly(90.0)
    assert router.failures["timed out"] >= 5


# --- Monitoring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phases", "for_s"), [((0.0, 0.5), 0.0), ((0.9, 0.1), 0.0), ((0.25, 0.5), 300.0), ((0.5, 0.25), 90.0)])
def test_an_alert_waits_for_scrape_evaluation_for_and_group(phases: tuple[float, float], for_s: float) -> None:
    """U(0, 60) + U(0, 60) + for, rounded up to evaluations, + 30 s."""
    engine = Engine()
    log = Log(engine)
    rules = CATALOG.orchestrator("prometheus").part(Alerting)
    assert rules is not None
    Monitor(engine, rules, "down", lambda: engine.now >= 200.0, log, for_s, phases)
    engine.run(1000.0)
    scraped = first_tick(200.0, 60.0, phases[0])
    pending = first_tick(scraped, 60.0, phases[1])
    firing = pending + ceil(for_s / 60.0) * 60.0
    assert log.first("pending") == exactly(pending)
    assert log.first("firing") == exactly(firing)
    assert log.first("alerted") == exactly(firing + 30.0)
    assert 30.0 <= firing + 30.0 - 200.0 <= 150.0 + ceil(for_s / 60.0) * 60.0


# --- Evictions, machines ------------------------------------------------------------------------------------------------


def _evictions(down: int, hosts: int) -> list[float]:
    found = cluster("kubernetes", hosts=hosts, replicas=hosts, probed=False)
    for i in range(down):
        do(found, 60.0, "kill host", f"host-{i + 1}")
    found.run(1000.0)
    return [e.time_s for e in found.log.of("evicted")]


def test_hosts_are_evicted_one_in_ten_seconds() -> None:
    times = _evictions(3, 10)
    assert len(times) == 3
    assert [b - a for a, b in pairwise(times)] == exactly([10.0, 10.0])


def test_an_unhealthy_zone_is_evicted_slowly_if_large_and_not_at_all_if_small() -> None:
    """55 % of the hosts down: one in 100 s above 50 hosts, none up to 50."""
    assert len(_evictions(6, 10)) <= 2  # those whose wait began before the third host was given up
    times = _evictions(36, 60)
    assert [round(b - a) for a, b in pairwise(times)][-3:] == [100, 100, 100]


def test_three_levels_fail_in_three_ways() -> None:
    """A container comes back in its place; a virtual machine is booted on its machine, 1 + 30 s; those of a dead one elsewhere, 18 + 30 s.

    Both are back before their leases ran out at 40 s or soon after, so that nothing is evicted.
    """
    for what, whom, back_s in [("kill vm", "host-1-vm1", 31.0), ("kill host", "host-1", 48.0)]:
        found = cluster("kubernetes", hosts=3, vms=2, replicas=6, probed=False, machines=True)
        before = found.host("host-1-vm1").machine
        do(found, 60.0, what, whom)
        found.run(400.0)
        assert time_of(found, "booted", "host-1-vm1") == exactly(60.0 + back_s)
        assert (found.host("host-1-vm1").machine is before) == (what == "kill vm")
        died = {e.whom for e in found.log.of("died")}
        assert died == ({"host-1-vm1"} if what == "kill vm" else {"host-1-vm1", "host-1-vm2"})
        assert not list(found.log.of("evicted"))
        assert found.controller.settled("web")
    found = cluster("kubernetes", hosts=3, vms=2, replicas=6, probed=False, machines=True)
    do(found, 60.0, "crash", "web-1")
    found.run(70.0)
    assert not list(found.log.of("died"))
    assert len(list(found.log.of("crashed"))) == 1
