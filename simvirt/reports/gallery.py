"""The gallery: of every experiment its question, one chart and one sentence of its answer, between two marks of a Markdown file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from simvirt.errors import ResultsError
from simvirt.reports.stored import StoredResults

__all__ = ["with_gallery"]

_BLOCK: Final = re.compile(r"(<!-- gallery -->\n).*?(<!-- end of gallery -->)", re.DOTALL)


def with_gallery(text: str, found: Sequence[StoredResults], folder: Path) -> str:
    """The text with the gallery of these results; `folder` is where the file stands. Raises ResultsError where a chart is missing."""
    chartless = [one for one in found if one.about.get("chart") not in one.charts]
    missing = [f"{one.path}: no chart {one.about.get('chart')!r}; run the experiment again" for one in chartless]
    if missing:
        raise ResultsError(missing)
    entries = "\n".join(_entry(one, folder) for one in found)
    return _BLOCK.sub(lambda block: f"{block[1]}{entries}{block[2]}", text)


def _entry(one: StoredResults, folder: Path) -> str:
    place = Path(os.path.relpath(one.path, folder)).as_posix()
    answer = next(iter(one.about["answer"]), "No answer in words: see the tables.")
    heading = one.experiment.replace("_", " ").capitalize()
    return f"**[{heading}]({place})** {one.about['question']}\n\n![{heading}]({place}/charts/{one.about['chart']}.png)\n\n{answer}\n"
