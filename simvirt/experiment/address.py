"""Under which address what a run found is kept: a digest of everything that decides it.

That is what the scenario says of one replication, the seed and the number of the replication, simvirt's own source as far as a run can
load it, every profile, and the versions of Python and of the packages that compute. How many replications there are and how their
interval is told decide nothing, so that more of them may be asked for later.
"""

from __future__ import annotations

import hashlib
import inspect
import platform
from collections.abc import Iterable
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from simvirt.experiment.subject import Subject
from simvirt.scenario import Run, Scenario

__all__ = ["NOT_RUN", "address_of", "digest_of_folder"]

NOT_RUN: Final = frozenset({"cli.py", "commands", "experiment", "profiles/cases", "reports", "validation"})
"""Parts of simvirt that no run loads: to change a chart is no reason to run again."""

_COMPUTES: Final = ("numpy", "simpy")
_SOURCES: Final = (".py", ".toml", ".csv")
_PACKAGE: Final = "simvirt"


def address_of(scenario: Scenario | Subject, profiles: tuple[Path, ...], replication: int) -> str:
    """64 hexadecimal digits."""
    parts = [type(scenario).__qualname__, _said(scenario), _source_of(type(scenario)), _environment(), *map(_digest_of_profiles, profiles)]
    return hashlib.sha256("\n".join([*parts, str(scenario.run.seed), str(replication)]).encode()).hexdigest()


def _said(scenario: Scenario | Subject) -> str:
    """What a description says of one replication."""
    if not isinstance(scenario, Scenario):
        return scenario.digest()
    alone = Run(**{**scenario.run.model_dump(), "replications": 1, "confidence": Run().confidence})
    return scenario.model_copy(update={"run": alone}).digest()


@cache
def _environment() -> str:
    """simvirt's source and profiles, and what computes. Read once in a process: so is the source that runs in it."""
    versions = [platform.python_version(), *(f"{package} {metadata.version(package)}" for package in _COMPUTES)]
    return " ".join([digest_of_folder(resources.files(_PACKAGE), NOT_RUN), *versions])


@cache
def _source_of(kind: type) -> str:
    """Digest of the file that a description's class stands in, if that is not simvirt's own."""
    if kind.__module__.split(".")[0] == _PACKAGE:
        return ""
    try:
        return hashlib.sha256(inspect.getsource(inspect.getmodule(kind) or kind).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


@cache
def _digest_of_profiles(folder: Path) -> str:
    return digest_of_folder(folder)


def digest_of_folder(folder: Traversable, without: frozenset[str] = frozenset()) -> str:
    """Digest of the source and data files below a folder, but for some paths in it."""
    digest = hashlib.sha256()
    for path, entry in _files(folder, "", without):
        content = entry.read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _files(folder: Traversable, prefix: str, without: frozenset[str]) -> Iterable[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        path = prefix + entry.name
        if path in without:
            continue
        if entry.is_dir():
            yield from _files(entry, f"{path}/", without)
        elif entry.name.endswith(_SOURCES):
            yield path, entry
