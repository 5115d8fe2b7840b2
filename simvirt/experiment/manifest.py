"""The manifest of a results folder: what made it, when, where and from what. The only module that reads the clock."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import simvirt
from simvirt.experiment.address import digest_of_folder
from simvirt.experiment.subject import Subject
from simvirt.scenario import Scenario

__all__ = ["code_digest", "manifest", "profile_digests"]

_PACKAGES: Final = ("simpy", "numpy", "pandas", "scipy", "pydantic", "matplotlib")
_BESIDE: Final = frozenset({"cli.py", "commands", "profiles", "reports", "validation"})
"""Parts of simvirt that only show results, and the profiles, which have digests of their own."""
_GIT_TIMEOUT_S: Final = 10.0


def manifest(
    experiment: str, command: Sequence[str], scenarios: Iterable[Scenario | Subject], folders: Iterable[Path] = ()
) -> dict[str, Any]:
    """Everything needed to repeat an experiment, as JSON can hold it. `folders` are further folders of profiles."""
    given = list(scenarios)
    return {
        "experiment": experiment,
        "command": list(command),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "commit": _commit(),
        "host": {"cores": os.cpu_count(), "platform": platform.platform()},
        "seeds": sorted({scenario.run.seed for scenario in given}),
        "scenarios": sorted({scenario.digest() for scenario in given}),
        "overridden": _overridden(given),
        "profiles": profile_digests(folders),
        "code": code_digest(),
    }


def code_digest() -> str:
    """Digest of what decides what a run gives and what tables say of it: simvirt without command line, charts and profiles."""
    return digest_of_folder(resources.files("simvirt"), _BESIDE)[:16]


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "simvirt": simvirt.__version__}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _commit() -> dict[str, Any] | None:
    """Commit of the checkout that simvirt runs from and whether files differ from it; None for an installed package."""
    home = Path(simvirt.__file__).parents[1]
    if not (home / ".git").exists():
        return None
    digest, changes = _git(home, "rev-parse", "HEAD"), _git(home, "status", "--porcelain", "--", "simvirt", "experiments")
    return None if digest is None or changes is None else {"digest": digest, "dirty": bool(changes)}


def _git(home: Path, *arguments: str) -> str | None:
    command = ("git", "--no-optional-locks", *arguments)
    try:
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _overridden(scenarios: Iterable[Scenario | Subject]) -> dict[str, list[Any]]:
    """Costs set by hand → every level that they had."""
    found: dict[str, set[Any]] = {}
    for scenario in scenarios:
        for path, level in scenario.override.items():
            found.setdefault(path, set()).add(level)
    return {path: sorted(levels, key=str) for path, levels in found.items()}


def profile_digests(folders: Iterable[Path]) -> Mapping[str, str]:
    """Digest of each profile by its path: `layers/name.toml`; those of further folders keep their own path."""
    found = dict(_digests(resources.files("simvirt") / "profiles", ""))
    for folder in folders:
        found |= dict(_digests(folder, f"{_short(folder)}/"))
    return found


def _short(folder: Path) -> Path:
    """A folder as seen from the current one, where it lies below it: results tell nothing of where a checkout is."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _digests(folder: Traversable, prefix: str) -> Iterable[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            yield from _digests(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".toml"):
            yield f"{prefix}{entry.name}", hashlib.sha256(entry.read_bytes()).hexdigest()[:16]
