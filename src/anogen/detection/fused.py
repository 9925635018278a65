"""The fused score: how improbable an image's scores are together, learnt on known images alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.errors import DataError

Values = NDArray[np.float64]
COMPONENTS = 8
MIN_IMAGES = 20
REGULARISATION = 1e-4
"""Added to the variances of standardised scores."""


@dataclass(frozen=True)
class Density:
    """A Gaussian mixture with full covariances over standardised scores.

    Attributes:
        mean, scale: of each score over the fitted images, `[d]`.
        weights: `[k]`.
        centres: `[k, d]`.
        precisions: Cholesky factors of the inverse covariances, `[k, d, d]`.

    Source: density of states estimation, Morningstar et al. 2021, with a mixture for the density.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(500, 2))
        >>> density = Density.fit(scores)
        >>> near, far = density.surprise(np.array([[0.0, 0.0], [9.0, -9.0]]))
        >>> bool(far > near)
        True
    """

    mean: Values
    scale: Values
    weights: Values
    centres: Values
    precisions: Values

    @classmethod
    def fit(cls, scores: Values, seed: int = 0) -> "Density":
        """Fit to scores `[n, d]` of in-distribution images.

        Raises:
            DataError: fewer than 20 images.
        """
        from sklearn.mixture import GaussianMixture

        if len(scores) < MIN_IMAGES:
            raise DataError(
                f"the fused score needs {MIN_IMAGES} images or more, found {len(scores)}"
            )
        scores = np.ascontiguousarray(scores)
        mean, scale = scores.mean(0), scores.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        count = max(1, min(COMPONENTS, len(scores) // (10 * scores.shape[1])))
        mixture: Any = GaussianMixture(
            count, reg_covar=REGULARISATION, random_state=seed, max_iter=300
        ).fit((scores - mean) / scale)
        return cls(mean, scale, mixture.weights_, mixture.means_, mixture.precisions_cholesky_)

    def surprise(self, scores: Values) -> Values:
        """−log density of scores `[n, d]`, in nats up to a constant: float64 `[n]`."""
        z = np.ascontiguousarray((scores - self.mean) / self.scale)
        d = z.shape[1]
        logs = [
            np.log(weight)
            - 0.5 * (_rotated(z - centre, factor) ** 2).sum(1)
            + np.log(np.diagonal(factor)).sum()
            - 0.5 * d * np.log(2 * np.pi)
            for weight, centre, factor in zip(
                self.weights, self.centres, self.precisions, strict=True
            )
        ]
        return -np.logaddexp.reduce(np.stack(logs), axis=0)

    def arrays(self) -> dict[str, Values]:
        """All there is to it, by name."""
        return {
            "mean": self.mean,
            "scale": self.scale,
            "weights": self.weights,
            "centres": self.centres,
            "precisions": self.precisions,
        }


def _rotated(z: Values, factor: Values) -> Values:
    """`z @ factor`, whose last bits do not depend on how many rows there are."""
    total = np.zeros((len(z), factor.shape[1]))
    for column, row in zip(z.T, factor, strict=True):
        total += column[:, None] * row
    return total
