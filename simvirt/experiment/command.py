"""The command line of an experiment: every file in `experiments` is a program with the same options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from simvirt.catalog import Catalog
from simvirt.errors import SimvirtError
from simvirt.experiment.progress import progress
from simvirt.experiment.runs import RUNS_FOLDER, RunStore
from simvirt.experiment.store import ResultsFolder
from simvirt.experiment.study import Experiment, conduct

__all__ = ["run_command"]

INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended."""


def run_command(experiment: Experiment, arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks and give the exit status."""
    options = _parser(experiment).parse_args(arguments)
    folder = ResultsFolder(options.out)
    store = RunStore(options.runs or options.out / RUNS_FOLDER, fresh=options.fresh)
    try:
        folder.open()
        store.open()
        points = experiment.points(Catalog.builtin(), options.seed, options.quick)
        with progress(sum(point.scenario.run.replications for point in points)) as bar:
            results = conduct(
                experiment, points, folder, command=sys.argv, workers=options.workers, store=store, found=bar.found, finished=bar.finished
            )
    except SimvirtError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say(f"Interrupted: no table was written to {folder.path}. Runs that were finished are kept: the same command goes on from there.")
        return INTERRUPTED
    for path, reason in store.damaged.items():
        _say(f"{path}: {reason}; it was run again")
    failures = sum(len(outcome.failures) for outcome in results.outcomes)
    failed = f", {failures} runs failed: see `failed` in runs.csv" if failures else ""
    _say(f"{folder.path}: {len(points)} points{failed}; charts in {folder.path / 'charts'}")
    return 1 if failures else 0


def _parser(experiment: Experiment) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=experiment.question, epilog=f"Expected: {experiment.expected}")
    parser.add_argument("--quick", action="store_true", help="a tiny size, to see that everything works; the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=Path("results") / experiment.name, help="folder for results (default: %(default)s)")
    parser.add_argument("--workers", type=_at_least_one, help="processes (default: one per core)")
    parser.add_argument("--runs", metavar="DIR", type=Path, help=f"folder for finished runs (default: {RUNS_FOLDER} in the other)")
    parser.add_argument("--fresh", action="store_true", help="do all runs anew, those that are finished too")
    parser.add_argument("--seed", type=_seed, default=1, help="of all random numbers (default: %(default)s)")
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; a whole number, at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}; a whole number, at least 0")
    return int(text)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
