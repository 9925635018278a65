"""Drawn scenes of handwritten digits with captions: what text to image is measured on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images, Pixels, with_captions
from anogen.data.phrases import say_scene
from anogen.errors import UsageError, unknown_name, whole_number

SIZE = 48
"""Height and width of scenes unless another is asked for."""
INKS = {
    "red": (214, 40, 40),
    "orange": (240, 134, 20),
    "yellow": (245, 220, 50),
    "green": (36, 150, 60),
    "blue": (40, 80, 220),
    "purple": (140, 50, 170),
    "white": (248, 248, 248),
    "black": (12, 12, 12),
}
GROUNDS = {
    "black": (8, 8, 8),
    "white": (250, 250, 250),
    "grey": (128, 128, 128),
    "pink": (250, 200, 210),
}
LEAST_CONTRAST = 110
"""Between ink and ground, as the distance of their colours of 0 to 255."""
SHADES = 10
"""How far a colour strays from its name, in either direction."""
PLACES = ("top", "bottom", "left", "right", "middle")
ROWS = (("left", "right"), ("top", "bottom"), ("left", "middle", "right"),
        ("top", "middle", "bottom"))  # fmt: skip
"""How several digits stand."""
SIZES = {"small": 0, "normal": 1, "large": 2}
TURNS = {"upright": 0, "tilted left": 1, "tilted right": -1}
STROKES = ("thin", "normal", "thick")
HEIGHTS = {1: (0.28, 0.42, 0.58), 2: (0.25, 0.34, 0.42), 3: (0.21, 0.26, 0.3)}
"""Heights of small, normal and large digits, as shares of the scene's, by how many there are."""
CAPTIONS = 3
"""Of each scene."""
TRAIN_SEED, TEST_SEED = 0, 1
"""Of the scenes that data sets have."""
INKED = 64
"""Above as much a pixel of handwriting counts as inked."""

Combinations = Literal["seen", "unseen", "all"]


@dataclass(frozen=True)
class Figure:
    """One digit of a scene.

    Attributes:
        digit: 0 to 9.
        place: one of `PLACES`.
        ink: one of `INKS`.
        size: one of `SIZES`.
        turn: one of `TURNS`.
        stroke: one of `STROKES`.
    """

    digit: int
    place: str
    ink: str
    size: str
    turn: str
    stroke: str

    @property
    def held_out(self) -> bool:
        """Whether digit, ink and place together are kept for tests, which a seventh is.

        Each digit is still seen in each ink, in each place, and each ink in each place.
        """
        ink, place = list(INKS).index(self.ink), PLACES.index(self.place)
        return (3 * self.digit + 5 * ink + 2 * place) % 7 == 0


@dataclass(frozen=True)
class Scene:
    """What a picture shows: its exact factors.

    Attributes:
        ground: one of `GROUNDS`.
        figures: one to three digits, from left to right or from top to bottom.
    """

    ground: str
    figures: tuple[Figure, ...]

    @property
    def held_out(self) -> bool:
        """Whether it has a figure that training never shows."""
        return any(figure.held_out for figure in self.figures)


def draw_scenes(
    count: int,
    digits: Images,
    seed: int = 0,
    *,
    size: int = SIZE,
    combinations: Combinations = "all",
    name: str = "scenes",
) -> tuple[Images, list[Scene]]:
    """Pictures of one to three handwritten digits, with captions.

    Place, size, turn, stroke and ink of each digit and the ground are drawn at random; captions
    name the digits and, of the rest, now this and now that.

    Args:
        count: how many.
        digits: handwriting to draw from: grey images of 28×28, white on black, with labels 0 to 9.
        seed: of everything.
        size: height and width of the pictures.
        combinations: `seen`: scenes without any combination of digit, ink and place that is held
            out (a seventh of them); `unseen`: scenes with at least one; `all`: either.
        name: of the images.

    Returns:
        RGB images `[count, 3, size, size]` with three captions each, and what each shows.

    Raises:
        UsageError: no image, a size below 32, or digits of another kind.

    Examples:
        >>> from anogen.data.catalog import load_data
        >>> images, scenes = draw_scenes(2, load_data("digits").train)
        >>> images.shape, len(scenes[0].figures) in (1, 2, 3)
        ((3, 48, 48), True)
    """
    if whole_number("count", count) < 1 or whole_number("size", size) < 32:
        raise UsageError(f"scenes: count is at least 1 and size at least 32: {count}, {size}")
    if combinations not in get_args(Combinations):
        raise unknown_name("combinations", combinations, get_args(Combinations))
    if digits.shape != (1, 28, 28) or digits.labels is None or len(digits.classes) != 10:
        raise UsageError(f"scenes are drawn from labelled digits of 28×28, found {digits!r}")
    of_digit = [np.flatnonzero(digits.labels == digit) for digit in range(10)]
    missing = [str(digit) for digit, rows in enumerate(of_digit) if not len(rows)]
    if missing:
        raise UsageError(f"scenes: {digits.name} has no {', '.join(missing)}")
    rng = np.random.default_rng((seed, 17))
    scenes = [_scene(rng, combinations) for _ in range(count)]
    pixels = np.empty((count, 3, size, size), np.uint8)
    for place, scene in enumerate(scenes):
        written = [digits.pixels[rng.choice(of_digit[figure.digit], 1)][0, 0]
                   for figure in scene.figures]  # fmt: skip
        pixels[place] = _drawn(scene, written, size, rng)
    captions = [[say_scene(scene, rng).text for _ in range(CAPTIONS)] for scene in scenes]
    return with_captions(Images(pixels, name), captions), scenes


def scenes_of(
    train: Images, test: Images, counts: tuple[int, int], name: str
) -> tuple[Images, Images]:
    """Scenes to train on, and test scenes of combinations that these never show.

    Args:
        train: handwriting for the one.
        test: handwriting for the other.
        counts: how many of each.
        name: of the images.
    """
    return (
        draw_scenes(counts[0], train, seed=TRAIN_SEED, combinations="seen", name=name)[0],
        draw_scenes(counts[1], test, seed=TEST_SEED, combinations="unseen", name=name)[0],
    )


def _scene(rng: np.random.Generator, combinations: Combinations) -> Scene:
    while True:
        scene = _any_scene(rng)
        if combinations == "all" or scene.held_out == (combinations == "unseen"):
            return scene


def _any_scene(rng: np.random.Generator) -> Scene:
    ground = _one(rng, tuple(GROUNDS))
    inks = [ink for ink in INKS if _contrast(ink, ground) >= LEAST_CONTRAST]
    count = int(rng.integers(1, 4))
    rows = [row for row in ROWS if len(row) == count]
    places = (_one(rng, PLACES),) if count == 1 else rows[int(rng.integers(len(rows)))]
    figures = tuple(
        Figure(int(rng.integers(10)), place, _one(rng, inks), _one(rng, tuple(SIZES)),
               _one(rng, tuple(TURNS)), _one(rng, STROKES))
        for place in places
    )  # fmt: skip
    return Scene(ground, figures)


def _one(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def _contrast(ink: str, ground: str) -> float:
    return float(np.linalg.norm(np.subtract(INKS[ink], GROUNDS[ground])))


def _drawn(
    scene: Scene, written: list[NDArray[np.uint8]], size: int, rng: np.random.Generator
) -> Pixels:
    """uint8 `[3, size, size]` of a scene, in this handwriting."""
    picture = np.broadcast_to(_shade(GROUNDS[scene.ground], rng), (size, size, 3))
    for figure, digit in zip(scene.figures, written, strict=True):
        cover = _placed(figure, digit, len(scene.figures), size, rng)[..., None]
        picture = picture + cover * (_shade(INKS[figure.ink], rng) - picture)
    return np.rint(picture).astype(np.uint8).transpose(2, 0, 1)


def _shade(colour: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    return np.clip(np.array(colour) + rng.uniform(-SHADES, SHADES, 3), 0, 255)


def _placed(
    figure: Figure, digit: NDArray[np.uint8], count: int, size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """What share of each pixel a digit covers, float64 `[size, size]`."""
    from PIL import Image, ImageFilter

    picture = Image.fromarray(digit)
    if figure.stroke != "normal":
        larger = picture.resize((56, 56), Image.Resampling.BILINEAR)
        thick = figure.stroke == "thick"
        larger = larger.filter(ImageFilter.MaxFilter(3) if thick else ImageFilter.MinFilter(3))
        picture = larger.resize((28, 28), Image.Resampling.BILINEAR)
        if not thick:  # thinner, not fainter
            picture = picture.point([min(255, round(1.5 * value)) for value in range(256)])
    height = HEIGHTS[count][SIZES[figure.size]] * rng.uniform(0.93, 1.07)
    turn = TURNS[figure.turn] * rng.uniform(18, 30) + rng.uniform(-4, 4)
    x, y = (0.5 + rng.uniform(-0.03, 0.03, 2)).tolist()
    reach = 0.05 + height / 2 if count == 1 else (0.25 if count == 2 else 1 / 6)
    away = {"left": (reach - 0.5, 0.0), "right": (0.5 - reach, 0.0), "top": (0.0, reach - 0.5),
            "bottom": (0.0, 0.5 - reach), "middle": (0.0, 0.0)}[figure.place]  # fmt: skip
    x, y = (x + away[0]) * size, (y + away[1]) * size
    (first, last), (top, bottom) = (_extent(digit.max(axis)) for axis in (0, 1))
    scale = max(last - first, bottom - top) / (height * size)
    middle = (first + last) / 2, (top + bottom) / 2
    cos, sin = np.cos(np.radians(turn)) * scale, np.sin(np.radians(turn)) * scale
    into_digit = (cos, -sin, middle[0] - cos * x + sin * y,
                  sin, cos, middle[1] - sin * x - cos * y)  # fmt: skip
    placed = picture.transform((size, size), Image.Transform.AFFINE, into_digit,
                               Image.Resampling.BILINEAR)  # fmt: skip
    return np.asarray(placed) / 255


def _extent(line: NDArray[np.uint8]) -> tuple[int, int]:
    """Where ink begins and ends, along one direction."""
    inked = np.flatnonzero(line > INKED)
    return (int(inked[0]), int(inked[-1]) + 1) if len(inked) else (0, len(line))
