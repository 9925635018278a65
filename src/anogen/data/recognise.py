"""What a column holds is told by all its values, part by part."""

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.cells import (
    Values,
    dates_in,
    missing_in,
    numbers_in,
    plain_array,
    texts_in,
    type_of,
)
from anogen.data.column import DAY_S, Column, Kind
from anogen.data.tables import compute
from anogen.errors import DataError

MOST_LEVELS = 1_000
"""A column of text with more different values is free text, unless it is said to be a category."""
SHARE_OF_LEVELS = 0.2
"""And so is one with more than this share of its values different, where they are more than 50."""
FEW_LEVELS = 50
MOSTLY = 0.5
"""A column of text with a larger share of numbers, or dates, is one with mistakes in it."""
SAMPLE = 100_000
"""So many rows, evenly spaced, tell medians and percentiles."""


class Study:
    """What is learnt of one column while its parts go by."""

    def __init__(self, name: str, kind: str | None) -> None:
        self.name, self.kind = name, kind
        self.rows = self.learnt = self.missing = self.values = 0
        self.typed = self.other = ""
        self.numbers = self.dates = 0
        self.odd: dict[str, tuple[int, str]] = {}
        self.whole, self.increasing, self.last = True, True, -math.inf
        self.times = False
        self.levels: Counter[str] = Counter()
        self.many = False
        self.sample = Thinned()

    def see(self, array: Any, row: int, used: NDArray[np.bool_] | None) -> None:
        """Take a part of the column, of which the first is row `row` of the table."""
        import pyarrow as pa

        pc = compute()

        array = plain_array(array)
        self.typed = type_of(array.type)
        self.other = f"of the type {array.type}" if self.typed == "other" else ""
        there = ~missing_in(array)
        count = int(there.sum())
        chosen = there if used is None else there & used
        self.rows += len(there)
        self.learnt += len(there) if used is None else int(used.sum())
        self.missing += (len(there) if used is None else int(used.sum())) - int(chosen.sum())
        self.values += count
        if not count or self.kind == "ignored":
            return
        if self.typed in ("text", "number") and self.kind in (None, "number"):
            numbers = numbers_in(array)
            valid = np.isfinite(numbers) & there
            self.numbers += int(valid.sum())
            own = numbers[valid]
            if len(own):
                self.whole &= bool((own == np.floor(own)).all())
                steps = np.diff(own, prepend=self.last)
                self.increasing &= bool((steps > 0).all())
                self.last = float(own[-1])
            self._note("number", array, there & ~valid, row)
            self.sample.add(numbers[chosen & valid][:, None])
        if self.typed in ("text", "date") and self.kind in (None, "date"):
            when = dates_in(array)
            valid = ~np.isnat(when) & there
            self.dates += int(valid.sum())
            seconds = when[valid].astype("datetime64[s]").astype(np.int64)
            self.times |= bool((seconds % DAY_S != 0).any())
            self._note("date", array, there & ~valid, row)
        text = self.kind is None and self.typed in ("text", "truth") and not self.many
        if text or self.kind == "category":
            counts = pc.value_counts(texts_in(array).filter(pa.array(chosen)))
            for entry in counts.to_pylist():
                self.levels[entry["values"]] += entry["counts"]
            self.many = len(self.levels) > MOST_LEVELS

    def _note(self, kind: Kind, array: Any, odd: NDArray[np.bool_], row: int) -> None:
        """Keep the first value that is not of a kind."""
        if kind not in self.odd and odd.any():
            place = int(np.flatnonzero(odd)[0])
            self.odd[kind] = row + place + 1, str(array[place].as_py())

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
                self._refuse_odd(table, kind, "a number")
            if self.kind is None and self._is_identifier():
                return Column(self.name, "ignored", "numbers the rows")
            sample = self.sample.rows()[:, 0]
            if not len(sample):
                return Column(self.name, "ignored", "has no values in the training rows")
            ranks = np.percentile(sample, np.arange(101))
            return Column(self.name, "number", "", missing, tuple(ranks.tolist()))
        if kind == "date":
            if self.dates < self.values:
                self._refuse_odd(table, kind, "a date such as 2024-01-31 13:45:00")
            return Column(self.name, "date", "", missing, times=self.times)
        if kind == "ignored":
            return Column(self.name, "ignored", self.other or "free text, of many different values")
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
            if (count > MOSTLY * self.values or self.typed == kind) and kind in self.odd:
                row, value = self.odd[kind]
                raise DataError(
                    f"{table}, row {row}, column {self.name}: {value!r}, where most rows have "
                    f"{what}; repair it, or take the column as a category or leave it out with "
                    f"columns (--columns.{self.name} category, --columns.{self.name} ignored)"
                )
        several = len(self.levels) > max(FEW_LEVELS, SHARE_OF_LEVELS * self.values)
        return "ignored" if self.many or several else "category"

    def _is_identifier(self) -> bool:
        return self.whole and self.increasing and self.values == self.rows > FEW_LEVELS

    def _refuse_odd(self, table: str, kind: Kind, what: str) -> None:
        if kind not in self.odd:
            raise DataError(f"{table}, column {self.name}: holds no {kind}s, as its type says")
        row, value = self.odd[kind]
        raise DataError(f"{table}, row {row}, column {self.name}: {value!r} is not {what}")


class Thinned:
    """At most 100,000 of the rows that it is given, evenly spaced, and no fewer than half of it."""

    def __init__(self) -> None:
        self._step, self._seen, self._kept = 1, 0, list[Values]()

    def add(self, rows: Values) -> None:
        """Take more rows, `[n, d]`."""
        first = -self._seen % self._step
        self._kept.append(rows[first :: self._step].copy())
        self._seen += len(rows)
        while sum(map(len, self._kept)) > SAMPLE:
            self._kept = [np.concatenate(self._kept)[::2]]
            self._step *= 2

    def rows(self) -> Values:
        """Those that are kept."""
        return np.concatenate(self._kept)
