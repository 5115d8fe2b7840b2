"""Keeps tables in a Markdown file equal to the results that they show.

Between `<!-- table: path/to/file.csv -->` and `<!-- end -->` stands the table of that file, paths relative to the Markdown file. `python -m
simvirt.reports.readme README.md` writes them anew; a test compares.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Final

from simvirt.errors import ResultsError, SimvirtError

__all__ = ["main", "with_tables"]

_BLOCK: Final = re.compile(r"(<!-- table: (?P<path>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(text: str, folder: Path) -> str:
    """The text with every table as the files in `folder` have it now."""
    return _BLOCK.sub(lambda block: f"{block[1]}{_table(folder / block['path'])}{block[3]}", text)


def _table(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}; run the experiment that writes it") from error
    header = [cell.replace("_", " ") for cell in rows[0]]
    lines = [header, ["---"] * len(header), *([_short(cell) for cell in row] for row in rows[1:])]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _short(cell: str) -> str:
    """Numbers to three digits; everything else as it is."""
    try:
        number = float(cell)
    except ValueError:
        return cell
    return cell if number.is_integer() else f"{number:.3g}"


def main(arguments: list[str]) -> int:
    """Write the tables of each named file anew."""
    for name in arguments:
        path = Path(name)
        try:
            path.write_text(with_tables(path.read_text(encoding="utf-8"), path.parent), encoding="utf-8")
        except SimvirtError as error:
            sys.stderr.write(f"{error}\n")
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
