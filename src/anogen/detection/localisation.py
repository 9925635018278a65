"""How well maps show where defects are, pixel by pixel and region by region, with intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Maps = NDArray[np.float64]
Counts = NDArray[np.float64]
BINS = 2_000
"""Values between which maps are not told apart."""
LIMIT = 0.3
"""False-positive rate of pixels up to which regions are looked at; Bergmann et al. 2021."""
RESAMPLES = 500


@dataclass(frozen=True, eq=False)
class Localisation:
    """What maps and masks say of each other, counted by the value of the map.

    Attributes:
        inside: pixels without a defect, of each picture, by value: float64 `[n, bins]`.
        outside: pixels of defects, likewise.
        regions: of each connected region of a defect, the share of it by value, `[m, bins]`.
        owner: the picture of each region, int64 `[m]`.

    Examples:
        >>> masks = np.zeros((2, 8, 8), np.bool_)
        >>> masks[1, 2:4, 2:4] = True
        >>> found = Localisation.of(masks.astype(np.float64), masks)
        >>> found.measures()
        {'pixel_auroc': 1.0, 'aupro': 1.0}
    """

    inside: Counts
    outside: Counts
    regions: Counts
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, maps: Maps, masks: NDArray[np.bool_]) -> "Localisation":
        """Of maps `[n, h, w]` and masks likewise; good pictures have an empty mask."""
        edges = _edges(maps)
        places = np.searchsorted(edges, maps, side="right")
        count = len(edges) + 1

        def counted(chosen: NDArray[np.bool_]) -> Counts:
            rows = [np.bincount(place[keep], minlength=count)
                    for place, keep in zip(places, chosen, strict=True)]  # fmt: skip
            return np.stack(rows).astype(np.float64)

        regions: list[Counts] = []
        owner: list[int] = []
        for index, (place, mask) in enumerate(zip(places, masks, strict=True)):
            labels: Any = ndimage.label(mask, np.ones((3, 3)))
            for region in range(1, labels[1] + 1):
                values = np.bincount(place[labels[0] == region], minlength=count)
                regions.append(values / values.sum())
                owner.append(index)
        whole = np.stack(regions) if regions else np.zeros((0, count))
        return cls(counted(~masks), counted(masks), whole, np.array(owner, np.int64))

    def measures(self, times: NDArray[np.float64] | None = None) -> dict[str, float]:
        """The area under the pixels' operating curve, and that of regions found up to `LIMIT`.

        The second is the mean share of each region above a threshold, against the share of good
        pixels above it, from 0 to 30 %, over 30 %: AUPRO, Bergmann et al. 2021.

        Args:
            times: how often each picture counts; default: once.
        """
        times = np.ones(len(self.inside)) if times is None else times
        good, bad = (
            np.concatenate([[0.0], np.cumsum((times @ counts)[::-1])])
            for counts in (self.inside, self.outside)
        )
        weights = times[self.owner]
        if bad[-1] == 0 or good[-1] == 0 or weights.sum() == 0:
            return {"pixel_auroc": float("nan"), "aupro": float("nan")}
        false, true = good / good[-1], bad / bad[-1]
        found = np.concatenate([[0.0], np.cumsum((weights @ self.regions)[::-1])]) / weights.sum()
        kept = false <= LIMIT
        x = np.append(false[kept], LIMIT)
        y = np.append(found[kept], np.interp(LIMIT, false, found))
        return {
            "pixel_auroc": float(np.trapezoid(true, false)),
            "aupro": float(np.trapezoid(y, x) / LIMIT),
        }

    def intervals(self, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % intervals of the measures, by drawing pictures again."""
        generator = np.random.default_rng(seed)
        n = len(self.inside)
        drawn = [
            self.measures(np.bincount(generator.integers(n, size=n), minlength=n).astype(float))
            for _ in range(RESAMPLES)
        ]
        return {
            name: tuple(np.nanquantile([one[name] for one in drawn], (0.025, 0.975)).tolist())
            for name in ("pixel_auroc", "aupro")
        }


def _edges(maps: Maps) -> NDArray[np.float64]:
    """Values that part the maps' into bins, the finer the larger they are."""
    upper = np.linspace(0, 1, BINS // 2)
    shares = np.unique(np.concatenate([upper, 1 - (1 - upper) ** 3]))
    return np.unique(np.quantile(maps.reshape(-1), shares))
