"""How well scores tell out-of-distribution images from in-distribution ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support

from anogen.detection.calibration import refuse_nan
from anogen.errors import DataError

Scores = NDArray[np.float64]
RESAMPLES = 200
"""Bootstrap samples behind an interval."""


def separation(inside: Scores, outside: Scores) -> dict[str, float]:
    """Every threshold-free measure of two sets of scores, higher meaning further out.

    Args:
        inside: float64 `[n]`, of in-distribution images.
        outside: float64 `[m]`, of out-of-distribution images, the positive class.

    Returns:
        `auroc`; `aupr_out` and `aupr_in`, average precision with out or in as the positive class;
        `fpr_at_95_tpr`, out being positive: the share of `inside` flagged where 95 % of `outside`
        are found; `fpr_at_95_tpr_in`, in being positive, as in Hendrycks & Gimpel 2017 and Liang
        et al. 2018: the share of `outside` accepted where 95 % of `inside` are; `tpr_at_1_fpr` and
        `tpr_at_5_fpr`, the share of `outside` found where at most 1 % or 5 % of `inside` are
        flagged. An image is flagged where its score exceeds the threshold.

        AUROC and average precision are scikit-learn's; AUROC and `fpr_at_95_tpr` equal those of
        pytorch-ood 0.4.0 on random scores with and without ties. Its AUPR is another number: it
        interpolates.

    Raises:
        DataError: one of the sets is empty, or has a NaN.

    Examples:
        >>> found = separation(np.arange(100.0), np.arange(50.0, 150.0))
        >>> found["auroc"], found["tpr_at_1_fpr"]
        (0.875, 0.51)
    """
    return _measures(*_counts(inside, outside))


def intervals(
    inside: Scores, outside: Scores, confidence: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of what `separation` measures: name → low, high.

    Both sets are drawn anew, with replacement, 200 times; the ends are percentiles. They are
    about other test images of the same kind, not about other trainings.

    Source: Efron & Tibshirani 1993, chapter 13.
    """
    rng = np.random.default_rng(seed)
    counts = _counts(inside, outside)
    shares = [part / part.sum() for part in counts]
    drawn = [
        _measures(rng.multinomial(len(inside), shares[0]), rng.multinomial(len(outside), shares[1]))
        for _ in range(RESAMPLES)
    ]
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    ranges: dict[str, tuple[float, float]] = {}
    for name in drawn[0]:
        low, high = np.percentile([one[name] for one in drawn], tails)
        ranges[name] = (float(low), float(high))
    return ranges


def _counts(inside: Scores, outside: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many scores of each set lie at each distinct value, ascending."""
    for scores, kind in ((inside, "in-distribution"), (outside, "out-of-distribution")):
        if not len(scores):
            raise DataError(f"there is no {kind} score; both kinds are needed to compare")
        refuse_nan(scores)
    levels, place = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    return (
        np.bincount(place[: len(inside)], minlength=len(levels)),
        np.bincount(place[len(inside) :], minlength=len(levels)),
    )


def _measures(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> dict[str, float]:
    """The measures of `separation` from counts at each level, ascending."""
    n, m = int(inside.sum()), int(outside.sum())
    below = inside.cumsum() - inside
    flagged = n - below - inside  # of `inside`, with the threshold at each level
    detected = m - outside.cumsum()
    reached = m - outside.cumsum() + outside  # at or above each level
    accepted = outside.cumsum() - outside  # of `outside`, below each level
    return {
        "auroc": float((outside * (below + 0.5 * inside)).sum() / (n * m)),
        "aupr_out": _average_precision(outside[::-1], inside[::-1]),
        "aupr_in": _average_precision(inside, outside),
        "fpr_at_95_tpr": float((n - below)[reached >= np.ceil(0.95 * m)].min() / n),
        "fpr_at_95_tpr_in": float(
            (accepted + outside)[inside.cumsum() >= np.ceil(0.95 * n)].min() / m
        ),
        "tpr_at_1_fpr": float(detected[flagged <= 0.01 * n].max() / m),
        "tpr_at_5_fpr": float(detected[flagged <= 0.05 * n].max() / m),
    }


def _average_precision(positive: NDArray[np.int64], negative: NDArray[np.int64]) -> float:
    """Precision at every threshold, weighted by the recall it adds; first levels first."""
    hits, calls = positive.cumsum(), (positive + negative).cumsum()
    return float((positive / positive.sum() * hits / np.maximum(calls, 1)).sum())


def precision_recall(flagged_in: NDArray[Any], flagged_out: NDArray[Any]) -> dict[str, float]:
    """The paper's Table 2: precision, recall and F1 of label 0 (in) and label 1 (out).

    Args:
        flagged_in: bool `[n]`, whether each in-distribution image was flagged.
        flagged_out: bool `[m]`, the same for out-of-distribution images.

    Raises:
        DataError: one of them is empty, or is not of booleans or whole numbers.

    Examples:
        >>> precision_recall(np.array([False, True]), np.array([True, True]))["recall_0"]
        0.5
    """
    for flags in (flagged_in, flagged_out):
        if np.asarray(flags).dtype.kind not in "biu":
            raise DataError(f"flags are true or false, found {np.asarray(flags).dtype}")
    if not (len(flagged_in) and len(flagged_out)):
        raise DataError("precision and recall need images of both kinds, in and out")
    truth = np.repeat([0, 1], [len(flagged_in), len(flagged_out)])
    called = np.concatenate([flagged_in, flagged_out]).astype(int)
    values: Any = precision_recall_fscore_support(
        truth,
        called,
        labels=[0, 1],
        zero_division=0,  # pyright: ignore[reportArgumentType]
    )
    return {
        f"{name}_{label}": float(values[row][label])
        for label in (0, 1)
        for row, name in enumerate(("precision", "recall", "f1"))
    }
