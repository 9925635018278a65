"""Pictures of answers: PNG files in base64, and many pictures on one sheet."""

import base64
import io
import math

import numpy as np
from numpy.typing import NDArray


def png(pixels: NDArray[np.uint8]) -> str:
    """A picture `[c, h, w]` as a PNG file, in base64."""
    from PIL import Image

    grey = pixels.shape[0] == 1
    content = io.BytesIO()
    Image.fromarray(pixels[0] if grey else pixels.transpose(1, 2, 0)).save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def sheet(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures `[n, c, h, w]` side by side in rows, about as many rows as columns: `[c, H, W]`.

    >>> sheet(np.zeros((5, 1, 8, 8), np.uint8)).shape
    (1, 16, 24)
    """
    count, channels, height, width = pixels.shape
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    whole = np.zeros((down * across, channels, height, width), np.uint8)
    whole[:count] = pixels
    rows = whole.reshape(down, across, channels, height, width)
    return rows.transpose(2, 0, 3, 1, 4).reshape(channels, down * height, across * width)
