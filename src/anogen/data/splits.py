"""One data set in three parts: what is learnt from, what chooses and calibrates, what judges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.data.columns import Columns
from anogen.data.duplicates import MOST_COMPARED, near_duplicates
from anogen.data.images import Images, Selection
from anogen.data.tables import Table
from anogen.errors import DataError, UsageError, finite_number
from anogen.progress import say

SPLIT_SEED = 0
"""All runs share one split, whatever their own seed, so that their numbers compare."""
FALSE_POSITIVE_RATE = 0.01
"""What a detector is usually calibrated for."""
MOST_HELD_OUT = 0.4
"""One part that is larger, because its groups are, is worth a warning."""
MOST_CALIBRATING = 0.2
"""Validation takes no larger share of all images than this in order to be large enough."""
FEW_ALIKE = 0.02
"""So large a share of held-out pictures may have a near duplicate; MNIST has less than half."""


@dataclass(frozen=True, eq=False)
class Splits:
    """One data set, split for training, choosing and judging.

    Attributes:
        train: what a model is fitted to.
        validation: held out of training; early stopping and calibration use it.
        test: touched only by evaluation.
        source: the arguments of `anogen.load_data` that make these splits again; empty for images
            that come from memory.
        own_test: whether the test images came as such; else they are a share of all images.
        may_have_duplicates: whether they are picture files that were not split by groups.
        columns: of a table, what its columns hold and how its rows became numbers.
        anomalies: rows of a table that its labels call anomalies; no part has them.
        table: the table.
        judged: int64, places in the table of the test rows and the anomalies.
    """

    train: Images
    validation: Images
    test: Images
    source: Mapping[str, Any] = field(default_factory=dict[str, Any])
    own_test: bool = True
    may_have_duplicates: bool = False
    columns: Columns | None = None
    anomalies: Images | None = None
    table: Table | None = None
    judged: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        """The three parts, one line each."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return "\n".join(f"{name:<11} {images!r}" for name, images in parts.items())

    @property
    def foreign(self) -> Images:
        """What represents this data where no model learns from it: its own test images, or all."""
        if self.own_test:
            return self.test
        return joined([self.train, self.validation, self.test])

    def limited(self, count: int) -> "Splits":
        """At most `count` training images and as large a share of the others, evenly spaced.

        Raises:
            UsageError: fewer than ten.
        """
        if count < 10:
            raise UsageError(f"limit must be at least 10, found {count}")
        total = len(self.train)
        if count >= total:
            return self

        def part(images: Images) -> Images:
            rows = np.arange(len(images))
            things = rows if images.things is None else np.unique(images.things)  # pairs stay
            kept = max(1, round(len(things) * count / total))
            chosen = things[np.arange(kept) * len(things) // kept]
            return images[chosen if images.things is None
                          else np.flatnonzero(np.isin(images.things, chosen))]  # fmt: skip

        train, validation, test = map(part, (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return self.train.shape

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self.train.name

    @property
    def things(self) -> str:
        """What a message calls the data: `images`, or `rows` of a table."""
        return "images" if self.columns is None else "rows"

    def warn(self) -> None:
        """Say what will make results worse, or look better, than they are; before training.

        Validation has too few images to calibrate the false-positive rate; or, of a folder that is
        not split by groups, held-out pictures nearly equal training pictures.
        """
        self._warn_of_few()
        if self.may_have_duplicates:
            warn_of_near_duplicates(self)

    def _warn_of_few(self) -> None:
        rate = self.source.get("false_positive_rate", FALSE_POSITIVE_RATE)
        needed, there = images_for(rate), len(self.validation)
        if there < needed:
            say(
                f"warning: {self.name}: {there} validation {self.things}; a detector needs "
                f"{needed} for a false-positive rate of {rate:g}. {needed - there} are missing, "
                f"and with what is there the rate cannot be set below {rounded_up(1 / (there + 1))}"
            )


def rounded_up(rate: float) -> str:
    """A rate in two digits, no less than it is.

    >>> rounded_up(1 / 9)
    '0.12'
    """
    digits = 1 - math.floor(math.log10(rate))
    return f"{math.ceil(rate * 10**digits) / 10**digits:g}"


def images_for(false_positive_rate: float) -> int:
    """The least number of calibration images that supports a false-positive rate.

    Raises:
        UsageError: the rate is not between 0 and 1.

    >>> images_for(0.01), images_for(0.05)
    (99, 19)
    """
    rate = finite_number("false_positive_rate", false_positive_rate)
    if not 0 < rate < 1:
        raise UsageError(f"a false-positive rate lies between 0 and 1, found {rate}")
    return math.ceil(1 / rate - 1e-9) - 1


def split(
    images: Images,
    test: Images | None = None,
    held_out: float = 0.1,
    *,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
) -> Splits:
    """Shuffle once with a fixed seed and hold parts out.

    Args:
        images: all images, or the training images where `test` is given.
        test: the official test images; None takes a share `held_out` of `images`.
        held_out: share of `images` that goes to validation (and, without `test`, to test).
        groups: for each image the name of what it shows, `[n]`; images of one group are never in
            two parts. None: each image is a group of its own.
        false_positive_rate: for which a detector is to be calibrated on validation images. So many
            as this needs (99 for 1 %) are held out, where these are a fifth of all or less.

    Raises:
        DataError: fewer than ten images, too few groups, or test images of another shape.

    Examples:
        >>> import numpy as np
        >>> parts = split(Images(np.zeros((100, 1, 28, 28), np.uint8), "black"))
        >>> len(parts.train), len(parts.validation), len(parts.test)
        (80, 10, 10)
    """
    if test is not None and test.shape != images.shape:
        raise DataError(f"{images.name}: test images are {test.shape}, others {images.shape}")
    rest, *held = split_rows(
        len(images), images.name, held_out, own_test=test is not None, groups=groups,
        false_positive_rate=false_positive_rate,
    )  # fmt: skip
    own_test = test is not None
    return Splits(images[rest], images[held[0]], images[held[1]] if test is None else test,
                  own_test=own_test)  # fmt: skip


def split_rows(
    count: int,
    name: str,
    held_out: float = 0.1,
    *,
    own_test: bool = False,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    false_positive_rate: float = FALSE_POSITIVE_RATE,
) -> list[NDArray[np.int64]]:
    """The numbers of the rows for training, validation and, without `own_test`, test; ascending.

    For the arguments see `split`.
    """
    if not 0 < held_out < 0.5:
        raise UsageError(f"held_out must lie between 0 and 0.5, found {held_out}")
    if count < 10:
        raise DataError(f"{name}: {count} are too few to split; give 10 or more")
    share = min(max(1, round(held_out * count)), (count - 1) // 2)
    needed = images_for(false_positive_rate)
    enough = MOST_CALIBRATING * count >= needed
    wanted = [max(share, needed) if enough else share, *([] if own_test else [share])]
    held, rest = _held_out(count, wanted, groups, name)
    return [rest, *held]


def _held_out(
    count: int, wanted: list[int], groups: Sequence[Any] | NDArray[Any] | None, name: str
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """The numbers of the images of each part that is held out, and of the rest, ascending."""
    if groups is None:
        order = np.random.default_rng(SPLIT_SEED).permutation(count)
        *held, rest = np.split(order, np.cumsum(wanted))
        return [np.sort(part) for part in held], np.sort(rest)
    if len(groups) != count:
        raise DataError(f"{name}: {len(groups)} groups for {count} images")
    numbers: dict[Any, int] = {}
    of_image = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    sizes = np.bincount(of_image)
    if len(sizes) <= len(wanted):
        raise DataError(
            f"{name}: {len(sizes)} groups cannot be split into {len(wanted) + 1} parts; each needs "
            "one at least"
        )
    rest = np.random.default_rng(SPLIT_SEED).permutation(len(sizes)).tolist()
    held = list[NDArray[np.int64]]()
    for place, number in enumerate(wanted):
        held_groups = _groups_for(number, rest, sizes, spare=len(wanted) - place - 1)
        rest = [group for group in rest if group not in held_groups]
        held.append(np.flatnonzero(np.isin(of_image, held_groups)))
        if len(held[-1]) > MOST_HELD_OUT * count:
            say(f"warning: {name}: a group of {sizes[held_groups].max()} of {count} images is held "
                "out as a whole; smaller groups split better")  # fmt: skip
    return held, np.flatnonzero(np.isin(of_image, rest))


def _groups_for(number: int, groups: list[int], sizes: NDArray[np.int64], spare: int) -> list[int]:
    """Groups, in their order, with so many images or a few more: large ones only if they must be.

    The largest group stays, so that something is left to learn from, and `spare` others for the
    parts to come.
    """
    largest = max(groups, key=lambda group: sizes[group])
    others = [group for group in groups if group != largest]
    held: list[int] = []
    missing = number
    for group in others:
        enough = missing <= 0 or len(held) == len(others) - spare
        if not enough and sizes[group] <= 2 * missing:
            held.append(group)
            missing -= int(sizes[group])
    return held or [min(others, key=lambda group: sizes[group])]


def warn_of_near_duplicates(data: Splits) -> None:
    """Say so where held-out pictures nearly equal training pictures."""
    parts = (data.validation, data.test)
    share = MOST_COMPARED / sum(map(len, parts))
    held_out = joined([part.evenly(max(1, round(share * len(part)))) for part in parts])
    looked_at = min(len(held_out), MOST_COMPARED)
    alike = near_duplicates(held_out, data.train)
    if alike > FEW_ALIKE * looked_at:
        say(
            f"warning: {data.name}: {alike} of {looked_at} held-out pictures nearly equal a "
            "training picture, so results on them will be too optimistic; if things were pictured "
            "several times, name them with group (--group)"
        )


def joined(parts: Sequence[Images]) -> Images:
    """The images of all parts, one after the other; not read where they are of one file."""
    first = parts[0]
    pixels = [part.pixels for part in parts]
    selections = [part for part in pixels if isinstance(part, Selection)]
    whole = selections[0].joined(selections[1:]) if len(selections) == len(pixels) else None
    labels = [part.labels for part in parts if part.labels is not None]
    captions = [part.captions for part in parts if part.captions is not None]
    things = [part.things for part in parts if part.things is not None]
    return replace(
        first,
        pixels=np.concatenate([part[:] for part in pixels]) if whole is None else whole,
        labels=np.concatenate(labels) if len(labels) == len(parts) else None,
        captions=np.concatenate(captions) if len(captions) == len(parts) else None,
        things=np.concatenate(things) if len(things) == len(parts) else None,
    )


def expect(value: object, kind: type[Images] | type[Splits], function: str) -> None:
    """Raise a `UsageError` where images are given for splits, or the other way round."""
    if isinstance(value, kind):
        return
    hint = "; wrap an array with anogen.images_from_array"
    if isinstance(value, Splits):
        hint = "; give one of its parts, such as data.test"
    elif isinstance(value, Images):
        hint = "; give the whole data set, from anogen.load_data or anogen.split"
    raise UsageError(f"{function} needs anogen.{kind.__name__}, found {type(value).__name__}{hint}")
