"""The life of an image as something to run: what was there before, what is timed, and where the time went.

A life cycle is a list of acts, done one after the other. Those before the timed ones prepare: images that are there, a cold page cache, a
build that has filled the cache. Outcomes have the form of every other run, with one request per image: its response time is the time of
all timed acts, its layers are the acts, its causes what was going on at each instant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import nan
from typing import Any, Final, TypeVar

from simvirt.catalog import Catalog
from simvirt.engine import Engine
from simvirt.evidence import Cost
from simvirt.images.build import build
from simvirt.images.container import Start, run
from simvirt.images.context import BuildContext, ContextFile
from simvirt.images.daemon import Daemon, Steps
from simvirt.images.dockerfile.reader import read_build_file
from simvirt.images.host import Host
from simvirt.images.image import Image, Layer, digest_of
from simvirt.images.lazy import LazyImage, lazy_pull, lazy_run
from simvirt.images.machine import boot, ship
from simvirt.images.plan import plan_build
from simvirt.images.profiles import EngineProfile, ImageProfile, LazyProfile, MachineImageProfile, RegistryProfile
from simvirt.images.registry import Registry
from simvirt.images.timeline import Timeline, divided
from simvirt.images.transfer import pull
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.metrics.tidy import Row
from simvirt.randomness import Streams
from simvirt.scenario import Run
from simvirt.simulation.outcome import ClassTimes, RunOutcome, TenantOutcome, TimePart
from simvirt.simulation.shipping import host_spec

__all__ = ["BuildInput", "LifeCycle", "LifeCycleOutcome", "Population", "perform"]

P = TypeVar("P", EngineProfile, RegistryProfile, ImageProfile, LazyProfile, MachineImageProfile)

ORDER: Final = ("unpack", "download", "RUN", "COPY", "ADD", "look up", "index", "prefetch", "fetch on demand", "wait")
"""Where several things go on at once, the instant belongs to the first of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInput:
    """A build file and the files beside it, by path: a text that stands for the content, and a size."""

    text: str
    files: tuple[tuple[str, str, float], ...]

    def context(self) -> BuildContext:
        return BuildContext({path: ContextFile(int(size), digest_of([path, content])) for path, content, size in self.files})


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Images drawn from published distributions, one after the other on a host that has none of them.

    Unpacked size: lognormal by median and mean. Compressed: divided by a ratio that is uniform between its ends. Layers: a whole number,
    uniform between its ends; the size is divided among them as lognormal draws with spread `layer_sigma` are. Computing until ready:
    lognormal by mean and coefficient of variation. What is read is the same share of every image.
    """

    images: int
    size_median_bytes: float
    size_mean_bytes: float
    ratio: tuple[float, float]
    layers: tuple[int, int]
    layer_sigma: float
    read_share: float
    start_mean_s: float
    start_cv: float

    def draw(self, streams: Streams) -> Iterator[tuple[Image, Start]]:
        """The images of one replication."""
        from numpy import log  # noqa: PLC0415

        n = self.images
        sigma = float((2.0 * log(self.size_mean_bytes / self.size_median_bytes)) ** 0.5)
        sizes = (self.size_median_bytes * streams.stream("sizes").lognormal(0.0, sigma, n)).tolist()
        ratios = streams.stream("ratios").uniform(*self.ratio, n).tolist()
        counts = streams.stream("layers").integers(self.layers[0], self.layers[1], n, endpoint=True).tolist()
        spread = float(log(1.0 + self.start_cv**2) ** 0.5)
        starts = (self.start_mean_s * streams.stream("starts").lognormal(-(spread**2) / 2.0, spread, n)).tolist()
        weights = streams.stream("weights")
        for i in range(n):
            parts = weights.lognormal(0.0, self.layer_sigma, counts[i])
            shares = (parts / parts.sum()).tolist()
            layers = [
                Layer(digest=f"{i}/{k}", size_bytes=sizes[i] * share, wire_bytes=sizes[i] * share / ratios[i], made_by=f"{i}/{k}")
                for k, share in enumerate(shares)
            ]
            yield Image(tuple(layers)), Start(read_share=self.read_share, cpu_s=starts[i])


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeCycle:
    """A frozen description; the same for every platform of a comparison but for its acts."""

    name: str
    platform: str
    acts: tuple[str, ...]
    """What is timed: pull, run, lazy pull, lazy run, lazy run unprepared, ship, boot, build."""
    before: tuple[str, ...] = ()
    """What came before: the same words, `have IMAGE`, `drop cache`, and `build` with what the folder held then."""
    machine: str
    engine: str
    registry: str
    image: str = ""
    form: str = ""
    machine_image: str = ""
    built: BuildInput | None = None
    built_before: BuildInput | None = None
    population: Population | None = None
    override: Mapping[str, float | str] = field(default_factory=dict)
    """Numbers set by hand, as `registry.bandwidth_bytes_per_s`, `engine.gunzip_s_per_byte`, `image.start_s`, `format.streams`."""
    run: Run = field(default_factory=Run)

    def digest(self) -> str:
        """A fingerprint of everything that it says."""
        return hashlib.sha256(json.dumps(_plain(self), sort_keys=True).encode()).hexdigest()[:16]

    def simulate(self, catalog: Catalog, replication: int) -> LifeCycleOutcome:
        """One replication: one image, or one population."""
        if self.population is None:
            lives = [perform(self, catalog)]
        else:
            drawn = self.population.draw(Streams(self.run.seed, replication))
            lives = [perform(self, catalog, given) for given in drawn]
        return _outcome(self, lives, replication)


@dataclass(frozen=True, slots=True)
class Life:
    """What happened in one life cycle."""

    timeline: Timeline
    began_s: float
    """When the timed acts began."""
    acts: tuple[tuple[str, float, float], ...]
    """Each timed act with start and end."""
    sent_share: float
    """Sent by the registry during the timed acts, over the size of the image on the wire."""
    host: Host

    def parts(self) -> list[TimePart]:
        """Where the time went: acts are layers, kinds of span are causes."""
        found: dict[tuple[str, str], float] = {}
        for act, start, end in self.acts:
            for cause, seconds in divided(self.timeline.spans, start, end, ORDER).items():
                found[act, cause] = found.get((act, cause), 0.0) + seconds
        return [TimePart(layer=act, cause=cause, seconds=seconds) for (act, cause), seconds in found.items()]


@dataclass(frozen=True, kw_only=True)
class LifeCycleOutcome(RunOutcome):
    """A run's outcome, and what only life cycles have."""

    pull_share: float
    sent_share: float

    def rows(self, factors: Mapping[str, str | float | int | None]) -> Iterator[Row]:
        yield from RunOutcome.rows(self, factors)
        entity = f"tenant/{self.tenants[0].name}"
        yield Row(factors=factors, replication=self.replication, entity=entity, metric="pull_share", value=self.pull_share)
        yield Row(factors=factors, replication=self.replication, entity="nic/rx", metric="sent_share", value=self.sent_share)


def perform(cycle: LifeCycle, catalog: Catalog, given: tuple[Image, Start] | None = None) -> Life:
    """Do the acts of a life cycle, with its own image or with a given one."""
    stage = _Stage(cycle, catalog, given)
    for act in cycle.before:
        stage.do(act, cycle.built_before or cycle.built)
    began, sent = stage.engine.now, stage.registry.sent_bytes
    times = []
    for act in cycle.acts:
        start = stage.engine.now
        stage.do(act, cycle.built)
        times.append((act, start, stage.engine.now))
    sent_share = (stage.registry.sent_bytes - sent) / stage.image.wire_bytes
    return Life(stage.daemon.timeline, began, tuple(times), sent_share, stage.host)


class _Stage:
    """Host, engine and registry for one life."""

    def __init__(self, cycle: LifeCycle, catalog: Catalog, given: tuple[Image, Start] | None) -> None:
        self.cycle = cycle
        self.catalog = catalog
        self.engine = Engine()
        self.host = Host(self.engine, host_spec(catalog.hardware(cycle.machine)))
        profile = _with(catalog.image_profile(EngineProfile, cycle.engine), "engine", cycle.override)
        self.daemon = Daemon(self.host, profile)
        self.registry = Registry(self.engine, _with(catalog.image_profile(RegistryProfile, cycle.registry), "registry", cycle.override))
        self.image, self.start = given if given is not None else self._own()
        self.registry.blobs |= {layer.digest for layer in self.image.layers}

    def _own(self) -> tuple[Image, Start]:
        if not self.cycle.image:
            return Image(), Start(read_share=0.0, cpu_s=0.0)
        profile = _with(self.catalog.image_profile(ImageProfile, self.cycle.image), "image", self.cycle.override)
        return profile.image(), Start(read_share=profile.read_share.si, cpu_s=profile.start_s.si)

    def do(self, act: str, built: BuildInput | None) -> None:
        """Do one act to its end."""
        word, _, argument = act.partition(" ")
        if word == "have":
            for layer in self.catalog.image_profile(ImageProfile, argument).image().layers:
                self.daemon.store.add_layer(layer)
        elif act == "drop cache":
            self.host.cache.drop()
        else:
            self.engine.run(self.engine.process(self._steps()[act](built)))

    def _steps(self) -> Mapping[str, Callable[[BuildInput | None], Steps]]:
        daemon, registry, image = self.daemon, self.registry, self.image
        return {
            "pull": lambda _: pull(daemon, image, registry),
            "run": lambda _: run(daemon, image, self.start),
            "lazy pull": lambda _: lazy_pull(daemon, self._lazy(), registry),
            "lazy run": lambda _: lazy_run(daemon, self._lazy(), registry),
            "lazy run unprepared": lambda _: lazy_run(daemon, self._lazy(), registry, prefetch=False),
            "ship": lambda _: ship(daemon, self._machine_image(), registry),
            "boot": lambda _: boot(daemon, self._machine_image(), self.start),
            "build": self._build,
        }

    def _lazy(self) -> LazyImage:
        form = _with(self.catalog.image_profile(LazyProfile, self.cycle.form), "format", self.cycle.override)
        return LazyImage(image=self.image, format=form, start=self.start)

    def _machine_image(self) -> MachineImageProfile:
        return _with(self.catalog.image_profile(MachineImageProfile, self.cycle.machine_image), "machine-image", self.cycle.override)

    def _build(self, built: BuildInput | None) -> Steps:
        assert built is not None, self.cycle.name
        bases = {self.cycle.image: self.image}
        plan = plan_build(read_build_file(built.text), built.context(), bases, self.daemon.profile.assumed())
        return build(self.daemon, plan, self.registry, bases)


def _with(profile: P, owner: str, override: Mapping[str, float | str]) -> P:
    """A profile with the numbers that are set by hand for it."""
    mine = {path.partition(".")[2]: wanted for path, wanted in override.items() if path.partition(".")[0] == owner}
    values: dict[str, Any] = {name: getattr(profile, name).chosen(wanted) for name, wanted in mine.items()}
    return replace(profile, **values)


def _outcome(cycle: LifeCycle, lives: Sequence[Life], replication: int) -> LifeCycleOutcome:
    totals = [sum(end - start for _, start, end in life.acts) for life in lives]
    shares = [_pull_share(life) for life in lives]
    sums: dict[tuple[str, str], float] = {}
    for life in lives:
        for part in life.parts():
            sums[part.layer, part.cause] = sums.get((part.layer, part.cause), 0.0) + part.seconds / len(lives)
    parts = tuple(TimePart(layer=act, cause=cause, seconds=seconds) for (act, cause), seconds in sums.items())
    window_s = sum(totals)
    tenant = TenantOutcome(
        name=cycle.name,
        group=cycle.name,
        window_s=window_s,
        arrived=len(lives),
        completed=len(lives),
        in_flight_before=0,
        in_flight_after=0,
        in_flight_mean=1.0,
        open_loop=False,
        histogram=LatencyHistogram(totals),
        cpu_s=sum(life.host.scheduler.account().busy_s for life in lives),
        classes=(ClassTimes(name="image", completed=len(lives), parts=parts),),
    )
    cores = lives[0].host.spec.cores
    return LifeCycleOutcome(
        platform=cycle.platform,
        replication=replication,
        tenants=(tenant,),
        instances=(),
        cpu_utilization=tenant.cpu_s / (cores * sum(life.host.engine.now for life in lives)),
        disk_utilization=max(max(life.host.disk.utilization, life.host.bus.utilization) for life in lives),
        disk_wait_s=sum(life.host.disk.wait_s for life in lives) / max(1, sum(life.host.disk.served for life in lives)),
        nic_rx_utilization=nan,
        nic_tx_utilization=nan,
        events=sum(next(life.host.engine._eid) for life in lives),
        pull_share=sum(shares) / len(shares),
        sent_share=sum(life.sent_share for life in lives) / len(lives),
    )


def _pull_share(life: Life) -> float:
    times = {act: end - start for act, start, end in life.acts}
    pulled = sum(seconds for act, seconds in times.items() if act in ("pull", "lazy pull", "ship"))
    return pulled / sum(times.values())


def _plain(value: Any) -> Any:
    """A description as JSON can hold it."""
    if isinstance(value, Run):
        return value.model_dump(mode="json")
    if hasattr(value, "__dataclass_fields__"):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    assert not isinstance(value, Cost)
    return value
