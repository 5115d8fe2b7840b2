"""The text of a build file as logical lines: directives, comments, continuations, here-documents.

A logical line is one instruction. It ends where a physical line does not end in the escape character (blanks may follow it). Comment
lines and empty lines inside a continued instruction vanish. Here-documents follow the instructions that may have them, up to the line
that holds nothing but their word. Comments before an instruction are kept: they may annotate it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Heredoc", "LogicalLine", "Source", "read_source"]

ESCAPES: Final = ("\\", "`")
_DIRECTIVE: Final = re.compile(r"#[ \t]*([A-Za-z]+)[ \t]*=[ \t]*(.*?)[ \t]*$")
_KNOWN_DIRECTIVES: Final = ("syntax", "escape", "check")
_HEREDOC: Final = re.compile(r"\d*<<(-?)(?:'([^'<>\s]+)'|\"([^\"<>\s]+)\"|([A-Za-z0-9_.+/-]+))")
_QUOTED: Final = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"")
_WITH_HEREDOC: Final = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """Text that stands below an instruction, under a word that ends it."""

    word: str
    text: str
    expands: bool
    """Whether variables in it are replaced: not if its word is quoted."""


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """One instruction as it was written, continuations joined."""

    number: int
    """Physical line on which it begins, from 1."""
    text: str
    heredocs: tuple[Heredoc, ...] = ()
    comments: tuple[str, ...] = ()
    """Comments that stand directly before it, without their sign."""


@dataclass(frozen=True, slots=True)
class Source:
    """A build file in logical lines."""

    lines: tuple[LogicalLine, ...]
    escape: str
    directives: tuple[tuple[str, str], ...]


def read_source(text: str, problems: list[str]) -> Source:
    """Cut a text into logical lines; mistakes are added to `problems`."""
    physical = text.removeprefix("\ufeff").splitlines()
    directives = _directives(physical, problems)
    escape = dict(directives).get("escape", ESCAPES[0])
    return Source(tuple(_logical(physical, len(directives), escape, problems)), escape, tuple(directives))


def _directives(physical: list[str], problems: list[str]) -> list[tuple[str, str]]:
    """Directives stand at the very top; the first line that is none ends them."""
    found: list[tuple[str, str]] = []
    for number, line in enumerate(physical, 1):
        match = _DIRECTIVE.match(line.strip())
        if match is None or match[1].lower() not in _KNOWN_DIRECTIVES:
            break
        name, value = match[1].lower(), match[2]
        if name in dict(found):
            problems.append(f"line {number}: directive {name!r} stands twice; keep one")
        if name == "escape" and value not in ESCAPES:
            problems.append(f"line {number}: escape={value!r}; a backslash or a backtick")
            value = ESCAPES[0]
        found.append((name, value))
    return found


def _logical(physical: list[str], first: int, escape: str, problems: list[str]) -> Iterator[LogicalLine]:
    ends = re.compile(rf"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*$")
    comments: list[str] = []
    i = first
    while i < len(physical):
        stripped = physical[i].strip()
        if not stripped or stripped.startswith("#"):
            comments = [*comments, stripped[1:].strip()] if stripped else []
            i += 1
            continue
        number, continued = i + 1, True
        parts: list[str] = []
        while continued and i < len(physical):
            line = physical[i]
            i += 1
            if parts and (not line.strip() or line.lstrip().startswith("#")):
                continue
            continued = ends.search(line) is not None
            parts.append(ends.sub("", line))
        text = "".join(parts).strip()
        heredocs, i = _heredocs(text, physical, i, number, problems)
        if text:
            yield LogicalLine(number, text, heredocs, tuple(comments))
        comments = []


def _heredocs(text: str, physical: list[str], i: int, number: int, problems: list[str]) -> tuple[tuple[Heredoc, ...], int]:
    """The here-documents of an instruction, and the number of lines read so far."""
    words = text.split(maxsplit=2)
    keyword = words[1] if len(words) > 1 and words[0].upper() == "ONBUILD" else words[0] if words else ""
    if keyword.upper() not in _WITH_HEREDOC:
        return (), i
    found: list[Heredoc] = []
    for dash, single, double, bare in _marks(text):
        word = single or double or bare
        body: list[str] = []
        while i < len(physical):
            line = physical[i].lstrip("\t") if dash else physical[i]
            i += 1
            if line == word:
                break
            body.append(line + "\n")
        else:
            problems.append(f"line {number}: here-document <<{word} has no end; write a line that holds {word} alone")
        found.append(Heredoc(word, "".join(body), not (single or double)))
    return tuple(found), i


def _marks(text: str) -> list[tuple[str, str, str, str]]:
    """Marks of here-documents outside quotes: a here-string (<<<), a shift ($((1<<2))) and quoted text are none."""
    quoted = [match.span() for match in _QUOTED.finditer(text)]
    marks = []
    for match in _HEREDOC.finditer(text):
        start, end = match.span()
        before = text[start - 1] if start else " "
        inside = any(a < start and end <= b for a, b in quoted)
        if (before.isspace() or before in ";&|") and not text.startswith("<<<", start) and not inside:
            marks.append((match[1], match[2] or "", match[3] or "", match[4] or ""))
    return marks
