"""What a build file says, as frozen data: stages of instructions, nothing replaced or run yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from simvirt.images.dockerfile.source import Heredoc

__all__ = ["FLAGS", "LAYER_MAKERS", "BuildFile", "Instruction", "Stage"]

LAYER_MAKERS: Final = ("RUN", "COPY", "ADD")
"""Only these make layers; everything else changes the image's configuration."""

FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "FROM": ("platform",),
    "RUN": ("mount", "network", "security", "device"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "ADD": ("keep-git-dir", "checksum", "chown", "chmod", "link", "exclude", "unpack"),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
    **dict.fromkeys(
        (
            "ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "MAINTAINER", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME",
            "WORKDIR",
        ),
        (),
    ),
}  # fmt: skip
"""Every instruction with the flags that it may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction."""

    line: int
    keyword: str
    text: str
    """What stands behind the keyword and its flags, as written."""
    flags: tuple[tuple[str, str], ...] = ()
    array: tuple[str, ...] | None = None
    """The words of a JSON array, where it is written as one."""
    heredocs: tuple[Heredoc, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What comments directly before it tell the simulator: `# simvirt: cpu=12s size=180MB`."""

    def flag(self, name: str) -> str | None:
        """The value of a flag; the last one, if it is given several times."""
        return dict(self.flags).get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One FROM and what follows it."""

    index: int
    line: int
    base: str
    """An image, or the name of an earlier stage; variables not replaced."""
    name: str = ""
    platform: str = ""
    instructions: tuple[Instruction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFile:
    """A whole build file."""

    stages: tuple[Stage, ...]
    arguments: tuple[Instruction, ...] = ()
    """ARG instructions before the first FROM: only FROM sees them, and stages that ask for them again."""
    escape: str = "\\"
    directives: tuple[tuple[str, str], ...] = ()
