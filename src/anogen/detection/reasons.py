"""Why a row of a table has the score that it has: how much of it goes with each column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anogen.data.column import Column
from anogen.data.columns import Columns, refuse_mistakes
from anogen.data.images import Images
from anogen.data.scaling import standardised
from anogen.data.tables import Table
from anogen.detection.detector import Detector
from anogen.detection.scores.surprises import COMPARED
from anogen.progress import silence

MOST_AT_ONCE = 20_000
"""Changed rows that are scored at once."""
LEAST = 0.05
"""What adds less to a score, in its unit, is no reason,"""
SHARE = 0.1
"""nor is what adds less than this share of what the first reason adds."""
MOST_VALUES = 16_000_000
"""Of changed rows that are held at once."""
TYPICAL = 0.5
"""The median of a column, as rows are kept."""


@dataclass(frozen=True)
class Reason:
    """What one column adds to the score of a row.

    Attributes:
        column: its name.
        share: how much lower the score is where this column has the value that it has in the most
            similar training row; in the score's unit.
        value: of the row, as text.
        usual: what replaced it: the value in the most similar training row, or the median.
        text: all of it in words.
    """

    column: str
    share: float
    value: str
    usual: str
    text: str


def reasons(
    detector: Detector,
    rows: Images,
    columns: Columns | Sequence[str],
    most: int = 3,
    cells: Sequence[Mapping[str, str]] | None = None,
) -> list[list[Reason]]:
    """The columns to which the rows owe most of their scores, the largest share first.

    For each column the row is scored again with the value that the training row has which is most
    similar in all other columns, of up to 1,000 of them; of a detector that keeps none of them with
    the column's median. So the column that is named first is the one whose removal lowers the score
    most.

    Args:
        detector: fitted on these columns.
        rows: of a table.
        columns: what they are; or only their names, where each is one number.
        most: reasons for each row; fewer where fewer columns add to the score.
        cells: each row as it stands in the table, name → text; default: what its numbers say.

    Examples:
        >>> import anogen, numpy as np
        >>> table = np.random.default_rng(0).normal(size=(300, 3))
        >>> detector = anogen.OutlierDetector().fit(table)
        >>> [[reason.column for reason in row] for row in detector.explain([[0.1, 40.0, 0.2]])]
        [['x1']]
    """
    places = (
        columns.slices if isinstance(columns, Columns)
        else {name: [index] for index, name in enumerate(columns)}
    )  # fmt: skip
    values = _values(rows)
    step = max(1, MOST_VALUES // max(1, len(places) * values.shape[1]))
    if len(values) > step:
        told: list[list[Reason]] = []
        for start in range(0, len(values), step):
            some = slice(start, start + step)
            told += reasons(
                detector, rows[some], columns, most, None if cells is None else cells[some]
            )
        return told
    shares, usual = _shares(detector, values, list(places.values()))
    about = {column.name: column for column in columns.columns} if isinstance(
        columns, Columns
    ) else {}  # fmt: skip
    names = list(places)
    where = "in the most similar training row" if COMPARED in detector.state else "is the median"
    found: list[list[Reason]] = []
    for row, own in enumerate(shares):
        least = max(LEAST, SHARE * float(own.max()))
        found.append([
            _reason(names[index], about.get(names[index]), float(own[index]),
                    _cell(columns, values[row], names[index], places) if cells is None
                    else cells[row][names[index]],
                    _cell(columns, usual[row, index], names[index], places), where)
            for index in np.argsort(-own, kind="stable")[:most] if own[index] > least
        ])  # fmt: skip
    return found


def reasons_of(
    detector: Detector, columns: Columns, table: Any, most: int = 3
) -> list[list[Reason]]:
    """As `reasons`, of a `Table`, a frame or the path of one, with values as they stand there."""
    if isinstance(table, str | Path):
        table = Table.open(table, columns.encoding)
    elif not isinstance(table, Table):
        table = Table.of(table)
    found: list[list[Reason]] = []
    for part in columns.encode(table):
        refuse_mistakes(table, part)
        cells = [part.cells(place) for place in range(len(part.rows))]
        found += reasons(detector, columns.images(part.rows), columns, most, cells)
    return found


def _shares(
    detector: Detector, values: NDArray[np.float32], places: list[list[int]]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """How far the score falls without each column, `[n, columns]`, and the rows that replace it."""
    compared = detector.state.get(COMPARED)
    if compared is not None and (compared.ndim != 2 or compared.shape[1] != values.shape[1]):
        compared = None
    usual = np.empty((len(values), len(places), values.shape[1]), np.float32)
    for index, own in enumerate(places):
        usual[:, index] = _most_similar(values, compared, own)
    with silence():
        before = detector.score(_images(values))
        after = np.empty((len(values), len(places)))
        step = max(1, MOST_AT_ONCE // max(1, len(places)))
        for start in range(0, len(values), step):
            part = np.repeat(values[start : start + step, None], len(places), 1)
            for index, own in enumerate(places):
                part[:, index, own] = usual[start : start + step, index][:, own]
            scores = detector.score(_images(part.reshape(-1, values.shape[1])))
            after[start : start + step] = scores.reshape(-1, len(places))
    return before[:, None] - after, usual


def _most_similar(
    values: NDArray[np.float32], compared: torch.Tensor | None, own: list[int]
) -> NDArray[np.float32]:
    """For each row the training row that is nearest in all other columns."""
    if compared is None:
        return np.full_like(values, TYPICAL)
    if len(own) == values.shape[1]:
        return np.broadcast_to(compared.median(0).values.numpy(), values.shape)
    rest = np.setdiff1d(np.arange(values.shape[1]), own)
    rows = standardised(torch.from_numpy(values[:, rest]))
    others = standardised(compared[:, rest])
    scale = others.std(0, correction=0).clamp(min=1e-9)
    nearest = torch.cdist(rows / scale, others / scale, p=1).argmin(1)
    return compared[nearest].numpy()


def _values(rows: Images) -> NDArray[np.float32]:
    """float32 `[n, features]` in [0, 1]."""
    return np.array(rows.pixels[:])[:, 0, 0]


def _images(values: NDArray[np.float32]) -> Images:
    return Images(np.ascontiguousarray(values)[:, None, None], "rows")


def _cell(
    columns: Columns | Sequence[str],
    values: NDArray[np.float32],
    name: str,
    places: Mapping[str, list[int]],
) -> str:
    """The value of one column of a row, as text."""
    if isinstance(columns, Columns):
        return columns.shown(columns.unscaled(values))[name]
    z = standardised(torch.from_numpy(values[places[name]]))
    return f"{float(z[0]):.3g} spreads from the median"


def _reason(
    name: str, column: Column | None, share: float, value: str, usual: str, where: str
) -> Reason:
    text = f"{name} is missing" if value == "missing" else f"{name} {value}"
    place = "" if column is None else _place(column, value)
    text += f" ({place})" if place else ""
    if usual != value:
        text += f"; {usual} {where}"
    return Reason(name, share, value, usual, text)


def _place(column: Column, value: str) -> str:
    """Where a value lies among those of the training rows."""
    if column.kind == "category" and value != "missing":
        count, total = column.levels.get(value, 0), sum(column.levels.values())
        return f"{count / total:.1%} of training rows" if count else "in no training row"
    if column.kind != "number" or value == "missing":
        return ""
    ranks = np.array(column.percentiles)
    try:
        number = float(value)
    except ValueError:  # true, in a column of numbers
        return ""
    if number > ranks[-1]:
        return f"training rows have at most {ranks[-1]:g}"
    if number < ranks[0]:
        return f"training rows have at least {ranks[0]:g}"
    place = int(np.searchsorted(ranks, number, "right")) - 1
    return f"percentile {min(place, 99)} of training rows" if place < 5 or place > 95 else ""
