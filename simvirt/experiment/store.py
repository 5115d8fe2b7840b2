"""The folder that keeps the answer of an experiment: tables, manifest and charts. Each file is there whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from simvirt.errors import ResultsError
from simvirt.metrics.tidy import write_csv_atomic, write_json_atomic

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ResultsFolder"]

_NONE: Mapping[str, bytes] = MappingProxyType({})


class ResultsFolder:
    """A folder of results.

    `open` tries it before anything is simulated. Files are first written to a hidden folder inside it and take their places when all of
    them are whole, the manifest last: a manifest means that what it tells of is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> None:
        """Make the folder if need be and see that files can be written to it; raise ResultsError if not."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._staged(lambda scratch: (scratch / "probe").write_bytes(b""))
        except OSError as error:
            raise self._refused(error) from error

    def write(
        self,
        tables: Mapping[str, pd.DataFrame],
        manifest: Mapping[str, Any],
        charts: Mapping[str, bytes],
        others: Mapping[str, bytes] = _NONE,
        documents: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        """Write tables as `<name>.csv`, documents as `<name>.json`, charts under `charts/`, others by their names, and the manifest."""
        texts = {**documents, "manifest": manifest}

        def fill(scratch: Path) -> None:
            for name, frame in tables.items():
                write_csv_atomic(frame, scratch / f"{name}.csv")
            for name, content in (*charts.items(), *others.items()):
                (scratch / name).write_bytes(content)
            for name, document in texts.items():
                write_json_atomic(dict(document), scratch / f"{name}.json")
            if charts:
                (self.path / "charts").mkdir(exist_ok=True)
            for name in tables:
                (scratch / f"{name}.csv").replace(self.path / f"{name}.csv")
            for name in others:
                (scratch / name).replace(self.path / name)
            for name in charts:
                (scratch / name).replace(self.path / "charts" / name)
            for name in texts:
                (scratch / f"{name}.json").replace(self.path / f"{name}.json")

        try:
            self._staged(fill)
        except OSError as error:
            raise self._refused(error) from error

    def _staged(self, fill: Callable[[Path], object]) -> None:
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=self.path) as scratch:
            fill(Path(scratch))

    def _refused(self, error: OSError) -> ResultsError:
        return ResultsError(f"{self.path}: results cannot be written ({error.strerror}); free the path or choose another folder")
