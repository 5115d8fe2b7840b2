"""Charts of platforms side by side: over load in a panel for each family, of parts of time, of slowdowns in a table.

Every function takes frames of a study's summary and gives a figure that is not shown. A saturated point has no response time: it is marked
at the upper edge of its panel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, Any, Final

from simvirt.reports.style import BASELINE, FAMILIES, KINDS, SIZE_IN, WAIT, add_caption, add_title, colour_of_kind, line_of, shades

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Axis", "Lines", "Platforms", "family_panels", "line_panels", "load_steps", "slowdown_table", "time_stacks"]

MOST: Final = 0.5
"""A point is saturated when more of its replications are."""

_SATURATED_NOTE: Final = (
    "Marks at the upper edge: ▲ saturated, requests queue up as long as the run lasts and have no response time; △ in some replications."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A column to draw, how it is written, and by how much it is multiplied."""

    column: str
    label: str
    factor: float = 1.0
    log: bool = False
    floor: float | None = None
    """Lower end of the axis, where it is not for the data to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platforms:
    """The platforms of a chart: family by name, and the one that every panel shows."""

    families: Mapping[str, str]
    baseline: str

    def of(self, family: str) -> list[str]:
        return sorted(name for name, own in self.families.items() if own == family and name != self.baseline)

    def panels(self) -> list[str]:
        """Families with a platform besides the baseline, in the order of the palette."""
        return [family for family in FAMILIES if self.of(family)]

    def ordered(self) -> list[str]:
        """The baseline, then family by family."""
        return [self.baseline, *(name for family in FAMILIES for name in self.of(family))]

    def text_colour(self, name: str) -> str:
        """The family's colour, dark enough to read."""
        return FAMILIES[self.families[name]].colour

    def colour(self, name: str) -> str:
        """Its own shade of the family's colour."""
        family = self.families[name]
        members = self.of(family)
        return shades(FAMILIES[family].colour, len(members), reach=0.45)[members.index(name)] if name in members else BASELINE


def _figure(title: str) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    add_title(figure, title)
    return figure


def _lay_out(figure: Figure, caption: str) -> None:
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.935), h_pad=1.0, w_pad=0.8)


def _plain_log(axes: Axes) -> None:
    """A logarithmic axis whose ticks are written as people write numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: PLC0415 - slow to import

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


# --- Over load, a panel for each family ------------------------------------------------------------------------------


def family_panels(
    estimates: pd.DataFrame, saturated: pd.DataFrame, platforms: Platforms, *, x: Axis, y: Axis, title: str, caption: str
) -> Figure:
    """An estimate over load, the baseline in every panel, with the interval of each point as a band.

    `estimates` has columns platform, x, mean, low, high; `saturated` has platform, x and, as mean, the share of saturated replications.
    """
    figure = _figure(title)
    families = platforms.panels()
    columns = min(4, max(1, len(families)))
    rows = -(-len(families) // columns)
    grid: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, family in zip(grid.flat, families, strict=False):
        axes.set_title(FAMILIES[family].title, color=FAMILIES[family].colour, loc="left")
        for i, name in enumerate([platforms.baseline, *platforms.of(family)]):
            look = {"color": platforms.colour(name), "label": name, "zorder": 3 - min(i, 1), **line_of(i)}
            _draw_line(axes, estimates[estimates["platform"] == name], x, y, **look)
        if y.log:
            _plain_log(axes)
    _limit(grid[0][0], estimates, y, room=3.5 if y.log else 2.2)
    for axes, family in zip(grid.flat, families, strict=False):
        _mark_saturated(axes, saturated, "platform", [platforms.baseline, *platforms.of(family)], platforms.colour, x)
        axes.legend(loc="upper left", bbox_to_anchor=(0.09, 0.95), handlelength=2.0, labelspacing=0.2, borderaxespad=0.0)
    for axes in grid.flat[len(families) :]:
        axes.set_axis_off()
    for i, axes in enumerate(grid.flat[: len(families)]):
        if i + columns >= len(families):
            axes.set_xlabel(x.label)
            axes.tick_params(labelbottom=True)
        if i % columns == 0:
            axes.set_ylabel(y.label)
    bottom = add_caption(figure, f"{caption}\n{_SATURATED_NOTE}")
    figure.subplots_adjust(left=0.06, right=0.988, bottom=bottom + 0.085, top=0.88, wspace=0.17, hspace=0.34)
    return figure


def _draw_line(axes: Axes, own: pd.DataFrame, x: Axis, y: Axis, **look: Any) -> None:
    """The estimates of one platform with their band."""
    own = own.sort_values(x.column)
    at = own[x.column] * x.factor
    axes.fill_between(at, own["low"] * y.factor, own["high"] * y.factor, color=look["color"], alpha=0.2, linewidth=0)
    axes.plot(at, own["mean"] * y.factor, **look)


def _limit(axes: Axes, estimates: pd.DataFrame, y: Axis, *, room: float) -> None:
    """Leave room above the highest point, `room` times its height, for the legend and for the marks at the edge."""
    known = (estimates["mean"] * y.factor).dropna()
    if known.empty:
        axes.set_ylim(*((0.1, 10.0) if y.log else (0.0, 1.0)))
        return
    low, high = float(known.min()), float(known.max())
    if y.log:
        axes.set_ylim(y.floor if y.floor is not None else low / 1.2, high * room)
    else:
        bottom = y.floor if y.floor is not None else 0.0
        axes.set_ylim(bottom, bottom + (high - bottom) * room)
        axes.set_yticks([tick for tick in axes.get_yticks() if bottom <= tick <= 1.2 * high])


def _mark_saturated(
    axes: Axes, saturated: pd.DataFrame, column: str, names: Sequence[str], colour_of: Callable[[str], str], x: Axis
) -> None:
    """Marks just under the upper edge, a row for each level of `column` that has any, the fullest first; hollow where few replications
    are."""
    rows = {name: saturated[(saturated[column] == name) & (saturated["mean"] > 0.0)] for name in names}
    marked = sorted((name for name in names if len(rows[name])), key=lambda name: -len(rows[name]))
    transform = axes.get_xaxis_transform()
    for i, name in enumerate(marked):
        colour = colour_of(name)
        for at, share in zip(rows[name][x.column] * x.factor, rows[name]["mean"], strict=True):
            fill = colour if share > MOST else "white"
            axes.plot(at, 0.985 - 0.05 * i, "^", color=colour, markerfacecolor=fill, transform=transform, clip_on=False, markersize=7)


# --- Over load, a panel for each platform ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The column that tells the lines of a panel apart, and the text and colour of each of its levels."""

    column: str
    looks: Mapping[str, tuple[str, str]]

    def colour(self, level: str) -> str:
        return self.looks[level][1]


def line_panels(
    estimates: pd.DataFrame, saturated: pd.DataFrame, panels: Sequence[str], lines: Lines, *, x: Axis, y: Axis, title: str, caption: str
) -> Figure:
    """An estimate over load, a panel for each platform, a line for each level of another factor; frames as for `family_panels`."""
    figure = _figure(title)
    columns = min(2, len(panels))
    grid: Any = figure.subplots(-(-len(panels) // columns), columns, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(grid.flat, panels, strict=False):
        own, full = (frame[frame["platform"] == name] for frame in (estimates, saturated))
        axes.set_title(name, loc="left")
        for i, (level, (text, colour)) in enumerate(lines.looks.items()):
            _draw_line(axes, own[own[lines.column] == level], x, y, color=colour, label=text, **line_of(i))
        if y.log:
            _plain_log(axes)
        _mark_saturated(axes, full, lines.column, list(lines.looks), lines.colour, x)
    _limit(grid[0][0], estimates, y, room=1.8)
    for axes in grid[-1]:
        axes.set_xlabel(x.label)
    for axes in grid[:, 0]:
        axes.set_ylabel(y.label)
    handles, texts = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="upper right", bbox_to_anchor=(0.995, 0.945), ncols=len(texts), columnspacing=1.6)
    bottom = add_caption(figure, f"{caption}\n{_SATURATED_NOTE}")
    figure.tight_layout(rect=(0.0, bottom, 1.0, 0.90), h_pad=1.0, w_pad=1.0)
    return figure


# --- Where the time went ---------------------------------------------------------------------------------------------


def time_stacks(panels: Sequence[tuple[str, pd.DataFrame]], platforms: Platforms, title: str, caption: str, *, shown: int = 14) -> Figure:
    """Stacked bars of mean time per request besides the application's own computing, a panel for each frame of time parts.

    Colour by kind of layer, shade by cause; waits are hatched. The `shown` largest causes have an entry of their own, others join
    the rest of their kind.
    """
    figure = _figure(title)
    grouped = [(heading, _grouped(parts)) for heading, parts in panels]
    kept = _largest([frame for _, frame in grouped], shown)
    grouped = [(heading, _folded(frame, kept)) for heading, frame in grouped]
    looks = _looks([label for _, frame in grouped for label in zip(frame["wait"], frame["kind"], frame["cause"], strict=True)])
    heights = [max(1, frame["platform"].nunique()) for _, frame in grouped]
    grid: Any = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": [h + 1.2 for h in heights]})
    for axes, (heading, frame) in zip(grid.flat, grouped, strict=True):
        _draw_stacks(axes, frame, platforms, looks)
        axes.set_title(heading, loc="left", fontsize=13)
    grid.flat[-1].set_xlabel("Mean time per request besides the application's own computing (µs)")
    handles = _swatches(looks)
    figure.legend(handles=handles, loc="center right", bbox_to_anchor=(0.995, 0.53), labelspacing=0.35, handlelength=1.4)
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 0.70, 0.94), h_pad=0.6)
    return figure


def _grouped(parts: pd.DataFrame) -> pd.DataFrame:
    """Microseconds by platform, kind and cause, without the application's own computing."""
    own = parts[(parts["kind"] != "application") | parts["wait"]]
    return _added(own.assign(us=own["mean_s"] * 1e6))


def _added(parts: pd.DataFrame) -> pd.DataFrame:
    return parts.groupby(["platform", "wait", "kind", "cause"])["us"].sum().reset_index()


Label = tuple[bool, str, str]


def _largest(frames: Sequence[pd.DataFrame], shown: int) -> set[Label]:
    """The causes that take the largest share of some platform's bar."""
    best: dict[Label, float] = {}
    for frame in frames:
        share = frame["us"] / frame.groupby("platform")["us"].transform("sum")
        for wait, kind, cause, part in zip(frame["wait"], frame["kind"], frame["cause"], share, strict=True):
            label = (bool(wait), kind, cause)
            best[label] = max(best.get(label, 0.0), float(part))
    return set(sorted(best, key=lambda label: (-best[label], label))[:shown])


def _folded(frame: pd.DataFrame, kept: set[Label]) -> pd.DataFrame:
    def name(wait: bool, kind: str, cause: str) -> tuple[str, str]:
        if (wait, kind, cause) in kept:
            return kind, cause
        return ("", "other waits") if wait else (kind, "other")

    folded = [name(bool(w), k, c) for w, k, c in zip(frame["wait"], frame["kind"], frame["cause"], strict=True)]
    return _added(frame.assign(kind=[kind for kind, _ in folded], cause=[cause for _, cause in folded]))


def _looks(labels: Sequence[Label]) -> dict[Label, dict[str, Any]]:
    """How each label is drawn, in the order of the stack: work from the hardware up, then waits."""
    order = {kind: i for i, kind in enumerate(KINDS)}
    distinct = sorted(set(labels), key=lambda label: (label[0], order.get(label[1], len(order)), label[2] == "other", label[2]))
    looks: dict[Label, dict[str, Any]] = {}
    for wait, kind in dict.fromkeys((wait, kind) for wait, kind, _ in distinct):
        mine = [label for label in distinct if label[:2] == (wait, kind)]
        for label, colour in zip(mine, shades(colour_of_kind(kind), len(mine), reach=0.7), strict=True):
            work = {"facecolor": colour, "edgecolor": "white"}
            looks[label] = {"facecolor": WAIT, "edgecolor": colour_of_kind(kind), "hatch": "///"} if wait else work
    return looks


def _draw_stacks(axes: Axes, frame: pd.DataFrame, platforms: Platforms, looks: Mapping[Label, Mapping[str, Any]]) -> None:
    names = [name for name in platforms.ordered() if name in set(frame["platform"])][::-1]
    row = {name: i for i, name in enumerate(names)}
    ends = dict.fromkeys(names, 0.0)
    for (wait, kind, cause), look in looks.items():
        for name, us in _of(frame, wait, kind, cause):
            axes.barh(row[name], us, left=ends[name], height=0.78, linewidth=0.5, **look)
            ends[name] += us
    for name, end in ends.items():
        axes.text(end, row[name], f" {end:,.0f}", va="center", ha="left", fontsize=12)
    axes.set_yticks(range(len(names)), names, fontsize=12)
    for tick, name in zip(axes.get_yticklabels(), names, strict=True):
        tick.set_color(platforms.text_colour(name))
    axes.set_xlim(0.0, max(ends.values(), default=1.0) * 1.1)
    axes.set_ylim(-0.6, max(len(names), 1) - 0.4)
    axes.grid(visible=False, axis="y")


def _of(frame: pd.DataFrame, wait: bool, kind: str, cause: str) -> list[tuple[str, float]]:
    mine = frame[(frame["wait"] == wait) & (frame["kind"] == kind) & (frame["cause"] == cause)]
    return list(zip(mine["platform"], mine["us"], strict=True))


def _swatches(looks: Mapping[Label, Mapping[str, Any]]) -> list[Any]:
    from matplotlib.patches import Patch  # noqa: PLC0415 - slow to import

    return [Patch(label=f"{kind}: {cause}".removeprefix(": ").replace("_", " "), **look) for (_, kind, cause), look in looks.items()]


# --- Slowdowns in a table --------------------------------------------------------------------------------------------


def slowdown_table(
    estimates: pd.DataFrame, saturated: pd.DataFrame, platforms: Platforms, *, column: str, title: str, caption: str
) -> Figure:
    """A cell for each platform and level of `column`: slowdown ± half-width, coloured by the logarithm of the slowdown."""
    from matplotlib.colors import LogNorm  # noqa: PLC0415 - slow to import

    names, levels = platforms.ordered(), sorted(set(estimates[column]) | set(saturated[column]))
    cells = zip(estimates["platform"], estimates[column], estimates["mean"], estimates["half_width"], strict=True)
    known = {(name, level): (mean, half_width) for name, level, mean, half_width in cells}
    full = {(p, v): share for p, v, share in zip(saturated["platform"], saturated[column], saturated["mean"], strict=True) if share > 0.0}
    means = [[known.get((name, level), (nan, nan))[0] for level in levels] for name in names]
    figure = _figure(title)
    axes: Any = figure.subplots()
    highest = max((m for line in means for m in line if not isnan(m)), default=2.0)
    image = axes.imshow(means, aspect="auto", cmap="YlOrRd", norm=LogNorm(1.0, max(2.0, 1.5 * highest)))
    for i, name in enumerate(names):
        for j, level in enumerate(levels):
            mean, half_width = known.get((name, level), (nan, nan))
            text = _cell(mean, half_width, full.get((name, level), 0.0), baseline=name == platforms.baseline)
            dark = not isnan(mean) and image.norm(mean) > 0.65
            axes.text(j, i, text, ha="center", va="center", fontsize=12, color=_text_colour(mean, dark))
    axes.set_facecolor("#F0F0F0")
    axes.set_xticks(range(len(levels)), levels)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(names)), names)
    for tick, name in zip(axes.get_yticklabels(), names, strict=True):
        tick.set_color(platforms.text_colour(name))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    _lay_out(figure, caption)
    return figure


def _text_colour(mean: float, dark: bool) -> str:
    if isnan(mean):
        return "#777777"
    return "white" if dark else "black"


def _cell(mean: float, half_width: float, saturated: float, *, baseline: bool) -> str:
    if saturated > 0.0:
        return "saturated" if saturated > MOST else "unsettled"
    if isnan(mean):
        return "–"
    if baseline or isnan(half_width):
        return f"{mean:.2f}"
    digits = 2 if mean < 10 else 1
    return f"{mean:.{digits}f} ± {half_width:.{digits}f}"


# --- Steps of another load -------------------------------------------------------------------------------------------


def load_steps(
    panels: Sequence[tuple[str, pd.DataFrame, Axis]],
    saturated: pd.DataFrame,
    platforms: Platforms,
    *,
    column: str,
    levels: Mapping[str, str],
    title: str,
    caption: str,
) -> Figure:
    """Panels of estimates over levels, written as their texts, a line for each platform, intervals as bars."""
    figure = _figure(title)
    grid: Any = figure.subplots(1, len(panels), squeeze=False)
    place = {level: float(i) for i, level in enumerate(levels)}
    names = platforms.ordered()
    for axes, (heading, estimates, y) in zip(grid.flat, panels, strict=True):
        for i, name in enumerate(names):
            own = estimates[estimates["platform"] == name]
            own = own.assign(at=own[column].map(place)).sort_values("at")
            shift = 0.05 * (i - (len(names) - 1) / 2)
            look = {"color": platforms.colour(name), "capsize": 4, "label": name, **line_of(i)}
            axes.errorbar(own["at"] + shift, own["mean"] * y.factor, own["half_width"] * y.factor, **look)
        if y.log:
            _plain_log(axes)
        _limit(axes, estimates, y, room=1.6)
        full = saturated.assign(at=saturated[column].map(place))
        _mark_saturated(axes, full, "platform", names, platforms.colour, Axis(column="at", label=""))
        axes.set_xticks(list(place.values()), list(levels.values()))
        axes.set_xlim(-0.4, len(levels) - 0.6)
        axes.set_title(heading, loc="left")
        axes.set_ylabel(y.label)
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.95))
    _lay_out(figure, f"{caption}\n{_SATURATED_NOTE}")
    return figure
