"""The watch of a service: looks at what the store was told, and says what has changed."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from anogen.detection.detector import Detector
from anogen.detection.watch import Watch
from anogen.errors import DataError, first_line
from anogen.progress import say
from anogen.run import Run
from anogen.serving.alerts import Tell
from anogen.serving.served import version_of
from anogen.serving.store import Scored, Store

EVERY_S = 1.0
MOST_STREAMS = 200
"""That are watched; scores of further ones are kept and not watched."""


@dataclass
class Watcher:
    """Watches over all models and streams of a store, one for each pair.

    A watch starts anew when its model's version changes, because it compares with a calibration.

    Attributes:
        store: that it reads and keeps its state in.
        detectors: name of a model → its version and its detector, asked each time.
        level: of each watch.
        rates: name of a model → the false-positive rate of its labels.
        alert: called with each alarm, its model and its stream.
    """

    store: Store
    detectors: Callable[[], Mapping[str, tuple[str, Detector]]]
    level: float
    rates: Callable[[], Mapping[str, float]]
    alert: Tell
    _watches: "dict[tuple[str, str], tuple[str, Watch]]" = field(
        default_factory=dict[tuple[str, str], tuple[str, Watch]]
    )
    _number: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Look once a second, in a thread, from where the last one stopped."""
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after a last look."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        self.restore()
        while not self._stop.wait(EVERY_S):
            self._look_safely()
        self._look_safely()

    def _look_safely(self) -> None:
        try:
            self.look()
        except (SQLAlchemyError, OSError) as error:
            say(f"the watch cannot read its store: {first_line(error)}")

    def restore(self) -> None:
        """Go on where the store's watches were left."""
        known = self.detectors()
        for kept in self.store.watches():
            self._number = max(self._number, kept["number"])
            version, detector = known.get(kept["model"], ("", None))
            if detector is None or version != kept["version"]:
                continue
            try:
                watch = self._fresh(kept["model"], detector).restored(kept["state"])
            except (LookupError, TypeError, ValueError) as error:
                say(f"the watch of {kept['model']} is damaged and starts anew: {first_line(error)}")
                continue
            self._watches[kept["model"], kept["stream"]] = version, watch

    def look(self) -> None:
        """Tell the watches of all rows that are new, and keep their states."""
        while rows := self.store.scored(self._number):
            self._number = rows[-1].number
            self._tell(rows)

    def _tell(self, rows: list[Scored]) -> None:
        known = self.detectors()
        of: dict[tuple[str, str], list[Scored]] = {}
        for row in rows:
            version, _ = known.get(row.model, ("", None))
            if row.version == version:  # what another version scored is another stream
                of.setdefault((row.model, row.stream), []).append(row)
        for (model, stream), own in of.items():
            version, detector = known[model]
            kept, watch = self._watches.get((model, stream), ("", None))
            if watch is None and len(self._watches) >= MOST_STREAMS:
                continue
            if watch is None or kept != version:
                watch = self._fresh(model, detector)
            before = watch.alarms
            watch = told(watch, own)
            self._watches[model, stream] = version, watch
            self.store.save_watch(
                model, stream, version, self._number, watch.content(), watch.summary
            )
            for alarm in watch.alarms[
                len(before) if watch.alarms[: len(before)] == before else 0 :
            ]:
                self.alert(model, stream, alarm)

    def _fresh(self, model: str, detector: Detector) -> Watch:
        rate = self.rates().get(model, 0.01)
        return Watch.of(detector.calibration, detector.baseline, self.level, rate)


def watches_in(store: Store, run: Run, detector: Detector, level: float) -> dict[str, Watch]:
    """A watch for each stream of all that a store has of a run as it is now, by name.

    Raises:
        DataError: there is nothing.
    """
    version = version_of(run, detector.name)
    found: dict[str, Watch] = {}
    number = 0
    while rows := store.scored(number):
        number = rows[-1].number
        of: dict[str, list[Scored]] = {}
        for row in rows:
            if (row.model, row.version) == (run.name, version):
                of.setdefault(row.stream, []).append(row)
        for stream, own in of.items():
            watch = found.get(stream) or Watch.of(
                detector.calibration, detector.baseline, level, run.false_positive_rate
            )
            found[stream] = told(watch, own)
    if not found:
        raise DataError(f"the store has no scores of {run.name} as it is now")
    return found


def told(watch: Watch, rows: list[Scored]) -> Watch:
    """A watch after some rows of its stream."""
    names = [name for name in watch.statistics if all(name in row.statistics for row in rows)]
    return watch.after(
        np.array([row.score for row in rows]),
        {name: np.array([row.statistics[name] for row in rows]) for name in names},
        [row.time for row in rows],
    )


def watched(store: Store) -> list[dict[str, Any]]:
    """The summaries of all watches, with their models and streams."""
    return [
        {"model": kept["model"], "stream": kept["stream"], "version": kept["version"],
         **kept["summary"]}
        for kept in store.watches()
    ]  # fmt: skip
