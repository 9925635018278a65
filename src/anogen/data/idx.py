"""IDX files (the format of MNIST), plain or gzipped, read with no trust in the file."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anogen.data.pictures import check_regular
from anogen.errors import DataError

MAX_DEFLATE_RATIO = 1032
"""Deflate cannot compress better than this, so a header that claims more is lying."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes.

    Reads exactly as many bytes as the header's dimensions imply, plus one to see the end, so a
    gzip bomb costs nothing.

    Returns:
        uint8, of the header's dimensions: `[n, h, w]` for images, `[n]` for labels.

    Raises:
        DataError: not an IDX file, cut short, too long, or a damaged gzip stream; the message
            says what was expected and what was found.

    Source: http://yann.lecun.com/exdb/mnist, "File formats"; RFC 1952 for gzip.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            start = file.read(16)
            file.seek(0)
            if start.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=file) as stream:
                    return _read_stream(stream, path, path.stat().st_size * MAX_DEFLATE_RATIO)
            if start.lstrip()[:1] == b"<":
                raise DataError(f"{path}: this is an HTML page, not an IDX file; download it again")
            return _read_stream(file, path, path.stat().st_size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file ({error}); download it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def is_idx(path: Path) -> bool:
    """Whether the name says that this is an IDX file."""
    name = path.name.removesuffix(".gz")
    return name.endswith(("-ubyte", ".idx")) or "-idx" in name


def _read_stream(stream: io.BufferedIOBase, path: Path, most: int) -> NDArray[np.uint8]:
    shape = _read_header(stream, path)
    count = int(np.prod(shape, dtype=np.float64))
    if count > most:
        raise DataError(
            f"{path}: the header promises {count} bytes, but the file cannot hold more than {most}"
        )
    array = np.empty(count, np.uint8)
    filled = 0
    while filled < count and (got := stream.readinto(array.data[filled:])):
        filled += got
    if filled < count:
        raise DataError(f"{path}: cut short, {count} bytes expected, {filled} found")
    if stream.read(1):
        raise DataError(f"{path}: longer than the {count} bytes that its header promises")
    return array.reshape(shape)


def _read_header(stream: io.BufferedIOBase, path: Path) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:3] != b"\x00\x00\x08" or magic[3] not in (1, 3):
        raise DataError(
            f"{path}: wrong magic number {magic.hex() or 'nothing'}, expected 00000803 (images) "
            "or 00000801 (labels)"
        )
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: cut short within its header")
    return struct.unpack(f">{magic[3]}I", sizes)
