"""One column of a table: what it holds, and how its values become features and are shown again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from anogen.data.cells import (
    Values,
    dates_in,
    missing_in,
    numbers_in,
    plain_array,
    texts_in,
    type_of,
)

Kind = Literal["number", "category", "date", "ignored"]
KINDS: tuple[str, ...] = get_args(Kind)
ONE_HOT = 30
"""So many levels, the most frequent ones, get a feature of their own; the others share one."""
TRUTH = {"true": "true", "1": "true", "yes": "true", "false": "false", "0": "false", "no": "false"}
"""How true and false may be written, in lower case."""
DAY_S, WEEK_DAYS = 86_400, 7


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


def refuse_damaged(column: Any) -> None:
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


def _encode_number(column: Column, array: Any, mistakes: dict[int, str]) -> Values:
    array = plain_array(array)
    there = ~missing_in(array)
    numbers = numbers_in(array) if type_of(array.type) in ("text", "number", "truth") else np.full(
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
    array = plain_array(array)
    there = ~missing_in(array)
    texts = np.asarray(texts_in(array).to_numpy(zero_copy_only=False), object)
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
    array = plain_array(array)
    there = ~missing_in(array)
    when = dates_in(array)
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


ENCODERS = {
    "number": _encode_number, "category": _encode_category, "date": _encode_date,
}  # fmt: skip


def shown_features(column: Column, features: Values) -> str:
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
