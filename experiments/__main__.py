"""Every experiment by one command: `python -m experiments`.

What is answered already is not asked again: an experiment is left alone when its folder is whole and was made at this size and with this
seed by the code, the profiles and the script that are here now. So the command may be interrupted and given again. At last it writes the
answers in words, and the gallery of the README, from the tables that are there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from simvirt.errors import SimvirtError, nearest
from simvirt.experiment.about import about
from simvirt.experiment.manifest import code_digest, profile_digests
from simvirt.metrics.tidy import write_bytes_atomic, write_json_atomic
from simvirt.reports.gallery import with_gallery
from simvirt.reports.stored import ANSWER, StoredResults, read_results

if TYPE_CHECKING:
    from simvirt.experiment.study import Experiment

HERE: Final = Path(__file__).parent
SCRIPTS: Final = tuple(sorted(path.stem for path in HERE.glob("[a-z]*.py")))
ROOT: Final = HERE.parent
README: Final = ROOT / "README.md"
RESULTS: Final = ROOT / "results"
PROFILES: Final = HERE / "profiles"
STAMP: Final = ".made_by.json"
"""What made a folder, beside its manifest: nobody but this command reads it."""
INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and missing; give 0, or 1 if an experiment failed, or 2 if the command line cannot be read."""
    options = _parser().parse_args(arguments)
    unknown = [name for name in options.only if name not in SCRIPTS]
    if unknown:
        for name in unknown:
            _say(f"--only {name}: no such experiment; {nearest(name, SCRIPTS)}")
        return 2
    names = options.only or SCRIPTS
    failed = []
    try:
        for name in () if options.answers else names:
            failed += [] if _answered(name, options) else [name]
        if options.out == RESULTS and not options.quick:
            _tell(names)
    except KeyboardInterrupt:
        _say("Interrupted: experiments that were finished are kept, and the same command goes on from there.")
        return INTERRUPTED
    except SimvirtError as error:
        _say(str(error))
        return 1
    if failed:
        _say(f"Failed: {', '.join(failed)}; the reasons stand above.")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Runs every experiment that is not answered yet.")
    parser.add_argument("--quick", "--tiny", action="store_true", help="a tiny size, to see that everything works")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=(), help=f"only these of: {', '.join(SCRIPTS)}")
    parser.add_argument("--jobs", metavar="N", type=int, help="processes for each (default: one per core)")
    parser.add_argument("--seed", metavar="S", type=int, default=1, help="of all random numbers (default: %(default)s)")
    parser.add_argument("--out", metavar="DIR", type=Path, default=RESULTS, help="folder of all results (default: the project's)")
    parser.add_argument("--again", action="store_true", help="run those that are answered, too")
    parser.add_argument("--answers", action="store_true", help="run nothing: write answers and gallery from the tables that are there")
    return parser


# --- Running ---------------------------------------------------------------------------------------------------------


def _answered(name: str, options: argparse.Namespace) -> bool:
    """Whether the experiment has its answer at the end."""
    folder = options.out / name
    made_by = _made_by(name, options)
    if not options.again and _stamp(folder) == made_by:
        _say(f"{name}: answered already, in {folder}")
        return True
    _say(f"{name}: running")
    status = subprocess.run(_command(name, options), cwd=ROOT, env=_environment(), check=False).returncode
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    if status == 0:
        write_json_atomic(made_by, folder / STAMP)
    return status == 0


def _command(name: str, options: argparse.Namespace) -> list[str]:
    """As a person would give it in the project's folder, so that manifests tell nothing of where that is."""
    command = [sys.executable, f"{HERE.name}/{name}.py"]
    command += [] if options.out == RESULTS else ["--out", str((options.out / name).absolute())]
    command += [] if options.seed == 1 else ["--seed", str(options.seed)]
    command += ["--workers", str(options.jobs)] if options.jobs else []
    return [*command, "--quick"] if options.quick else command


def _environment() -> dict[str, str]:
    """In which the simvirt of this checkout is found, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def _made_by(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that decides what an experiment answers."""
    data = sorted((HERE / "data").glob("*.csv"))
    script = hashlib.sha256(b"\0".join(path.read_bytes() for path in (HERE / f"{name}.py", *data))).hexdigest()[:16]
    profiles = hashlib.sha256(repr(sorted(profile_digests([PROFILES]).items())).encode()).hexdigest()[:16]
    return {"script": script, "code": code_digest(), "profiles": profiles, "seed": options.seed, "quick": options.quick}


def _stamp(folder: Path) -> dict[str, Any] | None:
    """What made a folder; None if that is not known, or if the folder is not whole."""
    try:
        read_results(folder)
        return dict(json.loads((folder / STAMP).read_text(encoding="utf-8")))
    except (SimvirtError, OSError, ValueError):
        return None


# --- Telling ---------------------------------------------------------------------------------------------------------


def _tell(names: Sequence[str]) -> None:
    """Answers of these experiments, and the gallery of all that have one."""
    for name in names:
        write_answer(name, RESULTS)
    found = [read_results(RESULTS / name) for name in SCRIPTS if (RESULTS / name / ANSWER).exists()]
    text = README.read_text(encoding="utf-8")
    write_bytes_atomic(with_gallery(text, found, ROOT).encode("utf-8"), README)


def write_answer(name: str, results: Path) -> None:
    """The answer in words, made anew from the tables of a folder; nothing if there is no folder."""
    if not (results / name).is_dir():
        return
    stored = read_results(results / name)
    write_json_atomic(answer_of(name, stored), results / name / ANSWER)


def answer_of(name: str, stored: StoredResults) -> dict[str, Any]:
    """What the experiment's rules say of these tables."""
    return about(experiment(name), stored.tables)


def experiment(name: str) -> Experiment:
    """An experiment by name."""
    module = importlib.import_module(f"experiments.{name}")
    found: Experiment = module.EXPERIMENT if hasattr(module, "EXPERIMENT") else module.experiment()
    return found


def experiments() -> Iterator[Experiment]:
    """All of them."""
    return map(experiment, SCRIPTS)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
