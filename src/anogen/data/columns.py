"""What the columns of a table hold, and how a row becomes numbers and can be shown again."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images
from anogen.data.scaling import Scaling
from anogen.data.tables import Part, Table, compute
from anogen.errors import DataError, unknown_name

Kind = Literal["number", "category", "date", "ignored"]
KINDS: tuple[str, ...] = get_args(Kind)
MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))
"""Cells of a text file that say that a value is missing, whatever their case."""
MOST_LEVELS = 1_000
"""A column of text with more different values is free text, unless it is said to be a category."""
SHARE_OF_LEVELS = 0.2
"""And so is one with more than this share of its values different, where they are more than 50."""
FEW_LEVELS = 50
ONE_HOT = 30
"""So many levels, the most frequent ones, get a feature of their own; the others share one."""
MOSTLY = 0.5
"""A column of text with a larger share of numbers, or dates, is one with mistakes in it."""
SAMPLE = 100_000
"""So many rows, evenly spaced, tell medians and percentiles."""
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"
DATE = r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?$"
TRUTH = {"true": "true", "1": "true", "yes": "true", "false": "false", "0": "false", "no": "false"}
"""How true and false may be written, in lower case."""
DAY_S, WEEK_DAYS = 86_400, 7
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One column of a table, as the training rows have it.

    Attributes:
        name: as in the file.
        kind: `number`, `category` (text or true and false), `date` (with or without a time), or
            `ignored`.
        reason: why it is ignored.
        missing: share of the training rows without a value.
        percentiles: 101 of the training values, of a number, ascending.
        levels: name → count, the most frequent first, of a category.
        times: whether a date has a time of day.
    """

    name: str
    kind: Kind
    reason: str = ""
    missing: float = 0.0
    percentiles: tuple[float, ...] = ()
    levels: Mapping[str, int] = field(default_factory=dict[str, int])
    times: bool = False

    @property
    def own_levels(self) -> list[str]:
        """The levels that have a feature of their own."""
        return list(self.levels)[:ONE_HOT]

    @property
    def features(self) -> list[str]:
        """The names of its features, in order."""
        if self.kind == "ignored":
            return []
        own = {
            "number": [""],
            "category": [*(f"={level}" for level in self.own_levels), "=other"],
            "date": [".weekday_sin", ".weekday_cos"]
            + ([".time_sin", ".time_cos"] if self.times else []),
        }[self.kind]
        return [f"{self.name}{ending}" for ending in (*own, ".missing")]

    def shown(self) -> str:
        """What was recognised, in a few words."""
        missing = f", {self.missing:.1%} missing" if self.missing else ""
        if self.kind == "number":
            low, mid, high = (self.percentiles[index] for index in (0, 50, 100))
            return f"number, {low:g} to {high:g}, median {mid:g}{missing}"
        if self.kind == "category":
            first = ", ".join(list(self.levels)[:3])
            more = ", …" if len(self.levels) > 3 else ""
            return f"category of {len(self.levels)}: {first}{more}{missing}"
        if self.kind == "date":
            return f"date{' and time' if self.times else ''}{missing}"
        return f"ignored: {self.reason}"


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
        return {name: _text(value) for name, value in row.items()}


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
        studies = [_Study(name, kinds.get(name)) for name in table.names]
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
        sampled = _Thinned()
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
            [_ENCODERS[each.kind](each, part.column(each.name), mistakes) for each in needed]
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
        return self.named(self.scaling.squashed(rows).astype(np.float32), name)

    def named(self, squashed: NDArray[np.float32], name: str) -> Images:
        """Rows that are squashed already, `[n, features]`, likewise."""
        return Images(squashed[:, None, None], name)

    def shown(self, row: Values) -> dict[str, str]:
        """An encoded row as a person reads it: name of a column → its value."""
        cells: dict[str, str] = {}
        slices = self.slices
        for column in self.columns:
            places = slices.get(column.name)
            if places:
                cells[column.name] = _cell(column, row[places])
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
            _refuse_damaged(column)
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


def _refuse_damaged(column: Any) -> None:
    """Raise a `ValueError` for what describes no column."""
    ranks, levels = column["percentiles"], column["levels"]
    whole = len(ranks) == 101 if column["kind"] == "number" else not ranks
    if not (
        isinstance(column["name"], str)
        and whole
        and all(isinstance(rank, int | float) and math.isfinite(rank) for rank in ranks)
        and all(isinstance(count, int) and count > 0 for count in levels.values())
    ):
        raise ValueError("a column is not described as one")


def _checked(kinds: Mapping[str, str], table: Table) -> Mapping[str, str]:
    for name, kind in kinds.items():
        if name not in table.names:
            raise unknown_name("column", name, table.names)
        if kind not in KINDS:
            raise unknown_name("kind of column", str(kind), KINDS)
    return kinds


class _Study:
    """What is learnt of one column while its parts go by."""

    def __init__(self, name: str, kind: str | None) -> None:
        self.name, self.kind = name, kind
        self.rows = self.learnt = self.missing = self.values = 0
        self.typed: str = ""
        self.numbers = self.dates = 0
        self.odd: tuple[int, str] | None = None
        self.whole, self.increasing, self.last = True, True, -math.inf
        self.times = False
        self.levels: Counter[str] = Counter()
        self.many = False
        self.sample = _Thinned()

    def see(self, array: Any, row: int, used: NDArray[np.bool_] | None) -> None:
        """Take a part of the column, of which the first is row `row` of the table."""
        import pyarrow as pa

        pc = compute()

        array = _plain(array)
        self.typed = _typed(array.type)
        there = ~_missing(array)
        count = int(there.sum())
        chosen = there if used is None else there & used
        self.rows += len(there)
        self.learnt += len(there) if used is None else int(used.sum())
        self.missing += (len(there) if used is None else int(used.sum())) - int(chosen.sum())
        self.values += count
        if not count or self.kind == "ignored":
            return
        if self.typed in ("text", "number") and self.kind in (None, "number"):
            numbers = _numbers(array)
            valid = np.isfinite(numbers) & there
            self.numbers += int(valid.sum())
            own = numbers[valid]
            if len(own):
                self.whole &= bool((own == np.floor(own)).all())
                steps = np.diff(own, prepend=self.last)
                self.increasing &= bool((steps > 0).all())
                self.last = float(own[-1])
            self._note(array, there & ~valid, row)
            self.sample.add(numbers[chosen & valid][:, None])
        if self.typed in ("text", "date") and self.kind in (None, "date"):
            when = _dates(array)
            valid = ~np.isnat(when) & there
            self.dates += int(valid.sum())
            seconds = when[valid].astype("datetime64[s]").astype(np.int64)
            self.times |= bool((seconds % DAY_S != 0).any())
            self._note(array, there & ~valid, row)
        text = self.kind is None and self.typed in ("text", "truth") and not self.many
        if text or self.kind == "category":
            counts = pc.value_counts(_texts(array).filter(pa.array(chosen)))
            for entry in counts.to_pylist():
                self.levels[entry["values"]] += entry["counts"]
            self.many = len(self.levels) > MOST_LEVELS

    def _note(self, array: Any, odd: NDArray[np.bool_], row: int) -> None:
        """Keep the first value that is not like the others."""
        if self.odd is None and odd.any():
            place = int(np.flatnonzero(odd)[0])
            self.odd = row + place + 1, str(array[place].as_py())

    def column(self, table: str) -> Column:
        """What it holds."""
        missing = self.missing / max(1, self.learnt)
        if self.kind == "ignored":
            return Column(self.name, "ignored", "as asked")
        if not self.values:
            return Column(self.name, "ignored", "has no values")
        kind = self.kind or self._recognised(table)
        if kind == "number":
            if self.numbers < self.values:
                self._refuse_odd(table, "a number")
            if self.kind is None and self._is_identifier():
                return Column(self.name, "ignored", "numbers the rows")
            sample = self.sample.rows()[:, 0]
            if not len(sample):
                return Column(self.name, "ignored", "has no values in the training rows")
            ranks = np.percentile(sample, np.arange(101))
            return Column(self.name, "number", "", missing, tuple(ranks.tolist()))
        if kind == "date":
            if self.dates < self.values:
                self._refuse_odd(table, "a date such as 2024-01-31 13:45:00")
            return Column(self.name, "date", "", missing, times=self.times)
        if kind == "ignored":
            return Column(self.name, "ignored", "free text, nearly every value is another")
        levels = sorted(self.levels.items(), key=lambda level: (-level[1], level[0]))
        if not levels:
            return Column(self.name, "ignored", "has no values in the training rows")
        return Column(self.name, "category", "", missing, levels=dict(levels))

    def _recognised(self, table: str) -> Kind:
        if self.typed == "other":
            return "ignored"
        counts: tuple[tuple[Kind, int, str], ...] = (
            ("number", self.numbers, "numbers"), ("date", self.dates, "dates"),
        )  # fmt: skip
        for kind, count, what in counts:
            if count == self.values:
                return kind
            if (count > MOSTLY * self.values or self.typed == kind) and self.odd is not None:
                row, value = self.odd
                raise DataError(
                    f"{table}, row {row}, column {self.name}: {value!r}, where most rows have "
                    f"{what}; repair it, or take the column as a category or leave it out with "
                    f"columns (--columns.{self.name} category, --columns.{self.name} ignored)"
                )
        several = len(self.levels) > max(FEW_LEVELS, SHARE_OF_LEVELS * self.values)
        return "ignored" if self.many or several else "category"

    def _is_identifier(self) -> bool:
        return self.whole and self.increasing and self.values == self.rows > FEW_LEVELS

    def _refuse_odd(self, table: str, what: str) -> None:
        row, value = self.odd or (0, "")
        raise DataError(f"{table}, row {row}, column {self.name}: {value!r} is not {what}")


class _Thinned:
    """At most 100,000 of the rows that it is given, evenly spaced, and no fewer than half of it."""

    def __init__(self) -> None:
        self._step, self._seen, self._kept = 1, 0, list[Values]()

    def add(self, rows: Values) -> None:
        first = -self._seen % self._step
        self._kept.append(rows[first :: self._step].copy())
        self._seen += len(rows)
        while sum(map(len, self._kept)) > SAMPLE:
            self._kept = [np.concatenate(self._kept)[::2]]
            self._step *= 2

    def rows(self) -> Values:
        return np.concatenate(self._kept)


def _plain(array: Any) -> Any:
    """One array of a plain type: what is encoded as a dictionary is taken apart."""
    import pyarrow as pa

    pc = compute()
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if isinstance(whole, pa.ChunkedArray):  # of no chunks
        whole = pa.array([], whole.type)
    return pc.cast(whole, whole.type.value_type) if pa.types.is_dictionary(whole.type) else whole


def _typed(kind: Any) -> str:
    """What a column's type says of it: text, number, truth, date or other."""
    from pyarrow import types

    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "text"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_boolean(kind):
        return "truth"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "date"
    return "text" if types.is_null(kind) else "other"


def _missing(array: Any) -> NDArray[np.bool_]:
    """Where there is no value: bool `[n]`."""
    import pyarrow as pa

    pc = compute()
    kind = _typed(array.type)
    if kind == "number" and pa.types.is_floating(array.type):
        absent = pc.or_kleene(pc.is_null(array), pc.is_nan(array))
        absent = pc.fill_null(absent, True)
    elif kind == "text" and not pa.types.is_null(array.type):
        trimmed = pc.utf8_lower(pc.utf8_trim_whitespace(array))
        told = pa.array(sorted(MISSING), trimmed.type)
        absent = pc.or_(pc.is_null(array), pc.is_in(pc.fill_null(trimmed, ""), told))
    else:
        absent = pc.is_null(array)
    return np.asarray(absent.to_numpy(zero_copy_only=False), bool)


def _numbers(array: Any) -> Values:
    """The values as numbers, NaN where one is none: float64 `[n]`."""
    import pyarrow as pa

    pc = compute()
    if _typed(array.type) != "text":
        return np.asarray(
            pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64
        )
    trimmed = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    like = pc.match_substring_regex(trimmed, NUMBER)
    valid = pc.if_else(pc.fill_null(like, False), trimmed, None)
    return np.asarray(pc.cast(valid, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _dates(array: Any) -> NDArray[np.datetime64]:
    """The values as dates, NaT where one is none; a zone is passed over: datetime64[us] `[n]`."""
    import pyarrow as pa

    pc = compute()
    if _typed(array.type) == "date":
        if pa.types.is_timestamp(array.type) and array.type.tz is not None:
            array = pc.local_timestamp(array)
        whole = pc.cast(array, pa.timestamp("us"), safe=False)
    else:
        trimmed = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
        trimmed = pc.replace_substring_regex(trimmed, r"(Z|[+-]\d\d:?\d\d)$", "")
        like = pc.fill_null(pc.match_substring_regex(trimmed, DATE), False)
        valid = pc.if_else(like, trimmed, None)
        try:
            whole = pc.cast(valid, pa.timestamp("us"))
        except pa.ArrowInvalid:  # a day that no month has
            whole = pa.array(
                [_date_or_none(text) for text in valid.to_pylist()], pa.timestamp("us")
            )
    return np.asarray(whole.to_numpy(zero_copy_only=False), "datetime64[us]")


def _date_or_none(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def _texts(array: Any) -> Any:
    """The values as text, without spaces around them; true and false in lower case."""
    import pyarrow as pa

    pc = compute()
    plain = pc.utf8_trim_whitespace(pc.cast(array, pa.string()))
    lower = pc.utf8_lower(plain)
    truth = pc.is_in(lower, pa.array(["true", "false"]))
    return pc.if_else(truth, lower, plain)


def _encode_number(column: Column, array: Any, mistakes: dict[int, str]) -> Values:
    array = _plain(array)
    there = ~_missing(array)
    numbers = _numbers(array) if _typed(array.type) in ("text", "number", "truth") else np.full(
        len(there), np.nan
    )  # fmt: skip
    bad = there & ~np.isfinite(numbers)
    for place in np.flatnonzero(bad).tolist():
        value = array[place].as_py()
        mistakes.setdefault(place, f"column {column.name}: {value!r} is no finite number")
    middle = column.percentiles[50] if column.percentiles else 0.0
    values = np.where(there & ~bad, numbers, middle)
    return np.column_stack([values, (~there).astype(np.float64)])


def _encode_category(column: Column, array: Any, mistakes: dict[int, str]) -> Values:
    del mistakes
    array = _plain(array)
    there = ~_missing(array)
    texts = np.asarray(_texts(array).to_numpy(zero_copy_only=False), object)
    own = {level: place for place, level in enumerate(column.own_levels)}
    if set(own) <= set(TRUTH.values()):  # true and false may be written otherwise
        texts = np.array(
            [TRUTH.get(text.lower(), text) if text else text for text in texts], object
        )
    other = len(own)
    places = np.array([own.get(text, other) for text in texts], np.int64)
    features = np.zeros((len(places), other + 2))
    features[np.arange(len(places)), np.where(there, places, other + 1)] = 1
    return features


def _encode_date(column: Column, array: Any, mistakes: dict[int, str]) -> Values:
    array = _plain(array)
    there = ~_missing(array)
    when = _dates(array)
    bad = there & np.isnat(when)
    for place in np.flatnonzero(bad).tolist():
        value = str(array[place].as_py())
        mistakes.setdefault(place, f"column {column.name}: {value!r} is no date")
    known = there & ~bad
    seconds = np.where(known, when, np.datetime64(0, "us")).astype("datetime64[s]").astype(np.int64)
    weekday = (seconds // DAY_S + 3) % WEEK_DAYS  # 1970-01-01 was a Thursday
    circles = [_circle(weekday / WEEK_DAYS)]
    if column.times:
        circles.append(_circle(seconds % DAY_S / DAY_S))
    features = np.where(known[:, None], np.column_stack(circles), 0.0)
    return np.column_stack([features, (~there).astype(np.float64)])


def _circle(share: Values) -> Values:
    return np.column_stack([np.sin(2 * np.pi * share), np.cos(2 * np.pi * share)])


_ENCODERS = {
    "number": _encode_number, "category": _encode_category, "date": _encode_date,
}  # fmt: skip


def _cell(column: Column, features: Values) -> str:
    """What a column's features say, as text."""
    if features[-1] > 0.5:
        return "missing"
    if column.kind == "number":
        return f"{features[0]:g}"
    if column.kind == "category":
        return [*column.own_levels, "other"][int(features[:-1].argmax())]
    day = round(np.arctan2(features[0], features[1]) / (2 * np.pi) * WEEK_DAYS) % WEEK_DAYS
    text = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[day]
    if column.times:
        minutes = round(np.arctan2(features[2], features[3]) / (2 * np.pi) * 1440) % 1440
        text += f", {minutes // 60:02d}:{minutes % 60:02d}"
    return text


def _text(value: Any) -> str:
    """A cell as text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.9g}"
    text = str(value).strip()
    return "missing" if text.lower() in MISSING else text
