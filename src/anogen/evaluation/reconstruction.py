"""How well an image comes back: one value per image, from images and reconstructions alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anogen.errors import DataError
from anogen.models.terms import squared_error

MIN_SHARPNESS_SIZE = 4
MIN_MSE = 1e-10
"""A mean squared error below this counts as 100 dB, so that a perfect image stays finite."""


def mean_squared_error(x: Tensor, y: Tensor) -> Tensor:
    """Squared error averaged over channels and pixels, [0, 1] scale: `[b]`."""
    return squared_error(x, y) / x[0].numel()


def cosine_similarity(x: Tensor, y: Tensor) -> Tensor:
    """Cosine of the angle between the images as vectors; 0 where one is all black: `[b]`.

    Source: the paper, section 4.4.3.

    >>> import torch
    >>> cosine_similarity(torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[4.0, 3.0]]]]))
    tensor([0.9600])
    """
    return F.cosine_similarity(x.flatten(1), y.flatten(1))


def psnr_db(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels, at most 100: `[b]`.

    >>> import torch
    >>> psnr_db(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1))
    tensor([20.])
    """
    return -10 * mean_squared_error(x, y).clamp(min=MIN_MSE).log10()


def sharpness(x: Tensor) -> Tensor:
    """Variance over pixels of the Laplacian of an image, [0, 1] scale, mean over channels: `[b]`.

    Blur lowers it and noise raises it, so read it beside the value of the data. Images below 4×4
    have too few pixels for it and get 0.

    Source: Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy".

    >>> import torch
    >>> float(sharpness(torch.ones(1, 1, 8, 8)))
    0.0
    """
    if min(x.shape[2:]) < MIN_SHARPNESS_SIZE:
        return x.new_zeros(len(x))
    sides = x[..., 1:-1, :-2] + x[..., 1:-1, 2:] + x[..., :-2, 1:-1] + x[..., 2:, 1:-1]
    return (sides - 4 * x[..., 1:-1, 1:-1]).var((2, 3)).mean(1)


def mean_with_interval(name: str, values: NDArray[Any]) -> dict[str, float | None]:
    """Mean of `[n]` values with a 95 % interval (normal approximation).

    Raises:
        DataError: there is no value.

    >>> mean_with_interval("x", np.array([1.0, 1.0, 1.0]))
    {'x': 1.0, 'x_low': 1.0, 'x_high': 1.0}
    """
    if not len(values):
        raise DataError(f"{name}: there is no value to average")
    mean = float(values.mean(dtype=np.float64))
    if len(values) < 2:
        return {name: mean, f"{name}_low": None, f"{name}_high": None}
    half = 1.96 * float(values.std(dtype=np.float64, ddof=1)) / len(values) ** 0.5
    return {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}
