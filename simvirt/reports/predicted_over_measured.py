"""A page of panels, predicted over measured on logarithmic axes: one panel per case, the diagonal with a band of ten per cent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from simvirt.reports.style import SIZE_IN, add_caption

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PANELS", "predicted_over_measured"]

PANELS: Final = 6
"""On one page."""
_COLUMNS: Final = 3
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#B8578F", "#7A5C3A", "#C98A00", "#3A9BDC", "#000000")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_BAND: Final = 0.10
_PLAIN_DECADES: Final = 2.0
"""Up to so many decades ticks are few and written out."""


def predicted_over_measured(cases: Mapping[str, pd.DataFrame], *, title: str, caption: str, headings: Mapping[str, str]) -> Figure:
    """At most `PANELS` cases. A frame has the columns platform, unit, measured, predicted, low, high, role.

    Values of one panel may have several units: each is drawn as a number in its own. Calibration has open markers, validation filled
    ones with the band of the costs.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    figure.suptitle(title, x=0.012, y=0.985, ha="left", va="top", weight="bold")
    rows = 1 if len(cases) <= _COLUMNS else 2
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    places = [axes for line in grid for axes in line]
    for axes in places[len(cases) :]:
        axes.set_visible(False)
    for axes, (name, frame) in zip(places, cases.items(), strict=False):
        _draw(axes, frame)
        axes.set_title(headings[name], loc="left", fontsize=11.5)
    for line in grid:
        line[0].set_ylabel("Predicted")
    for axes in places[max(0, len(cases) - _COLUMNS) : len(cases)]:
        axes.set_xlabel("Measured")
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.97), h_pad=1.2, w_pad=1.4)
    return figure


def _draw(axes: Axes, frame: pd.DataFrame) -> None:
    ends = [value for column in ("measured", "predicted", "low", "high") for value in frame[column] if value > 0]
    low, high = min(ends) / 1.5, max(ends) * 1.5
    axes.set_xscale("log")
    axes.set_yscale("log")
    diagonal = (low, high)
    below, above = ([factor * x for x in diagonal] for factor in (1 - _BAND, 1 + _BAND))
    axes.fill_between(diagonal, below, above, color="#D0D0D0", linewidth=0)
    axes.plot(diagonal, diagonal, color="#555555", linewidth=1)
    for i, (platform, mine) in enumerate(frame.groupby("platform", sort=False)):
        _draw_platform(axes, mine, str(platform), _COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)])
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.tick_params(labelsize=10)
    if math.log10(high / low) < _PLAIN_DECADES:
        _plain_ticks(axes, low, high)
    legend = axes.legend(loc="best", fontsize=9, handletextpad=0.2, labelspacing=0.25, borderaxespad=0.2, frameon=True)
    legend.get_frame().set(alpha=0.8, linewidth=0)


def _draw_platform(axes: Axes, frame: pd.DataFrame, label: str, colour: str, marker: str) -> None:
    scored = frame[frame["role"] == "validation"]
    axes.vlines(scored["measured"], scored["low"], scored["high"], color=colour, linewidth=1.2, alpha=0.45)
    for role, face in (("calibration", "none"), ("validation", colour)):
        mine = frame[frame["role"] == role]
        if not mine.empty:
            words = label if role == "validation" else f"{label} (calibration)"
            points = (mine["measured"], mine["predicted"])
            axes.plot(*points, linestyle="none", marker=marker, markersize=5.5, color=colour, markerfacecolor=face, label=words)


def _plain_ticks(axes: Axes, low: float, high: float) -> None:
    """A few ticks with their numbers: 1, 2, 5 of each decade, or finer where less than a decade is shown."""
    steps = (1, 2, 5) if math.log10(high / low) > 1 else (1, 1.5, 2, 3, 5, 7)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [step * 10.0**decade for decade in range(first, last + 1) for step in steps if low <= step * 10.0**decade <= high]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, labels=[_short(tick) for tick in ticks])
        axis.set_ticks([], minor=True)


def _short(number: float) -> str:
    """20000 as 20k, 2000000 as 2M."""
    if number >= 1e6:
        return f"{number / 1e6:g}M"
    return f"{number / 1e3:g}k" if number >= 1e4 else f"{number:g}"
