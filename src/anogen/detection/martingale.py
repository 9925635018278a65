"""Whether a stream of scores is still like the calibration: conformal p-values, and bets on them.

As long as all scores are exchangeable, the ranks of new ones among those before are uniform, and no
bet against that can be expected to win. What bets have won is therefore evidence of change, at any
time and however often one looks.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

MANTISSA_BITS = 14
"""Of a score that count for its rank, so that a stream of any length takes bounded memory."""
TOGETHER = 512
"""Scores that are ranked at once."""
MOST_GAIN = 10
"""So much, and one, is the most by which a single example can multiply the capital: a few that are
far out, as every stream has them, are no change."""
ASLEEP = 0.5
"""Share of the capital that is put on no change at first, and of what changes its bet."""


@dataclass(frozen=True)
class Ranks:
    """All scores so far, as distinct values with their numbers.

    Attributes:
        values: float64 `[k]`, ascending, rounded to 14 bits.
        counts: int64 `[k]`, how many scores have each.
        seen: scores of the stream; those of the calibration are not counted.

    Examples:
        >>> ranks = Ranks.of(np.arange(1.0, 100.0))
        >>> p_values, ranks = ranks.after(np.array([50.0, 1000.0]))
        >>> p_values.round(2).tolist(), ranks.seen
        ([0.51, 0.0], 2)
    """

    values: Values
    counts: NDArray[np.int64]
    seen: int = 0

    @classmethod
    def of(cls, calibration: Values) -> Self:
        """From the scores that a detector is calibrated on."""
        return cls(*np.unique(rounded(calibration), return_counts=True))

    def after(self, scores: Values) -> "tuple[Values, Ranks]":
        """P-values of new scores, each among the calibration and all before it, and what is then.

        Scores that are equal are put in an order by chance, the same for the same place in the
        stream, so that p-values are uniform exactly where all scores are exchangeable.

        Args:
            scores: float64 `[n]`, finite, in the order in which they came.

        Returns:
            float64 `[n]` in (0, 1), small where a score is large.

        Source: Vovk et al. 2005, chapter 2.2, smoothed conformal predictors.
        """
        ranks, parts = self, [np.zeros(0)]
        for start in range(0, len(scores), TOGETHER):
            p_values, ranks = ranks._after(rounded(scores[start : start + TOGETHER]))
            parts.append(p_values)
        return np.concatenate(parts), ranks

    def _after(self, scores: Values) -> "tuple[Values, Ranks]":
        below = np.concatenate([[0], self.counts.cumsum()])
        left, right = (np.searchsorted(self.values, scores, side) for side in ("left", "right"))
        total = below[-1]
        larger, equal = total - below[right], below[right] - below[left]
        earlier = np.tri(len(scores), k=-1, dtype=bool)
        larger = larger + ((scores[None] > scores[:, None]) & earlier).sum(1)
        equal = equal + ((scores[None] == scores[:, None]) & earlier).sum(1)
        places = self.seen + np.arange(len(scores))
        p_values = (larger + chance(places) * (equal + 1)) / (total + np.arange(len(scores)) + 1)
        values, counts = np.unique(scores, return_counts=True)
        merged = np.union1d(self.values, values)
        numbers = np.zeros(len(merged), np.int64)
        numbers[np.searchsorted(merged, self.values)] += self.counts
        numbers[np.searchsorted(merged, values)] += counts
        return p_values, Ranks(merged, numbers, self.seen + len(scores))


def rounded(scores: Values) -> Values:
    """Scores by their first 14 bits: equal where they differ by less than a share of 0.0001.

    >>> rounded(np.array([1.00001, 1.001, -3.0])).tolist()
    [1.0, 1.0009765625, -3.0]
    """
    mantissa, exponent = np.frexp(scores)
    return np.ldexp(np.rint(np.ldexp(mantissa, MANTISSA_BITS)), exponent - MANTISSA_BITS)


def chance(places: NDArray[np.int64]) -> Values:
    """Uniform numbers in (0, 1), one for each place, the same whenever it is asked for.

    Source: Steele et al. 2014, SplitMix64.
    """
    x = (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(12)).astype(np.float64) / 2**52 + 2.0**-54


def _bets() -> tuple[Values, Values, Values, Values]:
    """Of every bet: its stake, the end of the p-values it is on, their share, and its slope."""
    asleep = [(0.0, 0, 1.0, 0.0)]
    far_out = [(stake, 0, share, 0.0) for share in (0.01, 0.03, 0.1)
               for stake in (0.03, 0.1, 0.3) if stake / share <= MOST_GAIN]  # fmt: skip
    too_usual = [(stake, 1, share, 0.0) for share in (0.01, 0.1) for stake in (0.03, 0.1)]
    shifted = [(0.0, 0, 1.0, slope) for slope in (-0.9, -0.4, 0.4, 0.9)]
    stakes, ends, shares, slopes = np.array(asleep + far_out + too_usual + shifted).T
    return stakes, ends, shares, slopes


STAKES, ENDS, SHARES, SLOPES = _bets()
FIRST = np.concatenate([[ASLEEP], np.full(len(STAKES) - 1, (1 - ASLEEP) / (len(STAKES) - 1))])
"""How the capital is divided among the bets at first."""


def gains(p_values: Values) -> Values:
    """By how much each bet multiplies its stake: float64 `[n, bets]`, of mean 1 for uniform ones.

    >>> uniform = (np.arange(100_000) + 0.5) / 100_000
    >>> bool(np.allclose(gains(uniform).mean(0), 1))
    True
    """
    p = p_values[:, None]
    within = np.where(ENDS == 0, p <= SHARES, p > 1 - SHARES)
    return (1 - STAKES + STAKES * within / SHARES) * (1 + SLOPES * (2 * p - 1))


@dataclass(frozen=True)
class Martingale:
    """What bets against uniform p-values have won, from a capital of 1.

    Each bet is on one kind of change: some p-values that are very small, all a little smaller, all
    too usual. Half the capital is on no change at first, and a share of all capital that falls as
    one over time is moved from bet to bet, so that a change that comes late is still noticed soon.

    Attributes:
        shares: float64 `[bets]`, of the capital; they sum to 1.
        log_capital: in nats.
        seen: p-values so far.

    Examples:
        >>> uniform, small = np.random.default_rng(0).random((2, 1000))
        >>> calm, won = Martingale().after(uniform), Martingale().after(small / 2)
        >>> bool(calm.log_capital < 2), bool(won.log_capital > 100)
        (True, True)

    Source: Vovk et al. 2021, "Retrain or not retrain: conformal test martingales for change-point
        detection"; that it exceeds 1/α at any time with a probability of α at most, Ville 1939;
        the falling rate of changes, van Erven et al. 2012.
    """

    shares: Values = field(default_factory=FIRST.copy)
    log_capital: float = 0.0
    seen: int = 0

    def after(self, p_values: Values) -> "Martingale":
        """What is won after more p-values."""
        path = self.path(p_values)
        return path[-1] if path else self

    def path(self, p_values: Values) -> "list[Martingale]":
        """What is won after each of more p-values, first to last."""
        path: list[Martingale] = []
        now = self
        for each in gains(p_values):
            shares = now.shares * each
            won = float(shares.sum())
            shares /= won
            moved = 1 / (now.seen + 2)
            shares = (1 - moved) * shares + moved * FIRST
            now = replace(
                now, shares=shares, log_capital=now.log_capital + np.log(won), seen=now.seen + 1
            )
            path.append(now)
        return path

    @property
    def content(self) -> dict[str, Any]:
        """All there is to it, for JSON; see `of_content`."""
        return {"shares": self.shares.tolist(), "log_capital": float(self.log_capital),
                "seen": self.seen}  # fmt: skip

    @classmethod
    def of_content(cls, content: dict[str, Any]) -> Self:
        """From what `content` gave."""
        return cls(np.array(content["shares"]), content["log_capital"], content["seen"])
