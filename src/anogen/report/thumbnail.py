"""Pictures on a page, at a size at which they can be seen."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anogen.report.gallery import data_uri

CROP = 300
"""Of larger pictures the middle is shown, so many pixels high and wide, at their own size."""
LEAST = 160
"""Smaller ones are shown enlarged to at least so many."""


def thumbnail(pixels: NDArray[Any], least: int = LEAST) -> str:
    """A picture within an address.

    Args:
        pixels: uint8 `[h, w]` or `[h, w, 3]`, or uint16 `[h, w]`.
        least: pixels that its longer side is to have, in whole multiples of its own.

    >>> thumbnail(np.zeros((28, 28), np.uint8))[:22]
    'data:image/png;base64,'
    """
    shown = (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels
    height, width = shown.shape[:2]
    top, left = max(0, (height - CROP) // 2), max(0, (width - CROP) // 2)
    picture = Image.fromarray(shown[top : top + CROP, left : left + CROP])
    times = max(1, -(-least // max(picture.size)))
    if times > 1:
        picture = picture.resize((picture.width * times, picture.height * times), 0)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return data_uri(file.getvalue())
