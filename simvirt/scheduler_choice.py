"""Which CPU scheduler works at which level of a stack: the one that a scenario names, or each kernel's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from simvirt.layers.stack import Stack

__all__ = ["PLATFORM", "kernels", "schedulers_on"]

PLATFORM: Final = "platform"
"""In place of the name of a scheduler: whatever the kernel at that level has by itself."""


def kernels(stack: Stack) -> tuple[int, ...]:
    """Levels that schedule: the first one the machine's cores, each further one the virtual processors of a machine below it."""
    return tuple(i for i, layer in enumerate(stack.layers) if layer.schedules_threads)


def schedulers_on(stack: Stack, machine: str, guests: str | None) -> Mapping[str, str]:
    """The name of a scheduler for each layer of a stack that schedules, the lowest first.

    `machine` and `guests` are names or the word for the platform's own; guests do as the machine unless told otherwise.
    """
    wanted = {level: machine if i == 0 else guests or machine for i, level in enumerate(kernels(stack))}
    return {stack.names[level]: _own(stack, level) if name == PLATFORM else name for level, name in wanted.items()}


def _own(stack: Stack, level: int) -> str:
    choice = stack.layers[level].own_scheduler
    assert choice is not None, stack.names[level]
    return choice.value
