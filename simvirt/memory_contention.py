"""What a scenario may ask of the caches and memory of its machine, and what of it is not modelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from simvirt.layers.hardware import Hardware
from simvirt.memory_character import MemoryCharacter
from simvirt.resources.memory_system.contention import waiting_share
from simvirt.resources.memory_system.topology import Topology
from simvirt.units import format_quantity
from simvirt.workloads.profile import Workload

__all__ = ["Asker", "memory_misfits", "memory_notes", "partitioned_bytes", "topology_of"]


class Asker(Protocol):
    """A group of equal tenants, as far as caches and memory are concerned."""

    @property
    def workload(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def llc_bytes(self) -> float | None: ...
    @property
    def home_node(self) -> int | None: ...


def topology_of(machine: Hardware) -> Topology:
    """The machine as runners share it. Raises ValueError with everything that is wrong with its numbers, each `field: value; bound`."""
    socket = machine.socket
    return Topology(
        cores=int(machine.cores.si),
        sockets=int(machine.sockets.si),
        threads_per_core=int(socket.threads_per_core.si) if socket.threads_per_core.si in (1.0, 2.0) else 0,
        llc_bytes=socket.llc_bytes.si,
        llc_hit_s=socket.llc_hit_s.si,
        memory_latency_s=socket.memory_latency_s.si,
        queueing=socket.queueing.si,
        memory_bytes_per_s=socket.memory_bytes_per_s.si,
        private_bytes=socket.private_bytes.si,
        refill_s_per_byte=socket.refill_s_per_byte.si,
        sibling_speed=socket.sibling_speed.si,
        remote_latency=socket.remote_latency.si,
    )


def partitioned_bytes(groups: Sequence[Asker]) -> float:
    """What partitions take of each last-level cache."""
    return sum(group.count * group.llc_bytes for group in groups if group.llc_bytes is not None)


def memory_misfits(machine: Hardware, pairs: Sequence[tuple[Asker, Workload]], *, fluid: bool) -> Iterator[str]:
    """Everything that groups of tenants, each with its workload, ask of the machine's caches and memory and cannot have."""
    if machine.socket.threads_per_core.si > 1.0 and fluid:
        yield f"scheduler: fluid, on {machine.name} with two threads per core; choose one by rules, which knows which of them run together"
    asks = [(i, group) for i, (group, _) in enumerate(pairs) if group.llc_bytes is not None or group.home_node is not None]
    if not asks and not any(workload.memory for _, workload in pairs) and machine.socket.threads_per_core.si == 1.0:
        return
    try:
        topology = topology_of(machine)
    except ValueError as error:
        yield from (f"{machine.name}: {problem}" for problem in error.args)
        return
    for i, group in asks:
        yield from _ask_misfits(f"tenants.{i}", group, pairs[i][1], topology, fluid=fluid)
    wanted, llc_bytes = partitioned_bytes([group for group, _ in pairs]), topology.llc_bytes
    others = any(group.llc_bytes is None and workload.memory is not None for group, workload in pairs)
    if wanted > llc_bytes or (others and wanted == llc_bytes):
        rest = ", and something must be left for the tenants without a partition" if others else ""
        yield f"tenants: llc_bytes add up to {_bytes(wanted)}; at most {_bytes(llc_bytes)}, the last-level cache of a socket{rest}"
    for i, (_, workload) in enumerate(pairs):
        if workload.memory is not None:
            yield from _character_misfits(f"tenants.{i}.workload", workload.name, workload.memory, machine, topology)


def _bytes(size: float) -> str:
    return format_quantity(size, "size")


def _ask_misfits(path: str, group: Asker, workload: Workload, topology: Topology, *, fluid: bool) -> Iterator[str]:
    entries = [("llc_bytes", group.llc_bytes), ("home_node", group.home_node)]
    for name in [name for name, value in entries if value is not None]:
        if fluid:
            yield f"{path}.{name}: not modelled with fluid sharing; choose a scheduler by rules, or remove it"
        if workload.memory is None:
            yield f"{path}.{name}: workload {group.workload!r} does not say how it uses memory; give it a [memory] table, or remove this"
    if group.home_node is not None and group.home_node >= topology.sockets:
        yield f"{path}.home_node: {group.home_node}; nodes are numbered from 0 to {topology.sockets - 1}, one per socket"


def _character_misfits(path: str, name: str, character: MemoryCharacter, machine: Hardware, topology: Topology) -> Iterator[str]:
    share = waiting_share(character, topology)
    if share > 1.0:
        yield (
            f"{path}: {name!r} would wait for caches and memory of {machine.name} {share:.2f} s per second of CPU time, alone; at most 1: "
            f"lower {name}.memory.accesses_per_s, or raise {name}.memory.parallelism"
        )


def memory_notes(pairs: Sequence[tuple[Asker, Workload]], *, fluid: bool) -> list[str]:
    """What happens between neighbours in caches and memory and is not modelled here."""
    users = sum(group.count for group, workload in pairs if workload.memory is not None)
    if not fluid or users < 2:
        return []
    return [f"note: {users} tenants use the same caches and memory; fluid sharing leaves out what they do to each other there"]
