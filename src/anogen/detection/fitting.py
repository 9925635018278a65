"""Which images a score learns from, and whether those that calibrate it are like them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from anogen.data.images import Images
from anogen.data.splits import Splits
from anogen.progress import say

FITTED_IMAGES = 10_000
"""A score learns from at most as many training images."""
FITTED_VALUES = 20_000_000
"""And from at most as many values of pixels and channels."""
UNLIKE = 0.3
"""Largest distance between the distribution functions of training and of calibration scores that
passes without a warning."""


def fitted_images(data: Splits) -> Images:
    """The training images from which scores learn, evenly spaced.

    At most 10,000, and fewer of large images, so that they take a few hundred megabytes.
    """
    return data.train[:: _step(data)]


def unfitted_images(data: Splits) -> Images | None:
    """Training images from which no score learns, evenly spaced, as many as validation has."""
    step = _step(data)
    if step == 1:
        return None
    rest = np.delete(np.arange(len(data.train)), np.s_[::step])
    some = np.linspace(0, len(rest) - 1, min(len(rest), len(data.validation))).astype(np.int64)
    return data.train[rest[some]]


def _step(data: Splits) -> int:
    most = min(FITTED_IMAGES, max(200, FITTED_VALUES // math.prod(data.shape)))
    return -(-len(data.train) // most)


def warn_of_difference(
    training: NDArray[np.float64], held_out: NDArray[np.float64], name: str
) -> None:
    """Say so where calibration images score unlike training images.

    The distance is Kolmogorov and Smirnov's, the largest between the two distribution functions.
    """
    test: Any = ks_2samp(training, held_out)
    if test.statistic > UNLIKE and test.pvalue < 0.001:
        say(
            f"warning: the calibration images of {name} do not look like the training images "
            f"(distance of their scores' distributions {test.statistic:.2f}): images of another "
            "kind are among them, or the model has learnt its training images by heart"
        )
