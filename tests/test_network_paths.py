"""Batching and paths of the network, worked by hand: moderation, polling, notifications left out, send combining, rounds."""

from __future__ import annotations

from math import exp, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ideal import IdealCatalog, Layers, container, hosted, hypervisor, machine, scenario, system, workload

from simvirt.catalog import Catalog
from simvirt.demand import Compute, Connect, Demand, Operation, Receive, Send, Syscall, Wake, Yield
from simvirt.engine import Engine
from simvirt.errors import ScenarioError
from simvirt.layers.contract import Resource
from simvirt.layers.path import plan_path
from simvirt.layers.stack import Stack
from simvirt.resources.connections import ConnectionTable
from simvirt.resources.moderation import Moderation
from simvirt.resources.stages import TABLE_FULL
from simvirt.scenario import Tenants, load_scenario
from simvirt.simulation import RunOutcome, Simulation, TenantOutcome
from simvirt.workloads.arrivals import Arrivals, ClosedLoop, Deterministic, Poisson, Trace
from simvirt.workloads.client_program import ClientProgram
from simvirt.workloads.distributions import Constant
from simvirt.workloads.sources import ClosedSource

MESSAGE = (Receive(messages=1.0, packets=1.0), Wake(count=1.0))
ANSWER = Send(messages=1.0, packets=1.0)
CATALOG = Catalog.builtin()


def run(layers: Layers, *operations: Operation, load: Arrivals, duration_s: float = 1000.0, vcpus: int = 1, count: int = 1,
        threads: float = 1, peer: str = "network") -> RunOutcome:  # fmt: skip
    tenants = Tenants.model_validate({"workload": "work", "load": load, "vcpus": vcpus, "count": count, "peer": peer})
    described = scenario(tenants, duration_s=duration_s, warm_up_fraction=0.0)
    return Simulation(described, IdealCatalog(layers, workload(*operations, threads=threads)), 0).run()


def trace(layers: Layers, *operations: Operation, times: tuple[float, ...], vcpus: int = 1, peer: str = "network") -> TenantOutcome:
    """Requests at the given times, until all are done."""
    return run(layers, *operations, load=Trace(times_s=times), vcpus=vcpus, peer=peer).tenants[0]


def parts(outcome: TenantOutcome) -> dict[str, float]:
    """Total seconds by cause, over all requests."""
    return {part.cause: part.seconds * outcome.completed for part in outcome.time_parts if abs(part.seconds) > 1e-12}


# --- Interrupt moderation --------------------------------------------------------------------------------------------


def deliveries(arrivals: list[tuple[float, bool]], gap_s: float, frames: float = 0.0) -> tuple[list[tuple[float, float]], Moderation]:
    """When each message came, and when the driver learned of it."""
    engine = Engine()
    card = Moderation(engine, gap_s, frames)
    found: list[tuple[float, float]] = []

    def arrive(i: int) -> None:
        if i + 1 < len(arrivals):
            wakeups[i + 1].at(arrivals[i + 1][0])
        at, polled = arrivals[i]
        card.pass_on(1.0, polled, lambda began: found.append((began, engine.now)), at)

    wakeups = [engine.wakeup(lambda i=i: arrive(i)) for i in range(len(arrivals))]  # type: ignore[misc]
    wakeups[0].at(arrivals[0][0])
    engine.run(until=arrivals[-1][0] + 10 * gap_s + 1.0)
    return found, card


def test_moderation_by_hand() -> None:
    """Gap 10. The first interrupts; 2 and 5 wait until 11; 25 is late enough; 26 to 28 wait until 35 in vain: the third frame ends it."""
    found, card = deliveries([(at, False) for at in (1.0, 2.0, 5.0, 25.0, 26.0, 27.0, 28.0)], 10.0, 3.0)
    assert found == [(1.0, 1.0), (2.0, 11.0), (5.0, 11.0), (25.0, 25.0), (26.0, 28.0), (27.0, 28.0), (28.0, 28.0)]
    assert (card.interrupts, card.packets) == (4, 7)


def test_a_poll_takes_all_that_waits_and_raises_no_interrupt() -> None:
    found, card = deliveries([(1.0, False), (2.0, False), (3.0, True), (4.0, False)], 10.0)
    assert found == [(1.0, 1.0), (2.0, 3.0), (3.0, 3.0), (4.0, 11.0)]
    assert card.interrupts == 2


arrivals_in_turn = st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), min_size=1, max_size=40)


@given(arrivals_in_turn, st.floats(0.01, 5.0), st.sampled_from((0.0, 2.0, 5.0)))
@settings(max_examples=150, deadline=None)
def test_moderation_loses_nothing_keeps_the_order_and_delays_no_longer_than_its_gap(
    gaps: list[tuple[float, bool]], gap_s: float, frames: float
) -> None:
    at, arrivals = 0.0, []
    for gap, polled in gaps:
        at += gap + 1e-6
        arrivals.append((at, polled))
    found, card = deliveries(arrivals, gap_s, frames)
    assert [began for began, _ in found] == [began for began, _ in arrivals]
    assert all(0.0 <= learned - began <= gap_s * (1 + 1e-9) for began, learned in found)
    assert card.packets == len(arrivals)
    assert card.waiting == 0
    assert card.interrupts <= len(arrivals)


def test_moderation_follows_its_closed_form() -> None:
    """Poisson arrivals, x in a gap: x + exp(-x) packets per interrupt; x of them wait for half a gap on the average."""
    rate, gap_s = 1000.0, 0.002
    layers = (machine(given={"nic.interrupt_gap_s": gap_s}), system())
    simulation = Simulation(
        scenario(Tenants(workload="work", load=Poisson(rate_per_s=rate)), duration_s=60.0), IdealCatalog(layers, workload(*MESSAGE)), 0
    )
    outcome = simulation.run().tenants[0]
    queue = simulation.host.moderation
    x = rate * gap_s
    per_interrupt = x + exp(-x)
    assert queue.packets / queue.interrupts == pytest.approx(per_interrupt, rel=0.01)
    assert outcome.histogram.mean_s == pytest.approx(gap_s * x / (2 * per_interrupt), rel=0.015)


def test_without_a_gap_moderation_is_not_there() -> None:
    (wire, *_) = plan_path(Stack((machine(), system({"network.receive_s": 0.1}))), Demand(MESSAGE)).steps
    assert wire.resource is Resource.NIC_RX
    resources = [s.resource for s in plan_path(Stack((machine(given={"nic.interrupt_gap_s": 1.0}), system())), Demand(MESSAGE)).steps]
    assert Resource.MODERATION in resources


def test_waits_for_the_interrupt_are_told_and_parts_add_up() -> None:
    """Frames at 1 and 2, gap 10: the second is told of at 11; each takes 0.25 in the handler."""
    outcome = trace((machine(given={"nic.interrupt_gap_s": 10.0}), system({"network.receive_s": 0.25})), *MESSAGE, times=(1.0, 2.0))
    assert parts(outcome) == pytest.approx({"wait for interrupt": 9.0, "net_rx": 0.5})


def test_one_interrupt_announces_all_that_waited() -> None:
    """Four frames within a gap: the first interrupts alone (1 + 0.5), three go on together and pay one interrupt between them."""
    kernel = system({"network.interrupt_s": 1.0, "network.receive_s": 0.5, "network.receive_queues": 4.0})
    layers = (machine(4, {"nic.interrupt_gap_s": 10.0}), kernel)
    outcome = trace(layers, *MESSAGE, times=(1.0, 3.0, 4.0, 5.0))
    assert parts(outcome)["interrupt"] == pytest.approx(2.0)


# --- Notifications that nobody needs ---------------------------------------------------------------------------------


def test_kicks_and_interrupts_grow_rarer_as_load_grows() -> None:
    """Backend 3 per message. Alone each message kicks (1) and wakes; in a burst of four only the first does."""
    layers = (
        machine(4),
        hypervisor({"cpu.exit_s": 1.0, "network.kick_exits": 1.0, "network.send_s": 3.0, "network.backend_wake_s": 0.5}),
        system(name="guest"),
    )
    alone = parts(trace(layers, ANSWER, times=(10.0, 20.0, 30.0, 40.0)))
    assert alone == pytest.approx({"kick": 4.0, "backend_wake": 2.0, "backend_tx": 12.0})
    # kick 10 to 11, backend 11 to 14.5 to 17.5 to 20.5 to 23.5; those of 11.1, 11.2, 11.3 wait 3.4, 6.3, 9.2
    burst = parts(trace(layers, ANSWER, times=(10.0, 11.1, 11.2, 11.3)))
    assert burst == pytest.approx({"kick": 1.0, "backend_wake": 0.5, "backend_tx": 12.0, "wait for thread": 3.4 + 6.3 + 9.2})


def test_an_emulated_card_makes_its_driver_exit_only_when_it_interrupts() -> None:
    """Five exits of 1 per interrupt; the second frame comes while the handler still works on the first, and interrupts nobody."""
    guest = system({"network.receive_s": 10.0}, name="guest")
    layers = (machine(4), hypervisor({"cpu.exit_s": 1.0, "network.interrupt_exits": 5.0}), guest)
    assert parts(trace(layers, *MESSAGE, times=(1.0, 100.0)))["device_exit"] == pytest.approx(10.0)
    assert parts(trace(layers, *MESSAGE, times=(1.0, 2.0)))["device_exit"] == pytest.approx(5.0)


def test_sends_ride_along_while_the_process_is_at_work() -> None:
    """World switches of 2 for a sleeping process (emulation 4). At 10 the switch; at 13 the process works until 16 and takes both."""
    costs = {"devices.world_switch_s": 1.0, "devices.packet_s": 4.0}
    combining = (machine(2), system(), hosted(costs | {"devices.combined_world_switches": 2.0}), system(name="guest"))
    each = (machine(2), system(), hosted(costs | {"devices.send_world_switches": 2.0}), system(name="guest"))
    assert parts(trace(each, ANSWER, times=(10.0, 13.0)))["world_switch"] == pytest.approx(4.0)
    assert parts(trace(combining, ANSWER, times=(10.0, 13.0)))["world_switch"] == pytest.approx(2.0)
    assert parts(trace(combining, ANSWER, times=(10.0, 20.0)))["world_switch"] == pytest.approx(4.0)


# --- Programs ---------------------------------------------------------------------------------------------------------


def test_an_event_loop_answers_a_round_after_it_has_read_it() -> None:
    """Reading 1, writing 2. Three requests at 1: read until 4, then written by 6, 8, 10; without rounds by 4, 7, 10."""
    bare = (machine(), system({"processes.syscall_s": 1.0}))
    read, write = Syscall(count=1.0), Syscall(count=2.0)
    rounds = trace(bare, read, Yield(count=1.0), write, times=(1.0, 1.0, 1.0))
    assert rounds.histogram.mean_s == pytest.approx((5 + 7 + 9) / 3)
    assert trace(bare, read, write, times=(1.0, 1.0, 1.0)).histogram.mean_s == pytest.approx((3 + 6 + 9) / 3)


def test_a_thread_that_turns_to_nobody_is_still_awake() -> None:
    bare = (machine(), system({"processes.syscall_s": 1.0, "processes.wake_s": 0.5}))
    outcome = trace(bare, *MESSAGE, Syscall(count=1.0), Yield(count=1.0), Syscall(count=1.0), times=(5.0,))
    assert parts(outcome) == pytest.approx({"wake_up": 0.5, "syscall": 2.0})


def test_one_client_program_reads_what_is_ready_before_it_writes() -> None:
    """Answers at 10, 10.5: wake 1, read until 12 and 13, write until 15 and 17."""
    engine = Engine()
    asked: list[float] = []
    program = ClientProgram(receive_s=1.0, send_s=2.0, wake_s=1.0)
    source = ClosedSource(engine, 2, iter([0.0] * 10), asked.append, program=program)
    for at in (10.0, 10.5):
        engine.wakeup(source.completed).at(at)
    engine.run(until=100.0)
    assert asked == [0.0, 0.0, 15.0, 17.0]
    assert source.thread is not None
    assert source.thread.utilization == pytest.approx(7.0 / 100.0)


@pytest.mark.parametrize("clients", [1, 2, 5, 40])
def test_a_client_program_bounds_throughput(clients: int) -> None:
    """Round of one: wake 0.5 + read 1 + write 2 + think 3; a crowd: one request per 3 s, however fast the server."""
    load = ClosedLoop(clients=clients, think=Constant(value=3.0), client=ClientProgram(receive_s=1.0, send_s=2.0, wake_s=0.5))
    outcome = run((machine(), system()), Compute(cpu_s=1e-9), load=load, duration_s=20000.0).tenants[0]
    bound = min(clients / 6.0, 1 / 3.0)
    assert outcome.throughput_per_s <= bound + clients / 20000.0  # the first requests are not written by the program
    if clients in (1, 40):
        assert outcome.throughput_per_s == pytest.approx(1 / 6.5 if clients == 1 else 1 / 3.0, abs=clients / 20000.0)


def test_a_client_program_needs_time() -> None:
    load = {"kind": "closed", "clients": 1, "think": {"kind": "constant", "value": 1}, "client": {"receive_s": 0, "send_s": 0}}
    with pytest.raises(ScenarioError, match=r"tenants\.0\.load\.client.*both 0 s; give one of them a time"):
        load_scenario({"platform": "kvm", "tenants": [{"workload": "web-service", "load": load}]}, CATALOG)


# --- One queue, one processor ----------------------------------------------------------------------------------------


def test_interrupts_of_one_queue_take_their_time_from_the_thread_that_they_wake() -> None:
    """Interrupts of 1, computing of 2. On two processors they overlap: a request per 2 s; with one queue, a request per 3 s."""
    load = ClosedLoop(clients=20, think=Constant(value=0.0))

    def throughput(queues: float, threads: float = 1) -> float:
        guest = system({"network.receive_s": 1.0, "network.receive_queues": queues}, name="guest")
        layers = (machine(4), hypervisor(), guest)
        return run(layers, *MESSAGE, Compute(cpu_s=2.0), load=load, duration_s=3000.0, vcpus=4, threads=threads).tenants[0].throughput_per_s

    assert throughput(2.0) == pytest.approx(1 / 2, rel=0.01)
    assert throughput(1.0) == pytest.approx(1 / 3, rel=0.01)
    assert throughput(1.0, threads=2) == pytest.approx(1.0, rel=0.01)  # two threads have processors of their own


def test_a_processor_that_runs_the_thread_is_not_halted_for_its_interrupts() -> None:
    """The second frame interrupts the running thread: one halt, not two."""
    layers = (machine(4), hypervisor({"cpu.wake_s": 0.25}), system({"network.receive_s": 1.0}, name="guest"))
    outcome = trace(layers, *MESSAGE, Compute(cpu_s=10.0), times=(1.0, 5.0), vcpus=4)
    assert parts(outcome)["vcpu_wake"] == pytest.approx(0.25)


# --- Connections ------------------------------------------------------------------------------------------------------


def test_table_by_hand() -> None:
    engine = Engine()
    table = ConnectionTable(engine, 2, 10.0)
    answers = []
    for at in (1.0, 2.0, 3.0, 11.0, 11.5, 30.0):
        engine.wakeup(lambda: answers.append((table.open(1), table.entries))).at(at)
    engine.run(until=40.0)
    assert answers == [(True, 1), (True, 2), (False, 2), (True, 2), (False, 2), (True, 1)]


def test_connections_beyond_the_table_fail_and_are_counted() -> None:
    """50 entries of 10 s: 5 connections/s are carried of the 20/s that two containers open on one kernel."""
    layers = (
        machine(),
        system({"network.tracked_connections": 50.0, "network.tracking_timeout_s": 10.0}),
        container({"tracked": 1.0}),
    )
    outcome = run(layers, Connect(count=1.0), *MESSAGE, load=Deterministic(rate_per_s=10.0), count=2, duration_s=1000.0)
    for tenant in outcome.tenants:
        assert set(tenant.failed) == {TABLE_FULL}
        assert tenant.arrived == tenant.completed + tenant.failed[TABLE_FULL] + tenant.in_flight_after
    carried = sum(tenant.completed for tenant in outcome.tenants)
    assert carried == pytest.approx(5 * 1000, rel=0.02)
    rows = {(row.entity, row.metric): row.value for row in outcome.rows({})}
    assert rows["tenant/tenant 1", "requests_failed"] == outcome.tenants[0].failed[TABLE_FULL]


def test_every_kernel_has_a_table_of_its_own() -> None:
    """In virtual machines the same two containers have 50 entries each: 10 connections/s in all."""
    guest = system({"network.tracked_connections": 50.0, "network.tracking_timeout_s": 10.0}, name="guest")
    outcome = run((machine(), hypervisor(), guest, container({"tracked": 1.0})), Connect(count=1.0), *MESSAGE,
                  load=Deterministic(rate_per_s=10.0), count=2)  # fmt: skip
    assert sum(tenant.completed for tenant in outcome.tenants) == pytest.approx(10 * 1000, rel=0.02)


def test_a_refused_client_asks_again() -> None:
    layers = (machine(), system({"network.tracked_connections": 1.0, "network.tracking_timeout_s": 100.0}), container({"tracked": 1.0}))
    outcome = run(layers, Connect(count=1.0), load=ClosedLoop(clients=3, think=Constant(value=1.0))).tenants[0]
    assert outcome.arrived == outcome.completed + outcome.failed[TABLE_FULL] + outcome.in_flight_after
    assert outcome.completed == 10


def test_rules_are_read_one_by_one_for_the_first_packet_only() -> None:
    rules = {"connect_s": 0.5, "rules": 100.0, "rule_s": 0.01, "receive_s": 0.125}
    layers = (machine(), system({"network.connect_s": 1.0}), container(rules))
    outcome = trace(layers, Connect(count=1.0), *MESSAGE, times=(1.0,))
    assert parts(outcome) == pytest.approx({"connect": 1.0, "connection_setup": 0.5 + 100 * 0.01, "bridge_rx": 0.125})


# --- Peers on one host ------------------------------------------------------------------------------------------------


def test_peers_on_one_host_leave_the_wire_out() -> None:
    wire = {"nic.packet_rate_per_s": 0.5, "nic.latency_s": 4.0, "nic.interrupt_gap_s": 8.0}
    layers = (machine(given=wire), system({"network.receive_s": 1.0, "network.send_s": 0.5}), container({"receive_s": 0.25}))
    near = run(layers, *MESSAGE, ANSWER, load=Trace(times_s=(1.0, 100.0)), peer="host")
    assert parts(near.tenants[0]) == pytest.approx({"net_rx": 2.0, "bridge_rx": 0.5, "net_tx": 1.0})
    assert near.nic_rx_utilization == near.nic_tx_utilization == 0.0
    far = parts(trace(layers, *MESSAGE, ANSWER, times=(1.0, 100.0)))
    assert far["nic_latency"] == pytest.approx(2 * 8.0)


# --- Published paths --------------------------------------------------------------------------------------------------


def test_the_nearer_the_guest_is_to_the_card_the_less_a_message_costs() -> None:
    demand = Demand((*MESSAGE, ANSWER))
    paths = ("bare-metal", "kvm-passthrough", "kvm", "kvm-qemu-net", "kvm-e1000")
    spent = [plan_path(CATALOG.stack(name, "server-2s"), demand).cpu_s() for name in paths]
    assert spent == sorted(spent)
    assert spent[0] == pytest.approx(spent[1])


def test_idle_table_has_no_bound_unless_it_is_given() -> None:
    assert ConnectionTable(Engine(), 0, 1.0).size == inf
    with pytest.raises(ValueError, match="both at least 0"):
        ConnectionTable(Engine(), -1, 1.0)
    with pytest.raises(ValueError, match="finite and at least 0"):
        Moderation(Engine(), -1.0)
