"""The process that serves nothing itself: it loads runs, forks workers, and replaces them.

Workers are forked from it after it has loaded the runs, so that they share the memory of the
weights, and all accept on one socket. When a run changes, new workers are forked and take over, and
the old ones answer what they have and end. So that a fork is sound, it computes in one thread only.
"""

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from anogen.detection.detector import Detector, refuse_unfit
from anogen.detection.scores import usual_score
from anogen.errors import AnogenError, MachineError, first_line
from anogen.progress import say, show
from anogen.run import Run
from anogen.serving.alerts import alerts_to
from anogen.serving.gate import LOOPBACK, Keys
from anogen.serving.metrics import FOLDER, share_between_processes
from anogen.serving.served import Served, manifests, open_all
from anogen.serving.settings import Settings
from anogen.serving.store import Store
from anogen.serving.watching import Watcher

LOOK_S = 1.0
"""Between two looks at the manifests of the runs."""
START_S = 120.0
"""How long a worker may take until it is ready."""
YOUNG_S, MOST_FAILURES = 10.0, 5
"""A worker that ends so young has failed; after so many failures in a row the service ends."""
BACKLOG = 2048
SWITCH_S = 0.0005
"""After which the thread that computes gets Python back from the one that talks to clients."""

Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Plan:
    """What is to be served, and how.

    Attributes:
        runs: paths of their folders.
        settings: limits.
        host: to listen on.
        port: likewise; 0: any that is free.
        workers: processes that serve.
        keys: that open the service.
        store: a path or a URL; None: nothing is kept, and nothing is watched.
        alert: a web address or a file, for alarms of the watch; None: they are logged.
        score: of all detectors; None: the usual one.
        data_dir: where data sets lie, for calibration and for the nearest training examples.
        device: `cpu`, or a GPU, which each worker then loads the runs onto for itself.
    """

    runs: tuple[str, ...]
    settings: Settings
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    keys: Keys = field(default_factory=Keys)
    store: str | None = None
    alert: str | None = None
    score: str | None = None
    data_dir: str | None = None
    device: str = "cpu"


class Supervisor:
    """Runs a plan until it is told to stop; see the module."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._runs: Mapping[str, Served] = {}
        self._workers: dict[int, float] = {}
        self._retired: list[int] = []
        self._calibrating: int | None = None
        self._asked = False
        self._watcher: int | None = None
        self._signals: list[int] = []
        self._failures = 0
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
        try:
            with threadpool_limits(1):
                torch.set_num_threads(1)
                self._socket = listen(plan.host, plan.port)
                self._prepare()
                return self._supervise()
        finally:
            for process in (*self._workers, *self._retired, *filter(None, [self._watcher])):
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            if self._socket is not None:
                self._socket.close()
            os.environ.pop(FOLDER, None)
            shutil.rmtree(folder, ignore_errors=True)

    def _prepare(self) -> None:
        plan = self.plan
        missing = not_ready(plan)
        if missing:
            _, status = os.waitpid(_fork(lambda: calibrate(plan, missing)), 0)
            code = os.waitstatus_to_exitcode(status)
            if code:
                error = MachineError(f"{', '.join(missing)}: no detector could be made; see above")
                error.exit_code = code if code in (2, 3, 4, 5) else MachineError.exit_code
                raise error
        if plan.store is not None:
            self._store = Store.open(plan.store, plan.settings.keep_rows)
            self._store.forget_connections()
        self._stamp = self._read_stamp()
        self._runs = self._load()

    def _load(self) -> Mapping[str, Served]:
        plan = self.plan
        if plan.device != "cpu":  # each worker loads for itself: a GPU does not survive a fork
            return {}
        runs = open_all(plan.runs, plan.settings, plan.score, plan.data_dir, "cpu")
        for served in runs.values():
            served.warm()
        return runs

    def _supervise(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._signals.append(number))
        if not all(self._start_worker() for _ in range(self.plan.workers)):
            return self._stop(MachineError.exit_code)
        self._start_watcher()
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        show(f"http://{shown}:{port}")
        say(f"serving {', '.join(Path(run).name for run in self.plan.runs)}; stop with Ctrl+C")
        looked = time.monotonic()
        while True:
            time.sleep(0.2)
            self._replace_ended()
            if self._failures >= MOST_FAILURES:
                say("workers end again and again as soon as they start; see the lines above")
                return self._stop(MachineError.exit_code)
            wanted = {self._signals.pop(0) for _ in range(len(self._signals))}
            if wanted & {signal.SIGTERM, signal.SIGINT}:
                return self._stop(0)
            if time.monotonic() - looked >= LOOK_S or signal.SIGHUP in wanted:
                looked = time.monotonic()
                self._look(signal.SIGHUP in wanted)

    def _start_worker(self) -> bool:
        """Fork a worker, and wait until it takes requests; whether it does."""
        listening = self._socket
        assert listening is not None
        receiver, sender = os.pipe()
        process = _fork(lambda: work(self.plan, self._runs, self._store, listening, sender))
        os.close(sender)
        os.set_blocking(receiver, False)
        until = time.monotonic() + START_S
        ready = b""
        while time.monotonic() < until and not ready:
            with suppress(BlockingIOError):
                ready = os.read(receiver, 1)
                if not ready:  # closed: it has ended
                    break
            time.sleep(0.01)
        os.close(receiver)
        self._workers[process] = time.monotonic()
        return bool(ready)

    def _start_watcher(self) -> None:
        if self._store is None or not any(run.detector for run in self._runs.values()):
            return
        plan, runs, store = self.plan, self._runs, self._store
        self._watcher = _fork(lambda: watch(plan, runs, store), self._socket)

    def _replace_ended(self) -> None:
        """Fork new workers in the place of those that have ended."""
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
            elif process == self._watcher:
                say(f"the watch has ended ({_ending(status)}) and is started again")
                self._start_watcher()
            elif process in self._retired:
                self._retired.remove(process)
                _forget_counts(process)
            elif process in self._workers:
                young = time.monotonic() - self._workers.pop(process) < YOUNG_S
                self._failures = self._failures + 1 if young else 0
                _forget_counts(process)
                say(f"worker {process} has ended ({_ending(status)}); another one is started")
                self._start_worker()

    def _read_stamp(self) -> Stamp:
        """When the manifests were last changed, and which files they are."""
        stamps: list[tuple[int, int]] = []
        for path in self.plan.runs:
            with suppress(AnogenError):
                run = Run.open(path)
                names = [self.plan.score] if self.plan.score else _kept(run)
                for score in names or [None]:
                    for manifest in manifests(run, score):
                        with suppress(OSError):
                            about = manifest.stat()
                            stamps.append((about.st_mtime_ns, about.st_ino))
        return tuple(sorted(set(stamps)))

    def _look(self, asked: bool) -> None:
        """Serve the runs as they are now, if they have changed or a signal asks for it."""
        stamp = self._read_stamp()
        if (stamp == self._stamp and not asked) or self._calibrating is not None:
            return
        self._stamp, self._asked = stamp, asked
        try:
            missing = not_ready(self.plan)
        except (AnogenError, OSError) as error:
            say(f"the new version cannot be served, the old one goes on: {first_line(error)}")
            return
        if missing:
            self._calibrating = _fork(lambda: calibrate(self.plan, missing), self._socket)
        else:
            self._take_over()

    def _take_over(self) -> None:
        """Let new workers with the runs as they are now take the place of the old ones."""
        try:
            runs = self._load()
        except (AnogenError, OSError, RuntimeError, ValueError) as error:
            say(f"the new version cannot be served, the old one goes on: {first_line(error)}")
            return
        self._stamp = self._read_stamp()
        versions = {name: served.version for name, served in runs.items()}
        if not self._asked and versions == {n: s.version for n, s in self._runs.items()}:
            return  # touched, not changed
        before, self._runs = self._runs, runs
        old = dict(self._workers)
        self._workers = {}
        if not all(self._start_worker() for _ in range(self.plan.workers)):
            say("the new version does not start, the old one goes on")
            for process in self._workers:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
            self._workers, self._runs = old, before
            return
        say("a new version is served: " + ", ".join(
            f"{name} {served.version}" for name, served in runs.items()))  # fmt: skip
        if self._watcher is not None:
            _end([self._watcher], 30)
            self._watcher = None
        self._start_watcher()
        for process in old:
            with suppress(OSError):
                os.kill(process, signal.SIGTERM)
        self._retired += old

    def _stop(self, code: int) -> int:
        """Let all workers finish what they have; returns the exit code."""
        if self._calibrating is not None:
            os.kill(self._calibrating, signal.SIGKILL)
        if self._socket is not None:
            self._socket.close()
        settings = self.plan.settings
        patience = settings.grace_s + settings.deadline_s + settings.body_s + 10
        self._signals.clear()
        clean = _end([*self._workers, *self._retired], patience, self._signals)
        self._workers = {}
        if self._watcher is not None:
            clean = _end([self._watcher], 30) and clean
            self._watcher = None
        return code if clean else MachineError.exit_code


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        MachineError: the address is taken, or none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        made.close()
        reason = getattr(error, "strerror", None) or first_line(error)
        raise MachineError(
            f"{host}, port {port}: cannot be listened on ({reason}); choose another --port"
        ) from error
    made.setblocking(False)
    return made


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
        if model.classes:
            continue
        score = plan.score or usual_score(model.shape)
        refuse_unfit(model, score)
        folder = run.detector(score)
        try:
            Detector.load(folder, model, "cpu")
        except MachineError:  # none, a damaged one, or one for other weights
            missing.append(path)
    return missing


def calibrate(plan: Plan, paths: Sequence[str]) -> int:
    """Make detectors, in a process of its own with all threads; returns its exit code."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    open_all(paths, plan.settings, plan.score, plan.data_dir, plan.device)
    return 0


def _kept(run: Run) -> list[str]:
    """Names of the scores for which the run keeps a detector."""
    folder = run.inside("detector")
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []


def work(
    plan: Plan, runs: Mapping[str, Served], store: Store | None, listening: socket.socket,
    ready: int,
) -> int:  # fmt: skip
    """A worker's whole life; returns its exit code."""
    from anogen.serving.app import create_app
    from anogen.serving.server import Server
    from anogen.serving.service import Service

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // plan.workers))
    sys.setswitchinterval(SWITCH_S)
    if not runs:
        runs = open_all(plan.runs, plan.settings, plan.score, plan.data_dir, plan.device)
    for served in runs.values():
        served.warm()
    service = Service(runs, plan.settings, store)
    local = plan.host in LOOPBACK and not plan.keys.hashes
    gate = create_app(service, plan.keys, local)

    def started() -> None:
        os.write(ready, b"1")
        os.close(ready)

    server = Server(gate, service, started)
    server.run([listening])
    return 0


def watch(plan: Plan, runs: Mapping[str, Served], store: Store) -> int:
    """The whole life of the process that watches; returns its exit code."""
    detectors = {
        name: (served.version, served.detector)
        for name, served in runs.items() if served.detector is not None
    }  # fmt: skip
    rates = {name: served.rate for name, served in runs.items()}
    watcher = Watcher(
        store, lambda: detectors, plan.settings.watch_level, lambda: rates, alerts_to(plan.alert)
    )
    stopped: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    watcher.start()
    while not stopped and os.getppid() != 1:
        time.sleep(0.1)
    watcher.stop()
    store.forget_connections()
    return 0


def _fork(function: Callable[[], int], unused: socket.socket | None = None) -> int:
    """A process that calls a function and ends with what it returns; its number.

    A socket that it does not use is closed in it, or it would stay open when all others are closed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if unused is not None:
            unused.close()
        code = function()
    except AnogenError as error:
        say(f"anogen serve: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        say(f"anogen serve: unexpected {type(error).__name__}: {first_line(error)}")
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _end(processes: Sequence[int], patience: float, signals: Sequence[int] = ()) -> bool:
    """Ask processes to end and wait; those that do not, or when another signal comes, are killed.

    Returns whether all ended well.
    """
    waiting, clean = set(processes), True
    for process in processes:
        with suppress(OSError):
            os.kill(process, signal.SIGTERM)
    until = time.monotonic() + patience
    while waiting:
        for process in list(waiting):
            try:
                ended, status = os.waitpid(process, os.WNOHANG)
            except ChildProcessError:
                waiting.discard(process)
                continue
            if ended:
                waiting.discard(process)
                clean = clean and status == 0
        if waiting and (signals or time.monotonic() > until):
            for process in waiting:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            say("what did not end in time was killed")
            return False
        time.sleep(0.02)
    return clean


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _forget_counts(process: int) -> None:
    """Drop what a process that has ended was counting as running or waiting."""
    from prometheus_client import multiprocess

    mark: Any = multiprocess.mark_process_dead
    mark(process)
