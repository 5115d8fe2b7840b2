"""Where the time went, as rows of a table with a bar each: seconds per request by kind of layer, waits apart."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Final

from simvirt.reports.style import KINDS, colour_of_kind
from simvirt.reports.words import is_missing, level_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TimeRow", "TimeTable", "time_tables"]

WAITS: Final = "waits"
_OWN_COLOURS: Final = {"application": "#6B7177", WAITS: "#C4C4C4"}
"""Where a bar must be seen on dark paper as well as on white."""
_CAUSES: Final = 3
_NUMBERED: Final = re.compile(r" \d+$")
_OF_A_PART: Final = ("tenant", "layer", "kind", "cause", "wait", "mean_s", "half_width_s", "share")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRow:
    """One bar."""

    name: str
    seconds: Mapping[str, float]
    """By kind of layer, and waits."""
    causes: Sequence[tuple[str, float]]
    """The largest, with their layer, in seconds."""

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeTable:
    """All bars, and what is the same for them."""

    where: str
    tenant: str
    across: str
    colours: Mapping[str, str]
    """By kind of layer, in the order of the bars."""
    rows: Sequence[TimeRow]


def time_tables(parts: pd.DataFrame, levels: Mapping[str, Hashable] | None = None, first: str | None = None) -> list[TimeTable]:
    """A table for each group of tenants, with bars over the platforms, or over the factor with most levels where there is one platform.

    `levels` are those of the other factors; without them, or where there is nothing at them, the tables are those where most bars are to
    be had. Tenants that are told apart by a number only are averaged. `first` is the baseline, whose bar stands above the others.
    """
    factors = [name for name in parts.columns if name not in _OF_A_PART]
    if parts.empty or "platform" not in factors:
        return []
    across = "platform" if parts["platform"].nunique() > 1 else max(factors, key=lambda name: parts[name].nunique())
    others = [name for name in factors if name != across]
    chosen = _at(parts, levels or dict.fromkeys(others, nan))
    if chosen.empty:
        chosen = _fullest(parts, across, others)
    group = chosen["tenant"].str.replace(_NUMBERED, "", regex=True)
    return [_of_a_group(str(tenant), own, across, others, first) for tenant, own in chosen.groupby(group, sort=True)]


def _of_a_group(tenant: str, own: pd.DataFrame, across: str, others: Sequence[str], first: str | None) -> TimeTable:
    rows = [_row(str(name), bar) for name, bar in own.groupby(across, sort=True)]
    rows.sort(key=lambda row: (row.name != first, row.total, row.name))
    present = {kind for row in rows for kind in row.seconds}
    unknown = sorted(present - KINDS.keys() - {WAITS})
    order = [*(kind for kind in KINDS if kind in present), *unknown, *(present & {WAITS})]
    colours = {kind: _OWN_COLOURS.get(kind) or colour_of_kind(kind) for kind in order}
    same = {name: own[name].iloc[0] for name in others}
    where = ", ".join(f"{name.replace('_', ' ')} {level_text(level)}" for name, level in same.items() if not is_missing(level))
    return TimeTable(where=where, tenant=tenant, across=across.replace("_", " "), colours=colours, rows=rows)


def _at(parts: pd.DataFrame, levels: Mapping[str, Hashable]) -> pd.DataFrame:
    for name, level in levels.items():
        if name in parts.columns:
            parts = parts[parts[name].isna() if is_missing(level) else parts[name] == level]
    return parts


def _fullest(parts: pd.DataFrame, across: str, others: Sequence[str]) -> pd.DataFrame:
    """The parts at the levels of the other factors that have most levels of the first; of equals, those in the middle."""
    if not others:
        return parts
    bars = parts.groupby(list(others), dropna=False, sort=True)[across].nunique()
    full = bars[bars == bars.max()].index
    level = full[len(full) // 2]
    return _at(parts, dict(zip(others, level if isinstance(level, tuple) else (level,), strict=True)))


def _row(name: str, own: pd.DataFrame) -> TimeRow:
    tenants = own["tenant"].nunique()
    kinds = own["kind"].where(~own["wait"].astype(bool), WAITS)
    seconds = {str(kind): float(part) / tenants for kind, part in own.groupby(kinds)["mean_s"].sum().items()}
    labels = own["layer"] + ": " + own["cause"].str.replace("_", " ")
    largest = own.groupby(labels)["mean_s"].sum().sort_values(ascending=False, kind="stable")
    return TimeRow(name=name, seconds=seconds, causes=[(str(label), float(s) / tenants) for label, s in largest.head(_CAUSES).items()])
