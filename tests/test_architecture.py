"""The tree is the block diagram: imports point one way, no platform has a name in code, no clock or global generator is read.

Everything is read with `ast`; nothing of simvirt is imported here. Each reader is first tried on a few lines whose fault is known.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "simvirt"

LEAVES = "units errors randomness demand markup memory_character evidence quantities engine"
DATA_MODELS = f"{LEAVES} layers workloads resources faults images cluster metrics"
READERS = "profile_reader scheduler_reader image_reader footprint_reader orchestrator_reader startup_reader fault_reader table_reader"
"""What reads the tables of profiles, one kind each."""

MAY_IMPORT = {
    **dict.fromkeys(LEAVES.split(), LEAVES),
    "layers": LEAVES,
    "metrics": LEAVES,
    "workloads": LEAVES,
    "resources": f"{LEAVES} metrics",
    "slo": f"{LEAVES} metrics",
    "faults": f"{LEAVES} layers",
    "images": f"{LEAVES} resources",
    "startup": f"{LEAVES} layers",
    "cluster": f"{LEAVES} resources images metrics",
    "profiles": "",
    "profile_reader": DATA_MODELS,
    "scheduler_reader": f"{DATA_MODELS} profile_reader",
    "image_reader": f"{DATA_MODELS} profile_reader",
    "footprint_reader": f"{DATA_MODELS} profile_reader",
    "orchestrator_reader": f"{DATA_MODELS} profile_reader",
    "fault_reader": f"{DATA_MODELS} profile_reader",
    "startup_reader": f"{DATA_MODELS} startup profile_reader",
    "table_reader": f"{DATA_MODELS} profile_reader",
    "catalog": f"{DATA_MODELS} startup {READERS}",
    "scheduler_choice": f"{LEAVES} layers",
    "tenant_place": f"{LEAVES} layers",
    "cpu_limits": f"{LEAVES} layers resources tenant_place",
    "memory_contention": DATA_MODELS,
    "memory_plan": f"{DATA_MODELS} footprint_reader",
    "scenario": f"{DATA_MODELS} catalog scheduler_choice tenant_place cpu_limits memory_contention memory_plan {READERS}",
    "simulation": f"{DATA_MODELS} analysis startup startup_reader catalog scheduler_choice cpu_limits memory_contention memory_plan"
    " scenario tenant_place",
    "cluster_scenario": f"{DATA_MODELS} catalog scenario",
    "cluster_run": f"{DATA_MODELS} catalog scenario simulation cluster_scenario",
    "analysis": f"{LEAVES} metrics",
    "experiment": f"{DATA_MODELS} catalog scenario simulation analysis",
    "density": f"{DATA_MODELS} catalog scenario simulation analysis experiment memory_plan slo",
    "isolation": f"{DATA_MODELS} catalog scenario simulation slo",
    "reports": f"{LEAVES} metrics analysis",
    "validation": f"{DATA_MODELS} catalog scenario simulation experiment",
    "commands": f"{DATA_MODELS} startup profile_reader footprint_reader catalog scenario simulation experiment analysis reports validation"
    " slo density isolation cluster_scenario cluster_run",
    "cli": f"{DATA_MODELS} catalog scenario simulation experiment analysis reports commands",
}
"""Part of simvirt (a module or folder at its top) → the other parts that it may import. Every part has a line here."""

WITHOUT_SIMPY = ("layers", "analysis", "reports")
"""Parts that never load simpy, not even through a module that they may import."""

READS_THE_CLOCK = {"simvirt/experiment/manifest.py"}
"""Files that may read the date and the time: what they write is no result."""

NAMES_SCRATCH_FILES = {"simvirt/metrics/tidy.py"}
"""Files that may ask for a name nobody else has, for a file that is renamed when it is whole."""


# --- Reading ---------------------------------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"), filename=str(FILES[module]))


def imported(tree: ast.AST, module: str, is_package: bool, known: frozenset[str]) -> set[str]:
    """Modules named by import statements anywhere in a tree: lazy and type-checking ones count too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                home = module.split(".")[: None if is_package and node.level == 1 else (1 if is_package else 0) - node.level]
                base = ".".join([*home, *([base] if base else [])])
            for alias in node.names:
                child = f"{base}.{alias.name}"
                found.add(child if child in known else base)
    return found - {module}


def import_graph() -> dict[str, set[str]]:
    known = frozenset(FILES)
    return {module: imported(tree_of(module), module, path.name == "__init__.py", known) for module, path in FILES.items()}


GRAPH = import_graph()


def part(module: str) -> str | None:
    """The top-level part of simvirt that a module belongs to; None for simvirt itself and for other packages."""
    names = module.split(".")
    return names[1] if names[0] == "simvirt" and len(names) > 1 else None


def reachable(start: str) -> set[str]:
    """Every module that loading a part pulls in, the packages around each module included."""
    seen: set[str] = set()
    waiting = [module for module in FILES if part(module) == start]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting.extend(GRAPH.get(module, ()))
            waiting.extend(module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1))
    return seen


# --- Imports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "module", "is_package", "expected"),
    [
        ("import simpy.core", "simvirt.layers.guest", False, {"simpy.core"}),
        ("from simvirt import units", "simvirt.layers.guest", False, {"simvirt.units"}),
        ("from simvirt.units import DIMENSIONS", "simvirt.layers.guest", False, {"simvirt.units"}),
        ("from . import contract", "simvirt.layers.guest", False, {"simvirt.layers.contract"}),
        ("from . import contract", "simvirt.layers", True, {"simvirt.layers.contract"}),
        ("from .contract import Layer", "simvirt.layers", True, {"simvirt.layers.contract"}),
        ("from ..units import DIMENSIONS", "simvirt.layers.guest", False, {"simvirt.units"}),
        ("from .. import units", "simvirt.layers", True, {"simvirt.units"}),
        ("def late():\n    import pandas", "simvirt.cli", False, {"pandas"}),
    ],
)
def test_the_reader_resolves_every_form_of_import(source: str, module: str, is_package: bool, expected: set[str]) -> None:
    known = frozenset({"simvirt.units", "simvirt.layers", "simvirt.layers.contract", "simvirt.layers.guest"})
    assert imported(ast.parse(source), module, is_package, known) == expected


def test_modules_were_read() -> None:
    assert {"simvirt", "simvirt.units", "simvirt.engine", "simvirt.resources.cpu.contract"} <= FILES.keys()
    assert "simpy" in GRAPH["simvirt.engine"]
    assert "simvirt.errors" in GRAPH["simvirt.units"]


def test_every_part_has_its_line_in_the_table() -> None:
    unplaced = {part(module) for module in FILES} - {None} - MAY_IMPORT.keys()
    assert not unplaced, f"say in MAY_IMPORT what these parts may import: {sorted(map(str, unplaced))}"


def test_imports_point_one_way() -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in sorted(targets)
        if part(target) not in {None, part(module), *MAY_IMPORT.get(part(module) or "", "").split()}
    ]
    assert not wrong, "\n".join(wrong)


def test_the_table_itself_points_one_way() -> None:
    """Above the leaves; among the leaves the modules' own graph decides."""
    leaves = set(LEAVES.split())
    rows = {name: set(allowed.split()) - leaves for name, allowed in MAY_IMPORT.items() if name not in leaves}
    assert len(list(TopologicalSorter(rows).static_order())) == len(rows)


def test_no_module_imports_itself_through_others() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("name", WITHOUT_SIMPY)
def test_parts_that_are_not_the_simulator_never_load_simpy(name: str) -> None:
    wrong = sorted(module for module in reachable(name) if any(target.split(".")[0] == "simpy" for target in GRAPH.get(module, ())))
    assert not wrong, f"{name} loads simpy through {', '.join(wrong)}"


def test_the_closure_of_imports_is_followed() -> None:
    assert "simvirt.errors" in reachable("units")
    if "simvirt.resources.cpu.fluid" in FILES:
        assert "simpy" in reachable("resources")


# --- Names of platforms ----------------------------------------------------------------------------------------------

Words = tuple[str, ...]


def split(text: str) -> tuple[Words, Words]:
    """The words of a text or an identifier, without and with breaks inside CamelCase."""
    plain = re.findall(r"[a-z0-9]+", text.lower())
    camel = re.findall(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+", text)
    return tuple(plain), tuple(word.lower() for word in camel)


def mentions(text: str, name: str) -> bool:
    """Whether the words of `name` (a file's stem, such as linux-host) stand side by side in `text`."""
    wanted = split(name)[0]
    return any(words[i : i + len(wanted)] == wanted for words in split(text) for i in range(len(words) - len(wanted) + 1))


def spoken(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every identifier and every string constant; docstrings and comments are not code."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in prose:
                yield node.lineno, text
            case ast.Constant(value=bytes(data)) if id(node) not in prose:
                yield node.lineno, data.decode("latin-1")
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.keyword(arg=str(text)):
                yield node.lineno, text
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, text
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from ((node.lineno, f"{alias.name} {alias.asname or ''}") for alias in aliases)


def platform_names() -> list[str]:
    """Stems of the profiles of platforms and layers, without those that are the name of a kind of layer, which code may know."""
    kinds = {path.stem.replace("_", "-") for path in (PACKAGE / "layers").glob("*.py")}
    stems = {path.stem for folder in ("platforms", "layers") for path in (PACKAGE / "profiles" / folder).glob("*.toml")}
    return sorted(stems - kinds)


@pytest.mark.parametrize(
    ("source", "heard"),
    [
        ("x = 'acme'", True),
        ("x = f'on {y} acme-box'", True),
        ("x = b'acme'", True),
        ("def boot(acme_s): pass", True),
        ("class AcmeGuest: pass", True),
        ("class ACMEGuest: pass", True),
        ("boot(acme=1)", True),
        ("x.acme_boot_s", True),
        ("from simvirt.layers import acme", True),
        ("x = 'acmeist'", False),
        ("# acme", False),
        ('"""acme"""', False),
        ("class Guest:\n    boot_s: float\n    '''As acme boots.'''", False),
    ],
)
def test_the_reader_hears_a_name_in_code_and_not_in_prose(source: str, heard: bool) -> None:
    assert any(mentions(text, "acme") for _, text in spoken(ast.parse(source))) == heard


def test_a_name_of_several_words_is_heard_only_as_a_whole() -> None:
    assert mentions("the_big_host_boot_s", "big-host")
    assert mentions("BigHost", "big-host")
    assert not mentions("big and small host", "big-host")


def test_no_platform_has_a_name_in_code() -> None:
    names = platform_names()
    assert names or not (PACKAGE / "profiles" / "platforms").exists()
    wrong = [
        f"{path.relative_to(PACKAGE.parent)}:{line} says {name!r}: {text!r}"
        for module, path in FILES.items()
        for line, text in [(1, module), *spoken(tree_of(module))]
        for name in names
        if mentions(text, name)
    ]
    assert not wrong, "names of platforms and layers belong in profiles:\n" + "\n".join(wrong)


# --- Clocks and global generators ------------------------------------------------------------------------------------

CLOCKS = re.compile(
    r"time\.(time|monotonic|perf_counter|process_time|thread_time)(_ns)?|time\.(localtime|gmtime|ctime|strftime)"
    r"|datetime\.datetime\.(now|utcnow|today)|datetime\.date\.today"
)
GENERATORS = re.compile(r"(random|secrets)(\..+)?|os\.urandom|uuid\.uuid[14]|numpy\.random\.[a-z].*")
"""Whole names. What numpy.random spells with a capital is a class; `default_rng(seed)` has a state of its own."""


def called_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported or reached through an import: `np.random.rand` is numpy.random.rand."""
    origin: dict[str, str] = {}
    seeded: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
                origin[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                origin[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                if not alias.name.endswith("default_rng"):
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Call) and (node.args or node.keywords) and ast.unparse(node.func).endswith("default_rng"):
            seeded.add(id(node.func))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in seeded:
            head, _, rest = ast.unparse(node).partition(".")
            if head in origin:
                yield node.lineno, origin[head] + (f".{rest}" if rest else "")


def forbidden(tree: ast.AST, names: re.Pattern[str]) -> list[tuple[int, str]]:
    return sorted({(line, name) for line, name in called_names(tree) if names.fullmatch(name)})


@pytest.mark.parametrize(
    ("source", "names", "caught"),
    [
        ("import time\ntime.time()", CLOCKS, True),
        ("from time import perf_counter", CLOCKS, True),
        ("import datetime as dt\ndt.datetime.now()", CLOCKS, True),
        ("from datetime import datetime\ndatetime.now(tz)", CLOCKS, True),
        ("from datetime import date\ndate.today()", CLOCKS, True),
        ("from datetime import timedelta\ntimedelta(1)", CLOCKS, False),
        ("engine.time()", CLOCKS, False),
        ("import random", GENERATORS, True),
        ("from random import Random", GENERATORS, True),
        ("import numpy as np\nnp.random.exponential(1)", GENERATORS, True),
        ("import numpy as np\nnp.random.seed(1)", GENERATORS, True),
        ("from numpy.random import rand", GENERATORS, True),
        ("from numpy import random\nrandom.rand()", GENERATORS, True),
        ("import numpy as np\nnp.random.default_rng()", GENERATORS, True),
        ("from numpy.random import default_rng\ndefault_rng()", GENERATORS, True),
        ("import numpy as np\nnp.random.default_rng(7)", GENERATORS, False),
        ("from numpy.random import default_rng\ndefault_rng(7)", GENERATORS, False),
        ("import numpy as np\nnp.random.Generator(np.random.PCG64DXSM(1))", GENERATORS, False),
        ("rng.random(3)", GENERATORS, False),
    ],
)
def test_the_reader_catches_clocks_and_global_generators(source: str, names: re.Pattern[str], caught: bool) -> None:
    assert bool(forbidden(ast.parse(source), names)) == caught


@pytest.mark.parametrize(("names", "allowed"), [(CLOCKS, READS_THE_CLOCK), (GENERATORS, NAMES_SCRATCH_FILES)], ids=["clocks", "generators"])
def test_a_run_depends_on_its_seed_alone(names: re.Pattern[str], allowed: set[str]) -> None:
    wrong = [
        f"{where}:{line} uses {name}"
        for module, path in FILES.items()
        if (where := path.relative_to(PACKAGE.parent).as_posix()) not in allowed
        for line, name in forbidden(tree_of(module), names)
    ]
    assert not wrong, "\n".join(wrong)
