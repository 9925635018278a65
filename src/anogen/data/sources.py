"""Images in files that are to be judged: found first, then read a few at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anogen.data.arrays import open_array
from anogen.data.batches import evaluation_batch
from anogen.data.columns import Columns
from anogen.data.files import is_folder
from anogen.data.images import Images, give_back, images_from_array
from anogen.data.pictures import NO_PICTURE, PICTURE_SUFFIXES, Pictures
from anogen.data.splits import Splits
from anogen.data.tables import Table
from anogen.data.walk import walk
from anogen.errors import DataError, UsageError, first_line

Shape = tuple[int, int, int]
Given = Any
"""`Images`, an array or a tensor, a path, or several paths; see `images_of`."""
PASSES = 8
"""Batches that are read and scored at once."""


def images_of(
    given: Given, shape: Shape, pictures: Pictures, function: str, columns: Columns | None = None
) -> Iterator[Images]:
    """Images from whatever holds them, those of files a few thousand at a time.

    Args:
        given: `Images`; an array or a tensor as `anogen.images_from_array` takes it; or the path,
            or several paths, of pictures, folders of pictures, `.npy`, `.npz` and IDX files.
        shape: channels, height and width that the images must have.
        pictures: how pictures are read.
        function: what was called, for messages.
        columns: of a table: then frames are taken too, and the files are tables.

    Raises:
        UsageError: something else.
        DataError: one of the files cannot be read, or an image has another shape.
    """
    if isinstance(given, Images):
        yield given
    elif columns is not None and hasattr(given, "columns"):
        yield columns.images_of(Table.of(given))
    elif columns is not None and (paths := _paths(given)):
        yield from (columns.images_of(Table.open(path, columns.encoding)) for path in paths)
    elif isinstance(given, np.ndarray | torch.Tensor):
        if isinstance(given, torch.Tensor):
            given = _array_of(given, function)
        yield images_from_array(given)
    elif paths := _paths(given):
        for chunk in read_chunks(find_sources(paths), shape, pictures):
            bad = next((item.error for item in chunk if item.error), "")
            if bad:
                raise DataError(bad)
            pixels = [item.pixels for item in chunk if item.pixels is not None]
            yield Images(np.stack(pixels), "files")
    else:
        raise UsageError(
            f"{function} takes anogen.Images, an array, a tensor, or paths; found "
            f"{type(given).__name__}"
        )


def _array_of(tensor: torch.Tensor, function: str) -> NDArray[Any]:
    try:
        plain = tensor.detach().cpu()
        return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantised, or without values
        raise UsageError(f"{function}: no tensor of plain values ({first_line(error)})") from error


def _paths(given: Given) -> list[str | Path]:
    if isinstance(given, str | Path):
        return [given]
    several = isinstance(given, Sequence) and not isinstance(given, Splits)
    return list(given) if several and all(isinstance(one, str | Path) for one in given) else []


def read_chunks(
    sources: "Sources", shape: Shape, pictures: Pictures, skip: int = 0
) -> "Iterator[list[Item]]":
    """The images of files in order, some batches at a time, bad ones with their error.

    Args:
        sources: from `find_sources`.
        shape: that the images must have.
        pictures: how pictures are read.
        skip: images to leave out at the beginning.
    """
    items = _items(sources, shape, pictures, skip)
    return iter(lambda: list(islice(items, PASSES * evaluation_batch(shape))), [])


@dataclass(frozen=True)
class Item:
    """One image, or why there is none: uint8 `[c, h, w]`."""

    file: str
    index: int
    pixels: NDArray[np.uint8] | None
    error: str = ""


@dataclass(frozen=True)
class Sources:
    """Images in files, found but not yet read.

    Attributes:
        parts: a path, whether it holds an array (else it is a picture), and why it cannot be read.
        counts: images in each part.
    """

    parts: list[tuple[Path, bool, str]]
    counts: list[int]

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def identity(self) -> list[list[str | int]]:
        """Path, count, size and time of change of each part: the same for the same files."""
        entries: list[list[str | int]] = []
        for (path, _, _), count in zip(self.parts, self.counts, strict=True):
            try:
                about = path.stat()
            except (OSError, ValueError):
                about = None
            sizes = [0, 0] if about is None else [about.st_size, about.st_mtime_ns]
            entries.append([str(path), count, *sizes])
        return entries


def find_sources(paths: Iterable[str | Path]) -> Sources:
    """Pictures, folders of pictures, and array files, in the order given.

    A file that cannot be opened, or a folder without pictures, counts as one image with an error.

    Raises:
        UsageError: a path is empty.
        DataError: nothing at all is there.
    """
    parts: list[tuple[Path, bool, str]] = []
    counts: list[int] = []
    for name in paths:
        if not str(name):
            raise UsageError("one of the files has an empty name; give its path")
        path = Path(name)
        try:
            more, own = _parts(path)
        except DataError as error:
            more, own = [(path, False, str(error))], [1]
        parts += more
        counts += own
    if not sum(counts):
        raise DataError("there is no image in what was given")
    return Sources(parts, counts)


def _parts(path: Path) -> tuple[list[tuple[Path, bool, str]], list[int]]:
    """The pictures or the array at one path, and how many images each has."""
    if is_folder(path):
        walked = walk(path)
        walked.say_left_out()
        if not walked.files:
            raise DataError(f"{path}: {NO_PICTURE}")
        return [(picture, False, "") for picture in walked.files], [1] * len(walked.files)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return [(path, False, "")], [1]
    return [(path, True, "")], [len(_array_in(path))]


def _array_in(path: Path) -> NDArray[Any]:
    """The array of a file, if it may hold images."""
    array = open_array(path)
    if array.ndim < 3:
        raise DataError(f"{path}: shape {list(array.shape)} is not [n, h, w]")
    if len(array) and not array.size:
        raise DataError(f"{path}: there is no image in it (shape {list(array.shape)})")
    return array


def _items(sources: Sources, shape: Shape, pictures: Pictures, skip: int) -> Iterator[Item]:
    for (path, is_array, error), count in zip(sources.parts, sources.counts, strict=True):
        if skip >= count:
            skip -= count
            continue
        if error:
            yield Item(str(path), 0, None, error)
        elif not is_array:
            yield _picture(path, shape, pictures)
        else:
            yield from _array(path, count, shape, skip)
        skip = 0


def _array(path: Path, count: int, shape: Shape, skip: int) -> Iterator[Item]:
    """The images of an array file, opened now: there may be more files than can be open."""
    try:
        array = _array_in(path)
    except DataError as error:
        yield from (Item(str(path), index, None, str(error)) for index in range(skip, count))
        return
    step = evaluation_batch(shape)
    for start in range(skip, count, step):
        yield from _slice(path, array, start, min(start + step, count), shape)
        if isinstance(array, np.memmap):
            give_back(array)


def _picture(path: Path, shape: Shape, pictures: Pictures) -> Item:
    try:
        pixels = pictures.read(path).transpose(2, 0, 1)
        square = shape[1] == shape[2]
        hint = f"; --image_size {shape[1]} brings pictures to its size" if square else ""
        return Item(str(path), 0, fitting(pixels, shape, str(path), hint))
    except DataError as error:
        return Item(str(path), 0, None, str(error))


def _slice(path: Path, array: NDArray[Any], start: int, stop: int, shape: Shape) -> Iterator[Item]:
    """Some images of an array; where one is bad, each alone, so that the others are not lost."""
    try:
        pixels = images_from_array(array[start:stop], str(path), first=start).pixels[:]
        for index, image in enumerate(pixels, start):
            yield Item(str(path), index, fitting(image, shape, str(path)))
    except DataError as error:
        if stop - start == 1:
            yield Item(str(path), start, None, str(error))
        else:
            for index in range(start, stop):
                yield from _slice(path, array, index, index + 1, shape)


def fitting(
    pixels: NDArray[np.uint8], shape: Shape, name: str, hint: str = ""
) -> NDArray[np.uint8]:
    """One image, if it has the model's shape.

    Raises:
        DataError: it has not; the message ends with the hint.
    """
    if pixels.shape == shape:
        return pixels
    raise DataError(
        f"{name}: {list(pixels.shape)} (channels, height, width), the model has {list(shape)}{hint}"
    )
