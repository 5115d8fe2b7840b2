"""What the agent of an orchestrator does on its hosts: brings containers up, asks them, restarts them, ends them.

A start: image, sandbox, container, process, its own start-up under the container's limits. An exit is noticed when the agent looks, or at
once where it is an event. The agents of all hosts are one object here, as they share nothing but the orchestrator's rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from simvirt.cluster.log import Log
from simvirt.cluster.machine import Host, Replica
from simvirt.cluster.policy import Policy
from simvirt.cluster.probe import Prober
from simvirt.cluster.process import Process, Seat
from simvirt.cluster.pulls import Pulls
from simvirt.cluster.timers import later, next_tick
from simvirt.engine import Engine
from simvirt.resources.cpu.contract import Share

__all__ = ["Agents"]

_LEAST_WEIGHT = 2 / 1024
"""Of a container that asks for no CPU: two of the 1,024 shares of a core."""


@final
class Agents:
    """The agents of all hosts of a cluster."""

    def __init__(
        self, engine: Engine, policy: Policy, log: Log, changed: Callable[[Replica], None], give_up: Callable[[Replica, str], None]
    ) -> None:
        self.engine = engine
        self.policy = policy
        self.log = log
        self._changed = changed
        """Called when it is known that a replica became ready or is so no longer."""
        self._give_up = give_up
        """Called when a replica must be replaced, not restarted."""
        self.pulls = Pulls(engine)
        self.phases = True
        """Whether hosts that begin now ask at times of their own: only at the beginning of a cluster."""

    # ---- starting ----

    def start(self, replica: Replica, wait_s: float = 0.0) -> None:
        """Bring a replica up after a wait."""
        step = self._step(replica)
        later(self.engine, wait_s, lambda: self._fetch(replica, step))

    def _fetch(self, replica: Replica, step: int) -> None:
        if self._goes_on(replica, step):
            self.pulls.fetch(replica.host, replica.deployment.image_bytes, lambda: self._create(replica, step))

    def _create(self, replica: Replica, step: int) -> None:
        if self._goes_on(replica, step):
            runtime = self.policy.runtime
            wait_s = runtime.create_s if replica.sandbox else runtime.sandbox_s + runtime.create_s
            later(self.engine, wait_s, lambda: self._launch(replica, step))

    def _launch(self, replica: Replica, step: int) -> None:
        if not self._goes_on(replica, step):
            return
        replica.sandbox = True
        self.launch(replica)

    def launch(self, replica: Replica, *, warm: bool = False) -> None:
        """Start the process now: image, sandbox and container are there. `warm`: it has been running and listens already."""
        deployment, host = replica.deployment, replica.host
        seat = replica.seat
        if seat is None or seat.scheduler is not host.machine.scheduler:
            weight = max(deployment.cpu_request_cores, _LEAST_WEIGHT)
            share = Share(weight=weight, per_thread=False, cap_cores=deployment.cpu_limit_cores)
            seat = replica.seat = Seat(host.group.group(replica.name, share), host.machine.scheduler)
        replica.sandbox = True
        process = replica.process = Process(seat, deployment.workers, deployment.queue_most, self.engine._now)
        self.log.add("started", replica.name)
        self._watch(replica, process, warm)
        process.start(0.0 if warm else deployment.start_cpu_s, lambda _: self._listens(replica, process))

    def _listens(self, replica: Replica, process: Process) -> None:
        if replica.process is process:
            self.log.add("listens", replica.name)
            if replica.deployment.readiness is None and (replica.deployment.startup is None or not _starting(replica)):
                self._set_ready(replica, True)

    # ---- probes ----

    def _watch(self, replica: Replica, process: Process, warm: bool) -> None:
        deployment = replica.deployment
        probers: list[Prober] = []
        if deployment.liveness is not None:
            probers.append(Prober(self.engine, deployment.liveness, lambda good: self._alive(replica, good), True, "liveness"))
        if deployment.readiness is not None:
            probers.append(Prober(self.engine, deployment.readiness, lambda good: self._set_ready(replica, good), False, "readiness"))
        replica.probers = tuple(probers)
        phase = replica.host.phase if self.phases else 0.0
        if deployment.startup is None or warm:
            for prober in probers:
                _ask(prober, process, phase, delayed=not warm)
            return
        first = Prober(self.engine, deployment.startup, lambda good: self._started(replica, process, good), None, "startup")
        replica.probers = (first, *probers)
        _ask(first, process)

    def _started(self, replica: Replica, process: Process, good: bool) -> None:
        if not good:
            self._alive(replica, False)
            return
        first, *rest = replica.probers
        first.stop()
        replica.probers = tuple(rest)
        for prober in rest:
            _ask(prober, process)
        if replica.deployment.readiness is None:
            self._set_ready(replica, True)

    def _alive(self, replica: Replica, good: bool) -> None:
        if good:
            if not replica.healthy:
                replica.healthy = True
                self.log.add("healthy", replica.name)
            return
        self.log.add("unhealthy", replica.name)
        action = self.policy.on_unhealthy
        if action == "mark":
            replica.healthy = False
        elif action == "replace":
            self._set_ready(replica, False)
            self.stop(replica, lambda: self._give_up(replica, "unhealthy"), leaves=False)
        else:
            ran_s = self.engine._now - replica.process.born_s if replica.process is not None else 0.0
            self.stop(replica, lambda: self._again(replica, ran_s), leaves=False)

    def _set_ready(self, replica: Replica, ready: bool) -> None:
        if ready and (replica.leaving or replica.process is None or replica.process.stopping):
            return
        if replica.ready != ready:
            replica.ready = ready
            if ready:
                replica.ready_s = self.engine._now
                replica.unready_s = None
            else:
                replica.unready_s = self.engine._now
            self.log.add("ready" if ready else "not ready", replica.name)
            self._changed(replica)

    def report(self, replica: Replica) -> None:
        """Say again how a replica is, after its host could not be heard of."""
        process = replica.process
        asks = replica.deployment.readiness is not None or _starting(replica)
        good = any(prober.role == "readiness" and prober.state for prober in replica.probers)
        if good or (not asks and process is not None and process.listening):
            self._set_ready(replica, True)

    # ---- ends ----

    def crash(self, replica: Replica) -> None:
        """The process ends by itself."""
        process = replica.process
        if process is None or not replica.host.alive:
            return
        ran_s = self.engine._now - process.born_s
        self._end(replica, "crashed")
        step = self._step(replica)
        at = next_tick(self.engine._now, self.policy.runtime.notice_s, replica.host.phase)
        later(self.engine, at - self.engine._now, lambda: self._noticed(replica, step, ran_s))

    def _noticed(self, replica: Replica, step: int, ran_s: float) -> None:
        if not self._goes_on(replica, step):
            return
        self.log.add("exit noticed", replica.name)
        self._stop_probes(replica)
        self._set_ready(replica, False)
        if replica.ending is not None:
            self._ended(replica)
        else:
            self._again(replica, ran_s)

    def _ended(self, replica: Replica) -> None:
        """Go on with what was to follow the end of a process."""
        then, replica.ending = replica.ending, None
        assert then is not None
        then()

    def _again(self, replica: Replica, ran_s: float) -> None:
        """After an exit: restart with back-off, have it replaced, or leave it."""
        if replica.leaving:
            return
        if self.policy.on_exit == "replace":
            self._give_up(replica, "exited")
        elif self.policy.on_exit == "restart":
            wait_s = replica.back_off.wait_s(ran_s)
            replica.restarts += 1
            self.log.add("restart", replica.name, f"after {wait_s:g} s")
            self.start(replica, wait_s)

    def hang(self, replica: Replica) -> None:
        """The process stops answering."""
        if replica.process is not None and replica.host.alive:
            self.log.add("hangs", replica.name)
            replica.process.hang()

    def kill_sandbox(self, replica: Replica) -> None:
        """What the containers of a replica share ends; when that is noticed, they are ended too and all is made anew."""
        if replica.process is None or not replica.host.alive or replica.ending is not None:
            return
        self.log.add("sandbox killed", replica.name)
        replica.sandbox = False
        replica.process.listening = False
        step = self._step(replica)
        at = next_tick(self.engine._now, self.policy.runtime.notice_s, replica.host.phase)
        later(self.engine, at - self.engine._now, lambda: self._sandbox_noticed(replica, step))

    def _sandbox_noticed(self, replica: Replica, step: int) -> None:
        if self._goes_on(replica, step):
            self.log.add("exit noticed", replica.name, "sandbox")
            self._set_ready(replica, False)
            self.stop(replica, lambda: self._again(replica, 0.0), leaves=False)

    def stop(self, replica: Replica, then: Callable[[], None], *, leaves: bool = True) -> None:
        """Ask a replica's process to end, kill it when its grace is over, and call when it is gone."""
        step = self._step(replica)
        replica.leaving = replica.leaving or leaves
        process = replica.process
        if leaves:
            self._stop_probes(replica)
            self._set_ready(replica, False)
        else:  # whether it is ready is still asked
            for prober in replica.probers:
                if prober.role != "readiness":
                    prober.stop()
        if process is None:
            replica.ending = None
            then()
            return
        replica.ending = then
        self.log.add("asked to end", replica.name)
        grace_s = replica.deployment.grace_s
        grace_s = self.policy.runtime.grace_s if grace_s is None else grace_s

        def gone() -> None:
            if self._goes_on(replica, step):
                self._step(replica)
                self._stop_probes(replica)
                self._end(replica, "ended")
                self._set_ready(replica, False)
                self._ended(replica)

        def terminate() -> None:
            if not self._goes_on(replica, step) or process.hung or replica.deployment.on_term == "ignore":
                return
            if replica.deployment.on_term == "exit":
                gone()
            else:
                process.finish(gone)

        pre_stop_s = replica.deployment.pre_stop_s
        if pre_stop_s:
            later(self.engine, pre_stop_s, terminate)
        later(self.engine, grace_s, gone)
        if not pre_stop_s:
            terminate()

    def host_died(self, host: Host) -> None:
        """Everything on a host ends without a word."""
        for replica in list(host.replicas.values()):
            self._step(replica)
            self._stop_probes(replica)
            if replica.process is not None:
                self._end(replica, "died with its host", silent=True)
            replica.sandbox = False

    def host_came_back(self, host: Host) -> None:
        """Start what the host still has."""
        for replica in list(host.replicas.values()):
            if replica.leaving and replica.ending is not None:
                self._ended(replica)
            elif not replica.leaving:
                replica.ending = None
                self._set_ready(replica, False)
                self.start(replica)

    def _end(self, replica: Replica, what: str, *, silent: bool = False) -> None:
        process = replica.process
        assert process is not None
        replica.process = None
        process.end(silent=silent)
        self.log.add(what, replica.name)

    def _stop_probes(self, replica: Replica) -> None:
        for prober in replica.probers:
            prober.stop()
        replica.probers = ()

    def _step(self, replica: Replica) -> int:
        replica.step += 1
        return replica.step

    def _goes_on(self, replica: Replica, step: int) -> bool:
        return replica.step == step and replica.host.alive


def _starting(replica: Replica) -> bool:
    """Whether its start is still being asked for."""
    return any(prober.role == "startup" for prober in replica.probers)


def _ask(prober: Prober, process: Process, ahead: float = 0.0, *, delayed: bool = True) -> None:
    """Let a probe ask a process, as a request among others or as a process beside it."""
    prober.start(process.execute if prober.probe.kind == "exec" else process.accept, ahead, delayed=delayed)
