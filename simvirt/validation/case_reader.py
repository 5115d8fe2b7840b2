"""Reads validation cases: a TOML file and the CSV file beside it.

The CSV file has the columns source_key, place, platform, metric, unit, value, provenance, and one for each further condition. The TOML file
has `title`, `about`, `study` (all keys of the study), `score` (absolute, ratio, order), `ties`, `requests`, `misses`, and

    [scenario]            a scenario, with what all rows share
    [conditions.COLUMN]   `entry`: the entry that takes the level; or `levels`: level = value of `entry`, or level = { entry = value, … }
    [metrics.METRIC]      `of`: which number of a run; `scale`, `entity`, `layers`
    [baseline]            COLUMN = level of the rows that the others are measured against
    [[fix]]               `number` (an entry, or override.…), looked for `between` two bounds, so that `metric` of `rows` comes out;
                          `also` (entries with the same value), `of`, `by`, `per`, `applies`
    [[calibration]]       `rows` that set constants of the profiles, `why`, and which (`sets`)
    [[missing]]           `rows` that cannot be simulated, and `why`

Rows are told by { COLUMN = level, COLUMN = [levels], COLUMN = { from = 1, to = 9 } }. Every mistake is reported at once, with path,
value, bound and a way out.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simvirt.catalog import Catalog
from simvirt.errors import CaseError, CatalogError, ScenarioError, StackError, UnitError, nearest
from simvirt.evidence import dimension_of_unit
from simvirt.layers.contract import costs_of
from simvirt.metrics.catalog import metrics
from simvirt.scenario import Scenario, load_scenario
from simvirt.units import DIMENSIONS, split_quantity
from simvirt.validation.case import (
    Calibration,
    Case,
    Condition,
    Fix,
    Level,
    MeasuredRow,
    Measurement,
    Missing,
    Role,
    Scoring,
    Selection,
)
from simvirt.validation.template import scenario_document

__all__ = ["PATH_NUMBERS", "read_cases"]

PATH_NUMBERS: Final = ("path_cpu_s", "path_caller_s", "path_caller_per_s")
DERIVED: Final = ("interval_s",)
PROVENANCE: Final = ("read", "recalled-high", "recalled-low", "derived", "assumed", "own")
"""How a number came here: seen in the source, from memory, arithmetic, a default, or measured by whoever gives the case."""
_FIXED_COLUMNS: Final = ("source_key", "place", "platform", "metric", "unit", "value", "provenance")
_OWN_COLUMNS: Final = tuple(name for name in _FIXED_COLUMNS if name != "platform")
_SHOWN: Final = 5
"""Mistakes of one kind that are told one by one; the others are counted."""

Problems = list[str]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Range(_Table):
    low: Annotated[float, Field(alias="from")] = -inf
    high: Annotated[float, Field(alias="to")] = inf


_Levels = float | str | list[float | str] | _Range
_Rows = dict[str, _Levels]


class _ConditionTable(_Table):
    entry: str = ""
    levels: dict[str, Any] = {}


class _MetricTable(_Table):
    of: str = ""
    entity: str = ""
    scale: Annotated[float, Field(gt=0)] = 1.0
    layers: tuple[str, ...] = ()


class _FixTable(_Table):
    number: str
    also: tuple[str, ...] = ()
    between: tuple[str | float, str | float]
    metric: str
    rows: _Rows = {}
    of: str = ""
    by: Literal["mean", "least-squares"] = "mean"
    per: tuple[str, ...] = ()
    applies: _Rows = {}


class _CalibrationTable(_Table):
    why: Annotated[str, Field(min_length=1)]
    rows: _Rows | None = None
    sets: tuple[str, ...] = ()


class _MissingTable(_Table):
    rows: _Rows
    why: Annotated[str, Field(min_length=1)]


class _CaseFile(_Table):
    title: Annotated[str, Field(min_length=1)]
    about: str = ""
    study: Annotated[tuple[str, ...], Field(min_length=1)]
    score: Scoring
    ties: Annotated[float, Field(ge=0, lt=1)] = 0.02
    misses: tuple[str, ...] = ()
    scenario: dict[str, Any]
    requests: Annotated[float, Field(gt=0)] | None = None
    conditions: dict[str, _ConditionTable]
    metrics: Annotated[dict[str, _MetricTable], Field(min_length=1)]
    baseline: dict[str, str | float] = {}
    fix: tuple[_FixTable, ...] = ()
    calibration: tuple[_CalibrationTable, ...] = ()
    missing: tuple[_MissingTable, ...] = ()


def read_cases(folder: Path, names: Sequence[str] = ()) -> tuple[Case, ...]:
    """Every case of a folder, or those named, in order of name. Raises CaseError with every mistake in any of them.

    A case is `<name>.toml` and `<name>.csv`; a folder `profiles` beside them holds further profiles.
    """
    if not folder.is_dir():
        raise CaseError([f"{folder}: no such folder; give a folder with cases, each <name>.toml and <name>.csv"])
    files = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if not files:
        raise CaseError([f"{folder}: no case; a case is <name>.toml and <name>.csv"])
    problems = [f"{folder}: no case {name!r}; {nearest(name, files)}" for name in names if name not in files]
    profiles = (folder / "profiles",) if (folder / "profiles").is_dir() else ()
    try:
        catalog = Catalog.builtin(*profiles)
        _ = catalog.references
    except CatalogError as error:
        raise CaseError([f"{folder / 'profiles'}: {problem}" for problem in error.problems]) from None
    cases = []
    for path in (files[name] for name in (names or files) if name in files):
        try:
            cases.append(_read_case(path, catalog, profiles))
        except CaseError as error:
            problems += (f"{path.name}: {problem}" for problem in error.problems)
    if problems:
        raise CaseError(problems)
    return tuple(cases)


def _read_case(path: Path, catalog: Catalog, profiles: tuple[Path, ...]) -> Case:
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise CaseError([f"{getattr(error, 'strerror', None) or error}; a case is a TOML file in UTF-8"]) from None
    try:
        given = _CaseFile.model_validate(document)
    except ValidationError as error:
        raise CaseError(_told(error)) from None
    problems: Problems = []
    conditions = {column: _condition(column, table, problems) for column, table in given.conditions.items()}
    rows = _read_rows(path.with_suffix(".csv"), conditions, given.metrics, problems)
    case = Case(
        name=path.stem,
        title=given.title,
        about=given.about,
        study=given.study,
        scoring=given.score,
        ties=given.ties,
        scenario=given.scenario,
        requests=given.requests,
        conditions=conditions,
        metrics={name: Measurement(**table.model_dump()) for name, table in given.metrics.items()},
        baseline={column: _level(level) for column, level in given.baseline.items()},
        fixes=tuple(fix for i, table in enumerate(given.fix) for fix in _fixes(f"fix.{i}", table, given.metrics, problems)),
        calibrations=tuple(Calibration(rows=_selection(t.rows), why=t.why, sets=t.sets) for t in given.calibration if t.rows is not None),
        missing=tuple(Missing(rows=_selection(table.rows), why=table.why) for table in given.missing),
        misses=given.misses,
        rows=rows,
        profiles=profiles,
    )
    problems += _unknown_words(given, case)
    if not problems:
        problems += _unanswerable(case)
    if not problems:
        sets = tuple(name for table in given.calibration for name in table.sets)
        problems += _scenario_problems(case, catalog, sets)
    if problems:
        raise CaseError(problems)
    return case


def _told(error: ValidationError) -> Problems:
    """Each mistake in the shape of the file: path, what was read, what is wanted."""
    lines: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"] if part not in ("float", "str", "_Range") and "[" not in str(part))
        read = problem["input"]
        shown = f"{read!r}; " if isinstance(read, str | int | float) and problem["type"] != "extra_forbidden" else ""
        if problem["type"] == "extra_forbidden":
            known = {*_CaseFile.model_fields} if len(problem["loc"]) == 1 else _known_beside(problem["loc"])
            lines[place] = f"{place}: no such entry; {nearest(str(problem['loc'][-1]), known)}"
        elif problem["type"] == "missing":
            lines[place] = f"{place}: missing; give it a value"
        else:
            lines.setdefault(place, f"{place}: {shown}{problem['msg']}")
    return list(lines.values())


def _known_beside(place: tuple[int | str, ...]) -> Iterable[str]:
    tables: dict[Any, type[BaseModel]] = {
        "conditions": _ConditionTable,
        "metrics": _MetricTable,
        "fix": _FixTable,
        "calibration": _CalibrationTable,
        "missing": _MissingTable,
    }
    table = tables.get(place[0], _CaseFile)
    return [field.alias or name for name, field in table.model_fields.items()]


def _level(level: str | float) -> Level:
    """A number if it reads as one, else the word."""
    try:
        return float(level)
    except ValueError:
        return level


def _condition(column: str, table: _ConditionTable, problems: Problems) -> Condition:
    levels: dict[Level, Mapping[str, Any]] = {}
    for word, value in table.levels.items():
        if isinstance(value, dict):
            levels[_level(word)] = value
        elif table.entry:
            levels[_level(word)] = {table.entry: value}
        else:
            problems.append(f"conditions.{column}.levels.{word}: {value!r} goes to no entry; give conditions.{column}.entry, or a table")
    return Condition(column=column, entry="" if table.levels else table.entry, levels=levels)


def _selection(rows: _Rows | None) -> Selection:
    levels = {
        column: tuple(map(_level, wanted)) if isinstance(wanted, list) else (_level(wanted),)
        for column, wanted in (rows or {}).items()
        if not isinstance(wanted, _Range)
    }
    ranges = {column: (wanted.low, wanted.high) for column, wanted in (rows or {}).items() if isinstance(wanted, _Range)}
    return Selection(levels=levels, ranges=ranges)


def _fixes(path: str, table: _FixTable, known: Mapping[str, _MetricTable], problems: Problems) -> Iterator[Fix]:
    bounds = _bounds(f"{path}.between", table.between, problems)
    if table.metric not in known:
        problems.append(f"{path}.metric: {table.metric!r} is unknown; {nearest(table.metric, known)}")
    elif bounds is not None:
        by = Measurement(**known[table.metric].model_dump())
        low, high, unit = bounds
        yield Fix(
            number=table.number,
            low=low,
            high=high,
            unit=unit,
            rows=_selection(table.rows),
            metric=table.metric,
            measured_by=replace(by, of=table.of) if table.of else by,
            least_squares=table.by == "least-squares",
            per=table.per,
            applies=_selection(table.applies),
            also=table.also,
        )


def _bounds(path: str, between: tuple[str | float, str | float], problems: Problems) -> tuple[float, float, str] | None:
    """Low, high and their unit."""
    try:
        (low, unit), (high, other) = (split_quantity(end) for end in between)
    except UnitError as error:
        problems.append(f"{path}: {error}")
        return None
    if unit != other:
        problems.append(f"{path}: {between[0]!r} and {between[1]!r}; give both ends in one unit")
    elif not 0 < low < high:
        problems.append(f"{path}: {low:g} to {high:g} {unit}; two ends above 0, the lower first")
    else:
        return low, high, unit
    return None


# --- Rows ------------------------------------------------------------------------------------------------------------


def _read_rows(
    path: Path, conditions: Mapping[str, Condition], known: Mapping[str, _MetricTable], problems: Problems
) -> tuple[MeasuredRow, ...]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            lines = [(reader.line_num, line) for line in reader]
            header = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        problems.append(f"{path.name}: {reason}; the measured rows stand in a CSV file beside the case")
        return ()
    columns = [column for column in header if column not in _OWN_COLUMNS]
    before = len(problems)
    wanted = ", ".join(_FIXED_COLUMNS)
    problems += [f"{path.name}: column {name!r} is missing; a row has {wanted}" for name in _FIXED_COLUMNS if name not in header]
    unsaid = [name for name in columns if name not in conditions]
    problems += [f"{path.name}: column {name!r} has no table; say what it sets in [conditions.{name}]" for name in unsaid]
    absent = [name for name in conditions if name not in columns]
    problems += [f"conditions.{name}: {path.name} has no such column; {nearest(name, columns)}" for name in absent]
    if not lines:
        problems.append(f"{path.name}: no rows; give at least one")
    if len(problems) > before:
        return ()
    found: list[MeasuredRow] = []
    bad = [problem for number, line in lines for problem in _row_problems(f"{path.name}, line {number}", line, header, known)]
    if not bad:
        found = [_row(line, columns) for _, line in lines]
        seen: dict[tuple[Level, ...], int] = {}
        for (number, _), row in zip(lines, found, strict=True):
            first = seen.setdefault(tuple(row.described.values()), number)
            if first != number:
                bad.append(f"{path.name}, line {number}: the same conditions and metric as line {first}; a case has one value for each")
    problems += [*bad[:_SHOWN], *([f"{path.name}: and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else [])]
    return () if bad else tuple(found)


def _row_problems(place: str, line: Mapping[str, Any], header: Sequence[str], known: Mapping[str, _MetricTable]) -> Iterator[str]:
    cells: dict[str, str] = {name: line[name] for name in header if line.get(name) is not None}
    if None in line or len(cells) < len(header):
        yield f"{place}: not as many cells as the header has; {len(header)}"
        return
    yield from (f"{place}: {name} is empty; every row says it" for name in ("source_key", "place", "platform") if not cells[name].strip())
    if cells["provenance"] not in PROVENANCE:
        yield f"{place}: provenance {cells['provenance']!r}; one of {', '.join(PROVENANCE)}"
    if cells["metric"] not in known:
        yield f"{place}: metric {cells['metric']!r} has no table; {nearest(cells['metric'], known)}"
    if dimension_of_unit(cells["unit"]) is None:
        units = [unit for units in DIMENSIONS.values() for unit in units]
        yield f"{place}: unit {cells['unit']!r} is unknown; {nearest(cells['unit'], units)}"
    value = _level(cells["value"])
    if isinstance(value, str) or not (isfinite(value) and value >= 0):
        yield f"{place}: value {cells['value']!r}; a finite number, at least 0"


def _row(line: Mapping[str, str], columns: Sequence[str]) -> MeasuredRow:
    return MeasuredRow(
        source_key=line["source_key"],
        place=line["place"],
        conditions={column: _level(line[column]) if column != "platform" else line[column] for column in columns},
        metric=line["metric"],
        unit=line["unit"],
        value=float(line["value"]),
        provenance=line["provenance"],
    )


# --- What must fit together ------------------------------------------------------------------------------------------


def _unknown_words(given: _CaseFile, case: Case) -> Iterator[str]:
    """Columns and numbers that are named somewhere and are nowhere."""
    columns = [*case.conditions, "metric"]
    named: list[tuple[str, Iterable[str]]] = [("baseline", given.baseline)]
    for i, fix in enumerate(given.fix):
        named += [(f"fix.{i}.rows", fix.rows), (f"fix.{i}.per", fix.per), (f"fix.{i}.applies", fix.applies)]
    named += [(f"calibration.{i}.rows", table.rows or {}) for i, table in enumerate(given.calibration)]
    named += [(f"missing.{i}.rows", table.rows) for i, table in enumerate(given.missing)]
    for path, names in named:
        yield from (f"{path}: column {name!r} is unknown; {nearest(name, columns)}" for name in names if name not in columns)
    sources = [(f"metrics.{name}.of", table.of) for name, table in given.metrics.items() if table.of]
    sources += [(f"fix.{i}.of", fix.of) for i, fix in enumerate(given.fix) if fix.of]
    known = (*metrics(), *PATH_NUMBERS, *DERIVED)
    yield from (f"{path}: {of!r} is not a number of a run; {nearest(of, known)}" for path, of in sources if of not in known)


def _unanswerable(case: Case) -> Iterator[str]:
    """Rows that nothing can be said about: a level without entries, no baseline to compare with, no length of a run."""
    if case.baseline and not any(case.is_baseline(row.conditions) for row in case.rows):
        yield f"baseline: no row has {_text(case.baseline)}; name levels that some rows have"
    if case.scoring is Scoring.RATIO and not case.baseline:
        yield "baseline: missing; the score is a ratio to the baseline row, say which columns and levels tell it"
    for i, fix in enumerate(case.fixes):
        if not any(row.metric == fix.metric and fix.rows.holds(row.conditions) for row in case.rows):
            yield f"fix.{i}.rows: no row of {fix.metric!r} is meant; choose levels that some rows have"
    told: set[str] = set()
    for row in (row for row in case.rows if not case.why_missing(row)):
        reasons = [
            f"conditions.{column}.levels: nothing for {level!r}; say which entries it sets, or list its rows in [[missing]] with the reason"
            for column, level in row.conditions.items()
            if case.conditions[column].entries(level) is None
        ]
        if not case.metrics[row.metric].of:
            reasons.append(f"metrics.{row.metric}.of: missing; say which number of a run it is, or list its rows in [[missing]]")
        scored = case.role(row) is Role.VALIDATION
        if case.scoring is Scoring.RATIO and scored and case.baseline_of(row) is None:
            reasons.append(f"baseline: no baseline row of {row.metric!r} at {_text(row.conditions)}; add it, or score absolute values")
        exact = case.metrics[row.metric].is_exact
        if case.requests is not None and not exact and not case.rate_per_s(row.conditions):
            reasons.append(f"requests: no throughput of the baseline at {_text(row.conditions)}; say scenario.run.duration_s instead")
        yield from (reason for reason in reasons if reason not in told)
        told.update(reasons)


def _text(conditions: Mapping[str, Level]) -> str:
    return ", ".join(f"{column} = {level:g}" if isinstance(level, float) else f"{column} = {level}" for column, level in conditions.items())


def _scenario_problems(case: Case, catalog: Catalog, sets: Sequence[str]) -> Iterator[str]:
    """What is wrong with the scenarios of the conditions, each mistake once; and numbers of this study that nobody owns up to."""
    told: set[str] = set()
    checked: set[str] = set()
    for row in case.rows:
        conditions = row.conditions
        if case.why_missing(row) or _text(conditions) in checked:
            continue
        checked.add(_text(conditions))
        where = f"scenario at {_text(conditions)}: "
        try:
            scenario = load_scenario(_middle(case, conditions), catalog)
            problems = list(_undeclared(case, catalog, scenario, sets))
            where = ""
        except (ScenarioError, StackError, CatalogError) as error:
            problems = list(error.problems)
        except KeyError as error:
            problems = [f"entry {error} is no place in the scenario; write such as tenants.0.load.clients"]
        yield from (where + problem for problem in problems if problem not in told)
        told.update(problems)


def _middle(case: Case, conditions: Mapping[str, Level]) -> dict[str, Any]:
    """The scenario of a condition, each fix in the middle of where it is looked for."""
    entries: dict[str, Any] = {}
    for fix in case.fixes:
        if fix.applies.holds(conditions):
            entries |= fix.entries((fix.low * fix.high) ** 0.5)
    return scenario_document(case, conditions, entries)


def _undeclared(case: Case, catalog: Catalog, scenario: Scenario, sets: Sequence[str]) -> Iterator[str]:
    """Numbers that cite the study of this case and are not among those that its calibrations say they set."""
    stack = catalog.stack(scenario.platform, scenario.machine, scenario.layer_overrides(catalog))
    cited = [(f"{layer.name}.{field}", cost) for layer in stack.layers for field, cost in costs_of(layer)]
    for group in scenario.tenants:
        workload = catalog.workload(group.workload)
        cited += [(f"{workload.name}.{name}", cost) for name, cost in workload.evidence]
    solved = {entry for fix in case.fixes for entry in (fix.number, *fix.also)}
    for name, cost in cited:
        mine = cost.source in case.study and f"override.{name}" not in solved and name not in scenario.override
        if mine and not any(name == one or name.startswith(f"{one}.") for one in sets):
            yield f"study: {name} cites {cost.source!r}; say in [[calibration]] `sets` which rows set it, so that they are not scored"
