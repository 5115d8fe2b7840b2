"""The reader of build files: every form of the format, hand-worked; every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.images.context import read_context
from simvirt.images.dockerfile.instructions import FLAGS
from simvirt.images.dockerfile.mistakes import BuildFileError
from simvirt.images.dockerfile.reader import read_build_file
from simvirt.images.dockerfile.source import read_source
from simvirt.images.dockerfile.substitution import SubstitutionError, expand, split_words
from simvirt.images.ignore import read_ignore_rules


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(BuildFileError) as caught:
        read_build_file(text)
    return caught.value.problems


def words_of(text: str) -> list[tuple[str, str]]:
    return [(i.keyword, i.text) for stage in read_build_file(text).stages for i in stage.instructions]


# --- Logical lines ---------------------------------------------------------------------------------------------------


def test_continuations_swallow_comments_and_empty_lines() -> None:
    text = "FROM a\nRUN one && \\  \n  # a comment\n\n  two\\\n three\n"
    assert words_of(text) == [("RUN", "one &&   two three")]


def test_an_escaped_escape_ends_the_line() -> None:
    assert words_of("FROM a\nRUN echo \\\\\nRUN b\n") == [("RUN", "echo \\\\"), ("RUN", "b")]


def test_another_escape_character_leaves_backslashes_alone() -> None:
    assert words_of("# escape=`\nFROM a\nCOPY x c:\\\\\nRUN dir `\n c:\\\n") == [("COPY", "x c:\\\\"), ("RUN", "dir  c:\\")]


def test_directives_stand_at_the_top_only() -> None:
    file = read_build_file("# syntax = some/frontend:1\n# escape=`\n\n# check=skip=all\nFROM a\n")
    assert file.directives == (("syntax", "some/frontend:1"), ("escape", "`"))
    assert read_build_file("# a comment\n# escape=`\nFROM a\n").escape == "\\"


def test_lines_are_counted_through_continuations_and_heredocs() -> None:
    file = read_build_file("\n\nFROM a\nRUN <<E\nx\ny\nE\nRUN b \\\n c\nCMD d\n")
    assert [i.line for i in file.stages[0].instructions] == [4, 8, 10]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("RUN <<EOF\na\n b\nEOF", [("EOF", "a\n b\n", True)]),
        ("RUN <<-EOF\n\ta\n\tEOF", [("EOF", "a\n", True)]),
        ("RUN <<'EOF'\n$a\nEOF", [("EOF", "$a\n", False)]),
        ('RUN cat <<"E" > /x\n$a\nE', [("E", "$a\n", False)]),
        ("COPY <<one <<two /to/\n1\none\n2\ntwo", [("one", "1\n", True), ("two", "2\n", True)]),
        ("RUN python3 <<E && echo done\nprint(1)\nE", [("E", "print(1)\n", True)]),
        ("RUN 3<<E cat\nx\nE", [("E", "x\n", True)]),
        ("RUN cat <<<word", []),
        ("RUN echo $((1<<2))", []),
        ("RUN echo 'a <<E b'", []),
        ("CMD cat <<E", []),
        ("RUN <<E\n# no comment here\n\\\nE", [("E", "# no comment here\n\\\n", True)]),
    ],
)
def test_heredocs(line: str, expected: list[tuple[str, str, bool]]) -> None:
    problems: list[str] = []
    source = read_source(line, problems)
    assert not problems
    assert [(h.word, h.text, h.expands) for h in source.lines[0].heredocs] == expected
    assert len(source.lines) == 1


def test_annotations_stand_directly_before_an_instruction() -> None:
    file = read_build_file("FROM a\n# simvirt: cpu=3s size=20MB\n# any words\nRUN x\n# simvirt: cpu=1s\n\nRUN y\n")
    first, second = file.stages[0].instructions
    assert dict(first.annotations) == {"cpu": "3s", "size": "20MB"}
    assert not second.annotations


# --- Instructions ----------------------------------------------------------------------------------------------------


def test_arrays_shell_forms_and_flags() -> None:
    file = read_build_file(
        'FROM --platform=x/y a AS One\nCMD ["a", "b c"]\nENTRYPOINT [not json]\nCOPY --chown=1:2 --from=0 ["a b", "/c/"]\n'.replace(
            "--from=0", "--link"
        )
    )
    stage = file.stages[0]
    assert (stage.name, stage.platform, stage.base) == ("one", "x/y", "a")
    assert [i.array for i in stage.instructions] == [("a", "b c"), None, ("a b", "/c/")]
    assert stage.instructions[2].flags == (("chown", "1:2"), ("link", "true"))


def test_an_empty_array_takes_the_command_away() -> None:
    assert read_build_file("FROM a\nENTRYPOINT []\n").stages[0].instructions[0].array == ()


def test_every_mistake_at_once_with_its_line() -> None:
    text = (
        "RUN early\nFROM a b c d\nRNU x\nCOPY onlyone\nCOPY --form=x a b\nENV name\nEXPOSE eighty\nONBUILD FROM x\n"
        "HEALTHCHECK maybe\nCOPY --from=3 a b\nSHELL sh\nLABEL a=b c\nRUN <<END\nnever ends\n"
    )
    found = problems_of(text)
    assert [int(p.split(":")[0].removeprefix("line ")) for p in found] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert "did you mean 'RUN'?" in found[2]
    assert "did you mean 'from'?" in found[4]
    assert "END alone" in found[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file holds no instruction"),
        ("ARG x\n", "line 1: no FROM"),
        ("FROM a AS b\nFROM c AS b\n", "a stage 'b' is there already"),
        ("FROM a AS 1b\n", "stage name '1b'"),
        ("FROM a AS b\nCOPY --from=b x y\n", "it cannot copy from itself"),
        ("FROM a\nCOPY a b c\n", "must be a folder"),
        ("# escape=/\nFROM a\n", "a backslash or a backtick"),
        ("FROM a\nENV a='x\n", "opened and never closed"),
        ("FROM a\nWORKDIR\n", "WORKDIR without arguments"),
        ("FROM a\n# simvirt: cpu\nRUN x\n", "annotation 'cpu'"),
    ],
)
def test_single_mistakes(text: str, message: str) -> None:
    assert any(message in problem for problem in problems_of(text)), problems_of(text)


def test_a_file_from_a_real_project_in_shape() -> None:
    text = """# syntax=some/frontend:1
ARG PY=3.12
FROM --platform=$BUILDPLATFORM python:${PY}-slim AS base
ENV PIP_NO_CACHE_DIR=1 \\
    PATH="/opt/venv/bin:$PATH"

FROM base AS build
RUN --mount=type=cache,target=/root/.cache \\
    --mount=type=bind,source=requirements.txt,target=requirements.txt \\
    pip install -r requirements.txt
COPY . .

FROM base
COPY --from=build /opt/venv /opt/venv
HEALTHCHECK --interval=5s CMD curl -f http://localhost/ || exit 1
EXPOSE 8080/tcp 9000-9002
USER 1000:1000
ENTRYPOINT ["python", "-m", "app"]
"""
    file = read_build_file(text)
    assert [stage.name for stage in file.stages] == ["base", "build", ""]
    assert [value for name, value in file.stages[1].instructions[0].flags if name == "mount"] == [
        "type=cache,target=/root/.cache",
        "type=bind,source=requirements.txt,target=requirements.txt",
    ]
    assert file.stages[1].instructions[0].text == "pip install -r requirements.txt"


@given(st.text(alphabet="FROMRUNCOPYab \\\n#<<EOF'\"$-={}[]:,", max_size=120))
def test_any_text_is_read_or_refused_with_lines(text: str) -> None:
    problems = _try(text)
    assert all(problem.startswith("line ") for problem in problems)


def test_every_keyword_is_known_whatever_its_case() -> None:
    for keyword in FLAGS:
        assert not [p for p in _try(f"FROM a\n{keyword.lower()} x\n") if "line 2: unknown instruction" in p]


def _try(text: str) -> tuple[str, ...]:
    try:
        read_build_file(text)
    except BuildFileError as error:
        return error.problems
    return ()


# --- Variables -------------------------------------------------------------------------------------------------------

VALUES = {"x": "value", "empty": "", "path": "/usr/local/lib", "_y1": "u"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$x/$_y1", "value/u"),
        ("${x}s", "values"),
        ("$nope.", "."),
        ("${x:-a}${nope:-b}${empty:-c}", "valuebc"),
        ("${nope-b}${empty-c}", "b"),
        ("${x:+a}${nope:+b}${empty:+c}", "a"),
        ("${empty+c}${nope+d}", "c"),
        ("${x:?must}", "value"),
        ("${nope:-${x}}", "value"),
        ("${path#*/}", "usr/local/lib"),
        ("${path##*/}", "lib"),
        ("${path%/*}", "/usr/local"),
        ("${path%%/l*}", "/usr"),
        ("${path/l?/__}", "/usr/__cal/lib"),
        ("${path//l?/__}", "/usr/__ca____b"),
        ("${x//a}", "vlue"),
        ("'$x'", "$x"),
        ('"$x y"', "value y"),
        ("\\$x", "$x"),
        ('"\\$x \\n"', "$x \\n"),
        ("a$", "a$"),
    ],
)
def test_variables_are_replaced(text: str, expected: str) -> None:
    assert expand(text, VALUES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${nope:?give it}", "nope: give it"),
        ("${}", "a name must follow"),
        ("${x", "unknown modifier"),
        ("${x:-", "never closed"),
        ("'a", "never closed"),
    ],
)
def test_what_cannot_be_replaced_says_why(text: str, message: str) -> None:
    with pytest.raises(SubstitutionError, match=message):
        expand(text, VALUES)


def test_words_keep_their_quotes_and_escapes() -> None:
    assert split_words("a=b\\ c \"d e\" f='g h'") == ("a=b\\ c", '"d e"', "f='g h'")


@given(st.text(alphabet="abc /.", max_size=20))
def test_text_without_signs_stays_as_it_is(text: str) -> None:
    assert expand(text, VALUES) == text


# --- Ignore rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "ignored", "kept"),
    [
        ("*.md", ["a.md"], ["b/a.md", "a.mdx"]),
        ("**/*.md", ["a.md", "b/a.md", "b/c/a.md"], ["a.txt"]),
        ("/build/", ["build", "build/x/y"], ["a/build"]),
        ("*/temp*", ["a/temporary.txt", "a/temp"], ["temp", "a/b/temp"]),
        ("temp?", ["tempa"], ["temp", "temp/a"]),
        ("*.md\n!README.md", ["a.md"], ["README.md"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["README-secret.md"], ["README.md"]),
        ("node_modules\n!node_modules/keep", ["node_modules/a"], ["node_modules/keep", "node_modules/keep/b"]),
        ("# *.md\n\n./x", ["x"], ["a.md"]),
        ("[a-c].txt", ["b.txt"], ["d.txt"]),
        ("[^a-c].txt", ["d.txt"], ["b.txt"]),
        ("\\#a", ["#a"], ["a"]),
        ("a/**/z", ["a/z", "a/b/c/z"], ["z"]),
        ("**", ["a", "a/b"], []),
    ],
)
def test_ignore_rules(rules: str, ignored: list[str], kept: list[str]) -> None:
    problems: list[str] = []
    read = read_ignore_rules(rules, problems)
    assert not problems
    assert [path for path in ignored + kept if read.ignores(path)] == ignored


def test_a_pattern_that_cannot_be_read_is_told() -> None:
    problems: list[str] = []
    read_ignore_rules("ok\n[abc\n!\n", problems)
    assert [problem.split(":")[0] for problem in problems] == ["line 2", "line 3"]


def test_a_context_holds_what_is_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    (tmp_path / "b.log").write_text("22")
    (tmp_path / "link").symlink_to("b.log")
    (tmp_path / ".dockerignore").write_text("*.log\n")
    context = read_context(tmp_path)
    assert sorted(context.files) == [".dockerignore", "link", "src/a.py"]
    assert list(context.matching("src")) == ["src/a.py"]
    assert list(context.matching("s*/*.py")) == ["src/a.py"]
    assert list(context.matching(".")) == sorted(context.files)
    before = context.files["src/a.py"]
    (tmp_path / "src" / "a.py").touch()
    assert read_context(tmp_path).files["src/a.py"] == before
    (tmp_path / "src" / "a.py").write_text("2")
    assert read_context(tmp_path).files["src/a.py"] != before
