"""The supervisor of a service: loads runs, forks workers, and replaces them.

Workers are forked from it after it has loaded the runs, so that they share the memory of the
weights, and all accept on one socket. When a run changes, new workers are forked and take over, and
the old ones answer what they have and end. So that a fork is sound, it computes in one thread only.
"""

import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from anogen.detection.detector import Detector, refuse_unfit
from anogen.detection.scores import usual_score
from anogen.errors import AnogenError, MachineError, first_line
from anogen.progress import say, show
from anogen.run import Run
from anogen.serving import worker
from anogen.serving.metrics import FOLDER, share_between_processes
from anogen.serving.processes import SIGNALS, end, ending, fork, kill, listen
from anogen.serving.served import detects, manifests, version_of
from anogen.serving.store import Store
from anogen.serving.worker import Plan, Runs

LOOK_S = 1.0
"""Between two looks at the manifests of the runs."""
START_S = 120.0
"""How long a worker may take until it is ready."""
WATCH_END_S = 30.0
"""How long the process that watches may take to end."""
YOUNG_S, MOST_FAILURES = 10.0, 5
"""A process that ends so young has failed; after so many failures in a row it is given up."""

Stamp = tuple[tuple[int, int], ...]


class Supervisor:
    """Runs a plan until it is told to stop; see the module."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._runs: Runs = {}
        self._versions: dict[str, str] = {}
        self._stamp: Stamp = ()
        self._workers: dict[int, float] = {}
        self._retired: set[int] = set()
        self._calibrating: int | None = None
        self._watcher: tuple[int, float] | None = None
        self._asked = False
        self._signals: list[int] = []
        self._failures = self._watch_failures = 0
        self._socket: socket.socket | None = None
        self._store: Store | None = None

    def run(self) -> int:
        """Serve; returns the exit code.

        Raises:
            AnogenError: what is to be served cannot be, or the address is taken.
        """
        plan = self.plan
        folder = tempfile.mkdtemp(prefix="anogen-serve-")
        share_between_processes(Path(folder))
        before = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            for number in SIGNALS:
                signal.signal(number, lambda number, _: self._signals.append(number))
            with threadpool_limits(1):
                torch.set_num_threads(1)
                self._socket = listen(plan.host, plan.port)
                return self._supervise() if self._prepare() else 0
        finally:
            kill(self._children)
            if self._socket is not None:
                self._socket.close()
            for number, handler in before.items():
                signal.signal(number, handler)
            os.environ.pop(FOLDER, None)
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _children(self) -> list[int]:
        single = [self._calibrating, self._watcher[0] if self._watcher else None]
        return [*self._workers, *self._retired, *(each for each in single if each is not None)]

    @property
    def _told_to_stop(self) -> bool:
        return any(number != signal.SIGHUP for number in self._signals)

    def _prepare(self) -> bool:
        """Calibrate what is missing and load the runs; false where a signal came in between."""
        plan = self.plan
        missing = not_ready(plan)
        if missing:
            self._calibrating = fork(lambda: worker.calibrate(plan, missing), self._socket)
            process, status = 0, 0
            while not process:
                if self._told_to_stop:
                    return False
                time.sleep(0.05)
                process, status = os.waitpid(self._calibrating, os.WNOHANG)
            self._calibrating = None
            code = os.waitstatus_to_exitcode(status)
            if code:
                error = MachineError(f"{', '.join(missing)}: no detector could be made; see above")
                error.exit_code = code if code in (2, 3, 4, 5) else MachineError.exit_code
                raise error
        if plan.store is not None:
            self._store = Store.open(plan.store, plan.settings.keep_rows)
            self._store.forget_connections()
        self._load()
        return True

    def _load(self) -> None:
        """Read the runs as they are now."""
        plan = self.plan
        stamp = read_stamp(plan)
        versions, runs = versions_of(plan), {}
        if plan.device == "cpu":  # a GPU does not survive a fork: each worker loads for itself
            runs = plan.load()
            for served in runs.values():
                served.warm()
        if versions_of(plan) != versions:
            raise MachineError("a run was changed while it was read")
        self._stamp, self._versions, self._runs = stamp, versions, runs

    def _supervise(self) -> int:
        if not self._start_workers(self.plan.workers):
            return self._stop(0 if self._told_to_stop else MachineError.exit_code)
        self._start_watcher()
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        show(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        say(f"serving {', '.join(self._versions)}; stop with Ctrl+C")
        looked = time.monotonic()
        while not self._told_to_stop:
            time.sleep(0.1)
            self._replace_ended()
            if self._failures >= MOST_FAILURES:
                say("workers end again and again as soon as they start; see the lines above")
                return self._stop(MachineError.exit_code)
            asked = signal.SIGHUP in self._signals
            if asked or time.monotonic() - looked >= LOOK_S:
                self._signals = [each for each in self._signals if each != signal.SIGHUP]
                looked = time.monotonic()
                self._look(asked)
        return self._stop(0)

    def _start_workers(self, count: int) -> bool:
        """Fork workers, and wait until all take requests; whether they do."""
        receivers = [self._fork_worker() for _ in range(count)]
        until, ready = time.monotonic() + START_S, 0
        for receiver in receivers:
            ready += self._is_ready(receiver, until)
            os.close(receiver)
        return ready == count

    def _fork_worker(self) -> int:
        """Fork a worker; a descriptor from which a byte can be read when it takes requests."""
        listening, parent = self._socket, os.getpid()
        assert listening is not None
        receiver, sender = os.pipe()
        os.set_blocking(receiver, False)
        process = fork(
            lambda: worker.work(self.plan, self._runs, self._store, listening, sender, parent)
        )
        self._workers[process] = time.monotonic()
        os.close(sender)
        return receiver

    def _is_ready(self, receiver: int, until: float) -> bool:
        """Wait for a worker; false where it ends, takes too long, or a signal comes."""
        while time.monotonic() < until and not self._told_to_stop:
            with suppress(BlockingIOError):
                return bool(os.read(receiver, 1))  # nothing: it has ended
            time.sleep(0.01)
        return False

    def _start_watcher(self) -> None:
        if self._store is None or self._watch_failures >= MOST_FAILURES:
            return
        plan, runs, store, parent = self.plan, self._runs, self._store, os.getpid()
        process = fork(lambda: worker.watch(plan, runs, store, parent), self._socket)
        self._watcher = process, time.monotonic()

    def _replace_ended(self) -> None:
        """Fork new processes in the place of those that have ended."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not process:
                return
            if process == self._calibrating:
                self._calibrating = None
                if status == 0:
                    self._take_over()
                else:
                    say("the new version has no detector, the old one goes on")
            elif self._watcher is not None and process == self._watcher[0]:
                self._replace_watcher(status)
            elif process in self._retired:
                self._retired.discard(process)
                _forget_counts(process)
            elif process in self._workers:
                young = time.monotonic() - self._workers.pop(process) < YOUNG_S
                self._failures = self._failures + 1 if young else 0
                _forget_counts(process)
                say(f"worker {process} has ended ({ending(status)}); another one is started")
                self._start_workers(1)

    def _replace_watcher(self, status: int) -> None:
        assert self._watcher is not None
        young = time.monotonic() - self._watcher[1] < YOUNG_S
        self._watcher = None
        self._watch_failures = self._watch_failures + 1 if young else 0
        given_up = self._watch_failures >= MOST_FAILURES
        what = "given up; nothing is watched" if given_up else "started again"
        say(f"the watch has ended ({ending(status)}) and is {what}")
        self._start_watcher()

    def _look(self, asked: bool) -> None:
        """Serve the runs as they are now, if they have changed or a signal asks for it."""
        stamp = read_stamp(self.plan)
        if (stamp == self._stamp and not asked) or self._calibrating is not None:
            return
        self._stamp, self._asked = stamp, asked
        try:
            missing = not_ready(self.plan)
        except Exception as error:
            _old_goes_on(error)
            return
        if missing:
            calibrate = worker.calibrate
            self._calibrating = fork(lambda: calibrate(self.plan, missing), self._socket)
        else:
            self._take_over()

    def _take_over(self) -> None:
        """Let new workers with the runs as they are now take the place of the old ones."""
        before = self._runs, self._versions
        try:
            self._load()
        except Exception as error:
            _old_goes_on(error)
            return
        if not self._asked and self._versions == before[1]:
            return  # touched, not changed
        old, self._workers = self._workers, {}
        if not self._start_workers(self.plan.workers):
            say("the new version does not start, the old one goes on")
            kill(self._workers)
            self._workers, (self._runs, self._versions) = old, before
            return
        named = (f"{name} {version}" for name, version in self._versions.items())
        say(f"a new version is served: {', '.join(named)}")
        if self._watcher is not None:
            end([self._watcher[0]], WATCH_END_S, self._signals)
            self._watcher = None
        self._watch_failures = 0
        self._start_watcher()
        for process in old:
            with suppress(OSError):
                os.kill(process, signal.SIGTERM)
        self._retired |= set(old)

    def _stop(self, code: int) -> int:
        """Let all workers finish what they have; returns the exit code."""
        if self._calibrating is not None:
            kill([self._calibrating])
            self._calibrating = None
        if self._socket is not None:
            self._socket.close()
        say("stopping: what was accepted is finished")
        settings = self.plan.settings
        patience = settings.grace_s + settings.deadline_s + settings.body_s + 10
        self._signals.clear()
        clean = end([*self._workers, *self._retired], patience, self._signals)
        self._workers, self._retired = {}, set()
        if self._watcher is not None:
            clean = end([self._watcher[0]], WATCH_END_S, self._signals) and clean
            self._watcher = None
        say("stopped")
        return code if clean else MachineError.exit_code


def not_ready(plan: Plan) -> list[str]:
    """The runs whose detectors must be calibrated first.

    Raises:
        UsageError: there is no such run, or its model cannot give the score.
        MachineError: it is damaged.
    """
    missing: list[str] = []
    for path in plan.runs:
        run = Run.open(path)
        model = run.load_model()
        if not detects(model):
            continue
        score = plan.score or usual_score(model.shape)
        refuse_unfit(model, score)
        folder = run.detector(score)
        try:
            Detector.load(folder, model, "cpu")
        except MachineError:  # none, a damaged one, or one for other weights
            missing.append(path)
    return missing


def versions_of(plan: Plan) -> dict[str, str]:
    """Name of each run → what changes when its weights or its calibration do."""
    versions: dict[str, str] = {}
    for path in plan.runs:
        run = Run.open(path)
        score = plan.score or usual_score(tuple(run.environment["data"]["shape"]))
        versions[run.name] = version_of(run, score)
    return versions


def read_stamp(plan: Plan) -> Stamp:
    """When the manifests of the runs were last changed, and which files they are."""
    stamps: list[tuple[int, int]] = []
    for path in plan.runs:
        with suppress(AnogenError, OSError, LookupError):
            run = Run.open(path)
            score = plan.score or usual_score(tuple(run.environment["data"]["shape"]))
            for manifest in manifests(run, score):
                with suppress(OSError):
                    about = manifest.stat()
                    stamps.append((about.st_mtime_ns, about.st_ino))
    return tuple(stamps)


def _old_goes_on(error: Exception) -> None:
    say(f"the new version cannot be served, the old one goes on: {first_line(error)}")


def _forget_counts(process: int) -> None:
    """Drop what a process that has ended was counting as running or waiting."""
    from prometheus_client import multiprocess

    mark: Any = multiprocess.mark_process_dead
    mark(process)
