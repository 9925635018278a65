"""Defects drawn into good pictures, so that a net can learn what a defect is without seeing one.

Blobs, cracks, patches from elsewhere, smears and wrong textures, of random size, shape and
strength. Source of the idea: CutPaste (Li et al. 2021) and NSA (Schlüter et al. 2022); the shapes
are our own.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[np.float32]
Weights = NDArray[np.float64]
Drawn = tuple[Weights, NDArray[np.float64]]
"""How much of each pixel a defect covers, `[h, w]` in [0, 1], and what it shows, `[c, h, w]`."""
USUAL = 128
"""Sides for which thicknesses are given, in pixels."""
VISIBLE = 0.04
"""Least change of a pixel, of 1, for it to count as part of a defect."""
TRIES = 20
"""Until a defect is seen; the last one is taken as it is."""
FEWEST = 6
"""Pixels of a defect, at 128×128."""


def add_defect(
    picture: Picture, other: Picture, generator: np.random.Generator, kind: str | None = None
) -> tuple[Picture, NDArray[np.bool_]]:
    """A picture with a defect in it, and where the defect is.

    Args:
        picture: a good one, float32 `[c, h, w]` in [0, 1].
        other: another good one, of which a patch may be taken.
        generator: of all that is random.
        kind: a name in `DEFECTS`; None: any.

    Returns:
        float32 `[c, h, w]` in [0, 1], and bool `[h, w]`, the pixels that have changed visibly.

    Examples:
        >>> good = np.full((1, 64, 64), 0.5, np.float32)
        >>> bad, mask = add_defect(good, good, np.random.default_rng(0), "blob")
        >>> bool(np.array_equal(good[:, ~mask].round(1), bad[:, ~mask].round(1))), bool(mask.any())
        (True, True)
    """
    kind = kind or str(generator.choice(list(DEFECTS)))
    fewest = max(1, FEWEST * picture.shape[1] * picture.shape[2] // USUAL**2)
    changed, mask = picture, np.zeros(picture.shape[1:], np.bool_)
    for _ in range(TRIES):
        cover, shown = DEFECTS[kind](picture, other, generator)
        changed = np.clip(picture + (shown - picture) * cover, 0, 1).astype(np.float32)
        moved = np.abs(changed - picture).max(0)
        mask = (ndimage.uniform_filter(moved, 3) > VISIBLE) & (cover > 0.15)
        if mask.sum() >= fewest:
            break
    return changed, mask


def _blob(picture: Picture, other: Picture, generator: np.random.Generator) -> Drawn:
    return _region(picture, generator), _tinted(picture, generator)


def _line(picture: Picture, other: Picture, generator: np.random.Generator) -> Drawn:
    """A scratch or a crack: a walk that bends little, from a hair's breadth to a few pixels."""
    h, w = picture.shape[1:]
    length = int(generator.uniform(0.1, 0.9) * max(h, w))
    y, x = generator.uniform(0.1, 0.9, 2) * (h, w)
    angle, bend = generator.uniform(0, 2 * np.pi), generator.uniform(0, 0.25)
    drawn = np.zeros((h, w))
    for _ in range(2 * length):
        if 0 <= y < h and 0 <= x < w:
            drawn[int(y), int(x)] = 1
        angle += generator.normal() * bend
        y, x = y + np.sin(angle) / 2, x + np.cos(angle) / 2
    thickness = np.exp(generator.uniform(np.log(0.3), np.log(2.0))) * max(h, w) / USUAL
    drawn = ndimage.gaussian_filter(drawn, thickness)
    cover = np.clip(drawn / max(drawn.max(), 1e-9) * generator.uniform(1.0, 2.0), 0, 1)
    return cover, _tinted(picture, generator)


def _patch(picture: Picture, other: Picture, generator: np.random.Generator) -> Drawn:
    """A piece of this picture or of the other, turned, resized and moved; lit as its new place."""
    from_here = picture if generator.random() < 0.5 else other
    size = np.array(picture.shape[1:])
    angle = float(generator.choice([0.0, 0.5, 1.0, generator.uniform(0, 2)])) * np.pi
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn / np.exp(generator.uniform(-0.35, 0.35))
    middle = size / 2
    offset = middle - turn @ middle + generator.uniform(-0.4, 0.4, 2) * size
    shown = np.stack([
        ndimage.affine_transform(channel, turn, offset, order=1, mode="reflect")
        for channel in from_here
    ])  # fmt: skip
    lit = generator.choice([0.0, 1.0])
    shown = shown + lit * (_surroundings(picture) - _surroundings(shown))
    return _strength(generator) * _region(picture, generator), np.clip(shown, 0, 1)


def _smear(picture: Picture, other: Picture, generator: np.random.Generator) -> Drawn:
    """A blur, in one direction or in all, lighter or darker now and then."""
    blur = generator.uniform(1.5, 6) * max(picture.shape[1:]) / USUAL
    down, right = [(blur, blur), (blur, 0.3), (0.3, blur)][generator.integers(3)]
    shown = ndimage.gaussian_filter(picture, (0, down, right)) + generator.choice(
        [0.0, generator.uniform(-0.15, 0.15)]
    )
    return _strength(generator) * _region(picture, generator), np.clip(shown, 0, 1)


def _texture(picture: Picture, other: Picture, generator: np.random.Generator) -> Drawn:
    """Noise of another grain in the place of the picture's own."""
    around = _surroundings(picture)
    grain = _noise(picture.shape[1:], generator.uniform(0.7, 4), generator)
    spread = max(float(picture.std()), 0.03) * generator.uniform(0.4, 1.6)
    shown = around + (picture - around) * generator.uniform(0, 0.5) + spread * grain
    return _strength(generator) * _region(picture, generator), np.clip(shown, 0, 1)


DEFECTS: dict[str, Callable[[Picture, Picture, np.random.Generator], Drawn]] = {
    "blob": _blob, "line": _line, "patch": _patch, "smear": _smear, "texture": _texture,
}  # fmt: skip
"""Every kind by name."""


def _region(picture: Picture, generator: np.random.Generator) -> Weights:
    """An ellipse with a ragged, more or less soft rim, anywhere: `[h, w]` in [0, 1]."""
    h, w = picture.shape[1:]
    radius = np.exp(generator.uniform(np.log(0.03), np.log(0.25))) * min(h, w)
    radius = max(radius, 0.8)
    aspect, angle = np.exp(generator.uniform(-0.9, 0.9)), generator.uniform(0, np.pi)
    y, x = generator.uniform(0.05, 0.95, 2) * (h, w)
    down, right = np.mgrid[:h, :w] - np.array([y, x])[:, None, None]
    along = (right * np.cos(angle) + down * np.sin(angle)) / (radius * np.sqrt(aspect))
    across = (down * np.cos(angle) - right * np.sin(angle)) / (radius / np.sqrt(aspect))
    away = np.sqrt(along**2 + across**2)
    ragged = 0.25 * generator.uniform(0, 1.2) * _noise((h, w), max(1.0, radius / 3), generator)
    soft = generator.uniform(0.5, 2.0) / radius
    return np.clip((1 - away - ragged) / soft + 0.5, 0, 1) * (away < 1.6)


def _tinted(picture: Picture, generator: np.random.Generator) -> NDArray[np.float64]:
    """The surroundings, darker or lighter, with a grain."""
    around = _surroundings(picture)
    amount = generator.uniform(0.1, 1.0)
    darker = generator.random() < 2 / 3
    tint = around * (1 - amount) if darker else around + amount * (1 - around)
    grain = _noise(picture.shape[1:], generator.uniform(0.7, 4), generator)
    spread = max(float(picture.std()), 0.03) * generator.uniform(0, 0.6)
    return np.clip(tint + spread * grain, 0, 1)


def _surroundings(picture: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = max(picture.shape[1:]) / 10
    return ndimage.gaussian_filter(picture.astype(np.float64), (0, wide, wide))


def _strength(generator: np.random.Generator) -> float:
    return float(generator.uniform(0.5, 1.0))


def _noise(shape: tuple[int, ...], grain: float, generator: np.random.Generator) -> Weights:
    """Smooth noise of mean 0 and standard deviation 1."""
    smooth = ndimage.gaussian_filter(generator.standard_normal(shape), grain, mode="wrap")
    return (smooth - smooth.mean()) / max(float(smooth.std()), 1e-9)
