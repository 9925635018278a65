"""Distance, fidelity and variety of two sets of images, from arrays of features or labels alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from anogen.errors import DataError

Features = NDArray[np.float64]
Labels = NDArray[np.int64]

MANIFOLD_NEIGHBOURS = 3
"""k of precision and recall (Kynkäänniemi et al. 2019)."""
DENSITY_NEIGHBOURS = 5
"""k of density and coverage (Naeem et al. 2020)."""
KERNEL_SUBSETS, KERNEL_SUBSET_SIZE = 10, 1000


def frechet_distance(a: Features, b: Features) -> float:
    """Fréchet distance of two Gaussians fitted to features `[n, d]`, squared feature units.

    ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½), the last by its eigenvalues' real parts.

    Raises:
        DataError: fewer than two rows on either side; likewise the other measures here.

    Source: Heusel et al. 2017, equation 6.

    >>> a = np.random.default_rng(0).normal(size=(500, 3))
    >>> round(frechet_distance(a, a + [1.0, 0.0, 2.0]), 6)
    5.0
    """
    _refuse_few(a, b)
    shift = a.mean(0) - b.mean(0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.real(np.sqrt(np.linalg.eigvals(first @ second).astype(np.complex128)))
    trace = np.trace(first) + np.trace(second) - 2 * roots.sum()
    return float(shift @ shift + max(trace, 0.0))


def kernel_distance(a: Features, b: Features, seed: int = 0) -> float:
    """Squared maximum mean discrepancy with the kernel (x·y/d + 1)³, unbiased; may be negative.

    Mean over ten subsets of at most a thousand of each.

    Source: Bińkowski et al. 2018, section 3.

    >>> a = np.random.default_rng(0).normal(size=(2000, 4))
    >>> abs(kernel_distance(a[:1000], a[1000:])) < 0.02 < kernel_distance(a[:1000], a[1000:] + 1)
    True
    """
    _refuse_few(a, b)
    rng = np.random.default_rng(seed)
    size = min(KERNEL_SUBSET_SIZE, len(a), len(b))
    parts = [
        _discrepancy(a[rng.permutation(len(a))[:size]], b[rng.permutation(len(b))[:size]])
        for _ in range(KERNEL_SUBSETS)
    ]
    return float(np.mean(parts))


def _discrepancy(a: Features, b: Features) -> float:
    def kernel(x: Features, y: Features) -> Features:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def without_diagonal(matrix: Features) -> float:
        return (matrix.sum() - np.trace(matrix)) / (len(matrix) * (len(matrix) - 1))

    return without_diagonal(kernel(a, a)) + without_diagonal(kernel(b, b)) - 2 * kernel(a, b).mean()


def manifold_share(of: Features, among: Features, k: int = MANIFOLD_NEIGHBOURS) -> float:
    """Share of points of `of` within the balls around points of `among`, in [0, 1].

    A ball reaches to its centre's k-th nearest neighbour in `among`. With samples as `of` and real
    images as `among` this is precision; the other way round, recall.

    Source: Kynkäänniemi et al. 2019, equation 2.
    """
    _refuse_few(of, among)
    return float(np.mean([hits > 0 for hits in _ball_hits(of, among, k)]))


def density(samples: Features, real: Features, k: int = DENSITY_NEIGHBOURS) -> float:
    """Mean number of real balls around a sample, divided by k; may exceed 1.

    Source: Naeem et al. 2020, equation 4.
    """
    _refuse_few(samples, real)
    return float(np.mean(list(_ball_hits(samples, real, k)))) / min(k, len(real) - 1)


def coverage(samples: Features, real: Features, k: int = DENSITY_NEIGHBOURS) -> float:
    """Share of real images whose ball holds a sample, in [0, 1].

    Source: Naeem et al. 2020, equation 5.
    """
    _refuse_few(samples, real)
    radii = _radii(real, k)
    nearest = NearestNeighbors(n_neighbors=1).fit(samples).kneighbors(real)[0][:, 0]
    return float((nearest <= radii).mean())


def _refuse_few(*sets: NDArray[Any], least: int = 2) -> None:
    for each in sets:
        if len(each) < least:
            raise DataError(f"found {len(each)} images to compare; {least} or more are needed")
        if each.dtype.kind == "f" and not np.isfinite(each).all():
            raise DataError("a feature is not finite, so that no distance can be computed")


def _ball_hits(points: Features, centres: Features, k: int) -> Iterator[int]:
    """For each point, in how many balls around the centres it lies."""
    radii = _radii(centres, k)
    squares = (centres**2).sum(1)
    for start in range(0, len(points), 500):
        part = points[start : start + 500]
        distances = (part**2).sum(1)[:, None] + squares - 2 * part @ centres.T
        yield from (distances <= radii**2).sum(1).tolist()


def _radii(points: Features, k: int) -> Features:
    """Distance of each point to its k-th nearest other."""
    k = min(k, len(points) - 1)
    return NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, k]


def class_kl(labels: Labels, reference: Labels, classes: int) -> float:
    """KL divergence of the histogram of labels from the reference's, in nats.

    >>> class_kl(np.array([0, 1, 0, 1]), np.array([0, 1]), 2)
    0.0
    """
    _refuse_few(labels, reference, least=1)
    for each in (labels, reference):
        if each.min() < 0 or each.max() >= classes:
            raise DataError(f"labels must lie between 0 and {classes - 1}")
    p = np.bincount(labels, minlength=classes) / len(labels)
    q = (np.bincount(reference, minlength=classes) + 1e-9) / len(reference)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / q[seen])).sum().clip(min=0))
