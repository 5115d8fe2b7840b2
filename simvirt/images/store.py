"""Images that a host has: layers once, however many images share them; which to remove when the disk is full."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from simvirt.images.image import Image, Layer

__all__ = ["ImageStore"]


@dataclass(slots=True)
class _Kept:
    image: Image
    used_s: float
    """When a container last used it, or when it came."""


class ImageStore:
    """Layers and images on one disk."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        """Unpacked layers by digest."""
        self.awaited: list[Image] = []
        """Images on their way: their layers stay."""
        self._images: dict[str, _Kept] = {}

    @property
    def size_bytes(self) -> float:
        """What it takes of the disk."""
        return sum(layer.size_bytes for layer in self.layers.values())

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(kept.image for kept in self._images.values())

    def missing(self, image: Image) -> tuple[Layer, ...]:
        """Layers of an image that are not here, each once, the lowest first."""
        return tuple({layer.digest: layer for layer in image.layers if layer.digest not in self.layers}.values())

    def add_layer(self, layer: Layer) -> None:
        """A layer has been unpacked."""
        self.layers[layer.digest] = layer

    def add(self, image: Image, now: float) -> None:
        """An image is complete."""
        assert not self.missing(image), image.digest
        self._images[image.digest] = _Kept(image, now)

    def use(self, image: Image, now: float) -> None:
        """A container starts from an image."""
        self._images[image.digest].used_s = now

    def collect(
        self, now: float, capacity_bytes: float, *, above: float, down_to: float, age_s: float, in_use: Collection[str] = ()
    ) -> tuple[Image, ...]:
        """Remove images until no more than `down_to` of the disk is taken, if more than `above` is; give those removed.

        The one used longest ago goes first. Images in use, and those that were used less than `age_s` ago, stay. A layer goes with the
        last image that has it.
        """
        if self.size_bytes < above * capacity_bytes:
            return ()
        removed = []
        for digest, kept in sorted(self._images.items(), key=lambda item: (item[1].used_s, item[0])):
            if self.size_bytes <= down_to * capacity_bytes:
                break
            if digest in in_use or now - kept.used_s < age_s:
                continue
            removed.append(kept.image)
            del self._images[digest]
            self._sweep()
        return tuple(removed)

    def _sweep(self) -> None:
        needed = {layer.digest for image in (*self.images, *self.awaited) for layer in image.layers}
        self.layers = {digest: layer for digest, layer in self.layers.items() if digest in needed}
