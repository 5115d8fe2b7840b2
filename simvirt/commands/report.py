"""`simvirt report`: results of experiments as pages that can be sent to somebody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from simvirt.commands.evidence import evidence_of, profile_folders
from simvirt.commands.sensitivity import RESPONSES
from simvirt.errors import ResultsError
from simvirt.metrics.tidy import write_bytes_atomic
from simvirt.reports.page import render_page
from simvirt.reports.stored import read_all

__all__ = ["REPORT", "report"]

REPORT: Final = "report.html"


def report(folders: Sequence[Path], *, out: Path | None, profiles: Sequence[Path]) -> list[str]:
    """Write a page for each folder, into it or to `out`; tell where."""
    if out is not None and len(folders) > 1:
        raise ResultsError([f"--out {out}: one file for {len(folders)} folders; leave it out, and each page stands in its folder"])
    responses = {name: words for name, (_, _, words) in RESPONSES.items()}
    told = []
    for results in read_all(folders):
        evidence = evidence_of(results, (*profiles, *profile_folders(results)))
        place = out or results.path / REPORT
        write_bytes_atomic(render_page(results, evidence, responses).encode("utf-8"), place)
        told.append(f"{place}: {results.experiment}, {place.stat().st_size / 1e6:.1f} MB, one file that needs nothing else")
    return told
