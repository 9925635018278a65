"""What the service counts, for Prometheus; of several processes together."""

import os
from pathlib import Path
from typing import Any

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which processes share their counts; read when prometheus_client is loaded."""


class Metrics:
    """Counters and histograms; see `text`."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._own = CollectorRegistry()
        own: Any = {"registry": self._own}
        self._requests = Counter(
            "anogen_requests", "requests answered", ["method", "route", "status"], **own
        )
        self._seconds = Histogram(
            "anogen_request_seconds", "from the first byte of a request to its answer", ["route"],
            buckets=BUCKETS, **own,
        )  # fmt: skip
        self._bytes = Counter("anogen_request_bytes", "bytes of bodies", **own)
        self._items = Counter("anogen_items", "pictures and rows", ["model", "outcome"], **own)
        self._running = Gauge(
            "anogen_requests_running", "requests that are not answered yet",
            multiprocess_mode="livesum", **own,
        )  # fmt: skip
        self._waiting = Gauge(
            "anogen_items_waiting", "pictures and rows that wait or are computed",
            multiprocess_mode="livesum", **own,
        )  # fmt: skip
        self._lost = Gauge(
            "anogen_store_lost", "scores that could not be written to the store",
            multiprocess_mode="livesum", **own,
        )  # fmt: skip

    def request(self, method: str, route: str, status: int, seconds: float, taken: int) -> None:
        """Count a request that was answered."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._bytes.inc(taken)

    def running(self, change: int) -> None:
        """One request more, or one less."""
        self._running.inc(change)

    def waiting(self, count: int) -> None:
        """So many items wait or are computed now."""
        self._waiting.set(count)

    def lost(self, count: int) -> None:
        """So many scores could not be written."""
        self._lost.set(count)

    def items(self, model: str, flagged: int, passed: int, failed: int) -> None:
        """Count what was scored."""
        outcomes = {"flagged": flagged, "passed": passed, "failed": failed}
        for outcome, count in outcomes.items():
            self._items.labels(model, outcome).inc(count)

    def text(self, watches: list[dict[str, Any]]) -> str:
        """All of it in Prometheus's text format, with the state of the watches."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry: Any = self._own
        if os.environ.get(FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        text = generate_latest(registry).decode()
        return text + _watch_lines(watches)


def _watch_lines(watches: list[dict[str, Any]]) -> str:
    """The state of the watches, which lies in the store and in no process."""
    shown = {
        "anogen_watch_log10_capital": ("what bets on change have won", "log10_capital"),
        "anogen_watch_alarms": ("alarms so far", "alarms"),
        "anogen_watch_seen": ("examples watched", "seen"),
    }
    lines: list[str] = []
    for name, (about, key) in shown.items():
        lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge"]
        for watch in watches:
            value = watch[key]
            value = len(value) if isinstance(value, list) else value
            labels = f'model="{_quoted(watch["model"])}",stream="{_quoted(watch["stream"])}"'
            lines.append(f"{name}{{{labels}}} {value}")
    return "\n".join(lines) + "\n" if watches else ""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def share_between_processes(folder: Path) -> None:
    """Before prometheus_client is loaded: let processes count together, in files of a folder."""
    os.environ[FOLDER] = str(folder)
