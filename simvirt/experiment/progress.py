"""How far a study is: a bar in a terminal or a notebook, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Never

from tqdm.auto import tqdm

__all__ = ["Progress", "progress"]


class Progress:
    """A bar of runs. Those that were finished before count as done, and not for the time that is left."""

    def __init__(self, bar: tqdm[Never]) -> None:
        self._bar = bar

    def found(self, runs: int) -> None:
        """So many were there already."""
        if not self._bar.disable:
            self._bar.initial += runs
            self._bar.update(runs)

    def planned(self, runs: int) -> None:
        """So many more are to be done."""
        if not self._bar.disable:
            self._bar.total = (self._bar.total or 0) + runs
            self._bar.refresh()

    def finished(self) -> None:
        """One more."""
        self._bar.update()


@contextmanager
def progress(runs: int, *, leave: bool = True) -> Iterator[Progress]:
    """A bar on standard error if that is a terminal."""
    with tqdm(total=runs, unit="run", leave=leave, disable=None) as bar:
        yield Progress(bar)
