"""Tables in files (CSV, TSV, parquet) and frames (pandas, polars), as parts of Arrow columns."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from anogen.data.pictures import check_regular
from anogen.errors import DataError, MachineError, UsageError, first_line

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
PART_BYTES = 4 << 20
PART_ROWS = 50_000
MOST_BYTES = 64 << 20
"""Of a row."""
HEADER_BYTES = 1 << 20
"""A line of names that is longer is none."""
DELIMITERS = ",;\t|"
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""With which files of other encodings begin; UTF-8's own mark is passed over."""

Part = Any
"""A `pyarrow.Table`: all columns of some rows."""


@dataclass(frozen=True)
class Table:
    """Rows with named columns, read in parts, as often as they are asked for.

    Attributes:
        name: what messages call it: the file's path.
        names: of the columns, in order.
        whole: a `pyarrow.Table` that is in memory already, or None.
        path: of the file, where there is one.
        encoding: of a text file.
        delimiter: between the cells of a text file.
        growing: whether a last line without its end is still being written, and no row yet.

    Examples:
        >>> import numpy as np, pandas
        >>> table = Table.of(pandas.DataFrame({"amount": [12.5, None], "country": ["FR", "DE"]}))
        >>> table.names, [part.num_rows for part in table.parts()]
        (('amount', 'country'), [2])
    """

    name: str
    names: tuple[str, ...]
    whole: Part | None = field(default=None, repr=False)
    path: Path | None = None
    encoding: str = "utf-8"
    delimiter: str = ","
    growing: bool = False

    @classmethod
    def open(cls, path: str | Path, encoding: str | None = None) -> "Table":
        """A table in a file; only its names are read.

        Args:
            path: ends in `.csv`, `.tsv` or `.parquet`. The first line of a text file has the names
                of its columns, and shows by what they are separated: comma, semicolon, tab or `|`.
            encoding: of a text file, such as `latin-1`; default: UTF-8, or UTF-16 where the file
                begins with its mark.

        Raises:
            DataError: it cannot be read, or two columns have one name.
            MachineError: pyarrow is not installed.
        """
        path = Path(path)
        need_pyarrow(str(path))
        check_regular(path)
        if path.suffix.lower() == ".parquet":
            return cls(str(path), _distinct(_parquet(path).schema_arrow.names, path), path=path)
        with _reading(path), path.open("rb") as file:
            start = file.read(HEADER_BYTES)
        encoding = encoding or MARKS.get(start[:2], "utf-8")
        names, delimiter = _header(start, encoding, path)
        return cls(str(path), names, path=path, encoding=encoding, delimiter=delimiter)

    @classmethod
    def of(cls, frame: Any, name: str = "table") -> "Table":
        """A frame of pandas or polars, or a `pyarrow.Table`.

        Raises:
            UsageError: something else.
            DataError: a column that Arrow cannot hold, or two of one name.
        """
        need_pyarrow(name)
        import pyarrow as pa

        try:
            if isinstance(frame, pa.Table):
                whole = frame
            elif hasattr(frame, "to_arrow"):
                whole = frame.to_arrow()
            else:
                if frame.columns.has_duplicates:
                    twice = frame.columns[frame.columns.duplicated()][0]
                    raise DataError(f"{name}: two columns are called {twice!r}; rename one")
                named = frame.rename(columns=str)
                whole = pa.Table.from_pandas(named, preserve_index=False)
        except OverflowError as error:
            raise DataError(
                f"{name}: a whole number of more than 64 bits; make it a float"
            ) from error
        except UnicodeError as error:
            raise DataError(f"{name}: text that is no Unicode ({first_line(error)})") from error
        except pa.ArrowException as error:
            column = re.search(r"for column (.*) with type", str(error))
            where = f", column {column[1]}" if column else ""
            raise DataError(
                f"{name}{where}: values of several types; make all of them numbers, or all text"
            ) from error
        except (AttributeError, TypeError) as error:
            raise UsageError(f"{name}: {type(frame).__name__} is no table") from error
        return cls(name, _distinct(whole.column_names, name), whole)

    def parts(self) -> Iterator[Part]:
        """All rows, first to last, some 4 MiB of text or 50,000 rows at a time.

        Columns of a text file are text.

        Raises:
            DataError: a row has another number of cells than there are names, the file is not in
                its encoding, or it is damaged.
        """
        if self.whole is not None:
            for start in range(0, self.whole.num_rows, PART_ROWS):
                yield self.whole.slice(start, PART_ROWS)
        elif self.path is not None and self.path.suffix.lower() == ".parquet":
            yield from self._parquet_parts(self.path)
        elif self.path is not None:
            yield from self._text_parts(self.path)

    def count(self) -> int:
        """How many rows there are, about: of a text file its lines."""
        if self.whole is not None:
            return self.whole.num_rows
        assert self.path is not None
        with _reading(self.path):
            if self.path.suffix.lower() == ".parquet":
                return _parquet(self.path).metadata.num_rows
            with self.path.open("rb") as file:
                return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))

    def _parquet_parts(self, path: Path) -> Iterator[Part]:
        import pyarrow as pa

        with _reading(path):
            for batch in _parquet(path).iter_batches(PART_ROWS):
                yield pa.Table.from_batches([batch])

    def _text_parts(self, path: Path) -> Iterator[Part]:
        """Blocks of whole rows, each read by Arrow, whose reader of files leaves threads behind."""
        first = 0
        for block in self._blocks(path):
            part = self._rows(path, block, first)
            first += part.num_rows
            if part.num_rows:
                yield part

    def _rows(self, path: Path, block: bytes, first: int) -> Part:
        """The rows of a block, whose first is row `first` of the file, from 0."""
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        ragged: list[Any] = []

        def note(row: Any) -> str:
            ragged.append(row)
            return "error"

        try:
            return arrow_csv.read_csv(
                pa.BufferReader(block),
                arrow_csv.ReadOptions(
                    use_threads=False, block_size=len(block) + 1, column_names=list(self.names)
                ),
                arrow_csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=note,
                    ignore_empty_lines=len(self.names) > 1,
                ),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(self.names, pa.string()), strings_can_be_null=False
                ),
            )  # fmt: skip
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):  # there are names, and no rows
                return pa.table({name: pa.array([], pa.string()) for name in self.names})
            if not ragged:
                raise DataError(f"{path}: {first_line(error)}") from error
            row = ragged[0]
            raise DataError(
                f"{path}, row {first + row.number}: {row.actual_columns} cells, but the first "
                f"line names {row.expected_columns} columns; a cell that contains the delimiter "
                f"{self.delimiter!r} must stand in quotes"
            ) from error

    def _blocks(self, path: Path) -> Iterator[bytes]:
        """The file without its names, in UTF-8, in blocks of whole rows.

        A line break within quotes ends no row.
        """
        rest, named = "", False
        try:
            with path.open(encoding=self.encoding, newline="") as file:
                while text := file.read(PART_BYTES):
                    text = (rest + text).removeprefix("\ufeff")
                    if not named:
                        start = next(_ends_of_rows(text, self.delimiter), 0)
                        named, text = start > 0, text[start:]
                    end = max(_ends_of_rows(text, self.delimiter), default=0) if named else 0
                    rest = text[end:]
                    if len(rest) > MOST_BYTES:
                        raise DataError(
                            f"{path}: a row of more than {MOST_BYTES >> 20} MiB; a quote is opened "
                            "and never closed"
                        )
                    if end:
                        yield text[:end].encode()
            if named and rest.strip() and not self.growing:
                yield rest.encode()
        except UnicodeError as error:
            line = _undecodable_line(path, self.encoding)
            raise DataError(
                f"{path}, line {line}: not in {self.encoding}; name the file's encoding with "
                "encoding (--encoding), such as latin-1"
            ) from error
        except LookupError as error:
            raise DataError(f"{path}: there is no encoding {self.encoding!r}") from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({first_line(error)})") from error


def _ends_of_rows(text: str, delimiter: str) -> Iterator[int]:
    r"""Where rows end, of those that are whole: every line break that is not within quotes.

    A quote opens a cell only at its beginning; elsewhere, as in `5" pipe`, it is a character. Of
    breaks with no quoted cell between them only the first and the last are given.

    >>> text = 'a,"b\nc"\nd,5" e\nf,"g\n'
    >>> [text[:end] for end in _ends_of_rows(text, ",")][-1]
    'a,"b\nc"\nd,5" e\n'
    """
    quoted = re.compile(rf'(?:\A|(?<=[{re.escape(delimiter)}\n\r]))"(?:[^"]|"")*("|\Z)')
    place = 0
    for cell in quoted.finditer(text) if '"' in text else ():
        yield from _breaks(text, place, cell.start())
        if not cell[1]:  # not closed yet
            return
        place = cell.end()
    yield from _breaks(text, place, len(text))


def _breaks(text: str, start: int, end: int) -> Iterator[int]:
    """The ends of the first and of the last line that end between two places."""
    first, last = text.find("\n", start, end), text.rfind("\n", start, end)
    if first >= 0:
        yield first + 1
        yield last + 1


def need_pyarrow(name: str) -> None:
    """Raise a `MachineError` where pyarrow is not installed."""
    if find_spec("pyarrow") is None:
        raise MachineError(f"{name}: tables need pyarrow: pip install 'anogen[tables]'")


def compute() -> Any:
    """pyarrow's functions on columns, which no type checker knows."""
    import pyarrow.compute

    return pyarrow.compute


class _reading:  # noqa: N801 (a context manager)
    """Turns errors of reading into a `DataError`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError):
            raise DataError(f"{self._path}: cannot be read ({first_line(error)})") from error
        if error is not None and type(error).__module__.startswith("pyarrow"):
            raise DataError(f"{self._path}: damaged ({first_line(error)})") from error


def _parquet(path: Path) -> Any:
    from pyarrow import parquet

    with _reading(path):
        return parquet.ParquetFile(path)


def _header(start: bytes, encoding: str, path: Path) -> tuple[tuple[str, ...], str]:
    """The names of the columns, and what separates them."""
    try:
        text = start.decode(encoding, "ignore" if len(start) == HEADER_BYTES else "strict")
    except (UnicodeError, LookupError):
        text = start.decode("latin-1")  # the names may be readable; the rows will tell
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    try:
        found = {mark: next(csv.reader(StringIO(text), delimiter=mark), []) for mark in DELIMITERS}
    except csv.Error as error:
        raise DataError(f"{path}: the first line cannot be read ({first_line(error)})") from error
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    delimiter = max(DELIMITERS, key=lambda mark: (len(found[mark]), mark == usual))
    names = [name.strip() for name in found[delimiter]]
    if not any(names):
        raise DataError(f"{path}: the first line is blank; let it name the columns")
    if all(_is_number(name) for name in names):
        raise DataError(
            f"{path}: the first line has numbers only, so it does not name the columns; add a line "
            "with their names"
        )
    return _distinct(names, path), delimiter


def _distinct(names: list[str], path: Any) -> tuple[str, ...]:
    seen: set[str] = set()
    for place, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{path}: column {place} has no name in the first line; give it one")
        if name in seen:
            raise DataError(f"{path}: two columns are called {name!r}; rename one")
        seen.add(name)
    return tuple(names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _undecodable_line(path: Path, encoding: str) -> int:
    """The number of the first line that is not in an encoding; of the last one where all are."""
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
            except UnicodeError:
                return number
    return number
