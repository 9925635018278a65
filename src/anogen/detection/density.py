"""A density over vectors of numbers, fitted to known images: a mixture of Gaussians."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anogen.errors import DataError

Values = NDArray[np.float64]
COMPONENTS = 16
MIN_IMAGES = 10
REGULARISATION = 1e-2
"""Added to the variances of standardised scores. Both numbers were chosen on changed validation
images: benchmarks/fused_density.py."""


@dataclass(frozen=True)
class Density:
    """A Gaussian mixture with full covariances over standardised vectors, such as scores.

    Attributes:
        mean, scale: of each number over the fitted images, `[d]`.
        weights: `[k]`.
        centres: `[k, d]`.
        precisions: Cholesky factors of the inverse covariances, `[k, d, d]`.

    Source: of scores, density of states estimation, Morningstar et al. 2021, with a mixture for
        the density.

    Examples:
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
    def fit(
        cls,
        scores: Values,
        seed: int = 0,
        components: int = COMPONENTS,
        regularisation: float = REGULARISATION,
    ) -> "Density":
        """Fit to vectors `[n, d]` of in-distribution images; fewer components where n is small.

        Raises:
            DataError: fewer than ten images.
        """
        from sklearn.mixture import GaussianMixture

        if len(scores) < MIN_IMAGES:
            raise DataError(
                f"a density needs {MIN_IMAGES} training images or more, found {len(scores)}"
            )
        scores = np.ascontiguousarray(scores)
        mean, scale = scores.mean(0), scores.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        count = max(1, min(components, len(scores) // (10 * scores.shape[1])))
        mixture: Any = GaussianMixture(
            count, reg_covar=regularisation, random_state=seed, max_iter=300
        ).fit((scores - mean) / scale)
        return cls(mean, scale, mixture.weights_, mixture.means_, mixture.precisions_cholesky_)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "Density":
        """From what `state` gave."""
        return cls(**{name: tensor.numpy() for name, tensor in state.items()})

    def state(self) -> dict[str, Tensor]:
        """All there is to it, as named tensors."""
        return {
            field.name: torch.from_numpy(np.ascontiguousarray(getattr(self, field.name)))
            for field in fields(self)
        }

    def surprise(self, scores: Values) -> Values:
        """−log density of vectors `[n, d]`, in nats up to a constant: float64 `[n]`."""
        d = scores.shape[1]
        logs = [
            np.log(weight)
            - 0.5 * distance**2
            + np.log(np.diagonal(factor)).sum()
            - 0.5 * d * np.log(2 * np.pi)
            for weight, distance, factor in zip(
                self.weights, self.distances(scores), self.precisions, strict=True
            )
        ]
        return -np.logaddexp.reduce(np.stack(logs), axis=0)

    def distances(self, scores: Values) -> Values:
        """Mahalanobis distance of vectors `[n, d]` from each component: float64 `[k, n]`."""
        z = np.ascontiguousarray((scores - self.mean) / self.scale)
        return np.stack(
            [
                np.sqrt((_rotated(z - centre, factor) ** 2).sum(1))
                for centre, factor in zip(self.centres, self.precisions, strict=True)
            ]
        )

    def without(self, index: int) -> "Density":
        """The density of the other numbers, whatever the one at `index` is."""
        kept = np.delete(np.arange(len(self.mean)), index)
        factors: list[Values] = []
        for factor in self.precisions:
            covariance = np.linalg.inv(factor @ factor.T)[np.ix_(kept, kept)]
            factors.append(np.linalg.inv(np.linalg.cholesky(covariance)).T)
        return Density(
            self.mean[kept], self.scale[kept], self.weights, self.centres[:, kept],
            np.stack(factors),
        )  # fmt: skip


def _rotated(z: Values, factor: Values) -> Values:
    """`z @ factor`, whose last bits do not depend on how many rows there are."""
    total = np.zeros((len(z), factor.shape[1]))
    for column, row in zip(z.T, factor, strict=True):
        total += column[:, None] * row
    return total
