"""How charts look: one colour per family, lines that differ without colour, text that a projector carries, the same bytes every time."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FAMILIES", "KINDS", "Family", "add_caption", "add_title", "chart_style", "colour_of_kind", "line_of", "render", "shades"]


@dataclass(frozen=True, slots=True)
class Family:
    """How a family of platforms is written and drawn."""

    title: str
    colour: str


FAMILIES: Final[Mapping[str, Family]] = {
    "native": Family("Native", "#000000"),
    "container": Family("Containers", "#009E73"),
    "type1": Family("Type-1 hypervisors", "#0072B2"),
    "type2": Family("Type-2 hypervisors", "#D55E00"),
    "container_in_vm": Family("Containers in VMs", "#3A9BDC"),
    "microvm": Family("MicroVMs", "#B8578F"),
    "sandbox": Family("Sandboxes", "#C98A00"),
    "nested": Family("Nested VMs", "#7A5C3A"),
}
"""In the order of panels. Colours after Okabe and Ito, told apart by colour-blind readers, some darkened for text on white."""

KINDS: Final[Mapping[str, str]] = {
    "application": "#000000",
    "hardware": "#8DA3B4",
    "operating system": "#56B4E9",
    "guest operating system": "#0072B2",
    "container": "#009E73",
    "hypervisor": "#E69F00",
    "hosted hypervisor": "#D55E00",
    "sandbox": "#B8578F",
}
"""Colour of the time spent in a kind of layer, from the application's side down."""

SIZE_IN: Final = (13.33, 7.5)
"""A slide of 16:9."""
BASELINE: Final = "#000000"
WAIT: Final = "#C4C4C4"

_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: Final[Sequence[Any]] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))


@contextmanager
def chart_style() -> Iterator[None]:
    """Settings under which a figure is made and rendered."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",
        "font.size": 12,
        "axes.titlesize": 14,
        "axes.titleweight": "bold",
        "axes.labelsize": 13,
        "figure.titlesize": 18,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E3E3E3",
        "legend.frameon": False,
        "legend.fontsize": 12,
        "hatch.linewidth": 0.6,
        "svg.hashsalt": "simvirt",
        "svg.fonttype": "none",
    }
    with mpl.rc_context(settings):
        yield


def render(figure: Figure, name: str) -> dict[str, bytes]:
    """The figure as SVG and PNG, by name of file; without a date, so that the same figure gives the same bytes."""
    files = {}
    for extension, about in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=extension, dpi=120, metadata=about)
        files[f"{name}.{extension}"] = buffer.getvalue()
    return files


def line_of(index: int) -> dict[str, Any]:
    """Marker and dashes of the line with that index in its panel."""
    return {"marker": _MARKERS[index % len(_MARKERS)], "linestyle": _DASHES[index % len(_DASHES)], "markersize": 5.5, "linewidth": 2.0}


def shades(colour: str, count: int, *, reach: float = 0.55) -> list[str]:
    """From the colour itself towards white, `count` steps."""
    from matplotlib.colors import to_hex, to_rgb  # noqa: PLC0415 - slow to import

    red, green, blue = to_rgb(colour)
    steps = [reach * i / max(1, count - 1) for i in range(count)]
    return [to_hex((red + (1.0 - red) * step, green + (1.0 - green) * step, blue + (1.0 - blue) * step)) for step in steps]


def colour_of_kind(kind: str) -> str:
    """Colour of a kind of layer; grey for one without an entry."""
    return KINDS.get(kind, "#777777")


def add_title(figure: Figure, title: str) -> None:
    """Write a title at the upper left, over all panels."""
    figure.text(0.012, 0.98, title, ha="left", va="top", weight="bold", fontsize=18)


def add_caption(figure: Figure, text: str, *, columns: int = 150) -> float:
    """Write the assumptions under a chart; give the height that they take, as a fraction of the figure."""
    lines = [line for paragraph in text.split("\n") for line in textwrap.wrap(paragraph, columns)]
    figure.text(0.012, 0.012, "\n".join(lines), fontsize=12, color="#444444", va="bottom", ha="left", linespacing=1.25)
    return 0.025 + len(lines) * 12 * 1.32 / 72 / SIZE_IN[1]
