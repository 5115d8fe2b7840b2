"""What a build can copy: the files of a folder, by path, with size and digest of their content."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from simvirt.images.dockerfile.mistakes import BuildFileError
from simvirt.images.ignore import IgnoreRules, read_ignore_rules

__all__ = ["BuildContext", "ContextFile", "read_context"]

_BLOCK: Final = 1 << 20
_MAGIC: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class ContextFile:
    """One file: what counts for a cache is its content and its mode, never its dates."""

    size_bytes: int
    digest: str
    executable: bool = False


@dataclass(frozen=True, slots=True)
class BuildContext:
    """The files that a build sees, by path relative to its folder."""

    files: Mapping[str, ContextFile] = field(default_factory=dict)

    def names(self) -> set[str]:
        """Files and folders that a build file may name."""
        return {"/".join(parts[: i + 1]) for parts in (path.split("/") for path in self.files) for i in range(len(parts))}

    def matching(self, source: str) -> dict[str, ContextFile]:
        """Files that a source of COPY names: a file, a folder with all below it, or a pattern."""
        wanted = os.path.normpath("/" + source).strip("/")
        if not wanted:
            return dict(sorted(self.files.items()))
        if _MAGIC.search(wanted):
            problems: list[str] = []
            rules = read_ignore_rules(wanted, problems)
            return {path: file for path, file in sorted(self.files.items()) if rules.ignores(path)}
        return {path: file for path, file in sorted(self.files.items()) if path == wanted or path.startswith(wanted + "/")}


def read_context(folder: Path, ignore_file: Path | None = None) -> BuildContext:
    """The files below a folder, without what its ignore file leaves out. Links are not followed: a link's content is where it points to."""
    rules = _rules(folder if ignore_file is None else ignore_file)
    files: dict[str, ContextFile] = {}
    problems: list[str] = []
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names + [f for f in folders if (Path(root) / f).is_symlink()]):
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            if not rules.ignores(relative):
                try:
                    files[relative] = _file(path)
                except OSError as error:
                    problems.append(f"line 0: {relative}: cannot be read ({error.strerror}); change its permissions or ignore it")
    if problems:
        raise BuildFileError([problem.removeprefix("line 0: ") for problem in problems])
    return BuildContext(files)


def _rules(place: Path) -> IgnoreRules:
    file = place / ".dockerignore" if place.is_dir() else place
    if not file.is_file():
        return IgnoreRules()
    problems: list[str] = []
    try:
        rules = read_ignore_rules(file.read_text(encoding="utf-8"), problems)
    except (OSError, UnicodeDecodeError) as error:
        raise BuildFileError([f"{file}: cannot be read ({error}); save it as UTF-8 text"]) from None
    if problems:
        raise BuildFileError([f"{file.name}, {problem}" for problem in problems])
    return rules


def _file(path: Path) -> ContextFile:
    if path.is_symlink():
        target = path.readlink()
        return ContextFile(0, "sha256:" + hashlib.sha256(b"link:" + os.fsencode(target)).hexdigest())
    if not path.is_file():  # a pipe, a socket or a device has no content to copy
        return ContextFile(0, "sha256:" + hashlib.sha256(b"special").hexdigest())
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return ContextFile(size, "sha256:" + digest.hexdigest(), bool(path.stat().st_mode & 0o111))
