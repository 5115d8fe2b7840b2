"""Planning a build: images never change, keys follow what can change a step, unneeded stages are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simvirt.demand import DiskRead, DiskWrite, FileOpen
from simvirt.images.context import BuildContext, ContextFile
from simvirt.images.dockerfile.mistakes import BuildFileError
from simvirt.images.dockerfile.reader import read_build_file
from simvirt.images.image import Image, Layer, digest_of
from simvirt.images.plan import Assumed, BuildPlan, plan_build
from simvirt.images.work import StepWork
from simvirt.images.writable import WritableLayer

ASSUMED = Assumed(run=StepWork(cpu_s=1.0, size_bytes=10e6, files=100.0), copied=StepWork(size_bytes=5e6, files=50.0), ratio=2.5)
BASE = Image(
    (Layer(digest="sha256:base", size_bytes=100e6, wire_bytes=40e6, files=3000.0),), {"Env": ["PATH=/bin"], "WorkingDir": "/srv"}
)


def file(text: str, size: int | None = None) -> ContextFile:
    return ContextFile(len(text) if size is None else size, digest_of(text))


CONTEXT = BuildContext({"app/a.py": file("a"), "app/b/c.py": file("c"), "requirements.txt": file("r"), "one.txt": file("1")})


def plan(text: str, context: BuildContext = CONTEXT, target: str = "", **arguments: str) -> BuildPlan:
    return plan_build(read_build_file(text), context, {"base": BASE}, ASSUMED, arguments=arguments, target=target)


def refused(text: str, **arguments: str) -> tuple[str, ...]:
    with pytest.raises(BuildFileError) as caught:
        plan(text, **arguments)
    return caught.value.problems


APP = "FROM base\nCOPY requirements.txt .\nRUN install\nCOPY app app/\nRUN compile\nCMD run\n"


def keys(text: str, context: BuildContext = CONTEXT, **arguments: str) -> list[str]:
    return [step.key for step in plan(text, context, **arguments).steps]


def changed(before: list[str], after: list[str]) -> list[bool]:
    return [a != b for a, b in zip(before, after, strict=True)]


# --- Images ----------------------------------------------------------------------------------------------------------


def test_an_image_never_changes() -> None:
    layer = Layer(digest="sha256:x", size_bytes=1.0, wire_bytes=1.0)
    before = BASE.digest
    other = BASE.with_layer(layer)
    assert (BASE.digest, len(BASE.layers)) == (before, 1)
    assert other.digest != before
    assert other.layers == (*BASE.layers, layer)
    with pytest.raises(FrozenInstanceError):
        BASE.layers = ()  # type: ignore[misc]


def test_same_inputs_same_digest() -> None:
    assert plan(APP).image.digest == plan(APP).image.digest
    assert plan(APP).image.layers[:1] == BASE.layers


@given(st.permutations(sorted(CONTEXT.files)))
def test_the_order_of_files_does_not_matter(order: list[str]) -> None:
    shuffled = BuildContext({name: CONTEXT.files[name] for name in order})
    assert plan(APP, shuffled).image.digest == plan(APP).image.digest


def test_only_run_copy_and_add_make_layers() -> None:
    text = 'FROM base\nENV a=b\nLABEL c=d\nWORKDIR /x\nUSER u\nEXPOSE 1\nVOLUME /v\nCMD e\nENTRYPOINT f\nSTOPSIGNAL 9\nSHELL ["s"]\nARG g\n'
    made = plan(text)
    assert not made.steps
    assert made.image.layers == BASE.layers
    assert made.image.digest != BASE.digest
    assert [step.keyword for step in plan("FROM base\nRUN x\nADD one.txt /\nCOPY app /app/\n").steps] == ["RUN", "ADD", "COPY"]


@pytest.mark.parametrize("line", ["LABEL v=1", "CMD other", "EXPOSE 80", "HEALTHCHECK NONE", "STOPSIGNAL 9", "ENTRYPOINT e", "VOLUME /v"])
def test_metadata_changes_the_configuration_and_no_layer(line: str) -> None:
    other = APP.replace("FROM base\n", f"FROM base\n{line}\n")
    assert plan(other).image.layers == plan(APP).image.layers
    assert keys(other) == keys(APP)
    assert plan(other).image.digest != plan(APP).image.digest or line == "CMD other"


# --- Keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (APP.replace("COPY requirements.txt .", "COPY requirements.txt /"), [True, True, True, True]),
        (APP.replace("RUN install", "RUN install more"), [False, True, True, True]),
        (APP.replace("RUN compile", "RUN compile -O2"), [False, False, False, True]),
        (APP.replace("RUN install", "ENV x=1\nRUN install"), [False, True, True, True]),
        (APP.replace("RUN compile", "USER u\nRUN compile"), [False, False, False, True]),
        (APP.replace("RUN install", 'SHELL ["bash", "-c"]\nRUN install'), [False, True, True, True]),
    ],
)
def test_a_changed_step_invalidates_every_later_one(text: str, expected: list[bool]) -> None:
    assert changed(keys(APP), keys(text)) == expected


def test_copy_looks_at_content_and_run_at_text() -> None:
    edited = BuildContext({**CONTEXT.files, "app/a.py": file("edited")})
    assert changed(keys(APP), keys(APP, edited)) == [False, False, True, True]
    unused = BuildContext({**CONTEXT.files, "one.txt": file("edited")})
    assert keys(APP, unused) == keys(APP)


def test_copied_files_have_the_digest_of_their_content_wherever_they_stand() -> None:
    first, second = plan(APP), plan(APP.replace("RUN install", "RUN install more"))
    assert first.steps[2].layer == second.steps[2].layer
    assert first.steps[2].key != second.steps[2].key
    assert first.steps[3].layer.digest != second.steps[3].layer.digest


def test_arguments_count_where_they_are_declared() -> None:
    text = "FROM base\nRUN a\nARG V=1\nRUN b\nARG HTTP_PROXY\n"
    assert changed(keys(text), keys(text, V="2")) == [False, True]
    assert keys("FROM base\nARG HTTP_PROXY\nRUN b\n", HTTP_PROXY="x") == keys("FROM base\nARG HTTP_PROXY\nRUN b\n", HTTP_PROXY="y")


def test_variables_come_from_before_the_instruction() -> None:
    made = plan("FROM base\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\nLABEL x=$PATH\n")
    assert made.image.config["Env"] == ["PATH=/bin", "abc=bye", "def=hello", "ghi=bye"]
    assert made.image.config["Labels"] == {"x": "/bin"}


def test_global_arguments_are_seen_by_from_and_by_stages_that_ask() -> None:
    text = "ARG B=base\nFROM ${B}\nLABEL a=$B\nARG B\nLABEL c=$B\n"
    assert plan(text).image.config["Labels"] == {"a": "", "c": "base"}


def test_folders_files_and_patterns_are_placed_as_documented() -> None:
    made = plan("FROM base\nWORKDIR sub\nCOPY app .\nCOPY app/*.py requirements.txt /p/\nCOPY one.txt two.txt\n")
    assert sorted(made.stages[-1].files) == [
        "/p/a.py", "/p/requirements.txt", "/srv/sub/a.py", "/srv/sub/b/c.py", "/srv/sub/two.txt",
    ]  # fmt: skip


# --- Stages ----------------------------------------------------------------------------------------------------------

STAGES = (
    "FROM base AS deps\nRUN deps\nFROM deps AS test\nRUN test\nFROM base AS tools\nCOPY one.txt /t/\nRUN tools\n"
    "FROM deps\nCOPY --from=tools /t/one.txt /bin/\nRUN end\n"
)


def test_stages_that_nothing_needs_are_not_built() -> None:
    made = plan(STAGES)
    assert [stage.name for stage in made.stages] == ["deps", "tools", ""]
    assert [stage.name for stage in plan(STAGES, target="test").stages] == ["deps", "test"]
    assert made.steps[3].needs == (2,)
    assert made.steps[3].work.size_bytes == 1


def test_files_copied_from_a_stage_follow_its_content() -> None:
    edited = BuildContext({**CONTEXT.files, "one.txt": file("edited")})
    assert changed(keys(STAGES), keys(STAGES, edited)) == [False, True, True, True, True]
    unknown = STAGES.replace("/t/one.txt", "/opt/made")
    other = unknown.replace("RUN tools", "RUN other tools")
    assert changed(keys(unknown), keys(other)) == [False, False, True, True, True]
    assert plan(unknown).steps[3].assumed


def test_a_mount_from_a_stage_is_needed() -> None:
    text = "FROM base AS a\nRUN x\nFROM base\nRUN --mount=type=bind,from=a,target=/a y\n"
    assert [stage.name for stage in plan(text).stages] == ["a", ""]


# --- Work ------------------------------------------------------------------------------------------------------------


def test_annotations_stand_in_for_running() -> None:
    made = plan("FROM base\n# simvirt: cpu=3s size=20MB files=7 download=4MB threads=2\nRUN x\nRUN y\n")
    assert made.steps[0].work == StepWork(cpu_s=3.0, size_bytes=20e6, files=7.0, download_bytes=4e6, threads=2.0)
    assert made.steps[0].layer.wire_bytes == 20e6 / 2.5
    assert [step.assumed for step in made.steps] == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM other\n", "--base other=PROFILE"),
        ("FROM base\nCOPY nothing /\n", "no such file in the context"),
        ("FROM base\nCOPY ap /\n", "did you mean 'app'"),
        ("FROM base\nWORKDIR ${x:?say where}\n", "say where"),
        ("ARG X\nFROM ${X}\n", "no image is left"),
        ("FROM base\n# simvirt: cpu=3MB\nRUN x\n", "measures size"),
        ("FROM base\n# simvirt: gpu=3s\nRUN x\n", "did you mean 'cpu'"),
        ("FROM base\nCOPY --from=other a b\n", "--base other=PROFILE"),
    ],
)
def test_what_cannot_be_planned(text: str, message: str) -> None:
    assert any(message in problem for problem in refused(text)), refused(text)


def test_unasked_arguments_and_targets_are_refused_together() -> None:
    with pytest.raises(BuildFileError) as caught:
        plan("FROM base AS one\nARG ALPHA\n", target="two", ALHPA="1")
    assert len(caught.value.problems) == 2


# --- The writable layer ----------------------------------------------------------------------------------------------


def writable(sizes: Mapping[str, float]) -> WritableLayer:
    return WritableLayer(BASE, sizes)


def test_writing_copies_the_whole_file_up_once() -> None:
    layer = writable({"/db": 1e9})
    first, second = layer.write("/db", 1.0), layer.write("/db", 1.0)
    assert [type(operation) for operation in first] == [FileOpen, DiskRead, DiskWrite, DiskWrite]
    assert isinstance(first[1], DiskRead)
    assert (first[1].size_bytes, first[1].count) == (1e9, 7630)  # ceil(1e9 / 131072)
    assert [type(operation) for operation in second] == [FileOpen, DiskWrite]
    assert layer.size_bytes == 1e9 + 2


def test_cached_pages_need_no_read_and_new_files_no_copy() -> None:
    layer = writable({"/a": 10.0})
    assert [type(o) for o in layer.write("/a", 1.0, cached=True)] == [FileOpen, DiskWrite, DiskWrite]
    assert [type(o) for o in layer.write("/new", 5.0)] == [FileOpen, DiskWrite]


def test_what_is_written_is_seen_by_nobody_else_and_gone_with_the_container() -> None:
    sizes = {"/a": 10.0}
    one, two = writable(sizes), writable(sizes)
    one.write("/a", 5.0)
    one.delete("/a")
    assert one.size_of("/a") is None
    assert two.size_of("/a") == 10.0
    assert writable(sizes).size_of("/a") == 10.0
    assert sizes == {"/a": 10.0}
    one.write("/a", 3.0)
    assert one.size_of("/a") == 3.0  # a deleted file is not copied up again
    with pytest.raises(KeyError):
        one.delete("/nothing")


def test_committing_makes_a_new_image() -> None:
    layer = writable({"/a": 10.0})
    layer.write("/a", 5.0)
    made = layer.commit(ratio=2.5)
    assert made.layers[:-1] == BASE.layers
    assert made.layers[-1].size_bytes == 15.0
    assert made.digest == layer.commit(ratio=2.5).digest != BASE.digest
