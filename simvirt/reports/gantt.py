"""What happened when, lane by lane: a chart for slides, and the same in letters for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from simvirt.reports.style import SIZE_IN, WAIT, add_caption, add_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Bar", "draw_lanes", "gantt_chart", "gantt_text"]

_COLOURS: Final = ("#8DA3B4", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#B8578F", "#000000", "#7A5C3A", "#F2CF8F")
"""After Okabe and Ito: told apart by colour-blind readers."""
_HATCHES: Final = ("", "///", "...")
"""For kinds beyond the colours."""
_MOST_LANES: Final = 40
_FEWEST_LANES: Final = 8
"""Room that is left even if there are fewer, so that bars stay slender."""


class Bar(Protocol):
    """A span of time."""

    @property
    def lane(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...


def gantt_chart(bars: Sequence[Bar], *, title: str, caption: str) -> Figure:
    """A row for each lane, in the order in which they first do something; a colour for each kind of span."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, title)
    axes = figure.subplots()
    draw_lanes(axes, bars, kinds(bars))
    axes.set_xlabel("Time (s)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935))
    return figure


def draw_lanes(axes: Axes, bars: Sequence[Bar], order: Sequence[str]) -> None:
    """Draw lanes; `order` says which kind has which colour, the same in several charts."""
    names = lanes(bars)[:_MOST_LANES]
    seen: set[str] = set()
    for bar in bars:
        if bar.lane in names:
            i = order.index(bar.kind)
            look: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.6, "label": bar.kind if bar.kind not in seen else None}
            look |= {"color": _COLOURS[i % len(_COLOURS)], "hatch": _HATCHES[i // len(_COLOURS) % len(_HATCHES)]}
            if bar.kind == "wait":
                look |= {"color": WAIT, "hatch": ""}
            axes.barh(names.index(bar.lane), bar.end_s - bar.start_s, left=bar.start_s, height=0.7, **look)
            seen.add(bar.kind)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), _FEWEST_LANES) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, None)


def kinds(bars: Sequence[Bar]) -> list[str]:
    """Kinds of span, in the order in which they first begin."""
    return list(dict.fromkeys(bar.kind for bar in sorted(bars, key=lambda b: (b.start_s, b.end_s))))


def lanes(bars: Sequence[Bar]) -> list[str]:
    """Lanes, in the order in which they first do something."""
    return list(dict.fromkeys(bar.lane for bar in sorted(bars, key=lambda b: (b.start_s, b.end_s))))


def gantt_text(bars: Sequence[Bar], width: int = 60) -> list[str]:
    """The same as text: a line for each lane, a letter for each kind, and what the letters mean."""
    if not bars:
        return ["nothing took any time"]
    end = max(bar.end_s for bar in bars)
    letters = _letters(kinds(bars))
    names = lanes(bars)
    room = min(28, max(map(len, names)))
    lines = []
    for name in names:
        cells = [" "] * width
        for bar in sorted((b for b in bars if b.lane == name), key=lambda b: b.start_s):
            first = min(width - 1, int(bar.start_s / end * width))
            last = max(first + 1, min(width, round(bar.end_s / end * width)))
            cells[first:last] = letters[bar.kind] * (last - first)
        lines.append(f"{name[:room]:<{room}} |{''.join(cells)}|")
    lines.append(f"{'':<{room}} 0{f'{end:.3g} s':>{width + 1}}")
    return [*lines, "", *(f"{letter}  {kind}" for kind, letter in letters.items())]


def _letters(names: Sequence[str]) -> dict[str, str]:
    """The first letter of a kind that no other kind has taken."""
    found: dict[str, str] = {}
    for name in names:
        wishes = [c for c in name if c.isalnum()] + [c.upper() for c in name if c.isalnum()] + [str(d) for d in range(10)]
        found[name] = next((c for c in wishes if c not in found.values()), "#")
    return found
