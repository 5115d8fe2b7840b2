"""What can break on a stack, resolved by the kind and the place of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from simvirt.evidence import Choice
from simvirt.layers.hypervisor import Backend, Hypervisor
from simvirt.layers.sandbox import Sandbox
from simvirt.layers.stack import Stack

__all__ = ["Effect", "LayerParts", "Part", "explain_absence", "fits", "level_of"]


class Part(StrEnum):
    """Something that breaks as one."""

    APPLICATION = "application"
    """The processes of a tenant, with the container that holds them, if one does."""
    SANDBOX = "sandbox"
    """A kernel in user space."""
    GUEST_KERNEL = "guest-kernel"
    """The topmost kernel that runs on virtual processors."""
    VMM = "vmm-process"
    """The program that is a virtual machine to its host, and emulates what the machine has."""
    HYPERVISOR = "hypervisor"
    """The lowest layer that makes virtual processors. Where that is a program of the host, each machine has its own."""
    SERVICE_VM = "service-vm"
    """The privileged virtual machine whose drivers serve all others."""
    DAEMON = "container-daemon"
    """What starts containers, and starts them again when they have ended."""
    HOST_KERNEL = "host-kernel"
    """The lowest kernel: that of the host's operating system, or the hypervisor that takes its place."""
    DISK = "disk"
    NETWORK_CARD = "network-card"
    HOST = "host"
    """The machine itself: power, mainboard, memory."""

    @property
    def is_device(self) -> bool:
        return self in (Part.DISK, Part.NETWORK_CARD)


class Effect(StrEnum):
    """What a fault does to what it hits."""

    CRASH = "crash"
    """It is gone, with everything that stands on it, until it has been started again. A device answers every request with an error."""
    HANG = "hang"
    """It stands still, with everything that stands on it, until somebody finds out and starts it again."""
    STALL = "stall"
    """It stands still and goes on by itself; requests wait."""
    SLOW_DOWN = "slow-down"
    """A device takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerParts:
    """Programs of a layer that can break apart from its kernel; None where there is no such thing."""

    vmm: Choice | None = None
    """The process that each virtual machine is on its host."""
    daemon: Choice | None = None
    """The one that all containers of a kernel are started by."""


_EFFECTS: Final[Mapping[Part, tuple[Effect, ...]]] = {
    Part.SERVICE_VM: (Effect.STALL,),
    Part.DAEMON: (Effect.CRASH,),
    Part.DISK: (Effect.CRASH, Effect.SLOW_DOWN),
    Part.NETWORK_CARD: (Effect.CRASH, Effect.SLOW_DOWN),
}
_OF_LAYERS: Final = (Effect.CRASH, Effect.HANG, Effect.STALL)


def fits(part: Part) -> tuple[Effect, ...]:
    """The effects that a fault of a part may have."""
    return _EFFECTS.get(part, _OF_LAYERS)


def level_of(part: Part, stack: Stack, parts: Sequence[LayerParts]) -> int | None:
    """The level of a stack whose instance a fault hits; the number of layers for the application, None if there is no such part.

    `parts` has one entry for each layer. A daemon is found at the kernel on which its containers stand.
    """
    return _LEVELS[part](stack, parts)


def _guest_kernel(stack: Stack, _: Sequence[LayerParts]) -> int | None:
    layers = stack.layers
    return _last(i for i in range(1, len(layers)) if layers[i].schedules_threads and layers[i - 1].provides_processors)


def _vmm(stack: Stack, parts: Sequence[LayerParts]) -> int | None:
    """Its machine begins with the layer above it."""
    return _last(i + 1 for i in range(len(stack.layers) - 1) if parts[i].vmm is not None and stack.layers[i].provides_processors)


def _hypervisor(stack: Stack, _: Sequence[LayerParts]) -> int | None:
    return next((i for i, layer in enumerate(stack.layers) if layer.provides_processors), None)


def _service_vm(stack: Stack, _: Sequence[LayerParts]) -> int | None:
    found = (i for i, layer in enumerate(stack.layers) if isinstance(layer, Hypervisor) and layer.backend is Backend.SERVICE_VM)
    return next(found, None)


def _daemon(stack: Stack, parts: Sequence[LayerParts]) -> int | None:
    level = next((i for i in range(len(stack.layers)) if parts[i].daemon is not None), None)
    return None if level is None else stack.kernel_level(level)


def _sandbox(stack: Stack, _: Sequence[LayerParts]) -> int | None:
    return _last(i for i, layer in enumerate(stack.layers) if isinstance(layer, Sandbox))


def _last(levels: Iterable[int]) -> int | None:
    return max(levels, default=None)


_LEVELS: Final[Mapping[Part, Callable[[Stack, Sequence[LayerParts]], int | None]]] = {
    Part.APPLICATION: lambda stack, _: len(stack.layers),
    Part.SANDBOX: _sandbox,
    Part.GUEST_KERNEL: _guest_kernel,
    Part.VMM: _vmm,
    Part.HYPERVISOR: _hypervisor,
    Part.SERVICE_VM: _service_vm,
    Part.DAEMON: _daemon,
    Part.HOST_KERNEL: lambda stack, _: 1 if len(stack.layers) > 1 else None,
    Part.DISK: lambda _, __: 0,
    Part.NETWORK_CARD: lambda _, __: 0,
    Part.HOST: lambda _, __: 0,
}

_ABSENT: Final[Mapping[Part, str]] = {
    Part.SANDBOX: "no layer is a sandbox; choose a platform with one",
    Part.GUEST_KERNEL: "tenants share the host's kernel; use a fault of the host-kernel, or a platform with virtual machines",
    Part.VMM: "no layer runs its virtual machines as a process each; use a fault of the guest-kernel or the hypervisor, if there is one",
    Part.HYPERVISOR: "there is no hypervisor; use a fault of the host-kernel, or a platform with virtual machines",
    Part.SERVICE_VM: "no service VM has the drivers; use a fault of the host-kernel or the hypervisor",
    Part.DAEMON: "no daemon starts containers here; use a fault of the application or the host-kernel",
    Part.HOST_KERNEL: "nothing stands on the machine; use a fault of the host",
}


def explain_absence(part: Part) -> str:
    """Why a platform does not have a part, and what to do."""
    return _ABSENT[part]
