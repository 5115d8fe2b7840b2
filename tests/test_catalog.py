"""Profiles: found, inherited, replaced by a user's own, overridden, and refused with every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from simvirt.catalog import Catalog
from simvirt.errors import CatalogError, StackError
from simvirt.evidence import Grade
from simvirt.layers.contract import costs_of
from simvirt.layers.hypervisor import Hypervisor

BUILTIN = Catalog.builtin()


def write(folder: Path, kind: str, name: str, text: str) -> Catalog:
    """The built-in profiles and one of a user's own."""
    place = folder / kind
    place.mkdir(exist_ok=True)
    (place / f"{name}.toml").write_text(text, encoding="utf-8")
    return Catalog.builtin(folder)


def cost(field: str, value: float, unit: str, extra: str = "") -> str:
    return (
        f'[cost.{field}]\nvalue = {value}\nunit = "{unit}"\nlow = {value}\nhigh = {value}\n'
        f'source = "reference-machine"\nwhere = "here"\ngrade = "assumed"\n{extra}\n'
    )


def problems(catalog: Catalog, kind: str, name: str) -> tuple[str, ...]:
    with pytest.raises(CatalogError) as error:
        getattr(catalog, kind)(name)
    return error.value.problems


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("platform", "dokcer", "platform 'dokcer' is unknown; did you mean 'docker'"),
        ("hardware", "servr-2s", "machine 'servr-2s' is unknown; did you mean 'server-2s'"),
        ("layer", "kmv", "layer 'kmv' is unknown; did you mean 'kvm'"),
        ("workload", "databse", "workload 'databse' is unknown; did you mean 'database'"),
        ("workload", "zzz", "workload 'zzz' is unknown; known: bandwidth-hog, "),
    ],
)
def test_an_unknown_name_is_told_its_nearest(kind: str, name: str, message: str) -> None:
    assert problems(BUILTIN, kind, name)[0].startswith(message)


def test_a_profile_takes_over_what_it_does_not_say(tmp_path: Path) -> None:
    catalog = write(tmp_path, "layers", "thrifty", 'extends = "kvm"\nsummary = "fewer cycles"\n' + cost("cpu.exit_s", 700, "cycles"))
    mine, theirs = catalog.layer("thrifty"), catalog.layer("kvm")
    assert isinstance(mine, Hypervisor)
    assert (mine.name, mine.summary, mine.cpu.exit_s.value, mine.cpu.exit_s.path) == (
        "thrifty",
        "fewer cycles",
        700,
        "layers/thrifty.cpu.exit_s",
    )
    others = [(field, c.value) for field, c in costs_of(theirs) if field != "cpu.exit_s"]
    assert [(field, c.value) for field, c in costs_of(mine) if field != "cpu.exit_s"] == others


def test_a_cost_replaces_the_inherited_one_whole(tmp_path: Path) -> None:
    catalog = write(tmp_path, "layers", "thrifty", 'extends = "kvm"\n[cost.cpu.exit_s]\nvalue = 700\nunit = "cycles"\n')
    assert problems(catalog, "layer", "thrifty")[0].startswith("layers/thrifty.cpu.exit_s: evidence lacks 'grade'")


def test_a_user_profile_takes_the_place_of_a_builtin_one(tmp_path: Path) -> None:
    text = 'summary = "mine"\nfamily = "container"\nlayers = ["linux", "lxc"]\nshared = "linux"\nmachine = "desktop"\n'
    catalog = write(tmp_path, "platforms", "docker", text)
    assert (catalog.platform("docker").summary, catalog.platform("docker").machine) == ("mine", "desktop")
    assert catalog.stack("docker").names == ("desktop", "linux", "lxc")
    assert catalog.names("platforms") == BUILTIN.names("platforms")
    assert BUILTIN.stack("docker").names == ("server-2s", "linux", "docker")


def test_who_extends_himself_is_told_how(tmp_path: Path) -> None:
    write(tmp_path, "layers", "one", 'extends = "two"\n')
    catalog = write(tmp_path, "layers", "two", 'extends = "one"\n')
    assert problems(catalog, "layer", "one") == ("layers/one.toml: extends itself by way of one -> two -> one",)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="nowhere: no such folder of profiles"):
        Catalog.builtin(tmp_path / "nowhere")


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "layers", "broken", "kind = "), "layer", "broken")[0].startswith("layers/broken.toml: Invalid value")


def test_every_mistake_of_a_layer_is_told_at_once(tmp_path: Path) -> None:
    text = (
        'kind = "container"\nsummary = "wrong"\nrequires = "linux"\nprovides = "os:linux"\ncolour = "blue"\n'
        + cost("filter_s", 5, "MiB")
        + cost("file_open_s", 1, "us", 'grad = "assumed"').replace('grade = "assumed"\n', "")
        + cost("receive_s", 1, "us").replace("reference-machine", "nobody-1999")
        + cost("receive_s_per_byte", 1, "ns/B").replace("low = 1", "low = 2")
        + cost("send_s", 1, "us").replace("assumed", "derived")
        + cost("send_s_per_byte", 1, "ns/B").replace("assumed", "guessed")
    )
    found = problems(write(tmp_path, "layers", "wrong", text), "layer", "wrong")
    expected = (
        "layers/wrong.requires: 'linux' is not an interface; write machine:",
        "layers/wrong.filter_s.unit: 'MiB' measures size; filter_s is a time or cycles",
        "layers/wrong.file_open_s: evidence lacks 'grade'",
        "layers/wrong.file_open_s.grad: not a part of a cost; did you mean 'grade'",
        "layers/wrong.receive_s.source: 'nobody-1999' is not in the references",
        "layers/wrong.receive_s_per_byte: value 1 lies outside its range 2 to 1 ns/B",
        "layers/wrong.send_s: a derived cost shows its arithmetic",
        "layers/wrong.send_s_per_byte.grade: 'guessed' is none of measured, derived, assumed",
        "layers/wrong.cpu_weight: no cost given; write value, unit, low, high, source, where and grade",
        "layers/wrong.colour: not a field of this kind of layer",
    )
    for message in expected:
        assert any(problem.startswith(message) for problem in found), f"{message!r} is not in {found}"


def test_an_unknown_kind_is_told_its_nearest(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "layers", "odd", 'kind = "hypervisr"\n'), "layer", "odd") == (
        "layers/odd: kind 'hypervisr' is unknown; did you mean 'hypervisor' or 'hosted-hypervisor'?",
    )


def test_every_mistake_of_a_platform_is_told_at_once(tmp_path: Path) -> None:
    text = 'summary = "wrong"\nfamily = "type3"\nlayers = ["linux", "docker"]\nshared = "kvm"\nmachine = "desktop"\n'
    assert problems(write(tmp_path, "platforms", "wrong", text), "platform", "wrong") == (
        "platforms/wrong.family: 'type3' is none of native, type1, type2, container, container_in_vm, microvm, sandbox, nested",
        "platforms/wrong.shared: 'kvm' is none of its layers linux, docker",
    )
    found = problems(write(tmp_path, "platforms", "less", 'layers = []\nfamilly = "type1"\n'), "platform", "less")
    assert {"platforms/less.family: missing", "platforms/less.familly: not a part of a platform; did you mean 'family'?"} <= set(found)


def test_layers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    text = 'summary = "wrong"\nfamily = "type2"\nlayers = ["virtualbox", "linux-guest"]\nshared = "virtualbox"\nmachine = "desktop"\n'
    with pytest.raises(StackError, match="'virtualbox' cannot stand on 'desktop': it requires os:linux and is offered machine:x86_64"):
        write(tmp_path, "platforms", "wrong", text).stack("wrong")


def test_overrides() -> None:
    plain = BUILTIN.layer("kvm")
    assert isinstance(plain, Hypervisor)
    clock_hz = BUILTIN.hardware("server-2s").clock_hz.si
    for wanted, cycles in ((5000.0, 5000.0), ("low", plain.cpu.exit_s.low), ("high", plain.cpu.exit_s.high)):
        layer = BUILTIN.stack("kvm", overrides={"kvm.cpu.exit_s": wanted}).layers[1]
        assert isinstance(layer, Hypervisor)
        assert layer.cpu.exit_s.si == pytest.approx(cycles / clock_hz)
        assert layer.cpu.exit_s.grade is (Grade.ASSUMED if wanted == 5000.0 else plain.cpu.exit_s.grade)
    assert BUILTIN.stack("kvm", "small-server", {"small-server.cores": 4.0}).hardware.cores.si == 4.0


def test_overrides_that_mean_nothing_are_refused_at_once() -> None:
    with pytest.raises(CatalogError) as error:
        BUILTIN.stack("kvm", overrides={"kvm.cpu.exits_s": 1.0, "kvm.cpu.exit_s": -1.0, "kvm.cpu.wake_s": float("nan")})
    assert len(error.value.problems) == 3
    assert "override.kvm.cpu.exits_s: no such cost in this stack; did you mean 'kvm.cpu.exit_s'" in str(error.value)


def test_every_mistake_of_a_workload_is_told_at_once(tmp_path: Path) -> None:
    text = (
        'summary = "wrong"\nrequires = "os:linux"\nthreads = -1\n[factor]\nkind = "constant"\nvalue = 2.0\n'
        '[factor_evidence]\nsource = "nobody"\nwhere = "x"\ngrade = "assumed"\n'
        '[[request]]\n[[request.operation]]\ndo = "sycall"\n[[request.operation]]\ndo = "compute"\ncpus = 3\n'
    )
    found = "\n".join(problems(write(tmp_path, "workloads", "wrong", text), "workload", "wrong"))
    for message in (
        "workloads/wrong.threads: -1; a whole number, at least 1",
        "workloads/wrong.factor: mean 2; a factor has mean 1",
        "workloads/wrong.factor_evidence.source: 'nobody' is not in the references",
        "workloads/wrong.request[0].operation[0].do: 'sycall' is unknown; did you mean 'syscall'",
        "workloads/wrong.request[0].operation[1].cpus: not an amount of compute; did you mean 'cpu_s'",
    ):
        assert message in found
