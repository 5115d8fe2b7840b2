"""Charts for a page that holds many: names of their own, no metadata, a title and a description for those who do not see them."""

from __future__ import annotations

import re
from html import escape
from typing import Final
from xml.etree import ElementTree

__all__ = ["inline", "title_of", "words_of"]

_BEFORE: Final = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_METADATA: Final = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_STYLE: Final = re.compile(r"<style type=\"text/css\">\*\{(.*?)\}</style>", re.DOTALL)
_ID: Final = re.compile(r"\bid=\"([^\"]+)\"")
_REFERENCE: Final = re.compile(r"(xlink:href=\"#|url\(#)([^\")]+)")
_ROOT: Final = re.compile(r"<svg\b[^>]*>")
_VIEW: Final = re.compile(r"viewBox=\"([^\"]+)\"")
_LINE_END: Final = re.compile(r" ?\n")


def inline(svg: str, name: str, alt: str) -> str:
    """The chart as an element of a page, scaled to its place; every id begins with the chart's name, so that charts do not share any."""
    body = _METADATA.sub("", _BEFORE.sub("", svg, count=1))
    root = _ROOT.search(body)
    view = _VIEW.search(root[0]) if root else None
    if root is None or view is None:
        raise ValueError(f"chart {name}: no svg element with a viewBox")
    inner = body[root.end() : body.rindex("</svg>")]
    style = _STYLE.search(inner)
    inner = _STYLE.sub("", inner)
    inner = _ID.sub(lambda found: f'id="{name}-{found[1]}"', inner)
    inner = _REFERENCE.sub(lambda found: f"{found[1].replace('xlink:', '')}{name}-{found[2]}", inner)
    inner = _LINE_END.sub("\n", inner).strip()
    label = f'role="img" aria-labelledby="{name}-title" viewBox="{view[1]}" style="{escape(style[1]) if style else ""}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {label}><title id="{name}-title">{escape(alt)}</title>\n{inner}\n</svg>'


def words_of(svg: str) -> list[str]:
    """The texts of a chart, in the order in which they are drawn."""
    return [" ".join(" ".join(e.itertext()).split()) for e in ElementTree.fromstring(svg).iter() if e.tag.rpartition("}")[2] == "text"]


def title_of(svg: str, name: str) -> str:
    """What the chart says in bold at its head, or its name."""
    sizes: list[tuple[float, str]] = []
    for element in ElementTree.fromstring(svg).iter():
        if element.tag.rpartition("}")[2] == "text":
            size = re.search(r"(\d+(?:\.\d+)?)px", element.get("style", ""))
            sizes.append((float(size[1]) if size else 0.0, " ".join(" ".join(element.itertext()).split())))
    largest = max((size for size, _ in sizes), default=0.0)
    return next((text for size, text in sizes if size == largest and text), name.replace("_", " "))
