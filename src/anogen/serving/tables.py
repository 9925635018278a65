"""What a service remembers, as tables of a database and as records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

Verdict = Literal["good", "bad"]
VERDICTS: tuple[Verdict, ...] = ("good", "bad")

metadata = sa.MetaData()
SCORED = sa.Table(
    "scored", metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("item", sa.String(40), nullable=False, unique=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("stream", sa.String(255), nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("p_value", sa.Float, nullable=False),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("statistics", sa.Text, nullable=False),
)  # fmt: skip
FEEDBACK = sa.Table(
    "feedback", metadata,
    sa.Column("item", sa.String(40), primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("verdict", sa.String(10), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("p_value", sa.Float, nullable=False),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("picture", sa.LargeBinary, nullable=True),
)  # fmt: skip
WATCHES = sa.Table(
    "watches", metadata,
    sa.Column("model", sa.String(255), primary_key=True),
    sa.Column("stream", sa.String(255), primary_key=True),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
)  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """A score that was given.

    Attributes:
        item: a name of its own, which the client has.
        time: in seconds since 1970.
        model: name of the run.
        version: of it.
        stream: where it came from, as the client says; empty where it says nothing.
        score: of the detector.
        p_value: conformal.
        label: 1 for out.
        statistics: of the example, by name.
        number: in the order in which they were written, from 1.
    """

    item: str
    time: float
    model: str
    version: str
    stream: str
    score: float
    p_value: float
    label: int
    statistics: Mapping[str, float]
    number: int = 0


@dataclass(frozen=True)
class Judged:
    """What an operator says of a scored item.

    Attributes:
        item: its name.
        time: of the verdict, in seconds since 1970.
        verdict: `good` or `bad`.
        note: in words.
        model: name of the run that scored it.
        score: of the detector.
        p_value: conformal.
        label: 1 for out, as the client was told.
    """

    item: str
    time: float
    verdict: str
    note: str
    model: str
    score: float
    p_value: float
    label: int


@dataclass(frozen=True)
class Kept:
    """The state of a watch.

    Attributes:
        model: name of the run.
        stream: that it watches.
        version: of the run; a watch compares with one calibration.
        number: of the last row that it has seen.
        state: see `Watch.content`.
        summary: see `Watch.summary`.
    """

    model: str
    stream: str
    version: str
    number: int
    state: str
    summary: dict[str, Any]
