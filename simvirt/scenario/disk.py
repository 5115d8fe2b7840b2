"""What a scenario may say of a tenant's disk and files: weight, limits, and how much a page cache has for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from simvirt.layers.page_cache import reads_through_cache
from simvirt.quantities import Bytes, PositiveBytes, PositiveBytesPerSecond, PositivePerSecond
from simvirt.units import format_quantity
from simvirt.workloads.profile import Workload

__all__ = ["DiskLimits", "IoMax", "disk_misfits"]


class IoMax(BaseModel):
    """Limits on what a tenant asks of the disk, named as in cgroup v2's io.max; none unless given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    riops: Annotated[PositivePerSecond, Field(ge=1)] | None = None
    """Reads per second."""
    wiops: Annotated[PositivePerSecond, Field(ge=1)] | None = None
    """Writes per second."""
    rbps: Annotated[PositiveBytesPerSecond, Field(ge=1)] | None = None
    """Bytes read per second."""
    wbps: Annotated[PositiveBytesPerSecond, Field(ge=1)] | None = None
    """Bytes written per second."""


class DiskLimits(BaseModel):
    """What a group of equal tenants may have of the disk, and what of their files is cached: each tenant so much."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    io_weight: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Weight at the disk, 100 being the default; the disk serves first come first served unless some tenant has one."""
    io_max: IoMax | None = None
    file_set: PositiveBytes | None = None
    """Bytes of the files that it reads through the page cache; they all fit into it unless given."""
    page_cache: Bytes = 0.0
    """Bytes that the page cache of its own kernel has for it, where `file_set` is given."""
    host_page_cache: Bytes = 0.0
    """Bytes that the page cache of a host below has for its virtual disk, where the disk is a file there."""


def disk_misfits(path: str, group: DiskLimits, workload: Workload, memory_bytes: float) -> Iterator[str]:
    """Sizes of page caches that nothing would use, or that no memory holds."""
    reads = any(reads_through_cache(request.demand) for request in workload.requests)
    if group.file_set is not None and not reads:
        yield f"{path}.file_set: {workload.name!r} reads no files through the page cache (no file_read); remove it"
    for entry in ("page_cache", "host_page_cache"):
        if getattr(group, entry) > memory_bytes:
            cached, there = getattr(group, entry), format_quantity(memory_bytes, "size")
            yield f"{path}.{entry}: {format_quantity(cached, 'size')} on a machine with {there}; at most {there}"
        if getattr(group, entry) and group.file_set is None:
            yield f"{path}.{entry}: {getattr(group, entry):g} B, but no file_set says how much is read; give file_set, or remove this"
