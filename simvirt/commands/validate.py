"""`simvirt validate`: cases of measurements, predicted beside measured, with errors, order, and the reason of each hole."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from simvirt.commands.numbers import UNKNOWN, count_text
from simvirt.commands.record import check_writable
from simvirt.commands.tables import table
from simvirt.errors import ResultsError
from simvirt.metrics.tidy import write_bytes_atomic, write_csv_atomic
from simvirt.validation.case import Case
from simvirt.validation.case_reader import read_cases
from simvirt.validation.score import Judged, Summary, summary, total
from simvirt.validation.table import rows_frame, summary_frame
from simvirt.validation.validate import validate as judge

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["validate"]

GOOD: Final = 0.10
"""Median absolute error above which a case says what the model lacks."""
IN_ORDER: Final = 0.95
"""The same for the share of pairs in the right order."""

Verdicts = Mapping[str, Sequence[Judged]]


def validate(
    folder: Path | None,
    *,
    only: Sequence[str],
    rows: bool,
    csv: Path | None,
    summary_csv: Path | None,
    charts: Path | None,
    workers: int | None,
) -> list[str]:
    """Judge every case of a folder, the project's own unless one is given; write the tables and charts that are named."""
    cases = read_cases(folder if folder is not None else Path(str(resources.files("simvirt") / "profiles" / "cases")), only)
    for path in (csv, summary_csv):
        if path is not None:
            check_writable(path)
    _check_folder(charts)
    with tqdm(unit="run", leave=False, disable=None, file=sys.stderr) as bar:

        def progress(what: str, done: int, steps: int) -> None:
            bar.set_description(what)
            bar.total, bar.n = steps, done
            bar.refresh()

        verdicts = judge(cases, workers=workers, progress=progress)
    summaries = [summary(case, verdicts[case.name]) for case in cases]
    everything = [*summaries, total((case, verdicts[case.name]) for case in cases)] if len(cases) > 1 else summaries
    if csv is not None:
        write_csv_atomic(rows_frame(one for case in cases for one in verdicts[case.name]), csv)
    if summary_csv is not None:
        write_csv_atomic(summary_frame(everything), summary_csv)
    if charts is not None:
        _write_charts(cases, verdicts, summaries, charts)
    return [*_summary_lines(everything), *_notes(cases, verdicts, summaries), *(_row_lines(cases, verdicts) if rows else ())]


def _check_folder(charts: Path | None) -> None:
    if charts is not None and (charts.exists() and not charts.is_dir()):
        raise ResultsError(f"{charts}: is a file; give a folder for the charts")


# --- On the screen ---------------------------------------------------------------------------------------------------


def _summary_lines(summaries: Iterable[Summary]) -> list[str]:
    header = ("case", "rows", "calibration", "scored", "not predicted", "median |error|", "largest", "pairs", "in order")
    lines = [
        (
            one.case,
            str(one.rows),
            str(one.calibration),
            str(one.scored),
            str(one.not_predicted),
            _percent(one.median_absolute_error),
            _percent(one.largest_absolute_error),
            str(one.pairs),
            _percent(one.in_order),
        )
        for one in summaries
    ]
    return table(header, lines, right=header[1:])


def _percent(share: float) -> str:
    return UNKNOWN if isnan(share) else f"{100 * share:.1f} %" if abs(share) < 10 else f"{share:.0f}-fold"


def _notes(cases: Sequence[Case], verdicts: Verdicts, summaries: Sequence[Summary]) -> Iterator[str]:
    """What the model lacks in the cases that miss, and why rows have no prediction."""
    for case, one in zip(cases, summaries, strict=True):
        missed = one.median_absolute_error > GOOD or one.in_order < IN_ORDER
        reasons: dict[str, int] = {}
        for verdict in verdicts[case.name]:
            if not isfinite(verdict.predicted):
                reasons[verdict.reason] = reasons.get(verdict.reason, 0) + 1
        lines = [f"  misses: {note}" for note in case.misses if missed]
        lines += [f"  {count_text(number, 'row')} not predicted: {reason}" for reason, number in reasons.items()]
        if lines:
            yield from ("", f"{case.name}: {case.title}", *lines)


def _row_lines(cases: Sequence[Case], verdicts: Verdicts) -> Iterator[str]:
    header = ("platform", "condition", "metric", "unit", "measured", "predicted", "low", "high", "error", "role")
    for case in cases:
        lines = [
            (
                one.row.platform,
                one.condition.partition(": ")[2],
                one.row.metric,
                one.row.unit,
                *(UNKNOWN if isnan(value) else f"{value:.4g}" for value in (one.row.value, one.predicted, one.low, one.high)),
                UNKNOWN if isnan(one.error) else f"{100 * one.error:+.1f} %",
                one.role.value,
            )
            for one in verdicts[case.name]
        ]
        yield from ("", f"{case.name}: {case.title}. {case.about}".strip(), *table(header, lines, right=header[4:9]))


# --- Charts ----------------------------------------------------------------------------------------------------------


def _write_charts(cases: Sequence[Case], verdicts: Verdicts, summaries: Sequence[Summary], folder: Path) -> None:
    from simvirt.reports.predicted_over_measured import PANELS  # noqa: PLC0415 - slow to import

    frames = {case.name: frame for case in cases if not (frame := _drawable(verdicts[case.name])).empty}
    headings = {one.case: _heading(one) for one in summaries}
    names = list(frames)
    pages = [names[i : i + PANELS] for i in range(0, len(names), PANELS)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from error
    for number, page in enumerate(pages, start=1):
        for name, content in _page({n: frames[n] for n in page}, headings, number, len(pages)).items():
            write_bytes_atomic(content, folder / name)


def _drawable(rows: Iterable[Judged]) -> pd.DataFrame:
    frame = rows_frame(rows)
    return frame[(frame["measured"] > 0) & (frame["predicted"] > 0)]


def _heading(one: Summary) -> str:
    said = [f"|error| {_percent(one.median_absolute_error)}"] if one.scored else []
    said += [f"order {100 * one.in_order:.0f} % of {one.pairs}"] if one.pairs else []
    return f"{one.case}\n{', '.join(said) or 'calibration only'}"


def _page(frames: Mapping[str, pd.DataFrame], headings: Mapping[str, str], number: int, pages: int) -> dict[str, bytes]:
    from simvirt.reports.predicted_over_measured import predicted_over_measured  # noqa: PLC0415 - slow to import
    from simvirt.reports.style import chart_style, render  # noqa: PLC0415 - slow to import

    rows = sum(map(len, frames.values()))
    caption = (
        f"{rows} measured rows, each in its own unit. Open: calibration (baselines, and rows that set a constant), never scored. Filled: "
        "predicted; the line is the band when every time that the platform adds is at the low, and at the high end of its range. Grey: "
        "± 10 %. |error|: median; where ratios to the baseline are scored, a point as far off as its baseline is none. Order: pairs of "
        "platforms at the same condition that are in the measured order."
    )
    with chart_style():
        figure = predicted_over_measured(frames, title=f"Predicted over measured ({number} of {pages})", caption=caption, headings=headings)
        return render(figure, f"predicted_over_measured_{number}")
