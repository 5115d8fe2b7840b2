"""Reads a build file: every mistake at once, each with its line and a way out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from simvirt.errors import nearest
from simvirt.images.dockerfile.instructions import FLAGS, BuildFile, Instruction, Stage
from simvirt.images.dockerfile.mistakes import BuildFileError
from simvirt.images.dockerfile.source import LogicalLine, read_source
from simvirt.images.dockerfile.substitution import SubstitutionError, split_words

__all__ = ["read_build_file"]

_FLAG: Final = re.compile(r"--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)")
_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]*")
_ANNOTATION: Final = re.compile(r"simvirt:\s*(.*)")
_PORTS: Final = re.compile(r"\d{1,5}(-\d{1,5})?(/(tcp|udp|sctp))?", re.IGNORECASE)
_ARRAYS: Final = ("RUN", "CMD", "ENTRYPOINT", "COPY", "ADD", "VOLUME", "SHELL")
_BARE_ALLOWED: Final = ("CMD", "ENTRYPOINT")
_FLAGS_WITHOUT_VALUE: Final = ("link", "parents", "keep-git-dir", "unpack")


def read_build_file(text: str) -> BuildFile:
    """A build file from its text. Raises BuildFileError with every mistake."""
    problems: list[str] = []
    source = read_source(text, problems)
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    for line in source.lines:
        instruction = _instruction(line, problems)
        if instruction is None:
            continue
        if instruction.keyword == "FROM":
            stages.append(_stage(instruction, stages, problems))
        elif stages:
            _check(instruction, stages, source.escape, problems)
            stages[-1] = replace(stages[-1], instructions=(*stages[-1].instructions, instruction))
        elif instruction.keyword == "ARG":
            _check(instruction, stages, source.escape, problems)
            arguments.append(instruction)
        else:
            problems.append(f"line {line.number}: {instruction.keyword} before the first FROM; only ARG may stand there")
    if not source.lines:
        problems.append("line 1: the file holds no instruction; begin with FROM and an image")
    elif not stages and not problems:
        problems.append("line 1: no FROM; a build begins with FROM and an image, or FROM scratch")
    if problems:
        raise BuildFileError(sorted(problems, key=_line_of))
    return BuildFile(stages=tuple(stages), arguments=tuple(arguments), escape=source.escape, directives=source.directives)


def _line_of(problem: str) -> int:
    return int(problem.removeprefix("line ").partition(":")[0])


def _instruction(line: LogicalLine, problems: list[str]) -> Instruction | None:
    word, _, rest = line.text.partition(" ") if "\t" not in line.text else _first_word(line.text)
    keyword = word.upper()
    if keyword not in FLAGS:
        problems.append(f"line {line.number}: unknown instruction {word!r}; {nearest(keyword, FLAGS)}")
        return None
    flags, rest = _flags(keyword, rest.strip(), line.number, problems)
    array = _array(rest) if keyword in _ARRAYS else None
    if not rest and not (keyword in _BARE_ALLOWED and array is not None):
        problems.append(f"line {line.number}: {keyword} without arguments; write what it should do, or remove it")
        return None
    return Instruction(
        line=line.number,
        keyword=keyword,
        text=rest,
        flags=flags,
        array=array,
        heredocs=line.heredocs,
        annotations=_annotations(line.comments, line.number, problems),
    )


def _first_word(text: str) -> tuple[str, str, str]:
    words = text.split(maxsplit=1)
    return words[0], " ", words[1] if len(words) > 1 else ""


def _flags(keyword: str, rest: str, number: int, problems: list[str]) -> tuple[tuple[tuple[str, str], ...], str]:
    """Flags stand directly behind the keyword."""
    found: list[tuple[str, str]] = []
    while match := _FLAG.match(rest):
        name, value = match[1], match[2]
        known = FLAGS[keyword]
        if name not in known:
            way_out = nearest(name, known) if known else "it has none, remove it"
            problems.append(f"line {number}: {keyword} has no flag --{name}; {way_out}")
        elif value is None and name not in _FLAGS_WITHOUT_VALUE:
            problems.append(f"line {number}: {keyword} --{name} has no value; write --{name}=…")
        found.append((name, value if value is not None else "true"))
        rest = rest[match.end() :]
    return tuple(found), rest


def _array(text: str) -> tuple[str, ...] | None:
    """The words of a JSON array of strings; None if it is none, and then a shell reads the text."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return tuple(value) if isinstance(value, list) and all(isinstance(word, str) for word in value) else None


def _annotations(comments: tuple[str, ...], number: int, problems: list[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for comment in comments:
        match = _ANNOTATION.fullmatch(comment)
        for word in match[1].split() if match else ():
            name, equals, value = word.partition("=")
            if not equals or not value:
                problems.append(f"line {number}: annotation {word!r}; write name=value, such as size=180MB")
            found[name] = value
    return MappingProxyType(found)


def _stage(instruction: Instruction, stages: list[Stage], problems: list[str]) -> Stage:
    words = instruction.text.split()
    name = ""
    if len(words) == 3 and words[1].upper() == "AS":
        name = words[2].lower()
        if _STAGE_NAME.fullmatch(name) is None:
            problems.append(f"line {instruction.line}: stage name {words[2]!r}; a letter first, then letters, digits, _ . -")
        if any(stage.name == name for stage in stages):
            problems.append(f"line {instruction.line}: a stage {name!r} is there already; choose another name")
    elif len(words) != 1:
        problems.append(f"line {instruction.line}: FROM {instruction.text}; write FROM image or FROM image AS name")
    platform = instruction.flag("platform") or ""
    return Stage(index=len(stages), line=instruction.line, base=words[0], name=name, platform=platform)


def _check(instruction: Instruction, stages: list[Stage], escape: str, problems: list[str]) -> None:
    """What each instruction needs besides its keyword."""
    at, text = f"line {instruction.line}", instruction.text
    try:
        words = instruction.array if instruction.array is not None else split_words(text, escape)
    except SubstitutionError as error:
        if instruction.keyword not in ("RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK", "ONBUILD", "MAINTAINER"):
            problems.append(f"{at}: {instruction.keyword}: {error}")
        return
    match instruction.keyword:
        case "COPY" | "ADD":
            if len(words) + (0 if not instruction.heredocs else len(instruction.heredocs) > 1) < 2:
                problems.append(f"{at}: {instruction.keyword} needs at least one source and a destination; got {text!r}")
            elif len(words) > 2 and not words[-1].endswith(("/", ".")) and "$" not in words[-1]:
                problems.append(f"{at}: {instruction.keyword} of several sources: {words[-1]!r} must be a folder; end it with /")
            _check_from(instruction, stages, problems)
        case "ENV" | "LABEL":
            pairs = "=" in words[0]
            wrong = [word for word in words if "=" not in word] if pairs else []
            if not pairs and len(words) < 2:
                problems.append(f"{at}: {instruction.keyword} {text}: a name without a value; write name=value")
            problems.extend(f"{at}: {instruction.keyword}: {word!r} is no name=value; quote values with blanks" for word in wrong)
            problems.extend(f"{at}: {instruction.keyword}: {word!r}; write name=value" for word in words if word.startswith("="))
        case "SHELL":
            if not instruction.array:
                problems.append(f'{at}: SHELL {text}: a JSON array of words; write SHELL ["program", "option"]')
        case "ONBUILD":
            inner = text.split()[0].upper()
            if inner in ("ONBUILD", "FROM", "MAINTAINER"):
                problems.append(f"{at}: ONBUILD {inner} is not allowed; put it into the file that builds on this image")
            elif inner not in FLAGS:
                problems.append(f"{at}: ONBUILD {inner}: unknown instruction; {nearest(inner, FLAGS)}")
        case "HEALTHCHECK":
            kind = text.split()[0].upper()
            if kind not in ("NONE", "CMD"):
                problems.append(f"{at}: HEALTHCHECK {kind}; NONE, or CMD and a command")
            elif (kind == "NONE") != (len(text.split()) == 1):
                problems.append(f"{at}: HEALTHCHECK {text}; NONE stands alone, CMD needs a command")
        case "USER" | "WORKDIR" | "STOPSIGNAL":
            if len(words) != 1 and instruction.keyword != "WORKDIR":
                problems.append(f"{at}: {instruction.keyword} takes one word; got {text!r}")
        case "EXPOSE":
            wrong = [word for word in words if "$" not in word and _PORTS.fullmatch(word) is None]
            problems.extend(f"{at}: EXPOSE {word!r}; a port from 1 to 65535, with /tcp or /udp" for word in wrong)


def _check_from(instruction: Instruction, stages: list[Stage], problems: list[str]) -> None:
    source, here = instruction.flag("from"), stages[-1]
    if source is None:
        return
    if source.isdecimal() and int(source) >= here.index:
        earlier = f"0 to {here.index - 1}" if here.index else "none: this is the first one"
        problems.append(f"line {instruction.line}: {instruction.keyword} --from={source}: not an earlier stage; earlier stages: {earlier}")
    if here.name and source.lower() == here.name:
        problems.append(f"line {instruction.line}: {instruction.keyword} --from={source}: it cannot copy from itself; name another")
