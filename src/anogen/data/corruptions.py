"""Transformations that damage images or make others of them: to be detected, or to be restored."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images
from anogen.data.splits import expect
from anogen.errors import UsageError, unknown_name

Values = NDArray[np.float32]
Transform = Callable[[Values, float, np.random.Generator], NDArray[Any]]
HOLE = 128
"""The grey of holes."""


@dataclass(frozen=True)
class Corruption:
    """A transformation of images with one strength.

    Attributes:
        apply: float32 `[n, c, h, w]`, black 0 and white 255, strength, random generator → values of
            the same shape, which need be neither whole nor within these bounds.
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
    expect(images, Images, "corrupt")
    (part,) = parts_of(corruption, "a transformation", ranges=False)
    values = images.pixels[:].astype(np.float32)
    changed = part.entry.apply(values, part.low, np.random.default_rng(seed))
    pixels = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    return replace(images, pixels=pixels, name=f"{images.name}+{corruption}")


@dataclass(frozen=True)
class Part:
    """A transformation with the strengths that it is to have.

    Attributes:
        name: in `CORRUPTIONS`.
        low: the least strength.
        high: the greatest; the same where there is but one.
    """

    name: str
    low: float
    high: float

    @property
    def entry(self) -> Corruption:
        """The transformation."""
        return CORRUPTIONS[self.name]


def parts_of(text: Any, what: str, *, ranges: bool = True) -> list[Part]:
    """What a text such as `gaussian_noise=0..0.2+blur=1` names, in its order.

    Args:
        text: names in `CORRUPTIONS`, joined by `+`, each with `=strength` or `=least..greatest`
            where another strength than the default is wanted.
        what: it is, for messages.
        ranges: whether there may be several, and ranges of strengths.

    Raises:
        UsageError: an unknown name, or a strength that is no number or out of bounds.

    Examples:
        >>> parts_of("gaussian_noise=0..0.2+blur", "a corruption")
        [Part(name='gaussian_noise', low=0.0, high=0.2), Part(name='blur', low=1.5, high=1.5)]
    """
    if not isinstance(text, str):
        raise UsageError(f"{what} is named by text, such as 'blur', found {text!r}")
    return [_part(one, ranges) for one in (text.split("+") if ranges else [text])]


def _part(text: str, ranges: bool) -> Part:
    name, _, number = text.partition("=")
    if name not in CORRUPTIONS:
        raise unknown_name("transformation", name, CORRUPTIONS)
    entry = CORRUPTIONS[name]
    ends = number.split("..", 1) if ranges else [number]
    try:
        low, high = (float(end) for end in (ends[0], ends[-1])) if number else (entry.strength,) * 2
    except ValueError:
        raise UsageError(f"{text!r}: the strength {number!r} is not a number") from None
    if number and entry.low == entry.high and (low, high) != (entry.low, entry.high):
        raise UsageError(f"{text!r}: {name} has no strength to choose")
    if not entry.low <= low <= high <= entry.high:
        raise UsageError(
            f"{text!r}: the strength must lie between {entry.low:g} and {entry.high:g}"
            + (", the least one first" if low > high else "")
        )
    return Part(name, low, high)


def _gaussian_noise(values: Values, sigma: float, rng: np.random.Generator) -> NDArray[Any]:
    return values + np.float32(255 * sigma) * rng.standard_normal(values.shape, np.float32)


def _poisson_noise(values: Values, photons: float, rng: np.random.Generator) -> NDArray[Any]:
    return rng.poisson(np.clip(values, 0, 255) * (photons / 255)) * (255 / photons)


def _salt_and_pepper(values: Values, share: float, rng: np.random.Generator) -> NDArray[Any]:
    hit = rng.random(values.shape, np.float32) < share
    salt = rng.random(values.shape, np.float32) < 0.5
    return np.where(hit, np.where(salt, np.float32(255), np.float32(0)), values)


def _holes(values: Values, share: float, rng: np.random.Generator) -> NDArray[Any]:
    """Squares of a quarter of the image's side, at random, until so much of it is gone."""
    damaged = values.copy()
    height, width = values.shape[2:]
    side = max(1, min(height, width) // 4)
    for image in damaged:
        gone = np.zeros((height, width), np.bool_)
        while gone.mean() < share:
            top, left = rng.integers(1 - side, height), rng.integers(1 - side, width)
            gone[max(0, top) : top + side, max(0, left) : left + side] = True
        image[:, gone] = HOLE
    return damaged


def _blur(values: Values, sigma: float, rng: np.random.Generator) -> NDArray[Any]:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(values, (0, 0, sigma, sigma))


def _inversion(values: Values, strength: float, rng: np.random.Generator) -> NDArray[Any]:
    return values + strength * (255 - 2.0 * values)


def _rotation(values: Values, degrees: float, rng: np.random.Generator) -> NDArray[Any]:
    from scipy.ndimage import rotate

    return rotate(values, degrees, axes=(3, 2), reshape=False, order=1)


def _zoom(values: Values, factor: float, rng: np.random.Generator) -> NDArray[Any]:
    """About the centre; what was outside is black."""
    from scipy.ndimage import affine_transform

    height, width = values.shape[2:]
    step = np.array([1, 1, 1 / factor, 1 / factor])
    middle = np.array([0, 0, (height - 1) / 2, (width - 1) / 2])
    offset: Any = middle - step * middle
    return affine_transform(values, step, offset=offset, order=1)


def _grey(values: Values, strength: float, rng: np.random.Generator) -> NDArray[Any]:
    """By the weights of ITU-R BT.601, as Pillow has it."""
    if values.shape[1] == 1:
        return values
    grey = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), values, (0, 1))
    return np.broadcast_to(grey[:, None], values.shape)


def _edges(values: Values, gain: float, rng: np.random.Generator) -> NDArray[Any]:
    """How steep each channel is, after Sobel, the steepest one counting; dark on white."""
    from scipy.ndimage import sobel

    slopes = [sobel(values, axis, mode="nearest") / 8 for axis in (2, 3)]
    steepness = np.hypot(*slopes).max(1, keepdims=True)
    return np.broadcast_to(255 - gain * steepness, values.shape)


def _horizontal_flip(values: Values, strength: float, rng: np.random.Generator) -> NDArray[Any]:
    return np.ascontiguousarray(values[..., ::-1])


def _vertical_flip(values: Values, strength: float, rng: np.random.Generator) -> NDArray[Any]:
    return np.ascontiguousarray(values[..., ::-1, :])


def _contrast(values: Values, factor: float, rng: np.random.Generator) -> NDArray[Any]:
    mean = values.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32)
    return mean + factor * (values - mean)


def _constant(values: Values, value: float, rng: np.random.Generator) -> NDArray[Any]:
    if value >= 0:
        return np.full_like(values, round(255 * value))
    levels = rng.integers(0, 256, (len(values), 1, 1, 1), np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels, values.shape))


def _uniform_noise(values: Values, strength: float, rng: np.random.Generator) -> NDArray[Any]:
    return rng.integers(0, 256, values.shape, np.uint8)


def _mutation(values: Values, share: float, rng: np.random.Generator) -> NDArray[Any]:
    """Ren et al. 2019, section 4: what a background model learns from."""
    hit = rng.random(values.shape, np.float32) < share
    return np.where(hit, rng.integers(0, 256, values.shape, np.uint8), values)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(_gaussian_noise, 0.2, "standard deviation, full range 1", 0, 10),
    "poisson_noise": Corruption(_poisson_noise, 30, "photons that make white", 1, 1e6),
    "salt_and_pepper": Corruption(_salt_and_pepper, 0.1, "share of the pixels", 0, 1),
    "holes": Corruption(_holes, 0.2, "share of the image, in squares of half grey", 0, 0.9),
    "blur": Corruption(_blur, 1.5, "standard deviation in pixels", 0, 100),
    "inversion": Corruption(_inversion, 1.0, "0 leaves the image, 1 inverts it", 0, 1),
    "rotation": Corruption(_rotation, 90.0, "degrees, counter-clockwise", -360, 360),
    "zoom": Corruption(_zoom, 0.75, "factor about the centre, black outside", 0.05, 20),
    "grey": Corruption(_grey, 1.0, "", 1, 1),
    "edges": Corruption(_edges, 4.0, "how dark an edge is; 4 is black for half a step", 0.1, 100),
    "horizontal_flip": Corruption(_horizontal_flip, 1.0, "", 1, 1),
    "vertical_flip": Corruption(_vertical_flip, 1.0, "", 1, 1),
    "contrast": Corruption(_contrast, 0.3, "factor about the image's mean", 0, 100),
    "constant": Corruption(_constant, -1.0, "grey value; -1 draws one per image", -1, 1),
    "mutation": Corruption(_mutation, 0.2, "share of the pixels that get a random grey", 0, 1),
    "uniform_noise": Corruption(_uniform_noise, 1.0, "", 1, 1),
}
"""Every transformation by name."""
