"""Judged rows and summaries as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from simvirt.validation.score import Judged, Summary

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "rows_frame", "summary_frame"]

COLUMNS: Final = (
    "source_key", "place", "platform", "condition", "metric", "unit", "baseline", "measured", "predicted", "low", "high", "error", "role",
)  # fmt: skip
"""Of the table of rows, in order."""


def rows_frame(rows: Iterable[Judged]) -> pd.DataFrame:
    """One line per measured row, numbers in the row's unit; what there is not is missing."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.DataFrame([_cells(one) for one in rows], columns=list(COLUMNS))


def _cells(one: Judged) -> Mapping[str, str | float]:
    row = one.row
    said = {"source_key": row.source_key, "place": row.place, "platform": row.platform, "condition": one.condition, "metric": row.metric}
    numbers = {"baseline": one.baseline, "measured": row.value, "predicted": one.predicted, "low": one.low, "high": one.high}
    return {**said, "unit": row.unit, **numbers, "error": one.error, "role": one.role.value}


def summary_frame(summaries: Iterable[Summary]) -> pd.DataFrame:
    """One line per case."""
    import pandas as pd  # noqa: PLC0415 - slow to import

    return pd.DataFrame([one.cells() for one in summaries])
