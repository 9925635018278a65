"""Rows of scores in a file: written as they come, resumed where they stopped, named when whole."""

import csv
import json
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any

from anogen.data.pictures import check_regular
from anogen.durable import aside_of, locked, make_folder, replace_durably
from anogen.errors import AnogenError, DataError, MachineError, UsageError, first_line
from anogen.printable import cell, printable

FORMATS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class ScoreRow:
    """What is known of one image.

    Attributes:
        file: where it is. JSONL has the name exactly, with a surrogate escape for each byte that is
            no UTF-8; CSV and parquet have what cannot be shown as escapes, and in CSV a name that a
            spreadsheet would run as a formula begins with an apostrophe.
        index: its place in the file; 0 for a picture.
        score: higher means further out; None where there is an error.
        p_value: conformal, in (0, 1].
        label: 1 for out, 0 for in, at the rate that was asked for.
        error: why it could not be scored, or empty.
    """

    file: str
    index: int
    score: float | None = None
    p_value: float | None = None
    label: int | None = None
    error: str = ""


@dataclass(frozen=True)
class TableRow(ScoreRow):
    """What is known of one row of a table; its index is its place in the file, from 0.

    Attributes:
        reasons: of a row that is labelled as out, the columns to which it owes that, in words.
    """

    reasons: str = ""


def write_rows(
    rows: Iterable[ScoreRow],
    out: Path,
    job: dict[str, Any],
    done: int,
    kind: type[ScoreRow] = ScoreRow,
) -> Path:
    """Write rows beside `out` as they come, and give them their name when all are there.

    Args:
        rows: those not yet written.
        out: a name ending in `.csv`, `.jsonl` or `.parquet`.
        job: what tells this work from another; kept in the first line of the part.
        done: rows that are in the part already, from `rows_done`.
        kind: of the rows.
    """
    part, aside = part_of(out), aside_of(out)
    try:
        with part.open("a" if done else "w", encoding="utf-8") as file:
            if not done:
                file.write(json.dumps(job) + "\n")
            for row in rows:
                file.write(json.dumps(asdict(row), allow_nan=False) + "\n")
        _WRITERS[out.suffix](_read(part), aside, kind)
        aside.replace(out)
        part.unlink()
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        if isinstance(error, AnogenError):
            raise
        raise MachineError(f"{out}: cannot be written ({error.strerror})") from error
    return out


def append_rows(rows: Iterable[ScoreRow], out: Path, kind: type[ScoreRow] = ScoreRow) -> Path:
    """Add rows to a file that is complete, atomically."""
    aside = aside_of(out)
    try:
        _WRITERS[out.suffix](chain(_written(out), map(asdict, rows)), aside, kind)
        aside.replace(out)
    except OSError as error:
        if isinstance(error, AnogenError):
            raise
        raise MachineError(f"{out}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return out


def rows_written(out: Path, file: str | None = None) -> int:
    """How many rows a complete file has; 0 where there is none.

    Args:
        out: the file.
        file: of which all its rows must be.

    Raises:
        UsageError: they are of another file, or not all of it from the beginning.
        DataError: it holds no rows of scores.
    """
    count = 0
    for count, row in enumerate(_written(out), 1):
        try:
            name, index = str(row["file"]), int(row["index"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{out}, row {count}: is no row of scores") from error
        if file is not None and (name, index) != (cell(file), count - 1):
            raise UsageError(
                f"{out} has row {index} of {name} where row {count - 1} of {file} is expected; "
                "--append goes on with the one file that --out was written of"
            )
    return count


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file that `anogen score` has written: names and values of a `ScoreRow`.

    Raises:
        DataError: there is no such file, or it holds no rows of scores.
    """
    check_regular(path)
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: scores are in a file ending in {', '.join(FORMATS)}")
    number = 0
    try:
        for row in _written(path):
            number += 1
            _ = row["file"], row["index"], row["score"], row["p_value"]
            yield row
    except (KeyError, TypeError, ValueError, UnicodeError) as error:
        raise DataError(f"{path}, row {number}: is no row of scores") from error


def last_written(out: Path) -> dict[str, Any]:
    """The last row of a complete file."""
    (row,) = deque(_written(out), maxlen=1)
    return row


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a CSV file with its values of the types that a row has."""
    kinds = {"index": int, "score": float, "p_value": float, "label": int}
    return {
        name: value if name not in kinds else None if value == "" else kinds[name](value)
        for name, value in row.items()
    }


def _written(out: Path) -> Iterator[dict[str, Any]]:
    """The rows of a complete file; none where there is no file."""
    if not out.exists():
        return
    check_regular(out)
    if out.suffix == ".parquet":
        from pyarrow import ArrowException, parquet

        try:
            parquet.read_metadata(out)
        except (ArrowException, OSError) as error:
            raise DataError(f"{out}: not a readable parquet file ({first_line(error)})") from error
        for batch in parquet.ParquetFile(out).iter_batches():
            yield from batch.to_pylist()
        return
    with out.open(newline="", encoding="utf-8") as file:
        if out.suffix == ".csv":
            yield from map(_typed, csv.DictReader(file))
        else:
            yield from map(json.loads, file)


def refuse_unwritable(out: Path) -> None:
    """Raise a `MachineError` where no file can be made beside `out`."""
    folder = make_folder(out.parent)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MachineError(f"{folder}: cannot be written ({error.strerror})") from error


def writing(out: Path) -> AbstractContextManager[None]:
    """Keep other processes from writing the same rows; see `anogen.durable.locked`."""
    return locked(
        out.with_name(f".{out.name}.lock"), f"{out}: another process is writing it; wait for it"
    )


def part_of(out: Path) -> Path:
    """Where rows stand until all are there."""
    return out.with_name(out.name + ".part")


def rows_done(out: Path, job: dict[str, Any]) -> int:
    """How many rows of this work an interrupted call has left; half a line is cut off.

    Raises:
        UsageError: the part is of other work.
    """
    part = part_of(out)
    try:
        if not part.exists():
            return 0
        content = part.read_bytes()
    except OSError as error:
        raise MachineError(f"{part}: cannot be read ({error.strerror})") from error
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.count(b"\n")
    if not lines:
        return 0
    try:
        first = json.loads(whole.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        first = None
    if first != job:
        raise UsageError(f"{part} is of other files or another detector; remove it, or choose "
                         "another --out")  # fmt: skip
    if len(whole) < len(content):
        replace_durably(part, whole)
    return lines - 1


def has_scores(out: Path) -> bool:
    """Whether an interrupted call has left a row with a score."""
    return part_of(out).exists() and any(not row.get("error") for row in _read(part_of(out)))


def check_format(out: Path) -> None:
    """Refuse a name that says no format, or one that needs what is not installed."""
    if out.suffix not in FORMATS or out.is_dir():
        raise UsageError(f"--out {out}: expected a name ending in {', '.join(FORMATS)}")
    if out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise MachineError(
            "parquet needs pyarrow: pip install 'anogen[tables]', or write .csv or .jsonl"
        )


def _read(part: Path) -> Iterator[dict[str, Any]]:
    with part.open(encoding="utf-8") as file:
        next(file)
        for line in file:
            yield json.loads(line)


def write_csv(rows: Iterable[dict[str, Any]], file: Any, kind: type[ScoreRow] = ScoreRow) -> None:
    """Rows as comma-separated values with a heading, to an open text file."""
    writer = csv.DictWriter(file, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: cell(v) if isinstance(v, str) else v for k, v in row.items()})


def _to_csv(rows: Iterator[dict[str, Any]], out: Path, kind: type[ScoreRow]) -> None:
    with out.open("w", newline="", encoding="utf-8") as file:
        write_csv(rows, file, kind)


def _to_jsonl(rows: Iterator[dict[str, Any]], out: Path, kind: type[ScoreRow]) -> None:
    with out.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _to_parquet(rows: Iterator[dict[str, Any]], out: Path, kind: type[ScoreRow]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = {"index": pa.int64(), "score": pa.float64(), "p_value": pa.float64(),
             "label": pa.int64()}  # fmt: skip
    schema = pa.schema([(each.name, types.get(each.name, pa.string())) for each in fields(kind)])
    with parquet.ParquetWriter(out, schema) as writer:
        shown = ({k: printable(v) if isinstance(v, str) else v for k, v in row.items()}
                 for row in rows)  # fmt: skip
        while chunk := list(islice(shown, 50_000)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))


_WRITERS = {".csv": _to_csv, ".jsonl": _to_jsonl, ".parquet": _to_parquet}
