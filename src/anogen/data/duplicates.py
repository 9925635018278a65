"""Pictures that are nearly the same: of one thing, photographed several times."""

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images

MOST_COMPARED = 1000
"""Held-out pictures that are compared with training pictures."""
THUMBNAIL = 16
"""Height and width at which pictures are compared."""
CLOSE = 0.1
"""Pictures are nearly the same whose distance is below this share of the usual one."""


def near_duplicates(
    images: Images, among: Images, most: tuple[int, int] = (MOST_COMPARED, 5000)
) -> int:
    """How many images have nearly the same image among others.

    Compared are grey thumbnails of 16×16, their means and contrasts made equal, by their squared
    distance; two are nearly the same if it is below a hundredth of the median over all pairs.

    Args:
        images: at most `most[0]` of them are looked at, evenly spaced.
        among: likewise, `most[1]`.
        most: images that are looked at.

    Examples:
        >>> import numpy as np
        >>> noise = np.random.default_rng(0).integers(0, 256, (20, 1, 16, 16), np.uint8)
        >>> near_duplicates(Images(noise[:4], "few"), Images(noise[2:], "others"))
        2
    """
    few, others = (
        _thumbnails(part.evenly(count)) for part, count in zip((images, among), most, strict=True)
    )
    squares = (few**2).sum(1)[:, None] + (others**2).sum(1) - 2 * few @ others.T
    return int((squares.min(1) < CLOSE**2 * np.median(squares)).sum())


def _thumbnails(images: Images) -> NDArray[np.float64]:
    """The means over channels and blocks of pixels, standardised: `[n, at most 256]`."""
    channels, height, width = images.shape
    edges = [
        np.linspace(0, size, min(size, THUMBNAIL), endpoint=False).astype(np.int64)
        for size in (height, width)
    ]
    parts: list[NDArray[np.float64]] = []
    for part in images.in_parts():
        rows = np.add.reduceat(part.pixels[:].sum(1, dtype=np.float64), edges[0], axis=1)
        blocks = np.add.reduceat(rows, edges[1], axis=2)
        sizes = (
            np.diff(edge, append=size) for edge, size in zip(edges, (height, width), strict=True)
        )
        parts.append((blocks / (channels * np.multiply.outer(*sizes))).reshape(len(part), -1))
    thumbnails = np.concatenate(parts)
    thumbnails -= thumbnails.mean(1, keepdims=True)
    return thumbnails / np.maximum(thumbnails.std(1, keepdims=True), 1)  # one grey level of 256
