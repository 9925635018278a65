"""How often a detector that abstains where it is unsure does so, and what that costs."""

from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom


def unsure(tolerance: float) -> float:
    """How far from ½ a confidence may be, doubled, for its label to be rejected: 1 − 2 exp(−t).

    Source: Perini & Davis 2023, section 3.

    >>> round(unsure(3.0), 3)
    0.9
    """
    return float(1 - 2 * np.exp(-tolerance))


def rejection_statistics(
    rows: int,
    contamination: float,
    tolerance: float,
    delta: float,
    costs: tuple[float, float, float],
) -> list[float]:
    """The expected rate of rejection, an upper bound of it, and an upper bound of the cost.

    Args:
        rows: training rows.
        contamination: share of them that is flagged.
        tolerance: as for `unsure`.
        delta: with which probability the bound of the rate may fail.
        costs: of a false alarm, of a missed outlier, of a rejection.

    Source: Perini & Davis 2023, theorems 3.5, 3.6 and 3.8.

    Examples:
        >>> rate, bound, cost = rejection_statistics(1000, 0.1, 5.0, 0.1, (1.0, 1.0, 0.1))
        >>> 0 < rate < bound <= 1, cost < 0.2
        (True, True)
    """
    n, gamma, t = rows, contamination, tolerance
    low, high = (_rate(n, int(n * gamma) - 1, level) for level in (1 - np.exp(-t), np.exp(-t)))
    upper = min(1.0, (n + 1 - gamma * (n + 2)) / n + t * (n + 2) / np.sqrt(2 * n**3 * t))
    root = -3 * gamma**2 - 2 * n * (1 - gamma) ** 2 + 4 * gamma - 3
    root = 2 * n * root + t * (n + 2) ** 2 - 8
    lower = (2 + n * (1 - gamma) * (n + 1)) / n**2
    lower -= np.sqrt(max(0.0, 0.5 * n**5 * root)) / n**4
    bound = upper - max(0.0, lower) + 2 * np.sqrt(np.log(2 / delta) / (2 * n))
    alarm, miss, rejection = costs
    cost = min(gamma, low) * alarm + min(1 - high, gamma) * miss + (high - low) * rejection
    return [float(high - low), float(bound), float(cost)]


def _rate(trials: int, successes: int, level: float) -> float:
    """The rate with which at most so many successes have this probability."""

    def excess(rate: float) -> float:
        return float(binom.cdf(successes, trials, rate)) - level

    root: Any = brentq(excess, 0, 1)
    return float(root)
