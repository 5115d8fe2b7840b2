"""Stacks: what fits on what and why not, whose scheduler decides, and one demand folded by hand."""

from __future__ import annotations

import pytest
from ideal import OS, container, hosted, hypervisor, ideal, machine, sandbox, system, tally

from simvirt.demand import Compute, Demand, Interface, Receive, Syscall, Wake
from simvirt.errors import StackError
from simvirt.layers.contract import CALLER, AbstractLayer, Context, Place
from simvirt.layers.hypervisor import Hypervisor
from simvirt.layers.stack import Processors, Stack, misfit

ARM = Interface("machine", "arm64")
WINDOWS = Interface("os", "windows")


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ((), "the lowest layer must be hardware"),
        ((system(),), "the lowest layer must be hardware"),
        ((machine(), machine()), "hardware stands on nothing"),
        ((machine(), hosted()), "it requires os:linux and is offered machine:x86_64; put an operating system between them"),
        ((machine(), system(), hypervisor()), "it wants a bare machine; use a hosted hypervisor"),
        ((machine(), container()), "put an operating system between them"),
    ],
    ids=["nothing", "no hardware", "hardware on hardware", "hosted on metal", "type 1 on a system", "container on metal"],
)
def test_what_does_not_fit_is_refused(layers: tuple[AbstractLayer, ...], reason: str) -> None:
    with pytest.raises(StackError) as error:
        Stack(layers)
    assert reason in str(error.value)


def test_every_misfit_is_told_at_once() -> None:
    with pytest.raises(StackError) as error:
        Stack((machine(), container(name="box"), hypervisor(name="vmm")))
    assert len(error.value.problems) == 2
    assert "'box' cannot stand on 'machine'" in error.value.problems[0]
    assert "'vmm' cannot stand on 'box'" in error.value.problems[1]


def test_another_instruction_set_needs_an_emulator() -> None:
    emulated = ideal(Hypervisor, "vmm", requires=ARM, provides=ARM)
    assert misfit(emulated, machine().provides) == (
        "it requires machine:arm64 and is offered machine:x86_64; another instruction set needs an emulator below it"
    )


def test_another_system_needs_a_virtual_machine() -> None:
    assert misfit(container(), WINDOWS) == "it requires os:linux and is offered os:windows; it needs a virtual machine with that system"
    assert misfit(container(), OS) == ""


THREAD = Context(Place.THREAD, "thread", 1)
SERVICE = Context(Place.SERVICE_VM, "service", 1)


def test_who_schedules_whom() -> None:
    vm = Stack((machine(), hypervisor(), system(), container()))
    on_host = Stack((machine(), system(name="host"), hosted(), system()))
    deep = Stack((machine(), hypervisor(name="outer"), hypervisor(name="inner"), system(), container(), sandbox()))
    assert (vm.kernel_level(3), vm.scheduled_by(CALLER), vm.scheduled_by(THREAD)) == (2, 2, 1)
    assert vm.processors(CALLER) == (Processors(1),)
    assert vm.processors(Context(Place.INTERRUPT, level=2)) == (Processors(1),)
    assert vm.processors(THREAD) == ()  # a thread of the hypervisor runs on real cores
    assert vm.processors(SERVICE) == (Processors(1, "service"),)
    assert (on_host.scheduled_by(CALLER), on_host.processors(CALLER)) == (3, (Processors(2),))
    assert on_host.scheduled_by(Context(Place.THREAD, "io", 2)) == 1  # the process of a hosted hypervisor is the host's
    assert deep.processors(CALLER) == (Processors(1), Processors(2))
    assert deep.scheduled_by(Context(Place.THREAD, "thread", 2)) == 2
    assert deep.processors(Context(Place.THREAD, "thread", 2)) == (Processors(1),)
    assert Stack((machine(),)).kernel_level(0) == 0


def test_fold_by_hand() -> None:
    """A guest with ticks on a hypervisor whose exits cost; a core twice as fast as the reference.

    compute 4 s -> 2 s on this host. Guest: 2 s * 10 ticks/s = 20 ticks of 0.01 s = 0.2 s, 20 interrupts and 20 privileged operations.
    Hypervisor:
    20 * 0.001 s for the privileged operations; 20 * 2 exits * 0.001 s for the interrupts; emulation (1.5 - 1) * (2 + 0.2) s, as ticks are
    instructions too; its own exits run on the machine and are not emulated.
    syscall 3 * 0.1 s in the guest, 0.5 s of kernel work / 2; both emulated: 0.5 * (0.3 + 0.25); 3 entries * 0.02 s.
    """
    guest = {"processes.tick_hz": 10.0, "processes.tick_s": 0.01, "processes.syscall_s": 0.1}
    below = {"cpu.exit_s": 0.001, "cpu.interrupt_exits": 2.0, "cpu.integer_factor": 1.5, "cpu.kernel_entry_s": 0.02}
    stack = Stack((machine(1, {"core_speed": 2.0}), hypervisor(below), system(guest, "guest")))
    found = tally(stack.fold(Demand((Compute(cpu_s=4.0), Syscall(count=3.0, kernel_s=0.5)))))
    assert {(key[0], key[1]): amount for key, amount in found.items() if amount} == pytest.approx(
        {
            ("application", "compute"): 2.0,
            ("guest", "timer_tick"): 0.2,
            ("guest", "syscall"): 0.3,
            ("guest", "kernel_work"): 0.25,
            ("hypervisor", "vm_exit"): 0.02,
            ("hypervisor", "interrupt_exit"): 0.04,
            ("hypervisor", "emulation"): 0.5 * 2.2 + 0.5 * 0.55,
            ("hypervisor", "kernel_entry"): 0.06,
        },
        rel=1e-12,
    )


def test_exits_multiply_under_nesting() -> None:
    """The inner hypervisor executes 10 privileged operations per exit, each of which is an exit of the outer one. An exit takes 1 s."""
    exits = {"cpu.exit_s": 1.0, "cpu.exit_privileged": 10.0, "cpu.interrupt_exits": 1.0}
    nested = Stack((machine(), hypervisor(exits, "outer"), hypervisor(exits, "inner"), system({"processes.tick_hz": 5.0}, "guest")))
    found = tally(nested.fold(Demand((Compute(cpu_s=1.0),))))
    totals = {(key[0], key[1]): amount for key, amount in found.items() if amount}
    # per tick: one privileged operation and one interrupt. Inner: 5 exits each. Outer: 10 exits for each of those 10, and 5 interrupts.
    assert totals == pytest.approx(
        {
            ("application", "compute"): 1.0,
            ("inner", "vm_exit"): 5.0,
            ("inner", "interrupt_exit"): 5.0,
            ("outer", "vm_exit"): 100.0,
            ("outer", "interrupt_exit"): 5.0,
        }
    )


def test_contexts_hold_until_a_lower_layer_chooses_another() -> None:
    """A packet's way: the wire, the interrupt of the guest's kernel, then the thread that waited for it, if it slept."""
    stack = Stack(
        (machine(1, {"nic.latency_s": 0.5}), system({"network.interrupt_s": 1.0, "network.receive_s": 2.0, "processes.wake_s": 3.0}))
    )
    folded = [f.charge for f in stack.fold(Demand((Receive(messages=1.0, packets=1.0, size_bytes=1448.0), Wake(count=1.0))))]
    assert [(c.cause, c.context.place.value, c.context.level, c.when.value) for c in folded] == [
        ("nic_rx", "caller", -1, "always"),
        ("nic_latency", "caller", -1, "always"),
        ("interrupt", "interrupt", 1, "asleep"),
        ("net_rx", "interrupt", 1, "always"),
        ("wake_up", "caller", -1, "asleep"),
    ]
    assert (folded[0].amount, folded[0].size_bytes) == (2.0, 1448.0)  # 1 message + 1448 bytes / 1448 = 2 frames, no overhead
