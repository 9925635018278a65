"""Transformations that make other data out of one: for panels of out-of-distribution sets."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from anogen.data.images import Images, Pixels
from anogen.data.splits import expect
from anogen.errors import UsageError, unknown_name

Transform = Callable[[Pixels, float, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Corruption:
    """A transformation of uint8 `[n, c, h, w]` with one strength.

    Attributes:
        apply: pixels, strength, random generator → pixels of the same shape.
        strength: the default strength.
        meaning: what the strength is, with its unit; empty where there is none to choose.
        low: the least strength.
        high: the greatest strength.
    """

    apply: Transform
    strength: float
    meaning: str
    low: float
    high: float


def corrupt(images: Images, corruption: str, seed: int = 0) -> Images:
    """The transformed images, with the same labels; a pure function of its arguments.

    Args:
        images: what to transform.
        corruption: a name in `CORRUPTIONS`, with `=strength` where another than the default is
            wanted: `"blur"`, `"rotation=45"`.
        seed: of the noise.

    Raises:
        UsageError: an unknown name, or a strength that is no number.

    Examples:
        >>> import numpy as np
        >>> black = Images(np.zeros((2, 1, 16, 16), np.uint8), "black")
        >>> white = corrupt(black, "inversion")
        >>> white.name, int(white.pixels.min())
        ('black+inversion', 255)
    """
    given: Any = corruption
    if not isinstance(given, str):
        raise UsageError(f"a transformation is named by text, such as 'blur', found {given!r}")
    expect(images, Images, "corrupt")
    name, _, number = corruption.partition("=")
    if name not in CORRUPTIONS:
        raise unknown_name("transformation", name, CORRUPTIONS)
    entry = CORRUPTIONS[name]
    try:
        strength = float(number) if number else entry.strength
    except ValueError:
        raise UsageError(f"{corruption!r}: the strength {number!r} is not a number") from None
    if not entry.low <= strength <= entry.high:
        raise UsageError(
            f"{corruption!r}: the strength must lie between {entry.low:g} and {entry.high:g}"
        )
    pixels = entry.apply(images.pixels[:], strength, np.random.default_rng(seed))
    return replace(images, pixels=pixels, name=f"{images.name}+{corruption}")


def _to_bytes(values: np.ndarray) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _gaussian_noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    noise = rng.standard_normal(pixels.shape, np.float32)
    return _to_bytes(pixels + np.float32(255 * sigma) * noise)


def _salt_and_pepper(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    hit = rng.random(pixels.shape, np.float32) < share
    salt = rng.random(pixels.shape, np.float32) < 0.5
    return np.where(hit, np.where(salt, np.uint8(255), np.uint8(0)), pixels)


def _blur(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    from scipy.ndimage import gaussian_filter

    return _to_bytes(gaussian_filter(pixels.astype(np.float32), (0, 0, sigma, sigma)))


def _inversion(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    return _to_bytes(pixels + strength * (255 - 2.0 * pixels))


def _rotation(pixels: Pixels, degrees: float, rng: np.random.Generator) -> Pixels:
    from scipy.ndimage import rotate

    turned = rotate(pixels.astype(np.float32), degrees, axes=(3, 2), reshape=False, order=1)
    return _to_bytes(turned)


def _horizontal_flip(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(pixels[..., ::-1])


def _vertical_flip(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    return np.ascontiguousarray(pixels[..., ::-1, :])


def _contrast(pixels: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    return _to_bytes(mean + factor * (pixels - mean))


def _constant(pixels: Pixels, value: float, rng: np.random.Generator) -> Pixels:
    if value >= 0:
        return np.full_like(pixels, round(255 * value))
    levels = rng.integers(0, 256, (len(pixels), 1, 1, 1), np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels, pixels.shape))


def _uniform_noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    return rng.integers(0, 256, pixels.shape, np.uint8)


def _mutation(pixels: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """Ren et al. 2019, section 4: what a background model learns from."""
    hit = rng.random(pixels.shape, np.float32) < share
    return np.where(hit, rng.integers(0, 256, pixels.shape, np.uint8), pixels)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(_gaussian_noise, 0.2, "standard deviation, full range 1", 0, 10),
    "salt_and_pepper": Corruption(_salt_and_pepper, 0.1, "share of the pixels", 0, 1),
    "blur": Corruption(_blur, 1.5, "standard deviation in pixels", 0, 100),
    "inversion": Corruption(_inversion, 1.0, "0 leaves the image, 1 inverts it", 0, 1),
    "rotation": Corruption(_rotation, 90.0, "degrees, counter-clockwise", -360, 360),
    "horizontal_flip": Corruption(_horizontal_flip, 1.0, "", 1, 1),
    "vertical_flip": Corruption(_vertical_flip, 1.0, "", 1, 1),
    "contrast": Corruption(_contrast, 0.3, "factor about the image's mean", 0, 100),
    "constant": Corruption(_constant, -1.0, "grey value; -1 draws one per image", -1, 1),
    "mutation": Corruption(_mutation, 0.2, "share of the pixels that get a random grey", 0, 1),
    "uniform_noise": Corruption(_uniform_noise, 1.0, "", 1, 1),
}
"""Every transformation by name."""
