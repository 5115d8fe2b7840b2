"""Real images as files: an OCI layout (a folder or an archive of it) and the archive that `save` writes.

Members are read one after the other and never extracted: nothing is ever written, no link is followed, no name becomes a path of this
machine. An archive is data from strangers, so it is refused, with every reason, if names climb out of it or begin at the root, if links
point out of it or in a circle, if a blob is not what its digest says, or if it holds more than it should: too many members, too large, or
growing too much when unpacked. Layers are gzip, zstd (sizes on the wire only, unless Python can unpack it) or plain.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import posixpath
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Protocol

from simvirt.errors import SimvirtError
from simvirt.images.image import Image, Layer

__all__ = ["ArchiveError", "Found", "Limits", "read_archive"]

_BLOCK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


class ArchiveError(SimvirtError):
    """An archive or layout that is no image, or not one that should be read, with every reason."""

    def __init__(self, problems: tuple[str, ...] | str) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is refused as a bomb."""

    members: int = 1_000_000
    """Members of one archive."""
    unpacked_bytes: int = 100 * 10**9
    """Bytes that one layer unpacks to, and bytes of all members of an archive."""
    ratio: float = 1100.0
    """Unpacked over compressed bytes of a layer: deflate cannot exceed 1,032, nested tricks can."""
    ratio_from_bytes: int = 10 * 10**6
    """Size below which the ratio does not matter."""
    document_bytes: int = 16 * 10**6
    """Size of an index, manifest or configuration."""


@dataclass(frozen=True, slots=True)
class Found:
    """One image of an archive."""

    name: str
    image: Image
    unmeasured: tuple[str, ...] = ()
    """Digests of layers whose unpacked size is not known: it stands as the size on the wire."""
    biggest: Mapping[str, float] = field(default_factory=dict)
    """The largest files, by path."""


class _Files(Protocol):
    """Files by name, wherever they are."""

    def names(self) -> set[str]: ...

    def open(self, name: str) -> IO[bytes]: ...

    def size(self, name: str) -> int: ...


class _Folder:
    def __init__(self, path: Path, problems: list[str]) -> None:
        self._root = path.resolve()
        self._problems = problems

    def _place(self, name: str) -> Path | None:
        place = (self._root / name).resolve()
        return place if place.is_relative_to(self._root) and place.is_file() else None

    def names(self) -> set[str]:
        files = {path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file() or path.is_symlink()}
        outside = sorted(name for name in files if self._place(name) is None)
        self._problems += [f"{name}: a link that leads out of the layout or nowhere; put the file itself there" for name in outside]
        return files - set(outside)

    def open(self, name: str) -> IO[bytes]:
        place = self._place(name)
        assert place is not None
        return place.open("rb")

    def size(self, name: str) -> int:
        place = self._place(name)
        assert place is not None
        return place.stat().st_size


class _Tar:
    def __init__(self, archive: tarfile.TarFile, limits: Limits, problems: list[str]) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        links: dict[str, str] = {}
        total = 0
        for count, member in enumerate(archive, 1):
            if count > limits.members:
                problems.append(f"more than {limits.members} members; this is no image")
                break
            total += max(0, member.size)
            if total > limits.unpacked_bytes:  # told by its header, before the content is unpacked
                problems.append(f"{member.name}: the archive holds more than {limits.unpacked_bytes} bytes; refused")
                break
            name = _checked_name(member, problems)
            if member.isfile():
                self._members[name] = member
            elif member.issym() or member.islnk():
                links[name] = _target(name, member)
        self._resolve(links, problems)

    def _resolve(self, links: dict[str, str], problems: list[str]) -> None:
        """Older archives have links instead of equal layers: they mean the file that they lead to."""
        for name, first in links.items():
            seen, at = [name], first
            while at in links and at not in seen:
                seen.append(at)
                at = links[at]
            if at in seen:
                problems.append(f"{name}: links in a circle ({' -> '.join((*seen, at))}); remove them")
            elif at in self._members:
                self._members[name] = self._members[at]

    def names(self) -> set[str]:
        return set(self._members)

    def open(self, name: str) -> IO[bytes]:
        stream = self._archive.extractfile(self._members[name])
        assert stream is not None
        return stream

    def size(self, name: str) -> int:
        return self._members[name].size


def _checked_name(member: tarfile.TarInfo, problems: list[str]) -> str:
    """The member's name in its simplest form; a name or link that leads out is a problem."""
    name = posixpath.normpath(member.name)
    if member.name.startswith("/"):
        problems.append(f"{member.name}: begins at the root; names of members are relative")
    elif name == ".." or name.startswith("../"):
        problems.append(f"{member.name}: climbs out of the archive; names of members stay inside it")
    elif member.issym() or member.islnk():
        target = _target(name, member)
        if member.linkname.startswith("/") or target == ".." or target.startswith("../"):
            problems.append(f"{member.name}: a link to {member.linkname}, outside the archive; links stay inside it")
    elif member.isdev():
        problems.append(f"{member.name}: a device or a pipe; an image's archive has files only")
    return name


def _target(name: str, member: tarfile.TarInfo) -> str:
    """What a link means: a hard link is told from the root of the archive, a symbolic one from where it stands."""
    return posixpath.normpath(member.linkname if member.islnk() else posixpath.join(posixpath.dirname(name), member.linkname))


def read_archive(path: Path, limits: Limits | None = None) -> tuple[Found, ...]:
    """The images in an archive or layout, in order of name. Raises ArchiveError with every reason to refuse it."""
    bounds = limits or Limits()
    if not path.exists():
        raise ArchiveError(f"{path}: no such file or folder; give an OCI layout, or an archive of one or of saved images")
    problems: list[str] = []
    try:
        if path.is_dir():
            found = _Reader(_Folder(path, problems), bounds, problems).images()
        else:
            with tarfile.open(path, "r:*") as archive:
                found = _Reader(_Tar(archive, bounds, problems), bounds, problems).images()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        unread = f"no readable archive ({error}); save it again"
        raise ArchiveError(tuple(f"{path}: {problem}" for problem in (*problems, unread))) from None
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read ({error.strerror or error}); save it again or change its permissions") from None
    if problems:
        raise ArchiveError(tuple(f"{path}: {problem}" for problem in dict.fromkeys(problems)))
    return found


class _Reader:
    def __init__(self, files: _Files, limits: Limits, problems: list[str]) -> None:
        self._files = files
        self._limits = limits
        self._problems = problems
        self._names = files.names()
        self._layers: dict[str, tuple[Layer, bool, dict[str, float]]] = {}

    def images(self) -> tuple[Found, ...]:
        if self._problems:
            return ()
        if "index.json" in self._names:
            found = list(self._index("index.json", depth=0))
        elif "manifest.json" in self._names:
            found = list(self._saved())
        else:
            self._problems.append("neither index.json nor manifest.json; this is no OCI layout and no archive of saved images")
            return ()
        if not found and not self._problems:
            self._problems.append("holds no image; save one into it")
        return tuple(sorted(found, key=lambda one: one.name))

    # --- OCI layout --------------------------------------------------------------------------------------------------

    def _index(self, file: str, depth: int, name: str = "") -> Iterator[Found]:
        index = self._document(file)
        if depth > 4:
            self._problems.append(f"{file}: indices in indices, deeper than any image has; in a circle?")
            return
        entries = index.get("manifests") if isinstance(index, dict) else None
        if not isinstance(entries, list):
            self._problems.append(f"{file}: no list of manifests; an index has one")
            return
        for entry in entries:
            if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str):
                self._problems.append(f"{file}: a manifest without digest; save the image again")
                continue
            notes = entry.get("annotations") or {}
            if not isinstance(notes, dict) or any(str(key).endswith(".reference.type") for key in notes):
                continue  # a statement about an image, not an image
            own = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name") or name
            media = str(entry.get("mediaType", ""))
            blob = self._blob(entry["digest"])
            if blob is None:
                continue
            if media.endswith(("image.index.v1+json", "manifest.list.v2+json")):
                yield from self._index(blob, depth + 1, str(own))
            else:
                platform = entry.get("platform") or {}
                of = "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if platform.get(key))
                yield from self._manifest(blob, " ".join(filter(None, (str(own), of))) or entry["digest"][:19])

    def _manifest(self, file: str, name: str) -> Iterator[Found]:
        manifest = self._document(file)
        entries = manifest.get("layers") if isinstance(manifest, dict) else None
        config = manifest.get("config") if isinstance(manifest, dict) else None
        if not isinstance(entries, list) or not isinstance(config, dict) or not isinstance(config.get("digest"), str):
            self._problems.append(f"{file}: a manifest has a config and layers; this has not")
            return
        settings = self._blob(config["digest"])
        layers = []
        for entry in entries:
            digest = entry.get("digest") if isinstance(entry, dict) else None
            blob = self._blob(digest) if isinstance(digest, str) else None
            if blob is None:
                if not isinstance(digest, str):
                    self._problems.append(f"{file}: a layer without digest; save the image again")
                continue
            if isinstance(entry.get("size"), int) and entry["size"] != self._files.size(blob):
                self._problems.append(f"{blob}: {self._files.size(blob)} bytes, its manifest says {entry['size']}; save the image again")
            layers.append(self._layer(blob, str(digest)))
        if settings is not None:
            yield self._found(name, layers, self._document(settings))

    def _blob(self, digest: str) -> str | None:
        """The file of a blob, if it is there and is what its digest says."""
        algorithm, _, value = digest.partition(":")
        file = f"blobs/{algorithm}/{value}"
        if algorithm not in ("sha256", "sha512") or not value.isalnum():
            self._problems.append(f"digest {digest!r}; sha256: or sha512: and hexadecimal digits")
        elif file not in self._names:
            self._problems.append(f"{file}: missing; save the image again, with all platforms or with one")
        elif self._hash(file, algorithm) != value:
            self._problems.append(f"{file}: its content has another digest; the file was changed or damaged")
        else:
            return file
        return None

    # --- Saved images ------------------------------------------------------------------------------------------------

    def _saved(self) -> Iterator[Found]:
        manifest = self._document("manifest.json")
        for entry in manifest if isinstance(manifest, list) else [None]:
            config = entry.get("Config") if isinstance(entry, dict) else None
            files = entry.get("Layers") if isinstance(entry, dict) else None
            if not isinstance(entry, dict) or not isinstance(config, str) or not isinstance(files, list):
                self._problems.append("manifest.json: a list of images with Config and Layers; this is none")
                return
            absent = [file for file in (config, *files) if not isinstance(file, str) or posixpath.normpath(file) not in self._names]
            self._problems += [f"{file}: named by manifest.json and missing; save the image again" for file in absent]
            if absent:
                continue
            settings = self._document(posixpath.normpath(config))
            expected = settings.get("rootfs", {}).get("diff_ids", ()) if isinstance(settings, dict) else ()
            if len(expected) != len(files):
                self._problems.append(f"{config}: {len(expected)} layers, manifest.json says {len(files)}; save the image again")
                continue
            names = entry.get("RepoTags") or [config.removesuffix(".json")[:19]]
            layers = [self._layer(posixpath.normpath(file), str(digest), inner=True) for file, digest in zip(files, expected, strict=True)]
            yield self._found(str(names[0]), layers, settings)

    # --- Both --------------------------------------------------------------------------------------------------------

    def _found(self, name: str, layers: list[tuple[Layer, bool, dict[str, float]]], settings: Any) -> Found:
        config = settings.get("config") if isinstance(settings, dict) else None
        files = {path: size for _, _, own in layers for path, size in own.items()}
        biggest = dict(sorted(files.items(), key=lambda item: (-item[1], item[0]))[:10])
        unmeasured = tuple(layer.digest for layer, measured, _ in layers if not measured)
        return Found(name, Image(tuple(layer for layer, _, _ in layers), dict(config or {})), unmeasured, biggest)

    def _document(self, file: str) -> Any:
        if self._files.size(file) > self._limits.document_bytes:
            self._problems.append(f"{file}: {self._files.size(file)} bytes; at most {self._limits.document_bytes} for a document")
            return {}
        try:
            with self._files.open(file) as stream:
                return json.load(stream)
        except (ValueError, RecursionError):
            self._problems.append(f"{file}: no JSON that can be read; save the image again")
            return {}

    def _hash(self, file: str, algorithm: str) -> str:
        digest = hashlib.new(algorithm)
        with self._files.open(file) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def _layer(self, file: str, digest: str, *, inner: bool = False) -> tuple[Layer, bool, dict[str, float]]:
        """A layer with its sizes, whether the unpacked one was measured, and its files. `inner`: the digest is that of what is unpacked."""
        if digest not in self._layers:
            with self._files.open(file) as stream:
                start = stream.read(4)
                stream.seek(0)
                compression = "gzip" if start.startswith(_GZIP) else "zstd" if start == _ZSTD else "none"
                self._layers[digest] = self._measured(file, digest, stream, compression, inner=inner)
        return self._layers[digest]

    def _measured(
        self, file: str, digest: str, stream: IO[bytes], compression: str, *, inner: bool
    ) -> tuple[Layer, bool, dict[str, float]]:
        wire = self._files.size(file)
        unpacked = _unpacked(stream, compression)
        if unpacked is None:
            return Layer(digest=digest, size_bytes=wire, wire_bytes=wire, compression=compression), False, {}
        bounded = _Bounded(unpacked, wire, self._limits)
        try:
            files, count = self._members(file, bounded)
            bounded.drain()
        except _BombError as error:
            self._problems.append(f"{file}: {error}")
            files, count = {}, 0
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            self._problems.append(f"{file}: no readable layer ({error}); save the image again")
            files, count = {}, 0
        else:
            if inner and digest != f"sha256:{bounded.digest.hexdigest()}":
                self._problems.append(f"{file}: its content has another digest than the configuration says; the file was changed")
        layer = Layer(digest=digest, size_bytes=bounded.taken, wire_bytes=wire, files=float(count), compression=compression)
        return layer, True, files

    def _members(self, file: str, stream: _Bounded) -> tuple[dict[str, float], int]:
        """Files of a layer and the number of its members. In a layer links may point anywhere: they are the container's own."""
        files: dict[str, float] = {}
        count = 0
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for count, member in enumerate(archive, 1):
                name = posixpath.normpath(member.name.lstrip("/"))
                if count > self._limits.members:
                    raise _BombError(f"more than {self._limits.members} members; this is no layer")
                if name == ".." or name.startswith("../"):
                    self._problems.append(f"{file}: {member.name} climbs out of the layer; names stay inside it")
                elif member.isfile():
                    files[name] = float(member.size)
                archive.members = []  # type: ignore[attr-defined]  # forget: memory stays the same however many there are
        return files, count


class _BombError(Exception):
    """A layer that unpacks to more than it should."""


class _Bounded(io.RawIOBase):
    """A stream that counts and digests what is read, and stops when it is too much."""

    def __init__(self, stream: IO[bytes], wire_bytes: int, limits: Limits) -> None:
        super().__init__()
        self._stream = stream
        self._wire_bytes = wire_bytes
        self._limits = limits
        self.taken = 0
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size if 0 <= size < _BLOCK else _BLOCK)
        self.taken += len(block)
        self.digest.update(block)
        if self.taken > self._limits.unpacked_bytes:
            raise _BombError(f"unpacks to more than {self._limits.unpacked_bytes} bytes; refused")
        if self.taken > self._limits.ratio_from_bytes and self.taken > self._limits.ratio * self._wire_bytes:
            raise _BombError(f"unpacks to more than {self._limits.ratio:g} times its size of {self._wire_bytes} bytes; refused")
        return block

    def drain(self) -> None:
        """Read what stands behind the last member."""
        while self.read(_BLOCK):
            pass


def _unpacked(stream: IO[bytes], compression: str) -> IO[bytes] | None:
    """The stream unpacked; None if this Python cannot."""
    if compression == "gzip":
        return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]
    if compression == "zstd":
        try:
            from compression import zstd  # type: ignore[import-not-found]  # noqa: PLC0415 - there from Python 3.14 on
        except ImportError:
            return None
        return zstd.ZstdFile(stream)  # type: ignore[no-any-return]
    return stream
