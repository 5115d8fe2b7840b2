"""A CPU scheduler by name: rules with their parameters, or none for the fluid limit."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import simvirt.resources.cpu.discrete
from simvirt.engine import Engine
from simvirt.evidence import Cost
from simvirt.resources.cpu.contract import AbstractScheduler
from simvirt.resources.cpu.discrete.contract import AbstractRules
from simvirt.resources.cpu.discrete.scheduler import DiscreteScheduler
from simvirt.resources.cpu.fluid import FluidScheduler

__all__ = ["Scheduling", "kinds_of_rules", "make_scheduler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """How cores are shared: by rules, on run queues, or fluidly (no rules), which is their limit for slices of no length."""

    name: str
    summary: str
    rules: AbstractRules | None
    evidence: tuple[tuple[str, Cost], ...] = ()
    """Each parameter by its name."""


def make_scheduler(engine: Engine, cores: int, by_kernel: Mapping[str, Scheduling]) -> AbstractScheduler:
    """The scheduler of a machine, from the schedulers of its kernels: the first shares the cores, the others work inside virtual machines.

    A virtual machine whose share names no kernel follows the last one's rules. Fluid sharing nests in itself only: all kernels have rules,
    or none has.
    """
    rules = {kernel: scheduling.rules for kernel, scheduling in by_kernel.items() if scheduling.rules is not None}
    if not rules:
        return FluidScheduler(engine, cores)
    assert len(rules) == len(by_kernel), by_kernel
    lowest, *_, last = [*rules.values()] * 2
    return DiscreteScheduler(engine, cores, lowest, lambda _name, share: rules.get(share.kernel, last))


@cache
def kinds_of_rules() -> Mapping[str, type[AbstractRules]]:
    """Every final class of rules by its name in a profile (`SomeRules` is `some-rules`), found in the package of discrete schedulers."""
    package = simvirt.resources.cpu.discrete
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return {re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower(): cls for cls in _final(AbstractRules)}  # type: ignore[type-abstract]


def _final(cls: type[AbstractRules]) -> Iterator[type[AbstractRules]]:
    for sub in cls.__subclasses__():
        if sub.__name__.startswith("Abstract"):
            yield from _final(sub)
        else:
            yield sub
