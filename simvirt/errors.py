"""What simvirt raises: always with a path, a value, a bound and a way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = [
    "CaseError",
    "CatalogError",
    "ResultsError",
    "ScenarioError",
    "SimvirtError",
    "SloError",
    "StackError",
    "TraceError",
    "UnitError",
    "nearest",
]

_SHOWN: Final = 24
"""Names that a message lists before it counts the rest."""


class SimvirtError(Exception):
    """Base of every error that a user can cause; the command line prints it without a traceback."""


class _ProblemsError(SimvirtError):
    """Every problem found in one reading, so that one reading fixes them all."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)  # SimPy re-creates an exception as type(e)(*e.args)

    def __str__(self) -> str:
        return "\n".join(self.problems)


class ScenarioError(_ProblemsError):
    """A scenario that cannot be run, with every reason."""


class CaseError(_ProblemsError):
    """A validation case that cannot be read, with every reason."""


class CatalogError(_ProblemsError):
    """A profile that cannot be loaded: unknown, malformed or without evidence."""


class StackError(_ProblemsError):
    """Layers that do not fit on each other, with the reason."""


class ResultsError(_ProblemsError):
    """A results folder that cannot be read or written."""


class SloError(_ProblemsError):
    """A service level objective that cannot be read or does not fit the tenants, with every reason."""


class TraceError(_ProblemsError):
    """A recorded trace that cannot be used, with file, line and value of every reason."""


class UnitError(SimvirtError, ValueError):
    """A quantity whose unit is unknown or measures something else."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names are close to an unknown one: a clause for the end of a message."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    if len(names) > _SHOWN:
        return f"known: {', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"
    return "known: " + ", ".join(names)
