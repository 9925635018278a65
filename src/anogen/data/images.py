"""The one form that data takes: pixels, labels, a name; and its three splits."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.errors import DataError, UsageError

Pixels = NDArray[Any]
"""uint8 pictures, or the float32 rows of a table; see `Images`."""
Labels = NDArray[np.int64]


class Selection:
    """Rows of a memory-mapped array, read from the file when they are asked for.

    Stands in for an array in `Images.pixels`, so that splitting a large file copies nothing.
    """

    def __init__(self, base: Pixels, rows: NDArray[np.int64]) -> None:
        self._base, self._rows = base, rows
        self.shape = (len(rows), *base.shape[1:])
        self.dtype, self.ndim = base.dtype, base.ndim
        self.nbytes = int(np.prod(self.shape)) * base.dtype.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | NDArray[Any]) -> Pixels:
        """The chosen rows, in memory."""
        return np.array(self._base[self._rows[index]])

    def select(self, index: slice | NDArray[Any]) -> "Selection":
        """The chosen rows, still in the file."""
        return Selection(self._base, self._rows[index])


SPLIT_SEED = 0
"""All runs share one split, whatever their own seed, so that their numbers compare."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images in memory or mapped from a file; or the rows of a table, as images of height 1.

    Attributes:
        pixels: uint8 `[n, c, h, w]`, 0 to 255, `c` 1 (grey) or 3 (RGB); may be a memory map, or a
            selection of one, which gives an array when it is indexed. A table is float32
            `[n, 1, 1, columns]` in [0, 1].
        name: what the report calls them.
        labels: int64 `[n]`, indices into `classes`, or None.
        classes: the names of the labels; empty where there are none.

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

    def __post_init__(self) -> None:
        refuse_masked(self.pixels, self.name)
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
        pixels = self.pixels
        if isinstance(pixels, np.memmap):
            pixels = Selection(pixels, np.arange(len(pixels)))
        chosen = pixels.select(index) if isinstance(pixels, Selection) else pixels[index]
        return replace(self, pixels=chosen, labels=labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @cached_property
    def sha256(self) -> str:
        """Hash of shape, pixels and labels: equal hashes mean equal data."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        for start in range(0, len(self), 4096):
            digest.update(np.ascontiguousarray(self.pixels[start : start + 4096]).data)
        if self.labels is not None:
            digest.update(self.labels.astype(np.int64).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """One data set, split for training, choosing and judging.

    Attributes:
        train: what a model is fitted to.
        validation: held out of training; early stopping and calibration use it.
        test: touched only by evaluation.
        source: the arguments of `anogen.load_data` that make these splits again; empty for images
            that come from memory.
        own_test: whether the test images came as such; else they are a share of all images.
    """

    train: Images
    validation: Images
    test: Images
    source: Mapping[str, Any] = field(default_factory=dict[str, Any])
    own_test: bool = True

    @property
    def foreign(self) -> Images:
        """What represents this data where no model learns from it: its own test images, or all."""
        if self.own_test:
            return self.test
        parts = (self.train, self.validation, self.test)
        pixels = np.concatenate([part.pixels[:] for part in parts])
        labels = [part.labels for part in parts if part.labels is not None]
        return replace(self.test, pixels=pixels, labels=np.concatenate(labels) if labels else None)

    def limited(self, count: int) -> "Splits":
        """At most `count` training images and as large a share of the others, evenly spaced.

        Raises:
            UsageError: fewer than ten.
        """
        if count < 10:
            raise UsageError(f"limit must be at least 10, found {count}")
        total = len(self.train)
        if count >= total:
            return self

        def part(images: Images) -> Images:
            kept = max(1, round(len(images) * count / total))
            return images[np.arange(kept) * len(images) // kept]

        train, validation, test = map(part, (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return self.train.shape

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.train.name


CALIBRATING, MOST_CALIBRATING = 99, 0.2
"""Images that the usual false-positive rate of 1 % needs, and the share of all that they may be."""


def split(images: Images, test: Images | None = None, held_out: float = 0.1) -> Splits:
    """Shuffle once with a fixed seed and hold parts out.

    Args:
        images: all images, or the training images where `test` is given.
        test: the official test images; None takes a share `held_out` of `images`.
        held_out: share of `images` that goes to validation (and, without `test`, to test).
            Validation has 99 images at least, where these are a fifth of all or less: as many as a
            detector needs for its usual false-positive rate of 1 %.

    Raises:
        DataError: fewer than ten images, or test images of another shape.

    Examples:
        >>> import numpy as np
        >>> parts = split(Images(np.zeros((100, 1, 28, 28), np.uint8), "black"))
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (80, 10, 10)
    """
    if not 0 < held_out < 0.5:
        raise UsageError(f"held_out must lie between 0 and 0.5, found {held_out}")
    if len(images) < 10:
        raise DataError(
            f"{images.name}: {len(images)} images are too few to split; give 10 or more"
        )
    if test is not None and test.shape != images.shape:
        raise DataError(f"{images.name}: test images are {test.shape}, others {images.shape}")
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    share = min(max(1, round(held_out * len(images))), (len(images) - 1) // 2)
    enough = MOST_CALIBRATING * len(images) >= CALIBRATING
    part = max(share, CALIBRATING) if enough else share
    validation, rest = np.sort(order[:part]), order[part:]
    own_test = test is not None
    if test is None:
        test, rest = images[np.sort(rest[:share])], rest[share:]
    return Splits(images[np.sort(rest)], images[validation], test, own_test=own_test)


def images_from_array(
    array: NDArray[Any], name: str = "array", labels: Any = None, first: int = 0
) -> Images:
    """Images from an array of any usual layout and range.

    Args:
        array: `[n, h, w]`, `[n, c, h, w]` or `[n, h, w, c]` with 1 or 3 channels; uint8 or bool,
            or floats in [0, 1] (rounded to 256 levels).
        name: what the report calls them.
        labels: integers or strings `[n]`, or None.
        first: number of the first image, for messages, where the array is a part of another.

    Raises:
        DataError: another shape or type; NaN, infinite or out-of-range values (with their place).

    Examples:
        >>> import numpy as np
        >>> images_from_array(np.full((2, 16, 16, 3), 0.5)).pixels[0, :, 0, 0]
        array([128, 128, 128], dtype=uint8)
    """
    refuse_masked(array, name)
    pixels = _to_uint8(_to_nchw(np.asanyarray(array), name), name, first)
    if labels is None:
        return Images(pixels, name)
    return label(Images(pixels, name), labels)


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


def label(images: Images, labels: Any, classes: NDArray[Any] | None = None) -> Images:
    """The images with labels, integers or strings `[n]`; `classes` (sorted) fixes their indices.

    Raises:
        DataError: a label is not among `classes`.
    """
    values = np.asarray(labels)
    known = np.unique(values) if classes is None else classes
    unknown = ~np.isin(values, known)
    if unknown.any():
        raise DataError(f"{images.name}: the label {values[unknown].flat[0]} is not among "
                        f"{', '.join(map(str, known))}")  # fmt: skip
    indices = np.searchsorted(known, values).astype(np.int64)
    return replace(images, labels=indices, classes=tuple(str(entry) for entry in known))


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


def expect(value: object, kind: type[Images] | type[Splits], function: str) -> None:
    """Raise a `UsageError` where images are given for splits, or the other way round."""
    if isinstance(value, kind):
        return
    hint = "; wrap an array with anogen.images_from_array"
    if isinstance(value, Splits):
        hint = "; give one of its parts, such as data.test"
    elif isinstance(value, Images):
        hint = "; give the whole data set, from anogen.load_data or anogen.split"
    raise UsageError(f"{function} needs anogen.{kind.__name__}, found {type(value).__name__}{hint}")
