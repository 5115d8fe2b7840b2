"""How far an objective is from being broken as tenants are added: a line per platform that falls through zero at the knee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simvirt.reports.style import FAMILIES, SIZE_IN, add_caption, add_title, line_of, shades

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Knee", "knee_chart"]

MOST_IN_LEGEND: Final = 13
"""Platforms whose names fit in a column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """What was found on one platform."""

    name: str
    family: str
    density: int
    points: tuple[tuple[int, float, float, float], ...]
    """Tenants, and the margin's low, mean and high."""


def knee_chart(knees: Sequence[Knee], *, caption: str) -> Figure:
    """Margins over tenants with their intervals; the answer of each platform as a dotted line."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, "Margin of the objective over tenants per host")
    axes = figure.subplots()
    axes.axhline(0.0, color="#444444", linewidth=1.2)
    members: dict[str, list[Knee]] = {}
    for knee in knees:
        members.setdefault(knee.family, []).append(knee)
    for family, own in members.items():
        for i, (knee, colour) in enumerate(zip(own, shades(FAMILIES[family].colour, len(own)), strict=True)):
            counts = [point[0] for point in knee.points]
            low, mean, high = ([max(-100.0, min(100.0, 100 * point[k])) for point in knee.points] for k in (1, 2, 3))
            around = [[m - lo for m, lo in zip(mean, low, strict=True)], [hi - m for m, hi in zip(mean, high, strict=True)]]
            label = f"{knee.name}: {knee.density}"
            axes.errorbar(counts, mean, yerr=around, color=colour, label=label, capsize=3, elinewidth=1.2, **line_of(i))
            if knee.density:
                axes.axvline(knee.density, color=colour, linestyle=":", linewidth=1.2, alpha=0.6)
    axes.set_xlabel("Tenants per host")
    axes.set_ylabel("Margin of the closest promise (% of its bound)")
    axes.set_ylim(-105.0, 105.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=1 + (len(knees) - 1) // MOST_IN_LEGEND, fontsize=11)
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure
