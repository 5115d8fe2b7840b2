"""From a build file to steps with cache keys, layers and images: everything about a build that takes no time.

A key stands for all that can change what a step makes: the key of the step before, what a command sees (environment, folder, user, shell,
build arguments in scope), and the step itself: the text of RUN; the paths and contents of the files of COPY and ADD. So a changed step
changes the keys of all later ones of its stage, and of stages that stand on it. Labels, commands, ports and the like change the
configuration alone: no command sees them. Stages that the target does not need are not built.

The digest of a layer of copied files is that of its files. What RUN makes is not known without running it: its digest is that of its
inputs, which is right for steps that give the same every time.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from simvirt.errors import nearest
from simvirt.images.context import BuildContext, ContextFile
from simvirt.images.dockerfile.instructions import LAYER_MAKERS, BuildFile, Instruction, Stage
from simvirt.images.dockerfile.mistakes import BuildFileError
from simvirt.images.dockerfile.substitution import SubstitutionError, expand, split_words
from simvirt.images.image import Image, Layer, digest_of
from simvirt.images.work import StepWork, annotated

__all__ = ["Assumed", "BuildPlan", "BuildStep", "PlannedStage", "plan_build"]

SCRATCH: Final = "scratch"
"""The name of the image without layers."""
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
"""Build arguments that every step may use and no key depends on."""
_DEFAULT_SHELL: Final = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What stands in where a build file says nothing: an assumption, and shown as one."""

    run: StepWork
    """A RUN step without annotations."""
    copied: StepWork
    """Files copied from a stage or an address whose sizes nobody told."""
    ratio: float
    """Unpacked over compressed size of layers that are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildStep:
    """One instruction that makes a layer, with everything replaced."""

    stage: int
    line: int
    keyword: str
    text: str
    key: str
    layer: Layer
    work: StepWork
    needs: tuple[int, ...] = ()
    """Stages that must be complete before it."""
    sources: tuple[str, ...] = ()
    """Images outside the build that it copies from."""
    assumed: bool = False
    """Whether its work is an assumption."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage that is needed."""

    index: int
    name: str
    base: str
    """Name of an image outside the build, or of nothing if it stands on a stage."""
    base_stage: int | None
    steps: tuple[BuildStep, ...]
    image: Image
    """What it will have become."""
    files: Mapping[str, ContextFile] = field(default_factory=dict)
    """Files known to be in it, by path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """Stages in an order in which each comes after those that it needs; the last one is the target."""

    stages: tuple[PlannedStage, ...]

    @property
    def image(self) -> Image:
        """What the build gives."""
        return self.stages[-1].image

    @property
    def steps(self) -> tuple[BuildStep, ...]:
        """Every step that makes a layer."""
        return tuple(step for stage in self.stages for step in stage.steps)

    @property
    def bases(self) -> tuple[str, ...]:
        """Images outside the build that it needs, in the order in which they come."""
        names = [name for stage in self.stages for name in (stage.base, *(s for step in stage.steps for s in step.sources))]
        return tuple(dict.fromkeys(name for name in names if name and name != SCRATCH))


def plan_build(
    file: BuildFile,
    context: BuildContext,
    images: Mapping[str, Image],
    assumed: Assumed,
    *,
    arguments: Mapping[str, str] | None = None,
    target: str = "",
    automatic: Mapping[str, str] | None = None,
) -> BuildPlan:
    """Plan the build of one stage, the last unless told otherwise.

    `images` are those outside the build by name, `arguments` values of ARG, `automatic` arguments of the platform that FROM
    sees without ARG. Raises BuildFileError with every mistake.
    """
    planner = _Planner(file, context, images, assumed, dict(arguments or {}), dict(automatic or {}))
    return planner.plan(target)


@dataclass(slots=True)
class _State:
    """What is known at one point of a stage."""

    image: Image
    key: str
    environment: dict[str, str]
    arguments: dict[str, str]
    files: dict[str, ContextFile]
    folder: str = "/"
    user: str = ""
    shell: tuple[str, ...] = _DEFAULT_SHELL

    def values(self) -> dict[str, str]:
        """What variables mean: the environment comes before arguments."""
        return {**self.arguments, **self.environment}

    def seen(self) -> dict[str, Any]:
        """All that a command sees besides files."""
        keyed = {name: value for name, value in self.arguments.items() if name.upper() not in _PROXIES}
        return {"env": self.environment, "args": keyed, "folder": self.folder, "user": self.user, "shell": list(self.shell)}


class _Planner:
    def __init__(
        self,
        file: BuildFile,
        context: BuildContext,
        images: Mapping[str, Image],
        assumed: Assumed,
        arguments: dict[str, str],
        automatic: dict[str, str],
    ) -> None:
        self.file = file
        self.context = context
        self.images = images
        self.assumed = assumed
        self.given = arguments
        self.automatic = automatic
        self.problems: list[str] = []
        self.done: dict[int, PlannedStage] = {}
        self.ends: dict[int, _State] = {}
        self.globals = self._globals()

    def plan(self, target: str) -> BuildPlan:
        declared = {i.text.partition("=")[0].split()[0] for s in self.file.stages for i in s.instructions if i.keyword == "ARG"}
        declared |= {i.text.partition("=")[0] for i in self.file.arguments}
        for name in sorted(self.given.keys() - declared - {*_PROXIES}):
            self.problems.append(f"build argument {name}: no ARG asks for it; {nearest(name, declared)}")
        last = self._target(target)
        if last is not None:
            self._need(last)
        if self.problems:
            raise BuildFileError(self.problems)
        return BuildPlan(stages=tuple(self.done.values()))

    def _globals(self) -> dict[str, str]:
        values = dict(self.automatic)
        for instruction in self.file.arguments:
            for name, default in self._pairs(instruction, values, bare=True):
                values[name] = self.given.get(name, default if default is not None else values.get(name, ""))
        return values

    def _target(self, target: str) -> int | None:
        stages = self.file.stages
        if not target:
            return len(stages) - 1
        if target.isdecimal() and int(target) < len(stages):
            return int(target)
        found = [stage.index for stage in stages if stage.name == target.lower()]
        if not found:
            names = [stage.name or str(stage.index) for stage in stages]
            self.problems.append(f"target {target!r}: no such stage; {nearest(target, names)}")
            return None
        return found[0]

    def _stage_named(self, name: str, before: int) -> int | None:
        """An earlier stage by name or number."""
        if name.isdecimal() and int(name) < before:
            return int(name)
        return next((stage.index for stage in self.file.stages[:before] if stage.name and stage.name == name.lower()), None)

    def _need(self, index: int) -> None:
        """Plan a stage after those that it needs."""
        if index in self.done:
            return
        stage = self.file.stages[index]
        try:
            base = expand(stage.base, self.globals, self.file.escape)
        except SubstitutionError as error:
            self.problems.append(f"line {stage.line}: FROM: {error}")
            return
        base_stage = self._stage_named(base, index) if not base.isdecimal() else None
        state = self._begin(stage, base, base_stage)
        if state is None:
            return
        steps = [step for instruction in stage.instructions for step in self._apply(instruction, index, state)]
        self.ends[index] = state
        self.done[index] = PlannedStage(
            index=index,
            name=stage.name,
            base="" if base_stage is not None else base,
            base_stage=base_stage,
            steps=tuple(steps),
            image=state.image,
            files=state.files,
        )

    def _begin(self, stage: Stage, base: str, base_stage: int | None) -> _State | None:
        if base_stage is not None:
            self._need(base_stage)
            end = self.ends.get(base_stage)
            if end is None:
                return None
            return _State(end.image, end.key, dict(end.environment), {}, dict(end.files), end.folder, end.user, end.shell)
        if not base:
            self.problems.append(f"line {stage.line}: FROM {stage.base}: no image is left once replaced; give the ARG a value")
            return None
        if base == SCRATCH:
            return _State(Image(), digest_of("scratch"), {}, {}, {})
        image = self._image(base, f"line {stage.line}: FROM {base}")
        if image is None:
            return None
        environment = dict(word.partition("=")[::2] for word in image.config.get("Env", ()))
        folder, user = str(image.config.get("WorkingDir") or "/"), str(image.config.get("User") or "")
        return _State(image, digest_of({"from": image.digest, "platform": stage.platform}), environment, {}, {}, folder, user)

    def _image(self, name: str, where: str) -> Image | None:
        if name not in self.images:
            self.problems.append(f"{where}: the simulator does not know this image; say what it is with --base {name}=PROFILE")
            return None
        return self.images[name]

    # --- Instructions ------------------------------------------------------------------------------------------------

    def _apply(self, instruction: Instruction, index: int, state: _State) -> list[BuildStep]:
        """Follow one instruction; a list with its step, if it makes a layer."""
        try:
            if instruction.keyword not in LAYER_MAKERS:
                self._configure(instruction, state)
                return []
            step = self._run(instruction, index, state) if instruction.keyword == "RUN" else self._copy(instruction, index, state)
        except SubstitutionError as error:
            self.problems.append(f"line {instruction.line}: {instruction.keyword}: {error}")
            return []
        if step is None:
            return []
        state.key = step.key
        state.image = state.image.with_layer(step.layer)
        return [step]

    def _run(self, instruction: Instruction, index: int, state: _State) -> BuildStep:
        needs, sources = [], []
        for name, value in instruction.flags:
            origin = dict(word.partition("=")[::2] for word in value.split(",")).get("from") if name == "mount" else None
            if origin is not None:
                stage = self._origin(origin, index, instruction)
                if stage is None:
                    sources.append(origin)
                else:
                    needs.append(stage)
        what = {
            "run": list(instruction.array) if instruction.array is not None else instruction.text,
            "flags": [list(flag) for flag in instruction.flags],
            "heredocs": [heredoc.text for heredoc in instruction.heredocs],
            "sees": state.seen(),
            "mounted": [self._content(stage) for stage in needs],
        }
        work = annotated(self.assumed.run, instruction.annotations, instruction.line, self.problems)
        digest = digest_of({"on": [layer.digest for layer in state.image.layers], **what})
        return self._step(instruction, index, state, what, self._layer(digest, work, "RUN"), work, needs, sources)

    def _copy(self, instruction: Instruction, index: int, state: _State) -> BuildStep | None:
        values, escape = state.values(), self.file.escape
        words = instruction.array or split_words(instruction.text, escape)
        heredocs = {f"<<{h.word}": h for h in instruction.heredocs}
        paths = [expand(word, values, escape) for word in words if not word.lstrip("0123456789").startswith("<<")]
        target = posixpath.join(state.folder, paths[-1])
        is_folder = paths[-1].endswith(("/", ".")) or len(paths) + len(heredocs) > 2
        origin = instruction.flag("from")
        needs, sources = [], []
        files: dict[str, ContextFile] = {}
        unknown: list[str] = []
        for heredoc in heredocs.values():
            text = expand(heredoc.text, values, escape, keep_quotes=True) if heredoc.expands else heredoc.text
            place = posixpath.join(target, heredoc.word) if is_folder else target
            files[place] = ContextFile(len(text.encode()), digest_of(text))
        if origin is None:
            for path in paths[:-1]:
                remote = instruction.keyword == "ADD" and ("://" in path or path.startswith("git@"))
                found = {} if remote else self.context.matching(path)
                if remote:
                    unknown.append(path)
                elif not found:
                    where = f"line {instruction.line}: {instruction.keyword} {path}"
                    self.problems.append(f"{where}: no such file in the context, or it is ignored; {nearest(path, self.context.names())}")
                files |= _placed(found, path, target, is_folder)
        else:
            origin = expand(origin, values, escape)
            stage = self._origin(origin, index, instruction)
            if stage is not None:
                needs.append(stage)
            else:
                sources.append(origin)
            for path in paths[:-1]:
                known = self.done[stage].files if stage in self.done else {}
                found = BuildContext({name.lstrip("/"): file for name, file in known.items()}).matching(path)
                files |= _placed(found, path, target, is_folder)
                if not found:
                    unknown.append(path)
        content = {place: [file.digest, file.executable] for place, file in sorted(files.items())}
        owned = [list(flag) for flag in instruction.flags if flag[0] != "from"]
        from_what = [self._content(stage) for stage in needs] or sources
        what = {"copy": content, "flags": owned, "unknown": {"paths": unknown, "from": from_what, "to": target} if unknown else None}
        known_work = StepWork(size_bytes=sum(file.size_bytes for file in files.values()), files=float(len(files)))
        base = self.assumed.copied if unknown else known_work
        work = annotated(base, instruction.annotations, instruction.line, self.problems)
        state.files |= files
        layer = self._layer(digest_of(what), work, instruction.keyword)
        step = self._step(instruction, index, state, what, layer, work, needs, sources)
        return replace(step, assumed=bool(unknown) and "size" not in instruction.annotations)

    def _step(
        self,
        instruction: Instruction,
        index: int,
        state: _State,
        what: dict[str, Any],
        layer: Layer,
        work: StepWork,
        needs: list[int],
        sources: list[str],
    ) -> BuildStep:
        return BuildStep(
            stage=index,
            line=instruction.line,
            keyword=instruction.keyword,
            text=instruction.text,
            key=digest_of({"after": state.key, **what}),
            layer=layer,
            work=work,
            needs=tuple(needs),
            sources=tuple(sources),
            assumed=instruction.keyword == "RUN" and not instruction.annotations,
        )

    def _layer(self, digest: str, work: StepWork, made_by: str) -> Layer:
        wire_bytes = work.size_bytes / self.assumed.ratio
        return Layer(digest=digest, size_bytes=work.size_bytes, wire_bytes=wire_bytes, files=work.files, made_by=made_by)

    def _origin(self, name: str, index: int, instruction: Instruction) -> int | None:
        """The stage that files come from, planned; None for an image outside the build."""
        stage = self._stage_named(name, index)
        if stage is None:
            if name.isdecimal():
                return None  # the reader has said that there is no such stage
            self._image(name, f"line {instruction.line}: {instruction.keyword} from {name}")
            return None
        self._need(stage)
        return stage if stage in self.done else None

    def _content(self, stage: int) -> list[str]:
        return [layer.digest for layer in self.done[stage].image.layers]

    def _configure(self, instruction: Instruction, state: _State) -> None:
        """An instruction that makes no layer."""
        keyword, text = instruction.keyword, instruction.text
        values, escape = state.values(), self.file.escape
        match keyword:
            case "ARG":
                for name, default in self._pairs(instruction, values, bare=True):
                    fallback = default if default is not None else self.globals.get(name, state.arguments.get(name))
                    value = self.given.get(name, fallback)
                    if value is not None:
                        state.arguments[name] = value
            case "ENV":
                state.environment |= {name: value or "" for name, value in self._pairs(instruction, values)}
                state.image = state.image.with_config(Env=[f"{name}={value}" for name, value in sorted(state.environment.items())])
            case "LABEL":
                labels = {**state.image.config.get("Labels", {}), **{n: v or "" for n, v in self._pairs(instruction, values)}}
                state.image = state.image.with_config(Labels=labels)
            case "WORKDIR":
                state.folder = posixpath.normpath(posixpath.join(state.folder, expand(text, values, escape)))
                state.image = state.image.with_config(WorkingDir=state.folder)
            case "USER":
                state.user = expand(text, values, escape)
                state.image = state.image.with_config(User=state.user)
            case "SHELL":
                state.shell = instruction.array or _DEFAULT_SHELL
                state.image = state.image.with_config(Shell=list(state.shell))
            case "CMD" | "ENTRYPOINT":
                words = list(instruction.array) if instruction.array is not None else [*state.shell, text]
                state.image = state.image.with_config(**{keyword.capitalize(): words})
            case "EXPOSE" | "VOLUME":
                name = "ExposedPorts" if keyword == "EXPOSE" else "Volumes"
                words = [expand(word, values, escape) for word in instruction.array or split_words(text, escape)]
                both = sorted({*state.image.config.get(name, ()), *words})
                state.image = state.image.with_config(**{name: both})
            case _:
                expanded = expand(text, values, escape) if keyword == "STOPSIGNAL" else text
                entry = [expanded, [list(flag) for flag in instruction.flags]]
                state.image = state.image.with_config(**{keyword.capitalize(): entry})

    def _pairs(self, instruction: Instruction, values: Mapping[str, str], *, bare: bool = False) -> list[tuple[str, str | None]]:
        """Names and values of ENV, LABEL and ARG; all values are replaced with what held before the instruction."""
        words = split_words(instruction.text, self.file.escape)
        if not bare and "=" not in words[0]:
            rest = instruction.text[len(words[0]) :].strip()
            return [(words[0], expand(rest, values, self.file.escape))]
        pairs: list[tuple[str, str | None]] = []
        for word in words:
            name, equals, value = word.partition("=")
            name = expand(name, values, self.file.escape)
            pairs.append((name, expand(value, values, self.file.escape) if equals else None))
        return pairs


def _placed(found: Mapping[str, ContextFile], source: str, target: str, is_folder: bool) -> dict[str, ContextFile]:
    """Where files come to lie: the content of a folder goes into the target, a file into it or in its place."""
    wanted = posixpath.normpath("/" + source).strip("/")
    placed = {}
    for path, file in found.items():
        if path == wanted or any(c in wanted for c in "*?["):
            place = posixpath.join(target, posixpath.basename(path)) if is_folder else target
        else:
            place = posixpath.join(target, path[len(wanted) :].strip("/"))
        placed[posixpath.normpath(place)] = file
    return placed
