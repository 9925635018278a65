"""How well an image comes back: one value per image, from images and reconstructions alone."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anogen.errors import DataError
from anogen.models.terms import squared_error

MIN_SHARPNESS_SIZE = 4
WINDOW = 11
"""Height and width of the window of `ssim`, and of the least image that has one."""
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


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity, mean over pixels and channels; 1 for equal images: `[b]`.

    Means, variances and covariance are those within a Gaussian window of σ = 1.5 pixels, 11×11;
    pixels nearer to the border than its half are left out. Images below 11×11 get NaN.

    Source: Wang et al. 2004, equation 13, with its constants for values in [0, 1].

    >>> import torch
    >>> x = torch.rand(1, 1, 16, 16)
    >>> round(float(ssim(x, x)), 4), float(ssim(x, 1 - x)) < 0
    (1.0, True)
    """
    if min(x.shape[2:]) < WINDOW:
        return x.new_full((len(x),), torch.nan)
    place = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    line = torch.exp(-0.5 * (place / 1.5) ** 2)
    line = line / line.sum()

    def mean(values: Tensor) -> Tensor:
        flat = values.flatten(0, 1)[:, None]
        flat = F.conv2d(F.conv2d(flat, line[None, None, :, None]), line[None, None, None])
        return flat.view(*values.shape[:2], *flat.shape[2:])

    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    ratio = (2 * mx * my + c1) * (2 * both + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return ratio.mean((1, 2, 3))


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
