"""Batches as a pure function of (seed, epoch, position), scaled to [0, 1] on the device."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.images import Captions, Images, Pixels
from anogen.data.text import tokens_of

EVALUATION_VALUES = 500_000
"""Values of pixels and channels in a pass outside training."""
MOST_IN_PASS = 256
ALIKE, SORTED_BY = 16, 32
"""Texts with many words in common that follow one another, and words by which they are sorted."""
EMPTY = 0.1
"""Share of captions that are empty in training, so that an empty one comes to stand for any."""


class Batch(NamedTuple):
    """Images with what a model may be conditional on.

    Attributes:
        x: float32 `[b, c, h, w]` in [0, 1].
        condition: the labels, int64 `[b]`; of data with pairs `[b, 2]`, beside each label the
            number of what is shown; of data without labels a caption of each, as tokens `[b,
            length]` (see `anogen.data.text`); None where it has neither.
    """

    x: Tensor
    condition: Tensor | None


def to_unit(pixels: Tensor) -> Tensor:
    """Bytes to floats: the only place where pixels are scaled.

    Args:
        pixels: uint8 `[b, c, h, w]`, or float32 in [0, 1], which stays as it is.

    Returns:
        float32 `[b, c, h, w]` in [0, 1], channels last in memory, on the device of `pixels`.

    Examples:
        >>> import torch
        >>> to_unit(torch.full((1, 1, 2, 2), 51, dtype=torch.uint8)).unique()
        tensor([0.2000])
    """
    x = pixels.to(torch.float32, memory_format=torch.channels_last)
    return x.div_(255) if pixels.dtype == torch.uint8 else x


def to_bytes(x: Tensor) -> Pixels:
    """Floats `[..., c, h, w]` in [0, 1] to bytes, rounded and clipped: uint8 of the same shape.

    >>> to_bytes(torch.tensor([0.5, 2.0]))
    array([128, 255], dtype=uint8)
    """
    return (x.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def evaluation_batch(shape: tuple[int, int, int]) -> int:
    """Images per pass outside training: about a fixed number of pixels, so that memory is bounded.

    A power of two, because products of matrices treat rows that fill no whole block otherwise, so
    that a number would depend on the place of its image in the pass.

    >>> evaluation_batch((1, 28, 28)), evaluation_batch((3, 256, 256))
    (256, 2)
    """
    most = max(2, EVALUATION_VALUES // math.prod(shape))
    return 1 << (min(MOST_IN_PASS, most).bit_length() - 1)


def in_order(images: Images, device: torch.device) -> Iterator[Batch]:
    """All images, first to last, in passes of bounded size; of captions each one's first."""
    size = evaluation_batch(images.shape)
    for start in range(0, len(images), size):
        part = images[start : start + size]
        condition = conditions_of(part)
        x = to_unit(torch.from_numpy(np.array(part.pixels[:])).to(device))
        yield Batch(x, None if condition is None else condition.to(device))


class Shuffled:
    """Random batches of a data set, the same whenever asked for the same place.

    On a GPU the bytes of the whole data set are kept there where they take less than a quarter
    of its free memory; elsewhere each batch is copied.

    Args:
        images: what to draw from.
        size: images per batch; a data set that is smaller is one batch. What is left over at the
            end of an epoch is left out, another part in each epoch.
        seed: of the order.
        device: where the batches go.

    Examples:
        >>> import numpy as np, torch
        >>> images = Images(np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2), "ramp")
        >>> batches = Shuffled(images, 4, seed=0, device=torch.device("cpu"))
        >>> whole = list(batches.epoch(3))
        >>> rest = list(batches.epoch(3, start=1))
        >>> len(whole), torch.equal(whole[1].x, rest[0].x)
        (2, True)
    """

    def __init__(self, images: Images, size: int, seed: int, device: torch.device) -> None:
        self.images, self.seed, self.device = images, seed, device
        self.size = min(size, len(images))
        self._resident = _resident(images, device)
        self._captions = None if images.labels is not None else _Captions.of(images)

    def __len__(self) -> int:
        return len(self.images) // self.size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, of `size` images each, from position `start` on."""
        rng = np.random.default_rng((self.seed, epoch))
        order, conditions = self._order(rng), self._conditions(rng)
        if self._captions is not None and conditions is not None:
            order = order[alike_together(conditions.numpy()[order], rng)]
        places = [
            slice(position * self.size, (position + 1) * self.size)
            for position in range(start, len(self))
        ]
        if self._resident is not None:  # nothing crosses over to the GPU within the epoch
            there = torch.from_numpy(order).to(self.device)
            conditions = None if conditions is None else conditions.to(self.device)
            for place in places:
                x = to_unit(self._resident[there[place]])
                yield Batch(x, None if conditions is None else conditions[there[place]])
            return
        for place in places:
            x = to_unit(torch.from_numpy(self.images.pixels[order[place]]).to(self.device))
            chosen = None if conditions is None else conditions[torch.from_numpy(order[place])]
            yield Batch(x, None if chosen is None else chosen.to(self.device))

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """All places at random, those of one thing side by side."""
        order = rng.permutation(len(self.images))
        things = self.images.things
        if things is None:
            return order
        shown, of_image = np.unique(things, return_inverse=True)
        first = rng.permutation(len(shown))
        return order[np.argsort(first[of_image[order]], kind="stable")]

    def _conditions(self, rng: np.random.Generator) -> Tensor | None:
        """That of each image: its label, or one of its captions, or an empty one."""
        if self._captions is None:
            return conditions_of(self.images)
        return torch.from_numpy(self._captions.drawn(rng))


def alike_together(tokens: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """An order in which sixteen texts that have many words in common follow one another.

    Among random texts nearly every difference tells two apart; among these the rest counts as well.
    Texts are sorted by whether they have each of some words, which are drawn anew each time, those
    the more likely that divide texts more evenly; then the sixteens are shuffled.

    Args:
        tokens: of texts, int64 `[n, length]`.
        rng: of the draws.

    Returns:
        Places, int64 `[n]`.
    """
    words, counts = np.unique(tokens[tokens != 0], return_counts=True)
    share = np.minimum(counts / len(tokens), 1)
    even = np.maximum(share * (1 - share), 1e-6)
    chosen = words[np.argsort(-(rng.random(len(words)) ** (1 / even)))[:SORTED_BY]]
    has = [(tokens == word).any(1) for word in chosen[::-1]]
    order = np.lexsort(has) if has else np.arange(len(tokens))
    groups = [order[start : start + ALIKE] for start in range(0, len(order), ALIKE)]
    return np.concatenate([groups[group] for group in rng.permutation(len(groups))])


def conditions_of(images: Images) -> Tensor | None:
    """What models may be conditional on: the labels of images, or else their first captions.

    Returns:
        See `Batch`.
    """
    if images.labels is not None and images.things is not None:
        return torch.from_numpy(np.stack([images.labels, images.things], 1))
    if images.labels is not None:
        return torch.from_numpy(images.labels)
    if images.captions is None:
        return None
    return torch.from_numpy(tokens_of([(*texts, "")[0] for texts in images.captions]))


class _Captions:
    """The captions of images as tokens, so that one of each can be drawn.

    Attributes:
        tokens: of all captions, int64 `[captions, length]`.
        first: of each image the number of its first caption, int64 `[n]`.
        counts: how many each image has, int64 `[n]`.
    """

    def __init__(self, captions: Captions) -> None:
        self.tokens = tokens_of([text for texts in captions for text in texts] or [""])
        self.counts = np.array([len(texts) for texts in captions])
        self.first = np.cumsum(self.counts) - self.counts

    @classmethod
    def of(cls, images: Images) -> "_Captions | None":
        return None if images.captions is None else cls(images.captions)

    def drawn(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """One of each image, int64 `[n, length]`; now and then an empty one, as of one without."""
        each = self.first + (rng.random(len(self.first)) * self.counts).astype(np.int64)
        empty = (rng.random(len(self.first)) < EMPTY) | (self.counts == 0)
        drawn = self.tokens[np.minimum(each, len(self.tokens) - 1)]
        drawn[empty] = 0
        return drawn


def _resident(images: Images, device: torch.device) -> Tensor | None:
    """The bytes of all images on a GPU with room for them."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    if images.pixels.nbytes >= free / 4:
        return None
    return torch.tensor(images.pixels[:], device=device)
