"""`simvirt image`: build, inspect, pull and run images, and see where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from simvirt import __version__
from simvirt.catalog import Catalog
from simvirt.commands.lanes import check_outputs, draw_lanes_to
from simvirt.commands.tables import table
from simvirt.engine import Engine
from simvirt.errors import CatalogError, ResultsError, nearest
from simvirt.evidence import Cost, Grade
from simvirt.images.archive import Found, read_archive
from simvirt.images.build import Built, build
from simvirt.images.container import Start, run
from simvirt.images.context import read_context
from simvirt.images.daemon import Daemon
from simvirt.images.dockerfile.mistakes import BuildFileError
from simvirt.images.dockerfile.reader import read_build_file
from simvirt.images.host import Host
from simvirt.images.image import Image
from simvirt.images.lazy import LazyImage, lazy_pull, lazy_run
from simvirt.images.plan import BuildPlan, plan_build
from simvirt.images.profiles import EngineProfile, ImageProfile, LazyProfile, RegistryProfile
from simvirt.images.registry import Registry
from simvirt.images.timeline import Span, union_s
from simvirt.images.transfer import pull
from simvirt.metrics.tidy import write_json_atomic
from simvirt.reports.gantt import gantt_text
from simvirt.simulation.shipping import host_spec
from simvirt.units import format_quantity

__all__ = ["image_build", "image_inspect", "image_pull", "image_run"]

BUILD_FILE: Final = "Dockerfile"
READ_SHARE: Final = 0.064
"""Of an image of which no more is known: share of its bytes that a start reads (Harter et al. 2016, FAST)."""
_RIGHT: Final = ("on the wire", "unpacked", "files", "busy", "share")


class _Bench:
    """A host, an engine and a registry that know some images, and what is said of them in the end."""

    def __init__(self, catalog: Catalog, machine: str, engine: str, registry: str) -> None:
        self.catalog = catalog
        self.names = {"machine": machine, "engine": engine, "registry": registry}
        hardware = catalog.hardware(machine)
        self.profile = catalog.image_profile(EngineProfile, engine)
        self.registry_profile = catalog.image_profile(RegistryProfile, registry)
        self.engine = Engine()
        self.daemon = Daemon(Host(self.engine, host_spec(hardware)), self.profile)
        self.registry = Registry(self.engine, self.registry_profile)

    def offer(self, image: Image) -> None:
        """Let the registry have an image."""
        self.registry.blobs |= {layer.digest for layer in image.layers}

    def do(self, steps: Any) -> Any:
        """Run one thing to its end."""
        return self.engine.run(self.engine.process(steps))

    def grades(self) -> str:
        """How well the numbers behind it are known."""
        costs = [value for part in (self.profile, self.registry_profile) for value in _costs(part)]
        counts = {grade: sum(cost.grade is grade for cost in costs) for grade in Grade}
        return f"{len(costs)} numbers of engine and registry: " + ", ".join(f"{count} {grade}" for grade, count in counts.items())

    def report(self, head: Sequence[str], title: str, chart: Path | None, json: Path | None, more: Mapping[str, Any]) -> list[str]:
        """Text for the screen; chart and JSON where asked for."""
        timeline = self.daemon.timeline
        rows = []
        for kind in timeline.kinds():
            spans = timeline.of(kind)
            busy = union_s(spans)
            rows.append((kind, f"{busy:.3f} s", f"{100 * busy / max(timeline.end_s, 1e-12):.0f} %", str(len(spans))))
        where = ", ".join(f"{kind} {name}" for kind, name in self.names.items())
        lines = [*head, "", *gantt_text(timeline.spans), "", *table(("what", "busy", "share", "times"), rows, right=_RIGHT)]
        lines += ["", "Shares are of the whole time; things that go on side by side add up to more.", f"On {where}. {self.grades()}."]
        if chart is not None:
            draw_lanes_to(chart, timeline.spans, title, f"On {where}. {self.grades()}.")
        if json is not None:
            told = [asdict(span) for span in timeline.spans]
            record = {"simvirt": __version__, **self.names, "total_s": self.engine.now, **more, "spans": told}
            try:
                write_json_atomic(record, json)
            except OSError as error:
                raise ResultsError(f"{json}: cannot be written ({error.strerror}); choose another path") from None
        return lines


def _costs(profile: Any) -> list[Cost]:
    return [value for name in profile.__dataclass_fields__ if isinstance(value := getattr(profile, name), Cost)]


# --- Images ----------------------------------------------------------------------------------------------------------


def _known(catalog: Catalog, name: str) -> tuple[Image, Start]:
    """An image by the name of a profile or the path of an archive, and what its start does."""
    path = Path(name)
    if name in catalog.names("images"):
        profile = catalog.image_profile(ImageProfile, name)
        return profile.image(), Start(read_share=profile.read_share.si, cpu_s=profile.start_s.si)
    if path.exists():
        found = read_archive(path)
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            raise CatalogError([f"{name}: holds {len(found)} images ({names}); save one of them alone"])
        return found[0].image, Start(read_share=READ_SHARE, cpu_s=0.0)
    raise CatalogError([f"{name}: no archive or layout at this path and no image of that name; {nearest(name, catalog.names('images'))}"])


def image_inspect(path: Path, json: Path | None = None) -> list[str]:
    """What an archive or a layout holds."""
    check_outputs(None, json)
    found = read_archive(path)
    if json is not None:
        write_json_atomic({"simvirt": __version__, "images": [_record(one) for one in found]}, json)
    lines: list[str] = []
    for one in found:
        lines += [*([""] if lines else []), *_inspected(one)]
    return lines


def _record(one: Found) -> dict[str, Any]:
    layers = [asdict(layer) for layer in one.image.layers]
    further = {"unmeasured": list(one.unmeasured), "biggest": dict(one.biggest)}
    return {"name": one.name, "digest": one.image.digest, "layers": layers, **further}


def _inspected(one: Found) -> list[str]:
    image = one.image
    rows = []
    for i, layer in enumerate(image.layers, 1):
        unpacked = "?" if layer.digest in one.unmeasured else _size(layer.size_bytes)
        rows.append((str(i), layer.digest[:19], layer.compression, _size(layer.wire_bytes), unpacked, f"{layer.files:.0f}"))
    lines = [f"{one.name}: {len(image.layers)} layers, {_size(image.wire_bytes)} on the wire, {_size(image.size_bytes)} unpacked"]
    lines += ["", *table(("layer", "digest", "packed", "on the wire", "unpacked", "files"), rows, right=_RIGHT)]
    if one.unmeasured:
        lines += ["", "? cannot be unpacked by this Python (zstd needs 3.14): counted as on the wire"]
    if one.biggest:
        lines += ["", *table(("largest files", "unpacked"), [(path, _size(size)) for path, size in one.biggest.items()], right=_RIGHT)]
    return lines


def _size(size_bytes: float) -> str:
    return format_quantity(size_bytes, "size")


# --- Pull and run ----------------------------------------------------------------------------------------------------


def image_pull(
    catalog: Catalog,
    name: str,
    *,
    registry: str,
    machine: str,
    engine: str,
    present: Sequence[str] = (),
    lazy: str | None = None,
    chart: Path | None = None,
    json: Path | None = None,
) -> list[str]:
    """Pull one image, with other images there already."""
    check_outputs(chart, json)
    bench = _Bench(catalog, machine, engine, registry)
    image, start = _known(catalog, name)
    _bring(bench, image, start, present, lazy)
    took = bench.engine.now
    size = f"{_size(bench.registry.sent_bytes)} of {_size(image.wire_bytes)} crossed the wire"
    head = [f"{name}: {len(image.layers)} layers, {_size(image.size_bytes)} unpacked; pulled in {took:.3f} s, {size}"]
    more = {"image": name, "digest": image.digest, "sent_bytes": bench.registry.sent_bytes}
    return bench.report(head, f"Pull of {Path(name).name}", chart, json, more)


def image_run(
    catalog: Catalog,
    name: str,
    *,
    registry: str,
    machine: str,
    engine: str,
    pulled: str = "no",
    lazy: str | None = None,
    prefetch: bool = True,
    chart: Path | None = None,
    json: Path | None = None,
) -> list[str]:
    """Start one container: with a pull first, from an image on the disk, or from one in the page cache."""
    check_outputs(chart, json)
    bench = _Bench(catalog, machine, engine, registry)
    image, start = _known(catalog, name)
    daemon = bench.daemon
    if lazy is not None and pulled != "no":
        raise CatalogError([f"--lazy with --pulled {pulled}: an image that is here has nothing to fetch; leave one of them out"])
    if pulled == "no":
        _bring(bench, image, start, (), lazy)
    else:
        for layer in image.layers:
            daemon.store.add_layer(layer)
            if pulled == "cached":
                daemon.host.cache.put(layer.digest, layer.size_bytes)
        daemon.store.add(image, 0.0)
    after = bench.engine.now
    if lazy is not None:
        wanted = LazyImage(image=image, format=catalog.image_profile(LazyProfile, lazy), start=start)
        bench.do(lazy_run(daemon, wanted, bench.registry, prefetch=prefetch))
    else:
        bench.do(run(daemon, image, start))
    took = bench.engine.now
    share = f", {100 * after / took:.0f} % of it the pull" if pulled == "no" else ""
    head = [f"{name}: ready after {took:.3f} s{share}; {_size(bench.registry.sent_bytes)} crossed the wire"]
    more = {"image": name, "digest": image.digest, "sent_bytes": bench.registry.sent_bytes, "pull_s": after}
    return bench.report(head, f"Start of {Path(name).name}", chart, json, more)


def _bring(bench: _Bench, image: Image, start: Start, present: Sequence[str], lazy: str | None) -> None:
    bench.offer(image)
    for other in present:
        there, _ = _known(bench.catalog, other)
        for layer in there.layers:
            bench.daemon.store.add_layer(layer)
        bench.daemon.store.add(there, 0.0)
    if lazy is not None:
        wanted = LazyImage(image=image, format=bench.catalog.image_profile(LazyProfile, lazy), start=start)
        bench.do(lazy_pull(bench.daemon, wanted, bench.registry, "image"))
    else:
        bench.do(pull(bench.daemon, image, bench.registry, "image"))


# --- Build -----------------------------------------------------------------------------------------------------------


def image_build(
    catalog: Catalog,
    place: Path,
    *,
    registry: str,
    machine: str,
    engine: str,
    bases: Mapping[str, str],
    arguments: Mapping[str, str],
    target: str = "",
    again: bool = False,
    chart: Path | None = None,
    json: Path | None = None,
) -> list[str]:
    """Build a folder or a build file; `again` builds twice and tells of the second time, when all is in the cache."""
    check_outputs(chart, json)
    bench = _Bench(catalog, machine, engine, registry)
    plan, known = _plan(bench, place, bases, arguments, target)
    for image in known.values():
        bench.offer(image)
    built: Built = bench.do(build(bench.daemon, plan, bench.registry, known))
    if again:
        before = bench.engine.now
        bench.daemon.timeline.spans.clear()
        built = bench.do(build(bench.daemon, plan, bench.registry, known))
        spans = bench.daemon.timeline.spans
        bench.daemon.timeline.spans = [_earlier(span, before) for span in spans]
    took = bench.daemon.timeline.end_s
    image = built.image
    lines = [f"{image.digest[:19]}: {len(image.layers)} layers, {_size(image.size_bytes)} unpacked; built in {took:.3f} s"]
    rows = []
    for step in plan.steps:
        known_by = "assumed" if step.assumed else "told"
        rows.append((str(step.line), step.keyword, _short(step.text), step.key[7:19], _size(step.layer.size_bytes), known_by))
    if rows:
        lines += ["", *table(("line", "step", "what", "cache key", "unpacked", "its work is"), rows, right=_RIGHT)]
    lines += ["", f"{built.hits} steps from the cache, {built.misses} done"]
    if any(step.assumed for step in plan.steps):
        lines.append("Tell what a step does in a comment before it: # simvirt: cpu=12s size=180MB files=5000 download=60MB threads=2")
    more = {"digest": image.digest, "hits": built.hits, "misses": built.misses, "steps": [asdict(step) for step in plan.steps]}
    return bench.report(lines, f"Build of {place.resolve().name}", chart, json, more)


def _earlier(span: Span, by_s: float) -> Span:
    return replace(span, start_s=span.start_s - by_s, end_s=span.end_s - by_s)


def _short(text: str, most: int = 40) -> str:
    one = " ".join(text.split())
    return one if len(one) <= most else one[: most - 1] + "…"


def _plan(
    bench: _Bench, place: Path, bases: Mapping[str, str], arguments: Mapping[str, str], target: str
) -> tuple[BuildPlan, dict[str, Image]]:
    file = place / BUILD_FILE if place.is_dir() else place
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BuildFileError([f"{file}: is not UTF-8 text; save it as UTF-8"]) from None
    except OSError as error:
        raise BuildFileError([f"{file}: cannot be read ({error.strerror}); give a folder with a {BUILD_FILE}, or the file"]) from None
    catalog, problems = bench.catalog, []
    known: dict[str, Image] = {}
    for name, wanted in bases.items():
        try:
            known[name] = _known(catalog, wanted)[0]
        except CatalogError as error:
            problems += [f"--base {name}: {problem}" for problem in error.problems]
    known |= {name: _known(catalog, name)[0] for name in catalog.names("images") if name not in known}
    if problems:
        raise CatalogError(problems)
    try:
        read = read_build_file(text)
        return plan_build(
            read,
            read_context(file.parent),
            known,
            bench.profile.assumed(),
            arguments=arguments,
            target=target,
            automatic=_automatic(bench.profile.platform),
        ), known
    except BuildFileError as error:
        raise BuildFileError([f"{file}, {problem}" for problem in error.problems]) from None


def _automatic(platform: str) -> dict[str, str]:
    """Arguments of the platform that FROM sees without ARG."""
    os, _, architecture = platform.partition("/")
    return {
        f"{of}{name}": value
        for of in ("TARGET", "BUILD")
        for name, value in (("PLATFORM", platform), ("OS", os), ("ARCH", architecture), ("VARIANT", ""))
    }
