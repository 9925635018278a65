"""How well single latents stand for single factors, from codes and known factors alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anogen.errors import DataError

Values = NDArray[np.float64]

BINS = 20
"""Into which codes and continuous factors are divided for mutual information (Locatello 2019)."""
TREES, LEAVES = 50, 5
"""Of the forests that importances are read from; images in a leaf at least."""
FEWEST = 100
"""Images below which no score means anything."""


def disentanglement(
    codes: Values, factors: Values, categorical: tuple[int, ...] = (), seed: int = 0
) -> dict[str, float]:
    """The scores of the field: mutual-information gap, SAP, and DCI's three.

    Args:
        codes: what images are encoded as, such as posterior means, `[n, latent]`.
        factors: what they were made from, `[n, f]`.
        categorical: columns of `factors` that are classes, as whole numbers.
        seed: of the split and of the forests.

    Returns:
        `mutual_information_gap`, `sap`, `dci_disentanglement`, `dci_completeness` and
        `dci_informativeness`, each in [0, 1], higher is better.

    Raises:
        DataError: fewer than 100 rows, different numbers of rows, fewer than two latents, values
            that are not finite, a factor that is the same everywhere, or classes that are no whole
            numbers from 0 on.

    Source: Chen et al. 2018, section 4.1 (gap); Kumar et al. 2018, section 3 (SAP); Eastwood and
    Williams 2018, section 2 (DCI).

    Examples:
        >>> factors = np.random.default_rng(0).random((1000, 3))
        >>> perfect = disentanglement(factors * [1, -2, 5], factors)
        >>> perfect["mutual_information_gap"] > 0.8, perfect["dci_disentanglement"] > 0.95
        (True, True)
    """
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors, np.float64)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors):
        raise DataError(
            f"codes [n, latent] and factors [n, f] are needed, found {codes.shape} and "
            f"{factors.shape}"
        )
    if len(codes) < FEWEST or codes.shape[1] < 2:
        raise DataError(
            f"{len(codes)} images and {codes.shape[1]} latents are too few; {FEWEST} and 2 are "
            "needed"
        )
    if not (np.isfinite(codes).all() and np.isfinite(factors).all()):
        raise DataError("a code or a factor is not finite")
    if factors.shape[1] == 0 or (factors == factors[0]).all(0).any():
        raise DataError("a factor is the same everywhere, so that no latent can stand for it")
    for column in categorical:
        if not 0 <= column < factors.shape[1]:
            raise DataError(f"categorical {column}: there are {factors.shape[1]} factors")
        if (factors[:, column] < 0).any() or (factors[:, column] % 1 != 0).any():
            raise DataError(f"factor {column}: classes are whole numbers from 0 on")
    return {
        "mutual_information_gap": mutual_information_gap(codes, factors, categorical),
        "sap": separated_attribute_predictability(codes, factors, categorical),
        **dci(codes, factors, categorical, seed),
    }


def mutual_information_gap(codes: Values, factors: Values, categorical: tuple[int, ...]) -> float:
    """Mean over factors of the difference between the two latents that tell most, over H(factor).

    Source: Chen et al. 2018, equation 6.
    """
    binned = [_binned(column) for column in codes.T]
    gaps: list[float] = []
    for index, column in enumerate(factors.T):
        factor = column.astype(np.int64) if index in categorical else _binned(column)
        shared = sorted(_mutual_information(code, factor) for code in binned)
        gaps.append((shared[-1] - shared[-2]) / max(_entropy(factor), 1e-12))
    return float(np.mean(gaps))


def separated_attribute_predictability(
    codes: Values, factors: Values, categorical: tuple[int, ...]
) -> float:
    """Mean over factors of the difference between the two latents that predict best, alone.

    What a latent predicts of a continuous factor is R² of a line, of classes the accuracy of a
    tree, above that of the most frequent class.

    Source: Kumar et al. 2018, section 3, with a tree of three levels for their support vectors.
    """
    gaps: list[float] = []
    for index, factor in enumerate(factors.T):
        kind = index in categorical
        scores = sorted(_predicted(code, factor, kind) for code in codes.T)
        gaps.append(scores[-1] - scores[-2])
    return float(np.mean(gaps))


def dci(
    codes: Values, factors: Values, categorical: tuple[int, ...], seed: int
) -> dict[str, float]:
    """Disentanglement, completeness and informativeness from importances in random forests.

    Disentanglement: whether a latent is important to one factor only; completeness: whether one
    latent only is important to a factor; informativeness: how well the factors are predicted from
    all latents, on the last fifth of rows (R², or accuracy above that of the most frequent class).

    Source: Eastwood & Williams 2018, section 2.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    order = np.random.default_rng(seed).permutation(len(codes))
    split = len(codes) * 4 // 5
    seen, unseen = order[:split], order[split:]
    importance = np.zeros((codes.shape[1], factors.shape[1]))
    informative: list[float] = []
    for index, factor in enumerate(factors.T):
        kind: Any = RandomForestClassifier if index in categorical else RandomForestRegressor
        forest = kind(TREES, min_samples_leaf=LEAVES, max_features=1.0, random_state=seed)
        forest.fit(codes[seen], factor[seen])
        importance[:, index] = forest.feature_importances_
        informative.append(
            _quality(forest.predict(codes[unseen]), factor[unseen], index in categorical)
        )
    by_latent = importance.sum(1) / max(importance.sum(), 1e-12)
    return {
        "dci_disentanglement": float((by_latent * _purity(importance)).sum()),
        "dci_completeness": float(_purity(importance.T).mean()),
        "dci_informativeness": float(np.mean(informative)),
    }


def _purity(rows: Values) -> Values:
    """1 − the entropy of each row as a distribution, in units of the largest there can be.

    0 for a row of zeros, which says nothing.
    """
    shares = rows / np.maximum(rows.sum(1, keepdims=True), 1e-12)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    purity = 1 + (shares * logs).sum(1) / max(np.log(rows.shape[1]), 1e-12)
    return np.where(rows.sum(1) > 0, purity, 0.0)


def _predicted(code: Values, factor: Values, categorical: bool) -> float:
    """How well one latent predicts a factor, at least 0."""
    from sklearn.tree import DecisionTreeClassifier

    if categorical:
        tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(code[:, None], factor)
        return _quality(tree.predict(code[:, None]), factor, True)
    if code.std() == 0 or factor.std() == 0:
        return 0.0
    return float(np.corrcoef(code, factor)[0, 1] ** 2)


def _quality(predicted: Values, factor: Values, categorical: bool) -> float:
    """R², or of classes the accuracy above the most frequent class's, in [0, 1]."""
    if categorical:
        base = np.bincount(factor.astype(np.int64)).max() / len(factor)
        right = float((predicted == factor).mean())
        return max(0.0, (right - base) / max(1 - base, 1e-12))
    spread = float(((factor - factor.mean()) ** 2).sum())
    return max(0.0, 1 - float(((factor - predicted) ** 2).sum()) / max(spread, 1e-12))


def _binned(values: Values) -> NDArray[np.int64]:
    """Which of twenty equal bins of its range each value lies in."""
    low, high = values.min(), values.max()
    scaled = (values - low) / max(high - low, 1e-12)
    return np.minimum((scaled * BINS).astype(np.int64), BINS - 1)


def _mutual_information(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """In nats, of their joint histogram."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    independent = joint.sum(1, keepdims=True) @ joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / independent[there])).sum())


def _entropy(labels: NDArray[np.int64]) -> float:
    """In nats."""
    shares = np.bincount(labels)[np.bincount(labels) > 0] / len(labels)
    return float(-(shares * np.log(shares)).sum())
