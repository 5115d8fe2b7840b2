"""What a folder of results says in words: the question, what was expected, and the answer, made from the tables by rules."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Asked", "about"]


class Asked(Protocol):
    """A question with its rules for an answer; an experiment is one."""

    @property
    def name(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def expected(self) -> str: ...
    @property
    def chart(self) -> str: ...
    @property
    def answer(self) -> Callable[[Mapping[str, pd.DataFrame]], Sequence[str]]: ...


def about(asked: Asked, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """The content of `answer.json`. Tables are taken as they read on disk, so that it can be made again from the folder alone."""
    as_written = {name: _reread(frame) for name, frame in tables.items() if name != "runs"}
    return {
        "experiment": asked.name,
        "question": asked.question,
        "expected": asked.expected,
        "chart": asked.chart,
        "answer": list(asked.answer(as_written)),
    }


def _reread(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.read_csv(io.StringIO(frame.to_csv(index=False)), low_memory=False)
