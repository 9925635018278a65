"""Many picture files to one array: decoded by several threads, once, into a file if it is large."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Pixels, Selection
from anogen.data.pictures import Pictures
from anogen.durable import aside_of
from anogen.errors import DataError
from anogen.folders import cache_dir
from anogen.progress import Progress, say

T = TypeVar("T")
U = TypeVar("U")

IN_MEMORY_BYTES = 256 << 20
"""Pictures that take no more, decoded, are kept in memory and in no file."""
SPARE_BYTES = 1 << 30
"""So much of a disk is left free."""
WORKERS = min(8, os.cpu_count() or 1)
AHEAD = 8 * WORKERS
"""Pictures that are in work at a time."""
FORMAT = 1
"""Of the cached files."""


def decoded(files: list[Path], pictures: Pictures, name: str) -> Pixels | Selection:
    """All pictures as uint8 `[n, c, h, w]`; grey only if all are grey, unless `channels` says so.

    What takes more than 256 MiB is decoded into a file in the user's cache folder, whose name is a
    hash of the pictures and of how they are read, and mapped from there. Where that cannot be
    written, pictures are decoded each time that they are needed.

    Args:
        files: at least one.
        pictures: how to read them.
        name: of the set, for messages.

    Raises:
        DataError: a file cannot be read, or sizes differ.
    """
    shape = _common_shape(files, pictures, name)
    rows = Decoded(files, pictures, shape)
    if math.prod(rows.shape) <= IN_MEMORY_BYTES:
        pixels: Pixels | Selection = np.empty(rows.shape, np.uint8)
        for index, picture in enumerate(_shown(rows, name)):
            pixels[index] = picture
    else:
        pixels = _from_cache(rows, name)
    pictures.warn_of_unused_bits(str(files[0].parent))
    return pixels


class Decoded:
    """Pictures in files, decoded whenever they are asked for; see `anogen.data.images.Rows`."""

    def __init__(self, files: list[Path], pictures: Pictures, shape: tuple[int, int, int]) -> None:
        self.files, self.pictures = files, pictures
        self.shape = (len(files), *shape)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, index: NDArray[np.int64]) -> Pixels:
        """uint8 `[len(index), c, h, w]`."""
        files = [self.files[number] for number in index]
        return np.stack(list(_in_threads(self._read, files))) if files else np.empty(
            (0, *self.shape[1:]), np.uint8
        )  # fmt: skip

    def __iter__(self) -> Iterator[Pixels]:
        """Every picture, uint8 `[c, h, w]`."""
        return _in_threads(self._read, self.files)

    def _read(self, path: Path) -> Pixels:
        picture = self.pictures.read(path).transpose(2, 0, 1)
        if picture.shape[1:] != self.shape[2:]:
            raise DataError(f"{path}: {_size(picture.shape[1:])} pixels, its header said "
                            f"{_size(self.shape[2:])}")  # fmt: skip
        return np.broadcast_to(picture, self.shape[1:])


def _in_threads(function: Callable[[T], U], given: list[T]) -> Iterator[U]:
    """What the function makes of each, in order; a few at a time."""
    rest = iter(given)
    with ThreadPoolExecutor(WORKERS, "pictures") as pool:
        coming = [pool.submit(function, one) for one in islice(rest, AHEAD)]
        try:
            while coming:
                yield coming.pop(0).result()
                coming += [pool.submit(function, one) for one in islice(rest, 1)]
        finally:
            for one in coming:
                one.cancel()


def _common_shape(files: list[Path], pictures: Pictures, name: str) -> tuple[int, int, int]:
    """Channels, height and width of all pictures, from their headers."""
    channels, first = 1, None
    with Progress(f"looking at {name}", len(files), "pictures") as bar:
        for path, shape in zip(files, _in_threads(pictures.shape_of, files), strict=True):
            first = first or shape
            if shape[1:] != first[1:]:
                raise DataError(
                    f"{path}: {_size(shape[1:])} pixels, but {files[0]} has {_size(first[1:])}; "
                    "set image_size (--image_size) to bring all to one size"
                )
            channels = max(channels, shape[0])
            bar.advance(1)
    assert first is not None
    return channels, first[1], first[2]


def _size(height_and_width: tuple[int, ...]) -> str:
    return f"{height_and_width[1]}×{height_and_width[0]}"


def _shown(rows: Decoded, name: str) -> Iterator[Pixels]:
    with Progress(f"reading {name}", len(rows.files), "pictures") as bar:
        for picture in rows:
            yield picture
            bar.advance(1)


def _from_cache(rows: Decoded, name: str) -> Selection:
    """The pictures in the cached file, made where it is missing."""
    cache = cache_dir()
    if cache is None:
        return _uncached(rows, name, "this user has no home folder; set XDG_CACHE_HOME to a folder")
    path = cache / "pictures" / f"{_key(rows, name)}.npy"
    if not _is_whole(path, rows):
        size = math.prod(rows.shape)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(path.parent).free
            if free < size + SPARE_BYTES:
                return _uncached(
                    rows, name, f"{path.parent} has {free / 1e9:.1f} GB free, they take "
                    f"{size / 1e9:.1f} GB; set XDG_CACHE_HOME to a larger disk"
                )  # fmt: skip
            _write(path, rows, name)
        except OSError as error:
            return _uncached(rows, name, f"{path.parent} cannot be written ({error.strerror})")
        say(f"{name}: {size / 1e9:.1f} GB of pictures are kept as {path}")
    return Selection(np.load(path, mmap_mode="r", allow_pickle=False))


def _uncached(rows: Decoded, name: str, why: str) -> Selection:
    say(f"warning: {name}: pictures are decoded each time, which is slow, because {why}")
    return Selection(rows)


def _is_whole(path: Path, rows: Decoded) -> bool:
    """Whether the cached file is there, with all its bytes."""
    try:
        there = np.load(path, mmap_mode="r", allow_pickle=False)
        return there.shape == rows.shape and there.dtype == np.uint8
    except Exception:  # a damaged header makes NumPy raise many kinds
        return False


def _write(path: Path, rows: Decoded, name: str) -> None:
    """The file, by way of another name, so that it is whole once it is there."""
    aside = aside_of(path)
    try:
        with aside.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": rows.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for picture in _shown(rows, name):
                file.write(np.ascontiguousarray(picture).data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _key(rows: Decoded, name: str) -> str:
    """A hash of the files' contents, in their order, and of how they are read."""
    digest = hashlib.sha256(json.dumps([FORMAT, rows.pictures.settings, rows.shape]).encode())
    with Progress(f"checking {name}", len(rows.files), "pictures") as bar:
        for digest_of_file in _in_threads(_digest, rows.files):
            digest.update(digest_of_file)
            bar.advance(1)
    return digest.hexdigest()[:32]


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
