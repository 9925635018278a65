"""How well scores tell out-of-distribution images from in-distribution ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

Scores = NDArray[np.float64]


def separation(inside: Scores, outside: Scores) -> dict[str, float]:
    """Every threshold-free measure of two sets of scores, higher meaning further out.

    Args:
        inside: float64 `[n]`, of in-distribution images.
        outside: float64 `[m]`, of out-of-distribution images, the positive class.

    Returns:
        `auroc`; `aupr_out` and `aupr_in`, average precision with out or in as the positive class;
        `fpr_at_95_tpr`, the share of `inside` flagged where 95 % of `outside` are found;
        `tpr_at_1_fpr` and `tpr_at_5_fpr`, the share of `outside` found where at most 1 % or 5 % of
        `inside` are flagged. An image is flagged where its score exceeds the threshold.

    Example:
        >>> found = separation(np.arange(100.0), np.arange(50.0, 150.0))
        >>> found["auroc"], found["tpr_at_1_fpr"]
        (0.875, 0.51)
    """
    scores = np.concatenate([inside, outside])
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    return {
        "auroc": float(roc_auc_score(truth, scores)),
        "aupr_out": float(average_precision_score(truth, scores)),
        "aupr_in": float(average_precision_score(1 - truth, -scores)),
        "fpr_at_95_tpr": float((inside >= _found_at(outside, 0.95)).mean()),
        "tpr_at_1_fpr": float((outside > _flagged_at(inside, 0.01)).mean()),
        "tpr_at_5_fpr": float((outside > _flagged_at(inside, 0.05)).mean()),
    }


def precision_recall(flagged_in: NDArray[Any], flagged_out: NDArray[Any]) -> dict[str, float]:
    """The paper's Table 2: precision, recall and F1 of label 0 (in) and label 1 (out).

    Args:
        flagged_in: bool `[n]`, whether each in-distribution image was called out.
        flagged_out: bool `[m]`, the same for out-of-distribution images.

    Example:
        >>> precision_recall(np.array([False, True]), np.array([True, True]))["recall_0"]
        0.5
    """
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


def _flagged_at(inside: Scores, rate: float) -> float:
    """The smallest threshold that at most `rate` of the scores exceed."""
    ordered = np.sort(inside)
    return float(ordered[len(ordered) - 1 - int(rate * len(ordered))])


def _found_at(outside: Scores, rate: float) -> float:
    """The largest threshold that at least `rate` of the scores reach."""
    ordered = np.sort(outside)[::-1]
    return float(ordered[int(np.ceil(rate * len(ordered))) - 1])
