"""Where a tenant's own share of the CPU is given: which kernel schedules what stands for the tenant alone, and on what."""

from __future__ import annotations

from dataclasses import dataclass

from simvirt.layers.stack import Stack

__all__ = ["TenantPlace", "owner_of", "place_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPlace:
    """What a tenant's weight, limits and cores mean on a stack."""

    kernel: str
    """The layer whose scheduler they are told to."""
    on_cores: bool
    """Whether that scheduler has the machine's own cores; else the virtual processors of a machine that the tenant shares."""
    is_vm: bool
    """Whether a virtual machine stands for the tenant; else a control group or processes."""


def place_of(stack: Stack, shared_level: int, per_vm: int) -> TenantPlace:
    """The lowest thing on a stack that is the tenant's alone: its virtual machine, its control group, or its processes."""
    top = stack.kernel_level(len(stack.layers) - 1)
    for level in range(shared_level + 1, len(stack.layers)):
        if level <= top and per_vm > 1:
            continue
        if stack.layers[level - 1].provides_processors:
            return _place(stack, stack.kernel_level(level - 1), is_vm=True)
        if stack.layers[level].isolates_group:
            return _place(stack, stack.kernel_level(level - 1), is_vm=False)
    return _place(stack, top, is_vm=False)


def owner_of(stack: Stack, level: int, shared_level: int, *, tenant: str, vm: str) -> str:
    """Whose the instance of a layer is: of a virtual machine, of a tenant, or of all (the empty name)."""
    if level <= shared_level:
        return ""
    return vm if level <= stack.kernel_level(len(stack.layers) - 1) else tenant


def _place(stack: Stack, kernel: int, *, is_vm: bool) -> TenantPlace:
    on_cores = not any(layer.provides_processors for layer in stack.layers[:kernel])
    return TenantPlace(kernel=stack.names[kernel], on_cores=on_cores, is_vm=is_vm)
