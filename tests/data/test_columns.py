"""Tables are read as what they are: kinds of columns, gaps, dates, each mistake with its row."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anogen.data.column import ONE_HOT
from anogen.data.columns import Columns
from anogen.data.tables import Table
from anogen.errors import DataError, UsageError

COUNT = 400


@pytest.fixture(scope="module")
def frame():
    random = np.random.default_rng(0)
    return pd.DataFrame({
        "id": np.arange(COUNT),
        "amount": random.lognormal(3, 1, COUNT).round(2),
        "country": random.choice(["FR", "DE", "US"], COUNT),
        "paid": random.random(COUNT) < 0.9,
        "when": pd.Timestamp("2024-01-01")
        + pd.to_timedelta(random.integers(0, 40 * 86_400, COUNT), unit="s"),
        "day": pd.date_range("2023-01-01", periods=COUNT).strftime("%Y-%m-%d"),
        "gap": np.where(random.random(COUNT) < 0.2, np.nan, random.normal(size=COUNT)),
        "note": [f"what was said on occasion {n}" for n in range(COUNT)],
        "empty": [None] * COUNT,
    })  # fmt: skip


KINDS = {
    "id": "ignored", "amount": "number", "country": "category", "paid": "category", "when": "date",
    "day": "date", "gap": "number", "note": "ignored", "empty": "ignored",
}  # fmt: skip


def written(frame, folder, how):
    """The frame as a table that came some way."""
    if how == "pandas":
        return Table.of(frame)
    if how == "polars":
        return Table.of(pl.from_pandas(frame))
    path = folder / f"table.{how}"
    if how == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if how == "tsv" else ",")
    return Table.open(path)


@pytest.mark.parametrize("how", ["csv", "tsv", "parquet", "pandas", "polars"])
def test_a_table_is_the_same_however_it_comes(frame, tmp_path, how):
    columns = Columns.of(written(frame, tmp_path, how))
    assert {column.name: column.kind for column in columns.columns} == KINDS
    about = {column.name: column for column in columns.columns}
    assert about["gap"].missing == pytest.approx(frame["gap"].isna().mean())
    assert about["amount"].percentiles[50] == pytest.approx(frame["amount"].median())
    assert dict(about["country"].levels) == frame["country"].value_counts().to_dict()
    assert about["when"].times
    assert not about["day"].times
    assert set(about["paid"].levels) == {"true", "false"}
    (first,) = columns.encode(written(frame, tmp_path, how))
    (again,) = Columns.of(Table.of(frame)).encode(Table.of(frame))
    assert not first.mistakes
    assert np.array_equal(first.rows, again.rows)


def test_it_comes_back_from_json(frame):
    columns = Columns.of(Table.of(frame))
    again = Columns.of_content(json.loads(json.dumps(columns.content())))
    assert again.features == columns.features
    assert again.columns == columns.columns
    images, same = columns.images_of(Table.of(frame)), again.images_of(Table.of(frame))
    assert np.array_equal(images.pixels, same.pixels)
    broken = columns.content()
    broken["spread"] = broken["spread"][:-1]
    with pytest.raises(ValueError, match="do not fit"):
        Columns.of_content(broken)


def test_a_row_can_be_shown_again(frame):
    columns = Columns.of(Table.of(frame))
    rows = _raw(columns, frame)
    for place in range(20):
        shown, truth = columns.shown(rows[place]), frame.iloc[place]
        assert shown["country"] == truth["country"]
        assert shown["paid"] == str(truth["paid"]).lower()
        assert float(shown["amount"]) == pytest.approx(truth["amount"], rel=1e-4)
        assert shown["when"] == truth["when"].strftime("%A, %H:%M") or truth["when"].second >= 30
        assert (shown["gap"] == "missing") == bool(np.isnan(truth["gap"]))


def test_what_no_training_row_has_is_far_out(frame):
    columns = Columns.of(Table.of(frame))
    new = frame.head(3).copy()
    new.loc[0, "country"] = "XX"
    new.loc[1, "amount"] = np.nan
    values = columns.images_of(Table.of(new)).pixels[:, 0, 0]
    names = list(columns.features)
    usual = columns.images_of(Table.of(frame)).pixels[:, 0, 0].max(0)
    for row, feature in ((0, "country=other"), (1, "amount.missing")):
        place = names.index(feature)
        assert values[row, place] > 0.75 > usual[place]  # three standard deviations are 0.75
        assert columns.shown(_raw(columns, new)[row])[feature.split("=")[0].split(".")[0]] in (
            "other", "missing",
        )  # fmt: skip


def _raw(columns, frame):
    return next(columns.encode(Table.of(frame))).rows


def test_columns_are_found_by_their_names(frame):
    columns = Columns.of(Table.of(frame))
    turned = frame[list(reversed(frame.columns))].assign(more=1)
    assert np.array_equal(_raw(columns, turned), _raw(columns, frame))
    with pytest.raises(DataError, match="'amount' is missing; was it renamed to 'amounts'"):
        columns.images_of(Table.of(frame.rename(columns={"amount": "amounts"})))


def test_a_category_of_many_levels_shares_one_feature_among_the_rare():
    levels = [f"m{number % 60}" for number in range(3_000)] + ["m0"] * 100
    columns = Columns.of(Table.of(pd.DataFrame({"merchant": levels})))
    assert len(columns.features) == ONE_HOT + 2
    assert columns.columns[0].own_levels[0] == "m0"


def test_columns_can_be_taken_as_something_else(frame):
    columns = Columns.of(Table.of(frame), {"amount": "category", "gap": "ignored", "id": "number"})
    kinds = {column.name: column.kind for column in columns.columns}
    assert (kinds["amount"], kinds["gap"], kinds["id"]) == ("category", "ignored", "number")
    with pytest.raises(UsageError, match="unknown column 'amont'; did you mean 'amount'"):
        Columns.of(Table.of(frame), {"amont": "number"})
    with pytest.raises(UsageError, match="unknown kind of column 'numeric'"):
        Columns.of(Table.of(frame), {"amount": "numeric"})
    with pytest.raises(DataError, match=r"row 1, column country: '..' is not a number"):
        Columns.of(Table.of(frame), {"country": "number"})


BAD = {
    "ragged": ("a,b\n1,2\n3,4,5\n", r"row 2: 3 cells, but the first line names 2"),
    "short": ("a,b\n1,2\n3\n", r"row 2: 1 cells"),
    "one name twice": ("a,a\n1,2\n", "two columns are called 'a'"),
    "no name": ("a,\n1,2\n", "column 2 has no name"),
    "no heading": ("1,2\n3,4\n", "numbers only"),
    "nothing": ("", "is empty"),
    "no rows": ("a,b\n", "has no rows"),
    "all missing": ("a,b\n,NA\nnan,\n", "no column is left"),
    "mixed": ("a\n1\n2\n3\nfour\n", r"row 4, column a: 'four', where most rows have numbers"),
    "infinite": ("a\n1\n2\n3\ninf\n", r"row 4, column a: 'inf'"),
    "an open quote": ('a,b\n"1,2\n3,4\n', "cells|quote|missing|CSV"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_row(tmp_path, name):
    text, message = BAD[name]
    path = tmp_path / "bad.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=message) as error:
        Columns.of(Table.open(path))
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_encodings_are_told_and_never_guessed(tmp_path):
    rows = [f"{name},{number}" for number, name in enumerate(["Zoë", "Müller"] * 40)]
    text = "\n".join(["name,value", *rows]) + "\n"
    expected = {"Zoë": 40, "Müller": 40}
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(text.encode(encoding))
        told = "latin-1" if encoding == "latin-1" else None
        levels = Columns.of(Table.open(path, told)).columns[0].levels
        assert dict(levels) == expected
    with pytest.raises(DataError, match=r"latin-1\.csv, line 2: not in utf-8; name .*encoding"):
        Columns.of(Table.open(tmp_path / "latin-1.csv"))


def test_the_odd_value_is_named_wherever_it_stands(tmp_path, monkeypatch):
    monkeypatch.setattr("anogen.data.tables.PART_BYTES", 8)
    path = tmp_path / "mixed.csv"
    for values, message in (
        (["x", *"12345678"], "row 1, column a: 'x'"),
        ([*"12345678", "x"], "row 9, column a: 'x'"),
        ([*["2024-01-02"] * 8, "x"], "row 9, column a: 'x', where most rows have dates"),
    ):
        path.write_text("\n".join(["a", *values]) + "\n", "utf-8")
        with pytest.raises(DataError, match=message):
            Columns.of(Table.open(path))


def test_rows_are_whole_wherever_a_block_ends(tmp_path, monkeypatch):
    path = tmp_path / "quoted.csv"
    texts = [f"{number}\nof {'many' * (number % 7)}" for number in range(200)]
    rows = "".join(f'{number},"{text}"\n' for number, text in enumerate(texts))
    path.write_text("a,b\n" + rows, "utf-8")
    whole = [row for part in Table.open(path).parts() for row in part.to_pylist()]
    assert [row["b"] for row in whole] == texts
    for size in (7, 50, 333):
        monkeypatch.setattr("anogen.data.tables.PART_BYTES", size)
        parts = [row for part in Table.open(path).parts() for row in part.to_pylist()]
        assert parts == whole
    path.write_text("a,b\n" + rows + "1,2,3\n", "utf-8")
    with pytest.raises(DataError, match="row 201: 3 cells"):
        list(Table.open(path).parts())
    path.write_text("a,b\n" + '1,5" pipe\n2,"x"\n' * 50, "utf-8")
    inches = [row["b"] for part in Table.open(path).parts() for row in part.to_pylist()]
    assert inches == ['5" pipe', "x"] * 50
    path.write_text('"a\nb",c\n1,2\n', "utf-8")
    (part,) = Table.open(path).parts()
    assert part.to_pylist() == [{"a\nb": "1", "c": "2"}]
    monkeypatch.setattr("anogen.data.tables.MOST_BYTES", 500)
    path.write_text('a,b\n1,"' + "2\n" * 600, "utf-8")
    with pytest.raises(DataError, match="never closed"):
        list(Table.open(path).parts())


def test_delimiters_are_seen_and_quotes_kept(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text('a;b\n1;"x;y"\n2;"two\nlines"\n3;"x;y"\n', "utf-8")
    columns = Columns.of(Table.open(path))
    assert set(columns.columns[1].levels) == {"x;y", "two\nlines"}


def test_other_values_of_new_rows_are_mistakes_of_those_rows_alone(frame, tmp_path):
    columns = Columns.of(Table.of(frame[["amount", "when"]]))
    path = tmp_path / "new.csv"
    path.write_text(
        "amount,when\n12,2024-01-01\ntwelve,2024-01-02\n13,yesterday\n1e999,2024-02-30\n", "utf-8"
    )
    (encoded,) = columns.encode(Table.open(path))
    rows, mistakes = encoded.rows, encoded.mistakes
    assert sorted(mistakes) == [1, 2, 3]
    assert "'twelve' is no finite number" in mistakes[1]
    assert "'yesterday' is no date" in mistakes[2]
    assert np.isfinite(rows).all()
    with pytest.raises(DataError, match=r"new\.csv, row 2, column amount: 'twelve'"):
        columns.images_of(Table.open(path))


def test_only_the_rows_that_are_used_are_learnt_from(frame):
    used = np.arange(COUNT) < 100
    columns = Columns.of(Table.of(frame), used=used)
    about = {column.name: column for column in columns.columns}
    assert about["amount"].percentiles[100] == frame["amount"][:100].max()
    assert sum(about["country"].levels.values()) == 100


def test_many_columns_and_one_row(tmp_path):
    path = tmp_path / "wide.csv"
    names = [f"c{number}" for number in range(10_000)]
    path.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n", "utf-8")
    assert len(Columns.of(Table.open(path)).columns) == 10_000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=6), st.integers(), st.booleans(),
                          st.floats(allow_nan=True, allow_infinity=False)),
                min_size=1, max_size=30))  # fmt: skip
def test_whatever_stands_in_a_column_is_read_or_refused(values):
    frame = pd.DataFrame({"a": pd.Series(values, dtype=object), "b": 1.0})
    try:
        columns = Columns.of(Table.of(frame))
    except DataError:
        return
    images = columns.images_of(Table.of(frame))
    assert len(images) == len(values)
    assert np.isfinite(images.pixels).all()
