"""Real images are read, never extracted; archives made by strangers are refused with every reason."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from simvirt.images.archive import ArchiveError, Limits, read_archive

Member = tarfile.TarInfo


def tar(files: dict[str, bytes], *extra: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = Member(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    member = Member(name)
    member.type, member.linkname = kind, target
    return member


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


LOWER = tar({"etc/os": b"x" * 5000, "bin/sh": b"y" * 20000})
UPPER = tar({"app/.wh.old": b"", "app/main": b"z" * 3000}, link("app/sh", "/bin/sh"))


def layout(blobs: list[bytes], *, change: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """Files of a layout with one image."""
    config = json.dumps({"config": {"Cmd": ["app"]}, "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    manifest = json.dumps(
        {
            "config": {"digest": f"sha256:{sha(config)}", "size": len(config)},
            "layers": [{"digest": f"sha256:{sha(blob)}", "size": len(blob)} for blob in blobs],
        }
    ).encode()
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{sha(manifest)}",
        "annotations": {"org.opencontainers.image.ref.name": "app:1"},
        "platform": {"os": "some", "architecture": "cpu"},
    }
    files = {f"blobs/sha256/{sha(blob)}": blob for blob in (config, manifest, *blobs)}
    files |= {"index.json": json.dumps({"manifests": [entry]}).encode(), "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    return files | (change or {})


def saved(layers: dict[str, bytes], diff_ids: list[str] | None = None, names: list[str] | None = None) -> dict[str, bytes]:
    """Files of an archive of one saved image."""
    ids = diff_ids if diff_ids is not None else [f"sha256:{sha(layer)}" for layer in layers.values()]
    config = json.dumps({"config": {"Env": ["A=b"]}, "rootfs": {"diff_ids": ids}}).encode()
    manifest = [{"Config": "c.json", "RepoTags": ["app:2"], "Layers": names or list(layers)}]
    return {"manifest.json": json.dumps(manifest).encode(), "c.json": config, **layers}


def as_file(tmp_path: Path, files: dict[str, bytes], *extra: Member) -> Path:
    path = tmp_path / "image.tar"
    path.write_bytes(tar(files, *extra))
    return path


def as_folder(tmp_path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "layout" / name).write_bytes(content)
    return tmp_path / "layout"


def refused(path: Path, limits: Limits | None = None) -> str:
    with pytest.raises(ArchiveError) as caught:
        read_archive(path, limits)
    assert all(str(path) in problem for problem in caught.value.problems)
    return str(caught.value)


# --- What is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [as_file, as_folder])
def test_a_layout_with_gzip_layers(place: Any, tmp_path: Path) -> None:
    blobs = [packed(LOWER), packed(UPPER)]
    (found,) = read_archive(place(tmp_path, layout(blobs)))
    assert found.name == "app:1 some/cpu"
    assert [layer.digest for layer in found.image.layers] == [f"sha256:{sha(blob)}" for blob in blobs]
    assert [layer.wire_bytes for layer in found.image.layers] == [len(blob) for blob in blobs]
    assert [layer.size_bytes for layer in found.image.layers] == [len(LOWER), len(UPPER)]
    assert [layer.files for layer in found.image.layers] == [2, 3]
    assert found.image.config == {"Cmd": ["app"]}
    assert list(found.biggest) == ["bin/sh", "etc/os", "app/main", "app/.wh.old"]
    assert not found.unmeasured


def test_an_archive_of_saved_images(tmp_path: Path) -> None:
    (found,) = read_archive(as_file(tmp_path, saved({"a/layer.tar": LOWER, "b/layer.tar": UPPER})))
    assert found.name == "app:2"
    assert [layer.size_bytes for layer in found.image.layers] == [len(LOWER), len(UPPER)]
    assert [layer.compression for layer in found.image.layers] == ["none", "none"]
    assert found.image.config == {"Env": ["A=b"]}


def test_a_compressed_archive_and_a_linked_layer(tmp_path: Path) -> None:
    path = tmp_path / "image.tar.gz"
    files = saved({"a/layer.tar": LOWER}, [f"sha256:{sha(LOWER)}"] * 2, ["a/layer.tar", "b/layer.tar"])
    path.write_bytes(packed(tar(files, link("b/layer.tar", "../a/layer.tar"))))
    (found,) = read_archive(path)
    assert len(found.image.layers) == 2
    assert found.image.layers[0] == found.image.layers[1]


def test_an_index_of_platforms_and_statements_about_images(tmp_path: Path) -> None:
    files = layout([packed(LOWER)])
    inner = json.loads(files["index.json"])
    inner["manifests"].append({"digest": "sha256:00", "annotations": {"vnd.docker.reference.type": "attestation-manifest"}})
    blob = json.dumps(inner).encode()
    outer = {"manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{sha(blob)}"}]}
    files |= {f"blobs/sha256/{sha(blob)}": blob, "index.json": json.dumps(outer).encode()}
    (found,) = read_archive(as_file(tmp_path, files))
    assert found.name == "app:1 some/cpu"


def test_zstd_layers_have_their_size_on_the_wire(tmp_path: Path) -> None:
    blob = b"\x28\xb5\x2f\xfd" + b"0" * 100
    (found,) = read_archive(as_file(tmp_path, layout([blob])))
    assert found.image.layers[0].compression == "zstd"
    assert found.image.layers[0].wire_bytes == 104
    assert found.unmeasured == (f"sha256:{sha(blob)}",)


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (Member("../outside"), "climbs out"),
        (Member("a/../../outside"), "climbs out"),
        (Member("/etc/passwd"), "begins at the root"),
        (link("a", "/etc/passwd"), "outside the archive"),
        (link("a", "../../etc/passwd"), "outside the archive"),
        (link("a/b", "../../c", tarfile.LNKTYPE), "outside the archive"),
        (link("a", "a"), "in a circle"),
    ],
)
def test_names_and_links_that_lead_out(member: Member, reason: str, tmp_path: Path) -> None:
    assert reason in refused(as_file(tmp_path, layout([packed(LOWER)]), member))


def test_a_device_and_a_circle_of_links(tmp_path: Path) -> None:
    device = Member("null")
    device.type = tarfile.CHRTYPE
    text = refused(as_file(tmp_path, layout([packed(LOWER)]), device, link("x", "y"), link("y", "z"), link("z", "x")))
    assert "a device" in text
    assert "x -> y -> z -> x" in text


def test_a_layer_whose_names_climb_out(tmp_path: Path) -> None:
    assert "climbs out of the layer" in refused(as_file(tmp_path, layout([packed(tar({"../../etc/passwd": b"x"}))])))


def test_a_folder_with_a_link_out_of_it(tmp_path: Path) -> None:
    folder = as_folder(tmp_path, layout([packed(LOWER)]))
    (tmp_path / "secret").write_text("x")
    (folder / "extra").symlink_to(tmp_path / "secret")
    assert "leads out of the layout" in refused(folder)


def test_a_blob_that_was_changed(tmp_path: Path) -> None:
    blob = packed(LOWER)
    path = as_file(tmp_path, layout([blob], change={f"blobs/sha256/{sha(blob)}": packed(UPPER)}))
    assert "another digest" in refused(path)


def test_a_saved_layer_that_was_changed(tmp_path: Path) -> None:
    assert "another digest" in refused(as_file(tmp_path, saved({"a/layer.tar": UPPER}, [f"sha256:{sha(LOWER)}"])))


def test_bombs(tmp_path: Path) -> None:
    zeros = packed(tar({"zeros": bytes(3_000_000)}))
    path = as_file(tmp_path, layout([zeros]))
    assert read_archive(path)[0].image.layers[0].size_bytes > 3_000_000
    assert "more than 1000000 bytes" in refused(path, Limits(unpacked_bytes=1_000_000))
    assert "more than 20 times" in refused(path, Limits(ratio=20.0, ratio_from_bytes=100_000))
    assert "more than 3 members" in refused(path, Limits(members=3))
    many = as_file(tmp_path, layout([packed(tar({str(i): b"" for i in range(20)}))]))
    assert "more than 10 members; this is no layer" in refused(many, Limits(members=10))
    assert "at most 10 for a document" in refused(path, Limits(document_bytes=10))


def test_a_bomb_is_left_before_it_is_unpacked(tmp_path: Path) -> None:
    """A layer of 300 MB of zeros is read for no more than its bound and one block."""
    zeros = packed(tar({"zeros": bytes(300_000_000)}))
    path = as_file(tmp_path, layout([zeros]))
    assert "refused" in refused(path, Limits(unpacked_bytes=2_000_000))


def test_a_compressed_archive_that_is_a_bomb_is_left_at_its_header(tmp_path: Path) -> None:
    path = tmp_path / "image.tar.gz"
    path.write_bytes(packed(tar(layout([packed(LOWER)], change={"zeros": bytes(5_000_000)}))))
    assert "zeros: the archive holds more than 1000000 bytes" in refused(path, Limits(unpacked_bytes=1_000_000))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"index.json": b"{"}, "no JSON"),
        ({"index.json": b"[]"}, "no list of manifests"),
        ({"index.json": b'{"manifests": []}'}, "holds no image"),
        ({"index.json": b'{"manifests": [{"digest": "sha256:ab"}]}'}, "missing"),
        ({"index.json": b'{"manifests": [{"digest": "md5:../x"}]}'}, "sha256: or sha512:"),
        ({"index.json": b'{"manifests": [7]}'}, "without digest"),
        ({"index.json": b"[" * 100_000}, "no JSON"),
    ],
)
def test_documents_that_say_nothing(change: dict[str, bytes], reason: str, tmp_path: Path) -> None:
    assert reason in refused(as_file(tmp_path, layout([packed(LOWER)], change=change)))


@pytest.mark.parametrize("content", [b"", b"no archive at all", packed(b"no archive at all" * 100), packed(LOWER)[:50]])
def test_what_is_no_archive(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    refused(path)
    assert "no such file" in refused(tmp_path / "nothing")


def test_a_damaged_layer(tmp_path: Path) -> None:
    assert "no readable layer" in refused(as_file(tmp_path, layout([packed(LOWER)[:60]])))


def test_a_saved_image_whose_parts_are_missing(tmp_path: Path) -> None:
    files = saved({"a/layer.tar": LOWER}, names=["a/layer.tar", "b/layer.tar"])
    assert "b/layer.tar: named by manifest.json and missing" in refused(as_file(tmp_path, files))


def test_reading_writes_nothing(tmp_path: Path) -> None:
    path = as_file(tmp_path, layout([packed(LOWER), packed(UPPER)]))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*")}
    read_archive(path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*")} == before
