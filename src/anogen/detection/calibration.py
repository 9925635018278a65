"""From scores to answers that can be defended: p-values, a threshold, a false-discovery rate."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from anogen.data.splits import rounded_up
from anogen.errors import DataError, UsageError, finite_number
from anogen.progress import say

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Scores of held-out in-distribution images, against which new scores are judged.

    The promises hold for new images that are exchangeable with these: from the same source, and not
    used in training. They say nothing about how many out-of-distribution images are found. Where a
    run keeps its best checkpoint, these images chose it, so they are a little less new to the model
    than new ones; docs/results has the rates that test images gave.

    Attributes:
        scores: float64 `[n]`, ascending, higher meaning further out.

    Examples:
        >>> calibration = Calibration.of(np.arange(99.0))
        >>> calibration.p_value(np.array([1000.0, 49.0])).tolist()
        [0.01, 0.51]
        >>> calibration.threshold(0.05)
        94.0
    """

    scores: Values

    @classmethod
    def of(cls, scores: Values) -> "Calibration":
        """From scores in any order.

        Raises:
            DataError: no score, or one that is not finite.
        """
        if not len(scores):
            raise DataError("calibration needs at least one in-distribution image")
        if not np.isfinite(scores).all():
            raise DataError("a calibration score is not finite; choose another score")
        return cls(np.sort(np.asarray(scores, np.float64)))

    @property
    def sha256(self) -> str:
        """Hash of the scores: equal hashes mean the same calibration."""
        return hashlib.sha256(self.scores.tobytes()).hexdigest()

    def p_value(self, scores: Values) -> Values:
        """Conformal p-values, (1 + #{calibration ≥ s}) / (n + 1): float64 `[m]` in (0, 1].

        For an exchangeable image P(p ≤ α) ≤ α for every α.

        Raises:
            DataError: a score is NaN, which is neither near nor far.

        Source: Vovk et al. 2005, chapter 2; Bates et al. 2023, equation 1.
        """
        refuse_nan(scores)
        above = len(self.scores) - np.searchsorted(self.scores, scores, side="left")
        return (1 + above) / (len(self.scores) + 1)

    def threshold(self, false_positive_rate: float) -> float:
        """The score above which an image is flagged: p ≤ rate exactly where score > threshold.

        An order statistic of the calibration scores.

        Raises:
            UsageError: what `allowed` refuses.
        """
        return float(self.scores[-allowed(false_positive_rate, len(self.scores))])

    def flags(self, scores: Values, false_positive_rate: float) -> NDArray[np.bool_]:
        """Which scores are above the threshold of a rate; no score that is NaN is."""
        return scores > self.threshold(false_positive_rate)

    def false_positive_interval(
        self, false_positive_rate: float, confidence: float = 0.95
    ) -> tuple[float, float]:
        """Where the true false-positive rate of `threshold` lies with this confidence.

        The rate depends on which images happened to calibrate: for continuous scores it follows a
        beta distribution over calibration sets.

        Source: Vovk 2012, proposition 2a.
        """
        if not 0 < confidence < 1:
            raise UsageError(f"a confidence lies between 0 and 1, found {confidence}")
        n = len(self.scores)
        k = allowed(false_positive_rate, n)
        tail = (1 - confidence) / 2
        low, high = beta.ppf([tail, 1 - tail], k, n + 1 - k)
        return float(low), float(high)


def refuse_nan(scores: Values) -> Values:
    """The scores, if none is NaN.

    Raises:
        DataError: one is, with its place.

    >>> refuse_nan(np.array([1.0, np.nan]))
    Traceback (most recent call last):
    anogen.errors.DataError: the score of example 1 is NaN; choose another score
    """
    if np.iscomplexobj(scores):
        raise DataError("scores are real numbers, found complex ones")
    bad = np.flatnonzero(np.isnan(scores))
    if len(bad):
        raise DataError(f"the score of example {bad[0]} is NaN; choose another score")
    return scores


def allowed(rate: float, n: int) -> int:
    """⌊rate · (n + 1)⌋: how many of n + 1 exchangeable images may be flagged.

    Args:
        rate: of false positives.
        n: number of calibration images.

    Raises:
        UsageError: the rate is not in (0, 1), or smaller than 1 / (n + 1), which so few images
            cannot support.

    >>> allowed(0.05, 99)
    5
    """
    if not 0 < finite_number("false_positive_rate", rate) < 1:
        raise UsageError(f"a false-positive rate lies between 0 and 1, found {rate}")
    count = int(np.floor(rate * (n + 1) + 1e-9))
    if not count:
        raise UsageError(
            f"{n} calibration examples cannot support a false-positive rate of {rate:g}; the "
            f"smallest is {rounded_up(1 / (n + 1))} (on the command line --fpr "
            f"{rounded_up(1 / (n + 1))}); use more images, so that more can be held out"
        )
    return count


def promised(asked: float | None, usual: float, n: int) -> float:
    """The false-positive rate to promise: the one asked for, else the usual one or what n support.

    Args:
        asked: for a rate that is refused where it cannot be kept, or None.
        usual: where nobody has asked.
        n: number of calibration images.

    >>> promised(None, 0.01, 99), promised(None, 0.01, 20), promised(0.02, 0.01, 20)
    (0.01, 0.048, 0.02)
    """
    if asked is not None or n * usual + usual + 1e-9 >= 1:
        return usual if asked is None else asked
    least = rounded_up(1 / (n + 1))
    say(f"{n} calibration examples support no less than {least} of false alarms, instead of "
        f"{usual:g}; more data would")  # fmt: skip
    return float(least)


def discoveries(p_values: Values, rate: float) -> NDArray[np.bool_]:
    """Which images to flag so that at most this share of the flags is expected to be false.

    Source: Benjamini & Hochberg 1995; for conformal p-values Bates et al. 2023, theorem 2.

    Raises:
        UsageError: a rate that is not between 0 and 1.

    >>> discoveries(np.array([0.001, 0.02, 0.9]), 0.05).tolist()
    [True, True, False]
    """
    if not 0 < rate < 1:
        raise UsageError(f"a false-discovery rate lies between 0 and 1, found {rate}")
    refuse_nan(p_values)
    if len(p_values) and (p_values.min() < 0 or p_values.max() > 1):
        raise UsageError("a p-value lies between 0 and 1")
    order = np.argsort(p_values, kind="stable")
    limits = rate * np.arange(1, len(p_values) + 1) / len(p_values)
    below = np.flatnonzero(p_values[order] <= limits)
    discovered = np.zeros(len(p_values), np.bool_)
    if len(below):
        discovered[order[: below[-1] + 1]] = True
    return discovered
