"""Measures of places agree with slow, plain definitions."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from anogen.detection.localisation import Localisation


@pytest.fixture
def some():
    generator = np.random.default_rng(0)
    masks = np.zeros((20, 24, 24), np.bool_)
    masks[8:, 3:9, 4:8] = True
    masks[14:, 15:17, 10:20] = True
    return generator.normal(size=masks.shape) + 1.5 * masks, masks


def slow_aupro(maps, masks, limit=0.3):
    """By every value as a threshold."""
    good = maps[~masks]
    regions = []
    for values, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [values[labels == k + 1] for k in range(count)]
    rates = np.linspace(0, limit, 400)
    thresholds = np.quantile(good, 1 - rates)
    overlap = [np.mean([(region > t).mean() for region in regions]) for t in thresholds]
    return np.trapezoid(overlap, rates) / limit


def test_measures_agree_with_their_definitions(some):
    maps, masks = some
    found = Localisation.of(maps, masks).measures()
    assert found["pixel_auroc"] == pytest.approx(
        roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-4
    )
    assert found["aupro"] == pytest.approx(slow_aupro(maps, masks), abs=3e-3)


def test_a_perfect_map_a_blind_one_and_a_wrong_one(some):
    _, masks = some
    assert Localisation.of(masks.astype(float), masks).measures()["aupro"] == 1
    wrong = Localisation.of(1.0 - masks, masks).measures()
    assert wrong == pytest.approx({"pixel_auroc": 0, "aupro": 0}, abs=1e-9)
    blind = Localisation.of(np.zeros(masks.shape), masks).measures()
    assert blind == pytest.approx({"pixel_auroc": 0.5, "aupro": 0.15})


def test_intervals_hold_the_value_and_narrow_with_more_pictures(some):
    maps, masks = some
    few, many = (Localisation.of(np.tile(maps, (n, 1, 1)), np.tile(masks, (n, 1, 1)))
                 for n in (1, 4))  # fmt: skip
    widths = []
    for each in (few, many):
        low, high = each.intervals()["aupro"]
        assert low < each.measures()["aupro"] < high
        widths.append(high - low)
    assert widths[1] < 0.7 * widths[0]


def test_without_a_defect_nothing_is_measured(some):
    maps, masks = some
    assert np.isnan(Localisation.of(maps, np.zeros_like(masks)).measures()["aupro"])
