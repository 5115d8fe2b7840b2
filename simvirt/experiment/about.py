"""What a folder of results says in words: the question, what was expected, and the answer, made from the tables by rules."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from simvirt.experiment.study import Experiment

__all__ = ["about"]


def about(experiment: Experiment, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """The content of `answer.json`. Tables are taken as they read on disk, so that it can be made again from the folder alone."""
    as_written = {name: _reread(frame) for name, frame in tables.items() if name != "runs"}
    return {
        "experiment": experiment.name,
        "question": experiment.question,
        "expected": experiment.expected,
        "chart": experiment.chart,
        "answer": list(experiment.answer(as_written)),
    }


def _reread(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.read_csv(io.StringIO(frame.to_csv(index=False)), low_memory=False)
