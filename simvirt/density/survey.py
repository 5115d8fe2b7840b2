"""The same question asked on several platforms, each on a core of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from simvirt.catalog import Catalog
from simvirt.density.crowd import Crowd
from simvirt.density.search import Density, find_density
from simvirt.errors import SimvirtError
from simvirt.experiment.pool import pool
from simvirt.slo import Slo

__all__ = ["Question", "Refusal", "survey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How many of these tenants keep this objective."""

    crowd: Crowd
    slo: Slo
    confidence: float = 0.95
    profiles: tuple[Path, ...] = ()
    """Folders of further profiles."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer."""

    problems: tuple[str, ...]


def survey(
    questions: Sequence[Question], *, workers: int | None = None, finished: Callable[[], None] | None = None
) -> list[Density | Refusal]:
    """The answers in the order of the questions, whatever the order in which they are found."""
    with pool(len(questions), workers) as executor:
        if executor is None:
            return [_told(_answer(question), finished) for question in questions]
        futures = {executor.submit(_answer, question): i for i, question in enumerate(questions)}
        found = {futures[future]: _told(future.result(), finished) for future in as_completed(futures)}
    return [found[i] for i in range(len(questions))]


def _told(answer: Density | Refusal, finished: Callable[[], None] | None) -> Density | Refusal:
    if finished is not None:
        finished()
    return answer


def _answer(question: Question) -> Density | Refusal:
    try:
        return find_density(question.crowd, question.slo, _catalog(question.profiles), question.confidence)
    except SimvirtError as error:
        return Refusal(getattr(error, "problems", (str(error),)))


@cache
def _catalog(profiles: tuple[Path, ...]) -> Catalog:
    """Made once in a process."""
    return Catalog.builtin(*profiles)
