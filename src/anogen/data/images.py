"""The one form that data takes: pixels, labels, captions, a name."""

import hashlib
import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anogen.errors import DataError

Pixels = NDArray[Any]
"""uint8 pictures, or the float32 rows of a table; see `Images`."""
Labels = NDArray[np.int64]
Captions = NDArray[np.object_]
"""Of each image a tuple of texts, `[n]`."""
READ_BYTES = 16 << 20
"""About as much is read at once of what may not fit into memory."""


class Rows(Protocol):
    """What stands in for an array that is not in memory: rows are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array that this stands for."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Likewise."""
        ...

    def __getitem__(self, index: NDArray[np.int64]) -> Pixels:
        """These rows, in memory."""
        ...


class Selection:
    """Rows of a memory-mapped array, or of other `Rows`, read when they are asked for.

    Stands in for an array in `Images.pixels`, so that splitting a large file copies nothing. What
    was read of a mapped file does not stay in this process's memory.

    Args:
        base: what the rows are of.
        rows: int64 `[n]`; default: all of them.
    """

    def __init__(self, base: Pixels | Rows, rows: NDArray[np.int64] | None = None) -> None:
        self._base = base
        self._rows = np.arange(base.shape[0]) if rows is None else rows
        self.shape = (len(self._rows), *base.shape[1:])
        self.dtype, self.ndim = base.dtype, len(base.shape)
        self.nbytes = math.prod(self.shape) * base.dtype.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | NDArray[Any]) -> Pixels:
        """The chosen rows, in memory."""
        pixels = np.asarray(self._base[self._rows[index]])
        if isinstance(self._base, np.memmap):
            give_back(self._base)
        return pixels

    def select(self, index: slice | NDArray[Any]) -> "Selection":
        """The chosen rows, not yet read."""
        return Selection(self._base, self._rows[index])

    def joined(self, others: "Sequence[Selection]") -> "Selection | None":
        """These rows and those of others, not yet read; None where they are of something else."""
        if any(other._base is not self._base for other in others):
            return None
        return Selection(self._base, np.concatenate([part._rows for part in (self, *others)]))


def give_back(mapped: "np.memmap[Any, Any]") -> None:
    """Take the pages of a mapped file out of this process's memory; the file is not touched."""
    base: Any = mapped
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if mapped.mode == "r" and base is not None and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, eq=False)
class Images:
    """Images in memory or mapped from a file; or the rows of a table, as images of height 1.

    Attributes:
        pixels: uint8 `[n, c, h, w]`, 0 to 255, `c` 1 (grey) or 3 (RGB); or a `Selection`, which
            gives an array when it is indexed, as a memory map becomes one. A table is float32
            `[n, 1, 1, columns]` in [0, 1].
        name: what the report calls them.
        labels: int64 `[n]`, indices into `classes`, or None.
        classes: the names of the labels; empty where there are none.
        captions: what is said of each image, a tuple of texts each, `[n]`; or None.
        things: int64 `[n]`; images with the same number show the same thing, each as its label
            (its domain) has it. None: nobody knows of pairs.

    Raises:
        DataError: the array is of another type or shape, is empty, or labels do not fit, in number
            or because they are not indices of classes.

    Examples:
        >>> import numpy as np
        >>> images = Images(np.zeros((5, 1, 28, 28), np.uint8), "black")
        >>> len(images), images.shape, images[:2].name
        (5, (1, 28, 28), 'black')
    """

    pixels: Pixels | Selection
    name: str
    labels: Labels | None = None
    classes: tuple[str, ...] = ()
    captions: Captions | None = None
    things: Labels | None = None

    def __post_init__(self) -> None:
        refuse_masked(self.pixels, self.name)
        if isinstance(self.pixels, np.memmap):
            object.__setattr__(self, "pixels", Selection(self.pixels))
        table = self.pixels.dtype == np.float32 and self.pixels.shape[1:3] == (1, 1)
        if self.pixels.ndim != 4 or not (table or self.pixels.dtype == np.uint8):
            raise DataError(
                f"{self.name}: pixels must be uint8 [n, c, h, w], found {self.pixels.dtype} "
                f"{list(self.pixels.shape)}; use anogen.images_from_array for other layouts"
            )
        if 0 in self.pixels.shape:
            raise DataError(f"{self.name}: there is no image in it (shape {self.pixels.shape})")
        if self.labels is not None and self.labels.shape != (len(self.pixels),):
            raise DataError(
                f"{self.name}: {len(self.pixels)} images but labels of shape {self.labels.shape}"
            )
        if self.captions is not None and self.captions.shape != (len(self.pixels),):
            raise DataError(
                f"{self.name}: {len(self.pixels)} images but captions of shape "
                f"{self.captions.shape}"
            )
        if self.things is not None and (
            self.labels is None or self.things.shape != (len(self.pixels),)
        ):
            raise DataError(f"{self.name}: pairs need a label and a number for each image")
        if self.labels is not None and self.labels.size:
            least, most = int(self.labels.min()), int(self.labels.max())
            if least < 0 or (self.classes and most >= len(self.classes)):
                raise DataError(
                    f"{self.name}: the label {least if least < 0 else most} is not among "
                    f"{len(self.classes) or 'the'} classes, which are numbered from 0"
                )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: slice | NDArray[Any]) -> "Images":
        """The chosen images, in the order of `index`."""
        labels = None if self.labels is None else np.ascontiguousarray(self.labels[index])
        captions = None if self.captions is None else self.captions[index]
        things = None if self.things is None else np.ascontiguousarray(self.things[index])
        pixels = self.pixels
        part = pixels.select(index) if isinstance(pixels, Selection) else pixels[index]
        return replace(self, pixels=part, labels=labels, captions=captions, things=things)

    def __repr__(self) -> str:
        """Name, number and shape, not the pixels."""
        channels, height, width = self.shape
        size = f"{width} columns" if height == 1 else f"{width}×{height}×{channels}"
        labels = f", {len(self.classes)} classes" if self.classes else ""
        pairs = ", paired" if self.things is not None else ""
        return f"<{len(self)} images {self.name!r}, {size}{labels}{pairs}>"

    def evenly(self, most: int) -> "Images":
        """At most so many of the images, evenly spaced, the first and the last among them."""
        count = min(len(self), most)
        return self[np.linspace(0, len(self) - 1, count).astype(np.int64)]

    def in_parts(self) -> "Iterator[Images]":
        """All images, first to last, in parts that take some 16 MiB each."""
        step = max(1, READ_BYTES // max(1, self.pixels.nbytes // len(self)))
        for start in range(0, len(self), step):
            yield self[start : start + step]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @cached_property
    def sha256(self) -> str:
        """Hash of shape, pixels, labels, captions and pairs: equal hashes mean equal data."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        for part in self.in_parts():
            digest.update(np.ascontiguousarray(part.pixels[:]).data)
        if self.labels is not None:
            digest.update(self.labels.astype(np.int64).data)
        if self.captions is not None:
            digest.update(repr(self.captions.tolist()).encode())
        if self.things is not None:
            digest.update(self.things.astype(np.int64).data)
        return digest.hexdigest()


def images_from_array(
    array: NDArray[Any],
    name: str = "array",
    labels: Any = None,
    first: int = 0,
    captions: Sequence[str | Sequence[str] | float | None] | None = None,
) -> Images:
    """Images from an array of any usual layout and range.

    Args:
        array: `[n, h, w]`, `[n, c, h, w]` or `[n, h, w, c]` with 1 or 3 channels; uint8 or bool,
            or floats in [0, 1] (rounded to 256 levels).
        name: what the report calls them.
        labels: integers or strings `[n]`, or None.
        first: number of the first image, for messages, where the array is a part of another.
        captions: of each image a text, or several, or None; or None of all.

    Raises:
        DataError: another shape or type; NaN, infinite or out-of-range values (with their place);
            captions that are no texts, or not one for each image.

    Examples:
        >>> import numpy as np
        >>> images_from_array(np.full((2, 16, 16, 3), 0.5)).pixels[0, :, 0, 0]
        array([128, 128, 128], dtype=uint8)
    """
    refuse_masked(array, name)
    pixels = _to_uint8(_to_nchw(np.asanyarray(array), name), name, first)
    images = Images(pixels, name)
    images = images if captions is None else with_captions(images, captions)
    return images if labels is None else label(images, labels)


def with_captions(images: Images, captions: Sequence[str | Sequence[str] | float | None]) -> Images:
    """The images with what is said of each: a text, or several, or nothing (None, NaN).

    Raises:
        DataError: not as many as images, or something else than texts.

    Examples:
        >>> white = Images(np.full((2, 1, 4, 4), 255, np.uint8), "white")
        >>> with_captions(white, ["a swan", ["snow", "milk"]]).captions
        array([('a swan',), ('snow', 'milk')], dtype=object)
    """
    if len(captions) != len(images):
        raise DataError(f"{images.name}: {len(images)} images but {len(captions)} captions")
    several = np.empty(len(images), object)
    for place, texts in enumerate(captions):  # as a whole NumPy would take them apart
        own: Any = [texts] if isinstance(texts, str) else texts
        own = [] if own is None or own != own else own  # a gap of a frame
        if not isinstance(own, Sequence) or not all(isinstance(text, str) for text in own):
            raise DataError(f"{images.name}: the caption of image {place} is no text: {texts!r}")
        several[place] = tuple(str(text) for text in own)
    return replace(images, captions=several)


def has_captions(images: Images) -> bool:
    """Whether something is said of some image, in letters."""
    captions = () if images.captions is None else images.captions
    return any(letter.isalpha() for texts in captions for text in texts for letter in text)


def images_from_table(rows: NDArray[Any], name: str = "table") -> Images:
    """The rows of a table of floats in [0, 1], `[n, columns]`, as images of height 1.

    Raises:
        DataError: another shape; NaN, infinite or out-of-range values (with their place).

    Examples:
        >>> images_from_table(np.array([[0.25, 0.5]])).shape
        (1, 1, 2)
    """
    if rows.ndim != 2:
        raise DataError(f"{name}: shape {list(rows.shape)} is not [n, columns]")
    refuse_masked(rows, name)
    values = rows.astype(np.float32)
    _refuse_bad_values(values, 0, name)
    return Images(values[:, None, None], name)


def is_table(shape: Sequence[int]) -> bool:
    """Whether a shape, of one example or of many, is that of a table's rows, of height 1."""
    return shape[-2] == 1


def label(images: Images, labels: Any, classes: NDArray[Any] | None = None) -> Images:
    """The images with labels, integers or strings `[n]`; `classes` (sorted) fixes their indices.

    Raises:
        DataError: a label is not among `classes`.
    """
    values = np.asarray(labels)
    names = np.unique(values) if classes is None else classes
    unknown = ~np.isin(values, names)
    if unknown.any():
        raise DataError(f"{images.name}: the label {values[unknown].flat[0]} is not among "
                        f"{', '.join(map(str, names))}")  # fmt: skip
    indices = np.searchsorted(names, values).astype(np.int64)
    return replace(images, labels=indices, classes=tuple(str(entry) for entry in names))


def refuse_masked(array: Any, name: str) -> None:
    """Raise a `DataError` for an array with masked values, which nobody knows."""
    if np.ma.is_masked(array):
        raise DataError(f"{name}: has masked values; fill them, or leave their images out")


def _to_nchw(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return array
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return array.transpose(0, 3, 1, 2)
    raise DataError(
        f"{name}: shape {list(array.shape)} is not [n, h, w], [n, c, h, w] or [n, h, w, c] "
        "with 1 or 3 channels"
    )


def _to_uint8(array: NDArray[Any], name: str, first: int) -> Pixels:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(
            f"{name}: type {array.dtype} is not uint8, bool or a float in [0, 1]; integers from 0 "
            "to 255 become bytes with .astype(numpy.uint8)"
        )
    pixels = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), 4096):
        chunk = array[start : start + 4096]
        _refuse_bad_values(chunk, first + start, name)
        np.rint(chunk * 255.0, out=pixels[start : start + 4096], casting="unsafe")
    return pixels


def _refuse_bad_values(chunk: NDArray[Any], start: int, name: str) -> None:
    bad = ~np.isfinite(chunk)
    if bad.any():
        place = np.argwhere(bad)[0]
        raise DataError(
            f"{name}: image {start + place[0]} has the value {chunk[tuple(place)]} at "
            f"{place[1:].tolist()}; remove or repair it"
        )
    low, high = float(chunk.min()), float(chunk.max())
    if low < 0 or high > 1:
        raise DataError(
            f"{name}: float pixels must lie in [0, 1], found {low:g} to {high:g}; "
            "divide by 255, or convert to uint8"
        )
