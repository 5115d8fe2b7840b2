"""Looks into tables of results for a sentence: one row at given levels, and how far predictions are off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from simvirt.reports.words import scores_in_words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["at", "estimates", "off_by", "validation_sentence"]


def at(frame: pd.DataFrame, **levels: object) -> pd.DataFrame:
    """The rows at these levels."""
    for name, level in levels.items():
        frame = frame[frame[name] == level]
    return frame


def estimates(frame: pd.DataFrame, by: str, column: str = "mean", **levels: object) -> dict[Any, float]:
    """A number by the levels of one factor, at given levels of others; what was not measured is left out."""
    rows = at(frame, **levels)
    found = zip(rows[by], rows[column], strict=True)
    return {level: float(value) for level, value in found if isfinite(value)}


def off_by(predictions: pd.DataFrame, **levels: object) -> pd.Series:
    """Absolute errors of the predictions that are scored, at given levels."""
    return at(predictions, role="validation", **levels)["error"].abs().dropna()


def validation_sentence(tables: Mapping[str, pd.DataFrame], **levels: object) -> Iterator[str]:
    """How far the scored predictions are off; none if there are none."""
    errors = off_by(tables["predictions"], **levels)
    if len(errors):
        where = "".join(f" of {name.replace('_', ' ')} {level}" for name, level in levels.items())
        yield f"{scores_in_words(len(errors), float(errors.median()), float(errors.max()))}{where}."
