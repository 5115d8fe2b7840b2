"""Fluid CPU sharing."""

from simvirt.resources.cpu.fluid.pool import FluidThread
from simvirt.resources.cpu.fluid.scheduler import FluidGroup, FluidScheduler

__all__ = ["FluidGroup", "FluidScheduler", "FluidThread"]
