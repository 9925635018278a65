"""Drawn shapes whose factors are known exactly: what disentanglement is measured on."""

import colorsys
import math

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images, Pixels
from anogen.errors import UsageError, whole_number

KINDS = ("square", "ellipse", "heart")
FACTORS = ("shape", "scale", "rotation", "x", "y", "hue")
"""What an image is drawn from; the first is one of three kinds, the others are in [0, 1]."""
SMALLEST, LARGEST = 0.15, 0.3
"""Half the size of a shape, as a share of the image's."""
REACH = 1.15
"""How far a turned shape reaches from its middle, in halves of its size, with a pixel's edge."""
HUES = 2 / 3
"""From red to blue: a circle has no order by which a latent could follow it."""
PIXELS_AT_ONCE = 2_000_000


def draw_shapes(count: int, seed: int = 0, size: int = 32) -> tuple[Images, NDArray[np.float64]]:
    """Coloured shapes on black, each drawn from six independent, uniform factors.

    In the manner of dSprites (Matthey et al. 2017), with colour, and with factors from continua.
    Rotations end at a quarter turn, so that a square's differ.

    Args:
        count: how many.
        seed: of the factors.
        size: height and width of the images.

    Returns:
        RGB images labelled with their shape, and the factors, float64 `[count, 6]`, in the order of
        `FACTORS`: the shape 0, 1 or 2, all others in [0, 1].

    Raises:
        UsageError: no image, or of a size below 8.

    Examples:
        >>> images, factors = draw_shapes(5)
        >>> images.shape, factors.shape
        ((3, 32, 32), (5, 6))
    """
    if whole_number("count", count) < 1 or whole_number("size", size) < 8:
        raise UsageError(f"shapes: count is at least 1 and size at least 8: {count}, {size}")
    rng = np.random.default_rng(seed)
    factors = rng.random((count, len(FACTORS)))
    factors[:, 0] = np.floor(factors[:, 0] * len(KINDS))
    at_once = max(1, PIXELS_AT_ONCE // size**2)
    parts = [_drawn(factors[start : start + at_once], size) for start in range(0, count, at_once)]
    return Images(np.concatenate(parts), "shapes", factors[:, 0].astype(np.int64), KINDS), factors


def _drawn(factors: NDArray[np.float64], size: int) -> Pixels:
    """Factors `[n, 6]` → uint8 `[n, 3, size, size]`."""
    kind, scale, rotation, x, y, hue = factors.T[:, :, None, None]
    radius = SMALLEST + (LARGEST - SMALLEST) * scale
    places = (np.arange(size) + 0.5) / size
    margin = REACH * LARGEST
    across = places[None, None, :] - (margin + (1 - 2 * margin) * x)
    down = places[None, :, None] - (margin + (1 - 2 * margin) * y)
    cos, sin = np.cos(rotation * math.pi / 2), np.sin(rotation * math.pi / 2)
    u, v = (across * cos + down * sin) / radius, (down * cos - across * sin) / radius
    square = np.maximum(np.abs(u), np.abs(v)) - 0.75
    ellipse = np.hypot(u, v / 0.55) - 1
    lifted = -1.25 * v - np.sqrt(np.abs(u) * 1.1) * 0.6 + 0.1
    heart = np.hypot(u * 1.1, lifted) - 0.95
    inside = np.where(kind == 0, square, np.where(kind == 1, ellipse, heart)) * radius * size
    cover = np.clip(0.5 - inside, 0, 1)  # a pixel's share, by its distance from the outline
    colours = np.array([colorsys.hsv_to_rgb(value * HUES, 0.85, 1.0) for value in hue[:, 0, 0]])
    return np.rint(255 * cover[:, None] * colours[:, :, None, None]).astype(np.uint8)
