"""What a scenario may say of a tenant's part of finite tables, named as the tools that set such limits name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from simvirt.layers.kernel_tables import TableKind
from simvirt.quantities import PositiveBytes

__all__ = ["TableLimits"]


class TableLimits(BaseModel):
    """What a group of equal tenants may have of their kernel's tables: each tenant so much; none unless given here or by its platform."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pids_max: Annotated[int, Field(ge=1)] | None = None
    """Processes of its control group (or virtual machine) at the same time."""
    nofile: Annotated[int, Field(ge=1)] | None = None
    """Open files of its process."""
    disk_quota: PositiveBytes | None = None
    """Bytes of the file system that it may fill."""
    inodes_max: Annotated[int, Field(ge=1)] | None = None
    """Files that it may make."""
    watches_max: Annotated[int, Field(ge=1)] | None = None
    """Files that it may watch."""
    private_memory_max: PositiveBytes | None = None
    """Private memory that it may ask for, touched or not: beyond it, asking fails, and nobody is killed."""

    @property
    def table_limits(self) -> Mapping[TableKind, float]:
        """The limits that are given, by kind of table."""
        given = {
            TableKind.PROCESSES: self.pids_max,
            TableKind.DESCRIPTORS: self.nofile,
            TableKind.DISK_SPACE: self.disk_quota,
            TableKind.INODES: self.inodes_max,
            TableKind.WATCHES: self.watches_max,
            TableKind.PRIVATE_MEMORY: self.private_memory_max,
        }
        return {kind: float(limit) for kind, limit in given.items() if limit is not None}
