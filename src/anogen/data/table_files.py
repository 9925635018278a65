"""A table in a file as training, validation and test rows, its labels kept apart."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.cells import MISSING
from anogen.data.column import Kind
from anogen.data.columns import Columns
from anogen.data.images import Images
from anogen.data.splits import Splits, split_rows
from anogen.data.tables import Table, compute
from anogen.durable import make_folder
from anogen.errors import DataError, UsageError, unknown_name
from anogen.folders import cache_dir
from anogen.progress import Progress, say

IN_MEMORY_BYTES = 256 << 20
"""Encoded rows that take no more are kept in memory and in no file."""
NORMAL = frozenset(("0", "false", "no", "normal", "benign", "good", "ok", "inlier"))
"""Labels that say that a row is normal, whatever their case, unless `normal_label` is given."""
MOST_LABELS = 50


@dataclass(frozen=True)
class TableOptions:
    """How the rows of a table are read.

    Attributes:
        label_column: name of the column that says which rows are anomalies. It is never learnt
            from, and neither are these rows.
        normal_label: its value for rows that are normal; default: 0, false, no, normal and the
            like.
        columns: name → `number`, `category`, `date` or `ignored`, where a column is to be taken as
            something else than what it seems to be.
        encoding: of a text file, such as `latin-1`; default: UTF-8.
    """

    label_column: str | None = None
    normal_label: str | None = None
    columns: Mapping[str, Kind] | None = field(default=None)
    encoding: str | None = None


def load_table(path: Path, options: TableOptions | None = None, **splitting: Any) -> Splits:
    """The rows of a CSV, TSV or parquet file, encoded and split.

    What was recognised of its columns is said. Rows that are labelled as anomalies are no part of
    the three splits, and are kept beside them.

    Args:
        path: of the file.
        options: see `TableOptions`.
        splitting: as for `anogen.split`.

    Raises:
        UsageError: a column that is named is not there, or labels that say nothing.
        DataError: the file cannot be read, or a row is damaged, with its number.
    """
    options = options or TableOptions()
    table = Table.open(path, options.encoding)
    anomalous = _labels(table, options)
    kinds: dict[str, str] = {**(options.columns or {})}
    if options.label_column is not None:
        kinds[options.label_column] = "ignored"
    count = _count(table) if anomalous is None else len(anomalous)
    normal = np.arange(count) if anomalous is None else np.flatnonzero(~anomalous)
    parts = split_rows(len(normal), table.name, **splitting)
    used = np.zeros(count, bool)
    used[normal[parts[0]]] = True
    columns = Columns.of(table, kinds, used)
    rows = _encoded(table, columns, count)
    columns.say_left_out(path.name, besides=options.label_column)
    images = Images(rows[:, None, None], path.stem)
    train, validation, test = (images[normal[part]] for part in parts)
    judged = normal[parts[2]]
    anomalies = None
    if anomalous is not None:
        say(f"{path.name}: {int(anomalous.sum()):,} of {count:,} rows are labelled as anomalies; "
            "nothing is learnt from them")  # fmt: skip
        if anomalous.any():
            judged = np.sort(np.concatenate([judged, np.flatnonzero(anomalous)]))
            anomalies = replace(images[np.flatnonzero(anomalous)], name=f"{path.stem} anomalies")
    return Splits(
        train, validation, test, own_test=False, columns=columns, anomalies=anomalies, table=table,
        judged=judged,
    )  # fmt: skip


def _count(table: Table) -> int:
    return sum(part.num_rows for part in table.parts())


def _labels(table: Table, options: TableOptions) -> NDArray[np.bool_] | None:
    """Which rows are labelled as anomalies, or None where no column says so."""
    pc = compute()
    name = options.label_column
    if name is None:
        if options.normal_label is not None:
            raise UsageError("normal_label needs label_column, the column that has it")
        return None
    if name not in table.names:
        raise unknown_name("column", name, table.names)
    texts: list[NDArray[Any]] = []
    for part in table.parts():
        column = pc.utf8_trim_whitespace(pc.cast(part.column(name), "string"))
        texts.append(np.asarray(column.to_numpy(), object))
    labels = np.concatenate(texts) if texts else np.array([], object)
    missing = np.flatnonzero([label is None or label.lower() in MISSING for label in labels])
    if len(missing):
        raise DataError(
            f"{table.name}, row {missing[0] + 1}: column {name} has no label; fill it, or leave "
            "the row out"
        )
    values = {str(label) for label in labels}
    if options.normal_label is not None:
        normal = {options.normal_label}
        if not values & normal:
            raise UsageError(f"{table.name}: no row has the label {options.normal_label!r} in "
                             f"column {name}; it has {', '.join(sorted(values)[:10])}")  # fmt: skip
    else:
        normal = {value for value in values if _plain(value) in NORMAL}
        if not normal or len(values) > MOST_LABELS:
            raise UsageError(
                f"{table.name}: column {name} has {', '.join(sorted(values)[:10])}; say which of "
                "these is normal with normal_label (--normal_label)"
            )
    return ~np.isin(labels.astype(str), sorted(normal))


def _plain(label: str) -> str:
    """A label in lower case; a number without needless digits."""
    try:
        return f"{float(label):g}"
    except ValueError:
        return label.lower()


def _encoded(table: Table, columns: Columns, count: int) -> NDArray[np.float32]:
    """All rows as models take them, float32 `[n, features]`; of many, mapped from a file."""
    shape = count, len(columns.features)
    if math.prod(shape) * 4 <= IN_MEMORY_BYTES:
        return _filled(np.empty(shape, np.float32), table, columns)
    folder = cache_dir()
    folder = None if folder is None else make_folder(folder)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".rows") as file:  # mapped beyond its name
        mapped = np.memmap(file.name, np.float32, "w+", shape=shape)
        _filled(mapped, table, columns)
        mapped.flush()
        return np.memmap(file.name, np.float32, "r", shape=shape)


def _filled(rows: NDArray[np.float32], table: Table, columns: Columns) -> NDArray[np.float32]:
    """An array with all rows of a table in it, squashed."""
    with Progress(f"reading {table.name}", len(rows), "rows") as bar:
        for encoded in columns.encode(table):  # without mistakes, or `Columns.of` had raised
            part = columns.scaling.squashed(encoded.rows)
            rows[encoded.first : encoded.first + len(part)] = part
            bar.advance(len(part))
    return rows
