"""Images: stacks of layers that never change, named by digests of what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

__all__ = ["Compression", "Image", "Layer", "digest_of"]


def digest_of(content: Any) -> str:
    """Digest of anything that JSON can hold: equal content, equal digest, in any order of keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


Compression = str
"""How a layer travels: `gzip`, `zstd`, or `none`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one step changes in the file system. Its digest stands for its content; sizes are what moving it costs."""

    digest: str
    size_bytes: float
    """Unpacked."""
    wire_bytes: float
    """As a registry keeps and sends it."""
    files: float = 0.0
    compression: Compression = "gzip"
    made_by: str = ""

    def __post_init__(self) -> None:
        for name in ("size_bytes", "wire_bytes", "files"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0):
                raise ValueError(f"layer {self.digest}: {name} {value}; must be finite and at least 0")


@dataclass(frozen=True, slots=True)
class Image:
    """Layers, the lowest first, and a configuration. Nothing changes one: adding to it makes another."""

    layers: tuple[Layer, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    """Environment, command and so on; it takes no room and makes no layer."""

    @property
    def digest(self) -> str:
        """Told by the content alone: the digests of the layers in order, and the configuration."""
        return digest_of({"layers": [layer.digest for layer in self.layers], "config": dict(self.config)})

    @property
    def size_bytes(self) -> float:
        """Unpacked."""
        return sum(layer.size_bytes for layer in self.layers)

    @property
    def wire_bytes(self) -> float:
        """Bytes that cross the wire if nothing is there."""
        return sum(layer.wire_bytes for layer in self.layers)

    @property
    def files(self) -> float:
        return sum(layer.files for layer in self.layers)

    def with_layer(self, layer: Layer) -> Image:
        """Another image: this one and a layer on top."""
        return replace(self, layers=(*self.layers, layer))

    def with_config(self, **entries: Any) -> Image:
        """Another image with the same layers."""
        return replace(self, config={**self.config, **entries})
