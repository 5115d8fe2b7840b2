"""Named streams of random numbers, one per (seed, replication, name).

Two platforms in one replication ask for the same names and so see the same arrivals and the same demands: a difference between
them is the platform's own (common random numbers). Draws are made in blocks: 20 ns a draw instead of 330.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain, count, repeat, takewhile
from typing import Final

import numpy as np

__all__ = ["BLOCK", "Streams", "blocks", "uniforms"]

BLOCK: Final = 4096
"""Draws made at once."""
FIRST_BLOCK: Final = 32
"""Draws made at first: a host may have ten thousand tenants with a request each."""


class Streams:
    """All random numbers of one replication."""

    __slots__ = ("_given", "replication", "seed")

    def __init__(self, seed: int, replication: int = 0) -> None:
        if seed < 0 or replication < 0:
            raise ValueError(f"seed {seed}, replication {replication}: both must be at least 0")
        self.seed = seed
        self.replication = replication
        self._given: set[str] = set()

    def stream(self, name: str) -> np.random.Generator:
        """The generator called `name`. Each name may be asked for once: two users of one stream would be dependent."""
        if name in self._given:
            raise ValueError(f"stream {name!r} has already been handed out")
        self._given.add(name)
        digest = hashlib.sha256(name.encode()).digest()
        words = np.frombuffer(digest, dtype="<u4").tolist()
        return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(entropy=self.seed, spawn_key=(self.replication, *words))))


def blocks(draw: Callable[[int], np.ndarray], size: int = BLOCK) -> Iterator[float]:
    """An endless iterator over `draw(n)`, block after block: the first are small, as many who draw need little; then `size` each."""
    first = min(size, FIRST_BLOCK)
    growing = takewhile(lambda n: n < size, (first << i for i in count()))
    return chain.from_iterable(draw(n).tolist() for n in chain(growing, repeat(size)))


def uniforms(rng: np.random.Generator) -> Iterator[float]:
    """Endless numbers between 0 and 1. Nothing is drawn before the first is asked for."""
    return blocks(rng.random)
