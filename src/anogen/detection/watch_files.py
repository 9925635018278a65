"""Watches over files: over scores that were written, or over examples that are scored now."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anogen.data.images import Images
from anogen.data.sources import find_sources, read_chunks
from anogen.data.tables import Table
from anogen.detection.detector import Detector
from anogen.detection.drift import Values, example_statistics
from anogen.detection.rows import read_rows
from anogen.detection.watch import Watch
from anogen.errors import DataError, UsageError
from anogen.progress import silence

AT_ONCE = 5_000
"""Rows that are held."""
COMPARED = 20
"""Rows whose p-values are looked at: they tell whether the scores are of this detector."""

Part = tuple[list[str], Values, dict[str, Values]]
"""Names of files, scores, and statistics, of some examples."""


def watches_of(
    detector: Detector, files: Sequence[str | Path], *, scored: bool = False,
    group: "re.Pattern[str] | None" = None, level: float = 0.01, rate: float = 0.01,
) -> dict[str, Watch]:  # fmt: skip
    """A watch for each stream of examples in files, by name; without `group` one, named "".

    Args:
        detector: calibrated, of the run.
        files: pictures, folders and arrays, or tables where the run is of a table; or rows that
            `anogen score` wrote.
        scored: whether they are such rows.
        group: what it finds in a file's name is the stream that the file belongs to.
        level: of each watch.
        rate: of false positives, at which examples are called out.

    Raises:
        DataError: a file cannot be read; there is no example in them.
        UsageError: rows were scored by another detector.
    """
    parts = _written(files, detector) if scored else _scored(detector, files)
    watches: dict[str, Watch] = {}
    for names, scores, statistics in parts:
        streams = np.array([_stream(name, group) for name in names])
        for stream in dict.fromkeys(streams.tolist()):
            own = streams == stream
            before = watches.get(stream) or watch_of(detector, level, rate)
            watches[stream] = before.after(
                scores[own], {name: values[own] for name, values in statistics.items()}
            )
    if not watches:
        raise DataError("there is no score to watch in what was given")
    return watches


def watch_of(detector: Detector, level: float, rate: float) -> Watch:
    """A watch that compares with a detector's calibration, and has seen nothing yet."""
    return Watch.of(detector.calibration, detector.baseline, level, rate)


def _stream(name: str, group: "re.Pattern[str] | None") -> str:
    if group is None:
        return ""
    found = group.search(Path(name).name) or group.search(name)
    return found[0] if found else "other"


def _written(files: Sequence[str | Path], detector: Detector) -> Iterator[Part]:
    names: list[str] = []
    scores: list[float] = []
    compared = 0
    for file in files:
        for row in read_rows(Path(file)):
            if row["score"] is None:  # an example that could not be read
                continue
            names.append(str(row["file"]))
            scores.append(float(row["score"]))
            if compared < COMPARED:
                compared += 1
                _refuse_others(detector, scores[-1], float(row["p_value"]), Path(file))
            if len(scores) == AT_ONCE:
                yield names, np.array(scores), {}
                names, scores = [], []
    if scores:
        yield names, np.array(scores), {}


def _refuse_others(detector: Detector, score: float, p_value: float, file: Path) -> None:
    """Raise a `UsageError` where a p-value is not what the calibration makes of its score."""
    if abs(float(detector.calibration.p_value(np.array([score]))[0]) - p_value) > 1e-9:
        raise UsageError(
            f"{file}: was scored by another detector than the run's {detector.name}, or before it "
            "was calibrated anew; score the files again"
        )


def _scored(detector: Detector, files: Sequence[str | Path]) -> Iterator[Part]:
    if detector.columns is not None:
        for file in files:
            table = Table.open(file, detector.columns.encoding)
            for encoded in detector.columns.encode(table):
                good = [row for row in range(len(encoded.rows)) if row not in encoded.mistakes]
                images = detector.columns.images(encoded.rows[good], str(file))
                yield _part(detector, images, [str(file)] * len(good))
        return
    sources = find_sources(files)
    for chunk in read_chunks(sources, detector.model.shape, detector.pictures):
        good = [(item.file, item.pixels) for item in chunk if item.pixels is not None]
        if good:
            pixels = np.stack([pixels for _, pixels in good])
            yield _part(detector, Images(pixels, "files"), [name for name, _ in good])


def _part(detector: Detector, images: Images, names: list[str]) -> Part:
    with silence():
        scores = detector.score(images)
    known = np.isfinite(scores)
    statistics: Any = example_statistics(images, detector.columns)
    kept = {name: values[known] for name, values in statistics.items()}
    return [name for name, one in zip(names, known, strict=True) if one], scores[known], kept
