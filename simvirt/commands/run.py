"""`simvirt run`: what the tenants of a scenario see, how busy the machine is, and where the time went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from simvirt.analysis.intervals import Interval, mean_interval
from simvirt.analysis.warm_up import MULTIPLE
from simvirt.catalog import Catalog
from simvirt.commands.costs import grade_count
from simvirt.commands.faults import fault_report
from simvirt.commands.group import Group, groups_of
from simvirt.commands.memory import memory_report
from simvirt.commands.numbers import UNKNOWN, count_text, interval_text, share_text
from simvirt.commands.point import read_scenario, run_all
from simvirt.commands.record import check_writable, record
from simvirt.commands.scheduling import counter_table
from simvirt.commands.tables import table
from simvirt.commands.trace import trace_window as read_window
from simvirt.commands.trace import write_trace
from simvirt.errors import ScenarioError
from simvirt.evidence import Cost
from simvirt.experiment.runner import Point, PointOutcome
from simvirt.layers.contract import costs_of
from simvirt.metrics.tidy import write_json_atomic
from simvirt.scenario import Run, Scenario
from simvirt.simulation import RunOutcome

__all__ = ["RESPONSE_TIMES", "run", "saturation"]

RESPONSE_TIMES: Final[Mapping[str, str]] = {
    "response time, mean": "response_time_mean_s",
    "p50": "response_time_p50_s",
    "p95": "response_time_p95_s",
    "p99": "response_time_p99_s",
}
"""Words → metric."""

_TIMES: Final = {**RESPONSE_TIMES, "p99.9": "response_time_p999_s"}
_OTHERS: Final = {
    "throughput": ("throughput_per_s", "rate"),
    "offered load": ("offered_load_per_s", "rate"),
    "requests in flight": ("in_flight", "number"),
    "CPU per request": ("cpu_s_per_request", "time"),
}
_SIDE_BY_SIDE: Final = 4
"""Groups in one table."""
_FULL: Final = 0.95
"""Utilisation from which on a device is named as what gives out."""
_SMALL: Final = 0.001
"""Share of the response time below which parts are told together."""

_DEVICES: Final[Mapping[str, Callable[[RunOutcome], float]]] = {
    "CPU": lambda run: run.cpu_utilization,
    "disk": lambda run: run.disk_utilization,
    "network in": lambda run: run.nic_rx_utilization,
    "network out": lambda run: run.nic_tx_utilization,
}


def run(
    catalog: Catalog,
    path: Path,
    *,
    replications: int | None,
    seed: int | None,
    json: Path | None,
    trace: Path | None = None,
    trace_window: str | None = None,
    profiles: Sequence[Path],
) -> list[str]:
    """Run a scenario and tell what was found; write all of it to a JSON file if one is named, and a timeline to a trace file."""
    scenario = read_scenario(path, catalog, replications=replications, seed=seed)
    window = read_window(trace_window, scenario.run)
    for file in (json, trace):
        if file is not None:
            check_writable(file)
    [outcome] = run_all([Point(factors={}, scenario=scenario, profiles=tuple(profiles))])
    if outcome.failures:
        raise ScenarioError(f"replication {failure.replication}: {failure.error}" for failure in outcome.failures)
    groups = groups_of(outcome)
    if json is not None:
        write_json_atomic(record(outcome, groups), json)
    traced = [] if trace is None else ["", *write_trace(scenario, catalog, window, trace)]
    return [*_heading(scenario, catalog), *_report(outcome, groups), *traced, "", _grades(scenario, catalog)]


def _heading(scenario: Scenario, catalog: Catalog) -> list[str]:
    stack = catalog.stack(scenario.platform, scenario.machine, scenario.layer_overrides(catalog))
    time = scenario.run
    runs = f"{count_text(time.replications, 'replication')} of {time.duration_s:g} s"
    window = f"{runs}, the first {time.warm_up_s:g} s not counted, seed {time.seed}"
    return [f"{scenario.name} on platform {scenario.platform}: {' < '.join(stack.names)}", window]


def _report(outcome: PointOutcome, groups: Sequence[Group]) -> Iterator[str]:
    for i in range(0, len(groups), _SIDE_BY_SIDE):
        yield ""
        yield from _metrics(groups[i : i + _SIDE_BY_SIDE])
    yield from _notes(outcome, groups)
    yield ""
    yield from _utilizations(outcome)
    yield from counter_table(outcome.runs, outcome.point.scenario.run.confidence)
    yield from memory_report([run.memory for run in outcome.runs])
    yield from fault_report([run.faults for run in outcome.runs], outcome.point.scenario.run.confidence)
    for group in groups:
        yield from ("", *_times(group))


def _metrics(groups: Sequence[Group]) -> list[str]:
    rows = [(words, *(_response_time(group, metric) for group in groups)) for words, metric in _TIMES.items()]
    rows += [(words, *(interval_text(g.interval(metric), unit) for g in groups)) for words, (metric, unit) in _OTHERS.items()]
    labels = tuple(group.label for group in groups)
    return table(("tenant", *labels), rows, right=labels)


def _response_time(group: Group, metric: str) -> str:
    return "saturated" if group.saturated_runs else interval_text(group.interval(metric), "time")


def _notes(outcome: PointOutcome, groups: Sequence[Group]) -> Iterator[str]:
    time = outcome.point.scenario.run
    if time.replications > 1:
        yield f"± is half a {100 * time.confidence:g} % confidence interval over {time.replications} replications."
    else:
        yield "One replication has no interval; ask for more with --replications."
    if any(_response_time(group, metric) == UNKNOWN for group in groups for metric in _TIMES.values()):
        yield f"{UNKNOWN} means too few requests: a quantile rests on at least ten beyond it in each replication. Run longer."
    for group in groups:
        if group.saturated_runs:
            yield saturation(group, outcome)
        else:
            yield from _too_short(group, time)
    yield from _failures(outcome)


def _too_short(group: Group, time: Run) -> Iterator[str]:
    """What the course of the runs says against their length and their warm-up."""
    check = group.warm_up
    if check.autocorrelation_times < MULTIPLE:
        held = f"its runs hold about {check.autocorrelation_times:.0f} autocorrelation times"
        yield f"{group.label}: {held}; with fewer than {MULTIPLE:g} intervals are too narrow. Run longer."
    if check.mser5_fraction > time.warm_up_fraction:
        cut = f"the MSER-5 rule would leave out the first {100 * check.mser5_fraction:.0f} %"
        yield f"{group.label}: {cut}, warm-up is {100 * time.warm_up_fraction:g} %. If runs begin unlike they go on, raise it."


def _failures(outcome: PointOutcome) -> Iterator[str]:
    """Requests that will never end, by tenant and reason."""
    lost: dict[tuple[str, str], int] = {}
    for run in outcome.runs:
        for tenant in run.tenants:
            for reason, count in tenant.failed.items():
                lost[tenant.name, reason] = lost.get((tenant.name, reason), 0) + count
    for (name, reason), count in lost.items():
        yield f"{name} failed {count_text(count, 'request')}: {reason}."


def saturation(group: Group, outcome: PointOutcome) -> str:
    """In words: what a saturated group is offered, what is carried, and what gives out."""
    offered, carried = (interval_text(group.interval(m), "rate") for m in ("offered_load_per_s", "throughput_per_s"))
    full = [name for name, utilization in _utilization(outcome).items() if utilization.mean >= _FULL]
    cause = f"{' and '.join(full)} of the machine is busy" if full else "no device of the machine is full: its own threads or CPU limit it"
    often = f"{group.saturated_runs} of {count_text(len(outcome.runs), 'replication')}"
    return f"{group.label} is saturated in {often}: offered {offered}, carried {carried}, so its response time grows without end; {cause}."


def _utilization(outcome: PointOutcome) -> dict[str, Interval]:
    confidence = outcome.point.scenario.run.confidence
    return {name: mean_interval([of(run) for run in outcome.runs], confidence) for name, of in _DEVICES.items()}


def _utilizations(outcome: PointOutcome) -> list[str]:
    rows = [(name, share_text(interval)) for name, interval in _utilization(outcome).items()]
    return table(("machine", "utilisation"), rows, right=("utilisation",))


def _times(group: Group) -> Iterator[str]:
    """Where the time went: layer, cause, microseconds per request, share."""
    if group.saturated_runs:
        yield f"Where the time of {group.label} went: not told, it is saturated."
        return
    total_s = sum(part.seconds for part in group.time_parts)
    if not total_s:
        yield f"Where the time of {group.label} went: no request was completed; run longer."
        return
    large = [part for part in group.time_parts if part.seconds >= _SMALL * total_s]
    rest_s = total_s - sum(part.seconds for part in large)
    rows = [(part.layer, part.cause, part.seconds) for part in large]
    small = len(group.time_parts) - len(large)
    rows += [("others", f"{count_text(small, 'part')} below {100 * _SMALL:g} %", rest_s)] if small else []
    rows.append(("all", "", total_s))
    yield f"Where the time of {group.label} went"
    cells = ((layer, cause, f"{1e6 * seconds:.2f}", f"{100 * seconds / total_s:.1f} %") for layer, cause, seconds in rows)
    yield from table(("layer", "cause", "us per request", "share"), cells, right=("us per request", "share"))


def _grades(scenario: Scenario, catalog: Catalog) -> str:
    stack = catalog.stack(scenario.platform, scenario.machine, scenario.layer_overrides(catalog))
    costs: list[Cost] = [cost for layer in stack.layers for _, cost in costs_of(layer)]
    for name in sorted({group.workload for group in scenario.tenants}):
        costs += (cost for _, cost in catalog.workload(name, scenario.override).evidence)
    return f"This rests on {grade_count(costs)}. They stand in: simvirt show {scenario.platform}"
