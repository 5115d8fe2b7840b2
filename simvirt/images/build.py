"""Carrying out a plan: steps from the cache where their keys are known, otherwise the work that they stand for.

Stages that do not need each other are built at the same time. A step that runs a command starts a container, fetches, computes, writes;
a step that copies reads, and writes files as unpacking does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simpy.events import AllOf, Event

from simvirt.images.daemon import Daemon, Steps
from simvirt.images.image import Image, Layer
from simvirt.images.plan import BuildPlan, BuildStep, PlannedStage
from simvirt.images.registry import Registry
from simvirt.images.transfer import pull

__all__ = ["Built", "build"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build gave."""

    image: Image
    hits: int
    """Steps found in the cache."""
    misses: int
    """Steps that were done."""


def build(daemon: Daemon, plan: BuildPlan, registry: Registry, bases: Mapping[str, Image]) -> Steps:
    """Build the target of a plan; pull the images that it stands on, if they are not here. Gives a Built."""
    for base in plan.bases:
        if bases[base].digest not in {image.digest for image in daemon.store.images}:
            yield from pull(daemon, bases[base], registry, base)
    daemon.store.awaited.append(plan.image)
    complete: dict[int, Event] = {stage.index: daemon.engine.event() for stage in plan.stages}
    hits: list[bool] = []
    for stage in plan.stages:
        daemon.engine.process(_stage(daemon, stage, registry, complete, hits))
    yield AllOf(daemon.engine, list(complete.values()))
    daemon.store.add(plan.image, daemon.engine.now)
    daemon.store.awaited.remove(plan.image)
    return Built(image=plan.image, hits=sum(hits), misses=len(hits) - sum(hits))


def _stage(daemon: Daemon, stage: PlannedStage, registry: Registry, complete: dict[int, Event], hits: list[bool]) -> Steps:
    lane = f"stage {stage.name or stage.index}"
    if stage.base_stage is not None:
        yield complete[stage.base_stage]
    for step in stage.steps:
        waiting = [complete[index] for index in step.needs]
        if waiting:
            yield AllOf(daemon.engine, waiting)
        hits.append((yield from _step(daemon, step, registry, lane)))
    complete[stage.index].succeed()


def _step(daemon: Daemon, step: BuildStep, registry: Registry, lane: str) -> Steps:
    """One step; gives whether it was in the cache."""
    label = f"{step.line}: {step.keyword} {step.text}"
    began = daemon.engine.now
    yield daemon.compute(daemon.seconds(daemon.profile.step_s))
    daemon.span(lane, "look up", began, label)
    known = daemon.build_cache.get(step.key)
    if known is not None and known.digest in daemon.store.layers:  # image collection may have removed it
        return True
    began = daemon.engine.now
    if step.keyword == "RUN":
        yield from _command(daemon, step, registry, lane)
    yield from _files(daemon, step.layer)
    daemon.build_cache[step.key] = step.layer
    daemon.store.add_layer(step.layer)
    daemon.span(lane, step.keyword, began, label)
    return False


def _command(daemon: Daemon, step: BuildStep, registry: Registry, lane: str) -> Steps:
    """A container with one command: fetching from outside goes over a connection like any other."""
    profile = daemon.profile
    yield daemon.compute(daemon.seconds(profile.runtime_s))
    with daemon.network_lock.request() as lock:
        yield lock
        yield daemon.compute(daemon.seconds(profile.network_s))
    if step.work.download_bytes:
        connection = daemon.take_connection(registry)
        yield daemon.engine.timeout(registry.profile.blob_request_s.si)
        yield connection.transfer(step.work.download_bytes)
        daemon.give_connection(registry, connection)
    cpu_s = step.work.cpu_s / daemon.host.spec.core_speed
    yield daemon.host.compute_all(daemon.host.group(f"{lane} {step.line}"), cpu_s, step.work.threads)


def _files(daemon: Daemon, layer: Layer) -> Steps:
    yield daemon.compute(daemon.seconds(daemon.profile.apply_s_per_byte, layer.size_bytes))
    yield daemon.host.write_behind(layer.size_bytes)
    daemon.host.cache.put(layer.digest, layer.size_bytes)
