"""`simvirt image`: what is shown, written and refused; and the profiles that it uses."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.errors import CatalogError
from simvirt.evidence import Cost
from simvirt.images.profiles import EngineProfile, ImageProfile, LazyProfile, MachineImageProfile, RegistryProfile
from simvirt.images.timeline import Span, divided
from simvirt.reports.gantt import gantt_text

KINDS = {
    "registries": RegistryProfile,
    "container-engines": EngineProfile,
    "lazy-formats": LazyProfile,
    "images": ImageProfile,
    "machine-images": MachineImageProfile,
}
CATALOG = Catalog.builtin()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["image", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("a")
    text = "FROM python:3.7 AS one\nCOPY a.txt .\n# simvirt: cpu=2s size=10MB\nRUN x\nFROM debian\nCOPY --from=one /x /x\nRUN unknown\n"
    (tmp_path / "Dockerfile").write_text(text)
    return tmp_path


# --- Profiles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder in KINDS for name in CATALOG.names(folder)])
def test_every_profile_has_evidence_and_sensible_numbers(folder: str, name: str) -> None:
    profile = CATALOG.image_profile(KINDS[folder], name)
    values = [getattr(profile, field) for field in profile.__dataclass_fields__]
    costs = [value for value in values if isinstance(value, Cost)] + [cost for _, cost in getattr(profile, "layers", ())]
    assert costs
    assert all(cost.source in CATALOG.references for cost in costs)
    assert profile.summary.endswith(".")
    if isinstance(profile, ImageProfile):
        image = profile.image()
        assert image.size_bytes == pytest.approx(profile.ratio.si * image.wire_bytes)
    if isinstance(profile, MachineImageProfile):
        assert profile.application in CATALOG.names("images")


def test_limits_of_engines_are_the_documented_ones() -> None:
    one, other = (CATALOG.image_profile(EngineProfile, name) for name in ("docker-engine", "kubelet-containerd"))
    assert (one.downloads.si, one.uploads.si, one.pulls.si) == (3, 5, 0)
    assert (other.downloads.si, other.pulls.si, other.pulls_per_s.si, other.burst.si) == (3, 1, 5, 10)
    assert (other.collect_above.si, other.collect_down_to.si, other.collect_age_s.si) == (0.85, 0.80, 120.0)


def test_images_of_one_family_share_their_lower_layers() -> None:
    gcc, python = (CATALOG.image_profile(ImageProfile, name).image() for name in ("gcc-9", "python-3.7"))
    shared = {layer.made_by for layer in gcc.layers} & {layer.made_by for layer in python.layers}
    assert len(shared) == 5


def test_a_profile_without_evidence_is_refused_with_every_reason(tmp_path: Path) -> None:
    (tmp_path / "lazy-formats").mkdir()
    (tmp_path / "lazy-formats" / "mine.toml").write_text('summary = 1\nextends = "nydus"\nodd = 2\n[cost.streams]\nvalue = 1\n')
    with pytest.raises(CatalogError) as caught:
        Catalog.builtin(tmp_path).image_profile(LazyProfile, "mine")
    text = str(caught.value)
    assert "lazy-formats/mine.summary" in text
    assert "mine.odd: not a part" in text
    assert "mine.streams: evidence lacks" in text


# --- Commands --------------------------------------------------------------------------------------------------------


def test_build_tells_steps_and_where_the_time_went(app: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    code, text, err = told(capsys, "build", str(app), "--base", "python:3.7=python-3.7", "--json", str(out))
    assert (code, err) == (0, "")
    assert "0 steps from the cache, 4 done" in text
    assert text.count("assumed\n") >= 2  # the copy of something unknown, and the command without annotation
    record = json.loads(out.read_text())
    assert record["total_s"] == max(span["end_s"] for span in record["spans"])
    assert {"handshake", "download", "unpack", "look up", "COPY", "RUN"} <= {span["kind"] for span in record["spans"]}


def test_building_again_costs_look_ups_only(app: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, again = tmp_path / "1.json", tmp_path / "2.json"
    base = ("--base", "python:3.7=python-3.7")
    assert told(capsys, "build", str(app), *base, "--json", str(first))[0] == 0
    code, text, _ = told(capsys, "build", str(app / "Dockerfile"), *base, "--again", "--json", str(again))
    assert code == 0
    assert "4 steps from the cache, 0 done" in text
    one, two = (json.loads(path.read_text()) for path in (first, again))
    assert one["digest"] == two["digest"]
    assert {span["kind"] for span in two["spans"]} == {"look up"}


def test_pull_sends_missing_layers_only(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    assert told(capsys, "pull", "gcc-9", "--present", "python-3.7", "--json", str(out))[0] == 0
    assert json.loads(out.read_text())["sent_bytes"] == pytest.approx(125e6 + 10e3)


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_chart_is_drawn_and_the_same_every_time(ending: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = [tmp_path / f"{i}" / f"c.{ending}" for i in range(2)]
    for file in files:
        file.parent.mkdir()
        assert told(capsys, "run", "debian", "--chart", str(file))[0] == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(files[0].read_bytes()) > 5000


def test_a_start_from_the_cache_is_faster_than_from_the_disk_than_with_a_pull(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out, times = tmp_path / "r.json", []
    for how in ("cached", "disk", "no"):
        assert told(capsys, "run", "gcc-9", "--pulled", how, "--json", str(out))[0] == 0
        times.append(json.loads(out.read_text())["total_s"])
    assert times == sorted(times)
    assert len(set(times)) == 3


def test_lazy_starts_fetch_little(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    for more in ((), ("--no-prefetch",)):
        assert told(capsys, "run", "gcc-9", "--lazy", "estargz", *more, "--json", str(out))[0] == 0
        assert 0.064 * 437e6 < json.loads(out.read_text())["sent_bytes"] < 0.08 * 437e6


def test_an_archive_is_inspected_pulled_and_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        member = tarfile.TarInfo("big")
        member.size = 100_000
        archive.addfile(member, io.BytesIO(bytes(100_000)))
    digest = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
    files = {
        "manifest.json": json.dumps([{"Config": "c.json", "RepoTags": ["my:app"], "Layers": ["l.tar"]}]).encode(),
        "c.json": json.dumps({"rootfs": {"diff_ids": [digest]}}).encode(),
        "l.tar": layer.getvalue(),
    }
    path = tmp_path / "saved.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    code, text, _ = told(capsys, "inspect", str(path))
    assert code == 0
    assert "my:app: 1 layers" in text
    assert told(capsys, "pull", str(path))[0] == 0
    assert told(capsys, "run", str(path), "--registry", "local-registry")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pull", "gcc"), "did you mean 'gcc-9'?"),
        (("pull", "gcc-9", "--registry", "hosted"), "registry 'hosted' is unknown"),
        (("pull", "gcc-9", "--engine", "x"), "container engine 'x' is unknown"),
        (("pull", "gcc-9", "--lazy", "stargz"), "did you mean 'estargz'?"),
        (("pull", "gcc-9", "--present", "gcx"), "no image of that name"),
        (("pull", "gcc-9", "--chart", "x.pdf"), "choose one of these endings"),
        (("pull", "gcc-9", "--json", "/no/such/folder/x.json"), "make the folder"),
        (("run", "gcc-9", "--lazy", "nydus", "--pulled", "disk"), "leave one of them out"),
        (("inspect", "/no/such/archive"), "no such file or folder"),
        (("build", "/no/such/folder"), "give a folder with a Dockerfile"),
        (("build", ".", "--base", "x"), "write NAME=VALUE"),
    ],
)
def test_mistakes_are_told_without_a_traceback(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = told(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_every_mistake_of_a_build_file_is_told_with_its_line(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (app / "Dockerfile").write_text("FROM nothing\nRNU x\nCOPY a\n")
    _, _, err = told(capsys, "build", str(app))
    assert [line.split(", ")[1].split(":")[0] for line in err.splitlines()] == ["line 2", "line 3"]
    (app / "Dockerfile").write_text("FROM nothing\n")
    assert "--base nothing=PROFILE" in told(capsys, "build", str(app))[2]


# --- Spans -----------------------------------------------------------------------------------------------------------


def test_parts_of_a_time_add_up_and_the_first_in_order_counts() -> None:
    spans = [
        Span(lane="a", kind="download", start_s=1.0, end_s=4.0),
        Span(lane="b", kind="unpack", start_s=2.0, end_s=3.0),
        Span(lane="c", kind="other", start_s=3.5, end_s=5.0),
    ]
    assert divided(spans, 0.0, 6.0, ("unpack", "download")) == {"wait": 2.0, "download": 2.0, "unpack": 1.0, "other": 1.0}


def test_lanes_as_text_are_to_scale() -> None:
    spans = [Span(lane="one", kind="download", start_s=0.0, end_s=5.0), Span(lane="two", kind="dig", start_s=5.0, end_s=10.0)]
    lines = gantt_text(spans, width=10)
    assert lines[:2] == ["one |ddddd     |", "two |     iiiii|"]
    assert lines[-2:] == ["d  download", "i  dig"]
    assert gantt_text([]) == ["nothing took any time"]
