"""Batches as a pure function of (seed, epoch, position), scaled to [0, 1] on the device."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.data.images import Images, Pixels

EVALUATION_VALUES = 500_000
"""Values of pixels and channels in a pass outside training."""
MOST_IN_PASS = 256


class Batch(NamedTuple):
    """Images with what a model may be conditional on.

    Attributes:
        x: float32 `[b, c, h, w]` in [0, 1].
        condition: the labels, int64 `[b]`; of data with pairs `[b, 2]`, beside each label the
            number of what is shown; None where the data has no labels.
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
    """All images, first to last, in passes of bounded size."""
    size = evaluation_batch(images.shape)
    for start in range(0, len(images), size):
        chunk = np.array(images.pixels[start : start + size])
        x = to_unit(torch.from_numpy(chunk).to(device))
        yield Batch(x, _labels(images, slice(start, start + size), device))


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

    def __len__(self) -> int:
        return len(self.images) // self.size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, of `size` images each, from position `start` on."""
        order = self._order(epoch)
        places = [
            slice(position * self.size, (position + 1) * self.size)
            for position in range(start, len(self))
        ]
        if self._resident is not None:  # nothing crosses over to the GPU within the epoch
            pixels, labels = self._resident
            there = torch.from_numpy(order).to(self.device)
            for place in places:
                x = to_unit(pixels[there[place]])
                yield Batch(x, None if labels is None else labels[there[place]])
            return
        for place in places:
            x = to_unit(torch.from_numpy(self.images.pixels[order[place]]).to(self.device))
            yield Batch(x, _labels(self.images, order[place], self.device))

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """All places at random, those of one thing side by side."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.images))
        things = self.images.things
        if things is None:
            return order
        shown, of_image = np.unique(things, return_inverse=True)
        first = rng.permutation(len(shown))
        return order[np.argsort(first[of_image[order]], kind="stable")]


def _labels(
    images: Images, index: slice | NDArray[np.int64], device: torch.device
) -> Tensor | None:
    conditions = _conditions(images)
    return None if conditions is None else torch.from_numpy(conditions[index]).to(device)


def _conditions(images: Images) -> NDArray[np.int64] | None:
    if images.labels is None or images.things is None:
        return images.labels
    return np.stack([images.labels, images.things], 1)


def _resident(images: Images, device: torch.device) -> tuple[Tensor, Tensor | None] | None:
    """The bytes of all images, and their labels, on a GPU with room for them."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    if images.pixels.nbytes >= free / 4:
        return None
    labels = _labels(images, slice(None), device)
    return torch.tensor(images.pixels[:], device=device), labels
