"""Numbers with evidence of what images meet: registries, container engines, lazy formats, images, machines' images."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from simvirt.evidence import Cost
from simvirt.images.image import Image, Layer, digest_of
from simvirt.images.plan import Assumed
from simvirt.images.work import StepWork

__all__ = ["EngineProfile", "ImageProfile", "LazyProfile", "MachineImageProfile", "RegistryProfile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryProfile:
    """A registry, and the way to it."""

    name: str
    summary: str
    handshake_s: Cost
    """Name, connection, encryption and token, before the first question of a pull or a push."""
    request_s: Cost
    """One question to its interface (a manifest, a configuration, where a blob is), until the answer is there."""
    blob_request_s: Cost
    """A request for a blob or a part of it, until the first byte: round trip and storage."""
    bandwidth_bytes_per_s: Cost
    """What it sends, and what it takes, at most, for all clients together."""
    connection_bytes_per_s: Cost
    """What one connection carries at most."""
    pulls: Cost
    """Pulls that one client may make in a window; 0 for no limit."""
    window_s: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """A container engine: how it builds, moves, unpacks and starts."""

    name: str
    summary: str
    platform: str
    """What build files see as their platform, as os/architecture."""
    downloads: Cost
    """Layers downloaded at once."""
    uploads: Cost
    """Layers uploaded at once."""
    pulls: Cost
    """Images pulled at once; 0 for no limit."""
    pulls_per_s: Cost
    """Pulls begun per second in the long run; 0 for no limit."""
    burst: Cost
    """Pulls that may begin at once after a pause."""
    retry_s: Cost
    """Wait after a refusal of the registry; doubled each time."""
    retry_most_s: Cost
    digest_s_per_byte: Cost
    """Checking a blob as it comes, per byte on the wire."""
    gunzip_s_per_byte: Cost
    """Per byte unpacked, on the one thread that unpacks."""
    zstd_s_per_byte: Cost
    gzip_s_per_byte: Cost
    """Compressing for a push, per byte unpacked."""
    apply_s_per_byte: Cost
    """Reading the archive, checking its digest, making files: per byte unpacked, on the same thread."""
    mount_s: Cost
    """Preparing one layer of a root file system."""
    daemon_s: Cost
    """What the engine itself computes to start a container."""
    runtime_s: Cost
    """Namespaces, control groups, filters: until the first instruction."""
    network_s: Cost
    """Setting up the network, under a lock of the kernel that only one container has at a time."""
    step_s: Cost
    """Looking up one step of a build in the cache."""
    collect_above: Cost
    """Share of the disk above which unused images are removed."""
    collect_down_to: Cost
    """Share down to which they are removed."""
    collect_age_s: Cost
    """How long an image is spared after its last use."""
    ratio: Cost
    """Unpacked over compressed size of layers that are built."""
    run_cpu_s: Cost
    """A step that runs a command, where the build file does not tell."""
    run_bytes: Cost
    run_files: Cost
    run_download_bytes: Cost
    copied_bytes: Cost
    """Files copied from a stage or an address, where the build file does not tell."""

    def assumed(self) -> Assumed:
        """What stands in for steps without annotations."""
        return Assumed(
            run=StepWork(
                cpu_s=self.run_cpu_s.si,
                size_bytes=self.run_bytes.si,
                files=self.run_files.si,
                download_bytes=self.run_download_bytes.si,
            ),
            copied=StepWork(size_bytes=self.copied_bytes.si, files=1.0),
            ratio=self.ratio.si,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyProfile:
    """A format whose files can be read before they are here: an index first, then parts of blobs."""

    name: str
    summary: str
    layer_requests: Cost
    """Questions one after the other until the index of a layer is here."""
    index_entry_bytes: Cost
    """Index on the wire."""
    index_entry_s: Cost
    """Reading the index, per file."""
    streams: Cost
    """Parts fetched at once on demand."""
    part_bytes: Cost
    """What one request brings at least where neighbours are fetched along; 0 for a request per file."""
    file_share: Cost
    """Share of an image's files that a start touches."""
    serve_s_per_byte: Cost
    """Unpacking and handing a byte to the reader through the user-space file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageProfile:
    """An image by its sizes."""

    name: str
    summary: str
    layers: tuple[tuple[str, Cost], ...]
    """Name and size on the wire of each layer, the lowest first."""
    ratio: Cost
    """Unpacked over compressed size."""
    file_bytes: Cost
    """Mean size of a file."""
    read_share: Cost
    """Share of its bytes that a start reads."""
    start_s: Cost
    """What the application computes until it is ready, on the reference core."""

    def image(self) -> Image:
        """Its layers; layers of the same name and size are the same layer in every image."""
        return Image(tuple(self._layer(name, cost.si) for name, cost in self.layers), {"Name": self.name})

    def _layer(self, name: str, wire_bytes: float) -> Layer:
        size = wire_bytes * self.ratio.si
        digest = digest_of({"layer": name, "wire_bytes": wire_bytes})
        return Layer(digest=digest, size_bytes=size, wire_bytes=wire_bytes, files=float(ceil(size / self.file_bytes.si)), made_by=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineImageProfile:
    """The same application as the image of a virtual machine: one disk, and an operating system to boot."""

    name: str
    summary: str
    application: str
    """The container image of the same application."""
    size_bytes: Cost
    """Of the disk's content."""
    ratio: Cost
    """Content over what is shipped."""
    boot_read_bytes: Cost
    """Read from the disk until the application can start."""
    monitor_s: Cost
    """Making the machine, until its first instruction."""
    boot_cpu_s: Cost
    """Kernel and services, computing."""
    boot_wait_s: Cost
    """Kernel and services, waiting for timers and devices."""
