"""Plain-text tables: columns side by side, as wide as what stands in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

__all__ = ["table"]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = ()) -> list[str]:
    """The lines of a table: the header, a rule, the rows. Columns named in `right` are set flush right, as numbers are."""
    given = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *given, strict=True)]
    flush_right = [name in right for name in header]
    rule = tuple("-" * width for width in widths)
    return [_line(row, widths, flush_right) for row in (tuple(header), rule, *given)]


def _line(cells: Sequence[str], widths: Sequence[int], flush_right: Sequence[bool]) -> str:
    padded = (cell.rjust(w) if flush else cell.ljust(w) for cell, w, flush in zip(cells, widths, flush_right, strict=True))
    return "  ".join(padded).rstrip()
