"""`simvirt start`: how long until something serves on a platform, stage by stage, alone and in company."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import fsum
from pathlib import Path
from typing import Final

from simvirt import __version__
from simvirt.analysis.intervals import mean_interval
from simvirt.catalog import Catalog
from simvirt.commands.lanes import check_outputs, draw_lanes_to
from simvirt.commands.numbers import count_text, interval_text
from simvirt.commands.tables import table
from simvirt.errors import ResultsError
from simvirt.evidence import Grade
from simvirt.layers.contract import costs_of
from simvirt.metrics.tidy import write_json_atomic
from simvirt.reports.gantt import gantt_text
from simvirt.simulation.launch import WAIT, Launch
from simvirt.simulation.starts import Started, Starts, chain_for, start_all
from simvirt.startup import Chain, Program, Requests, Section, Step
from simvirt.units import format_quantity

__all__ = ["start"]

_RIGHT: Final = ("alone", "in this run", "of it waiting", "share")
_MOST_LANES: Final = 12
"""Starts that are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    """A span of one start."""

    lane: str
    kind: str
    start_s: float
    end_s: float


def start(
    catalog: Catalog, starts: Starts, *, chart: Path | None = None, json: Path | None = None
) -> list[str]:
    """Simulate starts and tell where their time goes."""
    check_outputs(chart, json)
    chain, _ = chain_for(starts, catalog)
    found = [start_all(starts, catalog, replication) for replication in range(starts.run.replications)]
    bars = list(_bars(found[0]))
    about = _about(chain)
    lines = [*_head(starts, chain, found), "", *_table(starts, chain, found), "", *gantt_text(bars), "", _drawn(found[0]), about]
    if chart is not None:
        draw_lanes_to(chart, bars, f"Start of {count_text(starts.count, 'tenant')} on {starts.platform}", f"{_drawn(found[0])} {about}")
    if json is not None:
        _write(json, starts, found)
    return lines


def _head(starts: Starts, chain: Chain, found: Sequence[Started]) -> list[str]:
    confidence = starts.run.confidence
    means = [fsum(launch.length_s for launch in one.launches) / len(one.launches) for one in found]
    alone_s = chain.alone_s(instances=starts.running, vcpus=starts.vcpus, cold=starts.cold)
    kept = "nothing in memory" if starts.cold else "files in memory"
    company = f", beside {count_text(starts.running, 'instance')} that run" if starts.running else ""
    machine = chain.stack.names[0]
    lines = [f"Starts on {starts.platform} ({machine}), {starts.way}, {kept}{company}; {count_text(len(found), 'replication')}."]
    lines.append(f"Alone: {format_quantity(alone_s, 'time')} on average.")
    lines.append(f"{count_text(starts.count, 'start')}: {interval_text(mean_interval(means, confidence), 'time')} until one is ready")
    if starts.count > 1:
        last = mean_interval([one.all_ready_s for one in found], confidence)
        lines[-1] += f" on average, {interval_text(last, 'time')} until the last one is"
    failed = sum(one.failed_transactions for one in found) / len(found)
    if failed:
        lines.append(f"{failed:.4g} transactions of the control plane had to be begun anew.")
    return lines


def _table(starts: Starts, chain: Chain, found: Sequence[Started]) -> list[str]:
    launches = [launch for one in found for launch in one.launches]
    total_s = fsum(launch.length_s for launch in launches) / len(launches)
    rows = []
    for step in chain.steps:
        alone_s = step.alone_s(instances=starts.running, vcpus=starts.vcpus, cold=starts.cold)
        spent_s, waited_s = _spent(step, launches)
        times = (format_quantity(seconds, "time") for seconds in (alone_s, spent_s, waited_s))
        rows.append((step.layer, step.stage.name, _resource(step), *times, f"{100 * spent_s / total_s:.1f} %" if total_s else ""))
    return table(("layer", "stage", "on", "alone", "in this run", "of it waiting", "share"), rows, right=_RIGHT)


def _spent(step: Step, launches: Sequence[Launch]) -> tuple[float, float]:
    """Mean time of a stage, and what of it was a wait for others."""
    mine = [piece for launch in launches for piece in launch.pieces if (piece.layer, piece.stage) == (step.layer, step.stage.name)]
    waits = fsum(piece.length_s for piece in mine if piece.cause.startswith(WAIT))
    return fsum(piece.length_s for piece in mine) / len(launches), waits / len(launches)


def _resource(step: Step) -> str:
    """What a stage runs on, in words."""
    match step.stage:
        case Section(lock=lock):
            return f"lock {lock}"
        case Requests(server=server):
            return f"server {server}"
        case Program(sleep_s=sleep_s):
            parts = ["processor", *(["timers"] if sleep_s else []), *(["disk"] if step.reads else [])]
            return ", ".join(parts)
    return step.stage.kind


def _bars(started: Started) -> Iterator[_Bar]:
    """Spans of the first few starts; what follows without a gap and is of one kind is one span."""
    for i, launch in enumerate(started.launches[:_MOST_LANES]):
        bar: _Bar | None = None
        for piece in launch.pieces:
            kind = "wait" if piece.cause.startswith(WAIT) else piece.stage
            if bar is not None and bar.kind == kind:
                bar = replace(bar, end_s=piece.end_s)
                continue
            if bar is not None:
                yield bar
            bar = _Bar(lane=f"start {i + 1}", kind=kind, start_s=piece.start_s, end_s=piece.end_s)
        if bar is not None:
            yield bar


def _drawn(started: Started) -> str:
    drawn = min(_MOST_LANES, len(started.launches))
    which = "All starts" if drawn == len(started.launches) else f"The first {drawn} of {len(started.launches)} starts"
    return f"{which} of the first replication."


def _about(chain: Chain) -> str:
    """How well the numbers behind a chain are known."""
    costs = [cost for step in chain.steps for _, cost in costs_of(step.stage)]
    counts = ", ".join(f"{sum(cost.grade is grade for cost in costs)} {grade}" for grade in Grade)
    return f"{len(costs)} numbers of the chain: {counts}."


def _write(path: Path, starts: Starts, found: Sequence[Started]) -> None:
    record = {
        "simvirt": __version__,
        "starts": {one.name: getattr(starts, one.name) for one in fields(starts) if one.name != "run"},
        "run": starts.run.model_dump(mode="json"),
        "replications": [
            {
                "all_ready_s": one.all_ready_s,
                "failed_transactions": one.failed_transactions,
                "launches": [
                    {"began_s": launch.began_s, "ready_s": launch.ready_s, "pieces": [asdict(piece) for piece in launch.pieces]}
                    for launch in one.launches
                ],
            }
            for one in found
        ],
    }
    try:
        write_json_atomic(record, path)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror}); choose another path") from None
