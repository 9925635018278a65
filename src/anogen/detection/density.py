"""A density over vectors of numbers, fitted to known images: a mixture of Gaussians."""

import math
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
FITS = 3
"""Mixtures from different starts, averaged: which of them one gets is chance."""
REGULARISATION = 1e-2
"""Added to the variances of standardised scores. These numbers were chosen on changed validation
images: benchmarks/fused_density.py."""
MIN_IMAGES = 10


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
        fits: int = FITS,
        rows_each: int | None = None,
    ) -> "Density":
        """Fit to vectors `[n, d]` of in-distribution images.

        Args:
            scores: the vectors.
            seed: of the first start.
            components: of each mixture; fewer where n is small, one start where it is one.
            regularisation: added to the variances of the standardised numbers.
            fits: mixtures from starts of their own, averaged.
            rows_each: vectors that a component has at least, on average; default: ten for each of
                its numbers.

        Raises:
            DataError: fewer than ten images.
        """
        from sklearn.mixture import GaussianMixture
        from threadpoolctl import threadpool_limits

        needed = MIN_IMAGES if rows_each is None else 2
        if len(scores) < needed:
            raise DataError(
                f"a density needs {needed} training images or more, found {len(scores)}"
            )
        if not np.isfinite(scores).all():
            raise DataError(
                "not all scores of training images are finite, so that no density can be fitted; "
                "the weights are damaged or of a training that diverged"
            )
        scores = np.ascontiguousarray(scores)
        mean, scale = scores.mean(0), scores.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        least = rows_each or 10 * scores.shape[1]
        z = (scores - mean) / scale
        count = max(1, min(components, len(scores) // least, len(np.unique(z, axis=0))))
        starts = range(seed, seed + (fits if count > 1 else 1))
        with threadpool_limits(1):  # several threads are slower here, and round otherwise
            mixtures: list[Any] = [
                GaussianMixture(
                    count, reg_covar=regularisation, random_state=start, max_iter=300
                ).fit(z)
                for start in starts
            ]
        weights, centres, precisions = (
            np.concatenate([getattr(mixture, name) for mixture in mixtures])
            for name in ("weights_", "means_", "precisions_cholesky_")
        )
        return cls(mean, scale, weights / len(mixtures), centres, precisions)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "Density":
        """From what `state` gave; other tensors are passed over.

        Raises:
            ValueError: the tensors do not make a mixture.
        """
        density = cls(**{field.name: state[field.name].numpy() for field in fields(cls)})
        count, d = density.centres.shape
        whole = density.weights.shape == (count,) and density.precisions.shape == (count, d, d)
        if not (
            whole
            and density.mean.shape == density.scale.shape == (d,)
            and density.weights.min() > 0
        ):
            raise ValueError("the tensors do not make a mixture")
        return density

    def state(self) -> dict[str, Tensor]:
        """All there is to it, as named tensors."""
        return {
            field.name: torch.from_numpy(np.ascontiguousarray(getattr(self, field.name)))
            for field in fields(self)
        }

    def surprise(self, scores: Values) -> Values:
        """−log density of vectors `[n, d]`, in nats: float64 `[n]`."""
        return self.surprise_of(torch.from_numpy(np.ascontiguousarray(scores))).numpy()

    def surprise_of(self, scores: Tensor) -> Tensor:
        """As `surprise`, of a float64 tensor on any device."""
        factors = self._of(self.precisions, scores)
        determinants = factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constants = self._of(self.weights, scores).log() + determinants
        constants = constants - 0.5 * len(self.mean) * math.log(2 * math.pi)
        return -torch.logsumexp(constants - 0.5 * self._distances(scores).square(), 1)

    def distances(self, scores: Values) -> Values:
        """Mahalanobis distance of vectors `[n, d]` from each component: float64 `[k, n]`."""
        given = torch.from_numpy(np.ascontiguousarray(scores))
        return self._distances(given).T.contiguous().numpy()

    def _distances(self, scores: Tensor) -> Tensor:
        """Likewise, `[n, k]`."""
        mean, scale, centres, factors = (
            self._of(values, scores)
            for values in (self.mean, self.scale, self.centres, self.precisions)
        )
        z = (scores - mean) / scale
        count, d, _ = factors.shape
        rotated = (z @ factors.permute(1, 0, 2).reshape(d, -1)).view(-1, count, d)
        return torch.linalg.vector_norm(rotated - (centres[:, None] @ factors)[:, 0], dim=2)

    @staticmethod
    def _of(values: Values, like: Tensor) -> Tensor:
        return torch.from_numpy(values).to(like.device)

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
