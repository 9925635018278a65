"""Several data sets side by side, each a domain: brought to one size, with the domain as label."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from anogen.data.decoding import IN_MEMORY_BYTES
from anogen.data.images import Images, Pixels, Selection
from anogen.data.splits import Splits
from anogen.errors import DataError, UsageError
from anogen.progress import say

IN_ORDER = "order"
"""How `pairs` names pairs of images that have the same place in each domain."""


def brought_together(
    domains: Sequence[Splits], image_size: int | None = None, channels: int | None = None
) -> list[Splits]:
    """Data sets with their images brought to one size, bicubic, and the same colours.

    Args:
        domains: of images.
        image_size: height and width; default: those of the largest images.
        channels: 1 or 3; default: 3 where one of them has 3.

    Raises:
        UsageError: a table.
    """
    if any(domain.columns is not None for domain in domains):
        names = ", ".join(domain.name for domain in domains)
        raise UsageError(f"{names}: domains are of images, not of tables")
    largest = max((domain.shape for domain in domains), key=lambda shape: shape[1] * shape[2])
    height, width = largest[1:] if image_size is None else (image_size, image_size)
    shape = (channels or max(domain.shape[0] for domain in domains), height, width)
    for domain in domains:
        if domain.shape != shape:
            was, becomes = (f"{s[2]}×{s[1]}×{s[0]}" for s in (domain.shape, shape))
            say(f"{domain.name}: images of {was} are brought to {becomes}")
    return [in_shape(domain, shape) for domain in domains]


def side_by_side(domains: Sequence[Splits], pairs: str | None = None) -> Splits:
    """One data set of several, each image labelled with the name of the one that it is from.

    Labels that the images had before are gone, as captions are.

    Args:
        domains: two or more, of different names, with images of the same shape.
        pairs: `order` where the images of the same place in each domain show the same thing.

    Raises:
        UsageError: another `pairs`.
        DataError: two domains have the same name, or `pairs` other numbers of images.

    Examples:
        >>> from anogen.data.splits import split
        >>> dark, light = (
        ...     split(Images(np.full((20, c, 8, 8), level, np.uint8), name))
        ...     for name, level, c in (("dark", 0, 1), ("light", 255, 3))
        ... )
        >>> both = side_by_side(brought_together([dark, light]))
        >>> both.name, both.shape, both.train.classes
        ('dark,light', (3, 8, 8), ('dark', 'light'))
    """
    names = [domain.name for domain in domains]
    if len(set(names)) < len(names):
        raise DataError(f"{', '.join(names)}: domains need different names")
    if pairs not in (None, IN_ORDER):
        raise UsageError(
            f"pairs {pairs!r}: images of data sets side by side are paired by their {IN_ORDER}; "
            "for names or a column, put the pictures into one folder with a sub-folder for each "
            "domain, and give that"
        )
    parts: dict[str, Images] = {}
    for part in ("train", "validation", "test"):
        first = sum(map(len, parts.values()))  # so that a number is that of one thing
        images = [getattr(domain, part) for domain in domains]
        parts[part] = _joined(images, pairs is not None, first)
    return Splits(
        parts["train"],
        parts["validation"],
        parts["test"],
        own_test=all(domain.own_test for domain in domains),
        may_have_duplicates=any(domain.may_have_duplicates for domain in domains),
    )


def balanced(images: Images) -> Images:
    """The images with those of smaller classes repeated until each class has as many.

    Of pairs the repeated image has no partner, so that they do not crowd a batch.

    Examples:
        >>> labels = np.array([0, 0, 0, 1])
        >>> uneven = Images(np.zeros((4, 1, 8, 8), np.uint8), "uneven", labels, ("a", "b"))
        >>> balanced(uneven).labels
        array([0, 0, 0, 1, 1, 1])
    """
    if images.labels is None:
        raise DataError(f"{images.name}: has no labels, so that there is nothing to balance")
    classes = [np.flatnonzero(images.labels == label) for label in np.unique(images.labels)]
    most = max(map(len, classes))
    if min(map(len, classes)) == most:
        return images
    chosen = np.concatenate([np.resize(places, most) for places in classes])
    pixels = images.pixels
    kept = pixels if isinstance(pixels, Selection) else Selection(pixels)  # nothing is copied
    repeated = replace(images, pixels=kept)[chosen]
    if images.things is None or repeated.things is None:
        return repeated
    again = np.concatenate([np.arange(most) >= len(places) for places in classes])
    new = images.things.max() + 1 + np.arange(len(chosen))
    return paired_up(replace(repeated, things=np.where(again, new, repeated.things)))


def paired_up(images: Images) -> Images:
    """The images with those that show the same thing side by side, as passes in order need them.

    >>> two = np.array([0, 0, 1, 1])
    >>> images = Images(np.zeros((4, 1, 8, 8), np.uint8), "x", two, things=np.array([5, 7, 5, 7]))
    >>> paired_up(images).things
    array([5, 5, 7, 7])
    """
    if images.things is None or images.labels is None:
        return images
    return images[np.lexsort((images.labels, images.things))]


def alone(data: Splits, number: int) -> Splits:
    """One domain of several, without labels."""

    def part(images: Images) -> Images:
        assert images.labels is not None
        rows = np.flatnonzero(images.labels == number)
        if not len(rows):
            raise DataError(
                f"{images.name}: {images.classes[number]} has too few images, so that the "
                "validation or the test images have none of it"
            )
        name = images.classes[number]
        return replace(images[rows], name=name, labels=None, classes=(), things=None)

    return replace(
        data, train=part(data.train), validation=part(data.validation), test=part(data.test)
    )


def in_shape(data: Splits, shape: tuple[int, int, int]) -> Splits:
    """The images in a size and colours: at once, or, where they are many, as they are read."""
    if data.shape == shape:
        return data

    def part(images: Images) -> Images:
        pixels = images.pixels
        if isinstance(pixels, Selection) or len(pixels) * math.prod(shape) > IN_MEMORY_BYTES:
            return replace(images, pixels=Selection(_OneAfterAnother([pixels], shape)))
        return replace(images, pixels=brought_to(pixels, shape))

    return replace(
        data, train=part(data.train), validation=part(data.validation), test=part(data.test)
    )


def brought_to(pixels: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """uint8 `[n, c, h, w]` with other colours and another size, bicubic: uint8 `[n, *shape]`.

    Grey becomes RGB of three equal values, RGB grey by the weights of ITU-R BT.601.

    >>> brought_to(np.full((1, 1, 4, 4), 9, np.uint8), (3, 8, 8)).shape
    (1, 3, 8, 8)
    """
    from PIL import Image

    mode, size = "L" if shape[0] == 1 else "RGB", (shape[2], shape[1])
    made = np.empty((len(pixels), *shape), np.uint8)
    for place, image in enumerate(pixels):
        flat = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        picture = Image.fromarray(flat).convert(mode)
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        values = np.asarray(picture)
        made[place] = values[None] if shape[0] == 1 else values.transpose(2, 0, 1)
    return made


def _joined(parts: Sequence[Images], paired: bool, first: int) -> Images:
    names = tuple(part.name for part in parts)
    counts = [len(part) for part in parts]
    if paired and len(set(counts)) > 1:
        numbers = ", ".join(f"{n} of {name}" for n, name in zip(counts, names, strict=True))
        raise DataError(f"images cannot be paired by their order: there are {numbers}")
    rows = _OneAfterAnother([part.pixels for part in parts], parts[0].shape)
    labels = np.repeat(np.arange(len(parts)), counts)
    things = np.concatenate([first + np.arange(n) for n in counts]) if paired else None
    return paired_up(Images(Selection(rows), ",".join(names), labels, names, things=things))


class _OneAfterAnother:
    """The images of several arrays, brought to a shape as they are read, as `Rows`."""

    def __init__(self, parts: Sequence[Pixels | Selection], shape: tuple[int, int, int]) -> None:
        self._parts, self._shape = parts, shape
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self._ends[-1]), *shape)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, index: NDArray[np.int64]) -> Pixels:
        made = np.empty((len(index), *self._shape), np.uint8)
        of_part = np.searchsorted(self._ends, index, side="right")
        for number, part in enumerate(self._parts):
            places = np.flatnonzero(of_part == number)
            if len(places):
                rows = index[places] - (self._ends[number] - len(part))
                pixels = np.asarray(part[rows])
                fits = pixels.shape[1:] == self._shape
                made[places] = pixels if fits else brought_to(pixels, self._shape)
        return made
