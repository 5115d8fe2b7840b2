"""A small world for tests of images: costs that are round numbers, so that times can be worked out by hand."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import fields
from typing import Any, TypeVar

from simvirt.engine import Engine
from simvirt.evidence import Cost, Grade
from simvirt.images.daemon import Daemon
from simvirt.images.host import Host, HostSpec
from simvirt.images.image import Image, Layer
from simvirt.images.profiles import EngineProfile, LazyProfile, MachineImageProfile, RegistryProfile
from simvirt.images.registry import Registry

MB = 1e6
P = TypeVar("P")

SPEC = HostSpec(
    cores=8, clock_hz=1e9, core_speed=1.0, cache_bytes=1e12, nic_bytes_per_s=1e12, channels=8, read_s=0.0, write_s=0.0,
    read_bytes_per_s=100 * MB, write_bytes_per_s=1e12, disk_bytes=0.0,
)  # fmt: skip


def cost(value: float, field: str) -> Cost:
    unit = "s/B" if field.endswith("_s_per_byte") else "B/s" if field.endswith("_bytes_per_s") else "/s" if field.endswith("_per_s") else ""
    unit = unit or ("B" if field.endswith("_bytes") else "s" if field.endswith("_s") else "")
    return Cost(value=value, unit=unit, low=value, high=value, source="test", where="test", grade=Grade.ASSUMED)


def made(kind: type[P], texts: dict[str, str], values: dict[str, float]) -> P:
    """A profile whose numbers are 0 unless given."""
    names = [field.name for field in fields(kind) if field.name not in texts]  # type: ignore[arg-type]
    assert not values.keys() - set(names), values.keys() - set(names)
    return kind(**texts, **{name: cost(values.get(name, 0.0), name) for name in names})


def engine_profile(**values: float) -> EngineProfile:
    given = {"downloads": 3, "uploads": 5, "ratio": 2.0, "collect_above": 1.0, "collect_down_to": 1.0, "burst": 1, **values}
    return made(EngineProfile, {"name": "engine", "summary": "", "platform": "os/cpu"}, given)


def registry_profile(**values: float) -> RegistryProfile:
    given = {"bandwidth_bytes_per_s": 10 * MB, "connection_bytes_per_s": 10 * MB, **values}
    return made(RegistryProfile, {"name": "registry", "summary": ""}, given)


def lazy_profile(**values: float) -> LazyProfile:
    return made(LazyProfile, {"name": "lazy", "summary": ""}, {"streams": 1, "file_share": 0.01, **values})


def machine_profile(**values: float) -> MachineImageProfile:
    return made(MachineImageProfile, {"name": "vm", "summary": "", "application": "app"}, {"ratio": 1.0, **values})


def layer(name: str, wire_mb: float, ratio: float = 2.0) -> Layer:
    return Layer(digest=f"sha256:{name}", size_bytes=wire_mb * ratio * MB, wire_bytes=wire_mb * MB, files=10.0, made_by=name)


def image(*layers: Layer, **config: Any) -> Image:
    return Image(layers, config)


class World:
    """One host, one engine, one registry that has some images."""

    def __init__(
        self, *images: Image, engine: dict[str, float] | None = None, registry: dict[str, float] | None = None, **spec: float
    ) -> None:
        self.engine = Engine()
        self.registry = Registry(self.engine, registry_profile(**(registry or {})), images)
        self.daemon = self.daemon_named("host", engine or {}, **spec)

    def daemon_named(self, name: str, values: dict[str, float] | None = None, **spec: float) -> Daemon:
        known = {field.name: getattr(SPEC, field.name) for field in fields(SPEC)}
        host = Host(self.engine, HostSpec(**{**known, **spec}), name=name)
        return Daemon(host, engine_profile(**(values or {})))

    def do(self, *steps: Generator[Any, Any, Any]) -> float:
        """Run some processes side by side to their ends; give the time that they took."""
        start = self.engine.now
        for one in [self.engine.process(step) for step in steps]:
            self.engine.run(one)
        return float(self.engine.now) - start
