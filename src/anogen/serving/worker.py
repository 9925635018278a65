"""What the processes of a service do: one answers requests, one watches, one calibrates."""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from filelock import FileLock, Timeout

from anogen.device import usable_cores
from anogen.progress import say
from anogen.serving.alerts import alerts_to
from anogen.serving.gate import LOOPBACK, Keys
from anogen.serving.served import Served, open_all
from anogen.serving.settings import Settings
from anogen.serving.store import Store
from anogen.serving.watching import Watched, Watcher

SWITCH_S = 0.0005
"""After which the thread that computes gets Python back from the one that talks to clients."""

Runs = Mapping[str, Served]


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

    def load(self, device: str | None = None) -> Runs:
        """The runs, on the plan's device or another."""
        return open_all(self.runs, self.settings, self.score, self.data_dir, device or self.device)


def work(
    plan: Plan, runs: Runs, store: Store | None, listening: socket.socket, ready: int, parent: int
) -> int:
    """A worker's whole life; returns its exit code.

    Args:
        plan: of the service.
        runs: loaded by the process from which it was forked; none: it loads them itself.
        store: that it writes to.
        listening: the socket that it shares with others.
        ready: descriptor of a pipe, into which a byte is written when it takes requests.
        parent: number of the process without which it ends.
    """
    from anogen.serving.app import create_app
    from anogen.serving.server import Server
    from anogen.serving.service import Service

    torch.set_num_threads(max(1, usable_cores() // plan.workers))
    sys.setswitchinterval(SWITCH_S)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would tell of bad requests
    runs = runs or plan.load()
    for served in runs.values():
        served.warm(afresh=True)
    service = Service(runs, plan.settings, store)
    local = plan.host in LOOPBACK and not plan.keys.hashes
    gate = create_app(service, plan.keys, local)

    def started() -> None:
        os.write(ready, b"1")
        os.close(ready)

    Server(gate, service, started, parent).run([listening])
    return 0


def watch(plan: Plan, runs: Runs, store: Store, parent: int) -> int:
    """The whole life of the process that watches; returns its exit code."""
    watched = {
        name: Watched(served.version, served.detector, served.rate)
        for name, served in (runs or plan.load("cpu")).items() if served.detector is not None
    }  # fmt: skip
    watcher = Watcher(store, watched, plan.settings.watch_level, alerts_to(plan.alert))
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))

    def ended() -> bool:
        return bool(stopped) or os.getppid() != parent

    with alone(store, ended) as first:
        if first:
            watcher.start()
            while not ended():
                time.sleep(0.1)
            watcher.stop()
    store.forget_connections()
    return 0


@contextmanager
def alone(store: Store, ended: Callable[[], bool]) -> Generator[bool]:
    """The block is the only one that watches a SQLite store; false where it ended before it was."""
    path = store.path
    if path is None:
        yield True
        return
    lock = FileLock(path.with_name(path.name + ".watch"))
    waited = False
    while not ended():
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            if not waited:
                say(f"{path}: another service watches it; this one waits")
            waited = True
            continue
        try:
            yield True
        finally:
            lock.release()
        return
    yield False


def calibrate(plan: Plan, paths: Sequence[str]) -> int:
    """Make detectors, with all threads; returns the exit code of the process."""
    torch.set_num_threads(usable_cores())
    open_all(paths, plan.settings, plan.score, plan.data_dir, plan.device)
    return 0
