"""Simple statistics of single examples by name: what has changed when a stream has changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact, mannwhitneyu

from anogen.data.columns import Columns
from anogen.data.images import Images, is_table

Values = NDArray[np.float64]

MOST = 64
"""Features of a table that are looked at, the first ones."""
FAINT = 1e-3
"""Added to a contrast by which is divided."""


@dataclass(frozen=True)
class Drift:
    """A statistic that has moved.

    Attributes:
        name: of the statistic.
        before: its mean over examples that the detector was calibrated on.
        now: its mean over the last examples.
        p_value: of the hypothesis that it has not moved, already multiplied by the number of
            statistics that were looked at.
    """

    name: str
    before: float
    now: float
    p_value: float

    @property
    def text(self) -> str:
        """In words.

        >>> Drift("mean brightness", 0.25, 0.5, 1e-9).text
        'mean brightness rose from 0.25 to 0.5 (p = 1e-09)'
        """
        verb = "rose" if self.now > self.before else "fell"
        verb = "changed" if self.now == self.before else verb
        return (
            f"{self.name} {verb} from {self.before:.3g} to {self.now:.3g} (p = {self.p_value:.1g})"
        )


def example_statistics(images: Images, columns: Columns | None = None) -> dict[str, Values]:
    """Statistics of each image, or of each row of a table: name → float64 `[n]`.

    Of pictures: mean brightness, contrast (the standard deviation of the pixels), sharpness (the
    mean difference of neighbours, in contrasts), and the saturation of colours, each of values in
    [0, 1]. Of tables: the values of the columns, which values are missing, and the levels of
    categories, 64 of them at most.

    Examples:
        >>> dark = Images(np.zeros((2, 1, 8, 8), np.uint8), "dark")
        >>> example_statistics(dark)["mean brightness"].tolist()
        [0.0, 0.0]
    """
    if is_table(images.shape):
        return _of_rows(images, columns)
    x = np.array(images.pixels[:]).astype(np.float32) / np.float32(255)
    contrast = x.std((1, 2, 3))
    steps = [np.abs(np.diff(x, axis=axis)).mean((1, 2, 3)) for axis in (2, 3)]
    found = {
        "mean brightness": x.mean((1, 2, 3)),
        "contrast": contrast,
        "sharpness": (steps[0] + steps[1]) / 2 / (contrast + FAINT),
    }
    if images.shape[0] == 3:
        found["saturation"] = (x.max(1) - x.min(1)).mean((1, 2))
    return {name: values.astype(np.float64) for name, values in found.items()}


def _of_rows(images: Images, columns: Columns | None) -> dict[str, Values]:
    values = np.array(images.pixels[:])[:, 0, 0]
    if columns is None:
        names, rows = [f"x{index}" for index in range(values.shape[1])], values.astype(np.float64)
    else:
        names, rows = list(columns.features), columns.unscaled(values)
    return dict(zip(names[:MOST], rows.T[:MOST].copy(), strict=True))


def drifts(
    before: Mapping[str, Values], now: Mapping[str, Values], level: float = 0.01
) -> list[Drift]:
    """The statistics that have moved, the surest first.

    Args:
        before: of calibration examples.
        now: of new ones.
        level: the probability that any is named where none has moved.

    Examples:
        >>> before, now = {"size": np.arange(100.0)}, {"size": np.arange(100.0) + 60}
        >>> [drift.name for drift in drifts(before, now)]
        ['size']

    Source: Mann & Whitney 1947; of values most of which are equal Fisher 1935; with Bonferroni's
        correction for the number of statistics.
    """
    names = [name for name in before if name in now]
    found: list[Drift] = []
    for name in names:
        old, new = (values[~np.isnan(values)] for values in (before[name], now[name]))
        if len(old) and len(new):
            p = min(1.0, len(names) * _p_value(old, new))
            if p <= level:
                found.append(Drift(name, float(old.mean()), float(new.mean()), p))
    return sorted(found, key=lambda drift: drift.p_value)


def _p_value(old: Values, new: Values) -> float:
    """Of the hypothesis that both are of one distribution.

    Where most values are one and the same, as of a gap or a rare level, ranks say little and their
    approximation errs; then how many are above and below that value is compared.
    """
    values, counts = np.unique(np.concatenate([old, new]), return_counts=True)
    if len(values) == 1:
        return 1.0
    if 2 * counts.max() < counts.sum():
        return float(mannwhitneyu(old, new, method="asymptotic").pvalue)
    usual = values[counts.argmax()]
    sides = [(old > usual, new > usual), (old < usual, new < usual)]
    tests = [_exact(*side) for side in sides if any(part.any() for part in side)]
    return min(1.0, len(tests) * min(tests))


def _exact(old: NDArray[np.bool_], new: NDArray[np.bool_]) -> float:
    """Of the hypothesis that as large a share of both is true; Fisher 1935."""
    table = [[int(part.sum()), int((~part).sum())] for part in (old, new)]
    test: Any = fisher_exact(table)
    return float(test.pvalue)
