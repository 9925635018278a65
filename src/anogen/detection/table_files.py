"""Scores of tables in files: one row for each row, with reasons, to be resumed where it stopped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anogen.data.columns import Columns
from anogen.data.tables import Table
from anogen.detection.detector import Detector
from anogen.detection.reasons import reasons
from anogen.detection.rows import TableRow
from anogen.errors import DataError
from anogen.progress import Progress, silence


@dataclass(frozen=True)
class Tables:
    """Tables in files, opened and not yet read.

    Attributes:
        tables: one for each file.
    """

    tables: list[Table]

    @classmethod
    def open(cls, paths: Sequence[str | Path], encoding: str | None = None) -> "Tables":
        """CSV, TSV and parquet files, in the order given; for the errors see `Table.open`."""
        return cls([Table.open(path, encoding) for path in paths])

    @property
    def identity(self) -> list[list[str | int]]:
        """Path, size and time of change of each file: the same for the same files."""
        entries: list[list[str | int]] = []
        for table in self.tables:
            about = Path(table.name).stat()
            entries.append([table.name, about.st_size, about.st_mtime_ns])
        return entries


def score_tables(
    detector: Detector,
    tables: Tables,
    *,
    false_positive_rate: float = 0.01,
    skip: int = 0,
    strict: bool = False,
) -> Iterator[TableRow]:
    """One row for each row of the tables, in order; some thousand rows are held at a time.

    Args:
        detector: a calibrated one, of a table.
        tables: with the columns that it was fitted on.
        false_positive_rate: by which labels are given.
        skip: rows to leave out at the beginning: they were scored before.
        strict: raise at the first row that cannot be scored, instead of a row with its error.

    Raises:
        UsageError: a rate that the calibration cannot support.
        DataError: a file cannot be read, or lacks a column; a bad row, where `strict`.
    """
    threshold = detector.calibration.threshold(false_positive_rate)
    columns = detector.columns
    assert columns is not None
    with Progress("scoring", 0, "rows") as bar:
        for table in tables.tables:
            first = 0
            for rows, mistakes in columns.encode(table):
                left_out = min(max(skip, 0), len(rows))
                skip -= left_out
                part = _Part(table.name, first + left_out, rows[left_out:], {
                    place - left_out: text for place, text in mistakes.items() if place >= left_out
                })  # fmt: skip
                if part.mistakes and strict:
                    place = min(part.mistakes)
                    raise DataError(
                        f"{table.name}, row {part.first + place + 1}, {part.mistakes[place]}"
                    )
                yield from _scored(detector, columns, part, threshold)
                first += len(rows)
                bar.advance(len(rows))


@dataclass(frozen=True)
class _Part:
    """Some rows of a file, encoded.

    Attributes:
        file: its name.
        first: the place of the first row in it.
        rows: float64 `[n, features]`.
        mistakes: place among these rows → why it cannot be scored.
    """

    file: str
    first: int
    rows: NDArray[np.float64]
    mistakes: dict[int, str]


def _scored(
    detector: Detector, columns: Columns, part: _Part, threshold: float
) -> Iterator[TableRow]:
    if not len(part.rows):
        return
    images = columns.images(part.rows, part.file)
    with silence():
        scores = detector.score(images)
    p_values = detector.calibration.p_value(np.where(np.isnan(scores), np.inf, scores))
    flagged = [
        place for place, score in enumerate(scores)
        if score > threshold and place not in part.mistakes
    ]  # fmt: skip
    rows = np.array(flagged, np.int64)
    own = reasons(detector, images[rows], columns, exact=part.rows[rows]) if flagged else []
    told = dict(zip(flagged, own, strict=True))
    for place, (score, p_value) in enumerate(zip(scores, p_values, strict=True)):
        index = part.first + place
        if place in part.mistakes:
            yield TableRow(part.file, index, error=part.mistakes[place])
        elif not np.isfinite(score):
            yield TableRow(part.file, index, error=f"the score is {score}; choose another one")
        else:
            yield TableRow(
                part.file, index, float(score), float(p_value), int(score > threshold),
                reasons=". ".join(reason.text for reason in told.get(place, ())),
            )  # fmt: skip
