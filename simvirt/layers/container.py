"""A container runtime: namespaces and a control group on the kernel below. It adds no kernel of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from simvirt.demand import Connect, DiskRead, FileOpen, FileWrite, FirstWrite, Interface, Operation, Receive, Send, Syscall
from simvirt.evidence import Cost
from simvirt.layers.contract import INTERRUPT, AbstractLayer, Charge, Host, Lowered, Resource, charges, in_context

__all__ = ["ContainerRuntime"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRuntime(AbstractLayer):
    """Runs processes apart from each other on one shared kernel.

    A system call passes a filter. A packet passes a virtual pair of interfaces, a bridge and address translation, in the shared kernel's
    interrupts on the way in and on the sender on the way out; all four are zero where the container uses the host's network. The first
    packet of a connection costs connect_s + rules * rule_s more and takes an entry of the kernel's table. A file is looked up through
    the layers of the image: file_open_s + further_layers * layer_lookup_s. Where files of the image are shared, the first write to one
    reads it whole and writes it, whole, into the container's own layer (copy-up).
    """

    kind: ClassVar[str] = "container"
    isolates_group: ClassVar[bool] = True

    name: str
    summary: str
    requires: Interface | None
    provides: Interface
    filter_s: Cost
    """Filtering one system call."""
    file_open_s: Cost
    """Looking one file up through the layered file system of two layers, beyond the host's own look-up."""
    further_layers: Cost
    """Layers of the image beyond the first, each of which a look-up may have to pass."""
    layer_lookup_s: Cost
    """Looking one file up in one of them."""
    copy_up: Cost
    """Part of a file that its first write copies: 1 where the copy is by file, 0 where nothing is copied (a volume, a plain directory)."""
    receive_s: Cost
    """One packet from the host's interface to the container's."""
    receive_s_per_byte: Cost
    send_s: Cost
    send_s_per_byte: Cost
    connect_s: Cost
    """Set-up of one connection: what its first packet costs beyond a later one, without the rules (entry of the table, translation)."""
    rules: Cost
    """Rules that a first packet is held against, one after the other."""
    rule_s: Cost
    """One rule."""
    tracked: Cost
    """Entries of the kernel's table of tracked connections per connection; 0 if connections are not tracked."""
    cpu_weight: Cost
    """Weight of the container's control group among its siblings, 1 being the kernel's default for a group."""

    @property
    def weight_counts_per(self) -> str:
        return "control group"

    @property
    def group_weight(self) -> float:
        return self.cpu_weight.si

    def lower(self, operation: Operation, host: Host) -> Lowered:
        match operation:
            case Syscall(count=count):
                return (*charges(Charge(cause="syscall_filter", amount=count * self.filter_s)), operation)
            case FileOpen(count=count):
                lookup_s = self.file_open_s.si + self.further_layers.si * self.layer_lookup_s.si
                return (*charges(Charge(cause="layered_lookup", amount=count * lookup_s)), operation)
            case FirstWrite(count=count, size_bytes=size):
                copied, share = size * self.copy_up, count * self.copy_up
                return (
                    DiskRead(count=share, size_bytes=copied),
                    FileWrite(count=share, size_bytes=copied),
                )
            case Receive(packets=packets, size_bytes=size):
                hop = Charge(cause="bridge_rx", amount=packets * self.receive_s + size * self.receive_s_per_byte)
                return (operation, *in_context(INTERRUPT, *charges(hop)))
            case Connect(count=count):
                entry = Charge(cause="connection_tracking", amount=count * self.tracked, resource=Resource.TRACKING)
                added = Charge(cause="connection_setup", amount=count * (self.connect_s.si + self.rules * self.rule_s.si))
                return (*in_context(INTERRUPT, *charges(entry, added)), operation)
            case Send(packets=packets, size_bytes=size):
                hop = Charge(cause="bridge_tx", amount=packets * self.send_s + size * self.send_s_per_byte)
                return (*charges(hop), operation)
        return (operation,)
