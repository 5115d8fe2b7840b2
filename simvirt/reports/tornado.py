"""A tornado: for each cost a bar from the response at the low end of its range to the response at the high end, the longest on top."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any, Final

from simvirt.reports.style import SIZE_IN, add_caption

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["tornado_chart"]

_COLOURS: Final = {"low": "#0072B2", "high": "#D55E00"}
_OFFSET: Final = {"low": 0.19, "high": -0.19}
_ROWS: Final = 24
"""Bars that a slide has room for, all panels together."""
_SCALES: Final = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (float("inf"), 1.0, "s"))


def tornado_chart(frame: pd.DataFrame, words: str) -> Figure:
    """A panel for each platform of a table of `simvirt sensitivity`; `words` is what the response is called."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    platforms = list(dict.fromkeys(frame["platform"]))
    shown = max(3, _ROWS // len(platforms))
    panels = [frame[frame["platform"] == name].head(shown).iloc[::-1] for name in platforms]
    figure = Figure(figsize=SIZE_IN)
    figure.text(0.012, 0.98, f"Which cost decides the {words}?", ha="left", va="top", weight="bold", fontsize=18)
    heights = [len(panel) + 1.0 for panel in panels]
    grid: Any = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    factor, unit = _scale(frame)
    for axes, panel, name in zip(grid.flat, panels, platforms, strict=True):
        _draw(axes, panel, factor, unit)
        base = float(panel["base"].iloc[0]) * factor
        at = "saturated" if isnan(base) else f"{base:,.4g} {unit}"
        axes.set_title(f"{name}: {at}", loc="left")
    grid.flat[-1].set_xlabel(f"Change of the {words} ({unit})")
    handles = [_patch(end) for end in _COLOURS]
    figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(0.99, 0.985), ncols=2)
    bottom = add_caption(figure, _caption(frame, shown))
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.94), h_pad=0.8)
    return figure


def _scale(frame: pd.DataFrame) -> tuple[float, str]:
    unit = str(frame["unit"].iloc[0])
    if unit != "s":
        return 1.0, unit
    largest = float(frame[["low_change", "high_change"]].abs().max().max())
    return next((factor, name) for bound, factor, name in _SCALES if not largest >= bound)


def _draw(axes: Axes, panel: pd.DataFrame, factor: float, unit: str) -> None:
    ends = [panel[f"{end}_{part}"] * factor for end in _COLOURS for part in ("change_low", "change_high", "change")]
    reach = max((float(abs(x)) for column in ends for x in column.dropna()), default=1.0) or 1.0
    for end, colour in _COLOURS.items():
        for row, cells in enumerate(panel.to_dict("records")):
            _draw_end(axes, row, cells, end, colour, factor, reach)
    axes.axvline(0.0, color="#222222", linewidth=1.2)
    axes.set_yticks(range(len(panel)), [f"{cost} ({grade})" for cost, grade in zip(panel["cost"], panel["grade"], strict=True)], fontsize=11)
    axes.set_xlim(-1.3 * reach, 1.3 * reach)
    axes.set_ylim(-0.6, len(panel) - 0.4)
    axes.grid(visible=False, axis="y")


def _draw_end(axes: Axes, row: int, cells: dict[Any, Any], end: str, colour: str, factor: float, reach: float) -> None:
    change, low, high = (float(cells[f"{end}_{part}"]) * factor for part in ("change", "change_low", "change_high"))
    at = row + _OFFSET[end]
    if isnan(change):
        axes.text(0.02 * reach, at, f"{cells[end]}: saturated", va="center", fontsize=10, color=colour)
        return
    axes.barh(at, change, height=0.36, color=colour)
    if high > low:
        axes.plot((low, high), (at, at), color="#222222", linewidth=1.1)
    outside = max(change, high) if change >= 0 else min(change, low)
    side = "left" if change > 0 or (change == 0 and end == "high") else "right"
    pad = 0.015 * reach * (1 if side == "left" else -1)
    axes.text(outside + pad, at, str(cells[end]), va="center", ha=side, fontsize=9.5, color="#333333")


def _patch(end: str) -> Any:
    from matplotlib.patches import Patch  # noqa: PLC0415 - slow to import

    return Patch(color=_COLOURS[end], label=f"cost at the {end} end of its range")


def _caption(frame: pd.DataFrame, shown: int) -> str:
    one = frame.iloc[0]
    runs = f"{one['replications']} replications with the same random numbers; lines are {100 * one['confidence']:g} % intervals of the paired change."
    rest = max(int(own["screened"].iloc[0]) - min(len(own), shown) for _, own in frame.groupby("platform"))
    more = f" Up to {rest} further costs have ranges that weigh less." if rest > 0 else ""
    where = f"Scenario {one['scenario']}, tenant {one['tenant']}."
    return f"{where} One cost at a time goes to the ends of its range, written beside its bar; the others stay. {runs}{more}"
