"""Charts of what breaks: a map of faults by platforms, and down time beside the closed form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING, Any, Final

from simvirt.reports.style import SIZE_IN, add_caption, add_title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

__all__ = ["Cell", "down_times", "heat_map"]

MISSING: Final = "#DDDDDD"
PALETTE: Final = "cividis_r"
"""Told apart by colour-blind readers, and in grey."""
MINUTES_PER_YEAR: Final = 365 * 1440.0
SIMULATED: Final = "#0072B2"
CLOSED: Final = "#D55E00"


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault on one platform."""

    value: float
    text: str


def heat_map(
    cells: Mapping[tuple[str, str], Cell],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    caption: str,
    label: str,
    most: float | None = None,
) -> Figure:
    """Faults downwards, platforms across; grey where there is no such part, white where there is nothing to tell.

    Colours go up to `most`, or by logarithms where none is given.
    """
    from matplotlib import colormaps  # noqa: PLC0415 - slow to import
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import LogNorm, Normalize  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, title)
    axes = figure.add_axes((0.19, 0.27, 0.72, 0.63))
    known = [cell.value for cell in cells.values() if cell.value > 0]
    norm = Normalize(0.0, most) if most is not None else LogNorm(min(known, default=0.1), max(known, default=1.0))
    palette = colormaps[PALETTE]
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            found = cells.get((row, column))
            blank = found is None or not found.value > 0
            colour = MISSING if found is None else "white" if blank else palette(norm(found.value))
            axes.add_patch(_box(j, i, colour))
            if found is not None and found.text:
                dark = not blank and norm(found.value) > 0.42
                axes.text(j, i, found.text, ha="center", va="center", fontsize=12, color="white" if dark else "black")
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axes.set_yticks(range(len(rows)), [row.replace("-", " ") for row in rows])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(ScalarMappable(norm=norm, cmap=palette), cax=figure.add_axes((0.925, 0.27, 0.012, 0.63)))
    bar.set_label(label)
    add_caption(figure, caption)
    return figure


def _box(x: float, y: float, colour: Any) -> Rectangle:
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    return Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, facecolor=colour, edgecolor="#BBBBBB", linewidth=0.6)


def down_times(frame: pd.DataFrame, platforms: Sequence[str], sets: Sequence[str], *, title: str, caption: str) -> Figure:
    """Down time a year on a logarithmic scale, simulated with intervals, the closed form beside it; one panel for each set of faults."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, title)
    for panel, words in enumerate(sets):
        axes = figure.add_axes((0.125 + 0.465 * panel, 0.25, 0.395, 0.62))
        own = frame[frame["faults"] == words].set_index("platform").reindex(list(platforms))
        down = MINUTES_PER_YEAR * (1.0 - own["availability"])
        half = MINUTES_PER_YEAR * own["half_width"]
        closed = MINUTES_PER_YEAR * (1.0 - own["closed_form"])
        places = list(range(len(platforms)))
        floor = 10 ** (int(log10(max(1e-3, min(down.min(), closed.min())))) - (1 if min(down.min(), closed.min()) < 1 else 0))
        lows = (down - half).clip(lower=floor)
        look: dict[str, Any] = {"fmt": "o", "color": SIMULATED, "capsize": 4, "linewidth": 1.6, "markersize": 9}
        axes.errorbar(down, [place - 0.14 for place in places], xerr=[down - lows, half], label="simulated", **look)
        above = [place + 0.14 for place in places]
        axes.plot(closed, above, marker="D", linestyle="none", color=CLOSED, markersize=7, label="closed form")
        axes.set_xscale("log")
        axes.set_xlim(floor, 3 * max((down + half).max(), closed.max()))
        axes.set_ylim(len(platforms) - 0.4, -0.6)
        axes.set_yticks(places, platforms if panel == 0 else [""] * len(platforms))
        axes.set_xlabel("Down time (min a year)")
        axes.set_title(words)
        axes.legend(loc="lower right", frameon=True)
    add_caption(figure, caption)
    return figure
