"""Which files of a folder a build does not see: the patterns of an ignore file.

One pattern a line. `#` at the very beginning of a line is a comment. Leading and trailing slashes and `.` mean nothing. `*` is any text
without a slash, `?` one character, `[a-z]` one of a set, `**` any number of folders, none included; the backslash takes the meaning from a
character. `!` in front makes an exception. The last pattern that matches decides; a pattern matches what lies below what it matches, too.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

__all__ = ["IgnoreRules", "read_ignore_rules"]


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """Patterns in their order, each with whether it is an exception."""

    patterns: tuple[tuple[re.Pattern[str], bool], ...] = ()

    def ignores(self, path: str) -> bool:
        """Whether a file at this path, relative to the folder and with slashes, is left out."""
        parts = path.split("/")
        heads = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        ignored = False
        for pattern, exception in self.patterns:
            if ignored == exception and any(pattern.fullmatch(head) for head in heads):
                ignored = not exception
        return ignored


def read_ignore_rules(text: str, problems: list[str]) -> IgnoreRules:
    """Rules from the text of an ignore file; mistakes are added to `problems`."""
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if line.startswith("#") or not line.strip():
            continue
        pattern = line.strip()
        exception = pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip()
        if not pattern:
            problems.append(f"line {number}: an exception without a pattern; write what ! should bring back")
            continue
        pattern = posixpath.normpath("/" + pattern).strip("/")
        if pattern:
            try:
                patterns.append((re.compile(_expression(pattern)), exception))
            except (re.error, ValueError):
                problems.append(f"line {number}: pattern {line.strip()!r} cannot be read; close its [ ] or write \\[")
    return IgnoreRules(tuple(patterns))


def _expression(pattern: str) -> str:
    out: list[str] = []
    i = 0
    while i < len(pattern):
        character = pattern[i]
        if pattern.startswith("**/", i):
            out.append("(?:.*/)?")
            i += 3
        elif pattern.startswith("**", i):
            out.append(".*")
            i += 2
        elif character == "*":
            out.append("[^/]*")
            i += 1
        elif character == "?":
            out.append("[^/]")
            i += 1
        elif character == "[":
            end = pattern.index("]", i + 2)
            inside = pattern[i + 1 : end]
            negated = inside.startswith("^")
            out.append(f"[{'^' if negated else ''}{_set(inside.removeprefix('^'))}]")
            i = end + 1
        elif character == "\\" and i + 1 < len(pattern):
            out.append(re.escape(pattern[i + 1]))
            i += 2
        else:
            out.append(re.escape(character))
            i += 1
    return "".join(out)


def _set(inside: str) -> str:
    return "".join(c if c == "-" else re.escape(c) for c in inside)
