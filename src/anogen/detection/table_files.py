"""Scores of tables in files: one row for each row, with reasons, to be resumed where it stopped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anogen.data.columns import Columns, Encoded, refuse_mistakes
from anogen.data.images import Images
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
    def open(
        cls, paths: Sequence[str | Path], encoding: str | None = None, growing: bool = False
    ) -> "Tables":
        """CSV, TSV and parquet files, in the order given; for the errors see `Table.open`."""
        return cls([replace(Table.open(path, encoding), growing=growing) for path in paths])

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
    count = sum(table.count() for table in tables.tables)
    with Progress("scoring", count, "rows") as bar:
        for table in tables.tables:
            for encoded in columns.encode(table):
                left_out = min(max(skip, 0), len(encoded.rows))
                skip -= left_out
                part = encoded.without(left_out)
                if strict:
                    refuse_mistakes(table, part)
                if len(part.rows):
                    yield from _scored(detector, columns, table.name, part, threshold)
                bar.advance(len(encoded.rows))
    if skip > 0:
        raise DataError(f"{tables.tables[-1].name}: has fewer rows than were scored before")


def _scored(
    detector: Detector, columns: Columns, file: str, part: Encoded, threshold: float
) -> Iterator[TableRow]:
    images = columns.images(part.rows, file)
    with silence():
        scores = detector.score(images)
    p_values = detector.calibration.p_value(np.where(np.isnan(scores), np.inf, scores))
    flagged = [
        place for place, score in enumerate(scores)
        if score > threshold and place not in part.mistakes
    ]  # fmt: skip
    cells = [part.cells(place) for place in flagged]
    own = reasons(detector, images[np.array(flagged)], columns, cells=cells) if flagged else []
    told = dict(zip(flagged, own, strict=True))
    for place, (score, p_value) in enumerate(zip(scores, p_values, strict=True)):
        index = part.first + place
        if place in part.mistakes:
            yield TableRow(file, index, error=part.mistakes[place])
        elif not np.isfinite(score):
            yield TableRow(file, index, error=f"the score is {score}; choose another one")
        else:
            yield TableRow(
                file, index, float(score), float(p_value), int(score > threshold),
                reasons=". ".join(reason.text for reason in told.get(place, ())),
            )  # fmt: skip


@dataclass(frozen=True)
class Anomaly:
    """A row of a table that is far out.

    Attributes:
        index: its place in the table, from 0.
        score: as the detector gives it.
        p_value: conformal.
        cells: name of a column → its value, as it stands in the table.
        reasons: in words, the largest share first.
    """

    index: int
    score: float
    p_value: float
    cells: dict[str, str]
    reasons: list[str]


def most_anomalous(
    detector: Detector, table: Table, among: NDArray[np.int64], count: int = 10
) -> list[Anomaly]:
    """The rows of a table that are furthest out, the furthest first, with their reasons.

    Args:
        detector: of a run of this table.
        table: the table.
        among: places of the rows to consider, ascending: none that was learnt from.
        count: how many.
    """
    columns = detector.columns
    assert columns is not None
    furthest: list[tuple[float, int, dict[str, str], Images]] = []
    for encoded in columns.encode(table):
        images = columns.images(encoded.rows, table.name)
        scores = detector.score(images)
        places = np.arange(encoded.first, encoded.first + len(scores))
        scores[~np.isin(places, among)] = -np.inf
        for place in np.argsort(-scores, kind="stable")[:count].tolist():
            furthest.append((
                float(scores[place]), encoded.first + place, encoded.cells(place),
                images[place : place + 1],
            ))  # fmt: skip
        furthest = sorted(furthest, key=lambda row: (-row[0], row[1]))[:count]
    return [
        Anomaly(
            index, score, float(detector.calibration.p_value(np.array([score]))[0]), cells,
            [each.text for each in reasons(detector, image, columns, cells=[cells])[0]],
        )
        for score, index, cells, image in furthest
    ]  # fmt: skip
