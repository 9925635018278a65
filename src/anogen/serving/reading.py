"""What requests hold: pictures, arrays and rows, each item read or refused for itself."""

import io
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from anogen.data.cells import shown_cell
from anogen.data.columns import Columns, Encoded
from anogen.data.images import images_from_array, is_table
from anogen.data.pictures import Pictures
from anogen.data.sources import Shape, fitting
from anogen.data.tables import Table
from anogen.errors import DataError, first_line
from anogen.printable import printable
from anogen.serving.answers import HTTPError
from anogen.serving.served import Served

Pixels = NDArray[Any]
TABLES = {"text/csv": ".csv", "text/tab-separated-values": ".tsv"}
PICTURES = "image/"
ARRAYS = ("application/octet-stream", "application/x-npy")
NPY = b"\x93NUMPY"
MOST_HEADER = 10_000
"""Characters of the header of a `.npy` file."""
MOST_JSON = 16 << 20
"""Bytes of JSON, which takes many times as much when it is read."""
MOST_NAMED = 5
"""Columns that a message names."""
MOST_NAME = 200
"""Characters of a file's name that are given back."""


@dataclass(frozen=True)
class Item:
    """One picture or row of a request.

    Attributes:
        name: of its file, or empty.
        index: its place there.
        part: place of that file in the request.
        error: why it could not be read, or empty.
    """

    name: str
    index: int
    error: str = ""
    part: int = 0


@dataclass(frozen=True)
class Read:
    """All that a request holds.

    Attributes:
        items: in their order.
        pixels: of those without an error: `[n, c, h, w]`, uint8 for pictures, float32 for rows.
        encoded: of a table, for reasons: the rows as they were sent.
        places: of the items without an error among the rows of `encoded`.
    """

    items: list[Item]
    pixels: Pixels
    encoded: Encoded | None = None
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class Part:
    """One file of a request, whole in memory."""

    name: str
    kind: str
    content: bytes


async def parts_of(request: Request, most_files: int) -> list[Part]:
    """The files of a request: of a form several, else its body.

    Raises:
        HTTPError: no files, too many, or an encoding that is not taken.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPError(415, "a compressed body is not taken; send it as it is")
    kind = content_type(request.headers.get("content-type", ""))
    if kind != "multipart/form-data":
        content = await request.body()
        if not content:
            raise HTTPError(400, "the request is empty; send a picture, an array or rows")
        return [Part("", kind, content)]
    try:
        async with request.form(max_files=most_files, max_fields=0) as form:
            files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
            parts = [
                Part(printable(file.filename or "")[:MOST_NAME],
                     content_type(file.content_type or ""), await file.read())
                for file in files
            ]  # fmt: skip
    except MultiPartException as error:
        raise HTTPError(400, f"not a form of files: {error.message}") from error
    except HTTPError:
        raise
    except Exception as error:
        if type(error).__module__.startswith("starlette"):  # its own answer to a bad form
            raise HTTPError(400, f"not a form of files: {first_line(error)}") from error
        raise
    if not parts:
        raise HTTPError(400, "there is no file in the form")
    return parts


def content_type(header: str) -> str:
    """A content type without its parameters.

    >>> content_type("Text/CSV; charset=utf-8")
    'text/csv'
    """
    return header.partition(";")[0].strip().lower()


def read_parts(parts: Sequence[Part], served: Served, most: int) -> Read:
    """The items of a request's files, for a run; a bad one is an error for itself alone.

    Raises:
        HTTPError: nothing that the run takes (415), or more than `most` items (413).
        DataError: a file that cannot be read at all.
    """
    if is_table(served.shape):
        return _read_rows(parts, served, most)
    read: list[tuple[Item, Pixels | None]] = []
    pictures = replace(served.needed.pictures)  # which remembers what it has read
    for place, part in enumerate(parts):
        if part.kind == "application/json":
            own = _of_array(part.name, _array_of_json(part.content), served.shape, most)
        elif part.content.startswith(NPY):
            own = _of_array(part.name, array_of(part.content), served.shape, most)
        else:
            own = [_picture(part, pictures, served.shape)]
        read += [(replace(item, part=place), pixels) for item, pixels in own]
        if len(read) > most:
            raise HTTPError(413, f"more than {most} items; send them in several requests")
    good = [pixels for _, pixels in read if pixels is not None]
    blank = np.zeros((0, *served.shape), np.uint8)
    return Read([item for item, _ in read], np.stack(good) if good else blank)


def _picture(part: Part, pictures: Pictures, shape: Shape) -> tuple[Item, Pixels | None]:
    name = part.name or "picture"
    try:
        pixels = pictures.read(Path(name), part.content).transpose(2, 0, 1)
        return Item(name, 0), fitting(pixels, shape, name)
    except DataError as error:
        return Item(name, 0, str(error)), None


def _of_array(
    name: str, array: Pixels, shape: Shape, most: int
) -> list[tuple[Item, Pixels | None]]:
    """The images of an array; where one is bad, each alone, so that the others are not lost."""
    if array.ndim in (2, 3):
        array = _several(array, shape)
    if array.ndim == 0:
        raise DataError("a single number is no picture")
    if len(array) > most:
        raise HTTPError(413, f"more than {most} items; send them in several requests")
    shown = name or "array"
    try:
        pixels = images_from_array(array, shown).pixels[:]
        return [(Item(shown, index), fitting(one, shape, shown))
                for index, one in enumerate(pixels)]  # fmt: skip
    except DataError as error:
        if len(array) <= 1:
            return [(Item(shown, 0, str(error)), None)]
    found: list[tuple[Item, Pixels | None]] = []
    for index in range(len(array)):
        try:
            (pixels,) = images_from_array(array[index : index + 1], shown, first=index).pixels[:]
            found.append((Item(shown, index), fitting(pixels, shape, shown)))
        except DataError as error:
            found.append((Item(shown, index, str(error)), None))
    return found


def _several(array: Pixels, shape: Shape) -> Pixels:
    """One image as several of one."""
    channels, height, width = shape
    alone = ((height, width), (channels, height, width), (height, width, channels))
    return array[None] if array.shape in alone else array


def array_of(content: bytes) -> Pixels:
    """The array of a `.npy` file, whose header is compared with its length before anything else.

    Raises:
        DataError: it is damaged, or holds objects, which are pickles.
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran, dtype = read[version](file, max_header_size=MOST_HEADER)
    except Exception as error:  # whatever NumPy makes of a damaged header
        raise DataError(f"not a .npy file that can be read ({first_line(error)})") from error
    if dtype.hasobject:
        raise DataError("the array holds Python objects, which are never loaded")
    if dtype.kind not in "buif":
        raise DataError(f"an array of type {dtype} holds no images")
    rest = len(content) - file.tell()
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != rest:
        raise DataError(f"damaged array: shape {list(shape)} of {dtype} is not {rest} bytes")
    array = np.frombuffer(content, dtype, offset=file.tell())
    try:
        return array.reshape(shape, order="F" if fortran else "C")
    except ValueError as error:  # too many dimensions
        raise DataError(f"not an array ({first_line(error)})") from error


def json_of(content: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        HTTPError: it is none, or nested too deep.
    """
    if len(content) > MOST_JSON:
        raise HTTPError(413, f"JSON has at most {MOST_JSON >> 20} MiB; send arrays as .npy")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # the latter: nested too deep
        raise HTTPError(400, "not valid JSON, or nested too deep") from error


def _array_of_json(content: bytes) -> Pixels:
    value = json_of(content)
    if isinstance(value, dict):
        value = value.get("images")
    if not isinstance(value, list):
        raise HTTPError(400, 'expected {"images": [...]}, nested lists of numbers')
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise DataError("the images are not of one size") from error
    if array.dtype.kind not in "iuf":
        raise DataError("the images hold other things than numbers")
    whole = array.dtype.kind in "iu"
    if whole and array.size and int(array.min()) >= 0 and int(array.max()) <= 255:
        return array.astype(np.uint8)
    return array


def _read_rows(parts: Sequence[Part], served: Served, most: int) -> Read:
    columns = served.columns
    assert columns is not None
    if len(parts) > 1:
        raise HTTPError(400, "one table in a request")
    (part,) = parts
    suffix = TABLES.get(part.kind) or Path(part.name).suffix.lower()
    if part.kind == "application/json":
        return rows_of(json_of(part.content), columns, most)
    if suffix in TABLES.values():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"rows{suffix}"
            path.write_bytes(part.content)
            try:
                whole = list(Table.open(path, columns.encoding).parts())
            except DataError as error:
                raise DataError(str(error).replace(str(path), part.name or "rows")) from error
        import pyarrow as pa

        if sum(piece.num_rows for piece in whole) > most:
            raise HTTPError(413, f"more than {most} rows; send them in several requests")
        return _encoded(pa.concat_tables(whole) if whole else None, columns, {}, part.name)
    raise HTTPError(415, "a table is sent with Content-Type application/json, as rows, or text/csv")


def rows_of(value: Any, columns: Columns, most: int) -> Read:
    """Rows of JSON: a list of objects, or `{"rows": [...]}`; a bad one is an error for itself.

    Raises:
        HTTPError: something else, or more than `most` rows.
    """
    import pyarrow as pa

    rows = value.get("rows", [value]) if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise HTTPError(400, 'expected {"rows": [{"column": value, ...}, ...]}')
    if len(rows) > most:
        raise HTTPError(413, f"more than {most} rows; send them in several requests")
    needed = [column.name for column in columns.columns if column.kind != "ignored"]
    mistakes: dict[int, str] = {}
    cells: dict[str, list[str]] = {name: [] for name in needed}
    for place, row in enumerate(rows):
        wrong = _wrong_row(row, needed)
        if wrong:
            mistakes[place] = wrong
        for name in needed:
            cells[name].append("" if wrong else _cell(row[name]))
    table = pa.table({name: pa.array(values, pa.string()) for name, values in cells.items()})
    return _encoded(table if rows else None, columns, mistakes)


def _wrong_row(row: Any, needed: Sequence[str]) -> str:
    if not isinstance(row, Mapping):
        return "a row is an object of columns and values"
    missing = [name for name in needed if name not in row]
    if len(missing) == 1:
        return f"the column {missing[0]!r} is missing"
    if missing:
        named = ", ".join(map(repr, missing[:MOST_NAMED]))
        more = f" and {len(missing) - MOST_NAMED} others" if len(missing) > MOST_NAMED else ""
        return f"the columns {named}{more} are missing"
    nested = [name for name in needed if isinstance(row[name], list | dict)]
    return f"column {nested[0]!r}: a list or an object is no value" if nested else ""


def _cell(value: Any) -> str:
    """A value of JSON as a CSV file would have it."""
    text = shown_cell(value) if isinstance(value, bool) else "" if value is None else str(value)
    return text.encode("utf-8", "replace").decode()


def _encoded(table: Any, columns: Columns, mistakes: Mapping[int, str], name: str = "") -> Read:
    """The rows of an Arrow table, with the mistakes that are known already."""
    if table is None or not table.num_rows:
        raise HTTPError(400, "there is no row in the request")
    parts = list(columns.encode(Table.of(table, name or "request")))
    whole = parts[0] if len(parts) == 1 else Encoded(
        0, np.concatenate([part.rows for part in parts]),
        {part.first + place: text for part in parts for place, text in part.mistakes.items()},
        table,
    )  # fmt: skip
    wrong = whole.mistakes | dict(mistakes)
    places = tuple(place for place in range(len(whole.rows)) if place not in wrong)
    items = [Item(name, place, wrong.get(place, "")) for place in range(len(whole.rows))]
    pixels = np.zeros((0, 1, 1, whole.rows.shape[1]), np.float32)
    if places:
        pixels = np.array(columns.images(whole.rows[list(places)]).pixels[:])
    return Read(items, pixels, whole, places)
