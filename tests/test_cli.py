"""The command line: what each command says on the profiles that come with simvirt, and how it says no."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from math import inf, nan
from pathlib import Path

import pytest

from simvirt.analysis.intervals import Interval
from simvirt.catalog import Catalog
from simvirt.cli import main
from simvirt.commands.numbers import interval_text, share_text
from simvirt.commands.tables import table
from simvirt.evidence import Cost, Grade
from simvirt.layers.contract import costs_of

ROOT = Path(__file__).parents[1]
SCENARIOS = Path(__file__).parent / "scenarios"
SMALL, SATURATED, HOST_USER = (SCENARIOS / f"{name}.toml" for name in ("small", "saturated", "host_user"))
CATALOG = Catalog.builtin()
FOLDERS = {"platform": "platforms", "layer": "layers", "machine": "hardware", "workload": "workloads"}

GOOD = """
platform = "kvm"
machine = "small-server"
[[tenants]]
workload = "web-service"
load = { kind = "poisson", rate_per_s = "1 k/s" }
"""


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs stay in this process, where no pool has to start."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


class Said:
    """What a command line came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def problems(self) -> list[str]:
        lines = self.err.splitlines()
        assert all(line.startswith("simvirt: ") for line in lines), self.err
        return [line.removeprefix("simvirt: ") for line in lines]

    def table(self, first: str, nth: int = 0) -> list[list[str]]:
        """The rows of the nth table whose header begins with a word, cells told apart by two blanks."""
        lines = self.out.splitlines()
        start = [i for i, line in enumerate(lines) if re.match(rf"{re.escape(first)}(  |$)", line)][nth]
        end = next((i for i in range(start + 2, len(lines)) if not lines[i] or "  " not in lines[i]), len(lines))
        return [re.split(r" {2,}", line) for line in lines[start + 2 : end]]


Say = Callable[..., Said]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def said(*arguments: str | Path) -> Said:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return said


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def spawn(*arguments: str | Path, **options: str) -> subprocess.CompletedProcess[str]:
    """Another Python, in a session of its own so that signals to its group stay there."""
    command = [sys.executable, *map(str, arguments)]
    environment = {**ENVIRONMENT, **options}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False, start_new_session=True)


# --- Numbers and tables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "half_width", "dimension", "text"),
    [
        (1.2345e-3, 0.0412e-3, "time", "1.234 ms ± 0.041"),  # two digits of the half-width, as many decimals in the mean
        (1.2345e-3, 0.412e-3, "time", "1.23 ms ± 0.41"),
        (950e-6, 100e-6, "time", "950 us ± 100"),
        (2000.0, 12.0, "rate", "2.000 k/s ± 0.012"),
        (1.5, 0.0, "number", "1.5 ± 0"),
        (16.0, 1e-12, "number", "16 ± 0"),
        (1.2345e-3, nan, "time", "1.234 ms"),  # one replication
        (1.0, inf, "number", "1"),
        (nan, nan, "time", "–"),
        (0.0, 0.0, "time", "0 s ± 0"),
    ],
)
def test_an_interval_in_words(mean: float, half_width: float, dimension: str, text: str) -> None:
    assert interval_text(Interval(mean, half_width, 5, 0.95), dimension) == text


@pytest.mark.parametrize(
    ("mean", "half_width", "text"), [(0.278, 0.0034, "27.80 % ± 0.34"), (1.0, 0.0, "100 % ± 0"), (0.5, nan, "50.0 %"), (nan, nan, "–")]
)
def test_a_share_in_words(mean: float, half_width: float, text: str) -> None:
    assert share_text(Interval(mean, half_width, 5, 0.95)) == text


def test_a_table_is_as_wide_as_its_cells() -> None:
    assert table(("name", "n"), [("a", "1"), ("longer", "10")], right=("n",)) == ["name     n", "------  --", "a        1", "longer  10"]
    assert table(("name",), []) == ["name", "----"]


# --- list and show ---------------------------------------------------------------------------------------------------


def test_list_names_every_profile_with_its_summary(say: Say) -> None:
    said = say("list")
    assert said.code == 0
    for kind, folder in FOLDERS.items():
        assert [row[0] for row in said.table(kind)] == list(CATALOG.names(folder))
    assert [row[0] for row in said.table("reference")] == sorted(CATALOG.references)
    for name in CATALOG.names("platforms"):
        platform = CATALOG.platform(name)
        choices = [layer.own_scheduler for layer in map(CATALOG.layer, platform.layers)]
        schedulers = " < ".join(choice.value for choice in choices if choice is not None)
        assert [name, platform.family, schedulers, platform.summary] in said.table("platform")


@pytest.mark.parametrize(("word", "kind"), [("platforms", "platform"), ("machines", "machine"), ("references", "reference")])
def test_list_of_one_kind_has_no_other(say: Say, word: str, kind: str) -> None:
    headers = [line.split()[0] for line in say("list", word).out.splitlines() if line.split()[0] in (*FOLDERS, "reference")]
    assert headers == [kind]


@pytest.mark.parametrize("name", CATALOG.names("platforms"))
def test_show_draws_the_stack_and_every_cost(say: Say, name: str) -> None:
    said = say("show", name)
    stack = CATALOG.stack(name)
    drawn = said.table("stack, lowest layer last")
    assert [row[0] for row in drawn] == ["application", *reversed(stack.names)]
    shared = 1 + CATALOG.platform(name).layers.index(CATALOG.platform(name).shared)
    assert [row[-1] for row in drawn].count("one for all tenants") == shared + 1
    assert all(row[2:4] == [str(layer.requires), str(layer.provides)] for row, layer in zip(drawn[1:-1], stack.layers[:0:-1], strict=True))
    costs = [cost for layer in stack.layers for _, cost in costs_of(layer)] + memory_of(*CATALOG.platform(name).layers)
    counts = ", ".join(f"{sum(cost.grade is grade for cost in costs)} {grade}" for grade in Grade)
    assert f"In all {len(costs)} costs: {counts}" in said.out.splitlines()


def memory_of(*layers: str) -> list[Cost]:
    """The numbers with which layers describe what they take of memory, and how they get it back."""
    memories = [CATALOG.layer_memory(layer) for layer in dict.fromkeys(layers)]
    return [cost for one in memories for part in (one.footprint, one.shortage) if part is not None for _, cost in costs_of(part)]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, folder in FOLDERS.items() for name in CATALOG.names(folder)])
def test_show_as_csv_gives_every_cost_with_its_evidence(say: Say, kind: str, name: str) -> None:
    rows = list(csv.DictReader(io.StringIO(say("show", name, "--kind", kind, "--csv").out)))
    if kind == "workload":
        workload = CATALOG.workload(name)
        footprint = () if workload.footprint is None else workload.footprint.evidence
        costs = [cost for _, cost in (*workload.evidence, *footprint)]
    elif kind == "platform":
        costs = [cost for layer in CATALOG.stack(name).layers for _, cost in costs_of(layer)] + memory_of(*CATALOG.platform(name).layers)
    elif kind == "machine":
        costs = [cost for _, cost in costs_of(CATALOG.hardware(name))]
    else:
        costs = [cost for _, cost in costs_of(CATALOG.layer(name))] + memory_of(name)
    told = [(float(r["value"]), float(r["low"]), float(r["high"]), r["unit"], r["source"], r["where"], r["grade"]) for r in rows]
    assert told == [(c.value, c.low, c.high, c.unit, c.source, c.where, c.grade) for c in costs]


def test_show_a_reference(say: Say) -> None:
    key, reference = next(iter(CATALOG.references.items()))
    assert f"title: {reference.title}" in say("show", key).out.splitlines()


def test_a_name_of_two_kinds_means_the_platform_and_says_so(say: Say) -> None:
    assert say("show", "kvm").out.startswith("platform kvm")
    assert say("show", "kvm").out.splitlines()[-1] == "There is also a layer kvm: simvirt show kvm --kind layer"
    assert say("show", "kvm", "--kind", "layer").out.startswith("layer kvm")


COST = """
[cost.{field}]
value = {value}
unit = "{unit}"
low = 0
high = 5000
source = "own-notes"
where = "page 3"
grade = "measured"
"""


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """A user's folder: one container layer whose filter takes 1,000 cycles, and a platform with it."""
    folder = tmp_path / "profiles"
    for name in ("layers", "platforms", "references"):
        (folder / name).mkdir(parents=True)
    (folder / "references" / "own.toml").write_text('[own-notes]\ntitle = "Own notes"\nyear = 2026\n')
    own_cost = COST.format(field="filter_s", value=1000, unit="cycles")
    (folder / "layers" / "box.toml").write_text(f'extends = "docker"\nsummary = "Own box."\n{own_cost}')
    (folder / "platforms" / "boxes.toml").write_text(
        'summary = "Own boxes."\nfamily = "container"\nlayers = ["linux", "box"]\nshared = "linux"\nmachine = "small-server"\n'
    )
    return folder


def test_a_folder_of_further_profiles_joins_in(say: Say, profiles: Path, tmp_path: Path) -> None:
    assert ["boxes", "container", "cfs", "Own boxes."] in say("list", "--profiles", profiles).table("platform")
    scenario = tmp_path / "own.toml"
    scenario.write_text(GOOD.replace("kvm", "boxes"))
    assert say("check", scenario, "--profiles", profiles).code == 0
    assert say("check", scenario).code == 2


def test_costs_are_resolved_on_the_machine_asked_for(say: Say, profiles: Path) -> None:
    def shown(*arguments: str) -> list[str]:
        return next(row for row in say("show", "box", "--profiles", profiles, *arguments).table("cost") if row[0] == "filter_s")

    assert shown()[1:4] == ["1000", "0 to 5000", "cycles"]
    assert shown("--machine", "small-server")[1:4] == ["400", "0 to 2000", "ns"]  # 1000 / 2.5 GHz, 5000 / 2.5 GHz
    assert shown("--machine", "desktop")[1:4] == ["277.8", "0 to 1389", "ns"]  # 1000 / 3.6 GHz, 5000 / 3.6 GHz
    assert shown()[4:] == ["measured", "own-notes", "page 3"]


# --- run -------------------------------------------------------------------------------------------------------------


def test_run_tells_metrics_utilisation_and_where_the_time_went(say: Say, tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    said = say("run", SMALL, "--json", target)
    assert said.code == 0, said.err
    assert not said.err  # no bar of progress but on a terminal
    metrics = {row[0]: row[1:] for row in said.table("tenant")}
    assert list(metrics)[:5] == ["response time, mean", "p50", "p95", "p99", "p99.9"]
    assert re.fullmatch(r"[\d.]+ us ± [\d.]+", metrics["response time, mean"][0])
    assert re.fullmatch(r"[\d.]+ ms ± [\d.]+", metrics["response time, mean"][1])
    assert metrics["p99.9"] == ["–", "–"]  # 1,800 and 360 requests in 0.9 s; the quantile needs 10,000
    assert "– means too few requests" in said.out
    assert [row[0] for row in said.table("machine")] == ["CPU", "disk", "network in", "network out"]
    assert re.search(r"This rests on \d+ costs: \d+ measured, \d+ derived, \d+ assumed", said.out)

    found = json.loads(target.read_text())
    means = {(m["group"], m["metric"]): m["mean"] for m in found["groups"]}
    for i, group in enumerate(("store", "web")):
        *parts, whole = said.table("layer", i)
        assert whole[0] == "all"
        assert float(whole[1]) == pytest.approx(1e6 * means[group, "response_time_mean_s"], abs=0.01)
        assert sum(float(row[2]) for row in parts) == pytest.approx(float(whole[1]), abs=0.01 * len(parts))
    by_tenant = [v["value"] for v in found["values"] if v["metric"] == "throughput_per_s" and v["entity"].startswith("tenant/web")]
    assert len(by_tenant) == 4  # two tenants, two replications
    assert means["web", "throughput_per_s"] == pytest.approx(sum(by_tenant) / 2)  # both tenants together, the mean of two replications
    assert means["web", "response_time_p999_s"] is None


def test_the_same_command_writes_the_same_bytes_and_another_seed_others(say: Say, tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abc"]
    for file, seed in zip(files, "112", strict=True):
        assert say("run", HOST_USER, "--seed", seed, "--json", file).code == 0
    a, b, c = (file.read_bytes() for file in files)
    assert a == b != c
    assert sorted(tmp_path.iterdir()) == files  # and nothing beside them


def test_a_saturated_tenant_has_no_response_time_but_the_word(say: Say) -> None:
    said = say("run", SATURATED)
    metrics = {row[0]: row[1] for row in said.table("tenant")}
    assert {metrics[word] for word in ("response time, mean", "p50", "p95", "p99", "p99.9")} == {"saturated"}
    assert "web is saturated in 2 of 2 replications: offered 16 k/s ± 0, carried " in said.out
    assert "CPU of the machine is busy" in said.out
    assert "us per request" not in said.out


def test_one_replication_has_no_interval(say: Say) -> None:
    said = say("run", HOST_USER)
    assert "±" not in said.out
    assert "One replication has no interval" in said.out
    assert "±" in say("run", HOST_USER, "--replications", "2").out


# --- compare ---------------------------------------------------------------------------------------------------------


def test_compare_sets_platforms_beside_the_baseline(say: Say) -> None:
    said = say("compare", SMALL, "--platforms", "docker,qemu-tcg", "--replications", "2")
    assert said.code == 0, said.err
    rows = {row[0]: row[1:] for row in said.table("store")}
    assert list(rows) == ["bare-metal (baseline)", "docker", "qemu-tcg"]
    assert rows["bare-metal (baseline)"][-1] == "1 ± 0"
    assert 1.0 < float(rows["docker"][-1].split()[0]) < float(rows["qemu-tcg"][-1].split()[0])
    assert [row[0] for row in said.table("web (2 tenants together)")] == list(rows)
    assert "Not run" not in said.out


def test_a_slowdown_is_the_ratio_of_the_mean_response_times(say: Say, tmp_path: Path) -> None:
    def times(platform: str) -> list[float]:
        scenario, target = tmp_path / f"{platform}.toml", tmp_path / f"{platform}.json"
        scenario.write_text(SMALL.read_text().replace('"docker"', f'"{platform}"'))
        say("run", scenario, "--json", target)
        values = json.loads(target.read_text())["values"]
        return [v["value"] for v in values if v["entity"] == "tenant/store" and v["metric"] == "response_time_mean_s"]

    said = say("compare", SMALL, "--platforms", "docker", "--baseline", "lxc")
    told = next(row[-1] for row in said.table("store") if row[0] == "docker")
    assert float(told.split()[0]) == pytest.approx(sum(times("docker")) / sum(times("lxc")), rel=1e-2)


def test_compare_says_why_a_platform_cannot_run_it(say: Say) -> None:
    said = say("compare", HOST_USER)
    rows = {row[0]: row[-1] for row in said.table("user")}
    assert {"bare-metal (baseline)", "virtualbox", "docker"} <= rows.keys()
    assert set(rows.values()) == {"1"}  # on every host the user stands on the same operating system, and alone
    reasons = [line.strip() for line in said.out.split("Not run:\n")[1].splitlines()]
    assert any(re.fullmatch(r"kvm: tenants\.0\.on: 'host', but .* use 'platform'", reason) for reason in reasons)
    surveyed = {name for name in CATALOG.names("platforms") if CATALOG.platform(name).surveyed}
    assert {reason.split(":")[0] for reason in reasons} == surveyed - {name.split()[0] for name in rows}


def test_a_saturated_platform_is_compared_by_the_word(say: Say) -> None:
    said = say("compare", SATURATED, "--platforms", "docker")
    assert {cell for row in said.table("web") for cell in (*row[1:5], row[-1])} == {"saturated"}
    assert "docker: web is saturated in 2 of 2 replications" in said.out


def test_a_cost_set_by_hand_goes_with_the_layers_that_have_it(say: Say, tmp_path: Path) -> None:
    scenario = tmp_path / "own.toml"
    scenario.write_text('override = { "docker.receive_s" = "high" }\n' + SMALL.read_text())

    def mean(path: Path, name: str) -> str:
        return next(row[1] for row in say("compare", path, "--platforms", "docker,lxc").table("store") if row[0] == name)

    assert mean(scenario, "docker") != mean(SMALL, "docker")
    assert mean(scenario, "lxc") == mean(SMALL, "lxc")


# --- Saying no -------------------------------------------------------------------------------------------------------

LOAD = '{ kind = "poisson", rate_per_s = "1 k/s" }'

BAD: list[tuple[str, str, list[list[str]]]] = [
    ("empty", "", [["empty", "[[tenants]]"]]),
    ("cut off", GOOD[:-9], [["cut off"]]),
    ("unknown platform", GOOD.replace("kvm", "kwm"), [["platform: 'kwm' is unknown", "did you mean 'kvm'?"]]),
    ("unknown machine", GOOD.replace("small-server", "smal-server"), [["machine: 'smal-server'", "'small-server'"]]),
    ("unknown workload", GOOD.replace("web-service", "web-servce"), [["tenants.0.workload: 'web-servce'", "'web-service'"]]),
    ("not a unit", GOOD.replace("1 k/s", "1 kg"), [["tenants.0.load.rate_per_s: '1 kg'", "'kg' is not a unit", "k/s"]]),
    ("unit of another thing", GOOD.replace("1 k/s", "1 ms"), [["tenants.0.load.rate_per_s: '1 ms'", "measures time", "k/s"]]),
    ("negative rate", GOOD.replace('"1 k/s"', "-5"), [["tenants.0.load.rate_per_s: -5; must be above 0"]]),
    ("missing rate", GOOD.replace(', rate_per_s = "1 k/s"', ""), [["tenants.0.load.rate_per_s: missing", "give it a value"]]),
    ("no kind of load", GOOD.replace('kind = "poisson", ', ""), [["tenants.0.load: kind is missing", 'kind = "poisson"']]),
    ("unknown kind of load", GOOD.replace("poisson", "poison"), [["tenants.0.load: kind 'poison' is unknown", "'poisson'"]]),
    ("load without table", GOOD.replace(LOAD, '"100 /s"'), [["tenants.0.load: '100 /s'; must be a table"]]),
    ("unknown entry", GOOD + "vcpu = 3", [["tenants.0.vcpu: no such entry", "'vcpus'"]]),
    ("unknown entry of the run", GOOD + "[run]\nreplication = 3", [["run.replication: no such entry", "'replications'"]]),
    ("none of something", GOOD + "count = 0", [["tenants.0.count: 0; at least 1"]]),
    ("half a tenant", GOOD + "count = 1.5", [["tenants.0.count: 1.5; must be a whole number"]]),
    ("wrong word", GOOD + 'on = "moon"', [["tenants.0.on: 'moon'; must be 'platform' or 'host'"]]),
    ("no user of a bare hypervisor", GOOD + 'on = "host"', [["tenants.0.on: 'host'", "use 'platform'"]]),
    ("more processors than cores", GOOD + "vcpus = 9", [["tenants.0.vcpus: 9 on a machine with 8 cores; at most 8"]]),
    ("more quota than cores", GOOD + "cap_cores = 9", [["tenants.0.cap_cores: 9 on a machine with 8 cores; at most 8"]]),
    ("twice one name", GOOD + GOOD[GOOD.index("[[") :], [["tenant", "named twice", "name of its own"]]),
    ("no tenants", 'platform = "kvm"', [["tenants: missing"]]),
    ("an empty list of tenants", 'platform = "kvm"\ntenants = []', [["tenants: 0 given; at least 1"]]),
    ("single bracket", GOOD.replace("[[tenants]]", "[tenants]"), [["tenants: must be a list", "[[tenants]]"]]),
    ("unknown cost", 'override = { "kvm.cpu.exit" = 1 }' + GOOD, [["override.kvm.cpu.exit: no such cost", "'kvm.cpu.exit_s'"]]),
    ("cost of no value", 'override = { "kvm.cpu.exit_s" = "lo" }' + GOOD, [["override.kvm.cpu.exit_s: 'lo'", "low or high"]]),
    ("negative cost", 'override = { "kvm.cpu.exit_s" = -1 }' + GOOD, [["override.kvm.cpu.exit_s: -1", "at least 0"]]),
    ("cost without quotes", "override.kvm.exit_s = 1" + GOOD, [["override.kvm: ", '"layer.field" = 3']]),
    ("think time", GOOD.replace(LOAD, '{ kind = "closed", clients = 0, think = { kind = "exponential", mean = -1 } }'),
     [["tenants.0.load.clients: 0; at least 1"], ["tenants.0.load.think.mean: -1; must be above 0"]]),
    ("missing trace", GOOD.replace(LOAD, '{ kind = "trace", times_s = "/no/such.csv" }'),
     [["tenants.0.load.times_s: /no/such.csv: No such file", "CSV"]]),
    ("all at once",
     GOOD.replace("kvm", "kwm").replace("1 k/s", "1 kg").replace("web-serv", "web-srv") + "vcpu = 3\n[run]\nduration_s = 0\nseed = -1",
     [["platform: 'kwm'"], ["tenants.0.workload: 'web-srvice'"], ["tenants.0.load.rate_per_s: '1 kg'"], ["tenants.0.vcpu"],
      ["run.duration_s: 0; must be above 0"], ["run.seed: -1; at least 0"]]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_every_mistake_is_told_on_a_line_of_its_own(say: Say, tmp_path: Path, text: str, expected: list[list[str]]) -> None:
    scenario = tmp_path / "bad.toml"
    scenario.write_text(text)
    said = say("check", scenario)
    assert said.code == 2
    assert not said.out
    assert len(said.problems) == len(expected), said.err
    for words in expected:
        assert any(all(word in problem for word in words) for problem in said.problems), (words, said.err)


def test_a_bad_scenario_is_not_run_and_writes_nothing(say: Say, tmp_path: Path) -> None:
    scenario = tmp_path / "bad.toml"
    scenario.write_text(GOOD.replace("1 k/s", "1 ms"))
    checked = say("check", scenario)
    for said in (say("run", scenario, "--json", tmp_path / "found.json"), say("compare", scenario)):
        assert (said.code, said.out, said.err) == (2, "", checked.err)
    assert list(tmp_path.iterdir()) == [scenario]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "{}/none.toml"], ["none.toml: No such file or directory", "give the path"]),
        (["check", "{}"], ["Is a directory", "give the path"]),
        (["run", "{}/binary.toml"], ["binary.toml: not UTF-8 text"]),
        (["show", "dokcer"], ["'dokcer' is no platform, layer, machine, workload, scheduler, fault or reference", "'docker'"]),
        (["show", "docker", "--kind", "machine"], ["'docker' is no machine but a platform and a layer", "--kind platform"]),
        (["show", "docker", "--machine", "small"], ["machine 'small' is unknown", "'small-server'"]),
        (["list", "platform"], ["invalid choice: 'platform'", "platforms", "simvirt list --help"]),
        (["list", "--profiles", "{}/none"], ["none: no such folder of profiles"]),
        (["fly"], ["invalid choice: 'fly'", "compare", "simvirt --help"]),
        ([], ["required: COMMAND", "simvirt --help"]),
        (["run", "{good}", "--replications", "0"], ["--replications: '0'; a whole number, at least 1"]),
        (["run", "{good}", "--seed", "x"], ["--seed: 'x'; a whole number, at least 0"]),
        (["run", "{good}", "--json", "{}"], [": is a folder; give the path of a file"]),
        (["run", "{good}", "--json", "{}/no/found.json"], ["no/found.json: cannot be written (No such file or directory)"]),
        (["compare", "{good}", "--platforms", ","], ["--platforms: ','; at least one name"]),
        (["compare", "{good}", "--platforms", "kwm"], ["platform 'kwm' is unknown", "'kvm'"]),
        (["compare", "{good}", "--baseline", "bare-metl"], ["platform 'bare-metl' is unknown", "'bare-metal'"]),
        (["compare", "{host}", "--baseline", "kvm"], ["baseline kvm: tenants.0.on: 'host'"]),
    ],
)
def test_a_command_line_that_cannot_be_followed(say: Say, tmp_path: Path, arguments: Sequence[str], words: list[str]) -> None:
    good, binary = tmp_path / "good.toml", tmp_path / "binary.toml"
    good.write_text(GOOD)
    binary.write_bytes(b'platform = "\xff"')
    said = say(*(argument.format(tmp_path, good=good, host=HOST_USER) for argument in arguments))
    assert said.code == 2
    assert not said.out
    [problem] = said.problems
    assert all(word in problem for word in words), problem
    assert sorted(tmp_path.iterdir()) == [binary, good]


BAD_PROFILES: list[tuple[str, str, str, list[list[str]]]] = [
    ("no source", "layers/box", COST.format(field="filter_s", value=1, unit="cycles").replace('source = "own-notes"\n', ""),
     [["layers/box.filter_s: evidence lacks 'source'", "no cost is loaded without"]]),
    ("unknown source", "layers/box", COST.format(field="filter_s", value=1, unit="cycles").replace("own-notes", "own-note"),
     [["layers/box.filter_s.source: 'own-note' is not in the references", "'own-notes'"]]),
    ("outside its range", "layers/box", COST.format(field="filter_s", value=9000, unit="cycles"),
     [["layers/box.filter_s: value 9000", "outside its range 0 to 5000 cycles"]]),
    ("wrong dimension", "layers/box", COST.format(field="filter_s", value=1, unit="KiB"),
     [["layers/box.filter_s.unit: 'KiB' measures size", "time or cycles"]]),
    ("text for a number", "layers/box", COST.format(field="filter_s", value='"1 ms"', unit="ms"),
     [["layers/box.filter_s.value: '1 ms' is not a number", "unit has its own entry"]]),
    ("number for a text", "layers/box", COST.format(field="filter_s", value=1, unit="ms").replace('"page 3"', "3"),
     [["layers/box.filter_s.where: 3 is not text"]]),
    ("unknown field", "layers/box", COST.format(field="filtr_s", value=1, unit="ms"), [["layers/box.filtr_s: not a field", "'filter_s'"]]),
    ("no costs", "layers/box", "cost = 3\n", [["layers/box: 3; must be a table of costs"]]),
    ("two mistakes", "layers/box",
     COST.format(field="filter_s", value=9000, unit="cycles") + COST.format(field="send_s", value=1, unit="KiB"),
     [["layers/box.filter_s"], ["layers/box.send_s.unit"]]),
    ("misfit", "platforms/boxes", 'family = "container"\nlayers = ["box", "linux"]\nshared = "box"\nmachine = "small-server"\n',
     [["'box' cannot stand on 'small-server'", "operating system"], ["'linux' cannot stand on 'box'"]]),
    ("words for a list", "platforms/boxes", 'family = "container"\nlayers = "linux"\nshared = "linux"\nmachine = "small-server"\n',
     [["platforms/boxes.layers: 'linux'; must be a list of names"]]),
    ("half a platform", "platforms/boxes", 'family = "container"\nlayer = ["linux"]\nshared = "linux"\n',
     [["platforms/boxes.layers: missing"], ["platforms/boxes.machine: missing"], ["platforms/boxes.layer: not a part", "'layers'"]]),
    ("not TOML", "platforms/boxes", "layers = [", [["platforms/boxes.toml: Invalid value (at end of document)"]]),
]  # fmt: skip


@pytest.mark.parametrize(("file", "text", "expected"), [case[1:] for case in BAD_PROFILES], ids=[case[0] for case in BAD_PROFILES])
def test_a_profile_that_cannot_be_loaded(say: Say, profiles: Path, file: str, text: str, expected: list[list[str]]) -> None:
    head = 'extends = "docker"\n' if file.startswith("layers") else ""
    (profiles / f"{file}.toml").write_text(f'{head}summary = "Own."\n{text}')
    said = say("show", "boxes", "--profiles", profiles)
    assert said.code == 2
    assert len(said.problems) == len(expected), said.err
    for words in expected:
        assert any(all(word in problem for word in words) for problem in said.problems), (words, said.err)


@pytest.mark.parametrize("text", ["[request]\nname = 3\n", "request = [1]\n", "[[request]]\noperation = 3\n"])
def test_a_workload_of_another_shape_is_refused_not_crashed_on(say: Say, tmp_path: Path, text: str) -> None:
    (tmp_path / "workloads").mkdir()
    head = 'summary = "Own."\nrequires = "os:linux"\nthreads = 1\nfactor = { kind = "constant", value = 1 }\n'
    evidence = '\n[factor_evidence]\nsource = "assumption"\nwhere = "here"\ngrade = "assumed"\n'
    before, after = (text, "") if text.startswith("request") else ("", text)
    (tmp_path / "workloads" / "own.toml").write_text(head + before + evidence + after)
    said = say("show", "own", "--profiles", tmp_path)
    assert said.code == 2
    [problem] = said.problems
    assert re.match(r"workloads/own\.request(\[0\]\.operation)?: must be a list of tables; write \[\[request", problem)


# --- As a program ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], ["numpy", "pandas", "scipy", "matplotlib", "simpy", "pydantic", "tqdm", "simvirt.catalog"]),
        (["run", "--help"], ["numpy", "pandas", "scipy", "matplotlib", "simpy", "pydantic", "tqdm", "simvirt.catalog"]),
        (["list"], ["pandas", "scipy", "matplotlib", "simpy", "tqdm"]),
    ],
)
def test_nothing_is_loaded_before_it_is_needed(arguments: list[str], absent: list[str]) -> None:
    code = f"""
import sys
from simvirt.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
print(*[name for name in {absent!r} if name in sys.modules], sep=",", file=sys.stderr)
"""
    done = spawn("-c", code)
    assert done.stdout
    assert done.stderr.strip() == ""


def test_a_pipe_that_closes_early_is_no_error() -> None:
    command = [sys.executable, "-m", "simvirt.cli", "show", "docker", "--csv"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert err == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_ctrl_c_ends_at_once_and_without_a_traceback(say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simvirt.experiment.subject.simulate", interrupted)
    said = say("run", HOST_USER, "--json", tmp_path / "found.json")
    assert said.code == 130
    assert said.err == "simvirt: interrupted, nothing was written\n"
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_a_pool_that_is_busy_without_a_word_of_its_workers() -> None:
    code = """
import os, signal, time
os.sched_getaffinity = lambda _: {0, 1}
from simvirt.experiment.pool import pool
try:
    with pool(9) as workers:
        workers.submit(os.getpid).result()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        working = workers.submit(time.sleep, 0.2)
        os.killpg(0, signal.SIGINT)
        working.result()  # workers do not hear it
        signal.signal(signal.SIGINT, before)
        busy = [workers.submit(time.sleep, 600) for _ in range(9)]
        os.killpg(0, signal.SIGINT)
        busy[0].result()
except KeyboardInterrupt:
    print("interrupted")
"""
    done = spawn("-c", code)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_a_pool_of_processes_gives_the_same_as_one(say: Say, tmp_path: Path) -> None:
    alone, pooled = tmp_path / "alone.json", tmp_path / "pooled.json"
    assert say("run", HOST_USER, "--replications", "3", "--json", alone).code == 0
    done = spawn("-m", "simvirt.cli", "run", HOST_USER, "--replications", "3", "--json", pooled, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert " ms ? " in done.stdout  # a sign that the encoding lacks is no error
    assert pooled.read_bytes() == alone.read_bytes()


@pytest.mark.parametrize("path", sorted((ROOT / "experiments" / "scenarios").glob("*.toml")), ids=lambda path: path.stem)
def test_the_example_scenarios_are_sound(say: Say, path: Path) -> None:
    said = say("check", path)
    assert said.code == 0, said.err
    assert said.out.startswith(f"{path}: ok; ")


def test_a_scheduler_is_listed_and_shown_with_its_parameters(say: Say) -> None:
    listed = say("list", "schedulers")
    assert listed.code == 0
    assert "completely-fair" in listed.out
    shown = say("show", "cfs")
    assert "wakeup_granularity_s" in shown.out
    assert "linux-sched-src" in shown.out
    assert "no parameters" in say("show", "fluid").out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('scheduler = "cfz"', ("scheduler: 'cfz' is unknown", "'cfs'")),
        ('scheduler = "cfs"\nguest_scheduler = "fluid"', ("guest_scheduler: 'fluid'", "do not mix")),
        ('scheduler = "cfs"\noverride = { "cfs.latensy_s" = 1 }', ("override.cfs.latensy_s", "latency_s")),
        ('scheduler = "cfs"\noverride = { "cfs.hz" = 0 }', ("hz: 0", "must be positive")),
    ],
)
def test_a_scheduler_that_cannot_be_used(say: Say, tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(f"{text}\n{GOOD}")
    said = say("check", str(path))
    assert said.code == 2
    assert all(any(word in problem for problem in said.problems) for word in words), said.problems
