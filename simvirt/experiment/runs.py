"""The runs that are finished, each in a file of its own, written at once and whole: what is there need not be run again.

The name of a file is the address of the run, so two programs that work in one folder write the same bytes to the same place. A file
that is damaged is told and run again. Only outcomes are kept: a run that failed is tried anew.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from simvirt.errors import ResultsError
from simvirt.experiment.record import RecordError, decoded, encoded
from simvirt.metrics.tidy import write_bytes_atomic

__all__ = ["RUNS_FOLDER", "RunStore"]

T = TypeVar("T")

RUNS_FOLDER: Final = ".runs"
"""Where runs are kept inside a folder of results, unless another place is given."""

_SUFFIX: Final = ".run"


class RunStore:
    """A folder of records. With `fresh`, nothing in it is used, and all is written anew."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self._fresh = fresh
        self.damaged: dict[Path, str] = {}
        """Records that could not be used, and why."""

    def open(self) -> None:
        """Make the folder if need be and see that files can be written to it; raise ResultsError if not."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(f"{self.path}: cannot be made ({error.strerror}); free the path or choose another folder") from error
        probe = self.path / f".probe-{os.getpid()}"
        self._write(b"", probe)
        with suppress(OSError):
            probe.unlink()

    def get(self, address: str, kind: type[T]) -> T | None:
        """The outcome at an address, None if there is none that can be used."""
        path = self._place(address)
        if self._fresh:
            return None
        try:
            return decoded(path.read_bytes(), kind)
        except FileNotFoundError:
            return None
        except RecordError as error:
            self.damaged[path] = str(error)
        except OSError as error:
            self.damaged[path] = f"cannot be read: {error.strerror}"
        return None

    def put(self, address: str, outcome: object) -> None:
        """Keep an outcome: when this returns it is on the disk. Raises ResultsError if it cannot be written; what is there stays."""
        path = self._place(address)
        with suppress(OSError):  # if it cannot be made, the file cannot be written
            path.parent.mkdir(exist_ok=True)
        self._write(encoded(outcome), path)
        _settle(path.parent)

    def _write(self, content: bytes, path: Path) -> None:
        try:
            write_bytes_atomic(content, path)
        except ResultsError as error:
            reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
            kept = f"the {len(self)} that are there stay"
            way_out = "free some space and start the same command again, or choose another folder"
            raise ResultsError(f"{self.path}: finished runs cannot be written ({reason}); {kept}: {way_out}") from error

    def __len__(self) -> int:
        """How many records there are."""
        return sum(1 for _ in self.path.glob(f"*/*{_SUFFIX}"))

    def _place(self, address: str) -> Path:
        return self.path / address[:2] / f"{address[2:]}{_SUFFIX}"


def _settle(folder: Path) -> None:
    """See that the names in a folder are on the disk too, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
