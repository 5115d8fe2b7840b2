"""A tornado: for each cost a bar from the response at the low end of its range to the response at the high end, the longest on top."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any, Final

from simvirt.reports.style import SIZE_IN, add_caption, add_title
from simvirt.reports.words import micro

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["tornado_chart"]

_COLOURS: Final = {"low": "#0072B2", "high": "#D55E00"}
_OFFSET: Final = {"low": 0.19, "high": -0.19}
_ROWS: Final = 12
"""Costs that a slide has room for, one panel above the other."""
_FEWEST: Final = 3
_SIDE_BY_SIDE: Final = 3
"""From so many platforms on, panels stand in two columns."""
_ROOM: Final = 0.06
_SCALES: Final = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (float("inf"), 1.0, "s"))


def tornado_chart(frame: pd.DataFrame, words: str) -> Figure:
    """A panel for each platform of a table of `simvirt sensitivity`; `words` is what the response is called."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    platforms = list(dict.fromkeys(frame["platform"]))
    columns = 1 if len(platforms) < _SIDE_BY_SIDE else 2
    rows = -(-len(platforms) // columns)
    shown = max(_FEWEST, _ROWS // rows)
    panels = [frame[frame["platform"] == name].head(shown).iloc[::-1] for name in platforms]
    figure = Figure(figsize=SIZE_IN)
    add_title(figure, f"Which cost decides the {words}?")
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    factor, unit = _scale(frame)
    for axes, panel, name in zip(grid.flat, panels, platforms, strict=False):
        _draw(axes, panel, factor)
        base = float(panel["base"].iloc[0]) * factor
        at = "saturated" if isnan(base) else f"{base:,.4g} {unit}"
        axes.set_title(f"{name}: {at}", loc="left")
        axes.set_xlabel(f"Change ({unit})")
    for axes in grid.flat[len(platforms) :]:
        axes.set_axis_off()
    figure.legend(handles=[_patch(end) for end in _COLOURS], loc="upper right", bbox_to_anchor=(0.995, 0.945), ncols=2)
    bottom = add_caption(figure, _caption(frame, shown))
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.90), h_pad=0.8, w_pad=1.5)
    return figure


def _scale(frame: pd.DataFrame) -> tuple[float, str]:
    unit = str(frame["unit"].iloc[0])
    if unit != "s":
        return 1.0, unit
    largest = float(frame[["low_change", "high_change"]].abs().max().max())
    return next((factor, name) for bound, factor, name in _SCALES if not largest >= bound)


def _draw(axes: Axes, panel: pd.DataFrame, factor: float) -> None:
    parts = [panel[f"{end}_{part}"] * factor for end in _COLOURS for part in ("change_low", "change_high", "change")]
    reached = [float(x) for column in parts for x in column.dropna()]
    low, high = min((0.0, *reached)), max((0.0, *reached))
    span = high - low or 1.0
    for end, colour in _COLOURS.items():
        for row, cells in enumerate(panel.to_dict("records")):
            _draw_end(axes, row, cells, end, colour, factor, span)
    axes.axvline(0.0, color="#222222", linewidth=1.2)
    axes.set_yticks(range(len(panel)), [_label(cells) for cells in panel.to_dict("records")], fontsize=10, linespacing=1.05)
    axes.set_xlim(low - _ROOM * span, high + _ROOM * span)
    axes.set_ylim(-0.6, len(panel) - 0.4)
    axes.grid(visible=False, axis="y")


def _label(cells: dict[Any, Any]) -> str:
    """The cost; under it its grade and range, with the unit once if both ends have it."""
    low, high = (micro(str(cells[end])) for end in ("low", "high"))
    first, _, unit = low.partition(" ")
    return f"{cells['cost']}\n{cells['grade']}, {first if unit == high.partition(' ')[2] else low} to {high}"


def _draw_end(axes: Axes, row: int, cells: dict[Any, Any], end: str, colour: str, factor: float, span: float) -> None:
    change, low, high = (float(cells[f"{end}_{part}"]) * factor for part in ("change", "change_low", "change_high"))
    at = row + _OFFSET[end]
    if isnan(change):
        axes.text(0.02 * span, at, f"at the {end} end: saturated", va="center", fontsize=10, color=colour)
        return
    axes.barh(at, change, height=0.36, color=colour)
    if high > low:
        axes.plot((low, high), (at, at), color="#222222", linewidth=1.1)


def _patch(end: str) -> Any:
    from matplotlib.patches import Patch  # noqa: PLC0415 - slow to import

    return Patch(color=_COLOURS[end], label=f"cost at the {end} end of its range")


def _caption(frame: pd.DataFrame, shown: int) -> str:
    one = frame.iloc[0]
    interval = f"{100 * one['confidence']:g} % intervals of the paired change"
    runs = f"{one['replications']} replications with the same random numbers; lines are {interval}."
    rest = max(int(own["screened"].iloc[0]) - min(len(own), shown) for _, own in frame.groupby("platform"))
    more = f" Up to {rest} further costs have ranges that weigh less." if rest > 0 else ""
    where = f"Scenario {one['scenario']}, tenant {one['tenant']}."
    return f"{where} One cost at a time goes to the ends of its range; the others stay. {runs}{more}"
