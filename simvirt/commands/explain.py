"""`simvirt explain`: one operation's way down a platform's stack, with costs and sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from simvirt.catalog import Catalog
from simvirt.commands.compare import native_platform
from simvirt.commands.costs import cost_table, source_table
from simvirt.commands.numbers import count_text
from simvirt.commands.tables import table
from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Cost
from simvirt.layers.narration import EXAMPLES, Due, Example, Line, narrate
from simvirt.layers.stack import Stack
from simvirt.units import format_quantity

__all__ = ["explain"]


_SMALL: Final = 0.001
"""Part of the whole time below which a piece is not shown."""


def explain(catalog: Catalog, operation: str, platform: str, *, machine: str | None = None) -> list[str]:
    """Tell the way of an operation, what it costs with and without sleepers, and what the numbers rest on."""
    if operation not in EXAMPLES:
        raise CatalogError([f"{operation!r} is no operation that can be explained; {nearest(operation, EXAMPLES)}"])
    stack = catalog.stack(platform, machine)
    example = EXAMPLES[operation]
    lines = narrate(stack, example.demand)
    head = f"{operation}: {example.summary}; platform {platform}, machine {stack.hardware.name}, {stack.hardware.clock_hz}"
    shown = [line for line in lines if line.time_s >= _SMALL * sum(line.time_s for line in lines)]
    way = table(("step", "who", "layer", "cause", "due", "time", "costs behind it"), _rows(shown), right=("time",))
    if small := len(lines) - len(shown):
        way.append(f"Left out: {count_text(small, 'piece')} of less than {100 * _SMALL:g} % of the time each.")
    costs = {f"{owner}.{name}": cost for line in shown for owner, name, cost in line.costs}
    sums = _sums(lines, _baseline(catalog, platform, stack, example))
    return [head, "", *(way if lines else ["It costs nothing there."]), "", *sums, *_evidence(costs, catalog)]


def _rows(lines: Sequence[Line]) -> Iterable[tuple[str, ...]]:
    """A row for each line; the number of a step and who does it stand once."""
    before = 0
    for line in lines:
        first = line.step != before
        before = line.step
        behind = ", ".join(f"{owner}.{name}" for owner, name, _ in line.costs)
        step, who = (str(line.step), line.who) if first else ("", "")
        yield step, who, line.layer, line.cause, line.due, format_quantity(line.time_s, "time"), behind


def _sums(lines: Sequence[Line], baseline: tuple[str, float] | None) -> list[str]:
    awake_s, asleep_s = _awake_s(lines), sum(line.time_s for line in lines)
    told = [f"In all {_time(awake_s)} if everybody is awake" + (f", {_time(asleep_s)} if everybody slept." if asleep_s > awake_s else ".")]
    if baseline is not None:
        name, bare_s = baseline
        ratio = f"; here {awake_s / bare_s:.3g} times as much" if bare_s else ""
        told.append(f"On {name}, everybody awake: {_time(bare_s)}{ratio}.")
    return told


def _baseline(catalog: Catalog, platform: str, stack: Stack, example: Example) -> tuple[str, float] | None:
    """A native platform on the same machine and what the operation takes there; None if the platform is that one or there is none."""
    native = native_platform(catalog)
    if native is None or native == platform:
        return None
    return native, _awake_s(narrate(catalog.stack(native, stack.hardware.name), example.demand))


def _awake_s(lines: Iterable[Line]) -> float:
    return sum(line.time_s for line in lines if line.due == Due.ALWAYS)


def _time(seconds: float) -> str:
    return format_quantity(seconds, "time")


def _evidence(costs: Mapping[str, Cost], catalog: Catalog) -> list[str]:
    if not costs:
        return []
    return ["", *cost_table(costs.items()), "", *source_table(costs.values(), catalog.references)]
