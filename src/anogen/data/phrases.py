"""What English says of a scene of digits: a small grammar, with synonyms and several orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anogen.data.scenes import Figure, Scene

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""The digits as words."""
NOUNS = ("{}", "{}", "{}", "digit {}", "figure {}", "number {}", "handwritten {}")
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge"),
              "normal": ("medium-sized",)}  # fmt: skip
STROKE_WORDS = {"thin": ("thin", "fine", "narrow"), "thick": ("thick", "bold", "fat"),
                "normal": ()}  # fmt: skip
TURN_WORDS = {
    "tilted left": ("tilted to the left", "leaning left"),
    "tilted right": ("tilted to the right", "leaning right"),
    "upright": ("upright",),
}
PLACE_WORDS = {
    "top": ("at the top", "on top", "in the upper part"),
    "bottom": ("at the bottom", "at the foot", "in the lower part"),
    "left": ("on the left", "at the left", "on the left side"),
    "right": ("on the right", "at the right", "on the right side"),
    "middle": ("in the middle", "in the centre"),
}
GROUND_WORDS = ("on a {} background", "on {} ground", "on {}", "against {}")
OTHER_NOUNS = ("numeral {}", "written {}")
OTHER_SIZE_WORDS = {"small": ("minute",), "large": ("great", "enormous"), "normal": ()}
OTHER_STROKE_WORDS = {"thin": ("slender",), "thick": ("heavy",), "normal": ()}
OTHER_PLACE_WORDS = {
    "top": ("up at the top",),
    "bottom": ("down at the bottom",),
    "left": ("over on the left",),
    "right": ("over on the right",),
    "middle": ("right in the middle",),
}
"""Synonyms, and below orders, that no caption for training has: see `say_scene`."""


@dataclass(frozen=True)
class Said:
    """A caption, and what of a scene it names beside the digits.

    Attributes:
        text: the caption.
        place: whether it says where the digits are.
        inks: of each digit, whether it names its ink.
    """

    text: str
    place: bool
    inks: tuple[bool, ...]


def say_scene(scene: "Scene", rng: np.random.Generator, *, others: bool = False) -> Said:
    """A caption of a scene, drawn from a grammar.

    It names every digit, as a word or a figure, and their places (of one alone not always); ink,
    size, stroke, turn and ground are named or left out at random.

    Args:
        scene: what is to be said.
        rng: of the choices.
        others: in words and orders that captions for training never have.

    Examples:
        >>> from anogen.data.scenes import Figure, Scene
        >>> seven = Figure(7, "left", "red", "large", "upright", "thin")
        >>> say_scene(Scene("black", (seven,)), np.random.default_rng(1)).text
        'a huge narrow red seven on the left side'
    """
    speech = _Speech(rng, others)
    text = speech.figures(scene.figures)
    if rng.random() >= 0.3:
        ground = _one(rng, GROUND_WORDS).format(scene.ground)
        first = rng.random() < (0.7 if others else 0.15)
        text = f"{ground}: {text}" if first else f"{text} {ground}"
    return Said(text, speech.place, tuple(speech.inks))


class _Speech:
    """The choices of one caption."""

    def __init__(self, rng: np.random.Generator, others: bool) -> None:
        self.rng, self.others = rng, others
        self.place, self.inks = True, list[bool]()

    def figures(self, figures: "Sequence[Figure]") -> str:
        """What is said of all digits."""
        if len(figures) == 1:
            return self._alone(figures[0])
        named = [self._named(figure) for figure in figures]
        across = figures[0].place == "left"
        way = self.rng.random()
        if len(figures) == 2 and way < 0.45:
            return self._beside(named[0], named[1], across)
        if way < 0.7:
            order = "from left to right" if across else "from top to bottom"
            listed = f"{', '.join(named[:-1])} and {named[-1]}"
            if self.others:
                return f"{order} one sees {listed}"
            return f"{order}: {listed}" if self.rng.random() < 0.5 else f"{listed}, {order}"
        parts = [self._at(name, figure) for name, figure in zip(named, figures, strict=True)]
        if self.rng.random() < 0.5:
            parts = parts[::-1]
        if self.others:
            return "; ".join(parts)
        return f"{', '.join(parts[:-1])} and {parts[-1]}"

    def _alone(self, figure: "Figure") -> str:
        name = self._named(figure)
        if self.rng.random() < 0.15:
            self.place = False
            return name
        place = self._place(figure)
        if self.others:
            return f"what stands {place} is {name}"
        way = self.rng.random()
        if way < 0.2:
            return f"{place}, {name}"
        return f"there is {name} {place}" if way < 0.35 else f"{name} {place}"

    def _beside(self, first: str, second: str, across: bool) -> str:
        """Two digits, one by the other."""
        if self.others:
            beyond = "with {} to its right" if across else "with {} underneath it"
            return f"{first} {beyond.format(second)}"
        if self.rng.random() < 0.5:
            relation = ("to the left of", "on the left of") if across else ("above", "over")
            return f"{first} {_one(self.rng, relation)} {second}"
        relation = ("to the right of", "on the right of") if across else ("below", "under")
        return f"{second} {_one(self.rng, relation)} {first}"

    def _at(self, name: str, figure: "Figure") -> str:
        return f"{name} {self._place(figure)}"

    def _place(self, figure: "Figure") -> str:
        words = OTHER_PLACE_WORDS if self.others else PLACE_WORDS
        return _one(self.rng, words[figure.place])

    def _named(self, figure: "Figure") -> str:
        """One digit with its article, and some of what it is like."""
        rng = self.rng
        sizes = OTHER_SIZE_WORDS if self.others else SIZE_WORDS
        strokes = OTHER_STROKE_WORDS if self.others else STROKE_WORDS
        words = [
            *self._some(sizes[figure.size], 0.2 if figure.size == "normal" else 0.7),
            *self._some(strokes[figure.stroke], 0.7),
        ]
        turn = self._some(TURN_WORDS[figure.turn], 0.15 if figure.turn == "upright" else 0.6)
        ink = [figure.ink] if rng.random() < 0.85 else []
        self.inks.append(bool(ink))
        figure_or_word = str(figure.digit) if rng.random() < 0.4 else WORDS[figure.digit]
        noun = _one(rng, OTHER_NOUNS if self.others else NOUNS).format(figure_or_word)
        if self.others and ink:
            noun, ink = f"{noun} in {ink[0]}", []
        if turn and turn[0] == "upright":
            words, turn = [*turn, *words], []
        said = " ".join([*words, *ink, noun, *turn])
        return f"{'an' if _begins_with_a_vowel(said) else 'a'} {said}"

    def _some(self, words: Sequence[str], share: float) -> list[str]:
        """One of some words, or none."""
        said = self.rng.random() < share
        return [_one(self.rng, words)] if words and said else []


def _one(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.integers(len(words)))]


def _begins_with_a_vowel(text: str) -> bool:
    """As it is pronounced: an eight, an 8, a one."""
    return text[0] in "aeiou8" and not text.startswith("one")
