"""A small table as HTML, for notebooks: what an object says of itself at the end of a cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Every cell is text; whatever it says, it is not markup."""
    head = "".join(f'<th style="text-align:left">{escape(text)}</th>' for text in header)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    words = f'<caption style="text-align:left;caption-side:top">{escape(caption)}</caption>'
    return f"<table>{words}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: object) -> str:
    return f'<td style="text-align:left">{escape(str(cell))}</td>'
