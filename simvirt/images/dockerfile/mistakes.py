"""What is wrong with a build file: every mistake, each with its line and a way out."""

from __future__ import annotations

from collections.abc import Iterable

from simvirt.errors import SimvirtError

__all__ = ["BuildFileError"]


class BuildFileError(SimvirtError):
    """A build file that cannot be read or built, with every reason in the order of lines."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)
