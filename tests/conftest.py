"""What holds for every test: the same examples in every run, no screen, no file left in the source tree."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

settings.register_profile("simvirt", derandomize=True, deadline=None, database=None)
settings.load_profile("simvirt")

os.environ.setdefault("MPLBACKEND", "Agg")


def pytest_configure(config: pytest.Config) -> None:
    """Keep hypothesis' tables of characters in a temporary folder that is removed at the end."""
    scratch = tempfile.TemporaryDirectory(prefix="simvirt-hypothesis-")
    set_hypothesis_home_dir(scratch.name)
    config.add_cleanup(scratch.cleanup)
