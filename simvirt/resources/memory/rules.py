"""How a kernel or hypervisor gets memory back when it runs short: parameters with evidence."""

from __future__ import annotations

from dataclasses import dataclass

from simvirt.evidence import Cost

__all__ = ["Shortage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """Which means there are, in the order sharing, balloon, compression, swap, kill, and from how little free memory on.

    reserve = reserve_bytes + reserve_share * (memory above reserve_from_bytes). A means is used while free memory is below its share of
    the reserve; where that share is 0 it is not there. An allocation that finds nothing free takes every means but the balloon, at once.
    """

    reserve_bytes: Cost
    reserve_share: Cost
    reserve_from_bytes: Cost
    sharing_pages_per_s: Cost
    """Pages that the scanner for equal pages looks at; 0 if it is off."""
    alike_share: Cost
    """Share of the pages of kernel, programs and files of like guests that are equal."""
    balloon_below: Cost
    balloon_bytes_per_s: Cost
    """How fast a balloon grows and shrinks, over all machines."""
    balloon_most: Cost
    """Most that a balloon takes, as a share of a machine's size."""
    compress_below: Cost
    compressed_most: Cost
    """Most that is held compressed, as a share of a machine's size."""
    compressed_size: Cost
    """Size of a compressed page over its size before."""
    decompress_s: Cost
    """Getting one compressed page back."""
    swap_below: Cost
    swap_share: Cost
    """Swap space that comes with each virtual machine, as a share of its size; other swap space is given by whoever sets up the machine."""
    knows_age: Cost
    """1 if it takes the pages that were not used for longest, 0 if any page."""

    def reserve(self, capacity_bytes: float) -> float:
        """Free memory below which it begins to look for more."""
        beyond = max(0.0, capacity_bytes - self.reserve_from_bytes.si)
        return min(self.reserve_bytes.si + beyond * self.reserve_share, capacity_bytes)
