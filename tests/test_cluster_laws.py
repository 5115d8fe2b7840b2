"""Laws of clusters: requests are conserved, nobody is sent what readiness has taken out, what is wanted comes about."""

from __future__ import annotations

from collections import Counter

import pytest
from cluster_bench import CATALOG, accounts_close, cluster, do, policy, without
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from simvirt.cluster.cluster import Cluster
from simvirt.cluster.description import Balancer, Call, Deployment, HostGroup, Load, Work
from simvirt.cluster.machine import Host, Machine, Replica
from simvirt.cluster.placement import balanced_score, choose, least_allocated_score, most_allocated_score
from simvirt.cluster.policy import Checks, Ejection
from simvirt.engine import Engine
from simvirt.randomness import Streams
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.fluid import FluidScheduler

ORCHESTRATORS = [name for name in CATALOG.names("orchestrators") if "runtime" in CATALOG.orchestrator(name).parts]
FAULTS = ("crash", "hang", "kill sandbox", "kill host", "kill vm", "update", "scale", "drain", "cordon", "uncordon", "boot")
every_orchestrator = pytest.mark.parametrize("orchestrator", ORCHESTRATORS)


def trouble(found: Cluster, seed: int, count: int, until_s: float) -> None:
    """A handful of things that go wrong or are wanted, at times and places of chance."""
    rng = Streams(seed).stream("trouble")
    for _ in range(count):
        what = FAULTS[int(rng.integers(len(FAULTS)))]
        at_s = float(rng.uniform(20.0, until_s))
        whom = f"host-{int(rng.integers(1, 5))}" if what in {"kill host", "kill vm", "drain", "cordon", "uncordon", "boot"} else "web"
        do(found, at_s, what, whom, to=float(rng.integers(1, 7)))


# --- Conservation -----------------------------------------------------------------------------------------------------


@every_orchestrator
@pytest.mark.parametrize("seed", range(4))
def test_every_request_that_was_offered_is_completed_failed_or_in_flight(orchestrator: str, seed: int) -> None:
    checks = CATALOG.orchestrator("haproxy").part(Checks) if seed == 1 else None
    ejection = CATALOG.orchestrator("envoy").part(Ejection) if seed == 2 else None
    hedge_after_s = 0.02 if seed == 3 else float("inf")
    balancer = Balancer(retries=seed % 3, checks=checks, ejection=ejection, hedge_after_s=hedge_after_s, timeout_s=2.0)
    found = cluster(orchestrator, seed=seed, balancer=balancer, rate_per_s=80.0, workers=2, queue_most=50)
    trouble(found, seed, 6, 200.0)
    for until_s in range(20, 261, 20):
        found.run(float(until_s))
        accounts_close(found)
    router = found.routers["web"]
    assert router.completed > 1000
    assert len(router.times_s) == router.completed and len(router.lost_s) == sum(router.failures.values())
    assert min(router.times_s) > 0.0
    assert all(load >= 0 for load in router.load.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_run_is_the_same_to_the_last_entry_with_the_same_seed(seed: int) -> None:
    logs = []
    for _ in range(2):
        found = cluster("kubernetes", seed=seed, rate_per_s=50.0)
        trouble(found, seed, 5, 150.0)
        found.run(200.0)
        logs.append((found.log.entries, found.routers["web"].times_s))
    assert logs[0] == logs[1]


# --- Routing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_no_request_goes_to_a_replica_that_has_not_been_ready_for_longer_than_the_endpoint_delay(seed: int) -> None:
    found = cluster("kubernetes", seed=seed, rate_per_s=100.0)
    endpoints = found.policy.endpoints
    router = found.routers["web"]
    worst = Counter[str]()
    pick = router._pick

    def watched(tried: list[Replica]) -> Replica | None:
        replica = pick(tried)
        if replica is not None and replica.unready_s is not None:
            worst["late"] = max(worst["late"], found.engine.now - replica.unready_s)  # type: ignore[assignment]
        return replica

    router._pick = watched  # type: ignore[method-assign]
    trouble(found, seed + 100, 8, 250.0)
    found.run(400.0)
    assert worst["late"] <= endpoints.watch_s + endpoints.sync_s + 1e-9


@pytest.mark.parametrize("replicas", [2, 4, 8])
def test_what_is_lost_to_a_dead_replica_is_rate_times_time_to_reroute_over_replicas(replicas: int) -> None:
    """Round robin sends one in n to it until the table has changed; every such request times out, nothing else is lost."""
    found = cluster("kubernetes", hosts=replicas, replicas=replicas, probed=False, rate_per_s=200.0)
    do(found, 60.0, "kill host", "host-1")
    found.run(150.0)
    gone_s = found.log.first("not routed", "web-1")
    assert gone_s is not None
    expected = 200.0 * (gone_s - 60.0) / replicas
    lost = found.routers["web"].failures
    assert set(lost) == {"timed out"}
    assert abs(lost["timed out"] - expected) < 4 * expected**0.5 / replicas**0.5 + 2


def test_a_retry_goes_to_another_replica_and_saves_the_request() -> None:
    found = cluster("kubernetes", replicas=3, rate_per_s=100.0, balancer=Balancer(retries=1), probed=False)
    do(found, 60.0, "crash", "web-1")
    found.run(120.0)
    router = found.routers["web"]
    assert not router.failures
    assert router.attempts > router.offered


def test_attempts_at_a_service_without_replicas_fail_at_once() -> None:
    found = cluster("kubernetes", replicas=0, rate_per_s=10.0)
    found.run(30.0)
    assert set(found.routers["web"].failures) == {"no endpoint"}


# --- Desired state ----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.explicit, Phase.generate])
@given(
    seed=st.integers(0, 10_000),
    orchestrator=st.sampled_from(["kubernetes", "swarm"]),
    events=st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(1, 4), st.integers(1, 6), st.floats(20.0, 300.0)), max_size=10),
)
def test_from_any_state_the_wanted_state_comes_about(
    seed: int, orchestrator: str, events: list[tuple[str, int, int, float]]
) -> None:
    """After the last event every host is booted and open. Then: back-off at most 300 s, probes 30 s, grace 30 s, leases 45 s, eviction
    300 s, one update after the other: settled within 1,500 s, with a bounded number of decisions.
    """
    found = cluster(orchestrator, seed=seed, hosts=4, replicas=3)
    for what, host, to, at_s in events:
        of_host = what in {"kill host", "kill vm", "drain", "cordon", "uncordon", "boot"}
        do(found, at_s, what, f"host-{host}" if of_host else "web", to)
    for host in range(1, 5):
        do(found, 301.0, "boot", f"host-{host}")
        do(found, 301.0, "uncordon", f"host-{host}")
    found.run(1801.0)
    assert found.controller.settled("web"), [entry for entry in found.log.entries if entry.time_s > 250.0][-30:]
    there = found.controller.replicas["web"]
    assert all(replica.serving for replica in there.values())
    assert sorted(there) == sorted(name for host in found.hosts for name in host.replicas)
    for host_ in found.hosts:
        assert host_.requested_cores == pytest.approx(sum(one.deployment.cpu_request_cores for one in host_.replicas.values()))
    assert len(found.log.entries) < 2000


def test_a_replica_that_crashes_or_loses_its_host_while_it_is_ended_is_gone_all_the_same() -> None:
    """A hung process has 30 s of grace from 30 s on; it crashes at 35 s, or its host dies and is back before the lease runs out."""
    for what in ("crash", "kill host"):
        found = cluster("kubernetes", replicas=3, probed=False)
        do(found, 25.0, "hang", "web-1")
        do(found, 30.0, "update")
        do(found, 35.0, what, "web-1" if what == "crash" else "host-1")
        do(found, 40.0, "boot", "host-1")
        found.run(58.0)
        assert "web-1" not in found.controller.replicas["web"], what
        found.run(90.0)
        assert found.controller.settled("web"), what


def test_an_update_keeps_within_surge_and_unavailable() -> None:
    """Eight replicas, 25 %: never more than 10, never fewer than 6 that are ready; with readiness and a wait nothing is lost."""
    kubernetes = policy("kubernetes")
    found = cluster(kubernetes, replicas=8, rate_per_s=200.0, start_cpu_s=2.0, pre_stop_s=2.0)
    do(found, 30.0, "update")
    most, least = 0, 99
    for step in range(300):
        found.run(30.0 + 0.5 * (step + 1))
        there = found.controller.replicas["web"].values()
        most = max(most, sum(not replica.leaving for replica in there))
        least = min(least, sum(replica.ready for replica in there))
    assert found.controller.settled("web")
    assert most == 10 and least == 6
    assert not found.routers["web"].failures


def test_an_update_without_a_wait_before_the_end_refuses_requests_while_tables_are_old() -> None:
    found = cluster("kubernetes", replicas=8, rate_per_s=200.0, start_cpu_s=2.0)
    do(found, 30.0, "update")
    found.run(180.0)
    assert found.controller.settled("web")
    assert set(found.routers["web"].failures) == {"refused"}


def test_one_at_a_time_where_nothing_may_be_in_excess_or_missing() -> None:
    found = cluster("swarm", replicas=4, probed=False)
    do(found, 30.0, "update")
    least = 99
    for step in range(100):
        found.run(30.0 + 0.25 * (step + 1))
        least = min(least, found.controller.ready_count("web"))
    assert found.controller.settled("web")
    assert least == 3


def test_a_replica_that_no_host_can_take_waits_until_one_can() -> None:
    found = cluster("kubernetes", hosts=2, replicas=3, spread_by="host", probed=False)
    found.run(10.0)
    assert found.controller.pending["web"] == 1
    do(found, 20.0, "scale", "web", 2)
    found.run(60.0)
    assert found.controller.settled("web")


def test_a_drained_host_is_empty_and_gets_nothing() -> None:
    found = cluster("kubernetes", hosts=3, replicas=6, rate_per_s=50.0, pre_stop_s=2.0)
    do(found, 20.0, "drain", "host-1")
    do(found, 60.0, "scale", "web", 12)
    found.run(120.0)
    assert not found.host("host-1").replicas
    assert found.controller.settled("web")
    assert not found.routers["web"].failures


# --- Placement --------------------------------------------------------------------------------------------------------


def host(name: str, cores: int, memory_bytes: float, pods: int = 110) -> Host:
    machine = Machine(Engine(), name, cores, memory_bytes)
    return Host(name, machine, cores, memory_bytes, pods, "", 1e8, virtual=False)


def asks(cores: float, memory_bytes: float, **more: object) -> Deployment:
    return Deployment(name="a", replicas=1, work=Work(), cpu_request_cores=cores, memory_bytes=memory_bytes, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("requested", "asked", "least", "most", "balanced"),
    [
        ((0, 0), (0, 0), 100, 0, 100),
        ((1, 4e9), (1, 4e9), 50, 50, 100),  # 2 of 4 cores, 8 of 16 GB
        ((0, 0), (4, 0), 50, 50, 50),  # all cores, no memory: deviation of (1, 0) is 0.5
        ((2, 4e9), (1, 0), 50, 50, 75),  # 3/4 and 1/4: deviation 0.25
    ],
)
def test_scores_of_kubernetes(
    requested: tuple[float, float], asked: tuple[float, float], least: float, most: float, balanced: float
) -> None:
    one = host("h", 4, 16e9)
    one.requested_cores, one.requested_bytes = requested
    assert least_allocated_score(one, asks(*asked)) == pytest.approx(least)
    assert most_allocated_score(one, asks(*asked)) == pytest.approx(most)
    assert balanced_score(one, asks(*asked)) == pytest.approx(balanced)


def test_rules_spread_pack_and_take_the_first() -> None:
    hosts = [host("a", 4, 16e9), host("b", 4, 16e9), host("c", 4, 16e9)]
    hosts[1].requested_cores = 2.0
    wanted = asks(1, 1e9)
    assert choose(hosts, wanted, "least-allocated") is hosts[0]
    assert choose(hosts, wanted, "most-allocated") is hosts[1]
    assert choose(hosts, wanted, "first-fit") is hosts[0]
    assert choose(hosts, wanted, "next-fit", 2) is hosts[2]
    assert choose(hosts, asks(3, 1e9), "most-allocated") is hosts[0]
    assert choose(hosts, asks(5, 1e9)) is None
    hosts[0].cordoned = True
    assert choose(hosts, wanted, "first-fit") is hosts[1]
    assert choose([host("d", 4, 16e9, pods=0)], wanted) is None


# --- Bursts that are withdrawn ------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    bursts=st.lists(st.tuples(st.integers(0, 3), st.floats(0.01, 3.0)), min_size=2, max_size=12),
    going=st.sets(st.integers(0, 11)),
    at_s=st.floats(0.001, 2.0),
)
def test_who_stays_is_served_as_if_the_others_had_ended_and_time_is_not_lost(
    bursts: list[tuple[int, float]], going: set[int], at_s: float
) -> None:
    """Work done until then + work done after = what was asked for by those who stay; accounts hold what those who left have had."""
    engine = Engine()
    scheduler = FluidScheduler(engine, 2)
    shares = [Share(), Share(weight=2.0, per_thread=False), Share(cap_cores=0.5), Share(processors=1)]
    groups = [scheduler.group(str(i), share) for i, share in enumerate(shares)]
    done: list[int] = []
    threads = []
    for i, (group, cpu_s) in enumerate(bursts):
        thread = groups[group].thread(str(i))
        thread.run(cpu_s, done.append, i)
        threads.append(thread)
    engine.run(at_s)
    before = set(done)
    had_s = scheduler.account().busy_s
    leave = {i for i in going if i < len(threads)} - before
    for thread in (threads[i] for i in sorted(leave)):
        scheduler.withdraw(thread)
    assert scheduler.account().busy_s == pytest.approx(had_s, abs=1e-9)
    engine.run(100.0)
    assert sorted(done) == [i for i in range(len(bursts)) if i not in leave]
    stay_s = sum(cpu_s for i, (_, cpu_s) in enumerate(bursts) if i not in leave)
    total_s = sum(cpu_s for _, cpu_s in bursts)
    assert stay_s - 1e-9 <= scheduler.account().busy_s <= total_s + 1e-9
    for i in leave:  # a thread that was withdrawn can run again
        threads[i].run(1.0, done.append, i)
    engine.run(200.0)
    assert sorted(done) == list(range(len(bursts)))
    assert stay_s + len(leave) - 1e-6 <= scheduler.account().busy_s


def test_a_thread_that_is_withdrawn_has_had_what_it_has_had() -> None:
    """One of two cores for 0.4 s of 1 s; nobody has asked for the account before."""
    engine = Engine()
    scheduler = FluidScheduler(engine, 2)
    thread = scheduler.thread("a")
    thread.run(1.0, lambda _: None, None)
    engine.run(0.4)
    assert scheduler.withdraw(thread) == pytest.approx(0.6)
    engine.run(3.0)
    assert scheduler.account().busy_s == pytest.approx(0.4)


# --- Queues -----------------------------------------------------------------------------------------------------------


def test_one_worker_is_an_m_m_1_queue_and_many_share_the_processor() -> None:
    """Load 0.5 on one core: mean response 1 / (mu - lambda) = 0.02 s for both, as work is exponential."""
    for workers in (1, 0):
        found = cluster(
            "docker-alone", hosts=1, replicas=1, probed=False, rate_per_s=50.0, workers=workers, cpu_limit_cores=1.0,
            work=Work(kind="exponential", mean_s=0.01), balancer=Balancer(timeout_s=100.0), seed=3,
        )  # fmt: skip
        found.run(4000.0)
        times = found.routers["web"].times_s
        assert len(times) > 190_000
        assert sum(times) / len(times) == pytest.approx(0.02, rel=0.02)


# --- The tail at scale --------------------------------------------------------------------------------------------------


def leaves(count: int, work: Work, balancer: Balancer, fan_out: int, rate_per_s: float, seed: int = 1, **leaf: object) -> Cluster:
    docker = policy("docker-alone")
    root = Deployment(name="root", replicas=1, work=Work(kind="constant", mean_s=1e-6), calls=(Call(to="leaf", count=fan_out),))
    deployment = Deployment(name="leaf", replicas=count, work=work, **leaf)  # type: ignore[arg-type]
    found = Cluster(
        policy=docker, hosts=[HostGroup(name="host", count=1, cores=4000, memory_bytes=1e15, pods=10_000)], deployments=[root, deployment],
        balancers={"root": Balancer(timeout_s=100.0), "leaf": balancer}, streams=Streams(seed),
    )  # fmt: skip
    found.load(Load(to="root", rate_per_s=rate_per_s), "root")
    return found


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[int(q * len(values))]


def test_one_leaf_in_100_that_is_slow_makes_63_per_cent_of_requests_slow_at_fan_out_100() -> None:
    """1 - 0.99^100 = 0.63397 (Dean and Barroso 2013). 2,000 requests: ± 4 standard errors of 1.1 %."""
    assert pytest.approx(0.634, abs=5e-5) == 1.0 - 0.99**100
    slow = Work(kind="quantiles", quantiles=((0.0, 0.010), (0.99, 0.0100001), (0.99 + 1e-9, 1.0), (0.999999, 1.0000001)))
    found = leaves(10, slow, Balancer(timeout_s=100.0), 100, 20.0)
    found.run(100.0)
    times = found.routers["root"].times_s
    share = sum(time > 0.9 for time in times) / len(times)
    expected = 1.0 - 0.99**100
    assert abs(share - expected) < 4 * (expected * (1 - expected) / len(times)) ** 0.5
    assert len(times) > 1800


def test_hedging_cuts_the_tail_by_the_published_order_for_two_per_cent_more_load() -> None:
    """Published: 1,800 ms to 74 ms at the 99.9th percentile of reads from 100 servers, hedged after 10 ms, for 2 % more requests.

    The undisturbed rows set the leaf: 2 % above 10 ms (that is the 2 %), and the tail that gives 1,800 ms without hedging: a root of 100
    leaves exceeds 1,800 ms once in 1,000 if a leaf does once in 100,000. Median and 95th percentile are those of the paper's Table 1, one
    leaf. Hedged, two independent leaves must be slow: exceeded 1e-5 = S(t) S(t - 10 ms) gives 43 ms by hand; the published 74 ms tells of
    slowness that is not independent.
    """
    work = Work(kind="quantiles", quantiles=((0.0, 0.0002), (0.5, 0.001), (0.95, 0.005), (0.98, 0.010), (0.99999, 1.8), (0.9999999, 2.0)))
    runs = {}
    for name, balancer in {"plain": Balancer(timeout_s=100.0), "hedged": Balancer(timeout_s=100.0, hedge_after_s=0.010)}.items():
        found = leaves(100, work, balancer, 100, 50.0)
        found.run(100.0)
        runs[name] = found
    extra = runs["hedged"].routers["leaf"].attempts / runs["hedged"].routers["leaf"].offered - 1.0
    assert extra == pytest.approx(0.02, abs=0.001)
    plain, hedged = (quantile(runs[name].routers["root"].times_s, 0.999) for name in ("plain", "hedged"))
    assert 0.9 < plain <= 2.0
    assert 0.030 < hedged < 0.060
    assert 1800 / 74 / 3 < plain / hedged < 1800 / 74 * 3  # the published order


def test_tied_requests_cut_the_tail_for_hardly_more_work() -> None:
    """Two copies in the queues of two servers; the first to begin has the other taken back. Published: -37 % at the 99th percentile."""
    work = Work(kind="exponential", mean_s=0.010)
    runs = {}
    for name, balancer in {
        "plain": Balancer(pick="random", timeout_s=100.0),
        "tied": Balancer(pick="random", timeout_s=100.0, tied_after_s=0.001, tie_s=0.0005),
    }.items():
        found = leaves(10, work, balancer, 1, 500.0, workers=1, cpu_limit_cores=1.0)
        found.run(200.0)
        accounts_close(found)
        busy_s = sum(replica.seat.group.account().busy_s for replica in found.controller.replicas["leaf"].values() if replica.seat)
        runs[name] = (quantile(found.routers["root"].times_s, 0.99), busy_s)
    (plain, work_s), (tied, tied_work_s) = runs["plain"], runs["tied"]
    assert plain == pytest.approx(0.020 * 4.605, rel=0.08)  # M/M/1 at load 0.5: exponential with mean 20 ms
    assert 0.25 < 1.0 - tied / plain < 0.60
    assert tied_work_s / work_s - 1.0 < 0.06


# --- Probes compete for CPU ---------------------------------------------------------------------------------------------


def test_throttling_makes_a_healthy_container_fail_its_probe() -> None:
    """Load 1.5 times its limit: the probe shares a tenth of a core with ever more requests until an answer takes more than a second."""
    kubernetes = without(policy("kubernetes"), endpoints={"sync_s": 1.0})
    for limit, fails in [(0.1, True), (1.0, False)]:
        found = cluster(kubernetes, hosts=1, replicas=1, cpu_limit_cores=limit, rate_per_s=30.0, balancer=Balancer(timeout_s=30.0))
        found.run(120.0)
        assert bool(list(found.log.of("unhealthy"))) == fails
        assert bool(list(found.log.of("started", since_s=1.0))) == fails


# --- Published ----------------------------------------------------------------------------------------------------------


def test_outages_of_vayghan_2018() -> None:
    """Kubernetes 1.8 through Docker, one replica, no probes (IEEE CLOUD 2018): container killed 1.766 s, pause container killed 32.019 s.

    Outage: from the failure to the first moment at which requests are answered again. Means over failure times; nothing is fitted to
    these rows.
    """
    outages = {}
    for what in ("crash", "kill sandbox"):
        times = []
        for seed in range(40):
            found = cluster("kubernetes-docker", replicas=1, probed=False, on_term="ignore", seed=seed)
            at_s = 30.0 + seed / 40.0
            do(found, at_s, what, "web-1")
            found.run(90.0)
            listens = found.log.first("listens", "web-1", 1.0)
            assert listens is not None
            times.append(listens - at_s)
        outages[what] = sum(times) / len(times)
    assert abs(outages["crash"] - 1.766) < 0.5
    assert abs(outages["kill sandbox"] / 32.019 - 1.0) < 0.10
    assert outages["crash"] == pytest.approx(0.5 + 1.193, abs=0.15)


# --- Evidence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CATALOG.names("orchestrators"))
def test_every_number_of_every_orchestrator_has_evidence(name: str) -> None:
    profile = CATALOG.orchestrator(name)
    assert profile.summary and profile.costs
    for path, cost in profile.costs.items():
        assert cost.source in CATALOG.references, path
        assert cost.low <= cost.value <= cost.high, path
