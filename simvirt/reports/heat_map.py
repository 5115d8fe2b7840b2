"""Tables drawn as heat maps: rows by columns, a colour for the size and the value in the cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from simvirt.reports.style import SIZE_IN, add_caption

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Cell", "HeatMap", "heat_maps"]

_NOTHING: Final = "#F2F2F2"
"""Colour of a cell that has no value."""
_DARK: Final = 0.55
"""Level from which on text is white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell says, and how dark it is: from 0 to 1."""

    text: str
    level: float
    is_marked: bool = False
    """Whether it gets a frame of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """One panel. A place without a cell stays empty."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    cells: Mapping[tuple[str, str], Cell]


def heat_maps(panels: Sequence[HeatMap], *, title: str, caption: str, across: int = 2, bar: str = "") -> Figure:
    """Panels side by side, `across` in a row. `bar` names what the colour stands for, from 0 to 100 %."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    down = ceil(len(panels) / across)
    tall = sum(max(len(panel.rows) for panel in panels[i * across : (i + 1) * across]) for i in range(down))
    height = max(SIZE_IN[1], 0.34 * tall + 1.1 * down + 2.2)
    figure = Figure(figsize=(SIZE_IN[0], height))
    figure.text(0.012, 1.0 - 0.02 * SIZE_IN[1] / height, title, ha="left", va="top", weight="bold", fontsize=17)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.set_visible(True)
        _draw(axes, panel)
    bottom = add_caption(figure, caption + (f" Darker: {bar}, from 0 to 100 %." if bar else "")) * SIZE_IN[1] / height
    figure.tight_layout(rect=(0.0, bottom, 1.0, 1.0 - 0.065 * SIZE_IN[1] / height))
    return figure


def _draw(axes: Axes, panel: HeatMap) -> None:
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    shades = colormaps["cividis_r"]
    size = 11 if len(panel.columns) <= 6 else 9
    for i, row in enumerate(panel.rows):
        for j, column in enumerate(panel.columns):
            cell = panel.cells.get((row, column))
            colour = _NOTHING if cell is None else shades(min(1.0, max(0.0, cell.level)))
            marked = cell is not None and cell.is_marked
            look: dict[str, Any] = {"edgecolor": "#D55E00", "linewidth": 2.2, "zorder": 3} if marked else {"edgecolor": "white"}
            axes.add_patch(Rectangle((j - 0.48, i - 0.47), 0.96, 0.94, facecolor=colour, **look))
            if cell is not None:
                ink = "white" if cell.level > _DARK else "black"
                axes.text(j, i, cell.text, ha="center", va="center", fontsize=size, color=ink, zorder=4)
    axes.set_title(panel.title, loc="left", fontsize=13)
    axes.set_xticks(range(len(panel.columns)), panel.columns, rotation=25, ha="right", fontsize=10)
    axes.set_yticks(range(len(panel.rows)), panel.rows, fontsize=10)
    axes.set_xlim(-0.5, len(panel.columns) - 0.5)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
