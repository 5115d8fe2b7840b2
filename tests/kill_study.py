"""Does a sweep survive everything? Run it: python tests/kill_study.py --out tests/kill_recorded.json

A sweep of 240 short runs is begun again and again. At random moments SIGKILL hits a worker, the program itself, a Dask worker or the Dask
scheduler (if Dask distributed is installed). What was killed is begun again with the same command, on other workers, until it ends; then
its tables must have the bytes of those of an undisturbed sweep in one process. Expected: always, and no finished run is done twice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]

STUDY = """
name = "survivor"
responses = ["response_time_mean_s"]
[base]
machine = "small-server"
tenants = [{{ name = "web", workload = "web-service", vcpus = 8, load = {{ kind = "poisson", rate_per_s = 1000 }} }}]
run = {{ duration_s = {duration_s}, replications = {replications} }}
[factors]
platform = ["bare-metal", "docker", "kvm", "gvisor"]
rate = {{ path = "tenants.web.load.rate_per_s", levels = [500, 1000, 2000, 4000, 6000] }}
[comparison]
baseline = "bare-metal"
"""
POINTS = 20


class Sweep:
    """The same sweep, in a folder of its own."""

    def __init__(self, scratch: Path, replications: int, duration_s: float, kills: int = 2) -> None:
        self.scratch = scratch
        self.kills = kills
        """In one sweep."""
        self.runs = POINTS * replications
        self.file = scratch / "study.toml"
        self.file.write_text(STUDY.format(replications=replications, duration_s=duration_s), encoding="utf-8")

    def start(self, name: str, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "simvirt.cli", "sweep", str(self.file), "--out", str(self.scratch / name), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(command, env=environment, cwd=self.scratch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, name: str, *options: str) -> None:
        """The same command once more, undisturbed."""
        process = self.start(name, *options)
        told = process.communicate(timeout=900)[1]
        assert process.returncode == 0, told

    def kept(self, name: str) -> dict[Path, tuple[int, str]]:
        """Finished runs: when each was written, and its digest."""
        files = (self.scratch / name / ".runs").rglob("*.run")
        return {path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}

    def tables(self, name: str) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((self.scratch / name).glob("*.csv"))}

    def wait_for(self, name: str, runs: int, process: subprocess.Popen[str]) -> bool:
        """Until so many runs are finished; whether the process was still at work then."""
        while process.poll() is None:
            if len(list((self.scratch / name / ".runs").rglob("*.run"))) >= runs:
                return process.poll() is None
            time.sleep(0.005)
        return False


def children(pid: int) -> list[int]:
    """Processes begun by a process, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def workers(pid: int) -> list[int]:
    """Processes of a pool among them."""
    found = []
    for child in children(pid):
        try:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
        except OSError:
            continue
    return found


def gone(pids: list[int], within_s: float = 60.0) -> bool:
    """Whether processes end by themselves."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def kill_workers(sweep: Sweep, name: str, rng: random.Random) -> dict[str, object]:
    """Kills one worker at some moments of one sweep, which goes on. A run whose process dies twice fails: then the command once more."""
    process = sweep.start(name, "--workers", "2")
    hits = 0
    for moment in sorted(rng.sample(range(1, sweep.runs * 9 // 10), sweep.kills)):
        if sweep.wait_for(name, moment, process):
            targets = workers(process.pid)
            if targets:
                _kill(rng.choice(targets))
                hits += 1
    told = process.communicate(timeout=900)[1]
    failed = 0
    if process.returncode != 0:
        match = re.search(r"(\d+) runs failed", told)
        assert match, told
        failed = int(match[1])
        sweep.finish(name, "--workers", "1")
    return {"killed": hits, "runs that failed": failed}


def kill_driver(sweep: Sweep, name: str, rng: random.Random) -> dict[str, object]:
    """Kills the program at random moments; begun again each time, the last time in one process."""
    hits, again, left_alone = 0, 0, True
    for moment in sorted(rng.sample(range(1, sweep.runs * 9 // 10), sweep.kills)):
        process = sweep.start(name, "--workers", "2")
        before = sweep.kept(name)
        if sweep.wait_for(name, max(moment, len(before) + 1), process):
            orphans = workers(process.pid)
            _kill(process.pid)
            hits += 1
            left_alone = left_alone and gone(orphans)
        process.communicate(timeout=900)
        again += sum(sweep.kept(name)[path] != one for path, one in before.items())
    before = sweep.kept(name)
    sweep.finish(name, "--workers", "1")
    again += sum(sweep.kept(name)[path] != one for path, one in before.items())
    assert not again, f"{again} runs were done twice"
    assert left_alone, "workers outlived the program"
    return {"killed": hits, "kept at the last kill": len(before)}


def kill_scheduler(sweep: Sweep, name: str, rng: random.Random) -> dict[str, object]:
    """Kills the Dask scheduler at a random moment; the program must end by itself and say so; then on the cores of this machine."""
    moment = rng.randrange(1, sweep.runs * 9 // 10)
    with dask_cluster(sweep.scratch) as (address, scheduler):
        process = sweep.start(name, "--scheduler", address)
        hit = sweep.wait_for(name, moment, process)
        if hit:
            _kill(scheduler)
        told = process.communicate(timeout=900)[1]
        assert process.returncode == (2 if hit else 0), told
        assert not hit or "the executor broke down" in told, told
    kept = len(sweep.kept(name))
    sweep.finish(name, "--workers", "2")
    return {"killed": int(hit), "kept at the kill": kept}


def kill_dask_worker(sweep: Sweep, name: str, rng: random.Random) -> dict[str, object]:
    """Kills one of two Dask workers; the other does the rest."""
    with dask_cluster(sweep.scratch) as (address, scheduler):
        process = sweep.start(name, "--scheduler", address)
        hit = sweep.wait_for(name, rng.randrange(1, sweep.runs // 2), process)
        if hit:
            _kill(_DASK[scheduler][1])
        told = process.communicate(timeout=900)[1]
        assert process.returncode == 0, told
    return {"killed": int(hit)}


_DASK: dict[int, list[int]] = {}
"""Workers of a scheduler, by its process."""


@contextmanager
def dask_cluster(scratch: Path) -> Iterator[tuple[str, int]]:
    """A scheduler on the loopback interface with two workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    address = f"tcp://127.0.0.1:{port}"
    base = [sys.executable, "-m"]
    commands = [[*base, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]]
    worker = [*base, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    commands += [worker, worker]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            started.append(subprocess.Popen(command, env=environment, cwd=scratch, **quiet))  # type: ignore[call-overload]
            _wait_for_port(port)
        _DASK[started[0].pid] = [one.pid for one in started[1:]]
        yield address, started[0].pid
    finally:
        for one in started:
            one.kill()
            one.wait()


def _wait_for_port(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nobody listens on port {port}")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it may have been faster
        os.kill(pid, signal.SIGKILL)


KINDS = {"worker": kill_workers, "driver": kill_driver, "Dask worker": kill_dask_worker, "Dask scheduler": kill_scheduler}


def survive(kinds: list[str], rounds: int, seed: int, replications: int, duration_s: float, kills: int = 2) -> dict[str, object]:
    """Every kind of kill so many times; asserts that the tables are those of an undisturbed serial sweep."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        sweep = Sweep(Path(scratch), replications, duration_s, kills)
        sweep.finish("undisturbed", "--workers", "1")
        expected = sweep.tables("undisturbed")
        assert len(expected) == 6
        digests = {path.name: digest for path, (_, digest) in sweep.kept("undisturbed").items()}
        assert len(digests) == sweep.runs
        result: dict[str, object] = {"runs": sweep.runs, "seed": seed, "rounds of each kind": rounds}
        for kind in kinds:
            found = []
            for i in range(rounds):
                name = f"{kind} {i}"
                found.append(KINDS[kind](sweep, name, rng))
                assert sweep.tables(name) == expected, f"{name}: other tables"
                assert {path.name: digest for path, (_, digest) in sweep.kept(name).items()} == digests, f"{name}: other records"
            result[kind] = {key: [one[key] for one in found] for key in found[0]}
        result["tables and records as undisturbed"] = True
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--replications", type=int, default=12)
    parser.add_argument("--duration", type=float, default=0.1, help="of a run, in simulated seconds")
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    arguments = parser.parse_args()
    kinds = list(KINDS) if find_spec("distributed") else ["worker", "driver"]
    result = survive(kinds, arguments.rounds, arguments.seed, arguments.replications, arguments.duration)
    if len(kinds) < len(KINDS):
        result["not tried"] = "Dask worker, Dask scheduler: Dask distributed is not installed"
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
