"""Scores of files: one row for each image, a few at a time, to be resumed where it stopped."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from anogen.data.arrays import open_array
from anogen.data.batches import evaluation_batch
from anogen.data.files import is_folder
from anogen.data.images import Images, images_from_array
from anogen.data.pictures import PICTURE_SUFFIXES, Background, Pictures, Resize, walk
from anogen.detection.detector import Detector
from anogen.detection.rows import ScoreRow
from anogen.errors import DataError, UsageError
from anogen.progress import Progress, silence

T = TypeVar("T")
PASSES = 8
"""Batches that are read and scored at once."""


@dataclass(frozen=True)
class _Item:
    """One image, or why there is none: uint8 `[c, h, w]`."""

    file: str
    index: int
    pixels: NDArray[np.uint8] | None
    error: str = ""


@dataclass(frozen=True)
class Sources:
    """Images in files, found but not yet read.

    Attributes:
        parts: a path with the array in it, or with None for a picture.
        counts: images in each part.
    """

    parts: list[tuple[Path, NDArray[Any] | None, str]]
    counts: list[int]

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def identity(self) -> list[list[str | int]]:
        """Path, count, size and time of change of each part: the same for the same files."""
        found: list[list[str | int]] = []
        for (path, _, _), count in zip(self.parts, self.counts, strict=True):
            try:
                about = path.stat()
            except (OSError, ValueError):
                about = None
            sizes = [0, 0] if about is None else [about.st_size, about.st_mtime_ns]
            found.append([str(path), count, *sizes])
        return found


def find_sources(paths: Iterable[str | Path]) -> Sources:
    """Pictures, folders of pictures, and array files, in the order given.

    A file that cannot be opened, or a folder without pictures, counts as one image with an error.

    Raises:
        UsageError: a path is empty.
        DataError: nothing at all is there.
    """
    parts: list[tuple[Path, NDArray[Any] | None, str]] = []
    counts: list[int] = []
    for name in paths:
        if not str(name):
            raise UsageError("one of the files to score has an empty name; give its path")
        path = Path(name)
        try:
            found = _parts(path)
        except DataError as error:
            found = [(path, None, str(error))]
        parts += found
        counts += [1 if array is None else len(array) for _, array, _ in found]
    if not sum(counts):
        raise DataError("there is no image to score in what was given")
    return Sources(parts, counts)


def _parts(path: Path) -> list[tuple[Path, NDArray[Any] | None, str]]:
    """The pictures or the array at one path."""
    if is_folder(path):
        found = walk(path)
        found.say_left_out()
        if not found.files:
            raise DataError(f"{path}: no PNG or JPEG picture in it, nor BMP, TIFF or WebP")
        return [(picture, None, "") for picture in found.files]
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return [(path, None, "")]
    array = open_array(path)
    if array.ndim < 3:
        raise DataError(f"{path}: shape {list(array.shape)} is not [n, h, w]")
    if len(array) and not array.size:
        raise DataError(f"{path}: there is no image in it (shape {list(array.shape)})")
    return [(path, array, "")]


def score_files(
    detector: Detector,
    sources: Sources,
    *,
    false_positive_rate: float = 0.01,
    image_size: int | None = None,
    resize: Resize = "stretch",
    background: Background = "white",
    bits: int | None = None,
    skip: int = 0,
    strict: bool = False,
) -> Iterator[ScoreRow]:
    """One row for each image, in order; a few thousand images are held at a time.

    The next ones are read while the ones before are scored.

    Args:
        detector: a calibrated one.
        sources: from `find_sources`.
        false_positive_rate: by which labels are given.
        image_size: height and width to bring pictures to; None keeps theirs.
        resize: `"stretch"` or `"crop"`, as in `load_data`.
        background: of transparent pixels, as in `load_data`.
        bits: of 16-bit pictures, as in `load_data`.
        skip: images to leave out at the beginning: they were scored before.
        strict: raise at the first image that cannot be scored, instead of a row with its error.

    Raises:
        UsageError: a rate that the calibration cannot support.
        DataError: a bad image, where `strict`.
    """
    threshold = detector.calibration.threshold(false_positive_rate)
    shape = detector.model.shape
    pictures = Pictures(image_size, resize, shape[0] if shape[0] in (1, 3) else None, background,
                        bits)  # fmt: skip
    items = _items(sources, shape, pictures, skip)
    size = PASSES * evaluation_batch(shape)
    chunks = iter(lambda: list(islice(items, size)), [])
    with Progress("scoring", len(sources), done=skip) as bar:
        for chunk in _ahead(chunks):
            yield from _rows(detector, chunk, threshold, strict)
            bar.advance(len(chunk))
    pictures.warn_of_unused_bits("the pictures to score")


def _ahead(chunks: Iterator[T]) -> Iterator[T]:
    """The same, each read while the one before is in use."""
    with ThreadPoolExecutor(1, "reader") as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def _rows(
    detector: Detector, chunk: list[_Item], threshold: float, strict: bool
) -> Iterator[ScoreRow]:
    bad = next((item.error for item in chunk if item.error), "")
    if bad and strict:
        raise DataError(bad)
    good = [item.pixels for item in chunk if item.pixels is not None]
    scores = iter(())
    if good:
        with silence():
            values = detector.score(Images(np.stack(good), "files"))
        p_values = detector.calibration.p_value(np.where(np.isnan(values), np.inf, values))
        scores = iter(zip(values, p_values, strict=True))
    for item in chunk:
        if item.pixels is None:
            yield ScoreRow(item.file, item.index, error=item.error)
            continue
        score, p_value = next(scores)
        if np.isfinite(score):
            label = int(score > threshold)
            yield ScoreRow(item.file, item.index, float(score), float(p_value), label)
        else:
            yield ScoreRow(item.file, item.index, error=f"the score is {score}; choose another one")


def _items(
    sources: Sources,
    shape: tuple[int, int, int],
    pictures: Pictures,
    skip: int,
) -> Iterator[_Item]:
    for (path, array, error), count in zip(sources.parts, sources.counts, strict=True):
        if skip >= count:
            skip -= count
            continue
        if error:
            yield _Item(str(path), 0, None, error)
        elif array is None:
            yield _picture(path, shape, pictures)
        else:
            step = evaluation_batch(shape)
            for start in range(skip, count, step):
                stop = min(start + step, count)
                yield from _slice(path, _mapped_anew(array), start, stop, shape)
        skip = 0


def _mapped_anew(array: NDArray[Any]) -> NDArray[Any]:
    """The same array; of a mapped file a mapping of its own, which gives its pages back."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return array
    order = "C" if array.flags.c_contiguous else "F"
    return np.memmap(array.filename, array.dtype, "r", array.offset, array.shape, order)


def _picture(path: Path, shape: tuple[int, int, int], pictures: Pictures) -> _Item:
    try:
        pixels = pictures.read(path).transpose(2, 0, 1)
        square = shape[1] == shape[2]
        hint = f"; --image_size {shape[1]} brings pictures to its size" if square else ""
        return _Item(str(path), 0, _fitting(pixels, shape, str(path), hint))
    except DataError as error:
        return _Item(str(path), 0, None, str(error))


def _slice(
    path: Path, array: NDArray[Any], start: int, stop: int, shape: tuple[int, int, int]
) -> Iterator[_Item]:
    """Some images of an array; where one is bad, each alone, so that the others are not lost."""
    try:
        pixels = images_from_array(array[start:stop], str(path), first=start).pixels[:]
        for index, image in enumerate(pixels, start):
            yield _Item(str(path), index, _fitting(image, shape, str(path)))
    except DataError as error:
        if stop - start == 1:
            yield _Item(str(path), start, None, str(error))
        else:
            for index in range(start, stop):
                yield from _slice(path, array, index, index + 1, shape)


def _fitting(
    pixels: NDArray[np.uint8], shape: tuple[int, int, int], name: str, hint: str = ""
) -> NDArray[np.uint8]:
    if pixels.shape == shape:
        return pixels
    raise DataError(
        f"{name}: {list(pixels.shape)} (channels, height, width), the model has {list(shape)}{hint}"
    )
