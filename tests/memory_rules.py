"""Rules of memory for tests: everything off but what a test asks for."""

from __future__ import annotations

from dataclasses import fields

from ideal import cost

from simvirt.resources.memory.rules import Shortage


def rules(**given: float) -> Shortage:
    """Rules whose every number is 0 but those given; a compressed page takes half, age is known, pages may be swapped."""
    values = {"compressed_size": 0.5, "knows_age": 1.0, "swap_below": 1.0, **given}
    return Shortage(**{f.name: cost(values.get(f.name, 0.0), f.name) for f in fields(Shortage)})


MODERN = {
    "reserve_bytes": 50.0, "sharing_pages_per_s": 0.02, "alike_share": 0.5, "balloon_below": 1.0, "balloon_bytes_per_s": 100.0,
    "balloon_most": 0.65, "compress_below": 0.5, "compressed_most": 0.1, "swap_below": 0.5, "knows_age": 0.0,
}  # fmt: skip
"""A hypervisor with every means, for a memory of hundreds of bytes."""
