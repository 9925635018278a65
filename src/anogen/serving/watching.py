"""The watch of a service: looks at what the store was told, and says what has changed."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from anogen.detection.detector import Detector
from anogen.detection.watch import Watch
from anogen.detection.watch_files import watch_of
from anogen.errors import DataError, first_line
from anogen.progress import say
from anogen.run import Run
from anogen.serving.alerts import Tell
from anogen.serving.served import version_of
from anogen.serving.store import Store
from anogen.serving.tables import Kept, Scored

EVERY_S = 1.0
MOST_STREAMS = 200
"""That are watched; scores of further ones are kept and not watched."""


class Watched(NamedTuple):
    """A model that is watched: its version, its detector, and the rate of its labels."""

    version: str
    detector: Detector
    rate: float


@dataclass
class Watcher:
    """Watches over all models and streams of a store, one for each pair.

    A watch starts anew when its model's version changes, because it compares with a calibration.

    Attributes:
        store: that it reads, and keeps its state in.
        models: by name.
        level: of each watch.
        alert: called with the model, the stream and the alarm, after the state has been kept.
    """

    store: Store
    models: Mapping[str, Watched]
    level: float
    alert: Tell
    _watches: dict[tuple[str, str], Watch] = field(default_factory=dict[tuple[str, str], Watch])
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
        self._safely(self.restore)
        while not self._stop.wait(EVERY_S):
            self._safely(self.look)
        self._safely(self.look)

    def _safely(self, step: Callable[[], None]) -> None:
        """A step that is tried again at the next look, whatever goes wrong in it."""
        try:
            step()
        except Exception as error:
            say(f"the watch could not look: {type(error).__name__}, {first_line(error)}")

    def restore(self) -> None:
        """Go on where the store's watches were left."""
        for kept in self.store.watches():
            self._number = max(self._number, kept.number)
            model = self.models.get(kept.model)
            if model is None or model.version != kept.version:
                continue
            try:
                watch = self._fresh(model).restored(kept.state)
            except (LookupError, TypeError, ValueError) as error:
                say(f"the watch of {kept.model} is damaged and starts anew: {first_line(error)}")
                continue
            if (watch.level, watch.rate) == (self.level, model.rate):  # else it was another one
                self._watches[kept.model, kept.stream] = watch

    def look(self) -> None:
        """Tell the watches of all rows that are new, keep their states, then tell of alarms."""
        while rows := self.store.scored(self._number):
            number = rows[-1].number
            new = {key: self._after(key, own) for key, own in self._streams(rows).items()}
            self.store.save_watches([
                Kept(model, stream, self.models[model].version, number, watch.content(),
                     watch.summary)
                for (model, stream), watch in new.items()
            ])  # fmt: skip
            before = {key: self._watches.get(key) for key in new}
            self._watches |= new
            self._number = number
            for key, watch in new.items():
                old = before[key]
                for alarm in watch.alarms_since(0 if old is None else old.seen):
                    self.alert(*key, alarm)

    def _streams(self, rows: Sequence[Scored]) -> dict[tuple[str, str], list[Scored]]:
        """Rows of models as they are now, by model and stream, as far as these are watched."""
        of: dict[tuple[str, str], list[Scored]] = {}
        for row in rows:
            model, key = self.models.get(row.model), (row.model, row.stream)
            known = key in self._watches or key in of
            full = len(self._watches.keys() | of.keys()) >= MOST_STREAMS
            if model is not None and model.version == row.version and (known or not full):
                of.setdefault(key, []).append(row)
        return of

    def _after(self, key: tuple[str, str], rows: Sequence[Scored]) -> Watch:
        return told(self._watches.get(key) or self._fresh(self.models[key[0]]), rows)

    def _fresh(self, model: Watched) -> Watch:
        return watch_of(model.detector, self.level, model.rate)


def watches_in(
    store: Store, run: Run, detector: Detector, level: float, rate: float
) -> dict[str, Watch]:
    """A watch for each stream of all that a store has of a run as it is now, by name.

    Raises:
        DataError: there is nothing.
    """
    version = version_of(run, detector.name)
    watches: dict[str, Watch] = {}
    number = 0
    while rows := store.scored(number):
        number = rows[-1].number
        of: dict[str, list[Scored]] = {}
        for row in rows:
            if (row.model, row.version) == (run.name, version):
                of.setdefault(row.stream, []).append(row)
        for stream, own in of.items():
            watches[stream] = told(watches.get(stream) or watch_of(detector, level, rate), own)
    if not watches:
        raise DataError(f"the store has no scores of {run.name} as it is now")
    return watches


def told(watch: Watch, rows: Sequence[Scored]) -> Watch:
    """A watch after some rows of its stream; a statistic that a row lacks is NaN."""
    return watch.after(
        np.array([row.score for row in rows]),
        {name: np.array([row.statistics.get(name, np.nan) for row in rows])
         for name in watch.statistics},
        [row.time for row in rows],
    )  # fmt: skip
