"""Rows of numbers: their scale, and how they fit between 0 and 1 as pixels do."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from anogen.data.images import Images, images_from_table

if TYPE_CHECKING:
    from torch import Tensor

SQUASH = 3.0
"""A value this many standard deviations from its column's median lies half way to the end."""
QUARTILES = 1.349
"""The distance between the quartiles of a Gaussian of standard deviation 1."""
NEGLIGIBLE = 1e-9
"""A spread below this share of a column's median is rounding, as of a constant computed."""
SINGLE = 1e-6
"""Share of a constant that no other way of storing it changes, such as float32."""
WIDEST = 1e300


@dataclass(frozen=True)
class Scaling:
    """The median and the scale of every column: float64 `[columns]` each.

    Examples:
        >>> scaling = Scaling.of(np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]]))
        >>> scaling.centre.tolist(), scaling.spread[1].item()
        ([2.0, 7.0], 1.0)
        >>> scaling.squashed(np.array([[2.0, 7.0]])).tolist()
        [[0.5, 0.5]]
    """

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float64]) -> Self:
        """Of finite rows `[n, columns]`, so that a few huge values change nothing.

        The scale is the distance between the quartiles, as a Gaussian's standard deviation; where
        that is nothing, as in a column that is mostly 0, the standard deviation of its values,
        clipped to the first and the 99th percentile; where that is nothing too, the column is
        constant but for rare values, and its scale is 1, or a millionth of its value where that is
        more, so that the same constant stored as float32 is the same.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            first, low, centre, high, last = np.percentile(rows, [1, 25, 50, 75, 99], axis=0)
            negligible = NEGLIGIBLE * np.abs(centre)
            quartiles = (high - low) / QUARTILES
            clipped = np.clip(rows, first, last).std(0)
        constant = np.maximum(1.0, SINGLE * np.abs(centre))
        spread = np.where(clipped > negligible, clipped, constant)
        spread = np.where(quartiles > negligible, quartiles, spread)
        return cls(centre, np.minimum(spread, WIDEST))

    def squashed(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows `[n, columns]` in [0, 1], as `squash` does it."""
        with np.errstate(over="ignore"):
            t = ((rows - self.centre) / (SQUASH * self.spread)).clip(-WIDEST, WIDEST)
        return 0.5 + 0.5 * t / (1 + np.abs(t))

    def images(self, rows: NDArray[np.float64]) -> Images:
        """Squashed rows as images of height 1, float32 `[n, 1, 1, columns]`."""
        return images_from_table(self.squashed(rows))


def squash(t: "Tensor") -> "Tensor":
    """Thirds of standardised values squashed into [0, 1]: ½ + ½ t / (1 + |t|), float64.

    Float32 keeps by this how far out a value is, up to millions of standard deviations; of a
    hyperbolic tangent it would keep 25.

    >>> import torch
    >>> squash(torch.tensor([0.0, 1.0]).double()).tolist()
    [0.5, 0.75]
    """
    t = t.clamp(-WIDEST, WIDEST)
    return 0.5 + 0.5 * t / (1 + t.abs())


def standardised(x: "Tensor") -> "Tensor":
    """Standardised values of squashed ones, float64 of the same shape; at most 1.3e7 from 0.

    >>> import torch
    >>> standardised(torch.tensor([0.5, 0.75, 1.0]))
    tensor([0.0000e+00, 3.0000e+00, 1.2583e+07], dtype=torch.float64)
    """
    limit = 1 - 2 * float(np.finfo(np.float32).eps)
    y = (2 * x.double() - 1).clamp(-limit, limit)
    return SQUASH * y / (1 - y.abs())
