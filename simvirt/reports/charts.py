"""Charts of platforms side by side: over load in a panel for each family, of parts of time, of slowdowns in a table.

Every function takes frames of a study's summary and gives a figure that is not shown. A saturated point has no response time: it is marked at the
upper edge of its panel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simvirt.reports.style import BASELINE, FAMILIES, SIZE_IN, WAIT, add_caption, colour_of_kind, line_of, shades

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Axis", "Platforms", "family_panels", "labelled_lines", "load_steps", "slowdown_table", "time_stacks"]

_SATURATED_NOTE: Final = "▲ at the upper edge: saturated, requests queue up as long as the run lasts, so there is no response time to show."


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A column to draw, how it is written, and by how much it is multiplied."""

    column: str
    label: str
    factor: float = 1.0
    log: bool = False


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

    def colour(self, name: str) -> str:
        """Its own shade of the family's colour."""
        family = self.families[name]
        members = self.of(family)
        return shades(FAMILIES[family].colour, len(members))[members.index(name)] if name in members else BASELINE


def _figure(title: str) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    figure = Figure(figsize=SIZE_IN)
    figure.suptitle(title, x=0.012, y=0.985, ha="left", va="top", weight="bold")
    return figure


def _lay_out(figure: Figure, caption: str, *, top: float = 0.93) -> None:
    bottom = add_caption(figure, caption)
    figure.tight_layout(rect=(0.0, bottom, 1.0, top), h_pad=1.2, w_pad=1.2)


# --- Over load, a panel for each family ------------------------------------------------------------------------------


def family_panels(
    estimates: pd.DataFrame, saturated: pd.DataFrame, platforms: Platforms, x: Axis, y: Axis, title: str, caption: str, floor: float | None = None
) -> Figure:
    """An estimate over load, the baseline in every panel, with the interval of each point as a band.

    `estimates` has columns platform, x, mean, low, high; `saturated` platform and x of the points without a response time.
    """
    figure = _figure(title)
    families = platforms.panels()
    columns = min(4, max(1, len(families)))
    rows = -(-len(families) // columns)
    grid: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, family in zip(grid.flat, families, strict=False):
        axes.set_title(FAMILIES[family].title, color=FAMILIES[family].colour, loc="left")
        _draw_lines(axes, estimates, [platforms.baseline, *platforms.of(family)], platforms, x, y)
        if y.log:
            axes.set_yscale("log")
    _limit(grid[0][0], estimates, y, floor)
    for axes, family in zip(grid.flat, families, strict=False):
        _mark_saturated(axes, saturated, [platforms.baseline, *platforms.of(family)], platforms, x)
        axes.legend(loc="upper left", handlelength=2.2, labelspacing=0.25, borderaxespad=0.1)
    for axes in grid.flat[len(families) :]:
        axes.set_axis_off()
    for i, axes in enumerate(grid.flat[: len(families)]):
        if i + columns >= len(families):
            axes.set_xlabel(x.label)
            axes.tick_params(labelbottom=True)
        if i % columns == 0:
            axes.set_ylabel(y.label)
    _lay_out(figure, f"{caption}\n{_SATURATED_NOTE}")
    return figure


def _draw_lines(axes: Axes, estimates: pd.DataFrame, names: Sequence[str], platforms: Platforms, x: Axis, y: Axis) -> None:
    for i, name in enumerate(names):
        own = estimates[estimates["platform"] == name].sort_values(x.column)
        at = own[x.column] * x.factor
        colour = platforms.colour(name)
        axes.fill_between(at, own["low"] * y.factor, own["high"] * y.factor, color=colour, alpha=0.2, linewidth=0)
        axes.plot(at, own["mean"] * y.factor, color=colour, label=name, zorder=2 if i else 3, **line_of(i))


def _limit(axes: Axes, estimates: pd.DataFrame, y: Axis, floor: float | None) -> None:
    """Room above the highest point for the legend and for the marks at the edge."""
    known = (estimates["mean"] * y.factor).dropna()
    if known.empty:
        axes.set_ylim(*((0.1, 10.0) if y.log else (0.0, 1.0)))
        return
    low, high = float(known.min()), float(known.max())
    if y.log:
        axes.set_ylim(floor if floor is not None else low / 1.3, high * max(3.0, high / low) ** 0.9)
    else:
        axes.set_ylim(floor if floor is not None else 0.0, high * 1.6)


def _mark_saturated(axes: Axes, saturated: pd.DataFrame, names: Sequence[str], platforms: Platforms, x: Axis) -> None:
    """Marks just under the upper edge, one row for each platform that has any."""
    row = 0
    for name in names:
        own = saturated[saturated["platform"] == name]
        if len(own):
            height = 0.985 - 0.045 * row
            transform = axes.get_xaxis_transform()
            axes.plot(own[x.column] * x.factor, [height] * len(own), "^", color=platforms.colour(name), transform=transform, clip_on=False, ms=7)
            row += 1


# --- Lines with their names at the end -------------------------------------------------------------------------------


def labelled_lines(panels: Sequence[tuple[str, pd.DataFrame, Axis]], platforms: Platforms, x: Axis, title: str, caption: str) -> Figure:
    """Panels side by side, every platform in each, named at the right end of its line."""
    figure = _figure(title)
    grid: Any = figure.subplots(1, len(panels), squeeze=False)
    _lay_out(figure, caption, top=0.9)
    for axes, (heading, estimates, y) in zip(grid.flat, panels, strict=True):
        place = axes.get_position()
        axes.set_position((place.x0 + 0.015, place.y0 + 0.05, place.width - 0.16, place.height - 0.05))
        axes.set_title(heading, loc="left")
        axes.set_xlabel(x.label)
        axes.set_ylabel(y.label)
        _draw_lines(axes, estimates, platforms.ordered(), platforms, x, y)
        axes.set_ylim(bottom=0.0)
        _label_ends(axes, estimates, platforms, x, y)
    return figure


def _label_ends(axes: Axes, estimates: pd.DataFrame, platforms: Platforms, x: Axis, y: Axis) -> None:
    """Names at the ends of lines, pushed apart until they do not touch."""
    last = estimates.sort_values(x.column).groupby("platform").tail(1).sort_values(["mean", "platform"])
    low, high = axes.get_ylim()
    wanted = [float(value) * y.factor for value in last["mean"]]
    gap = (high - low) / 21.0
    places = _spread(wanted, gap, low + 0.5 * gap, high)
    for name, value, place, end in zip(last["platform"], wanted, places, last[x.column], strict=True):
        axes.annotate(
            name,
            xy=(float(end) * x.factor, value),
            xytext=(1.08, (place - low) / (high - low)),
            textcoords="axes fraction",
            color=platforms.colour(name),
            va="center",
            fontsize=12,
            arrowprops={"arrowstyle": "-", "color": platforms.colour(name), "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3},
        )


def _spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places in ascending order, at least `gap` apart and within bounds where there is room, near the wanted ones."""
    places: list[float] = []
    for value in wanted:
        places.append(max(value, places[-1] + gap if places else low))
    ceiling = high
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    return places


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
    frame = own.groupby(["platform", "wait", "kind", "cause"], as_index=False)["mean_s"].sum()
    return frame.assign(us=frame["mean_s"] * 1e6)


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
    named = frame.assign(kind=[kind for kind, _ in folded], cause=[cause for _, cause in folded])
    return named.groupby(["platform", "wait", "kind", "cause"], as_index=False)["us"].sum()


def _looks(labels: Sequence[Label]) -> dict[Label, dict[str, Any]]:
    """How each label is drawn, in the order of the stack: work from the hardware up, then waits."""
    from simvirt.reports.style import KINDS  # noqa: PLC0415

    order = {kind: i for i, kind in enumerate(KINDS)}
    distinct = sorted(set(labels), key=lambda label: (label[0], order.get(label[1], len(order)), label[2] == "other", label[2]))
    looks: dict[Label, dict[str, Any]] = {}
    for wait, kind in dict.fromkeys((wait, kind) for wait, kind, _ in distinct):
        mine = [label for label in distinct if label[:2] == (wait, kind)]
        for label, colour in zip(mine, shades(colour_of_kind(kind), len(mine), reach=0.7), strict=True):
            looks[label] = {"facecolor": WAIT, "edgecolor": colour_of_kind(kind), "hatch": "///"} if wait else {"facecolor": colour, "edgecolor": "white"}
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
        tick.set_color(platforms.colour(name))
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


def slowdown_table(estimates: pd.DataFrame, saturated: pd.DataFrame, platforms: Platforms, column: str, title: str, caption: str) -> Figure:
    """A cell for each platform and level of `column`: slowdown ± half-width, coloured by the logarithm of the slowdown."""
    from matplotlib.colors import LogNorm  # noqa: PLC0415 - slow to import

    names, levels = platforms.ordered(), sorted(set(estimates[column]) | set(saturated[column]))
    known = {(p, v): (m, h) for p, v, m, h in zip(estimates["platform"], estimates[column], estimates["mean"], estimates["half_width"], strict=True)}
    full = set(zip(saturated["platform"], saturated[column], strict=True))
    means = [[known.get((name, level), (float("nan"),))[0] for level in levels] for name in names]
    figure = _figure(title)
    axes: Any = figure.subplots()
    highest = max((m for line in means for m in line if m == m), default=2.0)
    image = axes.imshow(means, aspect="auto", cmap="YlOrRd", norm=LogNorm(1.0, max(2.0, 1.5 * highest)))
    for i, name in enumerate(names):
        for j, level in enumerate(levels):
            text = "saturated" if (name, level) in full else _cell(*known.get((name, level), (float("nan"), float("nan"))))
            dark = means[i][j] == means[i][j] and image.norm(means[i][j]) > 0.65
            axes.text(j, i, text, ha="center", va="center", fontsize=12, color="white" if dark else "black")
    axes.set_xticks(range(len(levels)), levels)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(names)), names)
    for tick, name in zip(axes.get_yticklabels(), names, strict=True):
        tick.set_color(platforms.colour(name))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    _lay_out(figure, caption)
    return figure


def _cell(mean: float, half_width: float) -> str:
    if mean != mean:
        return "–"
    digits = 2 if mean < 10 else 1
    return f"{mean:.{digits}f}" + (f" ± {half_width:.{digits}f}" if half_width == half_width else "")


# --- Steps of another load -------------------------------------------------------------------------------------------


def load_steps(
    panels: Sequence[tuple[str, pd.DataFrame, Axis]], saturated: pd.DataFrame, platforms: Platforms, column: str, levels: Sequence[str], title: str, caption: str
) -> Figure:
    """Panels of estimates over named levels, a line for each platform, intervals as bars."""
    figure = _figure(title)
    grid: Any = figure.subplots(1, len(panels), squeeze=False)
    place = {level: float(i) for i, level in enumerate(levels)}
    names = platforms.ordered()
    for axes, (heading, estimates, y) in zip(grid.flat, panels, strict=True):
        for i, name in enumerate(names):
            own = estimates[estimates["platform"] == name]
            own = own.assign(at=own[column].map(place)).sort_values("at")
            shift = 0.05 * (i - (len(names) - 1) / 2)
            axes.errorbar(own["at"] + shift, own["mean"] * y.factor, own["half_width"] * y.factor, color=platforms.colour(name), capsize=4, label=name, **line_of(i))
        if y.log:
            axes.set_yscale("log")
        _limit(axes, estimates, y, None)
        full = saturated.assign(at=saturated[column].map(place))
        _mark_saturated(axes, full, names, platforms, Axis(column="at", label=""))
        axes.set_xticks(list(place.values()), levels)
        axes.set_xlim(-0.4, len(levels) - 0.6)
        axes.set_title(heading, loc="left")
        axes.set_ylabel(y.label)
        axes.legend(loc="upper left")
    _lay_out(figure, f"{caption}\n{_SATURATED_NOTE}")
    return figure
