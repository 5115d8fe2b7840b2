"""Predicted over measured: the curves above, the error of each point below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simvirt.reports.style import SIZE_IN, add_caption

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PredictionPanel", "prediction_chart", "scores"]

MEASURED: Final = "#222222"
_TICKS: Final = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionPanel:
    """One condition: a frame with columns x, measured, predicted, range_low, range_high, error; and how it is shown."""

    title: str
    colour: str
    frame: pd.DataFrame
    calibration: bool = False
    """Whether these rows set the workload, so that agreement says nothing."""


def prediction_chart(
    panels: Sequence[PredictionPanel],
    *,
    title: str,
    x_label: str,
    y_label: str,
    factor: float,
    caption: str,
    x_scale: str = "log",
    x_ticks: Sequence[float] = _TICKS,
) -> Figure:
    """A column for each condition: measured points, the predicted curve with its band, and the error of each point in per cent."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    figure.suptitle(title, x=0.012, y=0.985, ha="left", va="top", weight="bold")
    grid: Any = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(2.2, 1))
    for column, panel in enumerate(panels):
        _draw_curves(grid[0][column], panel, factor)
        _draw_errors(grid[1][column], panel)
        grid[1][column].set_xlabel(x_label)
        _scale(grid[1][column], x_scale, x_ticks)
    grid[0][0].set_ylabel(y_label)
    grid[1][0].set_ylabel("Error (%)")
    highest = max(panel.frame[["measured", "predicted", "range_high"]].max().max() for panel in panels)
    grid[0][0].set_ylim(0, highest * factor * 1.05)
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.995), h_pad=1.0, w_pad=1.2)
    return figure


def _draw_curves(axes: Axes, panel: PredictionPanel, factor: float) -> None:
    frame = panel.frame
    band = (frame["range_low"] * factor, frame["range_high"] * factor)
    axes.fill_between(frame["x"], *band, color=panel.colour, alpha=0.2, linewidth=0)
    word = "fitted" if panel.calibration else "predicted"
    axes.plot(frame["x"], frame["predicted"] * factor, color=panel.colour, linewidth=2.2, label=word)
    axes.plot(frame["x"], frame["measured"] * factor, color=MEASURED, marker="o", markersize=5, linestyle="none", label="measured")
    axes.set_title(panel.title, loc="left", color=panel.colour)
    axes.legend(loc="lower right")


def _draw_errors(axes: Axes, panel: PredictionPanel) -> None:
    axes.axhline(0, color=MEASURED, linewidth=1)
    axes.axhspan(-10, 10, color="#DDDDDD", alpha=0.5, linewidth=0)
    axes.vlines(panel.frame["x"], 0, panel.frame["error"] * 100, color=panel.colour, linewidth=3)


def _scale(axes: Axes, x_scale: str, ticks: Sequence[float]) -> None:
    axes.set_xscale(x_scale)
    axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def scores(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Number of points, median and largest absolute error of a table with a column `error`, by the levels of some of its columns."""
    grouped = table.assign(absolute=table["error"].abs()).groupby(list(by))["absolute"]
    return grouped.agg(points="count", median_absolute_error="median", largest_absolute_error="max").reset_index()
