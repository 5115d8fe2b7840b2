"""The writable layer of a running container: what it writes is copied up first, belongs to it alone, and is gone with it."""

from __future__ import annotations

from collections.abc import Mapping

from simvirt.demand import DiskRead, DiskWrite, FileOpen, Operation
from simvirt.images.image import Image, Layer, digest_of

__all__ = ["WritableLayer"]


class WritableLayer:
    """Files that a container wrote over its image.

    Writing to a file of the image copies the whole file up, once, whatever the length of the write: a read and a write of its size, in
    requests of `request_bytes`. Later writes to it, and to files of its own, cost only themselves. Deleting leaves a mark (a whiteout),
    which is a file without content. Pages that are in the page cache need no read: say so with `cached`.
    """

    def __init__(self, image: Image, files: Mapping[str, float], request_bytes: float = 131072.0) -> None:
        """`files` are the sizes of the image's files by path."""
        self.image = image
        self.lower: Mapping[str, float] = dict(files)
        self.upper: dict[str, float] = {}
        self.deleted: set[str] = set()
        self.request_bytes = request_bytes

    @property
    def size_bytes(self) -> float:
        """What it takes of the disk."""
        return sum(self.upper.values())

    def size_of(self, path: str) -> float | None:
        """The size of a file as the container sees it, None if it sees none."""
        if path in self.upper:
            return self.upper[path]
        return None if path in self.deleted else self.lower.get(path)

    def write(self, path: str, size_bytes: float, *, cached: bool = False) -> tuple[Operation, ...]:
        """Write so many bytes at the end of a file: what the application asks of its operating system, in order."""
        if size_bytes < 0:
            raise ValueError(f"{path}: {size_bytes} bytes; at least 0")
        lower = 0.0 if path in self.deleted else self.lower.get(path, 0.0)
        demands: list[Operation] = [FileOpen(count=1.0)]
        if path not in self.upper:
            if lower and not cached:
                demands.append(DiskRead(count=self._requests(lower), size_bytes=lower))
            if lower:
                demands.append(DiskWrite(count=self._requests(lower), size_bytes=lower))
            self.upper[path] = lower
            self.deleted.discard(path)
        if size_bytes:
            demands.append(DiskWrite(count=self._requests(size_bytes), size_bytes=size_bytes))
        self.upper[path] += size_bytes
        return tuple(demands)

    def delete(self, path: str) -> None:
        """Take a file away from the container's view; the image keeps it. Raises KeyError where there is none."""
        if self.size_of(path) is None:
            raise KeyError(path)
        self.upper.pop(path, None)
        if path in self.lower:
            self.deleted.add(path)

    def commit(self, ratio: float) -> Image:
        """A new image with what was written as one more layer; the old one is what it was."""
        content = {"files": self.upper, "deleted": sorted(self.deleted), "over": self.image.digest}
        size = self.size_bytes
        layer = Layer(digest=digest_of(content), size_bytes=size, wire_bytes=size / ratio, files=float(len(self.upper) + len(self.deleted)))
        return self.image.with_layer(layer)

    def _requests(self, size_bytes: float) -> float:
        return float(max(1, -(-int(size_bytes) // int(self.request_bytes))))
