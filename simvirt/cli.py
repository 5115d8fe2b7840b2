"""The command line. Nothing heavy is loaded before a command needs it, so that help is there at once."""

# ruff: noqa: PLC0415 - each command is loaded when it is called for

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from simvirt import __version__
from simvirt.errors import SimvirtError

if TYPE_CHECKING:
    from simvirt.catalog import Catalog

__all__ = ["main"]

# Exit codes, as shells have them.
_USER_ERROR: Final = 2
_INTERRUPTED: Final = 128 + 2
_BROKEN_PIPE: Final = 128 + 13

_LOOPBACK: Final = "tcp://127.0.0.1:8786"
"""Where a Dask scheduler listens that is told to stay on this machine."""

_KINDS: Final = {
    "platforms": "platform",
    "layers": "layer",
    "machines": "machine",
    "workloads": "workload",
    "schedulers": "scheduler",
    "faults": "fault",
    "references": "reference",
}


class UsageError(SimvirtError):
    """A command line that cannot be read."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code: 0, or 2 after an error of the user's, told one problem per line."""
    _let_any_character_pass()
    try:
        arguments = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace], list[str]] = arguments.command
        print("\n".join(command(arguments)), flush=True)
    except SimvirtError as error:
        for problem in str(error).splitlines():
            print(f"simvirt: {problem}", file=sys.stderr)
        return _USER_ERROR
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write at exit goes nowhere
        return _BROKEN_PIPE
    except OSError as error:
        print(f"simvirt: the output cannot be written ({error.strerror}); free some space or choose another place", file=sys.stderr)
        return _USER_ERROR
    except KeyboardInterrupt as stopped:
        print(f"simvirt: {str(stopped) or 'interrupted, nothing was written'}", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _let_any_character_pass() -> None:
    """On a terminal or a pipe without Unicode a sign such as ± becomes a question mark, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="simvirt", description="Simulates what hypervisors and containers cost, mechanism by mechanism.")
    parser.add_argument("--version", action="version", version=f"simvirt {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    profiles = _Parser(add_help=False)
    profiles.add_argument("--profiles", metavar="DIR", type=Path, action="append", default=[], help="further profiles; repeatable")
    runs = _Parser(add_help=False)
    runs.add_argument("scenario", metavar="SCENARIO.toml", type=Path)
    runs.add_argument("--replications", metavar="N", type=_at_least(1), help="independent runs of each point (default: the scenario's)")
    runs.add_argument("--seed", metavar="S", type=_at_least(0), help="seed of all random numbers (default: the scenario's)")

    listing = commands.add_parser("list", parents=[profiles], help="what platforms, layers, machines, workloads and references there are")
    listing.add_argument("kind", nargs="?", choices=tuple(_KINDS), help="only these (default: all)")
    listing.set_defaults(command=_list)

    show = commands.add_parser("show", parents=[profiles], help="one profile: its stack, every cost and where it comes from")
    show.add_argument("name", metavar="NAME")
    show.add_argument("--kind", choices=tuple(_KINDS.values()), help="of several profiles with this name, the one of this kind")
    show.add_argument("--machine", metavar="M", help="give costs as on this machine")
    show.add_argument("--csv", action="store_true", help="write the costs as CSV")
    show.set_defaults(command=_show)

    metrics = commands.add_parser("metrics", help="every metric: unit, definition, estimator")
    metrics.set_defaults(command=_metrics)

    explain = commands.add_parser("explain", parents=[profiles], help="one operation's way down a stack, with costs and sources")
    explain.add_argument("operation", metavar="OPERATION", help="syscall, fault, packet, block, flush, switch, spawn, open or compute")
    explain.add_argument("--platform", metavar="P", required=True)
    explain.add_argument("--machine", metavar="M", help="on this machine (default: the platform's own)")
    explain.set_defaults(command=_explain)

    check = commands.add_parser("check", parents=[profiles], help="whether a scenario can be run, with every problem if not")
    check.add_argument("scenario", metavar="SCENARIO.toml", type=Path)
    check.set_defaults(command=_check)

    run = commands.add_parser("run", parents=[runs, profiles], help="run a scenario: response times, utilisation, where the time went")
    run.add_argument("--json", metavar="FILE", type=Path, help="also write everything that was found to this file")
    run.add_argument("--trace", metavar="FILE.json.gz", type=Path, help="also write a timeline, for Perfetto or speedscope")
    run.add_argument("--trace-window", metavar="A..B", help="of this part of a run, such as 0.5s..0.6s (default: 100 ms after warm-up)")
    run.set_defaults(command=_run)

    compare = commands.add_parser("compare", parents=[runs, profiles], help="run a scenario on several platforms and compare them")
    surveyed = "default: all that can run it, but for variants and those of the past"
    compare.add_argument("--platforms", metavar="A,B,...", type=_names, default=(), help=surveyed)
    compare.add_argument("--baseline", metavar="A", help="what the others are measured against (default: a native platform)")
    compare.set_defaults(command=_compare)
    _add_density(commands, profiles)
    _add_isolation(commands, runs, profiles)
    _add_image(commands, profiles)
    _add_start(commands, profiles)
    _add_failures(commands, runs, profiles)
    _add_cluster(commands, runs, profiles)
    _add_validate(commands)
    _add_studies(commands, runs, profiles)
    return parser


def _add_cluster(commands: argparse._SubParsersAction[_Parser], runs: _Parser, profiles: _Parser) -> None:
    about = "run a cluster with what goes wrong in it: lost, seen, mended, when"
    cluster = commands.add_parser("cluster", parents=[runs, profiles], help=about)
    cluster.add_argument("--events", metavar="N", type=_at_least(0), default=60, help="how many events to tell (default: %(default)s)")
    cluster.set_defaults(command=_cluster)


def _add_validate(commands: argparse._SubParsersAction[_Parser]) -> None:
    validate = commands.add_parser("validate", help="measured tables predicted beside measured: errors, order, what is missing")
    cases = "folder of cases, each <name>.toml and <name>.csv (default: the project's)"
    validate.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, help=cases)
    validate.add_argument("--only", metavar="A,B,...", type=_names, default=(), help="only these cases")
    validate.add_argument("--rows", action="store_true", help="also tell every row")
    validate.add_argument("--csv", metavar="FILE", type=Path, help="write every row to this file")
    validate.add_argument("--summary", metavar="FILE", type=Path, help="write a line for each case to this file, as CSV")
    validate.add_argument("--charts", metavar="DIR", type=Path, help="draw predicted over measured into this folder")
    validate.add_argument("--workers", metavar="N", type=_at_least(1), help="processes (default: one per core)")
    validate.set_defaults(command=_validate)


def _add_sweep(commands: argparse._SubParsersAction[_Parser], profiles: _Parser) -> None:
    sweep = commands.add_parser("sweep", parents=[profiles], help="a study: one scenario, factors that vary, replications, comparisons")
    sweep.add_argument("study", metavar="STUDY.toml", type=Path)
    sweep.add_argument("--out", metavar="DIR", type=Path, help="folder for results (default: results/ and the name of the study)")
    sweep.add_argument("--runs", metavar="DIR", type=Path, help="folder for finished runs (default: .runs in that of the results)")
    sweep.add_argument("--fresh", action="store_true", help="do all runs anew, those that are finished too")
    sweep.add_argument("--workers", metavar="N", type=_at_least(1), help="processes (default: one per core)")
    sweep.add_argument("--parquet", action="store_true", help="write the tables as Parquet too")
    away = f"run on the workers of this Dask scheduler (default: {_LOOPBACK}), tls://... beyond this machine"
    sweep.add_argument("--scheduler", metavar="ADDRESS", nargs="?", const=_LOOPBACK, help=away)
    for name, what in (("ca", "certificate of the authority"), ("cert", "own certificate"), ("key", "own key")):
        sweep.add_argument(f"--tls-{name}", metavar="FILE", type=Path, help=f"{what} for a tls:// scheduler")
    sweep.set_defaults(command=_sweep)


def _add_studies(commands: argparse._SubParsersAction[_Parser], runs: _Parser, profiles: _Parser) -> None:
    _add_sweep(commands, profiles)

    report = commands.add_parser("report", parents=[profiles], help="results of an experiment as one page: answer, charts, evidence")
    report.add_argument("folders", metavar="RESULTS", nargs="+", type=Path, help="a folder of results, such as results/compare_platforms")
    report.add_argument("--out", metavar="FILE", type=Path, help="where to write (default: report.html in the folder of results)")
    report.set_defaults(command=_report)

    sensitivity = commands.add_parser("sensitivity", parents=[runs, profiles], help="which cost's range decides what a scenario answers")
    responses = ("mean", "p50", "p95", "p99", "throughput", "cpu")
    sensitivity.add_argument("--response", choices=responses, default="mean", help="what is looked at (default: %(default)s)")
    sensitivity.add_argument("--top", metavar="K", type=_at_least(1), default=10, help="so many costs are simulated (default: %(default)s)")
    sensitivity.add_argument("--platforms", metavar="A,B,...", type=_names, default=(), help="on these (default: the scenario's own)")
    sensitivity.add_argument("--tenant", metavar="NAME", help="the group of tenants looked at (default: the first)")
    sensitivity.add_argument("--sobol", metavar="N", type=_at_least(2), default=0, help="also vary the first costs together, N samples")
    sensitivity.add_argument("--csv", metavar="FILE", type=Path, help="write the table; a report shows results/NAME/sensitivity.csv")
    sensitivity.add_argument("--chart", metavar="FILE", type=Path, help="draw the tornado, as .svg or .png")
    sensitivity.set_defaults(command=_sensitivity)


def _add_failures(commands: argparse._SubParsersAction[_Parser], runs: _Parser, profiles: _Parser) -> None:
    endurance = commands.add_parser("availability", parents=[runs, profiles], help="years of faults and repairs: who is up how often")
    endurance.add_argument("--years", metavar="Y", type=_positive, default=100.0, help="simulated time of each run (default: %(default)g)")
    endurance.set_defaults(command=_availability)

    escape = commands.add_parser("escape", parents=[profiles], help="an attacker in one tenant: what it must cross, whom it reaches")
    escape.add_argument("platform", metavar="PLATFORM")
    escape.add_argument("--attacker", metavar="NAME", default="opportunist", help="profile of the attacker (default: %(default)s)")
    escape.add_argument("--tenants", metavar="N", type=_at_least(1), default=10, help="on the host (default: %(default)s)")
    escape.add_argument("--per-vm", metavar="M", type=_at_least(1), default=1, help="tenants in each machine (default: %(default)s)")
    escape.add_argument("--years", metavar="Y", type=_positive, default=1.0, help="time that it has (default: %(default)g)")
    escape.set_defaults(command=_escape)


def _add_density(commands: argparse._SubParsersAction[_Parser], profiles: _Parser) -> None:
    density = commands.add_parser("density", parents=[profiles], help="how many tenants a host carries within a service level")
    density.add_argument("scenario", metavar="SCENARIO.toml", type=Path)
    slo = "what is promised, such as 'p99 < 50 ms and error rate < 1 %%, throughput >= 100 /s for web'"
    density.add_argument("--slo", metavar="TEXT", required=True, help=slo)
    density.add_argument("--confidence", metavar="P", type=_confidence, default=0.95, help="that it is kept (default: %(default)s)")
    density.add_argument("--platforms", metavar="A,B,...|all", type=_names, default=(), help="default: the scenario's")
    density.add_argument("--mix", action="store_true", help="multiply all groups of tenants in proportion (default: the first alone)")
    ratio = "memory that virtual machines may be promised over what there is (default: 1)"
    density.add_argument("--overcommit", metavar="R", type=_ratio, default=1.0, help=ratio)
    density.add_argument("--requests", metavar="N", type=_at_least(100), default=4000, help="of a run, about (default: %(default)s)")
    density.add_argument("--seed", metavar="S", type=_at_least(0), help="seed of all random numbers (default: the scenario's)")
    density.add_argument("--csv", metavar="FILE", type=Path, help="write every trial to this file")
    density.add_argument("--chart", metavar="FILE", type=Path, help="draw margins over tenants, as .svg or .png")
    density.set_defaults(command=_density)


def _confidence(text: str) -> float:
    if not 0.5 < (number := _float(text)) < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r}; a probability above 0.5 and below 1, such as 0.95")
    return number


def _ratio(text: str) -> float:
    if not 1.0 <= (number := _float(text)) <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text!r}; a ratio from 1 to 1000, such as 1.5")
    return number


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan


def _add_isolation(commands: argparse._SubParsersAction[_Parser], runs: _Parser, profiles: _Parser) -> None:
    tables = commands.add_parser("tables", parents=[profiles], help="what tenants of a platform share by default, and what limits them")
    tables.add_argument("platform", metavar="PLATFORM")
    tables.add_argument("--machine", metavar="M", help="on this machine (default: the platform's own)")
    tables.set_defaults(command=_tables)

    about = "which neighbours break an objective when they misbehave, and which limit would keep it"
    isolation = commands.add_parser("isolation", parents=[runs, profiles], help=about)
    isolation.add_argument("--slo", metavar="TEXT", default="p99 < 50 ms and error rate < 1 %", help="the objective (default: %(default)s)")
    isolation.add_argument("--platforms", metavar="A,B,...", type=_names, default=(), help="default: the scenario's own")
    isolation.add_argument("--stressors", metavar="A,B,...", type=_names, default=(), help="default: all")
    isolation.add_argument("--intensity", metavar="X", type=_positive, default=1.0, help="of each stressor (default: %(default)s)")
    isolation.set_defaults(command=_isolation)


def _add_image(commands: argparse._SubParsersAction[_Parser], profiles: _Parser) -> None:
    image = commands.add_parser("image", help="build, inspect, pull and run images, and where the time goes")
    verbs = image.add_subparsers(title="commands", metavar="COMMAND", required=True)
    written = _Parser(add_help=False)
    written.add_argument("--json", metavar="FILE", type=Path, help="also write everything that was found to this file")
    where = _Parser(add_help=False)
    where.add_argument("--registry", metavar="NAME", default="hosted-registry", help="profile of the registry (default: %(default)s)")
    where.add_argument("--machine", metavar="M", default="small-server", help="profile of the host (default: %(default)s)")
    where.add_argument("--engine", metavar="NAME", help="profile of the container engine (default: the first by name)")
    where.add_argument("--chart", metavar="FILE", type=Path, help="draw what happened when, as .svg or .png")
    lazily = _Parser(add_help=False)
    lazily.add_argument("--lazy", metavar="FORMAT", help="start before everything is here, in this format")

    build = verbs.add_parser("build", parents=[where, written, profiles], help="plan and simulate the build of a folder or a build file")
    build.add_argument("place", metavar="DIR|FILE", type=Path)
    build.add_argument("--base", metavar="NAME=IMAGE", type=_pair, action="append", default=[], help="what an image in FROM is; repeatable")
    build.add_argument("--build-arg", metavar="NAME=VALUE", type=_pair, action="append", default=[], help="value of an ARG; repeatable")
    build.add_argument("--target", metavar="STAGE", default="", help="stage to build (default: the last)")
    build.add_argument("--again", action="store_true", help="build twice and tell of the second time")
    build.set_defaults(command=_image_build)

    inspect = verbs.add_parser("inspect", parents=[written], help="what an archive of images or an OCI layout holds; nothing is extracted")
    inspect.add_argument("path", metavar="ARCHIVE|LAYOUT", type=Path)
    inspect.set_defaults(command=_image_inspect)

    pull = verbs.add_parser("pull", parents=[where, lazily, written, profiles], help="bring an image to a host")
    pull.add_argument("name", metavar="NAME|ARCHIVE")
    pull.add_argument("--present", metavar="A,B,...", type=_names, default=(), help="images that are there already")
    pull.set_defaults(command=_image_pull)

    run = verbs.add_parser("run", parents=[where, lazily, written, profiles], help="start a container, with a pull or without")
    run.add_argument("name", metavar="NAME|ARCHIVE")
    run.add_argument("--pulled", choices=("no", "disk", "cached"), default="no", help="where the image is (default: in the registry)")
    run.add_argument("--no-prefetch", action="store_true", help="with --lazy: nobody told beforehand what a start reads")
    run.set_defaults(command=_image_run)


def _add_start(commands: argparse._SubParsersAction[_Parser], profiles: _Parser) -> None:
    start = commands.add_parser("start", parents=[profiles], help="how long until something serves on a platform, stage by stage")
    start.add_argument("platform", metavar="PLATFORM")
    start.add_argument("--machine", metavar="M", help="on this machine (default: the platform's own)")
    start.add_argument("--workload", metavar="W", help="what is started (default: a program that has nothing to load)")
    start.add_argument("--count", metavar="N", type=_at_least(1), default=1, help="starts (default: %(default)s)")
    start.add_argument("--at-once", metavar="N", type=_at_least(1), default=0, help="how many are under way at any time (default: all)")
    start.add_argument("--running", metavar="N", type=_at_least(0), default=0, help="instances that run already (default: %(default)s)")
    start.add_argument("--vcpus", metavar="N", type=_at_least(1), default=1, help="of each virtual machine (default: %(default)s)")
    start.add_argument("--cold", action="store_true", help="nothing that is read is in memory")
    start.add_argument("--one-copy", action="store_true", help="the host keeps in memory what virtual machines read of one image")
    start.add_argument("--way", metavar="WAY", default="fresh", help="fresh, restore, clone, or another that the profiles know")
    start.add_argument("--scheduler", metavar="NAME", default="fluid", help="how processors are shared (default: %(default)s)")
    start.add_argument("--replications", metavar="N", type=_at_least(1), default=10, help="independent runs (default: %(default)s)")
    start.add_argument("--seed", metavar="S", type=_at_least(0), default=1, help="seed of all random numbers (default: %(default)s)")
    start.add_argument("--chart", metavar="FILE", type=Path, help="draw what happened when, as .svg or .png")
    start.add_argument("--json", metavar="FILE", type=Path, help="also write everything that was found to this file")
    start.set_defaults(command=_start)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}; write NAME=VALUE")
    return name, value


def _at_least(bound: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = bound - 1
        if number < bound:
            raise argparse.ArgumentTypeError(f"{text!r}; a whole number, at least {bound}")
        return number

    return read


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}; a number above 0 and below a million")
    return number


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r}; at least one name, several with commas between them")
    return names


def _catalog(arguments: argparse.Namespace) -> Catalog:
    from simvirt.catalog import Catalog

    return Catalog.builtin(*arguments.profiles)


def _list(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.listing import listing

    return listing(_catalog(arguments), [_KINDS[arguments.kind]] if arguments.kind else tuple(_KINDS.values()))


def _show(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.show import show

    return show(_catalog(arguments), arguments.name, kind=arguments.kind, machine=arguments.machine, as_csv=arguments.csv)


def _metrics(_: argparse.Namespace) -> list[str]:
    from simvirt.commands.metrics import metrics_text

    return metrics_text()


def _explain(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.explain import explain

    return explain(_catalog(arguments), arguments.operation, arguments.platform, machine=arguments.machine)


def _check(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.check import check

    return check(_catalog(arguments), arguments.scenario)


def _run(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.run import run

    return run(
        _catalog(arguments),
        arguments.scenario,
        replications=arguments.replications,
        seed=arguments.seed,
        json=arguments.json,
        trace=arguments.trace,
        trace_window=_window(arguments),
        profiles=arguments.profiles,
    )


def _window(arguments: argparse.Namespace) -> str | None:
    if arguments.trace_window is not None and arguments.trace is None:
        raise UsageError("--trace-window: of what? give --trace FILE.json.gz too")
    window: str | None = arguments.trace_window
    return window


def _availability(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.availability import availability

    counts = {"replications": arguments.replications, "seed": arguments.seed}
    return availability(_catalog(arguments), arguments.scenario, years=arguments.years, **counts)


def _escape(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.escape import escape

    counts = {"tenants": arguments.tenants, "per_vm": arguments.per_vm}
    return escape(_catalog(arguments), arguments.platform, attacker=arguments.attacker, years=arguments.years, **counts)


def _compare(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.compare import compare

    return compare(
        _catalog(arguments),
        arguments.scenario,
        platforms=arguments.platforms,
        baseline=arguments.baseline,
        replications=arguments.replications,
        seed=arguments.seed,
        profiles=arguments.profiles,
    )


def _sweep(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.sweep import sweep
    from simvirt.errors import ResultsError
    from simvirt.experiment.cluster import Certificates

    files = {"authority": arguments.tls_ca, "certificate": arguments.tls_cert, "key": arguments.tls_key}
    given = {name: path for name, path in files.items() if path is not None}
    if given and len(given) < len(files):
        raise UsageError("--tls-ca, --tls-cert and --tls-key: give all three or none")
    told, failures = sweep(
        arguments.study,
        out=arguments.out,
        runs=arguments.runs,
        fresh=arguments.fresh,
        workers=arguments.workers,
        scheduler=arguments.scheduler,
        certificates=Certificates(**given) if given else None,
        parquet=arguments.parquet,
        profiles=arguments.profiles,
    )
    if failures:
        print("\n".join(told), flush=True)
        raise ResultsError(f"{failures} runs failed: see `failed` in runs.csv; the same command tries them again")
    return told


def _report(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.report import report

    return report(arguments.folders, out=arguments.out, profiles=arguments.profiles)


def _sensitivity(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.sensitivity import sensitivity

    return sensitivity(
        _catalog(arguments),
        arguments.scenario,
        response=arguments.response,
        top=arguments.top,
        platforms=arguments.platforms,
        tenant=arguments.tenant,
        samples=arguments.sobol,
        replications=arguments.replications,
        seed=arguments.seed,
        csv=arguments.csv,
        chart=arguments.chart,
        profiles=arguments.profiles,
    )


def _density(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.density import density

    return density(
        _catalog(arguments),
        arguments.scenario,
        slo=arguments.slo,
        confidence=arguments.confidence,
        platforms=arguments.platforms,
        mix=arguments.mix,
        overcommit=arguments.overcommit,
        requests=arguments.requests,
        seed=arguments.seed,
        csv=arguments.csv,
        chart=arguments.chart,
        profiles=arguments.profiles,
    )


def _tables(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.shared import shared_tables

    return shared_tables(_catalog(arguments), arguments.platform, arguments.machine)


def _isolation(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.isolation import isolation

    return isolation(
        _catalog(arguments),
        arguments.scenario,
        slo=arguments.slo,
        platforms=arguments.platforms,
        stressors=arguments.stressors,
        intensity=arguments.intensity,
        replications=arguments.replications,
        seed=arguments.seed,
        profiles=arguments.profiles,
    )


def _cluster(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.cluster import cluster

    return cluster(
        _catalog(arguments), arguments.scenario, replications=arguments.replications, seed=arguments.seed, events=arguments.events
    )


def _bench(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every command about images that simulates is told."""
    catalog = _catalog(arguments)
    engine = arguments.engine or catalog.names("container-engines")[0]
    outputs = {"chart": arguments.chart, "json": arguments.json}
    return {"catalog": catalog, "registry": arguments.registry, "machine": arguments.machine, "engine": engine, **outputs}


def _image_build(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.image import image_build

    return image_build(
        place=arguments.place,
        bases=dict(arguments.base),
        arguments=dict(arguments.build_arg),
        target=arguments.target,
        again=arguments.again,
        **_bench(arguments),
    )


def _image_inspect(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.image import image_inspect

    return image_inspect(arguments.path, arguments.json)


def _image_pull(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.image import image_pull

    return image_pull(name=arguments.name, present=arguments.present, lazy=arguments.lazy, **_bench(arguments))


def _image_run(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.image import image_run

    prefetch = not arguments.no_prefetch
    return image_run(name=arguments.name, pulled=arguments.pulled, lazy=arguments.lazy, prefetch=prefetch, **_bench(arguments))


def _start(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.start import start
    from simvirt.scenario import Run
    from simvirt.simulation.starts import Starts

    starts = Starts(
        platform=arguments.platform,
        machine=arguments.machine,
        workload=arguments.workload,
        count=arguments.count,
        at_once=arguments.at_once,
        running=arguments.running,
        vcpus=arguments.vcpus,
        cold=arguments.cold,
        shares_files=arguments.one_copy,
        way=arguments.way,
        scheduler=arguments.scheduler,
        run=Run(replications=arguments.replications, seed=arguments.seed),
    )
    return start(_catalog(arguments), starts, chart=arguments.chart, json=arguments.json)


def _validate(arguments: argparse.Namespace) -> list[str]:
    from simvirt.commands.validate import validate

    return validate(
        arguments.folder,
        only=arguments.only,
        rows=arguments.rows,
        csv=arguments.csv,
        summary_csv=arguments.summary,
        charts=arguments.charts,
        workers=arguments.workers,
    )


if __name__ == "__main__":
    sys.exit(main())
