"""What an installation gives: one version, an import that costs nothing, every data file, a command that exists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import simvirt

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DATA_FILES = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "simvirt").rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc"} and "__pycache__" not in path.parts
}


def test_the_package_and_the_project_state_one_version() -> None:
    assert simvirt.__version__ == PROJECT["project"]["version"]


def test_importing_simvirt_loads_nothing_heavy() -> None:
    program = "import sys, simvirt; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(shown.stdout.split())
    assert "simvirt" in loaded
    assert not loaded & {"jinja2", "matplotlib", "numpy", "pandas", "pydantic", "scipy", "simpy", "tqdm"}


def test_every_toml_file_is_declared_as_package_data() -> None:
    globs = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["artifacts"]
    declared = {path.relative_to(ROOT).as_posix() for glob in globs for path in ROOT.glob(glob)}
    assert not {name for name in DATA_FILES if name.endswith(".toml")} - declared


def test_the_wheel_holds_every_module_and_every_data_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        entry_points = archive.read(f"simvirt-{simvirt.__version__}.dist-info/entry_points.txt").decode()
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "simvirt").rglob("*.py")}
    assert not (modules | DATA_FILES) - packed
    assert not {name for name in packed if not name.startswith(("simvirt/", "simvirt-"))}
    assert "simvirt = simvirt.cli:main" in entry_points.splitlines()


def test_the_command_exists() -> None:
    path = ROOT / "simvirt" / "cli.py"
    if not path.exists():
        pytest.skip("the command line is not written yet")
    functions = {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}
    assert "main" in functions


def test_every_requirement_is_pinned_inside_its_range() -> None:
    """The constraints pin each package that the project or an extra asks for, at a version that the range allows."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert list(pins) == sorted(canonicalize_name(name) for name in pins)
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [Requirement(text) for text in [*PROJECT["project"]["dependencies"], *(text for extra in extras.values() for text in extra)]]
    assert len(asked) >= 8
    for requirement in asked:
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), str(requirement)


def test_constraints_point_to_no_index() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+]*", line) for line in lines)
