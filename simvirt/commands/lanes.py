"""What happened when, drawn into a file; and whether files can be written, before any time is spent on what they would hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simvirt.commands.record import check_writable
from simvirt.errors import ResultsError
from simvirt.reports.gantt import Bar, gantt_chart

__all__ = ["check_outputs", "draw_lanes_to"]


def draw_lanes_to(path: Path, bars: Sequence[Bar], title: str, caption: str) -> None:
    """Draw spans of time in lanes."""
    from simvirt.reports.style import chart_style, render  # noqa: PLC0415 - slow to import

    with chart_style():
        files = render(gantt_chart(bars, title=title, caption=caption), path.stem)
    try:
        path.write_bytes(files[f"{path.stem}{path.suffix}"])
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror}); choose another path") from None


def check_outputs(chart: Path | None, json: Path | None) -> None:
    """Raise ResultsError with all that is wrong with where a chart and a record shall go."""
    problems = []
    if chart is not None and chart.suffix not in (".svg", ".png"):
        problems.append(f"{chart}: a chart is written as .svg or .png; choose one of these endings")
    for path in (chart, json):
        try:
            if path is not None:
                check_writable(path)
        except ResultsError as error:
            problems += error.problems
    if problems:
        raise ResultsError(problems)
