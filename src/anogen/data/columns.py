"""The columns of a table together: recognised, a row as numbers, and all of it as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anogen.data.cells import Values, shown_cell
from anogen.data.column import ENCODERS, KINDS, Column, refuse_damaged, shown_features
from anogen.data.images import Images
from anogen.data.recognise import Study, Thinned
from anogen.data.scaling import Scaling, standardised
from anogen.data.tables import Part, Table
from anogen.errors import DataError, unknown_name
from anogen.progress import say


@dataclass(frozen=True)
class Encoded:
    """Some rows of a table as numbers.

    Attributes:
        first: place of the first row in the table, from 0.
        rows: float64 `[n, features]`, unscaled; a row with a mistake is 0.
        mistakes: place among these rows → what is wrong with it: a number that is none, or is
            infinite.
        part: the same rows as they stand in the table.
    """

    first: int
    rows: Values
    mistakes: dict[int, str]
    part: Part = field(repr=False)

    def without(self, count: int) -> "Encoded":
        """All but the first so many rows."""
        mistakes = {place - count: text for place, text in self.mistakes.items() if place >= count}
        return Encoded(self.first + count, self.rows[count:], mistakes, self.part.slice(count))

    def cells(self, place: int) -> dict[str, str]:
        """A row as it stands in the table: name of a column → its value, as text."""
        (row,) = self.part.slice(place, 1).to_pylist()
        return {name: shown_cell(value) for name, value in row.items()}


@dataclass(frozen=True)
class Columns:
    """The columns of a table, and how its rows become numbers.

    A number is one feature, centred on its median and divided by its spread (`Scaling`). A category
    has a feature for each of its 30 most frequent levels and one for all others, unseen ones among
    them. A date has its weekday and its time of day on a circle, not its place in time, because
    every new row is later than all training rows. Every column has a feature for a missing value.
    What no training row has, such as an unseen level or a first missing value, counts as if one
    more row had had it, and so is far out.

    Attributes:
        columns: in the order of the file.
        scaling: of all features.
        encoding: of the text file that they were learnt from, where it had to be told.

    Examples:
        >>> import pandas
        >>> frame = pandas.DataFrame({"amount": [1.0, 2.0, 3.0, 90.0], "country": list("aaab")})
        >>> columns = Columns.of(Table.of(frame))
        >>> [column.kind for column in columns.columns]
        ['number', 'category']
        >>> columns.features
        ('amount', 'amount.missing', 'country=a', 'country=b', 'country=other', 'country.missing')
        >>> new = pandas.DataFrame({"amount": [2.0], "country": ["c"]})
        >>> encoded = next(columns.encode(Table.of(new)))
        >>> encoded.rows.tolist(), encoded.cells(0)
        ([[2.0, 0.0, 0.0, 0.0, 1.0, 0.0]], {'amount': '2', 'country': 'c'})
    """

    columns: tuple[Column, ...]
    scaling: Scaling
    encoding: str | None = None

    @classmethod
    def of(
        cls,
        table: Table,
        kinds: Mapping[str, str] | None = None,
        used: NDArray[np.bool_] | None = None,
    ) -> Self:
        """Recognise the columns of a table and learn from its rows.

        Args:
            table: with at least one row.
            kinds: name of a column → `number`, `category`, `date` or `ignored`, where it is to be
                taken as something else than what it seems to be.
            used: bool `[rows]`, those from which levels, percentiles and scales are learnt; what a
                column holds is told by all rows.

        Raises:
            UsageError: a name in `kinds` that is no column, or no such kind.
            DataError: a column mixes numbers and text (with the row), no column is left, or a value
                is infinite.
        """
        kinds = _checked(kinds or {}, table)
        studies = [Study(name, kinds.get(name)) for name in table.names]
        row = 0
        for part in table.parts():
            chosen = None if used is None else used[row : row + part.num_rows]
            for study, name in zip(studies, table.names, strict=True):
                study.see(part.column(name), row, chosen)
            row += part.num_rows
        if not row:
            raise DataError(f"{table.name}: has no rows")
        columns = tuple(study.column(table.name) for study in studies)
        if all(column.kind == "ignored" for column in columns):
            told = "; ".join(f"{column.name}: {column.reason}" for column in columns[:5])
            raise DataError(f"{table.name}: no column is left to learn from ({told})")
        encoding = None if table.encoding in ("utf-8", "utf-16") else table.encoding
        plain = cls(columns, Scaling(np.zeros(0), np.ones(0)), encoding)
        return replace(plain, scaling=plain._scaling(table, used))

    @property
    def features(self) -> tuple[str, ...]:
        """The names of all features, in order."""
        return tuple(name for column in self.columns for name in column.features)

    @property
    def slices(self) -> dict[str, list[int]]:
        """Name of a column that is used → the places of its features."""
        places: dict[str, list[int]] = {}
        start = 0
        for column in self.columns:
            count = len(column.features)
            if count:
                places[column.name] = list(range(start, start + count))
            start += count
        return places

    def _scaling(self, table: Table, used: NDArray[np.bool_] | None) -> Scaling:
        """Of features that are numbers as `Scaling.of`; of those that are 0 or 1 by their rates."""
        sampled = Thinned()
        row = 0
        for encoded in self.encode(table):
            refuse_mistakes(table, encoded)
            rows = encoded.rows
            chosen = np.ones(len(rows), bool) if used is None else used[row : row + len(rows)]
            sampled.add(rows[chosen])
            row += len(rows)
        rows = sampled.rows()
        scaling = Scaling.of(rows)
        slices = self.slices
        numbers = [slices[column.name][0] for column in self.columns if column.kind == "number"]
        other = ~np.isin(np.arange(len(self.features)), numbers)
        once = 1 / (len(rows) + 1)  # the rate of what never happened, as if it had once more
        centre, spread = scaling.centre.copy(), scaling.spread.copy()
        centre[other] = rows[:, other].mean(0)
        spread[other] = np.sqrt(np.maximum(rows[:, other].var(0), once * (1 - once)))
        return Scaling(centre, spread)

    def encode(self, table: Table) -> Iterator[Encoded]:
        """The rows of a table as features, part by part.

        Columns are found by their names, in any order.

        Raises:
            DataError: a column is missing.
        """
        self.refuse_missing(table)
        needed = [column for column in self.columns if column.kind != "ignored"]
        first = 0
        for part in table.parts():
            yield self._encode(part, needed, first)
            first += part.num_rows

    def refuse_missing(self, table: Table) -> None:
        """Raise a `DataError` where a table lacks a column that was learnt from."""
        needed = [column.name for column in self.columns if column.kind != "ignored"]
        missing = [name for name in needed if name not in table.names]
        if missing:
            known = {column.name for column in self.columns}
            new = [name for name in table.names if name not in known]
            close = get_close_matches(missing[0], new, 1)
            raise DataError(
                f"{table.name}: the column {missing[0]!r} is missing"
                + (f", and so are {len(missing) - 1} others" if len(missing) > 1 else "")
                + (f"; was it renamed to {close[0]!r}?" if close else "")
            )

    def _encode(self, part: Part, needed: Sequence[Column], first: int) -> Encoded:
        mistakes: dict[int, str] = {}
        rows = np.column_stack(
            [ENCODERS[each.kind](each, part.column(each.name), mistakes) for each in needed]
        )
        rows[list(mistakes)] = 0
        return Encoded(first, rows, mistakes, part)

    def images_of(self, table: Any) -> Images:
        """All rows of a table, or of a frame, as images.

        Raises:
            DataError: a column is missing, or a row has a mistake, with its number.
        """
        table = table if isinstance(table, Table) else Table.of(table)
        parts: list[Values] = []
        for encoded in self.encode(table):
            refuse_mistakes(table, encoded)
            parts.append(encoded.rows)
        if not parts:
            raise DataError(f"{table.name}: has no rows")
        return self.images(np.concatenate(parts), table.name)

    def images(self, rows: Values, name: str = "table") -> Images:
        """Encoded rows as images of height 1, for models: float32 `[n, 1, 1, features]`."""
        return Images(self.scaling.squashed(rows).astype(np.float32)[:, None, None], name)

    def unscaled(self, values: NDArray[np.float32]) -> Values:
        """The encoded rows of what `images` made of them: float64 `[..., features]`."""
        import torch

        z = standardised(torch.from_numpy(np.ascontiguousarray(values))).numpy()
        return self.scaling.centre + z * self.scaling.spread

    def say_left_out(self, name: str = "the table", besides: str | None = None) -> None:
        """Say which columns are not learnt from, but for one that was asked to be."""
        for column in self.columns:
            if column.kind == "ignored" and column.name != besides:
                say(f"{name}: column {column.name} is left out: {column.reason}")

    def shown(self, row: Values) -> dict[str, str]:
        """An encoded row as a person reads it: name of a column → its value."""
        cells: dict[str, str] = {}
        slices = self.slices
        for column in self.columns:
            places = slices.get(column.name)
            if places:
                cells[column.name] = shown_features(column, row[places])
        return cells

    def content(self) -> dict[str, Any]:
        """All there is to it, for JSON; see `of_content`."""
        return {
            "columns": [asdict(column) for column in self.columns],
            "encoding": self.encoding,
            "centre": self.scaling.centre.tolist(),
            "spread": self.scaling.spread.tolist(),
        }

    @classmethod
    def of_content(cls, content: Mapping[str, Any]) -> Self:
        """From what `content` gave.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        for column in content["columns"]:
            refuse_damaged(column)
        columns = tuple(
            replace(Column(**column), percentiles=tuple(column["percentiles"]))
            for column in content["columns"]
        )
        scaling = Scaling(np.array(content["centre"], float), np.array(content["spread"], float))
        made = cls(columns, scaling, content.get("encoding"))
        if not (
            all(column.kind in KINDS for column in columns)
            and scaling.centre.shape == scaling.spread.shape == (len(made.features),)
            and np.isfinite(scaling.centre).all()
            and np.isfinite(scaling.spread).all()
            and (scaling.spread > 0).all()
        ):
            raise ValueError("the columns do not fit their scales")
        return made


def refuse_mistakes(table: Table, encoded: Encoded) -> None:
    """Raise a `DataError` for the first row that has a mistake, with its number from 1."""
    if encoded.mistakes:
        place = min(encoded.mistakes)
        row = encoded.first + place + 1
        raise DataError(f"{table.name}, row {row}, {encoded.mistakes[place]}")


def _checked(kinds: Mapping[str, str], table: Table) -> Mapping[str, str]:
    for name, kind in kinds.items():
        if name not in table.names:
            raise unknown_name("column", name, table.names)
        if kind not in KINDS:
            raise unknown_name("kind of column", str(kind), KINDS)
    return kinds
