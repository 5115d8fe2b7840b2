"""What scenarios say of processors, quotas, sets of cores, pins and reservations is taken as meant, or refused with a way out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.catalog import Catalog
from simvirt.cpu_limits import CpuLimits, cores_of, free_cores, ranges, too_many
from simvirt.engine import Engine
from simvirt.errors import ScenarioError
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.resources.cpu.scheduling import make_scheduler
from simvirt.scenario import Scenario, check_scenario, load_scenario
from simvirt.scheduler_choice import schedulers_on
from simvirt.simulation import RunOutcome, simulate
from simvirt.simulation.run import Simulation
from simvirt.tenant_place import place_of

CATALOG = Catalog.builtin()
BY_RULES = 'choose a scheduler by rules, such as scheduler = "platform"'
HOG = {"kind": "closed", "clients": 1, "think": {"kind": "constant", "value": 0.0}}


def document(platform: str = "docker", *, scheduler: str = "cfs", more: Any = (), **tenant: Any) -> dict[str, Any]:
    """A batch job on a machine of eight cores."""
    plain = {"name": "job", "workload": "batch-compute", "load": HOG}
    return {
        "platform": platform,
        "machine": "small-server",
        "scheduler": scheduler,
        "tenants": [plain | tenant, *({"name": f"job {i}"} | {**plain, **one, "name": f"other{i}"} for i, one in enumerate(more))],
        "run": {"duration_s": 2.0, "warm_up_fraction": 0.0, "replications": 1},
    }


def refusal(source: dict[str, Any]) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        load_scenario(source, CATALOG)
    return sorted(error.value.problems)


def run(source: dict[str, Any]) -> RunOutcome:
    return simulate(load_scenario(source, CATALOG), CATALOG)


def counters(outcome: RunOutcome, instance: str) -> dict[str, float]:
    return dict(next(one.counters for one in outcome.instances if one.name == instance))


# ---- lists of cores ----


@pytest.mark.parametrize(
    ("text", "cores"), [("0", (0,)), ("0-3,7", (0, 1, 2, 3, 7)), (" 2 , 0 - 1 ", (0, 1, 2)), ("1,1-2", (1, 2)), ("5-5", (5,))]
)
def test_lists_of_cores_are_read_as_a_kernel_reads_them(text: str, cores: tuple[int, ...]) -> None:
    assert cores_of(text) == cores


@pytest.mark.parametrize("text", ["", ",", "3-1", "a", "-1", "0--2", "0;1", "1.5", "0-3,"])
def test_what_is_no_list_of_cores_is_refused(text: str) -> None:
    (problem,) = refusal(document(cpuset=text))
    assert problem.startswith("tenants.0.cpuset: ") and "such as '0-3,7'" in problem and repr(text) in problem


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_list_of_cores_says_the_same_when_read_again(cores: set[int]) -> None:
    assert cores_of(ranges(cores)) == tuple(sorted(cores))


# ---- refused, with a way out ----

FOUR_WRONG = ["tenants.0.cpu_max.burst", "tenants.0.cpu_max.period", "tenants.0.cpu_max.quota", "tenants.0.cpuset"]


def test_mistakes_of_form_are_told_together() -> None:
    wrong = {"quota": "0.5 ms", "period": "2 s", "burst": "-1 ms"}
    found = refusal(document(cpu_max=wrong, cpuset="x"))
    assert [problem.partition(":")[0] for problem in found] == FOUR_WRONG
    assert "at least 0.001" in found[2] and "at most 1" in found[1]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (document(cpu_max={"quota": 0.05, "burst": 0.06}), "tenants.0.cpu_max: burst of 0.06 s with a quota of 0.05 s; at most the quota"),
        (document(cpu_max={"quota": 0.05}, cap_cores=1), "tenants.0.cpu_max: beside cap_cores = 1; both limit the same, keep one"),
        (document(cpu_max={"quota": 0.9}), "tenants.0.cpu_max.quota: 0.9 s per period of 0.1 s on 8 cores; at most 0.8 s"),
        (
            document("kvm", cpu_max={"quota": 0.3}, vcpus=2),
            "tenants.0.cpu_max.quota: 0.3 s per period of 0.1 s on 2 cores; at most 0.2 s",
        ),
        (document(cpuset="7-9,12"), "tenants.0.cpuset: 8-9,12 out of 8 cores; use some of 0-7"),
        (document(cpuset="0", pin_vcpus=True), "tenants.0.pin_vcpus: no virtual machine stands for a tenant here; use cpuset"),
        (document("kvm", vcpus=2, pin_vcpus=[0]), "tenants.0.pin_vcpus: 1 core for 2 virtual processors; name one for each"),
        (document("kvm", vcpus=2, pin_vcpus=[3, 3]), "tenants.0.pin_vcpus: 3, 3; name each core once, or use cpuset"),
        (document("kvm", vcpus=2, pin_vcpus=[3, 8]), "tenants.0.pin_vcpus: 8 out of 8 cores; use some of 0-7"),
        (
            document("kvm", vcpus=3, count=3, pin_vcpus=True),
            "tenants: 9 virtual processors with pin_vcpus = true on a machine with 8 cores; at most 8, use cpuset",
        ),
        (
            document("kvm", vcpus=2, count=2, per_vm=2, cpuset="2"),
            "tenants.0.cpuset: 2 out of 2 virtual processors; use some of 0-1",
        ),
        (
            document(reservation_cores=0.5),
            "tenants.0.reservation_cores: 'cfs' has no reservations; use weight, or a platform that has them",
        ),
        (
            document("xen-hvm", scheduler="platform", cpu_max={"quota": 0.05}),
            "tenants.0.cpu_max: 'credit' on 'xen-hvm' has no period for each group; use cap_cores = 0.5",
        ),
        (
            document(scheduler="fluid", cpu_max={"quota": 0.05}),
            f"tenants.0.cpu_max: fluid sharing has no periods; use cap_cores = 0.5, or {BY_RULES}",
        ),
        (
            document("kvm", scheduler="fluid", pin_vcpus=True),
            f"tenants.0.pin_vcpus: fluid sharing does not tell cores apart; {BY_RULES}",
        ),
        (
            document() | {"override": {"cfs.hz": 128}},
            "override.cfs.hz: 128 Hz; a kernel is built with one of 100, 250, 300, 1000",
        ),
        (
            document("kvm", scheduler="platform") | {"guest_scheduler": "fluid"},
            "guest_scheduler: 'fluid' in virtual machines on 'cfs'; fluid sharing and rules do not mix, choose both fluid or both by rules",
        ),
        (
            document("esxi", scheduler="platform") | {"override": {"credit.hz": 100}},
            "override.credit.hz: this scenario's scheduler is esxi-shares and cfs; choose the other by `scheduler`, or remove this",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_path_value_bound_and_way_out(source: dict[str, Any], problem: str) -> None:
    assert problem in refusal(source)


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    limits = {"cpu_max": {"quota": "900 ms"}, "cap_cores": 2, "cpuset": "9", "pin_vcpus": [1], "reservation_cores": 9, "vcpus": 2}
    found = refusal(document("kvm", scheduler="fluid", **limits) | {"override": {"cfs.hz": 5}})
    places = [problem.partition(":")[0] for problem in found]
    assert places == [
        "override.cfs.hz", "tenants.0.cpu_max.quota", *["tenants.0.cpu_max"] * 2, *["tenants.0.cpuset"] * 3,
        *["tenants.0.pin_vcpus"] * 2, *["tenants.0.reservation_cores"] * 2, "tenants",
    ]  # fmt: skip


def test_reservations_are_for_rules_that_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a tenant can use, no more in all than there are cores."""
    monkeypatch.setattr(CompletelyFair, "has_reservations", True)
    load_scenario(document("kvm", vcpus=2, count=4, reservation_cores=2), CATALOG)
    assert refusal(document("kvm", vcpus=2, count=4, reservation_cores=2.5)) == [
        "tenants.0.reservation_cores: 2.5 for a tenant that can use 2; at most 2",
        "tenants: reservation_cores of 10 in all on a machine with 8 cores; at most 8",
    ]
    simulation = Simulation(load_scenario(document("kvm", vcpus=2, reservation_cores=2), CATALOG), CATALOG)
    assert simulation.tree.root.children[0].children[0].group.share.reservation_cores == 2.0


# ---- schedulers by level ----


@pytest.mark.parametrize(
    ("platform", "scheduler", "guests", "expected"),
    [
        ("docker", "platform", None, ["cfs"]),
        ("kvm-in-kvm", "platform", None, ["cfs", "cfs", "cfs"]),
        ("docker-in-esxi", "platform", None, ["esxi-shares", "cfs"]),
        ("xen-hvm", "platform", "eevdf", ["credit", "eevdf"]),
        ("hyper-v", "credit2", "platform", ["credit2", "cfs"]),
        ("virtualbox", "eevdf", None, ["eevdf", "eevdf"]),
    ],
)
def test_each_kernel_has_its_scheduler(platform: str, scheduler: str, guests: str | None, expected: list[str]) -> None:
    assert list(schedulers_on(CATALOG.stack(platform), scheduler, guests).values()) == expected


@pytest.mark.parametrize("platform", CATALOG.names("platforms"))
def test_every_platform_runs_under_its_own_schedulers(platform: str) -> None:
    """Each of them is a profile with rules."""
    source = document(platform, scheduler="platform") | {"run": {"duration_s": 2.0, "replications": 1}}
    source.pop("machine")
    names = schedulers_on(CATALOG.stack(platform), "platform", None).values()
    assert all(CATALOG.scheduling(name).rules is not None for name in names)
    assert run(source).tenants[0].completed > 0


def test_nested_machines_follow_the_rules_of_their_own_kernels() -> None:
    """Three levels with three schedulers: who schedules what is read off the running domains."""
    source = document("kvm-in-kvm", scheduler="credit2", vcpus=2) | {"guest_scheduler": "eevdf"}
    simulation = Simulation(load_scenario(source, CATALOG), CATALOG)
    scheduler = simulation.host.scheduler
    assert isinstance(scheduler, DiscreteScheduler)
    rules = {group.name: type(group._domain.rules).__name__ for group in scheduler.walk() if group._vcpus or group is scheduler}
    assert rules == {
        "root": "Credit2",
        "kvm L2 of job": "EarliestEligibleDeadline",
        "linux-guest of job": "EarliestEligibleDeadline",
    }
    own = Simulation(load_scenario(document("docker-in-esxi", scheduler="platform"), CATALOG), CATALOG).host.scheduler
    assert isinstance(own, DiscreteScheduler)
    found = [type(group._domain.rules).__name__ for group in own.walk() if group._vcpus or group is own]
    assert found == ["ProportionalShare", "CompletelyFair"]


@pytest.mark.parametrize(
    ("platform", "per_vm", "kernel", "on_cores", "is_vm"),
    [
        ("bare-metal", 1, "linux", True, False),
        ("docker", 1, "linux", True, False),
        ("kvm", 1, "kvm", True, True),
        ("kvm", 2, "linux-guest", False, False),
        ("docker-in-kvm", 1, "kvm", True, True),
        ("docker-in-kvm", 3, "linux-guest", False, False),
        ("virtualbox", 1, "desktop-linux", True, True),
        ("kvm-in-kvm", 1, "kvm", True, True),
        ("gvisor", 1, "linux", True, False),
    ],
)
def test_a_tenants_share_is_given_by_the_kernel_below_what_is_its_alone(
    platform: str, per_vm: int, kernel: str, on_cores: bool, is_vm: bool
) -> None:
    """The same thing that the running tree gives the share to."""
    described, stack = CATALOG.platform(platform), CATALOG.stack(platform)
    place = place_of(stack, 1 + described.layers.index(described.shared), per_vm)
    assert (place.kernel, place.on_cores, place.is_vm) == (kernel, on_cores, is_vm)
    source = document(platform, weight=7.0, count=per_vm, per_vm=per_vm)
    source.pop("machine")
    scheduler = Simulation(load_scenario(source, CATALOG), CATALOG).host.scheduler
    assert isinstance(scheduler, DiscreteScheduler)
    (group, *_) = [group for group in scheduler.walk() if group.share.weight == 7.0]
    assert bool(group._vcpus) is is_vm
    above = group._parent
    assert above is not None
    assert (above._domain is scheduler._domain) is on_cores


# ---- taken as meant ----


def test_a_quota_lets_so_much_run_per_period() -> None:
    """20 ms in each 50 ms: two fifths of a core, throttled in every period, while the same cap with the default period is throttled half as
    often.
    """
    short = run(document(cpu_max={"quota": "20 ms", "period": "50 ms"}))
    found = counters(short, "docker of job")
    assert short.instances[0].name == "docker of job"
    assert short.instances[0].busy_s == pytest.approx(0.8, abs=0.01)
    assert (found["nr_periods"], found["nr_throttled"]) == (39, 39)  # the one that ends with the run is not counted
    assert found["throttled_usec"] == pytest.approx(39 * 30e3, rel=0.03)
    long = counters(run(document(cap_cores=0.4)), "docker of job")
    assert (long["nr_periods"], long["nr_throttled"]) == (19, 19)


def test_counters_belong_to_processes_too() -> None:
    """Without a container: the tenant's processes are a group with a quota of their own."""
    found = counters(run(document("bare-metal", cpu_max={"quota": "50 ms"})), "processes of job")
    assert (found["nr_periods"], found["nr_throttled"]) == (19, 19)


def test_fluid_sharing_has_no_counters() -> None:
    outcome = run(document(scheduler="fluid"))
    assert all(instance.counters == () for instance in outcome.instances)
    assert outcome.decisions is None


def test_a_burst_carries_unused_quota_over() -> None:
    """A job of 60 ms every 200 ms with 40 ms per 100 ms: with a burst of 20 ms it is never throttled, without it in every second period."""
    load = {"kind": "deterministic", "rate_per_s": 5.0}
    override = {"batch-compute.job.compute.cpu_s": "58 ms"}
    throttled = []
    for burst in (0.0, 0.03):
        source = document(load=load, cpu_max={"quota": 0.04, "burst": burst}) | {"override": override}
        throttled.append(counters(run(source), "docker of job")["nr_throttled"])
    assert throttled[0] >= 8
    assert throttled[1] <= 1  # the first period has nothing saved yet


def test_tenants_on_one_core_share_it_and_leave_the_others() -> None:
    """Eight cores, three jobs: two on core 3, one anywhere but there."""
    source = document(cpuset="3", count=2, more=[{"cpuset": "0-2,4-7"}])
    busy = {instance.name: instance.busy_s for instance in run(source).instances}
    assert busy["docker of job 1"] == pytest.approx(1.0, abs=0.02)
    assert busy["docker of job 2"] == pytest.approx(1.0, abs=0.02)
    assert busy["docker of other0"] == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(("pins", "ready"), [(True, 0.0), ([5, 6], 2.0)])
def test_pinned_virtual_processors_stay(pins: Any, ready: float) -> None:
    """Two machines with two busy vCPUs each on eight cores: on cores of their own nobody waits; on the same two, each waits half of 2 s."""
    load = {"kind": "closed", "clients": 2, "think": {"kind": "constant", "value": 0.0}}
    outcome = run(document("kvm", scheduler="platform", vcpus=2, count=2, pin_vcpus=pins, load=load))
    for i in (1, 2):
        assert counters(outcome, f"linux-guest of job {i}")["vcpu_ready_s"] == pytest.approx(ready, abs=0.03)


def test_ready_time_is_told_as_hypervisors_tell_it() -> None:
    """Two vCPUs that wait half of the time each: %RDY of the machine is 100."""
    load = {"kind": "closed", "clients": 2, "think": {"kind": "constant", "value": 0.0}}
    found = counters(run(document("esxi", scheduler="platform", vcpus=2, count=2, pin_vcpus=[5, 6], load=load)), "linux-guest of job 1")
    assert found["vcpu_ready_share"] == pytest.approx(1.0, abs=0.03)
    assert found["vcpu_ready_share"] == pytest.approx(found["vcpu_ready_s"] / 2.0)


def test_decisions_per_request_are_counted() -> None:
    """Jobs that come one by one: the guest chooses the thread and the machine the vCPU, and each chooses nothing when it sleeps: 4.

    A job whose next one is there already goes on: one choice each, at the start.
    """
    apart = run(document("kvm", scheduler="platform", load={"kind": "deterministic", "rate_per_s": 4.0}))
    assert apart.tenants[0].completed == 7
    assert apart.decisions_per_request == 4.0
    assert run(document("kvm", scheduler="platform")).decisions == 2


def test_the_ticks_of_a_kernel_may_be_chosen() -> None:
    check_scenario(Scenario.model_validate(document() | {"override": {"cfs.hz": 300}}), CATALOG)


def test_a_group_follows_the_rules_of_the_kernel_that_its_share_names() -> None:
    """Three kernels with three schedulers; who names none, or one that is not known, follows the last."""
    by_kernel = {name: CATALOG.scheduling(name) for name in ("credit", "eevdf", "cfs")}
    scheduler = make_scheduler(Engine(), 2, by_kernel)
    assert isinstance(scheduler, DiscreteScheduler)
    found = [scheduler.group(kernel, Share(processors=1, kernel=kernel))._domain.rules for kernel in ("eevdf", "cfs", "", "other")]
    assert [type(rules).__name__ for rules in (scheduler._domain.rules, *found)] == [
        "Credit", "EarliestEligibleDeadline", "CompletelyFair", "CompletelyFair", "CompletelyFair",
    ]  # fmt: skip


def test_free_cores_for_pinned_processors_are_those_that_nobody_names() -> None:
    named, first, second = (CpuLimits(vcpus=2, pin_vcpus=pins) for pins in ((0, 2), True, True))
    free = free_cores((named, first, second), 6)
    assert free == [1, 3, 4, 5]
    assert [group.share(0, free).pins for group in (named, first)] == [(0, 2), (1, 3)]
    assert list(too_many((named, first, second), 6)) == []
    (said,) = too_many((named, first, second), 5)
    assert said.endswith("on a machine with 5 cores, 2 of them named by others; at most 3, use cpuset")
