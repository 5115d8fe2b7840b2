"""The way of one request, worked by hand: which charges make one step, and when what wakes somebody is due."""

from __future__ import annotations

from math import inf

import pytest
from ideal import IdealCatalog, Layers, hypervisor, machine, scenario, system, workload

from simvirt.demand import Compute, Demand, DiskRead, Operation, Receive, Send, Syscall, Wake
from simvirt.layers.contract import Place, Resource
from simvirt.layers.hypervisor import Backend
from simvirt.layers.path import Part, plan_path
from simvirt.layers.stack import Stack
from simvirt.scenario import Tenants
from simvirt.simulation import Simulation, TenantOutcome
from simvirt.workloads.arrivals import Trace

MESSAGE = (Receive(messages=1.0, packets=1.0), Wake(count=1.0))


def trace(layers: Layers, *operations: Operation, times: tuple[float, ...], threads: float = 1) -> TenantOutcome:
    """Requests at the given times, until all are done."""
    tenants = Tenants(workload="work", load=Trace(times_s=times))
    described = scenario(tenants, duration_s=1000.0, warm_up_fraction=0.0)
    return Simulation(described, IdealCatalog(layers, workload(*operations, threads=threads)), 0).run().tenants[0]


def parts(outcome: TenantOutcome) -> dict[str, float]:
    """Total seconds by cause, over all requests."""
    return {part.cause: part.seconds * outcome.completed for part in outcome.time_parts if abs(part.seconds) > 1e-12}


def test_neighbours_in_one_context_are_one_step() -> None:
    layers = (machine(), system({"processes.syscall_s": 0.1, "network.receive_s": 0.2, "processes.wake_s": 0.3, "network.send_s": 0.4}))
    path = plan_path(
        Stack(layers), Demand((*MESSAGE, Syscall(count=2.0), Compute(cpu_s=1.0), Syscall(count=1.0), Send(messages=1.0, packets=1.0)))
    )
    wire, interrupt, caller, out = path.steps
    assert (wire.resource, interrupt.context.place, caller.context.place, out.resource) == (
        Resource.NIC_RX, Place.INTERRUPT, Place.CALLER, Resource.NIC_TX,
    )  # fmt: skip
    assert interrupt.fixed.parts == (Part("system", "net_rx", 0.2),)
    assert caller.fixed.parts == (Part("system", "syscall", pytest.approx(0.3)), Part("system", "net_tx", 0.4))
    assert caller.random.parts == (Part("application", "compute", 1.0),)
    assert caller.asleep.parts == (Part("system", "wake_up", 0.3),)
    assert path.cpu_s() == pytest.approx(0.2 + 0.3 + 0.4 + 1.0)
    assert path.cpu_s(factor=3.0) == pytest.approx(0.2 + 0.3 + 0.4 + 3.0)
    assert path.caller_s() == pytest.approx(1.7)


def test_a_notice_alone_is_a_step() -> None:
    """A doorbell that costs, in front of a thread that does all the rest."""
    layers = (machine(), hypervisor({"cpu.exit_s": 0.5, "network.kick_exits": 1.0, "network.send_s": 1.0}), system())
    path = plan_path(Stack(layers), Demand((Send(messages=1.0, packets=1.0),)))
    assert [(s.context.place, s.notify.total, s.fixed.total) for s in path.steps[:2]] == [
        (Place.CALLER, 0.5, 0.0),
        (Place.THREAD, 0.0, 1.0),
    ]
    assert parts(trace(layers, Send(messages=1.0, packets=1.0), times=(1.0,))) == pytest.approx({"kick": 0.5, "backend_tx": 1.0})


def test_threads_are_woken_only_when_they_sleep() -> None:
    """One core, one worker. Receiving takes 1 s in the interrupt, waking 0.5 s, the work 4 s.

    request  arrives  interrupt  worker           wake-up             response
    a        1        1-2        2-7.5, see b     0.5, worker slept   6.5
    b        3        3-4.001    7.5-11.5         none, still awake   8.5
    c        20       20-21      21-25.5          0.5                 5.5

    b's interrupt has weight 1000 against a's worker's 1, so it takes 1.001 s on the core that it shares, and a loses 1 s to it.
    """
    layers = (machine(), system({"network.receive_s": 1.0, "processes.wake_s": 0.5}))
    outcome = trace(layers, *MESSAGE, Compute(cpu_s=4.0), times=(1.0, 3.0, 20.0))
    assert outcome.histogram.mean_s * 3 == pytest.approx(20.5, rel=1e-9)
    found = parts(outcome)
    assert found["wake_up"] == pytest.approx(2 * 0.5)
    assert found["net_rx"] == pytest.approx(3 * 1.0)
    assert found["compute"] == pytest.approx(3 * 4.0)
    assert found["wait for thread"] == pytest.approx(7.5 - 4.001)  # b waits from the end of its interrupt until a is done
    assert found["wait for cpu"] == pytest.approx(1.0 + 0.001)  # a behind b's interrupt, and that behind a


def test_interrupts_of_a_busy_path_are_not_taken_again() -> None:
    """An interrupt costs 2 s on an idle receive path; packets of 1 s that find it busy are polled.

    a arrives at 1: taken 1-3, received 3-4. b arrives at 2, while a is in hand: waits until 4, received 4-5. c at 10: taken again,
    done at 13.
    """
    layers = (machine(), system({"network.receive_s": 1.0, "network.interrupt_s": 2.0}))
    outcome = trace(layers, *MESSAGE, times=(1.0, 2.0, 10.0))
    assert parts(outcome) == pytest.approx({"interrupt": 4.0, "net_rx": 3.0, "wait for interrupts": 2.0})
    assert outcome.histogram.mean_s * 3 == pytest.approx(3.0 + 3.0 + 3.0)


def test_the_doorbell_is_rung_only_for_a_sleeping_backend() -> None:
    """Two cores, two workers, one backend thread. Sending: doorbell 0.5 s if the backend sleeps; it wakes in 0.25 s and works 3 s.

    a sends at 1: doorbell 1-1.5, backend wakes and works 1.5-4.75. b sends at 2: no doorbell, waits 2-4.75, served 4.75-7.75.
    """
    below = {"cpu.exit_s": 0.5, "network.kick_exits": 1.0, "network.backend_wake_s": 0.25, "network.send_s": 3.0}
    layers = (machine(2), hypervisor(below), system())
    outcome = trace(layers, Send(messages=1.0, packets=1.0), times=(1.0, 2.0), threads=2)
    assert parts(outcome) == pytest.approx({"kick": 0.5, "backend_wake": 0.25, "backend_tx": 6.0, "wait for thread": 2.75})
    assert outcome.histogram.mean_s * 2 == pytest.approx(3.75 + 5.75)


@pytest.mark.parametrize(
    ("times", "halts", "response_s"),
    [((1.0,), 1, 1.5), ((1.0, 10.0), 2, 3.0), ((1.0, 2.5), 1, 2.5), ((1.0, 1.5), 1, 1.5 + 2.0)],
    ids=["asleep", "asleep again", "back to back", "queued"],
)
def test_a_virtual_processor_wakes_only_when_halted(times: tuple[float, ...], halts: int, response_s: float) -> None:
    """Waking a halted vCPU costs 0.5 s, work 1 s. A request that comes the moment that the one before ends finds the vCPU running."""
    layers = (machine(), hypervisor({"cpu.wake_s": 0.5}), system())
    outcome = trace(layers, Compute(cpu_s=1.0), times=times)
    assert parts(outcome)["vcpu_wake"] == pytest.approx(0.5 * halts)
    assert outcome.histogram.mean_s * len(times) == pytest.approx(response_s)


def test_a_processor_that_has_just_worked_for_the_request_is_awake() -> None:
    """The guest's interrupt wakes the vCPU (0.5 s); the worker that goes on at once finds it awake."""
    layers = (machine(), hypervisor({"cpu.wake_s": 0.5}), system({"network.receive_s": 1.0}))
    stack = Stack(layers)
    _, interrupt, caller = plan_path(stack, Demand((*MESSAGE, Compute(cpu_s=1.0)))).steps
    assert [amounts.total for _, amounts in interrupt.idle] == [0.5]
    assert (caller.idle, interrupt.may_wake_core) == ((), True)
    assert parts(trace(layers, *MESSAGE, Compute(cpu_s=1.0), times=(1.0,))) == pytest.approx(
        {"vcpu_wake": 0.5, "net_rx": 1.0, "compute": 1.0}
    )


LADDER = {
    "idle.shallow_exit_s": 0.01,
    "idle.medium_residency_s": 2.0,
    "idle.medium_exit_s": 0.1,
    "idle.deep_residency_s": 10.0,
    "idle.deep_exit_s": 1.0,
}


@pytest.mark.parametrize(
    ("times", "exits_s"),
    [((1.0,), 0.01), ((5.0,), 0.1), ((20.0,), 1.0), ((20.0, 22.5), 1.0 + 0.01), ((20.0, 30.0), 1.0 + 0.1), ((20.0, 21.5), 1.0)],
    ids=["shallow", "medium", "deep", "0.5 s later", "8 s later", "while busy"],
)
def test_a_core_leaves_the_idle_state_that_it_has_sunk_into(times: tuple[float, ...], exits_s: float) -> None:
    """Idle since the start, or since the last request was done (1 s of work and the exit from idle before it)."""
    outcome = trace((machine(1, LADDER), system()), Compute(cpu_s=1.0), times=times)
    assert parts(outcome).get("core_wake", 0.0) == pytest.approx(exits_s)
    assert outcome.cpu_s == pytest.approx(len(times) + exits_s)


def test_a_blocked_worker_is_woken_by_the_completion() -> None:
    """Submit 0.1 s, disk 2 s + 0.5 s of bus, completion 0.2 s in the interrupt, waking 0.3 s, then 1 s of work on the same worker."""
    given = {"disk.read_s": 2.0, "disk.read_bytes_per_s": 8.0}
    costs = {"block.submit_s": 0.1, "block.complete_s": 0.2, "processes.wake_s": 0.3}
    outcome = trace((machine(1, given), system(costs)), DiskRead(count=1.0, size_bytes=4.0), Compute(cpu_s=1.0), times=(1.0,))
    assert parts(outcome) == pytest.approx(
        {"block_submit": 0.1, "disk_read": 2.0, "disk_transfer": 0.5, "block_complete": 0.2, "wake_up": 0.3, "compute": 1.0}
    )


def test_a_worker_is_held_while_its_request_is_at_the_disk() -> None:
    """One worker: the second request waits for it, although the core is idle. With a worker per request it waits for nobody."""
    layers = (machine(1, {"disk.read_s": 2.0, "disk.channels": 2.0}), system({"processes.wake_s": 0.5}))
    held = trace(layers, Compute(cpu_s=1.0), DiskRead(count=1.0), times=(1.0, 2.0))
    free = trace(layers, Compute(cpu_s=1.0), DiskRead(count=1.0), times=(1.0, 2.0), threads=inf)
    assert parts(held)["wait for thread"] == pytest.approx(2.5)  # a: 1-2 computes, 2-4 disk, 4-4.5 wakes
    assert "wait for thread" not in parts(free)
    assert free.histogram.mean_s * 2 == pytest.approx(2 * 3.5)


@pytest.mark.parametrize(
    ("below", "exits_s"),
    [((), 0.1), ((Backend.THREAD,), 0.2), ((Backend.SERVICE_VM,), 0.2)],
    ids=["native", "backend thread", "service VM"],
)
def test_what_an_interrupt_wakes_runs_on_its_core(below: tuple[Backend, ...], exits_s: float) -> None:
    """At 5 s every core has been idle for a while, and leaving that state takes 0.1 s; each step works for 1 s.

    Native: the interrupt leaves it, the worker goes on there. In a virtual machine: the machine's interrupt leaves it, and the backend
    (thread or service VM) goes on there; the guest's interrupt, signalled by the backend, leaves it on the core of the guest's
    processor, and the worker goes on there.
    """
    work = {"network.host_receive_s": 1.0, "network.receive_s": 1.0}
    layers = (machine(4, LADDER), *(hypervisor(work, backend=backend) for backend in below), system({"network.receive_s": 1.0}))
    found = parts(trace(layers, *MESSAGE, Compute(cpu_s=1.0), times=(5.0,)))
    assert found["core_wake"] == pytest.approx(exits_s)
    assert sum(found.values()) == pytest.approx(exits_s + (4.0 if below else 2.0))
