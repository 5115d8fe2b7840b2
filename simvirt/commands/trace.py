"""`simvirt run --trace`: the timeline of a window of the first replication, for viewers of traces."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Final

from simvirt.catalog import Catalog
from simvirt.errors import ScenarioError, UnitError
from simvirt.metrics.tidy import write_bytes_atomic
from simvirt.reports.timeline import chrome_trace
from simvirt.scenario import Run, Scenario
from simvirt.simulation.watch import watched
from simvirt.units import format_quantity, parse_quantity

__all__ = ["trace_window", "write_trace"]

_WINDOW_S: Final = 0.1
"""Looked at after warm-up, unless a window is given."""


def trace_window(text: str | None, run: Run) -> tuple[float, float]:
    """Start and end in seconds of a window such as `0.5 s..0.6 s`; the first 100 ms after warm-up without one. Raises ScenarioError."""
    if text is None:
        return run.warm_up_s, min(run.duration_s, run.warm_up_s + _WINDOW_S)
    first, dots, second = text.partition("..")
    try:
        start_s, end_s = parse_quantity(first, "time"), parse_quantity(second, "time")
    except UnitError as error:
        problem = str(error) if dots else "no two times"
        raise ScenarioError(f"--trace-window: {text!r}: {problem}; write two times, such as 0.5s..0.6s") from None
    if not 0.0 <= start_s < end_s <= run.duration_s:
        run_s = format_quantity(run.duration_s, "time")
        raise ScenarioError(f"--trace-window: {text!r}; the end must be after the start, both within the {run_s} of a run")
    return start_s, end_s


def write_trace(scenario: Scenario, catalog: Catalog, window: tuple[float, float], path: Path) -> list[str]:
    """Run the first replication once more, look at the window, write the file, and say what is in it."""
    simulation, seen = watched(scenario, catalog, *window)
    simulation.run()
    about = {
        "scenario": scenario.name,
        "platform": scenario.platform,
        "machine": scenario.machine or catalog.platform(scenario.platform).machine,
        "scheduler": scenario.scheduler,
        "seed": scenario.run.seed,
        "digest": scenario.digest(),
    }
    write_bytes_atomic(chrome_trace(seen.slices, seen.levels, about), path)
    end_s = min(seen.end_s, seen.full_at_s)
    span = f"{format_quantity(seen.start_s, 'time')} to {format_quantity(end_s, 'time')}"
    told = [f"{path}: {len(seen.slices)} slices from {span} of replication 0; open it in Perfetto or speedscope"]
    return told if seen.full_at_s == inf else [*told, "The window was cut off there: it held too much for a viewer. Choose a shorter one."]
