"""Variables in the words of an instruction, replaced as the format says.

`$name` and `${name}`; `${name:-word}` word if unset or empty, `${name:+word}` word if set and not empty, `${name:?word}` a mistake with
that text if unset or empty; each of them without the colon looks only at whether the name is set. `${name#pattern}` and `##` take away
the shortest and the longest match at the beginning, `%` and `%%` at the end, `${name/pattern/word}` and `//` replace the first match and
all of them; in patterns `*` is any text and `?` one character. Inside single quotes nothing is replaced; the escape character takes the
meaning from what follows it. An unset name is empty text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["SubstitutionError", "expand", "split_words", "unquote"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]|[@*#]")
_TESTS: Final = (":-", ":+", ":?", "-", "+", "?")
_CUTS: Final = ("##", "#", "%%", "%")
_ESCAPABLE_IN_QUOTES: Final = '"$'


class SubstitutionError(ValueError):
    """A variable that cannot be replaced, with the reason and the way out."""


def expand(text: str, values: Mapping[str, str], escape: str = "\\", *, keep_quotes: bool = False) -> str:
    """Text with its variables replaced; quotes are taken away unless they are kept for a later splitting into words."""
    return _Expander(text, values, escape, keep_quotes=keep_quotes).read("")


def unquote(text: str, escape: str = "\\") -> str:
    """Text without its quotes and escapes, variables left as they are."""
    words = split_words(text, escape)
    return "".join(_bare(word, escape) for word in words) if len(words) == 1 else text


def split_words(text: str, escape: str = "\\") -> tuple[str, ...]:
    """Words between blanks that are neither quoted nor escaped; quotes stay where they are. Raises SubstitutionError if a quote is open."""
    words: list[str] = []
    word, quote, i = "", "", 0
    while i < len(text):
        character = text[i]
        if character == escape and quote != "'" and i + 1 < len(text):
            word += text[i : i + 2]
            i += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            if word:
                words.append(word)
            word = ""
            i += 1
            continue
        word += character
        i += 1
    if quote:
        raise SubstitutionError(f"a quote {quote} is opened and never closed; close it or write {escape}{quote}")
    return (*words, word) if word else tuple(words)


def _bare(word: str, escape: str) -> str:
    return _Expander(word, {}, escape, keep_quotes=False, leave_variables=True).read("")


class _Expander:
    """One pass over a text."""

    def __init__(
        self, text: str, values: Mapping[str, str], escape: str, *, keep_quotes: bool, leave_variables: bool = False
    ) -> None:
        self.text = text
        self.values = values
        self.escape = escape
        self.keep_quotes = keep_quotes
        self.leave_variables = leave_variables
        self.i = 0

    def read(self, ends: str) -> str:
        """Read up to one of the characters `ends` (which is not taken), or to the end of the text."""
        out: list[str] = []
        while self.i < len(self.text) and self.text[self.i] not in ends:
            character = self.text[self.i]
            if character == "'":
                out.append(self._single())
            elif character == '"':
                out.append(self._double())
            elif character == self.escape:
                out.append(self._escaped())
            elif character == "$" and not self.leave_variables:
                out.append(self._variable())
            else:
                out.append(character)
                self.i += 1
        return "".join(out)

    def _quoted(self, body: str, quote: str) -> str:
        return f"{quote}{body}{quote}" if self.keep_quotes else body

    def _single(self) -> str:
        end = self.text.find("'", self.i + 1)
        if end < 0:
            raise SubstitutionError(f"a quote ' is opened and never closed; close it or write {self.escape}'")
        body = self.text[self.i + 1 : end]
        self.i = end + 1
        return self._quoted(body, "'")

    def _double(self) -> str:
        self.i += 1
        out: list[str] = []
        while self.i < len(self.text) and self.text[self.i] != '"':
            character = self.text[self.i]
            if character == self.escape and self.i + 1 < len(self.text):
                following = self.text[self.i + 1]
                meant = following in _ESCAPABLE_IN_QUOTES or following == self.escape
                out.append((self.escape + following if self.keep_quotes else following) if meant else self.escape + following)
                self.i += 2
            elif character == "$" and not self.leave_variables:
                out.append(self._variable())
            else:
                out.append(character)
                self.i += 1
        if self.i >= len(self.text):
            raise SubstitutionError(f'a quote " is opened and never closed; close it or write {self.escape}"')
        self.i += 1
        return self._quoted("".join(out), '"')

    def _escaped(self) -> str:
        pair = self.text[self.i : self.i + 2]
        self.i += 2
        return pair if self.keep_quotes or len(pair) == 1 else pair[1]

    def _variable(self) -> str:
        if self.text.startswith("${", self.i):
            self.i += 2
            return self._braced()
        match = _NAME.match(self.text, self.i + 1)
        if match is None:
            self.i += 1
            return "$"
        self.i = match.end()
        return self.values.get(match[0], "")

    def _braced(self) -> str:
        start = self.i
        match = _NAME.match(self.text, self.i)
        if match is None:
            raise SubstitutionError(f"{self.text[start - 2 :]!r}: a name must follow ${{; to mean the sign, write {self.escape}$")
        self.i = match.end()
        name = match[0]
        rest = self.text[self.i :]
        if rest.startswith("}"):
            self.i += 1
            return self.values.get(name, "")
        for operator in (*_TESTS, *_CUTS, "//", "/"):
            if rest.startswith(operator):
                self.i += len(operator)
                return self._modified(name, operator)
        raise SubstitutionError(f"${{{name}{rest[:8]}: unknown modifier; known: :- :+ :? - + ? # ## % %% / //, and close with }}")

    def _modified(self, name: str, operator: str) -> str:
        pattern = self._operand("/}") if operator in ("/", "//") else ""
        word = ""
        if operator not in ("/", "//"):
            word = self._operand("}")
        elif self.i < len(self.text) and self.text[self.i] == "/":
            self.i += 1
            word = self._operand("}")
        if self.i >= len(self.text):
            raise SubstitutionError(f"${{{name}{operator}…: never closed; write }} at its end")
        self.i += 1
        if operator in _TESTS:
            return self._tested(name, operator, word)
        value = self.values.get(name, "")
        if operator in _CUTS:
            return _cut(value, word, operator)
        return re.sub(_pattern(pattern, greedy=True), lambda _: word, value, count=0 if operator == "//" else 1)

    def _operand(self, ends: str) -> str:
        keep, self.keep_quotes = self.keep_quotes, False
        try:
            return self.read(ends)
        finally:
            self.keep_quotes = keep

    def _tested(self, name: str, operator: str, word: str) -> str:
        there = bool(self.values.get(name)) if operator.startswith(":") else name in self.values
        match operator[-1]:
            case "-":
                return self.values[name] if there else word
            case "+":
                return word if there else ""
            case _:
                if not there:
                    raise SubstitutionError(f"{name}: {word or 'must be set'}; give it with ARG, ENV or --build-arg")
                return self.values[name]


def _pattern(glob: str, *, greedy: bool) -> str:
    lazy = "" if greedy else "?"
    return "".join({"*": ".*" + lazy, "?": "."}.get(character, re.escape(character)) for character in glob)


def _cut(value: str, glob: str, operator: str) -> str:
    """Value without a match of the pattern at its beginning (#) or end (%); doubled, the longest match."""
    longest = len(operator) == 2
    lengths = range(len(value), -1, -1) if longest else range(len(value) + 1)
    whole = re.compile(_pattern(glob, greedy=True), re.DOTALL)
    for n in lengths:
        if operator[0] == "#" and whole.fullmatch(value[:n]):
            return value[n:]
        if operator[0] == "%" and whole.fullmatch(value[len(value) - n :]):
            return value[: len(value) - n]
    return value
