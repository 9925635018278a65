"""Features without any training: derivatives of a picture at several scales."""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from anogen.detection.view import View

DIRECTIONS = 6
LEVELS = 5
"""Scales, each half as fine as the one before; fewer for small pictures."""
AROUND = 31
"""Pixels, each way, whose mean and spread a pixel is compared with."""
FAINT = 0.03
"""Spread below which a neighbourhood counts as even."""
REACH = 3
"""Of a filter, in pixels from its middle."""


def filter_maps(view: View) -> list[Tensor]:
    """Light and colour, and at each scale local contrast and the size of its derivatives.

    Returns:
        maps `[b, k, h', w']`, finest first.
    """
    x = view.x
    seen = [(x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + FAINT)]
    grey = local_contrast(x.mean(1, keepdim=True))
    least = 2 * REACH + 2
    for level in range(LEVELS):
        if level and min(grey.shape[2:]) < 2 * least:
            break
        grey = _halved(grey) if level else grey
        around = F.pad(grey, (REACH,) * 4, mode="reflect")
        seen += [grey, F.conv2d(around, _filters().to(grey.device)).abs()]
    return seen


def local_contrast(x: Tensor) -> Tensor:
    """Each pixel less the mean around it, in spreads of the pixels around it: `[b, c, h, w]`."""
    radius = min(AROUND, min(x.shape[2:]) - 1) // 2
    around = F.pad(x, (radius,) * 4, mode="reflect")
    mean, square = (_mean_around(values, 2 * radius + 1) for values in (around, around.square()))
    variance = square - mean.square()
    return (x - mean) / (variance.clamp(min=0).sqrt() + FAINT)


def _mean_around(x: Tensor, side: int) -> Tensor:
    """Over squares, first along rows and then along columns."""
    return F.avg_pool2d(F.avg_pool2d(x, (1, side), 1), (side, 1), 1)


def _halved(x: Tensor) -> Tensor:
    """At half the size, blurred first."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device) / 8
    return F.conv2d(
        F.pad(x, (1,) * 4, mode="reflect"), (line[:, None] * line)[None, None], stride=2
    )


@cache
def _filters() -> Tensor:
    """First and second derivatives of a Gaussian in each direction, and its Laplacian."""
    line = torch.arange(-REACH, REACH + 1.0)
    down, right = torch.meshgrid(line, line, indexing="ij")
    bell = torch.exp(-(right.square() + down.square()) / 2)
    filters = [(right.square() + down.square() - 2) * bell]
    for index in range(DIRECTIONS):
        angle = math.pi * index / DIRECTIONS
        along = right * math.cos(angle) + down * math.sin(angle)
        filters += [-along * bell, (along.square() - 1) * bell]
    centred = [one - one.mean() for one in filters]
    return torch.stack([one / one.abs().sum() for one in centred])[:, None]
